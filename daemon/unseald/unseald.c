/* SPDX-License-Identifier: Apache-2.0 */

/* The daemon's main: options, configuration, event loop, exit status. */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "basic/clock.h"
#include "basic/jitter.h"
#include "basic/log.h"
#include "basic/notify.h"
#include "basic/thread.h"
#include "build-config.h"
#include "config/declaration.h"
#include "config/settings.h"
#include "memory/secret.h"
#include "unsealing/control.h"
#include "unsealing/refresh.h"
#include "unsealing/session.h"
#include "unsealing/status-file.h"
#include "vault/callers.h"
#include "vault/fdstore.h"
#include "vault/kept.h"
#include "vault/socket.h"
#include "vault/store.h"

/* systemd waits for DeadlineSec= and this time more, so that unseald can still log and report its failure. */
#define GRACE_USEC (15 * USEC_PER_SEC)

/* After READY=1 could not be sent. */
#define READY_AGAIN_USEC USEC_PER_SEC
#define ALL_PUBLISHED "All required secrets are published."
#define LATE_TO_COME "All required secrets are published. Late ones are still to come."

typedef struct Daemon {
        const char *vendor_config, *local_config, *store_path, *status_path;
        char event_log_path[PATH_MAX]; /* beside the status */
        char sealed_path[PATH_MAX];    /* the ciphertexts of volumes' keys, likewise */
        Settings settings;
        Declarations declarations;
        bool forget;
        const char *verb, *root; /* of unsealctl, for hand_over(); NULL: none */
        Kept *kept;
        sd_event *event;
        Session *session;
        int listener; /* the credential socket that systemd listens on; -1: none */
        CredentialSocket *socket;
        Callers *callers; /* who waits for the outcome; NULL: it is known */

        Control *control;       /* NULL before READY=1 */
        Settings next_settings; /* of the reload in progress */
        Declarations next_declarations;

        Ciphertexts ciphertexts;  /* that were unsealed last */
        sd_event_source *refresh; /* NULL: no refresh is planned */
        bool refreshing; /* the session is a refresh: it has the declarations in force, not the next ones */
        bool reload_asked;       /* during a refresh that reloads already: a reload follows it */
        bool refresh_failing;    /* the last refresh could not fetch, and the journal says so */
        StatusRefresh refreshed; /* the outcome of the last refresh, for status.json */
        Error refresh_error;

        char ready[NOTIFY_STATUS_MAX]; /* the status that goes with READY=1 */
        sd_event_source *ready_again;  /* NULL: the service manager has READY=1, or waits for nothing */
} Daemon;

static void daemon_clear(Daemon *daemon) {
        (void) control_free(daemon->control);
        (void) credential_socket_free(daemon->socket);
        (void) session_free(daemon->session);
        (void) callers_free(daemon->callers);
        (void) kept_free(daemon->kept);
        declarations_clear(&daemon->declarations);
        settings_clear(&daemon->settings);
        declarations_clear(&daemon->next_declarations);
        settings_clear(&daemon->next_settings);
        ciphertexts_clear(&daemon->ciphertexts);
        (void) sd_event_source_disable_unref(daemon->refresh);
        (void) sd_event_source_disable_unref(daemon->ready_again);
        (void) sd_event_unref(daemon->event);
        /* A TPM command that is cut off leaves a key or a session in the TPM. */
        threads_finish(THREADS_FINISH_USEC);
}

/* Keeps the variables that the service manager sets and removes all others. A library must not take proxies, an OpenSSL
 * configuration, a TLS key log or a locale from the environment. */
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
        /* tpm2-tss prints its errors on standard error. Our own messages cover them. */
        if (setenv("TSS2_LOG", "all+none", 1) < 0)
                r = -errno;
        for (size_t i = 0; i < ELEMENTSOF(kept); i++) {
                if (values[i] && setenv(kept[i], values[i], 1) < 0)
                        r = -errno;
                free(values[i]);
        }
        return r;
}

static const char *message_of(const Error *error) {
        return error->failure == FAILURE_CONFIGURATION ? MESSAGE_CONFIGURATION : MESSAGE_FAILED;
}

static void fail(const Error *error) {
        log_full(LOG_ERR, &(LogFields){ .message_id = message_of(error), .state = "failed", .error = error },
                 "%s", error->text);
}

