/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "aws/imds.h"
#include "http-server.h"

#define CREDENTIALS(code, token, expiration)                                                     \
        "{\"Code\":\"" code "\",\"LastUpdated\":\"2026-08-13T17:36:48Z\",\"Type\":\"AWS-HMAC\"," \
        "\"AccessKeyId\":\"ASIAEXAMPLE\",\"SecretAccessKey\":\"s/e+c\",\"Token\":\"" token "\"," \
        "\"Expiration\":\"" expiration "\"}"
#define GOOD_CREDENTIALS CREDENTIALS("Success", "T==", "2026-08-13T23:36:48Z")

static void test_credentials_are_read(void **state) {
        AwsCredentials credentials = {};
        Error error = {};

        assert_int_equal(imds_credentials_parse(GOOD_CREDENTIALS, strlen(GOOD_CREDENTIALS), &credentials,
                                                &error),
                         0);
        assert_string_equal(credentials.access_key_id, "ASIAEXAMPLE");
        assert_string_equal(credentials.secret_access_key, "s/e+c");
        assert_string_equal(credentials.session_token, "T==");
        assert_int_equal(credentials.expiration, 1786664208);
        aws_credentials_clear(&credentials);
}

/* Early in a boot the clock may be wrong. */
static void test_expired_credentials_are_accepted(void **state) {
        static const char text[] = CREDENTIALS("Success", "T", "2001-02-03T04:05:06Z");
        AwsCredentials credentials = {};

        assert_int_equal(imds_credentials_parse(text, strlen(text), &credentials, NULL), 0);
        assert_int_equal(credentials.expiration, 981173106);
        aws_credentials_clear(&credentials);
}

static void assert_no_credentials(const char *text, Failure failure, const char *code) {
        AwsCredentials credentials = {};
        Error error = {};
        int r = imds_credentials_parse(text, strlen(text), &credentials, &error);

        if (r >= 0 || error.failure != failure || error.remedy != REMEDY_RETRY ||
            strcmp(error.code, code) != 0)
                fail_msg("%s: %d, failure %d, remedy %d, code %s", text, r, error.failure, error.remedy,
                         error.code);
        assert_null(credentials.access_key_id);
        assert_null(credentials.secret_access_key);
        assert_null(strstr(error.text, "s/e+c"));
}

static void test_code_other_than_success_is_a_failure(void **state) {
        assert_no_credentials(CREDENTIALS("AssumeRoleUnauthorizedAccess", "T", "2026-08-13T23:36:48Z"),
                              FAILURE_ROLE, "AssumeRoleUnauthorizedAccess");
        assert_no_credentials("{\"Code\":\"Failed\",\"Message\":\"no\"}", FAILURE_ROLE, "Failed");
        assert_no_credentials("{\"Code\":\"\\u001b[31m\"}", FAILURE_ROLE, "");
}

