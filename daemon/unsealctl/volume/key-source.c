/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "basic/io.h"
#include "unsealctl/ctl.h"
#include "unsealctl/unseal.h"
#include "unsealctl/volume/key-source.h"

bool key_source_take(KeySource *source, int option, const char *value) {
        switch (option) {
        case OPTION_SECRET:
                source->secret = value;
                return true;
        case OPTION_MEMBER:
                source->member = value;
                return true;
        case OPTION_KEY_FILE:
                source->file = value;
                return true;
        case OPTION_VENDOR:
                source->vendor = value;
                return true;
        case OPTION_LOCAL:
                source->local = value;
                return true;
        default:
                return false;
        }
}

static bool is_file(const char *secret) {
        size_t length = strlen(secret), suffix = strlen(".secret");

        return strchr(secret, '/') || (length > suffix && strcmp(secret + length - suffix, ".secret") == 0);
}

static int read_key_file(const char *path, Secret **ret) {
        bool is_stdin = strcmp(path, "-") == 0;
        _cleanup_close_ int opened = is_stdin ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        _cleanup_secret_ Secret *text = NULL;
        ssize_t n;

        if (!is_stdin && opened < 0)
                return failure("Cannot read %s: %s.", path, strerror(errno));
        if (secret_new(VOLUME_KEY_TEXT_MAX + 1, &text) < 0)
                return failure("%u bytes of memory cannot be locked, and the key must not reach swap. Raise the limit: \"ulimit -l\".",
                               VOLUME_KEY_TEXT_MAX + 1);
        n = read_up_to(is_stdin ? STDIN_FILENO : opened, secret_bytes(text), VOLUME_KEY_TEXT_MAX + 1);
        if (n < 0)
                return failure("Cannot read %s: %s.", path, strerror((int) -n));
        secret_truncate(text, (size_t) n);
        *ret = TAKE_PTR(text);
        return 0;
}

int key_source_read(const KeySource *source, VolumeKey *ret) {
        _cleanup_secret_ Secret *text = NULL;
        Error error = {};
        int r;

        if (!source->secret == !source->file)
                return usage_error(
                                "The key of the volume comes from --secret=NAME or from --key-file=FILE. Give one of them.");
        if (source->member && source->file)
                return usage_error(
                                "--member= is for --secret=. Give --key-file= the plaintext of the member.");
        (void) memory_protect_process(&error);
        if (source->file)
                r = read_key_file(source->file, &text);
        else {
                const UnsealRequest request = {
                        .declared = is_file(source->secret) ? NULL : source->secret,
                        .file = is_file(source->secret) ? source->secret : NULL,
                        .member = source->member,
                        .vendor = source->vendor,
                        .local = source->local,
                };

                r = unseal_into(&request, &text);
        }
        if (r != 0)
                return r;
        if (volume_key_parse((const char *) secret_bytes(text), secret_size(text), ret, &error) >= 0)
                return 0;
        (void) failure("%s", error.text);
        return error.failure == FAILURE_CIPHERTEXT ? FAILURE_CIPHERTEXT : EXIT_FAILURE;
}
