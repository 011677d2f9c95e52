/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Objects in parts. This file replaces basic/http.c: it keeps each request, and the test answers it. It replaces
 * basic/clock.c, too: time passes when a test says so. The tests' time is near 0, so the event loop's timers are always due; what
 * they lead to depends on the tests' time alone.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "basic/clock.h"
#include "failing-memory.h"
#include "source/pieces-remote.h"

#define KIB 1024U
#define MIB (1024U * KIB)
#define CHUNK (16U * KIB) /* what curl hands out at once */
#define BEGIN (1 * MIB + 100)
#define SIZE (24 * MIB + 1000)
#define PIECE (256U * KIB)
#define AHEAD 8U
#define TRANSFERS_MAX 256U

static uint64_t now_usec;

uint64_t now_monotonic_usec(void) {
        return now_usec;
}

uint64_t now_boottime_usec(void) {
        return now_usec;
}

uint64_t now_realtime_usec(void) {
        return UINT64_C(1440938160) * USEC_PER_SEC + now_usec;
}

void sleep_usec(uint64_t usec) {
        fail();
}

struct HttpTransfer {
        bool active, headed, paused;
        bool queued; /* it has no connection yet */
        char url[256], range[64], match[64], authorization[256], date[32];
        uint64_t first, last; /* of Range */
        size_t pending;       /* bytes that the stream had no room for */
        uint64_t sent;        /* bytes of the body */
        HttpReply reply;
        const HttpStream *stream;
        HttpCallback callback;
        void *userdata;
};

static sd_event *event;
static HttpClient *const http = (HttpClient *) &(int){ 0 };
static HttpTransfer transfers[TRANSFERS_MAX];
static size_t transfers_count;
static bool first_request;

static void copy_header(const HttpRequest *request, const char *name, char *ret, size_t size) {
        for (const char *const *header = request->headers; header && *header; header++)
                if (strncmp(*header, name, strlen(name)) == 0)
                        (void) snprintf(ret, size, "%s", *header + strlen(name));
}

int http_start(HttpClient *client, const HttpRequest *request, HttpCallback callback, void *userdata,
               HttpTransfer **ret) {
        HttpTransfer *transfer = transfers + transfers_count++;
        int end = 0;

        assert_ptr_equal(client, http);
        assert_true(transfers_count <= TRANSFERS_MAX);
        assert_string_equal(request->method, "GET");
        assert_null(request->body);
        assert_non_null(request->stream);
        /* The pieces watch their transfers themselves; nobody watches the first one. */
        assert_int_equal(request->timeout_usec, first_request ? 30 * USEC_PER_SEC : 0);
        *transfer = (HttpTransfer){
                .active = true,
                .last = SIZE - 1,
                .reply = { .body_max = request->reply_max, .certificate_end = -1 },
                .stream = request->stream,
                .callback = callback,
                .userdata = userdata,
        };
        (void) snprintf(transfer->url, sizeof(transfer->url), "%s", request->url);
        copy_header(request, "Range: ", transfer->range, sizeof(transfer->range));
        copy_header(request, "If-Match: ", transfer->match, sizeof(transfer->match));
        copy_header(request, "Authorization: ", transfer->authorization, sizeof(transfer->authorization));
        copy_header(request, "X-Amz-Date: ", transfer->date, sizeof(transfer->date));
        if (transfer->range[0]) {
                assert_int_equal(sscanf(transfer->range, "bytes=%" SCNu64 "-%" SCNu64 "%n", &transfer->first,
                                        &transfer->last, &end),
                                 2);
                assert_int_equal(transfer->range[end], '\0');
        }
        *ret = transfer;
        return 0;
}

void http_cancel(HttpTransfer *transfer) {
        assert_true(transfer->active);
        transfer->active = false;
        http_reply_clear(&transfer->reply);
}

sd_event *http_event(const HttpClient *client) {
        return event;
}

bool http_is_sent(const HttpTransfer *transfer) {
        assert_true(transfer->active);
        return !transfer->queued;
}

bool http_is_paused(const HttpTransfer *transfer) {
        assert_true(transfer->active);
        return transfer->paused;
}

/* The byte of the object at this place. */
static uint8_t byte_at(uint64_t offset) {
        return (uint8_t) (offset * 167 >> 5 ^ offset >> 13);
}

/* Hands out a chunk. False: the stream has ended the transfer. */
static bool hand_out(HttpTransfer *transfer, size_t size) {
        uint8_t chunk[CHUNK];
        int r;

        for (size_t i = 0; i < size; i++)
                chunk[i] = byte_at(transfer->first + transfer->sent + i);
        r = transfer->stream->data(chunk, size, transfer->userdata);
        if (r < 0) {
                transfer->active = false;
                transfer->callback(r, NULL, &(const Error){}, transfer->userdata);
                http_reply_clear(&transfer->reply);
                return false;
        }
        transfer->paused = r == 0;
        transfer->pending = r == 0 ? size : 0;
        if (r > 0)
                transfer->sent += size;
        return true;
}

void http_resume(HttpTransfer *transfer) {
        assert_true(transfer->active && transfer->paused);
        transfer->paused = false;
        (void) hand_out(transfer, transfer->pending);
}

