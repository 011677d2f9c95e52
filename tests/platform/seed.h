/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A seed, from which the platform derives its certificate authority and its KMS keys. An image that names a
 * key and trusts an authority takes minutes to build; another platform with the same seed has the same key
 * and authority. Without a seed both are random.
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

/* Returns -EBADMSG where the file is shorter than SEED_SIZE_MIN or longer than SEED_SIZE_MAX bytes. */
int seed_read(const char *path, Seed *ret);

/* Derives bytes by HKDF-SHA-256 (RFC 5869), with label and number as info. Without a seed the bytes are
 * random. */
int seed_bytes(const Seed *seed, const char *label, unsigned number, uint8_t *ret, size_t size);

/* Derives a P-256 key pair in the same way. Returns NULL on failure. The caller frees it. */
EVP_PKEY *seed_key(const Seed *seed, const char *label);
