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
