/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One KMS endpoint and the connections to it. Each Region that a key lies in has an endpoint of its own, with KmsEndpoint= too:
 * the Region is part of the signature (SigV4).
 *
 * A session opens the connections before it needs them, so that the TCP and TLS handshakes run while the document is made.
 * One connection is enough to begin with.
 */

#include <stdbool.h>
#include <stdint.h>

#include "kms/client.h"
#include "unsealing/request.h"
#include "unsealing/session-shared.h"
#include "unsealing/step.h"

typedef struct Endpoint {
        SessionShared *shared;
        const char *url, *region; /* borrowed from the target of the first secret that uses the endpoint */
        KmsClient *client;
        Step connection;
        unsigned connecting; /* connections that are being opened */
        unsigned requests;   /* requests whose answer is awaited */
        unsigned secrets;    /* how many secrets use the endpoint */
} Endpoint;

/* target is borrowed. ret must not move afterwards: the connection's step points to it. */
int endpoint_new(SessionShared *shared, const RequestTarget *target, Endpoint *ret);
void endpoint_clear(Endpoint *endpoint);

bool endpoint_matches(const Endpoint *endpoint, const RequestTarget *target) _pure_;

/* Whether one more request would have to open a connection of its own, although one that is being opened will be free
 * sooner. */
bool endpoint_is_busy(const Endpoint *endpoint) _pure_;
