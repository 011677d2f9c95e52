/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kms/application.h"
#include "unseald-kms/exchange.h"

#define HEAD \
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Type: application/x-amz-json-1.1\r\n\r\n"

static ExchangeNext look(const char *data, size_t size, bool may_ask, HttpRequestHead *ret_head,
                         size_t *ret_wanted) {
        *ret_wanted = SIZE_MAX;
        return exchange_look(data, size, may_ask, ret_head, ret_wanted);
}

static void test_a_request_is_whole_when_its_body_is_there(void **state) {
        static const char data[] = HEAD "{}{}POST";
        const size_t whole = strlen(HEAD) + 4;
        HttpRequestHead head;
        size_t wanted;

        for (size_t size = 0; size < strlen(HEAD); size++) {
                assert_int_equal(look(data, size, true, &head, &wanted), EXCHANGE_MORE);
                assert_int_equal(wanted, EXCHANGE_BUFFER_FIRST);
        }
        for (size_t size = strlen(HEAD); size < whole; size++) {
                assert_int_equal(look(data, size, true, &head, &wanted), EXCHANGE_MORE);
                assert_int_equal(wanted, whole);
        }
        /* What comes behind it is the next one's. */
        for (size_t size = whole; size <= strlen(data); size++) {
                assert_int_equal(look(data, size, true, &head, &wanted), EXCHANGE_WHOLE);
                assert_int_equal(wanted, whole);
                assert_int_equal(head.body_size, 4);
        }
}

static void test_a_long_head_gets_more_room_and_no_more_than_a_head_may_have(void **state) {
        static char data[HTTP_REQUEST_HEAD_MAX + 1] = "POST / HTTP/1.1\r\nX-Long: ";
        HttpRequestHead head;
        size_t wanted;

        memset(data + strlen(data), 'a', sizeof(data) - strlen(data));
        assert_int_equal(look(data, EXCHANGE_BUFFER_FIRST - 1, true, &head, &wanted), EXCHANGE_MORE);
        assert_int_equal(wanted, EXCHANGE_BUFFER_FIRST);
        assert_int_equal(look(data, EXCHANGE_BUFFER_FIRST, true, &head, &wanted), EXCHANGE_MORE);
        assert_int_equal(wanted, HTTP_REQUEST_HEAD_MAX);
        assert_int_equal(look(data, sizeof(data), true, &head, &wanted), EXCHANGE_MISTAKE);
        assert_int_not_equal(head.status, 200);
}

/* Also with a request that is wrong, and without its body: he learns nothing and sends no more. */
static void test_a_stranger_is_refused_by_his_head(void **state) {
        static const char wrong[] = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";
        HttpRequestHead head;
        size_t wanted;

        assert_int_equal(look(HEAD, strlen(HEAD) - 1, false, &head, &wanted), EXCHANGE_MORE);
        assert_int_equal(look(HEAD, strlen(HEAD), false, &head, &wanted), EXCHANGE_STRANGER);
        assert_int_equal(look(wrong, strlen(wrong), false, &head, &wanted), EXCHANGE_STRANGER);
}

static void test_a_wrong_head_is_a_mistake(void **state) {
        char large[256];
        const char *const heads[] = { "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                      "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
                                      "POST / HTTP/1.1\r\nHost: x\r\n\r\n", large };
        static const unsigned statuses[] = { 405, 404, 411, 413 };
        HttpRequestHead head;
        size_t wanted;

        (void) snprintf(large, sizeof(large), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
                        (size_t) APPLICATION_BODY_MAX + 1);
        for (size_t i = 0; i < ELEMENTSOF(heads); i++) {
                assert_int_equal(look(heads[i], strlen(heads[i]), true, &head, &wanted), EXCHANGE_MISTAKE);
                assert_int_equal(head.status, statuses[i]);
                assert_non_null(head.mistake);
        }
}

static bool is_json(const char *header) {
        static const HttpRequestRules rules = { .method = "POST", .path = "/" };
        HttpRequestHead head;
        char data[256];

        (void) snprintf(data, sizeof(data), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n%s\r\n",
                        header);
        assert_true(http_request_parse(data, strlen(data), &rules, &head));
        assert_int_equal(head.status, 200);
        return exchange_is_json(&head);
}

static void test_only_the_json_of_amazon_is_taken(void **state) {
        assert_true(is_json("Content-Type: application/x-amz-json-1.1\r\n"));
        assert_true(is_json("content-type: Application/X-AMZ-JSON-1.1; charset=utf-8\r\n"));
        assert_true(is_json("Content-Type: application/x-amz-json-1.1 ;a=b\r\n"));
        assert_false(is_json(""));
        assert_false(is_json("Content-Type: \r\n"));
        assert_false(is_json("Content-Type: application/x-amz-json-1.10\r\n"));
        assert_false(is_json("Content-Type: application/json\r\n"));
        assert_false(is_json("Content-Type: text/plain;application/x-amz-json-1.1\r\n"));
        assert_false(is_json(
                        "Content-Type: application/x-amz-json-1.1; a parameter that is longer than any other one\r\n"));
}

