/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The platform's Nitro security module: a certificate chain under a throw-away root and attestation documents as a real
 * NitroTPM's (shape taken from a captured one), and the check of such documents as KMS does it. Written apart from
 * unseald's own verifier, so that neither can hide a mistake of the other.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATTESTOR_PCRS 24
#define ATTESTOR_PCR_SIZE 48
#define ATTESTOR_INDEX_SIZE 8192

typedef struct Attestor Attestor;

/* Makes the chain (five P-384 certificates; the leaf lives three hours and is renewed when it gets old). The root's
 * certificate is written to root_path as PEM. instance_id: "i-…", region: "eu-north-1". Negative errno. */
int attestor_new(const char *instance_id, const char *region, const char *root_path, Attestor **ret);
Attestor *attestor_free(Attestor *attestor);

/* Seconds by which the attestor's clock is off (a fault); moves the document's timestamp. */
void attestor_set_clock_offset(Attestor *attestor, int64_t seconds);

/* Answers an NSM request: index is the whole content of the NV index, reply at most ATTESTOR_INDEX_SIZE bytes of CBOR: a
 * document or {"Error": code}. Never fails but for lack of memory. Thread-safe. */
int attestor_answer(Attestor *attestor, const uint8_t index[static ATTESTOR_INDEX_SIZE],
                    const uint8_t pcrs[static ATTESTOR_PCRS * ATTESTOR_PCR_SIZE],
                    uint8_t reply[static ATTESTOR_INDEX_SIZE], size_t *ret_size);

/* What a verified document says. */
typedef struct AttestedFacts {
        uint32_t pcrs_present;
        uint8_t pcrs[ATTESTOR_PCRS][ATTESTOR_PCR_SIZE];
        uint8_t public_key[1024];
        size_t public_key_size; /* 0: none */
        char module_id[128];
        uint64_t timestamp_msec;
} AttestedFacts;

/* As KMS: COSE signature, chain to this attestor's root, certificates valid now, age at most five minutes (a little future
 * allowed), an RSA public key of 2048, 3072 or 4096 bits. 0 or -EBADMSG with a static reason in KMS's manner. A document that was found good is
 * remembered (by its SHA-256) and only its age is looked at again. Thread-safe. */
int attestor_verify(Attestor *attestor, const uint8_t *document, size_t size, int64_t now,
                    AttestedFacts *ret, const char **ret_reason);

/* Serves libtpms' shim on a Unix socket in a thread of its own, until attestor_free(). fault is asked before every TPM
 * command but Startup and Shutdown: 0, or the TPM response code to answer in its place. It may sleep to play a slow TPM,
 * for less than a minute; attestor_free() waits for it. Once an attestor: -EBUSY. */
typedef uint32_t (*AttestorFault)(uint32_t command_code, void *userdata);
int attestor_serve(Attestor *attestor, const char *socket_path, AttestorFault fault, void *userdata);
