/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The attestation service of an instance. A client sends a nonce over plain HTTP and gets an attestation document with that
 * nonce and with the public key of the service that the instance runs. The document needs no TLS: Nitro signs it, and the nonce
 * makes it useless to any other client.
 *
 * Every client is untrusted, so everything has a limit: the number of connections, the size of a request, the time for the
 * request, the time for the answer, and, by a token bucket, how often the TPM is asked. One thread asks the TPM, for one
 * connection after another.
 *
 * systemd owns the listening sockets. The process ends after a time without requests, and the next connection starts it again.
 */

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include "attestation/public-key.h"
#include "attestation/query.h"
#include "basic/clock.h"
#include "basic/io.h"
#include "basic/limits.h"
#include "basic/log.h"
#include "basic/notify.h"
#include "basic/rate-limit.h"
#include "basic/thread.h"
#include "basic/worker.h"
#include "build-config.h"
#include "config/settings.h"
#include "tpm/nitrotpm.h"
#include "unsealing/failure-report.h"

#define CONNECTIONS_MAX 64U
#define SOCKETS_MAX 16
#define BURST 10U
#define IDLE_USEC (30 * USEC_PER_SEC)

/* How long a client may take to send its request, and again to take the answer. */
#define PATIENCE_USEC (10 * USEC_PER_SEC)

/* How long a request waits for a TPM that another program uses. unseald waits longer, so it gets the TPM first. */
#define TPM_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define TPM_RETRY_AFTER 5U

/* How long the process waits at its end for a TPM command that it has begun. TimeoutStopSec= is longer. */
#define LAST_COMMAND_USEC (5 * USEC_PER_SEC)

/* After the answer this much more is read from a client that still sends. Closing with unread data would make TCP reset the
 * connection, and the client could lose the answer. */
#define DRAIN_MAX (64U * 1024U)
#define PUBLIC_KEY_FILE_MAX (64U * 1024U)
#define HEAD_MAX 512

typedef struct Server Server;

typedef struct Connection {
        Server *server;
        int fd;
        sd_event_source *io, *patience;
        char peer[INET6_ADDRSTRLEN];
        size_t head_size, drained;
        char head[ATTESTATION_HEAD_MAX];
        AttestationQuery query;

        /* The TPM's thread owns these four from worker_submit() until attested(). */
        uint8_t *document;
        size_t document_size;
        Error error;
        int r;

        char *answer; /* NULL: not decided yet */
        size_t answer_size, written;
} Connection;

struct Server {
        Settings settings;
        uint64_t idle_usec;
        sd_event *event;
        sd_event_source *listeners[SOCKETS_MAX], *idle;
        int listeners_count;
        Worker *worker;
        atomic_bool worker_ended;
        RateLimit limit;
        Connection *connections[CONNECTIONS_MAX]; /* in no order; NULL: a free slot */
        unsigned connections_count;
        uint64_t documents, limited, refused, failed;
};

static void connection_free(Connection *connection) {
        (void) sd_event_source_disable_unref(connection->io);
        (void) sd_event_source_disable_unref(connection->patience);
        if (connection->fd >= 0)
                close(connection->fd);
        free(connection->document);
        free(connection->answer);
        free(connection);
}
DEFINE_CLEANUP(Connection *, connection_free);

static void on_worker_ended(void *userdata) {
        Server *server = userdata;

        atomic_store(&server->worker_ended, true);
}

/* Ends the TPM's thread. False: the TPM does not answer a command, so the thread still uses the server, and nothing may be freed. */
static bool server_end_worker(Server *server) {
        worker_abandon(TAKE_PTR(server->worker), on_worker_ended, server);
        threads_finish(LAST_COMMAND_USEC);
        return atomic_load(&server->worker_ended);
}

static void server_done(Server *server) {
        assert(!server->worker);
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
                if (server->connections[i])
                        connection_free(server->connections[i]);
        for (int i = 0; i < server->listeners_count; i++)
                (void) sd_event_source_disable_unref(server->listeners[i]);
        (void) sd_event_source_disable_unref(server->idle);
        (void) sd_event_unref(server->event);
        settings_clear(&server->settings);
}

