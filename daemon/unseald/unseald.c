/* SPDX-License-Identifier: Apache-2.0 */

/* The daemon's main: options, configuration, event loop, exit status. */

#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "build-config.h"
#include "config/declaration.h"
#include "config/settings.h"
#include "memory/secret.h"
#include "unsealctl/check/in-force.h"
#include "unsealctl/check/check-system.h"
#include "unsealing/control.h"
#include "unsealing/session.h"
#include "unsealing/status-file.h"
#include "vault/fdstore.h"
#include "vault/kept.h"
#include "vault/socket.h"
#include "vault/store.h"

/* So much longer than DeadlineSec= systemd waits, for the last words. */
#define GRACE_USEC (15 * USEC_PER_SEC)

typedef struct Daemon {
        const char *vendor_config, *local_config, *store_path, *status_path;
        const char *root; /* of the system that is checked; NULL: this one */
        Settings settings;
        Declarations declarations;
        bool forget;
        bool print;
        bool check;
        Kept *kept;
        sd_event *event;
        Session *session;
        int listener; /* systemd's, for credentials; -1: none */
        CredentialSocket *socket;

        Control *control;       /* from READY on */
        Settings next_settings; /* of the reload that is under way */
        Declarations next_declarations;
} Daemon;

static void daemon_clear(Daemon *daemon) {
        (void) control_free(daemon->control);
        (void) credential_socket_free(daemon->socket);
        (void) session_free(daemon->session);
        (void) kept_free(daemon->kept);
        declarations_clear(&daemon->declarations);
        settings_clear(&daemon->settings);
        declarations_clear(&daemon->next_declarations);
        settings_clear(&daemon->next_settings);
        (void) sd_event_unref(daemon->event);
}

/* What the service manager gives us, and nothing that steers a library: no proxies, no OpenSSL configuration, no TLS
 * key log, no locale. */
static int clean_environment(void) {
        static const char *const kept[] = { "NOTIFY_SOCKET", "JOURNAL_STREAM", "INVOCATION_ID",
                                            "LISTEN_PID",    "LISTEN_FDS",     "LISTEN_FDNAMES",
                                            "WATCHDOG_PID",  "WATCHDOG_USEC",  "CREDENTIALS_DIRECTORY" };
        char *values[ELEMENTSOF(kept)] = {};
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(kept); i++) {
                const char *value = getenv(kept[i]);

                values[i] = value ? strdup(value) : NULL;
                if (value && !values[i])
                        r = -ENOMEM;
        }
        if (clearenv() != 0)
                r = -ENOMEM;
        /* tpm2-tss prints on standard error what we say better. */
        if (setenv("TSS2_LOG", "all+none", 1) < 0)
                r = -errno;
        for (size_t i = 0; i < ELEMENTSOF(kept); i++) {
                if (values[i] && setenv(kept[i], values[i], 1) < 0)
                        r = -errno;
                free(values[i]);
        }
        return r;
}

static void fail(const Error *error) {
        log_full(LOG_ERR,
                 &(LogFields){ .message_id = error->failure == FAILURE_CONFIGURATION ? MESSAGE_CONFIGURATION
                                                                                     : MESSAGE_FAILED,
                               .state = "failed",
                               .error = error },
                 "%s", error->text);
}

/* The last words: our exit status says the rest. */
static void say_failed(const Daemon *daemon, const Error *error) {
        (void) sd_notifyf(false, "STATUS=Failed: %s", error->text);
        if (failure_is_final(error->failure))
                credential_socket_shut(daemon->listener);
}

static void say_ready(const Daemon *daemon) {
        (void) sd_notifyf(false, "READY=1\nSTATUS=All required secrets are published.");
}

static void reload_failed(Daemon *daemon, const Error *error) {
        log_full(LOG_ERR,
                 &(LogFields){ .message_id = MESSAGE_NOT_RELOADED, .state = "unsealed", .error = error },
                 "The reload failed, and everything is as it was before: %s", error->text);
        declarations_clear(&daemon->next_declarations);
        settings_clear(&daemon->next_settings);
        (void) sd_notifyf(false, "READY=1\nSTATUS=Reload failed, and everything is as it was before: %s",
                          error->text);
        control_answer(daemon->control, error);
}