static void test_malformed_credentials_are_refused(void **state) {
        static const char *const texts[] = {
                "",
                "<html></html>",
                "null",
                "[]",
                "{}",
                "{\"Code\":\"Success\"}",
                CREDENTIALS("Success", "", "2026-08-13T23:36:48Z"),
                CREDENTIALS("Success", "T\\r\\nX-Evil: 1", "2026-08-13T23:36:48Z"),
                CREDENTIALS("Success", "T T", "2026-08-13T23:36:48Z"),
                CREDENTIALS("Success", "\xc3\xa9", "2026-08-13T23:36:48Z"),
                CREDENTIALS("Success", "T", ""),
                CREDENTIALS("Success", "T", "tomorrow"),
                CREDENTIALS("Success", "T", "2026-08-13T23:36:48"),
                CREDENTIALS("Success", "T", "2026-08-13T23:36:48Z "),
                CREDENTIALS("Success", "T", "1901-08-13T23:36:48Z"),
                "{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":1,\"Token\":\"T\","
                "\"Expiration\":\"2026-08-13T23:36:48Z\"}",
                "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\","
                "\"Expiration\":\"2026-08-13T23:36:48Z\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                assert_no_credentials(texts[i], FAILURE_IMDS, "");
}

static void test_the_role_is_the_first_line(void **state) {
        static const struct {
                const char *text, *wanted;
                Failure failure;
        } cases[] = {
                { "billing", "billing", 0 },
                { "billing\n", "billing", 0 },
                { "a+=,.@_-Z9\r\nother\n", "a+=,.@_-Z9", 0 },
                { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0 },
                { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL, FAILURE_IMDS },
                { "", NULL, FAILURE_ROLE },
                { "\n", NULL, FAILURE_IMDS },
                { "a/../b", NULL, FAILURE_IMDS },
                { "a b", NULL, FAILURE_IMDS },
                { "<html>", NULL, FAILURE_IMDS },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char role[IMDS_ROLE_MAX + 1] = "";
                Error error = {};
                int r = imds_role_parse(cases[i].text, strlen(cases[i].text), role, &error);

                if ((r < 0) != !cases[i].wanted || error.failure != cases[i].failure ||
                    (cases[i].wanted && strcmp(role, cases[i].wanted) != 0))
                        fail_msg("\"%s\": %d \"%s\", failure %d", cases[i].text, r, role, error.failure);
        }
        assert_true(imds_role_parse("a\0b", 3, (char[IMDS_ROLE_MAX + 1]){}, NULL) < 0);
}

static void test_the_account_is_twelve_digits_of_the_identity_document(void **state) {
        static const struct {
                const char *text, *wanted;
        } cases[] = {
                { "{\"accountId\" : \"012345678901\", \"region\" : \"eu-north-1\"}", "012345678901" },
                { "{\"accountId\": 12345678901}", NULL },
                { "{\"accountId\": \"01234567890\"}", NULL },
                { "{\"accountId\": \"0123456789012\"}", NULL },
                { "{\"accountId\": \"01234567890\\u0000\"}", NULL },
                { "{\"accountId\": \"01234567890a\"}", NULL },
                { "{\"accountId\": null}", NULL },
                { "{\"AccountId\": \"012345678901\"}", NULL },
                { "[\"012345678901\"]", NULL },
                { "012345678901", NULL },
                { "<html></html>", NULL },
                { "", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char account[IMDS_ACCOUNT_SIZE] = "";
                Error error = {};
                int r = imds_account_parse(cases[i].text, strlen(cases[i].text), account, &error);

                if ((r < 0) != !cases[i].wanted || strcmp(account, cases[i].wanted ?: "") != 0 ||
                    (r < 0 && (error.failure != FAILURE_IMDS || error.remedy != REMEDY_RETRY)))
                        fail_msg("%s: %d \"%s\", failure %d, remedy %d", cases[i].text, r, account,
                                 error.failure, error.remedy);
        }
}

/* The arguments of the callbacks. */
typedef struct Outcome {
        unsigned calls;
        int r;
        char text[256], role[80];
        AwsCredentials credentials;
        Error error;
        Imds *free_it;
} Outcome;

static void credentials_got(int r, AwsCredentials *credentials, const char *role, const Error *error,
                            void *userdata) {
        Outcome *outcome = userdata;

        outcome->calls++;
        outcome->r = r;
        outcome->error = *error;
        assert_true(!!credentials == (r >= 0) && !!role == (r >= 0));
        if (r >= 0) {
                aws_credentials_clear(&outcome->credentials);
                outcome->credentials = TAKE(*credentials, (AwsCredentials){});
                (void) snprintf(outcome->role, sizeof(outcome->role), "%s", role);
        }
        outcome->free_it = imds_free(outcome->free_it);
}

static void data_got(int r, const char *data, size_t size, const Error *error, void *userdata) {
        Outcome *outcome = userdata;

        outcome->calls++;
        outcome->r = r;
        outcome->error = *error;
        if (r >= 0) {
                assert_int_equal(data[size], 0);
                (void) snprintf(outcome->text, sizeof(outcome->text), "%s", data);
        }
        outcome->free_it = imds_free(outcome->free_it);
}

/* An event loop, an Imds, and a server in the place of IMDS. */
typedef struct Stage {
        sd_event *event;
        HttpClient *http;
        Server *server;
        Imds *imds;
        Outcome outcome;
} Stage;

static void stage_clear(Stage *stage) {
        imds_free(stage->imds);
        http_client_free(stage->http);
        if (stage->server)
                server_free(stage->server);
        sd_event_unref(stage->event);
        aws_credentials_clear(&stage->outcome.credentials);
}

static void stage_set(Stage *stage, const Answer *answers, size_t size) {
        stage->server = server_start(answers, size);
        assert_int_equal(sd_event_new(&stage->event), 0);
        assert_int_equal(http_client_new(stage->event, &(HttpOptions){}, &stage->http), 0);
        assert_int_equal(imds_new(stage->http, stage->server->address, NULL, &stage->imds), 0);
}

static void get_credentials(Stage *stage) {
        unsigned calls = stage->outcome.calls;

        assert_int_equal(imds_get_credentials(stage->imds, credentials_got, &stage->outcome), 0);
        assert_int_equal(stage->outcome.calls, calls);
        assert_true(run_until(stage->event, &stage->outcome.calls, calls + 1));
}

static void get(Stage *stage, const char *path) {
        unsigned calls = stage->outcome.calls;

        assert_int_equal(imds_get(stage->imds, path, data_got, &stage->outcome), 0);
        assert_true(run_until(stage->event, &stage->outcome.calls, calls + 1));
}

/* The requests so far: method and path, and the token of a GET. */
static void assert_requests(Server *server, const char *const *wanted, size_t wanted_size) {
        server_stop(server);
        assert_int_equal(server->served, wanted_size);
        for (size_t i = 0; i < wanted_size; i++) {
                const char *request = server->requests[i];
                _cleanup_free_ char *ttl =
                                server_request_header(request, "X-aws-ec2-metadata-token-ttl-seconds");
                _cleanup_free_ char *token = server_request_header(request, "X-aws-ec2-metadata-token"),
                                    *line = NULL;

                assert_true(asprintf(&line, "%.*s %s", (int) (strstr(request, " HTTP/1.1\r\n") - request), request,
                                     ttl ?: token ?: "nothing") > 0);
                assert_string_equal(line, wanted[i]);
        }
}

#define ROLES "/latest/meta-data/iam/security-credentials/"

static void test_token_then_role_then_credentials(void **state) {
        static const Answer answers[] = {
                { 200, NULL, "TOKEN1==" }, { 200, NULL, "billing\n" },      { 200, NULL, GOOD_CREDENTIALS },
                { 200, NULL, "other" },    { 200, NULL, GOOD_CREDENTIALS },
        };
        static const char *const requests[] = {
                "PUT /latest/api/token 21600",   "GET " ROLES " TOKEN1==",
                "GET " ROLES "billing TOKEN1==", "GET " ROLES " TOKEN1==",
                "GET " ROLES "other TOKEN1==",
        };
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        get_credentials(&stage);
        assert_int_equal(stage.outcome.r, 0);
        assert_string_equal(stage.outcome.credentials.access_key_id, "ASIAEXAMPLE");
        assert_string_equal(stage.outcome.role, "billing");

        /* The token is kept. */
        get_credentials(&stage);
        assert_string_equal(stage.outcome.role, "other");
        assert_requests(stage.server, requests, ELEMENTSOF(requests));
}

static void test_token_is_renewed_once_after_401(void **state) {
        static const Answer answers[] = {
                { 200, NULL, "T1" }, { 401, NULL, "" },   { 200, NULL, "T2" }, { 200, NULL, "user data" },
                { 401, NULL, "" },   { 200, NULL, "T3" }, { 401, NULL, "" },   { 200, NULL, "T4" },
        };
        static const char *const requests[] = {
                "PUT /latest/api/token 21600", "GET /latest/user-data T1", "PUT /latest/api/token 21600",
                "GET /latest/user-data T2",    "GET /latest/user-data T2", "PUT /latest/api/token 21600",
                "GET /latest/user-data T3",
        };
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        get(&stage, "/latest/user-data");
        assert_int_equal(stage.outcome.r, 0);
        assert_string_equal(stage.outcome.text, "user data");

        get(&stage, "/latest/user-data");
        assert_true(stage.outcome.r < 0);
        assert_int_equal(stage.outcome.error.failure, FAILURE_IMDS);
        assert_int_equal(stage.outcome.error.remedy, REMEDY_RETRY);
        assert_requests(stage.server, requests, ELEMENTSOF(requests));
}

static void assert_credentials_fail(const Answer *answers, size_t size, Failure failure, Remedy remedy) {
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, size);
        get_credentials(&stage);
        if (stage.outcome.r >= 0 || stage.outcome.error.failure != failure ||
            stage.outcome.error.remedy != remedy)
                fail_msg("%zu answers, the last %u \"%s\": %d, failure %d, remedy %d, %s", size,
                         answers[size - 1].status, answers[size - 1].body, stage.outcome.r,
                         stage.outcome.error.failure, stage.outcome.error.remedy, stage.outcome.error.text);
}

static void test_other_answers_of_imds_are_distinguished(void **state) {
        static const struct {
                Answer answers[3];
                size_t size;
                Failure failure;
                Remedy remedy;
        } cases[] = {
                { { { 0 } }, 1, FAILURE_IMDS, REMEDY_RETRY },
                { { { 503, NULL, "" } }, 1, FAILURE_IMDS, REMEDY_RETRY },
                { { { 403, NULL, "" } }, 1, FAILURE_IMDS, REMEDY_NONE },
                { { { 400, NULL, "" } }, 1, FAILURE_IMDS, REMEDY_NONE },
                { { { 200, NULL, "" } }, 1, FAILURE_IMDS, REMEDY_RETRY },
                { { { 200, NULL, "<html>\r\nsign in" } }, 1, FAILURE_IMDS, REMEDY_RETRY },
                { { { 200, NULL, "T" }, { 404, NULL, "" } }, 2, FAILURE_ROLE, REMEDY_RETRY },
                { { { 200, NULL, "T" }, { 200, NULL, "" } }, 2, FAILURE_ROLE, REMEDY_RETRY },
                { { { 200, NULL, "T" }, { 500, NULL, "" } }, 2, FAILURE_IMDS, REMEDY_RETRY },
                { { { 200, NULL, "T" }, { 0 } }, 2, FAILURE_IMDS, REMEDY_RETRY },
                { { { 200, NULL, "T" }, { 200, NULL, "<html>" } }, 2, FAILURE_IMDS, REMEDY_RETRY },
                { { { 200, NULL, "T" }, { 200, NULL, "r" }, { 404, NULL, "" } },
                  3,
                  FAILURE_ROLE,
                  REMEDY_RETRY },
                { { { 200, NULL, "T" }, { 200, NULL, "r" }, { 429, NULL, "" } },
                  3,
                  FAILURE_IMDS,
                  REMEDY_RETRY },
                { { { 200, NULL, "T" }, { 200, NULL, "r" }, { 200, NULL, "{}" } },
                  3,
                  FAILURE_IMDS,
                  REMEDY_RETRY },
                { { { 200, NULL, "T" }, { 200, NULL, "r" }, { 200, NULL, "{\"Code\":\"Failed\"}" } },
                  3,
                  FAILURE_ROLE,
                  REMEDY_RETRY },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_credentials_fail(cases[i].answers, cases[i].size, cases[i].failure, cases[i].remedy);
}

static void test_refused_connection_may_pass(void **state) {
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, NULL, 0);
        server_stop(stage.server);
        get_credentials(&stage);
        assert_true(stage.outcome.r < 0);
        assert_int_equal(stage.outcome.error.failure, FAILURE_IMDS);
        assert_int_equal(stage.outcome.error.remedy, REMEDY_RETRY);
}

/* Nothing listens on port 1. */
#define NOBODY "http://127.0.0.1:1"

static void use_addresses(Stage *stage, const char *first, const char *second) {
        stage->imds = imds_free(stage->imds);
        assert_int_equal(imds_new(stage->http, first, second, &stage->imds), 0);
}

static void test_the_other_address_is_asked_where_the_first_cannot_be_reached(void **state) {
        static const Answer answers[] = {
                { 200, NULL, "TOKEN" },
                { 200, NULL, "text" },
                { 200, NULL, "more" },
        };
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        use_addresses(&stage, NOBODY, stage.server->address);
        get(&stage, "/latest/user-data");
        assert_int_equal(stage.outcome.r, 0);
        /* The token is of the address that answered; the next request begins there. */
        get(&stage, "/latest/user-data");
        assert_int_equal(stage.outcome.r, 0);
        assert_requests(stage.server,
                        (const char *const[]){ "PUT /latest/api/token 21600", "GET /latest/user-data TOKEN",
                                               "GET /latest/user-data TOKEN" },
                        3);
}

static void test_the_other_address_is_not_asked_for_a_reply_that_was_cut_short(void **state) {
        static const Answer answers[] = { { 0, NULL, "" } };
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        use_addresses(&stage, stage.server->address, NOBODY);
        get(&stage, "/latest/user-data");
        assert_true(stage.outcome.r < 0);
        assert_null(strstr(stage.outcome.error.text, "port 1 "));
}

static void test_each_address_is_asked_once_and_both_failures_are_told(void **state) {
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, NULL, 0);
        use_addresses(&stage, NOBODY, "http://127.0.0.2:1");
        get(&stage, "/latest/user-data");
        assert_true(stage.outcome.r < 0);
        assert_int_equal(stage.outcome.error.failure, FAILURE_IMDS);
        assert_int_equal(stage.outcome.error.remedy, REMEDY_RETRY);
        assert_non_null(strstr(stage.outcome.error.text, "127.0.0.1"));
        assert_non_null(strstr(stage.outcome.error.text, "127.0.0.2"));
}

