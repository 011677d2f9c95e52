/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The program of the local platform. It starts every EC2 service that unseald needs, each on its own
 * address, and runs until SIGTERM or SIGINT. It expects a network namespace that has these addresses;
 * tests/platform/platform makes one. With --daemon it goes to the background once all services answer.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "accounts.h"
#include "attestor.h"
#include "basic/cleanup.h"
#include "basic/io.h"
#include "carriers.h"
#include "control.h"
#include "exchange.h"
#include "faults.h"
#include "imds.h"
#include "kms.h"
#include "pki.h"
#include "relay.h"
#include "tls_front.h"
#include "tpm_faults.h"
#include "trail.h"

#define ACCOUNTS_MAX (4U * 1024U * 1024U)

typedef struct Options {
        const char *region, *other_region;
        const char *instance_id;
        const char *state;
        const char *seed;
        const char *imds_address;
        const char *kms_address;
        const char *relay_address;
        const char *carriers_address;
        const char *far_carriers_address;
        const char *imds_ipv6, *kms_ipv6, *carriers_ipv6; /* NULL: there is no IPv6 */
        unsigned delay_msec;
        unsigned rate;
        bool daemon;
} Options;

typedef struct Platform {
        Seed seed;
        Accounts *accounts;
        Attestor *attestor;
        Faults *faults;
        Trail *trail;
        Imds *imds;
        Kms *kms;
        Carriers *carriers;
        Pki pki;
        HttpServer *imds_server, *imds_server_ipv6;
        HttpServer *kms_server;
        HttpServer *carriers_server;
        TlsFront *front, *front_ipv6;
        TlsFront *carriers_front, *carriers_front_ipv6;
        Relay *relay, *carriers_relay;
        Control *control;
        TpmFaults tpm_faults;
} Platform;

/* Frees the parts in the reverse order of their creation. */
static void platform_clear(Platform *platform) {
        platform_control_free(platform->control);
        relay_free(platform->relay);
        relay_free(platform->carriers_relay);
        tls_front_free(platform->carriers_front_ipv6);
        tls_front_free(platform->front_ipv6);
        tls_front_free(platform->carriers_front);
        tls_front_free(platform->front);
        http_server_free(platform->carriers_server);
        http_server_free(platform->kms_server);
        http_server_free(platform->imds_server_ipv6);
        http_server_free(platform->imds_server);
        pki_clear(&platform->pki);
        carriers_free(platform->carriers);
        platform_kms_free(platform->kms);
        platform_imds_free(platform->imds);
        attestor_free(platform->attestor);
        trail_free(platform->trail);
        faults_free(platform->faults);
        accounts_free(platform->accounts);
}

static int fail(int r, const char *what) {
        fprintf(stderr, "unseald-platform: %s: %s\n", what, strerror(-r));
        return r;
}

static char *path_in(const char *directory, const char *name) {
        char *path;

        if (asprintf(&path, "%s/%s", directory, name) < 0)
                abort();
        return path;
}

static int listen_at(const void *name, socklen_t size) {
        const struct sockaddr *address = name;
        _cleanup_close_ int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(const int){ 1 }, sizeof(int)) < 0 ||
            bind(fd, address, size) < 0 || listen(fd, SOMAXCONN) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int listen_on(const char *address, uint16_t port, struct sockaddr_in *ret) {
        *ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
        return inet_pton(AF_INET, address, &ret->sin_addr) == 1 ? listen_at(ret, sizeof(*ret)) : -EINVAL;
}

static int listen_on_ipv6(const char *address, uint16_t port) {
        struct sockaddr_in6 name = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

        return inet_pton(AF_INET6, address, &name.sin6_addr) == 1 ? listen_at(&name, sizeof(name)) : -EINVAL;
}

/* The same services once more, at their IPv6 addresses. */
static int start_ipv6(Platform *platform, const Options *options) {
        int fd, r;

        if (!options->imds_ipv6 || !options->kms_ipv6 || !options->carriers_ipv6)
                return 0;
        fd = listen_on_ipv6(options->imds_ipv6, 80);
        if (fd < 0)
                return fail(fd, options->imds_ipv6);
        r = http_server_new(fd, platform_imds_handle, platform->imds, &platform->imds_server_ipv6);
        if (r < 0)
                return fail(r, "IMDS");
        fd = listen_on_ipv6(options->kms_ipv6, 443);
        if (fd < 0)
                return fail(fd, options->kms_ipv6);
        r = tls_front_new(fd, &platform->pki, platform->faults, SERVICE_KMS, platform->kms_server,
                          &platform->front_ipv6);
        if (r < 0)
                return fail(r, "TLS");
        fd = listen_on_ipv6(options->carriers_ipv6, 443);
        if (fd < 0)
                return fail(fd, options->carriers_ipv6);
        r = tls_front_new(fd, &platform->pki, platform->faults, SERVICE_CARRIERS, platform->carriers_server,
                          &platform->carriers_front_ipv6);
        return r < 0 ? fail(r, "TLS") : 0;
}

