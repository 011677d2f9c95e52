/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What KMS is asked and what its answers mean. Sources: AWS KMS API Reference (Decrypt, Encrypt, GenerateDataKey,
 * DescribeKey, Common Errors) and Developer Guide ("Cryptographic attestation support"). Everything here is a function of its arguments;
 * kms/client.h sends and receives.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aws/kms-key.h"
#include "aws/service.h"
#include "aws/sigv4.h"
#include "basic/error.h"
#include "basic/slice.h"
#include "memory/secret.h"

/* Bytes in an attestation document (KMS API Reference, RecipientInfo). */
#define KMS_DOCUMENT_MAX (256U * 1024U)

/* The most bytes that a new data key has (KMS API Reference, GenerateDataKey, NumberOfBytes). */
#define KMS_GENERATE_MAX 1024U

/* A secret that KMS gives to the holder of a document: it decrypts a ciphertext, or makes a new data key. */
typedef struct KmsDecrypt {
        Slice ciphertext; /* empty: a new data key */
        size_t generate; /* bytes of the new data key, at most KMS_GENERATE_MAX; 0: a ciphertext is decrypted */
        bool keeps_ciphertext;      /* the ciphertext of the new data key is wanted, and not its envelope */
        const char *const *key_ids; /* the pinned keys, NULL-terminated */
        const char *key_id;         /* the one that the request names; NULL: the first */
        const char *const *encryption_context; /* "key=value", NULL-terminated */
        Slice document;
} KmsDecrypt;

/* The operation that the request is for: "Decrypt" or "GenerateDataKey". */
const char *kms_decrypt_operation(const KmsDecrypt *decrypt) _pure_;

/* Makes the body of a request, as JSON. The caller frees *ret. -EINVAL: a part is missing or too large, or the encryption
 * context has a key twice. A document is mandatory: to a request without one KMS answers with the plaintext. -ENOMEM. */
int kms_decrypt_request(const KmsDecrypt *decrypt, char **ret);

/* Takes the CMS envelope out of an answer with status 200. FAILURE_ANSWER: the KeyId is not pinned, the answer contains a
 * plaintext, or it has no envelope. The caller frees *ret. How long a new data key is shows only once the envelope is
 * open. With keeps_ciphertext *ret is its ciphertext, of at most KMS_CIPHERTEXT_MAX bytes, in place of the envelope. */
int kms_decrypt_reply(const KmsDecrypt *decrypt, const char *body, size_t size, uint8_t **ret,
                      size_t *ret_size, Error *error);

/* Makes the body of a policy probe: would KMS decrypt the same ciphertext, or make a data key with the same encryption context, for the
 * same role without a document? decrypt->document must be empty. The request is a dry run, so KMS never answers with the plaintext. */
int kms_probe_request(const KmsDecrypt *decrypt, char **ret);

/* Judges the answer to a probe; r, body, size and refusal are the arguments of KmsAnswered. *ret_open: KMS would decrypt.
 * Otherwise it denies. A negative errno: the probe failed, and *error says why. */
int kms_probe_reply(int r, const char *body, size_t size, const Error *refusal, bool *ret_open,
                    Error *error);

/* A question to KMS about a key, without a ciphertext: would it do the operation? */
typedef struct KmsDryRun {
        /* "Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair",
         * "GenerateDataKeyPairWithoutPlaintext", "ReEncrypt" or "CreateGrant" */
        const char *operation;
        const char *key_arn;         /* ReEncrypt: of the key that decrypts */
        const char *destination_arn; /* ReEncrypt: of the key that encrypts */
        const char *grantee; /* CreateGrant: the ARN of the principal that would be allowed to decrypt */
        const char *const *
                        encryption_context; /* "key=value", NULL-terminated; NULL: none. CreateGrant has none */
        Slice document; /* empty: the request has none. Decrypt and GenerateDataKey take one */
} KmsDryRun;

/* Makes the body of a dry run. KMS decrypts nothing: Decrypt and ReEncrypt have DryRunModifiers with IGNORE_CIPHERTEXT (KMS API
 * Reference, Decrypt and ReEncrypt). kms_probe_reply() judges the answer. The caller frees *ret. -EINVAL as in
 * kms_decrypt_request(), a part that the operation needs is missing, or the operation is another one. */
int kms_dry_run_request(const KmsDryRun *question, char **ret);

/* Bytes in a plaintext (KMS API Reference, Encrypt). */
#define KMS_PLAINTEXT_MAX 4096U

typedef struct KmsEncrypt {
        const char *key_arn;
        Slice plaintext;
        const char *const *encryption_context; /* "key=value", NULL-terminated */
} KmsEncrypt;

