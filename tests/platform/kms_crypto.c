/* SPDX-License-Identifier: Apache-2.0 */

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "cms_make.h"
#include "kms_internal.h"

/* A plaintext. It is wiped before it is freed. */
typedef struct Plaintext {
        uint8_t *data;
        size_t size;
} Plaintext;

static void plaintext_clear(Plaintext *plaintext) {
        OPENSSL_clear_free(plaintext->data, plaintext->size);
}

static int check_algorithm(KmsCall *call, const char *name) {
        const char *algorithm;

        int r = platform_kms_string(call, call->request, name, false, 64, &algorithm);
        if (r < 0)
                return r;
        if (algorithm && strcmp(algorithm, "SYMMETRIC_DEFAULT") != 0)
                return platform_kms_refuse(call, "InvalidKeyUsageException",
                                           "The encryption algorithm %s is not supported by this key.",
                                           algorithm);
        return 0;
}

int platform_kms_check_grant_tokens(KmsCall *call) {
        struct json_object *tokens = json_member(call->request, "GrantTokens");
        Kms *kms = call->kms;

        if (!tokens || !json_object_is_type(tokens, json_type_array))
                return 0;
        for (size_t i = 0; i < json_object_array_length(tokens); i++) {
                const char *token = json_object_get_string(json_object_array_get_idx(tokens, i));
                bool found = false;

                for (size_t k = 0; k < kms->n_keys && token; k++)
                        for (size_t g = 0; g < kms->keys[k]->n_grants; g++)
                                found = found || strcmp(kms->keys[k]->grants[g]->token, token) == 0;
                if (!found)
                        return platform_kms_refuse(call, "InvalidGrantTokenException",
                                                   "Invalid grant token");
        }
        return 0;
}

int platform_kms_check_use(KmsCall *call, const KmsQuestion *question, const char *usage) {
        int r = platform_kms_authorize(call, question);

        if (r >= 0)
                r = platform_kms_key_check_state(call, question->key);
        if (r >= 0)
                r = platform_kms_check_usage(call, question->key, usage);
        return r;
}

static int check_use(KmsCall *call, const KmsQuestion *question) {
        return platform_kms_check_use(call, question, "ENCRYPT_DECRYPT");
}

static const PolicyPair symmetric[] = { { "kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT" }, {} };

static int reply_cms(KmsCall *call, const uint8_t *public_key, size_t size, const Plaintext *plaintext,
                     CmsDefect defect) {
        _cleanup_free_ uint8_t *cms = NULL;
        size_t cms_size;

        if (platform_cms_make(public_key, size, plaintext->data, plaintext->size, defect, &cms, &cms_size) <
            0)
                return platform_kms_refuse_internal(call);
        return platform_kms_reply_bytes(call, "CiphertextForRecipient", cms, cms_size);
}

/* Replies with a valid envelope to a key that the caller does not have. */
static int reply_cms_for_stranger(KmsCall *call, const Plaintext *plaintext) {
        EVP_PKEY *stranger = EVP_RSA_gen(2048);
        unsigned char *der = NULL;
        int size = stranger ? i2d_PUBKEY(stranger, &der) : -1;
        int r = size > 0 ? reply_cms(call, der, (size_t) size, plaintext, CMS_SOUND)
                         : platform_kms_refuse_internal(call);

        OPENSSL_free(der);
        EVP_PKEY_free(stranger);
        return r;
}

static CmsDefect read_defect(const char *text) {
        if (strcmp(text, "key") == 0)
                return CMS_DEFECT_KEY;
        if (strcmp(text, "recipient") == 0 || strcmp(text, "short") == 0)
                return CMS_SOUND;
        return strcmp(text, "structure") == 0 ? CMS_DEFECT_STRUCTURE : CMS_DEFECT_CONTENT;
}