/* Tells the service manager why unseald ends. A final failure also closes the credential socket, so that waiting units fail
 * and do not start unseald again. */
static void say_failed(const Daemon *daemon, const Error *error) {
        notify_status("Failed: %s", error->text);
        if (failure_is_final(error->failure))
                credential_socket_shut(daemon->listener);
}

static int on_ready_again(sd_event_source *source, uint64_t usec, void *userdata);

static int send_ready(Daemon *daemon) {
        int r = notify_ready("%s", daemon->ready), q;

        daemon->ready_again = sd_event_source_disable_unref(daemon->ready_again);
        if (r >= 0)
                return 0;
        q = sd_event_add_time_relative(daemon->event, &daemon->ready_again, CLOCK_MONOTONIC,
                                       READY_AGAIN_USEC, 0, on_ready_again, daemon);
        return q < 0 ? q : r;
}

static int on_ready_again(sd_event_source *source, uint64_t usec, void *userdata) {
        (void) send_ready(userdata);
        return 0;
}

/* A message can be lost where there is no memory or no descriptor. Without READY=1 the service manager would take a reload for one
 * that never ends, so the message is sent until it arrives. */
_printf_(2, 3) static void say_ready(Daemon *daemon, const char *format, ...) {
        va_list arguments;
        int r;

        va_start(arguments, format);
        (void) vsnprintf(daemon->ready, sizeof(daemon->ready), format, arguments);
        va_end(arguments);
        r = send_ready(daemon);
        if (r < 0)
                log_warning("The service manager cannot be told that unseald is ready: %s. unseald tries again each second.",
                            strerror(-r));
}

static void say_reloading(Daemon *daemon) {
        daemon->ready_again = sd_event_source_disable_unref(daemon->ready_again);
        notify_reloading();
}

static void plan_refresh(Daemon *daemon);

static void reload_failed(Daemon *daemon, const Error *error) {
        log_full(LOG_ERR,
                 &(LogFields){ .message_id = MESSAGE_NOT_RELOADED, .state = "unsealed", .error = error },
                 "The reload failed, and everything is as it was before: %s", error->text);
        declarations_clear(&daemon->next_declarations);
        settings_clear(&daemon->next_settings);
        say_ready(daemon, "Reload failed, and everything is as it was before: %s", error->text);
        if (!daemon->refreshing)
                control_answer(daemon->control, error);
}

/* The session has told its end. Returns whether it goes on with the messages of late secrets, with the configuration in force. */
static bool session_goes_on(Daemon *daemon) {
        if (session_is_late(daemon->session)) {
                session_settle(daemon->session, &daemon->settings, &daemon->declarations);
                return true;
        }
        daemon->session = session_free(daemon->session);
        return false;
}

static void on_late_ended(void *userdata) {
        Daemon *daemon = userdata;

        daemon->session = session_free(daemon->session);
        (void) malloc_trim(0);
        notify_status("%s", ALL_PUBLISHED);
        plan_refresh(daemon);
}

static void report_reloaded(Daemon *daemon, const Error *unpublished) {
        log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_RELOADED, .state = "unsealed" },
                 "Reloaded: %zu secret(s) declared, all required ones exchanged.",
                 daemon->declarations.count);
        if (unpublished->failure == FAILURE_NONE)
                say_ready(daemon, "%s", daemon->session ? LATE_TO_COME : ALL_PUBLISHED);
        else
                say_ready(daemon, "Reloaded, but the files in the store are not all the new ones: %s",
                          unpublished->text);
}

static void on_reload_ended(int r, const Error *error, void *userdata) {
        Daemon *daemon = userdata;
        Error unpublished;

        if (r < 0) {
                daemon->session = session_free(daemon->session);
                reload_failed(daemon, error);
                plan_refresh(daemon);
                return;
        }

        unpublished = *session_unpublished(daemon->session);
        declarations_clear(&daemon->declarations);
        settings_clear(&daemon->settings);
        daemon->declarations = TAKE(daemon->next_declarations, (Declarations){});
        daemon->settings = TAKE(daemon->next_settings, (Settings){});
        if (!session_goes_on(daemon))
                plan_refresh(daemon);
        (void) malloc_trim(0);
        report_reloaded(daemon, &unpublished);
        control_answer(daemon->control, NULL);
}

