/* SPDX-License-Identifier: Apache-2.0 */

/* unsealctl volume: makes and checks the images of read-only volumes. volume/volume-key.h says what such an image is. */

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "unsealctl/ctl.h"
#include "unsealctl/volume/volume.h"

static void print_help(void) {
        printf("unsealctl volume create [OPTIONS…] DIR\n"
               "unsealctl volume verify [OPTIONS…] IMAGE\n"
               "unsealctl volume show [OPTIONS…]\n\n"
               "Make an encrypted read-only volume, check all of its image, or show its layout.\n"
               "Each word has a help of its own.\n\n"
               "  -h --help                  Show this help\n");
}

int verb_volume(int argc, char *argv[]) {
        static const struct {
                const char *word;
                int (*run)(int argc, char *argv[]);
        } words[] = {
                { "create", volume_create },
                { "show", volume_show },
                { "verify", volume_verify },
        };
        static const struct option long_options[] = {
                { "help", no_argument, NULL, 'h' },
                {},
        };
        const char *word;
        char name[32];
        int c;

        /* "+": the options behind the word are the word's. */
        while ((c = getopt_long(argc, argv, "+h", long_options, NULL)) >= 0) {
                if (c != 'h')
                        return EXIT_USAGE;
                print_help();
                return EXIT_SUCCESS;
        }
        word = argv[optind] ?: "";
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (strcmp(word, words[i].word) == 0) {
                        /* getopt_long() puts this name in front of its messages. */
                        (void) snprintf(name, sizeof(name), "unsealctl volume %s", word);
                        argc -= optind;
                        argv += optind;
                        argv[0] = name;
                        optind = 0; /* begins anew */
                        return words[i].run(argc, argv);
                }
        return usage_error(*word ? "volume is followed by create, verify or show, not by %s."
                                 : "volume is followed by create, verify or show.",
                           word);
}
