/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Makes CiphertextForRecipient as KMS does: CMS EnvelopedData version 2 (RFC 5652) in BER with indefinite
 * lengths, one KeyTransRecipientInfo by subjectKeyIdentifier, RSAES-OAEP with SHA-256 and MGF1-SHA-256 (RFC
 * 4055), AES-256-CBC.
 *
 * It writes the bytes itself, because OpenSSL's encoder makes DER. A reader that knows only DER must fail
 * here as it would with KMS.
 */

#include <stddef.h>
#include <stdint.h>

#define CMS_KEY_IDENTIFIER_SIZE 32
#define CMS_IV_SIZE 16

/* The parts in which two envelopes differ. Borrowed. */
typedef struct CmsParts {
        const uint8_t *key_identifier; /* CMS_KEY_IDENTIFIER_SIZE */
        const uint8_t *encrypted_key;
        size_t encrypted_key_size; /* the size of the RSA modulus: 256, 384 or 512 */
        const uint8_t *iv;         /* CMS_IV_SIZE */
        const uint8_t *content;    /* encrypted and padded */
        size_t content_size;
} CmsParts;

/* Encodes an envelope around parts that exist already. Pure. The caller frees *ret. */
int platform_cms_encode(const CmsParts *parts, uint8_t **ret, size_t *ret_size);

/* The changes that a fault makes in an envelope. A correct reader notices each of them, with any key and any
* plaintext. */
typedef enum CmsDefect {
        CMS_SOUND,
        CMS_DEFECT_CONTENT,   /* the last byte of the padding gets a value that no padding has */
        CMS_DEFECT_KEY,       /* a bit of the wrapped key changes */
        CMS_DEFECT_STRUCTURE, /* a length reaches beyond the end */
} CmsDefect;

/* Encrypts the plaintext to the RSA key in a DER SubjectPublicKeyInfo. Returns -EBADMSG if it holds no RSA
 * key. The caller frees *ret. */
int platform_cms_make(const uint8_t *public_key, size_t public_key_size, const uint8_t *plaintext,
                      size_t plaintext_size, CmsDefect defect, uint8_t **ret, size_t *ret_size);
