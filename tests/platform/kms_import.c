/* SPDX-License-Identifier: Apache-2.0 */

/* Key material from outside, for keys of origin EXTERNAL: GetParametersForImport, ImportKeyMaterial and DeleteImportedKeyMaterial (AWS
 * KMS API Reference). A key has one import token at a time: a new one replaces the old one. */

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "kms_internal.h"

#define DAY (24 * 60 * 60)
#define EXPIRY_DAYS_MAX 365
#define WRAPPED_MAX 6144U
#define TOKEN_MAX 6144U

static const struct {
        const char *algorithm, *digest;
} algorithms[] = {
        { "RSAES_OAEP_SHA_256", "SHA256" },
        { "RSAES_OAEP_SHA_1", "SHA1" },
};

static const struct {
        const char *spec;
        unsigned bits;
} specs[] = { { "RSA_2048", 2048 }, { "RSA_3072", 3072 }, { "RSA_4096", 4096 } };

void platform_kms_import_clear(KmsKey *key) {
        EVP_PKEY_free(key->import.wrapping);
        key->import.wrapping = NULL;
}

void platform_kms_key_expire(const KmsCall *call, KmsKey *key) {
        if (key->state != KEY_ENABLED && key->state != KEY_DISABLED)
                return;
        if (key->external && key->import.valid_to > 0 && call->now >= key->import.valid_to) {
                OPENSSL_cleanse(key->material, sizeof(key->material));
                key->state = KEY_PENDING_IMPORT;
        }
}

/* These operations are for keys of the caller's account and of origin EXTERNAL. */
static int external_key(KmsCall *call, const char *action, const PolicyPair *more, KmsKey **ret) {
        int r = platform_kms_authorized_key(call, action, more, ret);

        if (r >= 0 && strcmp((*ret)->account, call->caller.principal->account) != 0)
                r = platform_kms_refuse_foreign(call, action, (*ret)->arn);
        if (r >= 0 && !(*ret)->external)
                r = platform_kms_refuse(call, "UnsupportedOperationException",
                                        "%s origin is AWS_KMS which is not valid for this operation.",
                                        (*ret)->arn);
        if (r >= 0 &&
            ((*ret)->state == KEY_PENDING_DELETION || (*ret)->state == KEY_PENDING_REPLICA_DELETION))
                r = platform_kms_key_check_state(call, *ret);
        return r;
}

static int read_wrapping(KmsCall *call, size_t *ret_algorithm, size_t *ret_spec) {
        const char *algorithm, *spec;
        size_t a = 0, s = 0;
        int r = platform_kms_string(call, call->request, "WrappingAlgorithm", true, 64, &algorithm);

        if (r >= 0)
                r = platform_kms_string(call, call->request, "WrappingKeySpec", true, 64, &spec);
        if (r < 0)
                return r;
        while (a < ELEMENTSOF(algorithms) && strcmp(algorithms[a].algorithm, algorithm) != 0)
                a++;
        while (s < ELEMENTSOF(specs) && strcmp(specs[s].spec, spec) != 0)
                s++;
        if (a == ELEMENTSOF(algorithms))
                return platform_kms_constraint(
                                call, algorithm, "WrappingAlgorithm",
                                "Member must satisfy enum value set: [RSAES_OAEP_SHA_1, RSAES_OAEP_SHA_256]");
        if (s == ELEMENTSOF(specs))
                return platform_kms_constraint(
                                call, spec, "WrappingKeySpec",
                                "Member must satisfy enum value set: [RSA_2048, RSA_3072, RSA_4096]");
        *ret_algorithm = a;
        *ret_spec = s;
        return 0;
}

int platform_kms_get_parameters_for_import(KmsCall *call) {
        unsigned char *der = NULL;
        size_t algorithm = 0, spec = 0;
        KmsKey *key;
        int size, r = read_wrapping(call, &algorithm, &spec);

        if (r < 0)
                return r;
        const PolicyPair more[] = { { "kms:WrappingAlgorithm", algorithms[algorithm].algorithm },
                                    { "kms:WrappingKeySpec", specs[spec].spec },
                                    {} };
        r = external_key(call, "kms:GetParametersForImport", more, &key);
        if (r < 0)
                return r;
        platform_kms_import_clear(key);
        key->import.wrapping = EVP_RSA_gen(specs[spec].bits);
        key->import.digest = algorithms[algorithm].digest;
        key->import.token_valid_to = call->now + DAY;
        size = key->import.wrapping ? i2d_PUBKEY(key->import.wrapping, &der) : -1;
        if (size <= 0 || RAND_bytes(key->import.token, sizeof(key->import.token)) <= 0)
                r = platform_kms_refuse_internal(call);
        if (r >= 0)
                r = platform_kms_reply_bytes(call, "PublicKey", der, (size_t) size);
        OPENSSL_free(der);
        if (r >= 0)
                r = platform_kms_reply_bytes(call, "ImportToken", key->import.token,
                                             sizeof(key->import.token));
        kms_reply_string(call, "KeyId", key->arn);
        json_object_object_add(call->reply, "ParametersValidTo",
                               json_object_new_int64(key->import.token_valid_to));
        return r;
}

