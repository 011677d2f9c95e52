/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Answers the questions of the shim inside libtpms, in a thread of its own: NSM requests, and whether a
 * fault is set.
 */

#include "../attestor.h"
#include "basic/cleanup.h"

typedef struct Responder Responder;

int responder_new(Attestor *attestor, const char *path, AttestorFault fault, void *userdata,
                  Responder **ret);

/* Waits until a question that is being answered is done. */
Responder *responder_free(Responder *responder);
DEFINE_CLEANUP(Responder *, responder_free);
