/* SPDX-License-Identifier: Apache-2.0 */

/* Lists every mistake in the configuration of a system, so that a build of an image stops before the image exists. */

#include <stdio.h>

#include "build-config.h"
#include "unsealctl/check/check-options.h"
#include "unsealctl/check/check-system.h"
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

int verb_check(int argc, char *argv[]) {
        _cleanup_(remarks_clear) Remarks remarks = {};
        CheckOptions options;
        Error error = {};
        int status;

        if (!check_options_parse(argc, argv, "check", print_help, &options, &status))
                return status;
        if (check_system(options.vendor, options.local, &remarks, &error) < 0) {
                (void) failure("%s", error.text);
                return (int) error.failure;
        }
        for (size_t i = 0; i < remarks.count; i++)
                printf("%s: %s\n", remarks.items[i].mistake ? "Mistake" : "Warning", remarks.items[i].text);
        return remarks_mistakes(&remarks) > 0 ? FAILURE_CONFIGURATION : EXIT_SUCCESS;
}
