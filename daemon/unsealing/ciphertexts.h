/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which ciphertext of each secret this process has unsealed last: its SHA-384 by the secret's name. Refresh= compares with it.
 * It is in memory only, so after a restart no ciphertext is known. A ciphertext is no secret, and neither is its digest.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"

#define CIPHERTEXT_DIGEST_SIZE 48U

typedef struct KnownCiphertext {
        char *name;
        uint8_t digest[CIPHERTEXT_DIGEST_SIZE];
} KnownCiphertext;

/* {} is empty. */
typedef struct Ciphertexts {
        KnownCiphertext *items;
        size_t count;
} Ciphertexts;

typedef enum CiphertextComparison {
        CIPHERTEXT_SAME,
        CIPHERTEXT_CHANGED,
        CIPHERTEXT_UNKNOWN, /* nothing is recorded for the secret */
} CiphertextComparison;

bool ciphertexts_know(const Ciphertexts *ciphertexts, const char *name) _pure_;

/* -ENOMEM or -EIO: OpenSSL cannot hash. */
int ciphertexts_compare(const Ciphertexts *ciphertexts, const char *name, const uint8_t *ciphertext,
                        size_t size, CiphertextComparison *ret);

/* Records the ciphertext in place of what was recorded before. A failure forgets the secret: the next comparison then says
 * CIPHERTEXT_UNKNOWN, which costs one reload and hides no change. */
void ciphertexts_record(Ciphertexts *ciphertexts, const char *name, const uint8_t *ciphertext, size_t size);

void ciphertexts_forget(Ciphertexts *ciphertexts, const char *name);
void ciphertexts_clear(Ciphertexts *ciphertexts);