static void test_the_second_address_is_left_alone_where_the_first_answers(void **state) {
        static const Answer answers[] = { { 200, NULL, "TOKEN" }, { 404, NULL, "" } };
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        use_addresses(&stage, stage.server->address, NOBODY);
        get(&stage, "/latest/user-data");
        assert_int_equal(stage.outcome.r, -ENOENT);
}

static void test_absent_user_data_is_enoent(void **state) {
        static const Answer answers[] = { { 200, NULL, "T" }, { 404, NULL, "<html>" } };
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        get(&stage, "/latest/user-data");
        assert_int_equal(stage.outcome.r, -ENOENT);
        assert_non_null(strstr(stage.outcome.error.text, "/latest/user-data"));
}

static void test_disabled_imds_is_named_as_such(void **state) {
        static const Answer answers[] = { { 403, NULL, "" } };
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        get(&stage, "/latest/user-data");
        assert_int_equal(stage.outcome.r, -EACCES);
        assert_non_null(strstr(stage.outcome.error.text, "HttpEndpoint=disabled"));
}

static void test_credentials_are_fetched_one_at_a_time(void **state) {
        static const Answer answers[] = { { 200, NULL, "T" },
                                          { 200, NULL, "r" },
                                          { 200, NULL, GOOD_CREDENTIALS } };
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        assert_int_equal(imds_get_credentials(stage.imds, credentials_got, &stage.outcome), 0);
        assert_int_equal(imds_get_credentials(stage.imds, credentials_got, &stage.outcome), -EBUSY);
        assert_true(run_until(stage.event, &stage.outcome.calls, 1));
        assert_int_equal(stage.outcome.r, 0);
}

