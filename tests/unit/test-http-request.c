/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/http-request.h"

#define LINE "POST / HTTP/1.1\r\n"
#define HOST "Host: localhost:8643\r\n"
#define LENGTH "Content-Length: 2\r\n"

static const HttpRequestRules rules = { .method = "POST", .path = "/", .body_max = 1000 };

/* status 0: the reader waits for more. */
static void assert_status_of(const char *data, size_t size, unsigned status) {
        HttpRequestHead head;
        /* A copy of the exact size lets sanitizers see a read past the end. */
        _cleanup_free_ char *copy = malloc(size ?: 1);
        unsigned seen;

        memcpy(copy, data, size);
        seen = http_request_parse(copy, size, &rules, &head) ? head.status : 0;
        if (seen != status)
                fail_msg("\"%.*s\": saw %u (%s), wanted %u", (int) size, data, seen, head.mistake ?: "",
                         status);
        if (status >= 400 && !head.mistake)
                fail_msg("\"%.*s\": %u without a reason", (int) size, data, status);
}

static void assert_status(const char *text, unsigned status) {
        assert_status_of(text, strlen(text), status);
}

static void test_a_request_of_an_sdk_is_taken(void **state) {
        static const char request[] = LINE HOST
                        "Accept-Encoding: identity\r\nX-Amz-Target: TrentService.Decrypt\r\n"
                        "content-type:application/x-amz-json-1.1 \t\r\nUser-Agent: Boto3/1.34 \xe9\r\n"
                        "Content-Length: 2\r\nA:\r\n\r\n{}POST";
        HttpRequestHead head;
        char value[64];

        assert_true(http_request_parse(request, sizeof(request) - 1, &rules, &head));
        assert_int_equal(head.status, 200);
        assert_int_equal(head.body_size, 2);
        assert_string_equal(request + head.head_size, "{}POST");
        assert_false(head.close);
        assert_true(http_request_copy(&head, "CONTENT-TYPE", value, sizeof(value)));
        assert_string_equal(value, "application/x-amz-json-1.1");
        assert_true(http_request_copy(&head, "a", value, sizeof(value)));
        assert_string_equal(value, "");
        assert_false(http_request_copy(&head, "content-type", value, 26));
        assert_true(http_request_copy(&head, "content-type", value, 27));
        assert_false(http_request_copy(&head, "X-Amz-Targe", value, sizeof(value)));
        assert_null(http_request_field(&head, "X-Amz-TargetX"));
}

static void test_an_incomplete_head_is_waited_for(void **state) {
        static const char request[] = LINE HOST LENGTH "\r\n";

        for (size_t n = 0; n < sizeof(request) - 1; n++)
                assert_status_of(request, n, 0);
        assert_status(request, 200);
}

/* Each of these could be one request for this reader and two, or another one, for a reader behind it. */
static void test_no_request_can_be_read_in_two_ways(void **state) {
        assert_status(LINE HOST LENGTH "Content-Length: 3\r\n\r\n{}", 400);
        assert_status(LINE HOST LENGTH "content-LENGTH: 2\r\n\r\n{}", 400);
        assert_status(LINE HOST LENGTH "Transfer-Encoding: chunked\r\n\r\n{}", 501);
        assert_status(LINE HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501);
        assert_status(LINE HOST "Transfer-Encoding : chunked\r\n" LENGTH "\r\n{}", 400);
        assert_status(LINE HOST "Content-Length : 2\r\n\r\n{}", 400);
        assert_status(LINE HOST "Content-Length: +2\r\n\r\n{}", 400);
        assert_status(LINE HOST "Content-Length: -2\r\n\r\n{}", 400);
        assert_status(LINE HOST "Content-Length: 2, 2\r\n\r\n{}", 400);
        assert_status(LINE HOST "Content-Length: 0x2\r\n\r\n{}", 400);
        assert_status(LINE HOST "Content-Length:\r\n\r\n{}", 400);
        assert_status(LINE HOST "Content-Length: 2\r\n 3\r\n\r\n{}", 400);
        assert_status(LINE HOST "A: b\n" LENGTH "\r\n{}", 400);
        assert_status(LINE HOST "A: b\rContent-Length: 9\r\n" LENGTH "\r\n{}", 400);
        assert_status_of(LINE HOST "A: b\0c\r\n" LENGTH "\r\n{}",
                         sizeof(LINE HOST "A: b\0c\r\n" LENGTH "\r\n{}") - 1, 400);
        assert_status(LINE HOST HOST LENGTH "\r\n{}", 400);
        assert_status(LINE HOST "X-Amz-Target: a\r\nx-amz-target: b\r\n" LENGTH "\r\n{}", 400);
        assert_status(LINE HOST LENGTH "Content-Encoding: gzip\r\n\r\n{}", 415);
        assert_status(LINE HOST LENGTH "Expect: 100-continue\r\n\r\n{}", 417);
        assert_status("\r\n\r\n" LINE HOST LENGTH "\r\n{}", 400);
        assert_status("\r\n" LINE HOST LENGTH "\r\n{}", 400);
}

