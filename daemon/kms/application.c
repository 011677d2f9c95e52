/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "aws/kms-key.h"
#include "aws/service.h"
#include "basic/encoding.h"
#include "kms/application.h"
#include "kms/cms.h"

#define TARGET "TrentService."
#define RESERVED "unseald:"
#define REGION_SIZE 32

void application_request_clear(ApplicationRequest *request) {
        json_object_put(request->body);
        *request = (ApplicationRequest){};
}

_printf_(3, 4) static int refuse(ApplicationRefusal *refusal, const char *type, const char *format, ...) {
        va_list arguments;

        refusal->status = 400;
        refusal->type = type;
        va_start(arguments, format);
        (void) vsnprintf(refusal->text, sizeof(refusal->text), format, arguments);
        va_end(arguments);
        return -EACCES;
}

static int judge_operation(const ApplicationRules *rules, const char *target, const KmsOperation **ret,
                           ApplicationRefusal *refusal) {
        const KmsOperation *operation = NULL;
        bool allowed;

        if (target && strncmp(target, TARGET, strlen(TARGET)) == 0)
                operation = kms_operation_find(target + strlen(TARGET));
        if (!operation)
                return refuse(refusal, "UnknownOperationException",
                              "unseald-kms does not know this operation. unseald-kms(8) has the list.");
        allowed = !rules->operations && operation->by_default;
        for (char *const *name = rules->operations; name && *name; name++)
                allowed = allowed || strcmp(*name, operation->name) == 0;
        if (!allowed)
                return refuse(refusal, "AccessDeniedException",
                              "%s is not in Operations= of [Kms] in unseald.conf(5).", operation->name);
        *ret = operation;
        return 0;
}

static bool is_member_of_operation(const KmsOperation *operation, const char *name, bool ignoring_case) {
        const char *const names[] = { operation->keys[0],     operation->keys[1],   operation->contexts[0],
                                      operation->contexts[1], operation->plaintext, "Recipient",
                                      "CustomKeyStoreId",     "AttestationDocument" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (names[i] && (ignoring_case ? strcasecmp(names[i], name) : strcmp(names[i], name)) == 0)
                        return true;
        return false;
}

/* Nobody has said whether KMS tells "keyid" from "KeyId". A name that another reader could take for one of those that are judged here
 * is refused. */
static int judge_members(const KmsOperation *operation, struct json_object *body,
                         ApplicationRefusal *refusal) {
        json_object_object_foreach(body, name, value) {
                (void) value;
                if (is_member_of_operation(operation, name, true) &&
                    !is_member_of_operation(operation, name, false))
                        return refuse(refusal, "ValidationException",
                                      "The request has a member whose name differs from one of %s only in case.",
                                      operation->name);
        }
        if (!operation->keys[0] && json_member(body, "CustomKeyStoreId"))
                return refuse(refusal, "AccessDeniedException", "unseald-kms uses no custom key store.");
        return 0;
}

static int judge_context(struct json_object *context, ApplicationRefusal *refusal) {
        if (!context)
                return 0;
        if (!json_object_is_type(context, json_type_object))
                return refuse(refusal, "ValidationException", "The encryption context is not a map.");
        json_object_object_foreach(context, name, value) {
                if (!json_object_is_type(value, json_type_string))
                        return refuse(refusal, "ValidationException",
                                      "The encryption context has a value that is not a string.");
                if (strncasecmp(name, RESERVED, strlen(RESERVED)) == 0)
                        return refuse(refusal, "AccessDeniedException",
                                      "The encryption context has a name that begins with \"" RESERVED
                                      "\". Those belong to the secrets of unseald, and no application gets them here.");
        }
        return 0;
}

/* The Region in "AWS4-HMAC-SHA256 Credential=ID/20260101/eu-north-1/kms/aws4_request, …". False: there is none. */
static bool scope_region(const char *authorization, char ret[static REGION_SIZE]) {
        const char *at = authorization ? strstr(authorization, "Credential=") : NULL;
        size_t length;

        for (unsigned i = 0; at && i < 2; i++) {
                at = strchr(at, '/');
                at = at ? at + 1 : NULL;
        }
        if (!at)
                return false;
        length = strcspn(at, "/");
        if (at[length] != '/' || length >= REGION_SIZE)
                return false;
        memcpy(ret, at, length);
        ret[length] = '\0';
        return aws_is_region(ret);
}

static bool key_is_in(const char *arn, const char *region) {
        KmsKeyArn key;

        return kms_key_arn_parse(arn, &key) >= 0 && strcmp(key.region, region) == 0;
}

static bool is_of_one_region(const char *arn, const char *other) {
        KmsKeyArn key;

        return kms_key_arn_parse(arn, &key) >= 0 && key_is_in(other, key.region);
}

/* Returns whether id is that of the key, without its ARN, in this Region. */
static bool key_has_id(const char *arn, const char *id, const char *region) {
        KmsKeyArn key;

        return region && kms_key_arn_parse(arn, &key) >= 0 && strcmp(key.region, region) == 0 &&
               strcmp(key.key, id) == 0;
}

static int judge_key(const ApplicationRules *rules, const char *id, const char *region, const char **ret,
                     ApplicationRefusal *refusal) {
        char quoted[160];

        for (char *const *key = rules->keys; key && *key; key++)
                if (strcmp(*key, id) == 0 || key_has_id(*key, id, region)) {
                        *ret = *key;
                        return 0;
                }
        if (strstr(id, "alias/"))
                return refuse(refusal, "AccessDeniedException",
                              "\"%s\" is an alias, which can be moved to another key. Give the ARN of the key.",
                              aws_quotable(id, quoted, sizeof(quoted)));
        if (!strchr(id, ':') && !region)
                return refuse(refusal, "ValidationException",
                              "The request tells no Region: neither by the ARN of its key nor by a signature.");
        return refuse(refusal, "AccessDeniedException",
                      "The key \"%s\" is not in Keys= of [Kms] in unseald.conf(5).",
                      aws_quotable(id, quoted, sizeof(quoted)));
}

static int judge_keys(const ApplicationRules *rules, struct json_object *body, const char *region,
                      ApplicationRequest *request, ApplicationRefusal *refusal) {
        const KmsOperation *operation = request->operation;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(operation->keys) && operation->keys[i]; i++) {
                struct json_object *member = json_member(body, operation->keys[i]);
                const char *key = NULL;

                if (!member && operation->key_optional)
                        continue;
                if (!json_object_is_type(member, json_type_string))
                        return refuse(refusal, "ValidationException", "%s needs %s, the ARN of a key.",
                                      operation->name, operation->keys[i]);
                r = judge_key(rules, json_object_get_string(member), region, &key, refusal);
                if (r < 0)
                        return r;
                if (request->key && !is_of_one_region(request->key, key))
                        return refuse(refusal, "ValidationException",
                                      "The two keys of %s are in two Regions.", operation->name);
                request->key = request->key ?: key;
        }
        request->endpoint_key = request->key;
        if (request->endpoint_key)
                return 0;
        if (!region)
                return refuse(refusal, "ValidationException",
                              "The request tells no Region: neither by the ARN of its key nor by a signature.");
        for (char *const *key = rules->keys; key && *key && !request->endpoint_key; key++)
                if (key_is_in(*key, region))
                        request->endpoint_key = *key;
        return request->endpoint_key ? 0
                                     : refuse(refusal, "AccessDeniedException",
                                              "Keys= of [Kms] in unseald.conf(5) has no key in %s.", region);
}

