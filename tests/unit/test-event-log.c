/* SPDX-License-Identifier: Apache-2.0 */

/* The log of MeasurePcr=, and its verdict. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h needs the headers above. */
#include <cmocka.h>

#include "basic/encoding.h"
#include "failing-memory.h"
#include "tpm/event-log.h"
#include "tpm/secret-events.h"
#include "unsealctl/log-verdict.h"

static EventLogRecord records[4];
static PcrSet attested;
static LogMark marks[4];
static Error error;

static void fill_record(size_t i, unsigned pcr, const char *secret, const char *sealed) {
        records[i] = (EventLogRecord){ .pcr = pcr };
        (void) snprintf(records[i].secret, sizeof(records[i].secret), "%s", secret);
        assert_int_equal(secret_event_sealed((const uint8_t *) sealed, strlen(sealed), records[i].sealed),
                         0);
        assert_int_equal(secret_event_digest(secret, records[i].sealed, records[i].digest), 0);
}

/* db-password, license in PCR15, and license once more after a reload. */
static int set_up(void **state) {
        fill_record(0, 8, "db-password", "the password");
        fill_record(1, 8, "license", "the license");
        fill_record(2, 15, "token", "the token");
        fill_record(3, 8, "license", "the next license");
        assert_int_equal(event_log_replay(records, 4, &attested), 0);
        error = (Error){};
        return 0;
}

static LogExpectation expectation(const char *secret, const char *sealed) {
        LogExpectation expected = { .secret = secret };

        assert_int_equal(secret_event_sealed((const uint8_t *) sealed, strlen(sealed), expected.sealed), 0);
        return expected;
}

static void assert_refused(int r, const char *words) {
        assert_int_equal(r, -EBADMSG);
        assert_int_equal(error.failure, FAILURE_ATTESTATION);
        if (!strstr(error.text, words))
                fail_msg("wanted \"%s\" in: %s", words, error.text);
}

static void test_a_log_is_read_as_it_was_written(void **state) {
        _cleanup_free_ EventLogRecord *read = NULL;
        _cleanup_free_ char *text = NULL;
        size_t count;

        assert_int_equal(event_log_format(records, 4, &text), 0);
        assert_int_equal(event_log_parse(text, strlen(text), &read, &count, &error), 0);
        assert_int_equal(count, 4);
        assert_memory_equal(read, records, sizeof(records));
        assert_non_null(strstr(
                        text,
                        "[{\"recnum\":0,\"pcr\":8,\"digests\":[{\"hashAlg\":\"sha384\",\"digest\":\""));
        assert_non_null(strstr(
                        text,
                        "\"content_type\":\"unseald\",\"content\":{\"secret\":\"db-password\",\"sealed_sha384\":\""));
        assert_int_equal(text[strlen(text) - 1], '\n');
}

static int write_log(void) {
        _cleanup_free_ char *text = NULL;

        return event_log_format(records, 4, &text);
}

static void test_without_memory_there_is_no_log_rather_than_a_part(void **state) {
        assert_allocations_are_checked(write_log);
}

#define ZEROS "000000000000000000000000000000000000000000000000"
#define SHA384(hex) "[{\"hashAlg\":\"sha384\",\"digest\":\"" hex "\"}]"
#define OTHER(recnum, pcr, digests)                                   \
        "{\"recnum\":" recnum ",\"pcr\":" pcr ",\"digests\":" digests \
        ",\"content_type\":\"systemd\",\"content\":{}}"
#define GOOD SHA384(ZEROS ZEROS)

static void test_records_of_other_programs_count(void **state) {
        static const char text[] = "[" OTHER(
                        "0", "15",
                        "[{\"hashAlg\":\"sha1\",\"digest\":\"00\"},{\"hashAlg\":\"sha384\",\"digest\":\"" ZEROS
                                        ZEROS "\"}]") "]";
        _cleanup_free_ EventLogRecord *read = NULL;
        uint8_t value[PCR_SIZE] = {}, zeros[PCR_SIZE] = {};
        PcrSet pcrs;
        size_t count;

        assert_int_equal(event_log_parse(text, strlen(text), &read, &count, &error), 0);
        assert_int_equal(count, 1);
        assert_string_equal(read[0].secret, "");
        assert_int_equal(event_log_replay(read, count, &pcrs), 0);
        assert_int_equal(pcrs.present, UINT32_C(1) << 15);
        assert_int_equal(pcr_extend(value, zeros), 0);
        assert_memory_equal(pcrs.value[15], value, PCR_SIZE);
}

