/* SPDX-License-Identifier: Apache-2.0 */

/*
 * KMS on the instance, for programs that know nothing of attestation. A program of a permitted unit sends its requests here instead of to
 * AWS. Those that take a Recipient get an attestation document, and the program gets the answer that KMS would give without one. The
 * others are passed on. All are signed with the instance's role.
 *
 * systemd owns the listening socket. The process ends after a time without connections, and the next connection starts it again.
 */

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "basic/clock.h"
#include "basic/duration.h"
#include "basic/log.h"
#include "basic/notify.h"
#include "basic/openssl-util.h"
#include "basic/thread.h"
#include "build-config.h"
#include "config/declaration.h"
#include "memory/secret.h"
#include "unseald-kms/kms-service.h"

#define IDLE_USEC (5 * 60 * USEC_PER_SEC)

/* Connections to each endpoint of KMS. Further requests wait for one. */
#define KMS_CONNECTIONS_MAX 64U

/* Entries about clients that are not permitted: one a second, and ten at once. */
#define COMPLAINTS_BURST 10U

void service_check(Service *service, int r) {
        if (r >= 0)
                return;
        log_warning("unseald-kms ends, because a system call failed: %s.", strerror(-r));
        (void) sd_event_exit(service->event, FAILURE_INTERNAL);
}

int service_expect_idleness(Service *service) {
        int r = sd_event_source_set_time_relative(service->idle, service->idle_usec);

        return r < 0 ? r : sd_event_source_set_enabled(service->idle, SD_EVENT_ONESHOT);
}

static void service_done(Service *service) {
        /* First what calls back. */
        for (size_t i = 0; i < service->endpoints_count; i++)
                (void) kms_client_free(service->endpoints[i].client);
        connections_free(service);
        service->proof = proof_free(service->proof);
        (void) http_client_free(service->http);
        (void) peers_free(service->peers);
        client_units_clear(&service->units);
        for (int i = 0; i < service->listeners_count; i++)
                (void) sd_event_source_disable_unref(service->listeners[i]);
        (void) sd_event_source_disable_unref(service->idle);
        (void) sd_event_unref(service->event);
        settings_clear(&service->settings);
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Service *service = userdata;
        int r, peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (peer < 0)
                /* accept(2) also reports clients that are gone. The service ends only where it lacks descriptors or memory. */
                r = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS ? -errno : 0;
        else
                r = connection_new(service, peer);
        if (r >= 0 && service->connections)
                r = sd_event_source_set_enabled(service->idle, SD_EVENT_OFF);
        service_check(service, r);
        return 0;
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata) {
        Service *service = userdata;

        return sd_event_exit(service->event, EXIT_SUCCESS);
}

static void on_proof_changed(void *userdata) {
        connections_proof_changed(userdata);
}

/* Reports a failure of the service on standard error or in the journal, and returns the exit status for it. */
static int failed(const Error *error) {
        log_full(LOG_ERR, &(LogFields){ .error = error }, "%s", error->text);
        return (int) error->failure;
}

static int set_up_listeners(Service *service, Error *error) {
        int r, n = sd_listen_fds(true);

        if (n <= 0 || n > SOCKETS_MAX)
                return error_set(
                                error, -ENOTCONN, FAILURE_USAGE,
                                "The service manager passed %i sockets, and 1 to %i are expected. Run \"systemctl start unseald-kms.socket\", which starts this program.",
                                n < 0 ? 0 : n, SOCKETS_MAX);
        for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++) {
                if (sd_is_socket_inet(fd, AF_UNSPEC, SOCK_STREAM, 1, 0) <= 0)
                        return error_set(
                                        error, -ENOTSOCK, FAILURE_USAGE,
                                        "File descriptor %i is not a listening TCP socket. The kernel tells the unit of a client only for TCP. Expected only ListenStream=ADDRESS:PORT in unseald-kms.socket.",
                                        fd);
                r = sd_event_add_io(service->event, service->listeners + service->listeners_count, fd,
                                    EPOLLIN, on_connection, service);
                if (r < 0)
                        return error_set(error, r, FAILURE_INTERNAL, "Cannot watch a socket: %s.",
                                         strerror(-r));
                service->listeners_count++;
        }
        return 0;
}

static int set_up_loop(Service *service, Error *error) {
        int r;

        if ((r = sd_event_default(&service->event)) < 0 ||
            (r = sd_event_add_signal(service->event, NULL, SIGTERM | SD_EVENT_SIGNAL_PROCMASK, NULL, NULL)) <
                            0 ||
            (r = sd_event_add_signal(service->event, NULL, SIGINT | SD_EVENT_SIGNAL_PROCMASK, NULL, NULL)) <
                            0 ||
            (r = sd_event_add_time_relative(service->event, &service->idle, CLOCK_MONOTONIC,
                                            service->idle_usec, 0, on_idle, service)) < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot set up the event loop: %s.",
                                 strerror(-r));
        r = peers_new(&service->peers);
        if (r < 0)
                return error_set(
                                error, r, FAILURE_INTERNAL,
                                "The kernel cannot tell the unit of a client: %s. Expected Linux 5.9 or later with INET_DIAG, and control groups of version 2.",
                                strerror(-r));
        return 0;
}