static void add_header(HttpTransfer *transfer, const char *line) {
        assert_int_equal(http_reply_add_header(&transfer->reply, line, strlen(line)), 0);
}

#define ETAG "\"0123-4\""

/* Answers with the headers that S3 sends, or with others. False: the stream has ended the transfer. */
static bool answer_head(HttpTransfer *transfer, unsigned status, const char *const *headers) {
        char line[128];
        int r;

        transfer->headed = true;
        transfer->reply.status = status;
        if (!headers) {
                (void) snprintf(line, sizeof(line), "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%u",
                                transfer->first, transfer->last, SIZE);
                add_header(transfer, line);
                add_header(transfer, "ETag: " ETAG);
                add_header(transfer, "x-amz-version-id: v/1");
        }
        for (; headers && *headers; headers++)
                add_header(transfer, *headers);
        r = transfer->stream->head(&transfer->reply, transfer->userdata);
        if (r >= 0)
                return true;
        transfer->active = false;
        transfer->callback(r, NULL, &(const Error){}, transfer->userdata);
        http_reply_clear(&transfer->reply);
        return false;
}

/* Sends so many bytes more, as far as there is room. */
static void send_bytes(HttpTransfer *transfer, uint64_t count) {
        uint64_t end = transfer->sent + count, all = transfer->last - transfer->first + 1;

        if (!transfer->headed && !answer_head(transfer, 206, NULL))
                return;
        if (end > all)
                end = all;
        while (transfer->active && !transfer->paused && transfer->sent < end) {
                uint64_t left = end - transfer->sent;

                if (!hand_out(transfer, left < CHUNK ? (size_t) left : CHUNK))
                        return;
        }
}

static void end_transfer(HttpTransfer *transfer, int r, const Error *error) {
        assert_true(transfer->active);
        transfer->active = false;
        transfer->callback(r, r < 0 ? NULL : &transfer->reply, error ?: &(const Error){},
                           transfer->userdata);
        http_reply_clear(&transfer->reply);
}

/* Answers with a status and a body that is no object. */
static void answer(HttpTransfer *transfer, unsigned status, const char *body) {
        static const char *const none[] = { NULL };

        if (!answer_head(transfer, status, none))
                return;
        assert_int_equal(http_reply_add_body(&transfer->reply, body, strlen(body)), 0);
        end_transfer(transfer, 0, NULL);
}

static void break_off(HttpTransfer *transfer) {
        Error error = {};
        int r = error_set_remedy(&error, -ECOMM, FAILURE_NETWORK, REMEDY_RETRY, "Connection reset by peer.");

        end_transfer(transfer, r, &error);
}

static char key_id[] = "AKIDEXAMPLE", other_key_id[] = "AKIDANOTHER", secret[] = "wJalrXUtnFEMI",
            token[] = "T";
static const AwsCredentials credentials = { key_id, secret, token, 0 },
                            other_credentials = { other_key_id, secret, token, 0 };

static char version_id[] = "v/1", etag[] = ETAG;
static const ObjectVersion versioned = { .size = SIZE, .ranges = true, .version = version_id, .etag = etag };

static Source source;
static Fetcher *fetcher;
static Pieces *pieces;
static PiecesPlan plan;

static struct {
        uint8_t *out[AHEAD]; /* not given back */
        unsigned out_count;
        bool hold; /* gives nothing back by itself */
        bool seen[SIZE / PIECE + 1];
        uint64_t bytes;
        uint64_t offsets[4];
        unsigned pieces, ended;
        int r;
        Error error;
        unsigned troubles;
        Error trouble;
} got;

static void give_back_all(void) {
        while (got.out_count > 0)
                pieces_give_back(pieces, got.out[--got.out_count]);
}

static void on_piece(uint64_t offset, uint8_t *data, size_t size, void *userdata) {
        uint64_t index = (offset - plan.begin) / plan.piece_size;

        assert_ptr_equal(userdata, &got);
        assert_int_equal(got.ended, 0);
        assert_int_equal((offset - plan.begin) % plan.piece_size, 0);
        assert_int_equal(size, plan.end - offset < plan.piece_size ? plan.end - offset : plan.piece_size);
        assert_false(got.seen[index]);
        got.seen[index] = true;
        for (size_t i = 0; i < size; i++)
                if (data[i] != byte_at(offset + i))
                        fail_msg("byte %" PRIu64 " is another", offset + i);
        if (got.pieces < ELEMENTSOF(got.offsets))
                got.offsets[got.pieces] = offset;
        got.pieces++;
        got.bytes += size;
        assert_true(got.out_count < AHEAD);
        got.out[got.out_count++] = data;
        if (!got.hold)
                give_back_all();
}

static void on_ended(int r, const Error *error, void *userdata) {
        assert_ptr_equal(userdata, &got);
        got.ended++;
        got.r = r;
        got.error = *error;
}

static void on_trouble(const Error *error, void *userdata) {
        assert_ptr_equal(userdata, &got);
        assert_true(*error->text);
        got.troubles++;
        got.trouble = *error;
}

