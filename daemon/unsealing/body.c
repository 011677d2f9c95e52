/* SPDX-License-Identifier: Apache-2.0 */

/*
 *     pieces ──► frames ──► a worker's buffer ──► draft       any order
 *         └────► hash                                         in order, where the suite signs
 *         └────► tail ──► reader ──► draft                    last
 *
 * A piece is given back when all that need it have had it. The tail is what may be the final frame, and what follows it: where the
 * final frame begins is known only when the signature's length is. MessageReader (source/message-reader.h) reads the tail, and
 * knows the frames before it only by their number.
 *
 * All members belong to the event loop. While a thread has a job, it reads the job, and writes to its own buffer and to the draft.
 */

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "basic/thread.h"
#include "basic/worker.h"
#include "source/message-reader.h"
#include "unsealing/body.h"

#define FRAME_OVERHEAD 32U /* of a frame that is not the final one: number, IV, tag */
#define FINAL_OVERHEAD 40U /* of the final one: end mark and content length as well */
#define PIECE_BYTES (1024U * 1024U)
#define JOBS_MAX 2U /* of one worker: the next one begins without a turn of the event loop */

typedef struct Piece {
        Body *body;
        struct Piece *next; /* of all, in the order of their offsets */
        uint64_t offset;
        uint8_t *data;
        uint32_t first, frames; /* the number of the first one, and how many */
        struct Decryptor *decryptor;
        bool decrypted, hashing, hashed;
        int r, hash_r; /* of the two threads that may have the piece at the same time */
        Error error, hash_error;
} Piece;

typedef struct Decryptor {
        Worker *worker;
        Secret *plaintext;
        unsigned jobs;
} Decryptor;

struct Body {
        sd_event *event;
        BodyPlan plan;
        uint8_t *header_bytes;
        MessageHeader header;
        Message *message;
        MessageReader *reader; /* while there are threads, it belongs to that of last */
        StoreDraft *draft;
        pthread_mutex_t writing;

        Pieces *pieces;
        Piece *first;    /* those that are not given back */
        uint32_t hashed; /* frames that the reader knows or has been told about */
        uint32_t done;   /* frames of the pieces that are given back */
        uint8_t *tail;
        size_t tail_size, tail_here;
        Decryptor decryptors[BODY_THREADS_MAX];
        Worker *last; /* hashes, and reads the tail */
        Secret *tail_plaintext;
        struct Wipe *wipe;
        Worker *wiper; /* overwrites the file of a message that fails */
        atomic_uint_least64_t written;

        int r; /* of the whole */
        Error error;
        uint64_t plaintext_size;
        bool finishing, ending;
        BodyEnded ended;
        void *userdata;
};

static uint64_t slot(const MessageHeader *header) {
        return (uint64_t) header->frame_length + FRAME_OVERHEAD;
}

/* The frames that are neither final nor perhaps final. */
static uint64_t certain_frames(const MessageHeader *header, uint64_t body_size) {
        uint64_t rest = FINAL_OVERHEAD + message_footer_max(header);

        return body_size > rest ? (body_size - rest) / slot(header) : 0;
}

static int check_plan(const MessageHeader *header, uint64_t frames, uint64_t size_max, Error *error) {
        if (!header->framed || header->frame_length > BODY_FRAME_MAX)
                return error_set(
                                error, -EBADMSG, FAILURE_CIPHERTEXT,
                                "The message has more than %u bytes, and its frames are too long to be decrypted one by one. Seal the secret again with frames of 1 MiB, and with %u bytes at most.",
                                SECRET_SIZE_MAX, BODY_FRAME_MAX);
        if (frames >= UINT32_MAX - 1)
                return error_set(
                                error, -EBADMSG, FAILURE_CIPHERTEXT,
                                "The message has more frames than it can number. Copy it again, or seal the secret again.");
        if (frames * header->frame_length > size_max)
                return error_set(
                                error, -E2BIG, FAILURE_CIPHERTEXT,
                                "The plaintext of the message has more than %llu bytes. Raise SizeMax=, or seal less.",
                                (unsigned long long) size_max);
        return 0;
}

