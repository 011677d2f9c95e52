/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "faults.h"

static int set_up(void **state) {
        return faults_new((Faults **) state);
}

static int tear_down(void **state) {
        faults_free(*state);
        return 0;
}

/* Up to eight words; NULL ends them. */
static int set(Faults *faults, char reason[static 256], const char *const words[static 8]) {
        size_t n = 0;

        while (n < 8 && words[n])
                n++;
        return faults_set(faults, words, n, reason);
}
#define SET(faults, ...) set(faults, reason, (const char *const[8]){ __VA_ARGS__ })

static void test_fault_counts_its_times_and_ends(void **state) {
        Faults *faults = *state;
        char reason[256] = "";
        FaultValue value;

        assert_int_equal(SET(faults, "kms", "Decrypt", "http", "503", "--times", "2"), 0);
        assert_true(faults_take(faults, SERVICE_KMS, "Decrypt", FAULT_HTTP, &value));
        assert_int_equal(value.number, 503);
        assert_false(faults_take(faults, SERVICE_KMS, "Encrypt", FAULT_HTTP, NULL));
        assert_false(faults_take(faults, SERVICE_IMDS, "Decrypt", FAULT_HTTP, NULL));
        assert_false(faults_take(faults, SERVICE_KMS, "Decrypt", FAULT_DROP, NULL));
        assert_true(faults_take(faults, SERVICE_KMS, "decrypt", FAULT_HTTP, NULL));
        assert_false(faults_take(faults, SERVICE_KMS, "Decrypt", FAULT_HTTP, NULL));
}

static void test_fault_begins_after_so_many_times(void **state) {
        Faults *faults = *state;
        char reason[256] = "";

        assert_int_equal(SET(faults, "s3", "GetObject", "slow", "5", "--after", "2"), 0);
        assert_false(faults_take(faults, SERVICE_S3, "GetObject", FAULT_SLOW, NULL));
        assert_false(faults_take(faults, SERVICE_FILES, "GetObject", FAULT_SLOW, NULL));
        assert_false(faults_take(faults, SERVICE_S3, "GetObject", FAULT_SLOW, NULL));
        assert_true(faults_take(faults, SERVICE_S3, "GetObject", FAULT_SLOW, NULL));
        assert_true(faults_take(faults, SERVICE_S3, "GetObject", FAULT_SLOW, NULL));
        assert_int_equal(set(faults, reason,
                             (const char *const[8]){ "kms", "*", "drop", "--times", "1", "--after", "1" }),
                         0);
        assert_false(faults_take(faults, SERVICE_KMS, "Decrypt", FAULT_DROP, NULL));
        assert_true(faults_take(faults, SERVICE_KMS, "Decrypt", FAULT_DROP, NULL));
        assert_false(faults_take(faults, SERVICE_KMS, "Decrypt", FAULT_DROP, NULL));
        assert_int_equal(SET(faults, "kms", "*", "drop", "--after", "0"), -EINVAL);
}

static void test_fault_without_times_stays_until_cleared(void **state) {
        Faults *faults = *state;
        char reason[256] = "";

        assert_int_equal(SET(faults, "*", "*", "delay", "5"), 0);
        for (size_t i = 0; i < 10; i++) {
                assert_true(faults_take(faults, SERVICE_KMS, "Decrypt", FAULT_DELAY, NULL));
                assert_true(faults_take(faults, SERVICE_IMDS, "token", FAULT_DELAY, NULL));
                assert_true(faults_take(faults, SERVICE_TPM, "NV_Read", FAULT_DELAY, NULL));
        }
        assert_int_equal(faults_clear(faults, NULL, 0), 1);
        assert_false(faults_take(faults, SERVICE_KMS, "Decrypt", FAULT_DELAY, NULL));
}

