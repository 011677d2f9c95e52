/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Requests to the Nitro security module and its replies, as they stand in the NV index. What has not been seen to work
 * on hardware (other fields, indefinite lengths) is refused. */

#include "item.h"

#define NSM_FIELD_MAX_SIZE 1024U

typedef struct NsmFields {
        cbor_item_t *item; /* what the others point into; the caller's to put */
        Bytes user_data, nonce, public_key;
} NsmFields;

/* NULL, or the name of an NSM error. What is behind the first item is padding. */
const char *platform_nsm_request_read(const uint8_t *index, size_t size, NsmFields *ret);

/* 0 where it does not fit. */
size_t platform_nsm_error_write(const char *name, uint8_t *reply, size_t capacity);
size_t platform_nsm_document_write(Bytes document, uint8_t *reply, size_t capacity);
