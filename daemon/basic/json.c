/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A parser of our own builds the trees of json-c. json-c's parser accepts what JSON does not allow, and cannot be relied on
 * without memory: 0.16 then cuts a string, leaves an element out, or ends the process, and reports success (seen). json-c's
 * functions that build a tree say so when they have no memory.
 *
 * json-c frees its memory without wiping it. Only programs whose free() wipes (memory/wipe.c) may parse a reply that contains
 * a secret.
 */

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "basic/json-text.h"
#include "basic/json.h"

typedef struct Parser {
        JsonText text;
        unsigned depth;
} Parser;

static int parse_value(Parser *parser, struct json_object **ret);

static bool take_digits(JsonText *text) {
        const char *begin = text->at;

        while (text->at < text->end && *text->at >= '0' && *text->at <= '9')
                text->at++;
        return text->at > begin;
}

/* The number of bytes up to the quote that ends the string, or to the end of the text. */
static size_t string_room(const Parser *parser) {
        const char *p = parser->text.at;

        while (p < parser->text.end && *p != '"')
                p += *p == '\\' && p + 1 < parser->text.end ? 2 : 1;
        return (size_t) (p - parser->text.at);
}

/* The caller frees *ret, which ends with a NUL and has no other. */
static int parse_text(Parser *parser, char **ret, size_t *ret_size) {
        _cleanup_free_ char *text = NULL;
        int r;

        if (!json_take(&parser->text, '"'))
                return -EBADMSG;
        text = malloc(string_room(parser) + 1);
        if (!text)
                return -ENOMEM;
        r = json_take_text(&parser->text, text, ret_size);
        if (r < 0)
                return r;
        text[*ret_size] = '\0';
        *ret = TAKE_PTR(text);
        return 0;
}

static int parse_string(Parser *parser, struct json_object **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r = parse_text(parser, &text, &size);

        if (r < 0)
                return r;
        *ret = json_object_new_string_len(text, (int) size);
        return *ret ? 0 : -ENOMEM;
}

/* A number without fraction and exponent. What does not fit becomes the nearest number that does. */
static struct json_object *integer_from(const char *text) {
        long long value;

        errno = 0;
        value = strtoll(text, NULL, 10);
        if (errno == ERANGE && text[0] != '-')
                return json_object_new_uint64(strtoull(text, NULL, 10));
        return json_object_new_int64(value);
}

static int parse_number(Parser *parser, struct json_object **ret) {
        _cleanup_free_ char *text = NULL;
        const char *begin = parser->text.at;
        bool is_integer = true;

        (void) json_take(&parser->text, '-');
        if (!json_take(&parser->text, '0') && !take_digits(&parser->text))
                return -EBADMSG;
        if (json_take(&parser->text, '.')) {
                is_integer = false;
                if (!take_digits(&parser->text))
                        return -EBADMSG;
        }
        if (json_take(&parser->text, 'e') || json_take(&parser->text, 'E')) {
                is_integer = false;
                if (!json_take(&parser->text, '+'))
                        (void) json_take(&parser->text, '-');
                if (!take_digits(&parser->text))
                        return -EBADMSG;
        }
        text = strndup(begin, (size_t) (parser->text.at - begin));
        if (!text)
                return -ENOMEM;
        *ret = is_integer ? integer_from(text) : json_object_new_double_s(strtod(text, NULL), text);
        return *ret ? 0 : -ENOMEM;
}

static int parse_element(Parser *parser, struct json_object *array) {
        struct json_object *value = NULL;
        int r = parse_value(parser, &value);

        if (r < 0)
                return r;
        if (json_object_array_add(array, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

/* With two members of one name two readers could see two values. */
static int parse_member(Parser *parser, struct json_object *object) {
        _cleanup_free_ char *name = NULL;
        struct json_object *value = NULL;
        size_t size;
        int r = parse_text(parser, &name, &size);

        if (r < 0)
                return r;
        json_skip_space(&parser->text);
        if (!json_take(&parser->text, ':') || json_object_object_get_ex(object, name, NULL))
                return -EBADMSG;
        r = parse_value(parser, &value);
        if (r < 0)
                return r;
        if (json_object_object_add(object, name, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

/* An object or an array whose first bracket has been taken. */
static int parse_children(Parser *parser, struct json_object *parent, char end) {
        int r;

        if (parser->depth++ >= JSON_DEPTH_MAX)
                return -EBADMSG;
        json_skip_space(&parser->text);
        if (json_take(&parser->text, end)) {
                parser->depth--;
                return 0;
        }
        do {
                json_skip_space(&parser->text);
                r = end == '}' ? parse_member(parser, parent) : parse_element(parser, parent);
                if (r < 0)
                        return r;
                json_skip_space(&parser->text);
        } while (json_take(&parser->text, ','));
        parser->depth--;
        return json_take(&parser->text, end) ? 0 : -EBADMSG;
}

static int parse_container(Parser *parser, struct json_object **ret) {
        bool is_object = json_take(&parser->text, '{');
        _cleanup_json_ struct json_object *parent = NULL;
        int r;

        if (!is_object)
                (void) json_take(&parser->text, '[');
        parent = is_object ? json_object_new_object() : json_object_new_array();
        if (!parent)
                return -ENOMEM;
        r = parse_children(parser, parent, is_object ? '}' : ']');
        if (r >= 0)
                *ret = TAKE_PTR(parent);
        return r;
}

static int parse_boolean(bool value, struct json_object **ret) {
        *ret = json_object_new_boolean(value);
        return *ret ? 0 : -ENOMEM;
}

/* json-c's null is NULL. */
static int parse_value(Parser *parser, struct json_object **ret) {
        *ret = NULL;
        json_skip_space(&parser->text);
        if (parser->text.at >= parser->text.end)
                return -EBADMSG;
        switch (*parser->text.at) {
        case '{':
        case '[':
                return parse_container(parser, ret);
        case '"':
                return parse_string(parser, ret);
        case 'n':
                return json_take_word(&parser->text, "null") ? 0 : -EBADMSG;
        case 't':
                return json_take_word(&parser->text, "true") ? parse_boolean(true, ret) : -EBADMSG;
        case 'f':
                return json_take_word(&parser->text, "false") ? parse_boolean(false, ret) : -EBADMSG;
        default:
                return parse_number(parser, ret);
        }
}

int json_parse(const char *text, size_t length, struct json_object **ret) {
        _cleanup_json_ struct json_object *object = NULL;
        Parser parser = { .text = { .at = text, .end = text + length } };
        int r;

        if (length >= INT_MAX)
                return -EBADMSG;
        r = parse_value(&parser, &object);
        if (r < 0)
                return r;
        json_skip_space(&parser.text);
        if (!object || parser.text.at < parser.text.end)
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

static int format(struct json_object *object, int flags, char **ret) {
        const char *text;
        char *copy;

        /* Without memory json-c leaves out a piece of the text and reports success (seen with 0.16). Only errno tells. */
        errno = 0;
        text = json_object_to_json_string_ext(object, flags | JSON_C_TO_STRING_NOSLASHESCAPE);
        copy = text && errno != ENOMEM ? strdup(text) : NULL;
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int json_format(struct json_object *object, char **ret) {
        return format(object, JSON_C_TO_STRING_PLAIN, ret);
}

int json_format_pretty(struct json_object *object, char **ret) {
        return format(object, JSON_C_TO_STRING_PRETTY, ret);
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