/* *ret_valid_to: 0: the material does not expire. */
static int read_expiry(KmsCall *call, const char **ret_model, int64_t *ret_valid_to) {
        const char *model;
        int r = platform_kms_string(call, call->request, "ExpirationModel", false, 64, &model);

        if (r >= 0)
                r = platform_kms_integer(call, "ValidTo", 1, INT64_MAX, 0, ret_valid_to);
        if (r < 0)
                return r;
        *ret_model = model ? model : "KEY_MATERIAL_EXPIRES";
        if (strcmp(*ret_model, "KEY_MATERIAL_DOES_NOT_EXPIRE") == 0)
                return *ret_valid_to == 0 ? 0
                                          : platform_kms_refuse(call, "ValidationException",
                                                                "A ValidTo date must not be set for %s.",
                                                                *ret_model);
        if (strcmp(*ret_model, "KEY_MATERIAL_EXPIRES") != 0)
                return platform_kms_constraint(
                                call, *ret_model, "ExpirationModel",
                                "Member must satisfy enum value set: [KEY_MATERIAL_EXPIRES, KEY_MATERIAL_DOES_NOT_EXPIRE]");
        if (*ret_valid_to <= call->now || *ret_valid_to > call->now + EXPIRY_DAYS_MAX * DAY)
                return platform_kms_refuse(call, "ValidationException",
                                           "A ValidTo date must be set, within 365 days.");
        return 0;
}

static int check_token(KmsCall *call, const KmsKey *key) {
        _cleanup_free_ uint8_t *token = NULL;
        size_t size;
        int r = platform_kms_bytes(call, call->request, "ImportToken", true, TOKEN_MAX, &token, &size);

        if (r < 0)
                return r;
        if (!key->import.wrapping || size != sizeof(key->import.token) ||
            CRYPTO_memcmp(token, key->import.token, size) != 0)
                return platform_kms_refuse(call, "InvalidImportTokenException", "%s", "");
        return call->now < key->import.token_valid_to
                               ? 0
                               : platform_kms_refuse(call, "ExpiredImportTokenException", "%s", "");
}

static int unwrap(const KmsKey *key, const uint8_t *wrapped, size_t size, uint8_t ret[static KMS_KEY_SIZE]) {
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key->import.wrapping, NULL);
        uint8_t plain[512] = {};
        size_t plain_size = sizeof(plain);
        int r = context && EVP_PKEY_decrypt_init(context) > 0 &&
                                                EVP_PKEY_CTX_set_rsa_padding(context,
                                                                             RSA_PKCS1_OAEP_PADDING) > 0 &&
                                                EVP_PKEY_CTX_set_rsa_oaep_md_name(
                                                                context, key->import.digest, NULL) > 0 &&
                                                EVP_PKEY_decrypt(context, plain, &plain_size, wrapped,
                                                                 size) > 0 &&
                                                plain_size == KMS_KEY_SIZE
                                ? 0
                                : -1;

        EVP_PKEY_CTX_free(context);
        if (r >= 0)
                memcpy(ret, plain, KMS_KEY_SIZE);
        OPENSSL_cleanse(plain, sizeof(plain));
        return r;
}

/* A key takes only the material that it had first. */
static int take_material(KmsCall *call, KmsKey *key, const uint8_t *wrapped, size_t size) {
        uint8_t material[KMS_KEY_SIZE], digest[KMS_KEY_SIZE];
        int r = 0;

        if (unwrap(key, wrapped, size, material) < 0)
                r = platform_kms_refuse(call, "InvalidCiphertextException", "%s", "");
        else if (!EVP_Q_digest(NULL, "SHA256", NULL, material, sizeof(material), digest, NULL))
                r = platform_kms_refuse_internal(call);
        else if (key->import.known && memcmp(digest, key->import.fingerprint, sizeof(digest)) != 0)
                r = platform_kms_refuse(call, "IncorrectKeyMaterialException", "%s", "");
        if (r >= 0) {
                memcpy(key->material, material, sizeof(material));
                memcpy(key->import.fingerprint, digest, sizeof(digest));
                key->import.known = true;
        }
        OPENSSL_cleanse(material, sizeof(material));
        return r;
}

int platform_kms_import_key_material(KmsCall *call) {
        _cleanup_free_ uint8_t *wrapped = NULL;
        const char *model;
        int64_t valid_to;
        size_t size;
        KmsKey *key;
        int r = platform_kms_bytes(call, call->request, "EncryptedKeyMaterial", true, WRAPPED_MAX, &wrapped,
                                   &size);

        if (r >= 0)
                r = read_expiry(call, &model, &valid_to);
        if (r < 0)
                return r;
        const PolicyPair more[] = { { "kms:ExpirationModel", model }, {} };
        r = external_key(call, "kms:ImportKeyMaterial", more, &key);
        if (r >= 0)
                r = check_token(call, key);
        if (r >= 0)
                r = take_material(call, key, wrapped, size);
        if (r < 0)
                return r;
        key->import.valid_to = valid_to;
        if (key->state == KEY_PENDING_IMPORT)
                key->state = KEY_ENABLED;
        kms_reply_string(call, "KeyId", key->arn);
        return 0;
}

/* Without material this changes nothing. */
int platform_kms_delete_imported_key_material(KmsCall *call) {
        KmsKey *key;
        int r = external_key(call, "kms:DeleteImportedKeyMaterial", NULL, &key);

        if (r < 0)
                return r;
        OPENSSL_cleanse(key->material, sizeof(key->material));
        key->state = KEY_PENDING_IMPORT;
        kms_reply_string(call, "KeyId", key->arn);
        return 0;
}
