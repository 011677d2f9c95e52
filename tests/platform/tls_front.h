/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * TLS by OpenSSL in front of an HttpServer: a thread for each connection carries bytes between the client's TLS and a
 * socket pair that libmicrohttpd serves as plain HTTP. libmicrohttpd's own TLS is GnuTLS's and cannot change its
 * certificate from one connection to the next, as the tls- faults want.
 */

#include "exchange.h"
#include "faults.h"
#include "pki.h"

typedef struct TlsFront TlsFront;

/* Listens on fd, which it takes. services: whose tls- faults are its. */
int tls_front_new(int fd, const Pki *pki, Faults *faults, unsigned services, HttpServer *server,
                  TlsFront **ret);

/* Ends every connection. To be called before the HttpServer is freed. */
TlsFront *tls_front_free(TlsFront *front);
