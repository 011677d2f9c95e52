/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "basic/cleanup.h"
#include "basic/clock.h"

#define USEC_PER_MINUTE (60 * USEC_PER_SEC)
#define USEC_PER_HOUR (60 * USEC_PER_MINUTE)
#define USEC_PER_DAY (24 * USEC_PER_HOUR)
#define USEC_PER_WEEK (7 * USEC_PER_DAY)
#define USEC_PER_MONTH (UINT64_C(2629800) * USEC_PER_SEC) /* 30.4375 days, as systemd counts */
#define USEC_PER_YEAR (UINT64_C(31557600) * USEC_PER_SEC)

static uint64_t now_usec(clockid_t clock) {
        struct timespec now;
        int r = clock_gettime(clock, &now);

        /* Cannot fail for these clocks on any kernel of the last decade. */
        assert(r == 0);
        (void) r;
        return (uint64_t) now.tv_sec * USEC_PER_SEC + (uint64_t) now.tv_nsec / 1000;
}

uint64_t now_boottime_usec(void) {
        return now_usec(CLOCK_BOOTTIME);
}

uint64_t now_monotonic_usec(void) {
        return now_usec(CLOCK_MONOTONIC);
}

uint64_t now_realtime_usec(void) {
        return now_usec(CLOCK_REALTIME);
}

/* Three digits, cut off so that 999.9ms does not become 1000ms, without zeros at the end. */
static void format_decimal(uint64_t value, uint64_t unit, const char *suffix,
                           char buffer[DURATION_STRING_MAX]) {
        uint64_t whole = value / unit, thousandths = value % unit * 1000 / unit;
        int digits = whole < 10 ? 2 : whole < 100 ? 1 : 0;

        for (int i = digits; i < 3; i++)
                thousandths /= 10;
        for (; digits > 0 && thousandths % 10 == 0; digits--)
                thousandths /= 10;

        if (digits > 0)
                (void) snprintf(buffer, DURATION_STRING_MAX, "%" PRIu64 ".%0*" PRIu64 "%s", whole, digits,
                                thousandths, suffix);
        else
                (void) snprintf(buffer, DURATION_STRING_MAX, "%" PRIu64 "%s", whole, suffix);
}

static void format_pair(uint64_t large, const char *large_suffix, uint64_t small, const char *small_suffix,
                        char buffer[DURATION_STRING_MAX]) {
        if (small > 0)
                (void) snprintf(buffer, DURATION_STRING_MAX, "%" PRIu64 "%s %" PRIu64 "%s", large,
                                large_suffix, small, small_suffix);
        else
                (void) snprintf(buffer, DURATION_STRING_MAX, "%" PRIu64 "%s", large, large_suffix);
}

const char *format_duration(uint64_t usec, char buffer[DURATION_STRING_MAX]) {
        if (usec == USEC_INFINITY)
                (void) snprintf(buffer, DURATION_STRING_MAX, "infinity");
        else if (usec < USEC_PER_MSEC)
                format_decimal(usec, 1, "us", buffer);
        else if (usec < USEC_PER_SEC)
                format_decimal(usec, USEC_PER_MSEC, "ms", buffer);
        else if (usec < USEC_PER_MINUTE)
                format_decimal(usec, USEC_PER_SEC, "s", buffer);
        else if (usec < USEC_PER_HOUR)
                format_pair(usec / USEC_PER_MINUTE, "min", usec % USEC_PER_MINUTE / USEC_PER_SEC, "s",
                            buffer);
        else if (usec < USEC_PER_DAY)
                format_pair(usec / USEC_PER_HOUR, "h", usec % USEC_PER_HOUR / USEC_PER_MINUTE, "min",
                            buffer);
        else
                format_pair(usec / USEC_PER_DAY, "d", usec % USEC_PER_DAY / USEC_PER_HOUR, "h", buffer);
        return buffer;
}

