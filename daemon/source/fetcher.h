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
