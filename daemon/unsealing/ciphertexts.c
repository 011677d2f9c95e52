/* SPDX-License-Identifier: Apache-2.0 */

#include <stdlib.h>
#include <string.h>

#include "basic/openssl-util.h"
#include "unsealing/ciphertexts.h"

static KnownCiphertext *find(const Ciphertexts *ciphertexts, const char *name) {
        for (size_t i = 0; i < ciphertexts->count; i++)
                if (strcmp(ciphertexts->items[i].name, name) == 0)
                        return ciphertexts->items + i;
        return NULL;
}

static KnownCiphertext *add(Ciphertexts *ciphertexts, const char *name) {
        KnownCiphertext *items = reallocarray(ciphertexts->items, ciphertexts->count + 1, sizeof(*items));

        if (!items)
                return NULL;
        ciphertexts->items = items;
        items[ciphertexts->count] = (KnownCiphertext){ .name = strdup(name) };
        return items[ciphertexts->count].name ? items + ciphertexts->count++ : NULL;
}

static int hash(const uint8_t *ciphertext, size_t size, uint8_t ret[static CIPHERTEXT_DIGEST_SIZE]) {
        return EVP_Digest(ciphertext, size, ret, NULL, EVP_sha384(), NULL) == 1 ? 0 : openssl_failure(NULL);
}

bool ciphertexts_know(const Ciphertexts *ciphertexts, const char *name) {
        return find(ciphertexts, name);
}

int ciphertexts_compare(const Ciphertexts *ciphertexts, const char *name, const uint8_t *ciphertext,
                        size_t size, CiphertextComparison *ret) {
        const KnownCiphertext *known = find(ciphertexts, name);
        uint8_t digest[CIPHERTEXT_DIGEST_SIZE];
        int r = hash(ciphertext, size, digest);

        if (r < 0)
                return r;
        *ret = !known                                               ? CIPHERTEXT_UNKNOWN
               : memcmp(known->digest, digest, sizeof(digest)) == 0 ? CIPHERTEXT_SAME
                                                                    : CIPHERTEXT_CHANGED;
        return 0;
}

void ciphertexts_record(Ciphertexts *ciphertexts, const char *name, const uint8_t *ciphertext, size_t size) {
        KnownCiphertext *known = find(ciphertexts, name) ?: add(ciphertexts, name);

        if (known && hash(ciphertext, size, known->digest) < 0)
                ciphertexts_forget(ciphertexts, name);
}

void ciphertexts_forget(Ciphertexts *ciphertexts, const char *name) {
        KnownCiphertext *known = find(ciphertexts, name);

        if (!known)
                return;
        free(known->name);
        *known = ciphertexts->items[--ciphertexts->count];
}

void ciphertexts_clear(Ciphertexts *ciphertexts) {
        while (ciphertexts->count > 0)
                free(ciphertexts->items[--ciphertexts->count].name);
        free(ciphertexts->items);
        *ciphertexts = (Ciphertexts){};
}
