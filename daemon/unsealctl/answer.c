/* SPDX-License-Identifier: Apache-2.0 */

#include <openssl/asn1.h>
#include <string.h>

#include "basic/encoding.h"
#include "unsealctl/ctl.h"

struct json_object *made(struct json_object *object) {
        if (!object)
                exit(failure("Out of memory."));
        return object;
}

void add(struct json_object *object, const char *name, struct json_object *value) {
        if (json_object_object_add(object, name, value) < 0)
                exit(failure("Out of memory."));
}

/* Names of files and what a stranger wrote need not be UTF-8, which JSON must be. */
static void make_utf8(char *text) {
        unsigned long character;

        for (size_t left = strlen(text); left > 0;) {
                int n = UTF8_getc((const unsigned char *) text, left > 4 ? 4 : (int) left, &character);

                if (n <= 0 || character > 0x10ffff) {
                        *text = '?';
                        n = 1;
                }
                text += n;
                left -= (size_t) n;
        }
}

void add_string(struct json_object *object, const char *name, const char *value) {
        _cleanup_free_ char *text = value ? strdup(value) : NULL;

        if (!value)
                return;
        if (!text)
                exit(failure("Out of memory."));
        make_utf8(text);
        add(object, name, made(json_object_new_string(text)));
}

void add_hex(struct json_object *object, const char *name, const uint8_t *data, size_t size) {
        _cleanup_free_ char *hex = NULL;

        if (!data)
                add(object, name, NULL);
        else if (hex_encode(data, size, &hex) < 0)
                exit(failure("Out of memory."));
        else
                add_string(object, name, hex);
}
