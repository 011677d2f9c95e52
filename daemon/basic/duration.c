/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/duration.h"

#define USEC_PER_MINUTE (60 * USEC_PER_SEC)
#define USEC_PER_HOUR (60 * USEC_PER_MINUTE)
#define USEC_PER_DAY (24 * USEC_PER_HOUR)
#define USEC_PER_WEEK (7 * USEC_PER_DAY)
#define USEC_PER_MONTH (UINT64_C(2629800) * USEC_PER_SEC) /* 30.4375 days, as systemd counts */
#define USEC_PER_YEAR (UINT64_C(31557600) * USEC_PER_SEC)

/* Writes three digits, without zeros at the end. It cuts and does not round, so 999.9ms never becomes 1000ms. */
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

/* Parses digits and a decimal fraction, which is returned in millionths. Digits after the sixth are ignored. */
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
