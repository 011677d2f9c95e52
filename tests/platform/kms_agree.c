/* SPDX-License-Identifier: Apache-2.0 */

/* Keys with KeyUsage KEY_AGREEMENT and GENERATE_VERIFY_MAC: DeriveSharedSecret, GenerateMac and VerifyMac (AWS KMS API
 * Reference). The shared secret is the x coordinate (SP 800-56A, 5.7.1.2), as long as the curve's field. */

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/x509.h>
#include <string.h>

#include "kms_internal.h"

#define PUBLIC_KEY_MAX 8192U
#define MESSAGE_MAX 4096U
#define MAC_MAX 6144U
#define SHARED_SECRET_MAX 66U

/* Reads the caller's public key, a DER SubjectPublicKeyInfo, which must be a point of the key's curve. */
static int read_peer(KmsCall *call, const KmsKey *key, const uint8_t *der, size_t size, EVP_PKEY **ret) {
        const unsigned char *end = der;
        EVP_PKEY *peer = d2i_PUBKEY(NULL, &end, (long) size);

        if (peer && end == der + size && EVP_PKEY_parameters_eq(peer, key->pair) == 1) {
                *ret = peer;
                return 0;
        }
        EVP_PKEY_free(peer);
        return platform_kms_refuse(call, "ValidationException",
                                   "The public key is not a valid public key of key spec %s.",
                                   key->kind->spec);
}

static int derive(const KmsKey *key, EVP_PKEY *peer, uint8_t *ret, size_t *ret_size) {
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key->pair, NULL);
        bool ok = context && EVP_PKEY_derive_init(context) == 1 &&
                  EVP_PKEY_derive_set_peer(context, peer) == 1 &&
                  EVP_PKEY_derive(context, ret, ret_size) == 1;

        EVP_PKEY_CTX_free(context);
        return ok ? 0 : -1;
}

static int reply_shared_secret(KmsCall *call, const KmsKey *key, const uint8_t *der, size_t der_size) {
        uint8_t secret[SHARED_SECRET_MAX];
        size_t size = sizeof(secret);
        EVP_PKEY *peer = NULL;

        int r = read_peer(call, key, der, der_size, &peer);
        if (r < 0)
                return r;
        r = derive(key, peer, secret, &size) < 0 ? platform_kms_refuse_internal(call) : 0;
        EVP_PKEY_free(peer);
        if (r >= 0)
                r = platform_kms_check_dry_run(call);
        if (r >= 0)
                r = platform_kms_reply_plaintext(call, "SharedSecret", secret, size);
        OPENSSL_cleanse(secret, sizeof(secret));
        return r;
}

int platform_kms_derive_shared_secret(KmsCall *call) {
        _cleanup_free_ uint8_t *der = NULL;
        const char *name, *algorithm;
        size_t size;
        KmsKey *key;
        int r;

        r = platform_kms_string(call, call->request, "KeyId", true, 2048, &name);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "KeyAgreementAlgorithm", true, 64, &algorithm);
        if (r >= 0 && strcmp(algorithm, "ECDH") != 0)
                r = platform_kms_constraint(call, algorithm, "KeyAgreementAlgorithm",
                                            "Member must satisfy enum value set: [ECDH]");
        if (r >= 0)
                r = platform_kms_bytes(call, call->request, "PublicKey", true, PUBLIC_KEY_MAX, &der, &size);
        if (r >= 0)
                r = platform_kms_check_grant_tokens(call);
        if (r >= 0)
                r = platform_kms_key_resolve(call, "kms:DeriveSharedSecret", name, &key);
        if (r < 0)
                return r;

        const PolicyPair more[] = { { "kms:KeyAgreementAlgorithm", algorithm }, {} };
        r = platform_kms_check_use(call,
                                   &(const KmsQuestion){ "kms:DeriveSharedSecret", key, name, NULL, more },
                                   "KEY_AGREEMENT");
        if (r >= 0)
                r = reply_shared_secret(call, key, der, size);
        if (r < 0)
                return r;
        platform_kms_key_used(call, key);
        kms_reply_string(call, "KeyId", key->arn);
        kms_reply_string(call, "KeyAgreementAlgorithm", algorithm);
        kms_reply_string(call, "KeyOrigin", "AWS_KMS");
        return 0;
}

/* Reads what GenerateMac and VerifyMac share, and computes the code of the message. */
static int make_mac(KmsCall *call, const char *action, KmsKey **ret_key, uint8_t *ret, size_t *ret_size) {
        _cleanup_free_ uint8_t *message = NULL;
        const char *name, *algorithm;
        unsigned int written;
        size_t size;
        KmsKey *key;
        int r;

        r = platform_kms_string(call, call->request, "KeyId", true, 2048, &name);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "MacAlgorithm", true, 64, &algorithm);
        if (r >= 0)
                r = platform_kms_bytes(call, call->request, "Message", true, MESSAGE_MAX, &message, &size);
        if (r >= 0)
                r = platform_kms_check_grant_tokens(call);
        if (r >= 0)
                r = platform_kms_key_resolve(call, action, name, &key);
        if (r < 0)
                return r;

        const PolicyPair more[] = { { "kms:MacAlgorithm", algorithm }, {} };
        r = platform_kms_check_use(call, &(const KmsQuestion){ action, key, name, NULL, more },
                                   "GENERATE_VERIFY_MAC");
        if (r >= 0)
                r = platform_kms_check_kind_algorithm(call, key, algorithm);
        if (r < 0)
                return r;
        if (!HMAC(EVP_get_digestbyname(key->kind->digest), key->material, sizeof(key->material), message,
                  size, ret, &written))
                return platform_kms_refuse_internal(call);
        *ret_size = written;
        *ret_key = key;
        return 0;
}

static void reply_mac_key(KmsCall *call, KmsKey *key) {
        platform_kms_key_used(call, key);
        kms_reply_string(call, "KeyId", key->arn);
        kms_reply_string(call, "MacAlgorithm", key->kind->algorithm);
}

int platform_kms_generate_mac(KmsCall *call) {
        uint8_t mac[EVP_MAX_MD_SIZE];
        size_t size;
        KmsKey *key;

        int r = make_mac(call, "kms:GenerateMac", &key, mac, &size);
        if (r >= 0)
                r = platform_kms_check_dry_run(call);
        if (r >= 0)
                r = platform_kms_reply_bytes(call, "Mac", mac, size);
        if (r >= 0)
                reply_mac_key(call, key);
        return r;
}

int platform_kms_verify_mac(KmsCall *call) {
        _cleanup_free_ uint8_t *claimed = NULL;
        size_t size, claimed_size;
        uint8_t mac[EVP_MAX_MD_SIZE];
        KmsKey *key;

        int r = platform_kms_bytes(call, call->request, "Mac", true, MAC_MAX, &claimed, &claimed_size);
        if (r >= 0)
                r = make_mac(call, "kms:VerifyMac", &key, mac, &size);
        if (r >= 0)
                r = platform_kms_check_dry_run(call);
        if (r < 0)
                return r;
        if (claimed_size != size || CRYPTO_memcmp(claimed, mac, size) != 0)
                return platform_kms_refuse(call, "KMSInvalidMacException", "%s", "");
        json_object_object_add(call->reply, "MacValid", json_object_new_boolean(true));
        reply_mac_key(call, key);
        return 0;
}
