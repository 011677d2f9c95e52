/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/x509_vfy.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/duration.h"
#include "basic/http-reply.h"

static void test_http_dates_are_parsed(void **state) {
        static const struct {
                const char *text;
                int64_t seconds;
        } cases[] = {
                { "Sun, 06 Nov 1994 08:49:37 GMT", 784111777 }, /* RFC 9110 */
                { "Thu, 01 Jan 1970 00:00:00 GMT", 0 },
                { "Thu, 29 Feb 2024 23:59:59 GMT", 1709251199 },
                { "Fri, 31 Dec 9999 23:59:59 GMT", 253402300799 },
                { "Tue, 19 Jan 2038 03:14:08 GMT", 2147483648 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                int64_t seconds = 42;
                assert_int_equal(parse_http_date(cases[i].text, &seconds), 0);
                assert_int_equal(seconds, cases[i].seconds);
        }
}

static void test_text_that_is_not_an_http_date_is_refused(void **state) {
        static const char *const wrong[] = {
                "",
                "Sun, 06 Nov 1994 08:49:37",
                "Sun, 06 Nov 1994 08:49:37 UTC",
                "Sun, 06 Nov 1994 08:49:37 GMT ",
                " Sun, 06 Nov 1994 08:49:37 GMT",
                "Mon, 06 Nov 1994 08:49:37 GMT",
                "Sun, 6 Nov 1994 08:49:37 GMT",
                "Sun, 06 nov 1994 08:49:37 GMT",
                "Sun, 06 Nov 1994 8:49:37 GMT",
                "Sun, 06 Nov 1994 08:60:37 GMT",
                "Sun, 06 Nov 1994 24:00:00 GMT",
                "Wed, 31 Feb 1994 08:49:37 GMT",
                "Sun, 06 Foo 1994 08:49:37 GMT",
                "Sunday, 06-Nov-94 08:49:37 GMT",
                "Sun Nov  6 08:49:37 1994",
                "Sun, -6 Nov 1994 08:49:37 GMT",
                "Sun, 06 Nov 199 08:49:37 GMT",
                "Sun, 06 Nov 19940 08:49:37 GMT",
                "1994-11-06T08:49:37Z",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                int64_t seconds = 42;
                if (parse_http_date(wrong[i], &seconds) != -EINVAL)
                        fail_msg("'%s' was read as %lld", wrong[i], (long long) seconds);
                assert_int_equal(seconds, 42);
        }
}

static void add_headers(HttpReply *reply, const char *const *lines) {
        for (; *lines; lines++)
                assert_int_equal(http_reply_add_header(reply, *lines, strlen(*lines)), 0);
}

static void test_last_header_of_a_name_counts_in_any_case(void **state) {
        _cleanup_(http_reply_clear) HttpReply reply = {};

        add_headers(&reply, (const char *const[]){ "Retry: 1\r\n", "X-Id: first\r\n", "x-id: \t second\r\n",
                                                   "X-Id-More: third\r\n", "Empty:\r\n", NULL });
        assert_string_equal(http_reply_header(&reply, "X-ID"), "second");
        assert_string_equal(http_reply_header(&reply, "Empty"), "");
        assert_null(http_reply_header(&reply, "X"));
        assert_null(http_reply_header(&reply, "Absent"));
}

static void test_new_status_line_forgets_headers(void **state) {
        _cleanup_(http_reply_clear) HttpReply reply = {};

        add_headers(&reply, (const char *const[]){ "X-Id: of 100 Continue\r\n", NULL });
        http_reply_begin(&reply);
        assert_null(http_reply_header(&reply, "X-Id"));
        assert_int_equal(reply.header_bytes, 0);
}

static void test_headers_beyond_the_limits_are_dropped(void **state) {
        _cleanup_(http_reply_clear) HttpReply many = {}, long_ones = {};
        char line[HTTP_HEADER_BYTES_MAX + 2];

        for (unsigned i = 0; i <= HTTP_HEADERS_MAX; i++) {
                (void) snprintf(line, sizeof(line), "X-%u: %u", i, i);
                assert_int_equal(http_reply_add_header(&many, line, strlen(line)), 0);
        }
        assert_string_equal(http_reply_header(&many, "X-63"), "63");
        assert_null(http_reply_header(&many, "X-64"));

        memset(line, 'a', sizeof(line) - 1);
        line[sizeof(line) - 1] = '\0';
        line[1] = ':';
        assert_int_equal(http_reply_add_header(&long_ones, line, HTTP_HEADER_BYTES_MAX + 1), 0);
        assert_null(http_reply_header(&long_ones, "a"));
        assert_int_equal(http_reply_add_header(&long_ones, line, HTTP_HEADER_BYTES_MAX), 0);
        assert_non_null(http_reply_header(&long_ones, "a"));
        assert_int_equal(http_reply_add_header(&long_ones, "b:", 2), 0);
        assert_null(http_reply_header(&long_ones, "b"));
}

static void test_body_is_gathered_up_to_its_limit(void **state) {
        _cleanup_(http_reply_clear) HttpReply reply = { .body_max = 10 };
        size_t size = 42;

        assert_string_equal(http_reply_body(&reply, &size), "");
        assert_int_equal(size, 0);
        assert_int_equal(http_reply_add_body(&reply, "0123", 4), 0);
        assert_int_equal(http_reply_add_body(&reply, "456789", 6), 0);
        assert_false(reply.too_big);
        assert_int_equal(http_reply_add_body(&reply, "x", 1), -EFBIG);
        assert_true(reply.too_big);
        assert_string_equal(http_reply_body(&reply, &size), "0123456789");
        assert_int_equal(size, 10);
}

static void test_retry_after_is_read_in_seconds(void **state) {
        static const struct {
                const char *header;
                uint64_t usec;
        } cases[] = {
                { "Retry-After: 2", 2 * USEC_PER_SEC },
                { "Retry-After: 3600", 3600 * USEC_PER_SEC },
                { "Retry-After: 3601", 0 },
                { "Retry-After: -1", 0 },
                { "Retry-After: 1s", 0 },
                { "Retry-After:", 0 },
                { "Retry-After: 99999999999999999999", 0 },
                { "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT", 0 },
                { "Other: 2", 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(http_reply_clear) HttpReply reply = {};

                assert_int_equal(http_reply_add_header(&reply, cases[i].header, strlen(cases[i].header)), 0);
                if (http_reply_retry_after_usec(&reply) != cases[i].usec)
                        fail_msg("\"%s\" was read as %ju us, not %ju us", cases[i].header,
                                 (uintmax_t) http_reply_retry_after_usec(&reply), (uintmax_t) cases[i].usec);
        }
}

static void test_date_header_that_cannot_be_read_is_none(void **state) {
        _cleanup_(http_reply_clear) HttpReply good = {}, bad = {}, none = {};

        add_headers(&good, (const char *const[]){ "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", NULL });
        add_headers(&bad, (const char *const[]){ "Date: yesterday\r\n", NULL });
        assert_int_equal(http_reply_date(&good), 784111777);
        assert_int_equal(http_reply_date(&bad), -1);
        assert_int_equal(http_reply_date(&none), -1);
}

static void test_only_a_wrong_time_blames_the_clock(void **state) {
        static const struct {
                long verify_result;
                Failure failure;
                Remedy remedy;
                const char *says;
        } cases[] = {
                { X509_V_ERR_CERT_HAS_EXPIRED, FAILURE_CLOCK, REMEDY_RETRY, "clock" },
                { X509_V_ERR_CERT_NOT_YET_VALID, FAILURE_CLOCK, REMEDY_RETRY, "clock" },
                { X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, FAILURE_TLS, REMEDY_NONE, "Check AWS_CA_BUNDLE, " },
                { X509_V_ERR_HOSTNAME_MISMATCH, FAILURE_TLS, REMEDY_NONE, "Check AWS_CA_BUNDLE, " },
                { X509_V_OK, FAILURE_TLS, REMEDY_NONE, "subject name 'other'" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Error error;

                assert_true(http_tls_error(cases[i].verify_result, "kms.example", "subject name 'other'",
                                           "AWS_CA_BUNDLE", &error) < 0);
                assert_int_equal(error.failure, cases[i].failure);
                assert_int_equal(error.remedy, cases[i].remedy);
                assert_non_null(strstr(error.text, "kms.example"));
                assert_non_null(strstr(error.text, cases[i].says));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_http_dates_are_parsed),
                cmocka_unit_test(test_text_that_is_not_an_http_date_is_refused),
                cmocka_unit_test(test_last_header_of_a_name_counts_in_any_case),
                cmocka_unit_test(test_new_status_line_forgets_headers),
                cmocka_unit_test(test_headers_beyond_the_limits_are_dropped),
                cmocka_unit_test(test_body_is_gathered_up_to_its_limit),
                cmocka_unit_test(test_retry_after_is_read_in_seconds),
                cmocka_unit_test(test_date_header_that_cannot_be_read_is_none),
                cmocka_unit_test(test_only_a_wrong_time_blames_the_clock),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
