/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* CBOR as NSM messages and documents need it: written into a buffer of fixed size by libcbor's encoders, read strictly
 * (definite lengths, no other type) from its items. */

#include "basic/cbor.h"

typedef struct Bytes {
        const uint8_t *data; /* NULL: CBOR null; never that of an empty byte string */
        size_t size;
} Bytes;

typedef struct Writer {
        uint8_t *data;
        size_t capacity, size;
        bool overflowed; /* to be looked at before the rest */
} Writer;

/* encode: one of libcbor's cbor_encode_*(), with its arguments but the buffer. */
#define WRITE(writer, encode, ...)                                                               \
        writer_advance(writer, encode(__VA_ARGS__ __VA_OPT__(, )(writer)->data + (writer)->size, \
                                      (writer)->capacity - (writer)->size))
void writer_advance(Writer *writer, size_t n);
void writer_text(Writer *writer, const char *text);
void writer_bytes(Writer *writer, Bytes bytes);

bool item_is_text(const cbor_item_t *item, const char *text);
/* The value of a text key; NULL: not there. */
const cbor_item_t *item_in_map(const cbor_item_t *map, const char *key);
/* item may be NULL, which is neither. */
bool item_bytes_or_null(const cbor_item_t *item, Bytes *ret);
bool item_bytes(const cbor_item_t *item, size_t min, size_t max, Bytes *ret);
