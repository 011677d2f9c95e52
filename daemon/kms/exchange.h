/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What KMS is asked and what its answers mean. Sources: AWS KMS API Reference (Decrypt, Encrypt, DescribeKey, Common
 * Errors) and Developer Guide ("Cryptographic attestation support"). Everything here is a function of its arguments;
 * kms/client.h sends and receives.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aws/kms-key.h"
#include "aws/service.h"
#include "aws/sigv4.h"
#include "basic/error.h"

#define KMS_DOCUMENT_MAX (256U * 1024U)

typedef struct KmsDecrypt {
        const uint8_t *ciphertext;
        size_t ciphertext_size;
        const char *const *key_ids; /* the pins, NULL-terminated; the first is the KeyId asked for */
        const char *const *encryption_context; /* "key=value", NULL-terminated */
        const uint8_t *document;
        size_t document_size;
} KmsDecrypt;

/* The body of the request as JSON; the caller frees. -EINVAL where something is missing or too big, or the
 * context has a key twice: never is KMS asked without a document, which it would answer with the
 * plaintext. */
int kms_decrypt_request(const KmsDecrypt *decrypt, char **ret);

/* The envelope out of an answer with status 200: KeyId among the pins, no plaintext, an envelope in it;
 * otherwise FAILURE_ANSWER. The caller frees *ret. */
int kms_decrypt_reply(const KmsDecrypt *decrypt, const char *body, size_t size, uint8_t **ret,
                      size_t *ret_size, Error *error);

/* A probe: whether KMS would decrypt the same for the same role without a document. decrypt->document must be NULL: what
 * is asked for is a dry run in its place, to which KMS never answers with a plaintext. */
int kms_probe_request(const KmsDecrypt *decrypt, char **ret);

/* What came of it as KmsAnswered has it. Sets *ret_open: KMS would; otherwise it denies. A negative errno: neither is
 * known, and *error says why. */
int kms_probe_reply(int r, const char *body, size_t size, const Error *refusal, bool *ret_open,
                    Error *error);

#define KMS_PLAINTEXT_MAX 4096U

typedef struct KmsEncrypt {
        const char *key_arn;
        const uint8_t *plaintext;
        size_t plaintext_size;
        const char *const *encryption_context; /* "key=value", NULL-terminated */
} KmsEncrypt;

/* The body of the request as JSON, the one place that has the plaintext in it: erase_and_free() it. -EINVAL as in
 * kms_decrypt_request(). */
int kms_encrypt_request(const KmsEncrypt *encrypt, char **ret);

/* The ciphertext out of an answer with status 200 that names that very key; otherwise FAILURE_ANSWER. The caller frees
 * *ret. */
int kms_encrypt_reply(const KmsEncrypt *encrypt, const char *body, size_t size, uint8_t **ret,
                      size_t *ret_size, Error *error);

/* DescribeKey: key is a key's ID, an alias, or the ARN of either; the answer has the key's ARN. FAILURE_ANSWER where it
 * has none. The caller frees both. */
int kms_describe_key_request(const char *key, char **ret);
int kms_describe_key_reply(const char *body, size_t size, char **ret_arn, Error *error);

/* The headers of a request to an operation ("Decrypt"), as aws_sign() makes them. */
int kms_sign(const char *host, const char *region, const AwsCredentials *credentials, int64_t time,
             const char *operation, const char *body, char ***ret);

/* An answer that is not 200. */
typedef struct KmsErrorReply {
        unsigned status;
        const char *body;
        size_t size;
        const char *error_type; /* x-amzn-ErrorType, or NULL */
        const char *request_id; /* x-amzn-RequestId, or NULL */
        uint64_t retry_after_usec;
        int64_t skew; /* seconds that KMS's clock is ahead of the time signed with, or AWS_SKEW_UNKNOWN */
        bool by_hand; /* the caller is a person with credentials of his own, not unseald with the role's */
} KmsErrorReply;

/* Fills *error (failure, remedy, code, request id, text) and returns a negative errno. */
int kms_error_reply(const KmsErrorReply *reply, Error *error);
