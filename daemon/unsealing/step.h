/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One thing that an unsealing has to get done and that can fail and be tried again: the key pair, a connection, the
 * decryption of one secret. Pure: times and random numbers are given in.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/error.h"

typedef enum StepProgress {
        STEP_IDLE, /* not begun, or failed and waiting for its next attempt */
        STEP_RUNNING,
        STEP_DONE, /* or given up: step_failed() tells */
} StepProgress;

typedef struct Step {
        const char *name; /* as in the journal and in status.json */
        Failure silence;  /* what it is called if there is no answer until the deadline */
        StepProgress progress;
        unsigned attempts;
        unsigned failures; /* in a row, on the same network: what the backoff grows with */
        uint64_t begun_usec, not_before_usec;
        Error error; /* of the last attempt; FAILURE_NONE: none, or it went well */
} Step;

bool step_may_begin(const Step *step, uint64_t now) _pure_;
void step_begin(Step *step, uint64_t now);
void step_done(Step *step);

/* Needed again, at once: what it made has expired. */
void step_reset(Step *step);

/* No new attempt can mend it. */
void step_give_up(Step *step, const Error *error);

/* To be tried again after the delay that is returned: at once if it failed on a network that has changed since. */
uint64_t step_postpone(Step *step, const Error *error, uint64_t network_changed_usec, uint64_t now,
                       uint64_t random);

/* The network has changed: what failed on it need not wait any longer, and its backoff begins anew. */
void step_hasten(Step *step);

/* When it is to be tried again; USEC_INFINITY where it waits for no time, or could begin now. */
uint64_t step_due(const Step *step, uint64_t now) _pure_;

bool step_is_done(const Step *step) _pure_; /* and went well */
bool step_failed(const Step *step) _pure_;  /* its last attempt */

/* Whether a step that began then has used what this one made last. */
bool step_made_before(const Step *step, uint64_t begun_usec) _pure_;
