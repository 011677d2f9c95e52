/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where ciphertext comes from. None of it is believed: it is ciphertext, and KMS and the encryption context decide. */

#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"

typedef enum SourceKind {
        SOURCE_FILE, /* file:/absolute/path */
} SourceKind;

typedef struct Source {
        SourceKind kind;
        char *location; /* of a file: its path */
} Source;

void source_clear(Source *source);

/* -EINVAL, with what is wrong in *error (FAILURE_CONFIGURATION; the caller adds file and line). */
int source_parse(const char *text, Source *ret, Error *error);

/* Reads a SOURCE_FILE: FAILURE_SOURCE. The caller frees *ret, the ciphertext as raw bytes. */
int source_read_file(const Source *source, size_t maximum, uint8_t **ret, size_t *ret_size, Error *error);

/* What a carrier holds, raw or base64, to raw bytes. Told apart safely: a KMS ciphertext begins with a byte that no
 * base64 text begins with and is never all base64 characters and white space. Pure. */
int source_decode(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size, Error *error);
