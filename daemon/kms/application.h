/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What unseald-kms(8) does with an application's request to KMS: it judges the request, adds a Recipient, and makes of KMS's answer the
 * one that KMS gives without a Recipient. Everything here is a function of its arguments. Source: AWS KMS API Reference (Decrypt,
 * GenerateDataKey, …: "Recipient" and "CiphertextForRecipient"; "Common errors").
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aws/kms-operation.h"
#include "basic/error.h"
#include "basic/json.h"
#include "basic/slice.h"
#include "memory/secret.h"

/* Bytes of a body: with a Recipient of the application's own it has a document in base64. */
#define APPLICATION_BODY_MAX (384U * 1024U)

/* What an application may do. Everything is borrowed. */
typedef struct ApplicationRules {
        char *const *keys;       /* ARNs, NULL-terminated; NULL: none */
        char *const *operations; /* NULL-terminated; NULL: those of by_default */
} ApplicationRules;

/* An answer in place of KMS's. */
typedef struct ApplicationRefusal {
        unsigned status;  /* of HTTP */
        const char *type; /* the error's name, such as "AccessDeniedException" */
        char text[768];   /* for people, one line */
} ApplicationRefusal;

typedef struct ApplicationRequest {
        const KmsOperation *operation;
        const char *endpoint_key; /* one of rules->keys: its Region's endpoint gets the request */
        const char *key; /* one of rules->keys: the one that the request names; NULL: it names none */
        bool attested;   /* KMS gets a Recipient of unseald's, and its answer has an envelope for it */
        struct json_object *body; /* attested: the request without Recipient. Owned */
} ApplicationRequest;

void application_request_clear(ApplicationRequest *request);

/*
 * Judges a request. target: of X-Amz-Target; authorization: of Authorization, whose signature is not verified, but whose Region counts
 * where the request names no ARN; both may be NULL. -EACCES: refused, and *refusal has the answer. -ENOMEM. The caller clears *ret.
 *
 * Refused is what design or policy keeps from applications: other operations and keys, aliases, and encryption contexts with a name
 * that begins with "unseald:", since those are of secrets.
 */
int application_request_judge(const ApplicationRules *rules, const char *target, const char *authorization,
                              const char *body, size_t size, ApplicationRequest *ret,
                              ApplicationRefusal *refusal);

/* The body of an attested request: the application's with this document. The caller frees *ret. -ENOMEM. */
int application_request_body(const ApplicationRequest *request, Slice document, char **ret);

/* Judges an answer with status 200: it must be of a key in rules->keys. An attested one must have an envelope in place of the
 * plaintext; *ret_reply is then the answer without the envelope, and *ret_envelope the envelope. Otherwise both become NULL, and the
 * application gets the answer as it is. FAILURE_ANSWER. */
int application_reply_judge(const ApplicationRequest *request, const ApplicationRules *rules,
                            const char *body, size_t size, struct json_object **ret_reply,
                            uint8_t **ret_envelope, size_t *ret_envelope_size, Error *error);

/* Writes the answer that KMS gives without a Recipient. It contains the plaintext, so it is the caller's to free where free() wipes.
 * -ENOMEM. */
int application_reply_format(const ApplicationRequest *request, struct json_object *reply, Secret *plaintext,
                             char **ret);

/* Writes the body of a refusal, as KMS's errors. The caller frees *ret. -ENOMEM. */
int application_refusal_format(const ApplicationRefusal *refusal, char **ret);
