/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "basic/cleanup.h"
#include "failing-memory.h"
#include "source/bundle.h"

#define VALUE "hunter2-is-the-value"

/* In memory of just this size, so that valgrind sees an access beyond it. The members point into it. */
static char *text;
static BundleMember *members;
static size_t count;

static int tear_down(void **state) {
        free(TAKE_PTR(text));
        free(TAKE_PTR(members));
        count = 0;
        return 0;
}

static int parse_bytes(const char *bytes, size_t size, Error *error) {
        (void) tear_down(NULL);
        text = malloc(size > 0 ? size : 1);
        assert_non_null(text);
        memcpy(text, bytes, size);
        return bundle_parse(text, size, &members, &count, error);
}

static void accepted(const char *json) {
        Error error;

        if (parse_bytes(json, strlen(json), &error) < 0)
                fail_msg("%s: %s", json, error.text);
}

static void has(const char *name, const char *value, size_t size) {
        const BundleMember *member = bundle_find(members, count, name);

        if (!member)
                fail_msg("there is no member %s", name);
        if (member->size != size || memcmp(text + member->offset, value, size) != 0)
                fail_msg("%s: saw %.*s", name, (int) member->size, text + member->offset);
}

/* The error has this text and no value. */
static void refused(const char *json, const char *expected) {
        Error error = {};

        if (parse_bytes(json, strlen(json), &error) != -EBADMSG)
                fail_msg("%s was accepted", json);
        assert_null(members);
        assert_int_equal(error.failure, FAILURE_CIPHERTEXT);
        if (!strstr(error.text, expected))
                fail_msg("%s: saw \"%s\", wanted \"%s\"", json, error.text, expected);
        if (strstr(error.text, "hunter2"))
                fail_msg("the error has a value: %s", error.text);
}

static void test_members_are_strings_or_bytes(void **state) {
        accepted("{\"tls.key\": {\"base64\": \"AAECAwT/\"}, \"db-password\": \"" VALUE "\",\"a\":\"\"}");
        assert_int_equal(count, 3);
        has("db-password", VALUE, strlen(VALUE));
        has("tls.key", "\0\1\2\3\4\377", 6);
        has("a", "", 0);
        assert_null(bundle_find(members, count, "db-passwor"));
        assert_null(bundle_find(members, count, "db-password2"));
        assert_null(bundle_find(members, count, ""));
        /* sorted by name */
        assert_memory_equal(members[0].name, "a", 1);
        assert_memory_equal(members[1].name, "db-password", 11);
        assert_memory_equal(members[2].name, "tls.key", 7);
}

static void test_a_bundle_may_have_no_members_and_white_space(void **state) {
        accepted("{}");
        assert_int_equal(count, 0);
        accepted(" \n\t\r{ \n } \n");
        assert_int_equal(count, 0);
        accepted(" { \"a\" : \"1\" ,\n\"b\":{ \"base64\" : \"Mg==\" } }\n");
        has("a", "1", 1);
        has("b", "2", 1);
}

static void test_escapes_are_decoded_in_place(void **state) {
        accepted("{\"\\u0061\\u00e9\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u00e9\\u20ac\\ud83d\\ude00\xc3\xa9\","
                 "\"b\":{\"b\\u0061se64\":\"\\u0041AE=\"}}");
        has("a\xc3\xa9", "\"\\/\b\f\n\r\t\1\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa9", 20);
        has("b", "\0\1", 2);
}

static void test_what_is_no_string_is_refused_by_the_name_of_the_member(void **state) {
        refused("{\"port\":5432}", "Member \"port\" of the bundle is a number.");
        refused("{\"port\":-1}", "Member \"port\" of the bundle is a number.");
        refused("{\"a\":null}", "Member \"a\" of the bundle is null.");
        refused("{\"a\":true}", "Member \"a\" of the bundle is true or false.");
        refused("{\"a\":false}", "Member \"a\" of the bundle is true or false.");
        refused("{\"a\":[\"" VALUE "\"]}", "Member \"a\" of the bundle is an array.");
        refused("{\"a\":{}}", "Member \"a\" of the bundle is an object.");
        refused("{\"a\":{\"text\":\"" VALUE "\"}}", "Member \"a\" of the bundle is an object.");
        refused("{\"a\":{\"base64\":\"AAE=\",\"b\":\"" VALUE "\"}}",
                "Member \"a\" of the bundle is an object.");
        refused("{\"a\":{\"base64\":{\"base64\":\"AAE=\"}}}", "Member \"a\" of the bundle is an object.");
        refused("{\"a\":{\"base6\":\"AAE=\"}}", "Member \"a\" of the bundle is an object.");
        refused("{\"a\":{\"base64x\":\"AAE=\"}}", "Member \"a\" of the bundle is an object.");
        refused("{\"a\":{\"base64\":5}}", "Member \"a\" of the bundle is an object.");
        refused("{\"a\":}", "Member \"a\" of the bundle has no value.");
        refused("{\"a\":" VALUE "}", "Member \"a\" of the bundle has no value.");
}

static void test_text_that_another_reader_would_read_otherwise_is_refused(void **state) {
        static const char *const wrong[] = {
                "\\u0000",
                "hunter2\\u0000x",
                "\\ud800",
                "\\udc00",
                "\\ud800\\u0041",
                "\\ud800x",
                "\xff",
                "\xc0\x80",
                "\n",
                "\\x41",
                "\\u12",
                "\xed\xa0\x80",
                "hunter2\xc3",
                "\t",
                "\\",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *json = NULL;

                assert_true(asprintf(&json, "{\"a\":\"%s\"}", wrong[i]) > 0);
                refused(json, "Member \"a\" of the bundle is not a string of JSON");
        }
        refused("{\"a\":\"" VALUE, "Member \"a\" of the bundle is not a string of JSON");
}

