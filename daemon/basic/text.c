/* SPDX-License-Identifier: Apache-2.0 */

#include <stdbool.h>
#include <string.h>

#include "basic/text.h"

/* The length of a character by its first byte. 0: no character begins with it. */
static size_t utf8_length(uint8_t lead) {
        return lead < 0x80 ? 1 : lead >> 5 == 0x06 ? 2 : lead >> 4 == 0x0e ? 3 : lead >> 3 == 0x1e ? 4 : 0;
}

static bool is_continuation(char byte) {
        return ((uint8_t) byte & 0xc0) == 0x80;
}

size_t utf8_decode(const char *text, size_t size, uint32_t *ret) {
        static const uint32_t minimum[] = { 0, 0, 0x80, 0x800, 0x10000 };
        uint8_t lead = (uint8_t) text[0];
        size_t length = utf8_length(lead);
        uint32_t character;

        if (length == 0 || length > size)
                return 0;

        character = length == 1 ? lead : lead & (0x7fU >> length);
        for (size_t i = 1; i < length; i++) {
                if (!is_continuation(text[i]))
                        return 0;
                character = character << 6 | ((uint8_t) text[i] & 0x3f);
        }
        if (character < minimum[length] || character > 0x10ffff ||
            (character >= 0xd800 && character <= 0xdfff))
                return 0;

        *ret = character;
        return length;
}

static bool is_harmless(uint32_t character) {
        return character >= 0x20 && (character < 0x7f || character >= 0xa0) && character != 0x061c &&
               character != 0x200e && character != 0x200f && (character < 0x2028 || character > 0x202e) &&
               (character < 0x2066 || character > 0x2069);
}

/* Returns whether the text ends within a character, as it does where snprintf() cut it. */
static bool is_cut(const char *text, size_t left) {
        if (left >= utf8_length((uint8_t) text[0]))
                return false;
        for (size_t i = 1; i < left; i++)
                if (!is_continuation(text[i]))
                        return false;
        return true;
}

static char *clean(char *text, bool keep_newlines) {
        char *from = text, *to = text;

        for (size_t left = strlen(text); left > 0;) {
                uint32_t character;
                size_t n = utf8_decode(from, left, &character);

                if (n > 0 && (is_harmless(character) || (keep_newlines && character == '\n'))) {
                        memmove(to, from, n);
                        to += n;
                } else if (n == 0 && is_cut(from, left))
                        break;
                else
                        *to++ = '?';
                n = n ?: 1;
                from += n;
                left -= n;
        }
        *to = '\0';
        return text;
}

char *text_clean(char *text) {
        return clean(text, false);
}

char *text_clean_lines(char *text) {
        return clean(text, true);
}
