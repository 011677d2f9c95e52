/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * CBOR (RFC 8949), as far as NSM messages and attestation documents need it: a reader that copies nothing, and a writer into
 * a buffer of the caller. Neither allocates memory.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The major types (RFC 8949 section 3.1), with their numbers. */
typedef enum CborType {
        CBOR_UINT = 0,
        CBOR_NEGATIVE = 1,
        CBOR_BYTES = 2,
        CBOR_TEXT = 3,
        CBOR_ARRAY = 4,
        CBOR_MAP = 5,
        CBOR_TAG = 6,
        CBOR_SIMPLE = 7, /* false, true, null, undefined, and the break */
} CborType;

/* The argument of a CBOR_SIMPLE. */
#define CBOR_FALSE 20U
#define CBOR_TRUE 21U
#define CBOR_NULL 22U
#define CBOR_UNDEFINED 23U

typedef struct CborReader {
        const uint8_t *data;
        size_t left;
} CborReader;

typedef struct CborHead {
        CborType type;
        bool indefinite; /* the length is indefinite; a CBOR_SIMPLE with this set is the break that ends an item */
        uint64_t argument;   /* the number, tag or simple value; the count of bytes, items or pairs */
        const uint8_t *data; /* the content of a string of definite length, which is read with its head */
} CborHead;

/*
 * Reads the next head, and the content of a string of definite length. Every length is checked against the bytes that are
 * left. -EBADMSG: the head is not well-formed, or it is a floating-point number or a simple value other than the four above;
 * the reader then stays where it is.
 *
 * Indefinite lengths, arguments longer than necessary, duplicate keys and text that is not UTF-8 are accepted: the caller
 * judges them.
 */
int cbor_next(CborReader *reader, CborHead *ret);

/*
 * Returns whether another item follows the first done ones in this container (a pair in a map, a chunk in a string of indefinite
 * length). Reads the break. True also where the data ends too soon: cbor_next() then fails.
 */
bool cbor_more(CborReader *reader, const CborHead *container, uint64_t done);

typedef struct CborWriter {
        uint8_t *data;
        size_t capacity, size;
        bool overflowed; /* the buffer was too small: the content is incomplete, and nothing more is written */
} CborWriter;

/* Writes a head of definite length in its shortest form (RFC 8949 section 4.2.1). After the head of an array or map the
 * caller writes as many items or pairs as argument says. */
void cbor_write_head(CborWriter *writer, CborType type, uint64_t argument);

/* data may be NULL where size is 0. */
void cbor_write_bytes(CborWriter *writer, const void *data, size_t size);
void cbor_write_text(CborWriter *writer, const char *text);
void cbor_write_null(CborWriter *writer);
