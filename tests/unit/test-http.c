/* SPDX-License-Identifier: Apache-2.0 */

/* The streams of basic/http.c, and what its errors blame, with a server on 127.0.0.1. */

#include <curl/curl.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "basic/http.h"
#include "failing-memory.h"
#include "http-server.h"

#define BODY_SIZE 300000U

typedef struct Stage {
        sd_event *event;
        HttpClient *client;
        Server *server;
        HttpTransfer *transfer;
        char *body; /* of the server's long answers */

        int head, data; /* what the stream returns */
        size_t room;    /* the stream says 0 when it has so many bytes */
        unsigned heads, refused;
        char *taken;
        size_t size;

        unsigned calls;
        int r;
        Error error;
        char gathered[64];
} Stage;

static int on_head(const HttpReply *reply, void *userdata) {
        Stage *stage = userdata;

        stage->heads++;
        assert_true(http_reply_status(reply) >= 200);
        assert_non_null(http_reply_header(reply, "Content-Length"));
        assert_string_equal(http_reply_body(reply, NULL), "");
        return stage->head;
}

static int on_data(const uint8_t *data, size_t size, void *userdata) {
        Stage *stage = userdata;

        assert_true(size > 0 && stage->size + size <= BODY_SIZE);
        if (stage->data < 0)
                return stage->data;
        if (stage->size + size > stage->room) {
                stage->refused++;
                return 0;
        }
        memcpy(stage->taken + stage->size, data, size);
        stage->size += size;
        return 1;
}

static const HttpStream stream = { on_head, on_data };

static void on_reply(int r, const HttpReply *reply, const Error *error, void *userdata) {
        Stage *stage = userdata;

        stage->transfer = NULL;
        stage->calls++;
        stage->r = r;
        stage->error = *error;
        if (r >= 0)
                (void) snprintf(stage->gathered, sizeof(stage->gathered), "%u %.40s",
                                http_reply_status(reply), http_reply_body(reply, NULL));
}

static void start(Stage *stage, const Answer *answer) {
        const HttpOptions options = {};

        stage->server = server_start(answer, 1);
        assert_int_equal(sd_event_new(&stage->event), 0);
        assert_int_equal(http_client_new(stage->event, &options, &stage->client), 0);
        assert_ptr_equal(http_event(stage->client), stage->event);
        assert_int_equal(http_start(stage->client,
                                    &(HttpRequest){ .method = "GET",
                                                    .url = stage->server->address,
                                                    .reply_max = 1000,
                                                    .stream = &stream },
                                    on_reply, stage, &stage->transfer),
                         0);
}

static int set_up(void **state) {
        Stage *stage = calloc(1, sizeof(*stage));

        if (!stage || !(stage->body = malloc(BODY_SIZE + 1)) || !(stage->taken = malloc(BODY_SIZE)))
                return -1;
        for (size_t i = 0; i < BODY_SIZE; i++)
                stage->body[i] = (char) ('a' + i * 7 % 26 * (i / 1000 % 2));
        stage->body[BODY_SIZE] = '\0';
        stage->head = 1;
        stage->room = SIZE_MAX;
        *state = stage;
        return 0;
}

static int tear_down(void **state) {
        Stage *stage = *state;

        http_client_free(stage->client);
        sd_event_unref(stage->event);
        if (stage->server)
                server_free(stage->server);
        free(stage->body);
        free(stage->taken);
        free(stage);
        return 0;
}

static void test_a_stream_takes_a_body_that_is_longer_than_a_reply_may_be(void **state) {
        Stage *stage = *state;

        start(stage, &(Answer){ .status = 206, .body = stage->body });
        while (stage->calls == 0)
                assert_true(sd_event_run(stage->event, UINT64_C(10) * 1000000) > 0);
        assert_int_equal(stage->r, 0);
        assert_int_equal(stage->heads, 1);
        assert_int_equal(stage->size, BODY_SIZE);
        assert_memory_equal(stage->taken, stage->body, BODY_SIZE);
        assert_string_equal(stage->gathered, "206 ");
}

