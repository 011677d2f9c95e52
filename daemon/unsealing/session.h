/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One unsealing from start to end. session.c is the only place that knows the order of things; read it from the top.
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "config/declaration.h"
#include "config/settings.h"
#include "memory/secret.h"
#include "vault/kept.h"

typedef struct Session Session;

/* By hand: called for each secret when all are unsealed, and nothing else is done with them. A failure ends the session.
 * The plaintext is valid during the call. */
typedef int (*SessionTake)(const Declaration *declaration, Secret *plaintext, const char *request_id,
                           Error *error, void *userdata);

/* Everything in it is borrowed and must outlive the session. */
typedef struct SessionOptions {
        const Settings *settings;
        const Declarations *declarations;
        const char *store_path, *status_path;
        Kept *kept; /* new: the session restores it, and leaves in it what is published */

        /* A reload: what is published now. It stays so unless all goes well, and nothing is taken for done. */
        const Declarations *replaced;

        SessionTake take; /* in place of the three above, which are NULL then */
} SessionOptions;

/* Called once, from the event loop, and may free the session. r = 0: every required secret is published, or taken, and
 * nothing that could decrypt another is left; otherwise *error is why not, already logged. */
typedef void (*SessionEnded)(int r, const Error *error, void *userdata);

int session_new(sd_event *event, const SessionOptions *options, SessionEnded ended, void *userdata,
                Session **ret, Error *error);

void session_start(Session *session);

/* Whether a TPM command is under way that session_free() would have to wait for. */
bool session_waits_for_tpm(const Session *session);

/* Wipes all that it holds. Returns NULL. */
Session *session_free(Session *session);
DEFINE_CLEANUP(Session *, session_free);
