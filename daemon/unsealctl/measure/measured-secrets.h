/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The secrets of the option --secret= of 'measure' and 'verify', and the values of the PCRs that unseald extends with them (MeasurePcr=) if
 * nothing else extends these. */

#include <stdbool.h>
#include <stddef.h>

#include "basic/limits.h"
#include "tpm/pcr.h"

typedef struct MeasuredSecret {
        const char *name, *path; /* borrowed */
        unsigned pcr;
        uint8_t sealed[PCR_SIZE]; /* SHA-384 of the ciphertext, or of the message's header */
} MeasuredSecret;

typedef struct MeasuredSecrets {
        MeasuredSecret items[LIMIT_SECRETS]; /* in the order of the command line, then of the names */
        size_t count;
        unsigned pcr; /* of the secrets that follow; 0: --measure-pcr= is missing */
        bool any_pcr; /* of 'verify': --measure-pcr= does not exist */
} MeasuredSecrets;

/* --measure-pcr=: returns 0 or an exit status. */
int measured_secrets_set_pcr(MeasuredSecrets *secrets, const char *text);

/* --secret=NAME=SEALED: argument is an element of argv, and is cut at its first "=". Returns 0 or an exit status. */
int measured_secrets_add(MeasuredSecrets *secrets, char *argument);

/* Reads the sealed secrets, and sorts them by their names. Returns 0, or an exit status after a message; malformed: the status for a file
 * that is no sealed secret. */
int measured_secrets_read(MeasuredSecrets *secrets, int malformed);

/* Adds the PCRs of the secrets to *ret. Returns 0, or an exit status after a message. */
int measured_secrets_extend(const MeasuredSecrets *secrets, PcrSet *ret);
