/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* unsealctl: one file a verb. A verb is called as a main() of its own and returns the exit status. */

#include <stdint.h>

#include "basic/cleanup.h"

#define EXIT_USAGE 2

int verb_measure(int argc, char *argv[]);
int verb_policy(int argc, char *argv[]);
int verb_status(int argc, char *argv[]);
int verb_verify(int argc, char *argv[]);

/* Say on standard error what went wrong, and return the exit status for it: wrong options; anything else. */
int usage_error(const char *format, ...) _printf_(1, 2);
int failure(const char *format, ...) _printf_(1, 2);

#define TIME_STRING_MAX 32

/* "2026-08-13 17:36:48 UTC"; returns buffer. */
const char *format_time(int64_t seconds, char buffer[TIME_STRING_MAX]);
