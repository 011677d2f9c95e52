/* SPDX-License-Identifier: Apache-2.0 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/json.h"
#include "unsealctl/status/late-line.h"

#define SIZE_TEXT_MAX 24U

static uint64_t number(struct json_object *object, const char *name) {
        int64_t value = json_object_get_int64(json_member(object, name));

        return value < 0 ? 0 : (uint64_t) value;
}

/* To three digits: "2.00 GiB". */
static const char *print_size(uint64_t bytes, char ret[static SIZE_TEXT_MAX]) {
        static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
        double value = (double) bytes;
        unsigned unit = 0;

        for (; value >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
                value /= 1024;
        (void) snprintf(ret, SIZE_TEXT_MAX, "%.*f %s",
                        unit == 0 || value >= 100 ? 0
                        : value >= 10             ? 1
                                                  : 2,
                        value, units[unit]);
        return ret;
}

static void print_bar(uint64_t bytes, uint64_t total, char ret[static LATE_BAR + 4]) {
        unsigned full = bytes < total ? (unsigned) (bytes * LATE_BAR / total) : LATE_BAR;

        ret[0] = '[';
        for (unsigned i = 0; i < LATE_BAR; i++)
                ret[1 + i] = i < full ? '#' : ' ';
        memcpy(ret + 1 + LATE_BAR, "] ", sizeof("] "));
}

bool late_line(struct json_object *status, struct json_object *secret, bool with_bar,
               char ret[static LATE_LINE_MAX]) {
        uint64_t bytes = number(secret, "bytes"), total = number(secret, "bytes_total"),
                 since = number(secret, "bytes_since_monotonic_usec"),
                 written = number(status, "written_monotonic_usec");
        char bar[LATE_BAR + 4] = "", whole[SIZE_TEXT_MAX], rate[SIZE_TEXT_MAX];
        double seconds = written > since ? (double) (written - since) / USEC_PER_SEC : 0;

        ret[0] = 0;
        if (since == 0 || total == 0)
                return false;
        bytes = bytes < total ? bytes : total;
        if (with_bar)
                print_bar(bytes, total, bar);
        (void) snprintf(ret, LATE_LINE_MAX, "%s%u %% of %s", bar, (unsigned) (bytes * 100 / total),
                        print_size(total, whole));
        if (seconds > 0 && bytes > 0)
                (void) snprintf(ret + strlen(ret), LATE_LINE_MAX - strlen(ret), ", %s/s",
                                print_size((uint64_t) ((double) bytes / seconds), rate));
        return true;
}

struct json_object *late_secret_under_way(struct json_object *status) {
        struct json_object *secrets = json_member(status, "secrets");
        size_t n = json_object_is_type(secrets, json_type_array) ? json_object_array_length(secrets) : 0;

        for (size_t i = 0; i < n; i++) {
                struct json_object *secret = json_object_array_get_idx(secrets, i);

                if (number(secret, "bytes_since_monotonic_usec") > 0)
                        return secret;
        }
        return NULL;
}
