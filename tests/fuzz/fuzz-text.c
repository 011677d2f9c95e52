/* SPDX-License-Identifier: Apache-2.0 */

/* Cleaned text is never longer, has only characters that a journal, a notification and a terminal may be given, and stays as
 * it is when it is cleaned again. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text, const char *allowed) {
        for (size_t left = strlen(text); left > 0;) {
                uint32_t character = 0;
                size_t n = utf8_decode(text, left, &character);

                if (n == 0 || ((character < 0x20 || (character >= 0x7f && character < 0xa0)) &&
                               !strchr(allowed, (int) character)))
                        abort();
                text += n;
                left -= n;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size), *lines = NULL, *again = NULL;
        size_t length;
        Error error;

        if (!text)
                return 0;
        lines = strdup(text);
        length = strlen(text);
        (void) error_set(&error, -1, FAILURE_INTERNAL, "%s", text);
        check(error.text, "");

        if (strlen(text_clean(text)) > length)
                abort();
        check(text, "");
        again = strdup(text);
        if (again && strcmp(text_clean(again), text) != 0)
                abort();
        if (lines)
                check(text_clean_lines(lines), "\n");
        return 0;
}
