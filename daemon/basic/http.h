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

typedef struct HttpClient HttpClient;
typedef struct HttpTransfer HttpTransfer;
typedef struct HttpReply HttpReply;

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

unsigned http_reply_status(const HttpReply *reply) _pure_;

/* The value of the last header of this name (any case), or NULL. */
const char *http_reply_header(const HttpReply *reply, const char *name) _pure_;

/* NUL-terminated behind its end. *ret_size may be NULL. */
const char *http_reply_body(const HttpReply *reply, size_t *ret_size);

/* What the server's Date header says, in seconds since 1970; -1: none. */
int64_t http_reply_date(const HttpReply *reply);

/* When the certificate that the server has shown ends, in seconds since 1970; -1: not known (http://). */
int64_t http_reply_certificate_end(const HttpReply *reply) _pure_;

/* What its Retry-After header asks for (seconds form), 0: nothing. */
uint64_t http_reply_retry_after_usec(const HttpReply *reply);

/* Fills *error for a certificate check that failed with OpenSSL's verify_result (X509_V_ERR_…): FAILURE_CLOCK where
 * the time alone is wrong, else FAILURE_TLS. Pure. Returns a negative errno. */
int http_tls_error(long verify_result, const char *host, const char *detail, Error *error);