static void on_first(int r, const uint8_t *data, size_t size, const ObjectVersion *version,
                     const Error *error, void *userdata) {
        assert_ptr_equal(userdata, &got);
        got.ended++;
        got.r = r;
        got.error = *error;
        if (r < 0) {
                assert_int_equal(size, 0);
                return;
        }
        got.bytes = size;
        for (size_t i = 0; i < size; i++)
                assert_int_equal(data[i], byte_at(i));
        (void) snprintf(got.trouble.text, sizeof(got.trouble.text), "%d %s %s %" PRId64, version->ranges,
                        version->version ?: "-", version->etag ?: "-", (int64_t) version->size);
}

static int set_up(void **state) {
        now_usec = USEC_PER_SEC;
        transfers_count = 0;
        memset(&got, 0, sizeof(got));
        plan = (PiecesPlan){ .begin = BEGIN, .end = SIZE, .piece_size = PIECE, .ahead_max = AHEAD };
        if (source_parse("s3://models/weights", &source, NULL) < 0 || sd_event_new(&event) < 0 ||
            fetcher_new(http, &fetcher) < 0)
                return -1;
        fetcher_set_credentials(fetcher, &credentials);
        return 0;
}

static int tear_down(void **state) {
        pieces = pieces_free(pieces);
        fetcher = fetcher_free(fetcher);
        event = sd_event_unref(event);
        source_clear(&source);
        for (size_t i = 0; i < transfers_count; i++)
                assert_false(transfers[i].active);
        return 0;
}

/* Lets the event loop do all that is due at this time. */
static void settle(void) {
        for (unsigned i = 0; i < 100; i++)
                assert_true(sd_event_run(event, 0) >= 0);
}

static void pass(uint64_t usec) {
        now_usec += usec;
        settle();
}

static Fetch fetch(void) {
        return (Fetch){ .source = &source, .partition = "aws", .region = "eu-north-1", .maximum = SIZE };
}

static void start(const ObjectVersion *version) {
        const PiecesSink sink = { on_piece, on_ended, &got };
        const Fetch what = fetch();

        assert_int_equal(pieces_new_remote(fetcher, &what, version, &plan, &sink, on_trouble, &got, &pieces,
                                           NULL),
                         0);
        assert_int_equal(transfers_count, 0);
        settle();
}

static size_t count_active(void) {
        size_t count = 0;

        for (size_t i = 0; i < transfers_count; i++)
                count += transfers[i].active;
        return count;
}

/* Serves all requests that are under way and that come, each a bit at a time. */
static void serve_all(void) {
        while (count_active() > 0) {
                for (size_t i = 0; i < transfers_count; i++) {
                        HttpTransfer *transfer = transfers + i;

                        if (!transfer->active)
                                continue;
                        send_bytes(transfer, 100000);
                        if (transfer->active && !transfer->paused &&
                            transfer->sent == transfer->last - transfer->first + 1)
                                end_transfer(transfer, 0, NULL);
                }
                settle();
        }
        pass(30 * USEC_PER_SEC); /* the longest wait of retry.h */
        if (count_active() > 0)
                serve_all();
}

static void assert_complete(void) {
        assert_int_equal(got.ended, 1);
        if (got.r != 0)
                fail_msg("%s", got.error.text);
        assert_int_equal(got.bytes, plan.end - plan.begin);
        assert_int_equal(count_active(), 0);
}

static void test_ranges_of_one_version_bring_each_byte_once(void **state) {
        uint64_t bytes = 0;

        start(&versioned);
        assert_int_equal(transfers_count, 3); /* 23 MiB in ranges of 8 */
        assert_int_equal(transfers[0].first, BEGIN);
        assert_int_equal(transfers[1].first, transfers[0].last + 1);
        serve_all();
        assert_complete();
        assert_int_equal(got.troubles, 0);
        for (size_t i = 0; i < transfers_count; i++) {
                assert_string_equal(transfers[i].url,
                                    "https://models.s3.eu-north-1.amazonaws.com/weights?versionId=v/1");
                assert_string_equal(transfers[i].match, ETAG);
                assert_int_equal(strncmp(transfers[i].authorization,
                                         "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/", 40),
                                 0);
                bytes += transfers[i].last - transfers[i].first + 1;
        }
        assert_int_equal(bytes, SIZE - BEGIN);
}

static void test_a_strong_tag_keeps_the_ranges_of_one_object(void **state) {
        const ObjectVersion tagged = { .size = SIZE, .ranges = true, .etag = etag };

        source_clear(&source);
        assert_int_equal(source_parse("https://example.com/weights", &source, NULL), 0);
        start(&tagged);
        assert_int_equal(transfers_count, 3);
        serve_all();
        assert_complete();
        assert_string_equal(transfers[2].url, "https://example.com/weights");
        assert_string_equal(transfers[2].match, ETAG);
        assert_string_equal(transfers[2].authorization, "");
}

static void test_a_pinned_version_stays(void **state) {
        source_clear(&source);
        assert_int_equal(source_parse("s3://models/weights?versionId=v/1", &source, NULL), 0);
        start(&versioned);
        serve_all();
        assert_complete();
        assert_string_equal(transfers[1].url,
                            "https://models.s3.eu-north-1.amazonaws.com/weights?versionId=v/1");
}

