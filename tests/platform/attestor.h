/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The platform's Nitro security module. It makes a certificate chain under a throw-away root, attestation
 * documents in the shape of a real NitroTPM's (taken from a captured document), and it verifies such
 * documents as KMS does. It shares no code with unseald's own verifier, so that neither hides a mistake of
 * the other.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATTESTOR_PCRS 24
#define ATTESTOR_PCR_SIZE 48
#define ATTESTOR_INDEX_SIZE 8192

typedef struct Attestor Attestor;

/*
 * Makes the chain of five P-384 certificates. The leaf is valid for three hours; the attestor renews it
 * before. The root's certificate goes to root_path as PEM. instance_id: "i-…", region: "eu-north-1". Returns
 * a negative errno on failure.
 */
int attestor_new(const char *instance_id, const char *region, const char *root_path, Attestor **ret);
Attestor *attestor_free(Attestor *attestor);

/* Sets the clock forward by so many seconds (backward where negative). Only the documents' timestamps
 * follow it. */
void attestor_set_clock_offset(Attestor *attestor, int64_t seconds);

/* Answers an NSM request. index is the whole content of the NV index. The reply is CBOR of at most
 * ATTESTOR_INDEX_SIZE bytes: a document, or {"Error": code}. Returns -ENOMEM or 0. Thread-safe. */
int attestor_answer(Attestor *attestor, const uint8_t index[static ATTESTOR_INDEX_SIZE],
                    const uint8_t pcrs[static ATTESTOR_PCRS * ATTESTOR_PCR_SIZE],
                    uint8_t reply[static ATTESTOR_INDEX_SIZE], size_t *ret_size);

/* The content of a verified document. */
typedef struct AttestedFacts {
        uint32_t pcrs_present;
        uint8_t pcrs[ATTESTOR_PCRS][ATTESTOR_PCR_SIZE];
        uint8_t public_key[1024];
        size_t public_key_size; /* 0: the document has no public key */
        char module_id[128];
        uint64_t timestamp_msec;
} AttestedFacts;

/*
 * Verifies a document as KMS does: the COSE signature, the chain to this attestor's root, the validity of
 * all certificates at the time now, an age of at most five minutes (and a little future), and an RSA public
 * key of 2048, 3072 or 4096 bits. Returns 0, or -EBADMSG and a static reason in KMS's wording. The attestor
 * remembers a good document by its SHA-256 and checks only its age the next time. Thread-safe.
 */
int attestor_verify(Attestor *attestor, const uint8_t *document, size_t size, int64_t now,
                    AttestedFacts *ret, const char **ret_reason);

/*
 * Serves libtpms' shim on a Unix socket, in a thread of its own, until attestor_free(). Before each TPM
 * command except Startup and Shutdown it calls fault, which returns 0 or the TPM response code to answer in
 * place of executing the command. To play a slow TPM, fault may sleep for less than a minute;
 * attestor_free() waits for it. Returns -EBUSY if the attestor already serves a socket.
 */
typedef uint32_t (*AttestorFault)(uint32_t command_code, void *userdata);
int attestor_serve(Attestor *attestor, const char *socket_path, AttestorFault fault, void *userdata);
