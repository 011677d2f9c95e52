/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Reads ciphertext that is on this machine: file:, credential: and volume:. */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "source/source.h"

/* Reads a file or credential of at most maximum raw bytes. FAILURE_SOURCE. The caller frees *ret, the ciphertext as raw
 * bytes. */
int source_read_file(const Source *source, size_t maximum, uint8_t **ret, size_t *ret_size, Error *error);

/* Where the label of a volume is looked for (volume:). */
typedef struct SourceLabelPlaces {
        const char *labels; /* the directory where unseald-volume-label@.service writes what labels hold */
        const char *sealed; /* that with what source_write_sealed() has written; NULL: nowhere */
} SourceLabelPlaces;

/*
 * Reads the ciphertext in the label of a volume, which comes from an untrusted disk: KMS and the encryption context decide whether it opens.
 * What was written with source_write_sealed() in this boot comes first: the volume was made with it, and the label was read before.
 *
 * Returns 0 and *ret, which the caller frees. Returns 1: the volume has no label yet, because its device is blank and may become a
 * new volume. FAILURE_UNAVAILABLE with REMEDY_RETRY: the label has not been read yet. FAILURE_SOURCE.
 */
int source_read_label(const Source *source, const SourceLabelPlaces *places, uint8_t **ret, size_t *ret_size,
                      Error *error);

/* Writes the ciphertext of a volume's key for unseald-volume@.service, which writes it into the label before it uses the key. Everybody may read
 * it. FAILURE_STORE. */
int source_write_sealed(const Source *source, const char *directory, const uint8_t *ciphertext, size_t size,
                        Error *error);

/*
 * Opens a file or credential for a message that is too large to be read as a whole: raw, and of more than whole_max bytes. Returns 1:
 * *ret is its beginning, at most MESSAGE_HEADER_MAX bytes, *ret_message_size the size of all of it, and *ret_fd is open for reading; the
 * caller frees and closes them. Returns 0 for anything else, which source_read_file() reads or refuses. FAILURE_SOURCE.
 */
int source_open_large(const Source *source, uint64_t whole_max, uint8_t **ret, size_t *ret_size,
                      uint64_t *ret_message_size, int *ret_fd, Error *error);
