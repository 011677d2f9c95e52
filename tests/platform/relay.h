/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A network with a delay: TCP connections to one address are carried to another, and each byte arrives so much later,
 * in both directions. What a handshake of TCP would have cost is put before the client's first bytes, as the kernel
 * accepts at once. Many connections, one thread. (There is netem for this, but not in every kernel.)
 */

#include <netinet/in.h>

typedef struct Relay Relay;

/* Listens on fd, which it takes. */
int relay_new(int fd, const struct sockaddr_in *to, unsigned delay_msec, Relay **ret);
Relay *relay_free(Relay *relay);

/* One way. For what comes from now on. */
void relay_set_delay(Relay *relay, unsigned msec);
