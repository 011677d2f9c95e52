/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Watches for addresses and routes that appear (rtnetlink(7)). The network may have become usable then, so the session tries
 * again at once instead of at the end of a backoff. It is a hint, not a promise. */

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"

typedef struct Network Network;

/* An address or a route appeared, or the kernel dropped messages of which one may have said so. */
typedef void (*NetworkChanged)(void *userdata);

int network_new(sd_event *event, NetworkChanged changed, void *userdata, Network **ret);
Network *network_free(Network *network);
DEFINE_CLEANUP(Network *, network_free);

/* Pure. Whether a buffer of netlink messages has one about a new address or a new route. Stops at a malformed message. */
bool network_message_matters(const void *buffer, size_t size);
