/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"
#include "basic/json-text.h"
#include "source/bundle.h"

#define CURE "Seal the bundle again; \"unsealctl seal --bundle=FILE\" checks it."

typedef struct Parser {
        char *begin;
        JsonText text;
        BundleMember *members; /* grows at each power of two */
        size_t count;
} Parser;

static size_t offset_of(const Parser *parser) {
        return (size_t) (parser->text.at - parser->begin);
}

/* The place in the text, and nothing of it: what stands there may be a value. */
static int malformed(const Parser *parser, const char *expected, Error *error) {
        return error_set(error, -EBADMSG, FAILURE_CIPHERTEXT,
                         "The bundle is malformed at byte %zu: expected %s. " CURE, offset_of(parser),
                         expected);
}

/* what: after "Member NAME of the bundle". */
static int refuse(const BundleMember *member, const char *what, Error *error) {
        return error_set(error, -EBADMSG, FAILURE_CIPHERTEXT, "Member \"%.*s\" of the bundle %s " CURE,
                         (int) (member->name_size < 128 ? member->name_size : 128), member->name, what);
}

/* Decodes a string where it stands. Returns -EBADMSG without an error. */
static int take_string(Parser *parser, size_t *ret_offset, size_t *ret_size) {
        char *to;

        if (!json_take(&parser->text, '"'))
                return -EBADMSG;
        *ret_offset = offset_of(parser);
        to = parser->begin + *ret_offset;
        return json_take_text(&parser->text, to, ret_size);
}

static int take_name(Parser *parser, BundleMember *member, Error *error) {
        size_t offset = 0;

        if (take_string(parser, &offset, &member->name_size) < 0)
                return malformed(parser, "the name of a member in quotes, in UTF-8", error);
        if (member->name_size == 0)
                return malformed(parser, "a name that is not empty", error);
        member->name = parser->begin + offset;
        json_skip_space(&parser->text);
        return json_take(&parser->text, ':') ? 0 : malformed(parser, "a colon after a member's name", error);
}

/* {"base64": "…"}, whose first bracket has been taken. */
static int take_bytes(Parser *parser, BundleMember *member, Error *error) {
        static const char what[] =
                        "is an object. Expected a string, or {\"base64\": \"…\"} and nothing else in it.";
        size_t offset = 0, size = 0;
        char *text;

        json_skip_space(&parser->text);
        if (take_string(parser, &offset, &size) < 0 || size != strlen("base64") ||
            memcmp(parser->begin + offset, "base64", size) != 0)
                return refuse(member, what, error);
        json_skip_space(&parser->text);
        if (!json_take(&parser->text, ':'))
                return refuse(member, what, error);
        json_skip_space(&parser->text);
        if (take_string(parser, &offset, &size) < 0)
                return refuse(member, what, error);
        json_skip_space(&parser->text);
        if (!json_take(&parser->text, '}'))
                return refuse(member, what, error);
        text = parser->begin + offset;
        if (base64_decode_to(text, size, (uint8_t *) text, &size) < 0)
                return refuse(member, "is not base64. Expected RFC 4648 with padding, without line breaks.",
                              error);
        member->offset = offset;
        member->size = size;
        return 0;
}

static int take_value(Parser *parser, BundleMember *member, Error *error) {
        char next;

        json_skip_space(&parser->text);
        next = parser->text.at < parser->text.end ? *parser->text.at : '\0';
        if (next == '"')
                return take_string(parser, &member->offset, &member->size) >= 0
                                       ? 0
                                       : refuse(member,
                                                "is not a string of JSON: it has a wrong escape, a control character, \\u0000, half of a surrogate pair, or no end, or is not UTF-8. Bytes that are not text go into {\"base64\": \"…\"}.",
                                                error);
        if (json_take(&parser->text, '{'))
                return take_bytes(parser, member, error);
        return refuse(member,
                      next == '['   ? "is an array. Expected a string, or {\"base64\": \"…\"}."
                      : next == 'n' ? "is null. Expected a string, or {\"base64\": \"…\"}."
                      : next == 't' || next == 'f'
                                      ? "is true or false. Expected a string, or {\"base64\": \"…\"}."
                      : next == '-' || (next >= '0' && next <= '9')
                                      ? "is a number. Expected a string, such as \"5432\" with its quotes."
                                      : "has no value. Expected a string, or {\"base64\": \"…\"}.",
                      error);
}

