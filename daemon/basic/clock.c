/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <errno.h>
#include <time.h>

#include "basic/clock.h"

static uint64_t now_usec(clockid_t clock) {
        struct timespec now;
        int r = clock_gettime(clock, &now);

        /* Every kernel of the last decade has these clocks. */
        assert(r == 0);
        (void) r;
        return (uint64_t) now.tv_sec * USEC_PER_SEC + (uint64_t) now.tv_nsec / 1000;
}

uint64_t now_boottime_usec(void) {
        return now_usec(CLOCK_BOOTTIME);
}

uint64_t now_monotonic_usec(void) {
        return now_usec(CLOCK_MONOTONIC);
}

uint64_t now_realtime_usec(void) {
        return now_usec(CLOCK_REALTIME);
}

void sleep_usec(uint64_t usec) {
        struct timespec left = {
                .tv_sec = (time_t) (usec / USEC_PER_SEC),
                .tv_nsec = (long) (usec % USEC_PER_SEC * 1000),
        };

        while (nanosleep(&left, &left) < 0 && errno == EINTR)
                ;
}
