/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Judges a log of MeasurePcr= (tpm/event-log.h) by the PCRs of an attestation document. Pure. */

#include <stdbool.h>
#include <stddef.h>

#include "tpm/event-log.h"

/* What a verifier expects of one secret. */
typedef struct LogExpectation {
        const char *secret;       /* borrowed */
        uint8_t sealed[PCR_SIZE]; /* SHA-384 of the ciphertext, or of the message's header */
} LogExpectation;

typedef enum LogMark {
        LOG_NOT_ASKED, /* a record of another program, or nothing is expected of the secret */
        LOG_REPLACED,  /* a later record of the same secret follows: this one is not delivered any more */
        LOG_EXPECTED,
        LOG_DIFFERENT,
} LogMark;

/*
 * marks has one element for each record. 0: the log leads from zeros to every PCR that it has, and the last record of each expected secret
 * is of the expected sealed secret. -EBADMSG: it does not, and *error (FAILURE_ATTESTATION) says which PCR or which secret differs.
 * -EIO: OpenSSL failed.
 */
int log_judge(const EventLogRecord *records, size_t count, const PcrSet *attested,
              const LogExpectation *expected, size_t expected_count, LogMark *marks, Error *error);

/* "not-asked", "replaced", "expected", "different". */
const char *log_mark_to_string(LogMark mark) _pure_;
