/* SPDX-License-Identifier: Apache-2.0 */

#include "unsealing/body-turns.h"
#include "basic/list.h"

static BodyCost less(const BodyCost *a, const BodyCost *b) {
        return (BodyCost){ a->bytes - b->bytes, a->threads - b->threads, a->connections - b->connections };
}

/* One body alone always fits, whatever its plan says. */
static bool fits(const BodyCost *taken, const BodyCost *cost) {
        return taken->bytes == 0 || (taken->bytes + cost->bytes <= BODY_BUFFERS_MAX &&
                                     taken->threads + cost->threads <= BODY_THREADS_MAX &&
                                     taken->connections + cost->connections <= BODY_CONNECTIONS_MAX);
}

/* Two that are stuck would give way to each other for ever. */
static bool yields(const BodyTurn *running, const BodyTurn *waiting) {
        return !running->required && (waiting->required || (running->stuck && !waiting->stuck));
}

bool body_turn_begin(BodyTurns *turns, BodyTurn *turn, BodyTurn **ret_yields) {
        BodyCost left = turns->taken;
        BodyTurn *found = NULL;

        *ret_yields = NULL;
        if (fits(&turns->taken, &turn->cost)) {
                LIST_PREPEND(turns->first, turn);
                turns->taken.bytes += turn->cost.bytes;
                turns->taken.threads += turn->cost.threads;
                turns->taken.connections += turn->cost.connections;
                turn->runs = true;
                return true;
        }
        for (BodyTurn *other = turns->first; other; other = other->next)
                if (yields(other, turn)) {
                        left = less(&left, &other->cost);
                        found = other;
                }
        /* If it would not fit all the same, nothing gives way in vain. */
        if (fits(&left, &turn->cost))
                *ret_yields = found;
        return false;
}

void body_turn_end(BodyTurns *turns, BodyTurn *turn) {
        if (!turn->runs)
                return;
        LIST_REMOVE(turns->first, turn);
        turns->taken = less(&turns->taken, &turn->cost);
        turn->runs = false;
}
