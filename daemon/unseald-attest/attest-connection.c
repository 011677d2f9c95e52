/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A connection has one request. It is read, judged, perhaps answered by the TPM's thread, and the answer is written. Then what the client
 * still sends is read and dropped.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "attestation/public-key.h"
#include "basic/clock.h"
#include "basic/encoding.h"
#include "basic/io.h"
#include "basic/limits.h"
#include "basic/list.h"
#include "basic/log.h"
#include "build-config.h"
#include "tpm/nitrotpm.h"
#include "unseald-attest/attest-service.h"
#include "unsealing/failure-report.h"

/* How long a client may take to send its request, and again to take the answer. */
#define PATIENCE_USEC (10 * USEC_PER_SEC)

/* How long a request waits for a TPM that another program uses. unseald waits longer, so it gets the TPM first. */
#define TPM_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define TPM_RETRY_AFTER 5U

/* After the answer this much more is read from a client that still sends. Closing with unread data would make TCP reset the
 * connection, and the client could lose the answer. */
#define DRAIN_MAX (64U * 1024U)
#define PUBLIC_KEY_FILE_MAX (64U * 1024U)
#define HEAD_MAX 512

static void connection_free(Connection *connection) {
        (void) sd_event_source_disable_unref(connection->io);
        (void) sd_event_source_disable_unref(connection->patience);
        if (connection->fd >= 0)
                close(connection->fd);
        document_request_clear(&connection->request);
        free(connection->buffer);
        free(connection->document);
        free(connection->answer);
        LIST_REMOVE(connection->server->connections, connection);
        client_units_remove(&connection->server->units, connection->unit);
        free(connection);
}
DEFINE_CLEANUP(Connection *, connection_free);

void connections_free(Server *server) {
        while (server->connections)
                connection_free(server->connections);
}

static int connection_end(Connection *connection) {
        Server *server = connection->server;
        int r;

        connection_free(connection);
        r = server_listen(server, true);
        if (r >= 0 && !server->connections)
                r = server_expect_idleness(server);
        return r;
}

/* Waits for these events of the client for at most PATIENCE_USEC. Without events the client waits for the TPM, for as long as
 * that takes. */