/* Reads the configuration again and starts a session with it. A mistake in the configuration changes nothing. */
static int reload(Daemon *daemon, Error *error) {
        SessionOptions options = {
                .settings = &daemon->next_settings,
                .declarations = &daemon->next_declarations,
                .replaced = &daemon->declarations,
                .ciphertexts = &daemon->ciphertexts,
                .late_ended = on_late_ended,
                .kept = daemon->kept,
                .store_path = daemon->store_path,
                .status_path = daemon->status_path,
                .event_log_path = daemon->event_log_path,
                .labels = { .labels = UNSEALD_LABELS_DIR, .sealed = daemon->sealed_path },
        };
        int r;

        if (kept_is_locked(daemon->kept))
                return error_set(
                                error, -EPERM, FAILURE_LOCKED,
                                "Locked until the next boot: the PCR of LockPcr= is extended, so KMS releases nothing to this machine any more. Reboot to unseal again.");
        r = settings_read(daemon->vendor_config, daemon->local_config, &daemon->next_settings, error);
        if (r < 0)
                return r;
        if (daemon->next_settings.lock_pcr != daemon->settings.lock_pcr)
                return error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                                 "A reload cannot change LockPcr=. Restart unseald.service.");
        r = declarations_read(daemon->vendor_config, daemon->local_config, &daemon->next_declarations,
                              error);
        if (r >= 0)
                r = declarations_judge(&daemon->next_declarations, &daemon->next_settings, NULL, NULL,
                                       error);
        if (r < 0)
                return r;
        notify_extend_timeout(daemon->next_settings.deadline_usec + GRACE_USEC);
        return session_new(daemon->event, &options, on_reload_ended, daemon, &daemon->session, error);
}

/* A reload would have to begin the messages anew that are being decrypted. */
static void refuse_reload(Daemon *daemon) {
        Error error;

        (void) error_set(
                        &error, -EBUSY, FAILURE_LATE,
                        "Not reloaded, because late secrets (Late=) are still to come. Wait for them with \"unsealctl status --wait --late\", then reload again; or restart unseald.service, which continues with them and reads the configuration again.");
        log_full(LOG_WARNING,
                 &(LogFields){ .message_id = MESSAGE_NOT_RELOADED, .state = "unsealed", .error = &error },
                 "%s", error.text);
        control_answer(daemon->control, &error);
}

/* A reload takes the place of a refresh that only fetches: it fetches everything itself. It waits for a refresh that unseals,
 * since that may be past the point of no return. */
static void on_reload_asked(void *userdata) {
        Daemon *daemon = userdata;
        Error error = {};

        if (daemon->refreshing && !session_is_unchanged(daemon->session)) {
                daemon->reload_asked = true;
                return;
        }
        daemon->refreshing = daemon->reload_asked = false;
        if (daemon->session && session_is_late(daemon->session)) {
                refuse_reload(daemon);
                return;
        }
        daemon->session = session_free(daemon->session);
        say_reloading(daemon);
        if (reload(daemon, &error) < 0) {
                reload_failed(daemon, &error);
                plan_refresh(daemon);
        } else
                session_start(daemon->session);
}

/* Records how a refresh ended. plan_refresh() writes it into the status file. */
static void refresh_ended(Daemon *daemon, const char *how, const Error *error) {
        daemon->refresh_error = error ? *error : (Error){};
        daemon->refreshed = (StatusRefresh){ .last = how,
                                             .last_usec = now_monotonic_usec(),
                                             .error = &daemon->refresh_error };
}

/* Refresh=: from time to time a session fetches all ciphertexts, and reloads if one has changed. The configuration is the one in
 * force. */

static void on_refresh_changed(void *userdata) {
        Daemon *daemon = userdata;

        daemon->refresh_failing = false;
        say_reloading(daemon);
        notify_extend_timeout(daemon->settings.deadline_usec + GRACE_USEC);
}

