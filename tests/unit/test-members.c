/* SPDX-License-Identifier: Apache-2.0 */

/* This file replaces basic/log.c, and keeps what is logged. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "basic/log.h"
#include "failing-memory.h"
#include "unsealing/members.h"

static char logged[8192];

void log_set_max_priority(int priority) {
}

void log_full(int priority, const LogFields *fields, const char *format, ...) {
        size_t length = strlen(logged);
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(logged + length, sizeof(logged) - length, format, arguments);
        va_end(arguments);
        assert_string_equal(fields->secret, "tls");
}

/* Three members, the second of which is optional; sorted by name. */
static char names[3][16] = { "tls.cert", "tls.chain", "tls.key" }, bundle_name[] = "tls";
static Declaration declared[3] = { { .name = names[0], .member = names[0] + 4 },
                                   { .name = names[1], .member = names[1] + 4, .optional = true },
                                   { .name = names[2], .member = names[2] + 4 } };
static const Declaration declaration = {
        .name = bundle_name, .format = FORMAT_BUNDLE, .members = declared, .members_count = 3
};

static Secret *bundle;
static ManifestMember *members;
static size_t count;

static int tear_down(void **state) {
        bundle = secret_free(bundle);
        free(TAKE_PTR(members));
        logged[0] = 0;
        return 0;
}

static int unpack(const char *json, Error *error) {
        (void) tear_down(NULL);
        assert_int_equal(secret_new(strlen(json), &bundle), 0);
        memcpy(secret_bytes(bundle), json, strlen(json));
        return members_unpack(&declaration, bundle, &members, &count, error);
}

static void accepted(const char *json) {
        Error error;

        if (unpack(json, &error) < 0)
                fail_msg("%s: %s", json, error.text);
}

static void refused(const char *json, const char *expected) {
        Error error = {};

        assert_true(unpack(json, &error) < 0);
        assert_null(members);
        assert_int_equal(error.failure, FAILURE_CIPHERTEXT);
        if (!strstr(error.text, expected))
                fail_msg("saw \"%s\", wanted \"%s\"", error.text, expected);
}

static void has(size_t i, const char *name, const char *value) {
        assert_true(i < count);
        assert_string_equal(members[i].name, name);
        assert_int_equal(members[i].size, strlen(value));
        assert_memory_equal(secret_bytes(bundle) + members[i].offset, value, strlen(value));
}

static void test_declared_members_are_packed(void **state) {
        accepted("{ \"key\": \"the key\", \"cert\": { \"base64\": \"dGhlIGNlcnQ=\" }, \"chain\": \"\" }");
        assert_int_equal(count, 3);
        has(0, "cert", "the cert");
        has(1, "chain", "");
        has(2, "key", "the key");
        assert_int_equal(secret_size(bundle), strlen("the keythe cert"));
        assert_memory_equal(secret_bytes(bundle), "the keythe cert", strlen("the keythe cert"));
        assert_string_equal(logged, "");
}

/* The rest of the memory is wiped, and no value of it is anywhere. */
static void test_nothing_of_an_undeclared_member_stays(void **state) {
        static const char zeros[64];
        uint8_t *end;

        accepted("{\"other\":\"of another\",\"cert\":\"C\",\"key\":\"K\",\"last\":\"of another too\"}");
        assert_int_equal(count, 2);
        has(0, "cert", "C");
        has(1, "key", "K");
        assert_int_equal(secret_size(bundle), 2);
        end = secret_bytes(bundle) + 2;
        assert_memory_equal(end, zeros, 60);
        assert_non_null(strstr(logged, "member \"other\" of the bundle is not delivered"));
        assert_non_null(strstr(logged, "member \"last\" of the bundle is not delivered"));
        assert_non_null(strstr(logged, "lacks the optional member chain"));
        assert_null(strstr(logged, "of another"));
}

static void test_a_member_that_is_not_optional_must_be_there(void **state) {
        refused("{\"cert\":\"C\",\"chain\":\"\"}", "The bundle lacks the member \"key\"");
        refused("{}", "The bundle lacks the member \"cert\"");
        refused("{\"cert\":\"C\",\"keys\":\"K\"}", "The bundle lacks the member \"key\"");
        refused("{\"cert\":\"C\",\"key\":7}", "Member \"key\" of the bundle is a number");
        refused("the key", "malformed at byte 0");
}

static void test_the_journal_is_not_flooded_with_names(void **state) {
        char json[4096] = "{\"cert\":\"\",\"key\":\"\",\"chain\":\"\"";
        size_t lines = 0, length = strlen(json);

        for (unsigned i = 0; i < 30; i++)
                length += (size_t) sprintf(json + length, ",\"x%02u\":\"\"", i);
        (void) strcpy(json + length, "}");
        accepted(json);
        for (const char *at = logged; (at = strstr(at, "is not delivered")); at++)
                lines++;
        assert_int_equal(lines, 20);
        assert_non_null(strstr(logged, "10 more members of the bundle are not delivered"));
}

static int unpack_both(void) {
        Error error = {};
        int r = unpack("{\"cert\":\"C\",\"key\":\"K\"}", &error);

        return r;
}

static void test_a_lack_of_memory_is_no_malformed_bundle(void **state) {
        assert_allocations_are_checked(unpack_both);
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_declared_members_are_packed),
                TEST(test_nothing_of_an_undeclared_member_stays),
                TEST(test_a_member_that_is_not_optional_must_be_there),
                TEST(test_the_journal_is_not_flooded_with_names),
                TEST(test_a_lack_of_memory_is_no_malformed_bundle),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