static int connection_wait(Connection *connection, uint32_t events) {
        int r = sd_event_source_set_time_relative(connection->patience, PATIENCE_USEC);

        if (r >= 0)
                r = sd_event_source_set_enabled(connection->patience,
                                                events ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
        if (r >= 0 && events)
                r = sd_event_source_set_io_events(connection->io, events);
        return r < 0 ? r : sd_event_source_set_enabled(connection->io, events ? SD_EVENT_ON : SD_EVENT_OFF);
}

typedef struct Answer {
        unsigned status;
        const char *type;
        const void *body;
        size_t size;
        uint64_t retry_after_sec; /* 0: no Retry-After header */
} Answer;

/* The methods of the path that was asked for. */
static const char *allowed_methods(const Connection *connection) {
        return connection->server->local ? "POST" : connection->query.wants_status ? "GET, HEAD" : "GET";
}

/* Writes status line and headers (RFC 9110, RFC 9112) and returns their length. */
static size_t print_answer_head(const Connection *connection, const Answer *answer,
                                char buffer[static HEAD_MAX]) {
        time_t now = (time_t) (now_realtime_usec() / USEC_PER_SEC);
        char date[64] = "", retry_after[64] = "", allow[32] = "";
        struct tm tm;

        if (gmtime_r(&now, &tm))
                (void) strftime(date, sizeof(date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        if (answer->retry_after_sec > 0)
                (void) snprintf(retry_after, sizeof(retry_after), "Retry-After: %" PRIu64 "\r\n",
                                answer->retry_after_sec);
        if (answer->status == 405)
                (void) snprintf(allow, sizeof(allow), "Allow: %s\r\n", allowed_methods(connection));
        (void) snprintf(buffer, HEAD_MAX,
                        "HTTP/1.1 %u %s\r\n%s%s%sContent-Type: %s\r\nContent-Length: %zu\r\n"
                        "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                        answer->status, http_reason_phrase(answer->status), date, retry_after, allow,
                        answer->type, answer->size);
        return strlen(buffer);
}

static int connection_answer(Connection *connection, const Answer *answer) {
        char head[HEAD_MAX];
        size_t head_size = print_answer_head(connection, answer, head);
        size_t body_size = connection->query.head_only ? 0 : answer->size;

        connection->answer = malloc(head_size + body_size);
        if (!connection->answer)
                return -ENOMEM;
        memcpy(connection->answer, head, head_size);
        memcpy(connection->answer + head_size, answer->body, body_size);
        connection->answer_size = head_size + body_size;
        return connection_wait(connection, EPOLLOUT);
}

int connection_refuse(Connection *connection, unsigned status, const char *error, const char *message,
                      uint64_t retry_after_sec) {
        char body[256];

        (void) snprintf(body, sizeof(body), "{\"error\": \"%s\", \"message\": \"%s\"}\n", error, message);
        return connection_answer(connection, &(Answer){
                                                             .status = status,
                                                             .type = "application/json",
                                                             .body = body,
                                                             .size = strlen(body),
                                                             .retry_after_sec = retry_after_sec,
                                             });
}

/* Reads PublicKey= for each document, since certificates are renewed while the service runs. *ret is NULL without PublicKey=,
 * and the caller frees it. */
static int load_public_key(const char *path, uint8_t **ret, size_t *ret_size, Error *error) {
        _cleanup_free_ uint8_t *file = NULL;
        size_t size;
        int r;

        if (!path)
                return 0;
        r = read_file(path, PUBLIC_KEY_FILE_MAX, &file, &size);
        if (r >= 0)
                r = public_key_parse(file, size, ret, ret_size);
        if (r == -EBADMSG)
                return error_set(
                                error, r, FAILURE_CONFIGURATION,
                                "PublicKey=%s contains neither a certificate nor a public key. Expected one in PEM or DER.",
                                path);
        if (r < 0)
                return error_set(error, r, FAILURE_CONFIGURATION, "PublicKey=%s cannot be read: %s.", path,
                                 strerror(-r));
        if (public_key_is_rsa(*ret, *ret_size))
                return error_set(
                                error, -EKEYREJECTED, FAILURE_CONFIGURATION,
                                "PublicKey=%s is an RSA key, and KMS would encrypt secrets to it, for anyone with the private key. Use an elliptic-curve key.",
                                path);
        return 0;
}

static void attest_job(void *userdata) {
        Connection *connection = userdata;
        const Settings *settings = &connection->server->settings;
        const DocumentRequest *local = &connection->request;
        _cleanup_free_ uint8_t *key = NULL;
        NsmRequest request = {
                .nonce = { connection->query.nonce, connection->query.nonce_size },
        };

        if (connection->server->local) {
                connection->r = 0;
                request = (NsmRequest){ .nonce = { local->nonce, local->nonce_size },
                                        .user_data = { local->user_data, local->user_data_size },
                                        .public_key = { local->public_key, local->public_key_size } };
        } else {
                connection->r = load_public_key(settings->attestation_public_key, &key,
                                                &request.public_key.size, &connection->error);
                request.public_key.data = key;
        }
        if (connection->r >= 0)
                connection->r = document_get(settings->tpm_device, &request, TPM_TIMEOUT_USEC,
                                             &connection->document, &connection->document_size,
                                             &connection->error);
}

/* The document as it is, or in JSON. Only local clients have a choice. */
static int connection_give(Connection *connection) {
        _cleanup_free_ char *base64 = NULL, *json = NULL;

        if (!connection->server->local || connection->wants_cbor)
                return connection_answer(connection, &(Answer){ .status = 200,
                                                                .type = "application/cbor",
                                                                .body = connection->document,
                                                                .size = connection->document_size });
        if (base64_encode(connection->document, connection->document_size, &base64) < 0 ||
            asprintf(&json, "{\"document\": \"%s\"}\n", base64) < 0)
                return -ENOMEM;
        return connection_answer(connection, &(Answer){ .status = 200,
                                                        .type = "application/json",
                                                        .body = json,
                                                        .size = strlen(json) });
}

static void attested(void *userdata) {
        Connection *connection = userdata;
        Server *server = connection->server;
        LogFields fields = { .unit = connection->unit ? connection->unit->name : NULL };
        int r;

        connection->waits = false;
        if (connection->r < 0) {
                server->failed++;
                fields.error = &connection->error;
                log_full(LOG_WARNING, &fields, "No attestation document for %s: %s", connection->client,
                         connection->error.text);
                r = connection_refuse(connection, 503, "unavailable",
                                      "No attestation document can be made at the moment.", TPM_RETRY_AFTER);
        } else {
                server->documents++;
                fields.message_id = server->local ? MESSAGE_DOCUMENT_GIVEN : MESSAGE_ATTESTED;
                log_full(LOG_INFO, &fields, "Attestation document %" PRIu64 " is for %s.", server->documents,
                         connection->client);
                r = connection_give(connection);
        }
        if (r >= 0)
                r = server_listen(server, true);
        server_check(server, r);
}

int connection_attest(Connection *connection) {
        int r = connection_wait(connection, 0);

        connection->waits = true;
        return r < 0 ? r : worker_submit(connection->server->worker, attest_job, attested, connection);
}

/* Answers /status with the report of the last unsealing (Status=). */
static int connection_tell_status(Connection *connection) {
        static const char path[] = UNSEALD_RUNTIME_DIR "/status.json";
        _cleanup_free_ uint8_t *status = NULL;
        _cleanup_free_ char *report = NULL;
        size_t size;
        int r;

        r = read_file(path, LIMIT_STATUS_BYTES, &status, &size);
        if (r >= 0)
                r = failure_report_make((const char *) status, size, &report);
        if (r == -ENOENT)
                return connection_refuse(connection, 503, "unavailable",
                                         "unseald has not run in this boot, or cannot write its status.",
                                         TPM_RETRY_AFTER);
        if (r < 0) {
                log_warning("No status for %s: %s %s%s.", connection->client, path,
                            r == -EBADMSG ? "is not a status file of unseald" : "cannot be read: ",
                            r == -EBADMSG ? "" : strerror(-r));
                return connection_refuse(connection, 503, "unavailable", "The status cannot be read.",
                                         TPM_RETRY_AFTER);
        }
        return connection_answer(connection, &(Answer){ .status = 200,
                                                        .type = "application/json",
                                                        .body = report,
                                                        .size = strlen(report) });
}

static int connection_decide(Connection *connection) {
        const AttestationQuery *query = &connection->query;
        Server *server = connection->server;
        uint64_t wait;

        if (query->wants_status && !server->settings.attestation_status) {
                server->refused++;
                return connection_refuse(connection, 404, "not-found",
                                         "This service has no other path than " ATTESTATION_PATH ".", 0);
        }
        if (query->status != 200) {
                server->refused++;
                return connection_refuse(connection, query->status, query->error, query->message, 0);
        }
        if (!rate_limit_take(&server->limit, now_boottime_usec(), &wait)) {
                server->limited++;
                return connection_refuse(connection, 429, "too-many-requests",
                                         "The limit of attestation documents is reached.",
                                         (wait + USEC_PER_SEC - 1) / USEC_PER_SEC);
        }
        if (query->wants_status)
                return connection_tell_status(connection);
        return connection_attest(connection);
}

/* True where the call on the client's socket may be repeated later. False where the client is gone. */
static bool is_later(ssize_t n) {
        return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static size_t server_request_max(const Server *server) {
        return server->local ? HTTP_REQUEST_HEAD_MAX + DOCUMENT_BODY_MAX : ATTESTATION_HEAD_MAX;
}

static int connection_read(Connection *connection) {
        ssize_t n = recv(connection->fd, connection->buffer + connection->size,
                         server_request_max(connection->server) - connection->size, 0);

        if (is_later(n))
                return 0;
        if (n <= 0)
                return connection_end(connection);
        connection->size += (size_t) n;
        if (connection->server->local)
                return local_advance(connection);
        if (!attestation_query_parse(connection->buffer, connection->size, &connection->query))
                return 0;
        return connection_decide(connection);
}

static int connection_write(Connection *connection) {
        ssize_t n = send(connection->fd, connection->answer + connection->written,
                         connection->answer_size - connection->written, MSG_NOSIGNAL);

        if (is_later(n))
                return 0;
        if (n < 0)
                return connection_end(connection);
        connection->written += (size_t) n;
        if (connection->written < connection->answer_size)
                return 0;
        (void) shutdown(connection->fd, SHUT_WR);
        return sd_event_source_set_io_events(connection->io, EPOLLIN);
}

/* Reads and drops data until the client has closed its side, too; see DRAIN_MAX. */
static int connection_drain(Connection *connection) {
        char nothing[4096];
        ssize_t n = recv(connection->fd, nothing, sizeof(nothing), 0);

        if (is_later(n))
                return 0;
        if (n > 0)
                connection->drained += (size_t) n;
        return n <= 0 || connection->drained > DRAIN_MAX ? connection_end(connection) : 0;
}

static int on_ready(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Connection *connection = userdata;

        if (!connection->answer)
                return connection_read(connection);
        if (connection->written < connection->answer_size)
                return connection_write(connection);
        return connection_drain(connection);
}

static int on_impatience(sd_event_source *source, uint64_t usec, void *userdata) {
        return connection_end(userdata);
}

static void name_address(const struct sockaddr_storage *address, char buffer[static CLIENT_NAME_SIZE]) {
        const void *number = NULL;

        if (address->ss_family == AF_INET)
                number = &((const struct sockaddr_in *) address)->sin_addr;
        else if (address->ss_family == AF_INET6)
                number = &((const struct sockaddr_in6 *) address)->sin6_addr;
        if (!number || !inet_ntop(address->ss_family, number, buffer, CLIENT_NAME_SIZE))
                (void) snprintf(buffer, CLIENT_NAME_SIZE, "a local process");
}

/* Takes ownership of fd, on failure too. */
static int connection_new(Server *server, int fd, ClientUnit *unit, const char *refusal,
                          const char *client) {
        _cleanup_(connection_freep) Connection *connection = calloc(1, sizeof(*connection));
        int r;

        if (!connection) {
                close(fd);
                return -ENOMEM;
        }
        connection->server = server;
        connection->fd = fd;
        connection->unit = unit;
        connection->refusal = refusal;
        LIST_PREPEND(server->connections, connection);
        client_units_add(&server->units, unit);
        (void) snprintf(connection->client, sizeof(connection->client), "%s", client);
        connection->buffer = malloc(server_request_max(server));
        if (!connection->buffer)
                return -ENOMEM;
        r = sd_event_add_io(server->event, &connection->io, fd, EPOLLIN, on_ready, connection);
        if (r >= 0)
                r = sd_event_add_time_relative(server->event, &connection->patience, CLOCK_BOOTTIME,
                                               PATIENCE_USEC, 0, on_impatience, connection);
        if (r < 0)
                return r;
        TAKE_PTR(connection);
        return 0;
}

static bool is_of(const Connection *connection, const ClientUnit *unit) {
        return connection->unit == unit;
}

static bool is_permitted(const Connection *connection, const ClientUnit *unit) {
        return connection->unit;
}

/* The connection whose client has kept the service waiting longest, among those that match the unit. NULL: all these clients wait for the
 * TPM. */
static Connection *slowest(const Server *server, typeof(is_of) *matches, const ClientUnit *unit) {
        uint64_t until, earliest = UINT64_MAX;
        Connection *found = NULL;

        for (Connection *connection = server->connections; connection; connection = connection->next) {
                if (!matches(connection, unit) ||
                    sd_event_source_get_enabled(connection->patience, NULL) <= 0 ||
                    sd_event_source_get_time(connection->patience, &until) < 0 || until >= earliest)
                        continue;
                earliest = until;
                found = connection;
        }
        return found;
}

/* Makes room for one more connection of the unit. A client may be slow on purpose, to keep others out, so the slowest connection is
 * closed. False: no connection can be closed. */
static bool make_room(Server *server, const ClientUnit *unit) {
        const ClientUnit *loser;
        Connection *victim;

        if (!client_units_full(&server->units, unit, &loser))
                return true;
        victim = slowest(server, is_of, loser);
        if (!victim && unit)
                victim = slowest(server, is_permitted, NULL);
        if (victim)
                server_check(server, connection_end(victim));
        return victim;
}

/* True where the next client must wait in the backlog, since all those of the service wait for the TPM. The unit of a local client is known
 * only after it is accepted. */
static bool is_busy(Server *server) {
        if (!server->local)
                return !make_room(server, NULL);
        return server->units.permitted >= CONNECTIONS_MAX && !slowest(server, is_permitted, NULL);
}

int connection_accept(Server *server, int fd) {
        struct sockaddr_storage address = {};
        char client[CLIENT_NAME_SIZE];
        socklen_t size = sizeof(address);
        const char *refusal = NULL;
        ClientUnit *unit = NULL;
        int peer;

        if (is_busy(server))
                return server_listen(server, false);
        peer = accept4(fd, (struct sockaddr *) &address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (peer < 0)
                /* accept(2) also reports errors of the network and of clients that are gone. The service goes on after
                 * those, and ends only where it lacks descriptors or memory. */
                return errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS ? -errno
                                                                                                 : 0;
        if (server->local)
                unit = local_identify(server, peer, client, &refusal);
        else
                name_address(&address, client);
        if (server->local && !make_room(server, unit)) {
                close(peer);
                return 0;
        }
        return connection_new(server, peer, unit, refusal, client);
}
