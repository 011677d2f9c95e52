/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Numbers of bytes, and how people write them. Pure. */

#include <stdint.h>

/* Parses a whole number, alone or with one of the suffixes K, M, G and T, which are powers of 1024 (as in systemd.syntax(7)). -EINVAL: the
 * text is something else. -ERANGE: the number does not fit. */
int parse_bytes(const char *text, uint64_t *ret);
