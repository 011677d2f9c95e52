/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The parts of a TPM that unseald needs: PCRs, and NitroTPM's attestation command, which works through an NV index. A thin
 * layer on tpm2-tss. It blocks, so it is called in a thread of its own. Nothing stays in the TPM: unseald removes all
 * objects that it makes. If it is killed, the next process recognises its objects (tpm.c says how) and removes them first.
 *
 * Sources: TCG TPM 2.0 Library parts 1 to 3; the public client nitro-tpm-attest for the vendor command.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "tpm/nsm.h"
#include "tpm/pcr.h"

typedef struct Tpm Tpm;

/* Returns 0, or fails with FAILURE_TPM and -EOPNOTSUPP in a build without tpm2-tss (-Dtool-only=true), where tpm_open() always fails
 * so. A caller that does other work first can fail early. */
int tpm_supported(Error *error);

/*
 * Opens a TPM by its TCTI name ("device:/dev/tpm0", "swtpm:path=…"). FAILURE_TPM: with REMEDY_RETRY if the TPM is not there
 * yet or another program has it open (-EBUSY), without a remedy if the name is wrong. It tries once. The caller calls
 * tpm_close().
 */
int tpm_open(const char *tcti, Tpm **ret, Error *error);

/* Removes our objects from the TPM as far as it can, and closes it. Returns NULL. */
Tpm *tpm_close(Tpm *tpm);
DEFINE_CLEANUP(Tpm *, tpm_close);

/*
 * Does all that needs no public key yet: removes leftovers (*ret_leftovers: their number; may be NULL), makes the salt
 * key, opens the sessions, defines the NV index.
 */
int tpm_prepare(Tpm *tpm, unsigned *ret_leftovers, Error *error);

/*
 * Asks for an attestation document and removes all objects that were made for it. Calls tpm_prepare() if the caller did
 * not. FAILURE_NOT_NITRO if the TPM does not know the command. The caller frees *ret.
 */
int tpm_attest(Tpm *tpm, const NsmRequest *request, uint8_t **ret, size_t *ret_size, Error *error);

/* Up to 16 objects (TPM2_HANDLE; a build without tpm2-tss includes this header, too). */
typedef struct TpmHandles {
        uint32_t handle[16];
        size_t n;
} TpmHandles;

/* The objects in a TPM and its lock against dictionary attacks. */
typedef struct TpmState {
        bool locked_out;           /* after too many wrong authorizations */
        uint32_t wrong, wrong_max; /* wrong authorizations so far, and the number that locks the TPM */
        uint32_t recovery_sec;     /* the TPM forgets one wrong authorization in this time */
        unsigned leftovers; /* objects of a client that was killed, which tpm_prepare() removes. Other clients of the
                                    * attestation command make the same key as unseald, so it may be theirs. */
        /* Objects as another client of the attestation command leaves them if it is killed. unseald leaves them alone. */
        TpmHandles foreign_indices, foreign_keys;
} TpmState;

/* Reads the state and changes nothing. */
int tpm_inspect(Tpm *tpm, TpmState *ret, Error *error);

/* Reads the PCRs in mask (bit n: PCR n) of the SHA-384 bank. FAILURE_TPM if that bank is not active. */
int tpm_read_pcrs(Tpm *tpm, uint32_t mask, PcrSet *ret, Error *error);

/* Extends a PCR of the SHA-384 bank with a digest of PCR_SIZE bytes. */
int tpm_extend_pcr(Tpm *tpm, unsigned pcr, const uint8_t digest[static PCR_SIZE], Error *error);