static void test_base64_is_strict(void **state) {
        static const char *const wrong[] = { "AAE",      "AAF=",        "AA E", "AAE=\\n", "=",
                                             "AAE=AAE=", "hunter2====", "AAE_", "AAE-" };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *json = NULL;

                assert_true(asprintf(&json, "{\"a\":{\"base64\":\"%s\"}}", wrong[i]) > 0);
                refused(json, "Member \"a\" of the bundle is not base64");
        }
}

static void test_a_name_is_there_once(void **state) {
        refused("{\"a\":\"" VALUE "\",\"b\":\"\",\"a\":\"" VALUE "\"}",
                "Member \"a\" of the bundle is there twice");
        refused("{\"a\":\"" VALUE "\",\"\\u0061\":\"" VALUE "\"}",
                "Member \"a\" of the bundle is there twice");
        refused("{\"\":\"" VALUE "\"}", "malformed at byte 3: expected a name that is not empty");
}

static void test_what_is_no_object_is_refused_by_its_place(void **state) {
        refused("", "malformed at byte 0: expected an object");
        refused("\"" VALUE "\"", "malformed at byte 0: expected an object");
        refused(VALUE, "malformed at byte 0: expected an object");
        refused("[]", "malformed at byte 0: expected an object");
        refused("null", "malformed at byte 0: expected an object");
        refused("\xef\xbb\xbf{}",
                "malformed at byte 0: expected \"{\", not a byte order mark. Save the file as UTF-8");
        refused("{", "malformed at byte 1: expected the name");
        refused("{" VALUE, "malformed at byte 1: expected the name");
        refused("{\"a\"", "malformed at byte 4: expected a colon");
        refused("{\"a\" \"" VALUE "\"}", "malformed at byte 5: expected a colon");
        refused("{\"a\":\"\"", "malformed at byte 7: expected a comma");
        refused("{\"a\":\"\" \"" VALUE "\"}", "malformed at byte 8: expected a comma");
        refused("{\"a\":\"\",}", "malformed at byte 8: expected the name");
        refused("{,}", "malformed at byte 1: expected the name");
        refused("{}{\"" VALUE, "malformed at byte 2: expected nothing after the object");
        refused("{'a':''}", "malformed at byte 1: expected the name");
        refused("{/*" VALUE "*/}", "malformed at byte 1: expected the name");
        refused("{\"a\\u0000\":\"" VALUE "\"}", "malformed at byte");
}

/* A name is shown, and it is from outside. */
static void test_a_name_in_an_error_is_clean_and_short(void **state) {
        char json[1024];

        refused("{\"a\\n\\u001b[31m\":1}", "Member \"a??[31m\" of the bundle is a number");
        (void) snprintf(json, sizeof(json), "{\"%0500d\":1}", 0);
        refused(json, "00000\" of the bundle is a number");
}

static void test_a_cut_bundle_is_refused(void **state) {
        static const char whole[] = "{\"a\":\"" VALUE "\",\"b\":{\"base64\":\"AAE=\"}}";
        Error error;

        for (size_t size = 0; size < strlen(whole); size++)
                if (parse_bytes(whole, size, &error) != -EBADMSG)
                        fail_msg("%zu of %zu bytes were accepted", size, strlen(whole));
        assert_int_equal(parse_bytes(whole, strlen(whole), &error), 0);
}

static int parse_many(unsigned number) {
        _cleanup_free_ char *json = malloc(number * 16 + 3);
        Error error = {};
        size_t size = 1;

        assert_non_null(json);
        json[0] = '{';
        for (unsigned i = 0; i < number; i++)
                size += (size_t) sprintf(json + size, "%s\"m%05u\":\"%u\"", i > 0 ? "," : "", i, i % 10);
        json[size++] = '}';
        return parse_bytes(json, size, &error);
}

static void test_the_number_of_members_is_limited(void **state) {
        assert_int_equal(parse_many(BUNDLE_MEMBERS_MAX), 0);
        assert_int_equal(count, BUNDLE_MEMBERS_MAX);
        has("m01234", "4", 1);
        assert_int_equal(parse_many(BUNDLE_MEMBERS_MAX + 1), -E2BIG);
}

static int parse_three(void) {
        static const char json[] = "{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\"}";
        char copy[sizeof(json)];
        BundleMember *list = NULL;
        size_t number;
        Error error = {};
        int r;

        memcpy(copy, json, sizeof(json));
        r = bundle_parse(copy, strlen(json), &list, &number, &error);
        free(list);
        return r;
}

static void test_a_lack_of_memory_is_no_malformed_bundle(void **state) {
        assert_allocations_are_checked(parse_three);
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_members_are_strings_or_bytes),
                TEST(test_a_bundle_may_have_no_members_and_white_space),
                TEST(test_escapes_are_decoded_in_place),
                TEST(test_what_is_no_string_is_refused_by_the_name_of_the_member),
                TEST(test_text_that_another_reader_would_read_otherwise_is_refused),
                TEST(test_base64_is_strict),
                TEST(test_a_name_is_there_once),
                TEST(test_what_is_no_object_is_refused_by_its_place),
                TEST(test_a_name_in_an_error_is_clean_and_short),
                TEST(test_a_cut_bundle_is_refused),
                TEST(test_the_number_of_members_is_limited),
                TEST(test_a_lack_of_memory_is_no_malformed_bundle),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
