/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A connection has one request at a time. It is read, judged, sent to KMS, perhaps opened, and answered; then the next one is read. While
 * KMS or the TPM is asked, nothing is read, so a client that sends on fills only its own socket.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "basic/clock.h"
#include "basic/io.h"
#include "basic/list.h"
#include "basic/log.h"
#include "config/declaration.h"
#include "unseald-kms/exchange.h"
#include "unseald-kms/kms-service.h"

/* How long a client may take for a whole request, and to take the answer; how long an open connection may have no request; and how
 * long a request waits for the TPM and IMDS. */
#define PATIENCE_USEC (10 * USEC_PER_SEC)
#define QUIET_USEC (60 * USEC_PER_SEC)
#define PROOF_PATIENCE_USEC (10 * USEC_PER_SEC)

/* After the last answer this much more is read. Closing with unread data would make TCP reset the connection, and the client could lose
 * the answer. */
#define DRAIN_MAX (512U * 1024U)
#define TARGET_MAX 128
#define AUTHORIZATION_MAX 2048

typedef enum ConnectionState {
        CONNECTION_READING,
        CONNECTION_PROVING, /* waits for the proof */
        CONNECTION_ASKING,  /* waits for KMS, or for the envelope to be opened */
        CONNECTION_ANSWERING,
        CONNECTION_DRAINING,
} ConnectionState;

struct Connection {
        Service *service;
        int fd;
        sd_event_source *io, *patience;
        ClientUnit *unit;       /* NULL: not permitted */
        char refusal_text[320]; /* why it is not permitted */
        ConnectionState state;
        char *buffer;
        size_t size, allocated;
        size_t request_size; /* of the request that is being answered: it is at the beginning of the buffer */
        bool close;          /* after the answer */

        ApplicationRequest request;
        RegionEndpoint *endpoint;
        uint64_t begun;    /* when it was sent to KMS */
        unsigned repeated; /* for which remedies it was sent again (exchange.h) */
        ProofKey *key;     /* of the document that was sent */
        struct json_object *reply;
        char request_id[64];

        char *answer;
        size_t answer_size, written, drained;
        Connection *previous, *next;
};

static void request_clear(Connection *connection) {
        application_request_clear(&connection->request);
        connection->key = proof_key_give(connection->key);
        json_object_put(TAKE_PTR(connection->reply));
        connection->request_id[0] = '\0';
        connection->repeated = 0;
        free(TAKE_PTR(connection->answer));
        connection->answer_size = connection->written = 0;
}

static void connection_free(Connection *connection) {
        Service *service = connection->service;

        (void) sd_event_source_disable_unref(connection->io);
        (void) sd_event_source_disable_unref(connection->patience);
        request_clear(connection);
        close(connection->fd);
        service->requests_bytes -= connection->allocated;
        free(connection->buffer);
        LIST_REMOVE(service->connections, connection);
        client_units_remove(&service->units, connection->unit);
        free(connection);
}

void connections_free(Service *service) {
        while (service->connections)
                connection_free(service->connections);
}

static int connection_end(Connection *connection) {
        Service *service = connection->service;

        connection_free(connection);
        return service->connections ? 0 : service_expect_idleness(service);
}