static void test_each_remedy_repeats_a_request_once(void **state) {
        static const ExchangeRepetition wanted[] = {
                [REMEDY_NONE] = EXCHANGE_NO_REPETITION,
                [REMEDY_RETRY] = EXCHANGE_NO_REPETITION,
                [REMEDY_CREDENTIALS] = EXCHANGE_WITH_CREDENTIALS,
                [REMEDY_DOCUMENT] = EXCHANGE_WITH_DOCUMENT,
                [REMEDY_CLOCK] = EXCHANGE_WITH_CLOCK,
        };
        unsigned all = 0;

        for (unsigned remedy = 0; remedy < ELEMENTSOF(wanted); remedy++) {
                unsigned repeated = 0;

                assert_int_equal(exchange_repetition(&repeated, (Remedy) remedy, true), wanted[remedy]);
                assert_int_equal(exchange_repetition(&repeated, (Remedy) remedy, true),
                                 EXCHANGE_NO_REPETITION);
                /* One after the other: none takes the turn of another. */
                assert_int_equal(exchange_repetition(&all, (Remedy) remedy, true), wanted[remedy]);
        }
}

static void test_a_request_without_document_gets_no_new_one(void **state) {
        unsigned repeated = 0;

        assert_int_equal(exchange_repetition(&repeated, REMEDY_DOCUMENT, false), EXCHANGE_NO_REPETITION);
        assert_int_equal(repeated, 0);
        assert_int_equal(exchange_repetition(&repeated, REMEDY_CLOCK, false), EXCHANGE_WITH_CLOCK);
}

static void test_the_session_token_reaches_no_client(void **state) {
        static const char body[] = "{\"message\":\"The token SECRET-TOKEN is expired\"}";
        const KmsReply reply = { .status = 400, .body = body, .size = strlen(body) };
        static const Failure of_service[] = { FAILURE_ROLE, FAILURE_CLOCK };
        Error error = { .failure = FAILURE_DENIED };

        assert_true(exchange_hides(&reply, &error, "SECRET-TOKEN"));
        assert_false(exchange_hides(&reply, &error, "another"));
        assert_false(exchange_hides(&reply, &error, NULL));
        for (size_t i = 0; i < ELEMENTSOF(of_service); i++) {
                error.failure = of_service[i];
                assert_true(exchange_hides(&reply, &error, NULL));
        }
        /* The token is the last part of the answer, and one byte of it is missing. */
        error.failure = FAILURE_DENIED;
        assert_true(exchange_hides(
                        &(KmsReply){ .body = body, .size = strlen("{\"message\":\"The token SECRET-TOKEN") },
                        &error, "SECRET-TOKEN"));
        assert_false(exchange_hides(
                        &(KmsReply){ .body = body, .size = strlen("{\"message\":\"The token SECRET-TOKE") },
                        &error, "SECRET-TOKEN"));
}

static void test_what_may_pass_is_told_as_what_sdks_repeat(void **state) {
        static const Failure later[] = { FAILURE_NETWORK, FAILURE_IMDS, FAILURE_UNAVAILABLE },
                             never[] = { FAILURE_TPM, FAILURE_ANSWER, FAILURE_ROLE, FAILURE_TLS };
        const char *type;

        for (size_t i = 0; i < ELEMENTSOF(later); i++) {
                assert_int_equal(exchange_failure_status(&(Error){ .failure = later[i] }, &type), 503);
                assert_string_equal(type, "DependencyTimeoutException");
        }
        for (size_t i = 0; i < ELEMENTSOF(never); i++) {
                assert_int_equal(exchange_failure_status(&(Error){ .failure = never[i] }, &type), 500);
                assert_string_equal(type, "KMSInternalException");
        }
}

static void assert_head(const ExchangeAnswer *answer, bool last, const char *wanted) {
        char head[EXCHANGE_HEAD_MAX];
        size_t size = exchange_print_head(answer, last, UINT64_C(1700000000999999), head);

        assert_string_equal(head, wanted);
        assert_int_equal(size, strlen(wanted));
}

#define DATE "Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
#define TYPE "Content-Type: application/x-amz-json-1.1\r\n"

static void test_the_head_of_an_answer(void **state) {
        assert_head(&(ExchangeAnswer){ .status = 200, .size = 12 }, false,
                    "HTTP/1.1 200 OK\r\n" DATE TYPE
                    "Content-Length: 12\r\nCache-Control: no-store\r\nConnection: keep-alive\r\n\r\n");
        assert_head(&(ExchangeAnswer){ .status = 400,
                                       .request_id = "id",
                                       .error_type = "AccessDeniedException" },
                    true,
                    "HTTP/1.1 400 Bad Request\r\n" DATE TYPE
                    "Content-Length: 0\r\nCache-Control: no-store\r\nx-amzn-RequestId: id\r\n"
                    "x-amzn-ErrorType: AccessDeniedException\r\nConnection: close\r\n\r\n");
        assert_head(&(ExchangeAnswer){ .status = 405, .request_id = "", .error_type = "" }, true,
                    "HTTP/1.1 405 Method Not Allowed\r\n" DATE TYPE
                    "Content-Length: 0\r\nCache-Control: no-store\r\nAllow: POST\r\nConnection: close\r\n\r\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_request_is_whole_when_its_body_is_there),
                cmocka_unit_test(test_a_long_head_gets_more_room_and_no_more_than_a_head_may_have),
                cmocka_unit_test(test_a_stranger_is_refused_by_his_head),
                cmocka_unit_test(test_a_wrong_head_is_a_mistake),
                cmocka_unit_test(test_only_the_json_of_amazon_is_taken),
                cmocka_unit_test(test_each_remedy_repeats_a_request_once),
                cmocka_unit_test(test_a_request_without_document_gets_no_new_one),
                cmocka_unit_test(test_the_session_token_reaches_no_client),
                cmocka_unit_test(test_what_may_pass_is_told_as_what_sdks_repeat),
                cmocka_unit_test(test_the_head_of_an_answer),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
