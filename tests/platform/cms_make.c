/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "cms_make.h"

#define CONTENT_KEY_SIZE 32
/* KMS cuts longer content into OCTET STRINGs of this size, as Bouncy Castle does. */
#define SEGMENT_SIZE 1000

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free);
DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free);

static const uint8_t envelope_start[] = {
        0x30, 0x80,                                                       /* ContentInfo */
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03, /* id-envelopedData */
        0xa0, 0x80,                                                       /* [0] */
        0x30, 0x80, 0x02, 0x01, 0x02,                                     /* EnvelopedData, version 2 */
};
static const uint8_t recipient_version[] = { 0x02, 0x01, 0x02 };
/* AlgorithmIdentifier of id-RSAES-OAEP with hashFunc and maskGenFunc. */
static const uint8_t oaep_sha256[] = {
        0x30, 0x3c, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07, 0x30, 0x2f, 0xa0,
        0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
        0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
        0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
};
static const uint8_t content_start[] = {
        0x30, 0x80,                                                              /* EncryptedContentInfo */
        0x06, 0x09,        0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01, /* id-data */
        0x30, 0x1d,        0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a, /* aes256-CBC */
        0x04, CMS_IV_SIZE,                                                                   /* its IV */
};
static const uint8_t content_constructed[] = { 0xa0, 0x80 };
/* The ends of [0], EncryptedContentInfo, EnvelopedData, [0] and ContentInfo: two bytes each. */
static const uint8_t ends_of_contents[5 * 2];

typedef struct Buffer {
        uint8_t *data; /* NULL: put functions only count */
        size_t size;
} Buffer;

static void put(Buffer *buffer, const void *data, size_t size) {
        if (buffer->data && size > 0)
                memcpy(buffer->data + buffer->size, data, size);
        buffer->size += size;
}

/* Writes a tag and a definite length, with as few bytes as DER has. */
static void put_header(Buffer *buffer, uint8_t tag, size_t size) {
        uint8_t header[4] = { tag };

        if (size < 0x80) {
                header[1] = (uint8_t) size;
                put(buffer, header, 2);
        } else if (size < 0x100) {
                header[1] = 0x81;
                header[2] = (uint8_t) size;
                put(buffer, header, 3);
        } else {
                header[1] = 0x82;
                header[2] = (uint8_t) (size >> 8);
                header[3] = (uint8_t) size;
                put(buffer, header, 4);
        }
}

static size_t with_header(size_t size) {
        Buffer counted = {};

        put_header(&counted, 0, size);
        return counted.size + size;
}

static void put_envelope(Buffer *buffer, const CmsParts *parts) {
        size_t recipient_size = sizeof(recipient_version) + with_header(CMS_KEY_IDENTIFIER_SIZE) +
                                sizeof(oaep_sha256) + with_header(parts->encrypted_key_size);

        put(buffer, envelope_start, sizeof(envelope_start));

        put_header(buffer, 0x31, with_header(recipient_size));
        put_header(buffer, 0x30, recipient_size);
        put(buffer, recipient_version, sizeof(recipient_version));
        put_header(buffer, 0x80, CMS_KEY_IDENTIFIER_SIZE);
        put(buffer, parts->key_identifier, CMS_KEY_IDENTIFIER_SIZE);
        put(buffer, oaep_sha256, sizeof(oaep_sha256));
        put_header(buffer, 0x04, parts->encrypted_key_size);
        put(buffer, parts->encrypted_key, parts->encrypted_key_size);

        put(buffer, content_start, sizeof(content_start));
        put(buffer, parts->iv, CMS_IV_SIZE);
        put(buffer, content_constructed, sizeof(content_constructed));
        for (size_t done = 0; done < parts->content_size;) {
                size_t left = parts->content_size - done, size = left < SEGMENT_SIZE ? left : SEGMENT_SIZE;

                put_header(buffer, 0x04, size);
                put(buffer, parts->content + done, size);
                done += size;
        }
        put(buffer, ends_of_contents, sizeof(ends_of_contents));
}

