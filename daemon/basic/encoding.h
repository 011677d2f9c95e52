/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Hexadecimal and base64 (RFC 4648), strict: no white space, no missing padding, nothing behind the end. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lower-case, NUL-terminated; the caller frees. */
int hex_encode(const void *data, size_t size, char **ret);

/* Either case, exactly size bytes. -EINVAL otherwise. */
int hex_decode(const char *text, void *buffer, size_t size);

/* With padding, NUL-terminated; the caller frees. */
int base64_encode(const void *data, size_t size, char **ret);

/* The caller frees *ret, which is never NULL on success. -EINVAL where the text is no base64, bits set
 * behind the end included. */
int base64_decode(const char *text, size_t length, uint8_t **ret, size_t *ret_size);

/* Of a text that a person or a tool may have wrapped: spaces, tabs and line ends between the characters
 * are passed over. Otherwise as base64_decode(). */
int base64_decode_lines(const char *text, size_t length, uint8_t **ret, size_t *ret_size);
