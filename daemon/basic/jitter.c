/* SPDX-License-Identifier: Apache-2.0 */

#include <sys/random.h>

#include "basic/clock.h"
#include "basic/jitter.h"

uint64_t jitter_random(void) {
        uint64_t random;

        /* The multiplier is 2^64 divided by the golden ratio: it spreads the low bits of the clock over all 64. */
        if (getrandom(&random, sizeof(random), GRND_INSECURE) != sizeof(random))
                random = now_monotonic_usec() * UINT64_C(0x9e3779b97f4a7c15);
        return random;
}
