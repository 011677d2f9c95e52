/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* libcbor, made strict and bounded. */

#include <cbor.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"

static inline void cbor_put(cbor_item_t *item) {
        cbor_decref(&item);
}
DEFINE_CLEANUP(cbor_item_t *, cbor_put);
#define _cleanup_cbor_ _cleanup_(cbor_putp)

/*
 * Reads the first item of data; *ret_read is its length in bytes. The whole of it is checked before libcbor allocates
 * anything: depth (at most 8), item count (at most 1024) and every length against what is left, so that a few bytes
 * cannot ask for gigabytes. -EBADMSG otherwise. ret_read NULL: nothing may follow.
 */
int cbor_parse(const uint8_t *data, size_t size, cbor_item_t **ret, size_t *ret_read);
