/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The five certificates under which a NitroTPM's documents are signed: names, lifetimes and extensions as in captured
 * ones (the root's name too: whoever goes by names alone is to fall for it), P-384 and SHA-384 throughout.
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

/* module_id: "i-…-tpm0000000000000000". Makes the root where there is none, and all below it anew. Negative errno, and
 * then chain is as it was. */
int chain_issue(Chain *chain, const char *instance_id, const char *module_id, const char *region,
                int64_t now);
void chain_clear(Chain *chain);

/* Of the leaf, and so of what the chain is good for. */
#define LEAF_LIFETIME_SEC (3L * 3600)

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);
DEFINE_CLEANUP(X509 *, X509_free);
