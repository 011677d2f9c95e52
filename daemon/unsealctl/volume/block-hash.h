/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The digests of dm-verity, version 1: SHA-256 over the salt and one block
 * (Documentation/admin-guide/device-mapper/verity.rst). The digests of up to 128 blocks, with zeros behind them, are one block of the
 * level above. A function of its arguments.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "volume/volume-key.h"

/* For one thread at a time. */
typedef struct BlockHash BlockHash;

/* The salt is copied. -ENOMEM, -EIO. */
int block_hash_new(const uint8_t salt[static VOLUME_SALT_SIZE], BlockHash **ret);
BlockHash *block_hash_free(BlockHash *hash);
DEFINE_CLEANUP(BlockHash *, block_hash_free);

/* Writes the digests of count blocks of VOLUME_BLOCK_SIZE bytes, one after the other. -EIO, -ENOMEM. */
int block_hash_run(BlockHash *hash, const uint8_t *blocks, size_t count, uint8_t *ret_digests);
