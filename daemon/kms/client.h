/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One endpoint of KMS, asked over HTTPS in the event loop. kms/exchange.h has the requests and what the answers mean.
 */

#include <stddef.h>
#include <stdint.h>

#include "aws/sigv4.h"
#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/http.h"
#include "kms/exchange.h"

/* The longest body of an answer, in bytes. */
#define KMS_REPLY_MAX (64U * 1024U)

/* One endpoint, one region, one role. */
typedef struct KmsClient KmsClient;

/* http is borrowed and must outlive the client. endpoint: "https://HOST[:PORT]". -EINVAL: the endpoint has no scheme. */
int kms_client_new(HttpClient *http, const char *endpoint, const char *region, KmsClient **ret);
KmsClient *kms_client_free(KmsClient *client);
DEFINE_CLEANUP(KmsClient *, kms_client_free);

/* The credentials are borrowed until others are set. */
void kms_client_set_credentials(KmsClient *client, const AwsCredentials *credentials);

/* Errors are explained to a person who calls with their own credentials, from now on. */
void kms_client_set_by_hand(KmsClient *client);

/* Opens a connection (TCP, TLS) for later requests. curl can leave one open only after an answer, so this costs a request, and a
 * caller that can send its own request does better without. */
typedef void (*KmsConnected)(int r, const Error *error, void *userdata);
int kms_connect(KmsClient *client, KmsConnected callback, void *userdata);

/* cms, or with keeps_ciphertext the ciphertext of a new data key, is valid during the call. request_id is NULL if no whole answer came, and empty if the answer has no ID. Every callback may
 * free the client. */
typedef void (*KmsDecrypted)(int r, const uint8_t *cms, size_t size, const char *request_id,
                             const Error *error, void *userdata);

/* Sends one request, Decrypt or GenerateDataKey, and does not retry: error->remedy says what may help. If KMS says that the clock is wrong, the client signs
 * later requests with KMS's time. decrypt->key_ids must stay valid until the callback; the rest of decrypt need not. -EINVAL:
 * as in kms_decrypt_request(), or no credentials are set. */
int kms_decrypt(KmsClient *client, const KmsDecrypt *decrypt, KmsDecrypted callback, void *userdata);

/* body is that of an answer with status 200. It is valid during the call, and a NUL follows its last byte. */
typedef void (*KmsAnswered)(int r, const char *body, size_t size, const char *request_id, const Error *error,
                            void *userdata);

/* The same for any operation, such as "Encrypt". The client copies body and wipes the copy. */
int kms_request(KmsClient *client, const char *operation, const char *body, KmsAnswered callback,
                void *userdata);

/* An answer of KMS's, as it came. Valid during the callback; a NUL follows the last byte of body. */
typedef struct KmsReply {
        unsigned status;
        const char *body;
        size_t size;
        const char *request_id, *error_type; /* printable; empty: the answer has none */
} KmsReply;

/* reply is NULL if no whole answer came: r and *error say why. r is negative for another status than 200, too. */
typedef void (*KmsForwarded)(int r, const KmsReply *reply, const Error *error, void *userdata);

/* As kms_request(), but the callback gets errors of KMS as they came, for another program to read. */
int kms_forward(KmsClient *client, const char *operation, const char *body, KmsForwarded callback,
                void *userdata);
