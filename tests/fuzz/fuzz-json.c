/* SPDX-License-Identifier: Apache-2.0 */

/* Parses JSON. What is accepted must be accepted again in the form in which json-c writes it. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "basic/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ struct json_object *object = NULL, *again = NULL;
        const char *text;
        size_t length;

        if (json_parse((const char *) data, size, &object) < 0)
                return 0;
        (void) json_member_string(object, "__type");
        (void) json_pointer(object, "/a/0");

        text = json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN, &length);
        if (json_parse(text, length, &again) < 0 || !json_object_equal(object, again))
                abort();
        return 0;
}
