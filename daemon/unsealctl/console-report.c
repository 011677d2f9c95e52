/* SPDX-License-Identifier: Apache-2.0 */

/*
 * unsealctl report says on one screen or two why unsealing failed, or for what it waits, and what to do. It is for the console of
 * a machine to which nobody logs in, so it prints the explanations themselves and no command that leads to them. First comes what
 * unseald wrote into status.json, then what doctor finds, within a limit of time. The report has at most REPORT_LINES lines.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/clock.h"
#include "basic/error.h"
#include "basic/io.h"
#include "basic/json.h"
#include "basic/limits.h"
#include "basic/text.h"
#include "build-config.h"
#include "unsealctl/ctl.h"
#include "unsealctl/doctor/doctor.h"
#include "unsealing/failure-report.h"

#define REPORT_LINES 60U
/* The value of a PCR with its indentation is a line. */
#define REPORT_COLUMNS 110U
#define DOCTOR_OUTPUT_MAX (1024U * 1024U)
/* Bytes of a time in microseconds, in decimal, and of a word */
#define MARK_MAX 32U

/* The explanation must leave room for what doctor finds, and one secret must not push out the other parts. */
#define CATALOG_LINES 30U
#define SECRETS_MAX 4U

typedef struct Options {
        const char *status_path, *vendor_config, *local_config, *store_path, *timeout;
        bool json, quiet, with_doctor;
} Options;

/* How many lines are left. */
static unsigned lines_left;

static void print_line(const char *text, size_t length) {
        if (lines_left == 0)
                return;
        if (--lines_left == 0)
                puts("[…] The report has more than 60 lines. The rest is left out.");
        else
                printf("%.*s\n", (int) length, text);
}

/* Prints a paragraph, wrapped, with every line indented. Texts may quote a server, so control characters are replaced. */
static void print_wrapped(const char *indent, const char *paragraph) {
        _cleanup_free_ char *text = strdup(paragraph);
        size_t room = REPORT_COLUMNS - strlen(indent);
        char line[512];

        for (char *p = text ? text_clean(text) : NULL; p && *p;) {
                size_t length = strlen(p), end = length;

                if (length > room) {
                        for (end = room; end > 0 && p[end] != ' ';)
                                end--;
                        if (end == 0) /* a word that is longer than a line stays whole */
                                end = strcspn(p, " ");
                }
                (void) snprintf(line, sizeof(line), "%s%.*s", indent, (int) end, p);
                print_line(line, strlen(line));
                p += end + strspn(p + end, " ");
        }
}

/* Which of the causes that the catalog's text of a wait lists (" - Network: …") belong to the failure that is known. NULL: all. */
static const char *causes_of(Failure failure) {
        switch (failure) {
        case FAILURE_TPM:
                return "TPM";
        case FAILURE_IMDS:
                return "Network Role";
        case FAILURE_ROLE:
                return "Role";
        case FAILURE_NETWORK:
                return "Network";
        case FAILURE_CLOCK:
                return "Clock";
        default:
                return NULL;
        }
}

/* Whether the line and those that follow belong to one of these causes. A line that begins no cause changes nothing. */
static bool is_wanted(const char *line, const char *causes, bool before) {
        _cleanup_free_ char *name = NULL;

        if (*line == '\0')
                return true;
        if (!causes || strncmp(line, " - ", 3) != 0)
                return before;
        name = strndup(line + 3, strcspn(line + 3, ":\n"));
        return !name || strstr(causes, name);
}

/* Prints lines as they are, each wrapped. causes: of a list of causes, only these; NULL: all. */
static void print_text(const char *indent, const char *text, const char *causes, unsigned maximum) {
        bool wanted = true;

        for (unsigned i = 0; *text && i < maximum; i++) {
                size_t length = strcspn(text, "\n");

                _cleanup_free_ char *line = strndup(text, length);

                wanted = is_wanted(text, causes, wanted);
                if (!line || *line == '\0')
                        print_line("", 0);
                else if (wanted)
                        print_wrapped(indent, line);
                text += length + (text[length] == '\n');
        }
}

