/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

/* Runs the event loop until a callback sets *done. A negative errno: the loop failed or was told to exit, and *done is
 * false. */
int event_run_until(sd_event *event, const bool *done);
