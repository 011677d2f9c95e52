/* SPDX-License-Identifier: Apache-2.0 */

#include "basic/retry.h"

uint64_t retry_delay_usec(unsigned attempt, uint64_t retry_after_usec, uint64_t random) {
        uint64_t ceiling = RETRY_BASE_USEC;

        for (unsigned i = 0; i < attempt && ceiling < RETRY_CAP_USEC; i++)
                ceiling *= 2;
        if (ceiling > RETRY_CAP_USEC)
                ceiling = RETRY_CAP_USEC;

        /* The upper half of the product is evenly distributed. A remainder would prefer small delays. */
        uint64_t delay = (uint64_t) (((unsigned __int128) random * (ceiling + 1)) >> 64);
        return delay > retry_after_usec ? delay : retry_after_usec;
}