int application_request_judge(const ApplicationRules *rules, const char *target, const char *authorization,
                              const char *body, size_t size, ApplicationRequest *ret,
                              ApplicationRefusal *refusal) {
        _cleanup_(application_request_clear) ApplicationRequest request = {};
        _cleanup_json_ struct json_object *tree = NULL;
        char buffer[REGION_SIZE];
        const char *region = scope_region(authorization, buffer) ? buffer : NULL;
        int r;

        *refusal = (ApplicationRefusal){};
        r = judge_operation(rules, target, &request.operation, refusal);
        if (r < 0)
                return r;
        r = json_parse(body, size, &tree);
        if (r == -ENOMEM)
                return r;
        if (r < 0 || !json_object_is_type(tree, json_type_object))
                return refuse(refusal, "SerializationException", "The body is not a JSON object.");
        r = judge_members(request.operation, tree, refusal);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(request.operation->contexts); i++)
                if (request.operation->contexts[i])
                        r = judge_context(json_member(tree, request.operation->contexts[i]), refusal);
        if (r >= 0)
                r = judge_keys(rules, tree, region, &request, refusal);
        if (r < 0)
                return r;
        request.attested = request.operation->plaintext && !json_member(tree, "Recipient");
        if (request.attested)
                request.body = TAKE_PTR(tree);
        *ret = TAKE(request, (ApplicationRequest){});
        return 0;
}