static int server_listen(Server *server, bool on) {
        int r = 0;

        for (int i = 0; i < server->listeners_count && r >= 0; i++)
                r = sd_event_source_set_enabled(server->listeners[i], on ? SD_EVENT_ON : SD_EVENT_OFF);
        return r;
}

/* Starts the time after which the process ends if no client connects. The process does not end before the token bucket is
 * full: the next process starts with a full bucket, and clients could get around the limit. */
static int server_expect_idleness(Server *server) {
        uint64_t now = now_boottime_usec(), wait = server->idle_usec;
        int r;

        if (server->limit.full_usec > now && server->limit.full_usec - now > wait)
                wait = server->limit.full_usec - now;
        r = sd_event_source_set_time_relative(server->idle, wait);
        return r < 0 ? r : sd_event_source_set_enabled(server->idle, SD_EVENT_ONESHOT);
}

static int connection_end(Connection *connection) {
        Server *server = connection->server;
        int r;

        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
                if (server->connections[i] == connection)
                        server->connections[i] = NULL;
        connection_free(connection);
        server->connections_count--;

        r = server_listen(server, true);
        if (r >= 0 && server->connections_count == 0)
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
        bool of_status;           /* about /status, which takes HEAD, too */
} Answer;

static const char *reason_phrase(unsigned status) {
        switch (status) {
        case 200:
                return "OK";
        case 400:
                return "Bad Request";
        case 404:
                return "Not Found";
        case 405:
                return "Method Not Allowed";
        case 429:
                return "Too Many Requests";
        case 431:
                return "Request Header Fields Too Large";
        case 503:
                return "Service Unavailable";
        default:
                return "HTTP Version Not Supported";
        }
}

