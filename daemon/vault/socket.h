/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The credential socket: LoadCredential=NAME:/run/unseald/credentials.sock of systemd.exec(5). The service manager
 * connects as root from an abstract address that names unit and credential, and reads to the end.
 *
 * Such a socket cannot say no: whatever the reader has got at the end of the connection is the credential, and nothing is
 * an empty one. So a connection is not even accepted before it can be answered, and a refusal is more than the 1 MiB that
 * a credential may have, which fails the unit (243/CREDENTIALS).
 */

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"

typedef struct CredentialSocket CredentialSocket;

/* What goes out, and is wiped, in one piece: accepted and answered before anything else. What is longer takes several,
 * and a reader may see it cut where unseald is killed between them. */
#define CREDENTIAL_PIECE_MAX (64U * 1024U)

/* Who asks for what, as the address says. */
typedef struct CredentialRequest {
        char unit[sizeof(((struct sockaddr_un *) NULL)->sun_path)];
        char credential[sizeof(((struct sockaddr_un *) NULL)->sun_path)];
} CredentialRequest;

/* Pure: "\0HEX/unit/UNIT/CREDENTIAL", 1 to 16 hexadecimal digits; no other characters in UNIT and CREDENTIAL than unit
 * names and our secrets have. -EBADMSG otherwise, -EOPNOTSUPP for "\0HEX/cryptsetup/VOLUME", which crypttab(5) asks as.
 * Anybody may bind such an address: it is to be believed of root alone. */
int credential_request_parse(const struct sockaddr_un *address, socklen_t size, CredentialRequest *ret);

/* Returns a descriptor of a regular file that is the credential, which stays the callee's and is read from its beginning;
 * or a negative errno, and in *ret_reason why not, for people. Makes no system call: it is run while a unit could get
 * nothing if unseald was killed. */
typedef int (*CredentialLookup)(const CredentialRequest *request, void *userdata, const char **ret_reason);

/* The listener is borrowed; systemd listens there too. Nothing is accepted until credential_socket_open(). */
int credential_socket_new(sd_event *event, int listener, CredentialLookup lookup, void *userdata,
                          CredentialSocket **ret);

/* The outcome is known: everybody who waits is answered. */
int credential_socket_open(CredentialSocket *socket);

/* Ends refusals that are half sent, for a second at most: a cut one would be taken for a credential. */
CredentialSocket *credential_socket_free(CredentialSocket *socket);
DEFINE_CLEANUP(CredentialSocket *, credential_socket_free);

/* There will be no answer, ever: who comes from now on is refused by the kernel. Who waits unaccepted is, too, when the
 * service manager, which sees this at our end, has closed the listener. If we only ended, it would start us again for
 * them; and if it was told to stop listening it would accept and close, which is an empty credential (systemd 252). */
void credential_socket_shut(int listener);