/* Takes ownership of value. NULL: json-c had no memory for it. */
static int add(struct json_object *object, const char *name, struct json_object *value) {
        if (!value || json_object_object_add(object, name, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

int application_request_body(const ApplicationRequest *request, Slice document, char **ret) {
        _cleanup_json_ struct json_object *recipient = json_object_new_object();
        _cleanup_free_ char *text = NULL;
        int r = base64_encode(document.data, document.size, &text);

        if (r < 0 || !recipient)
                return -ENOMEM;
        if ((r = add(recipient, "KeyEncryptionAlgorithm", json_object_new_string("RSAES_OAEP_SHA_256"))) <
                            0 ||
            (r = add(recipient, "AttestationDocument", json_object_new_string(text))) < 0 ||
            (r = add(request->body, "Recipient", TAKE_PTR(recipient))) < 0)
                return r;
        r = json_format(request->body, ret);
        /* A second attempt has another document. */
        json_object_object_del(request->body, "Recipient");
        return r;
}

/* Returns whether the answer has something where the plaintext would be. */
static bool has_plaintext(const ApplicationRequest *request, struct json_object *reply) {
        struct json_object *member = json_member(reply, request->operation->plaintext);

        return member &&
               (!json_object_is_type(member, json_type_string) || json_object_get_string_len(member) > 0);
}

static int judge_key_of_reply(const ApplicationRequest *request, const ApplicationRules *rules,
                              struct json_object *reply, Error *error) {
        const char *key = json_member_string(reply, "KeyId");
        char quoted[160];

        if (!key && request->attested && request->operation->keys[0])
                return error_set(error, -EBADMSG, FAILURE_ANSWER,
                                 "KMS's answer does not say which key it used.");
        if (!key)
                return 0;
        for (char *const *allowed = rules->keys; allowed && *allowed; allowed++)
                if (strcmp(*allowed, key) == 0)
                        return 0;
        return error_set(error, -EBADMSG, FAILURE_ANSWER,
                         "KMS used the key %s, which is not in Keys= of [Kms] in unseald.conf(5).",
                         aws_quotable(key, quoted, sizeof(quoted)));
}

int application_reply_judge(const ApplicationRequest *request, const ApplicationRules *rules,
                            const char *body, size_t size, struct json_object **ret_reply,
                            uint8_t **ret_envelope, size_t *ret_envelope_size, Error *error) {
        _cleanup_json_ struct json_object *reply = NULL;
        _cleanup_free_ uint8_t *envelope = NULL;
        size_t envelope_size = 0;
        const char *text;
        int r = json_parse(body, size, &reply);

        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0 || !json_object_is_type(reply, json_type_object))
                return error_set(error, -EBADMSG, FAILURE_ANSWER, "KMS's answer is not a JSON object.");
        r = judge_key_of_reply(request, rules, reply, error);
        if (r < 0)
                return r;
        if (!request->attested) {
                *ret_reply = NULL;
                *ret_envelope = NULL;
                *ret_envelope_size = 0;
                return 0;
        }
        if (has_plaintext(request, reply))
                return error_set(
                                error, -EBADMSG, FAILURE_ANSWER,
                                "KMS's answer to an attested request contains a plaintext. unseald-kms discards the whole answer: KMS, or a server in its place, ignored the attestation document.");
        text = json_member_string(reply, "CiphertextForRecipient");
        r = text ? base64_decode(text, strlen(text), &envelope, &envelope_size) : -ENODATA;
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0 || envelope_size == 0 || envelope_size > CMS_ENVELOPE_MAX)
                return error_set(error, -EBADMSG, FAILURE_ANSWER,
                                 "KMS's answer has no CiphertextForRecipient, or it is malformed.");
        json_object_object_del(reply, "CiphertextForRecipient");
        json_object_object_del(reply, request->operation->plaintext);
        *ret_reply = TAKE_PTR(reply);
        *ret_envelope = TAKE_PTR(envelope);
        *ret_envelope_size = envelope_size;
        return 0;
}

/* json-c gets no copy of the plaintext: it is put into the text behind the other members. */
int application_reply_format(const ApplicationRequest *request, struct json_object *reply, Secret *plaintext,
                             char **ret) {
        _cleanup_free_ char *others = NULL;
        const char *name = request->operation->plaintext;
        size_t size = secret_size(plaintext), length;
        char *text, *at;
        int r = json_format(reply, &others);

        if (r < 0)
                return r;
        length = strlen(others) - strlen("}");
        text = malloc(length + strlen(name) + (size + 2) / 3 * 4 + sizeof(",\"\":\"\"}"));
        if (!text)
                return -ENOMEM;
        memcpy(text, others, length);
        at = text + length;
        at += sprintf(at, "%s\"%s\":\"", length > strlen("{") ? "," : "", name);
        at += EVP_EncodeBlock((unsigned char *) at, secret_bytes(plaintext), (int) size);
        memcpy(at, "\"}", sizeof("\"}"));
        *ret = text;
        return 0;
}

int application_refusal_format(const ApplicationRefusal *refusal, char **ret) {
        _cleanup_json_ struct json_object *body = json_object_new_object();
        int r;

        if (!body)
                return -ENOMEM;
        if ((r = add(body, "__type", json_object_new_string(refusal->type))) < 0 ||
            (r = add(body, "message", json_object_new_string(refusal->text))) < 0)
                return r;
        return json_format(body, ret);
}
