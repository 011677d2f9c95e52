/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A public key as attestation documents carry it: DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7). Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether it looks like PEM (RFC 7468), whatever is in it. */
bool is_pem(const uint8_t *data, size_t size);

/*
 * Out of a certificate or a public key, in PEM (of several the first; certificates come before keys) or DER. The key
 * itself is not looked at and may be of any kind. -EBADMSG where it is neither, -E2BIG where it has more than
 * NSM_FIELD_MAX bytes. The caller frees *ret.
 */
int public_key_parse(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size);

/* Whether what public_key_parse() gave is of RSA, of whatever scheme: what KMS could encrypt to. */
bool public_key_is_rsa(const uint8_t *key, size_t size);
