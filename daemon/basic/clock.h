/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The clocks, in microseconds. */

#include <stdint.h>

#include "basic/duration.h"

/* CLOCK_BOOTTIME: it cannot be set, and it continues in suspend. */
uint64_t now_boottime_usec(void);

/* CLOCK_MONOTONIC: the clock that sd-event, sd_notify(3) and the journal call monotonic. */
uint64_t now_monotonic_usec(void);

/* CLOCK_REALTIME, since 1970. Early in a boot it may be wrong by years. */
uint64_t now_realtime_usec(void);

/* Suspends the calling thread. Signals do not shorten the sleep. */
void sleep_usec(uint64_t usec);
