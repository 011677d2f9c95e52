/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One unsealing from start to end. session.c is the only place that knows the order of things; read it from the top.
 */

#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "config/declaration.h"
#include "config/settings.h"

typedef struct Session Session;

/* Called once. r = 0: every required secret is published; otherwise *error is why not, already logged. */
typedef void (*SessionEnded)(int r, const Error *error, void *userdata);

/* settings and declarations are borrowed and must outlive it. */
int session_new(
                sd_event *event,
                const Settings *settings,
                const Declarations *declarations,
                SessionEnded ended,
                void *userdata,
                Session **ret,
                Error *error);
int session_start(Session *session, Error *error);

/* Wipes all that it holds. Returns NULL. */
Session *session_free(Session *session);
DEFINE_CLEANUP(Session *, session_free);