static int reply_plaintext(KmsCall *call, const char *name, const Plaintext *plaintext) {
        Faults *faults = call->kms->faults;
        CmsDefect defect = CMS_SOUND;
        FaultValue fault = {};
        int r;

        if (!call->attested)
                return platform_kms_reply_bytes(call, name, plaintext->data, plaintext->size);

        if (faults_take(faults, SERVICE_KMS, call->operation, FAULT_TAMPERED_CMS, &fault))
                defect = read_defect(fault.text);
        if (strcmp(fault.text, "recipient") == 0)
                r = reply_cms_for_stranger(call, plaintext);
        else if (strcmp(fault.text, "short") == 0)
                r = reply_cms(call, call->facts.public_key, call->facts.public_key_size,
                              &(const Plaintext){ plaintext->data, plaintext->size - 1 }, CMS_SOUND);
        else
                r = reply_cms(call, call->facts.public_key, call->facts.public_key_size, plaintext, defect);
        if (r >= 0 && faults_take(faults, SERVICE_KMS, call->operation, FAULT_PLAINTEXT, NULL))
                r = platform_kms_reply_bytes(call, name, plaintext->data, plaintext->size);
        return r;
}

int platform_kms_reply_plaintext(KmsCall *call, const char *name, const uint8_t *data, size_t size) {
        return reply_plaintext(call, name, &(const Plaintext){ (uint8_t *) (uintptr_t) data, size });
}

static int seal(KmsCall *call, const char *name, const KmsKey *key, struct json_object *context,
                const Plaintext *plaintext) {
        _cleanup_free_ uint8_t *blob = NULL;
        size_t size;

        if (platform_kms_blob_seal(key->id_bytes, key->material, context, plaintext->data, plaintext->size,
                                   &blob, &size) < 0)
                return platform_kms_refuse_internal(call);
        return platform_kms_reply_bytes(call, name, blob, size);
}

int platform_kms_encrypt(KmsCall *call) {
        _cleanup_(plaintext_clear) Plaintext plaintext = {};
        struct json_object *context;
        const char *name;
        KmsKey *key;
        int r;

        r = platform_kms_string(call, call->request, "KeyId", true, 2048, &name);
        if (r >= 0)
                r = platform_kms_bytes(call, call->request, "Plaintext", true, KMS_PLAINTEXT_MAX,
                                       &plaintext.data, &plaintext.size);
        if (r >= 0)
                r = platform_kms_context(call, "EncryptionContext", &context);
        if (r >= 0)
                r = check_algorithm(call, "EncryptionAlgorithm");
        if (r >= 0)
                r = platform_kms_check_grant_tokens(call);
        if (r >= 0)
                r = platform_kms_key_resolve(call, "kms:Encrypt", name, &key);
        if (r >= 0)
                r = check_use(call, &(const KmsQuestion){ "kms:Encrypt", key, name, context, symmetric });
        if (r >= 0)
                r = platform_kms_check_dry_run(call);
        if (r >= 0)
                r = seal(call, "CiphertextBlob", key, context, &plaintext);
        if (r < 0)
                return r;

        platform_kms_key_used(call, key);
        kms_reply_string(call, "KeyId", key->arn);
        kms_reply_string(call, "EncryptionAlgorithm", "SYMMETRIC_DEFAULT");
        return 0;
}

/* With DryRunModifiers: ["IGNORE_CIPHERTEXT"], a dry run needs no ciphertext. */
static int ignores_ciphertext(KmsCall *call, bool *ret) {
        struct json_object *modifiers = json_member(call->request, "DryRunModifiers");
        bool dry_run;

        *ret = false;
        int r = platform_kms_boolean(call, "DryRun", &dry_run);
        if (r < 0 || !modifiers)
                return r;
        if (!json_object_is_type(modifiers, json_type_array) || json_object_array_length(modifiers) != 1 ||
            strcmp(json_object_get_string(json_object_array_get_idx(modifiers, 0)) ?: "",
                   "IGNORE_CIPHERTEXT") != 0)
                return platform_kms_constraint(call, json_object_get_string(modifiers), "DryRunModifiers",
                                               "Member must satisfy enum value set: [IGNORE_CIPHERTEXT]");
        if (!dry_run)
                return platform_kms_refuse(call, "ValidationException",
                                           "DryRunModifiers can only be specified when DryRun is true.");
        *ret = true;
        return 0;
}

/* The parameters of Decrypt and of the first half of ReEncrypt, by their names in the request. */
typedef struct Opening {
        const char *action;
        const char *key_name;
        const char *context_name;
        const char *algorithm_name;
        const PolicyPair *more;
} Opening;

