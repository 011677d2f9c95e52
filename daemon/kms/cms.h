/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The envelope in which KMS answers an attested request: CMS EnvelopedData (RFC 5652 section 6) in BER with
 * indefinite lengths, one KeyTransRecipientInfo by subjectKeyIdentifier (RSAES-OAEP with SHA-256 and
 * MGF1-SHA-256, RFC 4055), AES-256-CBC. Nothing else is accepted. Pure.
 *
 * CBC carries no authentication and anyone can encrypt to a public key: that an envelope opens says nothing
 * about who made it. Only TLS makes KMS's answer believable.
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

/* What an envelope consists of, as slices of it. */
typedef struct CmsEnvelope {
        CmsSlice encrypted_key;
        CmsSlice iv; /* 16 bytes */
        CmsSlice content[CMS_SEGMENTS_MAX];
        size_t segments;     /* of the encrypted content, in which KMS may cut it */
        size_t content_size; /* of all: a multiple of 16, at least 16 */
} CmsEnvelope;

/* -EBADMSG: no such envelope. */
int cms_parse(const uint8_t *data, size_t size, CmsEnvelope *ret);

/* -EBADMSG: no such envelope. -EKEYREJECTED: it is one, but does not open with this key. -ENOMEM. */
int cms_open(const uint8_t *data, size_t size, EVP_PKEY *private_key, Secret **ret);
