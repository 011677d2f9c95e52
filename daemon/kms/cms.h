/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The envelope in which KMS answers an attested request (CiphertextForRecipient): CMS EnvelopedData (RFC 5652 section 6)
 * in BER or DER, with AES-256-CBC and one KeyTransRecipientInfo by RSAES-OAEP with SHA-256 and MGF1-SHA-256 (RFC 4055).
 * KMS sends version 2, which names the recipient's key by subjectKeyIdentifier. LocalStack sends version 0, which names
 * an issuer and a serial number. Nothing else is accepted. Pure.
 *
 * CBC has no authentication, and anybody can encrypt to a public key. An envelope that opens says nothing about its
 * maker. Only TLS shows that KMS made it.
 */

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/secret.h"

#define CMS_ENVELOPE_MAX (16U * 1024U)
#define CMS_SEGMENTS_MAX 32U

typedef struct CmsSlice {
        const uint8_t *data;
        size_t size;
} CmsSlice;

/* The parts of an envelope, as slices of it. */
typedef struct CmsEnvelope {
        CmsSlice key_identifier; /* data NULL: the envelope has issuer and serial number instead */
        CmsSlice encrypted_key;
        CmsSlice iv; /* 16 bytes */
        CmsSlice content[CMS_SEGMENTS_MAX];
        size_t segments;     /* KMS may cut the encrypted content into several */
        size_t content_size; /* of all segments: a multiple of 16, at least 16 */
} CmsEnvelope;

/* -EBADMSG: this is no envelope of that shape. */
int cms_parse(const uint8_t *data, size_t size, CmsEnvelope *ret);

/*
 * -EBADMSG: this is no envelope of that shape. -EKEYREJECTED: it does not open with this key. -ENOKEY: neither does it, and
 * its subjectKeyIdentifier is that of another key. -ENOMEM: there is too little memory, or it cannot be locked. -EIO:
 * OpenSSL failed in another way. The caller frees *ret.
 */
int cms_open(const uint8_t *data, size_t size, EVP_PKEY *private_key, Secret **ret);
