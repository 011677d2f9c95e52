/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An attestation document for who wants one now and then, and shares the TPM with others: it is opened, asked and closed
 * again. Blocks. */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "tpm/nsm.h"

/*
 * tcti: as for tpm_open(). While another program has the TPM open, or the TPM is busy, it is tried again until so much
 * time has passed; one attempt at the least. Errors are those of tpm_open() and tpm_attest(). The caller frees *ret.
 */
int document_get(const char *tcti, const NsmRequest *request, uint64_t timeout_usec, uint8_t **ret,
                 size_t *ret_size, Error *error);
