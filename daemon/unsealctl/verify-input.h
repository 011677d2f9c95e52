/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The forms in which people hand a nonce and an attestation document to 'unsealctl verify'. AWS's tools and chats carry both
 * as base64 or hexadecimal. A form is decoded only where it cannot mean anything else. Pure.
 *
 * Sources: RFC 4648 (base64, hexadecimal); RFC 9052 section 4.2 (COSE_Sign1), RFC 8949 section 3 (CBOR).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/input-form.h"

/* Base64 of fewer bytes is taken for the name of a file, unless it has a prefix. */
#define NONCE_TEXT_MIN 16U

/*
 * Decodes a nonce that is written out: "hex:" and digits, or "base64:" and text. Without a prefix: INPUT_FORM_HEX_MIN or more
 * hexadecimal digits, or base64 of NONCE_TEXT_MIN or more bytes that ends with "=". A file may have any of these names, so
 * the caller looks for one first, unless nonce_has_prefix(). The caller frees *ret.
 *
 * -ENOENT: the text has no prefix and is neither. -EINVAL: the text behind the prefix is not valid. -ENOMEM.
 */
int nonce_from_text(const char *text, uint8_t **ret, size_t *ret_size);

bool nonce_has_prefix(const char *text);

/* For an error: returns the prefix that would make a nonce of the name of a missing file. NULL: none would. Hexadecimal digits
 * may be few, and base64 of NONCE_TEXT_MIN or more bytes may end without "=". */
const char *nonce_missing_prefix(const char *text);

/* For an error: writes the digits of a nonce that has other characters between them, as in 0x0011, 00:11, "00 11" and UUIDs, if it has
 * NONCE_TEXT_MIN bytes or more. *ret is NULL where the text is no such nonce. The caller frees *ret. -ENOMEM. */
int nonce_digits(const char *text, char **ret);

/*
 * Replaces a document in base64 or hexadecimal by its bytes, if they begin as COSE_Sign1 in CBOR: an array of four (84) whose
 * first member is a byte string of four bytes (44), or tag 18 (d2) in front of an array of four. Other data stay as they are.
 * *data comes from malloc(). 0 or -ENOMEM.
 */
int document_unwrap(uint8_t **data, size_t *size);

/* Returns the form of data that are not a document, for an error. INPUT_BINARY: the form explains nothing. Base64 of fewer
 * than INPUT_FORM_BASE64_MIN characters is INPUT_TEXT, because it may be a word. */
InputForm document_form(const uint8_t *data, size_t size);
