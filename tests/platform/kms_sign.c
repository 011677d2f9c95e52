/* SPDX-License-Identifier: Apache-2.0 */

/* Keys with KeyUsage SIGN_VERIFY: Sign and Verify; and GetPublicKey of every pair of keys (AWS KMS API Reference). A key has one
 * algorithm, which follows from its KeySpec, and really signs. */

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "kms_internal.h"

#define MESSAGE_MAX 4096U
#define SIGNATURE_MAX 512U /* RSA with 4096 bits */
#define SIGNATURE_CLAIMED_MAX 6144U

/* Checks algorithm, type and length of the message. */
static int check_request(KmsCall *call, const KmsKey *key, const char *algorithm, const char *type,
                         size_t size) {
        int r = platform_kms_check_kind_algorithm(call, key, algorithm);

        if (r < 0 || strcmp(type, "RAW") == 0)
                return r;
        if (key->kind->digest_size == 0)
                return platform_kms_refuse(call, "ValidationException",
                                           "Algorithm %s requires the message type RAW.", algorithm);
        if (size != key->kind->digest_size)
                return platform_kms_refuse(call, "ValidationException",
                                           "Digest is invalid length for algorithm %s.", algorithm);
        return 0;
}

/* An RSA signature names the algorithm of its digest (RFC 8017, 9.2). */
static bool set_digest(const KmsKey *key, EVP_PKEY_CTX *context) {
        return EVP_PKEY_CTX_set_signature_md(context, EVP_get_digestbyname(key->kind->digest)) == 1;
}

static int sign_digest(const KmsKey *key, const uint8_t *digest, size_t size, uint8_t *ret,
                       size_t *ret_size) {
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key->pair, NULL);
        int r = context && EVP_PKEY_sign_init(context) == 1 && set_digest(key, context)
                                ? EVP_PKEY_sign(context, ret, ret_size, digest, size)
                                : -1;

        EVP_PKEY_CTX_free(context);
        return r == 1 ? 0 : -1;
}

static int sign_message(const KmsKey *key, const uint8_t *message, size_t size, uint8_t *ret,
                        size_t *ret_size) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        int r = context && EVP_DigestSignInit_ex(context, NULL, key->kind->digest, NULL, NULL, key->pair,
                                                 NULL) == 1
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

/* What Sign and Verify share: the key, which may be used, and a message that fits it. */
typedef struct Signing {
        KmsKey *key;
        uint8_t *message;
        size_t size;
        const char *algorithm;
        bool is_digest;
} Signing;

static void signing_clear(Signing *signing) {
        free(signing->message);
}

static int read_signing(KmsCall *call, const char *action, Signing *ret) {
        const char *name, *type;
        int r;

        r = platform_kms_string(call, call->request, "KeyId", true, 2048, &name);
        if (r >= 0)
                r = platform_kms_bytes(call, call->request, "Message", true, MESSAGE_MAX, &ret->message,
                                       &ret->size);
        if (r >= 0)
                r = read_choices(call, &ret->algorithm, &type);
        if (r >= 0)
                r = platform_kms_check_grant_tokens(call);
        if (r >= 0)
                r = platform_kms_key_resolve(call, action, name, &ret->key);
        if (r < 0)
                return r;

        const PolicyPair more[] = { { "kms:SigningAlgorithm", ret->algorithm },
                                    { "kms:MessageType", type },
                                    {} };
        r = platform_kms_check_use(call, &(const KmsQuestion){ action, ret->key, name, NULL, more },
                                   "SIGN_VERIFY");
        if (r >= 0)
                r = check_request(call, ret->key, ret->algorithm, type, ret->size);
        if (r >= 0)
                r = platform_kms_check_dry_run(call);
        ret->is_digest = strcmp(type, "DIGEST") == 0;
        return r;
}

