/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The units that wait at the credential socket. unseald leaves their connections unaccepted until the outcome is known, so it
 * asks the kernel who is in the listener's queue: sock_diag(7), UDIAG_SHOW_ICONS of linux/unix_diag.h. The kernel answers with the
 * inodes of the clients' sockets. For each inode it then tells the address, which names unit and credential (socket.h), and
 * the user who made the socket.
 *
 * The names are for people only: nothing is decided by them. Sockets that root has not made are left out.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "vault/socket.h"

/* The most units that are told apart. Further ones are left out until one of these has gone. */
#define CALLERS_MAX 32U

/* How often the queue is looked at, and how long a unit waits until the journal names it. */
#define CALLERS_INTERVAL_USEC (2 * USEC_PER_SEC)
#define CALLERS_PATIENCE_USEC (10 * USEC_PER_SEC)

typedef struct Callers Callers;

typedef struct Caller {
        CredentialRequest request;
        uint64_t since_usec; /* CLOCK_MONOTONIC: when it was first seen in the queue */
        bool waits;          /* false: it has left the queue */
        bool told;           /* the journal has named it: it does so once for each unit and credential */
} Caller;

/* What sock_diag says of one Unix socket. */
typedef struct SocketDiag {
        uint32_t inode;
        bool by_root; /* root made the socket. false: another user did, or the kernel does not say (before Linux 5.3) */
        struct sockaddr_un address;
        socklen_t address_size; /* 0: it has no name */
        uint32_t waiting[CALLERS_MAX]; /* inodes of the clients in its queue, the first so many; 0: the client has gone */
        size_t waiting_count;
} SocketDiag;

/* Pure. Reads the kernel's answer to one request: the first message of the buffer. Returns the negative errno that the answer has
 * if it is an error; -EBADMSG if it is malformed. */
int socket_diag_parse(const void *buffer, size_t size, SocketDiag *ret);

/* listener: borrowed. Looks at nothing before callers_watch(). */
int callers_new(sd_event *event, int listener, Callers **ret);

/* Looks at the queue every CALLERS_INTERVAL_USEC, writes to the journal who waits for long, and calls the function when the callers
 * are others than before. NULL: looks no more. */
typedef void (*CallersChanged)(void *userdata);
int callers_watch(Callers *callers, CallersChanged changed, void *userdata);

/* Looks at the queue once. now: CLOCK_MONOTONIC. Returns 1 if the callers are others than before, 0 if they are the same, or a
 * negative errno: the kernel does not tell (-ENOENT without CONFIG_UNIX_DIAG). */
int callers_look(Callers *callers, uint64_t now);

/* Copies the callers that wait, and returns their number. callers: NULL: nobody is known to wait. */
size_t callers_list(const Callers *callers, Caller ret[static CALLERS_MAX]);

/* Returns a number that is another one whenever the callers are others. 0 if callers is NULL. */
uint64_t callers_generation(const Callers *callers);

/* Returns NULL. */
Callers *callers_free(Callers *callers);
DEFINE_CLEANUP(Callers *, callers_free);
