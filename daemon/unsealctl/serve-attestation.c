/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The attestation service: over plain HTTP it gives whoever asks a document with the nonce that was sent, and the public
 * key of the service that the instance is there for. It is no secret and needs no TLS: it carries Nitro's signature, and
 * the nonce makes it worthless to anybody else.
 *
 * Anybody may ask, so everything is bounded: connections, the size of a request, the time until it is there and until the
 * answer is taken, and by a bucket of tokens how often the TPM is asked. That is done in a thread, for one connection after
 * another. systemd has the sockets; when nobody has asked for a while the service ends, and is started again by the next
 * connection.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "attestation/public-key.h"
#include "attestation/query.h"
#include "basic/clock.h"
#include "basic/io.h"
#include "basic/log.h"
#include "basic/rate-limit.h"
#include "basic/worker.h"
#include "build-config.h"
#include "config/settings.h"
#include "tpm/nitrotpm.h"
#include "unsealctl/ctl.h"

#define CONNECTIONS_MAX 64U
#define SOCKETS_MAX 16
#define BURST 10U
#define IDLE_USEC (30 * USEC_PER_SEC)

/* How long a client may take for its request, and again for the answer. */
#define PATIENCE_USEC (10 * USEC_PER_SEC)

/* How long a TPM in use is waited for. unseald, which wants it at boot and at a reload, waits longer. */
#define TPM_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define TPM_RETRY_AFTER 5U

/* What is read of a client that goes on sending, lest the answer be lost in the reset of the connection. */
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

        /* The TPM's thread's, while it has them. */
        uint8_t *document;
        size_t document_size;
        Error error;
        int r;

        char *answer; /* NULL: not there yet */
        size_t answer_size, written;
} Connection;

struct Server {
        Settings settings;
        uint64_t idle_usec;
        sd_event *event;
        sd_event_source *listeners[SOCKETS_MAX], *idle;
        int listeners_count;
        Worker *worker;
        RateLimit limit;
        Connection *connections[CONNECTIONS_MAX]; /* in no order; NULL: free */
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

static void server_done(Server *server) {
        /* First the thread, which works on a connection. */
        (void) worker_free(server->worker);
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

/* From now on, if nobody comes. Not before the bucket is full: the next process begins with a full one. */
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

/* The client has so much time from now on, or, while it waits for us, as much as we need. */
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
        uint64_t retry_after_sec; /* 0: no such header */
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

/* Returns its length. Headers: RFC 9110. */
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
                        answer->status == 405 ? "Allow: GET\r\n" : "", answer->type, answer->size);
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
                                             });
}

/* Read anew each time: certificates are renewed. */
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
                return error_set(error, r, FAILURE_CONFIGURATION,
                                 "PublicKey=%s has neither a certificate nor a public key.", path);
        if (r < 0)
                return error_set(error, r, FAILURE_CONFIGURATION, "PublicKey=%s cannot be read: %s.", path,
                                 strerror(-r));
        if (public_key_is_rsa(*ret, *ret_size))
                return error_set(
                                error, -EKEYREJECTED, FAILURE_CONFIGURATION,
                                "PublicKey=%s is an RSA key, to which KMS would encrypt secrets, for whoever has its private half. Use one of an elliptic curve.",
                                path);
        return 0;
}

static void attest_job(void *userdata) {
        Connection *connection = userdata;
        const Settings *settings = &connection->server->settings;
        _cleanup_free_ uint8_t *key = NULL;
        NsmRequest request = {
                .nonce = connection->query.nonce,
                .nonce_size = connection->query.nonce_size,
        };

        connection->r = load_public_key(settings->attestation_public_key, &key, &request.public_key_size,
                                        &connection->error);
        request.public_key = key;
        if (connection->r >= 0)
                connection->r = document_get(settings->tpm_device, &request, TPM_TIMEOUT_USEC,
                                             &connection->document, &connection->document_size,
                                             &connection->error);
}

static void server_check(Server *server, int r) {
        if (r >= 0)
                return;
        log_warning("The attestation service fails: %s.", strerror(-r));
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
                                      "There is no attestation document at the moment.", TPM_RETRY_AFTER);
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

static int connection_decide(Connection *connection) {
        const AttestationQuery *query = &connection->query;
        Server *server = connection->server;
        uint64_t wait;
        int r;

        if (query->status != 200) {
                server->refused++;
                return connection_refuse(connection, query->status, query->error, query->message, 0);
        }
        if (!rate_limit_take(&server->limit, now_boottime_usec(), &wait)) {
                server->limited++;
                return connection_refuse(connection, 429, "too-many-requests",
                                         "So many documents are not made.",
                                         (wait + USEC_PER_SEC - 1) / USEC_PER_SEC);
        }
        r = connection_wait(connection, 0);
        return r < 0 ? r : worker_submit(server->worker, attest_job, attested, connection);
}

/* Whether a call on a client's socket may be made again later; otherwise the client is gone. */
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

