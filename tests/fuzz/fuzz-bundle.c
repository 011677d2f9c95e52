/* SPDX-License-Identifier: Apache-2.0 */

/* Decodes a bundle in place. The tree of basic/json.c must say the same of each member, and what it calls an object of strings must be
 * accepted. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"
#include "basic/json.h"
#include "source/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Returns whether all members are strings with a name. */
static bool is_of_strings(struct json_object *object) {
        if (!json_object_is_type(object, json_type_object) ||
            json_object_object_length(object) > (int) BUNDLE_MEMBERS_MAX)
                return false;
        json_object_object_foreach(object, name,
                                   value) if (!*name ||
                                              !json_object_is_type(value, json_type_string)) return false;
        return true;
}

static void compare(struct json_object *value, const uint8_t *bytes, size_t size) {
        _cleanup_free_ uint8_t *decoded = NULL;
        const uint8_t *wanted = NULL;
        size_t wanted_size = 0;

        if (json_object_is_type(value, json_type_string)) {
                wanted = (const uint8_t *) json_object_get_string(value);
                wanted_size = (size_t) json_object_get_string_len(value);
        } else {
                const char *text = json_member_string(value, "base64");

                if (!text || json_object_object_length(value) != 1 ||
                    base64_decode(text, strlen(text), &decoded, &wanted_size) < 0)
                        abort();
                wanted = decoded;
        }
        if (size != wanted_size || (size > 0 && memcmp(bytes, wanted, size) != 0))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text =
                        malloc(size + 1); /* of just this size, so that a sanitizer sees an access beyond */
        _cleanup_json_ struct json_object *object = NULL;
        _cleanup_free_ BundleMember *members = NULL;
        size_t count = 0;
        Error error;

        if (!text)
                return 0;
        memcpy(text, data, size);
        (void) json_parse((const char *) data, size, &object);
        if (bundle_parse(text, size, &members, &count, &error) < 0) {
                if (is_of_strings(object))
                        abort();
                return 0;
        }
        if (!object || (size_t) json_object_object_length(object) != count)
                abort();
        for (size_t i = 0; i < count; i++) {
                _cleanup_free_ char *name = strndup(members[i].name, members[i].name_size);
                struct json_object *value = name ? json_member(object, name) : NULL;

                if (!value || members[i].offset > size || members[i].size > size - members[i].offset ||
                    bundle_find(members, count, name) != members + i)
                        abort();
                compare(value, (const uint8_t *) text + members[i].offset, members[i].size);
        }
        return 0;
}
