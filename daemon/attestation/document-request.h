/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What an application asks of the local attestation service: a JSON object (RFC 8259) with up to three members, and no other.
 *
 *     {"nonce": BASE64, "user_data": BASE64, "public_key": BASE64}
 *
 * Each stands for 1 to NSM_FIELD_MAX bytes (AWS, NitroTPM attestation documents: the optional parameters). The nonce is taken as it is.
 * The public key must be one in DER or PEM, or a certificate, and becomes DER SubjectPublicKeyInfo. It is no RSA key: KMS encrypts to the
 * RSA key of a document, so its owner would get the secrets of this machine. The user data get the unit's name in front, which no unit
 * can choose. Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"

#define DOCUMENT_PATH "/attestation"
#define DOCUMENT_BODY_MAX 16384U

/* A member that is missing or null has data NULL. */
typedef struct DocumentRequest {
        uint8_t *nonce, *user_data, *public_key;
        size_t nonce_size, user_data_size, public_key_size;
} DocumentRequest;

/* Both are constant. */
typedef struct DocumentRefusal {
        const char *error;   /* the error's name, for programs */
        const char *message; /* a sentence, for people */
} DocumentRefusal;

/*
 * Reads the body of a request. unit: the name that document_user_data() puts in front of the user data; NULL: they stay as they are.
 * -EBADMSG: the request is refused, and *refusal says why. -ENOMEM, or -EIO if OpenSSL failed. The caller calls document_request_clear().
 */
int document_request_parse(const char *body, size_t size, const char *unit, DocumentRequest *ret,
                           DocumentRefusal *refusal);
void document_request_clear(DocumentRequest *request);

/* Makes unit ‖ 0 ‖ data, the canonical user data of a unit. No name of a unit has a zero byte, so nobody can take one name for another.
 * -E2BIG: it would have more than NSM_FIELD_MAX bytes. -ENOMEM. The caller frees *ret. */
int document_user_data(const char *unit, const void *data, size_t size, uint8_t **ret, size_t *ret_size);

/* Returns whether the value of an Accept header (RFC 9110 section 12.5.1) names application/cbor. */
bool document_wants_cbor(const char *accept) _pure_;
