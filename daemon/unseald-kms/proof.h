/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What unseald-kms proves to KMS: the role's credentials, and an attestation document with the key pair that its public half belongs to.
 * All are made when a request needs them. A document serves until it is four minutes old, so most requests cost no TPM command. The key
 * pair is replaced after RenewKeyPair=, and the old one stays until the last request with it is answered.
 */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "aws/sigv4.h"
#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/slice.h"
#include "config/settings.h"
#include "unsealing/attester.h"

typedef struct Proof Proof;

/* A key pair in use by requests. */
typedef struct ProofKey ProofKey;

/* Something that proof_get() waited for has come, or has failed. */
typedef void (*ProofChanged)(void *userdata);

/* settings is borrowed. */
int proof_new(sd_event *event, const Settings *settings, ProofChanged changed, void *userdata, Proof **ret);

/* Waits for the envelope that is being opened, and not for the TPM. Returns NULL. */
Proof *proof_free(Proof *proof);
DEFINE_CLEANUP(Proof *, proof_free);

/* Begins what a request lacks. 1: everything is here. 0: the caller waits for ProofChanged and calls again. Negative: no attempt can
 * help. now: CLOCK_MONOTONIC. */
int proof_get(Proof *proof, bool attested, uint64_t now, Error *error);

/* Why proof_get() waits: the last failure, or that there is no answer yet. */
void proof_explain(const Proof *proof, Error *ret);

/* Stays at its place. Its members are NULL until proof_get() returned 1. */
const AwsCredentials *proof_credentials(const Proof *proof);

/* The document for a request, after proof_get() returned 1 for an attested one. Valid until the event loop goes on. */
Slice proof_document(const Proof *proof, uint64_t now);

/* KMS did not accept the credentials, or the document, of a request that began then. The next proof_get() waits for others. */
void proof_renew_credentials(Proof *proof, uint64_t begun);
void proof_renew_document(Proof *proof, uint64_t begun);

/* The key pair of the current document. The caller gives it back. Returns NULL. */
ProofKey *proof_key_take(Proof *proof);
ProofKey *proof_key_give(ProofKey *key);

/* As attester_open(). The key must not be given back before the callback. */
int proof_key_open(ProofKey *key, const uint8_t *envelope, size_t size, AttesterOpened opened,
                   void *userdata);
