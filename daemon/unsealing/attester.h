/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The attester (RFC 9334, section 1): it proves to KMS what this boot measured. It has the key pair, the attestation document
 * over the public half, and it extends PCRs (MeasurePcr=, LockPcr=); with the private half it opens what KMS encrypted to the key pair.
 *
 * Two threads work behind this interface, one for the key pair and one for the TPM. All functions and callbacks belong to the
 * event loop.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/slice.h"
#include "memory/secret.h"
#include "tpm/pcr.h"
#include "tpm/secret-events.h"
#include "unsealing/step.h"

typedef struct Attester Attester;

/* The job of a step has ended. The owner marks the step as done, postponed or given up. After attester_stop() the step is
 * idle already, and r and error mean nothing. */
typedef void (*AttesterEnded)(Step *step, int r, const Error *error, void *userdata);

/* tpm_device: the name of a TCTI, such as "device:/dev/tpm0"; borrowed. */
int attester_new(sd_event *event, unsigned rsa_key_bits, const char *tpm_device, AttesterEnded ended,
                 void *userdata, Attester **ret);

/* In the order in which they are begun. ATTESTER_MEASURE begins only by attester_measure(), ATTESTER_LOCK by attester_lock(). */
typedef enum AttesterStep {
        ATTESTER_KEY_PAIR,
        ATTESTER_TPM,
        ATTESTER_DOCUMENT,
        ATTESTER_MEASURE,
        ATTESTER_LOCK,
        _ATTESTER_STEPS,
} AttesterStep;

Step *attester_step(Attester *attester, AttesterStep step);

/* The attestation document. data NULL: there is none, or it is too old for a new request. */
Slice attester_document(const Attester *attester, uint64_t now);

/* Returns whether the document is too old for a new request. It should be renewed once no request with it is under way. */
bool attester_document_is_old(const Attester *attester, uint64_t now);

/* The PCRs that the last document attests; none are present if there was no document yet. */
const PcrSet *attester_measured(const Attester *attester);

/* Makes a new document, because KMS refused this one or because it is too old. */
void attester_renew(Attester *attester);

/* Opens an envelope that KMS encrypted to the key pair. The envelope is copied. The callback owns plaintext, which is NULL if
 * r < 0. attester_forget() cancels the callback. */
typedef void (*AttesterOpened)(int r, Secret *plaintext, const Error *error, void *userdata);
int attester_open(Attester *attester, const uint8_t *envelope, size_t size, AttesterOpened opened,
                  void *userdata);

/* Begins ATTESTER_MEASURE if the step can begin: extends those events that the values of the PCRs do not show yet, in one job of the
 * TPM's thread. The events are copied at the first attempt. extended: how many of them, from the first on, are known to be extended.
 * untouched: nobody has begun to extend the others, so a PCR with another value than planned was extended by another program, and the
 * events follow that. Otherwise such a value is FAILURE_TPM without a remedy: whether the events are extended cannot be known, and
 * none may be extended twice. Returns 1 if the step has begun, 0 if it cannot begin yet. -ENOMEM. */
int attester_measure(Attester *attester, const SecretEvent *events, size_t count, size_t extended,
                     bool untouched, uint64_t now);

/* Begins ATTESTER_LOCK if the step can begin: extends the PCR, unless the PCR shows that it is extended already. before: the
 * value of the PCR when the secrets were unsealed. */
int attester_lock(Attester *attester, unsigned pcr, const uint8_t before[static PCR_SIZE], uint64_t now);

/* After ATTESTER_LOCK: whether the PCR was extended already, by an unseald that was killed right afterwards. */
bool attester_was_locked_before(const Attester *attester);

/* From now on the end of a job changes nothing. */
void attester_stop(Attester *attester);

/* Returns whether a TPM command is running. */
bool attester_is_busy(const Attester *attester);

/* Wipes the private key: nothing can be opened any more. Waits for the envelope that is being opened. */
void attester_forget(Attester *attester);

/* Does not wait for the TPM: a running command ends in its thread, which then closes the TPM. Returns NULL. */
Attester *attester_free(Attester *attester);
DEFINE_CLEANUP(Attester *, attester_free);