static void on_reload_ended(int r, const Error *error, void *userdata) {
        Daemon *daemon = userdata;

        if (r < 0) {
                /* We would wait for its thread, and so would who asks for a credential. It ends again when that has. */
                if (session_waits_for_tpm(daemon->session))
                        return;
                daemon->session = session_free(daemon->session);
                reload_failed(daemon, error);
                return;
        }

        daemon->session = session_free(daemon->session);
        declarations_clear(&daemon->declarations);
        settings_clear(&daemon->settings);
        daemon->declarations = TAKE(daemon->next_declarations, (Declarations){});
        daemon->settings = TAKE(daemon->next_settings, (Settings){});
        (void) malloc_trim(0);
        log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_RELOADED, .state = "unsealed" },
                 "Reloaded: %zu secret(s) declared, all required ones exchanged.",
                 daemon->declarations.count);
        say_ready(daemon);
        control_answer(daemon->control, NULL);
}

/* The configuration is read anew; where it is wrong nothing changes. */
static int reload(Daemon *daemon, Error *error) {
        SessionOptions options = {
                .settings = &daemon->next_settings,
                .declarations = &daemon->next_declarations,
                .replaced = &daemon->declarations,
                .kept = daemon->kept,
                .store_path = daemon->store_path,
                .status_path = daemon->status_path,
        };
        int r;

        if (kept_is_locked(daemon->kept))
                return error_set(
                                error, -EPERM, FAILURE_LOCKED,
                                "Locked until the next boot: with the PCR of LockPcr= extended, KMS gives nothing to this machine any more.");
        r = settings_read(daemon->vendor_config, daemon->local_config, &daemon->next_settings, error);
        if (r < 0)
                return r;
        if (daemon->next_settings.lock_pcr != daemon->settings.lock_pcr)
                return error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                                 "LockPcr= cannot be changed by a reload. Restart unseald.service.");
        r = declarations_read(daemon->vendor_config, daemon->local_config, &daemon->next_declarations,
                              error);
        if (r < 0)
                return r;
        (void) sd_notifyf(false, "EXTEND_TIMEOUT_USEC=%llu",
                          (unsigned long long) (daemon->next_settings.deadline_usec + GRACE_USEC));
        return session_new(daemon->event, &options, on_reload_ended, daemon, &daemon->session, error);
}

static void on_reload_asked(void *userdata) {
        Daemon *daemon = userdata;
        Error error = {};

        (void) sd_notify(false, "RELOADING=1");
        if (reload(daemon, &error) < 0)
                reload_failed(daemon, &error);
        else
                session_start(daemon->session);
}

/* Without it there is just no reload. */
static void offer_reload(Daemon *daemon) {
        int r = control_new(daemon->event, UNSEALD_RUNTIME_DIR "/control.sock", on_reload_asked, daemon,
                            &daemon->control);

        if (r < 0)
                log_warning("unsealctl reload will not work: %s", strerror(-r));
}

static void on_session_ended(int r, const Error *error, void *userdata) {
        Daemon *daemon = userdata;

        if (r < 0) {
                say_failed(daemon, error);
                /* A TPM that does not answer would keep us, and the status would be lost. The next start cleans up. */
                if (session_waits_for_tpm(daemon->session))
                        _exit((int) error->failure);
                (void) sd_event_exit(daemon->event, (int) error->failure);
                return;
        }

        daemon->session = session_free(daemon->session);
        if (daemon->socket)
                (void) credential_socket_open(daemon->socket);
        (void) malloc_trim(0);
        log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_READY, .state = "unsealed" },
                 "Ready: %zu secret(s) declared, all required ones published. The key pair is gone.",
                 daemon->declarations.count);
        if (fdstore_is_there())
                offer_reload(daemon);
        say_ready(daemon);
}