static void test_clear_takes_what_fits(void **state) {
        Faults *faults = *state;
        char reason[256] = "";

        assert_int_equal(SET(faults, "kms", "Decrypt", "drop"), 0);
        assert_int_equal(SET(faults, "kms", "Encrypt", "drop"), 0);
        assert_int_equal(SET(faults, "imds", "token", "drop"), 0);
        assert_int_equal(faults_clear(faults, (const char *[]){ "tpm" }, 1), 0);
        assert_int_equal(faults_clear(faults, (const char *[]){ "kms", "Decrypt", "reset" }, 3), 0);
        assert_int_equal(faults_clear(faults, (const char *[]){ "kms", "Decrypt" }, 2), 1);
        assert_false(faults_take(faults, SERVICE_KMS, "Decrypt", FAULT_DROP, NULL));
        assert_true(faults_take(faults, SERVICE_KMS, "Encrypt", FAULT_DROP, NULL));
        assert_int_equal(faults_clear(faults, (const char *[]){ "*", "*", "drop" }, 3), 2);
}

static void test_same_fault_replaces_the_first(void **state) {
        Faults *faults = *state;
        char reason[256] = "";
        FaultValue value;

        assert_int_equal(SET(faults, "kms", "Decrypt", "error", "OneException", "its message"), 0);
        assert_int_equal(SET(faults, "kms", "Decrypt", "error", "OtherException"), 0);
        assert_true(faults_take(faults, SERVICE_KMS, "Decrypt", FAULT_ERROR, &value));
        assert_string_equal(value.text, "OtherException");
        assert_string_equal(value.message, "");
        struct json_object *list = faults_list(faults);
        assert_int_equal(json_object_array_length(list), 1);
        assert_int_equal(json_object_get_int(json_member(json_object_array_get_idx(list, 0), "taken")), 1);
        json_object_put(list);
}

static void test_invalid_faults_are_refused_with_a_reason(void **state) {
        static const struct {
                const char *words[8];
                const char *reason;
        } cases[] = {
                { { "kms", "Decrypt" }, "usage" },
                { { "ec2", "Get", "drop" }, "unknown service" },
                { { "files", "GET", "throttle" }, "files has no fault" },
                { { "kms", "Decrypt", "explode" }, "unknown fault" },
                { { "imds", "token", "tampered-cms" }, "imds has no fault" },
                { { "tpm", "*", "http", "503" }, "tpm has no fault" },
                { { "kms", "Decrypt", "http" }, "needs an argument" },
                { { "kms", "Decrypt", "http", "many" }, "needs a number" },
                { { "kms", "Decrypt", "drop", "now" }, "takes no argument" },
                { { "kms", "Decrypt", "drop", "--times", "0" }, "above 0" },
                { { "kms", "Decrypt", "drop", "--times", "x" }, "above 0" },
                { { "kms", "Decrypt", "error", "a", "b", "c" }, "too many arguments" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char reason[256] = "";
                assert_int_equal(set(*state, reason, cases[i].words), -EINVAL);
                if (!strstr(reason, cases[i].reason))
                        fail_msg("'%s' is not in '%s'", cases[i].reason, reason);
        }
}

static void test_every_name_in_the_table_can_be_set_as_it_stands(void **state) {
        struct json_object *names = faults_names();
        size_t n = json_object_array_length(names);

        assert_in_range(n, 30, 200);
        for (size_t i = 0; i < n; i++) {
                struct json_object *entry = json_object_array_get_idx(names, i);
                const char *argument = json_member_string(entry, "argument");
                const char *words[8] = { json_member_string(entry, "service"), "*",
                                         json_member_string(entry, "fault"), *argument ? argument : NULL };
                char reason[256] = "";

                if (set(*state, reason, words) < 0)
                        fail_msg("%s %s %s: %s", words[0], words[2], argument, reason);
                assert_true(strlen(json_member_string(entry, "what")) > 0);
        }
        json_object_put(names);
}

static void test_table_has_an_end(void **state) {
        char operation[32], reason[256] = "";
        int r = 0;

        for (size_t i = 0; i < 1000 && r >= 0; i++) {
                snprintf(operation, sizeof(operation), "operation-%zu", i);
                r = SET(*state, "kms", operation, "drop");
        }
        assert_int_equal(r, -ENOSPC);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_fault_counts_its_times_and_ends, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_fault_begins_after_so_many_times, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_fault_without_times_stays_until_cleared, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_clear_takes_what_fits, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_same_fault_replaces_the_first, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_invalid_faults_are_refused_with_a_reason, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_every_name_in_the_table_can_be_set_as_it_stands, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_table_has_an_end, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
