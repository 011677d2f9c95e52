/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* When to try again: exponential backoff with full jitter, bounded by a deadline. Pure: random numbers
 * and times are given in. (The method: AWS Architecture Blog, "Exponential Backoff And Jitter".) */

#include <stdint.h>

#define RETRY_BASE_USEC (100 * UINT64_C(1000))
#define RETRY_CAP_USEC (10 * UINT64_C(1000000))

/*
 * The delay before attempt number `attempt` (the first retry is 1), evenly between 0 and min(cap, base ×
 * 2^attempt), `random` being 64 evenly distributed bits. Never less than retry_after_usec, what the server
 * asked for.
 */
uint64_t retry_delay_usec(unsigned attempt, uint64_t retry_after_usec, uint64_t random);
