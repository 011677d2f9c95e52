/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The units whose clients a service serves, and how many connections each has. A client may be slow on purpose, so a new connection takes
 * the place of another one where a limit is reached: of the same unit, or of the unit with the most. Clients that are not permitted wait
 * for their refusal, and are counted separately: none of them costs a permitted unit a connection.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/rate-limit.h"

/* Units that are told apart at the same time: the instances of a template can be many. */
#define CLIENT_UNITS_MAX 256U

/* A permitted unit. */
typedef struct ClientUnit {
        char *name; /* NULL: a free place */
        RateLimit limit;
        unsigned connections;
} ClientUnit;

typedef struct ClientUnits {
        /* Limits: connections of all permitted units, of one of them, and of clients that are not permitted; requests of one unit in a
         * second, and at once. */
        unsigned permitted_max, unit_max, strangers_max, requests_per_second;

        ClientUnit places[CLIENT_UNITS_MAX];
        unsigned permitted, strangers; /* connections */
} ClientUnits;

/* The place of a permitted unit. The pointer is valid while the unit has a connection. Without one, the place stays the unit's until its
 * token bucket is full again. now_usec: of the clock of rate_limit_take(). NULL: there is no memory, or all places are taken. */
ClientUnit *client_units_find(ClientUnits *units, const char *name, uint64_t now_usec);

/* Returns whether a connection must end before one more of the unit can begin; unit NULL: of a client that is not permitted. The connection
 * is one of the unit *ret; *ret NULL: of a client that is not permitted. */
bool client_units_full(const ClientUnits *units, const ClientUnit *unit, const ClientUnit **ret);

/* A connection has begun or ended; unit NULL: of a client that is not permitted. */
void client_units_add(ClientUnits *units, ClientUnit *unit);
void client_units_remove(ClientUnits *units, ClientUnit *unit);

void client_units_clear(ClientUnits *units);