/* Nothing was reloaded: all ciphertexts are as before, or one could not be fetched. */
static void report_unchanged(Daemon *daemon, int r, const Error *error) {
        char interval[DURATION_STRING_MAX];

        if (r < 0)
                log_full(daemon->refresh_failing ? LOG_DEBUG : LOG_WARNING,
                         &(LogFields){ .message_id = MESSAGE_NOT_REFRESHED,
                                       .state = "unsealed",
                                       .error = error },
                         "Refresh=%s cannot find out whether a ciphertext has changed, and the published secrets stay: %s unseald tries again at each interval; this message comes once until a refresh succeeds.",
                         format_duration(daemon->settings.refresh_usec, interval), error->text);
        else
                log_debug("Refresh: no ciphertext has changed.");
        daemon->refresh_failing = r < 0;
        refresh_ended(daemon, r < 0 ? "failed" : "unchanged", r < 0 ? error : NULL);
}

static void on_refresh_ended(int r, const Error *error, void *userdata) {
        Daemon *daemon = userdata;
        bool unchanged = session_is_unchanged(daemon->session), goes_on;
        Error unpublished;

        unpublished = *session_unpublished(daemon->session);
        goes_on = session_goes_on(daemon);
        (void) malloc_trim(0);
        if (unchanged)
                report_unchanged(daemon, r, error);
        else if (r < 0) {
                reload_failed(daemon, error);
                refresh_ended(daemon, "failed", error);
        } else {
                report_reloaded(daemon, &unpublished);
                refresh_ended(daemon, "reloaded", NULL);
        }
        daemon->refreshing = false;
        if (daemon->reload_asked)
                on_reload_asked(daemon);
        else if (!goes_on)
                plan_refresh(daemon);
}

static int on_refresh(sd_event_source *source, uint64_t usec, void *userdata) {
        Daemon *daemon = userdata;
        const SessionOptions options = {
                .settings = &daemon->settings,
                .declarations = &daemon->declarations,
                .replaced = &daemon->declarations,
                .ciphertexts = &daemon->ciphertexts,
                .changed = on_refresh_changed,
                .late_ended = on_late_ended,
                .kept = daemon->kept,
                .store_path = daemon->store_path,
                .status_path = daemon->status_path,
                .event_log_path = daemon->event_log_path,
                .labels = { .labels = UNSEALD_LABELS_DIR, .sealed = daemon->sealed_path },
        };
        Error error = {};

        if (daemon->session) /* a reload or late secrets, which plan the next refresh when they end */
                return 0;
        if (session_new(daemon->event, &options, on_refresh_ended, daemon, &daemon->session, &error) < 0) {
                report_unchanged(daemon, -EIO, &error);
                plan_refresh(daemon);
                return 0;
        }
        daemon->refreshing = true;
        session_start(daemon->session);
        return 0;
}

/* The settings may be new, so an earlier plan is dropped. */
static void plan_refresh(Daemon *daemon) {
        uint64_t interval = daemon->settings.refresh_usec, delay;
        int r;

        daemon->refresh = sd_event_source_disable_unref(daemon->refresh);
        if (interval == 0)
                return;
        delay = refresh_delay_usec(interval, jitter_random());
        r = sd_event_add_time_relative(daemon->event, &daemon->refresh, CLOCK_MONOTONIC, delay, USEC_PER_SEC,
                                       on_refresh, daemon);
        if (r < 0) {
                log_warning("Refresh= does not work: cannot set a timer: %s. Reload unseald.service to try again.",
                            strerror(-r));
                return;
        }
        daemon->refreshed.interval_usec = interval;
        daemon->refreshed.next_usec = now_monotonic_usec() + delay;
        r = status_set_refresh(daemon->status_path, &daemon->refreshed);
        if (r < 0)
                log_debug("Cannot write the refresh into %s: %s.", daemon->status_path, strerror(-r));
}

/* Listens for unsealctl reload. A failure leaves the published secrets alone, so it is only a warning. */
static void offer_reload(Daemon *daemon) {
        static const char path[] = UNSEALD_RUNTIME_DIR "/control.sock";
        int r = control_new(daemon->event, path, on_reload_asked, daemon, &daemon->control);

        if (r < 0)
                log_warning("unsealctl reload will not work: cannot listen on %s: %s. Restart unseald.service to try again.",
                            path, strerror(-r));
}

