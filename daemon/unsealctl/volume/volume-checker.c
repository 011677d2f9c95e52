/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <string.h>

#include "unsealctl/volume/block-threads.h"
#include "unsealctl/volume/volume-checker.h"

typedef struct Checking {
        const VolumeKey *key;
        VolumeTree tree;
        int image;
        uint8_t *digests; /* the digests that the blocks of level 0 must have; without levels, those of the data */
} Checking;

static int read_blocks(const Checking *checking, SectorCipher *cipher, uint64_t first, uint8_t *blocks,
                       size_t count, Error *error) {
        int r = blocks_read(checking->image, first, blocks, count);

        if (r == -ENODATA)
                return error_set(error, r, FAILURE_CIPHERTEXT,
                                 "The image became shorter while it was read.");
        if (r < 0)
                return error_set(error, r, FAILURE_SOURCE,
                                 "The image cannot be read from block %" PRIu64 " on: %s.", first,
                                 strerror(-r));
        r = sector_cipher_run(cipher, first, blocks, count);
        return r < 0 ? error_set(error, r, FAILURE_INTERNAL, "OpenSSL cannot decrypt a block.") : 0;
}

/* Returns the first of the blocks whose digest is another one; count: there is none. */
static int find_wrong(BlockHash *hash, const uint8_t *blocks, size_t count, const uint8_t *digests,
                      size_t *ret, Error *error) {
        for (size_t i = 0; i < count; i++) {
                uint8_t digest[VOLUME_DIGEST_SIZE];
                int r = block_hash_run(hash, blocks + i * VOLUME_BLOCK_SIZE, 1, digest);

                if (r < 0)
                        return error_set(error, r, FAILURE_INTERNAL, "OpenSSL cannot hash a block.");
                if (memcmp(digest, digests + i * VOLUME_DIGEST_SIZE, VOLUME_DIGEST_SIZE) != 0) {
                        *ret = i;
                        return 0;
                }
        }
        *ret = count;
        return 0;
}

static int wrong_block(const char *what, uint64_t block, Error *error) {
        return error_set(error, -EBADMSG, FAILURE_CIPHERTEXT,
                         "Block %" PRIu64 " of the image is wrong: bytes %" PRIu64 " to %" PRIu64
                         ", %s. The image was changed or damaged after it was made. Copy it again.",
                         block, block * VOLUME_BLOCK_SIZE, (block + 1) * VOLUME_BLOCK_SIZE - 1, what);
}

static int check_piece(BlockThread *thread, const Piece *piece, void *userdata, Error *error) {
        const Checking *checking = userdata;
        uint64_t leaf = checking->tree.start[0] + piece->first_leaf;
        const uint8_t *digests = piece->leaves > 0 ? thread->leaves : checking->digests;
        size_t wrong = 0;
        int r;

        if (piece->leaves > 0) {
                r = read_blocks(checking, thread->cipher, leaf, thread->leaves, piece->leaves, error);
                if (r >= 0)
                        r = find_wrong(thread->hash, thread->leaves, piece->leaves,
                                       checking->digests + piece->first_leaf * VOLUME_DIGEST_SIZE, &wrong,
                                       error);
                if (r < 0)
                        return r;
                if (wrong < piece->leaves)
                        return wrong_block("in the lowest level of the hash tree", leaf + wrong, error);
        }
        r = read_blocks(checking, thread->cipher, piece->first_block, thread->data, piece->blocks, error);
        if (r >= 0)
                r = find_wrong(thread->hash, thread->data, piece->blocks, digests, &wrong, error);
        if (r < 0)
                return r;
        return wrong < piece->blocks ? wrong_block("in the file system", piece->first_block + wrong, error)
                                     : 0;
}

/* Reads one level above level 0 and checks it against the one above it. */
static int check_level(Checking *checking, unsigned level, SectorCipher *cipher, BlockHash *hash,
                       Error *error) {
        size_t count = (size_t) checking->tree.blocks[level], wrong = 0;
        _cleanup_free_ uint8_t *blocks = calloc(count, VOLUME_BLOCK_SIZE);
        int r;

        if (!blocks)
                return error_oom(error);
        if ((r = read_blocks(checking, cipher, checking->tree.start[level], blocks, count, error)) < 0 ||
            (r = find_wrong(hash, blocks, count, checking->digests, &wrong, error)) < 0)
                return r;
        if (wrong < count)
                return wrong_block("in an upper level of the hash tree", checking->tree.start[level] + wrong,
                                   error);
        free(checking->digests);
        checking->digests = TAKE_PTR(blocks);
        return 0;
}

/* With another key nothing fits, and people should not copy the image again. */
static int check_root(const Checking *checking, SectorCipher *cipher, BlockHash *hash, Error *error) {
        uint8_t block[VOLUME_BLOCK_SIZE];
        uint64_t first = checking->tree.levels > 0 ? checking->tree.start[checking->tree.levels - 1] : 0;
        size_t wrong = 0;
        int r;

        if ((r = read_blocks(checking, cipher, first, block, 1, error)) < 0 ||
            (r = find_wrong(hash, block, 1, checking->key->root_hash, &wrong, error)) < 0 || wrong == 1)
                return r;
        return error_set(
                        error, -EBADMSG, FAILURE_CIPHERTEXT,
                        "Block %" PRIu64 " of the image is wrong: bytes %" PRIu64 " to %" PRIu64
                        ", which the root hash is of. Either this is not the image that was made with this key, or it was changed.",
                        first, first * VOLUME_BLOCK_SIZE, (first + 1) * VOLUME_BLOCK_SIZE - 1);
}

static int check_all(Checking *checking, Progress *progress, Error *error) {
        _cleanup_(sector_cipher_freep) SectorCipher *cipher = NULL;
        _cleanup_(block_hash_freep) BlockHash *hash = NULL;
        int r;

        if ((r = sector_cipher_new(checking->key->key, false, &cipher)) < 0 ||
            (r = block_hash_new(checking->key->salt, &hash)) < 0)
                return error_set(error, r, FAILURE_INTERNAL,
                                 "OpenSSL does not take the key of the volume: %s.", strerror(-r));
        r = check_root(checking, cipher, hash, error);
        for (unsigned level = checking->tree.levels; r >= 0 && level-- > 1;)
                r = check_level(checking, level, cipher, hash, error);
        return r < 0 ? r : block_threads_run(checking->key, false, check_piece, checking, progress, error);
}

int volume_check(const VolumeKey *key, int image, uint64_t image_size, Progress *progress, Error *error) {
        Checking checking = { .key = key, .image = image };
        int r;

        if (image_size < key->size)
                return error_set(error, -ENODATA, FAILURE_CIPHERTEXT,
                                 "The image has %" PRIu64 " bytes, and the volume %s has %" PRIu64
                                 ". It is cut, or another image. Copy it again.",
                                 image_size, key->name, key->size);
        volume_tree_place(key->data_blocks, key->hash_start, &checking.tree);
        checking.digests = malloc(VOLUME_DIGEST_SIZE);
        if (!checking.digests)
                return error_oom(error);
        memcpy(checking.digests, key->root_hash, VOLUME_DIGEST_SIZE);
        r = check_all(&checking, progress, error);
        free(checking.digests);
        return r;
}
