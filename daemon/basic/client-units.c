/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "basic/client-units.h"
#include "basic/duration.h"

ClientUnit *client_units_find(ClientUnits *units, const char *name, uint64_t now_usec) {
        ClientUnit *free_place = NULL;

        for (size_t i = 0; i < CLIENT_UNITS_MAX; i++) {
                ClientUnit *unit = units->places + i;

                if (unit->name && strcmp(unit->name, name) == 0)
                        return unit;
                if (!unit->name || (unit->connections == 0 && unit->limit.full_usec <= now_usec))
                        free_place = free_place ?: unit;
        }
        if (!free_place)
                return NULL;
        free(free_place->name);
        *free_place = (ClientUnit){
                .name = strdup(name),
                .limit = { .interval_usec = USEC_PER_SEC / units->requests_per_second,
                           .burst = units->requests_per_second },
        };
        return free_place->name ? free_place : NULL;
}

static const ClientUnit *largest_unit(const ClientUnits *units) {
        const ClientUnit *found = units->places;

        for (size_t i = 0; i < CLIENT_UNITS_MAX; i++)
                if (units->places[i].connections > found->connections)
                        found = units->places + i;
        return found;
}

bool client_units_full(const ClientUnits *units, const ClientUnit *unit, const ClientUnit **ret) {
        *ret = unit;
        if (!unit)
                return units->strangers >= units->strangers_max;
        if (unit->connections >= units->unit_max)
                return true;
        *ret = largest_unit(units);
        return units->permitted >= units->permitted_max;
}

void client_units_add(ClientUnits *units, ClientUnit *unit) {
        if (unit) {
                unit->connections++;
                units->permitted++;
        } else
                units->strangers++;
}

void client_units_remove(ClientUnits *units, ClientUnit *unit) {
        assert(unit ? unit->connections > 0 && units->permitted > 0 : units->strangers > 0);
        if (unit) {
                unit->connections--;
                units->permitted--;
        } else
                units->strangers--;
}

void client_units_clear(ClientUnits *units) {
        for (size_t i = 0; i < CLIENT_UNITS_MAX; i++)
                free(units->places[i].name);
        *units = (ClientUnits){};
}
