/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Messages to the service manager (sd_notify(3)): the only place that writes them. A message is lines of NAME=VALUE, so a
 * newline in a value would be another message, such as READY=1. Status texts are cleaned with text_clean() and cut at
 * NOTIFY_STATUS_MAX - 1 bytes.
 *
 * A message that cannot be sent is lost without an error: nothing in unseald depends on it, and unseald may run without a
 * service manager. Only the descriptor store needs to know.
 */

#include <stdint.h>

#include "basic/cleanup.h"

#define NOTIFY_STATUS_MAX 1024U

/* STATUS= */
void notify_status(const char *format, ...) _printf_(1, 2);

/* READY=1, together with STATUS=. After notify_reloading() it ends the reload. */
void notify_ready(const char *format, ...) _printf_(1, 2);

void notify_reloading(void);
void notify_stopping(void);

/* EXTEND_TIMEOUT_USEC=: the manager waits this long from now. */
void notify_extend_timeout(uint64_t usec);

/* FDSTORE=1: the manager keeps a duplicate of fd, and does not close it when it is hung up. -EINVAL: the name is not one that
 * FDNAME= can have (sd_notify(3): at most 255 ASCII characters, no control character, no colon). */
int notify_store_fd(const char *name, int fd);

/* FDSTOREREMOVE=1: of all descriptors of this name. */
int notify_remove_fd(const char *name);

/* Returns when the manager has read all messages. -ETIMEDOUT. */
int notify_barrier(uint64_t timeout_usec);
