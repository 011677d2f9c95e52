/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * TLS by OpenSSL in front of an HttpServer. A thread for each connection carries bytes between the client's
 * TLS and a socket pair, which libmicrohttpd serves as plain HTTP. libmicrohttpd's own TLS is GnuTLS's,
 * which cannot change its certificate between connections as the tls- faults need.
 */

#include "exchange.h"
#include "faults.h"
#include "pki.h"

typedef struct TlsFront TlsFront;

/* Listens on fd and takes it. services are the services whose tls- faults apply here. */
int tls_front_new(int fd, const Pki *pki, Faults *faults, unsigned services, HttpServer *server,
                  TlsFront **ret);

/* Closes all connections. Call it before freeing the HttpServer. */
TlsFront *tls_front_free(TlsFront *front);
