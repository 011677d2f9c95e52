/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "aws/service.h"
#include "basic/encoding.h"
#include "basic/json.h"
#include "kms/cms.h"
#include "kms/exchange.h"

#define SERVICE "kms"

/* Takes ownership of value. NULL: json-c had no memory for it. */
static int add(struct json_object *object, const char *name, struct json_object *value) {
        if (!value || json_object_object_add(object, name, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int add_string(struct json_object *object, const char *name, const char *value) {
        return add(object, name, json_object_new_string(value));
}

static int add_bytes(struct json_object *object, const char *name, Slice bytes) {
        _cleanup_free_ char *text = NULL;
        int r = base64_encode(bytes.data, bytes.size, &text);

        return r < 0 ? r : add_string(object, name, text);
}

static int add_encryption_context(struct json_object *request, const char *name, const char *const *pairs) {
        _cleanup_json_ struct json_object *context = json_object_new_object();

        if (!context)
                return -ENOMEM;
        for (; pairs && *pairs; pairs++) {
                _cleanup_free_ char *key = strndup(*pairs, strcspn(*pairs, "="));
                const char *value = strchr(*pairs, '=');
                int r;

                if (!key)
                        return -ENOMEM;
                if (!value || value == *pairs || json_object_object_get_ex(context, key, NULL))
                        return -EINVAL;
                r = add_string(context, key, value + 1);
                if (r < 0)
                        return r;
        }
        return add(request, name, TAKE_PTR(context));
}

static int add_recipient(struct json_object *request, Slice document) {
        _cleanup_json_ struct json_object *recipient = json_object_new_object();
        int r;

        if (!recipient)
                return -ENOMEM;
        r = add_string(recipient, "KeyEncryptionAlgorithm", "RSAES_OAEP_SHA_256");
        if (r >= 0)
                r = add_bytes(recipient, "AttestationDocument", document);
        return r < 0 ? r : add(request, "Recipient", TAKE_PTR(recipient));
}

const char *kms_decrypt_operation(const KmsDecrypt *decrypt) {
        return decrypt->generate > 0 ? "GenerateDataKey" : "Decrypt";
}

/* Without a document a request must be a dry run: otherwise KMS would answer with the plaintext. */
static int make_request(const KmsDecrypt *decrypt, bool probe, char **ret) {
        _cleanup_json_ struct json_object *request = NULL;
        bool generates = decrypt->generate > 0;
        int r;

        if (!decrypt->key_ids || !decrypt->key_ids[0] || generates != (decrypt->ciphertext.size == 0) ||
            decrypt->generate > KMS_GENERATE_MAX || decrypt->ciphertext.size > KMS_CIPHERTEXT_MAX ||
            probe != (decrypt->document.size == 0) || decrypt->document.size > KMS_DOCUMENT_MAX)
                return -EINVAL;
        request = json_object_new_object();
        if (!request)
                return -ENOMEM;
        if ((r = generates ? add(request, "NumberOfBytes", json_object_new_int((int) decrypt->generate))
                           : add_bytes(request, "CiphertextBlob", decrypt->ciphertext)) < 0 ||
            (r = add_string(request, "KeyId", decrypt->key_id ?: decrypt->key_ids[0])) < 0 ||
            (r = add_encryption_context(request, "EncryptionContext", decrypt->encryption_context)) < 0 ||
            (r = generates ? 0 : add_string(request, "EncryptionAlgorithm", "SYMMETRIC_DEFAULT")) < 0 ||
            (r = probe ? add(request, "DryRun", json_object_new_boolean(true))
                       : add_recipient(request, decrypt->document)) < 0)
                return r;

        return json_format(request, ret);
}

int kms_decrypt_request(const KmsDecrypt *decrypt, char **ret) {
        return make_request(decrypt, false, ret);
}

int kms_probe_request(const KmsDecrypt *decrypt, char **ret) {
        return make_request(decrypt, true, ret);
}

/* A list of one string. */
static int add_list(struct json_object *request, const char *name, const char *value) {
        _cleanup_json_ struct json_object *list = json_object_new_array(),
                                          *item = json_object_new_string(value);

        if (!list || !item || json_object_array_add(list, item) < 0)
                return -ENOMEM;
        TAKE_PTR(item);
        return add(request, name, TAKE_PTR(list));
}

static int add_re_encryption(struct json_object *request, const KmsDryRun *question) {
        int r;

        if (!question->destination_arn)
                return -EINVAL;
        if ((r = add_string(request, "SourceKeyId", question->key_arn)) < 0 ||
            (r = add_string(request, "DestinationKeyId", question->destination_arn)) < 0 ||
            (r = add_encryption_context(request, "SourceEncryptionContext", question->encryption_context)) <
                            0 ||
            (r = add_encryption_context(request, "DestinationEncryptionContext",
                                        question->encryption_context)) < 0)
                return r;
        return add_list(request, "DryRunModifiers", "IGNORE_CIPHERTEXT");
}

static int add_grant(struct json_object *request, const KmsDryRun *question) {
        int r;

        if (!question->grantee)
                return -EINVAL;
        if ((r = add_string(request, "KeyId", question->key_arn)) < 0 ||
            (r = add_string(request, "GranteePrincipal", question->grantee)) < 0)
                return r;
        return add_list(request, "Operations", "Decrypt");
}

static const struct {
        const char *operation, *parameter,
                        *value; /* what the operation needs beside key and context; NULL: nothing */
        bool recipient;         /* takes a document */
        int (*add)(struct json_object *request,
                   const KmsDryRun *question); /* NULL: key, context and the parameter */
} dry_runs[] = {
        { .operation = "Decrypt", .recipient = true },
        { .operation = "Encrypt", .parameter = "Plaintext", .value = "AA==" },
        { .operation = "GenerateDataKey", .parameter = "KeySpec", .value = "AES_256", .recipient = true },
        { .operation = "GenerateDataKeyWithoutPlaintext", .parameter = "KeySpec", .value = "AES_256" },
        { .operation = "GenerateDataKeyPair", .parameter = "KeyPairSpec", .value = "ECC_NIST_P256" },
        { .operation = "GenerateDataKeyPairWithoutPlaintext",
          .parameter = "KeyPairSpec",
          .value = "ECC_NIST_P256" },
        { .operation = "ReEncrypt", .add = add_re_encryption },
        { .operation = "CreateGrant", .add = add_grant },
};

/* Adds what the operation needs. */
static int add_operation(struct json_object *request, const KmsDryRun *question) {
        size_t i = 0;
        int r;

        while (i < ELEMENTSOF(dry_runs) && strcmp(dry_runs[i].operation, question->operation) != 0)
                i++;
        if (i == ELEMENTSOF(dry_runs) || (question->document.size > 0 && !dry_runs[i].recipient))
                return -EINVAL;
        if (dry_runs[i].add)
                return dry_runs[i].add(request, question);
        if ((r = add_string(request, "KeyId", question->key_arn)) < 0 ||
            (r = add_encryption_context(request, "EncryptionContext", question->encryption_context)) < 0)
                return r;
        return dry_runs[i].parameter ? add_string(request, dry_runs[i].parameter, dry_runs[i].value)
                                     : add_list(request, "DryRunModifiers", "IGNORE_CIPHERTEXT");
}

int kms_dry_run_request(const KmsDryRun *question, char **ret) {
        _cleanup_json_ struct json_object *request = json_object_new_object();
        int r;

        if (!request)
                return -ENOMEM;
        if (question->document.size > KMS_DOCUMENT_MAX)
                return -EINVAL;
        if ((r = add_operation(request, question)) < 0 ||
            (r = question->document.size > 0 ? add_recipient(request, question->document) : 0) < 0 ||
            (r = add(request, "DryRun", json_object_new_boolean(true))) < 0)
                return r;
        return json_format(request, ret);
}

/* Returns whether the answer has what one of the operations gives. */
static bool has_result(struct json_object *reply) {
        static const char *const results[] = { "Plaintext", "CiphertextBlob", "PrivateKeyCiphertextBlob",
                                               "GrantId" };

        for (size_t i = 0; i < ELEMENTSOF(results); i++)
                if (json_member(reply, results[i]))
                        return true;
        return false;
}

int kms_probe_reply(int r, const char *body, size_t size, const Error *refusal, bool *ret_open,
                    Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        bool denied;

        /* KMS answers a dry run with an error, always. An answer with a result leaves no doubt that the key is open. */
        if (r >= 0 && json_parse(body, size, &reply) >= 0 && has_result(reply)) {
                *ret_open = true;
                return 0;
        }
        if (r >= 0)
                return error_set_remedy(error, -EBADMSG, FAILURE_ANSWER, REMEDY_RETRY,
                                        "KMS's answer to a dry run is malformed.");

        denied = strcmp(refusal->code, "AccessDeniedException") == 0;
        if (!denied && strcmp(refusal->code, "DryRunOperationException") != 0) {
                *error = *refusal;
                return r;
        }
        *ret_open = !denied;
        return 0;
}

static int parse_reply(const char *body, size_t size, Remedy remedy, struct json_object **ret,
                       Error *error) {
        int r = json_parse(body, size, ret);

        if (r == -ENOMEM)
                return error_oom(error);
        return r < 0 ? error_set_remedy(error, r, FAILURE_ANSWER, remedy, "KMS's answer is not JSON.") : 0;
}

/* A member in base64 of 1 to maximum bytes, which the caller frees. */
static int take_bytes(struct json_object *reply, const char *name, size_t maximum, uint8_t **ret,
                      size_t *ret_size, Error *error) {
        const char *text = json_member_string(reply, name);
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t size = 0;
        int r;

        r = text ? base64_decode(text, strlen(text), &bytes, &size) : -ENODATA;
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0 || size == 0 || size > maximum)
                return error_set(error, -EBADMSG, FAILURE_ANSWER,
                                 "KMS's answer has no %s, or it is malformed.", name);
        *ret = TAKE_PTR(bytes);
        *ret_size = size;
        return 0;
}

static bool is_pinned(const KmsDecrypt *decrypt, const char *key_id) {
        for (const char *const *pin = decrypt->key_ids; *pin; pin++)
                if (strcmp(*pin, key_id) == 0)
                        return true;
        return false;
}

/* An answer may have the member, as null or as an empty text. */
static bool has_plaintext(struct json_object *reply) {
        struct json_object *plaintext = json_member(reply, "Plaintext");

        return plaintext && (!json_object_is_type(plaintext, json_type_string) ||
                             json_object_get_string_len(plaintext) > 0);
}

int kms_decrypt_reply(const KmsDecrypt *decrypt, const char *body, size_t size, uint8_t **ret,
                      size_t *ret_size, Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        const char *key_id;
        char quoted[160];
        int r;

        r = parse_reply(body, size, REMEDY_RETRY, &reply, error);
        if (r < 0)
                return r;

        /* If the answer has a plaintext, KMS or a server in its place has ignored the document. */
        if (has_plaintext(reply))
                return error_set(
                                error, -EBADMSG, FAILURE_ANSWER,
                                "KMS's answer to an attested request contains a plaintext. unseald discards the whole answer: KMS, or a server in its place, ignored the attestation document.");

        key_id = json_member_string(reply, "KeyId");
        if (!key_id)
                return error_set(error, -EBADMSG, FAILURE_ANSWER,
                                 "KMS's answer does not say which key it used.");
        if (!is_pinned(decrypt, key_id))
                return error_set(
                                error, -EBADMSG, FAILURE_ANSWER,
                                "KMS used the key %s, which is not in the secret's KeyId=. %s",
                                aws_quotable(key_id, quoted, sizeof(quoted)),
                                decrypt->generate > 0
                                                ? "unseald discards the data key: KMS, or a server in its place, answered another request."
                                                : "Either the ciphertext was replaced, or the ARN of a replica must be added to KeyId=.");
        return decrypt->keeps_ciphertext ? take_bytes(reply, "CiphertextBlob", KMS_CIPHERTEXT_MAX, ret,
                                                      ret_size, error)
                                         : take_bytes(reply, "CiphertextForRecipient", CMS_ENVELOPE_MAX, ret,
                                                      ret_size, error);
}

/* json-c must not get a copy of the plaintext. */
static int encrypt_request_without_plaintext(const KmsEncrypt *encrypt, struct json_object *request) {
        int r;

        if ((r = add_string(request, "KeyId", encrypt->key_arn)) < 0 ||
            (r = add_encryption_context(request, "EncryptionContext", encrypt->encryption_context)) < 0)
                return r;
        return add_string(request, "EncryptionAlgorithm", "SYMMETRIC_DEFAULT");
}

int kms_encrypt_request(const KmsEncrypt *encrypt, char **ret) {
        static const char member[] = ",\"Plaintext\":\"", end[] = "\"}";
        _cleanup_json_ struct json_object *request = NULL;
        _cleanup_free_ char *text = NULL;
        char *body, *p;
        size_t length;
        int r;

        if (encrypt->plaintext.size == 0 || encrypt->plaintext.size > KMS_PLAINTEXT_MAX)
                return -EINVAL;
        request = json_object_new_object();
        if (!request)
                return -ENOMEM;
        if ((r = encrypt_request_without_plaintext(encrypt, request)) < 0 ||
            (r = json_format(request, &text)) < 0)
                return r;

        /* The plaintext is inserted before the closing brace. */
        length = strlen(text) - 1;
        body = malloc(length + strlen(member) + (encrypt->plaintext.size + 2) / 3 * 4 + sizeof(end));
        if (!body)
                return -ENOMEM;
        p = stpcpy(mempcpy(body, text, length), member);
        p += EVP_EncodeBlock((unsigned char *) p, encrypt->plaintext.data, (int) encrypt->plaintext.size);
        (void) stpcpy(p, end);
        *ret = body;
        return 0;
}

/* Parses the answer of an operation that was to use exactly this key. */
static int parse_reply_of_key(const char *key_arn, const char *body, size_t size, struct json_object **ret,
                              Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        const char *key_id;
        char quoted[160];
        int r;

        r = parse_reply(body, size, REMEDY_NONE, &reply, error);
        if (r < 0)
                return r;
        key_id = json_member_string(reply, "KeyId");
        if (!key_id || strcmp(key_id, key_arn) != 0)
                return error_set(error, -EBADMSG, FAILURE_ANSWER, "KMS used the key %s, not %s.",
                                 aws_quotable(key_id ?: "(none)", quoted, sizeof(quoted)), key_arn);
        *ret = TAKE_PTR(reply);
        return 0;
}

int kms_encrypt_reply(const KmsEncrypt *encrypt, const char *body, size_t size, uint8_t **ret,
                      size_t *ret_size, Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        int r;

        r = parse_reply_of_key(encrypt->key_arn, body, size, &reply, error);
        return r < 0 ? r : take_bytes(reply, "CiphertextBlob", KMS_CIPHERTEXT_MAX, ret, ret_size, error);
}

int kms_signing_request(const char *key_arn, const char *algorithm, const uint8_t *message, size_t size,
                        char **ret) {
        _cleanup_json_ struct json_object *request = json_object_new_object();
        _cleanup_free_ char *encoded = NULL;
        int r;

        if (size == 0 || size > KMS_MESSAGE_MAX)
                return -EINVAL;
        if (!request)
                return -ENOMEM;
        if ((r = base64_encode(message, size, &encoded)) < 0 ||
            (r = add_string(request, "KeyId", key_arn)) < 0 ||
            (r = add_string(request, "Message", encoded)) < 0 ||
            (r = add_string(request, "MessageType", "RAW")) < 0 ||
            (r = add_string(request, "SigningAlgorithm", algorithm)) < 0)
                return r;
        return json_format(request, ret);
}

int kms_signing_reply(const char *key_arn, const char *algorithm, const char *body, size_t size,
                      uint8_t **ret, size_t *ret_size, Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        const char *used;
        char quoted[160];
        int r;

        r = parse_reply_of_key(key_arn, body, size, &reply, error);
        if (r < 0)
                return r;
        used = json_member_string(reply, "SigningAlgorithm");
        if (!used || strcmp(used, algorithm) != 0)
                return error_set(error, -EBADMSG, FAILURE_ANSWER, "KMS used the algorithm %s, not %s.",
                                 aws_quotable(used ?: "(none)", quoted, sizeof(quoted)), algorithm);
        return take_bytes(reply, "Signature", KMS_SIGNATURE_MAX, ret, ret_size, error);
}

int kms_public_key_reply(const char *key_arn, const char *body, size_t size, uint8_t **ret, size_t *ret_size,
                         Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        int r;

        r = parse_reply_of_key(key_arn, body, size, &reply, error);
        return r < 0 ? r : take_bytes(reply, "PublicKey", KMS_PUBLIC_KEY_MAX, ret, ret_size, error);
}

/* size: NULL: a key of 256 bits. */
static int new_key_request(const KmsEncrypt *request, const size_t *size, char **ret) {
        _cleanup_json_ struct json_object *object = json_object_new_object();
        int r;

        if (!object)
                return -ENOMEM;
        if ((r = add_string(object, "KeyId", request->key_arn)) < 0 ||
            (r = add_encryption_context(object, "EncryptionContext", request->encryption_context)) < 0 ||
            (r = size ? add(object, "NumberOfBytes", json_object_new_int((int) *size))
                      : add_string(object, "KeySpec", "AES_256")) < 0)
                return r;
        return json_format(object, ret);
}

int kms_data_key_request(const KmsEncrypt *request, char **ret) {
        return new_key_request(request, NULL, ret);
}

int kms_sealed_key_request(const KmsEncrypt *request, size_t size, char **ret) {
        return size < 1 || size > KMS_GENERATE_MAX ? -EINVAL : new_key_request(request, &size, ret);
}

int kms_sealed_key_reply(const KmsEncrypt *request, const char *body, size_t size, uint8_t **ret,
                         size_t *ret_size, Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        int r = parse_reply_of_key(request->key_arn, body, size, &reply, error);

        if (r < 0)
                return r;
        if (has_plaintext(reply))
                return error_set(
                                error, -EBADMSG, FAILURE_ANSWER,
                                "KMS's answer contains the plaintext of a key that nobody was to see. Do not use it. Is the endpoint one of AWS's?");
        return take_bytes(reply, "CiphertextBlob", KMS_CIPHERTEXT_MAX, ret, ret_size, error);
}

int kms_data_key_reply(const KmsEncrypt *request, const char *body, size_t size, Secret **ret_plaintext,
                       uint8_t **ret_ciphertext, size_t *ret_size, Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        _cleanup_free_ uint8_t *ciphertext = NULL, *key = NULL;
        size_t key_size, ciphertext_size;
        Secret *plaintext = NULL;
        int r;

        if ((r = parse_reply_of_key(request->key_arn, body, size, &reply, error)) < 0 ||
            (r = take_bytes(reply, "CiphertextBlob", KMS_CIPHERTEXT_MAX, &ciphertext, &ciphertext_size,
                            error)) < 0 ||
            (r = take_bytes(reply, "Plaintext", KMS_DATA_KEY_SIZE, &key, &key_size, error)) < 0)
                return r;
        if (key_size != KMS_DATA_KEY_SIZE)
                r = error_set(error, -EBADMSG, FAILURE_ANSWER,
                              "KMS's answer has a data key of %zu bytes, not of %u.", key_size,
                              KMS_DATA_KEY_SIZE);
        else if (secret_new(key_size, &plaintext) < 0)
                r = error_oom(error);
        else
                memcpy(secret_bytes(plaintext), key, key_size);
        explicit_bzero(key, key_size);
        if (r < 0)
                return r;
        *ret_plaintext = plaintext;
        *ret_ciphertext = TAKE_PTR(ciphertext);
        *ret_size = ciphertext_size;
        return 0;
}

int kms_describe_key_request(const char *key, char **ret) {
        _cleanup_json_ struct json_object *request = json_object_new_object();
        int r;

        r = request ? add_string(request, "KeyId", key) : -ENOMEM;
        return r < 0 ? r : json_format(request, ret);
}

int kms_describe_key_reply(const char *body, size_t size, char **ret_arn, Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        const char *arn = NULL;
        KmsKeyArn parsed;
        int r;

        r = json_parse(body, size, &reply);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r >= 0)
                arn = json_member_string(json_member(reply, "KeyMetadata"), "Arn");
        if (!arn || kms_key_arn_parse(arn, &parsed) < 0)
                return error_set(error, -EBADMSG, FAILURE_ANSWER,
                                 "KMS's answer to DescribeKey has no ARN of a key.");
        *ret_arn = strdup(arn);
        return *ret_arn ? 0 : error_oom(error);
}

int kms_sign(const char *host, const char *region, const AwsCredentials *credentials, int64_t time,
             const char *operation, const char *body, char ***ret) {
        _cleanup_free_ char *target = NULL;

        if (asprintf(&target, "TrentService.%s", operation) < 0)
                return -ENOMEM;
        return aws_sign(&(AwsRequest){ .method = "POST",
                                       .host = host,
                                       .path = "/",
                                       .target = target,
                                       .body = body },
                        region, SERVICE, credentials, time, ret);
}

/* The meaning of KMS's errors (KMS API Reference, "Decrypt" and "Common Errors"), with advice. KMS's own message goes
 * between what and advice. */
typedef struct ErrorClass {
        const char *code;
        Failure failure;
        Remedy remedy;
        const char *what, *advice;
} ErrorClass;

#define OUTAGE(name) \
        { name, FAILURE_UNAVAILABLE, REMEDY_RETRY, "KMS is not available at the moment", "" }
#define UNUSABLE(name)                                                                                           \
        {                                                                                                        \
                name, FAILURE_KEY, REMEDY_NONE, "The key cannot be used",                                        \
                                "The key must be enabled, not pending deletion, and a symmetric encryption key." \
        }

static const ErrorClass kms_classes[] = {
        { "AccessDeniedException", FAILURE_DENIED, REMEDY_NONE, "KMS denies access",
          "The key's policy must allow kms:Decrypt to the role of this instance, for the PCRs that this boot measured and for the encryption context of the secret." },
        { "NotFoundException", FAILURE_KEY, REMEDY_NONE, "KMS does not know the key",
          "Check the account and the Region in the secret's KeyId=." },
        UNUSABLE("DisabledException"),
        UNUSABLE("KMSInvalidStateException"),
        UNUSABLE("InvalidKeyUsageException"),
        { "InvalidCiphertextException", FAILURE_CIPHERTEXT, REMEDY_NONE, "KMS cannot decrypt the ciphertext",
          "Either the ciphertext was changed, or it was sealed with another encryption context. The context must have unseald:secret=NAME, where NAME is the name of the *.secret file, and the pairs that EncryptionContext= and BindAccount= add." },
        { "IncorrectKeyException", FAILURE_CIPHERTEXT, REMEDY_NONE,
          "The ciphertext was sealed with another key",
          "The first KeyId= of the secret must be the key of the ciphertext." },
        { "InvalidGrantTokenException", FAILURE_REQUEST, REMEDY_NONE, "KMS does not accept the grant token",
          "" },
        OUTAGE("KeyUnavailableException"),
        OUTAGE("DependencyTimeoutException"),
        OUTAGE("KMSInternalException"),
};

static const ErrorClass unacceptable_document = {
        NULL,
        FAILURE_DOCUMENT,
        REMEDY_DOCUMENT,
        "KMS does not accept the attestation document",
        "KMS accepts a document for five minutes after it was made. unseald makes a new one, but only once.",
};
/* The classes of errors that all services have. */
static const ErrorClass common_classes[] = {
        [AWS_OTHER] = { NULL, FAILURE_REQUEST, REMEDY_NONE, "KMS does not accept the request", "" },
        [AWS_THROTTLED] = { NULL, FAILURE_UNAVAILABLE, REMEDY_RETRY, "KMS throttles requests", "" },
        [AWS_UNAVAILABLE] = { NULL, FAILURE_UNAVAILABLE, REMEDY_RETRY, "KMS is not available at the moment",
                              "" },
        [AWS_CREDENTIALS] = { NULL, FAILURE_ROLE, REMEDY_CREDENTIALS,
                              "KMS does not accept the credentials of the instance's role", "" },
        [AWS_SIGNATURE] = { NULL, FAILURE_ROLE, REMEDY_CREDENTIALS,
                            "KMS does not accept the request's signature",
                            "The clock is right, so the credentials from IMDS are wrong." },
        [AWS_CLOCK] = { NULL, FAILURE_CLOCK, REMEDY_CLOCK,
                        "The clock of this machine is wrong by more than four minutes",
                        "unseald signs with KMS's time from now on." },
        [AWS_CLOCK_UNKNOWN] = { NULL, FAILURE_CLOCK, REMEDY_RETRY,
                                "KMS says that the clock of this machine is wrong, but not by how much",
                                "Set the clock." },
};

/* The denial of a data key. */
static const ErrorClass denied_data_key = {
        NULL,
        FAILURE_DENIED,
        REMEDY_NONE,
        "KMS denies access",
        "The key's policy must allow kms:GenerateDataKey (unsealctl policy --generate-data-key=NAME) to the role of this instance, for the PCRs that this boot measured and for the encryption context of the secret. The policies of the role must allow it, too, if the key is in another account.",
};

/* Other texts for a person who calls KMS with credentials of their own. */
static const ErrorClass denied_by_hand = {
        NULL,
        FAILURE_DENIED,
        REMEDY_NONE,
        "KMS denies access",
        "Either the key's policy or the policies of the user or role with these credentials do not allow the request.",
};
static const ErrorClass unknown_by_hand = {
        NULL,
        FAILURE_KEY,
        REMEDY_NONE,
        "KMS does not know the key",
        "Check the account and the Region of the key, and the owner of the credentials.",
};
static const ErrorClass credentials_by_hand = {
        NULL,
        FAILURE_ROLE,
        REMEDY_CREDENTIALS,
        "KMS does not accept the credentials",
        "The credentials have expired, were deleted, or belong to another partition of AWS.",
};
static const ErrorClass signature_by_hand = {
        NULL,
        FAILURE_ROLE,
        REMEDY_CREDENTIALS,
        "KMS does not accept the request's signature",
        "The clock is right, so the secret access key does not belong to the access key ID.",
};

static const ErrorClass *class_by_hand(const ErrorClass *class) {
        if (class->failure == FAILURE_DENIED)
                return &denied_by_hand;
        if (class->code && strcmp(class->code, "NotFoundException") == 0)
                return &unknown_by_hand;
        if (class == common_classes + AWS_CREDENTIALS)
                return &credentials_by_hand;
        return class == common_classes + AWS_SIGNATURE ? &signature_by_hand : class;
}

static const ErrorClass *class_of(const KmsErrorReply *reply, const char *code, const char *message) {
        /* KMS has no code for a document that it refuses, so the message decides. No other message is examined. */
        if (strcmp(code, "ValidationException") == 0 && strcasestr(message, "attestation"))
                return &unacceptable_document;
        for (size_t i = 0; i < ELEMENTSOF(kms_classes); i++)
                if (strcmp(code, kms_classes[i].code) == 0)
                        return kms_classes + i;
        return common_classes + aws_error_class(code, reply->status, reply->skew);
}

/* When KMS refuses a signature, its message contains the canonical request with the session token. So its messages on
 * signatures, credentials and the clock, and those of unknown errors, must not reach the journal. */
static bool may_be_quoted(const ErrorClass *class, const char *code) {
        switch (class->failure) {
        case FAILURE_DENIED:
        case FAILURE_KEY:
        case FAILURE_CIPHERTEXT:
        case FAILURE_DOCUMENT:
        case FAILURE_UNAVAILABLE:
                return true;
        default:
                return strcmp(code, "ValidationException") == 0;
        }
}

int kms_error_reply(const KmsErrorReply *reply, Error *error) {
        _cleanup_json_ struct json_object *body = NULL;
        const char *message = NULL, *type = reply->error_type;
        char code[sizeof(error->code)], quoted[400];
        const ErrorClass *class;

        if (json_parse(reply->body, reply->size, &body) >= 0) {
                message = json_member_string(body, "message") ?: json_member_string(body, "Message");
                type = json_member_string(body, "__type") ?: type;
        }
        message = message ?: "";
        aws_error_code(type ?: "", code, sizeof(code));
        class = class_of(reply, code, message);
        if (reply->generates && class->failure == FAILURE_DENIED)
                class = &denied_data_key;
        if (reply->by_hand)
                class = class_by_hand(class);

        if (*message && may_be_quoted(class, code))
                (void) error_set_remedy(error, -EREMOTEIO, class->failure, class->remedy, "%s: \"%s\"%s%s",
                                        class->what, aws_quotable(message, quoted, sizeof(quoted)),
                                        *class->advice ? " " : "", class->advice);
        else
                (void) error_set_remedy(error, -EREMOTEIO, class->failure, class->remedy,
                                        "%s (HTTP status %u%s%s).%s%s", class->what, reply->status,
                                        *code ? ", " : "", code, *class->advice ? " " : "", class->advice);
        if (error) {
                error->outage = class->failure == FAILURE_UNAVAILABLE &&
                                class != common_classes + AWS_THROTTLED && reply->status >= 500;
                error->retry_after_usec = reply->retry_after_usec;
                memcpy(error->code, code, sizeof(code));
                (void) aws_quotable(reply->request_id ?: "", error->request_id, sizeof(error->request_id));
        }
        return -EREMOTEIO;
}