static uint64_t lesser(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

int body_plan(const MessageHeader *header, uint64_t size, uint64_t size_max, unsigned processors,
              BodyPlan *ret, Error *error) {
        uint64_t body_size = size > header->size ? size - header->size : 0, frames, in_piece, buffers,
                 pieces, threads, plaintext, rest, overhead;
        int r;

        if (body_size == 0)
                return error_set(
                                error, -EBADMSG, FAILURE_CIPHERTEXT,
                                "The message ends with its header. Copy it again, or seal the secret again.");
        frames = header->framed ? certain_frames(header, body_size) : 0;
        r = check_plan(header, frames, size_max, error);
        if (r < 0)
                return r;
        in_piece = PIECE_BYTES / slot(header) > 0 ? PIECE_BYTES / slot(header) : 1;
        rest = body_size - frames * slot(header);
        rest = rest > FINAL_OVERHEAD ? rest - FINAL_OVERHEAD : 0;
        /* Where the signature is shorter than it may be, more frames of the full length may precede the final one. */
        overhead = message_footer_max(header) + rest / slot(header) * FRAME_OVERHEAD;
        plaintext = frames * header->frame_length;
        /* Each thread has a buffer of plaintext. The tail has one of ciphertext and one of plaintext. */
        buffers = (BODY_BUFFERS_MAX - 2 * slot(header) - 1024) / (in_piece * slot(header));
        pieces = (body_size + in_piece * slot(header) - 1) / (in_piece * slot(header));
        threads = lesser(lesser(buffers / 3, BODY_THREADS_MAX), lesser(processors, pieces));
        threads = threads > 0 ? threads : 1;
        *ret = (BodyPlan){
                .pieces = { .begin = header->size,
                            .end = size,
                            .piece_size = (size_t) (in_piece * slot(header)),
                            .ahead_max = (unsigned) lesser(buffers - threads, pieces > 1 ? pieces : 2),
                            .in_order = header->suite->curve },
                .plaintext_min = plaintext + (rest > overhead ? rest - overhead : 0),
                .plaintext_max = lesser(plaintext + rest, size_max),
                .frames = (uint32_t) frames,
                .tail = header->size + frames * slot(header),
                .tail_bytes = (size_t) (body_size - frames * slot(header)) + header->frame_length,
                .threads = (unsigned) threads,
        };
        return 0;
}

BodyCost body_cost(const BodyPlan *plan, unsigned connections) {
        return (BodyCost){
                .bytes = (plan->threads + plan->pieces.ahead_max) * plan->pieces.piece_size +
                         plan->tail_bytes,
                .threads = plan->threads,
                .connections = connections < plan->pieces.ahead_max ? connections : plan->pieces.ahead_max,
        };
}

static int write_draft(Body *body, const uint8_t *data, size_t size, uint64_t offset, Error *error) {
        int r;

        (void) pthread_mutex_lock(&body->writing);
        r = store_draft_write(body->draft, data, size, offset);
        (void) pthread_mutex_unlock(&body->writing);
        if (r < 0)
                return error_set(error, r, FAILURE_STORE,
                                 "The plaintext cannot be written to the store: %s.", strerror(-r));
        (void) atomic_fetch_add(&body->written, size);
        return 0;
}

/* In a decryptor's thread. */
static int decrypt_frames(const Piece *piece, uint8_t *plaintext, Error *error) {
        const Body *body = piece->body;
        const uint8_t *at = piece->data;
        uint64_t offset = piece->offset;

        for (uint32_t i = 0; i < piece->frames; i++) {
                MessageFrame frame;
                size_t needed;
                int r = message_frame_find(&body->header, piece->first + i, at, (size_t) slot(&body->header),
                                           offset, body->header.frame_length, &frame, &needed, error);

                if (r == -EAGAIN || (r >= 0 && frame.final))
                        r = error_set(error, -EBADMSG, FAILURE_CIPHERTEXT,
                                      "Frame %u of the message, at byte %llu, is the final one, and more follow. The message was changed since it was sealed: copy it again, or seal the secret again.",
                                      piece->first + i, (unsigned long long) offset);
                if (r >= 0)
                        r = message_frame_open(body->message, &frame, offset, plaintext, error);
                if (r < 0)
                        return r;
                plaintext += frame.content.size;
                at += frame.size;
                offset += frame.size;
        }
        return 0;
}

static void decrypt_job(void *userdata) {
        Piece *piece = userdata;
        Body *body = piece->body;
        uint8_t *plaintext = secret_bytes(piece->decryptor->plaintext);
        size_t size = (size_t) piece->frames * body->header.frame_length;

        piece->r = decrypt_frames(piece, plaintext, &piece->error);
        if (piece->r >= 0)
                piece->r = write_draft(body, plaintext, size,
                                       (uint64_t) (piece->first - 1) * body->header.frame_length,
                                       &piece->error);
}

static void hash_job(void *userdata) {
        Piece *piece = userdata;

        piece->hash_r = message_reader_skip(piece->body->reader, piece->frames, piece->data,
                                            &piece->hash_error);
}

/* Ends all threads, each after its job, and returns everything to the source. */
static void body_stop(Body *body) {
        body->ending = true;
        for (unsigned i = 0; i < body->plan.threads; i++) {
                body->decryptors[i].worker = worker_free(body->decryptors[i].worker);
                body->decryptors[i].plaintext = secret_free(body->decryptors[i].plaintext);
        }
        body->last = worker_free(body->last);
        body->tail_plaintext = secret_free(body->tail_plaintext);
        while (body->first) {
                Piece *piece = body->first;

                body->first = piece->next;
                free(piece);
        }
        body->pieces = pieces_free(body->pieces);
}

typedef struct Wipe {
        Body *body;
        StoreDraft *draft;
} Wipe;

static void wipe_job(void *userdata) {
        Wipe *wipe = userdata;

        wipe->draft = store_draft_free(wipe->draft);
}

static void wipe_clean_up(void *userdata) {
        wipe_job(userdata);
        free(userdata);
}

static void wipe_done(void *userdata) {
        Body *body = ((Wipe *) userdata)->body;

        body->ended(body->r, NULL, 0, &body->error, body->userdata);
}

/* Nothing is decrypted any more. The file goes, and then the owner is told. */
static void body_fail(Body *body, int r, const Error *error) {
        Error copy = *error; /* it may be of a piece, or of the source */

        if (body->ending)
                return;
        body_stop(body);
        /* Not before: the job of last, which may have been under way, leaves its own result there. */
        body->r = r;
        body->error = copy;
        store_draft_abandon(body->draft);
        body->wipe->draft = TAKE_PTR(body->draft);
        if (worker_new(body->event, "unseald-wipe", &body->wiper) >= 0 &&
            worker_submit(body->wiper, wipe_job, wipe_done, body->wipe) >= 0)
                return;
        wipe_job(body->wipe);
        wipe_done(body->wipe);
}

static bool signs(const Body *body) {
        return body->header.suite->curve;
}

static void decrypt_done(void *userdata);
static void hash_done(void *userdata);
static void last_job(void *userdata);
static void last_done(void *userdata);

/* Gives the next piece to the thread that has the least to do. */
static int begin_piece(Body *body, Piece *piece) {
        Decryptor *idle = body->decryptors;

        for (unsigned i = 1; i < body->plan.threads; i++)
                if (body->decryptors[i].jobs < idle->jobs)
                        idle = body->decryptors + i;
        if (idle->jobs >= JOBS_MAX)
                return 0;
        piece->decryptor = idle;
        idle->jobs++;
        return worker_submit(idle->worker, decrypt_job, decrypt_done, piece);
}

static int begin_hash(Body *body, Piece *piece) {
        if (!signs(body) || piece->hashing || piece->first - 1 != body->hashed)
                return 0;
        piece->hashing = true;
        body->hashed += piece->frames;
        return worker_submit(body->last, hash_job, hash_done, piece);
}

/* Gives back the pieces that are not needed any more. */
static void drop_pieces(Body *body) {
        for (Piece **place = &body->first; *place;) {
                Piece *piece = *place;

                if (!piece->decrypted || (signs(body) && !piece->hashed)) {
                        place = &piece->next;
                        continue;
                }
                *place = piece->next;
                body->done += piece->frames;
                pieces_give_back(body->pieces, piece->data);
                free(piece);
        }
}

/* Begins what can begin. */
static void body_advance(Body *body) {
        Error error;
        int r = 0;

        if (body->ending)
                return;
        drop_pieces(body);
        for (Piece *piece = body->first; piece && r >= 0; piece = piece->next) {
                r = begin_hash(body, piece);
                if (r >= 0 && !piece->decryptor)
                        r = begin_piece(body, piece);
        }
        if (r >= 0 && body->done == body->plan.frames && body->tail_here == body->tail_size &&
            !body->finishing) {
                body->finishing = true;
                r = worker_submit(body->last, last_job, last_done, body);
        }
        if (r < 0)
                body_fail(body, error_oom(&error), &error);
}

static void decrypt_done(void *userdata) {
        Piece *piece = userdata;

        piece->decryptor->jobs--;
        piece->decrypted = true;
        if (piece->r < 0)
                body_fail(piece->body, piece->r, &piece->error);
        else
                body_advance(piece->body);
}

static void hash_done(void *userdata) {
        Piece *piece = userdata;

        piece->hashed = true;
        if (piece->hash_r < 0)
                body_fail(piece->body, piece->hash_r, &piece->hash_error);
        else
                body_advance(piece->body);
}

static uint8_t *tail_room(uint64_t offset, size_t size, void *userdata) {
        Body *body = userdata;

        return size <= secret_size(body->tail_plaintext) ? secret_bytes(body->tail_plaintext) : NULL;
}

static int tail_verified(uint64_t offset, const uint8_t *plaintext, size_t size, void *userdata,
                         Error *error) {
        return write_draft(userdata, plaintext, size, offset, error);
}

/* Demands the final frame, and the signature. */
static void last_job(void *userdata) {
        Body *body = userdata;

        body->r = signs(body) ? 0 : message_reader_skip(body->reader, body->plan.frames, NULL, &body->error);
        if (body->r >= 0)
                body->r = message_reader_feed(body->reader, body->tail, body->tail_size, &body->error);
        if (body->r >= 0)
                body->r = message_reader_end(body->reader, &body->plaintext_size, &body->error);
}

static void last_done(void *userdata) {
        Body *body = userdata;
        Error error = body->error;

        if (body->r < 0) {
                body_fail(body, body->r, &error);
                return;
        }
        body_stop(body);
        body->ended(0, TAKE_PTR(body->draft), body->plaintext_size, &error, body->userdata);
}

/* The bytes of the tail in this piece. */
static void take_tail(Body *body, uint64_t offset, const uint8_t *data, size_t size) {
        uint64_t begin = offset > body->plan.tail ? offset : body->plan.tail;

        if (offset + size <= begin)
                return;
        memcpy(body->tail + (begin - body->plan.tail), data + (begin - offset),
               (size_t) (offset + size - begin));
        body->tail_here += (size_t) (offset + size - begin);
}

static void insert(Body *body, Piece *piece) {
        Piece **place = &body->first;

        while (*place && (*place)->offset < piece->offset)
                place = &(*place)->next;
        piece->next = *place;
        *place = piece;
}

static void on_piece(uint64_t offset, uint8_t *data, size_t size, void *userdata) {
        Body *body = userdata;
        uint64_t whole = offset + size < body->plan.tail ? offset + size : body->plan.tail;
        Error error;
        Piece *piece;

        if (body->ending)
                return;
        take_tail(body, offset, data, size);
        if (whole <= offset)
                pieces_give_back(body->pieces, data);
        else {
                piece = malloc(sizeof(*piece));
                if (!piece) {
                        body_fail(body, error_oom(&error), &error);
                        return;
                }
                *piece = (Piece){
                        .body = body,
                        .offset = offset,
                        .data = data,
                        .first = (uint32_t) ((offset - body->header.size) / slot(&body->header)) + 1,
                        .frames = (uint32_t) ((whole - offset) / slot(&body->header)),
                };
                insert(body, piece);
        }
        body_advance(body);
}

static void on_pieces_ended(int r, const Error *error, void *userdata) {
        if (r < 0)
                body_fail(userdata, r, error);
}

PiecesSink body_sink(Body *body) {
        return (PiecesSink){ on_piece, on_pieces_ended, body };
}

void body_take_pieces(Body *body, Pieces *pieces) {
        body->pieces = pieces;
}

uint64_t body_written(const Body *body) {
        return atomic_load(&body->written);
}

static void wipe_main(void *userdata) {
        (void) store_draft_free(userdata);
}

void body_discard(StoreDraft *draft) {
        Thread *thread;

        store_draft_abandon(draft);
        if (thread_start("unseald-wipe", wipe_main, draft, &thread) < 0)
                (void) store_draft_free(draft);
        else
                thread_detach(thread);
}

Body *body_free(Body *body) {
        if (!body)
                return NULL;
        body_stop(body);
        if (body->draft)
                body_discard(body->draft);
        if (body->wipe)
                worker_abandon(body->wiper, wipe_clean_up, body->wipe);
        message_reader_free(body->reader);
        message_free(body->message);
        free(body->tail);
        free(body->header_bytes);
        (void) pthread_mutex_destroy(&body->writing);
        free(body);
        return NULL;
}

/* A copy, since a body may outlive what its message was found in. */
static int copy_header(Body *body, const MessageHeader *header) {
        const MessageHeaderOptions options = { .allow_uncommitted = true };
        size_t needed;

        body->header_bytes = malloc(header->size);
        if (!body->header_bytes)
                return -ENOMEM;
        memcpy(body->header_bytes, header->body.data, header->size);
        return message_header_parse(body->header_bytes, header->size, &options, &body->header, &needed,
                                    NULL);
}

static int start_threads(Body *body) {
        size_t size = body->plan.pieces.piece_size / slot(&body->header) * body->header.frame_length;
        int r = worker_new(body->event, "unseald-order", &body->last);

        if (r >= 0)
                r = secret_new(body->header.frame_length, &body->tail_plaintext);
        for (unsigned i = 0; i < body->plan.threads && r >= 0; i++) {
                r = secret_new(size, &body->decryptors[i].plaintext);
                if (r >= 0)
                        r = worker_new(body->event, "unseald-frames", &body->decryptors[i].worker);
        }
        return r;
}

static int body_set_up(Body *body, const MessageHeader *header, uint64_t size_max, Error *error) {
        const MessageSink sink = { tail_room, tail_verified, body };
        int r;

        body->tail_size = (size_t) (body->plan.pieces.end - body->plan.tail);
        body->tail = malloc(body->tail_size);
        body->wipe = malloc(sizeof(*body->wipe));
        if (!body->tail || !body->wipe)
                return error_oom(error);
        *body->wipe = (Wipe){ .body = body };
        r = copy_header(body, header);
        if (r >= 0)
                r = start_threads(body);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL,
                                 "The threads that decrypt the message cannot be started: %s.",
                                 strerror(-r));
        return message_reader_new(body->message, &body->header, size_max, &sink, &body->reader, error);
}

int body_new(sd_event *event, const BodyPlan *plan, const MessageHeader *header, uint64_t size_max,
             Message *message, StoreDraft *draft, BodyEnded ended, void *userdata, Body **ret,
             Error *error) {
        _cleanup_(body_freep) Body *body = calloc(1, sizeof(*body));
        int r;

        if (!body) {
                (void) message_free(message);
                (void) store_draft_free(draft);
                return error_oom(error);
        }
        *body = (Body){
                .event = event,
                .plan = *plan,
                .message = message,
                .draft = draft,
                .ended = ended,
                .userdata = userdata,
        };
        (void) pthread_mutex_init(&body->writing, NULL);
        /* Not the tail: how much plaintext it has is known only when the signature's length is, and a file that is set too long would end
         * with zeros. Those frames are all written before the message can be right. */
        store_draft_expect(draft, (uint64_t) plan->frames * header->frame_length);
        r = body_set_up(body, header, size_max, error);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(body);
        return 0;
}
