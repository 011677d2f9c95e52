/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h needs the headers above. */
#include <cmocka.h>

#include "basic/encoding.h"
#include "tpm/pcr.h"

#define ZEROS "000000000000000000000000000000000000000000000000"
#define ZERO_PCR ZEROS ZEROS
#define MIXED_PCR "0123456789abcdef0123456789ABCDEF0123456789abcdef" ZEROS

static const char measurements[] = "{\"Measurements\": {\n"
                                   "  \"HashAlgorithm\": \"SHA384 { ... }\",\n"
                                   "  \"PCR4\": \"" MIXED_PCR "\",\n"
                                   "  \"PCR7\": \"" ZERO_PCR "\",\n"
                                   "  \"PCR12\": \"" ZERO_PCR "\"\n"
                                   "}}\n";

static void test_measurements_are_read(void **state) {
        static const uint8_t start[] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };
        Error error = {};
        PcrSet pcrs;

        assert_int_equal(pcr_measurements_parse(measurements, strlen(measurements), &pcrs, &error), 0);
        assert_int_equal(pcrs.present, 1U << 4 | 1U << 7 | 1U << 12);
        assert_memory_equal(pcrs.value[4], start, sizeof(start));
        assert_memory_equal(pcrs.value[4] + 8, start, sizeof(start));
        assert_int_equal(pcrs.value[12][0], 0);
}

static void test_measurements_in_their_limits_are_read(void **state) {
        static const struct {
                const char *text;
                uint32_t present;
        } samples[] = {
                { "{\"Measurements\":{\"PCR0\":\"" ZERO_PCR "\"}}", 1U << 0 },
                { "{\"Measurements\":{\"PCR23\":\"" ZERO_PCR "\"}}", 1U << 23 },
                { "{\"Measurements\":{\"HashAlgorithm\":\"Sha384 { ... }\",\"PCR2\":\"" ZERO_PCR "\"}}",
                  1U << 2 },
                { "{\"Version\":1,\"Measurements\":{\"PCR10\":\"" ZERO_PCR "\"}}", 1U << 10 },
        };

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                Error error = {};
                PcrSet pcrs;
                int r;

                r = pcr_measurements_parse(samples[i].text, strlen(samples[i].text), &pcrs, &error);
                if (r != 0)
                        fail_msg("%s: saw %i (%s), wanted 0", samples[i].text, r, error.text);
                assert_int_equal(pcrs.present, samples[i].present);
        }
}

static void test_other_measurements_are_refused_and_nothing_is_written(void **state) {
        static const char *const samples[] = {
                "",
                "Measurements",
                "[]",
                "4711",
                "{}",
                "{\"measurements\":{\"PCR4\":\"" ZERO_PCR "\"}}",
                "{\"Measurements\":[\"" ZERO_PCR "\"]}",
                "{\"Measurements\":null}",
                "{\"Measurements\":{}}",
                "{\"Measurements\":{\"HashAlgorithm\":\"SHA384 { ... }\"}}",
                "{\"Measurements\":{\"HashAlgorithm\":\"SHA256\",\"PCR4\":\"" ZERO_PCR "\"}}",
                "{\"Measurements\":{\"HashAlgorithm\":384,\"PCR4\":\"" ZERO_PCR "\"}}",
                "{\"Measurements\":{\"PCR4\":\"" ZEROS "\"}}",
                "{\"Measurements\":{\"PCR4\":\"" ZERO_PCR "0\"}}",
                "{\"Measurements\":{\"PCR4\":\"" ZERO_PCR "00\"}}",
                "{\"Measurements\":{\"PCR4\":\"0x" ZERO_PCR "\"}}",
                "{\"Measurements\":{\"PCR4\":\"x" ZEROS
                "00000000000000000000000000000000000000000000000\"}}",
                "{\"Measurements\":{\"PCR4\":\"\"}}",
                "{\"Measurements\":{\"PCR4\":0}}",
                "{\"Measurements\":{\"PCR4\":null}}",
                "{\"Measurements\":{\"PCR4\":\"" ZERO_PCR "\",\"PCR4\":\"" MIXED_PCR "\"}}",
                "{\"Measurements\":{\"PCR24\":\"" ZERO_PCR "\"}}",
                "{\"Measurements\":{\"PCR04\":\"" ZERO_PCR "\"}}",
                "{\"Measurements\":{\"PCR-1\":\"" ZERO_PCR "\"}}",
                "{\"Measurements\":{\"PCR4294967300\":\"" ZERO_PCR "\"}}",
                "{\"Measurements\":{\"PCR\":\"" ZERO_PCR "\"}}",
                "{\"Measurements\":{\"PCR 4\":\"" ZERO_PCR "\"}}",
                "{\"Measurements\":{\"pcr4\":\"" ZERO_PCR "\"}}",
                "{\"Measurements\":{\"PCR4\":\"" ZERO_PCR "\"}} and more",
        };

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                PcrSet pcrs = { .present = 4711 };
                Error error = {};
                int r;

                r = pcr_measurements_parse(samples[i], strlen(samples[i]), &pcrs, &error);
                if (r != -EBADMSG)
                        fail_msg("%s: saw %i, wanted %i", samples[i], r, -EBADMSG);
                assert_int_equal(error.failure, FAILURE_CONFIGURATION);
                assert_true(strlen(error.text) > 0);
                assert_int_equal(pcrs.present, 4711);
        }
}

