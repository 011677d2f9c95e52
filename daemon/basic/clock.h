/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Time in microseconds. */

#include <stddef.h>
#include <stdint.h>

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)
#define USEC_INFINITY UINT64_MAX

/* CLOCK_BOOTTIME: goes on in suspend, is never set. */
uint64_t now_boottime_usec(void);

/* CLOCK_MONOTONIC: what sd-event, sd_notify and the journal call monotonic. */
uint64_t now_monotonic_usec(void);

/* CLOCK_REALTIME: may be years off early in a boot. */
uint64_t now_realtime_usec(void);

#define DURATION_STRING_MAX 32

/* "350us", "12.3ms", "4.21s", "2min 3s"; returns buffer. */
const char *format_duration(uint64_t usec, char buffer[DURATION_STRING_MAX]);

/* The reverse, as in systemd.time(7): "90", "2min", "1min 30s", "500ms", "infinity"; a bare
 * number is seconds. -EINVAL. */
int parse_duration(const char *text, uint64_t *ret_usec);

/* An HTTP date (RFC 9110 section 5.6.7, the IMF-fixdate form) to seconds since 1970. -EINVAL. */
int parse_http_date(const char *text, int64_t *ret);
