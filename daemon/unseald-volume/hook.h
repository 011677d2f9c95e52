/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The unit of OnOpen=, which can refuse a read-write volume. Its purpose is to compare the counter of the label with one that is kept
 * elsewhere: a disk that was put back to an earlier state shows only there.
 *
 * It runs twice in one opening. HOOK_COMPARE comes before anything is written to the device: a refused device keeps its counter. Otherwise each
 * attempt would increment it, until it is greater than the one that is kept elsewhere. HOOK_RAISE comes when the label with that counter is
 * durable, and before anybody can use the volume: a power cut between the two leaves a device that the unit accepts.
 */

#include "basic/error.h"
#include "config/volumes.h"

typedef enum HookStep {
        HOOK_COMPARE,
        HOOK_RAISE,
} HookStep;

/* "compare", "raise": the value of UNSEALD_VOLUME_STEP. */
const char *hook_step_to_string(HookStep step) _pure_;

/*
 * Starts the unit, and waits until it has ended. It is started anew if it is active, so that it reads the environment file of this step.
 * counter: for the message.
 *
 * FAILURE_SOURCE: it has failed, or has not ended in time. FAILURE_CONFIGURATION: there is no such unit, it cannot refuse because it is no
 * oneshot, or one of its conditions did not hold. FAILURE_INTERNAL: the service manager does not answer.
 */
int hook_run(const Volume *volume, HookStep step, uint64_t counter, Error *error);