/* A transfer without room waits for the sink, however long that takes. */
static void test_no_more_buffers_are_out_than_planned(void **state) {
        size_t before;

        got.hold = true;
        start(&versioned);
        for (size_t i = 0; i < 3; i++)
                send_bytes(transfers + i, SIZE);
        settle();
        assert_true(got.out_count > AHEAD - 3 && got.out_count <= AHEAD);
        for (size_t i = 0; i < 3; i++)
                assert_true(transfers[i].active && transfers[i].paused);
        before = transfers_count;
        for (unsigned i = 0; i < 10; i++)
                pass(6 * USEC_PER_SEC);
        assert_int_equal(transfers_count, before);
        assert_int_equal(count_active(), 3);
        assert_int_equal(got.troubles, 0);
        got.hold = false;
        give_back_all();
        settle();
        serve_all();
        assert_complete();
}

static void test_a_broken_connection_goes_on_at_its_first_missing_byte(void **state) {
        start(&versioned);
        send_bytes(transfers + 1, MIB + 12345);
        break_off(transfers + 1);
        assert_int_equal(got.troubles, 1);
        assert_int_equal(got.trouble.failure, FAILURE_NETWORK);
        pass(30 * USEC_PER_SEC);
        /* The others have stood still meanwhile, and are replaced as well. */
        for (size_t i = 3; i < transfers_count; i++)
                if (transfers[i].last == transfers[1].last) {
                        assert_int_equal(transfers[i].first, transfers[1].first + MIB + 12345);
                        serve_all();
                        assert_complete();
                        return;
                }
        fail_msg("no new request");
}

/* The wait grows with the attempts that bring nothing: up to 10 s for the eighth. */
static void test_a_byte_ends_the_backoff(void **state) {
        plan.end = BEGIN + PIECE;
        for (unsigned round = 0; round < 20; round++) {
                memset(&got, 0, sizeof(got));
                transfers_count = 0;
                start(&versioned);
                for (unsigned i = 0; i < 8; i++) {
                        assert_int_equal(transfers_count, i + 1);
                        break_off(transfers + i);
                        pass(12 * USEC_PER_SEC);
                }
                assert_int_equal(transfers_count, 9);
                send_bytes(transfers + 8, 1);
                break_off(transfers + 8);
                pass(USEC_PER_SEC);
                assert_int_equal(transfers_count, 10);
                assert_int_equal(transfers[9].first, BEGIN + 1);
                pieces = pieces_free(pieces);
        }
}

static void test_a_server_that_asks_for_time_gets_it(void **state) {
        start(&versioned);
        transfers[0].headed = true;
        add_header(transfers + 0, "Retry-After: 9");
        transfers[0].headed = false;
        answer(transfers + 0, 503, "<Error><Code>SlowDown</Code></Error>");
        assert_int_equal(got.trouble.failure, FAILURE_UNAVAILABLE);
        pass(8 * USEC_PER_SEC);
        assert_int_equal(transfers_count, 3);
        pass(USEC_PER_SEC + 1);
        assert_int_equal(transfers_count, 4);
        serve_all();
        assert_complete();
}

static void test_a_transfer_that_stands_still_is_replaced(void **state) {
        start(&versioned);
        pass(PIECES_STILL_USEC - 1);
        send_bytes(transfers + 0, 1);
        send_bytes(transfers + 1, 1);
        assert_int_equal(got.troubles, 0);
        pass(1);
        assert_int_equal(got.troubles, 1);
        assert_string_equal(
                        got.trouble.text,
                        "s3://models/weights: A connection has brought nothing for 15 s. unseald goes on at byte 17825892 with a new one.");
        assert_false(transfers[2].active);
        assert_true(transfers[0].active && transfers[1].active);
        pass(30 * USEC_PER_SEC);
        serve_all();
        assert_complete();
}

/* Other secrets have all connections to the host. From the moment at which the transfer has one, it must bring something. */
static void test_a_transfer_without_a_connection_is_not_to_blame(void **state) {
        start(&versioned);
        transfers[2].queued = true;
        for (unsigned second = 0; second < 50; second++) {
                send_bytes(transfers + 0, 1000);
                send_bytes(transfers + 1, 1000);
                pass(USEC_PER_SEC);
        }
        assert_int_equal(got.troubles, 0);
        transfers[2].queued = false;
        for (unsigned second = 0; second < 15; second++) {
                assert_int_equal(got.troubles, 0);
                send_bytes(transfers + 0, 1000);
                send_bytes(transfers + 1, 1000);
                pass(USEC_PER_SEC);
        }
        assert_int_equal(got.troubles, 1);
        assert_false(transfers[2].active);
}

/* Only the first window in which a request ran the whole time says how fast it is. */
static void windows(unsigned count, const uint64_t bytes[3]) {
        for (unsigned window = 0; window < count; window++)
                for (unsigned second = 0; second < 10; second++) {
                        for (size_t i = 0; i < 3; i++)
                                send_bytes(transfers + i, bytes[i]);
                        pass(USEC_PER_SEC);
                }
}

