/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "aws/calls.h"
#include "source/fetcher.h"

/* Bytes. The body of an error may be longer than the ciphertext. */
#define REPLY_MIN (64U * 1024U)

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
                FetchReply got = {
                        .status = http_reply_status(reply),
                        .error_type = http_reply_header(reply, "x-amzn-ErrorType"),
                        .request_id = http_reply_header(reply, "x-amzn-RequestId")
                                                      ?: http_reply_header(reply, "x-amz-request-id"),
                        .bucket_region = http_reply_header(reply, "x-amz-bucket-region"),
                        .retry_after_usec = http_reply_retry_after_usec(reply),
                        .skew = aws_call_skew(&request->call, reply),
                };

                got.body = http_reply_body(reply, &got.size);
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