/* One endpoint for each Region of Keys=. No other host is ever asked. */
static int add_endpoint(Service *service, const char *key, Error *error) {
        const KmsEndpointOptions options = { .fips = service->settings.fips,
                                             .dual_stack = service->settings.dual_stack,
                                             .endpoint = service->settings.kms_endpoint };
        RegionEndpoint *endpoint = service->endpoints + service->endpoints_count;
        _cleanup_free_ char *url = NULL;
        KmsKeyArn arn;
        int r = kms_key_arn_parse(key, &arn);

        for (size_t i = 0; r >= 0 && i < service->endpoints_count; i++)
                if (strcmp(service->endpoints[i].region, arn.region) == 0)
                        return 0;
        assert(service->endpoints_count < ENDPOINTS_MAX);
        if (r >= 0)
                r = kms_endpoint(&arn, &options, &url);
        if (r >= 0)
                r = kms_client_new(service->http, url, arn.region, &endpoint->client);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot set up the endpoint for %s: %s.", key,
                                 strerror(-r));
        memcpy(endpoint->region, arn.region, sizeof(endpoint->region));
        kms_client_set_credentials(endpoint->client, proof_credentials(service->proof));
        service->endpoints_count++;
        return 0;
}

static int set_up_kms(Service *service, Error *error) {
        _cleanup_(X509_STORE_freep) X509_STORE *trusted = NULL;
        HttpOptions options = { .proxy = service->settings.proxy, .connections_max = KMS_CONNECTIONS_MAX };
        int r = http_trust_new(service->settings.trusted_certificates, &trusted, error);

        if (r < 0)
                return r;
        options.trusted = trusted;
        if ((r = http_client_new(service->event, &options, &service->http)) < 0 ||
            (r = proof_new(service->event, &service->settings, on_proof_changed, service, &service->proof)) <
                            0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot set up the client of KMS: %s.",
                                 strerror(-r));
        for (char **key = service->settings.kms_keys; r >= 0 && *key; key++)
                r = add_endpoint(service, *key, error);
        return r;
}

static int configure(Service *service, const char *vendor, const char *local, Error *error) {
        _cleanup_(declarations_clear) Declarations declarations = {};
        int r = settings_read(vendor, local, &service->settings, error);

        if (r < 0)
                return r;
        if (!service->settings.kms_keys)
                return error_set(
                                error, -ENODATA, FAILURE_CONFIGURATION,
                                "Keys= of [Kms] in unseald.conf(5) names no key, so unseald-kms has nothing to serve. Name the keys of the applications, or run \"systemctl disable --now unseald-kms.socket\".");
        if (!service->settings.kms_units)
                log_warning("Units= of [Kms] in unseald.conf(5) names no unit, so every request is refused.");
        r = declarations_read(vendor, local, &declarations, error);
        if (r >= 0)
                r = declarations_judge_kms(&declarations, &service->settings, error);
        service->units = (ClientUnits){ .permitted_max = CONNECTIONS_MAX,
                                        .unit_max = CONNECTIONS_OF_UNIT_MAX,
                                        .strangers_max = STRANGERS_MAX,
                                        .requests_per_second = service->settings.kms_requests_per_second };
        service->rules = (ApplicationRules){ .keys = service->settings.kms_keys,
                                             .operations = service->settings.kms_operations };
        return r;
}

static int set_up(Service *service, const char *vendor, const char *local, Error *error) {
        int r = memory_protect_process(error);

        if (r >= 0)
                r = configure(service, vendor, local, error);
        if (r >= 0)
                r = set_up_loop(service, error);
        if (r >= 0)
                r = set_up_kms(service, error);
        return r < 0 ? r : set_up_listeners(service, error);
}

static int serve(Service *service, const char *vendor, const char *local) {
        Error error = {};
        int r;

        service->complaints = (RateLimit){ .interval_usec = USEC_PER_SEC, .burst = COMPLAINTS_BURST };
        if (set_up(service, vendor, local, &error) < 0)
                return failed(&error);
        (void) notify_ready("Waiting for requests.");
        r = sd_event_loop(service->event);
        notify_stopping();
        log_info("unseald-kms ends. It answered %" PRIu64 " requests and refused %" PRIu64 "; %" PRIu64
                 " were over the limit.",
                 service->answered, service->refused, service->limited);
        if (r < 0) {
                (void) error_set(&error, r, FAILURE_INTERNAL, "The event loop failed: %s.", strerror(-r));
                r = failed(&error);
        }
        return r;
}

static void print_help(void) {
        printf("unseald-kms [OPTIONS…]\n\n"
               "Answer KMS requests of permitted units, with attestation documents of this instance.\n"
               "unseald-kms.socket starts this program and passes it the sockets.\n\n"
               "  -h --help                      Show this help\n"
               "     --version                   Show the version\n"
               "     --idle=SEC                  End after this time without a connection (5 min)\n"
               "     --vendor-configuration=DIR  Read the configuration here, not in %s\n"
               "     --configuration=DIR         Read the configuration here, not in %s\n\n"
               "Exit status: 0 ended, 1 failure, 2 usage, 78 configuration. See unseald-kms(8).\n",
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
        static Service service = { .idle_usec = IDLE_USEC };
        const char *vendor = UNSEALD_VENDOR_CONFIG_DIR, *local = UNSEALD_LOCAL_CONFIG_DIR;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case OPTION_VERSION:
                        puts("unseald-kms " UNSEALD_VERSION);
                        return EXIT_SUCCESS;
                case OPTION_IDLE:
                        if (parse_duration(optarg, &service.idle_usec) < 0 || service.idle_usec == 0) {
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
        r = serve(&service, vendor, local);
        service_done(&service);
        /* A TPM command that has begun ends with the process if it does not end by then. */
        threads_finish(THREADS_FINISH_USEC);
        return r;
}
