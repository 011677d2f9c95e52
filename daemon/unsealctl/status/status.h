/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* unsealctl status: status.c reads the file and waits, outcome.c judges, status-print.c prints. The volumes
 * are of volume-state.c and volume-lines.c. */

#include <json-c/json.h>

#include "unsealctl/check/consumers.h"

/* Prints what the file says. */
void status_print(struct json_object *status);

/* Prints a table: which units may have each secret, and which units of this system load it. */
void status_print_consumers(struct json_object *status, const Consumers *consumers);

/* The objects of all declared read-write volumes (unseald-status.json(5)), an array that the caller puts. NULL: there are none. Asks the
 * service manager. */
struct json_object *status_volumes(void);

/* Prints them as a table. NULL: nothing. */
void status_print_volumes(struct json_object *volumes);