static void test_a_malformed_log_is_refused(void **state) {
        static const struct {
                const char *text, *words;
        } wrong[] = {
                { "", "no JSON array" },
                { "{}", "no JSON array" },
                { "[1]", "Record 0 of the event log is malformed: its \"recnum\" is not 0." },
                { "[null]", "Record 0" },
                { "[" OTHER("1", "8", GOOD) "]", "its \"recnum\" is not 0" },
                { "[" OTHER("0", "8", GOOD) "," OTHER("0", "8", GOOD) "]",
                  "Record 1 of the event log is malformed: its \"recnum\" is not 1." },
                { "[" OTHER("0", "24", GOOD) "]", "its \"pcr\" is no number from 0 to 23" },
                { "[" OTHER("0", "-1", GOOD) "]", "its \"pcr\"" },
                { "[" OTHER("0", "\"8\"", GOOD) "]", "its \"pcr\"" },
                { "[" OTHER("0", "8", "[]") "]", "not exactly one of sha384" },
                { "[" OTHER("0", "8", "{}") "]", "not exactly one of sha384" },
                { "[" OTHER("0", "8", SHA384(ZEROS)) "]", "not exactly one of sha384" },
                { "[" OTHER("0", "8",
                            "[{\"hashAlg\":\"sha384\",\"digest\":\"" ZEROS ZEROS
                            "\"},{\"hashAlg\":\"sha384\",\"digest\":\"" ZEROS ZEROS "\"}]") "]",
                  "not exactly one of sha384" },
                { "[{\"recnum\":0,\"pcr\":8,\"digests\":" GOOD "}]", "it has no \"content_type\"" },
                { "[{\"recnum\":0,\"pcr\":8,\"digests\":" GOOD ",\"content_type\":\"unseald\"}]",
                  "no name of a secret" },
                { "[{\"recnum\":0,\"pcr\":8,\"digests\":" GOOD
                  ",\"content_type\":\"unseald\",\"content\":{\"secret\":\"\"}}]",
                  "no name of a secret" },
                { "[{\"recnum\":0,\"pcr\":8,\"digests\":" GOOD
                  ",\"content_type\":\"unseald\",\"content\":{\"secret\":\"\\u001b[31m\"}}]",
                  "no name of a secret" },
                { "[{\"recnum\":0,\"pcr\":8,\"digests\":" GOOD
                  ",\"content_type\":\"unseald\",\"content\":{\"secret\":\"a\"}}]",
                  "no SHA-384 of a sealed secret" },
                { "[{\"recnum\":0,\"pcr\":8,\"digests\":" GOOD
                  ",\"content_type\":\"unseald\",\"content\":{\"secret\":\"a\",\"sealed_sha384\":\"" ZEROS
                                  ZEROS "\"}}]",
                  "its digest is not that of its content" },
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                EventLogRecord *read = NULL;
                size_t count;

                assert_refused(event_log_parse(wrong[i].text, strlen(wrong[i].text), &read, &count, &error),
                               wrong[i].words);
                assert_null(read);
        }
}

static void test_a_right_log_with_the_expected_secrets_is_accepted(void **state) {
        const LogExpectation expected[] = { expectation("license", "the next license"),
                                            expectation("db-password", "the password") };

        assert_int_equal(log_judge(records, 4, &attested, expected, 2, marks, &error), 0);
        assert_int_equal(marks[0], LOG_EXPECTED);
        assert_int_equal(marks[1], LOG_REPLACED);
        assert_int_equal(marks[2], LOG_NOT_ASKED);
        assert_int_equal(marks[3], LOG_EXPECTED);
}

static void test_an_older_version_of_a_secret_is_told(void **state) {
        const LogExpectation expected = expectation("license", "the license");

        assert_refused(log_judge(records, 4, &attested, &expected, 1, marks, &error),
                       "Record 3 of the event log: license was delivered from another sealed secret");
        assert_int_equal(marks[3], LOG_DIFFERENT);
        assert_int_equal(marks[0], LOG_NOT_ASKED);
}

static void test_a_secret_that_was_not_measured_is_told(void **state) {
        const LogExpectation expected = expectation("prompt", "the prompt");

        assert_refused(log_judge(records, 4, &attested, &expected, 1, marks, &error), "no record of prompt");
}

/* Whoever hides a record, or puts the expected secret into the log, cannot change the PCR. */
static void test_a_changed_log_does_not_lead_to_the_pcr(void **state) {
        const LogExpectation expected = expectation("license", "the license");

        fill_record(3, 8, "license", "the license");
        assert_refused(log_judge(records, 4, &attested, &expected, 1, marks, &error),
                       "The event log does not lead to PCR8 of the document.");
        (void) set_up(NULL);
        assert_refused(log_judge(records, 3, &attested, NULL, 0, marks, &error), "does not lead to PCR8");
        records[2].pcr = 14;
        attested.present |= UINT32_C(1) << 14;
        assert_refused(log_judge(records, 4, &attested, NULL, 0, marks, &error),
                       "before record 2 of the event log");
}

static void test_a_document_from_before_a_record_is_told(void **state) {
        assert_int_equal(event_log_replay(records, 3, &attested), 0);
        assert_refused(log_judge(records, 4, &attested, NULL, 0, marks, &error),
                       "The document has PCR8 as it was before record 3 of the event log");
        attested.present = UINT32_C(1) << 15;
        assert_refused(log_judge(records, 4, &attested, NULL, 0, marks, &error),
                       "PCR8, which the document lacks");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_a_log_is_read_as_it_was_written, set_up),
                cmocka_unit_test_setup(test_without_memory_there_is_no_log_rather_than_a_part, set_up),
                cmocka_unit_test_setup(test_records_of_other_programs_count, set_up),
                cmocka_unit_test_setup(test_a_malformed_log_is_refused, set_up),
                cmocka_unit_test_setup(test_a_right_log_with_the_expected_secrets_is_accepted, set_up),
                cmocka_unit_test_setup(test_an_older_version_of_a_secret_is_told, set_up),
                cmocka_unit_test_setup(test_a_secret_that_was_not_measured_is_told, set_up),
                cmocka_unit_test_setup(test_a_changed_log_does_not_lead_to_the_pcr, set_up),
                cmocka_unit_test_setup(test_a_document_from_before_a_record_is_told, set_up),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
