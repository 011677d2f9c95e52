/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/* 64 evenly distributed bits for retry_delay_usec(). They are not fit for keys: early in a boot the kernel may have no
 * entropy yet, and a delay must not wait for it. Where the kernel has none at all, the bits come from the clock. */
uint64_t jitter_random(void);