static int load_accounts(Platform *platform, const Options *options, struct json_object **ret) {
        _cleanup_free_ char *path = path_in(options->state, "accounts.json");
        _cleanup_free_ uint8_t *text = NULL;
        char reason[512] = "";
        size_t size;

        int r = read_file(path, ACCOUNTS_MAX, &text, &size);
        if (r >= 0)
                r = json_parse((const char *) text, size, ret);
        if (r >= 0)
                r = accounts_load(platform->accounts, *ret, reason);
        if (r < 0)
                fprintf(stderr, "unseald-platform: %s: %s\n", path, *reason ? reason : strerror(-r));
        return r;
}

static int start_imds(Platform *platform, const Options *options, struct json_object *description) {
        struct json_object *instance = json_member(description, "instance");
        const char *account = json_member_string(instance, "account"),
                   *role = json_member_string(instance, "role");
        const ImdsOptions imds_options = {
                .region = options->region,
                .instance_id = options->instance_id,
                .account = account ? account : "",
                .accounts = platform->accounts,
                .faults = platform->faults,
                .trail = platform->trail,
        };
        struct sockaddr_in address;

        int r = platform_imds_new(&imds_options, &platform->imds);
        if (r >= 0 && role)
                r = platform_imds_set_role(platform->imds, role);
        if (r < 0)
                return fail(r, "the instance's role");
        int fd = listen_on(options->imds_address, 80, &address);
        if (fd < 0)
                return fail(fd, options->imds_address);
        r = http_server_new(fd, platform_imds_handle, platform->imds, &platform->imds_server);
        return r < 0 ? fail(r, "IMDS") : 0;
}

static int make_certificates(Platform *platform, const Options *options) {
        _cleanup_free_ char *path = path_in(options->state, "ca.pem");
        static const char *const shapes[] = {
                "kms.%s.amazonaws.com",
                "kms-fips.%s.amazonaws.com",
                "kms.%s.api.aws",
                "kms-fips.%s.api.aws",
                "s3.%s.amazonaws.com",
                "*.s3.%s.amazonaws.com",
                "s3-fips.%s.amazonaws.com",
                "*.s3-fips.%s.amazonaws.com",
                "s3.dualstack.%s.amazonaws.com",
                "*.s3.dualstack.%s.amazonaws.com",
                "s3-fips.dualstack.%s.amazonaws.com",
                "*.s3-fips.dualstack.%s.amazonaws.com",
                "ssm.%s.amazonaws.com",
                "ssm-fips.%s.amazonaws.com",
                "ssm.%s.api.aws",
                "ssm-fips.%s.api.aws",
                "secretsmanager.%s.amazonaws.com",
                "secretsmanager-fips.%s.amazonaws.com",
                CARRIERS_FILES_HOST,
        };
        static const char *const others[] = { "kms.%s.amazonaws.com", "kms.%s.api.aws" };
        char names[ELEMENTSOF(shapes) + ELEMENTSOF(others)][128];
        const char *list[ELEMENTSOF(names) + 1] = {};

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                bool is_other = i >= ELEMENTSOF(shapes);
                const char *shape = is_other ? others[i - ELEMENTSOF(shapes)] : shapes[i];
                const char *region_at = strstr(shape, "%s");

                list[i] = shape;
                if (!region_at)
                        continue;
                snprintf(names[i], sizeof(names[i]), "%.*s%s%s", (int) (region_at - shape), shape,
                         is_other ? options->other_region : options->region, region_at + 2);
                list[i] = names[i];
        }
        int r = pki_make(&platform->seed, list, path, &platform->pki);
        return r < 0 ? fail(r, "certificates") : 0;
}

