/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The attestation document: COSE_Sign1 (RFC 9052), ES384, in the shape of captured ones; made as a NitroTPM does, and
 * verified as KMS does. */

#include "../attestor.h"
#include "chain.h"
#include "item.h"
#include "nsm.h"

/* -ENOBUFS: does not fit. */
int document_make(const Chain *chain, const char *module_id, uint64_t timestamp_msec,
                  const NsmFields *fields, const uint8_t pcrs[static ATTESTOR_PCRS * ATTESTOR_PCR_SIZE],
                  Writer *document);

/* Everything but the document's age. roots: what is trusted. NULL, or what is wrong. */
const char *document_verify(X509_STORE *roots, Bytes document, int64_t now, AttestedFacts *ret);
