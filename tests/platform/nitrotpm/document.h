/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The attestation document: COSE_Sign1 (RFC 9052) with ES384, in the shape of captured documents. Made as a
 * NitroTPM makes it, and verified as KMS verifies it.
 */

#include "../attestor.h"
#include "chain.h"
#include "item.h"
#include "nsm.h"

/* Returns -ENOBUFS where the document does not fit. */
int document_make(const Chain *chain, const char *module_id, uint64_t timestamp_msec,
                  const NsmFields *fields, const uint8_t pcrs[static ATTESTOR_PCRS * ATTESTOR_PCR_SIZE],
                  Writer *document);

/* Verifies all but the document's age. roots are the trusted certificates. Returns NULL, or a reason for
 * the refusal. */
const char *document_verify(X509_STORE *roots, Bytes document, int64_t now, AttestedFacts *ret);
