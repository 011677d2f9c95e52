/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A line is one connection with the range that it fetches. It fills one buffer at a time; a full one waits in its slot until it
 * is handed over, and where no slot is free, the line pauses. Callbacks of transfers record what has changed; only on_advance()
 * calls the sink, starts requests and goes on with paused ones.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/jitter.h"
#include "basic/retry.h"
#include "source/pieces-remote.h"

/* Bytes of one request, apart from the last ones. Long ranges cost few round trips; short ones at the end let all connections
 * end together. */
#define RANGE_MIN (UINT64_C(8) << 20)
#define RANGE_MAX (UINT64_C(64) << 20)

#define LOOK_USEC USEC_PER_SEC /* so often the lines are looked at */

typedef struct Remote Remote;

typedef enum SlotState {
        SLOT_FREE,
        SLOT_FILLING, /* a line writes to it */
        SLOT_FULL,    /* to be handed over */
        SLOT_OUT,     /* the sink has it */
} SlotState;

typedef struct Slot {
        SlotState state;
        uint8_t *data; /* piece_size bytes, once the slot was used */
        uint64_t offset;
        size_t size; /* of its piece */
} Slot;

typedef struct Line {
        Remote *remote;
        RangeFetch *fetch;   /* NULL: no request is under way */
        uint64_t next, end;  /* bytes of its range that are still to come */
        Slot *slot;          /* the piece of the byte next, if it was begun */
        unsigned attempts;   /* in a row, without a byte */
        uint64_t again_usec; /* when it may ask again; 0: at once */
        uint64_t moved_usec; /* when the last byte came, or it got room or a connection, or the request began */
        uint64_t brought;    /* bytes since the last look at how slow the lines are */
        bool named_version; /* the request had versionId= of the first reply */
        bool paused_lately; /* since then it had to wait, so its speed says nothing */
} Line;

struct Remote {
        Pieces pieces; /* first */
        Fetcher *fetcher;
        Fetch fetch;
        ObjectVersion version;
        PiecesPlan plan;
        const PiecesSink *sink; /* a copy of the caller's: */
        PiecesSink own_sink;
        PiecesTrouble trouble;
        void *trouble_userdata;
        sd_event_source *advance, *timer;
        uint64_t unassigned;  /* the first byte that no line has been told to fetch */
        uint64_t handed_over; /* bytes */
        uint64_t slow_usec;   /* when the lines' speeds are compared next */
        bool without_version_id;
        int r; /* negative: it has failed for good, and error says why */
        Error error;
        bool ended;
        Line lines[PIECES_CONNECTIONS_MAX];
        unsigned lines_count;
        Slot slots[]; /* plan.ahead_max */
};
static_assert(offsetof(Remote, pieces) == 0, "a Pieces of this kind is a Remote");

static void kick(Remote *remote) {
        (void) sd_event_source_set_enabled(remote->advance, SD_EVENT_ONESHOT);
}

static void fail(Remote *remote, int r, const Error *error) {
        if (remote->r >= 0) {
                remote->r = r;
                remote->error = *error;
        }
        kick(remote);
}

/* The first byte that the sink has not given back. With in_order, no piece begins ahead_max pieces behind it, so that the piece
 * that the sink waits for always finds a slot. */
static uint64_t first_missing(const Remote *remote) {
        uint64_t first = remote->unassigned;

        for (unsigned i = 0; i < remote->plan.ahead_max; i++)
                if (remote->slots[i].state != SLOT_FREE && remote->slots[i].offset < first)
                        first = remote->slots[i].offset;
        for (unsigned i = 0; i < remote->lines_count; i++)
                if (!remote->lines[i].slot && remote->lines[i].next < remote->lines[i].end &&
                    remote->lines[i].next < first)
                        first = remote->lines[i].next;
        return first;
}

/* Gives the line a slot for the piece that begins at its next byte. False: there is none for it now. */
static bool begin_piece(Line *line) {
        Remote *remote = line->remote;
        const PiecesPlan *plan = &remote->plan;
        uint64_t left = plan->end - line->next;
        Slot *slot = NULL;

        if (plan->in_order && (line->next - first_missing(remote)) / plan->piece_size >= plan->ahead_max)
                return false;
        for (unsigned i = 0; i < plan->ahead_max && !slot; i++)
                if (remote->slots[i].state == SLOT_FREE)
                        slot = remote->slots + i;
        if (!slot)
                return false;
        if (!slot->data && !(slot->data = malloc(plan->piece_size))) {
                Error error;
                int r = error_oom(&error);

                fail(remote, r, &error);
                return false;
        }
        slot->state = SLOT_FILLING;
        slot->offset = line->next;
        slot->size = left < plan->piece_size ? (size_t) left : plan->piece_size;
        line->slot = slot;
        return true;
}