/* Finds the key that the request names, or else the key of the ciphertext. */
static int find_decryption_key(KmsCall *call, const Opening *opening, const char *name, const uint8_t *blob,
                               size_t blob_size, KmsKey **ret, bool *ret_matches) {
        uint8_t id[KMS_KEY_ID_SIZE];
        bool is_blob = platform_kms_blob_key_id(blob, blob_size, id) >= 0;
        KmsKey *own = is_blob ? platform_kms_key_by_id(call->kms, call->region, id) : NULL, *key = own;

        if (name) {
                int r = platform_kms_key_resolve(call, opening->action, name, &key);
                if (r < 0)
                        return r;
        } else if (!own)
                return platform_kms_refuse(call, "InvalidCiphertextException", "%s", "");

        *ret = key;
        *ret_matches = key == own || !is_blob; /* an invalid ciphertext is refused when it is opened */
        return 0;
}

static int open_ciphertext(KmsCall *call, const Opening *opening, KmsKey **ret_key, Plaintext *ret) {
        _cleanup_free_ uint8_t *blob = NULL;
        struct json_object *context;
        bool ignore_ciphertext, matches = false;
        const char *name;
        size_t blob_size;
        KmsKey *key = NULL;
        int r;

        r = ignores_ciphertext(call, &ignore_ciphertext);
        if (r >= 0)
                r = platform_kms_string(call, call->request, opening->key_name, ignore_ciphertext, 2048,
                                        &name);
        if (r >= 0)
                r = platform_kms_bytes(call, call->request, "CiphertextBlob", !ignore_ciphertext,
                                       KMS_CIPHERTEXT_MAX, &blob, &blob_size);
        if (r >= 0)
                r = platform_kms_context(call, opening->context_name, &context);
        if (r >= 0)
                r = check_algorithm(call, opening->algorithm_name);
        if (r >= 0)
                r = platform_kms_check_grant_tokens(call);
        if (r >= 0)
                r = find_decryption_key(call, opening, name, blob, blob_size, &key, &matches);
        if (r >= 0)
                r = check_use(call,
                              &(const KmsQuestion){ opening->action, key, name, context, opening->more });
        if (r < 0)
                return r;
        *ret_key = key;
        if (ignore_ciphertext)
                return 0;

        if (!matches)
                return platform_kms_refuse(
                                call, "IncorrectKeyException",
                                "The key ID in the request does not identify a CMK that can perform this "
                                "operation.");
        if (platform_kms_blob_open(blob, blob_size, key->material, context, &ret->data, &ret->size) < 0)
                return platform_kms_refuse(call, "InvalidCiphertextException", "%s", "");
        return 0;
}

int platform_kms_decrypt(KmsCall *call) {
        static const Opening opening = { "kms:Decrypt", "KeyId", "EncryptionContext", "EncryptionAlgorithm",
                                         symmetric };
        _cleanup_(plaintext_clear) Plaintext plaintext = {};
        KmsKey *key;

        int r = open_ciphertext(call, &opening, &key, &plaintext);
        if (r >= 0)
                r = platform_kms_check_dry_run(call);
        if (r >= 0)
                r = reply_plaintext(call, "Plaintext", &plaintext);
        if (r < 0)
                return r;

        platform_kms_key_used(call, key);
        kms_reply_string(call, "KeyId", key->arn);
        kms_reply_string(call, "EncryptionAlgorithm", "SYMMETRIC_DEFAULT");
        return 0;
}

int platform_kms_re_encrypt(KmsCall *call) {
        _cleanup_(plaintext_clear) Plaintext plaintext = {};
        const char *source_name, *destination_name;
        struct json_object *context;
        KmsKey *source, *destination;
        int r;

        r = platform_kms_string(call, call->request, "SourceKeyId", false, 2048, &source_name);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "DestinationKeyId", true, 2048,
                                        &destination_name);
        if (r >= 0)
                r = platform_kms_context(call, "DestinationEncryptionContext", &context);
        if (r >= 0)
                r = check_algorithm(call, "DestinationEncryptionAlgorithm");
        if (r >= 0)
                r = platform_kms_key_resolve(call, "kms:ReEncryptTo", destination_name, &destination);
        if (r < 0)
                return r;

        const PolicyPair same_key[] = {
                { "kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT" },
                { "kms:ReEncryptOnSameKey",
                  source_name && strcmp(source_name, destination_name) == 0 ? "true" : "false" },
                {},
        };
        const Opening opening = { "kms:ReEncryptFrom", "SourceKeyId", "SourceEncryptionContext",
                                  "SourceEncryptionAlgorithm", same_key };
        r = open_ciphertext(call, &opening, &source, &plaintext);
        if (r >= 0)
                r = check_use(call, &(const KmsQuestion){ "kms:ReEncryptTo", destination, destination_name,
                                                          context, same_key });
        if (r >= 0)
                r = platform_kms_check_dry_run(call);
        if (r >= 0)
                r = seal(call, "CiphertextBlob", destination, context, &plaintext);
        if (r < 0)
                return r;

        platform_kms_key_used(call, source);
        platform_kms_key_used(call, destination);
        kms_reply_string(call, "SourceKeyId", source->arn);
        kms_reply_string(call, "KeyId", destination->arn);
        kms_reply_string(call, "SourceEncryptionAlgorithm", "SYMMETRIC_DEFAULT");
        kms_reply_string(call, "DestinationEncryptionAlgorithm", "SYMMETRIC_DEFAULT");
        return 0;
}