static void test_measurements_in_another_form_are_named(void **state) {
        static const struct {
                const char *text;
                size_t size;
                const char *says;
        } samples[] = {
                { "\xef\xbb\xbf{}", 5, "are UTF-8 text behind a byte order mark, not JSON. Remove" },
                { "\xff\xfe{\0}\0", 6, "are text in UTF-16, not JSON. Convert it with" },
                { "{\"Measurements\":", 16, "are not JSON. 'unsealctl measure'" },
        };

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                PcrSet pcrs;
                Error error = {};

                assert_int_equal(pcr_measurements_parse(samples[i].text, samples[i].size, &pcrs, &error),
                                 -EBADMSG);
                if (!strstr(error.text, samples[i].says))
                        fail_msg("saw \"%s\", wanted \"%s\"", error.text, samples[i].says);
        }
}

static void test_only_pcrs_that_both_sets_have_differ(void **state) {
        PcrSet a = { .present = 1U << 0 | 1U << 4 | 1U << 23 },
               b = { .present = 1U << 4 | 1U << 7 | 1U << 23 };

        assert_int_equal(pcr_differing(&a, &b), 0);
        a.value[0][0] = 1;
        b.value[7][0] = 1;
        assert_int_equal(pcr_differing(&a, &b), 0);
        a.value[4][PCR_SIZE - 1] = 1;
        b.value[23][0] = 0x80;
        assert_int_equal(pcr_differing(&a, &b), 1U << 4 | 1U << 23);
        assert_int_equal(pcr_differing(&b, &a), 1U << 4 | 1U << 23);
}

/* echo -n 'unseald lock v1' | openssl sha384, and { head -c 48 /dev/zero; that, as bytes; } | openssl sha384. */
#define LOCK \
        "a77afbee598784017d2a2708aa7faab487a72e43c317c92767d3f622f65fc5cc29c2d6eba68c90f87af2531c4fe923b4"
#define LOCKED \
        "db325d11ac69687ba5fa8814f057271cff7477b88d891f3ccdaa5146ccdedd91702e70ee0f893c824d85c724dac03df4"

static void test_a_locked_pcr_is_recognised_by_its_value(void **state) {
        uint8_t digest[PCR_SIZE], wanted[PCR_SIZE], value[PCR_SIZE] = {}, before[PCR_SIZE] = { 1 };

        assert_int_equal(hex_decode(LOCK, wanted, sizeof(wanted)), 0);
        assert_int_equal(pcr_lock_digest(digest), 0);
        assert_memory_equal(digest, wanted, sizeof(wanted));

        assert_false(pcr_is_locked(value, NULL));
        assert_int_equal(pcr_extend(value, digest), 0);
        assert_int_equal(hex_decode(LOCKED, wanted, sizeof(wanted)), 0);
        assert_memory_equal(value, wanted, sizeof(wanted));
        assert_true(pcr_is_locked(value, NULL));
        assert_false(pcr_is_locked(value, before));

        memcpy(value, before, sizeof(value));
        assert_int_equal(pcr_extend(value, digest), 0);
        assert_true(pcr_is_locked(value, before));
        assert_false(pcr_is_locked(value, NULL));
        assert_int_equal(pcr_extend(value, digest), 0);
        assert_false(pcr_is_locked(value, before));
}

static void test_every_pcr_covers_something(void **state) {
        for (unsigned i = 0; i < PCR_COUNT; i++)
                assert_true(strlen(pcr_covers(i)) > 0);
        assert_non_null(strstr(pcr_covers(4), "unified kernel image"));
        assert_non_null(strstr(pcr_covers(7), "Secure Boot"));
        assert_non_null(strstr(pcr_covers(12), "command line"));
        assert_non_null(pcr_covers(PCR_COUNT));
        assert_non_null(pcr_covers(UINT32_MAX));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_measurements_are_read),
                cmocka_unit_test(test_measurements_in_their_limits_are_read),
                cmocka_unit_test(test_other_measurements_are_refused_and_nothing_is_written),
                cmocka_unit_test(test_measurements_in_another_form_are_named),
                cmocka_unit_test(test_only_pcrs_that_both_sets_have_differ),
                cmocka_unit_test(test_a_locked_pcr_is_recognised_by_its_value),
                cmocka_unit_test(test_every_pcr_covers_something),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
