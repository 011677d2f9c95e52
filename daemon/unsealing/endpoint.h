/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One KMS endpoint and the connections to it. Each Region that a key lies in has an endpoint of its own, with KmsEndpoint= too:
 * the Region is part of the signature (SigV4).
 *
 * A session opens the connections before it needs them, so that the TCP and TLS handshakes run while the document is made.
 * One connection is enough to begin with. If the document is ready first, no request is spent on that: the first requests to
 * KMS open the connections themselves, which saves a round trip. They then decide the connection's step.
 */

#include <stdbool.h>
#include <stdint.h>

#include "kms/client.h"
#include "unsealing/request.h"
#include "unsealing/session-shared.h"
#include "unsealing/step.h"

typedef struct Endpoint {
        SessionShared *shared;
        const char *url, *region; /* borrowed from the key of the first secret that may use the endpoint */
        KmsClient *client;
        Step connection;
        unsigned connecting; /* connections that are being opened for later requests */
        unsigned opening;    /* of the requests below, those that open a connection themselves */
        bool passed_over;    /* it was silent, so secrets whose key has a replica ask in another Region */
        bool opening_failed; /* one of those has failed since the step began, so no other may try */
        unsigned requests;   /* requests whose answer is awaited */
        unsigned secrets;    /* how many secrets use the endpoint; 0: none does while other Regions answer */
} Endpoint;

/* key is borrowed. ret must not move afterwards: the connection's step points to it. */
int endpoint_new(SessionShared *shared, const RequestKey *key, Endpoint *ret);
void endpoint_clear(Endpoint *endpoint);

bool endpoint_matches(const Endpoint *endpoint, const RequestKey *key) _pure_;

/* The step, a connection or a request, has failed without an answer of KMS. Passes the endpoint over if that was not the first time, or
 * took long, and is not for want of a network. */
void endpoint_is_silent(Endpoint *endpoint, const Step *step);

/* Returns whether a request can be sent: a connection is open, or the request may open one itself. */
bool endpoint_is_usable(const Endpoint *endpoint, uint64_t now) _pure_;

/* Counts a request as begun. Returns whether it opens a connection itself; endpoint_request_ended() must be told so. */
bool endpoint_request_begun(Endpoint *endpoint, uint64_t now);

/* r and error: why no answer came; r is 0 if one did, a refusal included. Returns whether the connection has failed, and not the
 * request: then the connection's step decides when the request is sent again. */
bool endpoint_request_ended(Endpoint *endpoint, bool opened, int r, const Error *error);

/* Returns whether one more request would have to open a connection of its own, although one that is being opened will be free
 * sooner. */
bool endpoint_is_busy(const Endpoint *endpoint) _pure_;
