/* SPDX-License-Identifier: Apache-2.0 */

/*
 * json-c parses. Its strict mode still accepts what JSON does not allow: control characters and overlong UTF-8 in strings, names
 * in single quotes, NaN and Infinity. It also cuts a name at \u0000 and keeps the last of two members of one name. So the text
 * is checked before. The check counts the members, and the parsed tree must have as many. The form of numbers is left to
 * json-c, which accepts "1." and "-01" too.
 *
 * json-c frees its memory without wiping it. Only programs whose free() wipes (memory/wipe.c) may parse a reply that contains
 * a secret.
 */

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "basic/json.h"
#include "basic/text.h"

/* The length of the first character of a string, which may be an escape. 0: the character is not allowed. */
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

/* Refuses what json-c would accept. Counts the members of all objects, each of which has one colon outside strings. */
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

        /* json-c counts a value in the innermost array or object as one more level. */
        tokener = json_tokener_new_ex(JSON_DEPTH_MAX + 1);
        if (!tokener)
                return -ENOMEM;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        object = json_tokener_parse_ex(tokener, text, (int) length);
        /* A number at the top level ends only where the text ends, which json-c must be told. */
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

int json_format(struct json_object *object, char **ret) {
        const char *text = json_object_to_json_string_ext(
                        object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

        *ret = text ? strdup(text) : NULL;
        return *ret ? 0 : -ENOMEM;
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