static void test_a_transfer_that_is_much_slower_than_the_others_is_replaced(void **state) {
        start(&versioned);
        windows(2, (uint64_t[]){ 100000, 100000, 24000 });
        assert_int_equal(got.troubles, 1);
        assert_non_null(strstr(got.trouble.text, "much slower than the others"));
        assert_true(transfers[0].active && transfers[1].active && !transfers[2].active);
        pass(2 * USEC_PER_SEC);
        serve_all();
        assert_complete();
}

static void test_transfers_that_are_all_slow_are_left_alone(void **state) {
        start(&versioned);
        windows(3, (uint64_t[]){ 20, 10, 6 });
        assert_int_equal(got.troubles, 0);
        assert_int_equal(count_active(), 3);
}

static void test_a_transfer_alone_is_compared_with_nobody(void **state) {
        plan.end = BEGIN + PIECE;
        start(&versioned);
        for (unsigned second = 0; second < 40; second++) {
                send_bytes(transfers + 0, 10);
                pass(USEC_PER_SEC);
        }
        assert_int_equal(got.troubles, 0);
        assert_true(transfers[0].active);
}

#define EXPIRED "<Error><Code>ExpiredToken</Code></Error>"

static void test_expired_credentials_are_replaced_in_the_middle(void **state) {
        start(&versioned);
        send_bytes(transfers + 0, 100000);
        answer(transfers + 1, 400, EXPIRED);
        assert_int_equal(got.trouble.remedy, REMEDY_CREDENTIALS);
        fetcher_set_credentials(fetcher, &other_credentials);
        pass(2 * USEC_PER_SEC);
        assert_int_equal(transfers_count, 4);
        assert_int_equal(strncmp(transfers[3].authorization, "AWS4-HMAC-SHA256 Credential=AKIDANOTHER/", 40),
                         0);
        assert_int_equal(transfers[3].first, transfers[1].first);
        serve_all();
        assert_complete();
}

static void test_a_wrong_clock_is_corrected_at_once(void **state) {
        start(&versioned);
        transfers[0].headed = true;
        add_header(transfers + 0, "Date: Sun, 30 Aug 2015 14:36:00 GMT");
        answer(transfers + 0, 403, "<Error><Code>RequestTimeTooSkewed</Code></Error>");
        assert_int_equal(got.trouble.remedy, REMEDY_CLOCK);
        settle();
        assert_int_equal(transfers_count, 4);
        assert_string_equal(transfers[0].date, "20150830T123601Z");
        assert_string_equal(transfers[3].date, "20150830T143600Z");
        serve_all();
        assert_complete();
}

/* The role may have s3:GetObject without s3:GetObjectVersion. */
static void test_a_role_that_may_not_read_versions_uses_the_tag(void **state) {
        start(&versioned);
        for (size_t i = 0; i < 3; i++)
                answer(transfers + i, 403, "<Error><Code>AccessDenied</Code></Error>");
        settle();
        assert_int_equal(got.troubles, 0);
        assert_int_equal(transfers_count, 6);
        serve_all();
        assert_complete();
        for (size_t i = 3; i < transfers_count; i++) {
                assert_string_equal(transfers[i].url, "https://models.s3.eu-north-1.amazonaws.com/weights");
                assert_string_equal(transfers[i].match, ETAG);
        }
}

static void assert_ended(int r, Failure failure, Remedy remedy, const char *words) {
        settle();
        assert_int_equal(got.ended, 1);
        if (got.r != r || got.error.failure != failure || got.error.remedy != remedy ||
            !strstr(got.error.text, words))
                fail_msg("%d, failure %d, remedy %d: %s", got.r, (int) got.error.failure,
                         (int) got.error.remedy, got.error.text);
        assert_int_equal(count_active(), 0);
}

static void test_a_role_that_may_not_even_use_the_tag_ends_the_fetch(void **state) {
        start(&versioned);
        answer(transfers + 0, 403, "<Error><Code>AccessDenied</Code></Error>");
        settle();
        answer(transfers + 3, 403, "<Error><Code>AccessDenied</Code></Error>");
        assert_ended(-EACCES, FAILURE_SOURCE, REMEDY_NONE, "needs s3:GetObject");
}

static void test_an_object_that_changes_ends_the_fetch(void **state) {
        static const struct {
                unsigned status;
                const char *words;
        } cases[] = {
                { 412, "Somebody has replaced the object since its first bytes came (HTTP status 412)" },
                { 404, "Somebody has deleted the object" },
                { 416, "replaced by a shorter one" },
        };
        static const char *const other[] = { "Content-Range: bytes 1048676-9437283/25166825", "ETag: " ETAG,
                                             NULL };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                got.hold = true;
                start(&versioned);
                send_bytes(transfers + 0, MIB);
                settle();
                answer(transfers + 1, cases[i].status, "");
                assert_ended(-ESTALE, FAILURE_UNAVAILABLE, REMEDY_RETRY, cases[i].words);
                assert_int_equal(got.out_count, 4);
                give_back_all();
                settle();
                assert_int_equal(got.ended, 1);
                pieces = pieces_free(pieces);
                memset(&got, 0, sizeof(got));
                transfers_count = 0;
        }
        start(&versioned);
        assert_false(answer_head(transfers + 0, 206, other));
        assert_ended(-ESTALE, FAILURE_UNAVAILABLE, REMEDY_RETRY,
                     "has another length than when the first bytes came");
}

