/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The unit at the other end of a TCP connection from this machine.
 *
 * sock_diag(7) tells in which control group (cgroups(7), version 2) the peer's socket was made: INET_DIAG_CGROUP_ID of
 * linux/inet_diag.h, since Linux 5.9. The number is that of the group's directory below /sys/fs/cgroup, and no other group gets it in the
 * same boot. The path of the directory names the unit, as in systemd: the first part of it that is no slice. Only the service manager
 * makes groups there, and what is below belongs to the unit.
 *
 * The kernel keeps the group in which the socket was made. A process that moves into another group later takes its connections along
 * as they are, and so does a process that gets a connected socket from another one.
 */

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "basic/cleanup.h"

/* The two ends of a connection as the peer sees it: source is the peer's own address. Both of one family, AF_INET or AF_INET6. */
typedef struct PeerAddresses {
        struct sockaddr_storage source, destination;
} PeerAddresses;

#define PEER_QUESTION_MAX 128U

/* Writes the question to the kernel. Pure. Returns its size. -EAFNOSUPPORT. */
int peer_diag_question(const PeerAddresses *addresses, uint8_t ret[static PEER_QUESTION_MAX]);

/* Reads the kernel's answer. Pure. -EBADMSG: it is malformed, or tells of another socket. -ENODATA: it does not tell the control group
 * (before Linux 5.9). Otherwise the negative errno that the kernel answers, such as -ENOENT: there is no such socket. */
int peer_diag_parse(const void *answer, size_t size, const PeerAddresses *addresses, uint64_t *ret_cgroup);

/* Takes the name of the unit out of a path such as "system.slice/billing.service/worker". Pure. -ENOENT: the path names no unit. The
 * caller frees *ret. */
int cgroup_unit(const char *path, char **ret);

/* Finds the control group of that number below root, "/sys/fs/cgroup". The path is relative to root. -ENOENT: there is none, or
 * its unit has more than 1024 of them. The caller frees *ret. */
int cgroup_find(const char *root, uint64_t number, char **ret);

/* Remembers units of control groups. */
typedef struct Peers Peers;

int peers_new(Peers **ret);
Peers *peers_free(Peers *peers);
DEFINE_CLEANUP(Peers *, peers_free);

/*
 * Tells in which unit the other end of an accepted connection was made. The name is valid until the next call. Any error means that
 * nothing is known, and that the peer must be refused: -EPFNOSUPPORT or -ENODATA: the kernel cannot tell. -ENOENT: the peer is gone, or
 * its control group is. -ENOTCONN: the connection has ended meanwhile.
 */
int peers_unit(Peers *peers, int connection, const char **ret_unit);
