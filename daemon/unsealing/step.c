/* SPDX-License-Identifier: Apache-2.0 */

#include <stdlib.h>

#include "basic/clock.h"
#include "basic/retry.h"
#include "unsealing/step.h"

static bool is_of_network(Failure failure) {
        return failure == FAILURE_NETWORK || failure == FAILURE_IMDS;
}

void steps_add(Steps *steps, Step *step) {
        if (steps->last)
                steps->last->next = step;
        else
                steps->first = step;
        steps->last = step;
        step->next = NULL;
}

void steps_hasten(const Steps *steps) {
        /* Every such step, also one that failed long ago: name resolution may start to work a moment after the route. */
        for (Step *step = steps->first; step; step = step->next)
                if (is_of_network(step->failure)) {
                        step->failures = 0;
                        step->not_before_usec = 0;
                }
}

uint64_t steps_due(const Steps *steps, uint64_t now) {
        uint64_t due = USEC_INFINITY;

        for (const Step *step = steps->first; step; step = step->next)
                if (step->progress == STEP_IDLE && step->not_before_usec > now &&
                    step->not_before_usec < due)
                        due = step->not_before_usec;
        return due;
}

static uint64_t mix(uint64_t hash, uint64_t value) {
        return (hash ^ value) * UINT64_C(0x100000001b3); /* FNV-1a */
}

uint64_t steps_hash(const Steps *steps) {
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        for (const Step *step = steps->first; step; step = step->next) {
                hash = mix(hash, (uint64_t) step->progress);
                hash = mix(hash, step->attempts);
                hash = mix(hash, step->not_before_usec);
                hash = mix(hash, (uint64_t) step->failure);
        }
        return hash;
}

bool step_may_begin(const Step *step, uint64_t now) {
        return step->progress == STEP_IDLE && now >= step->not_before_usec;
}

void step_begin(Step *step, uint64_t now) {
        step->progress = STEP_RUNNING;
        step->begun_usec = now;
        if (step->since_usec == 0)
                step->since_usec = now;
        step->attempts++;
}

void step_undo(Step *step) {
        step->progress = STEP_IDLE;
        step->attempts--;
}

void step_done(Step *step) {
        step->progress = STEP_DONE;
        step->since_usec = 0;
        step->failures = 0;
        step_forget_error(step);
}

void step_reset(Step *step) {
        step->progress = STEP_IDLE;
        step->not_before_usec = 0;
}

void step_give_up(Step *step, const Error *error) {
        step->progress = STEP_DONE;
        step_set_error(step, error);
}

uint64_t step_postpone(Step *step, const Error *error, uint64_t network_changed_usec, uint64_t now,
                       uint64_t random) {
        uint64_t delay = retry_delay_usec(++step->failures, error->retry_after_usec, random);

        if (is_of_network(error->failure) && network_changed_usec >= step->begun_usec)
                delay = 0;
        step->progress = STEP_IDLE;
        step_set_error(step, error);
        step->not_before_usec = now + delay;
        return delay;
}

void step_set_error(Step *step, const Error *error) {
        step->failure = error->failure;
        if (!step->error)
                step->error = malloc(sizeof(*step->error));
        if (step->error)
                *step->error = *error;
}

void step_forget_error(Step *step) {
        step->failure = FAILURE_NONE;
        free(TAKE_PTR(step->error));
}

const Error *step_error(const Step *step) {
        static const Error none = {}, not_kept = {
                .failure = FAILURE_INTERNAL,
                .remedy = REMEDY_RETRY,
                .text = "Out of memory: the reason of the last failure could not be kept.",
        };

        if (step->failure == FAILURE_NONE)
                return &none;
        return step->error ?: &not_kept;
}

bool step_is_done(const Step *step) {
        return step->progress == STEP_DONE && step->failure == FAILURE_NONE;
}

bool step_failed(const Step *step) {
        return step->failure != FAILURE_NONE;
}

bool step_made_before(const Step *step, uint64_t begun_usec) {
        return step->progress == STEP_DONE && begun_usec >= step->begun_usec;
}
