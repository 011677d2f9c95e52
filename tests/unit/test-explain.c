/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "basic/encoding.h"
#include "unsealing/explain.h"

static void set(PcrSet *pcrs, unsigned pcr, uint8_t value) {
        pcrs->present |= UINT32_C(1) << pcr;
        memset(pcrs->value[pcr], value, PCR_SIZE);
}

static PcrSet a_boot(void) {
        PcrSet pcrs = {};

        set(&pcrs, 4, 0x44);
        set(&pcrs, 7, 0x77);
        set(&pcrs, 12, 0x00);
        return pcrs;
}

static void assert_has(const char *text, const char *part) {
        if (!strstr(text, part))
                fail_msg("wanted '%s' in:\n%s", part, text);
}

static void test_measured_values_are_shown_when_nothing_is_expected(void **state) {
        PcrSet measured = a_boot();
        char buffer[EXPLANATION_MAX];

        assert_has(explain_measurements(&measured, NULL, 0, buffer), "PCR4");
        assert_has(buffer, "44444444444444444444444444444444444444444444444444444444444444444444444444444444"
                           "4444444444444444\nPCR7 (");
        assert_has(buffer, "PCR12");
        assert_null(strstr(buffer, "DIFFERS"));
        assert_null(strstr(buffer, "as expected"));
}

static void test_the_pcr_that_differs_is_named_and_no_other(void **state) {
        PcrSet measured = a_boot(), expected = a_boot();
        char buffer[EXPLANATION_MAX], *differs;

        set(&expected, 4, 0x45);
        explain_measurements(&measured, &expected, 0, buffer);
        differs = strstr(buffer, "DIFFERS");
        assert_non_null(differs);
        assert_null(strstr(differs + 1, "DIFFERS"));
        assert_true(differs < strstr(buffer, "PCR7"));
        assert_has(buffer, "expected 454545");
        assert_has(buffer, "measured 444444");
}

static void test_a_pcr_that_nothing_is_expected_of_is_not_compared(void **state) {
        PcrSet measured = a_boot(), expected = {};
        char buffer[EXPLANATION_MAX];

        set(&expected, 12, 0x00);
        explain_measurements(&measured, &expected, 0, buffer);
        assert_null(strstr(buffer, "DIFFERS"));
        assert_true(strstr(buffer, "as expected") > strstr(buffer, "PCR12"));
}

/* KMS compares like this too, by the policy that was made of the same file. */
static void test_a_pcr_that_the_file_leaves_out_is_compared_with_its_usual_value(void **state) {
        static const unsigned usual[] = { 2, 12, 13 };
        PcrSet measured = a_boot(), expected = {};
        char buffer[EXPLANATION_MAX], line[32];

        set(&expected, 4, 0x44);
        set(&measured, 13, 0);
        assert_int_equal(hex_decode(PCR2_WITHOUT_DRIVERS, measured.value[2], PCR_SIZE), 0);
        measured.present |= 1U << 2;
        explain_measurements(&measured, &expected, 0, buffer);
        assert_null(strstr(buffer, "DIFFERS"));
        assert_null(strstr(buffer, "PCR2 "));
        assert_null(strstr(buffer, "PCR13"));
        for (size_t i = 0; i < ELEMENTSOF(usual); i++) {
                measured.value[usual[i]][0] ^= 1;
                explain_measurements(&measured, &expected, 0, buffer);
                measured.value[usual[i]][0] ^= 1;
                (void) snprintf(line, sizeof(line), "PCR%u (%.8s", usual[i], pcr_covers(usual[i]));
                assert_has(buffer, line);
                assert_has(strstr(buffer, line), "DIFFERS");
        }
}

static void test_everything_fits_when_all_differ(void **state) {
        PcrSet measured = {}, expected = {};
        char buffer[EXPLANATION_MAX];

        for (unsigned pcr = 0; pcr < 16; pcr++) {
                set(&measured, pcr, 0x22);
                set(&expected, pcr, 0x0F);
        }
        explain_measurements(&measured, &expected, 0, buffer);
        assert_has(buffer, "PCR15");
        assert_has(strstr(buffer, "PCR15"),
                   "expected 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f");
}

static void test_drivers_of_others_are_told_of_where_nothing_is_expected(void **state) {
        PcrSet measured = a_boot();
        char buffer[EXPLANATION_MAX];

        set(&measured, 2, 0);
        assert_null(strstr(explain_measurements(&measured, NULL, 0, buffer), "PCR2"));
        assert_int_equal(hex_decode(PCR2_WITHOUT_DRIVERS, measured.value[2], PCR_SIZE), 0);
        assert_null(strstr(explain_measurements(&measured, NULL, 0, buffer), "PCR2"));
        measured.value[2][PCR_SIZE - 1] ^= 1;
        assert_has(explain_measurements(&measured, NULL, 0, buffer), "PCR2 (drivers");
        assert_has(buffer, "--allow-drivers\n  measured 518923b0");
}

/* Extends a PCR as LockPcr= does. */
static void lock(uint8_t value[static PCR_SIZE]) {
        uint8_t digest[PCR_SIZE];

        assert_int_equal(pcr_lock_digest(digest), 0);
        assert_int_equal(pcr_extend(value, digest), 0);
}

