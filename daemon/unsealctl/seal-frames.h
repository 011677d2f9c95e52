/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Encrypts the frames of a message on several processors. Each thread reads a frame, encrypts it in place and writes it. Reading and
 * writing are done by one thread at a time, in the order of the frames, so input and output may be pipes.
 */

#include <stdint.h>

#include "source/message.h"
#include "unsealctl/progress.h"

/* More of them have nothing to do: reading and writing take turns. */
#define SEAL_THREADS_MAX 8U

typedef struct FramesSealing {
        const Message *message; /* with frames of MESSAGE_WRITER_FRAME bytes */
        int input;              /* where the plaintext goes on */
        Secret *begin;          /* what has been read of it already; not more than a frame */
        int output;             /* behind the header */
        unsigned threads; /* 1 to SEAL_THREADS_MAX. Each of them locks memory for one frame; fewer do where it cannot. */
        Progress *progress; /* shows the bytes of plaintext that are written */
} FramesSealing;

/* What failed. */
typedef enum FramesStep {
        FRAMES_LOCK, /* of the memory for one frame */
        FRAMES_READ, /* -EFBIG: the plaintext has more frames than a message can number */
        FRAMES_ENCRYPT,
        FRAMES_WRITE,
} FramesStep;

/*
 * Returns 0 or a negative errno, and then *ret_step. The failure is that of the first frame that failed, and no later frame is written.
 * An input that blocks keeps no failure waiting. The buffers are wiped in either case. *ret_size: the bytes of plaintext.
 */
int seal_frames(const FramesSealing *sealing, uint64_t *ret_size, FramesStep *ret_step);