static int start_kms(Platform *platform, const Options *options) {
        const KmsOptions kms_options = {
                .region = options->region,
                .other_region = options->other_region,
                .accounts = platform->accounts,
                .attestor = platform->attestor,
                .faults = platform->faults,
                .trail = platform->trail,
                .seed = &platform->seed,
        };
        struct sockaddr_in address, relay_address;

        int r = options->seed ? seed_read(options->seed, &platform->seed) : 0;
        if (r < 0)
                return fail(r, options->seed);
        r = make_certificates(platform, options);
        if (r >= 0)
                r = platform_kms_new(&kms_options, &platform->kms);
        if (r >= 0)
                r = http_server_new(-1, platform_kms_handle, platform->kms, &platform->kms_server);
        if (r < 0)
                return fail(r, "KMS");
        platform_kms_set_rate(platform->kms, options->rate);

        int fd = listen_on(options->kms_address, 443, &address);
        if (fd < 0)
                return fail(fd, options->kms_address);
        r = tls_front_new(fd, &platform->pki, platform->faults, SERVICE_KMS, platform->kms_server,
                          &platform->front);
        if (r < 0)
                return fail(r, "TLS");
        fd = listen_on(options->relay_address, 443, &relay_address);
        if (fd < 0)
                return fail(fd, options->relay_address);
        r = relay_new(fd, &address, options->delay_msec, &platform->relay);
        return r < 0 ? fail(r, "relay") : 0;
}

static int start_carriers(Platform *platform, const Options *options, struct json_object *description) {
        const char *account = json_member_string(json_member(description, "instance"), "account");
        const CarriersOptions carriers_options = {
                .region = options->region,
                .account = account ? account : "",
                .accounts = platform->accounts,
                .faults = platform->faults,
                .trail = platform->trail,
        };
        struct sockaddr_in address, far_address;

        int r = carriers_new(&carriers_options, &platform->carriers);
        if (r >= 0)
                r = http_server_new(-1, carriers_handle, platform->carriers, &platform->carriers_server);
        if (r < 0)
                return fail(r, "carriers");
        int fd = listen_on(options->carriers_address, 443, &address);
        if (fd < 0)
                return fail(fd, options->carriers_address);
        r = tls_front_new(fd, &platform->pki, platform->faults, SERVICE_CARRIERS, platform->carriers_server,
                          &platform->carriers_front);
        if (r < 0)
                return fail(r, "TLS");
        fd = listen_on(options->far_carriers_address, 443, &far_address);
        if (fd < 0)
                return fail(fd, options->far_carriers_address);
        r = relay_new(fd, &address, options->delay_msec, &platform->carriers_relay);
        return r < 0 ? fail(r, "relay") : 0;
}

static int start_attestor(Platform *platform, const Options *options) {
        _cleanup_free_ char *root = path_in(options->state, "nitro-root.pem"),
                            *socket_path = path_in(options->state, "nsm.socket");

        int r = attestor_new(options->instance_id, options->region, root, &platform->attestor);
        if (r < 0)
                return fail(r, "attestor");
        platform->tpm_faults = (TpmFaults){ .attestor = platform->attestor, .faults = platform->faults };
        r = attestor_serve(platform->attestor, socket_path, tpm_faults_answer, &platform->tpm_faults);
        return r < 0 ? fail(r, socket_path) : 0;
}

static int start_control(Platform *platform, const Options *options) {
        _cleanup_free_ char *path = path_in(options->state, "control");
        const ControlTargets targets = {
                .accounts = platform->accounts,
                .carriers = platform->carriers,
                .faults = platform->faults,
                .imds = platform->imds,
                .kms = platform->kms,
                .relay = platform->relay,
                .carriers_relay = platform->carriers_relay,
        };

        int r = platform_control_new(path, &targets, &platform->control);
        return r < 0 ? fail(r, path) : 0;
}

static int start(Platform *platform, const Options *options) {
        _cleanup_free_ char *trail = path_in(options->state, "trail.jsonl");
        _cleanup_json_ struct json_object *description = NULL;
        int r;

        r = faults_new(&platform->faults);
        if (r >= 0)
                r = accounts_new(&platform->accounts);
        if (r < 0)
                return fail(r, "start");
        r = trail_new(trail, &platform->trail);
        if (r < 0)
                return fail(r, trail);
        r = load_accounts(platform, options, &description);
        if (r >= 0)
                r = start_attestor(platform, options);
        if (r >= 0)
                r = start_imds(platform, options, description);
        if (r >= 0)
                r = start_kms(platform, options);
        if (r >= 0)
                r = start_carriers(platform, options, description);
        if (r >= 0)
                r = start_ipv6(platform, options);
        return r < 0 ? r : start_control(platform, options);
}

/* The parent waits for a byte that says that the child is ready. Its exit status says whether the byte
 * came. */
