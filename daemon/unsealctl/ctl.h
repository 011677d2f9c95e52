/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* unsealctl has one file for each verb. main() calls a verb like a main() of its own; the verb returns the exit status. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "basic/cleanup.h"
#include "basic/json.h"

#define EXIT_USAGE 2

int verb_attest(int argc, char *argv[]);
int verb_cat_config(int argc, char *argv[]);
int verb_cat_message(int argc, char *argv[]);
int verb_check(int argc, char *argv[]);
int verb_doctor(int argc, char *argv[]);
int verb_measure(int argc, char *argv[]);
int verb_policy(int argc, char *argv[]);
int verb_reload(int argc, char *argv[]);
int verb_report(int argc, char *argv[]);
int verb_seal(int argc, char *argv[]);
int verb_status(int argc, char *argv[]);
int verb_unseal(int argc, char *argv[]);
int verb_verify(int argc, char *argv[]);
int verb_volume(int argc, char *argv[]);

/* Print the message on standard error and return the exit status: EXIT_USAGE for wrong options and arguments, EXIT_FAILURE for
 * anything else. */
int usage_error(const char *format, ...) _printf_(1, 2);
int failure(const char *format, ...) _printf_(1, 2);

/* Returns NULL for a variable that is not set and for an empty one. */
static inline const char *environment(const char *name) {
        const char *value = getenv(name);

        return value && *value ? value : NULL;
}

/* Reads what an option or argument names: a file, a pipe such as <(…) of a shell, or "-" for standard input. Returns 0, or the exit
 * status after the message is printed. The caller frees *ret. */
int read_argument(const char *path, size_t maximum, uint8_t **ret, size_t *ret_size);

#define TIME_STRING_MAX 32

/* "2026-08-13 17:36:48 UTC"; returns buffer. */
const char *format_time(int64_t seconds, char buffer[TIME_STRING_MAX]);

/* For JSON output. json-c fails only for lack of memory, and these functions then end the program: an answer that lacks a part is
 * worse than no answer. made() returns its argument. */
struct json_object *made(struct json_object *object);
void add(struct json_object *object, const char *name, struct json_object *value);

/* Leaves the member out where value is NULL. Replaces bytes that are not UTF-8 by question marks. */
void add_string(struct json_object *object, const char *name, const char *value);

/* Writes null where data is NULL. */
void add_hex(struct json_object *object, const char *name, const uint8_t *data, size_t size);
