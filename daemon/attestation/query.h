/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reads a request to the attestation service. The head of an HTTP/1.1 request (RFC 9112) goes in; a status and a nonce come
 * out. Pure.
 *
 *     GET /attestation?nonce=HEX HTTP/1.1
 *     GET /status HTTP/1.1
 *
 * A connection carries one request, without a body. The rules are stricter than HTTP's: lines end with CR LF, and there is
 * no line folding, no percent-encoding and no other parameter.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATTESTATION_HEAD_MAX 8192U
#define ATTESTATION_PATH "/attestation"
#define ATTESTATION_STATUS_PATH "/status"
#define ATTESTATION_NONCE_MIN 16U
#define ATTESTATION_NONCE_MAX 512U

typedef struct AttestationQuery {
        unsigned status; /* of HTTP: 200 with a nonce, or for the status; 400, 404, 405, 431 or 505 without */
        const char *error;   /* the error's name, for programs; NULL for 200 */
        const char *message; /* a sentence, for people; NULL for 200 */
        bool head_only;      /* HEAD: the answer has no body */
        bool wants_status; /* 200, 405: the path is that of the status. The caller decides whether it gives one (Status=). */
        uint8_t nonce[ATTESTATION_NONCE_MAX];
        size_t nonce_size;
} AttestationQuery;

/* data: all bytes of the connection so far. false: the head is not complete, and has no mistake yet. Bytes after the head
 * are ignored. */
bool attestation_query_parse(const char *data, size_t size, AttestationQuery *ret);
