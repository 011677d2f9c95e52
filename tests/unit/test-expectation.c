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
#include "tpm/expectation.h"

#define BIT(n) (UINT32_C(1) << (n))

/* A value is one byte, repeated. */
enum {
        NONE = -1,     /* the file, or the document, does not have the PCR */
        FIRMWARE = -2, /* PCR2 where firmware has loaded no drivers but its own */
};

typedef struct Values {
        int pcr2, pcr4, pcr7, pcr12, pcr13, pcr15;
} Values;

static PcrSet set_of(const Values *values) {
        const struct {
                unsigned pcr;
                int value;
        } all[] = { { 2, values->pcr2 },   { 4, values->pcr4 },   { 7, values->pcr7 },
                    { 12, values->pcr12 }, { 13, values->pcr13 }, { 15, values->pcr15 } };
        PcrSet set = {};

        for (size_t i = 0; i < ELEMENTSOF(all); i++) {
                if (all[i].value == NONE)
                        continue;
                set.present |= BIT(all[i].pcr);
                if (all[i].value == FIRMWARE)
                        assert_int_equal(hex_decode(PCR2_WITHOUT_DRIVERS, set.value[all[i].pcr], PCR_SIZE),
                                         0);
                else
                        memset(set.value[all[i].pcr], all[i].value, PCR_SIZE);
        }
        return set;
}

#define PREDICTED \
        { NONE, 0xA4, NONE, NONE, NONE, NONE }
#define GOOD_BOOT \
        { FIRMWARE, 0xA4, 0x07, 0, 0, 0 }

static const struct {
        const char *what;
        Values file, document;
        ExpectationOptions options;
        uint32_t differing, missing;
} cases[] = {
        { "a good boot of a predicted image", PREDICTED, GOOD_BOOT, {}, 0, 0 },
        { "another image", PREDICTED, { FIRMWARE, 0xB4, 0x07, 0, 0, 0 }, {}, BIT(4), 0 },
        { "a driver, and the file has no PCR2", PREDICTED, { 0xDD, 0xA4, 0x07, 0, 0, 0 }, {}, BIT(2), 0 },
        { "PCR2 of zeros is a TPM that firmware did not measure into",
          PREDICTED,
          { 0, 0xA4, 0x07, 0, 0, 0 },
          {},
          BIT(2),
          0 },
        { "a driver that is allowed",
          PREDICTED,
          { 0xDD, 0xA4, 0x07, 0, 0, 0 },
          { .any_drivers = true },
          0,
          0 },
        { "a driver that is in the file",
          { 0xDD, 0xA4, NONE, NONE, NONE, NONE },
          { 0xDD, 0xA4, 0x07, 0, 0, 0 },
          {},
          0,
          0 },
        { "the driver of the file is not there",
          { 0xDD, 0xA4, NONE, NONE, NONE, NONE },
          GOOD_BOOT,
          {},
          BIT(2),
          0 },
        { "another driver than that of the file, and all are allowed",
          { 0xDD, 0xA4, NONE, NONE, NONE, NONE },
          { 0xEE, 0xA4, 0x07, 0, 0, 0 },
          { .any_drivers = true },
          0,
          0 },
        { "a command line, and the file has no PCR12",
          PREDICTED,
          { FIRMWARE, 0xA4, 0x07, 0xCC, 0, 0 },
          {},
          BIT(12),
          0 },
        { "the command line of the file",
          { NONE, 0xA4, NONE, 0xCC, NONE, NONE },
          { FIRMWARE, 0xA4, 0x07, 0xCC, 0, 0 },
          {},
          0,
          0 },
        { "a system extension, and the file has no PCR13",
          PREDICTED,
          { FIRMWARE, 0xA4, 0x07, 0, 0xEE, 0 },
          {},
          BIT(13),
          0 },
        { "a system extension that is allowed",
          PREDICTED,
          { FIRMWARE, 0xA4, 0x07, 0, 0xEE, 0 },
          { .any_extensions = true },
          0,
          0 },
        { "PCR13 if MeasurePcr=13 extends it",
          PREDICTED,
          { FIRMWARE, 0xA4, 0x07, 0, 0xEE, 0 },
          { .measured = BIT(13) },
          0,
          0 },
        { "a measured PCR that the file has all the same",
          { NONE, 0xA4, NONE, NONE, NONE, 0x15 },
          GOOD_BOOT,
          { .measured = BIT(15) },
          0,
          0 },
        { "the system extension of the file",
          { NONE, 0xA4, NONE, NONE, 0xEE, NONE },
          { FIRMWARE, 0xA4, 0x07, 0, 0xEE, 0 },
          {},
          0,
          0 },
        { "PCR7 of the file is compared without secure_boot too",
          { NONE, 0xA4, 0x08, NONE, NONE, NONE },
          GOOD_BOOT,
          {},
          BIT(7),
          0 },
        { "a PCR that no policy pins is compared if the file has it",
          { NONE, 0xA4, NONE, NONE, NONE, 0x15 },
          GOOD_BOOT,
          {},
          BIT(15),
          0 },
        { "a PCR that was locked",
          PREDICTED,
          { FIRMWARE, 0xA4, 0x07, 0, 0, 0x15 },
          { .lock_pcr = 15 },
          BIT(15),
          0 },
        { "the same PCR, if no policy pins it", PREDICTED, { FIRMWARE, 0xA4, 0x07, 0, 0, 0x15 }, {}, 0, 0 },
        { "a document without PCR2, PCR12 and PCR13",
          PREDICTED,
          { NONE, 0xA4, 0x07, NONE, NONE, NONE },
          {},
          0,
          BIT(2) | BIT(12) | BIT(13) },
        { "an empty document",
          PREDICTED,
          { NONE, NONE, NONE, NONE, NONE, NONE },
          { .any_drivers = true, .any_extensions = true },
          0,
          BIT(4) | BIT(12) },
};

