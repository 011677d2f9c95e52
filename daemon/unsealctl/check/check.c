/* SPDX-License-Identifier: Apache-2.0 */

/* Lists every mistake in the configuration of a system, so that a build of an image stops before the image exists. */

#include <getopt.h>
#include <stdio.h>

#include "build-config.h"
#include "unsealctl/check/check-system.h"
#include "unsealctl/check/root.h"
#include "unsealctl/ctl.h"

static void print_help(void) {
        printf("unsealctl check [OPTIONS…]\n\n"
               "Check unseald's configuration and the unit files that use its secrets, and print\n"
               "every mistake with file and line. Only files are read: no TPM, no network.\n\n"
               "  -h --help                      Show this help\n"
               "     --root=DIR                  Check the system in this directory\n"
               "     --vendor-configuration=DIR  Read this in place of %s\n"
               "     --configuration=DIR         Read this in place of %s\n\n"
               "Exit status: 0 no mistake, 1 failure, 2 usage, 78 at least one mistake.\n",
               UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR);
}

static int check(const char *root, const char *vendor, const char *local) {
        _cleanup_(remarks_clear) Remarks remarks = {};
        Error error = {};

        if ((root && root_enter(root, &error) < 0) || check_system(vendor, local, &remarks, &error) < 0) {
                (void) failure("%s", error.text);
                return (int) error.failure;
        }
        for (size_t i = 0; i < remarks.count; i++)
                printf("%s: %s\n", remarks.items[i].mistake ? "Mistake" : "Warning", remarks.items[i].text);
        return remarks_mistakes(&remarks) > 0 ? FAILURE_CONFIGURATION : EXIT_SUCCESS;
}

int verb_check(int argc, char *argv[]) {
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
                return usage_error("check takes no argument.");
        return check(root, vendor, local);
}
