/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What of the platform outlives it: the certificate authority and the KMS keys. An image that names a key and trusts an
 * authority takes minutes to build; from the same seed another platform has the same ones. Without a seed both are random.
 */

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#define SEED_SIZE_MIN 32U
#define SEED_SIZE_MAX 4096U

typedef struct Seed {
        uint8_t bytes[SEED_SIZE_MAX];
        size_t size; /* 0: none */
} Seed;

/* -EBADMSG: the file has not SEED_SIZE_MIN to SEED_SIZE_MAX bytes. */
int seed_read(const char *path, Seed *ret);

/* HKDF-SHA-256 (RFC 5869) of the seed, with label and number as info; random bytes where there is none. */
int seed_bytes(const Seed *seed, const char *label, unsigned number, uint8_t *ret, size_t size);

/* A P-256 key pair likewise. NULL on failure; the caller frees. */
EVP_PKEY *seed_key(const Seed *seed, const char *label);
