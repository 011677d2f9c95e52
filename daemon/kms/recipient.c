/* SPDX-License-Identifier: Apache-2.0 */

/*
 * OpenSSL keeps the numbers of the key on the ordinary heap: the primes, their Montgomery forms, the blinding.
 * EVP_PKEY_free() clears all that the key owns. While it makes and uses a key, OpenSSL frees other copies, some of them
 * without clearing. Three things cover those: all memory is locked (memory_protect_process()), the allocator wipes all
 * memory that is freed (memory/wipe.c), and a thread of its own makes and uses the Recipient, whose stack is wiped when
 * it ends (basic/thread.h).
 */

#include <errno.h>
#include <openssl/x509.h>

#include "basic/openssl-util.h"
#include "kms/cms.h"
#include "kms/key-pair.h"
#include "kms/recipient.h"

struct Recipient {
        EVP_PKEY *key;
        uint8_t *public_key; /* OpenSSL's memory */
        size_t public_key_size;
};

int recipient_new(unsigned bits, Recipient **ret, Error *error) {
        _cleanup_(recipient_freep) Recipient *recipient = NULL;
        const char *reason;
        int size, r;

        if (bits != 2048 && bits != 3072 && bits != 4096)
                return error_set(error, -EINVAL, FAILURE_CONFIGURATION,
                                 "An RSA key pair of %u bits is not possible; 2048, 3072 and 4096 bits are.",
                                 bits);
        recipient = calloc(1, sizeof(*recipient));
        if (!recipient)
                return error_oom(error);
        r = key_pair_new(bits, &recipient->key, error);
        if (r < 0)
                return r;
        size = i2d_PUBKEY(recipient->key, &recipient->public_key);
        if (size <= 0) {
                r = openssl_failure(&reason);
                return r == -ENOMEM ? error_oom(error)
                                    : error_set(error, r, FAILURE_INTERNAL,
                                                "OpenSSL cannot encode the public key: %s.", reason);
        }
        recipient->public_key_size = (size_t) size;
        *ret = TAKE_PTR(recipient);
        return 0;
}

Recipient *recipient_free(Recipient *recipient) {
        if (!recipient)
                return NULL;
        EVP_PKEY_free(recipient->key);
        OPENSSL_free(recipient->public_key);
        free(recipient);
        return NULL;
}

Slice recipient_public_key(const Recipient *recipient) {
        return (Slice){ recipient->public_key, recipient->public_key_size };
}

int recipient_open(Recipient *recipient, const uint8_t *cms, size_t size, Secret **ret, Error *error) {
        int r = cms_open(cms, size, recipient->key, ret);

        switch (r) {
        case 0:
                return 0;
        case -ENOKEY:
                return error_set(
                                error, -EBADMSG, FAILURE_ANSWER,
                                "KMS's answer is encrypted for another key pair than that of this boot: its key identifier differs. Somebody may have answered in KMS's place. Check KmsEndpoint=, Proxy= and TrustedCertificates=.");
        case -EBADMSG:
        case -EKEYREJECTED:
                return error_set(
                                error, -EBADMSG, FAILURE_ANSWER,
                                "KMS's answer does not open with the key pair of this boot. It was damaged on its way, or somebody answered in KMS's place. Check KmsEndpoint=, Proxy= and TrustedCertificates=.");
        case -ENOMEM:
                return error_set(
                                error, r, FAILURE_INTERNAL,
                                "There is no locked memory for a decrypted secret. If this persists, set LimitMEMLOCK=infinity in the unit, or give the machine more memory.");
        default:
                return error_set(
                                error, r, FAILURE_INTERNAL,
                                "OpenSSL failed while it decrypted KMS's answer. This says nothing about the answer.");
        }
}
