/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The bytes of one object from begin to end, cut into pieces of piece_size; the last one is shorter. Pieces arrive in any order, each
 * exactly once. Nothing in a piece is verified: the frames of a message say whether they belong to it (source/message.h).
 *
 * Everything happens in the event loop's thread: callbacks are called there, never from within a pieces_new_…() or
 * pieces_give_back(), and the functions are called there. Who has many bytes to work on hands a piece to a thread and gives it back
 * when the thread has reported.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/error.h"

typedef struct Pieces Pieces;

typedef struct PiecesPlan {
        uint64_t begin, end; /* bytes of the object; begin < end */
        size_t piece_size;   /* bytes; a whole number of frames */
        unsigned ahead_max; /* so many pieces are being fetched or belong to the callee at any time; at least 1 */
        /* The callee gives the first pieces back first, because it hashes them. Then no piece comes that is ahead_max pieces or more
         * behind the first one that was not given back: the pieces that are out never keep that one from coming. */
        bool in_order;
} PiecesPlan;

typedef struct PiecesSink {
        /* The piece that begins at this byte of the object is here. data belongs to the callee until pieces_give_back(); it may
         * overwrite the bytes. Pieces never writes to a buffer that was not given back. */
        void (*piece)(uint64_t offset, uint8_t *data, size_t size, void *userdata);
        /* Called once. 0: every piece has been handed over. A negative errno: the object cannot be had, *error says why, and no other
         * piece comes. Both callbacks may call pieces_free(). */
        void (*ended)(int r, const Error *error, void *userdata);
        void *userdata;
} PiecesSink;

/*
 * Of a regular file. fd is borrowed until pieces_new_file() returns. A thread reads, because a disk
 * may block. By ended(), FAILURE_SOURCE: the file is shorter than plan->end by now (-ENODATA), or cannot be read.
 */
int pieces_new_file(sd_event *event, int fd, const PiecesPlan *plan, const PiecesSink *sink, Pieces **ret,
                    Error *error);

/* Takes a buffer back, so that another piece can come. */
void pieces_give_back(Pieces *pieces, uint8_t *data);

/* Stops, without waiting and without calling ended(). Buffers that the callee has not given back yet are invalid afterwards: it must
 * first wait for its own threads. Returns NULL. */
Pieces *pieces_free(Pieces *pieces);
DEFINE_CLEANUP(Pieces *, pieces_free);

/*
 * For the implementations. Each begins with a Pieces, and knows itself by its kind.
 */
typedef struct PiecesKind {
        void (*give_back)(Pieces *pieces, uint8_t *data);
        void (*free)(Pieces *pieces);
} PiecesKind;

struct Pieces {
        const PiecesKind *kind;
};
