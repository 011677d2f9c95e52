/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "volume/volume-key.h"

/* Where the key of a volume comes from: an option of show and verify. */
typedef struct KeySource {
        const char *secret;         /* --secret=: the name of a declared secret, or a *.secret file */
        const char *file;           /* --key-file=: the plaintext of the secret; "-": standard input */
        const char *member;         /* --member=: of the bundle that --secret= names */
        const char *vendor, *local; /* directories of the configuration; NULL: the usual ones */
} KeySource;

/* Reads and parses the key. Returns 0, or the exit status after its message is printed. The caller calls volume_key_clear(). */
int key_source_read(const KeySource *source, VolumeKey *ret);

/* Takes one of the options above, and returns whether it was one. */
typedef enum KeySourceOption {
        OPTION_SECRET = 512,
        OPTION_MEMBER,
        OPTION_KEY_FILE,
        OPTION_VENDOR,
        OPTION_LOCAL,
} KeySourceOption;

bool key_source_take(KeySource *source, int option, const char *value);