static void test_a_document_is_compared_with_what_the_file_means(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const PcrSet file = set_of(&cases[i].file), document = set_of(&cases[i].document);
                ExpectationVerdict verdict;
                Expectation expectation;
                Error error;

                expectation_make(&file, &cases[i].options, &expectation);
                assert_int_equal(expectation_check(&expectation, &error), 0);
                verdict = expectation_judge(&expectation, 1, &document);
                if (verdict.differing != cases[i].differing || verdict.missing != cases[i].missing ||
                    verdict.met != ((cases[i].differing | cases[i].missing) == 0))
                        fail_msg("%s: saw %s, differing %x, missing %x; wanted %x, %x", cases[i].what,
                                 verdict.met ? "met" : "not met", (unsigned) verdict.differing,
                                 (unsigned) verdict.missing, (unsigned) cases[i].differing,
                                 (unsigned) cases[i].missing);
        }
}

static void test_a_policy_pins_these_pcrs(void **state) {
        static const struct {
                ExpectationOptions options;
                uint32_t pinned;
        } options[] = {
                { {}, BIT(2) | BIT(4) | BIT(12) | BIT(13) },
                { { .any_drivers = true }, BIT(4) | BIT(12) | BIT(13) },
                { { .any_extensions = true }, BIT(2) | BIT(4) | BIT(12) },
                { { .secure_boot = true }, BIT(2) | BIT(4) | BIT(7) | BIT(12) | BIT(13) },
                { { .measured = BIT(8) | BIT(13) }, BIT(2) | BIT(4) | BIT(12) },
                { { .measured = BIT(13), .lock_pcr = 15 }, BIT(2) | BIT(4) | BIT(12) | BIT(15) },
                { { .lock_pcr = 15 }, BIT(2) | BIT(4) | BIT(12) | BIT(13) | BIT(15) },
                { { .lock_pcr = 13 }, BIT(2) | BIT(4) | BIT(12) | BIT(13) },
        };
        const PcrSet file = set_of(&(Values){ NONE, 0xA4, 0x07, NONE, NONE, NONE });

        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                Expectation expectation;
                Error error;

                expectation_make(&file, &options[i].options, &expectation);
                if (expectation.pinned != options[i].pinned)
                        fail_msg("case %zu: saw %x, wanted %x", i, (unsigned) expectation.pinned,
                                 (unsigned) options[i].pinned);
                assert_int_equal(expectation_check(&expectation, &error), 0);
        }
}

