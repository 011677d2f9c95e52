/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A step is one thing that an unsealing must get done, that can fail, and that can be tried again: the key pair, a
 * connection, the decryption of one secret. The session has one list of all its steps and treats them alike: it begins
 * those that can begin, sleeps until the next one is due, and hastens them when the network changes.
 *
 * The owner of a step ends it with step_forget_error(), which frees.
 *
 * Pure: the caller passes in the time and the random numbers. Times are in microseconds of CLOCK_MONOTONIC.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/error.h"

typedef enum StepProgress {
        STEP_IDLE, /* not begun, or failed and waiting for its next attempt */
        STEP_RUNNING,
        STEP_DONE, /* succeeded, or given up: step_failed() tells them apart */
} StepProgress;

/* Begins the step with step_begin(), if the step has what it needs; otherwise it does nothing. Returns 0, or a negative
 * errno if the session cannot go on. */
typedef int (*StepBegin)(void *owner, uint64_t now);

typedef struct Step {
        const char *name; /* as in the journal and in status.json */
        Failure silence;  /* the failure that is reported if no answer comes before the deadline */
        StepBegin begin;  /* NULL: the session begins this step at a place of its own */
        void *owner;
        struct Step *next; /* in the list of all steps */

        bool after_ready; /* late secrets need it: it may begin after READY=1 */
        bool brings_ciphertext; /* a fetch, or what a fetch needs: a refresh begins only these until a ciphertext differs */

        StepProgress progress;
        unsigned attempts;
        unsigned failures; /* in a row on the same network; the backoff grows with it */
        uint64_t begun_usec, not_before_usec;
        uint64_t since_usec; /* when the first attempt since the last success began; 0: not yet */
        Failure failure;     /* of the last attempt; FAILURE_NONE: there was none, or it succeeded */
        Error *error;        /* for step_error(); owned */
} Step;

/* Steps in the order in which they are begun. The list borrows its steps. */
typedef struct Steps {
        Step *first, *last;
} Steps;

void steps_add(Steps *steps, Step *step);

/* The network has changed. A step that failed for want of the network need not wait any longer, and its backoff starts
 * again from the shortest delay. */
void steps_hasten(const Steps *steps);

/* The earliest time at which a step may be tried again. USEC_INFINITY: no step waits for a time. */
uint64_t steps_due(const Steps *steps, uint64_t now) _pure_;

/* Returns a number that changes whenever a step begins, ends or fails. */
uint64_t steps_hash(const Steps *steps) _pure_;

bool step_may_begin(const Step *step, uint64_t now) _pure_;
void step_begin(Step *step, uint64_t now);

/* The attempt does not count: it was not made after all. The step may run again at once. */
void step_undo(Step *step);
void step_done(Step *step);

/* The result of this step has expired; the step may run again at once. */
void step_reset(Step *step);

/* No further attempt can succeed. */
void step_give_up(Step *step, const Error *error);

/* The attempt failed, and another one may succeed. Returns the delay before it: 0 if the attempt began on a network that
 * has changed since, otherwise retry_delay_usec(). */
uint64_t step_postpone(Step *step, const Error *error, uint64_t network_changed_usec, uint64_t now,
                       uint64_t random);

/* Keeps the error of the last attempt. An Error takes nearly 1 KiB and most steps never fail, so each is allocated when it comes. */
void step_set_error(Step *step, const Error *error);
void step_forget_error(Step *step);

/* The error of the last attempt. If there was none, its failure is FAILURE_NONE. If there was no memory to keep it, the error says so,
 * as FAILURE_INTERNAL: a next process finds out what had failed. Never NULL. Valid until the step's next error, success or
 * step_forget_error(). */
const Error *step_error(const Step *step) _pure_;

bool step_is_done(const Step *step) _pure_; /* and succeeded */
bool step_failed(const Step *step) _pure_;  /* in its last attempt */

/* Returns whether an attempt that began at this time used the current result of this step, not an earlier one. */
bool step_made_before(const Step *step, uint64_t begun_usec) _pure_;
