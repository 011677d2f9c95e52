/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"
#include "unsealctl/verify-input.h"

#define HEX_DIGITS "0123456789abcdefABCDEF"
#define PREFIX_HEX "hex:"
#define PREFIX_BASE64 "base64:"

static int decode_hex(const char *digits, uint8_t **ret, size_t *ret_size) {
        size_t size = strlen(digits) / 2;
        _cleanup_free_ uint8_t *bytes = malloc(size + 1);
        int r;

        if (!bytes)
                return -ENOMEM;
        r = hex_decode(digits, bytes, size);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bytes);
        *ret_size = size;
        return 0;
}

static bool has_prefix(const char *text, const char *prefix) {
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool nonce_has_prefix(const char *text) {
        return has_prefix(text, PREFIX_HEX) || has_prefix(text, PREFIX_BASE64);
}

static bool is_bare_hex(const char *text) {
        size_t length = strlen(text);

        return length >= INPUT_FORM_HEX_MIN && strspn(text, HEX_DIGITS) == length;
}

int nonce_from_text(const char *text, uint8_t **ret, size_t *ret_size) {
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t length = strlen(text), size = 0;
        int r;

        if (has_prefix(text, PREFIX_HEX))
                return decode_hex(text + strlen(PREFIX_HEX), ret, ret_size);
        if (has_prefix(text, PREFIX_BASE64))
                return base64_decode(text + strlen(PREFIX_BASE64), length - strlen(PREFIX_BASE64), ret,
                                     ret_size);
        if (is_bare_hex(text)) {
                r = decode_hex(text, ret, ret_size);
                return r == -EINVAL ? -ENOENT : r;
        }
        if (length == 0 || text[length - 1] != '=')
                return -ENOENT;
        r = base64_decode(text, length, &bytes, &size);
        if (r == -ENOMEM)
                return r;
        if (r < 0 || size < NONCE_TEXT_MIN)
                return -ENOENT;
        *ret = TAKE_PTR(bytes);
        *ret_size = size;
        return 0;
}

const char *nonce_missing_prefix(const char *text) {
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t length = strlen(text), size = 0;

        if (length > 0 && length % 2 == 0 && strspn(text, HEX_DIGITS) == length)
                return PREFIX_HEX;
        if (base64_decode(text, length, &bytes, &size) >= 0 && size >= NONCE_TEXT_MIN)
                return PREFIX_BASE64;
        return NULL;
}

int nonce_digits(const char *text, char **ret) {
        _cleanup_free_ char *digits = malloc(strlen(text) + 1);
        size_t n = 0;

        *ret = NULL;
        if (!digits)
                return -ENOMEM;
        if (strncmp(text, "0x", 2) == 0)
                text += 2;
        for (; *text; text++)
                if (strchr(HEX_DIGITS, *text))
                        digits[n++] = *text;
                else if (!strchr(":- ", *text))
                        return 0;
        digits[n] = '\0';
        if (n % 2 == 0 && n >= 2 * (size_t) NONCE_TEXT_MIN)
                *ret = TAKE_PTR(digits);
        return 0;
}

static bool begins_as_document(const uint8_t *bytes, size_t size) {
        return size >= 2 &&
               ((bytes[0] == 0x84 && bytes[1] == 0x44) || (bytes[0] == 0xd2 && bytes[1] == 0x84));
}

/* Hexadecimal with white space between the digits, as hex dumps wrap it. */
static int decode_hex_lines(const uint8_t *text, size_t length, uint8_t **ret, size_t *ret_size) {
        _cleanup_free_ char *digits = malloc(length + 1);
        size_t n = 0;

        if (!digits)
                return -ENOMEM;
        for (size_t i = 0; i < length; i++)
                if (!strchr(" \t\r\n", text[i]))
                        digits[n++] = (char) text[i];
        digits[n] = '\0';
        return decode_hex(digits, ret, ret_size);
}

int document_unwrap(uint8_t **data, size_t *size) {
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t decoded = 0;
        int r;

        switch (input_form(*data, *size)) {
        case INPUT_HEX:
                r = decode_hex_lines(*data, *size, &bytes, &decoded);
                break;
        case INPUT_BASE64:
                r = base64_decode_lines((const char *) *data, *size, &bytes, &decoded);
                break;
        default:
                return 0;
        }
        if (r == -ENOMEM)
                return r;
        if (r < 0 || !begins_as_document(bytes, decoded))
                return 0;
        free(*data);
        *data = TAKE_PTR(bytes);
        *size = decoded;
        return 0;
}

InputForm document_form(const uint8_t *data, size_t size) {
        InputForm form = input_form(data, size);

        return form == INPUT_BASE64 && size < INPUT_FORM_BASE64_MIN ? INPUT_TEXT : form;
}