static int parse_options(int argc, char *argv[], Daemon *daemon) {
        enum {
                OPTION_VERSION = 256,
                OPTION_VENDOR,
                OPTION_LOCAL,
                OPTION_STORE,
                OPTION_STATUS,
                OPTION_FORGET,
                OPTION_PRINT,
                OPTION_CHECK,
                OPTION_ROOT
        };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, OPTION_VERSION },
                { "debug", no_argument, NULL, 'd' },
                { "vendor-configuration", required_argument, NULL, OPTION_VENDOR },
                { "configuration", required_argument, NULL, OPTION_LOCAL },
                { "store", required_argument, NULL, OPTION_STORE },
                { "status", required_argument, NULL, OPTION_STATUS },
                { "forget", no_argument, NULL, OPTION_FORGET },
                { "print-configuration", no_argument, NULL, OPTION_PRINT },
                { "check", no_argument, NULL, OPTION_CHECK },
                { "root", required_argument, NULL, OPTION_ROOT },
                {},
        };

        for (int c; (c = getopt_long(argc, argv, "hd", options, NULL)) >= 0;)
                switch (c) {
                case 'h':
                        printf("%s [OPTIONS...]\n\n"
                               "Unseal this machine's secrets by EC2 instance attestation.\n\n"
                               "  -h --help                      Show this help\n"
                               "     --version                   Show the version\n"
                               "  -d --debug                     Log more\n"
                               "     --vendor-configuration=DIR  Instead of %s\n"
                               "     --configuration=DIR         Instead of %s\n"
                               "     --store=DIR                 Instead of %s\n"
                               "     --status=FILE               Instead of %s/status.json\n"
                               "     --forget                    Only remove all that is published, and the status\n"
                               "     --print-configuration       Only show what is configured, and where\n"
                               "     --check                     Only show all mistakes in what is configured\n"
                               "     --root=DIR                  With --check: of the system in this directory\n\n"
                               "See unseald(8). It is started by unseald.service.\n",
                               program_invocation_short_name, UNSEALD_VENDOR_CONFIG_DIR,
                               UNSEALD_LOCAL_CONFIG_DIR, UNSEALD_STORE_DIR, UNSEALD_RUNTIME_DIR);
                        return 0;
                case OPTION_VERSION:
                        printf("unseald %s\n", UNSEALD_VERSION);
                        return 0;
                case 'd':
                        log_set_max_priority(LOG_DEBUG);
                        break;
                case OPTION_VENDOR:
                        daemon->vendor_config = optarg;
                        break;
                case OPTION_LOCAL:
                        daemon->local_config = optarg;
                        break;
                case OPTION_STORE:
                        daemon->store_path = optarg;
                        break;
                case OPTION_STATUS:
                        daemon->status_path = optarg;
                        break;
                case OPTION_FORGET:
                        daemon->forget = true;
                        break;
                case OPTION_PRINT:
                        daemon->print = true;
                        break;
                case OPTION_CHECK:
                        daemon->check = true;
                        break;
                case OPTION_ROOT:
                        daemon->root = optarg;
                        break;
                default:
                        return -EINVAL;
                }

        if (optind < argc) {
                fprintf(stderr, "%s: '%s' is one argument too many.\n", program_invocation_short_name,
                        argv[optind]);
                return -EINVAL;
        }
        if (daemon->root && !daemon->check) {
                fprintf(stderr, "%s: --root= goes with --check.\n", program_invocation_short_name);
                return -EINVAL;
        }
        return 1;
}

/* Who may have what. */
static int find_credential(const CredentialRequest *request, void *userdata, const char **ret_reason) {
        const Daemon *daemon = userdata;
        const Declaration *declaration = declarations_find(&daemon->declarations, request->credential);
        int fd;

        if (!declaration)
                *ret_reason = "no secret of that name is declared";
        else if (!declaration_admits(declaration, request->unit))
                *ret_reason = "the unit is not in Units= of the secret";
        else if ((fd = kept_find(daemon->kept, request->credential)) < 0)
                *ret_reason = "it could not be unsealed in this boot";
        else
                return fd;
        return -EACCES;
}

/* That of unseald.socket. */
static int find_listener(void) {
        int n = sd_listen_fds(0);

        for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++)
                if (sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) > 0)
                        return fd;
        return -1;
}

static int set_up(Daemon *daemon, Error *error) {
        SessionOptions options = {
                .settings = &daemon->settings,
                .declarations = &daemon->declarations,
                .store_path = daemon->store_path,
                .status_path = daemon->status_path,
        };
        int r;

        r = memory_protect_process(error);
        if (r < 0)
                return r;
        r = settings_read(daemon->vendor_config, daemon->local_config, &daemon->settings, error);
        if (r < 0)
                return r;
        r = declarations_read(daemon->vendor_config, daemon->local_config, &daemon->declarations, error);
        if (r < 0)
                return r;

        /* Whoever waits for us to end a deadline of our own must not give up before. */
        (void) sd_notifyf(false, "EXTEND_TIMEOUT_USEC=%llu",
                          (unsigned long long) (daemon->settings.deadline_usec + GRACE_USEC));

        /* It means "reload" to many a hand, and would end us, and what is kept with us. */
        (void) signal(SIGHUP, SIG_IGN);
        r = sd_event_default(&daemon->event);
        if (r >= 0)
                r = sd_event_add_signal(daemon->event, NULL, SIGTERM | SD_EVENT_SIGNAL_PROCMASK, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(daemon->event, NULL, SIGINT | SD_EVENT_SIGNAL_PROCMASK, NULL, NULL);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot set up the event loop: %s.",
                                 strerror(-r));
        if (daemon->listener >= 0)
                r = credential_socket_new(daemon->event, daemon->listener, find_credential, daemon,
                                          &daemon->socket);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot set up the credential socket: %s.",
                                 strerror(-r));

        r = kept_new(&daemon->kept);
        if (r < 0)
                return error_oom(error);
        options.kept = daemon->kept;
        return session_new(daemon->event, &options, on_session_ended, daemon, &daemon->session, error);
}

