/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The TPM, as far as unseald needs it: NitroTPM's attestation command through an NV index, and PCRs. A thin
 * layer on tpm2-tss; it blocks and is called in a thread of its own. Nothing stays behind in the TPM: what
 * is made is removed in the end, and what a killed predecessor left is recognised (tpm.c says how) and
 * removed at the start.
 *
 * Sources: TCG TPM 2.0 Library parts 1-3; the public client nitro-tpm-attest for the vendor command.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "tpm/nsm.h"
#include "tpm/pcr.h"

typedef struct Tpm Tpm;

/*
 * Opens a TPM by its TCTI name ("device:/dev/tpm0", "swtpm:path=…"). FAILURE_TPM: REMEDY_RETRY where it is
 * not there yet or somebody else has it open (-EBUSY), none where the name itself is wrong. Does not wait by
 * itself.
 */
int tpm_open(const char *tcti, Tpm **ret, Error *error);

/* Removes what is in the TPM, best effort, and closes it. Returns NULL. */
Tpm *tpm_close(Tpm *tpm);
DEFINE_CLEANUP(Tpm *, tpm_close);

/*
 * All that can be done before the public key is there: removes leftovers (their number goes to
 * *ret_leftovers), makes the salt key, opens the session, defines the NV index.
 */
int tpm_prepare(Tpm *tpm, unsigned *ret_leftovers, Error *error);

/*
 * Asks for an attestation document (tpm_prepare() is done first where it was not) and removes everything
 * made for it. FAILURE_NOT_NITRO where the TPM does not know the command. The caller frees *ret.
 */
int tpm_attest(Tpm *tpm, const NsmRequest *request, uint8_t **ret, size_t *ret_size, Error *error);

/* What is in a TPM, and what state it is in. */
typedef struct TpmState {
        bool locked_out;           /* against dictionary attacks */
        uint32_t wrong, wrong_max; /* authorizations since, and that lock it */
        uint32_t recovery_sec;     /* until one of them is forgotten */
        unsigned leftovers;        /* of an unseald that was killed: tpm_prepare() removes them */
        /* As another client of the attestation command leaves them when it is killed; 0: none. */
        uint32_t foreign_index, foreign_key;
} TpmState;

/* Looks, and changes nothing. */
int tpm_inspect(Tpm *tpm, TpmState *ret, Error *error);

/* Reads the PCRs in mask (bit n: PCR n) of the SHA-384 bank. FAILURE_TPM where that bank is not active. */
int tpm_read_pcrs(Tpm *tpm, uint32_t mask, PcrSet *ret, Error *error);

/* Extends a PCR of the SHA-384 bank with a digest of PCR_SIZE bytes. */
int tpm_extend_pcr(Tpm *tpm, unsigned pcr, const uint8_t digest[static PCR_SIZE], Error *error);