/* The same request brings the right bytes the next time. */
static void test_wrong_answers_are_tried_again(void **state) {
        static const char *const whole[] = { "Content-Length: 25166824", "ETag: " ETAG, NULL },
                                 *const other[] = { "Content-Range: bytes 0-8388607/25166824", "ETag: " ETAG,
                                                    "x-amz-version-id: v/1", NULL },
                                 *const several[] = { "Content-Type: multipart/byteranges; boundary=x",
                                                      NULL };

        start(&versioned);
        assert_false(answer_head(transfers + 0, 200, whole));
        assert_non_null(strstr(got.trouble.text, "whole object in place of a range"));
        assert_false(answer_head(transfers + 1, 206, other));
        assert_non_null(strstr(got.trouble.text, "sent the bytes 0-8388607 in place of"));
        assert_false(answer_head(transfers + 2, 206, several));
        assert_non_null(strstr(got.trouble.text, "several ranges"));
        pass(30 * USEC_PER_SEC);
        assert_int_equal(transfers_count, 6);
        transfers[3].last += 5000;
        transfers[3].headed = true;
        transfers[3].stream->head(&(HttpReply){ .status = 404 }, transfers[3].userdata);
        send_bytes(transfers + 3, SIZE);
        while (transfers[3].active) {
                settle();
                send_bytes(transfers + 3, SIZE);
        }
        assert_non_null(strstr(got.trouble.text, "more bytes than it announced"));
        send_bytes(transfers + 4, 1000);
        end_transfer(transfers + 4, 0, NULL);
        assert_non_null(strstr(got.trouble.text, "bytes too early"));
        assert_int_equal(got.troubles, 5);
        serve_all();
        assert_complete();
}

/* Without ranges one connection brings the whole. If it breaks, the next one brings the beginning again, which is skipped. */
static void test_a_server_without_ranges_has_one_connection(void **state) {
        static const char *const whole[] = { "Content-Length: 25166824", "ETag: W/\"1\"", NULL };
        const ObjectVersion stream = { .size = SIZE };

        start(&stream);
        assert_int_equal(transfers_count, 1);
        assert_string_equal(transfers[0].range, "");
        assert_string_equal(transfers[0].match, "");
        assert_true(answer_head(transfers + 0, 200, whole));
        while (transfers[0].sent < 5 * MIB) {
                send_bytes(transfers + 0, MIB);
                settle();
        }
        break_off(transfers + 0);
        pass(2 * USEC_PER_SEC);
        assert_int_equal(transfers_count, 2);
        assert_true(answer_head(transfers + 1, 200, whole));
        serve_all();
        assert_complete();
        assert_int_equal(transfers_count, 2);
}

/* The bytes that the sink had no room for come again, behind those that are skipped. */
static void test_a_server_without_ranges_waits_where_the_wanted_bytes_begin(void **state) {
        static const char *const whole[] = { "Content-Length: 25166824", NULL };
        const ObjectVersion stream = { .size = SIZE };

        plan.piece_size = 4 * KIB;
        plan.ahead_max = 2;
        plan.end = BEGIN + 20 * plan.piece_size;
        got.hold = true;
        start(&stream);
        assert_true(answer_head(transfers + 0, 200, whole));
        send_bytes(transfers + 0, SIZE);
        assert_true(transfers[0].paused);
        assert_int_equal(transfers[0].sent, MIB);
        settle();
        assert_int_equal(got.bytes, 8 * KIB);
        got.hold = false;
        give_back_all();
        serve_all();
        assert_complete();
        assert_int_equal(transfers_count, 1);
}

static void test_the_end_is_said_once(void **state) {
        plan.end = BEGIN + 3 * PIECE;
        got.hold = true;
        start(&versioned);
        serve_all();
        assert_int_equal(got.out_count, 3);
        give_back_all();
        settle();
        assert_complete();
}

static void test_pieces_in_order_stay_near_the_first_missing_one(void **state) {
        plan.in_order = true;
        got.hold = true;
        start(&versioned);
        assert_int_equal(transfers_count, AHEAD);
        /* The first one is late. Nobody may use up the slots meanwhile. */
        for (unsigned round = 0; round < 4; round++) {
                for (size_t i = 1; i < transfers_count; i++)
                        if (transfers[i].active) {
                                send_bytes(transfers + i, SIZE);
                                if (!transfers[i].paused)
                                        end_transfer(transfers + i, 0, NULL);
                        }
                settle();
        }
        assert_int_equal(got.pieces, AHEAD - 1);
        send_bytes(transfers + 0, SIZE);
        settle();
        assert_int_equal(got.pieces, AHEAD);
        assert_true(got.seen[0]);
        got.hold = false;
        give_back_all();
        serve_all();
        assert_complete();
}

static void test_nothing_comes_after_the_pieces_are_freed(void **state) {
        start(&versioned);
        send_bytes(transfers + 0, MIB);
        pieces = pieces_free(pieces);
        settle();
        assert_int_equal(count_active(), 0);
        assert_int_equal(got.ended, 0);
}

