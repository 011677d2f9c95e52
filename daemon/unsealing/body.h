/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The body of a message that is too large for memory twice: pieces of ciphertext in, one hidden file of the store out. Several
 * threads decrypt frames side by side, in any order. One of them at a time writes. Where the suite signs, one more thread hashes the
 * pieces in order.
 *
 *     body_plan(…)          what the body will take
 *     store_draft_begin(…)  is there room for it?
 *     body_new(…)
 *     pieces_new_…(…, &plan.pieces, body_sink(…), …), body_take_pieces(…)
 *     ended(0, draft, …)    the final frame and the signature were right: store_draft_finish()
 *
 * Until then the file has no name and mode 0. Nothing of a message that fails is ever visible: its file is overwritten before
 * ended() is called. The plaintext is nowhere else but in one locked buffer for each thread, and these are wiped.
 */

#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "source/message.h"
#include "source/pieces.h"
#include "vault/store.h"

/* All buffers of all bodies of a session together, in bytes (unsealing/body-turns.h): what large messages cost beside their plaintext.
 * Stacks and bookkeeping take the rest of 24 MiB. */
#define BODY_BUFFERS_MAX (22U * 1024U * 1024U)

/* The longest frames that are decrypted piece by piece, in bytes of plaintext. Longer ones, and one block, must fit into
 * memory as a whole (SECRET_SIZE_MAX). */
#define BODY_FRAME_MAX (4U * 1024U * 1024U)

typedef struct BodyPlan {
        PiecesPlan pieces;
        /* Bytes. A signature's length is known only at the end; without one, both are the same if SizeMax= allows that. */
        uint64_t plaintext_min, plaintext_max;
        uint32_t frames;   /* those that have the full length for certain and are not the final one */
        uint64_t tail;     /* the byte of the message at which the others begin */
        size_t tail_bytes; /* of the buffers of what begins there */
        unsigned threads;
} BodyPlan;

/* Messages of more bytes, header included, are decrypted piece by piece. Others are read as a whole: also those of one block, and those
 * with frames longer than BODY_FRAME_MAX, whose plaintext has at most SECRET_SIZE_MAX bytes. */
#define BODY_WHOLE_MAX (MESSAGE_HEADER_MAX + SECRET_SIZE_MAX)

/* Pure. size: of the whole message, in bytes. size_max: SizeMax=. processors: at most so many threads decrypt. -EBADMSG: the message has
 * one block, frames that are too long, or too many. -E2BIG: more than size_max. FAILURE_CIPHERTEXT. */
int body_plan(const MessageHeader *header, uint64_t size, uint64_t size_max, unsigned processors,
              BodyPlan *ret, Error *error);

/* What a body takes while it works, beside its plaintext. */
typedef struct BodyCost {
        size_t bytes;         /* of all buffers */
        unsigned threads;     /* that decrypt */
        unsigned connections; /* to its server; of a file 0 */
} BodyCost;

/* What all bodies of a session may take together. The connections leave some to the small secrets of the same server. */
#define BODY_THREADS_MAX 8U
#define BODY_CONNECTIONS_MAX 16U

/* Pure. connections: the most that the source opens. */
BodyCost body_cost(const BodyPlan *plan, unsigned connections);

typedef struct Body Body;

/* Called once, from the event loop. 0: draft is the whole plaintext of so many bytes, and belongs to the callee. Otherwise draft is NULL,
 * and the file is overwritten. May call body_free(). */
typedef void (*BodyEnded)(int r, StoreDraft *draft, uint64_t size, const Error *error, void *userdata);

/* header is copied. message and draft are taken, on failure too. */
int body_new(sd_event *event, const BodyPlan *plan, const MessageHeader *header, uint64_t size_max,
             Message *message, StoreDraft *draft, BodyEnded ended, void *userdata, Body **ret, Error *error);

/* For pieces_new_…(). */
PiecesSink body_sink(Body *body);

/* The body frees them when it ends. */
void body_take_pieces(Body *body, Pieces *pieces);

/* Bytes of plaintext that are written so far. */
uint64_t body_written(const Body *body) _pure_;

/* Overwrites and removes a draft in a thread of its own: gigabytes take seconds. */
void body_discard(StoreDraft *draft);

/* Waits for the frames that are being decrypted at this moment, at most one piece for each thread, and not for the source. A thread
 * of its own overwrites the file. ended is not called. Returns NULL. */
Body *body_free(Body *body);
DEFINE_CLEANUP(Body *, body_free);
