/* SPDX-License-Identifier: Apache-2.0 */

/* The kinds of keys by KeySpec and KeyUsage (AWS KMS API Reference, CreateKey and KeyMetadata). A key of the platform knows one
 * algorithm. AWS's HMAC keys are as long as their digest; the platform's have the 32 bytes of every other key. */

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "kms_internal.h"

static const KmsKind kinds[] = {
        { "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EncryptionAlgorithms", "SYMMETRIC_DEFAULT", NULL, NULL,
          0 },
        { "ECC_NIST_P256", "SIGN_VERIFY", "SigningAlgorithms", "ECDSA_SHA_256", "P-256", "SHA256", 32 },
        { "ECC_NIST_P384", "SIGN_VERIFY", "SigningAlgorithms", "ECDSA_SHA_384", "P-384", "SHA384", 48 },
        { "ECC_NIST_P521", "SIGN_VERIFY", "SigningAlgorithms", "ECDSA_SHA_512", "P-521", "SHA512", 64 },
        { "ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "SigningAlgorithms", "ED25519_SHA_512", "ED25519", NULL,
          0 },
        { "RSA_2048", "SIGN_VERIFY", "SigningAlgorithms", "RSASSA_PKCS1_V1_5_SHA_256", "RSA", "SHA256", 32 },
        { "RSA_3072", "SIGN_VERIFY", "SigningAlgorithms", "RSASSA_PKCS1_V1_5_SHA_256", "RSA", "SHA256", 32 },
        { "RSA_4096", "SIGN_VERIFY", "SigningAlgorithms", "RSASSA_PKCS1_V1_5_SHA_256", "RSA", "SHA256", 32 },
        { "ECC_NIST_P256", "KEY_AGREEMENT", "KeyAgreementAlgorithms", "ECDH", "P-256", NULL, 0 },
        { "ECC_NIST_P384", "KEY_AGREEMENT", "KeyAgreementAlgorithms", "ECDH", "P-384", NULL, 0 },
        { "ECC_NIST_P521", "KEY_AGREEMENT", "KeyAgreementAlgorithms", "ECDH", "P-521", NULL, 0 },
        { "HMAC_224", "GENERATE_VERIFY_MAC", "MacAlgorithms", "HMAC_SHA_224", NULL, "SHA224", 28 },
        { "HMAC_256", "GENERATE_VERIFY_MAC", "MacAlgorithms", "HMAC_SHA_256", NULL, "SHA256", 32 },
        { "HMAC_384", "GENERATE_VERIFY_MAC", "MacAlgorithms", "HMAC_SHA_384", NULL, "SHA384", 48 },
        { "HMAC_512", "GENERATE_VERIFY_MAC", "MacAlgorithms", "HMAC_SHA_512", NULL, "SHA512", 64 },
};

const KmsKind *platform_kms_kind_find(const char *spec, const char *usage) {
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (strcmp(kinds[i].spec, spec) == 0 && (!usage || strcmp(kinds[i].usage, usage) == 0))
                        return &kinds[i];
        return NULL;
}

int platform_kms_pair_new(KmsKey *key, const KmsKind *kind) {
        key->kind = kind;
        if (!kind->curve)
                return 0;
        if (strcmp(kind->curve, "RSA") == 0)
                key->pair = EVP_RSA_gen((unsigned) strtoul(kind->spec + strlen("RSA_"), NULL, 10));
        else if (strcmp(kind->curve, "ED25519") == 0)
                key->pair = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        else
                key->pair = EVP_PKEY_Q_keygen(NULL, NULL, "EC", kind->curve);
        return key->pair ? 0 : -1;
}

int platform_kms_check_usage(KmsCall *call, const KmsKey *key, const char *usage) {
        if (strcmp(key->kind->usage, usage) == 0)
                return 0;
        return platform_kms_refuse(call, "InvalidKeyUsageException",
                                   "%s key usage is %s which is not valid for %s.", key->arn,
                                   key->kind->usage, call->operation);
}

int platform_kms_check_kind_algorithm(KmsCall *call, const KmsKey *key, const char *algorithm) {
        if (strcmp(algorithm, key->kind->algorithm) == 0)
                return 0;
        return platform_kms_refuse(call, "InvalidKeyUsageException",
                                   "Algorithm %s is incompatible with key spec %s.", algorithm,
                                   key->kind->spec);
}
