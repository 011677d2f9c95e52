/* SPDX-License-Identifier: Apache-2.0 */

/* Text that can be decoded must be the text that encoding gives: there is only one spelling. */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_base64(const char *text, size_t length) {
        _cleanup_free_ uint8_t *bytes = NULL, *lines = NULL;
        _cleanup_free_ char *again = NULL;
        size_t size, lines_size;

        int r = base64_decode_lines(text, length, &lines, &lines_size);
        if (base64_decode(text, length, &bytes, &size) < 0)
                return;
        if (r < 0 || lines_size != size || memcmp(lines, bytes, size) != 0)
                abort();
        if (base64_encode(bytes, size, &again) < 0 || strlen(again) != length ||
            memcmp(again, text, length) != 0)
                abort();
}

static void check_hex(const char *text) {
        _cleanup_free_ uint8_t *bytes = NULL;
        _cleanup_free_ char *again = NULL;
        size_t size = strlen(text) / 2;

        bytes = malloc(size + 1);
        if (!bytes || hex_decode(text, bytes, size) < 0)
                return;
        if (hex_encode(bytes, size, &again) < 0 || strcasecmp(again, text) != 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = NULL;

        check_base64((const char *) data, size);

        text = strndup((const char *) data, size);
        if (text)
                check_hex(text);
        return 0;
}
