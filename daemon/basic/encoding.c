/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"

int hex_encode(const void *data, size_t size, char **ret) {
        static const char digits[] = "0123456789abcdef";
        const uint8_t *bytes = data;

        if (size > (SIZE_MAX - 1) / 2)
                return -ENOMEM;

        char *text = malloc(size * 2 + 1);
        if (!text)
                return -ENOMEM;

        for (size_t i = 0; i < size; i++) {
                text[2 * i] = digits[bytes[i] >> 4];
                text[2 * i + 1] = digits[bytes[i] & 15];
        }
        text[2 * size] = '\0';

        *ret = text;
        return 0;
}

/* isxdigit() depends on the locale. */
static int hex_value(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

int hex_decode(const char *text, void *buffer, size_t size) {
        uint8_t *bytes = buffer;
        size_t length = strlen(text);

        if (length % 2 != 0 || length / 2 != size)
                return -EINVAL;

        for (size_t i = 0; i < length; i++)
                if (hex_value(text[i]) < 0)
                        return -EINVAL;

        for (size_t i = 0; i < size; i++)
                bytes[i] = (uint8_t) (hex_value(text[2 * i]) << 4 | hex_value(text[2 * i + 1]));
        return 0;
}

int base64_encode(const void *data, size_t size, char **ret) {
        /* EVP_EncodeBlock() takes an int. */
        if (size > INT_MAX / 4 * 3 - 3)
                return -ENOMEM;

        char *text = malloc((size + 2) / 3 * 4 + 1);
        if (!text)
                return -ENOMEM;

        (void) EVP_EncodeBlock((unsigned char *) text, data, (int) size);

        *ret = text;
        return 0;
}

static int base64_value(char c) {
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        if (c == '+')
                return 62;
        if (c == '/')
                return 63;
        return -1;
}

/* EVP_DecodeBlock() would skip white space and accept stray bits and "=". Three bytes are written after the four characters that they
 * come from were read, so bytes may be text. */
int base64_decode_to(const char *text, size_t length, uint8_t *bytes, size_t *ret_size) {
        size_t padding = 0, size = 0;

        if (length % 4 != 0)
                return -EINVAL;
        while (padding < 2 && padding < length && text[length - padding - 1] == '=')
                padding++;

        uint32_t bits = 0;
        for (size_t i = 0; i < length; i++) {
                int value = i < length - padding ? base64_value(text[i]) : 0;
                if (value < 0)
                        return -EINVAL;

                bits = bits << 6 | (uint32_t) value;
                if (i % 4 != 3)
                        continue;
                bytes[size++] = (uint8_t) (bits >> 16);
                bytes[size++] = (uint8_t) (bits >> 8);
                bytes[size++] = (uint8_t) bits;
        }

        /* The bits that the padding stands for must be zero. Otherwise many texts would mean the same bytes. */
        for (size_t i = 0; i < padding; i++)
                if (bytes[--size] != 0)
                        return -EINVAL;

        *ret_size = size;
        return 0;
}

int base64_decode(const char *text, size_t length, uint8_t **ret, size_t *ret_size) {
        _cleanup_free_ uint8_t *bytes = malloc(length / 4 * 3 + 1);
        int r;

        if (!bytes)
                return -ENOMEM;
        r = base64_decode_to(text, length, bytes, ret_size);
        if (r >= 0)
                *ret = TAKE_PTR(bytes);
        return r;
}

int base64_decode_lines(const char *text, size_t length, uint8_t **ret, size_t *ret_size) {
        _cleanup_free_ char *packed = NULL;
        size_t n = 0;

        packed = malloc(length + 1);
        if (!packed)
                return -ENOMEM;

        for (size_t i = 0; i < length; i++)
                if (text[i] == '\0' || !strchr(" \t\r\n", text[i]))
                        packed[n++] = text[i];

        return base64_decode(packed, n, ret, ret_size);
}
