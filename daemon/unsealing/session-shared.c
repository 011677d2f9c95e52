/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>

#include "basic/clock.h"
#include "basic/jitter.h"
#include "unsealing/session-shared.h"

/* How many attempts fit into DeadlineSec= at least, however long the server asks to wait. */
#define ATTEMPTS_MIN 4

void session_step_done(SessionShared *shared, Step *step) {
        step_done(step);
        report_step_done(shared->report, step);
}

void session_step_postpone(SessionShared *shared, Step *step, const char *secret, const Error *error) {
        uint64_t delay, now = now_monotonic_usec();
        Error limited = *error;

        if (shared->ending) {
                step->progress = STEP_IDLE;
                return;
        }
        /* A server must not take the whole deadline with one Retry-After: some attempts are left. */
        if (limited.retry_after_usec > shared->settings->deadline_usec / ATTEMPTS_MIN)
                limited.retry_after_usec = shared->settings->deadline_usec / ATTEMPTS_MIN;
        delay = step_postpone(step, &limited, shared->network_changed_usec, now, jitter_random());
        report_step_postponed(shared->report, step, secret, delay);
}

void session_step_overdue(const SessionShared *shared, const Step *step, const char *whom, Error *ret) {
        char duration[DURATION_STRING_MAX];

        (void) format_duration(shared->settings->deadline_usec, duration);
        if (!step_failed(step)) {
                (void) error_set(ret, -ETIMEDOUT, step->silence,
                                 "Not within DeadlineSec=%s: no answer yet from %.512s.", duration,
                                 whom ?: step->name);
                return;
        }
        *ret = *step_error(step);
        (void) snprintf(ret->text, sizeof(ret->text),
                        "Not within DeadlineSec=%s, after %u attempt(s) at %s: %.512s", duration,
                        step->attempts, step->name, step_error(step)->text);
}
