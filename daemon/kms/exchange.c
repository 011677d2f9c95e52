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

/* Takes over value, which may be NULL for want of memory. */
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

static int add_bytes(struct json_object *object, const char *name, const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = NULL;
        int r = base64_encode(data, size, &text);

        return r < 0 ? r : add_string(object, name, text);
}

static int add_encryption_context(struct json_object *request, const char *const *pairs) {
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
        return add(request, "EncryptionContext", TAKE_PTR(context));
}

static int add_recipient(struct json_object *request, const KmsDecrypt *decrypt) {
        _cleanup_json_ struct json_object *recipient = json_object_new_object();
        int r;

        if (!recipient)
                return -ENOMEM;
        r = add_string(recipient, "KeyEncryptionAlgorithm", "RSAES_OAEP_SHA_256");
        if (r >= 0)
                r = add_bytes(recipient, "AttestationDocument", decrypt->document, decrypt->document_size);
        return r < 0 ? r : add(request, "Recipient", TAKE_PTR(recipient));
}

/* Either the document is in it, or that nothing is to be decrypted. */
static int make_request(const KmsDecrypt *decrypt, bool probe, char **ret) {
        _cleanup_json_ struct json_object *request = NULL;
        const char *text;
        int r;

        if (!decrypt->key_ids || !decrypt->key_ids[0] || decrypt->ciphertext_size == 0 ||
            decrypt->ciphertext_size > KMS_CIPHERTEXT_MAX || probe != (decrypt->document_size == 0) ||
            decrypt->document_size > KMS_DOCUMENT_MAX)
                return -EINVAL;
        request = json_object_new_object();
        if (!request)
                return -ENOMEM;
        if ((r = add_bytes(request, "CiphertextBlob", decrypt->ciphertext, decrypt->ciphertext_size)) < 0 ||
            (r = add_string(request, "KeyId", decrypt->key_ids[0])) < 0 ||
            (r = add_encryption_context(request, decrypt->encryption_context)) < 0 ||
            (r = add_string(request, "EncryptionAlgorithm", "SYMMETRIC_DEFAULT")) < 0 ||
            (r = probe ? add(request, "DryRun", json_object_new_boolean(true))
                       : add_recipient(request, decrypt)) < 0)
                return r;

        text = json_object_to_json_string_ext(request,
                                              JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        *ret = text ? strdup(text) : NULL;
        return *ret ? 0 : -ENOMEM;
}

int kms_decrypt_request(const KmsDecrypt *decrypt, char **ret) {
        return make_request(decrypt, false, ret);
}

int kms_probe_request(const KmsDecrypt *decrypt, char **ret) {
        return make_request(decrypt, true, ret);
}

int kms_probe_reply(int r, const char *body, size_t size, const Error *refusal, bool *ret_open,
                    Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        bool denied;

        /* KMS never grants a dry run. If it does with a plaintext, there is no doubt left. */
        if (r >= 0 && json_parse(body, size, &reply) >= 0 && json_member(reply, "Plaintext")) {
                *ret_open = true;
                return 0;
        }
        if (r >= 0)
                return error_set_remedy(error, -EBADMSG, FAILURE_ANSWER, REMEDY_RETRY,
                                        "KMS's answer to a dry run cannot be read.");

        denied = strcmp(refusal->code, "AccessDeniedException") == 0;
        if (!denied && strcmp(refusal->code, "DryRunOperationException") != 0) {
                *error = *refusal;
                return r;
        }
        *ret_open = !denied;
        return 0;
}

static bool is_pinned(const KmsDecrypt *decrypt, const char *key_id) {
        for (const char *const *pin = decrypt->key_ids; *pin; pin++)
                if (strcmp(*pin, key_id) == 0)
                        return true;
        return false;
}

int kms_decrypt_reply(const KmsDecrypt *decrypt, const char *body, size_t size, uint8_t **ret,
                      size_t *ret_size, Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        struct json_object *plaintext;
        _cleanup_free_ uint8_t *envelope = NULL;
        const char *key_id, *text;
        size_t envelope_size;
        char quoted[160];
        int r;

        r = json_parse(body, size, &reply);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return error_set_remedy(error, r, FAILURE_ANSWER, REMEDY_RETRY, "KMS's answer is no JSON.");

        /* The plaintext in the clear would mean that KMS, or who answers for it, has ignored the document.
         * */
        plaintext = json_member(reply, "Plaintext");
        if (plaintext &&
            (!json_object_is_type(plaintext, json_type_string) || json_object_get_string_len(plaintext) > 0))
                return error_set(
                                error, -EBADMSG, FAILURE_ANSWER,
                                "KMS's answer to an attested request has a plaintext in it; nothing of it is used.");

        key_id = json_member_string(reply, "KeyId");
        if (!key_id)
                return error_set(error, -EBADMSG, FAILURE_ANSWER,
                                 "KMS's answer does not say which key it used.");
        if (!is_pinned(decrypt, key_id))
                return error_set(
                                error, -EBADMSG, FAILURE_ANSWER,
                                "KMS used the key %s, which is none of the secret's KeyId=. The ciphertext was replaced, or a replica's ARN must be added.",
                                aws_quotable(key_id, quoted, sizeof(quoted)));

        text = json_member_string(reply, "CiphertextForRecipient");
        r = text ? base64_decode(text, strlen(text), &envelope, &envelope_size) : -ENODATA;
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0 || envelope_size == 0 || envelope_size > CMS_ENVELOPE_MAX)
                return error_set(error, -EBADMSG, FAILURE_ANSWER,
                                 "KMS's answer has no CiphertextForRecipient that can be read.");
        *ret = TAKE_PTR(envelope);
        *ret_size = envelope_size;
        return 0;
}