int platform_cms_encode(const CmsParts *parts, uint8_t **ret, size_t *ret_size) {
        Buffer counted = {}, buffer = {};

        put_envelope(&counted, parts);
        buffer.data = malloc(counted.size);
        if (!buffer.data)
                return -ENOMEM;
        put_envelope(&buffer, parts);

        *ret = buffer.data;
        *ret_size = buffer.size;
        return 0;
}

static int encrypt_content(const uint8_t key[static CONTENT_KEY_SIZE], const uint8_t iv[static CMS_IV_SIZE],
                           const uint8_t *plaintext, size_t size, uint8_t *ret, size_t *ret_size) {
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        int n, last;

        if (!context || EVP_EncryptInit_ex2(context, EVP_aes_256_cbc(), key, iv, NULL) <= 0 ||
            EVP_EncryptUpdate(context, ret, &n, plaintext, (int) size) <= 0 ||
            EVP_EncryptFinal_ex(context, ret + n, &last) <= 0)
                return -EIO;

        *ret_size = (size_t) (n + last);
        return 0;
}

static int encrypt_key(EVP_PKEY *public_key, const uint8_t key[static CONTENT_KEY_SIZE], uint8_t *ret,
                       size_t *ret_size) {
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(public_key, NULL);

        if (!context || EVP_PKEY_encrypt_init(context) <= 0 ||
            EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) <= 0 ||
            EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) <= 0 ||
            EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) <= 0 ||
            EVP_PKEY_encrypt(context, ret, ret_size, key, CONTENT_KEY_SIZE) <= 0)
                return -EIO;
        return 0;
}

int platform_cms_make(const uint8_t *public_key, size_t public_key_size, const uint8_t *plaintext,
                      size_t plaintext_size, CmsDefect defect, uint8_t **ret, size_t *ret_size) {
        uint8_t key[CONTENT_KEY_SIZE], iv[CMS_IV_SIZE], identifier[CMS_KEY_IDENTIFIER_SIZE],
                        encrypted_key[512];
        size_t encrypted_key_size = sizeof(encrypted_key), content_size;
        _cleanup_free_ uint8_t *content = NULL;
        const uint8_t *der = public_key;
        int r;

        if (public_key_size > INT32_MAX || plaintext_size > INT32_MAX - CMS_IV_SIZE)
                return -EINVAL;

        _cleanup_(EVP_PKEY_freep) EVP_PKEY *rsa = d2i_PUBKEY(NULL, &der, (long) public_key_size);
        if (!rsa || !EVP_PKEY_is_a(rsa, "RSA") || EVP_PKEY_get_size(rsa) > (int) sizeof(encrypted_key))
                return -EBADMSG;

        content = malloc(plaintext_size + CMS_IV_SIZE);
        if (!content)
                return -ENOMEM;
        if (RAND_bytes(key, sizeof(key)) <= 0 || RAND_bytes(iv, sizeof(iv)) <= 0 ||
            !SHA256(public_key, public_key_size, identifier))
                return -EIO;

        r = encrypt_key(rsa, key, encrypted_key, &encrypted_key_size);
        if (r >= 0)
                r = encrypt_content(key, iv, plaintext, plaintext_size, content, &content_size);
        OPENSSL_cleanse(key, sizeof(key));
        if (r < 0)
                return r;

        /* In CBC, a changed bit of one block changes the same bit of the next block's plaintext. */
        if (defect == CMS_DEFECT_CONTENT)
                *(content_size > CMS_IV_SIZE ? &content[content_size - CMS_IV_SIZE - 1]
                                             : &iv[CMS_IV_SIZE - 1]) ^= 0x10;
        if (defect == CMS_DEFECT_KEY)
                encrypted_key[100] ^= 1;
        r = platform_cms_encode(
                        &(const CmsParts){
                                        .key_identifier = identifier,
                                        .encrypted_key = encrypted_key,
                                        .encrypted_key_size = encrypted_key_size,
                                        .iv = iv,
                                        .content = content,
                                        .content_size = content_size,
                        },
                        ret, ret_size);
        if (r >= 0 && defect == CMS_DEFECT_STRUCTURE)
                (*ret)[16] ^= 0x40;
        return r;
}
