/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An HTTP client: libcurl in an sd-event loop. A client keeps its connections open between transfers. It trusts only the
 * roots in its HttpOptions, speaks TLS 1.2 or later, and checks the certificate of every server. The one exception is a caller that
 * judges the server's key itself (any_certificate). It does not follow redirects, does not read the environment (http_proxy, SSLKEYLOGFILE and the like), and has neither cookies nor netrc.
 */

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/http-reply.h"

typedef struct HttpClient HttpClient;
typedef struct HttpTransfer HttpTransfer;

/* Loads the trusted roots from a PEM file. path NULL: the system's roots, from OpenSSL's default places. FAILURE_CONFIGURATION.
 * The caller frees with X509_STORE_free(). */
int http_trust_new(const char *path, X509_STORE **ret, Error *error);

typedef struct HttpOptions {
        X509_STORE *trusted; /* roots for https://; the client takes a reference. NULL: http:// only */
        /* In place of trusted: https:// to a server with any certificate, even an expired one of another host. The server still proves that
         * it has the private key (RFC 8446 section 4.4.3). The reply has the public key, and until the caller has judged it, the reply is
         * of anybody. */
        bool any_certificate;
        const char *trust_setting; /* what an error names as the way to set trusted; borrowed; NULL: "TrustedCertificates=" */
        const char *proxy;             /* "http://host:port", CONNECT only; NULL: none */
        unsigned connections_max;      /* to one host at the same time; 0: 4 */
        uint64_t connect_timeout_usec; /* for TCP and TLS together; 0: 5 s */
} HttpOptions;

/*
 * Takes the body of a reply while it comes, with the userdata of the request's callback. The two are called while curl works:
 * they must not call any function of this header.
 */
typedef struct HttpStream {
        /* Status and headers are here. 1: the body goes to data(). 0: it is gathered in the reply, as without a stream. A
         * negative errno ends the transfer. */
        int (*head)(const HttpReply *reply, void *userdata);
        /* The next bytes. 1: they are taken, all of them. 0: there is no room: the transfer pauses, and http_resume() brings the
         * same bytes again. A negative errno ends the transfer. */
        int (*data)(const uint8_t *data, size_t size, void *userdata);
} HttpStream;

typedef struct HttpRequest {
        const char *method;
        const char *url;
        const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
        const void *body;           /* the client copies it and wipes the copy */
        size_t body_size;
        size_t reply_max;         /* bytes; a longer body is -EFBIG; 0: 64 KiB */
        uint64_t timeout_usec;    /* for the whole transfer; 0: 15 s, or none with a stream */
        const HttpStream *stream; /* borrowed until the callback; NULL: the reply has the body */
} HttpRequest;

/*
 * Called once, from the event loop. r is 0 when a reply came, with any status; the reply is valid during the call. r is
 * negative when no reply came, and *error says why: FAILURE_NETWORK (REMEDY_RETRY), FAILURE_TLS, FAILURE_CLOCK (only the time
 * makes the certificate invalid), or FAILURE_ANSWER with -EFBIG. If the stream ended the transfer, r is the stream's errno and
 * *error is empty.
 */
typedef void (*HttpCallback)(int r, const HttpReply *reply, const Error *error, void *userdata);

int http_client_new(sd_event *event, const HttpOptions *options, HttpClient **ret);

/* Cancels all transfers without calling their callbacks. Returns NULL. */
HttpClient *http_client_free(HttpClient *client);
DEFINE_CLEANUP(HttpClient *, http_client_free);

/* The callback is never called before this function returns. ret may be NULL. */
int http_start(HttpClient *client, const HttpRequest *request, HttpCallback callback, void *userdata,
               HttpTransfer **ret);

/* Continues a transfer that has paused. May call the stream's data() before it returns, but never the callback. */
void http_resume(HttpTransfer *transfer);

/* Returns whether nothing moves on the transfer since its stream had no room. */
bool http_is_paused(const HttpTransfer *transfer) _pure_;

/* Returns whether the request has a connection. It waits for one while connections_max others have one. */
bool http_is_sent(const HttpTransfer *transfer) _pure_;

/* The event loop that the client was made for. */
sd_event *http_event(const HttpClient *client) _pure_;

/* Ends a transfer without calling its callback. Must not be called once the callback has begun. */
void http_cancel(HttpTransfer *transfer);