static void on_session_ended(int r, const Error *error, void *userdata) {
        Daemon *daemon = userdata;
        bool goes_on;

        if (r < 0) {
                say_failed(daemon, error);
                /* The TPM's thread is still running, so nothing may be freed any more. The next start removes what stays in the
                 * TPM. */
                if (session_waits_for_tpm(daemon->session))
                        _exit((int) error->failure);
                (void) sd_event_exit(daemon->event, (int) error->failure);
                return;
        }

        goes_on = session_goes_on(daemon);
        daemon->callers = callers_free(daemon->callers);
        if (daemon->socket)
                (void) credential_socket_open(daemon->socket);
        (void) malloc_trim(0);
        log_full(LOG_INFO, &(LogFields){ .message_id = MESSAGE_READY, .state = "unsealed" },
                 "Ready: %zu secret(s) declared, all required ones published. The key pair is gone.",
                 daemon->declarations.count);
        if (fdstore_is_there())
                offer_reload(daemon);
        if (!goes_on)
                plan_refresh(daemon);
        say_ready(daemon, "%s", goes_on ? LATE_TO_COME : ALL_PUBLISHED);
}

static void print_help(void) {
        printf("%s [OPTIONS…]\n\n"
               "Unseal this machine's secrets by EC2 instance attestation. unseald.service\n"
               "starts this program.\n\n"
               "  -h --help                      Show this help\n"
               "     --version                   Show the version\n"
               "  -d --debug                     Log more\n"
               "     --vendor-configuration=DIR  Read this in place of %s\n"
               "     --configuration=DIR         Read this in place of %s\n"
               "     --store=DIR                 Publish here, not in %s\n"
               "     --status=FILE               Write this, not %s/status.json\n"
               "     --forget                    Remove all published secrets\n\n"
               "See unseald(8). To check or print the configuration: unsealctl check,\n"
               "unsealctl cat-config.\n",
               program_invocation_short_name, UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR,
               UNSEALD_STORE_DIR, UNSEALD_RUNTIME_DIR);
}

/* The path of a program in the directory of this one. In a build directory all programs lie side by side. */
static int find_beside(const char *name, char ret[static PATH_MAX]) {
        ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX);
        char *slash;

        if (n < 0)
                return -errno;
        if (n >= PATH_MAX)
                return -ENAMETOOLONG;
        ret[n] = 0;
        slash = strrchr(ret, '/');
        if (!slash || (size_t) (slash + 1 - ret) + strlen(name) >= PATH_MAX)
                return -ENAMETOOLONG;
        (void) strcpy(slash + 1, name);
        return 0;
}

/* --check and --print-configuration were options of this program until 0.1. For one release they still work: this executes
 * the verb of unsealctl that has taken their place, with the options that it takes. Returns only on failure. */
static int hand_over(const Daemon *daemon) {
        static const char program[] = UNSEALD_BINDIR "/unsealctl";
        char beside[PATH_MAX];
        const char *arguments[] = {
                "unsealctl",
                daemon->verb,
                "--vendor-configuration",
                daemon->vendor_config,
                "--configuration",
                daemon->local_config,
                daemon->root ? "--root" : NULL,
                daemon->root,
                NULL,
        };

        fprintf(stderr,
                "%s: This option is now the verb \"unsealctl %s\". Call that instead: the next release removes the option.\n",
                program_invocation_short_name, daemon->verb);
        (void) execv(program, (char *const *) arguments);
        if (errno == ENOENT && find_beside("unsealctl", beside) >= 0)
                (void) execv(beside, (char *const *) arguments);
        fprintf(stderr, "%s: Cannot execute %s: %s.\n", program_invocation_short_name, program,
                strerror(errno));
        return FAILURE_INTERNAL;
}

/* Returns 1 to go on, 0 when all is done, or a negative errno after the reason is on standard error. */
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
                        print_help();
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
                        daemon->verb = "cat-config";
                        break;
                case OPTION_CHECK:
                        daemon->verb = "check";
                        break;
                case OPTION_ROOT:
                        daemon->root = optarg;
                        break;
                default:
                        return -EINVAL;
                }

        if (optind < argc) {
                fprintf(stderr,
                        "%s: Unexpected argument '%s'. This program takes only options; see --help.\n",
                        program_invocation_short_name, argv[optind]);
                return -EINVAL;
        }
        if (daemon->root && !daemon->verb) {
                fprintf(stderr, "%s: --root= works only together with --check.\n",
                        program_invocation_short_name);
                return -EINVAL;
        }
        return 1;
}

