/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "unsealctl/volume/block-threads.h"
#include "unsealctl/volume/volume-writer.h"

typedef struct Writing {
        VolumeKey *key;
        VolumeTree tree;
        int file_system, output;
        uint8_t *digests; /* of the blocks of level 0, as whole blocks of level 1; or, without levels, of the data */
} Writing;

static size_t whole_blocks(uint64_t digests) {
        return (size_t) ((digests + VOLUME_DIGESTS_PER_BLOCK - 1) / VOLUME_DIGESTS_PER_BLOCK);
}

/* The file system may end inside its last block. The rest of that block is zeros. */
static int read_file_system(const Writing *writing, const Piece *piece, uint8_t *data) {
        uint64_t begin = piece->first_block * VOLUME_BLOCK_SIZE, left = writing->key->data_size - begin;
        size_t size = piece->blocks * VOLUME_BLOCK_SIZE, done = 0;

        if (left < size) {
                memset(data + left, 0, size - (size_t) left);
                size = (size_t) left;
        }
        while (done < size) {
                ssize_t n = pread(writing->file_system, data + done, size - done, (off_t) (begin + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -ENODATA;
                done += (size_t) n;
        }
        return 0;
}

static int hash_piece(BlockThread *thread, const Piece *piece, const Writing *writing) {
        uint8_t *digests = piece->leaves > 0 ? thread->leaves : writing->digests;
        int r;

        if (piece->leaves > 0)
                memset(thread->leaves, 0, piece->leaves * VOLUME_BLOCK_SIZE);
        r = block_hash_run(thread->hash, thread->data, piece->blocks, digests);
        if (r < 0 || piece->leaves == 0)
                return r;
        return block_hash_run(thread->hash, thread->leaves, piece->leaves,
                              writing->digests + piece->first_leaf * VOLUME_DIGEST_SIZE);
}

static int encrypt_blocks(const Writing *writing, SectorCipher *cipher, uint64_t first, uint8_t *blocks,
                          size_t count, Error *error) {
        int r = sector_cipher_run(cipher, first, blocks, count);

        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "OpenSSL cannot encrypt a block.");
        r = blocks_write(writing->output, first, blocks, count);
        return r < 0 ? error_set(error, r, FAILURE_STORE, "The image cannot be written: %s.", strerror(-r))
                     : 0;
}

static int write_piece(BlockThread *thread, const Piece *piece, void *userdata, Error *error) {
        const Writing *writing = userdata;
        int r = read_file_system(writing, piece, thread->data);

        if (r == -ENODATA)
                return error_set(
                                error, r, FAILURE_SOURCE,
                                "The file system became shorter while it was read. Let nothing write to it.");
        if (r < 0)
                return error_set(error, r, FAILURE_SOURCE, "The file system cannot be read: %s.",
                                 strerror(-r));
        r = hash_piece(thread, piece, writing);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "OpenSSL cannot hash a block.");
        r = encrypt_blocks(writing, thread->cipher, piece->first_block, thread->data, piece->blocks, error);
        if (r < 0 || piece->leaves == 0)
                return r;
        return encrypt_blocks(writing, thread->cipher, writing->tree.start[0] + piece->first_leaf,
                              thread->leaves, piece->leaves, error);
}

/* Writes level 1 and all above it. They are small: level 1 has 1/16384 of the data. In the end one digest is left, the root hash. */
static int write_upper_levels(Writing *writing, SectorCipher *cipher, BlockHash *hash, Error *error) {
        for (unsigned level = 1; level < writing->tree.levels; level++) {
                uint64_t count = writing->tree.blocks[level];
                uint8_t *above = calloc(whole_blocks(count), VOLUME_BLOCK_SIZE), *blocks;
                int r;

                if (!above)
                        return error_oom(error);
                blocks = writing->digests;
                writing->digests = above;
                r = block_hash_run(hash, blocks, (size_t) count, above);
                r = r < 0 ? error_set(error, r, FAILURE_INTERNAL, "OpenSSL cannot hash a block.")
                          : encrypt_blocks(writing, cipher, writing->tree.start[level], blocks,
                                           (size_t) count, error);
                free(blocks);
                if (r < 0)
                        return r;
        }
        memcpy(writing->key->root_hash, writing->digests, VOLUME_DIGEST_SIZE);
        return 0;
}

static int write_all_levels(Writing *writing, Progress *progress, Error *error) {
        _cleanup_(sector_cipher_freep) SectorCipher *cipher = NULL;
        _cleanup_(block_hash_freep) BlockHash *hash = NULL;
        int r;

        if ((r = sector_cipher_new(writing->key->key, true, &cipher)) < 0 ||
            (r = block_hash_new(writing->key->salt, &hash)) < 0)
                return error_set(error, r, FAILURE_INTERNAL,
                                 "OpenSSL does not take the key of the volume: %s.", strerror(-r));
        r = block_threads_run(writing->key, true, write_piece, writing, progress, error);
        return r < 0 ? r : write_upper_levels(writing, cipher, hash, error);
}

int volume_write(VolumeKey *key, int file_system, int output, Progress *progress, Error *error) {
        Writing writing = { .key = key, .file_system = file_system, .output = output };
        int r;

        volume_tree_place(key->data_blocks, key->hash_start, &writing.tree);
        writing.digests = calloc(whole_blocks(writing.tree.levels > 0 ? writing.tree.blocks[0] : 1),
                                 VOLUME_BLOCK_SIZE);
        r = writing.digests ? write_all_levels(&writing, progress, error) : error_oom(error);
        free(writing.digests);
        return r;
}
