/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/evp.h>

#include "basic/openssl-util.h"
#include "unsealctl/volume/block-hash.h"

struct BlockHash {
        EVP_MD_CTX *salted; /* has taken the salt */
        EVP_MD_CTX *work;
};

BlockHash *block_hash_free(BlockHash *hash) {
        EVP_MD_CTX_free(hash->salted);
        EVP_MD_CTX_free(hash->work);
        free(hash);
        return NULL;
}

int block_hash_new(const uint8_t salt[static VOLUME_SALT_SIZE], BlockHash **ret) {
        _cleanup_(block_hash_freep) BlockHash *hash = calloc(1, sizeof(*hash));

        if (!hash)
                return -ENOMEM;
        hash->salted = EVP_MD_CTX_new();
        hash->work = EVP_MD_CTX_new();
        if (!hash->salted || !hash->work || EVP_DigestInit_ex(hash->salted, EVP_sha256(), NULL) <= 0 ||
            EVP_DigestUpdate(hash->salted, salt, VOLUME_SALT_SIZE) <= 0)
                return openssl_failure(NULL);
        *ret = TAKE_PTR(hash);
        return 0;
}

int block_hash_run(BlockHash *hash, const uint8_t *blocks, size_t count, uint8_t *ret_digests) {
        for (size_t i = 0; i < count; i++)
                if (EVP_MD_CTX_copy_ex(hash->work, hash->salted) <= 0 ||
                    EVP_DigestUpdate(hash->work, blocks + i * VOLUME_BLOCK_SIZE, VOLUME_BLOCK_SIZE) <= 0 ||
                    EVP_DigestFinal_ex(hash->work, ret_digests + i * VOLUME_DIGEST_SIZE, NULL) <= 0)
                        return openssl_failure(NULL);
        return 0;
}
