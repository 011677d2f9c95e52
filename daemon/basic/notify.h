/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Messages to the service manager (sd_notify(3)): the only place that writes them. A message is lines of NAME=VALUE, so a
 * newline in a value would be another message, such as READY=1. Status texts are cleaned with text_clean() and cut at
 * NOTIFY_STATUS_MAX - 1 bytes.
 *
 * A message that cannot be sent is lost without an error: nothing in unseald depends on it, and unseald may run without a
 * service manager. Only the descriptor store and READY=1 need to know.
 */

#include <stdint.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"

#define NOTIFY_STATUS_MAX 1024U

/* STATUS= */
void notify_status(const char *format, ...) _printf_(1, 2);

/* READY=1, together with STATUS=. After notify_reloading() it ends the reload. A negative errno: the message cannot be sent, and a
 * reload goes on for the service manager. Without a service manager this succeeds. */
int notify_ready(const char *format, ...) _printf_(1, 2);

void notify_reloading(void);
void notify_stopping(void);

/* EXTEND_TIMEOUT_USEC=: the manager waits this long from now. */
void notify_extend_timeout(uint64_t usec);

/* FDSTORE=1: the manager keeps a duplicate of fd, and does not close it when it is hung up. -EINVAL: the name is not one that
 * FDNAME= can have (sd_notify(3): at most 255 ASCII characters, no control character, no colon). */
int notify_store_fd(const char *name, int fd);

/* FDSTOREREMOVE=1: of all descriptors of this name. */
int notify_remove_fd(const char *name);

/* The wait for the manager to process all messages before it. The manager closes a descriptor that is sent with the last message
 * (BARRIER=1). The event loop goes on meanwhile. */
typedef struct NotifyBarrier NotifyBarrier;

/* Called once, from the event loop. It may free the barrier. 0: the manager has processed all messages. -ETIMEDOUT: it has not
 * answered, so that is unknown. */
typedef void (*NotifyBarrierEnded)(int r, void *userdata);

/* Returns 0 if ended will be called; 1 if there is no service manager, so that there is nothing to wait for and *ret is NULL; or
 * a negative errno if the message cannot be sent. */
int notify_barrier_new(sd_event *event, uint64_t timeout_usec, NotifyBarrierEnded ended, void *userdata,
                       NotifyBarrier **ret);

/* Waits no longer: ended is not called any more. Returns NULL. */
NotifyBarrier *notify_barrier_free(NotifyBarrier *barrier);
DEFINE_CLEANUP(NotifyBarrier *, notify_barrier_free);
