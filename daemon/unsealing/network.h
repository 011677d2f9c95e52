/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tells when the network may have become usable: an address or a route appeared (rtnetlink(7)). It is a hint to try at
 * once instead of at the end of a backoff, never a promise. */

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"

typedef struct Network Network;

typedef void (*NetworkChanged)(void *userdata);

int network_new(sd_event *event, NetworkChanged changed, void *userdata, Network **ret);
Network *network_free(Network *network);
DEFINE_CLEANUP(Network *, network_free);

/* Pure: whether a buffer of netlink messages has one of those that matter. */
bool network_message_matters(const void *buffer, size_t size);
