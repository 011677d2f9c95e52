/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What unseald-kms decides about one request and its answer. Pure: connection.c reads, waits and writes, and decides nothing of this.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "basic/http-request.h"
#include "kms/client.h"

/* What is to be done with the bytes that have come. */
typedef enum ExchangeNext {
        EXCHANGE_MORE,     /* more must come: *ret_wanted bytes in all, as far as is known */
        EXCHANGE_STRANGER, /* a head of a client that may not ask: nothing of it is judged */
        EXCHANGE_MISTAKE, /* head->status and head->mistake say which; no later request may follow, because the end is not known */
        EXCHANGE_WHOLE, /* the request is the first *ret_wanted bytes */
} ExchangeNext;

/* The buffer of a connection that has brought nothing yet. */
#define EXCHANGE_BUFFER_FIRST 4096U

/* ret_head borrows from data, and counts only for EXCHANGE_MISTAKE and EXCHANGE_WHOLE. */
ExchangeNext exchange_look(const char *data, size_t size, bool may_ask, HttpRequestHead *ret_head,
                           size_t *ret_wanted);

/* Whether the body is said to be what SDKs send to KMS. */
bool exchange_is_json(const HttpRequestHead *head);

/* What must be renewed before the request is sent once more. */
typedef enum ExchangeRepetition {
        EXCHANGE_NO_REPETITION,
        EXCHANGE_WITH_CREDENTIALS,
        EXCHANGE_WITH_DOCUMENT,
        EXCHANGE_WITH_CLOCK, /* nothing: KMS's time is known now */
} ExchangeRepetition;

/* Once for each remedy: a clock that was wrong makes the document too old as well. *repeated remembers them; 0: a new request. */
ExchangeRepetition exchange_repetition(unsigned *repeated, Remedy remedy, bool attested);

/* Whether the client must not see KMS's answer: it is about the service's credentials, which are not the client's, and may contain the
 * session token. session_token may be NULL. */
bool exchange_hides(const KmsReply *reply, const Error *error, const char *session_token);

/* The status of HTTP for what the service could not do. *ret_type: the error's name, by which SDKs decide whether they ask again. */
unsigned exchange_failure_status(const Error *error, const char **ret_type);

/* An answer of the service's own, or of KMS. */
typedef struct ExchangeAnswer {
        unsigned status;
        const char *body;
        size_t size;
        const char *request_id, *error_type; /* may be NULL or empty */
} ExchangeAnswer;

#define EXCHANGE_HEAD_MAX 768U

/* Writes status line and headers (RFC 9110, RFC 9112) and returns their length. No part of it is the client's. last: the connection ends
 * after it. now: since 1970. */
size_t exchange_print_head(const ExchangeAnswer *answer, bool last, uint64_t now_usec,
                           char ret[static EXCHANGE_HEAD_MAX]);