static size_t on_data(const uint8_t *data, size_t size, void *userdata) {
        Line *line = userdata;
        Remote *remote = line->remote;
        size_t taken = 0;

        while (taken < size && (line->slot || begin_piece(line))) {
                Slot *slot = line->slot;
                size_t at = (size_t) (line->next - slot->offset), room = slot->size - at,
                       n = size - taken < room ? size - taken : room;

                memcpy(slot->data + at, data + taken, n);
                taken += n;
                line->next += n;
                if (n == room) {
                        slot->state = SLOT_FULL;
                        line->slot = NULL;
                        kick(remote);
                }
        }
        if (taken > 0) {
                line->attempts = 0;
                line->moved_usec = now_monotonic_usec();
                line->brought += taken;
        }
        if (taken < size)
                line->paused_lately = true;
        return taken;
}

/* The request failed, or was given up. Decides what becomes of the line. */
static void line_broke(Line *line, int r, const Error *error) {
        Remote *remote = line->remote;

        line->paused_lately = true;
        /* Whoever may read an object may not always read its versions. The ETag keeps the ranges of one object as well. */
        if (r == -EACCES && line->named_version && remote->version.etag) {
                remote->without_version_id = true;
                kick(remote);
                return;
        }
        if (r == -ESTALE || error->remedy == REMEDY_NONE) {
                fail(remote, r, error);
                return;
        }
        if (error->remedy != REMEDY_CLOCK || line->attempts > 0)
                line->again_usec =
                                now_monotonic_usec() +
                                retry_delay_usec(line->attempts, error->retry_after_usec, jitter_random());
        line->attempts++;
        if (remote->trouble)
                remote->trouble(error, remote->trouble_userdata);
        kick(remote);
}

static void on_ended(int r, const Error *error, void *userdata) {
        Line *line = userdata;

        line->fetch = NULL;
        if (r < 0)
                line_broke(line, r, error);
        else
                kick(line->remote);
}

static const RangeSink range_sink = { on_data, on_ended };

static uint64_t range_size(const Remote *remote) {
        const PiecesPlan *plan = &remote->plan;
        uint64_t left = plan->end - remote->unassigned, size = left / (2 * remote->lines_count);

        if (!remote->version.ranges)
                return left;
        size = size < RANGE_MIN ? RANGE_MIN : size > RANGE_MAX ? RANGE_MAX : size;
        if (plan->in_order || size < plan->piece_size)
                size = plan->piece_size;
        size -= size % plan->piece_size;
        return size < left ? size : left;
}

static int line_start(Line *line, uint64_t now) {
        Remote *remote = line->remote;
        const FetchRange range = { .first = line->next,
                                   .last = line->end - 1,
                                   .version = &remote->version,
                                   .without_version_id = remote->without_version_id };

        line->again_usec = 0;
        line->named_version = remote->version.version && !remote->fetch.source->version &&
                              !remote->without_version_id;
        line->moved_usec = now;
        line->paused_lately = true;
        return source_fetch_range(remote->fetcher, &remote->fetch, &range, &range_sink, line, &line->fetch);
}

/* Starts every request that can start. */
static int start_lines(Remote *remote, uint64_t now) {
        int r = 0;

        for (unsigned i = 0; i < remote->lines_count && r >= 0; i++) {
                Line *line = remote->lines + i;

                if (line->fetch || line->again_usec > now)
                        continue;
                if (line->next == line->end) {
                        if (remote->unassigned == remote->plan.end)
                                continue;
                        line->next = remote->unassigned;
                        line->end = remote->unassigned += range_size(remote);
                }
                r = line_start(line, now);
        }
        return r;
}

/* Goes on with paused transfers, the one with the earliest bytes first. */
static void resume_lines(Remote *remote, uint64_t now) {
        for (;;) {
                Line *found = NULL;

                for (unsigned i = 0; i < remote->lines_count; i++) {
                        Line *line = remote->lines + i;

                        if (line->fetch && range_fetch_is_paused(line->fetch) &&
                            (!found || line->next < found->next))
                                found = line;
                }
                if (!found || (!found->slot && !begin_piece(found)))
                        return;
                found->moved_usec = now;
                range_fetch_resume(found->fetch);
        }
}

