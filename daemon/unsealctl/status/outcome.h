/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How the unsealing of this boot stands: what status.json says (unseald-status.json(5)), compared with what the service manager
 * knows. The file alone can be out of date: unseald may have been killed, or /run may be full. Pure.
 */

#include <json-c/json.h>

#include "basic/cleanup.h"

/* Each value is an exit status of unsealctl status. */
typedef enum Outcome {
        OUTCOME_PUBLISHED = 0,
        OUTCOME_FAILED = 3,    /* for good: the service manager does not start unseald again */
        OUTCOME_NOT_YET = 4,   /* it is being unsealed, or unseald is started again */
        OUTCOME_STOPPED = 5,   /* unseald was stopped, and its secrets are removed */
        OUTCOME_NEVER_RUN = 6, /* in this boot */
} Outcome;

/* Of all late secrets (Late=) together. Before READY=1 they are not there yet. */
#define OUTCOME_OF_LATE "late secrets"

/* status: NULL: there is no file. unit: the output of systemctl show for unseald.service; NULL: it is not known. secret: the
 * outcome of this secret; OUTCOME_OF_LATE; NULL: of all that READY=1 says. */
Outcome outcome_of(struct json_object *status, const char *unit, const char *secret) _pure_;

/* Returns whether the file says what is so. It does not if unseald could not write it, or was killed. */
bool outcome_is_in_file(struct json_object *status, Outcome outcome) _pure_;

/* The object of the secret in status.json; borrowed. NULL: there is none. */
struct json_object *outcome_secret(struct json_object *status, const char *name);

/* "not-yet". */
const char *outcome_to_string(Outcome outcome) _pure_;
