/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The journal. Every entry that an operator may meet has a MESSAGE_ID with a text in the catalog (conf/unseald.catalog), and
 * fields to search by. If standard error is not the journal (a terminal, a test), the entry is a line on standard error.
 *
 * Callers never pass a secret, a key or a token. No function here takes a Secret.
 */

#include <stdint.h>
#include <syslog.h>

#include "basic/cleanup.h"
#include "basic/error.h"

/* Message IDs; each has an entry in the catalog. */
#define MESSAGE_STARTED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a01"
#define MESSAGE_STEP "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a02"
#define MESSAGE_WAITING "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a03"
#define MESSAGE_PUBLISHED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a04"
#define MESSAGE_READY "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a05"
#define MESSAGE_FAILED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a06"
#define MESSAGE_DENIED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a07"
#define MESSAGE_CONFIGURATION "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a08"
#define MESSAGE_LEFTOVERS "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a09"
#define MESSAGE_OPTIONAL "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a0a"
#define MESSAGE_RESTORED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a0b"
#define MESSAGE_DROPPED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a0c"
#define MESSAGE_LOCKED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a0d"
#define MESSAGE_LOCK_FAILED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a0e"
#define MESSAGE_LOCKED_OUT "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a0f"
#define MESSAGE_REFUSED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a11"
#define MESSAGE_RELOADED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a12"
#define MESSAGE_NOT_RELOADED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a13"
#define MESSAGE_NOT_PUBLISHED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a14"
#define MESSAGE_CHANGED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a15"
#define MESSAGE_NOT_REFRESHED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a16"
#define MESSAGE_REMOVED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a17"
#define MESSAGE_CALLER_WAITS "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a18"
#define MESSAGE_UNDECLARED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a19"
#define MESSAGE_LATE "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a1a"
#define MESSAGE_LATE_FAILED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a1b"
#define MESSAGE_ATTESTED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a20"
#define MESSAGE_DOCUMENT_GIVEN "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a21"
#define MESSAGE_DOCUMENT_REFUSED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a22"
#define MESSAGE_POLICY "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a30"
#define MESSAGE_POLICY_UNKNOWN "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a31"
#define MESSAGE_OTHER_KEY "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a33"
#define MESSAGE_SIGNATURE "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a32"
#define MESSAGE_MEASURED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a40"
#define MESSAGE_MEASURE_FAILED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a41"
#define MESSAGE_KMS_ANSWERED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a70"
#define MESSAGE_KMS_FAILED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a71"
#define MESSAGE_KMS_REFUSED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a72"
#define MESSAGE_VOLUME_OPENED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a60"
#define MESSAGE_VOLUME_FAILED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a61"
#define MESSAGE_VOLUME_CORRUPT "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a62"
#define MESSAGE_VOLUME_UNVERIFIED "a0a5e1c3b4f14d3c8f7f0d0e6b1c5a63"

/* Fields of an entry beside its text. Zero or NULL: the entry lacks the field. */
typedef struct LogFields {
        const char *message_id;
        const char *secret;      /* UNSEALD_SECRET= */
        const char *unit;        /* UNSEALD_UNIT=, the unit that asks */
        const char *operation;   /* UNSEALD_OPERATION=, of KMS */
        const char *key;         /* UNSEALD_KEY=, the ARN of a key */
        const char *volume;      /* UNSEALD_VOLUME= */
        const char *state;       /* UNSEALD_STATE= */
        uint64_t duration_usec;  /* UNSEALD_DURATION_USEC= */
        unsigned attempt;        /* UNSEALD_ATTEMPT= */
        const uint64_t *version; /* UNSEALD_VERSION=, of a signed secret */
        const char *request_id;  /* UNSEALD_KMS_REQUEST_ID=, for entries without error */
        const char *lines;  /* more lines for the text, composed by unseald itself: their newlines stay */
        const Error *error; /* UNSEALD_FAILURE=, UNSEALD_KMS_ERROR=, UNSEALD_KMS_REQUEST_ID= */
} LogFields;

/* Drops entries with a higher number than this priority (LOG_DEBUG is the highest). The default is LOG_INFO. */
void log_set_max_priority(int priority);

/* Entries go to the journal from now on, wherever standard error leads. For a program that udev runs. */
void log_to_journal(void);

/* The text is cleaned with text_clean(): a newline in it becomes "?". fields may be NULL. */
void log_full(int priority, const LogFields *fields, const char *format, ...) _printf_(3, 4);

#define log_debug(...) log_full(LOG_DEBUG, NULL, __VA_ARGS__)
#define log_info(...) log_full(LOG_INFO, NULL, __VA_ARGS__)
#define log_warning(...) log_full(LOG_WARNING, NULL, __VA_ARGS__)