/* What was published is published no longer. */
static int withdraw(const Daemon *daemon) {
        _cleanup_(store_freep) Store *store = NULL;
        Error error = {};

        int r = status_withdraw(daemon->status_path);
        if (r < 0)
                log_warning("Cannot remove %s: %s", daemon->status_path, strerror(-r));
        if (store_open(daemon->store_path, &store, &error) < 0 || store_retain(store, NULL, 0, &error) < 0) {
                fail(&error);
                return (int) error.failure;
        }
        return 0;
}

static int print_configuration(Daemon *daemon) {
        Error error = {};

        if (settings_read(daemon->vendor_config, daemon->local_config, &daemon->settings, &error) < 0 ||
            declarations_read(daemon->vendor_config, daemon->local_config, &daemon->declarations, &error) <
                            0 ||
            configuration_print(stdout, daemon->vendor_config, daemon->local_config, &daemon->declarations,
                                &error) < 0) {
                fail(&error);
                return (int) error.failure;
        }
        return fflush(stdout) == 0 ? 0 : FAILURE_INTERNAL;
}

/* All paths lead to this directory then, links too. OpenSSL is to take no configuration, and no modules, from there. */
static int enter_root(const char *directory, Error *error) {
        (void) OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
        if (chdir(directory) < 0 ||
            (chroot(".") < 0 && (errno != EPERM || unshare(CLONE_NEWUSER) < 0 || chroot(".") < 0)))
                return error_set(error, -errno, FAILURE_INTERNAL, "%s cannot be made the root: %s.",
                                 directory, strerror(errno));
        return 0;
}

static int check(const Daemon *daemon) {
        _cleanup_(remarks_clear) Remarks remarks = {};
        Error error = {};

        if ((daemon->root && enter_root(daemon->root, &error) < 0) ||
            check_system(daemon->vendor_config, daemon->local_config, &remarks, &error) < 0) {
                fail(&error);
                return (int) error.failure;
        }
        for (size_t i = 0; i < remarks.count; i++)
                printf("%s: %s\n", remarks.items[i].mistake ? "Mistake" : "Warning", remarks.items[i].text);
        if (fflush(stdout) != 0)
                return FAILURE_INTERNAL;
        return remarks_mistakes(&remarks) > 0 ? FAILURE_CONFIGURATION : 0;
}

int main(int argc, char *argv[]) {
        _cleanup_(daemon_clear) Daemon daemon = {
                .vendor_config = UNSEALD_VENDOR_CONFIG_DIR,
                .local_config = UNSEALD_LOCAL_CONFIG_DIR,
                .store_path = UNSEALD_STORE_DIR,
                .status_path = UNSEALD_RUNTIME_DIR "/status.json",
                .listener = -1,
        };
        Error error = {};
        int r;

        /* One heap for all threads: less memory to lock. */
        (void) mallopt(M_ARENA_MAX, 1);
        r = clean_environment();
        if (r < 0)
                return FAILURE_INTERNAL;
        r = parse_options(argc, argv, &daemon);
        if (r <= 0)
                return r < 0 ? FAILURE_USAGE : 0;
        if (daemon.forget)
                return withdraw(&daemon);
        if (daemon.print)
                return print_configuration(&daemon);
        if (daemon.check)
                return check(&daemon);

        daemon.listener = find_listener();
        r = set_up(&daemon, &error);
        if (r < 0) {
                fail(&error);
                say_failed(&daemon, &error);
                (void) status_write(daemon.status_path,
                                    &(Status){ .state = "failed", .text = error.text, .error = &error });
                return (int) error.failure;
        }

        session_start(daemon.session);
        r = sd_event_loop(daemon.event);
        if (r < 0) {
                log_warning("The event loop failed: %s", strerror(-r));
                return FAILURE_INTERNAL;
        }
        if (r == 0) {
                (void) sd_notify(false, "STOPPING=1");
                /* A stop for good or one half of a restart: the service manager knows, and unseald-forget.service hears
                 * of the former. Without it there is nobody to keep anything. */
                if (!fdstore_is_there())
                        r = withdraw(&daemon);
        }
        return r;
}
