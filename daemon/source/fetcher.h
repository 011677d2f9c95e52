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

/* One HTTP client, one role. */
typedef struct Fetcher Fetcher;

/* http is borrowed and must outlive it. */
int fetcher_new(HttpClient *http, Fetcher **ret);

/* Cancels what is under way, without callbacks. Returns NULL. */
Fetcher *fetcher_free(Fetcher *fetcher);
DEFINE_CLEANUP(Fetcher *, fetcher_free);

/* Borrowed, until others are set. */
void fetcher_set_credentials(Fetcher *fetcher, const AwsCredentials *credentials);

/* data: valid during the call, which may free the fetcher. */
typedef void (*SourceFetched)(int r, const uint8_t *data, size_t size, const Error *error, void *userdata);

/* One request, no retries: error->remedy says what may mend it. A clock that AWS found wrong is remembered: the next
 * request is signed with AWS's time. What fetch points to must stay until the callback. */
int source_fetch(Fetcher *fetcher, const Fetch *fetch, SourceFetched callback, void *userdata);
