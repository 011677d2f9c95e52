/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The pieces of an object of S3 or of an HTTPS server (source/pieces.h). If the server sends ranges and says what keeps them of
 * one object, up to PIECES_CONNECTIONS_MAX connections fetch long ranges side by side; otherwise one connection fetches the
 * whole. A connection that breaks goes on at its first missing byte, with the backoff of basic/retry.h and a new signature. One
 * that stands still, or is much slower than the others, is replaced.
 */

#include "source/fetcher.h"
#include "source/pieces.h"

#define PIECES_CONNECTIONS_MAX 16U

/* A transfer that has room and brings no byte for so long is broken. */
#define PIECES_STILL_USEC (15 * USEC_PER_SEC)

/* A transfer that brings less than a quarter of what the others bring on average, for so long, is replaced. */
#define PIECES_SLOW_USEC (10 * USEC_PER_SEC)

/* A request failed and will be tried again. With REMEDY_CREDENTIALS the callee must see to new credentials
 * (fetcher_set_credentials()); the next attempt uses what is there then. Must not call pieces_free(). */
typedef void (*PiecesTrouble)(const Error *error, void *userdata);

/*
 * plan->end is at most version->size, which must be known. version is copied; the fetcher and what fetch points to must
 * outlive the pieces. trouble may be NULL.
 *
 * By ended(): -ESTALE if the object was replaced or deleted meanwhile, so that the caller must begin anew (FAILURE_UNAVAILABLE,
 * REMEDY_RETRY); otherwise a failure that stays. What may pass is tried again until pieces_free().
 */
int pieces_new_remote(Fetcher *fetcher, const Fetch *fetch, const ObjectVersion *version,
                      const PiecesPlan *plan, const PiecesSink *sink, PiecesTrouble trouble,
                      void *trouble_userdata, Pieces **ret, Error *error);

/* The bytes of the object from plan->begin, which are here already: they are copied, and not fetched again. Only before the event loop
 * runs again. */
void pieces_remote_begin_with(Pieces *pieces, const uint8_t *data, size_t size);
