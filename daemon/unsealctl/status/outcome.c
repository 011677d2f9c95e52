/* SPDX-License-Identifier: Apache-2.0 */

#include <stdbool.h>
#include <string.h>

#include "basic/error.h"
#include "basic/json.h"
#include "unsealctl/status/outcome.h"
#include "unsealctl/unit-properties.h"

#define PROPERTY_MAX 64

/* How unseald.service stands. */
typedef enum UnitState {
        UNIT_UNKNOWN,
        UNIT_NEVER_RUN,
        UNIT_STARTING, /* also between a failure and the next start */
        UNIT_RUNNING,
        UNIT_STOPPED,
        UNIT_FAILED,
} UnitState;

static UnitState unit_state(const char *unit) {
        char active[PROPERTY_MAX], started[PROPERTY_MAX];

        if (!unit)
                return UNIT_UNKNOWN;
        (void) unit_property(unit, "ActiveState", active, sizeof(active));
        (void) unit_property(unit, "ExecMainStartTimestampMonotonic", started, sizeof(started));
        if (strcmp(active, "active") == 0 || strcmp(active, "reloading") == 0)
                return UNIT_RUNNING;
        if (strcmp(active, "activating") == 0)
                return UNIT_STARTING;
        if (strcmp(active, "failed") == 0)
                return UNIT_FAILED;
        if (strcmp(active, "inactive") == 0 || strcmp(active, "deactivating") == 0)
                return started[0] && strcmp(started, "0") != 0 ? UNIT_STOPPED : UNIT_NEVER_RUN;
        return UNIT_UNKNOWN;
}

static Outcome outcome_of_unit(UnitState unit) {
        switch (unit) {
        case UNIT_STARTING:
                return OUTCOME_NOT_YET;
        case UNIT_RUNNING:
                return OUTCOME_PUBLISHED;
        case UNIT_STOPPED:
                return OUTCOME_STOPPED;
        case UNIT_FAILED:
                return OUTCOME_FAILED;
        case UNIT_UNKNOWN:
        case UNIT_NEVER_RUN:
                break;
        }
        return OUTCOME_NEVER_RUN;
}

/* The service manager starts unseald again after a failure that may pass (RestartPreventExitStatus=). */
static Outcome outcome_of_failure(struct json_object *status, UnitState unit) {
        const char *name = json_member_string(status, "failure");

        if (unit == UNIT_FAILED || unit == UNIT_STOPPED)
                return OUTCOME_FAILED;
        return failure_is_final(name ? failure_from_string(name) : FAILURE_CONFIGURATION) ? OUTCOME_FAILED
                                                                                          : OUTCOME_NOT_YET;
}

static Outcome outcome_of_all(struct json_object *status, UnitState unit) {
        const char *state = json_member_string(status, "state") ?: "";

        if (strcmp(state, "failed") == 0)
                return outcome_of_failure(status, unit);
        if (strcmp(state, "stopped") == 0)
                return unit == UNIT_STARTING ? OUTCOME_NOT_YET : OUTCOME_STOPPED;
        if (unit == UNIT_STOPPED || unit == UNIT_FAILED)
                return outcome_of_unit(unit);
        return strcmp(state, "unsealed") == 0 ? OUTCOME_PUBLISHED : OUTCOME_NOT_YET;
}

struct json_object *outcome_secret(struct json_object *status, const char *name) {
        struct json_object *secrets = json_member(status, "secrets");
        size_t n = json_object_is_type(secrets, json_type_array) ? json_object_array_length(secrets) : 0;

        for (size_t i = 0; i < n; i++) {
                struct json_object *secret = json_object_array_get_idx(secrets, i);
                const char *found = json_member_string(secret, "name");

                if (found && strcmp(found, name) == 0)
                        return secret;
        }
        return NULL;
}

static bool is_late(struct json_object *secret) {
        return json_object_get_boolean(json_member(secret, "late"));
}

/* Of one secret of a status that says "unsealed". A late secret is on its way until it is published or has failed. */
static Outcome outcome_of_one(struct json_object *secret) {
        const char *state = json_member_string(secret, "state") ?: "";

        if (strcmp(state, "published") == 0)
                return OUTCOME_PUBLISHED;
        return is_late(secret) && strcmp(state, "failed") != 0 ? OUTCOME_NOT_YET : OUTCOME_FAILED;
}

/* A required one that has failed comes before one that is still to come. */
static Outcome outcome_of_late(struct json_object *status) {
        struct json_object *secrets = json_member(status, "secrets");
        size_t n = json_object_is_type(secrets, json_type_array) ? json_object_array_length(secrets) : 0;
        Outcome result = OUTCOME_PUBLISHED;

        for (size_t i = 0; i < n; i++) {
                struct json_object *secret = json_object_array_get_idx(secrets, i);
                Outcome one = is_late(secret) ? outcome_of_one(secret) : OUTCOME_PUBLISHED;

                if (one == OUTCOME_FAILED && !json_object_get_boolean(json_member(secret, "optional")))
                        return OUTCOME_FAILED;
                if (one == OUTCOME_NOT_YET)
                        result = OUTCOME_NOT_YET;
        }
        return result;
}

Outcome outcome_of(struct json_object *status, const char *unit, const char *secret) {
        UnitState state = unit_state(unit);
        const char *of_secret;
        Outcome all;

        if (!status) {
                all = outcome_of_unit(state);
                /* Only the file tells of late secrets. */
                return all == OUTCOME_PUBLISHED && secret && strcmp(secret, OUTCOME_OF_LATE) == 0
                                       ? OUTCOME_NOT_YET
                                       : all;
        }
        all = outcome_of_all(status, state);
        if (!secret || (all != OUTCOME_PUBLISHED && all != OUTCOME_NOT_YET))
                return all;
        if (strcmp(secret, OUTCOME_OF_LATE) == 0)
                return all == OUTCOME_PUBLISHED ? outcome_of_late(status) : all;
        if (all == OUTCOME_PUBLISHED)
                return outcome_of_one(outcome_secret(status, secret));
        of_secret = json_member_string(outcome_secret(status, secret), "state") ?: "";
        if (all == OUTCOME_NOT_YET && strcmp(json_member_string(status, "state") ?: "", "unsealing") != 0)
                return all; /* the next start tries all secrets again */
        if (strcmp(of_secret, "failed") == 0)
                return OUTCOME_FAILED;
        return strcmp(of_secret, "published") == 0 ? OUTCOME_PUBLISHED : OUTCOME_NOT_YET;
}

bool outcome_is_in_file(struct json_object *status, Outcome outcome) {
        return status && outcome_of(status, NULL, NULL) == outcome;
}

const char *outcome_to_string(Outcome outcome) {
        switch (outcome) {
        case OUTCOME_PUBLISHED:
                return "published";
        case OUTCOME_FAILED:
                return "failed";
        case OUTCOME_NOT_YET:
                return "not-yet";
        case OUTCOME_STOPPED:
                return "stopped";
        case OUTCOME_NEVER_RUN:
                return "never-run";
        }
        return "unknown";
}
