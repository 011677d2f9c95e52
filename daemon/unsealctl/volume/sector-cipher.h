/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Encrypts and decrypts blocks of a volume as dm-crypt does with aes-xts-plain64 and a sector_size of 4096: each block is one data unit
 * of XTS (IEEE 1619), and its tweak is the number of its first 512 bytes, as 64 bits, little-endian, and 64 zero bits
 * (Documentation/admin-guide/device-mapper/dm-crypt.rst; volume/volume-key.h). A function of its arguments.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "memory/secret.h"

/* One direction of one key. For one thread at a time. */
typedef struct SectorCipher SectorCipher;

/* key: VOLUME_KEY_SIZE bytes, whose halves differ. It is copied. -ENOMEM. -EIO: OpenSSL refuses the key. */
int sector_cipher_new(Secret *key, bool encrypt, SectorCipher **ret);

/* Wipes the copy of the key. Returns NULL. */
SectorCipher *sector_cipher_free(SectorCipher *cipher);
DEFINE_CLEANUP(SectorCipher *, sector_cipher_free);

/* Replaces count blocks of VOLUME_BLOCK_SIZE bytes. first: the number of the first one on the device. -EIO: OpenSSL failed. */
int sector_cipher_run(SectorCipher *cipher, uint64_t first, uint8_t *blocks, size_t count);