static const struct {
        const char *name;
        uint64_t usec;
} duration_units[] = {
        { "", USEC_PER_SEC },
        { "us", 1 },
        { "usec", 1 },
        { "µs", 1 },
        { "ms", USEC_PER_MSEC },
        { "msec", USEC_PER_MSEC },
        { "s", USEC_PER_SEC },
        { "sec", USEC_PER_SEC },
        { "second", USEC_PER_SEC },
        { "seconds", USEC_PER_SEC },
        { "m", USEC_PER_MINUTE },
        { "min", USEC_PER_MINUTE },
        { "minute", USEC_PER_MINUTE },
        { "minutes", USEC_PER_MINUTE },
        { "h", USEC_PER_HOUR },
        { "hr", USEC_PER_HOUR },
        { "hour", USEC_PER_HOUR },
        { "hours", USEC_PER_HOUR },
        { "d", USEC_PER_DAY },
        { "day", USEC_PER_DAY },
        { "days", USEC_PER_DAY },
        { "w", USEC_PER_WEEK },
        { "week", USEC_PER_WEEK },
        { "weeks", USEC_PER_WEEK },
        { "M", USEC_PER_MONTH },
        { "month", USEC_PER_MONTH },
        { "months", USEC_PER_MONTH },
        { "y", USEC_PER_YEAR },
        { "year", USEC_PER_YEAR },
        { "years", USEC_PER_YEAR },
};

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static const char *skip_blanks(const char *p) {
        return p + strspn(p, " \t");
}

/* Digits with what follows the point in millionths; more than six such digits say nothing here. */
static int parse_decimal(const char **p, uint64_t *ret_whole, uint64_t *ret_millionths) {
        uint64_t whole = 0, millionths = 0;
        const char *q = *p;

        if (!is_digit(*q))
                return -EINVAL;
        for (; is_digit(*q); q++)
                if (__builtin_mul_overflow(whole, UINT64_C(10), &whole) ||
                    __builtin_add_overflow(whole, (uint64_t) (*q - '0'), &whole))
                        return -EINVAL;

        if (*q == '.') {
                if (!is_digit(*++q))
                        return -EINVAL;
                for (uint64_t weight = 100000; is_digit(*q); q++, weight /= 10)
                        millionths += weight * (uint64_t) (*q - '0');
        }

        *p = q;
        *ret_whole = whole;
        *ret_millionths = millionths;
        return 0;
}

static int parse_unit(const char **p, uint64_t *ret_usec) {
        size_t length = strcspn(*p, " \t0123456789.");

        for (size_t i = 0; i < ELEMENTSOF(duration_units); i++)
                if (strlen(duration_units[i].name) == length &&
                    memcmp(duration_units[i].name, *p, length) == 0) {
                        *p += length;
                        *ret_usec = duration_units[i].usec;
                        return 0;
                }
        return -EINVAL;
}

int parse_duration(const char *text, uint64_t *ret_usec) {
        uint64_t total = 0;

        const char *p = skip_blanks(text);
        if (strcmp(p, "infinity") == 0) {
                *ret_usec = USEC_INFINITY;
                return 0;
        }

        do {
                uint64_t whole, millionths, unit, usec;

                int r = parse_decimal(&p, &whole, &millionths);
                if (r < 0)
                        return r;
                p = skip_blanks(p);
                r = parse_unit(&p, &unit);
                if (r < 0)
                        return r;
                p = skip_blanks(p);

                uint64_t part = (uint64_t) ((unsigned __int128) unit * millionths / 1000000);
                if (__builtin_mul_overflow(whole, unit, &usec) ||
                    __builtin_add_overflow(usec, part, &usec) ||
                    __builtin_add_overflow(total, usec, &total) || total == USEC_INFINITY)
                        return -EINVAL;
        } while (*p != '\0');

        *ret_usec = total;
        return 0;
}

int parse_http_date(const char *text, int64_t *ret) {
        static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
        static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
        struct tm tm = { .tm_mon = -1 };
        char month[4], again[64];

        if (sscanf(text, "%*3s, %2d %3s %4d %2d:%2d:%2d", &tm.tm_mday, month, &tm.tm_year, &tm.tm_hour,
                   &tm.tm_min, &tm.tm_sec) != 6)
                return -EINVAL;
        for (int i = 0; i < 12; i++)
                if (strcmp(month, months[i]) == 0)
                        tm.tm_mon = i;
        if (tm.tm_mon < 0)
                return -EINVAL;
        tm.tm_year -= 1900;

        /* timegm() puts what is out of range in order. So only the text that this time is written as will
         * do: right day of the week, no 31 June, no blanks that sscanf() passed over. */
        time_t t = timegm(&tm);
        (void) snprintf(again, sizeof(again), "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday],
                        tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        if (strcmp(text, again) != 0)
                return -EINVAL;

        *ret = t;
        return 0;
}
