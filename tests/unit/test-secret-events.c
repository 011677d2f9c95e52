/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h needs the headers above. */
#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"
#include "tpm/secret-events.h"

static SecretEvent events[4];
static PcrSet measured;

/* Two events for PCR8, with one for PCR15 between them, and a last one for PCR8. */
static int set_up(void **state) {
        memset(events, 0, sizeof(events));
        for (size_t i = 0; i < ELEMENTSOF(events); i++) {
                events[i].pcr = i == 1 ? 15 : 8;
                memset(events[i].digest, 0x10 + (int) i, PCR_SIZE);
        }
        measured = (PcrSet){ .present = 0xFFFFFF };
        return 0;
}

/* Extends the value by these events of PCR8. */
static void extend(uint8_t value[static PCR_SIZE], size_t from, size_t to) {
        for (size_t i = from; i < to; i++)
                if (events[i].pcr == 8)
                        assert_int_equal(pcr_extend(value, events[i].digest), 0);
}

static size_t find(const uint8_t value[static PCR_SIZE], size_t count) {
        size_t next = SIZE_MAX;

        assert_int_equal(secret_events_find(events, count, 8, value, &next), 0);
        return next;
}

/* Computed with openssl: { printf 'db-password\0'; printf 'the ciphertext' | openssl sha384 -binary; } | openssl sha384 */
static void test_the_digest_is_that_of_the_page(void **state) {
        static const char sealed[] = "the ciphertext";
        _cleanup_free_ char *hex = NULL;
        uint8_t of_sealed[PCR_SIZE], digest[PCR_SIZE], other[PCR_SIZE];

        assert_int_equal(secret_event_sealed((const uint8_t *) sealed, strlen(sealed), of_sealed), 0);
        assert_int_equal(secret_event_digest("db-password", of_sealed, digest), 0);
        assert_int_equal(hex_encode(digest, PCR_SIZE, &hex), 0);
        assert_string_equal(
                        hex,
                        "047291b7c724961d3315d88e402ebeaeee062ec34894275c52a44fae50c7181906f747b91e2419781c71ba54b6cd8887");
        assert_int_equal(secret_event_digest("db-passwor", of_sealed, other), 0);
        assert_memory_not_equal(digest, other, PCR_SIZE);
}

static void test_a_value_shows_what_is_extended(void **state) {
        uint8_t value[PCR_SIZE] = {};

        assert_int_equal(secret_events_plan(events, 4, 0, true, &measured), 0);
        assert_int_equal(find(value, 4), 0);
        extend(value, 0, 1);
        assert_int_equal(find(value, 4), 2);
        extend(value, 2, 3);
        assert_int_equal(find(value, 4), 3);
        extend(value, 3, 4);
        assert_int_equal(find(value, 4), 4);
        extend(value, 3, 4); /* twice: somebody else */
        assert_int_equal(secret_events_find(events, 4, 8, value, &(size_t){ 0 }), -ENOENT);
        assert_int_equal(secret_events_find(events, 4, 14, value, &(size_t){ 0 }), 0);
}

static void test_new_events_follow_those_that_may_be_extended(void **state) {
        uint8_t value[PCR_SIZE] = {};

        assert_int_equal(secret_events_plan(events, 2, 0, true, &measured), 0);
        memset(measured.value[8], 0xEE, PCR_SIZE); /* as attested; what is planned counts */
        assert_int_equal(secret_events_plan(events, 4, 2, false, &measured), 0);
        extend(value, 0, 2);
        assert_memory_equal(events[2].before, value, PCR_SIZE);
        extend(value, 2, 3);
        assert_memory_equal(events[3].before, value, PCR_SIZE);
}

static void test_new_events_follow_another_program(void **state) {
        assert_int_equal(secret_events_plan(events, 2, 0, true, &measured), 0);
        extend(measured.value[8], 0, 1);
        assert_int_equal(pcr_extend(measured.value[8], events[1].digest), 0); /* the other program */
        assert_int_equal(secret_events_plan(events, 4, 2, true, &measured), 0);
        assert_memory_equal(events[2].before, measured.value[8], PCR_SIZE);
        assert_int_equal(find(measured.value[8], 4), 2);
}

/* A final stop drops the manifest. */
static void test_what_was_extended_before_a_lost_manifest_is_known(void **state) {
        extend(measured.value[8], 0, 3);
        assert_int_equal(secret_events_plan(events, 4, 0, true, &measured), 0);
        assert_int_equal(find(measured.value[8], 4), 3);
        extend(measured.value[8], 3, 4);
        assert_int_equal(secret_events_plan(events, 4, 0, true, &measured), 0);
        assert_int_equal(find(measured.value[8], 4), 4);

        /* Other events than those were extended: the new ones follow. */
        events[0].digest[0] ^= 1;
        assert_int_equal(secret_events_plan(events, 4, 0, true, &measured), 0);
        assert_int_equal(find(measured.value[8], 4), 0);
}

static void test_a_pcr_that_was_not_attested_is_an_error(void **state) {
        measured.present &= ~(UINT32_C(1) << 15);
        assert_int_equal(secret_events_plan(events, 4, 0, true, &measured), -ENODATA);
        measured.present = UINT32_C(1) << 15 | UINT32_C(1) << 8; /* no other is needed */
        assert_int_equal(secret_events_plan(events, 4, 0, true, &measured), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_the_digest_is_that_of_the_page, set_up),
                cmocka_unit_test_setup(test_a_value_shows_what_is_extended, set_up),
                cmocka_unit_test_setup(test_new_events_follow_those_that_may_be_extended, set_up),
                cmocka_unit_test_setup(test_new_events_follow_another_program, set_up),
                cmocka_unit_test_setup(test_what_was_extended_before_a_lost_manifest_is_known, set_up),
                cmocka_unit_test_setup(test_a_pcr_that_was_not_attested_is_an_error, set_up),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