static const char *member(struct json_object *object, const char *name) {
        return json_member_string(object, name) ?: "";
}

/* Removes the sentences that name a command for this machine: nobody can log in to run it. */
static char *remove_commands(char *text) {
        static const char *const commands[] = { "systemctl ",       "journalctl ",      "timedatectl",
                                                "unsealctl status", "unsealctl doctor", "unsealctl reload" };
        char *to = text;

        for (char *from = text; from && *from;) {
                const char *end = strstr(from, ". ");
                size_t length = end ? (size_t) (end - from) + 2 : strlen(from);
                bool named = false;

                for (size_t i = 0; i < ELEMENTSOF(commands); i++)
                        named |= memmem(from, length, commands[i], strlen(commands[i])) != NULL;
                if (!named) {
                        memmove(to, from, length);
                        to += length;
                }
                from += length;
        }
        if (to)
                *to = '\0';
        return text;
}

_printf_(2, 3) static void say(const char *indent, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list arguments;

        va_start(arguments, format);
        if (vasprintf(&text, format, arguments) < 0)
                text = NULL;
        va_end(arguments);
        print_wrapped(indent, text ?: "Out of memory.");
}

/* "Kind of failure: access-denied (AccessDeniedException), request 4711" */
static void say_names(const char *indent, struct json_object *object) {
        const char *code = member(object, "code"), *request = member(object, "request_id");

        if (*member(object, "failure"))
                say(indent, "Kind of failure: %s%s%s%s%s%s", member(object, "failure"), *code ? " (" : "",
                    code, *code ? ")" : "", *request ? ", request " : "", request);
}

static void say_waiting(struct json_object *waiting) {
        char duration[DURATION_STRING_MAX];
        int64_t since = json_object_get_int64(json_member(waiting, "since_monotonic_usec")),
                now = (int64_t) now_monotonic_usec();

        say("", "unseald waits for %s since %s, after %lld attempt(s).", member(waiting, "for"),
            format_duration(now > since ? (uint64_t) (now - since) : 0, duration),
            (long long) json_object_get_int64(json_member(waiting, "attempts")));
        if (*member(waiting, "error"))
                say("  ", "%s", member(waiting, "error"));
        say_names("  ", waiting);
}

/* The units at the credential socket, as the journal names them. */
static void say_callers(struct json_object *report) {
        struct json_object *callers = json_member(report, "callers");
        size_t n = json_object_is_type(callers, json_type_array) ? json_object_array_length(callers) : 0;
        int64_t now = (int64_t) now_monotonic_usec();

        for (size_t i = 0; i < n; i++) {
                struct json_object *caller = json_object_array_get_idx(callers, i);
                int64_t since = json_object_get_int64(json_member(caller, "since_monotonic_usec"));
                char duration[DURATION_STRING_MAX];

                say("  ", "%s waits for %s since %s", member(caller, "unit"), member(caller, "credential"),
                    format_duration(now > since ? (uint64_t) (now - since) : 0, duration));
        }
}

static bool has_failed(struct json_object *report) {
        return strcmp(member(report, "state"), "failed") == 0;
}

static bool has_failed_for_good(struct json_object *report) {
        return has_failed(report) && json_object_get_boolean(json_member(report, "final"));
}

/* systemd.exec(5), $TRIGGER_UNIT: the timer is about a wait, and a failure for good has its own report. */
static bool started_by_timer(void) {
        return environment("TRIGGER_UNIT");
}

/*
 * The service manager starts no report of a failure (OnFailure=) while the timer's runs, since both are the same unit. So the timer's
 * report must know whether another one has told of the failure. Each leaves the time of the failure in the directory of the unit
 * (RuntimeDirectory=), as the target of a symbolic link: that needs no room, and /run may be full. The timer's adds its name.
 */
