/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* libcbor, made strict and bounded; and a reader that copies nothing. */

#include <cbor.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"

static inline void cbor_put(cbor_item_t *item) {
        cbor_decref(&item);
}
DEFINE_CLEANUP(cbor_item_t *, cbor_put);
#define _cleanup_cbor_ _cleanup_(cbor_putp)

/*
 * Reads the first item of data; *ret_read is its length in bytes. The whole of it is checked before libcbor
 * allocates anything: depth (at most 8), item count (at most 1024) and every length against what is left, so
 * that a few bytes cannot ask for gigabytes. -EBADMSG otherwise. ret_read NULL: nothing may follow.
 *
 * Accepted is what RFC 8949 calls well-formed, but for floating-point numbers, simple values other than
 * false, true, null and undefined, and tags: libcbor before 0.11 knows but some of them. That includes
 * indefinite lengths, arguments longer than need be and duplicate keys: the caller judges them. Whether text
 * must be UTF-8 differs between versions of libcbor.
 */
int cbor_parse(const uint8_t *data, size_t size, cbor_item_t **ret, size_t *ret_read);

/* For whoever needs to know where in the data a thing stands, or needs tags: one head after the other (RFC
 * 8949 section 3). */
typedef struct CborReader {
        const uint8_t *data;
        size_t left;
} CborReader;

typedef struct CborHead {
        cbor_type type;      /* the major type */
        bool indefinite;     /* length; of a CBOR_TYPE_FLOAT_CTRL: the break that ends one */
        uint64_t argument;   /* number, tag or simple value; how many bytes, items, pairs */
        const uint8_t *data; /* a string of definite length, which is read with its head */
} CborHead;

/* The next head. Lengths are checked against what is left; accepted is what cbor_parse() accepts, and tags.
 * -EBADMSG, and then nothing is read. */
int cbor_next(CborReader *reader, CborHead *ret);

/* Whether another item (of a map: pair; of a string of indefinite length: chunk) follows the first done
 * ones. Reads the break. Where data ends too soon it is true, and cbor_next() fails. */
bool cbor_more(CborReader *reader, const CborHead *container, uint64_t done);