static void give_up(Line *line, const char *what, uint64_t duration_usec) {
        Error error;
        int r;

        range_fetch_cancel(TAKE_PTR(line->fetch));
        r = error_set_remedy(&error, -ETIMEDOUT, FAILURE_NETWORK, REMEDY_RETRY,
                             "%.200s: A connection %s for %" PRIu64 " s. unseald goes on at byte %" PRIu64
                             " with a new one.",
                             line->remote->fetch.source->label, what, duration_usec / USEC_PER_SEC,
                             line->next);
        line_broke(line, r, &error);
}

/* Returns whether nothing can come: there is no room, or the fetches of other secrets have all connections to this host. */
static bool waits(const Line *line) {
        return range_fetch_is_paused(line->fetch) || !range_fetch_is_sent(line->fetch);
}

/* Looks for transfers that stand still. One that waits is not to blame. */
static void look_for_still(Remote *remote, uint64_t now) {
        for (unsigned i = 0; i < remote->lines_count; i++) {
                Line *line = remote->lines + i;

                if (line->fetch && !range_fetch_is_sent(line->fetch))
                        line->moved_usec = now;
                if (line->fetch && !waits(line) && now - line->moved_usec >= PIECES_STILL_USEC)
                        give_up(line, "has brought nothing", PIECES_STILL_USEC);
        }
}

static bool speed_counts(const Line *line) {
        return line->fetch && !line->paused_lately;
}

/* Looks for a transfer that is much slower than the others. If all are slow, it is the network. */
static void look_for_slow(Remote *remote, uint64_t now) {
        uint64_t sum = 0;
        unsigned count = 0;

        if (now < remote->slow_usec)
                return;
        remote->slow_usec = now + PIECES_SLOW_USEC;
        for (unsigned i = 0; i < remote->lines_count; i++)
                if (speed_counts(remote->lines + i)) {
                        sum += remote->lines[i].brought;
                        count++;
                }
        for (unsigned i = 0; i < remote->lines_count; i++) {
                Line *line = remote->lines + i;

                if (speed_counts(line) && count > 1 &&
                    line->brought < (sum - line->brought) / (count - 1) / 4)
                        give_up(line, "has been much slower than the others", PIECES_SLOW_USEC);
                line->brought = 0;
                line->paused_lately = line->fetch && waits(line);
        }
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Remote *remote = userdata;
        uint64_t now = now_monotonic_usec();

        look_for_still(remote, now);
        look_for_slow(remote, now);
        kick(remote);
        return 0;
}

/* The timer runs while a request is under way or waits for its time. */
static void set_timer(Remote *remote, uint64_t now) {
        uint64_t next = now + LOOK_USEC;

        for (unsigned i = 0; i < remote->lines_count; i++)
                if (!remote->lines[i].fetch && remote->lines[i].again_usec > now &&
                    remote->lines[i].again_usec < next)
                        next = remote->lines[i].again_usec;
        (void) sd_event_source_set_time(remote->timer, next);
        (void) sd_event_source_set_enabled(remote->timer, SD_EVENT_ONESHOT);
}

static void stop_lines(Remote *remote) {
        for (unsigned i = 0; i < remote->lines_count; i++)
                if (remote->lines[i].fetch)
                        range_fetch_cancel(TAKE_PTR(remote->lines[i].fetch));
        (void) sd_event_source_set_enabled(remote->timer, SD_EVENT_OFF);
}

static Slot *full_slot(Remote *remote) {
        Slot *found = NULL;

        for (unsigned i = 0; i < remote->plan.ahead_max; i++)
                if (remote->slots[i].state == SLOT_FULL &&
                    (!found || remote->slots[i].offset < found->offset))
                        found = remote->slots + i;
        return found;
}

/* Calls the sink at most once, as the last thing, because ended() may free the pieces. */
static int on_advance(sd_event_source *source, void *userdata) {
        Remote *remote = userdata;
        uint64_t now = now_monotonic_usec();
        Slot *full;
        Error error;
        int r;

        if (remote->ended)
                return 0;
        if (remote->r >= 0) {
                resume_lines(remote, now);
                r = start_lines(remote, now);
                if (r < 0) {
                        (void) (r == -ENOMEM ? error_oom(&error)
                                             : error_set(&error, r, FAILURE_INTERNAL,
                                                         "%.200s: Cannot send a request: %s.",
                                                         remote->fetch.source->label, strerror(-r)));
                        fail(remote, r, &error);
                }
        }
        if (remote->r < 0) {
                remote->ended = true;
                stop_lines(remote);
                remote->sink->ended(remote->r, &remote->error, remote->sink->userdata);
                return 0;
        }
        full = full_slot(remote);
        if (full) {
                full->state = SLOT_OUT;
                remote->handed_over += full->size;
                set_timer(remote, now);
                kick(remote);
                remote->sink->piece(full->offset, full->data, full->size, remote->sink->userdata);
        } else if (remote->handed_over == remote->plan.end - remote->plan.begin) {
                remote->ended = true;
                stop_lines(remote);
                remote->sink->ended(0, &(const Error){}, remote->sink->userdata);
        } else
                set_timer(remote, now);
        return 0;
}

