/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The credential socket, for LoadCredential=NAME:/run/unseald/credentials.sock (systemd.exec(5)). The service manager
 * connects as root from an abstract address that names the unit and the credential, and reads to the end of the stream.
 *
 * The protocol has no refusal: whatever the service manager has read at the end is the credential, and no data is an empty
 * credential. Therefore unseald accepts a connection only when it can answer, and refuses by sending more than the 1 MiB that
 * a credential may have. That makes the unit fail (243/CREDENTIALS).
 */

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/clock.h"

typedef struct CredentialSocket CredentialSocket;

/* A credential of up to this many bytes is sent in one piece. If unseald is killed between the pieces of a longer one, the
 * unit gets a truncated credential. */
#define CREDENTIAL_PIECE_MAX (64U * 1024U)

/*
 * A reader that does not read delays no other. So many answers wait for their readers at a time; more callers wait unaccepted,
 * in the order in which they came. A reader that has not read for the socket's patience is late: it is refused, and if all places
 * are taken, the one that is late the longest is cut off. The service manager always reads at once; it would take a truncated
 * answer for a credential.
 */
#define CREDENTIAL_REPLIES_MAX 512U
#define CREDENTIAL_PATIENCE_USEC (10 * USEC_PER_SEC)

/* The unit and the credential in the caller's address. */
typedef struct CredentialRequest {
        char unit[sizeof(((struct sockaddr_un *) NULL)->sun_path)];
        char credential[sizeof(((struct sockaddr_un *) NULL)->sun_path)];
} CredentialRequest;

/*
 * Pure. Parses "\0HEX/unit/UNIT/CREDENTIAL" with 1 to 16 hexadecimal digits; UNIT and CREDENTIAL have only characters that names
 * of units and of secrets may have. -EOPNOTSUPP for "\0HEX/cryptsetup/VOLUME", the address of crypttab(5); -EBADMSG for any
 * other address. Every user can bind such an address, so it proves something only if the caller is root.
 */
int credential_request_parse(const struct sockaddr_un *address, socklen_t size, CredentialRequest *ret);

/* Where the credential is: a part of a regular file. The descriptor stays the callee's. */
typedef struct CredentialPlace {
        int fd;
        uint64_t offset; /* in bytes */
        uint64_t size;   /* in bytes; UINT64_MAX: to the end of the file */
} CredentialPlace;

/* Returns 0 and fills *ret. Otherwise returns a negative errno, and the reason for people in *ret_reason. Must not make system calls:
 * if unseald is killed during the call, the unit gets an empty credential. */
typedef int (*CredentialLookup)(const CredentialRequest *request, void *userdata, CredentialPlace *ret,
                                const char **ret_reason);

/* The listener is borrowed, and the service manager holds it too. Connections wait unaccepted until credential_socket_open().
 * patience_usec: how long a reader may read nothing before it is late. */
int credential_socket_new(sd_event *event, int listener, uint64_t patience_usec, CredentialLookup lookup,
                          void *userdata, CredentialSocket **ret);

/* The outcome is known: answers all waiting connections, and new ones at once. */
int credential_socket_open(CredentialSocket *socket);

/* First completes the refusals that are half sent, for up to 1 s: a truncated refusal would be an accepted credential. Returns
 * NULL. */
CredentialSocket *credential_socket_free(CredentialSocket *socket);
DEFINE_CLEANUP(CredentialSocket *, credential_socket_free);

/* There will be no answer. The kernel refuses new connections at once, and the waiting ones when the service manager closes
 * the listener, which it does when it sees the shutdown. Without the shutdown the service manager would start unseald again for
 * the waiting connections. If it was told to stop listening instead, it would accept and close them, and the units would get
 * empty credentials (seen with systemd 252). */
void credential_socket_shut(int listener);
