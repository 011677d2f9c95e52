/* SPDX-License-Identifier: Apache-2.0 */

/* Asks unseald to unseal all secrets again, and waits for the outcome. ExecReload= of unseald.service runs this verb. */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "build-config.h"
#include "unsealctl/ctl.h"
#include "unsealing/control.h"

static void print_help(void) {
        printf("unsealctl reload\n\n"
               "Read the configuration again, unseal all secrets again and replace them.\n"
               "If that fails, the old secrets stay.\n\n"
               "  -h --help              Show this help\n\n"
               "Exit status: 0 done, 1 no answer from unseald, 2 usage; any other is the\n"
               "failure of the reload, see unseald(8).\n");
}

static int reload(void) {
        static const char path[] = UNSEALD_RUNTIME_DIR "/control.sock";
        char text[CONTROL_ANSWER_MAX];
        int r = control_ask(path, text);

        if (r == -ENOENT || r == -ECONNREFUSED)
                return failure("Cannot reload: unseald is not running, or has not unsealed the secrets yet. See \"systemctl status unseald.service\".");
        if (r == -ECONNRESET)
                return failure("unseald ended, or could not answer, so the outcome of the reload is unknown: either all secrets are exchanged or none is. See \"unsealctl status\" and \"journalctl -xu unseald.service\".");
        if (r < 0)
                return failure("Cannot ask unseald at %s: %s.", path, strerror(-r));
        if (r > 0)
                (void) failure("The reload failed, and everything is as it was before: %s", text);
        return r;
}

int verb_reload(int argc, char *argv[]) {
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                {},
        };

        for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) >= 0;)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc)
                return usage_error("reload takes options and no argument.");
        return reload();
}
