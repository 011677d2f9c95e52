/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The control socket, /run/unseald/control.sock, by which `unsealctl reload` asks for a reload and waits for its outcome. A
 * connection is the whole request. The answer is "STATUS TEXT\n", where STATUS is an exit status (Failure in basic/error.h).
 *
 * A caller that connects during a reload waits unaccepted, and gets a reload of its own. So each caller hears of a reload that
 * began after it had connected. If unseald ends before the answer, the caller reads an empty stream.
 */

#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/error.h"

#define CONTROL_ANSWER_MAX 1024U /* bytes, with the NUL */

typedef struct Control Control;

/* A caller asks for a reload. The owner calls control_answer() once, during the call or later. */
typedef void (*ControlAsked)(void *userdata);

/* Replaces a socket that is there already. path is copied. Only root and unseald's own user can connect. */
int control_new(sd_event *event, const char *path, ControlAsked asked, void *userdata, Control **ret);
Control *control_free(Control *control);
DEFINE_CLEANUP(Control *, control_free);

/* Answers all callers that asked. error: NULL or FAILURE_NONE means success. */
void control_answer(Control *control, const Error *error);

/* For unsealctl: asks and waits for the answer. text has CONTROL_ANSWER_MAX bytes and gets no control characters. Returns the
 * exit status from 0 to 255. -ENOENT and -ECONNREFUSED: unseald does not listen. -ECONNRESET: unseald ended before it answered.
 * -EBADMSG: the answer is malformed. */
int control_ask(const char *path, char *text);
