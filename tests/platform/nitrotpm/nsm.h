/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Requests to the Nitro security module and its replies, as they stand in the NV index. The reader refuses
 * requests that nobody has seen work on hardware: other fields, indefinite lengths.
 */

#include "item.h"

#define NSM_FIELD_MAX_SIZE 1024U

typedef struct NsmFields {
        cbor_item_t *item; /* the members below point into it; the caller puts it */
        Bytes user_data, nonce, public_key;
} NsmFields;

/* Returns NULL, or the name of an NSM error. Bytes after the first item are padding. */
const char *platform_nsm_request_read(const uint8_t *index, size_t size, NsmFields *ret);

/* Both return 0 where the reply does not fit. */
size_t platform_nsm_error_write(const char *name, uint8_t *reply, size_t capacity);
size_t platform_nsm_document_write(Bytes document, uint8_t *reply, size_t capacity);
