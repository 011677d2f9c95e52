/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Shows status.json, which unseald writes, and waits for it to change. The file is read also after unseald has ended. The service
 * manager is asked as well, because the file can be missing or out of date: /run was full, or unseald was killed.
 */

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "basic/clock.h"
#include "basic/error.h"
#include "basic/io.h"
#include "basic/json.h"
#include "basic/limits.h"
#include "basic/text.h"
#include "build-config.h"
#include "unsealctl/ctl.h"
#include "unsealctl/status/late-line.h"
#include "unsealctl/status/outcome.h"
#include "unsealctl/status/status.h"
#include "unsealctl/unit-properties.h"

#define STATUS_VERSION 1
#define UNIT "unseald.service"

/* While waiting, the service manager is asked this often. It does not say when a unit's state changes. */
#define UNIT_INTERVAL_USEC USEC_PER_SEC

typedef struct Options {
        const char *path; /* NULL: the file of unseald.service */
        bool json, wait;
        const char *secret; /* as of outcome_of() */
        bool late, watch;
        uint64_t timeout_usec;
} Options;

/* What is known now. */
typedef struct View {
        uint8_t *text;
        size_t size;
        struct json_object *status; /* NULL: there is no file */
        char *unit;                 /* NULL: not known */
        Outcome outcome;
} View;

static void view_clear(View *view) {
        free(TAKE_PTR(view->text));
        json_put(TAKE_PTR(view->status));
        free(TAKE_PTR(view->unit));
}

static void print_help(void) {
        printf("unsealctl status [OPTIONS…]\n\n"
               "Show the state of each secret in this boot, what is awaited, how long each step\n"
               "took, and the state of each read-write volume.\n\n"
               "  -h --help              Show this help\n"
               "     --json              Print the file as JSON, and the read-write volumes; see\n"
               "                         unseald-status.json(5)\n"
               "     --wait[=SECRET]     Wait until all required secrets are published, or this\n"
               "                         one, or until it has failed for good\n"
               "     --late              With --wait: wait also for all late secrets\n"
               "     --watch             The same, and show meanwhile how far they are\n"
               "     --timeout=TIME      Wait no longer than this\n"
               "     --file=FILE         Read this, not " UNSEALD_RUNTIME_DIR "/status.json\n\n"
               "Exit status: 0 published, 3 failed for good, 4 not yet, 5 stopped, 6 never run\n"
               "in this boot, 1 error, 2 usage.\n");
}

/* Returns 0 also if there is no file, or the exit status after the message is printed. */
static int read_status(const char *path, View *view) {
        int r = read_file(path, LIMIT_STATUS_BYTES, &view->text, &view->size);

        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return failure("Cannot read %s: %s.", path, strerror(-r));
        r = json_parse((const char *) view->text, view->size, &view->status);
        if (r < 0)
                return failure("%s is not a status file of unseald: it is not JSON.", path);
        if (!json_member_string(view->status, "state") ||
            json_object_get_int64(json_member(view->status, "version")) != STATUS_VERSION)
                return failure("%s has another format than this version of unsealctl reads. Use unsealctl of the same version as unseald.",
                               path);
        return 0;
}

static int look(const Options *options, View *view) {
        const char *path = options->path ?: UNSEALD_RUNTIME_DIR "/status.json";
        struct json_object *secrets;
        int r;

        r = read_status(path, view);
        if (r != 0)
                return r;
        if (options->path && !view->status && !options->wait)
                return failure("Cannot read %s: there is no such file.", path);
        /* A file that is named may be another machine's, or that of another unseald. */
        view->unit = options->path ? NULL : unit_properties(UNIT);
        view->outcome = outcome_of(view->status, view->unit, options->secret);
        secrets = json_member(view->status, "secrets");
        if (options->secret && !options->late && json_object_is_type(secrets, json_type_array) &&
            json_object_array_length(secrets) > 0 && !outcome_secret(view->status, options->secret))
                return failure("No secret %s is declared. \"unsealctl status\" lists the secrets.",
                               options->secret);
        return 0;
}