static void test_lack_of_memory_ends_the_fetch(void **state) {
        const PiecesSink sink = { on_piece, on_ended, &got };
        const Fetch what = fetch();

        if (!memory_can_fail())
                skip();
        for (unsigned i = 0; i < 3; i++) {
                memory_fail_after(i);
                assert_int_equal(pieces_new_remote(fetcher, &what, &versioned, &plan, &sink, NULL, NULL,
                                                   &pieces, NULL),
                                 -ENOMEM);
                assert_true(memory_has_failed());
                assert_null(pieces);
        }
        start(&versioned);
        assert_true(answer_head(transfers + 0, 206, NULL));
        memory_fail_after(0);
        send_bytes(transfers + 0, 1);
        assert_true(memory_has_failed());
        assert_ended(-ENOMEM, FAILURE_INTERNAL, REMEDY_NONE, "memory");
}

static void fetch_first_of(size_t asked, size_t of_longer) {
        const Fetch what = fetch();

        first_request = true;
        assert_int_equal(source_fetch_first(fetcher, &what, asked, of_longer, on_first, &got), 0);
        first_request = false;
        assert_int_equal(transfers_count, 1);
        assert_string_equal(transfers[0].url, "https://models.s3.eu-north-1.amazonaws.com/weights");
        assert_string_equal(transfers[0].match, "");
}

static void fetch_first(size_t asked) {
        fetch_first_of(asked, asked);
}

/* The rest of a longer object comes later, so no more than its header is taken now. */
static void test_the_first_request_ends_early_at_a_longer_object(void **state) {
        fetch_first_of(MIB, 65536);
        assert_string_equal(transfers[0].range, "bytes=0-1048575");
        send_bytes(transfers + 0, 100000);
        assert_int_equal(got.ended, 1);
        assert_int_equal(got.r, 0);
        assert_int_equal(got.bytes, 65536);
        assert_string_equal(got.trouble.text, "1 v/1 " ETAG " 25166824");

        memset(&got, 0, sizeof(got));
        transfers_count = 0;
        fetch_first_of(SIZE, 65536);
        send_bytes(transfers + 0, SIZE);
        end_transfer(transfers + 0, 0, NULL);
        assert_int_equal(got.r, 0);
        assert_int_equal(got.bytes, SIZE);
}

static uint8_t here[5 * MIB];

/* begin_with SIZE: starts with so many bytes that are here */
static void begin_with(const ObjectVersion *version, size_t size) {
        const PiecesSink sink = { on_piece, on_ended, &got };
        const Fetch what = fetch();

        for (size_t i = 0; i < size; i++)
                here[i] = byte_at(BEGIN + i);
        assert_int_equal(pieces_new_remote(fetcher, &what, version, &plan, &sink, on_trouble, &got, &pieces,
                                           NULL),
                         0);
        pieces_remote_begin_with(pieces, here, size);
        memset(here, 0, sizeof(here));
        settle();
}

static void test_bytes_that_are_here_are_not_fetched(void **state) {
        static const size_t sizes[] = { 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 12345 };
        static const ObjectVersion whole = { .size = SIZE };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++)
                for (unsigned kind = 0; kind < 3; kind++) {
                        uint64_t bytes = 0, first = SIZE;

                        transfers_count = 0;
                        memset(&got, 0, sizeof(got));
                        plan.in_order = kind == 1;
                        begin_with(kind == 2 ? &whole : &versioned, sizes[i]);
                        serve_all();
                        assert_complete();
                        assert_int_equal(got.troubles, 0);
                        for (size_t k = 0; k < transfers_count; k++) {
                                bytes += transfers[k].last - transfers[k].first + 1;
                                if (transfers[k].first < first)
                                        first = transfers[k].first;
                        }
                        if (kind < 2) {
                                assert_int_equal(first, BEGIN + sizes[i]);
                                assert_int_equal(bytes, SIZE - BEGIN - sizes[i]);
                        } else
                                assert_int_equal(transfers_count, 1);
                        pieces = pieces_free(pieces);
                }
}

/* A short object came whole, or there is not even room for what is here. */
static void test_all_bytes_may_be_here_or_too_many(void **state) {
        plan.end = BEGIN + 2 * PIECE + 5;
        begin_with(&versioned, 2 * PIECE + 5);
        assert_complete();
        assert_int_equal(transfers_count, 0);
        pieces = pieces_free(pieces);

        memset(&got, 0, sizeof(got));
        plan.end = SIZE;
        plan.ahead_max = 1;
        begin_with(&versioned, 3 * PIECE);
        serve_all();
        assert_complete();
}

static void test_the_first_request_says_what_the_object_is(void **state) {
        fetch_first(MIB);
        assert_string_equal(transfers[0].range, "bytes=0-1048575");
        send_bytes(transfers + 0, MIB);
        end_transfer(transfers + 0, 0, NULL);
        assert_int_equal(got.r, 0);
        assert_int_equal(got.bytes, MIB);
        assert_string_equal(got.trouble.text, "1 v/1 " ETAG " 25166824");
}

