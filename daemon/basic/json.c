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

#include "basic/json.h"
#include "basic/text.h"

/* What is left of the text. */
typedef struct Parser {
        const char *at, *end;
        unsigned depth;
} Parser;

static int parse_value(Parser *parser, struct json_object **ret);

static void skip_space(Parser *parser) {
        while (parser->at < parser->end && memchr(" \t\r\n", *parser->at, 4))
                parser->at++;
}

/* Takes a character if it is the next one. */
static bool take(Parser *parser, char c) {
        if (parser->at >= parser->end || *parser->at != c)
                return false;
        parser->at++;
        return true;
}

static bool take_word(Parser *parser, const char *word) {
        size_t length = strlen(word);

        if ((size_t) (parser->end - parser->at) < length || memcmp(parser->at, word, length) != 0)
                return false;
        parser->at += length;
        return true;
}

static bool take_digits(Parser *parser) {
        const char *begin = parser->at;

        while (parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9')
                parser->at++;
        return parser->at > begin;
}

/* The four digits of \u. */
static int take_code_unit(Parser *parser, uint32_t *ret) {
        uint32_t unit = 0;

        for (unsigned i = 0; i < 4; i++) {
                static const char digits[] = "0123456789abcdef0123456789ABCDEF";
                const char *digit = parser->at < parser->end ? memchr(digits, *parser->at, 32) : NULL;

                if (!digit)
                        return -EBADMSG;
                unit = unit << 4 | (uint32_t) ((digit - digits) % 16);
                parser->at++;
        }
        *ret = unit;
        return 0;
}

/* A character of \u, or of two that are a surrogate pair (RFC 8259 section 7). */
static int take_code_point(Parser *parser, uint32_t *ret) {
        uint32_t first, second;

        if (take_code_unit(parser, &first) < 0 || first == 0 || (first >= 0xdc00 && first < 0xe000))
                return -EBADMSG;
        *ret = first;
        if (first < 0xd800 || first >= 0xe000)
                return 0;
        if (!take_word(parser, "\\u") || take_code_unit(parser, &second) < 0 || second < 0xdc00 ||
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

static int take_escape(Parser *parser, char **to) {
        static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
        const char *name;
        uint32_t c;

        if (take(parser, 'u')) {
                if (take_code_point(parser, &c) < 0)
                        return -EBADMSG;
                *to = put_utf8(*to, c);
                return 0;
        }
        name = parser->at < parser->end ? memchr(names, *parser->at, strlen(names)) : NULL;
        if (!name)
                return -EBADMSG;
        *(*to)++ = values[name - names];
        parser->at++;
        return 0;
}

/* The text of a string whose quote has been taken. No escape is shorter than what it stands for, so the buffer suffices. */
static int take_text(Parser *parser, char *to, size_t *ret_size) {
        const char *begin = to;

        while (!take(parser, '"')) {
                uint32_t character;
                size_t n;

                if (take(parser, '\\')) {
                        if (take_escape(parser, &to) < 0)
                                return -EBADMSG;
                        continue;
                }
                if (parser->at >= parser->end || (uint8_t) *parser->at < 0x20)
                        return -EBADMSG;
                n = utf8_decode(parser->at, (size_t) (parser->end - parser->at), &character);
                if (n == 0)
                        return -EBADMSG;
                memcpy(to, parser->at, n);
                to += n;
                parser->at += n;
        }
        *ret_size = (size_t) (to - begin);
        return 0;
}

/* The number of bytes up to the quote that ends the string, or to the end of the text. */
static size_t string_room(const Parser *parser) {
        const char *p = parser->at;

        while (p < parser->end && *p != '"')
                p += *p == '\\' && p + 1 < parser->end ? 2 : 1;
        return (size_t) (p - parser->at);
}

/* The caller frees *ret, which ends with a NUL and has no other. */
static int parse_text(Parser *parser, char **ret, size_t *ret_size) {
        _cleanup_free_ char *text = NULL;
        int r;

        if (!take(parser, '"'))
                return -EBADMSG;
        text = malloc(string_room(parser) + 1);
        if (!text)
                return -ENOMEM;
        r = take_text(parser, text, ret_size);
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
        const char *begin = parser->at;
        bool is_integer = true;

        (void) take(parser, '-');
        if (!take(parser, '0') && !take_digits(parser))
                return -EBADMSG;
        if (take(parser, '.')) {
                is_integer = false;
                if (!take_digits(parser))
                        return -EBADMSG;
        }
        if (take(parser, 'e') || take(parser, 'E')) {
                is_integer = false;
                if (!take(parser, '+'))
                        (void) take(parser, '-');
                if (!take_digits(parser))
                        return -EBADMSG;
        }
        text = strndup(begin, (size_t) (parser->at - begin));
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
        skip_space(parser);
        if (!take(parser, ':') || json_object_object_get_ex(object, name, NULL))
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
        skip_space(parser);
        if (take(parser, end)) {
                parser->depth--;
                return 0;
        }
        do {
                skip_space(parser);
                r = end == '}' ? parse_member(parser, parent) : parse_element(parser, parent);
                if (r < 0)
                        return r;
                skip_space(parser);
        } while (take(parser, ','));
        parser->depth--;
        return take(parser, end) ? 0 : -EBADMSG;
}

static int parse_container(Parser *parser, struct json_object **ret) {
        bool is_object = take(parser, '{');
        _cleanup_json_ struct json_object *parent = NULL;
        int r;

        if (!is_object)
                (void) take(parser, '[');
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
        skip_space(parser);
        if (parser->at >= parser->end)
                return -EBADMSG;
        switch (*parser->at) {
        case '{':
        case '[':
                return parse_container(parser, ret);
        case '"':
                return parse_string(parser, ret);
        case 'n':
                return take_word(parser, "null") ? 0 : -EBADMSG;
        case 't':
                return take_word(parser, "true") ? parse_boolean(true, ret) : -EBADMSG;
        case 'f':
                return take_word(parser, "false") ? parse_boolean(false, ret) : -EBADMSG;
        default:
                return parse_number(parser, ret);
        }
}

int json_parse(const char *text, size_t length, struct json_object **ret) {
        _cleanup_json_ struct json_object *object = NULL;
        Parser parser = { .at = text, .end = text + length };
        int r;

        if (length >= INT_MAX)
                return -EBADMSG;
        r = parse_value(&parser, &object);
        if (r < 0)
                return r;
        skip_space(&parser);
        if (!object || parser.at < parser.end)
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
