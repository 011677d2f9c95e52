/* SPDX-License-Identifier: Apache-2.0 */

/* Prints status.json, which unseald writes. It only reads that file, so it also works after unseald has ended. */

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/io.h"
#include "basic/json.h"
#include "basic/text.h"
#include "build-config.h"
#include "unsealctl/ctl.h"

#define STATUS_SIZE_MAX (4U * 1024U * 1024U)
#define STATUS_VERSION 1
#define EXIT_NOT_UNSEALED 3
#define CELL_MAX 1024

static void print_help(void) {
        printf("unsealctl status [OPTIONS…]\n\n"
               "Show the state of each secret in this boot, and how long each step took.\n\n"
               "  -h --help              Show this help\n"
               "     --json              Print the file as it is\n"
               "     --file=FILE         Read this, not " UNSEALD_RUNTIME_DIR "/status.json\n\n"
               "Exit status: 0 unsealed, 3 not unsealed or not yet, 1 no status, 2 usage.\n");
}

/* Copies a member for the terminal, or "" where it is absent. Texts may quote a server, so control characters are replaced. */
static const char *cell(struct json_object *object, const char *name, char buffer[CELL_MAX]) {
        const char *value = json_member_string(object, name);

        (void) snprintf(buffer, CELL_MAX, "%s", value ?: "");
        (void) text_clean(buffer);
        return buffer;
}

static uint64_t number(struct json_object *object, const char *name) {
        int64_t value = json_object_get_int64(json_member(object, name));

        return value < 0 ? 0 : (uint64_t) value;
}

static size_t length_of(struct json_object *array) {
        return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

/* Prints a line such as "access-denied, AccessDeniedException, request 4711". */
static void print_names(struct json_object *object, const char *indent) {
        char failed[CELL_MAX], code[CELL_MAX], request[CELL_MAX];

        printf("%s%s", indent, cell(object, "failure", failed));
        if (*cell(object, "code", code))
                printf(", %s", code);
        if (*cell(object, "request_id", request))
                printf(", request %s", request);
        putchar('\n');
}

static void print_explanation(struct json_object *status) {
        const char *text = json_member_string(status, "explanation");

        while (text && *text) {
                size_t length = strcspn(text, "\n");
                char line[CELL_MAX];

                (void) snprintf(line, sizeof(line), "%.*s", (int) length, text);
                (void) text_clean(line);
                printf("  %s\n", line);
                text += length + (text[length] == '\n');
        }
}

static void print_failure(struct json_object *status) {
        if (!json_member_string(status, "failure"))
                return;
        print_explanation(status);
        print_names(status, "  ");
        puts("  What to do: journalctl -xu unseald.service");
}

/* Prints the error of a secret below its line, unless it is part of `said`, the error of the whole that stands above. */
static void print_error(struct json_object *secret, const char *said) {
        char error[CELL_MAX];

        if (!json_member_string(secret, "failure") || strstr(said, cell(secret, "error", error)))
                return;
        printf("  %s\n", error);
        print_names(secret, "  ");
}

static int name_width(struct json_object *array) {
        int width = 6;

        for (size_t i = 0; i < length_of(array); i++) {
                char name[CELL_MAX];
                int length = (int) strlen(cell(json_object_array_get_idx(array, i), "name", name));

                if (length > width)
                        width = length;
        }
        return width;
}

static void print_secrets(struct json_object *secrets, const char *said) {
        int width = name_width(secrets);

        if (length_of(secrets) == 0)
                return;
        printf("\n%-*s  %-10s  %-9s  %-5s  %s\n", width, "SECRET", "STATE", "TOOK", "TRIES", "SOURCE");
        for (size_t i = 0; i < length_of(secrets); i++) {
                struct json_object *secret = json_object_array_get_idx(secrets, i);
                char name[CELL_MAX], state[CELL_MAX], source[CELL_MAX], took[DURATION_STRING_MAX];

                printf("%-*s  %-10s  %-9s  %-5llu  %s\n", width, cell(secret, "name", name),
                       cell(secret, "state", state), format_duration(number(secret, "duration_usec"), took),
                       (unsigned long long) number(secret, "attempts"), cell(secret, "source", source));
                print_error(secret, said);
        }
}

static void print_steps(struct json_object *steps) {
        int width = name_width(steps);
        uint64_t first;

        if (length_of(steps) == 0)
                return;
        first = number(json_object_array_get_idx(steps, 0), "start_usec");
        printf("\n%-*s  %-9s  %s\n", width, "STEP", "AFTER", "TOOK");
        for (size_t i = 0; i < length_of(steps); i++) {
                struct json_object *step = json_object_array_get_idx(steps, i);
                uint64_t start = number(step, "start_usec");
                char name[CELL_MAX], after[DURATION_STRING_MAX], took[DURATION_STRING_MAX];

                printf("%-*s  %-9s  %s\n", width, cell(step, "name", name),
                       format_duration(start > first ? start - first : 0, after),
                       format_duration(number(step, "duration_usec"), took));
        }
}

static void print_status(struct json_object *status) {
        char state[CELL_MAX], text[CELL_MAX], since[TIME_STRING_MAX];

        printf("%s since %s: %s\n", cell(status, "state", state),
               format_time((int64_t) (number(status, "since_usec") / USEC_PER_SEC), since),
               cell(status, "status", text));
        print_failure(status);
        print_secrets(json_member(status, "secrets"), text);
        print_steps(json_member(status, "steps"));
}

static int show(const char *path, bool json) {
        _cleanup_free_ uint8_t *text = NULL;
        _cleanup_json_ struct json_object *status = NULL;
        const char *state;
        size_t size;
        int r;

        r = read_file(path, STATUS_SIZE_MAX, &text, &size);
        if (r == -ENOENT)
                return failure("Cannot read %s: there is no such file, so unseald has not run in this boot. See \"systemctl status unseald.service\".",
                               path);
        if (r < 0)
                return failure("Cannot read %s: %s.", path, strerror(-r));

        r = json_parse((const char *) text, size, &status);
        if (r < 0)
                return failure("%s is not a status file of unseald: it is not JSON.", path);
        state = json_member_string(status, "state");
        if (!state || number(status, "version") != STATUS_VERSION)
                return failure("%s has another format than this version of unsealctl reads. Use unsealctl of the same version as unseald.",
                               path);

        if (json)
                (void) fwrite(text, 1, size, stdout);
        else
                print_status(status);
        return strcmp(state, "unsealed") == 0 ? EXIT_SUCCESS : EXIT_NOT_UNSEALED;
}

int verb_status(int argc, char *argv[]) {
        enum {
                OPTION_JSON = 256,
                OPTION_FILE,
        };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "json", no_argument, NULL, OPTION_JSON },
                { "file", required_argument, NULL, OPTION_FILE },
                {},
        };
        const char *path = UNSEALD_RUNTIME_DIR "/status.json";
        bool json = false;
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case OPTION_JSON:
                        json = true;
                        break;
                case OPTION_FILE:
                        path = optarg;
                        break;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc)
                return usage_error("status takes options and no argument.");
        return show(path, json);
}
