/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * HTTP by libcurl in an sd-event loop. One client keeps its connections alive between transfers. TLS (1.2 or later)
 * is checked against the roots given in and against nothing else; there is no switch that turns it off. Redirects are
 * not followed, the environment (http_proxy, SSLKEYLOGFILE and the like) is not consulted, cookies and netrc are off.
 */

#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/http-reply.h"

typedef struct HttpClient HttpClient;
typedef struct HttpTransfer HttpTransfer;

/* The roots of a PEM file, or the system's (OpenSSL's default places) where path is NULL. FAILURE_CONFIGURATION. The caller
 * frees with X509_STORE_free(). */
int http_trust_new(const char *path, X509_STORE **ret, Error *error);

typedef struct HttpOptions {
        X509_STORE *trusted; /* roots for https://; NULL: only http:// is spoken. A reference is taken */
        const char *proxy;   /* "http://host:port", CONNECT only; NULL: none */
        unsigned connections_max;      /* at once, to one host; 0: 4 */
        uint64_t connect_timeout_usec; /* TCP and TLS; 0: 5 s */
} HttpOptions;

typedef struct HttpRequest {
        const char *method;
        const char *url;
        const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
        const void *body;           /* copied, and the copy is wiped */
        size_t body_size;
        size_t reply_max;      /* a longer body is an error; 0: 64 KiB */
        uint64_t timeout_usec; /* the whole transfer; 0: 15 s */
} HttpRequest;

/*
 * Called once, in the event loop. r = 0: a reply came, with whatever status. r < 0: none, and *error says why:
 * FAILURE_NETWORK (retry), FAILURE_TLS, FAILURE_CLOCK (a certificate that fails for the time alone). The reply is
 * valid during the call.
 */
typedef void (*HttpCallback)(int r, const HttpReply *reply, const Error *error, void *userdata);

int http_client_new(sd_event *event, const HttpOptions *options, HttpClient **ret);

/* Cancels all transfers, without their callbacks. Returns NULL. */
HttpClient *http_client_free(HttpClient *client);
DEFINE_CLEANUP(HttpClient *, http_client_free);

/* The callback is never called from within. ret may be NULL. */
int http_start(HttpClient *client, const HttpRequest *request, HttpCallback callback, void *userdata,
               HttpTransfer **ret);

/* Forgets the transfer: no callback. Not to be called on one whose callback has begun. */
void http_cancel(HttpTransfer *transfer);
