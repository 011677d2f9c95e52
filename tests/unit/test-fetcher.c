/* SPDX-License-Identifier: Apache-2.0 */

/* This file replaces basic/http.c: it keeps each request, and the test answers it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "basic/clock.h"
#include "failing-memory.h"
#include "source/fetcher.h"

#define HOUR INT64_C(3600)

struct HttpTransfer {
        char url[256], date[32], authorization[512];
        size_t reply_max;
        HttpCallback callback;
        void *userdata;
};

static HttpClient *const http = (HttpClient *) &(int){ 0 };
static HttpTransfer transfers[4];
static size_t transfers_count, cancelled;

static void copy_header(const HttpRequest *request, const char *name, char *ret, size_t size) {
        ret[0] = 0;
        for (const char *const *header = request->headers; header && *header; header++)
                if (strncmp(*header, name, strlen(name)) == 0)
                        (void) snprintf(ret, size, "%s", *header + strlen(name));
}

int http_start(HttpClient *client, const HttpRequest *request, HttpCallback callback, void *userdata,
               HttpTransfer **ret) {
        HttpTransfer *transfer = transfers + transfers_count++;

        assert_ptr_equal(client, http);
        assert_true(transfers_count <= ELEMENTSOF(transfers));
        *transfer = (HttpTransfer){ .callback = callback,
                                    .userdata = userdata,
                                    .reply_max = request->reply_max };
        (void) snprintf(transfer->url, sizeof(transfer->url), "%s", request->url);
        copy_header(request, "X-Amz-Date: ", transfer->date, sizeof(transfer->date));
        copy_header(request, "Authorization: ", transfer->authorization, sizeof(transfer->authorization));
        *ret = transfer;
        return 0;
}

void http_cancel(HttpTransfer *transfer) {
        cancelled++;
}

/* test-pieces-remote has the streams. */

void http_resume(HttpTransfer *transfer) {
        fail();
}

bool http_is_sent(const HttpTransfer *transfer) {
        return true;
}

bool http_is_paused(const HttpTransfer *transfer) {
        return false;
}

sd_event *http_event(const HttpClient *client) {
        return NULL;
}

static char access_key_id[] = "AKIDEXAMPLE", secret_access_key[] = "wJalrXUtnFEMI", token[] = "TOKEN//==";
static const AwsCredentials credentials = { access_key_id, secret_access_key, token, 0 };

static struct {
        unsigned calls;
        int r;
        Error error;
} got;

static void on_fetched(int r, const uint8_t *data, size_t size, const Error *error, void *userdata) {
        assert_ptr_equal(userdata, &got);
        got.calls++;
        got.r = r;
        got.error = *error;
}

static Source source;
static Fetcher *fetcher;

static int set_up(void **state) {
        transfers_count = cancelled = 0;
        memset(&got, 0, sizeof(got));
        if (source_parse("s3://sealed/db", &source, NULL) < 0 || fetcher_new(http, &fetcher) < 0)
                return -1;
        fetcher_set_credentials(fetcher, &credentials);
        return 0;
}

static int tear_down(void **state) {
        fetcher = fetcher_free(fetcher);
        source_clear(&source);
        return 0;
}

