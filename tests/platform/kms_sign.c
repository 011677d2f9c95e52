/* SPDX-License-Identifier: Apache-2.0 */

/* Keys with KeyUsage SIGN_VERIFY: Sign and GetPublicKey (AWS KMS API Reference). A key has one algorithm, which follows from its
 * KeySpec, and really signs. */

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#include "kms_internal.h"

#define MESSAGE_MAX 4096U
#define SIGNATURE_MAX 256U

static const struct {
        const char *spec, *algorithm;
        const char *digest, *curve; /* NULL: Ed25519, which signs the message itself */
        size_t digest_size;
} specs[] = {
        { "ECC_NIST_P256", "ECDSA_SHA_256", "SHA256", "P-256", 32 },
        { "ECC_NIST_P384", "ECDSA_SHA_384", "SHA384", "P-384", 48 },
        { "ECC_NIST_P521", "ECDSA_SHA_512", "SHA512", "P-521", 64 },
        { "ECC_NIST_EDWARDS25519", "ED25519_SHA_512", NULL, NULL, 0 },
};

static size_t index_of(const char *spec) {
        size_t i = 0;

        while (i < ELEMENTSOF(specs) && strcmp(specs[i].spec, spec) != 0)
                i++;
        return i;
}

bool platform_kms_is_signing_spec(const char *spec) {
        return index_of(spec) < ELEMENTSOF(specs);
}

const char *platform_kms_signing_algorithm(const KmsKey *key) {
        return specs[index_of(key->signing_spec)].algorithm;
}

int platform_kms_signer_new(KmsKey *key, const char *spec) {
        size_t i = index_of(spec);

        key->signer = specs[i].curve ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", specs[i].curve)
                                     : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        key->signing_spec = specs[i].spec;
        return key->signer ? 0 : -1;
}

int platform_kms_check_usage(KmsCall *call, const KmsKey *key, bool signs) {
        if (signs == (key->signer != NULL))
                return 0;
        return platform_kms_refuse(call, "InvalidKeyUsageException",
                                   "%s key usage is %s which is not valid for %s.", key->arn,
                                   key->signer ? "SIGN_VERIFY" : "ENCRYPT_DECRYPT", call->operation);
}

/* Checks algorithm, type and length of the message. */
static int check_request(KmsCall *call, const KmsKey *key, const char *algorithm, const char *type,
                         size_t size) {
        size_t i = index_of(key->signing_spec);

        if (strcmp(algorithm, specs[i].algorithm) != 0)
                return platform_kms_refuse(call, "InvalidKeyUsageException",
                                           "Algorithm %s is incompatible with key spec %s.", algorithm,
                                           specs[i].spec);
        if (strcmp(type, "RAW") == 0)
                return 0;
        if (specs[i].digest_size == 0)
                return platform_kms_refuse(call, "ValidationException",
                                           "Algorithm %s requires the message type RAW.", algorithm);
        if (size != specs[i].digest_size)
                return platform_kms_refuse(call, "ValidationException",
                                           "Digest is invalid length for algorithm %s.", algorithm);
        return 0;
}

static int sign_digest(const KmsKey *key, const uint8_t *digest, size_t size, uint8_t *ret,
                       size_t *ret_size) {
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key->signer, NULL);
        int r = context && EVP_PKEY_sign_init(context) == 1
                                ? EVP_PKEY_sign(context, ret, ret_size, digest, size)
                                : -1;

        EVP_PKEY_CTX_free(context);
        return r == 1 ? 0 : -1;
}

static int sign_message(const KmsKey *key, const uint8_t *message, size_t size, uint8_t *ret,
                        size_t *ret_size) {
        const char *digest = specs[index_of(key->signing_spec)].digest;
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        int r = context && EVP_DigestSignInit_ex(context, NULL, digest, NULL, NULL, key->signer, NULL) == 1
                                ? EVP_DigestSign(context, ret, ret_size, message, size)
                                : -1;

        EVP_MD_CTX_free(context);
        return r == 1 ? 0 : -1;
}

