/* SPDX-License-Identifier: Apache-2.0 */

/* Prints the configuration that is in force, as systemd-analyze cat-config does for systemd's own files. */

#include <getopt.h>
#include <stdio.h>

#include "build-config.h"
#include "config/settings.h"
#include "unsealctl/check/in-force.h"
#include "unsealctl/check/root.h"
#include "unsealctl/ctl.h"

static void print_help(void) {
        printf("unsealctl cat-config [OPTIONS…]\n\n"
               "Print the settings and secrets that are in force after all drop-ins, each line\n"
               "below the file and line number that it comes from.\n\n"
               "  -h --help                      Show this help\n"
               "     --root=DIR                  Read the system in this directory\n"
               "     --vendor-configuration=DIR  Read this in place of %s\n"
               "     --configuration=DIR         Read this in place of %s\n\n"
               "Exit status: 0 done, 1 failure, 2 usage, 78 a mistake in the configuration.\n",
               UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR);
}

static int print_configuration(const char *root, const char *vendor, const char *local) {
        _cleanup_(settings_clear) Settings settings = {};
        _cleanup_(declarations_clear) Declarations declarations = {};
        Error error = {};

        if ((root && root_enter(root, &error) < 0) || settings_read(vendor, local, &settings, &error) < 0 ||
            declarations_read(vendor, local, &declarations, &error) < 0 ||
            configuration_print(stdout, vendor, local, &declarations, &error) < 0) {
                (void) failure("%s", error.text);
                return (int) error.failure;
        }
        return EXIT_SUCCESS;
}

int verb_cat_config(int argc, char *argv[]) {
        enum {
                OPTION_ROOT = 256,
                OPTION_VENDOR,
                OPTION_LOCAL,
        };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "root", required_argument, NULL, OPTION_ROOT },
                { "vendor-configuration", required_argument, NULL, OPTION_VENDOR },
                { "configuration", required_argument, NULL, OPTION_LOCAL },
                {},
        };
        const char *root = NULL, *vendor = UNSEALD_VENDOR_CONFIG_DIR, *local = UNSEALD_LOCAL_CONFIG_DIR;
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case OPTION_ROOT:
                        root = optarg;
                        break;
                case OPTION_VENDOR:
                        vendor = optarg;
                        break;
                case OPTION_LOCAL:
                        local = optarg;
                        break;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc)
                return usage_error("cat-config takes no argument.");
        return print_configuration(root, vendor, local);
}
