/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* unsealctl status: status.c reads the file and waits, outcome.c judges, status-print.c prints. */

#include <json-c/json.h>

#include "unsealctl/check/consumers.h"

/* Prints what the file says. */
void status_print(struct json_object *status);

/* Prints a table: which units may have each secret, and which units of this system load it. */
void status_print_consumers(struct json_object *status, const Consumers *consumers);
