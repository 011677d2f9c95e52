/* SPDX-License-Identifier: Apache-2.0 */

/* The bucket's state is one number: the time at which it will be full again. Each token that is taken moves this time by one
 * interval. */

#include "basic/rate-limit.h"

bool rate_limit_take(RateLimit *limit, uint64_t now_usec, uint64_t *ret_wait_usec) {
        uint64_t full = limit->full_usec > now_usec ? limit->full_usec : now_usec;
        uint64_t room = limit->interval_usec * (limit->burst - 1);

        if (full - now_usec > room) {
                *ret_wait_usec = full - now_usec - room;
                return false;
        }
        limit->full_usec = full + limit->interval_usec;
        return true;
}