static bool name_mark(struct json_object *report, bool of_timer, char path[PATH_MAX], char mark[MARK_MAX]) {
        const char *directory = environment("RUNTIME_DIRECTORY");

        (void) snprintf(mark, MARK_MAX, "%" PRId64 "%s",
                        json_object_get_int64(json_member(report, "since_usec")), of_timer ? " timer" : "");
        return directory && snprintf(path, PATH_MAX, "%s/told", directory) < PATH_MAX;
}

/* Returns whether the mark is there. Without it the console gets a report twice, rather than never. */
static bool mark_told(struct json_object *report) {
        char path[PATH_MAX], mark[MARK_MAX];

        return name_mark(report, started_by_timer(), path, mark) && (unlink(path) == 0 || errno == ENOENT) &&
               symlink(mark, path) == 0;
}

static bool has_mark(struct json_object *report, bool of_timer) {
        char path[PATH_MAX], mark[MARK_MAX], seen[MARK_MAX] = "";

        return name_mark(report, of_timer, path, mark) && readlink(path, seen, sizeof(seen) - 1) > 0 &&
               strcmp(seen, mark) == 0;
}

static bool is_told(struct json_object *report) {
        return has_mark(report, false) || has_mark(report, true);
}

/* For the report of OnFailure=, which is silent only once. A process that fails before it writes a status leaves the file of the failure
 * before, and its own failure must be told. */
static bool timer_has_told(struct json_object *report) {
        return has_mark(report, true) && mark_told(report);
}

static void say_failure(struct json_object *report) {
        say("", "unseald has FAILED%s.",
            json_object_get_boolean(json_member(report, "final")) ? " for good" : ", and is started again");
        say("  ", "%s", *member(report, "error") ? member(report, "error") : member(report, "status"));
        say_names("  ", report);
        print_text("  ", member(report, "explanation"), NULL, REPORT_LINES / 3);
        if (has_failed_for_good(report))
                (void) mark_told(report);
}

static void say_secrets(struct json_object *report) {
        struct json_object *secrets = json_member(report, "secrets");
        size_t n = json_object_is_type(secrets, json_type_array) ? json_object_array_length(secrets) : 0;

        for (size_t i = 0; i < n && i < SECRETS_MAX; i++) {
                struct json_object *secret = json_object_array_get_idx(secrets, i);
                const char *failed = member(secret, "failure");

                say("", "Secret %s: %s%s%s.", member(secret, "name"), member(secret, "state"),
                    *failed ? ", " : "", failed);
        }
        if (n > SECRETS_MAX)
                say("", "%zu more secrets.", n - SECRETS_MAX);
}

static void say_catalog(struct json_object *report) {
        struct json_object *catalog = json_member(report, "catalog");
        Failure failure = failure_from_string(member(json_member(report, "waiting"), "failure"));

        if (!catalog)
                return;
        print_line("", 0);
        say("", "%s:", member(catalog, "subject"));
        print_text("  ", member(catalog, "text"), has_failed(report) ? NULL : causes_of(failure),
                   CATALOG_LINES);
}

/* Runs doctor in a process of its own, which its time-out ends. Returns its findings as JSON; NULL: there are none. */
static struct json_object *ask_doctor(const Options *options) {
        char timeout[64], vendor[512], local[512], store[512], status[512];
        char *arguments[] = {
                (char *) "unsealctl doctor", (char *) "--json", timeout, vendor, local, store, status, NULL
        };
        _cleanup_free_ uint8_t *text = NULL;
        struct json_object *findings = NULL;
        _cleanup_close_ int from = -1;
        size_t size = 0;
        int ends[2];
        pid_t child;