static int make_random(KmsCall *call, int64_t size, Plaintext *ret) {
        ret->data = malloc((size_t) size);
        if (!ret->data || RAND_bytes(ret->data, (int) size) <= 0)
                return platform_kms_refuse_internal(call);
        ret->size = (size_t) size;
        return 0;
}

/* A request has either KeySpec or NumberOfBytes. */
static int data_key_size(KmsCall *call, int64_t *ret) {
        const char *spec;

        int r = platform_kms_string(call, call->request, "KeySpec", false, 64, &spec);
        if (r >= 0)
                r = platform_kms_integer(call, "NumberOfBytes", 1, KMS_RANDOM_MAX, 0, ret);
        if (r < 0)
                return r;
        if ((spec != NULL) == (*ret > 0))
                return platform_kms_refuse(call, "ValidationException",
                                           "Please specify either number of bytes or key spec.");
        if (!spec)
                return 0;
        if (strcmp(spec, "AES_256") != 0 && strcmp(spec, "AES_128") != 0)
                return platform_kms_constraint(call, spec, "KeySpec",
                                               "Member must satisfy enum value set: [AES_256, AES_128]");
        *ret = strcmp(spec, "AES_256") == 0 ? 32 : 16;
        return 0;
}

int platform_kms_generate_data_key(KmsCall *call) {
        bool with_plaintext = strcmp(call->operation, "GenerateDataKey") == 0;
        const char *action = with_plaintext ? "kms:GenerateDataKey" : "kms:GenerateDataKeyWithoutPlaintext",
                   *name;
        _cleanup_(plaintext_clear) Plaintext plaintext = {};
        struct json_object *context;
        int64_t size;
        KmsKey *key;
        int r;

        r = platform_kms_string(call, call->request, "KeyId", true, 2048, &name);
        if (r >= 0)
                r = data_key_size(call, &size);
        if (r >= 0)
                r = platform_kms_context(call, "EncryptionContext", &context);
        if (r >= 0)
                r = platform_kms_check_grant_tokens(call);
        if (r >= 0)
                r = platform_kms_key_resolve(call, action, name, &key);
        if (r >= 0)
                r = check_use(call, &(const KmsQuestion){ action, key, name, context, symmetric });
        if (r >= 0)
                r = platform_kms_check_dry_run(call);
        if (r >= 0)
                r = make_random(call, size, &plaintext);
        if (r >= 0)
                r = seal(call, "CiphertextBlob", key, context, &plaintext);
        if (r >= 0 && with_plaintext)
                r = reply_plaintext(call, "Plaintext", &plaintext);
        if (r < 0)
                return r;

        platform_kms_key_used(call, key);
        kms_reply_string(call, "KeyId", key->arn);
        return 0;
}

/* Makes a pair of keys. *ret_private: PKCS #8. *ret_public: SubjectPublicKeyInfo, freed by the caller. Both in DER (KMS API
 * Reference, GenerateDataKeyPair). */