/* All but the plaintext, which json-c is not to have a copy of. */
static int encrypt_request_without_plaintext(const KmsEncrypt *encrypt, struct json_object *request) {
        int r;

        if ((r = add_string(request, "KeyId", encrypt->key_arn)) < 0 ||
            (r = add_encryption_context(request, encrypt->encryption_context)) < 0)
                return r;
        return add_string(request, "EncryptionAlgorithm", "SYMMETRIC_DEFAULT");
}

int kms_encrypt_request(const KmsEncrypt *encrypt, char **ret) {
        static const char member[] = ",\"Plaintext\":\"", end[] = "\"}";
        _cleanup_json_ struct json_object *request = NULL;
        const char *text;
        char *body, *p;
        size_t length;
        int r;

        if (encrypt->plaintext_size == 0 || encrypt->plaintext_size > KMS_PLAINTEXT_MAX)
                return -EINVAL;
        request = json_object_new_object();
        if (!request)
                return -ENOMEM;
        r = encrypt_request_without_plaintext(encrypt, request);
        if (r < 0)
                return r;
        text = json_object_to_json_string_ext(request,
                                              JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        if (!text)
                return -ENOMEM;

        /* Without the closing brace. */
        length = strlen(text) - 1;
        body = malloc(length + strlen(member) + (encrypt->plaintext_size + 2) / 3 * 4 + sizeof(end));
        if (!body)
                return -ENOMEM;
        p = stpcpy(mempcpy(body, text, length), member);
        p += EVP_EncodeBlock((unsigned char *) p, encrypt->plaintext, (int) encrypt->plaintext_size);
        (void) stpcpy(p, end);
        *ret = body;
        return 0;
}

int kms_encrypt_reply(const KmsEncrypt *encrypt, const char *body, size_t size, uint8_t **ret,
                      size_t *ret_size, Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        _cleanup_free_ uint8_t *ciphertext = NULL;
        const char *key_id, *text;
        size_t ciphertext_size;
        char quoted[160];
        int r;

        r = json_parse(body, size, &reply);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return error_set(error, r, FAILURE_ANSWER, "KMS's answer is no JSON.");
        key_id = json_member_string(reply, "KeyId");
        if (!key_id || strcmp(key_id, encrypt->key_arn) != 0)
                return error_set(error, -EBADMSG, FAILURE_ANSWER, "KMS used the key %s, not %s.",
                                 aws_quotable(key_id ?: "(none)", quoted, sizeof(quoted)), encrypt->key_arn);
        text = json_member_string(reply, "CiphertextBlob");
        r = text ? base64_decode(text, strlen(text), &ciphertext, &ciphertext_size) : -ENODATA;
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0 || ciphertext_size == 0 || ciphertext_size > KMS_CIPHERTEXT_MAX)
                return error_set(error, -EBADMSG, FAILURE_ANSWER,
                                 "KMS's answer has no CiphertextBlob that can be read.");
        *ret = TAKE_PTR(ciphertext);
        *ret_size = ciphertext_size;
        return 0;
}

