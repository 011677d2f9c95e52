/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Parses a configuration file. Each assignment has a section and a key, and no control character but the
 * tab.
 */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "config/ini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text) {
        for (; *text; text++)
                assert((unsigned char) *text >= 0x20 || *text == '\t');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_ini_ IniFile *ini = calloc(1, sizeof(*ini));
        unsigned line = 0;
        Error error;

        assert(ini);
        if (ini_parse("fuzz.conf", (const char *) data, size, ini, &error) < 0)
                assert(error.failure == FAILURE_CONFIGURATION);

        for (size_t i = 0; i < ini->count; i++) {
                const IniAssignment *assignment = &ini->assignments[i];
                _cleanup_strings_ char **words = NULL;
                bool boolean;

                assert(assignment->section[0] && assignment->key[0] && assignment->line > line);
                line = assignment->line;
                check_text(assignment->section);
                check_text(assignment->key);
                check_text(assignment->value);

                (void) ini_boolean(assignment, &boolean, &error);
                if (ini_words(assignment, &words, &error) >= 0)
                        assert(strings_count(words) <= strlen(assignment->value) / 2 + 1);
        }
        return 0;
}
