/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Parses times that people and servers write: durations of the configuration, and the headers Date and
 * Retry-After. Each line of the input is tried as each of them.
 */

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "basic/cleanup.h"
#include "basic/duration.h"
#include "basic/http-reply.h"

DEFINE_CLEANUP(HttpReply *, http_reply_clear);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A date that is accepted has only one spelling. */
static void check_date(const char *text) {
        char again[64], year[16];
        struct tm tm;
        int64_t date;

        if (parse_http_date(text, &date) < 0)
                return;
        time_t t = (time_t) date;
        assert(gmtime_r(&t, &tm));
        (void) snprintf(year, sizeof(year), "%04d", tm.tm_year + 1900);
        assert(strftime(again, sizeof(again), "%a, %d %b YYYY %H:%M:%S GMT", &tm) > 0);
        memcpy(again + strlen("Sun, 06 Nov "), year, 4); /* strftime() would not write four digits */
        assert(strcmp(text, again) == 0);
}

/* A duration that was printed can be read again. It is then the same or a little shorter, because printing
 * drops digits. */
static void check_duration(const char *text) {
        char buffer[DURATION_STRING_MAX], second[DURATION_STRING_MAX];
        uint64_t usec, again;

        if (parse_duration(text, &usec) < 0)
                return;
        assert(strlen(format_duration(usec, buffer)) < sizeof(buffer));
        assert(parse_duration(buffer, &again) >= 0);
        assert(again <= usec && usec - again <= usec / 9);
        assert(strcmp(format_duration(again, second), buffer) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size);
        _cleanup_(http_reply_clear) HttpReply reply = { .body_max = 16, .certificate_end = -1 };
        char *save = NULL;

        assert(text);
        http_reply_begin(&reply);
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                check_date(line);
                check_duration(line);
                assert(http_reply_add_header(&reply, line, strlen(line)) >= 0);
        }
        assert(http_reply_date(&reply) >= -62167219200); /* the year 0 */
        assert(http_reply_retry_after_usec(&reply) <= 3600 * USEC_PER_SEC);
        return 0;
}
