/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * CBOR (RFC 8949) for NSM messages and attestation documents. The writer fills a buffer of fixed size with libcbor's
 * encoders. The reader takes libcbor's items and accepts only the type and length that the caller asks for. It is
 * separate from the product's reader (basic/cbor.h), so that neither hides a mistake of the other.
 */

#include <cbor.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"

static inline void item_put(cbor_item_t *item) {
        cbor_decref(&item);
}
DEFINE_CLEANUP(cbor_item_t *, item_put);
#define _cleanup_item_ _cleanup_(item_putp)

typedef struct Bytes {
        const uint8_t *data; /* NULL for CBOR null, never for an empty byte string */
        size_t size;
} Bytes;

typedef struct Writer {
        uint8_t *data;
        size_t capacity, size;
        bool overflowed; /* the content is incomplete: check this before using it */
} Writer;

/* encode is one of libcbor's cbor_encode_*(), called with the arguments and then the buffer. */
#define WRITE(writer, encode, ...)                                                               \
        writer_advance(writer, encode(__VA_ARGS__ __VA_OPT__(, )(writer)->data + (writer)->size, \
                                      (writer)->capacity - (writer)->size))
void writer_advance(Writer *writer, size_t n);
void writer_text(Writer *writer, const char *text);
void writer_bytes(Writer *writer, Bytes bytes);

/*
 * Reads the first item of data. ret_read receives its length in bytes; NULL means that nothing may follow the item.
 * Before libcbor allocates memory, the reader checks the nesting (at most 8 levels), the number of items (at most
 * 1024) and every length against the bytes that are left. It refuses tags, floating-point numbers, and strings of
 * indefinite length. -EBADMSG, -ENOMEM. The caller puts the item.
 */
int item_read(const uint8_t *data, size_t size, cbor_item_t **ret, size_t *ret_read);

bool item_is_text(const cbor_item_t *item, const char *text);
/* Returns the value of a text key, or NULL where the map has no such key. */
const cbor_item_t *item_in_map(const cbor_item_t *map, const char *key);
/* Both return false for NULL, which item_in_map() returns for a missing key. */
bool item_bytes_or_null(const cbor_item_t *item, Bytes *ret);
bool item_bytes(const cbor_item_t *item, size_t min, size_t max, Bytes *ret);
