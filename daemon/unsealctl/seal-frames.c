/* SPDX-License-Identifier: Apache-2.0 */

/*
 *     input ──► frame 1 ──► thread ──► output         A thread holds the lock of the input while it reads, and waits for its turn
 *          └──► frame 2 ──► thread ──►                before it writes. Between the two it encrypts, beside the others.
 */

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "basic/io.h"
#include "basic/thread.h"
#include "memory/secret.h"
#include "unsealctl/message-writer.h"
#include "unsealctl/seal-frames.h"

/* A buffer has room for the head of the frame, its content, and its tag. The content begins at a multiple of 64 bytes. */
#define HEAD_ROOM 64U
#define BUFFER_SIZE (HEAD_ROOM + MESSAGE_WRITER_FRAME + MESSAGE_TAG_SIZE)

static_assert(MESSAGE_FRAME_HEAD_MAX <= HEAD_ROOM, "the head of a frame lies before its content");
static_assert(MESSAGE_TAG_SIZE >= 1, "the byte behind the content lies where its tag will be");

typedef struct Frame {
        uint32_t number;
        bool final;
        size_t size;
} Frame;

typedef struct Work {
        const FramesSealing *sealing;
        int failed_fd; /* becomes readable when a frame has failed */

        pthread_mutex_t reading; /* for what follows */
        uint32_t number;         /* of the frame that was read last */
        bool ended;
        Secret *peeked; /* the byte behind that frame: without one, that frame is the final one */

        pthread_mutex_t mutex; /* for what follows */
        pthread_cond_t moved;
        uint32_t written; /* frames */
        uint64_t size;    /* their plaintext */
        uint32_t failed;  /* the lowest number of a frame that failed; 0: none did */
        int r;
        FramesStep step;
        bool locked; /* a thread has locked its buffer; otherwise lock_r says why none has */
        int lock_r;
} Work;

static void frame_failed(Work *work, uint32_t number, FramesStep step, int r) {
        (void) pthread_mutex_lock(&work->mutex);
        if (work->failed == 0 || number < work->failed) {
                work->failed = number;
                work->step = step;
                work->r = r;
        }
        (void) pthread_cond_broadcast(&work->moved);
        (void) pthread_mutex_unlock(&work->mutex);
        (void) eventfd_write(work->failed_fd, 1);
}

