/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where ciphertext comes from. None of it is believed: it is ciphertext, and KMS and the encryption context decide. */

#include <stdbool.h>
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

/* Pure. -EINVAL, with what is wrong in *error (FAILURE_CONFIGURATION; the caller adds file and line). */
int source_parse(const char *text, Source *ret, Error *error);

/* Reads a SOURCE_FILE of at most maximum raw bytes: FAILURE_SOURCE. The caller frees *ret, the ciphertext as raw bytes. */
int source_read_file(const Source *source, size_t maximum, uint8_t **ret, size_t *ret_size, Error *error);

/*
 * What a carrier holds, raw or base64, to raw bytes. Pure. What is base64 from its first to its last character (white
 * space aside) is base64; other text is refused; the rest is raw. That is safe: every ciphertext that KMS makes begins
 * with the byte 0x01, which is neither base64 nor text, and were it ever to begin otherwise, that of its more than
 * hundred bytes of cipher not one falls outside of text would be a chance of less than one in 2^100.
 */
int source_decode(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size, Error *error);

/* Absolute, no longer than PATH_MAX, without empty, "." and ".." components. */
bool source_path_is_plain(const char *path) _pure_;