/* Makes the body of a request, as JSON. The body contains the plaintext: the caller frees *ret with erase_and_free(). -EINVAL
 * as in kms_decrypt_request(). */
int kms_encrypt_request(const KmsEncrypt *encrypt, char **ret);

/* Takes the ciphertext out of an answer with status 200. FAILURE_ANSWER: the answer names another key, or has no ciphertext.
 * The caller frees *ret. */
int kms_encrypt_reply(const KmsEncrypt *encrypt, const char *body, size_t size, uint8_t **ret,
                      size_t *ret_size, Error *error);

/* GenerateDataKeyWithoutPlaintext. Makes a key of so many bytes, 1 to KMS_GENERATE_MAX, that nobody sees; request->plaintext is not used.
 * The caller frees *ret. -EINVAL: the encryption context has a key twice, or the size is out of range. */
int kms_sealed_key_request(const KmsEncrypt *request, size_t size, char **ret);

/* The same as kms_encrypt_reply(). FAILURE_ANSWER also if the answer contains a plaintext, which somebody has seen then. */
int kms_sealed_key_reply(const KmsEncrypt *request, const char *body, size_t size, uint8_t **ret,
                         size_t *ret_size, Error *error);

#define KMS_DATA_KEY_SIZE 32U

/* GenerateDataKey. Makes a key of 256 bits under request->key_arn and the encryption context; request->plaintext is not used. The
 * caller frees *ret. -EINVAL: the encryption context has a key twice. */
int kms_data_key_request(const KmsEncrypt *request, char **ret);

/* Takes the data key and its ciphertext out of an answer with status 200. body contains the data key: it is the caller's to wipe.
 * FAILURE_ANSWER: the answer names another key, or has no data key of 256 bits. The caller frees *ret_plaintext and
 * *ret_ciphertext. */
int kms_data_key_reply(const KmsEncrypt *request, const char *body, size_t size, Secret **ret_plaintext,
                       uint8_t **ret_ciphertext, size_t *ret_size, Error *error);

/* DescribeKey. key is the ID of a key, the name of an alias, or the ARN of either. The answer has the key's ARN.
 * FAILURE_ANSWER: it has none. The caller frees *ret and *ret_arn. */
int kms_describe_key_request(const char *key, char **ret);
int kms_describe_key_reply(const char *body, size_t size, char **ret_arn, Error *error);

/* Bytes in a message of Sign (KMS API Reference, Sign), and in what its answers have here. */
#define KMS_MESSAGE_MAX 4096U
#define KMS_SIGNATURE_MAX 1024U
#define KMS_PUBLIC_KEY_MAX 8192U

/* Sign, with MessageType RAW: KMS hashes the message as the algorithm says. algorithm: KMS's name, such as "ECDSA_SHA_256". The answer
 * has the signature: DER for ECDSA (RFC 3279), 64 bytes for Ed25519. -EINVAL: the message is empty or too long. FAILURE_ANSWER: the
 * answer names another key or algorithm, or has no signature. The caller frees *ret. */
int kms_signing_request(const char *key_arn, const char *algorithm, const uint8_t *message, size_t size,
                        char **ret);
int kms_signing_reply(const char *key_arn, const char *algorithm, const char *body, size_t size,
                      uint8_t **ret, size_t *ret_size, Error *error);

/* GetPublicKey takes the request of DescribeKey. The answer has the key as DER SubjectPublicKeyInfo. FAILURE_ANSWER as above. The
 * caller frees *ret. */
int kms_public_key_reply(const char *key_arn, const char *body, size_t size, uint8_t **ret, size_t *ret_size,
                         Error *error);

/* Makes the headers of a request to an operation, such as "Decrypt". See aws_sign(). */
int kms_sign(const char *host, const char *region, const AwsCredentials *credentials, int64_t time,
             const char *operation, const char *body, char ***ret);

/* An answer with another status than 200. */
typedef struct KmsErrorReply {
        unsigned status;
        const char *body;
        size_t size;
        const char *error_type; /* x-amzn-ErrorType, or NULL */
        const char *request_id; /* x-amzn-RequestId, or NULL */
        uint64_t retry_after_usec;
        int64_t skew; /* seconds that KMS's clock is ahead of the time that the request was signed with, or AWS_SKEW_UNKNOWN */
        bool generates; /* the request was for GenerateDataKey */
        bool by_hand; /* a person calls, with their own credentials; otherwise unseald calls with the role's */
} KmsErrorReply;

/* Fills *error, with its code, request ID and retry_after_usec. Returns a negative errno. */
int kms_error_reply(const KmsErrorReply *reply, Error *error);
