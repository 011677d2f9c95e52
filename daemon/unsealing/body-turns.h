/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which large messages of one session are decrypted at the same time: as many as fit into the one budget of BODY_BUFFERS_MAX,
 * BODY_THREADS_MAX and BODY_CONNECTIONS_MAX. A large one takes all of it, since it uses all processors and connections by itself; a few
 * of two or three MiB share it. The others wait for their turn.
 *
 * A secret that is not required must not keep a required one waiting, and one whose source brings nothing must not keep
 * another one waiting. It gives way, and begins anew when its turn comes again.
 *
 * Pure: nothing here starts or stops a body.
 */

#include <stdbool.h>

#include "unsealing/body.h"

typedef struct BodyTurn {
        BodyCost cost;
        bool required; /* the session fails without the secret */
        bool stuck;    /* its source has failed, and has brought nothing since */
        bool runs;
        void *owner;
        struct BodyTurn *previous, *next; /* of those that run */
} BodyTurn;

typedef struct BodyTurns {
        BodyTurn *first;
        BodyCost taken;
} BodyTurns;

/* Returns whether the body may begin: then its turn runs, and the list borrows it. Otherwise *ret_yields is a turn that must end first
 * (body_turn_end()) before the caller asks again, or NULL: nothing can be done but wait. */
bool body_turn_begin(BodyTurns *turns, BodyTurn *turn, BodyTurn **ret_yields);

/* Does nothing if the turn does not run. */
void body_turn_end(BodyTurns *turns, BodyTurn *turn);