static void reply_signing_key(KmsCall *call, const Signing *signing) {
        platform_kms_key_used(call, signing->key);
        kms_reply_string(call, "KeyId", signing->key->arn);
        kms_reply_string(call, "SigningAlgorithm", signing->algorithm);
}

int platform_kms_sign(KmsCall *call) {
        _cleanup_(signing_clear) Signing signing = {};
        uint8_t signature[SIGNATURE_MAX];
        size_t size = sizeof(signature);

        int r = read_signing(call, "kms:Sign", &signing);
        if (r < 0)
                return r;
        if ((signing.is_digest ? sign_digest : sign_message)(signing.key, signing.message, signing.size,
                                                             signature, &size) < 0)
                return platform_kms_refuse_internal(call);
        reply_signing_key(call, &signing);
        return platform_kms_reply_bytes(call, "Signature", signature, size);
}

static bool is_signature(const Signing *signing, const uint8_t *signature, size_t size) {
        const KmsKey *key = signing->key;
        bool valid;

        if (signing->is_digest) {
                EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key->pair, NULL);
                valid = context && EVP_PKEY_verify_init(context) == 1 && set_digest(key, context) &&
                        EVP_PKEY_verify(context, signature, size, signing->message, signing->size) == 1;
                EVP_PKEY_CTX_free(context);
                return valid;
        }
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        valid = context &&
                EVP_DigestVerifyInit_ex(context, NULL, key->kind->digest, NULL, NULL, key->pair, NULL) ==
                                1 &&
                EVP_DigestVerify(context, signature, size, signing->message, signing->size) == 1;
        EVP_MD_CTX_free(context);
        return valid;
}

int platform_kms_verify(KmsCall *call) {
        _cleanup_(signing_clear) Signing signing = {};
        _cleanup_free_ uint8_t *signature = NULL;
        size_t size;

        int r = platform_kms_bytes(call, call->request, "Signature", true, SIGNATURE_CLAIMED_MAX, &signature,
                                   &size);
        if (r >= 0)
                r = read_signing(call, "kms:Verify", &signing);
        if (r < 0)
                return r;
        if (!is_signature(&signing, signature, size))
                return platform_kms_refuse(call, "KMSInvalidSignatureException", "%s", "");
        json_object_object_add(call->reply, "SignatureValid", json_object_new_boolean(true));
        reply_signing_key(call, &signing);
        return 0;
}

int platform_kms_get_public_key(KmsCall *call) {
        struct json_object *algorithms = json_object_new_array();
        unsigned char *der = NULL;
        const char *name;
        KmsKey *key;
        int r, size;

        r = platform_kms_string(call, call->request, "KeyId", true, 2048, &name);
        if (r >= 0)
                r = platform_kms_key_resolve(call, "kms:GetPublicKey", name, &key);
        if (r >= 0)
                r = platform_kms_authorize(call, &(const KmsQuestion){ .action = "kms:GetPublicKey",
                                                                       .key = key,
                                                                       .key_name = name });
        if (r >= 0)
                r = platform_kms_key_check_state(call, key);
        if (r >= 0 && !key->pair)
                r = platform_kms_refuse(call, "UnsupportedOperationException",
                                        "%s is not an asymmetric key.", key->arn);
        if (r < 0) {
                json_object_put(algorithms);
                return r;
        }
        json_object_array_add(algorithms, json_object_new_string(key->kind->algorithm));
        json_object_object_add(call->reply, key->kind->algorithms, algorithms);
        kms_reply_string(call, "KeyId", key->arn);
        kms_reply_string(call, "KeySpec", key->kind->spec);
        kms_reply_string(call, "CustomerMasterKeySpec", key->kind->spec);
        kms_reply_string(call, "KeyUsage", key->kind->usage);
        size = i2d_PUBKEY(key->pair, &der);
        r = size > 0 ? platform_kms_reply_bytes(call, "PublicKey", der, (size_t) size)
                     : platform_kms_refuse_internal(call);
        OPENSSL_free(der);
        return r;
}
