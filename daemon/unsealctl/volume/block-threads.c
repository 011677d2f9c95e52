/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "basic/thread.h"
#include "unsealctl/volume/block-threads.h"

typedef struct Work {
        const VolumeKey *key;
        bool encrypt;
        PieceJob job;
        void *userdata;
        Progress *progress;
        uint64_t count;
        bool has_leaves;
        pthread_mutex_t mutex; /* for what follows */
        uint64_t next, done;   /* pieces; bytes */
        uint64_t failed;       /* the lowest number of a piece that failed */
        int r;
        Error error;
} Work;

static void block_thread_done(BlockThread *thread) {
        if (thread->cipher)
                (void) sector_cipher_free(thread->cipher);
        if (thread->hash)
                (void) block_hash_free(thread->hash);
        free(thread->data); /* free() wipes */
        free(thread->leaves);
}

static int block_thread_begin(const VolumeKey *key, bool encrypt, BlockThread *ret) {
        int r;

        if ((r = sector_cipher_new(key->key, encrypt, &ret->cipher)) < 0 ||
            (r = block_hash_new(key->salt, &ret->hash)) < 0)
                return r;
        ret->data = malloc((size_t) PIECE_BLOCKS * VOLUME_BLOCK_SIZE);
        ret->leaves = malloc((size_t) PIECE_LEAVES * VOLUME_BLOCK_SIZE);
        return ret->data && ret->leaves ? 0 : -ENOMEM;
}

static bool take_piece(Work *work, Piece *ret) {
        uint64_t number, left;
        bool taken;

        (void) pthread_mutex_lock(&work->mutex);
        taken = work->r >= 0 && work->next < work->count;
        number = taken ? work->next++ : 0;
        (void) pthread_mutex_unlock(&work->mutex);
        if (!taken)
                return false;
        left = work->key->data_blocks - number * PIECE_BLOCKS;
        *ret = (Piece){ .number = number,
                        .first_block = number * PIECE_BLOCKS,
                        .blocks = left < PIECE_BLOCKS ? (size_t) left : PIECE_BLOCKS,
                        .first_leaf = number * PIECE_LEAVES };
        if (work->has_leaves)
                ret->leaves = (ret->blocks + VOLUME_DIGESTS_PER_BLOCK - 1) / VOLUME_DIGESTS_PER_BLOCK;
        return true;
}

static void finish_piece(Work *work, const Piece *piece, int r, const Error *error) {
        (void) pthread_mutex_lock(&work->mutex);
        if (r < 0 && (work->r >= 0 || piece->number < work->failed)) {
                work->r = r;
                work->failed = piece->number;
                work->error = *error;
        }
        work->done += piece->blocks * (uint64_t) VOLUME_BLOCK_SIZE;
        progress_show(work->progress, work->done);
        (void) pthread_mutex_unlock(&work->mutex);
}

static void run_thread(void *userdata) {
        _cleanup_(block_thread_done) BlockThread thread = {};
        Work *work = userdata;
        Error error = {};
        Piece piece;
        int r = block_thread_begin(work->key, work->encrypt, &thread);

        if (r < 0)
                r = error_set(&error, r, FAILURE_INTERNAL, "A thread cannot begin its work: %s.",
                              strerror(-r));
        while (take_piece(work, &piece))
                finish_piece(work, &piece, r < 0 ? r : work->job(&thread, &piece, work->userdata, &error),
                             &error);
}

static unsigned choose_threads(uint64_t pieces) {
        int processors = get_nprocs();
        unsigned threads = processors > 0 ? (unsigned) processors : 1;

        threads = threads < THREADS_RUN_MAX ? threads : THREADS_RUN_MAX;
        return pieces < threads ? (unsigned) pieces : threads;
}

int block_threads_run(const VolumeKey *key, bool encrypt, PieceJob job, void *userdata, Progress *progress,
                      Error *error) {
        Work work = {
                .key = key,
                .encrypt = encrypt,
                .job = job,
                .userdata = userdata,
                .progress = progress,
                .count = (key->data_blocks + PIECE_BLOCKS - 1) / PIECE_BLOCKS,
                .has_leaves = key->data_blocks > 1,
                .mutex = PTHREAD_MUTEX_INITIALIZER,
        };

        threads_run("volume", run_thread, &work, choose_threads(work.count));
        (void) pthread_mutex_destroy(&work.mutex);
        progress_end(progress);
        if (work.r < 0)
                *error = work.error;
        return work.r;
}

int blocks_read(int fd, uint64_t first, uint8_t *blocks, size_t count) {
        size_t size = count * VOLUME_BLOCK_SIZE, done = 0;

        while (done < size) {
                ssize_t n = pread(fd, blocks + done, size - done,
                                  (off_t) (first * VOLUME_BLOCK_SIZE + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -ENODATA;
                done += (size_t) n;
        }
        return 0;
}

int blocks_write(int fd, uint64_t first, const uint8_t *blocks, size_t count) {
        size_t size = count * VOLUME_BLOCK_SIZE, done = 0;

        while (done < size) {
                ssize_t n = pwrite(fd, blocks + done, size - done,
                                   (off_t) (first * VOLUME_BLOCK_SIZE + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                done += (size_t) n;
        }
        return 0;
}
