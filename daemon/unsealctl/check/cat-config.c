/* SPDX-License-Identifier: Apache-2.0 */

/* Prints the configuration that is in force, as systemd-analyze cat-config does for systemd's own files. */

#include <stdio.h>

#include "build-config.h"
#include "config/settings.h"
#include "unsealctl/check/check-options.h"
#include "unsealctl/check/in-force.h"
#include "unsealctl/ctl.h"

static void print_help(void) {
        printf("unsealctl cat-config [OPTIONS…]\n\n"
               "Print the settings, secrets and volumes in force after all drop-ins, each line\n"
               "below the file and line number that it comes from.\n\n"
               "  -h --help                      Show this help\n"
               "     --root=DIR                  Read the system in this directory\n"
               "     --vendor-configuration=DIR  Read this in place of %s\n"
               "     --configuration=DIR         Read this in place of %s\n\n"
               "Exit status: 0 done, 1 failure, 2 usage, 78 a mistake in the configuration.\n",
               UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR);
}

int verb_cat_config(int argc, char *argv[]) {
        _cleanup_(settings_clear) Settings settings = {};
        _cleanup_(declarations_clear) Declarations declarations = {};
        _cleanup_(volumes_clear) Volumes volumes = {};
        CheckOptions options;
        Error error = {};
        int status;

        if (!check_options_parse(argc, argv, "cat-config", false, print_help, &options, &status))
                return status;
        if (settings_read(options.vendor, options.local, &settings, &error) < 0 ||
            declarations_read(options.vendor, options.local, &declarations, &error) < 0 ||
            declarations_judge(&declarations, &settings, NULL, NULL, &error) < 0 ||
            volumes_examine(options.vendor, options.local, &volumes, NULL, &error) < 0 ||
            configuration_print(stdout, options.vendor, options.local, &declarations, &volumes, &error) <
                            0) {
                (void) failure("%s", error.text);
                return (int) error.failure;
        }
        return EXIT_SUCCESS;
}