static int go_to_background(int *ret_ready_fd) {
        int fds[2];
        char byte;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        pid_t pid = fork();
        if (pid < 0)
                return -errno;
        if (pid > 0) {
                close(fds[1]);
                _exit(read(fds[0], &byte, 1) == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
        }
        close(fds[0]);
        setsid();
        *ret_ready_fd = fds[1];
        return 0;
}

static int say_ready(const Options *options, int ready_fd) {
        _cleanup_free_ char *path = path_in(options->state, "server.pid");
        char text[32];
        int n = snprintf(text, sizeof(text), "%d\n", (int) getpid());

        int r = write_file_atomic(path, text, (size_t) n, 0644);
        if (r < 0)
                return fail(r, path);
        if (ready_fd >= 0) {
                int null = open("/dev/null", O_RDWR | O_CLOEXEC);
                dup2(null, STDIN_FILENO);
                dup2(null, STDOUT_FILENO);
                close(null);
                r = write_all(ready_fd, "", 1);
                close(ready_fd);
        }
        return r;
}

static int usage(void) {
        fprintf(stderr,
                "usage: unseald-platform --state DIR [--daemon] [--region REGION] [--other-region REGION]\n"
                "                        [--instance-id ID] [--imds ADDRESS]\n"
                "                        [--kms ADDRESS] [--relay ADDRESS] [--carriers ADDRESS]\n"
                "                        [--far-carriers ADDRESS] [--delay MSEC] [--rate N]\n"
                "                        [--imds-ipv6 ADDRESS --kms-ipv6 ADDRESS --carriers-ipv6 ADDRESS]\n"
                "       unseald-platform control SOCKET WORD...\n");
        return 2;
}

static bool read_options(int argc, char **argv, Options *options) {
        static const struct option names[] = {
                { "daemon", no_argument, NULL, 'D' },
                { "carriers", required_argument, NULL, 'c' },
                { "delay", required_argument, NULL, 'd' },
                { "far-carriers", required_argument, NULL, 'f' },
                { "imds", required_argument, NULL, 'i' },
                { "instance-id", required_argument, NULL, 'I' },
                { "kms", required_argument, NULL, 'k' },
                { "rate", required_argument, NULL, 'r' },
                { "region", required_argument, NULL, 'R' },
                { "other-region", required_argument, NULL, 'o' },
                { "relay", required_argument, NULL, 'l' },
                { "seed", required_argument, NULL, 'S' },
                { "state", required_argument, NULL, 's' },
                { "imds-ipv6", required_argument, NULL, '1' },
                { "kms-ipv6", required_argument, NULL, '2' },
                { "carriers-ipv6", required_argument, NULL, '3' },
                {},
        };
        int option;

        while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0)
                switch (option) {
                case '1':
                        options->imds_ipv6 = optarg;
                        break;
                case '2':
                        options->kms_ipv6 = optarg;
                        break;
                case '3':
                        options->carriers_ipv6 = optarg;
                        break;
                case 'c':
                        options->carriers_address = optarg;
                        break;
                case 'D':
                        options->daemon = true;
                        break;
                case 'd':
                        options->delay_msec = (unsigned) strtoul(optarg, NULL, 10);
                        break;
                case 'i':
                        options->imds_address = optarg;
                        break;
                case 'I':
                        options->instance_id = optarg;
                        break;
                case 'k':
                        options->kms_address = optarg;
                        break;
                case 'l':
                        options->relay_address = optarg;
                        break;
                case 'r':
                        options->rate = (unsigned) strtoul(optarg, NULL, 10);
                        break;
                case 'f':
                        options->far_carriers_address = optarg;
                        break;
                case 'o':
                        options->other_region = optarg;
                        break;
                case 'R':
                        options->region = optarg;
                        break;
                case 'S':
                        options->seed = optarg;
                        break;
                case 's':
                        options->state = optarg;
                        break;
                default:
                        return false;
                }
        return optind == argc && options->state;
}

int main(int argc, char **argv) {
        Options options = {
                .region = "eu-north-1",
                .other_region = "eu-west-1",
                .instance_id = "i-0123456789abcdef0",
                .imds_address = "169.254.169.254",
                .kms_address = "198.51.100.10",
                .relay_address = "198.51.100.20",
                .carriers_address = "198.51.100.30",
                .far_carriers_address = "198.51.100.40",
                .delay_msec = 10,
        };
        Platform platform = {};
        int ready_fd = -1, signal_number;
        sigset_t signals;

        if (argc >= 4 && strcmp(argv[1], "control") == 0)
                return platform_control_call(argv[2], argv + 3, (size_t) argc - 3);
        if (!read_options(argc, argv, &options))
                return usage();

        signal(SIGPIPE, SIG_IGN);
        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        pthread_sigmask(SIG_BLOCK, &signals, NULL);
        if (options.daemon && go_to_background(&ready_fd) < 0)
                return EXIT_FAILURE;

        int r = start(&platform, &options);
        if (r >= 0)
                r = say_ready(&options, ready_fd);
        if (r >= 0)
                sigwait(&signals, &signal_number);
        platform_clear(&platform);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
