/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reads the head of an HTTP/1.1 request (RFC 9112) that a server got. Pure.
 *
 * The rules are stricter than HTTP's, so that no two readers can see two requests in the same bytes (request smuggling): lines end with
 * CR LF, there is no line folding and no space before a colon, a body has exactly one Content-Length and no Transfer-Encoding, and no
 * header but a list comes twice.
 */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"

#define HTTP_REQUEST_HEAD_MAX 16384U
#define HTTP_REQUEST_FIELDS_MAX 64U

typedef struct HttpRequestField {
        const char *name, *value; /* parts of the data: no NUL follows */
        size_t name_size, value_size;
} HttpRequestField;

/* What a server takes. */
typedef struct HttpRequestRules {
        const char *method, *path; /* the only ones */
        size_t body_max;           /* bytes */
} HttpRequestRules;

typedef struct HttpRequestHead {
        unsigned status; /* 200: the head is right. Else the status to answer with; the connection then has no further request */
        const char *mistake; /* a sentence for people; NULL for 200 */
        size_t head_size;    /* with the empty line */
        size_t body_size;
        bool close; /* the client takes one answer only */
        HttpRequestField fields[HTTP_REQUEST_FIELDS_MAX];
        size_t fields_count;
} HttpRequestHead;

/* data: what the connection has brought since the last request. false: the head is not complete. ret borrows from data. */
bool http_request_parse(const char *data, size_t size, const HttpRequestRules *rules, HttpRequestHead *ret);

/* The header of this name, in any case. NULL: there is none. */
const HttpRequestField *http_request_field(const HttpRequestHead *head, const char *name) _pure_;

/* Copies a header's value. False: there is none, or it is longer than size - 1. */
bool http_request_copy(const HttpRequestHead *head, const char *name, char *buffer, size_t size);

/* The words of a status, such as "Not Found". */
const char *http_reason_phrase(unsigned status) _pure_;
