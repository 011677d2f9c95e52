/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How far the message of a late secret (Late=) is, in one line for people. Pure. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#define LATE_LINE_MAX 192U

/* "[#####     ] " in front, of so many characters between the brackets. */
#define LATE_BAR 20U

/* Writes "45 % of 2.00 GiB, 120 MiB/s" of an element of secrets[] in status.json (unseald-status.json(5)), as of the time when the file was
 * written. with_bar: with a bar in front. Returns false, and writes "", if no message of the secret is being decrypted. */
bool late_line(struct json_object *status, struct json_object *secret, bool with_bar,
               char ret[static LATE_LINE_MAX]);

/* The first late secret whose message is being decrypted; borrowed. NULL: none is. */
struct json_object *late_secret_under_way(struct json_object *status);
