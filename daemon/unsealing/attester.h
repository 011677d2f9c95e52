/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What proves this boot to KMS: the key pair, the attestation document over its public half, the lock of a PCR; and,
 * with the private half, the opening of what KMS encrypted to it. Two threads, the key pair's and the TPM's, work behind this
 * interface, and nothing that they touch is to be seen here. (RFC 9334 calls the one who proves the attester.)
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "memory/secret.h"
#include "tpm/pcr.h"
#include "unsealing/step.h"

typedef struct Attester Attester;

/* A step's job has ended, and the step is not told yet. After attester_stop() that is all that it means. */
typedef void (*AttesterEnded)(Step *step, int r, const Error *error, void *userdata);

/* tpm_device is borrowed. */
int attester_new(sd_event *event, unsigned rsa_key_bits, const char *tpm_device, AttesterEnded ended,
                 void *userdata, Attester **ret);

typedef enum AttesterStep {
        ATTESTER_KEY_PAIR,
        ATTESTER_TPM,
        ATTESTER_DOCUMENT,
        ATTESTER_LOCK,
        _ATTESTER_STEPS,
} AttesterStep;

Step *attester_step(Attester *attester, AttesterStep step);

/* Begins what can begin of key pair, TPM and document. */
int attester_begin(Attester *attester, uint64_t now);

typedef struct AttesterDocument {
        const uint8_t *data;
        size_t size;
        uint64_t made_usec;
        const PcrSet *measured; /* what it says */
} AttesterDocument;

/* The document; data NULL: there is none yet. */
AttesterDocument attester_document(const Attester *attester);

/* KMS did not like it, or it is too old: another is made. */
void attester_renew(Attester *attester);

/* Opens what KMS encrypted to the key pair. The envelope is copied. No callback after attester_forget(). */
typedef void (*AttesterOpened)(int r, Secret *plaintext, const Error *error, void *userdata);
int attester_open(Attester *attester, const uint8_t *envelope, size_t size, AttesterOpened opened,
                  void *userdata);

/* Extends the PCR, unless it shows that it is extended already. before: its value when the secrets were unsealed. */
int attester_lock(Attester *attester, unsigned pcr, const uint8_t before[static PCR_SIZE], uint64_t now);
bool attester_was_locked_before(const Attester *attester);

/* Nothing that ends from now on changes anything. */
void attester_stop(Attester *attester);

/* Whether a TPM command is under way that attester_free() would have to wait for. */
bool attester_is_busy(const Attester *attester);

/* The private key is wiped: nothing can be opened any more. Waits for what is being opened. */
void attester_forget(Attester *attester);

Attester *attester_free(Attester *attester);
DEFINE_CLEANUP(Attester *, attester_free);
