/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The service manager's file descriptor store: it holds descriptors for us while we are restarted, by whatever cause, and
 * gives them to the next unseald (sd_notify(3) FDSTORE=1, sd_listen_fds(3); systemd.service(5) FileDescriptorStoreMax=).
 * It closes them when the unit is stopped for good, or has failed for good. Ours have names that begin with "kept-";
 * others, such as a socket unit's, are not touched.
 */

#include <stdbool.h>
#include <stddef.h>

#define FDSTORE_PREFIX "kept-"

/* Whether there is a service manager at all; without one the functions below do nothing and succeed. */
bool fdstore_is_there(void);

/* The manager gets a duplicate. What it says to that is never heard. */
int fdstore_put(const char *name, int fd);

/* Of that name. */
int fdstore_remove(const char *name);

/* Returns when the manager has taken all that was put. -ETIMEDOUT after half a minute. */
int fdstore_barrier(void);

/* What was kept for us: for each a descriptor and its name; the caller closes and frees. Once: a second call would give
 * the same numbers. */
int fdstore_take(int **ret_fds, char ***ret_names, size_t *ret_count);