/* Waits for these events of the client, until the time is over. Without events only the time counts; 0: no time. */
static int connection_wait(Connection *connection, uint32_t events, uint64_t usec) {
        int r = usec > 0 ? sd_event_source_set_time_relative(connection->patience, usec) : 0;

        if (r >= 0)
                r = sd_event_source_set_enabled(connection->patience,
                                                usec > 0 ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
        if (r >= 0 && events)
                r = sd_event_source_set_io_events(connection->io, events);
        return r < 0 ? r : sd_event_source_set_enabled(connection->io, events ? SD_EVENT_ON : SD_EVENT_OFF);
}

static int connection_answer(Connection *connection, const ExchangeAnswer *answer) {
        char head[EXCHANGE_HEAD_MAX];
        size_t head_size = exchange_print_head(answer, connection->close, now_realtime_usec(), head);

        connection->answer = malloc(head_size + answer->size);
        if (!connection->answer)
                return -ENOMEM;
        memcpy(connection->answer, head, head_size);
        memcpy(connection->answer + head_size, answer->body, answer->size);
        connection->answer_size = head_size + answer->size;
        connection->state = CONNECTION_ANSWERING;
        return connection_wait(connection, EPOLLOUT, PATIENCE_USEC);
}

static int connection_refuse(Connection *connection, const ApplicationRefusal *refusal) {
        _cleanup_free_ char *body = NULL;
        int r = application_refusal_format(refusal, &body);

        return r < 0 ? r
                     : connection_answer(connection, &(ExchangeAnswer){ .status = refusal->status,
                                                                        .body = body,
                                                                        .size = strlen(body),
                                                                        .request_id = connection->request_id,
                                                                        .error_type = refusal->type });
}

_printf_(4, 5) static int connection_refuse_with(Connection *connection, unsigned status, const char *type,
                                                 const char *format, ...) {
        ApplicationRefusal refusal = { .status = status, .type = type };
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(refusal.text, sizeof(refusal.text), format, arguments);
        va_end(arguments);
        return connection_refuse(connection, &refusal);
}

static const char *operation_of(const Connection *connection) {
        return connection->request.operation ? connection->request.operation->name : "a request";
}

/* The journal has who asked for what, and the answer's ID, which CloudTrail has, too. */
static void tell_answered(const Connection *connection) {
        const char *key = connection->request.key;

        log_full(LOG_INFO,
                 &(LogFields){ .message_id = MESSAGE_KMS_ANSWERED,
                               .unit = connection->unit->name,
                               .operation = operation_of(connection),
                               .key = key,
                               .request_id = connection->request_id },
                 "%s got %s%s%s from KMS.", connection->unit->name, operation_of(connection),
                 key ? " with " : "", key ?: "");
}

static void tell_failed(const Connection *connection, const Error *error) {
        const char *key = connection->request.key;

        log_full(LOG_WARNING,
                 &(LogFields){ .message_id = MESSAGE_KMS_FAILED,
                               .unit = connection->unit->name,
                               .operation = operation_of(connection),
                               .key = key,
                               .error = error },
                 "%s did not get %s%s%s: %s", connection->unit->name, operation_of(connection),
                 key ? " with " : "", key ?: "", error->text);
}

/* The program gets KMS's own text, and the journal the name of the error. */
static void tell_kms_error(const Connection *connection, const Error *error) {
        Error named = *error;

        (void) snprintf(named.text, sizeof(named.text), "KMS answered %s.",
                        error->code[0] ? error->code : "an error");
        tell_failed(connection, &named);
}

static void tell_refused(const Connection *connection, const char *reason) {
        log_full(LOG_WARNING,
                 &(LogFields){ .message_id = MESSAGE_KMS_REFUSED,
                               .unit = connection->unit ? connection->unit->name : NULL,
                               .operation = connection->request.operation
                                                            ? connection->request.operation->name
                                                            : NULL },
                 "Refused %s of %s: %s", operation_of(connection),
                 connection->unit ? connection->unit->name : "a client", reason);
}

/* The service itself could not get an answer. SDKs repeat such a request. */
static int connection_fail(Connection *connection, const Error *error) {
        const char *type;
        unsigned status = exchange_failure_status(error, &type);

        connection->service->refused++;
        tell_failed(connection, error);
        return connection_refuse_with(connection, status, type, "unseald-kms: %s", error->text);
}

static int connection_ask(Connection *connection);

/* Renews what KMS did not accept. Returns whether another attempt may help. */
static bool prepare_repetition(Connection *connection, const Error *error) {
        Proof *proof = connection->service->proof;

        switch (exchange_repetition(&connection->repeated, error->remedy, connection->request.attested)) {
        case EXCHANGE_NO_REPETITION:
                return false;
        case EXCHANGE_WITH_CREDENTIALS:
                proof_renew_credentials(proof, connection->begun);
                break;
        case EXCHANGE_WITH_DOCUMENT:
                proof_renew_document(proof, connection->begun);
                break;
        case EXCHANGE_WITH_CLOCK:
                break;
        }
        connection->key = proof_key_give(connection->key);
        return true;
}

static int connection_failed(Connection *connection, const KmsReply *reply, const Error *error) {
        if (prepare_repetition(connection, error))
                return connection_ask(connection);
        if (!reply ||
            exchange_hides(reply, error, proof_credentials(connection->service->proof)->session_token))
                return connection_fail(connection, error);
        connection->service->answered++;
        tell_kms_error(connection, error);
        return connection_answer(connection, &(ExchangeAnswer){ .status = reply->status,
                                                                .body = reply->body,
                                                                .size = reply->size,
                                                                .request_id = reply->request_id,
                                                                .error_type = reply->error_type });
}

static void on_opened(int r, Secret *plaintext, const Error *error, void *userdata) {
        _cleanup_secret_ Secret *owned = plaintext;
        Connection *connection = userdata;
        Service *service = connection->service;
        _cleanup_free_ char *body = NULL;

        if (r < 0)
                r = connection_fail(connection, error);
        else {
                r = application_reply_format(&connection->request, connection->reply, owned, &body);
                if (r >= 0) {
                        service->answered++;
                        tell_answered(connection);
                        r = connection_answer(connection,
                                              &(ExchangeAnswer){ .status = 200,
                                                                 .body = body,
                                                                 .size = strlen(body),
                                                                 .request_id = connection->request_id });
                }
        }
        service_check(service, r);
}

static int connection_succeeded(Connection *connection, const KmsReply *reply) {
        Service *service = connection->service;
        _cleanup_free_ uint8_t *envelope = NULL;
        size_t envelope_size;
        Error error = {};
        int r;

        r = application_reply_judge(&connection->request, &service->rules, reply->body, reply->size,
                                    &connection->reply, &envelope, &envelope_size, &error);
        if (r < 0) {
                memcpy(error.request_id, connection->request_id, sizeof(error.request_id));
                return connection_fail(connection, &error);
        }
        if (envelope)
                return proof_key_open(connection->key, envelope, envelope_size, on_opened, connection);
        service->answered++;
        tell_answered(connection);
        return connection_answer(connection, &(ExchangeAnswer){ .status = 200,
                                                                .body = reply->body,
                                                                .size = reply->size,
                                                                .request_id = reply->request_id });
}

static void on_forwarded(int r, const KmsReply *reply, const Error *error, void *userdata) {
        Connection *connection = userdata;
        Service *service = connection->service;

        if (reply)
                (void) snprintf(connection->request_id, sizeof(connection->request_id), "%s",
                                reply->request_id);
        service_check(service, r < 0 ? connection_failed(connection, reply, error)
                                     : connection_succeeded(connection, reply));
}

/* The body as KMS gets it. */
static int make_body(Connection *connection, const char *body, size_t size, uint64_t now, char **ret) {
        Proof *proof = connection->service->proof;

        if (connection->request.attested) {
                connection->key = proof_key_take(proof);
                return application_request_body(&connection->request, proof_document(proof, now), ret);
        }
        *ret = strndup(body, size);
        return *ret ? 0 : -ENOMEM;
}

static int connection_send(Connection *connection, uint64_t now) {
        _cleanup_free_ char *body = NULL;
        HttpRequestHead head;
        int r;

        /* The body may hold a plaintext, so no copy of it is kept: it is still in the buffer. */
        (void) http_request_parse(connection->buffer, connection->size,
                                  &(HttpRequestRules){ .method = "POST", .path = "/" }, &head);
        r = make_body(connection, connection->buffer + head.head_size,
                      connection->request_size - head.head_size, now, &body);
        if (r < 0)
                return r;
        connection->begun = now;
        connection->state = CONNECTION_ASKING;
        r = connection_wait(connection, 0, 0);
        return r < 0 ? r
                     : kms_forward(connection->endpoint->client, connection->request.operation->name, body,
                                   on_forwarded, connection);
}

static int connection_ask(Connection *connection) {
        Service *service = connection->service;
        uint64_t now = now_monotonic_usec();
        Error error = {};
        int r = proof_get(service->proof, connection->request.attested, now, &error);

        if (r < 0)
                return connection_fail(connection, &error);
        if (r > 0)
                return connection_send(connection, now);
        if (connection->state == CONNECTION_PROVING)
                return 0;
        connection->state = CONNECTION_PROVING;
        return connection_wait(connection, 0, PROOF_PATIENCE_USEC);
}

void connections_proof_changed(Service *service) {
        for (Connection *connection = service->connections; connection; connection = connection->next)
                if (connection->state == CONNECTION_PROVING)
                        service_check(service, connection_ask(connection));
}

static RegionEndpoint *endpoint_of(Service *service, const char *key) {
        KmsKeyArn arn;

        for (size_t i = 0; kms_key_arn_parse(key, &arn) >= 0 && i < service->endpoints_count; i++)
                if (strcmp(service->endpoints[i].region, arn.region) == 0)
                        return service->endpoints + i;
        return NULL;
}

/* The whole request is in the buffer. */
static int connection_judge(Connection *connection, const HttpRequestHead *head) {
        Service *service = connection->service;
        char target[TARGET_MAX] = "", authorization[AUTHORIZATION_MAX] = "";
        ApplicationRefusal refusal;
        uint64_t wait;
        int r;

        if (!rate_limit_take(&connection->unit->limit, now_monotonic_usec(), &wait)) {
                service->limited++;
                return connection_refuse_with(connection, 400, "ThrottlingException", "Rate exceeded");
        }
        if (!exchange_is_json(head))
                return connection_refuse_with(connection, 400, "SerializationException",
                                              "Content-Type is not application/x-amz-json-1.1.");
        (void) http_request_copy(head, "X-Amz-Target", target, sizeof(target));
        (void) http_request_copy(head, "Authorization", authorization, sizeof(authorization));
        r = application_request_judge(&service->rules, target, authorization,
                                      connection->buffer + head->head_size, head->body_size,
                                      &connection->request, &refusal);
        if (r == -EACCES) {
                service->refused++;
                tell_refused(connection, refusal.text);
                return connection_refuse(connection, &refusal);
        }
        if (r < 0)
                return r;
        connection->endpoint = endpoint_of(service, connection->request.endpoint_key);
        assert(connection->endpoint);
        return connection_ask(connection);
}

static int connection_refuse_stranger(Connection *connection) {
        Service *service = connection->service;
        uint64_t wait;

        service->refused++;
        if (rate_limit_take(&service->complaints, now_monotonic_usec(), &wait))
                tell_refused(connection, connection->refusal_text);
        connection->close = true;
        return connection_refuse_with(connection, 400, "AccessDeniedException", "unseald-kms: %s",
                                      connection->refusal_text);
}

/* A request that no later one may follow, because its end is not known. */
static int connection_refuse_head(Connection *connection, unsigned status, const char *mistake) {
        connection->service->refused++;
        connection->close = true;
        return connection_refuse_with(connection, status, "ValidationException", "unseald-kms: %s", mistake);
}

/* Makes room for a request of that size. False: there is too little for all clients. */
static bool connection_make_room(Connection *connection, size_t size) {
        Service *service = connection->service;
        size_t more = size > connection->allocated ? size - connection->allocated : 0;
        char *buffer;

        if (more == 0)
                return true;
        if (more > REQUESTS_BYTES_MAX - service->requests_bytes)
                return false;
        buffer = malloc(size);
        if (!buffer)
                return false;
        if (connection->size > 0)
                memcpy(buffer, connection->buffer, connection->size);
        free(connection->buffer);
        connection->buffer = buffer;
        connection->allocated = size;
        service->requests_bytes += more;
        return true;
}

/* Looks at what has come. Returns 0 if more must come. */
static int connection_advance(Connection *connection) {
        HttpRequestHead head;
        size_t wanted;

        switch (exchange_look(connection->buffer, connection->size, connection->unit, &head, &wanted)) {
        case EXCHANGE_STRANGER:
                return connection_refuse_stranger(connection);
        case EXCHANGE_MISTAKE:
                return connection_refuse_head(connection, head.status, head.mistake);
        case EXCHANGE_WHOLE:
                connection->request_size = wanted;
                connection->close = head.close;
                return connection_judge(connection, &head);
        case EXCHANGE_MORE:
                break;
        }
        if (!connection_make_room(connection, wanted))
                return connection_refuse_head(connection, 503, "Too many requests are under way.");
        return 0;
}

/* True where the call on the client's socket may be repeated later. False where the client is gone. */
static bool is_later(ssize_t n) {
        return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static int connection_read(Connection *connection) {
        bool begins = connection->size == 0;
        ssize_t n = recv(connection->fd, connection->buffer + connection->size,
                         connection->allocated - connection->size, 0);
        int r = 0;

        if (is_later(n))
                return 0;
        if (n <= 0)
                return connection_end(connection);
        connection->size += (size_t) n;
        if (begins)
                r = connection_wait(connection, EPOLLIN, PATIENCE_USEC);
        return r < 0 ? r : connection_advance(connection);
}

/* The answer is sent: wipes the request, which may hold a plaintext, and goes on with what has come behind it. */
static int connection_next(Connection *connection) {
        size_t rest = connection->size - connection->request_size;
        Service *service = connection->service;

        request_clear(connection);
        memmove(connection->buffer, connection->buffer + connection->request_size, rest);
        explicit_bzero(connection->buffer + rest, connection->size - rest);
        connection->size = rest;
        connection->request_size = 0;
        connection->state = CONNECTION_READING;
        /* A large request leaves no large buffer behind. */
        if (rest == 0 && connection->allocated > HTTP_REQUEST_HEAD_MAX) {
                service->requests_bytes -= connection->allocated;
                free(TAKE_PTR(connection->buffer));
                connection->allocated = 0;
                if (!connection_make_room(connection, EXCHANGE_BUFFER_FIRST))
                        return connection_end(connection);
        }
        if (rest == 0)
                return connection_wait(connection, EPOLLIN, QUIET_USEC);
        int r = connection_wait(connection, EPOLLIN, PATIENCE_USEC);
        return r < 0 ? r : connection_advance(connection);
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
        if (!connection->close)
                return connection_next(connection);
        request_clear(connection);
        (void) shutdown(connection->fd, SHUT_WR);
        connection->state = CONNECTION_DRAINING;
        return sd_event_source_set_io_events(connection->io, EPOLLIN);
}

/* Drops data until the client has closed its side, too; see DRAIN_MAX. It may be a plaintext, so the kernel drops it unread (tcp(7)). */
static int connection_drain(Connection *connection) {
        ssize_t n = recv(connection->fd, NULL, 4096, MSG_TRUNC);

        if (is_later(n))
                return 0;
        if (n > 0)
                connection->drained += (size_t) n;
        return n <= 0 || connection->drained > DRAIN_MAX ? connection_end(connection) : 0;
}

static int on_ready(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Connection *connection = userdata;
        Service *service = connection->service;
        int r = 0;

        switch (connection->state) {
        case CONNECTION_READING:
                r = connection_read(connection);
                break;
        case CONNECTION_ANSWERING:
                r = connection_write(connection);
                break;
        case CONNECTION_DRAINING:
                r = connection_drain(connection);
                break;
        case CONNECTION_PROVING:
        case CONNECTION_ASKING:
                break;
        }
        service_check(service, r);
        return 0;
}

static int on_impatience(sd_event_source *source, uint64_t usec, void *userdata) {
        Connection *connection = userdata;
        Service *service = connection->service;
        Error error = {};

        if (connection->state != CONNECTION_PROVING) {
                service_check(service, connection_end(connection));
                return 0;
        }
        proof_explain(service->proof, &error);
        service_check(service, connection_fail(connection, &error));
        return 0;
}

/* The oldest connection that is only reading, of this unit; NULL: of a stranger. */
static Connection *oldest_reading(Service *service, const ClientUnit *unit) {
        Connection *found = NULL;

        for (Connection *connection = service->connections; connection; connection = connection->next)
                if (connection->unit == unit &&
                    (connection->state == CONNECTION_READING || connection->state == CONNECTION_DRAINING ||
                     (!unit && connection->state == CONNECTION_ANSWERING)))
                        found = connection;
        return found;
}

/* Makes room for one more connection of the unit. False: there is none. */
static bool make_room(Service *service, const ClientUnit *unit) {
        const ClientUnit *loser;
        Connection *victim;

        if (!client_units_full(&service->units, unit, &loser))
                return true;
        victim = oldest_reading(service, loser);
        if (victim)
                connection_free(victim);
        return victim != NULL;
}

/* Who is at the other end. NULL: nobody that may ask, and text says why. */
static ClientUnit *identify(Service *service, int fd, char *text, size_t size) {
        ClientUnit *unit = NULL;
        const char *name;
        int r = peers_unit(service->peers, fd, &name);

        if (r < 0)
                (void) snprintf(text, size,
                                "It is not known which unit the client belongs to (%s), so it gets nothing.",
                                strerror(-r));
        else if (!declaration_names_unit(service->settings.kms_units, name))
                (void) snprintf(text, size, "%s is not in Units= of [Kms] in unseald.conf(5).", name);
        else if (!(unit = client_units_find(&service->units, name, now_monotonic_usec())))
                (void) snprintf(text, size, "There is no room for one more unit.");
        return unit;
}

int connection_new(Service *service, int fd) {
        _cleanup_close_ int owned = fd;
        Connection *connection;
        char text[sizeof(connection->refusal_text)] = "";
        ClientUnit *unit = identify(service, fd, text, sizeof(text));
        int r;

        if (!make_room(service, unit))
                return 0;
        connection = calloc(1, sizeof(*connection));
        if (!connection)
                return -ENOMEM;
        connection->service = service;
        connection->fd = TAKE_FD(owned);
        connection->unit = unit;
        memcpy(connection->refusal_text, text, sizeof(text));
        LIST_PREPEND(service->connections, connection);
        client_units_add(&service->units, unit);
        if (!connection_make_room(connection, EXCHANGE_BUFFER_FIRST))
                return connection_end(connection);
        r = sd_event_add_io(service->event, &connection->io, fd, EPOLLIN, on_ready, connection);
        if (r >= 0)
                r = sd_event_add_time_relative(service->event, &connection->patience, CLOCK_MONOTONIC,
                                               PATIENCE_USEC, 0, on_impatience, connection);
        if (r < 0)
                (void) connection_end(connection);
        return r;
}
