/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The log of the events that MeasurePcr= has extended: TCG "Canonical Event Log Format" (CEL) 1.0, in the JSON encoding of its section 5
 * (CEL-JSON). The log is one array of records, in the order of the events:
 *
 *     {"recnum": 0, "pcr": 8, "digests": [{"hashAlg": "sha384", "digest": HEX}], "content_type": "unseald",
 *      "content": {"secret": NAME, "sealed_sha384": HEX}}
 *
 * The digest is what extends the PCR (tpm/secret-events.h). Nothing in a log is believed before it has been replayed, and led to the
 * PCRs of an attestation document. Everything here is a function of its arguments.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "tpm/pcr.h"

#define EVENT_LOG_SIZE_MAX (4U * 1024U * 1024U) /* bytes of a log that is read */
#define EVENT_LOG_RECORDS_MAX 8192U
#define EVENT_LOG_NAME_MAX 64U

#define EVENT_LOG_CONTENT_TYPE "unseald"

typedef struct EventLogRecord {
        unsigned pcr;             /* below PCR_COUNT */
        uint8_t digest[PCR_SIZE]; /* that extends the PCR */
        char secret[EVENT_LOG_NAME_MAX +
                    1];           /* the name; empty: a record of another program, and sealed is zeros */
        uint8_t sealed[PCR_SIZE]; /* SHA-384 of the ciphertext, or of the message's header */
} EventLogRecord;

/* Writes records of secrets only. The caller frees *ret, which ends with a newline. -ENOMEM. */
int event_log_format(const EventLogRecord *records, size_t count, char **ret);

/* Reads a log, which may also have records of other programs, and digests of other algorithms beside SHA-384. The digest of a record of
 * a secret must be that of its content. -EBADMSG: the text is no such log, and *error (FAILURE_ATTESTATION) says which record and why.
 * -ENOMEM. The caller frees *ret. */
int event_log_parse(const char *text, size_t length, EventLogRecord **ret, size_t *ret_count, Error *error);

/* Replays the records: sets the PCRs that they extend, from zeros, and no other. -EIO: OpenSSL failed. */
int event_log_replay(const EventLogRecord *records, size_t count, PcrSet *ret);
