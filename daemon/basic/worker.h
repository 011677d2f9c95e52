/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A thread that does one job after another and reports to the event loop. unseald has two. One is for the TPM, which blocks
 * for as long as it likes. The other is for the key pair: everything that touched the private key is then on one stack, which
 * is wiped together with the key pair.
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"

typedef struct Worker Worker;

/* Runs in the thread. */
typedef void (*WorkerJob)(void *userdata);

/* Runs in the event loop after the job has ended. May free the worker. */
typedef void (*WorkerDone)(void *userdata);

/* name: of the thread, at most 15 characters. A negative errno: no memory, no descriptor or no thread. */
int worker_new(sd_event *event, const char *name, Worker **ret);

/* Jobs run in the order of submission. userdata is borrowed until done has been called. -ENOMEM. */
int worker_submit(Worker *worker, WorkerJob job, WorkerDone done, void *userdata);

/* Waits until the running job has ended, drops the waiting jobs, ends the thread and wipes its stack. No done is called any
 * more. Returns NULL. */
Worker *worker_free(Worker *worker);
DEFINE_CLEANUP(Worker *, worker_free);

/* As worker_free(), but waits for nothing. The waiting jobs are dropped and no done is called any more. clean_up frees what the
 * jobs use: at once if no job is running, else in the thread, when the running job has ended. */
typedef void (*WorkerCleanUp)(void *userdata);
void worker_abandon(Worker *worker, WorkerCleanUp clean_up, void *userdata);
