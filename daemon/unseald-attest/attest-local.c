/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What applies to local clients alone: which unit a client belongs to, and its request. The unit is that of the control group in which
 * the client's socket was made; see basic/peer.h. No name, user or address decides.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "config/declaration.h"
#include "unseald-attest/attest-service.h"

static void tell_refused(const Connection *connection, const char *reason) {
        log_full(LOG_WARNING,
                 &(LogFields){ .message_id = MESSAGE_DOCUMENT_REFUSED,
                               .unit = connection->unit ? connection->unit->name : NULL },
                 "No attestation document for %s: %s", connection->client, reason);
}

ClientUnit *local_identify(Server *server, int fd, char client[static CLIENT_NAME_SIZE],
                           const char **ret_refusal) {
        ClientUnit *unit = NULL;
        const char *name;
        int r = peers_unit(server->peers, fd, &name);

        if (r < 0) {
                (void) snprintf(client, CLIENT_NAME_SIZE, "a client of an unknown unit (%s)", strerror(-r));
                *ret_refusal = "Only a client whose unit is known can be permitted.";
                return NULL;
        }
        (void) snprintf(client, CLIENT_NAME_SIZE, "%s", name);
        if (!declaration_names_unit(server->settings.documents_units, name))
                *ret_refusal = "It is not in Units= of [Documents] in unseald.conf(5).";
        else if (!(unit = client_units_find(&server->units, name, now_boottime_usec())))
                *ret_refusal = "There is no room for one more unit.";
        return unit;
}

static int refuse_stranger(Connection *connection) {
        Server *server = connection->server;
        uint64_t wait;

        server->refused++;
        if (rate_limit_take(&server->complaints, now_boottime_usec(), &wait))
                tell_refused(connection, connection->refusal);
        return connection_refuse(
                        connection, 403, "forbidden",
                        "This client is not permitted. The journal of unseald-documents.service names its unit and the reason.",
                        0);
}

static int refuse(Connection *connection, unsigned status, const char *error, const char *message) {
        connection->server->refused++;
        tell_refused(connection, message);
        return connection_refuse(connection, status, error, message, 0);
}

static unsigned waiting_of(const Server *server, const ClientUnit *unit) {
        unsigned count = 0;

        for (const Connection *connection = server->connections; connection; connection = connection->next)
                count += connection->unit == unit && connection->waits;
        return count;
}

/* No browser sends this type to another site without asking first, so a page that a unit's browser shows cannot ask for documents. */
static bool is_json(const HttpRequestHead *head) {
        char type[64] = "";

        (void) http_request_copy(head, "Content-Type", type, sizeof(type));
        type[strcspn(type, "; \t")] = '\0';
        return strcasecmp(type, "application/json") == 0;
}

/* The whole request is in the buffer. */
static int decide(Connection *connection, const HttpRequestHead *head) {
        Server *server = connection->server;
        const ClientUnit *unit = connection->unit;
        char accept[256] = "";
        DocumentRefusal refusal;
        int r;

        if (!is_json(head))
                return refuse(connection, 415, "type", "Content-Type is not application/json.");
        (void) http_request_copy(head, "Accept", accept, sizeof(accept));
        connection->wants_cbor = document_wants_cbor(accept);
        r = document_request_parse(connection->buffer + head->head_size, head->body_size,
                                   settings_documents_of_one_unit(&server->settings) ? NULL : unit->name,
                                   &connection->request, &refusal);
        if (r == -EBADMSG)
                return refuse(connection, 400, refusal.error, refusal.message);
        return r < 0 ? r : connection_attest(connection);
}

int local_advance(Connection *connection) {
        static const HttpRequestRules rules = { .method = "POST",
                                                .path = DOCUMENT_PATH,
                                                .body_max = DOCUMENT_BODY_MAX };
        Server *server = connection->server;
        HttpRequestHead head;
        uint64_t wait = 0;

        if (!http_request_parse(connection->buffer, connection->size, &rules, &head))
                return 0;
        if (!connection->unit)
                return refuse_stranger(connection);
        if (head.status == 200 && connection->size < head.head_size + head.body_size)
                return 0;
        /* Wrong requests count, too: each is an entry in the journal. */
        if (!rate_limit_take(&connection->unit->limit, now_boottime_usec(), &wait) ||
            waiting_of(server, connection->unit) >= WAITING_OF_UNIT_MAX) {
                server->limited++;
                return connection_refuse(connection, 429, "too-many-requests",
                                         "The limit of attestation documents of this unit is reached.", 1);
        }
        if (head.status != 200)
                return refuse(connection, head.status, "malformed", head.mistake);
        return decide(connection, &head);
}
