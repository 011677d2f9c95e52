/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "kms_blob.h"

#define NONCE_SIZE 12
#define TAG_SIZE 16

static const uint8_t blob_start[] = { 0x01, 0x02, 0x02, 0x00, 0x78 };

#define HEADER_SIZE (sizeof(blob_start) + KMS_KEY_ID_SIZE)
#define OVERHEAD (HEADER_SIZE + NONCE_SIZE + TAG_SIZE)

DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free);

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static int add_data(EVP_CIPHER_CTX *cipher, const void *data, size_t size) {
        int n;

        return size == 0 || EVP_CipherUpdate(cipher, NULL, &n, data, (int) size) > 0 ? 0 : -EIO;
}

static int add_text(EVP_CIPHER_CTX *cipher, const char *text) {
        size_t size = strlen(text);
        uint8_t length[4] = { (uint8_t) (size >> 24), (uint8_t) (size >> 16), (uint8_t) (size >> 8),
                              (uint8_t) size };
        int r = add_data(cipher, length, sizeof(length));

        return r < 0 ? r : add_data(cipher, text, size);
}

/* The pairs are sorted by name and have lengths in front, so that only equal contexts give equal bytes. */
static int add_context(EVP_CIPHER_CTX *cipher, struct json_object *context) {
        size_t n = context ? (size_t) json_object_object_length(context) : 0, i = 0;
        _cleanup_free_ const char **names = calloc(n + 1, sizeof(*names));
        int r = 0;

        if (!names)
                return -ENOMEM;
        if (n > 0) {
                json_object_object_foreach(context, name, value) {
                        (void) value;
                        names[i++] = name;
                }
        }
        qsort(names, n, sizeof(names[0]), compare_names);
        for (i = 0; i < n && r >= 0; i++) {
                r = add_text(cipher, names[i]);
                if (r >= 0)
                        r = add_text(cipher,
                                     json_object_get_string(json_object_object_get(context, names[i])));
        }
        return r;
}

int platform_kms_blob_seal(const uint8_t key_id[static KMS_KEY_ID_SIZE],
                           const uint8_t key[static KMS_KEY_SIZE], struct json_object *context,
                           const uint8_t *plaintext, size_t plaintext_size, uint8_t **ret,
                           size_t *ret_size) {
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
        _cleanup_free_ uint8_t *blob = NULL;
        uint8_t *nonce, *ciphertext;
        int n;

        if (plaintext_size > INT32_MAX - OVERHEAD)
                return -EFBIG;
        blob = malloc(OVERHEAD + plaintext_size);
        if (!blob || !cipher)
                return -ENOMEM;
        memcpy(blob, blob_start, sizeof(blob_start));
        memcpy(blob + sizeof(blob_start), key_id, KMS_KEY_ID_SIZE);
        nonce = blob + HEADER_SIZE;
        ciphertext = nonce + NONCE_SIZE;

        if (RAND_bytes(nonce, NONCE_SIZE) <= 0 ||
            EVP_EncryptInit_ex2(cipher, EVP_aes_256_gcm(), key, nonce, NULL) <= 0)
                return -EIO;
        int r = add_data(cipher, blob, HEADER_SIZE);
        if (r >= 0)
                r = add_context(cipher, context);
        if (r < 0)
                return r;
        if (EVP_EncryptUpdate(cipher, ciphertext, &n, plaintext, (int) plaintext_size) <= 0 ||
            EVP_EncryptFinal_ex(cipher, ciphertext + n, &n) <= 0 ||
            EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, ciphertext + plaintext_size) <= 0)
                return -EIO;

        *ret = TAKE_PTR(blob);
        *ret_size = OVERHEAD + plaintext_size;
        return 0;
}

int platform_kms_blob_key_id(const uint8_t *blob, size_t size, uint8_t ret[static KMS_KEY_ID_SIZE]) {
        if (size < OVERHEAD || memcmp(blob, blob_start, sizeof(blob_start)) != 0)
                return -EBADMSG;
        memcpy(ret, blob + sizeof(blob_start), KMS_KEY_ID_SIZE);
        return 0;
}

int platform_kms_blob_open(const uint8_t *blob, size_t size, const uint8_t key[static KMS_KEY_SIZE],
                           struct json_object *context, uint8_t **ret, size_t *ret_size) {
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
        _cleanup_free_ uint8_t *plaintext = NULL;
        uint8_t key_id[KMS_KEY_ID_SIZE];
        int n;

        int r = platform_kms_blob_key_id(blob, size, key_id);
        if (r < 0)
                return r;
        size_t plaintext_size = size - OVERHEAD;
        const uint8_t *nonce = blob + HEADER_SIZE, *ciphertext = nonce + NONCE_SIZE;
        plaintext = malloc(plaintext_size + 1);
        if (!plaintext || !cipher)
                return -ENOMEM;

        if (EVP_DecryptInit_ex2(cipher, EVP_aes_256_gcm(), key, nonce, NULL) <= 0)
                return -EIO;
        r = add_data(cipher, blob, HEADER_SIZE);
        if (r >= 0)
                r = add_context(cipher, context);
        if (r < 0)
                return r;
        if (EVP_DecryptUpdate(cipher, plaintext, &n, ciphertext, (int) plaintext_size) <= 0 ||
            EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE,
                                (void *) (uintptr_t) (ciphertext + plaintext_size)) <= 0)
                return -EIO;
        if (EVP_DecryptFinal_ex(cipher, plaintext + n, &n) <= 0)
                return -EBADMSG;

        *ret = TAKE_PTR(plaintext);
        *ret_size = plaintext_size;
        return 0;
}
