/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "basic/encoding.h"
#include "basic/text.h"
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

void add_string(struct json_object *object, const char *name, const char *value) {
        _cleanup_free_ char *text = value ? strdup(value) : NULL;

        if (!value)
                return;
        if (!text)
                exit(failure("Out of memory."));
        add(object, name, made(json_object_new_string(text_clean_lines(text))));
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
