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
#include "failing-memory.h"

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

static void test_escapes_stand_for_their_characters(void **state) {
        static const struct {
                const char *text, *value;
        } cases[] = {
                { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t" },
                { "\"\\u0041\\u007f\\u0080\\u07FF\\u0800\\uffff\"",
                  "A\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf" },
                { "\"\\ud800\\udc00\\uDBFF\\uDFFF\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf" },
                { "\"\\\\\"", "\\" },
                { "\"a\\\\\\\"b\"", "a\\\"b" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_json_ struct json_object *object = NULL;

                assert_int_equal(parse(cases[i].text, &object), 0);
                assert_string_equal(json_object_get_string(object), cases[i].value);
        }
}

static void test_numbers_keep_their_values(void **state) {
        static const struct {
                const char *text;
                int64_t value;
        } cases[] = {
                { "0", 0 },
                { "-0", 0 },
                { "9223372036854775807", INT64_MAX },
                { "-9223372036854775808", INT64_MIN },
                { "-9223372036854775809", INT64_MIN },
        };
        _cleanup_json_ struct json_object *large = NULL, *larger = NULL, *real = NULL;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_json_ struct json_object *object = NULL;

                assert_int_equal(parse(cases[i].text, &object), 0);
                assert_true(json_object_get_int64(object) == cases[i].value);
        }
        assert_int_equal(parse("18446744073709551615", &large), 0);
        assert_int_equal(parse("18446744073709551616", &larger), 0);
        assert_true(json_object_get_uint64(large) == UINT64_MAX);
        assert_true(json_object_get_uint64(larger) == UINT64_MAX);
        assert_int_equal(parse("-12.5e-1", &real), 0);
        assert_true(json_object_get_double(real) == -1.25);
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
                "[-01]",
                "[1.]",
                "[.5]",
                "[-]",
                "[1e]",
                "[1e+]",
                "[--1]",
                "[,1]",
                "[1,,2]",
                "[1 2]",
                "{\"a\"}",
                "{\"a\":}",
                "{,}",
                "{1:2}",
                "[}",
                "{]",
                "tru",
                "falsehood",
                "\"\\u12\"",
                "\"\\u12g4\"",
                "\"\\ud800\"",
                "\"\\ud800x\"",
                "\"\\ud800\\n\"",
                "\"\\ud800\\ud800\"",
                "\"\\udc00\"",
                "\"\\",
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

/* Members and elements of every kind, more than json-c makes room for at once, and texts longer than its first buffer. */
static const char large_text[] =
                "{\"a\":{\"b\":[1,2,{\"c\":-3}],\"d\":null},\"KeyId\":\"arn:aws:kms:eu-north-1:111122223333:key/1\","
                "\"01\":1,\"02\":2,\"03\":3,\"04\":4,\"05\":5,\"06\":6,\"07\":7,\"08\":8,\"09\":9,\"10\":10,\"11\":11,\"12\":12,"
                "\"13\":13,\"14\":14,\"15\":15,\"16\":16,\"17\":17,\"18\":18,\"19\":[[],[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,"
                "15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36]],\"20\":\"0123456789012345678901234567"
                "890123456789012345678901234567890123456789\",\"21\":true,\"22\":1.5}";

static int parse_large_text(void) {
        _cleanup_json_ struct json_object *object = NULL;
        _cleanup_free_ char *text = NULL;
        int r = json_parse(large_text, strlen(large_text), &object);

        if (r >= 0 && json_format(object, &text) >= 0)
                assert_string_equal(text, large_text);
        return r;
}

static void test_without_memory_a_text_is_neither_malformed_nor_cut(void **state) {
        bool failed = true;

        if (!memory_can_fail())
                skip();
        for (unsigned i = 0; failed; i++) {
                _cleanup_json_ struct json_object *object = NULL;
                int r;

                memory_fail_after(i);
                r = json_parse(large_text, strlen(large_text), &object);
                failed = memory_has_failed();
                assert_int_equal(r, failed ? -ENOMEM : 0);
        }
        assert_int_equal(parse_large_text(), 0);
}

static struct json_object *to_format;

/* Either there is no text, or it is whole. */
static int format_large_object(void) {
        _cleanup_free_ char *text = NULL;
        int r = json_format(to_format, &text);

        if (r >= 0)
                assert_string_equal(text, large_text);
        return r;
}

/* json-c keeps its buffer with the object, so each attempt has a new object. */
static void test_without_memory_no_text_lacks_something(void **state) {
        bool failed = true;

        if (!memory_can_fail())
                skip();
        for (unsigned i = 0; failed; i++) {
                int r;

                assert_int_equal(json_parse(large_text, strlen(large_text), &to_format), 0);
                memory_fail_after(i);
                r = format_large_object();
                failed = memory_has_failed();
                assert_int_equal(r, failed ? -ENOMEM : 0);
                json_put(to_format);
        }
}

/* The control: what is malformed stays so, whatever errno was before. */
static void test_errno_of_an_earlier_call_is_no_lack_of_memory(void **state) {
        _cleanup_json_ struct json_object *object = NULL;
        _cleanup_free_ char *text = NULL;

        errno = ENOMEM;
        assert_int_equal(json_parse("{\"a\":1,}", 8, &object), -EBADMSG);
        errno = ENOMEM;
        assert_int_equal(json_parse("{\"a\":1,\"a\":2}", 13, &object), -EBADMSG);
        errno = ENOMEM;
        assert_int_equal(json_parse("{\"a\":1}", 7, &object), 0);
        errno = ENOMEM;
        assert_int_equal(json_format(object, &text), 0);
        assert_string_equal(text, "{\"a\":1}");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_kind_of_value_is_read),
                cmocka_unit_test(test_escapes_stand_for_their_characters),
                cmocka_unit_test(test_numbers_keep_their_values),
                cmocka_unit_test(test_text_that_is_not_json_is_refused),
                cmocka_unit_test(test_strings_must_be_utf8_without_control_characters),
                cmocka_unit_test(test_a_member_named_twice_is_refused),
                cmocka_unit_test(test_depth_is_bounded),
                cmocka_unit_test(test_length_is_bounded),
                cmocka_unit_test(test_members_are_found_by_name_and_type),
                cmocka_unit_test(test_without_memory_a_text_is_neither_malformed_nor_cut),
                cmocka_unit_test(test_without_memory_no_text_lacks_something),
                cmocka_unit_test(test_errno_of_an_earlier_call_is_no_lack_of_memory),
                cmocka_unit_test(test_pointers_lead_where_rfc_6901_says),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