static void test_a_body_that_the_stream_does_not_want_is_gathered(void **state) {
        Stage *stage = *state;

        stage->head = 0;
        start(stage, &(Answer){ .status = 503, .body = "SlowDown" });
        assert_true(run_until(stage->event, &stage->calls, 1));
        assert_int_equal(stage->size, 0);
        assert_string_equal(stage->gathered, "503 SlowDown");
}

static void test_a_body_without_bytes_has_a_head(void **state) {
        Stage *stage = *state;

        start(stage, &(Answer){ .status = 200 });
        assert_true(run_until(stage->event, &stage->calls, 1));
        assert_int_equal(stage->heads, 1);
        assert_string_equal(stage->gathered, "200 ");
}

/* The stream gets each byte once, however often it has no room. */
static void test_a_paused_transfer_goes_on_where_it_was(void **state) {
        Stage *stage = *state;
        unsigned pauses = 0;

        stage->room = 0;
        start(stage, &(Answer){ .status = 206, .body = stage->body });
        assert_false(http_is_sent(stage->transfer));
        while (stage->calls == 0) {
                if (http_is_paused(stage->transfer)) {
                        assert_true(http_is_sent(stage->transfer));
                        pauses++;
                        stage->room += 40000;
                        http_resume(stage->transfer);
                        if (stage->size == BODY_SIZE)
                                assert_false(http_is_paused(stage->transfer));
                }
                assert_true(sd_event_run(stage->event,
                                         stage->calls == 0 && stage->transfer &&
                                                                         http_is_paused(stage->transfer)
                                                         ? 0
                                                         : UINT64_C(10) * 1000000) >= 0);
        }
        assert_int_equal(stage->r, 0);
        assert_true(pauses >= 4 && stage->refused >= pauses);
        assert_int_equal(stage->size, BODY_SIZE);
        assert_memory_equal(stage->taken, stage->body, BODY_SIZE);
}

static void test_a_stream_ends_a_transfer_with_its_own_error(void **state) {
        Stage *stage = *state;

        stage->head = -ESTALE;
        start(stage, &(Answer){ .status = 206, .body = "other bytes" });
        assert_true(run_until(stage->event, &stage->calls, 1));
        assert_int_equal(stage->r, -ESTALE);
        assert_int_equal(stage->error.failure, FAILURE_NONE);
        assert_int_equal(stage->size, 0);
}

static void test_a_stream_ends_a_transfer_without_bytes_with_its_own_error(void **state) {
        Stage *stage = *state;

        stage->head = -ESTALE;
        start(stage, &(Answer){ .status = 200 });
        assert_true(run_until(stage->event, &stage->calls, 1));
        assert_int_equal(stage->r, -ESTALE);
}

static void test_a_stream_ends_a_transfer_in_the_middle(void **state) {
        Stage *stage = *state;

        stage->room = 0;
        start(stage, &(Answer){ .status = 206, .body = stage->body });
        while (!http_is_paused(stage->transfer))
                assert_true(sd_event_run(stage->event, UINT64_C(10) * 1000000) > 0);
        stage->data = -EBADMSG;
        http_resume(stage->transfer);
        assert_int_equal(stage->calls, 0); /* the loop reports it */
        assert_true(run_until(stage->event, &stage->calls, 1));
        assert_int_equal(stage->r, -EBADMSG);
        assert_int_equal(stage->error.failure, FAILURE_NONE);
}

static void test_a_paused_transfer_can_be_cancelled(void **state) {
        Stage *stage = *state;

        stage->room = 0;
        start(stage, &(Answer){ .status = 206, .body = stage->body });
        while (!http_is_paused(stage->transfer))
                assert_true(sd_event_run(stage->event, UINT64_C(10) * 1000000) > 0);
        http_cancel(stage->transfer);
        while (sd_event_run(stage->event, 0) > 0)
                ;
        assert_int_equal(stage->calls, 0);
}

/* curl lacks the memory to keep what the stream refuses once more. Whoever goes on with all paused transfers must not find it. A later
 * version than 7 (8.14 is one) needs no memory for it: the transfer pauses again, and goes on later. */