/* Writes status line and headers (RFC 9110, RFC 9112) and returns their length. */
static size_t print_answer_head(const Answer *answer, char buffer[static HEAD_MAX]) {
        time_t now = (time_t) (now_realtime_usec() / USEC_PER_SEC);
        char date[64] = "", retry_after[64] = "";
        struct tm tm;

        if (gmtime_r(&now, &tm))
                (void) strftime(date, sizeof(date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        if (answer->retry_after_sec > 0)
                (void) snprintf(retry_after, sizeof(retry_after), "Retry-After: %" PRIu64 "\r\n",
                                answer->retry_after_sec);
        (void) snprintf(buffer, HEAD_MAX,
                        "HTTP/1.1 %u %s\r\n%s%s%sContent-Type: %s\r\nContent-Length: %zu\r\n"
                        "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                        answer->status, reason_phrase(answer->status), date, retry_after,
                        answer->status != 405 ? ""
                        : answer->of_status   ? "Allow: GET, HEAD\r\n"
                                              : "Allow: GET\r\n",
                        answer->type, answer->size);
        return strlen(buffer);
}

static int connection_answer(Connection *connection, const Answer *answer) {
        char head[HEAD_MAX];
        size_t head_size = print_answer_head(answer, head);
        size_t body_size = connection->query.head_only ? 0 : answer->size;

        connection->answer = malloc(head_size + body_size);
        if (!connection->answer)
                return -ENOMEM;
        memcpy(connection->answer, head, head_size);
        memcpy(connection->answer + head_size, answer->body, body_size);
        connection->answer_size = head_size + body_size;
        return connection_wait(connection, EPOLLOUT);
}

static int connection_refuse(Connection *connection, unsigned status, const char *error, const char *message,
                             uint64_t retry_after_sec) {
        char body[256];

        (void) snprintf(body, sizeof(body), "{\"error\": \"%s\", \"message\": \"%s\"}\n", error, message);
        return connection_answer(connection, &(Answer){
                                                             .status = status,
                                                             .type = "application/json",
                                                             .body = body,
                                                             .size = strlen(body),
                                                             .retry_after_sec = retry_after_sec,
                                                             .of_status = connection->query.wants_status,
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
        _cleanup_free_ uint8_t *key = NULL;
        NsmRequest request = {
                .nonce = { connection->query.nonce, connection->query.nonce_size },
        };

        connection->r = load_public_key(settings->attestation_public_key, &key, &request.public_key.size,
                                        &connection->error);
        request.public_key.data = key;
        if (connection->r >= 0)
                connection->r = document_get(settings->tpm_device, &request, TPM_TIMEOUT_USEC,
                                             &connection->document, &connection->document_size,
                                             &connection->error);
}

static void server_check(Server *server, int r) {
        if (r >= 0)
                return;
        log_warning("The attestation service ends, because a system call failed: %s.", strerror(-r));
        (void) sd_event_exit(server->event, FAILURE_INTERNAL);
}

static void attested(void *userdata) {
        Connection *connection = userdata;
        Server *server = connection->server;
        int r;

        if (connection->r < 0) {
                server->failed++;
                log_full(LOG_WARNING, &(LogFields){ .error = &connection->error },
                         "No attestation document for %s: %s", connection->peer, connection->error.text);
                r = connection_refuse(connection, 503, "unavailable",
                                      "No attestation document can be made at the moment.", TPM_RETRY_AFTER);
        } else {
                server->documents++;
                log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_ATTESTED },
                         "Attestation document %" PRIu64 " is for %s.", server->documents, connection->peer);
                r = connection_answer(connection, &(Answer){
                                                                  .status = 200,
                                                                  .type = "application/cbor",
                                                                  .body = connection->document,
                                                                  .size = connection->document_size,
                                                  });
        }
        if (r >= 0)
                r = server_listen(server, true);
        server_check(server, r);
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
                log_warning("No status for %s: %s %s%s.", connection->peer, path,
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
        int r;

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
        r = connection_wait(connection, 0);
        return r < 0 ? r : worker_submit(server->worker, attest_job, attested, connection);
}

/* True where the call on the client's socket may be repeated later. False where the client is gone. */
static bool is_later(ssize_t n) {
        return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static int connection_read(Connection *connection) {
        ssize_t n = recv(connection->fd, connection->head + connection->head_size,
                         sizeof(connection->head) - connection->head_size, 0);

        if (is_later(n))
                return 0;
        if (n <= 0)
                return connection_end(connection);
        connection->head_size += (size_t) n;
        if (!attestation_query_parse(connection->head, connection->head_size, &connection->query))
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

static void name_peer(const struct sockaddr_storage *address, char buffer[static INET6_ADDRSTRLEN]) {
        const void *number = NULL;

        if (address->ss_family == AF_INET)
                number = &((const struct sockaddr_in *) address)->sin_addr;
        else if (address->ss_family == AF_INET6)
                number = &((const struct sockaddr_in6 *) address)->sin6_addr;
        if (!number || !inet_ntop(address->ss_family, number, buffer, INET6_ADDRSTRLEN))
                (void) snprintf(buffer, INET6_ADDRSTRLEN, "a local process");
}

/* Takes ownership of fd, on failure too. */
static int connection_new(Server *server, int fd, const struct sockaddr_storage *address) {
        _cleanup_(connection_freep) Connection *connection = calloc(1, sizeof(*connection));
        Connection **slot = server->connections;
        int r;

        if (!connection) {
                close(fd);
                return -ENOMEM;
        }
        connection->server = server;
        connection->fd = fd;
        name_peer(address, connection->peer);
        r = sd_event_add_io(server->event, &connection->io, fd, EPOLLIN, on_ready, connection);
        if (r >= 0)
                r = sd_event_add_time_relative(server->event, &connection->patience, CLOCK_BOOTTIME,
                                               PATIENCE_USEC, 0, on_impatience, connection);
        if (r < 0)
                return r;

        while (*slot)
                slot++;
        *slot = TAKE_PTR(connection);
        server->connections_count++;
        return 0;
}

/* The connection whose client has kept the service waiting longest. NULL: all clients wait for the TPM. */
static Connection *slowest(const Server *server) {
        uint64_t until, earliest = UINT64_MAX;
        Connection *found = NULL;

        for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
                Connection *connection = server->connections[i];

                if (!connection || sd_event_source_get_enabled(connection->patience, NULL) <= 0 ||
                    sd_event_source_get_time(connection->patience, &until) < 0 || until >= earliest)
                        continue;
                earliest = until;
                found = connection;
        }
        return found;
}

/* Makes room for one more connection. A client may be slow on purpose, to keep others out, so the slowest connection is closed.
 * False: no connection can be closed, and listening stops until one ends. */
static bool make_room(Server *server) {
        Connection *connection;

        if (server->connections_count < CONNECTIONS_MAX)
                return true;
        connection = slowest(server);
        server_check(server, connection ? connection_end(connection) : server_listen(server, false));
        return connection;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Server *server = userdata;
        struct sockaddr_storage address = {};
        socklen_t size = sizeof(address);
        int r, peer;

        /* Without room the client waits in the backlog. */
        if (!make_room(server))
                return 0;
        peer = accept4(fd, (struct sockaddr *) &address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (peer < 0)
                /* accept(2) also reports errors of the network and of clients that are gone. The service goes on after
                 * those, and ends only where it lacks descriptors or memory. */
                r = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS ? -errno : 0;
        else
                r = connection_new(server, peer, &address);
        if (r >= 0 && server->connections_count > 0)
                r = sd_event_source_set_enabled(server->idle, SD_EVENT_OFF);
        server_check(server, r);
        return 0;
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata) {
        Server *server = userdata;

        return sd_event_exit(server->event, EXIT_SUCCESS);
}

/* Reports a failure of the service on standard error or in the journal, and returns the exit status for it. */
static int failed(const Error *error) {
        log_full(LOG_ERR, &(LogFields){ .error = error }, "%s", error->text);
        return (int) error->failure;
}

static int set_up_listeners(Server *server, Error *error) {
        int r, n = sd_listen_fds(true);

        if (n <= 0)
                return error_set(
                                error, -ENOTCONN, FAILURE_USAGE,
                                "The service manager passed no socket. Run \"systemctl start unseald-attest.socket\", which starts this program.");
        if (n > SOCKETS_MAX)
                return error_set(
                                error, -E2BIG, FAILURE_USAGE,
                                "The service manager passed %i sockets. Expected at most %i ListenStream= in unseald-attest.socket.",
                                n, SOCKETS_MAX);
        for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++) {
                if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0)
                        return error_set(
                                        error, -ENOTSOCK, FAILURE_USAGE,
                                        "File descriptor %i is not a listening stream socket. Expected only ListenStream= in unseald-attest.socket.",
                                        fd);
                r = sd_event_add_io(server->event, server->listeners + server->listeners_count, fd, EPOLLIN,
                                    on_connection, server);
                if (r < 0)
                        return error_set(error, r, FAILURE_INTERNAL, "Cannot watch a socket: %s.",
                                         strerror(-r));
                server->listeners_count++;
        }
        return 0;
}

static int set_up_loop(Server *server, Error *error) {
        int r;

        if ((r = sd_event_default(&server->event)) < 0 ||
            (r = sd_event_add_signal(server->event, NULL, SIGTERM | SD_EVENT_SIGNAL_PROCMASK, NULL, NULL)) <
                            0 ||
            (r = sd_event_add_signal(server->event, NULL, SIGINT | SD_EVENT_SIGNAL_PROCMASK, NULL, NULL)) <
                            0 ||
            (r = sd_event_add_time_relative(server->event, &server->idle, CLOCK_BOOTTIME, server->idle_usec,
                                            0, on_idle, server)) < 0 ||
            (r = worker_new(server->event, "tpm", &server->worker)) < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot set up the event loop: %s.",
                                 strerror(-r));
        return 0;
}

static int set_up(Server *server, const char *vendor, const char *local, Error *error) {
        int r = settings_read(vendor, local, &server->settings, error);

        if (r < 0)
                return r;
        server->limit = (RateLimit){
                .interval_usec = 60 * USEC_PER_SEC / server->settings.documents_per_minute,
                .burst = BURST,
        };
        r = set_up_loop(server, error);
        return r < 0 ? r : set_up_listeners(server, error);
}

static int serve(Server *server, const char *vendor, const char *local) {
        Error error = {};
        int r;

        if (set_up(server, vendor, local, &error) < 0) {
                (void) server_end_worker(server);
                return failed(&error);
        }

        (void) notify_ready("Waiting for requests.");
        r = sd_event_loop(server->event);
        notify_stopping();
        log_info("The attestation service ends. It gave %" PRIu64 " documents and failed to make %" PRIu64
                 "; %" PRIu64 " requests were over the limit, %" PRIu64 " were refused.",
                 server->documents, server->failed, server->limited, server->refused);
        if (r < 0) {
                (void) error_set(&error, r, FAILURE_INTERNAL, "The event loop failed: %s.", strerror(-r));
                r = failed(&error);
        }
        if (!server_end_worker(server)) {
                log_warning("The TPM has not answered a command within %u seconds, so the attestation service ends without the answer. The TPM may keep a session until its next user removes it.",
                            (unsigned) (LAST_COMMAND_USEC / USEC_PER_SEC));
                _exit(r);
        }
        return r;
}

static void print_help(void) {
        printf("unseald-attest [OPTIONS…]\n\n"
               "Give an attestation document of this instance to each client that asks by HTTP.\n"
               "unseald-attest.socket starts this program and passes it the sockets.\n\n"
               "  -h --help                      Show this help\n"
               "     --version                   Show the version\n"
               "     --idle=SEC                  End after this time without a request (30 s)\n"
               "     --vendor-configuration=DIR  Read unseald.conf here, not in %s\n"
               "     --configuration=DIR         Read unseald.conf here, not in %s\n\n"
               "Exit status: 0 ended, 1 failure, 2 usage, 78 configuration. See unseald-attest(8).\n",
               UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR);
}

int main(int argc, char *argv[]) {
        enum {
                OPTION_VERSION = 256,
                OPTION_IDLE,
                OPTION_VENDOR,
                OPTION_LOCAL,
        };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, OPTION_VERSION },
                { "idle", required_argument, NULL, OPTION_IDLE },
                { "vendor-configuration", required_argument, NULL, OPTION_VENDOR },
                { "configuration", required_argument, NULL, OPTION_LOCAL },
                {},
        };
        _cleanup_(server_done) Server server = { .idle_usec = IDLE_USEC };
        const char *vendor = UNSEALD_VENDOR_CONFIG_DIR, *local = UNSEALD_LOCAL_CONFIG_DIR;
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case OPTION_VERSION:
                        puts("unseald-attest " UNSEALD_VERSION);
                        return EXIT_SUCCESS;
                case OPTION_IDLE:
                        if (parse_duration(optarg, &server.idle_usec) < 0 || server.idle_usec == 0) {
                                fprintf(stderr,
                                        "%s: --idle=%s is not a time. Expected one such as 30 or 5min.\n",
                                        program_invocation_short_name, optarg);
                                return FAILURE_USAGE;
                        }
                        break;
                case OPTION_VENDOR:
                        vendor = optarg;
                        break;
                case OPTION_LOCAL:
                        local = optarg;
                        break;
                default:
                        return FAILURE_USAGE;
                }
        if (optind < argc) {
                fprintf(stderr,
                        "%s: Unexpected argument '%s'. This program takes only options; see --help.\n",
                        program_invocation_short_name, argv[optind]);
                return FAILURE_USAGE;
        }
        return serve(&server, vendor, local);
}
