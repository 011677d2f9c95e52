/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What unseald asks AWS for one secret: where the ciphertext is fetched, which endpoint of KMS decrypts it, and with which
 * encryption context. It follows from the declaration and the settings alone. unsealctl doctor asks the same. Pure.
 */

#include "aws/kms-key.h"
#include "basic/cleanup.h"
#include "basic/slice.h"
#include "config/declaration.h"
#include "config/settings.h"
#include "kms/client.h"
#include "source/fetch.h"
#include "source/fetcher.h"
#include "source/message-header.h"
#include "tpm/secret-events.h"

typedef struct RequestTarget {
        char *endpoint; /* of KMS: "https://…" */
        KmsKeyArn key;  /* the first KeyId= */
        /* The Regions that the source of the ciphertext and that of its signature are asked in. */
        char source_region[sizeof(((KmsKeyArn *) NULL)->region)];
        char signature_region[sizeof(((KmsKeyArn *) NULL)->region)];
} RequestTarget;

/* FAILURE_CONFIGURATION: the key lies in a partition for which no endpoint of KMS is known. The caller clears *ret. */
int request_target(const Settings *settings, const Declaration *declaration, RequestTarget *ret,
                   Error *error);
void request_target_clear(RequestTarget *target);

/* One key of KeyId= that KMS may be asked for. */
typedef struct RequestKey {
        const char *arn; /* borrowed from the declaration */
        KmsKeyArn key;
        char *endpoint; /* of KMS in its Region, or KmsEndpoint= */
} RequestKey;

/*
 * The keys of KeyId= that KMS may be asked for, in their order: the first one and its replicas. With Format=message or Format=bundle all of
 * them, since a message has a data key of each key that it was sealed with. A key in a partition without an endpoint is left out, unless it is the
 * first: FAILURE_CONFIGURATION. The caller frees *ret with request_keys_free().
 */
int request_keys(const Settings *settings, const Declaration *declaration, RequestKey **ret,
                 size_t *ret_count, Error *error);
void request_keys_free(RequestKey *keys, size_t count);

/* Finds the data key of a message that this key opens: the one that it made, or that a replica in KeyId= made. *ret points into the
 * message. */
bool request_data_key(const Declaration *declaration, const MessageHeader *header, const RequestKey *key,
                      Slice *ret);

/* The fetch of the ciphertext or of its signature over the network. source: one of the two of the declaration. Everything is
 * borrowed. */
Fetch request_fetch(const Settings *settings, const Declaration *declaration, const RequestTarget *target,
                    const Source *source);

/* The most bytes that this source of the declaration may hold. */
size_t request_maximum(const Declaration *declaration, const Source *source) _pure_;

#define REQUEST_ACCOUNT_KEY "unseald:account="
#define REQUEST_ACCOUNT_SIZE \
        (sizeof(REQUEST_ACCOUNT_KEY) + 12) /* of the pair, with an account's twelve digits */

/* The encryption context: EncryptionContext= and, with BindAccount=, account_pair ("unseald:account=ACCOUNT"). Returns a
 * NULL-terminated array of borrowed strings that the caller frees; NULL: out of memory. */
const char **request_context(const Declaration *declaration, const char *account_pair);

/* What KMS is asked about a message: one of its data keys, with the message's own encryption context. */
typedef struct RequestMessage {
        MessageHeader header; /* points into the message */
        Slice data_key;       /* its ciphertext, in the header */
        char **context;       /* owned; NULL: nothing has been read */
} RequestMessage;

/*
 * Reads a message's header, and checks what the declaration demands of it before KMS is asked: every pair of the encryption
 * context is in it, account_pair too with BindAccount=; no other pair has a key that begins with "unseald:"; and a data key was made
 * by a pinned KMS key. Nothing of it is authentic yet. FAILURE_CIPHERTEXT. The message must live as long as *ret. The caller clears *ret.
 */
int request_message(const Declaration *declaration, Slice message, const char *account_pair,
                    RequestMessage *ret, Error *error);
void request_message_clear(RequestMessage *message);

/* Reads only the header of a message. FAILURE_CIPHERTEXT. *ret points into the message. */
int request_header(const Declaration *declaration, Slice message, MessageHeader *ret, Error *error);

/* Compares a ciphertext, or the header of a message, with Sha256=. FAILURE_CIPHERTEXT: it is another one. */
int request_check_pin(const Declaration *declaration, Slice ciphertext, Error *error);

/*
 * Judges the text of a signature for a secret with SignedBy=: signature_judge() says what it returns. sealed is the ciphertext, or
 * a message from its begin. The signature of a message is over its header alone: without its data key nobody makes other frames for it.
 * FAILURE_CIPHERTEXT: sealed is no message, or it ends within its header.
 */
int request_check_signature(const Declaration *declaration, Slice sealed, Slice signature,
                            uint64_t *ret_version, Error *error);

/* SHA-384 of the ciphertext, or of the header of a message: what MeasurePcr= measures (tpm/secret-events.h). FAILURE_CIPHERTEXT: sealed
 * ends within its header. */
int request_sealed_digest(const Declaration *declaration, Slice sealed, uint8_t ret[static PCR_SIZE],
                          Error *error);

/* Checks what the declaration demands of a secret that is no message (Format=kms): that its ciphertext is none, and Sha256=.
 * FAILURE_CIPHERTEXT. */
int request_check_ciphertext(const Declaration *declaration, Slice ciphertext, Error *error);

/* A request without an attestation document. ciphertext is empty if KMS makes the value (Generate=); with GenerateWhen=missing its ciphertext is asked for. Everything is borrowed; of *context and *declaration KmsDecrypt keeps pointers. */
KmsDecrypt request_decrypt(const Declaration *declaration, const char *const *context, Slice ciphertext);
