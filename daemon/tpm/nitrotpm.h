/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Gets one attestation document for a program that shares the TPM with others: opens it, asks, and closes it again. Blocks. */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "tpm/nsm.h"

/*
 * tcti: as for tpm_open(). If another program has the TPM open, or the TPM is busy, document_get() tries again until
 * timeout_usec have passed. It tries at least once. Errors are those of tpm_open() and tpm_attest(). The caller frees *ret.
 */
int document_get(const char *tcti, const NsmRequest *request, uint64_t timeout_usec, uint8_t **ret,
                 size_t *ret_size, Error *error);