/* Starts a request and returns the time that it is signed with, in seconds since 1970. */
static int64_t start(void) {
        const Fetch fetch = {
                .source = &source, .partition = "aws", .region = "eu-north-1", .maximum = 6144
        };
        const HttpTransfer *transfer = transfers + transfers_count;
        struct tm parts = {};

        assert_int_equal(source_fetch(fetcher, &fetch, on_fetched, &got), 0);
        assert_string_equal(transfer->url, "https://sealed.s3.eu-north-1.amazonaws.com/db");
        assert_int_equal(strncmp(transfer->authorization, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/", 40),
                         0);
        assert_non_null(strptime(transfer->date, "%Y%m%dT%H%M%SZ", &parts));
        return timegm(&parts);
}

/* Answers request i as a server whose clock shows this time does. date 0: the answer has no Date. */
static void answer(size_t i, unsigned status, const char *body, int64_t date) {
        HttpReply reply = { .status = status, .body_max = 1000, .certificate_end = -1 };
        char line[64];

        if (date != 0) {
                assert_true(strftime(line, sizeof(line), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n",
                                     gmtime(&date)) > 0);
                assert_int_equal(http_reply_add_header(&reply, line, strlen(line)), 0);
        }
        assert_int_equal(http_reply_add_body(&reply, body, strlen(body)), 0);
        transfers[i].callback(0, &reply, NULL, transfers[i].userdata);
        http_reply_clear(&reply);
}

#define TOO_SKEWED "<Error><Code>RequestTimeTooSkewed</Code></Error>"
#define SLOW_DOWN "<Error><Code>SlowDown</Code></Error>"

static void assert_about(int64_t seen, int64_t wanted) {
        /* The clock goes on while the test runs. */
        if (seen < wanted || seen > wanted + 1000)
                fail_msg("signed at %lld, wanted %lld or a little later", (long long) seen,
                         (long long) wanted);
}

static void test_a_request_is_signed_now(void **state) {
        int64_t now = (int64_t) (now_realtime_usec() / USEC_PER_SEC);

        assert_about(start(), now);
        assert_int_equal(transfers[0].reply_max, 64 * 1024);
        answer(0, 200, "AQIC", 0);
        assert_int_equal(got.calls, 1);
        assert_int_equal(got.r, 0);
}

/* Two requests find the same skew at the same time. The fetcher does not add it twice. */
static void test_a_clock_that_s3_calls_wrong_is_corrected_once(void **state) {
        int64_t first = start(), second = start();

        answer(0, 403, TOO_SKEWED, first + HOUR);
        answer(1, 403, TOO_SKEWED, second + HOUR);
        assert_int_equal(got.calls, 2);
        assert_int_equal(got.error.failure, FAILURE_CLOCK);
        assert_int_equal(got.error.remedy, REMEDY_CLOCK);
        assert_about(start(), first + HOUR);
}

static void test_the_date_of_any_other_answer_corrects_no_clock(void **state) {
        int64_t first = start();

        answer(0, 503, SLOW_DOWN, first + HOUR);
        assert_int_equal(got.error.remedy, REMEDY_RETRY);
        assert_about(start(), first);
        answer(1, 403, TOO_SKEWED, 0);
        assert_int_equal(got.error.failure, FAILURE_CLOCK);
        assert_int_equal(got.error.remedy, REMEDY_RETRY);
        assert_about(start(), first);
}

static int start_in_little_memory(void) {
        const Fetch fetch = {
                .source = &source, .partition = "aws", .region = "eu-north-1", .maximum = 6144
        };
        int r;

        transfers_count = 0;
        r = source_fetch(fetcher, &fetch, on_fetched, &got);
        assert_int_equal(transfers_count, r >= 0);
        return r;
}

static void test_lack_of_memory_starts_no_request(void **state) {
        Fetcher *none = NULL;

        if (!memory_can_fail())
                skip();
        memory_fail_after(0);
        assert_int_equal(fetcher_new(http, &none), -ENOMEM);
        assert_true(memory_has_failed());
        assert_null(none);
        for (unsigned i = 0; i < 3; i++) {
                memory_fail_after(i);
                assert_int_equal(start_in_little_memory(), -ENOMEM);
                assert_true(memory_has_failed());
        }
}

static void test_requests_under_way_are_cancelled_with_the_fetcher(void **state) {
        (void) start();
        (void) start();
        answer(0, 200, "AQIC", 0);
        fetcher = fetcher_free(fetcher);
        assert_int_equal(cancelled, 1);
        assert_int_equal(got.calls, 1);
}

int main(void) {
#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                test(test_a_request_is_signed_now),
                test(test_a_clock_that_s3_calls_wrong_is_corrected_once),
                test(test_the_date_of_any_other_answer_corrects_no_clock),
                test(test_lack_of_memory_starts_no_request),
                test(test_requests_under_way_are_cancelled_with_the_fetcher),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
