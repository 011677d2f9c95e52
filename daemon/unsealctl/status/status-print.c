/* SPDX-License-Identifier: Apache-2.0 */

/* Prints what status.json says, in words. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/json.h"
#include "basic/text.h"
#include "unsealctl/ctl.h"
#include "unsealctl/status/late-line.h"
#include "unsealctl/status/status.h"

#define CELL_MAX 1024

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

/* Prints "Waiting for KMS in eu-north-1 since 42s (attempt 8), next try in 3s: REASON". now: CLOCK_MONOTONIC. */
static void print_waiting(struct json_object *waiting, const char *indent, uint64_t now) {
        char what[CELL_MAX], error[CELL_MAX], since[DURATION_STRING_MAX], next[DURATION_STRING_MAX];
        uint64_t begun = number(waiting, "since_monotonic_usec"),
                 due = number(waiting, "next_monotonic_usec"), attempts = number(waiting, "attempts");

        if (!waiting)
                return;
        printf("%sWaiting for %s since %s", indent, cell(waiting, "for", what),
               format_duration(now > begun ? now - begun : 0, since));
        if (attempts > 0)
                printf(" (attempt %llu)", (unsigned long long) attempts);
        if (due > now)
                printf(", next try in %s", format_duration(due - now, next));
        else if (due > 0)
                printf(", next try now");
        if (*cell(waiting, "error", error))
                printf(": %s", error);
        putchar('\n');
        if (json_member_string(waiting, "failure"))
                print_names(waiting, indent);
}

/* Prints "billing.service waits for db-password since 42s" for each unit at the credential socket. now: CLOCK_MONOTONIC. */
static void print_callers(struct json_object *callers, uint64_t now) {
        for (size_t i = 0; i < length_of(callers); i++) {
                struct json_object *caller = json_object_array_get_idx(callers, i);
                char unit[CELL_MAX], credential[CELL_MAX], since[DURATION_STRING_MAX];
                uint64_t begun = number(caller, "since_monotonic_usec");

                printf("  %s waits for %s since %s\n", cell(caller, "unit", unit),
                       cell(caller, "credential", credential),
                       format_duration(now > begun ? now - begun : 0, since));
        }
}

static void print_failure(struct json_object *status) {
        if (!json_member_string(status, "failure"))
                return;
        print_explanation(status);
        print_names(status, "  ");
        if (!json_object_get_boolean(json_member(status, "final")) && json_member(status, "final"))
                puts("  The service manager starts unseald again.");
        puts("  What to do: unsealctl report, or journalctl -xu unseald.service");
}

/* Prints what a secret waits for, or its error, below its line. said: what the whole waits for, or its error, which stands above
 * and is not repeated. */
static void print_error(struct json_object *secret, const char *said) {
        struct json_object *waiting = json_member(secret, "waiting");
        char error[CELL_MAX];

        if (waiting && strcmp(cell(waiting, "for", error), said) != 0)
                print_waiting(waiting, "  ", now_monotonic_usec());
        if (waiting || !json_member_string(secret, "failure") || strstr(said, cell(secret, "error", error)))
                return;
        printf("  %s\n", error);
        print_names(secret, "  ");
}

/* Prints the version that the vendor has signed below the secret's line. */
static void print_version(struct json_object *secret) {
        struct json_object *version = json_member(secret, "version");

        if (json_object_is_type(version, json_type_int))
                printf("  version %" PRIu64 ", signed\n", json_object_get_uint64(version));
}

/* Prints the PCR that shows what the secret was sealed in (MeasurePcr=) below its line. */
static void print_measured(struct json_object *secret) {
        struct json_object *pcr = json_member(secret, "measured_pcr");

        if (json_object_is_type(pcr, json_type_int))
                printf("  measured into PCR%d\n", json_object_get_int(pcr));
}

/* Prints where KMS was asked below the secret's line, if that is not the Region of its first key. */
static void print_region(struct json_object *secret) {
        char key_id[CELL_MAX], region[CELL_MAX], part[CELL_MAX + 8];

        (void) snprintf(part, sizeof(part), ":kms:%s:", cell(secret, "kms_region", region));
        if (region[0] && !strstr(cell(secret, "key_id", key_id), part))
                printf("  KMS was asked in %s\n", region);
}

static int name_width_of_members(struct json_object *members) {
        int width = 0;

        for (size_t i = 0; i < length_of(members); i++) {
                char name[CELL_MAX];
                int length = (int) strlen(cell(json_object_array_get_idx(members, i), "name", name));

                width = length > width ? length : width;
        }
        return width;
}

/* Prints how many members a bundle has, and which optional ones it lacks, below the secret's line. */
static void print_members(struct json_object *secret) {
        struct json_object *members = json_member(secret, "members");
        char name[CELL_MAX];

        if (length_of(members) == 0)
                return;
        printf("  %zu member%s\n", length_of(members), length_of(members) == 1 ? "" : "s");
        for (size_t i = 0; i < length_of(members); i++) {
                struct json_object *member = json_object_array_get_idx(members, i);

                if (json_object_get_boolean(json_member(member, "missing")))
                        printf("  lacks %s\n", cell(member, "name", name));
        }
}