static void test_extensions_are_told_of_where_nothing_is_expected(void **state) {
        PcrSet measured = a_boot();
        char buffer[EXPLANATION_MAX];

        set(&measured, 13, 0);
        assert_null(strstr(explain_measurements(&measured, NULL, 0, buffer), "PCR13"));
        lock(measured.value[13]);
        assert_null(strstr(explain_measurements(&measured, NULL, 0, buffer), "PCR13"));
        set(&measured, 13, 0x31);
        assert_has(explain_measurements(&measured, NULL, 0, buffer), "PCR13 (system extensions) SHOWS");
        assert_has(buffer, "--no-pcr13\n  measured 313131");
        assert_has(explain_measurements(&measured, NULL, UINT32_C(1) << 8, buffer), "PCR13 (system");
        assert_null(strstr(explain_measurements(&measured, NULL, UINT32_C(1) << 13, buffer), "PCR13"));
}

static void test_the_first_line_is_not_empty(void **state) {
        PcrSet measured = {};
        char buffer[EXPLANATION_MAX];

        set(&measured, 2, 0x22);
        assert_int_equal(strncmp(explain_measurements(&measured, NULL, 0, buffer), "PCR2 (", 6), 0);
        set(&measured, 4, 0x44);
        assert_int_equal(strncmp(explain_measurements(&measured, NULL, 0, buffer), "PCR4 (", 6), 0);
        assert_has(buffer, "44\nPCR2 (");
}

static void assert_measured_explained(const PcrSet *measured, uint32_t pcrs, Failure failure,
                                      bool explained) {
        Error error = {};

        (void) error_set(&error, -EREMOTEIO, failure, "KMS says no.");
        explain_measured(measured, pcrs, &error);
        assert_int_equal(error.failure, failure);
        assert_has(error.text, "KMS says no.");
        if (!strstr(error.text,
                    "MeasurePcr= has extended PCR8 in this boot, and the key's policy must not pin that.") ==
            explained)
                fail_msg("%s", error.text);
}

static void test_a_denial_after_a_measurement_names_the_pcr(void **state) {
        PcrSet measured = {};

        set(&measured, 8, 0);
        set(&measured, 15, 1);
        assert_measured_explained(&measured, 1U << 8, FAILURE_DENIED, false);
        set(&measured, 8, 1);
        assert_measured_explained(&measured, 1U << 8, FAILURE_DENIED, true);
        assert_measured_explained(&measured, 1U << 8 | 1U << 14, FAILURE_DENIED, true);
        assert_measured_explained(&measured, 1U << 8, FAILURE_NETWORK, false);
        assert_measured_explained(&measured, 0, FAILURE_DENIED, false);
        assert_measured_explained(&(PcrSet){}, 1U << 8, FAILURE_DENIED, false);
}

static void assert_lock_explained(const PcrSet *measured, unsigned pcr, Failure failure, bool explained) {
        Error error = {};

        (void) error_set(&error, -EREMOTEIO, failure, "KMS says no.");
        strcpy(error.code, "AccessDeniedException");
        strcpy(error.request_id, "id-1");
        explain_lock(measured, pcr, &error);
        assert_int_equal(error.failure, explained ? FAILURE_LOCKED : failure);
        assert_has(error.text, explained ? "has locked PCR14 in this boot" : "KMS says no.");
        assert_has(error.text, "KMS says no.");
        assert_string_equal(error.code, "AccessDeniedException");
        assert_string_equal(error.request_id, "id-1");
}

static void test_only_a_denial_after_the_lock_is_explained_by_it(void **state) {
        PcrSet measured = {};

        set(&measured, 14, 0x00);
        set(&measured, 15, 0x00);
        set(&measured, 0, 0x00);
        assert_lock_explained(&measured, 14, FAILURE_DENIED, false);
        lock(measured.value[14]);
        lock(measured.value[0]);
        assert_true(pcr_is_locked(measured.value[14], NULL));
        assert_lock_explained(&measured, 14, FAILURE_DENIED, true);
        assert_lock_explained(&measured, 14, FAILURE_KEY, false);
        assert_lock_explained(&measured, 15, FAILURE_DENIED, false);
        assert_lock_explained(&measured, 0, FAILURE_DENIED, false);
        measured.present &= ~(UINT32_C(1) << 14);
        assert_lock_explained(&measured, 14, FAILURE_DENIED, false);
}

static void test_without_measured_values_there_is_no_explanation(void **state) {
        PcrSet measured = {};
        char buffer[EXPLANATION_MAX];

        assert_string_equal(explain_measurements(&measured, NULL, 0, buffer), "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_measured_values_are_shown_when_nothing_is_expected),
                cmocka_unit_test(test_the_pcr_that_differs_is_named_and_no_other),
                cmocka_unit_test(test_a_pcr_that_nothing_is_expected_of_is_not_compared),
                cmocka_unit_test(test_a_pcr_that_the_file_leaves_out_is_compared_with_its_usual_value),
                cmocka_unit_test(test_everything_fits_when_all_differ),
                cmocka_unit_test(test_drivers_of_others_are_told_of_where_nothing_is_expected),
                cmocka_unit_test(test_extensions_are_told_of_where_nothing_is_expected),
                cmocka_unit_test(test_the_first_line_is_not_empty),
                cmocka_unit_test(test_a_denial_after_a_measurement_names_the_pcr),
                cmocka_unit_test(test_only_a_denial_after_the_lock_is_explained_by_it),
                cmocka_unit_test(test_without_measured_values_there_is_no_explanation),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