/* Fills in the default paths. They belong to unseald.service: a process that root starts by hand would overwrite the status
 * of the live service and publish over its secrets. Only a Type=notify service has NOTIFY_SOCKET=, so without it both paths
 * must be given. --forget changes the same files, and on purpose. */
static int choose_paths(Daemon *daemon) {
        bool own = daemon->store_path && daemon->status_path;
        const char *slash;

        daemon->store_path = daemon->store_path ?: UNSEALD_STORE_DIR;
        daemon->status_path = daemon->status_path ?: UNSEALD_RUNTIME_DIR "/status.json";
        slash = strrchr(daemon->status_path, '/');
        (void) snprintf(daemon->event_log_path, sizeof(daemon->event_log_path), "%.*smeasurements.cel",
                        slash ? (int) (slash + 1 - daemon->status_path) : 0, daemon->status_path);
        (void) snprintf(daemon->sealed_path, sizeof(daemon->sealed_path), "%.*ssealed",
                        slash ? (int) (slash + 1 - daemon->status_path) : 0, daemon->status_path);
        if (own || daemon->forget || getenv("NOTIFY_SOCKET"))
                return 0;
        fprintf(stderr,
                "%s: Not started: no service manager has started this process (NOTIFY_SOCKET= is not set), and it would overwrite the secrets or the status of unseald.service in %s. Run \"systemctl start unseald.service\", or give places of your own with both --store= and --status=.\n",
                program_invocation_short_name, UNSEALD_RUNTIME_DIR);
        return -EPERM;
}

/* The declarations of the secrets that are kept now. From the point of no return of a reload on, those are the new ones. */
static const Declarations *current_declarations(const Daemon *daemon) {
        return daemon->session && !daemon->refreshing && session_has_replaced(daemon->session)
                               ? &daemon->next_declarations
                               : &daemon->declarations;
}

/* Finds the place of a member in the kept bundle. Returns false if the bundle has no such member. */
static bool find_member(const Daemon *daemon, const Declaration *bundle, const Declaration *member,
                        CredentialPlace *place) {
        size_t count;
        const ManifestMember *members = kept_members(daemon->kept, bundle->name, &count),
                             *found = manifest_find_member(members, count, member->member);

        if (!found)
                return false;
        place->offset = found->offset;
        place->size = found->size;
        return true;
}

/* Decides whether the unit gets the credential: a descriptor of daemon->kept, or -EACCES and the reason for the journal. */
static int find_credential(const CredentialRequest *request, void *userdata, CredentialPlace *ret,
                           const char **ret_reason) {
        const Daemon *daemon = userdata;
        const Declarations *declarations = current_declarations(daemon);
        const Declaration *declaration = declarations_find_credential(declarations, request->credential),
                          *bundle = declaration && declaration->member
                                                    ? declarations_bundle_of(declarations, declaration)
                                                    : NULL;
        CredentialPlace place = { .size = UINT64_MAX };

        if (!declaration)
                *ret_reason = declarations_find(declarations, request->credential)
                                              ? "it is a bundle, and units get its members: the credential is BUNDLE.MEMBER"
                                              : "no secret of that name is declared";
        else if (!declaration_admits(declaration, request->unit))
                *ret_reason = "the unit is not in Units= of the secret";
        else if (kept_find(daemon->kept, declaration->name) < 0 && declaration->late)
                *ret_reason = "it is a late secret (Late=) that is not there yet: order the unit after unsealed-late.target, and read the file in the store";
        else if ((place.fd = kept_find(daemon->kept, bundle ? bundle->name : declaration->name)) < 0)
                *ret_reason = "the secret could not be unsealed in this boot, or a reload has withdrawn it (VerifyPolicy=yes)";
        else if (bundle && !find_member(daemon, bundle, declaration, &place))
                *ret_reason = "the bundle lacks this member, which is optional";
        else {
                *ret = place;
                return 0;
        }
        return -EACCES;
}