/* Prints "Refresh every 15min: the last, 3min ago, found no change; the next is in 12min." now: CLOCK_MONOTONIC. */
static void print_refresh(struct json_object *refresh, uint64_t now) {
        char every[DURATION_STRING_MAX], ago[DURATION_STRING_MAX], next[DURATION_STRING_MAX], last[CELL_MAX],
                        error[CELL_MAX];
        uint64_t due = number(refresh, "next_monotonic_usec"),
                 ended = number(refresh, "last_monotonic_usec");

        if (!refresh)
                return;
        printf("  Refresh every %s: ", format_duration(number(refresh, "interval_usec"), every));
        if (*cell(refresh, "last", last))
                printf("the last, %s ago, %s; ", format_duration(now > ended ? now - ended : 0, ago),
                       strcmp(last, "unchanged") == 0  ? "found no change"
                       : strcmp(last, "reloaded") == 0 ? "exchanged the secrets"
                                                       : "failed");
        printf("the next is in %s.\n", format_duration(due > now ? due - now : 0, next));
        if (*cell(refresh, "error", error)) {
                printf("  %s\n", error);
                print_names(refresh, "  ");
        }
}

static int name_width(struct json_object *array) {
        int width = 6;

        for (size_t i = 0; i < length_of(array); i++) {
                struct json_object *row = json_object_array_get_idx(array, i);
                char name[CELL_MAX];
                int length = (int) strlen(cell(row, "name", name)),
                    of_members = name_width_of_members(json_member(row, "members"));

                width = length > width ? length : width;
                width = of_members > width ? of_members : width;
        }
        return width;
}

/* Prints how far the message of a late secret is, below the secret's line. */
static void print_late(struct json_object *status, struct json_object *secret) {
        char line[LATE_LINE_MAX];

        if (late_line(status, secret, false, line))
                printf("  %s\n", line);
}

static void print_secrets(struct json_object *status, const char *said) {
        struct json_object *secrets = json_member(status, "secrets");
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
                print_region(secret);
                print_version(secret);
                print_measured(secret);
                print_members(secret);
                print_late(status, secret);
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

static void print_consumers_of(const char *name, const Consumers *consumers) {
        const char *last = "";

        for (size_t i = 0; i < consumers->count; i++) {
                const Consumer *consumer = consumers->items + i;
                const char *secret = consumer_secret(consumer);

                if (!secret || strcmp(secret, name) != 0 || strcmp(consumer->unit, last) == 0)
                        continue;
                printf("%s%s", *last ? ", " : "", consumer->unit);
                last = consumer->unit;
        }
        puts(*last ? "" : "-");
}

static void print_consumers_row(struct json_object *row, int width, const Consumers *consumers) {
        struct json_object *units = json_member(row, "units");
        char name[CELL_MAX], list[CELL_MAX] = "";

        for (size_t k = 0; k < length_of(units); k++) {
                const char *unit = json_object_get_string(json_object_array_get_idx(units, k));
                size_t used = strlen(list);

                (void) snprintf(list + used, sizeof(list) - used, "%s%s", used > 0 ? " " : "", unit);
        }
        printf("%-*s  %-24s  ", width, cell(row, "name", name), *text_clean(list) ? list : "(any unit)");
        print_consumers_of(name, consumers);
}

/* Of a bundle the members are listed: units get them, and not the bundle. */
void status_print_consumers(struct json_object *status, const Consumers *consumers) {
        struct json_object *secrets = json_member(status, "secrets");
        int width = name_width(secrets);

        if (length_of(secrets) == 0)
                return;
        printf("\n%-*s  %-24s  %s\n", width, "SECRET", "UNITS=", "LOADED BY");
        for (size_t i = 0; i < length_of(secrets); i++) {
                struct json_object *secret = json_object_array_get_idx(secrets, i),
                                   *members = json_member(secret, "members");

                if (length_of(members) == 0)
                        print_consumers_row(secret, width, consumers);
                for (size_t k = 0; k < length_of(members); k++)
                        print_consumers_row(json_object_array_get_idx(members, k), width, consumers);
        }
}

void status_print(struct json_object *status) {
        struct json_object *waiting = json_member(status, "waiting");
        char state[CELL_MAX], text[CELL_MAX], since[TIME_STRING_MAX];

        printf("%s since %s: %s\n", cell(status, "state", state),
               format_time((int64_t) (number(status, "since_usec") / USEC_PER_SEC), since),
               cell(status, "status", text));
        print_waiting(waiting, "  ", now_monotonic_usec());
        print_callers(json_member(status, "callers"), now_monotonic_usec());
        if (waiting)
                (void) cell(waiting, "for", text);
        print_failure(status);
        print_refresh(json_member(status, "refresh"), now_monotonic_usec());
        print_secrets(status, text);
        print_steps(json_member(status, "steps"));
}
