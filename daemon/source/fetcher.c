/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "aws/calls.h"
#include "basic/duration.h"
#include "source/fetcher.h"

/* Bytes. The body of an error may be longer than the ciphertext. */
#define REPLY_MIN (64U * 1024U)

/* For the first bytes of an object, about 1.5 MiB. */
#define FIRST_TIMEOUT_USEC (30 * USEC_PER_SEC)

struct Fetcher {
        AwsCalls calls;
        const AwsCredentials *credentials;
};

typedef struct Request {
        AwsCall call; /* first */
        Fetch fetch;
        SourceFetched callback;
        void *userdata;
} Request;
static_assert(offsetof(Request, call) == 0, "aws_calls_cancel() frees the request by its call");

int fetcher_new(HttpClient *http, Fetcher **ret) {
        Fetcher *fetcher = calloc(1, sizeof(*fetcher));

        if (!fetcher)
                return -ENOMEM;
        fetcher->calls.http = http;
        *ret = fetcher;
        return 0;
}

Fetcher *fetcher_free(Fetcher *fetcher) {
        if (!fetcher)
                return NULL;
        aws_calls_cancel(&fetcher->calls);
        free(fetcher);
        return NULL;
}

void fetcher_set_credentials(Fetcher *fetcher, const AwsCredentials *credentials) {
        fetcher->credentials = credentials;
}

/* No reply came. An answer that is too long is the server's mistake, and a second attempt would bring it again. */
static void no_reply(const Request *request, int r, const Error *cause, Error *error) {
        if (r == -EFBIG) {
                (void) error_set(error, r, FAILURE_SOURCE,
                                 "%s: The answer is longer than a sealed secret can be.",
                                 request->fetch.source->label);
                return;
        }
        *error = *cause;
}

/* The caller adds the body. */
static FetchReply got_reply(const AwsCall *call, const HttpReply *reply) {
        FetchReply got = {
                .status = http_reply_status(reply),
                .error_type = http_reply_header(reply, "x-amzn-ErrorType"),
                .request_id = http_reply_header(reply, "x-amzn-RequestId")
                                              ?: http_reply_header(reply, "x-amz-request-id"),
                .bucket_region = http_reply_header(reply, "x-amz-bucket-region"),
                .retry_after_usec = http_reply_retry_after_usec(reply),
                .skew = aws_call_skew(call, reply),
        };

        got.body = http_reply_body(reply, &got.size);
        return got;
}

/* The callback may free the fetcher. */
static void on_reply(int r, const HttpReply *reply, const Error *cause, void *userdata) {
        _cleanup_free_ Request *request = userdata;
        _cleanup_free_ uint8_t *data = NULL;
        Error error = {};
        size_t size = 0;

        aws_call_end(&request->call);
        if (r < 0)
                no_reply(request, r, cause, &error);
        else {
                const FetchReply got = got_reply(&request->call, reply);

                r = fetch_reply(&request->fetch, &got, &data, &size, &error);
                if (r < 0 && error.remedy == REMEDY_CLOCK)
                        aws_call_adjust_clock(&request->call, got.skew);
        }
        request->callback(r, data, size, &error, request->userdata);
}

int source_fetch(Fetcher *fetcher, const Fetch *fetch, SourceFetched callback, void *userdata) {
        _cleanup_(fetch_request_clear) FetchRequest wire = {};
        _cleanup_free_ Request *request = malloc(sizeof(*request));
        size_t carrier = source_carrier_max(fetch->maximum);
        int r;

        if (!request)
                return -ENOMEM;
        *request = (Request){
                .call = aws_call_now(&fetcher->calls),
                .fetch = *fetch,
                .callback = callback,
                .userdata = userdata,
        };
        r = fetch_request(fetch, fetcher->credentials, request->call.signed_at, &wire);
        if (r < 0)
                return r;

        const HttpRequest http = {
                .method = wire.method,
                .url = wire.url,
                .headers = (const char *const *) wire.headers,
                .body = wire.body,
                .body_size = wire.body ? strlen(wire.body) : 0,
                .reply_max = carrier > REPLY_MIN ? carrier : REPLY_MIN,
        };
        r = aws_call_start(&request->call, &http, on_reply);
        if (r >= 0)
                TAKE_PTR(request);
        return r;
}

sd_event *fetcher_event(const Fetcher *fetcher) {
        return http_event(fetcher->calls.http);
}

/*
 * Objects in parts.
 */

static ObjectHead object_head(const HttpReply *reply) {
        return (ObjectHead){
                .status = http_reply_status(reply),
                .content_range = http_reply_header(reply, "Content-Range"),
                .content_length = http_reply_header(reply, "Content-Length"),
                .content_type = http_reply_header(reply, "Content-Type"),
                .content_encoding = http_reply_header(reply, "Content-Encoding"),
                .etag = http_reply_header(reply, "ETag"),
                .version_id = http_reply_header(reply, "x-amz-version-id"),
        };
}

