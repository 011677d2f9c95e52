/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Asks the attestation service of an instance for a document. Blocks until the answer is there. */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "basic/slice.h"

/*
 * url: http:// or https:// (TLS is checked against the system's certificates), a host, optionally a port and a path that
 * ATTESTATION_PATH is appended to, and nothing else. Redirects are not followed.
 *
 * ret_key: NULL, or where to put the public key of the server in this TLS connection, DER SubjectPublicKeyInfo. With it url begins with
 * https://, and the certificate is not checked: the caller compares the key with the document's. The caller frees *ret_key.
 *
 * *ret holds the body of the answer, at most ATTESTATION_DOCUMENT_MAX bytes. It is untrusted and not parsed. The caller frees it.
 * FAILURE_USAGE, _NETWORK, _TLS, _CLOCK, _UNAVAILABLE (the service is at its limit or has no TPM), _ANSWER.
 */
int fetch_document(const char *url, const uint8_t *nonce, size_t nonce_size, Slice *ret_key, uint8_t **ret,
                   size_t *ret_size, Error *error);