static int read_choices(KmsCall *call, const char **ret_algorithm, const char **ret_type) {
        int r = platform_kms_string(call, call->request, "SigningAlgorithm", true, 64, ret_algorithm);

        if (r >= 0)
                r = platform_kms_string(call, call->request, "MessageType", false, 64, ret_type);
        if (r < 0)
                return r;
        *ret_type = *ret_type ? *ret_type : "RAW";
        if (strcmp(*ret_type, "RAW") != 0 && strcmp(*ret_type, "DIGEST") != 0)
                return platform_kms_constraint(
                                call, *ret_type, "MessageType",
                                "Member must satisfy enum value set: [RAW, DIGEST, EXTERNAL_MU]");
        return 0;
}

int platform_kms_sign(KmsCall *call) {
        _cleanup_free_ uint8_t *message = NULL;
        uint8_t signature[SIGNATURE_MAX];
        size_t size, signature_size = sizeof(signature);
        const char *name, *algorithm, *type;
        KmsKey *key;
        int r;

        r = platform_kms_string(call, call->request, "KeyId", true, 2048, &name);
        if (r >= 0)
                r = platform_kms_bytes(call, call->request, "Message", true, MESSAGE_MAX, &message, &size);
        if (r >= 0)
                r = read_choices(call, &algorithm, &type);
        if (r >= 0)
                r = platform_kms_key_resolve(call, "kms:Sign", name, &key);
        if (r < 0)
                return r;

        const PolicyPair more[] = { { "kms:SigningAlgorithm", algorithm }, { "kms:MessageType", type }, {} };
        r = platform_kms_authorize(call, &(const KmsQuestion){ "kms:Sign", key, name, NULL, more });
        if (r >= 0)
                r = platform_kms_key_check_state(call, key);
        if (r >= 0)
                r = platform_kms_check_usage(call, key, true);
        if (r >= 0)
                r = check_request(call, key, algorithm, type, size);
        if (r >= 0)
                r = platform_kms_check_dry_run(call);
        if (r < 0)
                return r;
        if ((strcmp(type, "DIGEST") == 0 ? sign_digest : sign_message)(key, message, size, signature,
                                                                       &signature_size) < 0)
                return platform_kms_refuse_internal(call);
        platform_kms_key_used(call, key);
        r = platform_kms_reply_bytes(call, "Signature", signature, signature_size);
        kms_reply_string(call, "KeyId", key->arn);
        kms_reply_string(call, "SigningAlgorithm", algorithm);
        return r;
}

int platform_kms_get_public_key(KmsCall *call) {
        struct json_object *algorithms = json_object_new_array();
        unsigned char *der = NULL;
        const char *name;
        KmsKey *key;
        int r, size;

        json_object_object_add(call->reply, "SigningAlgorithms", algorithms);
        r = platform_kms_string(call, call->request, "KeyId", true, 2048, &name);
        if (r >= 0)
                r = platform_kms_key_resolve(call, "kms:GetPublicKey", name, &key);
        if (r >= 0)
                r = platform_kms_authorize(call, &(const KmsQuestion){ .action = "kms:GetPublicKey",
                                                                       .key = key,
                                                                       .key_name = name });
        if (r >= 0)
                r = platform_kms_key_check_state(call, key);
        if (r >= 0 && !key->signer)
                r = platform_kms_refuse(call, "UnsupportedOperationException",
                                        "%s is not an asymmetric key.", key->arn);
        if (r < 0)
                return r;
        size = i2d_PUBKEY(key->signer, &der);
        r = size > 0 ? platform_kms_reply_bytes(call, "PublicKey", der, (size_t) size)
                     : platform_kms_refuse_internal(call);
        OPENSSL_free(der);
        json_object_array_add(algorithms, json_object_new_string(platform_kms_signing_algorithm(key)));
        kms_reply_string(call, "KeyId", key->arn);
        kms_reply_string(call, "KeySpec", key->signing_spec);
        kms_reply_string(call, "CustomerMasterKeySpec", key->signing_spec);
        kms_reply_string(call, "KeyUsage", "SIGN_VERIFY");
        return r;
}
