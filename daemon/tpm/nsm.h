/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The request to the Nitro Security Module behind the NitroTPM and its reply, in CBOR. Pure.
 * Source: AWS, NitroTPM attestation (EC2 User Guide) and the public client nitro-tpm-attest.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "basic/slice.h"

#define NSM_FIELD_MAX 1024
#define NSM_REQUEST_MAX 3200
#define NSM_INDEX_SIZE 8192 /* the NV index that carries both */

/* Each field may have NSM_FIELD_MAX bytes. data NULL becomes CBOR null. */
typedef struct NsmRequest {
        Slice user_data, nonce, public_key;
} NsmRequest;

/* Makes {"Attestation": {"user_data": …, "nonce": …, "public_key": …}}. -E2BIG: a field is too long. */
int nsm_request_encode(const NsmRequest *request, uint8_t buffer[static NSM_REQUEST_MAX], size_t *ret_size);

/*
 * Takes the document out of the content of the index. All bytes after the first CBOR item are padding. -EREMOTEIO: the NSM
 * answered an error; FAILURE_ATTESTATION with its name in error->code, and REMEDY_RETRY for InvalidOperation and
 * InternalError, which may pass. -EBADMSG: the reply is malformed. The caller frees *ret.
 */
int nsm_reply_decode(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size, Error *error);