static bool has_object(const HttpReply *reply) {
        return http_reply_status(reply) == 200 || http_reply_status(reply) == 206;
}

/* Signs and sends a request for a part. On success the list of calls owns call. */
static int start_part(Fetcher *fetcher, AwsCall *call, const Fetch *fetch, const FetchRange *range,
                      const HttpStream *stream, uint64_t timeout_usec, HttpCallback callback) {
        _cleanup_(fetch_request_clear) FetchRequest wire = {};
        int r = fetch_range_request(fetch, range, fetcher->credentials, call->signed_at, &wire);

        if (r < 0)
                return r;
        return aws_call_start(call,
                              &(HttpRequest){ .method = wire.method,
                                              .url = wire.url,
                                              .headers = (const char *const *) wire.headers,
                                              .reply_max = REPLY_MIN,
                                              .timeout_usec = timeout_usec,
                                              .stream = stream },
                              callback);
}

/* No object came. Learns the time from a refusal, as on_reply() does. */
static int part_refused(const AwsCall *call, const Fetch *fetch, const FetchRange *range,
                        const HttpReply *reply, Error *error) {
        const FetchReply got = got_reply(call, reply);
        int r = fetch_range_refused(fetch, range, &got, error);

        if (error->remedy == REMEDY_CLOCK)
                aws_call_adjust_clock(call, got.skew);
        return r;
}

/* Says that a body ended too early, or goes on too long: the connection or the server broke off. */
static int wrong_body(const Fetch *fetch, uint64_t missing, Error *error) {
        if (missing == 0)
                return error_set_remedy(error, -EBADMSG, FAILURE_UNAVAILABLE, REMEDY_RETRY,
                                        "%.200s: The server sent more bytes than it announced.",
                                        fetch->source->label);
        return error_set_remedy(error, -EBADMSG, FAILURE_UNAVAILABLE, REMEDY_RETRY,
                                "%.200s: The server's answer ended %" PRIu64 " bytes too early.",
                                fetch->source->label, missing);
}

typedef struct FirstFetch {
        AwsCall call; /* first */
        Fetch fetch;
        ObjectFetched callback;
        void *userdata;
        ObjectVersion version;
        uint64_t body; /* bytes that the reply announces, or OBJECT_SIZE_UNKNOWN */
        Error error;   /* of the stream */
        bool cut;      /* all that is wanted is here, and more would come */
        size_t asked, of_longer, wanted, size;
        uint8_t data[];
} FirstFetch;
static_assert(offsetof(FirstFetch, call) == 0, "aws_calls_cancel() frees the request by its call");

static void first_clear(AwsCall *call) {
        object_version_clear(&((FirstFetch *) call)->version);
}

static int on_first_head(const HttpReply *reply, void *userdata) {
        FirstFetch *first = userdata;
        const ObjectHead head = object_head(reply);
        int r;

        if (!has_object(reply))
                return 0;
        r = object_read_first(first->fetch.source->label, &head, first->asked, &first->version, &first->body,
                              &first->error);
        if (r >= 0 && first->version.size != OBJECT_SIZE_UNKNOWN && first->version.size > first->asked)
                first->wanted = first->of_longer;
        return r < 0 ? r : 1;
}

static int on_first_data(const uint8_t *data, size_t size, void *userdata) {
        FirstFetch *first = userdata;
        size_t room = first->wanted - first->size, taken = size < room ? size : room;

        memcpy(first->data + first->size, data, taken);
        first->size += taken;
        first->cut = taken < size;
        return first->cut ? -ECANCELED : 1;
}

static int first_result(FirstFetch *first, int r, const HttpReply *reply, const Error *cause, Error *error) {
        const FetchRange range = { .last = first->asked - 1 };

        if (first->error.failure != FAILURE_NONE) {
                *error = first->error;
                return r;
        }
        if (first->cut)
                return first->body > first->wanted ? 0 : wrong_body(&first->fetch, 0, error);
        if (r < 0) {
                *error = *cause;
                return r;
        }
        if (!has_object(reply))
                return part_refused(&first->call, &first->fetch, &range, reply, error);
        if (first->body != OBJECT_SIZE_UNKNOWN && first->size < first->body)
                return wrong_body(&first->fetch, first->body - first->size, error);
        if (first->version.size == OBJECT_SIZE_UNKNOWN)
                first->version.size = first->size;
        if (first->size == 0)
                return error_set(error, -ENODATA, FAILURE_SOURCE, "%.200s: The %s is empty.",
                                 first->fetch.source->label, source_content(first->fetch.source));
        return 0;
}

/* The callback may free the fetcher. */
static void on_first(int r, const HttpReply *reply, const Error *cause, void *userdata) {
        FirstFetch *first = userdata;
        Error error = {};

        aws_call_end(&first->call);
        r = first_result(first, r, reply, cause, &error);
        first->callback(r, first->data, r < 0 ? 0 : first->size, &first->version, &error, first->userdata);
        first_clear(&first->call);
        free(first);
}