int kms_describe_key_request(const char *key, char **ret) {
        _cleanup_json_ struct json_object *request = json_object_new_object();
        const char *text;
        int r;

        r = request ? add_string(request, "KeyId", key) : -ENOMEM;
        if (r < 0)
                return r;
        text = json_object_to_json_string_ext(request,
                                              JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        *ret = text ? strdup(text) : NULL;
        return *ret ? 0 : -ENOMEM;
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

/* What KMS's errors mean (KMS API Reference, "Decrypt" and "Common Errors") and what is to be done about
 * them. Text of KMS's own goes between the two sentences. */
typedef struct Meaning {
        const char *code;
        Failure failure;
        Remedy remedy;
        const char *what, *advice;
} Meaning;

#define OUTAGE(name) \
        { name, FAILURE_UNAVAILABLE, REMEDY_RETRY, "KMS cannot answer at the moment", "" }
#define UNUSABLE(name)                                                                                      \
        {                                                                                                   \
                name, FAILURE_KEY, REMEDY_NONE, "The key cannot be used",                                   \
                                "It must be enabled, not pending deletion, and a symmetric encryption key." \
        }

static const Meaning meanings[] = {
        { "AccessDeniedException", FAILURE_DENIED, REMEDY_NONE, "KMS denies access",
          "The key's policy must allow kms:Decrypt to the role of this instance, for the PCRs that this boot measured and the encryption context of the secret." },
        { "NotFoundException", FAILURE_KEY, REMEDY_NONE, "KMS knows no such key",
          "Check account and Region in the secret's KeyId=." },
        UNUSABLE("DisabledException"),
        UNUSABLE("KMSInvalidStateException"),
        UNUSABLE("InvalidKeyUsageException"),
        { "InvalidCiphertextException", FAILURE_CIPHERTEXT, REMEDY_NONE, "KMS cannot decrypt the ciphertext",
          "It was tampered with, or sealed with another encryption context: unseald:secret=NAME must be in it, NAME being the name of the *.secret file, and what EncryptionContext= and BindAccount= add." },
        { "IncorrectKeyException", FAILURE_CIPHERTEXT, REMEDY_NONE,
          "The ciphertext was sealed with another key", "It must be the first of the secret's KeyId=." },
        { "InvalidGrantTokenException", FAILURE_REQUEST, REMEDY_NONE, "KMS does not accept the grant token",
          "" },
        OUTAGE("KeyUnavailableException"),
        OUTAGE("DependencyTimeoutException"),
        OUTAGE("KMSInternalException"),
};

static const Meaning unacceptable_document = {
        NULL,
        FAILURE_DOCUMENT,
        REMEDY_DOCUMENT,
        "KMS does not accept the attestation document",
        "It is good for five minutes after it was made.",
};
/* Those that all services have. */
static const Meaning troubles[] = {
        [AWS_OTHER] = { NULL, FAILURE_REQUEST, REMEDY_NONE, "KMS does not accept the request", "" },
        [AWS_THROTTLED] = { NULL, FAILURE_UNAVAILABLE, REMEDY_RETRY, "KMS throttles requests", "" },
        [AWS_UNAVAILABLE] = { NULL, FAILURE_UNAVAILABLE, REMEDY_RETRY, "KMS cannot answer at the moment",
                              "" },
        [AWS_CREDENTIALS] = { NULL, FAILURE_ROLE, REMEDY_CREDENTIALS,
                              "KMS does not accept the credentials of the instance's role", "" },
        [AWS_SIGNATURE] = { NULL, FAILURE_ROLE, REMEDY_CREDENTIALS,
                            "KMS does not accept the request's signature",
                            "The clock is right, so the credentials that IMDS gave are not." },
        [AWS_CLOCK] = { NULL, FAILURE_CLOCK, REMEDY_CLOCK,
                        "The clock of this machine is more than four minutes off",
                        "Requests are signed with KMS's time from now on." },
        [AWS_CLOCK_UNKNOWN] = { NULL, FAILURE_CLOCK, REMEDY_RETRY,
                                "KMS says that the clock of this machine is off, but not by how much",
                                "Set the clock." },
};

/* What is said otherwise to who calls with credentials of his own. */
static const Meaning denied_by_hand = {
        NULL,
        FAILURE_DENIED,
        REMEDY_NONE,
        "KMS denies access",
        "The key's policy, or that of the user or role whose credentials these are, does not allow it.",
};
static const Meaning unknown_by_hand = {
        NULL,
        FAILURE_KEY,
        REMEDY_NONE,
        "KMS knows no such key",
        "Check its account and Region, and whose credentials these are.",
};
static const Meaning credentials_by_hand = {
        NULL,
        FAILURE_ROLE,
        REMEDY_CREDENTIALS,
        "KMS does not accept the credentials",
        "They have expired or were deleted, or are of another partition of AWS.",
};
static const Meaning signature_by_hand = {
        NULL,
        FAILURE_ROLE,
        REMEDY_CREDENTIALS,
        "KMS does not accept the request's signature",
        "The clock is right, so the secret access key is not the one of the access key ID.",
};

static const Meaning *meaning_by_hand(const Meaning *meaning) {
        if (meaning->failure == FAILURE_DENIED)
                return &denied_by_hand;
        if (meaning->code && strcmp(meaning->code, "NotFoundException") == 0)
                return &unknown_by_hand;
        if (meaning == troubles + AWS_CREDENTIALS)
                return &credentials_by_hand;
        return meaning == troubles + AWS_SIGNATURE ? &signature_by_hand : meaning;
}

static const Meaning *meaning_of(const KmsErrorReply *reply, const char *code, const char *message) {
        /* The one text that is looked into: KMS has no code of its own for it. */
        if (strcmp(code, "ValidationException") == 0 && strcasestr(message, "attestation"))
                return &unacceptable_document;
        for (size_t i = 0; i < ELEMENTSOF(meanings); i++)
                if (strcmp(code, meanings[i].code) == 0)
                        return meanings + i;
        return troubles + aws_trouble(code, reply->status, reply->skew);
}

/* KMS answers a signature that it does not accept with the canonical request, session token and all: its words on
 * signatures, credentials and the clock, and those that are not known, are for nobody's journal. */
static bool may_be_quoted(const Meaning *meaning, const char *code) {
        switch (meaning->failure) {
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
        const Meaning *meaning;

        if (json_parse(reply->body, reply->size, &body) >= 0) {
                message = json_member_string(body, "message") ?: json_member_string(body, "Message");
                type = json_member_string(body, "__type") ?: type;
        }
        message = message ?: "";
        aws_error_code(type ?: "", code, sizeof(code));
        meaning = meaning_of(reply, code, message);
        if (reply->by_hand)
                meaning = meaning_by_hand(meaning);

        if (*message && may_be_quoted(meaning, code))
                (void) error_set_remedy(error, -EREMOTEIO, meaning->failure, meaning->remedy,
                                        "%s: \"%s\"%s%s", meaning->what,
                                        aws_quotable(message, quoted, sizeof(quoted)),
                                        *meaning->advice ? " " : "", meaning->advice);
        else
                (void) error_set_remedy(error, -EREMOTEIO, meaning->failure, meaning->remedy,
                                        "%s (HTTP status %u%s%s).%s%s", meaning->what, reply->status,
                                        *code ? ", " : "", code, *meaning->advice ? " " : "",
                                        meaning->advice);
        if (error) {
                error->retry_after_usec = reply->retry_after_usec;
                memcpy(error->code, code, sizeof(code));
                (void) aws_quotable(reply->request_id ?: "", error->request_id, sizeof(error->request_id));
        }
        return -EREMOTEIO;
}
