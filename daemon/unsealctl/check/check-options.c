/* SPDX-License-Identifier: Apache-2.0 */

#include <getopt.h>
#include <stdbool.h>

#include "build-config.h"
#include "unsealctl/check/check-options.h"
#include "unsealctl/check/root.h"
#include "unsealctl/ctl.h"

/* Returns true to go on. */
static bool read_command_line(int argc, char *argv[], const char *verb, bool takes_json,
                              void (*print_help)(void), CheckOptions *options, int *ret_status) {
        enum {
                OPTION_ROOT = 256,
                OPTION_VENDOR,
                OPTION_LOCAL,
                OPTION_JSON,
        };
        static const struct option known[] = {
                { "help", no_argument, NULL, 'h' },
                { "root", required_argument, NULL, OPTION_ROOT },
                { "vendor-configuration", required_argument, NULL, OPTION_VENDOR },
                { "configuration", required_argument, NULL, OPTION_LOCAL },
                { "json", no_argument, NULL, OPTION_JSON },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", known, NULL)) >= 0)
                switch (c) {
                case 'h':
                        print_help();
                        *ret_status = EXIT_SUCCESS;
                        return false;
                case OPTION_ROOT:
                        options->root = optarg;
                        break;
                case OPTION_VENDOR:
                        options->vendor = optarg;
                        break;
                case OPTION_LOCAL:
                        options->local = optarg;
                        break;
                case OPTION_JSON:
                        options->json = true;
                        break;
                default:
                        *ret_status = EXIT_USAGE;
                        return false;
                }
        if (options->json && !takes_json) {
                *ret_status = usage_error("%s has no option --json.", verb);
                return false;
        }
        if (optind < argc) {
                *ret_status = usage_error("%s takes no argument.", verb);
                return false;
        }
        return true;
}

bool check_options_parse(int argc, char *argv[], const char *verb, bool takes_json, void (*print_help)(void),
                         CheckOptions *ret, int *ret_status) {
        CheckOptions options = { .vendor = UNSEALD_VENDOR_CONFIG_DIR, .local = UNSEALD_LOCAL_CONFIG_DIR };
        Error error = {};

        if (!read_command_line(argc, argv, verb, takes_json, print_help, &options, ret_status))
                return false;
        if (options.root && root_enter(options.root, &error) < 0) {
                (void) failure("%s", error.text);
                *ret_status = (int) error.failure;
                return false;
        }
        *ret = options;
        return true;
}
