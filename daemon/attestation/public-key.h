/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A public key in the form of attestation documents: DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7). Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returns whether the data looks like PEM (RFC 7468), with any content. */
bool is_pem(const uint8_t *data, size_t size);

/*
 * Takes the key out of a certificate or a public key, in PEM or DER. If PEM has several, it takes the first certificate, or
 * else the first key. The key may be of any kind; it is not checked. -EBADMSG: there is neither. -E2BIG: the key has more
 * than NSM_FIELD_MAX bytes. -ENOMEM, or -EIO if OpenSSL failed. The caller frees *ret.
 */
int public_key_parse(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size);

/* Returns whether a key from public_key_parse() is an RSA key, of any scheme. KMS can encrypt to no other kind. */
bool public_key_is_rsa(const uint8_t *key, size_t size);