static int add(Parser *parser, const BundleMember *member, Error *error) {
        if (parser->count >= BUNDLE_MEMBERS_MAX)
                return error_set(error, -E2BIG, FAILURE_CIPHERTEXT,
                                 "The bundle has more than %u members. Split it into several bundles.",
                                 BUNDLE_MEMBERS_MAX);
        if ((parser->count & (parser->count - 1)) == 0) {
                BundleMember *grown = reallocarray(
                                parser->members, parser->count > 0 ? parser->count * 2 : 1, sizeof(*grown));

                if (!grown)
                        return error_oom(error);
                parser->members = grown;
        }
        parser->members[parser->count++] = *member;
        return 0;
}

static int take_members(Parser *parser, Error *error) {
        int r;

        json_skip_space(&parser->text);
        if (json_take(&parser->text, '}'))
                return 0;
        do {
                BundleMember member = {};

                json_skip_space(&parser->text);
                if ((r = take_name(parser, &member, error)) < 0 ||
                    (r = take_value(parser, &member, error)) < 0 || (r = add(parser, &member, error)) < 0)
                        return r;
                json_skip_space(&parser->text);
        } while (json_take(&parser->text, ','));
        return json_take(&parser->text, '}') ? 0
                                             : malformed(parser, "a comma or \"}\" after a member", error);
}

static int compare(const char *one, size_t one_size, const char *other, size_t other_size) {
        int r = memcmp(one, other, one_size < other_size ? one_size : other_size);

        return r != 0 ? r : (one_size > other_size) - (one_size < other_size);
}

static int compare_members(const void *a, const void *b) {
        const BundleMember *one = a, *other = b;

        return compare(one->name, one->name_size, other->name, other->name_size);
}

static int find_twice(const Parser *parser, Error *error) {
        for (size_t i = 1; i < parser->count; i++)
                if (compare_members(parser->members + i - 1, parser->members + i) == 0)
                        return refuse(parser->members + i,
                                      "is there twice, and two readers could see two values.", error);
        return 0;
}

int bundle_parse(char *text, size_t size, BundleMember **ret, size_t *ret_count, Error *error) {
        Parser parser = { .begin = text, .text = { .at = text, .end = text + size } };
        int r;

        /* RFC 8259, section 8.1: a reader may refuse it. Editors do not show it. */
        if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
                return malformed(&parser, "\"{\", not a byte order mark. Save the file as UTF-8 without BOM",
                                 error);
        json_skip_space(&parser.text);
        r = json_take(&parser.text, '{')
                            ? take_members(&parser, error)
                            : malformed(&parser, "an object of JSON, which begins with \"{\"", error);
        if (r >= 0) {
                json_skip_space(&parser.text);
                if (parser.text.at < parser.text.end)
                        r = malformed(&parser, "nothing after the object", error);
        }
        if (r >= 0 && parser.count > 0) {
                qsort(parser.members, parser.count, sizeof(*parser.members), compare_members);
                r = find_twice(&parser, error);
        }
        if (r >= 0 && !parser.members)
                parser.members = calloc(1, sizeof(*parser.members));
        if (r >= 0 && !parser.members)
                r = error_oom(error);
        if (r < 0) {
                free(parser.members);
                return r;
        }
        *ret = parser.members;
        *ret_count = parser.count;
        return 0;
}

const BundleMember *bundle_find(const BundleMember *members, size_t count, const char *name) {
        const BundleMember wanted = { .name = name, .name_size = strlen(name) };

        return bsearch(&wanted, members, count, sizeof(*members), compare_members);
}
