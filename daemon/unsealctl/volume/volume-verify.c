/* SPDX-License-Identifier: Apache-2.0 */

/* Checks all of an image for whoever has the key. The kernel checks a block when it is read; this finds a wrong one before. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unsealctl/ctl.h"
#include "unsealctl/volume/key-source.h"
#include "unsealctl/volume/volume-checker.h"
#include "unsealctl/volume/volume.h"

#define EXIT_WRONG_BLOCK 3
#define EXIT_TOO_SHORT 4

static void print_verify_help(void) {
        printf("unsealctl volume verify [OPTIONS…] --secret=NAME IMAGE\n\n"
               "Check each block of an image, or of a device, and name the first wrong one.\n\n"
               "  -h --help                      Show this help\n"
               "     --secret=NAME               The secret with the key, or a file NAME.secret\n"
               "     --member=NAME               Its member, if it is a bundle\n"
               "     --key-file=FILE             Its plaintext; - is standard input\n"
               "     --vendor-configuration=DIR  For --secret=, as in unseal\n"
               "     --configuration=DIR         For --secret=, as in unseal\n\n"
               "Exit status: 0 all is right, 1 failure, 2 usage, 3 a block is wrong, 4 the\n"
               "image is too short; any other is one of unseald(8).\n");
}

static int check_image(const VolumeKey *key, int image, const char *path) {
        Progress progress = progress_begin("checked", key->data_size);
        off_t size = lseek(image, 0, SEEK_END);
        Error error = {};
        int r;

        if (size < 0)
                return failure("%s is neither a file nor a block device: %s.", path, strerror(errno));
        r = volume_check(key, image, (uint64_t) size, &progress, &error);
        if (r < 0) {
                (void) failure("%s: %s", path, error.text);
                return r == -EBADMSG ? EXIT_WRONG_BLOCK : r == -ENODATA ? EXIT_TOO_SHORT : EXIT_FAILURE;
        }
        printf("%s: all %" PRIu64 " blocks of the volume %s are right.\n", path,
               key->size / VOLUME_BLOCK_SIZE, key->name);
        if ((uint64_t) size > key->size)
                printf("%" PRIu64 " bytes follow, which nobody reads.\n", (uint64_t) size - key->size);
        return EXIT_SUCCESS;
}

/* The image is opened before the key is asked for: a wrong path costs no request. */
static int verify(const KeySource *source, const char *path) {
        _cleanup_close_ int image = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        _cleanup_volume_key_ VolumeKey key = {};
        int r;

        if (image < 0)
                return failure("Cannot read %s: %s.", path, strerror(errno));
        r = key_source_read(source, &key);
        return r != 0 ? r : check_image(&key, image, path);
}

int volume_verify(int argc, char *argv[]) {
        static const struct option long_options[] = {
                { "help", no_argument, NULL, 'h' },
                { "secret", required_argument, NULL, OPTION_SECRET },
                { "member", required_argument, NULL, OPTION_MEMBER },
                { "key-file", required_argument, NULL, OPTION_KEY_FILE },
                { "vendor-configuration", required_argument, NULL, OPTION_VENDOR },
                { "configuration", required_argument, NULL, OPTION_LOCAL },
                {},
        };
        KeySource source = {};
        int c;

        while ((c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0)
                if (c == 'h') {
                        print_verify_help();
                        return EXIT_SUCCESS;
                } else if (!key_source_take(&source, c, optarg))
                        return EXIT_USAGE;
        if (argc - optind != 1)
                return usage_error("volume verify takes one image, a file or a block device.");
        return verify(&source, argv[optind]);
}