static void test_the_first_request_takes_a_whole_object_as_far_as_it_needs(void **state) {
        static const char *const whole[] = { "Content-Length: 25166824", "ETag: " ETAG, NULL };

        fetch_first(100000);
        transfers[0].last = SIZE - 1;
        assert_true(answer_head(transfers + 0, 200, whole));
        send_bytes(transfers + 0, SIZE);
        assert_int_equal(got.ended, 1);
        assert_int_equal(got.r, 0);
        assert_int_equal(got.bytes, 100000);
        assert_string_equal(got.trouble.text, "0 - " ETAG " 25166824");
}

static void test_the_first_request_may_bring_all(void **state) {
        static const char *const chunked[] = { NULL };

        fetch_first(MIB);
        assert_true(answer_head(transfers + 0, 200, chunked));
        send_bytes(transfers + 0, 5000);
        end_transfer(transfers + 0, 0, NULL);
        assert_int_equal(got.bytes, 5000);
        assert_string_equal(got.trouble.text, "0 - - 5000");
}

static void test_the_first_request_fails_with_a_reason(void **state) {
        static const struct {
                unsigned status;
                const char *body;
                int r;
                Failure failure;
                const char *words;
        } cases[] = {
                { 416, "<Error><Code>InvalidRange</Code></Error>", -ENODATA, FAILURE_SOURCE, "is empty" },
                { 404, "<Error><Code>NoSuchKey</Code></Error>", -EREMOTEIO, FAILURE_SOURCE,
                  "does not exist" },
                { 403, "<Error><Code>AccessDenied</Code></Error>", -EACCES, FAILURE_SOURCE, "s3:GetObject" },
                { 503, "<Error><Code>SlowDown</Code></Error>", -EREMOTEIO, FAILURE_UNAVAILABLE,
                  "throttles" },
                { 200, "", -ENODATA, FAILURE_SOURCE, "is empty" },
                { 206, "", -EBADMSG, FAILURE_UNAVAILABLE, "without a Content-Range" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                transfers_count = 0;
                memset(&got, 0, sizeof(got));
                fetch_first(MIB);
                answer(transfers + 0, cases[i].status, cases[i].body);
                assert_int_equal(got.ended, 1);
                if (got.r != cases[i].r || got.error.failure != cases[i].failure ||
                    !strstr(got.error.text, cases[i].words))
                        fail_msg("case %zu: %d: %s", i, got.r, got.error.text);
        }
        transfers_count = 0;
        fetch_first(MIB);
        send_bytes(transfers + 0, 1000);
        end_transfer(transfers + 0, 0, NULL);
        assert_non_null(strstr(got.error.text, "ended 1047576 bytes too early"));
        transfers_count = 0;
        fetch_first(MIB);
        assert_true(answer_head(transfers + 0, 206, NULL));
        transfers[0].last += 5000;
        send_bytes(transfers + 0, SIZE);
        assert_non_null(strstr(got.error.text, "more bytes than it announced"));
        transfers_count = 0;
        fetch_first(MIB);
        break_off(transfers + 0);
        assert_int_equal(got.error.failure, FAILURE_NETWORK);
}

static void test_the_first_request_is_cancelled_with_the_fetcher(void **state) {
        fetch_first(MIB);
        send_bytes(transfers + 0, 1000);
        fetcher = fetcher_free(fetcher);
        assert_int_equal(count_active(), 0);
        assert_int_equal(got.ended, 0);
}

int main(void) {
#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                test(test_ranges_of_one_version_bring_each_byte_once),
                test(test_a_strong_tag_keeps_the_ranges_of_one_object),
                test(test_a_pinned_version_stays),
                test(test_no_more_buffers_are_out_than_planned),
                test(test_a_broken_connection_goes_on_at_its_first_missing_byte),
                test(test_a_byte_ends_the_backoff),
                test(test_a_server_that_asks_for_time_gets_it),
                test(test_a_transfer_that_stands_still_is_replaced),
                test(test_a_transfer_without_a_connection_is_not_to_blame),
                test(test_a_transfer_that_is_much_slower_than_the_others_is_replaced),
                test(test_transfers_that_are_all_slow_are_left_alone),
                test(test_a_transfer_alone_is_compared_with_nobody),
                test(test_expired_credentials_are_replaced_in_the_middle),
                test(test_a_wrong_clock_is_corrected_at_once),
                test(test_a_role_that_may_not_read_versions_uses_the_tag),
                test(test_a_role_that_may_not_even_use_the_tag_ends_the_fetch),
                test(test_an_object_that_changes_ends_the_fetch),
                test(test_wrong_answers_are_tried_again),
                test(test_a_server_without_ranges_has_one_connection),
                test(test_a_server_without_ranges_waits_where_the_wanted_bytes_begin),
                test(test_the_end_is_said_once),
                test(test_pieces_in_order_stay_near_the_first_missing_one),
                test(test_nothing_comes_after_the_pieces_are_freed),
                test(test_lack_of_memory_ends_the_fetch),
                test(test_bytes_that_are_here_are_not_fetched),
                test(test_all_bytes_may_be_here_or_too_many),
                test(test_the_first_request_ends_early_at_a_longer_object),
                test(test_the_first_request_says_what_the_object_is),
                test(test_the_first_request_takes_a_whole_object_as_far_as_it_needs),
                test(test_the_first_request_may_bring_all),
                test(test_the_first_request_fails_with_a_reason),
                test(test_the_first_request_is_cancelled_with_the_fetcher),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
