/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What time it is, in microseconds. */

#include <stdint.h>

#include "basic/duration.h"

/* CLOCK_BOOTTIME: goes on in suspend, is never set. */
uint64_t now_boottime_usec(void);

/* CLOCK_MONOTONIC: what sd-event, sd_notify and the journal call monotonic. */
uint64_t now_monotonic_usec(void);

/* CLOCK_REALTIME: may be years off early in a boot. */
uint64_t now_realtime_usec(void);

/* Suspends the calling thread. Signals do not shorten the sleep. */
void sleep_usec(uint64_t usec);
