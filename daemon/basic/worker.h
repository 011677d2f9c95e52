/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A thread that does one job after another and reports to the event loop. unseald has two: the TPM's, since a TPM
 * blocks for as long as it likes, and the key pair's, so that everything that ever touched the private key is on one
 * stack that can be wiped when the key pair goes.
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"

typedef struct Worker Worker;

/* Runs in the thread. */
typedef void (*WorkerJob)(void *userdata);

/* Runs in the event loop when the job has ended. */
typedef void (*WorkerDone)(void *userdata);

/* name: of the thread, at most 15 characters. */
int worker_new(sd_event *event, const char *name, Worker **ret);

/* Jobs run in the order in which they are submitted. */
int worker_submit(Worker *worker, WorkerJob job, WorkerDone done, void *userdata);

/* Waits for the job under way, drops those not begun (without done), ends the thread and wipes its stack. Returns
 * NULL. */
Worker *worker_free(Worker *worker);
DEFINE_CLEANUP(Worker *, worker_free);
