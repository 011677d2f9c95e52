/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* When to try again: exponential backoff with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"). The caller
 * passes the random number (basic/jitter.h) and stops at its own deadline. */

#include <stdint.h>

#define RETRY_BASE_USEC (100 * UINT64_C(1000))
#define RETRY_CAP_USEC (10 * UINT64_C(1000000))

/*
 * The delay before the next attempt; attempt is 1 for the first retry. It is evenly distributed between 0 and min(cap, base ×
 * 2^attempt) if the 64 bits of random are. It is never shorter than retry_after_usec, the wait that the server asked for.
 */
uint64_t retry_delay_usec(unsigned attempt, uint64_t retry_after_usec, uint64_t random);
