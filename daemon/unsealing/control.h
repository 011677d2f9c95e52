/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How `unsealctl reload` asks for a reload and hears what became of it: whoever connects to /run/unseald/control.sock asks for
 * one, and is told "STATUS TEXT\n" when it is done, STATUS being an exit status (Failure). Who comes while a reload is under
 * way asks for another, and is not accepted before: what he is told is of a reload that began after he asked. Where unseald
 * dies meanwhile he is told nothing, which is an answer, too.
 */

#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/error.h"

#define CONTROL_ANSWER_MAX 1024U

typedef struct Control Control;

/* Somebody asks. control_answer() is owed, then or later. */
typedef void (*ControlAsked)(void *userdata);

int control_new(sd_event *event, const char *path, ControlAsked asked, void *userdata, Control **ret);
Control *control_free(Control *control);
DEFINE_CLEANUP(Control *, control_free);

/* Tells all who asked. error: NULL or FAILURE_NONE: it went well. */
void control_answer(Control *control, const Error *error);

/* Asks, waits for the answer and takes it apart; for unsealctl. text: CONTROL_ANSWER_MAX, with no control characters. Returns
 * the exit status, or a negative errno: -ENOENT and -ECONNREFUSED where nobody listens, -ECONNRESET where unseald ended before
 * it answered. */
int control_ask(const char *path, char *text);
