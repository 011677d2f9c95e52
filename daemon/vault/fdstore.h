/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The service manager's descriptor store (sd_notify(3) FDSTORE=1, sd_listen_fds(3), systemd.service(5)
 * FileDescriptorStoreMax=). The manager holds descriptors while unseald restarts, for whatever reason, and passes them to the
 * next process. It closes them when the unit stops or has failed for good.
 *
 * The names of unseald's descriptors begin with "kept-". Other descriptors, such as a socket unit's, are left alone.
 */

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

#include "basic/notify.h"

#define FDSTORE_PREFIX "kept-"

/* Returns whether there is a service manager. Without one the functions below succeed and do nothing. */
bool fdstore_is_there(void);

/* Sends the manager a duplicate of the descriptor. The manager does not answer: success means only that the message was
 * sent. */
int fdstore_put(const char *name, int fd);

/* Removes the descriptors of this name. */
int fdstore_remove(const char *name);

/* Begins to wait until the manager has processed everything that was sent: for at most 30 s. The event loop goes on meanwhile.
 * The outcome is done, or unknown (-ETIMEDOUT): the manager may have processed it, or will, or never. See
 * notify_barrier_new(). */
int fdstore_barrier(sd_event *event, NotifyBarrierEnded ended, void *userdata, NotifyBarrier **ret);

/* Returns the descriptors that the manager has kept for unseald, with their names. The caller closes the descriptors and frees
 * the names and both arrays. Call it once: a second call would return the same numbers. */
int fdstore_take(int **ret_fds, char ***ret_names, size_t *ret_count);