static int make_pair(KmsCall *call, const char *spec, Plaintext *ret_private, unsigned char **ret_public,
                     int *ret_public_size) {
        static const struct {
                const char *spec, *curve; /* NULL: RSA with so many bits, or Ed25519 with 0 */
                size_t bits;
        } specs[] = {
                { "RSA_2048", NULL, 2048 },
                { "RSA_3072", NULL, 3072 },
                { "RSA_4096", NULL, 4096 },
                { "ECC_NIST_P256", "P-256", 0 },
                { "ECC_NIST_P384", "P-384", 0 },
                { "ECC_NIST_P521", "P-521", 0 },
                { "ECC_SECG_P256K1", "secp256k1", 0 },
                { "ECC_NIST_EDWARDS25519", NULL, 0 },
        };
        PKCS8_PRIV_KEY_INFO *info;
        unsigned char *der = NULL;
        EVP_PKEY *pair;
        size_t i = 0;
        int size;

        while (i < ELEMENTSOF(specs) && strcmp(specs[i].spec, spec) != 0)
                i++;
        if (i == ELEMENTSOF(specs))
                return platform_kms_constraint(call, spec, "KeyPairSpec",
                                               "Member must be one of the platform's key pair specs");
        if (specs[i].curve)
                pair = EVP_EC_gen(specs[i].curve);
        else if (specs[i].bits > 0)
                pair = EVP_RSA_gen(specs[i].bits);
        else
                pair = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        info = pair ? EVP_PKEY2PKCS8(pair) : NULL;
        size = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;
        *ret_public_size = pair ? i2d_PUBKEY(pair, ret_public) : -1;
        PKCS8_PRIV_KEY_INFO_free(info);
        EVP_PKEY_free(pair);
        if (size > 0)
                *ret_private = (Plaintext){ der, (size_t) size };
        return size > 0 && *ret_public_size > 0 ? 0 : platform_kms_refuse_internal(call);
}

static int reply_pair(KmsCall *call, const KmsKey *key, struct json_object *context, const char *spec,
                      bool with_plaintext) {
        _cleanup_(plaintext_clear) Plaintext private_key = {};
        unsigned char *public_key = NULL;
        int size = 0, r = make_pair(call, spec, &private_key, &public_key, &size);

        if (r >= 0)
                r = seal(call, "PrivateKeyCiphertextBlob", key, context, &private_key);
        if (r >= 0 && with_plaintext)
                r = reply_plaintext(call, "PrivateKeyPlaintext", &private_key);
        if (r >= 0)
                r = platform_kms_reply_bytes(call, "PublicKey", public_key, (size_t) size);
        OPENSSL_free(public_key);
        return r;
}

int platform_kms_generate_data_key_pair(KmsCall *call) {
        bool with_plaintext = strcmp(call->operation, "GenerateDataKeyPair") == 0;
        const char *action = with_plaintext ? "kms:GenerateDataKeyPair"
                                            : "kms:GenerateDataKeyPairWithoutPlaintext",
                   *name, *spec;
        struct json_object *context;
        KmsKey *key;
        int r;

        r = platform_kms_string(call, call->request, "KeyId", true, 2048, &name);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "KeyPairSpec", true, 64, &spec);
        if (r >= 0)
                r = platform_kms_context(call, "EncryptionContext", &context);
        if (r >= 0)
                r = platform_kms_check_grant_tokens(call);
        if (r >= 0)
                r = platform_kms_key_resolve(call, action, name, &key);
        if (r < 0)
                return r;
        const PolicyPair more[] = { { "kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT" },
                                    { "kms:DataKeyPairSpec", spec },
                                    {} };
        r = check_use(call, &(const KmsQuestion){ action, key, name, context, more });
        if (r >= 0)
                r = platform_kms_check_dry_run(call);
        if (r >= 0)
                r = reply_pair(call, key, context, spec, with_plaintext);
        if (r < 0)
                return r;

        platform_kms_key_used(call, key);
        kms_reply_string(call, "KeyId", key->arn);
        kms_reply_string(call, "KeyPairSpec", spec);
        return 0;
}

int platform_kms_generate_random(KmsCall *call) {
        _cleanup_(plaintext_clear) Plaintext plaintext = {};
        int64_t size;

        int r = platform_kms_integer(call, "NumberOfBytes", 1, KMS_RANDOM_MAX, 0, &size);
        if (r >= 0 && size == 0)
                r = platform_kms_refuse(call, "ValidationException", "NumberOfBytes is required.");
        if (r >= 0)
                r = platform_kms_authorize(call, &(const KmsQuestion){ .action = "kms:GenerateRandom",
                                                                       .key_name = "*" });
        if (r >= 0)
                r = make_random(call, size, &plaintext);
        return r < 0 ? r : reply_plaintext(call, "Plaintext", &plaintext);
}
