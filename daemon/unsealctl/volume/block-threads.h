/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Works on the blocks of a volume with all processors. A piece is 256 blocks of data, whose digests fill two blocks of the hash tree:
 * so no two threads ever write to the same block. */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "memory/secret.h"
#include "unsealctl/progress.h"
#include "unsealctl/volume/block-hash.h"
#include "unsealctl/volume/sector-cipher.h"
#include "volume/volume-key.h"

#define PIECE_BLOCKS 256U
#define PIECE_LEAVES (PIECE_BLOCKS / VOLUME_DIGESTS_PER_BLOCK)

/* What one thread has for itself. */
typedef struct BlockThread {
        SectorCipher *cipher;
        BlockHash *hash;
        uint8_t *data;   /* PIECE_BLOCKS blocks */
        uint8_t *leaves; /* PIECE_LEAVES blocks */
} BlockThread;

/* Where a piece lies. */
typedef struct Piece {
        uint64_t number, first_block;
        size_t blocks; /* 1 to PIECE_BLOCKS */
        uint64_t first_leaf; /* the first of its blocks in level 0 of the tree, counted from the start of the level */
        size_t leaves; /* 0 if the tree has no levels */
} Piece;

/* Returns 0, or a negative errno with *error set: no further piece is begun then. Called in several threads. */
typedef int (*PieceJob)(BlockThread *thread, const Piece *piece, void *userdata, Error *error);

/*
 * Calls job for each piece of the volume, in the order of their numbers, several at a time. If some fail, *error is that of the lowest
 * number: a piece is only begun when all before it have been begun. progress: shows the bytes of data that are done.
 */
int block_threads_run(const VolumeKey *key, bool encrypt, PieceJob job, void *userdata, Progress *progress,
                      Error *error);

/* Reads or writes whole blocks at a place in a file. -ENODATA: the file is shorter. */
int blocks_read(int fd, uint64_t first, uint8_t *blocks, size_t count);
int blocks_write(int fd, uint64_t first, const uint8_t *blocks, size_t count);
