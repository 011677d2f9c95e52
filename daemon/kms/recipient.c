/* SPDX-License-Identifier: Apache-2.0 */

/*
 * OpenSSL keeps the key's numbers on the ordinary heap, its secure heap notwithstanding: primes, Montgomery
 * forms of them, the blinding. EVP_PKEY_free() clears what the key itself owns; scratch copies of making and
 * using it were freed along the way, some uncleared. What covers them is not here: all memory is locked
 * (memory_protect_process()), the allocator wipes what is freed (vault/wipe.c), and whoever makes and uses a
 * Recipient does so in a thread of its own, whose stack is wiped (basic/worker.h).
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
                                 "A recipient's key has 2048, 3072 or 4096 bits, not %u.", bits);
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

void recipient_public_key(const Recipient *recipient, const uint8_t **ret, size_t *ret_size) {
        *ret = recipient->public_key;
        *ret_size = recipient->public_key_size;
}

int recipient_open(Recipient *recipient, const uint8_t *cms, size_t size, Secret **ret, Error *error) {
        int r = cms_open(cms, size, recipient->key, ret);

        if (r == -EBADMSG || r == -EKEYREJECTED)
                return error_set(
                                error, -EBADMSG, FAILURE_ANSWER,
                                "KMS's answer does not open with the key pair of this boot. If it was not garbled on its way, somebody answers in KMS's place.");
        if (r < 0)
                return error_set(
                                error, r, FAILURE_MEMORY,
                                "There is no locked memory for a secret: set LimitMEMLOCK=infinity in the unit.");
        return 0;
}
