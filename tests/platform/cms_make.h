/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * CiphertextForRecipient as KMS makes it: CMS EnvelopedData version 2 (RFC 5652) in BER with indefinite lengths, one
 * KeyTransRecipientInfo by subjectKeyIdentifier, RSAES-OAEP with SHA-256 and MGF1-SHA-256 (RFC 4055), AES-256-CBC.
 * Written byte by byte: OpenSSL's encoder makes DER, and a reader that only knows DER must fail here as it would on KMS.
 */

#include <stddef.h>
#include <stdint.h>

#define CMS_KEY_IDENTIFIER_SIZE 32
#define CMS_IV_SIZE 16

/* What differs between two envelopes. Borrowed. */
typedef struct CmsParts {
        const uint8_t *key_identifier; /* CMS_KEY_IDENTIFIER_SIZE */
        const uint8_t *encrypted_key;
        size_t encrypted_key_size; /* the RSA modulus: 256, 384 or 512 */
        const uint8_t *iv;         /* CMS_IV_SIZE */
        const uint8_t *content;    /* encrypted and padded */
        size_t content_size;
} CmsParts;

/* The envelope around parts that are there already. Pure; the caller frees. */
int platform_cms_encode(const CmsParts *parts, uint8_t **ret, size_t *ret_size);

/* What a fault may do to an envelope. Each is certain to be noticed, whatever the key and the plaintext. */
typedef enum CmsDefect {
        CMS_SOUND,
        CMS_DEFECT_CONTENT,   /* another last byte of padding, which no padding has */
        CMS_DEFECT_KEY,       /* a bit of the wrapped key */
        CMS_DEFECT_STRUCTURE, /* a length that goes beyond the end */
} CmsDefect;

/* Encrypts the plaintext to the RSA key of a DER SubjectPublicKeyInfo. -EBADMSG where that is no RSA key; the caller frees. */
int platform_cms_make(const uint8_t *public_key, size_t public_key_size, const uint8_t *plaintext,
                      size_t plaintext_size, CmsDefect defect, uint8_t **ret, size_t *ret_size);
