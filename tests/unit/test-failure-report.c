/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "basic/json.h"
#include "basic/log.h"
#include "failing-memory.h"
#include "unsealing/failure-report.h"

static struct json_object *make(const char *status) {
        _cleanup_free_ char *text = NULL;
        struct json_object *report;

        assert_int_equal(failure_report_make(status, strlen(status), &text), 0);
        assert_int_equal(json_parse(text, strlen(text), &report), 0);
        return report;
}

static void test_a_report_has_the_failure_and_its_explanation(void **state) {
        _cleanup_json_ struct json_object *report = make(
                        "{\"version\": 1, \"state\": \"failed\", \"since_usec\": 5, \"status\": \"No.\", "
                        "\"failure\": \"access-denied\", \"error\": \"No.\", \"code\": \"C\", \"request_id\": \"r\", "
                        "\"final\": true, \"message_id\": \"" MESSAGE_DENIED
                        "\", \"explanation\": \"PCR4\", "
                        "\"secrets\": [{\"name\": \"a\", \"state\": \"failed\", \"source\": \"https://x\", \"key_id\": \"k\", "
                        "\"failure\": \"access-denied\", \"error\": \"No.\", \"attempts\": 1}], \"steps\": [{}], \"surprise\": \"s\"}");
        struct json_object *secret = json_object_array_get_idx(json_member(report, "secrets"), 0);

        assert_string_equal(json_member_string(report, "failure"), "access-denied");
        assert_string_equal(json_member_string(report, "request_id"), "r");
        assert_string_equal(json_member_string(report, "explanation"), "PCR4");
        assert_string_equal(json_member_string(json_member(report, "catalog"), "subject"),
                            "KMS denies access to the key");
        assert_non_null(strstr(json_member_string(json_member(report, "catalog"), "text"), "CloudTrail"));
        assert_string_equal(json_member_string(secret, "name"), "a");
        assert_null(json_member(secret, "source"));
        assert_null(json_member(secret, "key_id"));
        assert_null(json_member(report, "steps"));
        assert_null(json_member(report, "surprise"));
}

static void test_a_report_of_a_wait_has_what_is_awaited(void **state) {
        _cleanup_json_ struct json_object *report = make(
                        "{\"state\": \"unsealing\", \"waiting\": {\"for\": \"KMS\", \"attempts\": 3, \"x\": 1}, "
                        "\"callers\": [{\"unit\": \"a.service\", \"credential\": \"db\", \"since_usec\": 1, \"x\": 1}]}");
        struct json_object *waiting = json_member(report, "waiting");

        assert_string_equal(json_member_string(waiting, "for"), "KMS");
        assert_int_equal(json_object_get_int(json_member(waiting, "attempts")), 3);
        assert_null(json_member(waiting, "x"));
        struct json_object *caller = json_object_array_get_idx(json_member(report, "callers"), 0);
        assert_string_equal(json_member_string(caller, "unit"), "a.service");
        assert_string_equal(json_member_string(caller, "credential"), "db");
        assert_null(json_member(caller, "x"));
        assert_string_equal(json_member_string(json_member(report, "catalog"), "subject"),
                            "Unsealing waits and will be tried again");
}

static void test_a_report_without_failure_has_no_explanation(void **state) {
        _cleanup_json_ struct json_object *report = make("{\"state\": \"unsealed\", \"secrets\": 5}");

        assert_null(json_member(report, "catalog"));
        assert_null(json_member(report, "callers"));
        assert_int_equal(json_object_array_length(json_member(report, "secrets")), 0);
}

static void test_what_is_no_status_file_makes_no_report(void **state) {
        char *text = NULL;

        assert_int_equal(failure_report_make("{", 1, &text), -EBADMSG);
        assert_int_equal(failure_report_make("{}", 2, &text), -EBADMSG);
        assert_int_equal(failure_report_make("[]", 2, &text), -EBADMSG);
        assert_null(text);
}

static int make_large(void) {
        static const char status[] =
                        "{\"state\": \"failed\", \"final\": true, \"message_id\": \"" MESSAGE_DENIED
                        "\", \"waiting\": {\"for\": \"KMS\", \"attempts\": 3}, \"explanation\": \"line\\nline\", "
                        "\"secrets\": [{\"name\": \"a\"}, {\"name\": \"b\", \"error\": \"No.\"}]}";
        static char *first;
        _cleanup_free_ char *text = NULL;
        int r = failure_report_make(status, strlen(status), &text);

        if (r >= 0 && first)
                assert_string_equal(text, first);
        else if (r >= 0)
                first = TAKE_PTR(text);
        return r;
}

static void test_without_memory_there_is_no_report_rather_than_a_part(void **state) {
        assert_allocations_are_checked(make_large);
}

/* The report prints the text in place of a command that shows it, so each failure that status.json can name must have one. */
static void test_each_failure_of_a_session_has_a_text(void **state) {
        static const char *const messages[] = { MESSAGE_WAITING,       MESSAGE_FAILED,
                                                MESSAGE_DENIED,        MESSAGE_CONFIGURATION,
                                                MESSAGE_LOCK_FAILED,   MESSAGE_LOCKED_OUT,
                                                MESSAGE_POLICY,        MESSAGE_SIGNATURE,
                                                MESSAGE_MEASURE_FAILED };

        for (size_t i = 0; i < ELEMENTSOF(messages); i++) {
                const CatalogText *text = catalog_text(messages[i]);

                assert_non_null(text);
                assert_true(strlen(text->subject) > 10 && strlen(text->text) > 100);
                assert_null(strchr(text->subject, '@'));
        }
        assert_null(catalog_text("00000000000000000000000000000000"));
        assert_null(catalog_text(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_report_has_the_failure_and_its_explanation),
                cmocka_unit_test(test_a_report_of_a_wait_has_what_is_awaited),
                cmocka_unit_test(test_a_report_without_failure_has_no_explanation),
                cmocka_unit_test(test_what_is_no_status_file_makes_no_report),
                cmocka_unit_test(test_without_memory_there_is_no_report_rather_than_a_part),
                cmocka_unit_test(test_each_failure_of_a_session_has_a_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
