/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Durations in microseconds, and how people write them. */

#include <stdint.h>

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)
#define USEC_INFINITY UINT64_MAX

#define DURATION_STRING_MAX 32

/* Writes a duration for people, to three digits or two units: "350us", "12.3ms", "4.21s", "2min 3s", "infinity". Returns buffer. */
const char *format_duration(uint64_t usec, char buffer[DURATION_STRING_MAX]);

/* Parses a duration as in systemd.time(7): "90", "2min", "1min 30s", "500ms", "infinity". A number without a unit is in
 * seconds. -EINVAL: the text is not a duration, or it is USEC_INFINITY or longer. */
int parse_duration(const char *text, uint64_t *ret_usec);