/* Until the client has closed its side, too. */
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

/* Takes fd. */
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

/* The one that has kept us waiting for longest. NULL: nobody does, all wait for the TPM. */
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

/* Who takes his time, perhaps to keep the others out, makes room for the next. False: there is none. */
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

        /* The others wait in the backlog. */
        if (!make_room(server))
                return 0;
        peer = accept4(fd, (struct sockaddr *) &address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (peer < 0)
                /* What accept(2) tells of the network, or of a client that is gone, is no failure of ours. */
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

static int set_up_listeners(Server *server) {
        int r, n = sd_listen_fds(true);

        if (n <= 0)
                return usage_error(
                                "serve-attestation is started by unseald-attest.socket, which is missing.");
        if (n > SOCKETS_MAX)
                return usage_error("More than %i sockets are not served.", SOCKETS_MAX);
        for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++) {
                if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0)
                        return usage_error("File descriptor %i is no listening stream socket.", fd);
                r = sd_event_add_io(server->event, server->listeners + server->listeners_count, fd, EPOLLIN,
                                    on_connection, server);
                if (r < 0)
                        return failure("Cannot watch a socket: %s.", strerror(-r));
                server->listeners_count++;
        }
        return 0;
}

static int set_up_loop(Server *server) {
        int r;

        if ((r = sd_event_default(&server->event)) < 0 ||
            (r = sd_event_add_signal(server->event, NULL, SIGTERM | SD_EVENT_SIGNAL_PROCMASK, NULL, NULL)) <
                            0 ||
            (r = sd_event_add_signal(server->event, NULL, SIGINT | SD_EVENT_SIGNAL_PROCMASK, NULL, NULL)) <
                            0 ||
            (r = sd_event_add_time_relative(server->event, &server->idle, CLOCK_BOOTTIME, server->idle_usec,
                                            0, on_idle, server)) < 0 ||
            (r = worker_new(server->event, "tpm", &server->worker)) < 0)
                return failure("Cannot set up the event loop: %s.", strerror(-r));
        return 0;
}

static int serve(Server *server, const char *vendor, const char *local) {
        Error error = {};
        int r;

        if (settings_read(vendor, local, &server->settings, &error) < 0) {
                (void) failure("%s", error.text);
                return (int) error.failure;
        }
        server->limit = (RateLimit){
                .interval_usec = 60 * USEC_PER_SEC / server->settings.documents_per_minute,
                .burst = BURST,
        };
        r = set_up_loop(server);
        if (r == 0)
                r = set_up_listeners(server);
        if (r != 0)
                return r;

        (void) sd_notify(false, "READY=1");
        r = sd_event_loop(server->event);
        (void) sd_notify(false, "STOPPING=1");
        log_info("%" PRIu64 " attestation documents given, %" PRIu64 " not to be had; %" PRIu64
                 " requests over the limit, %" PRIu64 " refused.",
                 server->documents, server->failed, server->limited, server->refused);
        return r < 0 ? failure("The event loop failed: %s.", strerror(-r)) : r;
}

static void print_help(void) {
        printf("unsealctl serve-attestation [OPTIONS…]\n\n"
               "Give attestation documents to whoever asks by HTTP, on the sockets of\n"
               "unseald-attest.socket, which starts it.\n\n"
               "  -h --help                      Show this help\n"
               "     --idle=SEC                  End when nobody has asked for so long, not 30 s\n"
               "     --vendor-configuration=DIR  unseald.conf there, not in %s\n"
               "     --configuration=DIR         unseald.conf there, not in %s\n\n"
               "Exit status: 0 ended, 1 failure, 2 usage, 78 configuration.\n",
               UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR);
}

int verb_serve_attestation(int argc, char *argv[]) {
        enum {
                OPTION_IDLE = 256,
                OPTION_VENDOR,
                OPTION_LOCAL,
        };
        static const struct option long_options[] = {
                { "help", no_argument, NULL, 'h' },
                { "idle", required_argument, NULL, OPTION_IDLE },
                { "vendor-configuration", required_argument, NULL, OPTION_VENDOR },
                { "configuration", required_argument, NULL, OPTION_LOCAL },
                {},
        };
        _cleanup_(server_done) Server server = { .idle_usec = IDLE_USEC };
        const char *vendor = UNSEALD_VENDOR_CONFIG_DIR, *local = UNSEALD_LOCAL_CONFIG_DIR;
        int c;

        while ((c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case OPTION_IDLE:
                        if (parse_duration(optarg, &server.idle_usec) < 0 || server.idle_usec == 0)
                                return usage_error("--idle= wants a time such as 30 or 5min.");
                        break;
                case OPTION_VENDOR:
                        vendor = optarg;
                        break;
                case OPTION_LOCAL:
                        local = optarg;
                        break;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc)
                return usage_error("serve-attestation takes no argument.");
        return serve(&server, vendor, local);
}