        (void) snprintf(timeout, sizeof(timeout), "--timeout=%s", options->timeout);
        (void) snprintf(vendor, sizeof(vendor), "--vendor-configuration=%s", options->vendor_config);
        (void) snprintf(local, sizeof(local), "--configuration=%s", options->local_config);
        (void) snprintf(store, sizeof(store), "--store=%s", options->store_path);
        (void) snprintf(status, sizeof(status), "--status=%s", options->status_path);
        if (fflush(stdout) != 0 || pipe2(ends, O_CLOEXEC) < 0)
                return NULL;
        child = fork();
        if (child == 0) {
                if (dup2(ends[1], STDOUT_FILENO) < 0)
                        _exit(EXIT_FAILURE);
                optind = 0; /* getopt_long() starts over */
                (void) verb_doctor(ELEMENTSOF(arguments) - 1, arguments);
                (void) fflush(stdout);
                _exit(EXIT_SUCCESS);
        }
        (void) close(ends[1]);
        from = ends[0];
        if (child < 0)
                return NULL;
        if (read_fd(from, DOCTOR_OUTPUT_MAX, &text, &size) >= 0)
                (void) json_parse((const char *) text, size, &findings);
        (void) close(TAKE(from, -1)); /* a child that has more to say must not wait for a reader */
        (void) waitpid(child, NULL, 0);
        return findings;
}

/* False for what the report says already, and for what nobody can do from outside. */
static bool is_new(struct json_object *finding, bool explained) {
        static const char *const known[] = { "status", "service", "socket", "configuration" };
        const char *verdict = member(finding, "verdict");

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (strcmp(member(finding, "check"), known[i]) == 0)
                        return false;
        if (explained &&
            (strcmp(member(finding, "check"), "pcrs") == 0 || strcmp(member(finding, "check"), "key") == 0))
                return false;
        return strcmp(verdict, "failure") == 0 || strcmp(verdict, "warning") == 0;
}

/* said: what the report says already. Neither that nor the subject is said twice. */
static void say_finding(struct json_object *finding, const char *said) {
        const char *subject = member(finding, "subject"), *found = member(finding, "text"),
                   *cure = member(finding, "cure");
        _cleanup_free_ char *text = NULL;
        bool known = *found && strstr(said, found),
             named = *subject == '\0' || (!known && strncmp(found, subject, strlen(subject)) == 0);

        if (asprintf(&text, "%s%s%s", known ? "As above." : found, *cure ? " " : "", cure) < 0)
                text = NULL;
        say("  ", "%s %s%s%s%s %s", member(finding, "verdict"), member(finding, "check"), named ? "" : " ",
            named ? "" : subject, named ? ":" : subject_colon(subject), text ? remove_commands(text) : "");
}

/* explained: unseald has explained a denial already, with the PCRs. */
static void say_findings(const Options *options, bool explained, const char *said) {
        _cleanup_json_ struct json_object *found = ask_doctor(options);
        struct json_object *findings = json_member(found, "findings");
        size_t n = json_object_is_type(findings, json_type_array) ? json_object_array_length(findings) : 0;
        bool any = false;

        for (size_t i = 0; i < n; i++)
                any |= is_new(json_object_array_get_idx(findings, i), explained);
        print_line("", 0);
        say("", "%s",
            any        ? "An examination of this machine finds now:"
            : findings ? "An examination of this machine finds no other mistake now."
                       : "Nothing could be examined on this machine now.");
        for (size_t i = 0; i < n; i++)
                if (is_new(json_object_array_get_idx(findings, i), explained))
                        say_finding(json_object_array_get_idx(findings, i), said);
}

/*
 * What the service manager says to a unit that it starts for a failure (OnFailure=, systemd.exec(5)): the exit status of unseald, or
 * the name of the signal that ended it. NULL: something else started the report.
 */
static const char *unit_failure(void) {
        const char *unit = environment("MONITOR_UNIT");

        /* unseald-late.service ends with the status of unsealctl status, and the status file has the reason. */
        return unit && strcmp(unit, "unseald-late.service") == 0 ? NULL : environment("MONITOR_EXIT_STATUS");
}