static void test_only_one_method_path_and_version_is_taken(void **state) {
        assert_status("GET / HTTP/1.1\r\n" HOST LENGTH "\r\n", 405);
        assert_status("POSTS / HTTP/1.1\r\n" HOST LENGTH "\r\n", 405);
        assert_status("POST /a HTTP/1.1\r\n" HOST LENGTH "\r\n", 404);
        assert_status("POST http://localhost/ HTTP/1.1\r\n" HOST LENGTH "\r\n", 404);
        assert_status("POST / HTTP/1.0\r\n" HOST LENGTH "\r\n", 505);
        assert_status("POST / HTTP/1.1 \r\n" HOST LENGTH "\r\n", 505);
        assert_status("POST / HTTP/2\r\n" HOST LENGTH "\r\n", 505);
        assert_status("POST  / HTTP/1.1\r\n" HOST LENGTH "\r\n", 400);
        assert_status("POST /\r\n" HOST LENGTH "\r\n", 400);
        assert_status("POST\r\n" HOST LENGTH "\r\n", 400);
        assert_status(" / HTTP/1.1\r\n" HOST LENGTH "\r\n", 400);
        assert_status("PO:ST / HTTP/1.1\r\n" HOST LENGTH "\r\n", 400);
}

static void test_what_a_head_must_have(void **state) {
        assert_status(LINE LENGTH "\r\n", 400);
        assert_status(LINE HOST "\r\n", 411);
        assert_status(LINE HOST LENGTH ": b\r\n\r\n", 400);
        assert_status(LINE HOST LENGTH "A b: c\r\n\r\n", 400);
        assert_status(LINE HOST LENGTH "A\r\n\r\n", 400);
        assert_status(LINE HOST LENGTH "A: \x01\r\n\r\n", 400);
        assert_status(LINE HOST LENGTH "A: \x7f\r\n\r\n", 400);
}

static void test_sizes_are_bounded(void **state) {
        _cleanup_free_ char *text = malloc(HTTP_REQUEST_HEAD_MAX + 100);
        size_t length;

        assert_status(LINE HOST "Content-Length: 1000\r\n\r\n", 200);
        assert_status(LINE HOST "Content-Length: 1001\r\n\r\n", 413);
        assert_status(LINE HOST "Content-Length: 0000002\r\n\r\n", 200);
        assert_status(LINE HOST "Content-Length: 18446744073709551618\r\n\r\n", 413);

        length = (size_t) sprintf(text, "%s%sA: ", LINE, HOST LENGTH);
        memset(text + length, 'a', HTTP_REQUEST_HEAD_MAX + 100 - length);
        assert_status_of(text, HTTP_REQUEST_HEAD_MAX - 1, 0);
        assert_status_of(text, HTTP_REQUEST_HEAD_MAX, 431);
        memcpy(text + HTTP_REQUEST_HEAD_MAX - 4, "\r\n\r\n", 4);
        assert_status_of(text, HTTP_REQUEST_HEAD_MAX, 200);

        length = (size_t) sprintf(text, "%s%s", LINE, HOST LENGTH);
        for (unsigned i = 2; i < HTTP_REQUEST_FIELDS_MAX; i++)
                length += (size_t) sprintf(text + length, "A%u: b\r\n", i);
        (void) sprintf(text + length, "\r\n");
        assert_status(text, 200);
        (void) sprintf(text + length, "B: b\r\n\r\n");
        assert_status(text, 431);
}

static void test_a_client_can_ask_for_the_end_of_the_connection(void **state) {
        HttpRequestHead head;
        static const char close[] =
                        LINE HOST LENGTH "Connection: a\r\nConnection: keep-alive, CLOSE\r\n\r\n",
                          keep[] = LINE HOST LENGTH "Connection: keep-alive\r\n\r\n";

        assert_true(http_request_parse(close, sizeof(close) - 1, &rules, &head));
        assert_true(head.close);
        assert_true(http_request_parse(keep, sizeof(keep) - 1, &rules, &head));
        assert_false(head.close);
}

static void test_every_status_has_words(void **state) {
        static const unsigned statuses[] = { 200, 400, 403, 404, 405, 411, 412, 413,
                                             415, 417, 429, 431, 500, 501, 503, 505 };

        for (size_t i = 0; i < ELEMENTSOF(statuses); i++)
                assert_true(strlen(http_reason_phrase(statuses[i])) > 1);
        assert_string_equal(http_reason_phrase(404), "Not Found");
        assert_string_equal(http_reason_phrase(499), "Bad Request");
        assert_string_equal(http_reason_phrase(599), "Internal Server Error");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_request_of_an_sdk_is_taken),
                cmocka_unit_test(test_an_incomplete_head_is_waited_for),
                cmocka_unit_test(test_no_request_can_be_read_in_two_ways),
                cmocka_unit_test(test_only_one_method_path_and_version_is_taken),
                cmocka_unit_test(test_what_a_head_must_have),
                cmocka_unit_test(test_sizes_are_bounded),
                cmocka_unit_test(test_a_client_can_ask_for_the_end_of_the_connection),
                cmocka_unit_test(test_every_status_has_words),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
