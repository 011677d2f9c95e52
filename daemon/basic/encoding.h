/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Hexadecimal and base64 (RFC 4648). The decoders are strict: white space, missing padding and bytes after the end are
 * errors. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lower case, NUL-terminated. The caller frees *ret. -ENOMEM. */
int hex_encode(const void *data, size_t size, char **ret);

/* Both cases are accepted. -EINVAL: the text is not hexadecimal, or it does not stand for exactly size bytes. */
int hex_decode(const char *text, void *buffer, size_t size);

/* With padding, NUL-terminated. The caller frees *ret. -ENOMEM. */
int base64_encode(const void *data, size_t size, char **ret);

/* The caller frees *ret, which is never NULL on success. -EINVAL: the text is not base64, or bits after the end are set.
 * -ENOMEM. */
int base64_decode(const char *text, size_t length, uint8_t **ret, size_t *ret_size);

/* The same into a buffer of length / 4 * 3 bytes, which may begin where the text begins. After a failure its content is undefined. */
int base64_decode_to(const char *text, size_t length, uint8_t *bytes, size_t *ret_size);

/* As base64_decode(), but spaces, tabs and line ends between the characters are skipped, because a person or a tool may have wrapped
 * the text. */
int base64_decode_lines(const char *text, size_t length, uint8_t **ret, size_t *ret_size);
