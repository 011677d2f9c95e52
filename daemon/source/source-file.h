/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Reads ciphertext that is on this machine: file: and credential:. */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "source/source.h"

/* Reads a file or credential of at most maximum raw bytes. FAILURE_SOURCE. The caller frees *ret, the ciphertext as raw
 * bytes. */
int source_read_file(const Source *source, size_t maximum, uint8_t **ret, size_t *ret_size, Error *error);

/*
 * Opens a file or credential for a message that is too large to be read as a whole: raw, and of more than whole_max bytes. Returns 1:
 * *ret is its beginning, at most MESSAGE_HEADER_MAX bytes, *ret_message_size the size of all of it, and *ret_fd is open for reading; the
 * caller frees and closes them. Returns 0 for anything else, which source_read_file() reads or refuses. FAILURE_SOURCE.
 */
int source_open_large(const Source *source, uint64_t whole_max, uint8_t **ret, size_t *ret_size,
                      uint64_t *ret_message_size, int *ret_fd, Error *error);