/* Says which late secrets have failed (Late=). Returns whether one has. */
static bool say_late(struct json_object *report) {
        struct json_object *secrets = json_member(report, "secrets");
        size_t n = json_object_is_type(secrets, json_type_array) ? json_object_array_length(secrets) : 0;
        bool any = false;

        for (size_t i = 0; i < n; i++) {
                struct json_object *secret = json_object_array_get_idx(secrets, i);

                if (!json_object_get_boolean(json_member(secret, "late")) ||
                    strcmp(member(secret, "state"), "failed") != 0)
                        continue;
                any = true;
                say("", "The late secret %s has FAILED. The other secrets are as they were.",
                    member(secret, "name"));
                say("  ", "%s", member(secret, "error"));
                say_names("  ", secret);
        }
        return any;
}

/* about_file: why the status file does not say it. */
static void say_unit_failure(const char *status, const char *about_file) {
        const char *name = failure_to_string((Failure) strtol(status, NULL, 10));

        if (strspn(status, "0123456789") != strlen(status))
                say("", "unseald.service has FAILED: the signal %s ended it. %s", status, about_file);
        else if (strcmp(name, "unknown") == 0)
                say("", "unseald.service has FAILED with status %s. %s", status, about_file);
        else
                say("", "unseald.service has FAILED with status %s (%s). %s", status, name, about_file);
}

/* r: why the status file cannot be read. */
static int report_without_file(const Options *options, int r) {
        const char *status = options->json ? NULL : unit_failure();

        if (options->quiet && !status && r == -ENOENT)
                return EXIT_SUCCESS;
        if (status) {
                say_unit_failure(status, r == -ENOENT ? "There is no status file: is /run full?"
                                                      : "The status file cannot be read.");
                if (options->with_doctor)
                        say_findings(options, false, "");
        }
        if (r == -EBADMSG)
                return failure("%s is not a status file of unseald.", options->status_path);
        if (status && r == -ENOENT)
                return EXIT_SUCCESS;
        if (r == -ENOENT)
                return failure("unseald has not run in this boot, or cannot write its status: there is no %s. Run \"unsealctl status\" to see which.",
                               options->status_path);
        return failure("Cannot read %s: %s.", options->status_path, strerror(-r));
}

/* Returns 0 or a negative errno. -EBADMSG: the file is no status file. */
static int read_report(const char *path, char **ret_text, struct json_object **ret) {
        _cleanup_free_ uint8_t *status = NULL;
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = read_file(path, LIMIT_STATUS_BYTES, &status, &size);
        if (r >= 0)
                r = failure_report_make((const char *) status, size, &text);
        if (r >= 0)
                r = json_parse(text, strlen(text), ret);
        if (r >= 0)
                *ret_text = TAKE_PTR(text);
        return r;
}

/* What follows the first sentences. */
static void say_details(struct json_object *report, bool with_catalog) {
        say_callers(report);
        say_secrets(report);
        if (with_catalog)
                say_catalog(report);
}

static int report(const Options *options, bool by_timer) {
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ struct json_object *object = NULL;
        const char *state, *killed = unit_failure();
        int r;

        lines_left = REPORT_LINES;
        r = read_report(options->status_path, &text, &object);
        if (r < 0)
                return report_without_file(options, r);
        if (options->json) {
                puts(text);
                return EXIT_SUCCESS;
        }
        state = member(object, "state");
        if (has_failed_for_good(object) && (by_timer ? is_told(object) : killed && timer_has_told(object)))
                return EXIT_SUCCESS;
        if (has_failed(object))
                say_failure(object);
        else if (!killed && strcmp(state, "unsealed") == 0 && say_late(object)) {
                if (options->with_doctor)
                        say_findings(options, false, "");
                return EXIT_SUCCESS;
        } else if (killed) {
                say_unit_failure(killed, "The status file is older and does not say why.");
                say("  ", "Before, it was %s: %s", state, member(object, "status"));
        } else if (json_member(object, "waiting"))
                say_waiting(json_member(object, "waiting"));
        else if (options->quiet && !json_member(object, "callers"))
                return EXIT_SUCCESS;
        else {
                say("", "unseald: %s: %s", state, member(object, "status"));
                say_callers(object);
                return EXIT_SUCCESS;
        }
        say_details(object, !killed || has_failed(object));
        if (options->with_doctor)
                say_findings(options, json_member(object, "explanation"),
                             member(has_failed(object) ? object : json_member(object, "waiting"), "error"));
        return EXIT_SUCCESS;
}