static void remote_give_back(Pieces *pieces, uint8_t *data) {
        Remote *remote = (Remote *) pieces;

        for (unsigned i = 0; i < remote->plan.ahead_max; i++)
                if (remote->slots[i].data == data) {
                        assert(remote->slots[i].state == SLOT_OUT);
                        remote->slots[i].state = SLOT_FREE;
                }
        kick(remote);
}

static void remote_free(Pieces *pieces) {
        Remote *remote = (Remote *) pieces;

        if (remote->timer)
                stop_lines(remote);
        (void) sd_event_source_disable_unref(remote->timer);
        (void) sd_event_source_disable_unref(remote->advance);
        object_version_clear(&remote->version);
        for (unsigned i = 0; i < remote->plan.ahead_max; i++)
                free(remote->slots[i].data);
        free(remote);
}

static const PiecesKind remote_kind = { remote_give_back, remote_free };

static unsigned count_lines(const ObjectVersion *version, const PiecesPlan *plan) {
        uint64_t pieces = (plan->end - plan->begin + plan->piece_size - 1) / plan->piece_size,
                 count = version->ranges ? PIECES_CONNECTIONS_MAX : 1;

        count = count < plan->ahead_max ? count : plan->ahead_max;
        return (unsigned) (count < pieces ? count : pieces);
}

static int remote_set_up(Remote *remote, const ObjectVersion *version, const PiecesPlan *plan) {
        sd_event *event = fetcher_event(remote->fetcher);
        uint64_t now = now_monotonic_usec();
        int r;

        r = object_version_copy(version, &remote->version);
        if (r < 0)
                return r;
        r = sd_event_add_time(event, &remote->timer, CLOCK_MONOTONIC, 0, 1, on_timer, remote);
        if (r < 0)
                return r;
        (void) sd_event_source_set_enabled(remote->timer, SD_EVENT_OFF);
        r = sd_event_add_defer(event, &remote->advance, on_advance, remote);
        if (r < 0)
                return r;

        remote->unassigned = plan->begin;
        remote->slow_usec = now + PIECES_SLOW_USEC;
        remote->lines_count = count_lines(version, plan);
        for (unsigned i = 0; i < remote->lines_count; i++)
                remote->lines[i].remote = remote;
        return 0;
}

int pieces_new_remote(Fetcher *fetcher, const Fetch *fetch, const ObjectVersion *version,
                      const PiecesPlan *plan, const PiecesSink *sink, PiecesTrouble trouble,
                      void *trouble_userdata, Pieces **ret, Error *error) {
        _cleanup_(pieces_freep) Pieces *pieces = NULL;
        Remote *remote;
        int r;

        assert(plan->begin < plan->end && plan->end <= version->size && plan->piece_size > 0 &&
               plan->ahead_max > 0);
        remote = calloc(1, sizeof(*remote) + plan->ahead_max * sizeof(*remote->slots));
        if (!remote)
                return error_oom(error);
        pieces = &remote->pieces;
        pieces->kind = &remote_kind;
        remote->fetcher = fetcher;
        remote->fetch = *fetch;
        remote->plan = *plan;
        remote->own_sink = *sink;
        remote->sink = &remote->own_sink;
        remote->trouble = trouble;
        remote->trouble_userdata = trouble_userdata;
        r = remote_set_up(remote, version, plan);
        if (r < 0)
                return r == -ENOMEM ? error_oom(error)
                                    : error_set(error, r, FAILURE_INTERNAL,
                                                "%.200s: Cannot prepare the fetch: %s.",
                                                fetch->source->label, strerror(-r));
        *ret = TAKE_PTR(pieces);
        return 0;
}

void pieces_remote_begin_with(Pieces *pieces, const uint8_t *data, size_t size) {
        Remote *remote = (Remote *) pieces;
        const PiecesPlan *plan = &remote->plan;
        Line *line = remote->lines;
        uint64_t left = plan->end - plan->begin,
                 whole = (size + plan->piece_size - 1) / plan->piece_size * plan->piece_size;

        line->next = plan->begin;
        line->end = remote->unassigned = plan->begin + (whole < left ? whole : left);
        (void) on_data(data, size < left ? size : (size_t) left, line);
        line->brought = 0;
        /* The line goes on with the rest of the piece, and with what a request of its own would have. */
        if (line->next < line->end)
                line->end = remote->unassigned += range_size(remote);
}