/* As read_up_to(), but -ECANCELED when a frame has failed: a pipe may block for as long as it likes. */
static ssize_t read_plaintext(const Work *work, uint8_t *buffer, size_t size) {
        struct pollfd fds[] = { { .fd = work->sealing->input, .events = POLLIN },
                                { .fd = work->failed_fd, .events = POLLIN } };
        size_t done = 0;

        while (done < size) {
                ssize_t n;

                if (poll(fds, ELEMENTSOF(fds), -1) < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (fds[1].revents != 0)
                        return -ECANCELED;
                n = read(fds[0].fd, buffer + done, size - done);
                if (n == 0)
                        break;
                if (n > 0)
                        done += (size_t) n;
                else if (errno != EINTR && errno != EAGAIN)
                        return -errno;
        }
        return (ssize_t) done;
}

/* Reads a frame, and the byte behind it. Only one thread does so at a time. */
static int read_frame(Work *work, uint8_t *content, Frame *ret) {
        Secret *held = work->number == 0 ? work->sealing->begin : work->peeked;
        size_t size = secret_size(held);
        ssize_t n;

        ret->number = work->number + 1;
        if (ret->number == UINT32_MAX)
                return -EFBIG;
        memcpy(content, secret_bytes(held), size);
        n = read_plaintext(work, content + size, MESSAGE_WRITER_FRAME + 1 - size);
        if (n < 0)
                return (int) n;
        size += (size_t) n;
        ret->final = size <= MESSAGE_WRITER_FRAME;
        ret->size = ret->final ? size : MESSAGE_WRITER_FRAME;
        if (!ret->final)
                *secret_bytes(work->peeked) = content[MESSAGE_WRITER_FRAME];
        work->number = ret->number;
        work->ended = ret->final;
        return 0;
}

/* Returns whether there is a frame. */
static bool take_frame(Work *work, uint8_t *content, Frame *ret) {
        bool taken = false;
        int r = 0;

        (void) pthread_mutex_lock(&work->reading);
        if (!work->ended) {
                r = read_frame(work, content, ret);
                taken = r >= 0;
                work->ended = work->ended || r < 0;
        }
        (void) pthread_mutex_unlock(&work->reading);
        if (r < 0 && r != -ECANCELED)
                frame_failed(work, ret->number, FRAMES_READ, r);
        return taken;
}

/* Waits until all frames before this one are written. Returns false if one of them has failed. */
static bool wait_for_turn(Work *work, uint32_t number) {
        bool fine;

        (void) pthread_mutex_lock(&work->mutex);
        while ((work->failed == 0 || number < work->failed) && work->written + 1 != number)
                (void) pthread_cond_wait(&work->moved, &work->mutex);
        fine = work->failed == 0 || number < work->failed;
        (void) pthread_mutex_unlock(&work->mutex);
        return fine;
}

static void frame_written(Work *work, const Frame *frame) {
        (void) pthread_mutex_lock(&work->mutex);
        work->written = frame->number;
        work->size += frame->size;
        progress_show(work->sealing->progress, work->size);
        (void) pthread_cond_broadcast(&work->moved);
        (void) pthread_mutex_unlock(&work->mutex);
}

/* Head, content and tag lie behind one another and are written at once. Returns whether all went well. */
static bool seal_frame(Work *work, const Frame *frame, uint8_t *content) {
        MessageFrameEnds ends;
        uint8_t *begin;
        int r = message_write_frame(work->sealing->message, frame->number, frame->final, content,
                                    frame->size, &ends);

        if (r < 0) {
                frame_failed(work, frame->number, FRAMES_ENCRYPT, r);
                return false;
        }
        begin = content - ends.head_size;
        memcpy(begin, ends.head, ends.head_size);
        memcpy(content + frame->size, ends.tag, sizeof(ends.tag));
        if (!wait_for_turn(work, frame->number))
                return false;
        r = write_all(work->sealing->output, begin, ends.head_size + frame->size + sizeof(ends.tag));
        if (r < 0) {
                frame_failed(work, frame->number, FRAMES_WRITE, r);
                return false;
        }
        frame_written(work, frame);
        return true;
}

static int lock_buffer(Work *work, Secret **ret) {
        int r = secret_new(BUFFER_SIZE, ret);

        (void) pthread_mutex_lock(&work->mutex);
        if (r >= 0)
                work->locked = true;
        else
                work->lock_r = r;
        (void) pthread_mutex_unlock(&work->mutex);
        return r;
}

/* A thread that cannot lock memory leaves the work to the others. */
static void run_thread(void *userdata) {
        _cleanup_secret_ Secret *buffer = NULL;
        Work *work = userdata;
        uint8_t *content;
        Frame frame = {};

        if (lock_buffer(work, &buffer) < 0)
                return;
        content = secret_bytes(buffer) + HEAD_ROOM;
        while (take_frame(work, content, &frame) && seal_frame(work, &frame, content))
                ;
}

int seal_frames(const FramesSealing *sealing, uint64_t *ret_size, FramesStep *ret_step) {
        _cleanup_close_ int failed_fd = eventfd(0, EFD_CLOEXEC);
        _cleanup_secret_ Secret *peeked = NULL;
        Work work = {
                .sealing = sealing,
                .failed_fd = failed_fd,
                .reading = PTHREAD_MUTEX_INITIALIZER,
                .mutex = PTHREAD_MUTEX_INITIALIZER,
                .moved = PTHREAD_COND_INITIALIZER,
        };
        int r = failed_fd < 0 ? -errno : secret_new(1, &peeked);

        if (r < 0) {
                *ret_step = FRAMES_LOCK;
                return r;
        }
        work.peeked = peeked;
        threads_run("seal", run_thread, &work,
                    sealing->threads < SEAL_THREADS_MAX ? sealing->threads : SEAL_THREADS_MAX);
        if (!work.locked)
                frame_failed(&work, 1, FRAMES_LOCK, work.lock_r);
        (void) pthread_cond_destroy(&work.moved);
        (void) pthread_mutex_destroy(&work.mutex);
        (void) pthread_mutex_destroy(&work.reading);
        if (work.failed > 0) {
                *ret_step = work.step;
                return work.r;
        }
        *ret_size = work.size;
        return 0;
}