static void test_a_file_that_does_not_tell_an_image_is_refused(void **state) {
        static const struct {
                Values file;
                ExpectationOptions options;
                const char *text; /* NULL: it is good */
        } files[] = {
                { { NONE, NONE, 0x07, 0, NONE, NONE }, {}, "no PCR4" },
                { { NONE, 0, 0x07, 0, NONE, NONE }, {}, "PCR4 of the measurements is constant" },
                { { NONE, 0xFF, 0x07, 0, NONE, NONE }, {}, "PCR4 of the measurements is constant" },
                { { NONE, 0xA4, NONE, 0xFF, NONE, NONE }, {}, "PCR12 of the measurements is constant" },
                { { 0xFF, 0xA4, NONE, NONE, NONE, NONE }, {}, "PCR2 of the measurements is constant" },
                { { 0xFF, 0xA4, NONE, NONE, NONE, NONE }, { .any_drivers = true }, NULL },
                { { NONE, 0xA4, NONE, NONE, NONE, NONE }, { .secure_boot = true }, "no PCR7" },
                { { NONE, 0xA4, 0, NONE, NONE, NONE }, { .secure_boot = true }, "without Secure Boot" },
                { { NONE, 0xA4, 0, NONE, NONE, NONE }, {}, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                const PcrSet file = set_of(&files[i].file);
                Expectation expectation;
                Error error = {};
                int r;

                expectation_make(&file, &files[i].options, &expectation);
                r = expectation_check(&expectation, &error);
                if (r != (files[i].text ? -EINVAL : 0) ||
                    (files[i].text &&
                     (!strstr(error.text, files[i].text) || error.failure != FAILURE_USAGE)))
                        fail_msg("case %zu: saw %i, %s; wanted %s", i, r, error.text,
                                 files[i].text ?: "nothing");
        }
}

/* doctor and verify judge also where nothing is expected. */
static void test_without_alternatives_nothing_is_met_and_nothing_differs(void **state) {
        PcrSet measured = set_of(&(Values) GOOD_BOOT);
        ExpectationVerdict verdict = expectation_judge(NULL, 0, &measured);

        assert_false(verdict.met);
        assert_int_equal(verdict.index, 0);
        assert_int_equal(verdict.differing | verdict.missing, 0);
}

static void test_alternatives_are_met_as_a_whole(void **state) {
        const PcrSet files[] = { set_of(&(Values){ NONE, 0xA4, NONE, 0, NONE, NONE }),
                                 set_of(&(Values){ NONE, 0xB4, NONE, 0xCC, NONE, NONE }) },
                     first = set_of(&(Values){ FIRMWARE, 0xA4, 0x07, 0, 0, 0 }),
                     second = set_of(&(Values){ FIRMWARE, 0xB4, 0x07, 0xCC, 0, 0 }),
                     mixed = set_of(&(Values){ FIRMWARE, 0xB4, 0x07, 0, 0, 0 }),
                     near_second = set_of(&(Values){ 0xDD, 0xB4, 0x07, 0xCC, 0, 0 });
        Expectation alternatives[2];
        ExpectationVerdict verdict;

        for (size_t i = 0; i < 2; i++)
                expectation_make(&files[i], &(ExpectationOptions){}, &alternatives[i]);

        verdict = expectation_judge(alternatives, 2, &first);
        assert_true(verdict.met);
        assert_int_equal(verdict.index, 0);
        verdict = expectation_judge(alternatives, 2, &second);
        assert_true(verdict.met);
        assert_int_equal(verdict.index, 1);
        assert_false(expectation_judge(alternatives, 1, &second).met);

        verdict = expectation_judge(alternatives, 2, &mixed);
        assert_false(verdict.met);
        assert_int_equal(verdict.index, 0);
        assert_int_equal(verdict.differing, BIT(4));
        verdict = expectation_judge(alternatives, 2, &near_second);
        assert_false(verdict.met);
        assert_int_equal(verdict.index, 1);
        assert_int_equal(verdict.differing, BIT(2));
}

static void test_measurements_of_an_enclave_are_named(void **state) {
        PcrSet set = { .present = 1U << 0 | 1U << 1 | 1U << 2 };
        Expectation expectation;
        Error error = {};

        memset(set.value, 0xA4, sizeof(set.value));
        expectation_make(&set, &(ExpectationOptions){}, &expectation);
        assert_int_equal(expectation_check(&expectation, &error), -EINVAL);
        assert_non_null(strstr(
                        error.text,
                        "no PCR4 (boot code: the unified kernel image). PCR0 and PCR1 are those of an enclave"));
        set.present = 1U << 0 | 1U << 2;
        expectation_make(&set, &(ExpectationOptions){}, &expectation);
        assert_int_equal(expectation_check(&expectation, &error), -EINVAL);
        assert_non_null(strstr(error.text, "Measure the image again."));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_document_is_compared_with_what_the_file_means),
                cmocka_unit_test(test_a_policy_pins_these_pcrs),
                cmocka_unit_test(test_a_file_that_does_not_tell_an_image_is_refused),
                cmocka_unit_test(test_measurements_of_an_enclave_are_named),
                cmocka_unit_test(test_without_alternatives_nothing_is_met_and_nothing_differs),
                cmocka_unit_test(test_alternatives_are_met_as_a_whole),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