/* What to say where the file is missing or out of date. */
static const char *words_of(Outcome outcome) {
        switch (outcome) {
        case OUTCOME_PUBLISHED:
                return "All required secrets are published. The status file is missing or out of date: is /run full?";
        case OUTCOME_FAILED:
                return "unseald.service has failed. The status file is missing or out of date: is /run full?";
        case OUTCOME_NOT_YET:
                return "Unsealing. The status file is missing or out of date: is /run full?";
        case OUTCOME_STOPPED:
                return "unseald.service was stopped. Its secrets are removed. Run \"systemctl start unseald.service\" to unseal them again.";
        case OUTCOME_NEVER_RUN:
                break;
        }
        return "unseald.service has not run in this boot. Run \"systemctl status unseald.service\" to see why.";
}

static const char *state_of(Outcome outcome) {
        switch (outcome) {
        case OUTCOME_PUBLISHED:
                return "unsealed";
        case OUTCOME_FAILED:
                return "failed";
        case OUTCOME_NOT_YET:
                return "unsealing";
        case OUTCOME_STOPPED:
                return "stopped";
        case OUTCOME_NEVER_RUN:
                break;
        }
        return "never-run";
}

static void print_json(struct json_object *object) {
        puts(json_object_to_json_string_ext(object,
                                            JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* Prints the file, and the volumes, of which unseald knows nothing. */
static void print_file(const View *view, struct json_object *volumes) {
        if (!volumes) {
                (void) fwrite(view->text, 1, view->size, stdout);
                return;
        }
        add(view->status, "volumes", json_object_get(volumes));
        print_json(view->status);
}

/* Prints what the service manager knows, where the file does not say what is so. */
static void print_unit(const View *view, struct json_object *volumes, bool json) {
        _cleanup_json_ struct json_object *object = NULL;
        char text[768] = "";

        if (view->unit && view->outcome != OUTCOME_STOPPED && view->outcome != OUTCOME_NEVER_RUN)
                (void) unit_property(view->unit, "StatusText", text, sizeof(text));
        if (!json) {
                printf("%s: %s\n", state_of(view->outcome), words_of(view->outcome));
                if (*text)
                        printf("  The service manager says: %s\n", text);
                return;
        }
        object = made(json_object_new_object());
        add(object, "version", made(json_object_new_int(STATUS_VERSION)));
        add_string(object, "state", state_of(view->outcome));
        add_string(object, "status", *text ? text : words_of(view->outcome));
        if (volumes)
                add(object, "volumes", json_object_get(volumes));
        print_json(object);
}

static void print_view(const Options *options, const View *view) {
        _cleanup_(consumers_clear) Consumers consumers = {};
        _cleanup_(unit_tree_clear) UnitTree tree = {};
        /* A file that is named may be another machine's. */
        _cleanup_json_ struct json_object *volumes = options->path ? NULL : status_volumes();

        if (!view->status ||
            outcome_of(view->status, NULL, NULL) != outcome_of(view->status, view->unit, NULL))
                print_unit(view, volumes, options->json);
        else if (options->json)
                print_file(view, volumes);
        else {
                status_print(view->status);
                if (!options->path && unit_tree_read(unit_directories, &tree) >= 0 &&
                    consumers_of(&tree, &consumers) >= 0)
                        status_print_consumers(view->status, &consumers);
        }
        if (!options->json)
                status_print_volumes(volumes);
}

static bool is_decided(const View *view) {
        return view->outcome == OUTCOME_PUBLISHED || view->outcome == OUTCOME_FAILED ||
               view->outcome == OUTCOME_STOPPED;
}

/* Waits until something in the directory of the file has changed, and no longer than the interval: unseald may end without
 * changing the file. */
static void wait_for_change(int watch, uint64_t left) {
        char events[4096];
        struct pollfd readable = { .fd = watch, .events = POLLIN };
        uint64_t wait = left < UNIT_INTERVAL_USEC ? left : UNIT_INTERVAL_USEC;

        if (poll(&readable, 1, (int) (wait / USEC_PER_MSEC) + 1) > 0)
                while (read(watch, events, sizeof(events)) > 0)
                        ;
}

static void watch_directory(int watch, const char *path) {
        const char *slash = path ? strrchr(path, '/') : NULL;
        _cleanup_free_ char *directory = !path   ? strdup(UNSEALD_RUNTIME_DIR)
                                         : slash ? strndup(path, (size_t) (slash - path + 1))
                                                 : strdup(".");

        /* The directory may appear later. Then the interval is the only clock. */
        if (directory)
                (void) inotify_add_watch(watch, directory, IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE);
}

/* One line that is written over itself on a terminal. Elsewhere a new one for each tenth. */
static void show_progress(struct json_object *status, unsigned *shown) {
        struct json_object *secret = late_secret_under_way(status);
        bool terminal = isatty(STDERR_FILENO);
        char line[LATE_LINE_MAX], name[65];
        unsigned tenths;

        if (!secret || !late_line(status, secret, terminal, line))
                return;
        tenths = (unsigned) strtoul(strpbrk(line, "0123456789"), NULL, 10) / 10 + 1;
        (void) snprintf(name, sizeof(name), "%s", json_member_string(secret, "name") ?: "");
        if (terminal)
                fprintf(stderr, "\r\033[K%s %s", text_clean(name), line);
        else if (tenths != *shown)
                fprintf(stderr, "%s %s\n", text_clean(name), line);
        *shown = tenths;
}

static void end_progress(unsigned shown) {
        if (shown > 0 && isatty(STDERR_FILENO))
                fputs("\r\033[K", stderr);
}

static int show(const Options *options) {
        _cleanup_close_ int watch = options->wait ? inotify_init1(IN_NONBLOCK | IN_CLOEXEC) : -1;
        uint64_t begun = now_monotonic_usec();
        unsigned shown = 0;

        for (;;) {
                _cleanup_(view_clear) View view = {};
                uint64_t passed;
                int r;

                /* The watch comes before the look, so that no change is missed. */
                if (options->wait)
                        watch_directory(watch, options->path);
                r = look(options, &view);
                if (r != 0)
                        return r;
                passed = now_monotonic_usec() - begun;
                if (!options->wait || is_decided(&view) || passed >= options->timeout_usec) {
                        end_progress(shown);
                        print_view(options, &view);
                        return (int) view.outcome;
                }
                if (options->watch)
                        show_progress(view.status, &shown);
                wait_for_change(watch, options->timeout_usec - passed);
        }
}

int verb_status(int argc, char *argv[]) {
        enum { OPTION_JSON = 256, OPTION_FILE, OPTION_WAIT, OPTION_LATE, OPTION_WATCH, OPTION_TIMEOUT };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "json", no_argument, NULL, OPTION_JSON },
                { "wait", optional_argument, NULL, OPTION_WAIT },
                { "late", no_argument, NULL, OPTION_LATE },
                { "watch", no_argument, NULL, OPTION_WATCH },
                { "timeout", required_argument, NULL, OPTION_TIMEOUT },
                { "file", required_argument, NULL, OPTION_FILE },
                {},
        };
        Options chosen = { .timeout_usec = USEC_INFINITY };
        bool limited = false;

        for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) >= 0;)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case OPTION_JSON:
                        chosen.json = true;
                        break;
                case OPTION_WAIT:
                        chosen.wait = true;
                        chosen.secret = optarg;
                        if (optarg && !*optarg)
                                return usage_error(
                                                "--wait= needs the name of a secret. --wait alone waits for all that are required.");
                        break;
                case OPTION_LATE:
                        chosen.late = true;
                        break;
                case OPTION_WATCH:
                        chosen.wait = chosen.late = chosen.watch = true;
                        break;
                case OPTION_TIMEOUT:
                        if (parse_duration(optarg, &chosen.timeout_usec) < 0)
                                return usage_error("--timeout= needs a time, such as 30s.");
                        limited = true;
                        break;
                case OPTION_FILE:
                        chosen.path = optarg;
                        break;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc)
                return usage_error(
                                "status takes options and no argument. To wait for a secret: --wait=SECRET.");
        if (chosen.late && (!chosen.wait || chosen.secret))
                return usage_error(
                                "--late works only together with --wait. Together with it or with --watch, --wait takes no name of a secret.");
        if (chosen.late)
                chosen.secret = OUTCOME_OF_LATE;
        if (limited && !chosen.wait)
                return usage_error("--timeout= works only together with --wait.");
        return show(&chosen);
}
