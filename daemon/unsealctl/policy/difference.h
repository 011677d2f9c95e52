/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Says in words how one key policy differs from another, statement by statement. Pure.
 *
 * The order of statements and of list items, the case of actions and condition keys, Sid, Id, and white space make no difference.
 * Statements that differ are paired by their Sid, if they have the same one.
 */

#include <json-c/json.h>
#include <stddef.h>

/* Takes one difference. statement: its number in the live policy, counted from 1; 0: the live policy lacks it. sid: NULL: none.
 * Both texts are valid during the call. */
typedef void (*PolicyDifferenceFound)(void *userdata, size_t statement, const char *sid, const char *text);

/* live and wanted: key policies as JSON objects, which lint accepts. Returns the number of differences, or -ENOMEM. */
int policy_difference(struct json_object *live, struct json_object *wanted, PolicyDifferenceFound found,
                      void *userdata);
