/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A thread whose stack is wiped when it ends. Code that handles keys leaves copies of them on its stack. glibc
 * keeps the stack of a thread that ended for the next thread, as it is; so every Thread has a mapping of its own.
 */

#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/clock.h"

typedef struct Thread Thread;

/* Runs in the thread. It has THREAD_STACK_SIZE bytes of stack. */
typedef void (*ThreadMain)(void *userdata);

/* OpenSSL's key generation and tpm2-tss need some tens of kilobytes. */
#define THREAD_STACK_SIZE (256U * 1024U)

/* name: for ps(1) and debuggers, at most 15 characters. -ENOMEM or -EAGAIN where the kernel gives no memory or no
 * thread. */
int thread_start(const char *name, ThreadMain run, void *userdata, Thread **ret);

/* Waits until the thread has ended and wipes its stack. Returns NULL. */
Thread *thread_join(Thread *thread);
DEFINE_CLEANUP(Thread *, thread_join);

#define THREADS_RUN_MAX 64U

/* Runs this in count threads, at most THREADS_RUN_MAX, and returns when all have ended. The calling thread is one of them: so the work is
 * done even where the kernel gives no other. */
void threads_run(const char *name, ThreadMain run, void *userdata, unsigned count);

/* Lets the thread run to its end by itself, because nobody can wait for it. The thread then wipes its stack. The mapping of the
 * stack stays until a later thread_start() finds that the thread has ended. */
void thread_detach(Thread *thread);

/* Before the process ends: waits up to so many microseconds for the detached threads. One that has not ended by then ends with
 * the process, in the middle of what it does. */
void threads_finish(uint64_t usec);

/* How long a process that ends waits for the TPM command that it has begun. TimeoutStopSec= of unseald.service is longer. */
#define THREADS_FINISH_USEC (5 * USEC_PER_SEC)
