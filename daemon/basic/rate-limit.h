/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How often something may be done: a bucket of tokens that fills at an even rate. Pure: times are given in, in
 * microseconds of any clock that does not go back. */

#include <stdbool.h>
#include <stdint.h>

typedef struct RateLimit {
        uint64_t interval_usec; /* between two tokens; not 0 */
        unsigned burst;         /* as many as the bucket holds; not 0. It is full at the start */
        uint64_t full_usec;     /* when the bucket is full again; 0 at the start */
} RateLimit;

/* Takes a token. False where there is none: *ret_wait_usec is how long until there is. */
bool rate_limit_take(RateLimit *limit, uint64_t now_usec, uint64_t *ret_wait_usec);
