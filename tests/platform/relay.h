/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A network with a delay. It forwards TCP connections to another address, and each byte arrives later, in
 * both directions. The kernel accepts a connection at once, so the relay adds the time of TCP's handshake to
 * the client's first bytes. One thread serves all connections. (The kernel's netem does the same, but not
 * every kernel has it.)
 */

#include <netinet/in.h>

typedef struct Relay Relay;

/* Listens on fd and takes it. */
int relay_new(int fd, const struct sockaddr_in *to, unsigned delay_msec, Relay **ret);
Relay *relay_free(Relay *relay);

/* Sets the delay of one direction, for data that arrive from now on. */
void relay_set_delay(Relay *relay, unsigned msec);
