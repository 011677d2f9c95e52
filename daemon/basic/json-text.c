/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "basic/json-text.h"
#include "basic/text.h"

void json_skip_space(JsonText *text) {
        while (text->at < text->end && memchr(" \t\r\n", *text->at, 4))
                text->at++;
}

bool json_take(JsonText *text, char c) {
        if (text->at >= text->end || *text->at != c)
                return false;
        text->at++;
        return true;
}

bool json_take_word(JsonText *text, const char *word) {
        size_t length = strlen(word);

        if ((size_t) (text->end - text->at) < length || memcmp(text->at, word, length) != 0)
                return false;
        text->at += length;
        return true;
}

/* The four digits of \u. */
static int take_code_unit(JsonText *text, uint32_t *ret) {
        uint32_t unit = 0;

        for (unsigned i = 0; i < 4; i++) {
                static const char digits[] = "0123456789abcdef0123456789ABCDEF";
                const char *digit = text->at < text->end ? memchr(digits, *text->at, 32) : NULL;

                if (!digit)
                        return -EBADMSG;
                unit = unit << 4 | (uint32_t) ((digit - digits) % 16);
                text->at++;
        }
        *ret = unit;
        return 0;
}

/* A character of \u, or of two that are a surrogate pair (RFC 8259 section 7). */
static int take_code_point(JsonText *text, uint32_t *ret) {
        uint32_t first, second;

        if (take_code_unit(text, &first) < 0 || first == 0 || (first >= 0xdc00 && first < 0xe000))
                return -EBADMSG;
        *ret = first;
        if (first < 0xd800 || first >= 0xe000)
                return 0;
        if (!json_take_word(text, "\\u") || take_code_unit(text, &second) < 0 || second < 0xdc00 ||
            second >= 0xe000)
                return -EBADMSG;
        *ret = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return 0;
}

static char *put_utf8(char *to, uint32_t c) {
        if (c < 0x80)
                *to++ = (char) c;
        else if (c < 0x800) {
                *to++ = (char) (0xc0 | c >> 6);
                *to++ = (char) (0x80 | (c & 0x3f));
        } else {
                if (c < 0x10000)
                        *to++ = (char) (0xe0 | c >> 12);
                else {
                        *to++ = (char) (0xf0 | c >> 18);
                        *to++ = (char) (0x80 | (c >> 12 & 0x3f));
                }
                *to++ = (char) (0x80 | (c >> 6 & 0x3f));
                *to++ = (char) (0x80 | (c & 0x3f));
        }
        return to;
}

static int take_escape(JsonText *text, char **to) {
        static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
        const char *name;
        uint32_t c;

        if (json_take(text, 'u')) {
                if (take_code_point(text, &c) < 0)
                        return -EBADMSG;
                *to = put_utf8(*to, c);
                return 0;
        }
        name = text->at < text->end ? memchr(names, *text->at, strlen(names)) : NULL;
        if (!name)
                return -EBADMSG;
        *(*to)++ = values[name - names];
        text->at++;
        return 0;
}

int json_take_text(JsonText *text, char *to, size_t *ret_size) {
        const char *begin = to;

        while (!json_take(text, '"')) {
                uint32_t character;
                size_t n;

                if (json_take(text, '\\')) {
                        if (take_escape(text, &to) < 0)
                                return -EBADMSG;
                        continue;
                }
                if (text->at >= text->end || (uint8_t) *text->at < 0x20)
                        return -EBADMSG;
                n = utf8_decode(text->at, (size_t) (text->end - text->at), &character);
                if (n == 0)
                        return -EBADMSG;
                memmove(to, text->at, n);
                to += n;
                text->at += n;
        }
        *ret_size = (size_t) (to - begin);
        return 0;
}
