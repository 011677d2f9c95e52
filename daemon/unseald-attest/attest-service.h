/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The parts of unseald-attest: the server, one connection of a client, and what applies to local clients alone. Every client is
 * untrusted, so everything has a limit.
 *
 * There are two kinds of server, each with a service unit of its own. The one on the network answers anybody, so its documents have
 * nothing of the client but a nonce. The local one answers permitted units, which are known by their control groups, and its documents
 * have the user data and the public key of the unit, too.
 */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "attestation/document-request.h"
#include "attestation/query.h"
#include "basic/client-units.h"
#include "basic/error.h"
#include "basic/http-request.h"
#include "basic/peer.h"
#include "basic/rate-limit.h"
#include "basic/worker.h"
#include "config/settings.h"

/* Connections: of all clients on the network, or of all permitted units. */
#define CONNECTIONS_MAX 64U
#define SOCKETS_MAX 16

/* Of local clients: connections of one unit; those of all clients that are not permitted, which are beyond CONNECTIONS_MAX; and requests
 * of one unit that wait for the TPM. */
#define CONNECTIONS_OF_UNIT_MAX 16U
#define STRANGERS_MAX 16U
#define WAITING_OF_UNIT_MAX 8U

/* Room for a unit's name, or for an address. */
#define CLIENT_NAME_SIZE 256

typedef struct Connection Connection;

typedef struct Server {
        Settings settings;
        uint64_t idle_usec;
        sd_event *event;
        sd_event_source *listeners[SOCKETS_MAX], *idle;
        int listeners_count;
        Worker *worker; /* its thread asks the TPM */
        RateLimit limit;
        Connection *connections;
        ClientUnits units; /* not local: all clients are of no unit */
        uint64_t documents, limited, refused, failed;

        bool local;
        Peers *peers;         /* NULL: not local */
        RateLimit complaints; /* of the journal, about clients that are not permitted */
} Server;

struct Connection {
        Server *server;
        int fd;
        sd_event_source *io, *patience;
        char client[CLIENT_NAME_SIZE]; /* whom the journal names: the address, or the unit */
        ClientUnit *unit;              /* NULL: not local, or not permitted */
        const char *refusal;           /* local: why it is not permitted; constant */
        size_t size, drained;
        char *buffer;            /* of server_request_max() bytes */
        AttestationQuery query;  /* not local */
        DocumentRequest request; /* local */
        bool wants_cbor;

        /* The TPM's thread owns these four from worker_submit() until attested(). */
        bool waits; /* for the thread */
        uint8_t *document;
        size_t document_size;
        Error error;
        int r;

        char *answer; /* NULL: not decided yet */
        size_t answer_size, written;
        Connection *previous, *next;
};

/* Accepts a client on a listening socket. 0 also where the client has gone. A negative errno: the server cannot go on. */
int connection_accept(Server *server, int fd);

/* Ends all connections. No document may be under way: the worker has ended before. */
void connections_free(Server *server);

/* Answers with an error. All texts are constant, and none needs an escape in JSON. retry_after_sec 0: the answer does not say when. */
int connection_refuse(Connection *connection, unsigned status, const char *error, const char *message,
                      uint64_t retry_after_sec);

/* Has the TPM's thread make the document, which is the answer. */
int connection_attest(Connection *connection);

/* Finds the unit of a client that was accepted. NULL: it may not ask, and *ret_refusal says why. Writes the name of the unit to client, or
 * what is known. */
ClientUnit *local_identify(Server *server, int fd, char client[static CLIENT_NAME_SIZE],
                           const char **ret_refusal);

/* Looks at what a local client has sent: answers it, or waits for more. */
int local_advance(Connection *connection);

/* A system call failed that the server cannot do without. r >= 0: it did not. */
void server_check(Server *server, int r);

/* Begins or stops to accept clients, which wait in the backlog meanwhile. */
int server_listen(Server *server, bool on);

/* The last connection has ended, or none has come yet. */
int server_expect_idleness(Server *server);
