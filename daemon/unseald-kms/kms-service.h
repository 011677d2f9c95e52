/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The parts of unseald-kms: the service itself, the units that it serves, and one connection of a client. Every client is untrusted, a
 * permitted one, too, so everything has a limit.
 */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "basic/client-units.h"
#include "basic/http-request.h"
#include "basic/http.h"
#include "basic/peer.h"
#include "basic/rate-limit.h"
#include "config/settings.h"
#include "kms/application.h"
#include "kms/client.h"
#include "unseald-kms/proof.h"

/* Connections: of all permitted units, of one of them, and of clients that are not permitted and wait for their refusal. */
#define CONNECTIONS_MAX 1024U
#define CONNECTIONS_OF_UNIT_MAX 256U
#define STRANGERS_MAX 32U

/* Bytes of requests that have come and are not yet answered, in all. */
#define REQUESTS_BYTES_MAX (16U * 1024U * 1024U)

#define ENDPOINTS_MAX 64U
#define SOCKETS_MAX 16

typedef struct Connection Connection;

typedef struct RegionEndpoint {
        char region[32];
        KmsClient *client;
} RegionEndpoint;

typedef struct Service {
        Settings settings;
        ApplicationRules rules; /* borrows from settings */
        uint64_t idle_usec;
        sd_event *event;
        sd_event_source *listeners[SOCKETS_MAX], *idle;
        int listeners_count;
        Peers *peers;
        Proof *proof;
        HttpClient *http;
        RegionEndpoint endpoints[ENDPOINTS_MAX];
        size_t endpoints_count;
        ClientUnits units;
        Connection *connections; /* the newest first */
        size_t requests_bytes;
        RateLimit complaints; /* of the journal, about clients that are not permitted */
        uint64_t answered, refused, limited;
} Service;

/* Takes a connection that was accepted, and fd, on failure too. 0 also where the client is refused or has gone. A negative errno: the
 * service cannot go on. */
int connection_new(Service *service, int fd);

/* Ends all connections. No request may be under way: the KMS clients and the proof were freed before. */
void connections_free(Service *service);

/* A proof has come or has failed: goes on with the requests that wait for one. */
void connections_proof_changed(Service *service);

/* A system call failed that the service cannot do without. r >= 0: it did not. */
void service_check(Service *service, int r);

/* The last connection has ended, or none has come yet. */
int service_expect_idleness(Service *service);
