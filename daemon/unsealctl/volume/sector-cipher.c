/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/evp.h>

#include "basic/openssl-util.h"
#include "unsealctl/volume/sector-cipher.h"
#include "volume/volume-key.h"

#define TWEAK_SIZE 16U

struct SectorCipher {
        EVP_CIPHER_CTX *context;
};

SectorCipher *sector_cipher_free(SectorCipher *cipher) {
        EVP_CIPHER_CTX_free(cipher->context);
        free(cipher);
        return NULL;
}

int sector_cipher_new(Secret *key, bool encrypt, SectorCipher **ret) {
        _cleanup_(sector_cipher_freep) SectorCipher *cipher = calloc(1, sizeof(*cipher));

        if (!cipher)
                return -ENOMEM;
        cipher->context = EVP_CIPHER_CTX_new();
        if (!cipher->context || EVP_CipherInit_ex(cipher->context, EVP_aes_256_xts(), NULL,
                                                  secret_bytes(key), NULL, encrypt) <= 0)
                return openssl_failure(NULL);
        *ret = TAKE_PTR(cipher);
        return 0;
}

int sector_cipher_run(SectorCipher *cipher, uint64_t first, uint8_t *blocks, size_t count) {
        for (size_t i = 0; i < count; i++) {
                uint8_t tweak[TWEAK_SIZE] = {}, *block = blocks + i * VOLUME_BLOCK_SIZE;
                uint64_t sector = (first + i) * (VOLUME_BLOCK_SIZE / VOLUME_TWEAK_UNIT);
                int length;

                for (unsigned byte = 0; byte < 8; byte++)
                        tweak[byte] = (uint8_t) (sector >> 8 * byte);
                if (EVP_CipherInit_ex(cipher->context, NULL, NULL, NULL, tweak, -1) <= 0 ||
                    EVP_CipherUpdate(cipher->context, block, &length, block, VOLUME_BLOCK_SIZE) <= 0 ||
                    length != (int) VOLUME_BLOCK_SIZE)
                        return openssl_failure(NULL);
        }
        return 0;
}
