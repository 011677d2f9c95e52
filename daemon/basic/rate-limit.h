/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Limits how often something happens: a token bucket that fills at a constant rate. The caller passes the time, in microseconds
 * of any clock that never goes back. */

#include <stdbool.h>
#include <stdint.h>

typedef struct RateLimit {
        uint64_t interval_usec; /* between two tokens; not 0 */
        unsigned burst;         /* tokens that the bucket holds; not 0. The bucket begins full */
        uint64_t full_usec;     /* the time at which the bucket is full again; 0 at the start */
} RateLimit;

/* Takes a token. False: the bucket is empty, and *ret_wait_usec is the time until the next token. */
bool rate_limit_take(RateLimit *limit, uint64_t now_usec, uint64_t *ret_wait_usec);
