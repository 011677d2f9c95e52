/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What came back over HTTP: a status, headers and a body, gathered piece by piece and read afterwards (RFC 9110). Everything
 * here is a function of its arguments; basic/http.h sends and receives.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"

/* Headers beyond these limits are dropped. */
#define HTTP_HEADERS_MAX 64U
#define HTTP_HEADER_BYTES_MAX (16U * 1024U)

/* Only the functions below touch its members. It begins zeroed, except body_max and certificate_end. */
typedef struct HttpReply {
        unsigned status;
        char *headers[HTTP_HEADERS_MAX]; /* "Name: value", without the line's end */
        size_t headers_count, header_bytes;
        char *body;
        size_t body_size, body_allocated, body_max;
        bool too_big;            /* the body is longer than body_max */
        int64_t certificate_end; /* seconds since 1970; -1: not known */
        uint8_t *server_key;     /* DER SubjectPublicKeyInfo; NULL: not known, or not asked */
        size_t server_key_size;
} HttpReply;

/* Wipes and frees what it holds. */
void http_reply_clear(HttpReply *reply);

/* Forgets the headers: a new status line begins, after "100 Continue" for example. */
void http_reply_begin(HttpReply *reply);

/* One header line with its end. A header beyond the limits is dropped, which is no error. -ENOMEM. */
int http_reply_add_header(HttpReply *reply, const char *line, size_t length);

/* The next piece of the body. -EFBIG: the body would be longer than body_max, and too_big is set from now on. -ENOMEM. */
int http_reply_add_body(HttpReply *reply, const char *data, size_t size);

unsigned http_reply_status(const HttpReply *reply) _pure_;

/* The value of the last header of this name (any case), or NULL. */
const char *http_reply_header(const HttpReply *reply, const char *name) _pure_;

/* Never NULL. A NUL follows the last byte. ret_size may be NULL. */
const char *http_reply_body(const HttpReply *reply, size_t *ret_size);

/* The Date header in seconds since 1970; -1: the reply has none that can be read. */
int64_t http_reply_date(const HttpReply *reply);

/* When the server's certificate expires, in seconds since 1970; -1: not known (http://). */
int64_t http_reply_certificate_end(const HttpReply *reply) _pure_;

/* The public key of the server's certificate, DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7). NULL: not known, or the certificate was
 * checked (no any_certificate). Borrowed. */
const uint8_t *http_reply_server_key(const HttpReply *reply, size_t *ret_size);

/* The wait that the Retry-After header asks for. 0: the header is missing, is a date, or asks for more than an hour. */
uint64_t http_reply_retry_after_usec(const HttpReply *reply);

/* Parses an HTTP date (RFC 9110 section 5.6.7, only the IMF-fixdate form) to seconds since 1970. -EINVAL. */
int parse_http_date(const char *text, int64_t *ret);

/* Explains a certificate check that failed with OpenSSL's verify_result (X509_V_ERR_…): FAILURE_CLOCK where only the time
 * is wrong, otherwise FAILURE_TLS. detail is curl's text, or empty. trust_setting is what the user sets to trust other roots.
 * Returns a negative errno. */
int http_tls_error(long verify_result, const char *host, const char *detail, const char *trust_setting,
                   Error *error);
