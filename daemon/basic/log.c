/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "basic/log.h"
#include "basic/text.h"

#define FIELD_MAX 2560
#define FIELDS_MAX 12
#define MESSAGE_MAX (FIELD_MAX - sizeof("MESSAGE="))

static int max_priority = LOG_INFO;
static bool journal_wanted;

void log_set_max_priority(int priority) {
        max_priority = priority;
}

void log_to_journal(void) {
        journal_wanted = true;
}

/* JOURNAL_STREAM= has the device and inode of the stream to the journal (systemd.exec(5)). If standard error is another file by
 * now, somebody redirected it and wants to read the entries there. */
static bool stderr_is_journal(void) {
        static int cached = -1;
        const char *stream = getenv("JOURNAL_STREAM");
        struct stat st;
        char expected[64];

        if (cached >= 0)
                return cached;

        cached = 0;
        if (stream && fstat(STDERR_FILENO, &st) >= 0) {
                (void) snprintf(expected, sizeof(expected), "%" PRIuMAX ":%" PRIuMAX, (uintmax_t) st.st_dev,
                                (uintmax_t) st.st_ino);
                cached = strcmp(stream, expected) == 0;
        }
        return cached;
}

typedef struct Entry {
        char text[FIELDS_MAX][FIELD_MAX];
        struct iovec fields[FIELDS_MAX];
        int count;
} Entry;

_printf_(2, 3) static void entry_add(Entry *entry, const char *format, ...) {
        va_list arguments;
        int n;

        if (entry->count >= FIELDS_MAX)
                return;

        va_start(arguments, format);
        n = vsnprintf(entry->text[entry->count], FIELD_MAX, format, arguments);
        va_end(arguments);
        if (n < 0)
                return;

        entry->fields[entry->count] = (struct iovec){
                .iov_base = entry->text[entry->count],
                .iov_len = strlen(text_clean_lines(entry->text[entry->count])),
        };
        entry->count++;
}

static void entry_add_fields(Entry *entry, const LogFields *fields) {
        if (fields->message_id)
                entry_add(entry, "MESSAGE_ID=%s", fields->message_id);
        if (fields->secret)
                entry_add(entry, "UNSEALD_SECRET=%s", fields->secret);
        if (fields->unit)
                entry_add(entry, "UNSEALD_UNIT=%s", fields->unit);
        if (fields->operation)
                entry_add(entry, "UNSEALD_OPERATION=%s", fields->operation);
        if (fields->key)
                entry_add(entry, "UNSEALD_KEY=%s", fields->key);
        if (fields->volume)
                entry_add(entry, "UNSEALD_VOLUME=%s", fields->volume);
        if (fields->state)
                entry_add(entry, "UNSEALD_STATE=%s", fields->state);
        if (fields->duration_usec > 0)
                entry_add(entry, "UNSEALD_DURATION_USEC=%" PRIu64, fields->duration_usec);
        if (fields->attempt > 0)
                entry_add(entry, "UNSEALD_ATTEMPT=%u", fields->attempt);
        if (fields->version)
                entry_add(entry, "UNSEALD_VERSION=%" PRIu64, *fields->version);
        if (fields->request_id && *fields->request_id)
                entry_add(entry, "UNSEALD_KMS_REQUEST_ID=%s", fields->request_id);
        if (!fields->error)
                return;
        entry_add(entry, "UNSEALD_FAILURE=%s", failure_to_string(fields->error->failure));
        if (fields->error->code[0])
                entry_add(entry, "UNSEALD_KMS_ERROR=%s", fields->error->code);
        if (fields->error->request_id[0])
                entry_add(entry, "UNSEALD_KMS_REQUEST_ID=%s", fields->error->request_id);
}

_printf_(3, 0) static void compose(char message[MESSAGE_MAX], const LogFields *fields, const char *format,
                                   va_list arguments) {
        size_t length;

        (void) vsnprintf(message, MESSAGE_MAX, format, arguments);
        length = strlen(text_clean(message));
        if (fields && fields->lines && *fields->lines) {
                (void) snprintf(message + length, MESSAGE_MAX - length, "\n%s", fields->lines);
                (void) text_clean_lines(message + length);
        }
}

void log_full(int priority, const LogFields *fields, const char *format, ...) {
        char message[MESSAGE_MAX];
        va_list arguments;
        Entry entry;

        if (priority > max_priority)
                return;

        va_start(arguments, format);
        compose(message, fields, format, arguments);
        va_end(arguments);

        if (!journal_wanted && !stderr_is_journal()) {
                (void) fprintf(stderr, "%s\n", message);
                return;
        }

        entry.count = 0;
        entry_add(&entry, "MESSAGE=%s", message);
        entry_add(&entry, "PRIORITY=%d", priority);
        entry_add(&entry, "SYSLOG_IDENTIFIER=%s", program_invocation_short_name);
        if (fields)
                entry_add_fields(&entry, fields);

        /* The journal may refuse the entry and still take the line. sd_journal_sendv() reports no error if journald does not run,
         * but then standard error does not lead to the journal either. */
        if (sd_journal_sendv(entry.fields, entry.count) < 0)
                (void) fprintf(stderr, "<%d>%s\n", priority, message);
}
