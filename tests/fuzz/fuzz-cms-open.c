/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Decrypts the content of envelopes. Random input never contains a wrapped key that unwraps, nor the identifier
 * of this key pair, so the target puts them in their places. It also decrypts the content itself, and compares.
 */

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "kms/cms.h"

#define WRAPPED_SIZE 256U /* the modulus of an RSA-2048 key */
#define BLOCK_SIZE 16U

DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free);
DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static EVP_PKEY *private_key;
static uint8_t content_key[32], wrapped_key[WRAPPED_SIZE], key_identifier[SHA256_DIGEST_LENGTH];

static void make_keys(void) {
        size_t size = sizeof(wrapped_key);

        uint8_t *public_key = NULL;
        int public_size;

        memset(content_key, 7, sizeof(content_key));
        private_key = EVP_RSA_gen(2048);
        public_size = i2d_PUBKEY(private_key, &public_key);
        if (public_size <= 0)
                abort();
        SHA256(public_key, (size_t) public_size, key_identifier);
        OPENSSL_free(public_key);
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(private_key, NULL);
        if (!context || EVP_PKEY_encrypt_init(context) <= 0 ||
            EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) <= 0 ||
            EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) <= 0 ||
            EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) <= 0 ||
            EVP_PKEY_encrypt(context, wrapped_key, &size, content_key, sizeof(content_key)) <= 0 ||
            size != sizeof(wrapped_key))
                abort();
}

/* Returns the size without padding, or -1 where the padding is wrong. */
static int decrypt(const CmsEnvelope *envelope, uint8_t *ret) {
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        int size = 0, n;

        if (!context ||
            EVP_DecryptInit_ex(context, EVP_aes_256_cbc(), NULL, content_key, envelope->iv.data) <= 0)
                abort();
        for (size_t i = 0; i < envelope->segments; i++) {
                if (EVP_DecryptUpdate(context, ret + size, &n, envelope->content[i].data,
                                      (int) envelope->content[i].size) <= 0)
                        abort();
                size += n;
        }
        return EVP_DecryptFinal_ex(context, ret + size, &n) > 0 ? size + n : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_secret_ Secret *secret = NULL;
        _cleanup_free_ uint8_t *copy = NULL, *wanted = NULL;
        CmsEnvelope envelope;

        if (!private_key)
                make_keys();
        if (cms_parse(data, size, &envelope) < 0 || envelope.encrypted_key.size != WRAPPED_SIZE)
                return 0;
        copy = malloc(size);
        wanted = malloc(envelope.content_size + BLOCK_SIZE);
        if (!copy || !wanted)
                abort();
        memcpy(copy, data, size);
        memcpy(copy + (envelope.encrypted_key.data - data), wrapped_key, WRAPPED_SIZE);

        const uint8_t *identifier = envelope.key_identifier.data;
        if (identifier && envelope.key_identifier.size != sizeof(key_identifier)) {
                if (cms_open(copy, size, private_key, &secret) != -ENOKEY)
                        abort();
                return 0;
        }
        if (identifier)
                memcpy(copy + (identifier - data), key_identifier, sizeof(key_identifier));

        int n = decrypt(&envelope, wanted);
        int r = cms_open(copy, size, private_key, &secret);
        if ((r >= 0) != (n >= 0) || (r < 0 && r != -EKEYREJECTED))
                abort();
        if (r >= 0 &&
            (secret_size(secret) != (size_t) n || memcmp(secret_bytes(secret), wanted, (size_t) n) != 0))
                abort();
        return 0;
}
