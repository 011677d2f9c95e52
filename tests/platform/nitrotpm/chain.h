/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The five certificates that sign a NitroTPM's documents, P-384 and SHA-384 throughout. Names, lifetimes and
 * extensions are as in captured certificates. The root has AWS's name, too, so that a verifier that compares
 * only names is fooled.
 */

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdint.h>

#include "basic/cleanup.h"

typedef enum Level {
        LEVEL_ROOT,
        LEVEL_REGIONAL,
        LEVEL_ZONAL,
        LEVEL_INSTANCE,
        LEVEL_LEAF,
        LEVELS,
} Level;

typedef struct Issued {
        EVP_PKEY *key;
        X509 *certificate;
} Issued;

typedef struct Chain {
        Issued issued[LEVELS];
} Chain;

/* module_id: "i-…-tpm0000000000000000". Makes the root if there is none yet, and always a new chain below
 * it. Returns a negative errno on failure; chain is unchanged then. */
int chain_issue(Chain *chain, const char *instance_id, const char *module_id, const char *region,
                int64_t now);
void chain_clear(Chain *chain);

/* The lifetime of the leaf, and so of the chain. */
#define LEAF_LIFETIME_SEC (3L * 3600)

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);
DEFINE_CLEANUP(X509 *, X509_free);
