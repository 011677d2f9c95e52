/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "seed.h"

DEFINE_CLEANUP(EVP_KDF *, EVP_KDF_free);
DEFINE_CLEANUP(EVP_KDF_CTX *, EVP_KDF_CTX_free);
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free);
DEFINE_CLEANUP(EC_GROUP *, EC_GROUP_free);
DEFINE_CLEANUP(EC_POINT *, EC_POINT_free);
DEFINE_CLEANUP(BIGNUM *, BN_free);
DEFINE_CLEANUP(OSSL_PARAM_BLD *, OSSL_PARAM_BLD_free);
DEFINE_CLEANUP(OSSL_PARAM *, OSSL_PARAM_free);

int seed_read(const char *path, Seed *ret) {
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t size;

        int r = read_file(path, SEED_SIZE_MAX, &bytes, &size);
        if (r < 0)
                return r;
        if (size < SEED_SIZE_MIN)
                return -EBADMSG;
        memcpy(ret->bytes, bytes, size);
        ret->size = size;
        return 0;
}

int seed_bytes(const Seed *seed, const char *label, unsigned number, uint8_t *ret, size_t size) {
        char info[64];
        OSSL_PARAM parameters[] = {
                OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *) "SHA256", 0),
                OSSL_PARAM_octet_string(OSSL_KDF_PARAM_KEY, (void *) seed->bytes, seed->size),
                OSSL_PARAM_octet_string(OSSL_KDF_PARAM_INFO, info,
                                        (size_t) snprintf(info, sizeof(info), "%s %u", label, number)),
                OSSL_PARAM_END,
        };

        if (seed->size == 0)
                return RAND_bytes(ret, (int) size) > 0 ? 0 : -EIO;

        _cleanup_(EVP_KDF_freep) EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
        _cleanup_(EVP_KDF_CTX_freep) EVP_KDF_CTX *context = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
        return context && EVP_KDF_derive(context, ret, size, parameters) > 0 ? 0 : -EIO;
}

EVP_PKEY *seed_key(const Seed *seed, const char *label) {
        uint8_t scalar[32], point_bytes[65];
        EVP_PKEY *key = NULL;

        if (seed->size == 0)
                return EVP_EC_gen("P-256");

        _cleanup_(EC_GROUP_freep) EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
        _cleanup_(EC_POINT_freep) EC_POINT *point = group ? EC_POINT_new(group) : NULL;
        _cleanup_(OSSL_PARAM_BLD_freep) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);

        /* A scalar that is not below the order is an error. Its probability is 2^-32. */
        if (!point || !builder || !context || seed_bytes(seed, label, 0, scalar, sizeof(scalar)) < 0)
                return NULL;
        _cleanup_(BN_freep) BIGNUM *number = BN_bin2bn(scalar, sizeof(scalar), NULL);
        if (!number || BN_cmp(number, EC_GROUP_get0_order(group)) >= 0 ||
            EC_POINT_mul(group, point, number, NULL, NULL, NULL) <= 0 ||
            EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, point_bytes, sizeof(point_bytes),
                               NULL) != sizeof(point_bytes) ||
            OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) <= 0 ||
            OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, number) <= 0 ||
            OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point_bytes,
                                             sizeof(point_bytes)) <= 0)
                return NULL;

        _cleanup_(OSSL_PARAM_freep) OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
        if (!parameters || EVP_PKEY_fromdata_init(context) <= 0 ||
            EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, parameters) <= 0)
                return NULL;
        return key;
}