static void test_a_callback_may_free_the_imds_and_ends_all_other_requests(void **state) {
        static const Answer answers[] = { { 503, NULL, "" }, { 503, NULL, "" }, { 503, NULL, "" } };
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        stage.outcome.free_it = stage.imds;
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(imds_get(stage.imds, "/latest/user-data", data_got, &stage.outcome), 0);
        assert_int_equal(imds_get_credentials(stage.imds, credentials_got, &stage.outcome), 0);
        assert_true(run_until(stage.event, &stage.outcome.calls, 1));
        stage.imds = NULL;
        while (sd_event_run(stage.event, 50000) > 0)
                ;
        assert_int_equal(stage.outcome.calls, 1);
}

static void test_a_callback_with_credentials_may_free_the_imds(void **state) {
        static const Answer answers[] = { { 200, NULL, "T" },
                                          { 200, NULL, "r" },
                                          { 200, NULL, GOOD_CREDENTIALS } };
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        stage.outcome.free_it = stage.imds;
        get_credentials(&stage);
        stage.imds = NULL;
        assert_int_equal(stage.outcome.r, 0);
        assert_string_equal(stage.outcome.role, "r");
        assert_null(imds_free(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_credentials_are_read),
                cmocka_unit_test(test_expired_credentials_are_accepted),
                cmocka_unit_test(test_code_other_than_success_is_a_failure),
                cmocka_unit_test(test_malformed_credentials_are_refused),
                cmocka_unit_test(test_the_role_is_the_first_line),
                cmocka_unit_test(test_the_account_is_twelve_digits_of_the_identity_document),
                cmocka_unit_test(test_token_then_role_then_credentials),
                cmocka_unit_test(test_token_is_renewed_once_after_401),
                cmocka_unit_test(test_other_answers_of_imds_are_distinguished),
                cmocka_unit_test(test_refused_connection_may_pass),
                cmocka_unit_test(test_the_other_address_is_asked_where_the_first_cannot_be_reached),
                cmocka_unit_test(test_the_other_address_is_not_asked_for_a_reply_that_was_cut_short),
                cmocka_unit_test(test_each_address_is_asked_once_and_both_failures_are_told),
                cmocka_unit_test(test_the_second_address_is_left_alone_where_the_first_answers),
                cmocka_unit_test(test_absent_user_data_is_enoent),
                cmocka_unit_test(test_disabled_imds_is_named_as_such),
                cmocka_unit_test(test_credentials_are_fetched_one_at_a_time),
                cmocka_unit_test(test_a_callback_may_free_the_imds_and_ends_all_other_requests),
                cmocka_unit_test(test_a_callback_with_credentials_may_free_the_imds),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