/* Unsealing may have failed for good while the timer's report ran. */
static void say_failure_since(const Options *options) {
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ struct json_object *object = NULL;

        if (read_report(options->status_path, &text, &object) < 0 || !has_failed_for_good(object) ||
            is_told(object))
                return;
        lines_left = REPORT_LINES;
        print_line("", 0);
        say_failure(object);
        say_details(object, true);
}

static int report_at_start(const Options *options) {
        bool by_timer = options->quiet && started_by_timer();
        int r = report(options, by_timer);

        if (by_timer)
                say_failure_since(options);
        return r;
}

static void print_help(void) {
        printf("unsealctl report [OPTIONS…]\n\n"
               "Say in at most 60 lines why unsealing failed, or for what it waits, and what to\n"
               "do. unseald-report.service prints this on the console.\n\n"
               "  -h --help                      Show this help\n"
               "     --json                      Print JSON, without what doctor finds\n"
               "     --quiet                     Print nothing if nothing failed or is awaited\n"
               "     --no-doctor                 Do not examine this machine\n"
               "     --timeout=TIME              Examine it no longer than this (20s)\n"
               "     --vendor-configuration=DIR  Read this, not %s\n"
               "     --configuration=DIR         Read this, not %s\n"
               "     --store=DIR                 Examine this, not %s\n"
               "     --status=FILE               Read this, not %s/status.json\n",
               UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR, UNSEALD_STORE_DIR, UNSEALD_RUNTIME_DIR);
}

int verb_report(int argc, char *argv[]) {
        enum {
                OPTION_JSON = 256,
                OPTION_QUIET,
                OPTION_NO_DOCTOR,
                OPTION_TIMEOUT,
                OPTION_VENDOR,
                OPTION_LOCAL,
                OPTION_STORE,
                OPTION_STATUS
        };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "json", no_argument, NULL, OPTION_JSON },
                { "quiet", no_argument, NULL, OPTION_QUIET },
                { "no-doctor", no_argument, NULL, OPTION_NO_DOCTOR },
                { "timeout", required_argument, NULL, OPTION_TIMEOUT },
                { "vendor-configuration", required_argument, NULL, OPTION_VENDOR },
                { "configuration", required_argument, NULL, OPTION_LOCAL },
                { "store", required_argument, NULL, OPTION_STORE },
                { "status", required_argument, NULL, OPTION_STATUS },
                {},
        };
        Options chosen = { .status_path = UNSEALD_RUNTIME_DIR "/status.json",
                           .vendor_config = UNSEALD_VENDOR_CONFIG_DIR,
                           .local_config = UNSEALD_LOCAL_CONFIG_DIR,
                           .store_path = UNSEALD_STORE_DIR,
                           .timeout = "20s",
                           .with_doctor = true };
        uint64_t limit;

        for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) >= 0;)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case OPTION_JSON:
                        chosen.json = true;
                        break;
                case OPTION_QUIET:
                        chosen.quiet = true;
                        break;
                case OPTION_NO_DOCTOR:
                        chosen.with_doctor = false;
                        break;
                case OPTION_TIMEOUT:
                        if (parse_duration(optarg, &limit) < 0 || limit == 0 ||
                            limit > DOCTOR_TIMEOUT_MAX_USEC)
                                return usage_error("--timeout= needs a time of up to an hour, such as 20s.");
                        chosen.timeout = optarg;
                        break;
                case OPTION_VENDOR:
                        chosen.vendor_config = optarg;
                        break;
                case OPTION_LOCAL:
                        chosen.local_config = optarg;
                        break;
                case OPTION_STORE:
                        chosen.store_path = optarg;
                        break;
                case OPTION_STATUS:
                        chosen.status_path = optarg;
                        break;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc)
                return usage_error("report takes options and no argument.");
        return report_at_start(&chosen);
}