int source_fetch_first(Fetcher *fetcher, const Fetch *fetch, size_t asked, size_t of_longer,
                       ObjectFetched callback, void *userdata) {
        static const HttpStream stream = { on_first_head, on_first_data };
        const FetchRange range = { .last = asked - 1 };
        _cleanup_free_ FirstFetch *first = malloc(sizeof(*first) + asked);
        int r;

        if (!first)
                return -ENOMEM;
        *first = (FirstFetch){
                .call = aws_call_now(&fetcher->calls),
                .fetch = *fetch,
                .callback = callback,
                .userdata = userdata,
                .asked = asked,
                .of_longer = of_longer,
                .wanted = asked,
        };
        first->call.clear = first_clear;
        r = start_part(fetcher, &first->call, fetch, &range, &stream, FIRST_TIMEOUT_USEC, on_first);
        if (r >= 0)
                TAKE_PTR(first);
        return r;
}

struct RangeFetch {
        AwsCall call; /* first */
        Fetch fetch;
        FetchRange range;
        const RangeSink *sink;
        void *userdata;
        uint64_t skip; /* of the bytes that come next: the sink has them already, or they are before the range */
        uint64_t due; /* bytes that the sink has not got yet */
        Error error;  /* of the stream */
        bool whole;   /* the sink has all bytes, and more come because the server has no ranges */
};
static_assert(offsetof(RangeFetch, call) == 0, "aws_calls_cancel() frees the request by its call");

static int on_range_head(const HttpReply *reply, void *userdata) {
        RangeFetch *range = userdata;
        const ObjectHead head = object_head(reply);
        int r;

        if (!has_object(reply))
                return 0;
        r = object_check(range->fetch.source->label, &head, range->range.version, range->range.first,
                         range->range.last, &range->error);
        return r < 0 ? r : 1;
}

static int on_range_data(const uint8_t *data, size_t size, void *userdata) {
        RangeFetch *range = userdata;
        size_t skipped = range->skip < size ? (size_t) range->skip : size, rest = size - skipped,
               wanted = rest < range->due ? rest : (size_t) range->due, taken = 0;

        if (wanted > 0)
                taken = range->sink->data(data + skipped, wanted, range->userdata);
        range->due -= taken;
        if (taken < wanted) {
                /* All of these bytes come again. */
                range->skip = skipped + taken;
                return 0;
        }
        range->skip -= skipped;
        if (wanted == rest)
                return 1;
        range->whole = !range->range.version->ranges;
        return range->whole ? -ECANCELED : wrong_body(&range->fetch, 0, &range->error);
}

static int range_result(RangeFetch *range, int r, const HttpReply *reply, const Error *cause, Error *error) {
        if (range->error.failure != FAILURE_NONE) {
                *error = range->error;
                return r;
        }
        if (range->whole)
                return 0;
        if (r < 0) {
                *error = *cause;
                return r;
        }
        if (!has_object(reply))
                return part_refused(&range->call, &range->fetch, &range->range, reply, error);
        return range->due > 0 ? wrong_body(&range->fetch, range->due, error) : 0;
}

/* The callback may free the fetcher. */
static void on_range(int r, const HttpReply *reply, const Error *cause, void *userdata) {
        _cleanup_free_ RangeFetch *range = userdata;
        Error error = {};

        aws_call_end(&range->call);
        r = range_result(range, r, reply, cause, &error);
        range->sink->ended(r, &error, range->userdata);
}

int source_fetch_range(Fetcher *fetcher, const Fetch *fetch, const FetchRange *range, const RangeSink *sink,
                       void *userdata, RangeFetch **ret) {
        static const HttpStream stream = { on_range_head, on_range_data };
        _cleanup_free_ RangeFetch *new = malloc(sizeof(*new));
        int r;

        if (!new)
                return -ENOMEM;
        *new = (RangeFetch){
                .call = aws_call_now(&fetcher->calls),
                .fetch = *fetch,
                .range = *range,
                .sink = sink,
                .userdata = userdata,
                .skip = range->version->ranges ? 0 : range->first,
                .due = range->last - range->first + 1,
        };
        r = start_part(fetcher, &new->call, fetch, range, &stream, 0, on_range);
        if (r >= 0)
                *ret = TAKE_PTR(new);
        return r;
}

bool range_fetch_is_paused(const RangeFetch *fetch) {
        return http_is_paused(fetch->call.transfer);
}

bool range_fetch_is_sent(const RangeFetch *fetch) {
        return http_is_sent(fetch->call.transfer);
}

void range_fetch_resume(RangeFetch *fetch) {
        http_resume(fetch->call.transfer);
}

void range_fetch_cancel(RangeFetch *fetch) {
        aws_call_end(&fetch->call);
        http_cancel(fetch->call.transfer);
        free(fetch);
}
