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
 * With --local it answers applications of permitted units instead, which also choose user data and public key.
 *
 * systemd owns the listening sockets. The process ends after a time without requests, and the next connection starts it again.
 */

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "basic/clock.h"
#include "basic/duration.h"
#include "basic/log.h"
#include "basic/notify.h"
#include "basic/thread.h"
#include "build-config.h"
#include "unseald-attest/attest-service.h"

#define BURST 10U

/* Entries about local clients that are not permitted: one a second, and ten at once. */
#define COMPLAINTS_BURST 10U
#define IDLE_USEC (30 * USEC_PER_SEC)

/* How long the process waits at its end for a TPM command that it has begun. TimeoutStopSec= is longer. */
#define LAST_COMMAND_USEC (5 * USEC_PER_SEC)

static atomic_bool worker_ended;

static void on_worker_ended(void *userdata) {
        atomic_store(&worker_ended, true);
}

/* Ends the TPM's thread. False: the TPM does not answer a command, so the thread still uses the server, and nothing may be freed. */
static bool server_end_worker(Server *server) {
        worker_abandon(TAKE_PTR(server->worker), on_worker_ended, NULL);
        threads_finish(LAST_COMMAND_USEC);
        return atomic_load(&worker_ended);
}

static void server_done(Server *server) {
        assert(!server->worker);
        connections_free(server);
        for (int i = 0; i < server->listeners_count; i++)
                (void) sd_event_source_disable_unref(server->listeners[i]);
        (void) sd_event_source_disable_unref(server->idle);
        (void) sd_event_unref(server->event);
        (void) peers_free(server->peers);
        client_units_clear(&server->units);
        settings_clear(&server->settings);
}

int server_listen(Server *server, bool on) {
        int r = 0;

        for (int i = 0; i < server->listeners_count && r >= 0; i++)
                r = sd_event_source_set_enabled(server->listeners[i], on ? SD_EVENT_ON : SD_EVENT_OFF);
        return r;
}

/* Starts the time after which the process ends if no client connects. The process does not end before the token bucket is
 * full: the next process starts with a full bucket, and clients could get around the limit. */
int server_expect_idleness(Server *server) {
        uint64_t now = now_boottime_usec(), wait = server->idle_usec;
        int r;

        if (server->limit.full_usec > now && server->limit.full_usec - now > wait)
                wait = server->limit.full_usec - now;
        r = sd_event_source_set_time_relative(server->idle, wait);
        return r < 0 ? r : sd_event_source_set_enabled(server->idle, SD_EVENT_ONESHOT);
}

void server_check(Server *server, int r) {
        if (r >= 0)
                return;
        log_warning("The attestation service ends, because a system call failed: %s.", strerror(-r));
        (void) sd_event_exit(server->event, FAILURE_INTERNAL);
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Server *server = userdata;
        int r = connection_accept(server, fd);

        if (r >= 0 && server->connections)
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

/* The unit that passes the sockets. */
static const char *socket_unit(const Server *server) {
        return server->local ? "unseald-documents.socket" : "unseald-attest.socket";
}

/* The kernel tells the unit of a client only for TCP. */
static bool is_right_socket(const Server *server, int fd) {
        return (server->local ? sd_is_socket_inet(fd, AF_UNSPEC, SOCK_STREAM, 1, 0)
                              : sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1)) > 0;
}

static int set_up_listeners(Server *server, Error *error) {
        int r, n = sd_listen_fds(true);

        if (n <= 0)
                return error_set(
                                error, -ENOTCONN, FAILURE_USAGE,
                                "The service manager passed no socket. Run \"systemctl start %s\", which starts this program.",
                                socket_unit(server));
        if (n > SOCKETS_MAX)
                return error_set(
                                error, -E2BIG, FAILURE_USAGE,
                                "The service manager passed %i sockets. Expected at most %i ListenStream= in %s.",
                                n, SOCKETS_MAX, socket_unit(server));
        for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++) {
                if (!is_right_socket(server, fd))
                        return error_set(
                                        error, -ENOTSOCK, FAILURE_USAGE,
                                        "File descriptor %i is not a listening %s socket. Expected only ListenStream=%s in %s.",
                                        fd, server->local ? "TCP" : "stream",
                                        server->local ? "ADDRESS:PORT" : "", socket_unit(server));
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

static int set_up_units(Server *server, Error *error) {
        int r = peers_new(&server->peers);

        if (r < 0)
                return error_set(
                                error, r, FAILURE_INTERNAL,
                                "The kernel cannot tell the unit of a client: %s. Expected Linux 5.9 or later with INET_DIAG, and control groups of version 2.",
                                strerror(-r));
        if (!server->settings.documents_units)
                log_warning("Units= of [Documents] in unseald.conf(5) names no unit, so every request is refused.");
        server->complaints = (RateLimit){ .interval_usec = USEC_PER_SEC, .burst = COMPLAINTS_BURST };
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
        server->units = (ClientUnits){
                .permitted_max = CONNECTIONS_MAX,
                .unit_max = CONNECTIONS_OF_UNIT_MAX,
                .strangers_max = server->local ? STRANGERS_MAX : CONNECTIONS_MAX,
                .requests_per_second = server->settings.documents_requests_per_second,
        };
        r = set_up_loop(server, error);
        if (r >= 0 && server->local)
                r = set_up_units(server, error);
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
               "unseald-attest.socket starts this program and passes it the sockets; with --local,\n"
               "unseald-documents.socket does.\n\n"
               "  -h --help                      Show this help\n"
               "     --version                   Show the version\n"
               "     --local                     Answer only permitted units, which choose the content\n"
               "     --idle=SEC                  End after this time without a request (30 s)\n"
               "     --vendor-configuration=DIR  Read unseald.conf here, not in %s\n"
               "     --configuration=DIR         Read unseald.conf here, not in %s\n\n"
               "Exit status: 0 ended, 1 failure, 2 usage, 78 configuration. See unseald-attest(8).\n",
               UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR);
}

int main(int argc, char *argv[]) {
        enum {
                OPTION_VERSION = 256,
                OPTION_LOCAL_CLIENTS,
                OPTION_IDLE,
                OPTION_VENDOR,
                OPTION_LOCAL,
        };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, OPTION_VERSION },
                { "local", no_argument, NULL, OPTION_LOCAL_CLIENTS },
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
                case OPTION_LOCAL_CLIENTS:
                        server.local = true;
                        break;
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
