/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Asks the attestation service of an instance for a document, and waits for it. */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"

/*
 * url: http:// or https:// (checked against the system's certificates), a host, perhaps a port and a path before
 * ATTESTATION_PATH; no more. Redirects are not followed. What comes is only bytes, of ATTESTATION_DOCUMENT_MAX at most; the
 * caller frees *ret. FAILURE_USAGE, _NETWORK, _TLS, _CLOCK, _UNAVAILABLE (it has too much to do, or no TPM), _ANSWER.
 */
int fetch_document(const char *url, const uint8_t *nonce, size_t nonce_size, uint8_t **ret, size_t *ret_size,
                   Error *error);