/* Finds the socket of unseald.socket among the descriptors that systemd passes (sd_listen_fds(3)). */
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
                .ciphertexts = &daemon->ciphertexts,
                .late_ended = on_late_ended,
                .store_path = daemon->store_path,
                .status_path = daemon->status_path,
                .event_log_path = daemon->event_log_path,
                .labels = { .labels = UNSEALD_LABELS_DIR, .sealed = daemon->sealed_path },
        };
        int r;

        r = memory_protect_process(error);
        if (r < 0)
                return r;
        r = settings_read(daemon->vendor_config, daemon->local_config, &daemon->settings, error);
        if (r < 0)
                return r;
        r = declarations_read(daemon->vendor_config, daemon->local_config, &daemon->declarations, error);
        if (r >= 0)
                r = declarations_judge(&daemon->declarations, &daemon->settings, NULL, NULL, error);
        if (r < 0)
                return r;

        /* unseald ends by itself at DeadlineSec=. TimeoutStartSec= of the unit must not end it earlier. */
        notify_extend_timeout(daemon->settings.deadline_usec + GRACE_USEC);

        /* People send SIGHUP to reload a daemon. Its default action would end unseald and lose the kept secrets. */
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
                r = credential_socket_new(daemon->event, daemon->listener, CREDENTIAL_PATIENCE_USEC,
                                          find_credential, daemon, &daemon->socket);
        if (r >= 0 && daemon->listener >= 0)
                r = callers_new(daemon->event, daemon->listener, &daemon->callers);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot set up the credential socket: %s.",
                                 strerror(-r));

        r = kept_new(daemon->event, &daemon->kept);
        if (r < 0)
                return error_oom(error);
        options.kept = daemon->kept;
        options.callers = daemon->callers;
        return session_new(daemon->event, &options, on_session_ended, daemon, &daemon->session, error);
}

/* Removes the status and every published secret. */
static int withdraw(const Daemon *daemon) {
        _cleanup_(store_freep) Store *store = NULL;
        Error error = {};

        int r = status_set_stopped(daemon->status_path);
        if (r < 0)
                log_warning("Cannot write %s: %s. It is removed, and \"unsealctl status\" asks the service manager instead.",
                            daemon->status_path, strerror(-r));
        if (store_open(daemon->store_path, &store, &error) < 0 || store_retain(store, NULL, 0, &error) < 0) {
                fail(&error);
                return (int) error.failure;
        }
        return 0;
}

int main(int argc, char *argv[]) {
        _cleanup_(daemon_clear) Daemon daemon = {
                .vendor_config = UNSEALD_VENDOR_CONFIG_DIR,
                .local_config = UNSEALD_LOCAL_CONFIG_DIR,
                .listener = -1,
        };
        Error error = {};
        int r;

        /* One heap for all threads leaves less memory to lock. */
        (void) mallopt(M_ARENA_MAX, 1);
        r = clean_environment();
        if (r < 0)
                return FAILURE_INTERNAL;
        r = parse_options(argc, argv, &daemon);
        if (r <= 0)
                return r < 0 ? FAILURE_USAGE : 0;
        if (daemon.verb)
                return hand_over(&daemon);
        if (choose_paths(&daemon) < 0)
                return FAILURE_USAGE;
        if (daemon.forget)
                return withdraw(&daemon);

        daemon.listener = find_listener();
        r = set_up(&daemon, &error);
        if (r < 0) {
                fail(&error);
                say_failed(&daemon, &error);
                (void) status_write(daemon.status_path, &(Status){ .state = "failed",
                                                                   .text = error.text,
                                                                   .error = &error,
                                                                   .message_id = message_of(&error) });
                return (int) error.failure;
        }

        session_start(daemon.session);
        r = sd_event_loop(daemon.event);
        if (r < 0) {
                log_warning("The event loop failed: %s.", strerror(-r));
                return FAILURE_INTERNAL;
        }
        if (r == 0) {
                notify_stopping();
                /* A stop and a restart look the same here. The service manager knows, and it stops unseald-forget.service
                 * only after a final stop. Without a service manager nothing keeps the secrets, so they are removed now. */
                if (!fdstore_is_there())
                        r = withdraw(&daemon);
        }
        return r;
}
