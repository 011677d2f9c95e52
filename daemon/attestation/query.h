/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a client of the attestation service asks for: the head of an HTTP/1.1 request goes in (RFC 9112), a status and a
 * nonce come out. Pure.
 *
 *     GET /attestation?nonce=HEX HTTP/1.1
 *
 * One request a connection, without a body. Stricter than HTTP asks for: lines end with CR LF, there is no line folding,
 * no percent-encoding and no other parameter.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATTESTATION_HEAD_MAX 8192U
#define ATTESTATION_PATH "/attestation"
#define ATTESTATION_NONCE_MIN 16U
#define ATTESTATION_NONCE_MAX 512U

typedef struct AttestationQuery {
        unsigned status;     /* of HTTP: 200, where there is a nonce; 400, 404, 405, 431 or 505 */
        const char *error;   /* its name, for programs; NULL for 200 */
        const char *message; /* a sentence, for people; NULL for 200 */
        bool head_only;      /* HEAD: the answer has no body */
        uint8_t nonce[ATTESTATION_NONCE_MAX];
        size_t nonce_size;
} AttestationQuery;

/* data: all that has come so far. False while the head is not whole, and nothing in it wrong yet. What lies behind the
 * head is passed over. */
bool attestation_query_parse(const char *data, size_t size, AttestationQuery *ret);
