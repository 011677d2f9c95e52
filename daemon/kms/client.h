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

/* Bytes in the body of an answer. */
#define KMS_REPLY_MAX (64U * 1024U)

/* One endpoint, one region, one role. */
typedef struct KmsClient KmsClient;

/* http is borrowed and must outlive it. */
int kms_client_new(HttpClient *http, const char *endpoint, const char *region, KmsClient **ret);
KmsClient *kms_client_free(KmsClient *client);
DEFINE_CLEANUP(KmsClient *, kms_client_free);

/* Borrowed, until others are set. */
void kms_client_set_credentials(KmsClient *client, const AwsCredentials *credentials);

/* From now on errors are explained to a person with credentials of his own. */
void kms_client_set_by_hand(KmsClient *client);

/* Opens a connection (TCP, TLS) and leaves it for the requests to come. Failures are passed to the
 * callback. */
typedef void (*KmsConnected)(int r, const Error *error, void *userdata);
int kms_connect(KmsClient *client, KmsConnected callback, void *userdata);

/* cms: valid during the call, which may free the client. request_id may be empty, never NULL. */
typedef void (*KmsDecrypted)(int r, const uint8_t *cms, size_t size, const char *request_id,
                             const Error *error, void *userdata);

/* One request, no retries: error->remedy says what may mend it. A clock that KMS found wrong is remembered:
 * the next request is signed with KMS's time. Of what decrypt points to only key_ids must stay until the
 * callback. */
int kms_decrypt(KmsClient *client, const KmsDecrypt *decrypt, KmsDecrypted callback, void *userdata);

/* body: of an answer with status 200, valid during the call, NUL-terminated behind size. */
typedef void (*KmsAnswered)(int r, const char *body, size_t size, const char *request_id, const Error *error,
                            void *userdata);

/* The same for any operation ("Encrypt") and body, which is copied; the copy is wiped. */
int kms_request(KmsClient *client, const char *operation, const char *body, KmsAnswered callback,
                void *userdata);
