/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The request to and the reply from the Nitro Security Module behind the NitroTPM, as CBOR. Pure.
 * Source: AWS, NitroTPM attestation (EC2 User Guide) and the public client nitro-tpm-attest.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"

#define NSM_FIELD_MAX 1024
#define NSM_REQUEST_MAX 3200
#define NSM_INDEX_SIZE 8192 /* of the NV index through which both travel */

/* Each at most NSM_FIELD_MAX bytes; NULL: CBOR null. */
typedef struct NsmRequest {
        const uint8_t *user_data, *nonce, *public_key;
        size_t user_data_size, nonce_size, public_key_size;
} NsmRequest;

/* {"Attestation": {"user_data": …, "nonce": …, "public_key": …}}. -E2BIG where a field is too long. */
int nsm_request_encode(const NsmRequest *request, uint8_t buffer[static NSM_REQUEST_MAX], size_t *ret_size);

/* The document out of the whole content of the index (what follows the first CBOR item is padding). An NSM
 * error is FAILURE_ATTESTATION with its name in error->code; InvalidOperation and InternalError may pass
 * (REMEDY_RETRY). The caller frees *ret. */
int nsm_reply_decode(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size, Error *error);
