/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "basic/json.h"

static int parse(const char *text, struct json_object **ret) {
        /* The copy has no NUL after its end: a sanitizer sees a read beyond it. */
        _cleanup_free_ char *exact = malloc(strlen(text) + 1);

        assert_non_null(exact);
        exact = realloc(exact, strlen(text) ?: 1);
        memcpy(exact, text, strlen(text));
        return json_parse(exact, strlen(text), ret);
}

static void test_every_kind_of_value_is_read(void **state) {
        static const char *const texts[] = {
                "{}",
                "[]",
                "\"\"",
                "12",
                "-0.5e-3",
                "true",
                "false",
                " {\"a\" : [null, 1]}\r\n\t",
                "\"\\u00e9\\\"\\\\'NI:\"",
                "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"",
                "{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_json_ struct json_object *object = NULL;
                int r = parse(texts[i], &object);

                if (r < 0 || !object)
                        fail_msg("%s: %d", texts[i], r);
        }
}

static void test_text_that_is_not_json_is_refused(void **state) {
        static const char *const texts[] = {
                "",
                " ",
                "null",
                "nul",
                "{",
                "[1,]",
                "{\"a\":1,}",
                "{a:1}",
                "{'a':1}",
                "['a']",
                "NaN",
                "[NaN]",
                "[-Infinity]",
                "[TRUE]",
                "[01]",
                "[+1]",
                "[0x1]",
                "[1]x",
                "{}{}",
                "1 2",
                "\"a",
                "\"a\\",
                "\"\\x\"",
                "/**/1",
                "[1]//",
                "{\"a\":1 \"b\":2}",
                "{\"a\":1}}",
                "<html></html>",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                struct json_object *object = NULL;
                int r = parse(texts[i], &object);

                if (r != -EBADMSG || object)
                        fail_msg("%s: %d, wanted %d", texts[i], r, -EBADMSG);
        }
}

static void test_strings_must_be_utf8_without_control_characters(void **state) {
        static const char *const texts[] = {
                "\"a\x01z\"",
                "\"a\nz\"",
                "{\"a\tz\":1}",
                "\"\xff\"",
                "\"\xc0\x80\"",
                "\"\xe2\x82\"",
                "\"\xed\xa0\x80\"",
                "\"\xf4\x90\x80\x80\"",
                "\"\xf8\x88\x80\x80\x80\"",
                "\"\x80\"",
                "\"a\\u0000z\"",
                "{\"a\\u0000z\":1}",
                "\xef\xbb\xbf{}",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                struct json_object *object = NULL;
                int r = parse(texts[i], &object);

                if (r != -EBADMSG)
                        fail_msg("text %zu: %d, wanted %d", i, r, -EBADMSG);
        }
        assert_int_equal(json_parse("{\0}", 3, &(struct json_object *){ NULL }), -EBADMSG);
        assert_int_equal(json_parse("1\0", 2, &(struct json_object *){ NULL }), -EBADMSG);
        assert_int_equal(json_parse("\"\0\"", 3, &(struct json_object *){ NULL }), -EBADMSG);
}

static void test_a_member_named_twice_is_refused(void **state) {
        static const char *const texts[] = {
                "{\"a\":1,\"a\":1}",
                "{\"a\":1,\"\\u0061\":2}",
                "[{\"b\":{\"a\":1,\"c\":2,\"a\":3}}]",
                "{\"a\":null,\"a\":null}",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                assert_int_equal(parse(texts[i], &(struct json_object *){ NULL }), -EBADMSG);
}

static void test_depth_is_bounded(void **state) {
        char text[2 * (JSON_DEPTH_MAX + 1) + 2] = "";
        _cleanup_json_ struct json_object *object = NULL;

        memset(text, '[', JSON_DEPTH_MAX);
        text[JSON_DEPTH_MAX] = '1';
        memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX);
        assert_int_equal(parse(text, &object), 0);

        memset(text, '[', JSON_DEPTH_MAX + 1);
        text[JSON_DEPTH_MAX + 1] = '1';
        memset(text + JSON_DEPTH_MAX + 2, ']', JSON_DEPTH_MAX + 1);
        text[sizeof(text) - 1] = '\0';
        assert_int_equal(json_parse(text, 2 * JSON_DEPTH_MAX + 3, &(struct json_object *){ NULL }),
                         -EBADMSG);
}

static void test_length_is_bounded(void **state) {
        assert_int_equal(json_parse("{}", (size_t) INT_MAX, &(struct json_object *){ NULL }), -EBADMSG);
}

static void test_members_are_found_by_name_and_type(void **state) {
        _cleanup_json_ struct json_object *object = NULL;

        assert_int_equal(parse("{\"s\":\"text\",\"n\":1,\"z\":null,\"o\":{\"s\":\"inner\"}}", &object), 0);
        assert_string_equal(json_member_string(object, "s"), "text");
        assert_string_equal(json_member_string(json_member(object, "o"), "s"), "inner");
        assert_null(json_member_string(object, "n"));
        assert_null(json_member_string(object, "z"));
        assert_null(json_member_string(object, "absent"));
        assert_null(json_member(object, "z"));
        assert_null(json_member(json_member(object, "n"), "s"));
        assert_null(json_member(NULL, "s"));
}

static void test_pointers_lead_where_rfc_6901_says(void **state) {
        _cleanup_json_ struct json_object *object = NULL;
        static const struct {
                const char *pointer, *value;
        } cases[] = {
                { "/db/password", "hunter" }, { "/list/1", "b" }, { "/a~1b", "slash" },
                { "/m~0n", "tilde" },         { "/", "empty" },   { "/~01", "escaped" },
        };

        assert_int_equal(parse("{\"db\":{\"password\":\"hunter\"},\"list\":[\"a\",\"b\"],\"a/"
                               "b\":\"slash\",\"m~n\":\"tilde\","
                               "\"\":\"empty\",\"~1\":\"escaped\"}",
                               &object),
                         0);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_string_equal(json_object_get_string(json_pointer(object, cases[i].pointer)),
                                    cases[i].value);
        assert_ptr_equal(json_pointer(object, ""), object);
        assert_null(json_pointer(object, "db"));
        assert_null(json_pointer(object, "/db/user"));
        assert_null(json_pointer(object, "/list/2"));
        assert_null(json_pointer(object, "/list/01"));
        assert_null(json_pointer(object, "/list/-"));
        assert_null(json_pointer(object, "/list/-1"));
        assert_null(json_pointer(object, "/db/password/x"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_kind_of_value_is_read),
                cmocka_unit_test(test_text_that_is_not_json_is_refused),
                cmocka_unit_test(test_strings_must_be_utf8_without_control_characters),
                cmocka_unit_test(test_a_member_named_twice_is_refused),
                cmocka_unit_test(test_depth_is_bounded),
                cmocka_unit_test(test_length_is_bounded),
                cmocka_unit_test(test_members_are_found_by_name_and_type),
                cmocka_unit_test(test_pointers_lead_where_rfc_6901_says),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
