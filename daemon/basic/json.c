/* SPDX-License-Identifier: Apache-2.0 */

/*
 * json-c does the parsing. Its strict mode still lets through what JSON does not have (control characters
 * and overlong UTF-8 in strings, names in single quotes, NaN, Infinity), cuts a name at \u0000 and keeps the
 * last of two members of one name. So the text is looked over first; members are counted there and in the
 * tree, which must agree. What is left to json-c alone is how numbers are written: it reads "1." and "-01"
 * too.
 *
 * json-c frees its memory without wiping it. A reply with a secret in it is parsed only in programs whose
 * allocator wipes (vault/wipe.c).
 */

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "basic/json.h"
#include "basic/text.h"

/* The length of the character at the front of a string, its escapes included; 0: none that may be there. */
static size_t string_character(const char *text, size_t length) {
        uint32_t character;

        if ((uint8_t) text[0] < 0x20)
                return 0;
        if (text[0] == '\\') {
                if (length >= 6 && memcmp(text, "\\u0000", 6) == 0)
                        return 0;
                return length >= 2 ? 2 : 0;
        }
        return utf8_decode(text, length, &character);
}

/* Looks for what json-c lets through, and counts the members of all objects: a colon outside strings each. */
static int look_over(const char *text, size_t length, size_t *ret_members) {
        size_t members = 0;
        bool in_string = false;

        for (size_t i = 0; i < length;) {
                size_t n = 1;

                if (text[i] == '"')
                        in_string = !in_string;
                else if (in_string)
                        n = string_character(text + i, length - i);
                else if (text[i] == ':')
                        members++;
                else if (text[i] == '\0' || strchr("'NI", text[i]))
                        n = 0;
                if (n == 0)
                        return -EBADMSG;
                i += n;
        }
        *ret_members = members;
        return 0;
}

static size_t count_members(struct json_object *object) {
        size_t n = 0;

        if (json_object_is_type(object, json_type_object)) {
                json_object_object_foreach(object, name, value) {
                        (void) name;
                        n += 1 + count_members(value);
                }
        } else if (json_object_is_type(object, json_type_array)) {
                for (size_t i = 0; i < json_object_array_length(object); i++)
                        n += count_members(json_object_array_get_idx(object, i));
        }
        return n;
}

int json_parse(const char *text, size_t length, struct json_object **ret) {
        _cleanup_json_ struct json_object *object = NULL;
        struct json_tokener *tokener;
        size_t members;
        int r;

        if (length >= INT_MAX)
                return -EBADMSG;
        r = look_over(text, length, &members);
        if (r < 0)
                return r;

        /* json-c counts the value in the innermost array or object as one deeper. */
        tokener = json_tokener_new_ex(JSON_DEPTH_MAX + 1);
        if (!tokener)
                return -ENOMEM;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        object = json_tokener_parse_ex(tokener, text, (int) length);
        /* Only the end of the text tells json-c where a number at the top ends. */
        if (!object && json_tokener_get_error(tokener) == json_tokener_continue)
                object = json_tokener_parse_ex(tokener, "", 1);
        json_tokener_free(tokener);

        if (!object || count_members(object) != members)
                return -EBADMSG;
        *ret = TAKE_PTR(object);
        return 0;
}

struct json_object *json_member(struct json_object *object, const char *name) {
        struct json_object *member = NULL;

        if (!json_object_is_type(object, json_type_object))
                return NULL;
        (void) json_object_object_get_ex(object, name, &member);
        return member;
}

const char *json_member_string(struct json_object *object, const char *name) {
        struct json_object *member = json_member(object, name);

        return json_object_is_type(member, json_type_string) ? json_object_get_string(member) : NULL;
}

bool json_pointer_is_valid(const char *text) {
        for (const char *tilde = text; (tilde = strchr(tilde, '~')); tilde++)
                if (tilde[1] != '0' && tilde[1] != '1')
                        return false;
        return text[0] == '\0' || text[0] == '/';
}

struct json_object *json_pointer(struct json_object *object, const char *pointer) {
        struct json_object *value = NULL;

        return json_pointer_get(object, pointer, &value) < 0 ? NULL : value;
}
