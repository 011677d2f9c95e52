/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* unsealctl: one file a verb. A verb is called as a main() of its own and returns the exit status. */

#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/json.h"

#define EXIT_USAGE 2

int verb_attest(int argc, char *argv[]);
int verb_cat_config(int argc, char *argv[]);
int verb_check(int argc, char *argv[]);
int verb_doctor(int argc, char *argv[]);
int verb_measure(int argc, char *argv[]);
int verb_policy(int argc, char *argv[]);
int verb_reload(int argc, char *argv[]);
int verb_seal(int argc, char *argv[]);
int verb_status(int argc, char *argv[]);
int verb_unseal(int argc, char *argv[]);
int verb_verify(int argc, char *argv[]);

/* Say on standard error what went wrong, and return the exit status for it: wrong options; anything else. */
int usage_error(const char *format, ...) _printf_(1, 2);
int failure(const char *format, ...) _printf_(1, 2);

/* What an option or argument names: a file, a pipe such as <(…) of a shell, or "-", standard input. 0, or it has been said
 * why not, and is the exit status. The caller frees *ret. */
int read_argument(const char *path, size_t maximum, uint8_t **ret, size_t *ret_size);

#define TIME_STRING_MAX 32

/* "2026-08-13 17:36:48 UTC"; returns buffer. */
const char *format_time(int64_t seconds, char buffer[TIME_STRING_MAX]);

/* For answers as JSON. json-c fails for lack of memory alone, and an answer with a part missing is worse than none: these
 * end the program then. made() returns what it is given. */
struct json_object *made(struct json_object *object);
void add(struct json_object *object, const char *name, struct json_object *value);

/* NULL is left out. In place of what is not UTF-8 there are question marks. */
void add_string(struct json_object *object, const char *name, const char *value);

/* NULL is null. */
void add_hex(struct json_object *object, const char *name, const uint8_t *data, size_t size);
