/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>

#include "basic/clock.h"
#include "source/fetcher.h"

/* Room for the body of an error, however small the ciphertext may be. */
#define REPLY_MIN (64U * 1024U)

typedef struct Request Request;

struct Fetcher {
        HttpClient *http;
        const AwsCredentials *credentials;
        int64_t clock_offset; /* seconds that AWS's clock is ahead of ours */
        Request *requests;
};

struct Request {
        Fetcher *fetcher;
        Fetch fetch;
        SourceFetched callback;
        void *userdata;
        HttpTransfer *transfer;
        int64_t signed_at, clock_offset;
        Request *previous, *next;
};

int fetcher_new(HttpClient *http, Fetcher **ret) {
        Fetcher *fetcher = calloc(1, sizeof(*fetcher));

        if (!fetcher)
                return -ENOMEM;
        fetcher->http = http;
        *ret = fetcher;
        return 0;
}

/* Out of the fetcher's list. What comes of it may be anything, even that the fetcher is freed. */
static Request take_request(Request *request) {
        Request taken = *request;

        if (request->previous)
                request->previous->next = request->next;
        else
                request->fetcher->requests = request->next;
        if (request->next)
                request->next->previous = request->previous;
        free(request);
        return taken;
}

Fetcher *fetcher_free(Fetcher *fetcher) {
        if (!fetcher)
                return NULL;
        while (fetcher->requests)
                http_cancel(take_request(fetcher->requests).transfer);
        free(fetcher);
        return NULL;
}

void fetcher_set_credentials(Fetcher *fetcher, const AwsCredentials *credentials) {
        fetcher->credentials = credentials;
}

/* No reply came. That a server sends more than is taken is its mistake, and it will make it again. */
static void no_reply(const Request *request, int r, const Error *cause, Error *error) {
        if (r == -EFBIG) {
                (void) error_set(error, r, FAILURE_SOURCE,
                                 "%s: The answer is longer than a sealed secret can be.",
                                 request->fetch.source->label);
                return;
        }
        *error = *cause;
}

static void on_reply(int r, const HttpReply *reply, const Error *cause, void *userdata) {
        Request request = take_request(userdata);
        _cleanup_free_ uint8_t *data = NULL;
        Error error = {};
        size_t size = 0;

        if (r < 0)
                no_reply(&request, r, cause, &error);
        else {
                int64_t date = http_reply_date(reply);
                FetchReply got = {
                        .status = http_reply_status(reply),
                        .error_type = http_reply_header(reply, "x-amzn-ErrorType"),
                        .request_id = http_reply_header(reply, "x-amzn-RequestId")
                                                      ?: http_reply_header(reply, "x-amz-request-id"),
                        .bucket_region = http_reply_header(reply, "x-amz-bucket-region"),
                        .retry_after_usec = http_reply_retry_after_usec(reply),
                        .skew = date < 0 ? AWS_SKEW_UNKNOWN : date - request.signed_at,
                };

                got.body = http_reply_body(reply, &got.size);
                r = fetch_reply(&request.fetch, &got, &data, &size, &error);
                /* Not added to what the fetcher has by now: requests side by side find the same clock wrong. */
                if (r < 0 && error.remedy == REMEDY_CLOCK)
                        request.fetcher->clock_offset = request.clock_offset + got.skew;
        }
        request.callback(r, data, size, &error, request.userdata);
}

int source_fetch(Fetcher *fetcher, const Fetch *fetch, SourceFetched callback, void *userdata) {
        _cleanup_(fetch_request_clear) FetchRequest wire = {};
        _cleanup_free_ Request *request = malloc(sizeof(*request));
        size_t carrier = source_carrier_max(fetch->maximum);
        int r;

        if (!request)
                return -ENOMEM;
        *request = (Request){
                .fetcher = fetcher,
                .fetch = *fetch,
                .callback = callback,
                .userdata = userdata,
                .signed_at = (int64_t) (now_realtime_usec() / USEC_PER_SEC) + fetcher->clock_offset,
                .clock_offset = fetcher->clock_offset,
        };
        r = fetch_request(fetch, fetcher->credentials, request->signed_at, &wire);
        if (r < 0)
                return r;
        r = http_start(fetcher->http,
                       &(HttpRequest){
                                       .method = wire.method,
                                       .url = wire.url,
                                       .headers = (const char *const *) wire.headers,
                                       .body = wire.body,
                                       .body_size = wire.body ? strlen(wire.body) : 0,
                                       .reply_max = carrier > REPLY_MIN ? carrier : REPLY_MIN,
                       },
                       on_reply, request, &request->transfer);
        if (r < 0)
                return r;

        request->next = fetcher->requests;
        if (request->next)
                request->next->previous = request;
        fetcher->requests = TAKE_PTR(request);
        return 0;
}
