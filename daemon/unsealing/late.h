/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What comes after READY=1: the messages of late secrets (Late=). Their data keys are kept already. Each message is decrypted into a
 * hidden file of the store; the file is kept in place of the data key, and then published. A failure ends only the secret.
 *
 * The session owns the steps and begins them; this part leads what follows them.
 */

#include "unsealing/passage.h"

typedef struct Late {
        SessionShared *shared;
        Passage *passages;
        size_t count;
        Passage *keeping;    /* the service manager must answer; NULL: about none */
        uint64_t begun_usec; /* CLOCK_MONOTONIC; 0: READY=1 is not said */
} Late;

/* Returns whether messages of late secrets are still to come. */
bool late_is_pending(const Passage *passages, size_t count) _pure_;

/* READY=1 is said now. Everything is borrowed. */
void late_begin(Late *late, SessionShared *shared, Passage *passages, size_t count, uint64_t now);

/* Keeps and publishes what is here. Returns whether all late secrets have ended. */
bool late_advance(Late *late, uint64_t now);

/* Fails all late secrets that are not published. error NULL: for want of time (LateDeadlineSec=). */
void late_fail(Late *late, const Error *error);

/* When LateDeadlineSec= is over; USEC_INFINITY: never. */
uint64_t late_deadline_usec(const Late *late) _pure_;

/* Says in one line for people how far the messages are: "weights 45 %". */
#define LATE_PROGRESS_MAX 256U
void late_print(const Late *late, char ret[static LATE_PROGRESS_MAX]);
