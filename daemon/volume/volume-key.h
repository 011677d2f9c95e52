/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The key of a read-only volume, with all that a program must know to open the volume. "unsealctl volume create" writes it as a JSON
 * object (RFC 8259) and seals it as an ordinary secret; unseald-volume reads it. Nothing on the device is read to find any of this: a
 * header on a disk is what an attacker writes.
 *
 *     { "version": 1, "name": "weights",
 *       "cipher": "aes-xts-plain64", "sector_size": 4096, "key": BASE64,
 *       "hash": "sha256", "salt": HEX, "root_hash": HEX, "data_block_size": 4096, "hash_block_size": 4096,
 *       "data_size": N, "data_blocks": N, "hash_start": N, "size": N }
 *
 * The device begins with the ciphertext. The kernel decrypts it with dm-crypt, in sectors of 4096 bytes. What dm-crypt gives has two
 * parts: the file system, padded with zeros to whole blocks, and the hash tree of dm-verity, without a superblock.
 *
 *     0                 data_size   data_blocks × 4096 = hash_start × 4096            size
 *     | file system            | zeros |  hash tree, the level of the root first        |  not mapped …
 *
 * A tweak of XTS is the number of the sector in units of 512 bytes: 0, 8, 16, … This is dm-crypt without iv_large_sectors, and what
 * cryptsetup does for LUKS2 and for "--type plain --sector-size 4096" without --iv-large-sectors. Both ways are equally safe, since no
 * tweak comes twice under the key. The chosen one needs one flag fewer in the table, so no reader can forget it.
 *
 * Sources: Documentation/admin-guide/device-mapper/dm-crypt.rst (cipher, key, sector_size, iv_large_sectors) and verity.rst (version 1,
 * block sizes, hash_start_block, salt, levels) of the kernel; IEEE 1619 for XTS.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "memory/secret.h"

/* Bytes of the text. KMS encrypts up to 4096 bytes in one request, so the secret needs no message. */
#define VOLUME_KEY_TEXT_MAX 4095U

#define VOLUME_CIPHER "aes-xts-plain64" /* dm-crypt's name: AES-256, since the key has 64 bytes */
#define VOLUME_HASH "sha256"            /* dm-verity's name */
#define VOLUME_KEY_SIZE 64U             /* two keys of AES-256 */
#define VOLUME_BLOCK_SIZE 4096U /* of a sector of dm-crypt, and of both kinds of block of dm-verity */
#define VOLUME_TWEAK_UNIT 512U  /* bytes that one step of the tweak stands for */
#define VOLUME_DIGEST_SIZE 32U
#define VOLUME_SALT_SIZE 32U      /* what veritysetup(8) makes; dm-verity takes up to 256 */
#define VOLUME_NAME_MAX_LENGTH 64 /* characters, as of a secret */

/* Digests in one block of the tree (verity.rst: the digests are padded to a power of two, and 32 is one). */
#define VOLUME_DIGESTS_PER_BLOCK (VOLUME_BLOCK_SIZE / VOLUME_DIGEST_SIZE)

/* The largest file system: 16 TiB, as EROFS with blocks of 4096 bytes and 32 bits for their number. */
#define VOLUME_DATA_BLOCKS_MAX (UINT64_C(1) << 32)

/* More levels than VOLUME_DATA_BLOCKS_MAX needs: 128^5 > 2^32. */
#define VOLUME_LEVELS_MAX 5U

/* Where the hash tree lies. Level 0 has the digests of the data, and the last level is one block, whose digest is the root hash. A file
 * system of one block has no levels: its digest is the root hash. */
typedef struct VolumeTree {
        unsigned levels;
        uint64_t start[VOLUME_LEVELS_MAX]; /* the first block of a level, counted from the start of the device */
        uint64_t blocks[VOLUME_LEVELS_MAX]; /* in a level */
        uint64_t end;                       /* the first block behind the tree */
} VolumeTree;

/* Places the tree over this many blocks of data, 1 to VOLUME_DATA_BLOCKS_MAX, from the block hash_start on, at most 2^52. Pure. */
void volume_tree_place(uint64_t data_blocks, uint64_t hash_start, VolumeTree *ret);

typedef struct VolumeKey {
        char name[VOLUME_NAME_MAX_LENGTH + 1]; /* of the secret, and of the volume */
        Secret *key;                           /* VOLUME_KEY_SIZE bytes, as dm-crypt takes them */
        uint8_t salt[VOLUME_SALT_SIZE], root_hash[VOLUME_DIGEST_SIZE];
        uint64_t data_size;   /* bytes of the file system */
        uint64_t data_blocks; /* data_size in blocks of VOLUME_BLOCK_SIZE, rounded up */
        uint64_t hash_start;  /* the first block of the tree; data_blocks */
        uint64_t size; /* bytes of the volume, with the tree. A device is as long or longer, since EBS counts in GiB. Nobody
                               * reads what follows. */
} VolumeKey;

/* 1 to 64 of A-Z a-z 0-9 - _ . and not . or .. Pure. */
bool volume_name_is_valid(const char *name, size_t length) _pure_;

/* Wipes and frees the key. */
void volume_key_clear(VolumeKey *key);
#define _cleanup_volume_key_ _cleanup_(volume_key_clear)

/* Sets data_blocks, hash_start and size from data_size. -EINVAL: data_size is 0. -EFBIG: it exceeds VOLUME_DATA_BLOCKS_MAX. Pure. */
int volume_key_lay_out(VolumeKey *key);

/*
 * Reads the text, which is a secret. The caller calls volume_key_clear() after success. An error names a member, never a value, but for
 * "version". Pure.
 *
 * Each member must be there once, and no other: what a reader does not know could change how the volume is to be opened. Members may
 * have any order, and white space may stand between them. data_blocks, hash_start and size must be what follows from data_size, so no
 * sum can overflow and the tree has its room. The halves of the key must differ, because XTS with equal halves is not safe.
 *
 * FAILURE_CIPHERTEXT with -E2BIG: the text is longer than VOLUME_KEY_TEXT_MAX; with -EOPNOTSUPP: it has another version; with -EBADMSG:
 * anything else is wrong. FAILURE_INTERNAL with -ENOMEM.
 */
int volume_key_parse(const char *text, size_t size, VolumeKey *ret, Error *error);

/* Writes the text into locked memory of just its size, without a NUL at its end. The caller frees *ret with secret_free(). -ENOMEM. */
int volume_key_format(const VolumeKey *key, Secret **ret);