static void test_a_transfer_that_failed_while_paused_is_not_paused(void **state) {
        Stage *stage = *state;
        bool failed;

        if (!memory_can_fail())
                skip();
        stage->room = 0;
        start(stage, &(Answer){ .status = 206, .body = stage->body });
        while (!http_is_paused(stage->transfer))
                assert_true(sd_event_run(stage->event, UINT64_C(10) * 1000000) > 0);
        memory_fail_after(0);
        http_resume(stage->transfer);
        failed = memory_has_failed();
        assert_int_equal(stage->refused, 2);
        if (!failed && curl_version_info(CURLVERSION_NOW)->version_num >= 0x080000) {
                assert_true(http_is_paused(stage->transfer));
                stage->room = SIZE_MAX;
                http_resume(stage->transfer);
                assert_true(run_until(stage->event, &stage->calls, 1));
                assert_int_equal(stage->r, 0);
                assert_int_equal(stage->size, BODY_SIZE);
                return;
        }
        assert_true(failed);
        assert_false(http_is_paused(stage->transfer));
        assert_true(run_until(stage->event, &stage->calls, 1));
        assert_int_equal(stage->r, -ENOMEM);
}

static void start_quiet(Stage *stage, const HttpOptions *options) {
        assert_int_equal(sd_event_new(&stage->event), 0);
        assert_int_equal(http_client_new(stage->event, options, &stage->client), 0);
}

/* The first request has the only connection when the time of the second is over. */
static void test_a_request_that_never_had_a_connection_does_not_blame_dns(void **state) {
        Stage *stage = *state;
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(address);
        _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* accepts nobody */
        char url[64];

        assert_true(bind(fd, (struct sockaddr *) &address, size) >= 0 && listen(fd, 16) >= 0 &&
                    getsockname(fd, (struct sockaddr *) &address, &size) >= 0);
        (void) snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(address.sin_port));
        start_quiet(stage, &(HttpOptions){ .connections_max = 1 });
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(http_start(stage->client,
                                            &(HttpRequest){ .method = "GET",
                                                            .url = url,
                                                            .timeout_usec = i == 0 ? 200000 : 50000 },
                                            on_reply, stage, &stage->transfer),
                                 0);
        assert_true(run_until(stage->event, &stage->calls, 2));
        assert_int_equal(stage->r, -ETIMEDOUT);
        assert_int_equal(stage->error.failure, FAILURE_NETWORK);
        assert_non_null(strstr(stage->error.text, "other requests to this host"));
        assert_null(strstr(stage->error.text, "resolve"));
        assert_null(strstr(stage->error.text, "DNS"));
}

/* No server is asked about a label of more than 63 bytes. */
static void test_a_proxy_without_an_address_is_blamed_itself(void **state) {
        Stage *stage = *state;
        X509_STORE *trusted = X509_STORE_new();
        char proxy[] = "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:3128";

        assert_non_null(trusted);
        start_quiet(stage, &(HttpOptions){ .trusted = trusted, .proxy = proxy });
        X509_STORE_free(trusted);
        assert_int_equal(http_start(stage->client,
                                    &(HttpRequest){ .method = "GET", .url = "https://127.0.0.1/" }, on_reply,
                                    stage, &stage->transfer),
                         0);
        assert_true(run_until(stage->event, &stage->calls, 1));
        assert_int_equal(stage->error.failure, FAILURE_NETWORK);
        assert_non_null(strstr(stage->error.text, "Could not resolve proxy"));
        assert_non_null(strstr(stage->error.text, "Check Proxy="));
}

int main(void) {
#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                test(test_a_stream_takes_a_body_that_is_longer_than_a_reply_may_be),
                test(test_a_body_that_the_stream_does_not_want_is_gathered),
                test(test_a_body_without_bytes_has_a_head),
                test(test_a_paused_transfer_goes_on_where_it_was),
                test(test_a_stream_ends_a_transfer_with_its_own_error),
                test(test_a_stream_ends_a_transfer_without_bytes_with_its_own_error),
                test(test_a_stream_ends_a_transfer_in_the_middle),
                test(test_a_paused_transfer_can_be_cancelled),
                test(test_a_transfer_that_failed_while_paused_is_not_paused),
                test(test_a_request_that_never_had_a_connection_does_not_blame_dns),
                test(test_a_proxy_without_an_address_is_blamed_itself),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
