/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The events that MeasurePcr= extends into PCRs of the SHA-384 bank, one for each sealed secret. The digest of an event is
 *
 *     SHA-384( name NUL SHA-384(sealed secret) )
 *
 * where the sealed secret is the raw ciphertext, or the header of a message (source/message-header.h): without its data key
 * nobody makes another message of that header. It is never a digest of plaintext, with which everybody who sees the PCR could test
 * guesses. Everything here is a function of its arguments.
 *
 * Each event has the value that the PCR is expected to have before it. So the value of a PCR shows which of its events are extended,
 * and a process that goes on after another one extends none twice.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tpm/pcr.h"

typedef struct SecretEvent {
        unsigned pcr;             /* below PCR_COUNT */
        uint8_t digest[PCR_SIZE]; /* that extends the PCR */
        uint8_t before[PCR_SIZE]; /* the value of the PCR before this event */
} SecretEvent;

/* SHA-384 of the ciphertext, or of the header of a message. -EIO: OpenSSL failed. */
int secret_event_sealed(const uint8_t *data, size_t size, uint8_t ret[static PCR_SIZE]);

/* The digest of the event of a secret. sealed: from secret_event_sealed(). -EIO or -ENOMEM: OpenSSL failed. */
int secret_event_digest(const char *name, const uint8_t sealed[static PCR_SIZE],
                        uint8_t ret[static PCR_SIZE]);

/*
 * Sets `before` of the events from `planned` on; those before it have been planned earlier. extended: all of those are extended, so
 * the measured value counts, which may have events of other programs. Otherwise a new event follows the last planned one of its
 * PCR. If no event of a PCR was planned earlier, and the measured value is that of zeros extended by the first of the new events, then
 * an unseald whose manifest is lost has extended them, and they are planned from zeros.
 *
 * measured: the PCRs as attested. -ENODATA: it lacks a PCR that is needed. -EIO: OpenSSL failed.
 */
int secret_events_plan(SecretEvent *events, size_t count, size_t planned, bool extended,
                       const PcrSet *measured);

/* Finds the first event of this PCR, by its index, that is not extended yet if the PCR has this value. count: all are.
 * -ENOENT: the value is none that these events lead to. -EIO: OpenSSL failed. */
int secret_events_find(const SecretEvent *events, size_t count, unsigned pcr,
                       const uint8_t value[static PCR_SIZE], size_t *ret);

/* Plans the events of this PCR from `first` on anew, from this value. -EIO: OpenSSL failed. */
int secret_events_rebase(SecretEvent *events, size_t count, size_t first, unsigned pcr,
                         const uint8_t value[static PCR_SIZE]);
