/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Fetches ciphertext over the network in the event loop. source/fetch.h has the requests and what the answers mean.
 */

#include "aws/sigv4.h"
#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/http.h"
#include "source/fetch.h"

/* One HTTP client, and the credentials of one role. */
typedef struct Fetcher Fetcher;

/* http is borrowed and must outlive the fetcher. */
int fetcher_new(HttpClient *http, Fetcher **ret);

/* Cancels all requests without calling their callbacks. Returns NULL. */
Fetcher *fetcher_free(Fetcher *fetcher);
DEFINE_CLEANUP(Fetcher *, fetcher_free);

/* The credentials are borrowed until others are set. */
void fetcher_set_credentials(Fetcher *fetcher, const AwsCredentials *credentials);

/* data is valid during the call, which may free the fetcher. */
typedef void (*SourceFetched)(int r, const uint8_t *data, size_t size, const Error *error, void *userdata);

/* Sends one request and does not retry: error->remedy says what may help. If AWS says that the clock is wrong, the fetcher signs
 * later requests with AWS's time. Everything that fetch points to must stay valid until the callback. */
int source_fetch(Fetcher *fetcher, const Fetch *fetch, SourceFetched callback, void *userdata);

/*
 * Objects in parts, of S3 or of an HTTPS server. The first request says what the object is; all others are for parts of it.
 */

/* data: the first bytes, as many as were wanted if the object has so many. version->size is OBJECT_SIZE_UNKNOWN only if the
 * object is longer than that. Both are valid during the call. */
typedef void (*ObjectFetched)(int r, const uint8_t *data, size_t size, const ObjectVersion *version,
                              const Error *error, void *userdata);

/* Fetches the first bytes of an object, at most asked; of one that is known to be longer than that, at most of_longer, which is not
 * more. Otherwise as source_fetch(). -ENODATA: the object is empty. */
int source_fetch_first(Fetcher *fetcher, const Fetch *fetch, size_t asked, size_t of_longer,
                       ObjectFetched callback, void *userdata);

typedef struct RangeFetch RangeFetch;

typedef struct RangeSink {
        /* The next bytes of the range. Returns how many of them it takes. If these are not all, there is no room, and the transfer
         * pauses. Called while the HTTP client works: it must not call any function of this header. */
        size_t (*data)(const uint8_t *data, size_t size, void *userdata);
        /* Called once. 0: every byte has been taken. Otherwise as fetch_range_refused() and object_check() say. */
        void (*ended)(int r, const Error *error, void *userdata);
} RangeSink;

/* Fetches the bytes first to last, which must lie in the object. range->version must not be NULL. No time-out ends the
 * transfer: the caller watches it. What fetch and range point to, and sink, must stay valid until ended() or range_fetch_cancel(). */
int source_fetch_range(Fetcher *fetcher, const Fetch *fetch, const FetchRange *range, const RangeSink *sink,
                       void *userdata, RangeFetch **ret);

bool range_fetch_is_paused(const RangeFetch *fetch) _pure_;

/* Returns whether the request has a connection, which it waits for while others have all. */
bool range_fetch_is_sent(const RangeFetch *fetch) _pure_;

/* There is room again. May call data() before it returns. */
void range_fetch_resume(RangeFetch *fetch);

/* Ends it without ended(). */
void range_fetch_cancel(RangeFetch *fetch);

/* The event loop of its HTTP client. */
sd_event *fetcher_event(const Fetcher *fetcher) _pure_;
