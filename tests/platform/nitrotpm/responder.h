/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Answers the shim inside libtpms, in a thread of its own: whether a fault shall be played, and NSM requests. */

#include "../attestor.h"
#include "basic/cleanup.h"

typedef struct Responder Responder;

int responder_new(Attestor *attestor, const char *path, AttestorFault fault, void *userdata,
                  Responder **ret);

/* Waits for the question that is being answered, if one is. */
Responder *responder_free(Responder *responder);
DEFINE_CLEANUP(Responder *, responder_free);
