/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>

#include "basic/cleanup.h"
#include "kms/application.h"

#define ID "11111111-2222-3333-4444-555555555555"
#define KEY "arn:aws:kms:eu-north-1:111111111111:key/" ID
#define KEY_ID "\"KeyId\":\"" KEY "\""
#define FAR "arn:aws:kms:us-east-1:111111111111:key/99999999-2222-3333-4444-555555555555"
#define OTHER "arn:aws:kms:eu-north-1:111111111111:key/00000000-2222-3333-4444-555555555555"
#define SCOPE \
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/eu-north-1/kms/aws4_request, SignedHeaders=host, Signature=00"

static char *const keys[] = { (char *) KEY, (char *) FAR, NULL };
static char *const all[] = { (char *) "Decrypt",
                             (char *) "Encrypt",
                             (char *) "GenerateDataKey",
                             (char *) "ReEncrypt",
                             (char *) "Sign",
                             (char *) "GenerateRandom",
                             (char *) "GenerateDataKeyPair",
                             (char *) "DescribeKey",
                             (char *) "DeriveSharedSecret",
                             NULL };
static const ApplicationRules rules = { .keys = keys, .operations = all };

/* type NULL: the request is taken. */
static ApplicationRequest judge(const ApplicationRules *with, const char *operation,
                                const char *authorization, const char *body, const char *type) {
        ApplicationRequest request = {};
        ApplicationRefusal refusal;
        char target[64];
        int r;

        (void) snprintf(target, sizeof(target), "TrentService.%s", operation);
        r = application_request_judge(with, target, authorization, body, strlen(body), &request, &refusal);
        if (!type && r < 0)
                fail_msg("%s %s: refused: %s %s", operation, body, refusal.type, refusal.text);
        if (type &&
            (r != -EACCES || strcmp(refusal.type, type) != 0 || !refusal.text[0] || refusal.status != 400))
                fail_msg("%s %s: saw %d %s %s, wanted %s", operation, body, r, refusal.type ?: "",
                         refusal.text, type);
        return request;
}

static void refused(const char *operation, const char *body, const char *type) {
        (void) judge(&rules, operation, SCOPE, body, type);
}

static void taken(const char *operation, const char *body, bool attested, const char *key,
                  const char *endpoint) {
        _cleanup_(application_request_clear) ApplicationRequest request =
                        judge(&rules, operation, SCOPE, body, NULL);

        assert_string_equal(request.operation->name, operation);
        assert_int_equal(request.attested, attested);
        assert_int_equal(attested, request.body != NULL);
        assert_true(key ? request.key && strcmp(key, request.key) == 0 : !request.key);
        assert_string_equal(request.endpoint_key, endpoint);
}

static void test_operations_with_a_plaintext_get_a_recipient(void **state) {
        taken("Decrypt", "{\"CiphertextBlob\":\"YQ==\"," KEY_ID "}", true, KEY, KEY);
        taken("GenerateDataKey", "{" KEY_ID ",\"KeySpec\":\"AES_256\"}", true, KEY, KEY);
        taken("GenerateDataKeyPair", "{" KEY_ID ",\"KeyPairSpec\":\"ECC_NIST_P256\"}", true, KEY, KEY);
        taken("GenerateRandom", "{\"NumberOfBytes\":32}", true, NULL, KEY);
        taken("DeriveSharedSecret", "{" KEY_ID "}", true, KEY, KEY);
        taken("Encrypt", "{" KEY_ID ",\"Plaintext\":\"YQ==\"}", false, KEY, KEY);
        taken("Sign", "{" KEY_ID "}", false, KEY, KEY);
        taken("DescribeKey", "{" KEY_ID "}", false, KEY, KEY);
}

static void test_a_clients_own_recipient_is_left_alone(void **state) {
        taken("Decrypt", "{" KEY_ID ",\"Recipient\":{\"AttestationDocument\":\"YQ==\"}}", false, KEY, KEY);
        taken("Decrypt", "{" KEY_ID ",\"Recipient\":null}", true, KEY, KEY);
}

static void test_the_region_comes_from_the_arn_else_from_the_signature(void **state) {
        taken("Decrypt", "{\"CiphertextBlob\":\"YQ==\",\"KeyId\":\"" FAR "\"}", true, FAR, FAR);
        taken("Decrypt", "{\"CiphertextBlob\":\"YQ==\"}", true, NULL, KEY);
        taken("Decrypt", "{\"CiphertextBlob\":\"YQ==\",\"KeyId\":\"" ID "\"}", true, KEY, KEY);
        (void) judge(&rules, "Decrypt", NULL, "{\"CiphertextBlob\":\"YQ==\"}", "ValidationException");
        (void) judge(&rules, "Decrypt", NULL, "{\"KeyId\":\"" ID "\"}", "ValidationException");
        (void) judge(&rules, "Decrypt", "Credential=a/b/eu-west-1/kms/aws4_request",
                     "{\"CiphertextBlob\":\"YQ==\"}", "AccessDeniedException");
        (void) judge(&rules, "Decrypt", "Credential=a/b/us-east-1/kms/aws4_request",
                     "{\"KeyId\":\"" ID "\"}", "AccessDeniedException");
        (void) judge(&rules, "Decrypt", "Credential=a/b/eu-north-1\r\nEvil: 1/kms", "{}",
                     "ValidationException");
        (void) judge(&rules, "Decrypt", "Credential=a/b/eu-north-1", "{}", "ValidationException");
        (void) judge(&rules, "Decrypt", "Credential=a", "{}", "ValidationException");
}

static void test_only_the_configured_keys_are_used(void **state) {
        refused("Decrypt", "{\"KeyId\":\"" OTHER "\"}", "AccessDeniedException");
        refused("Encrypt", "{\"KeyId\":\"alias/app\"}", "AccessDeniedException");
        refused("Encrypt", "{\"KeyId\":\"arn:aws:kms:eu-north-1:111111111111:alias/app\"}",
                "AccessDeniedException");
        refused("Encrypt", "{\"KeyId\":\"00000000-2222-3333-4444-555555555555\"}", "AccessDeniedException");
        refused("Encrypt", "{\"KeyId\":\"\"}", "AccessDeniedException");
        refused("Encrypt", "{\"KeyId\":7}", "ValidationException");
        refused("Encrypt", "{}", "ValidationException");
        refused("Encrypt", "{\"KeyId\":null}", "ValidationException");
        refused("Decrypt", "{\"KeyId\":[\"" KEY "\"]}", "ValidationException");
        refused("GenerateRandom", "{\"CustomKeyStoreId\":\"cks-1\"}", "AccessDeniedException");
        (void) judge(&(ApplicationRules){ .operations = all }, "Encrypt", SCOPE, "{" KEY_ID "}",
                     "AccessDeniedException");
        (void) judge(&(ApplicationRules){ .operations = all }, "GenerateRandom", SCOPE, "{}",
                     "AccessDeniedException");
}

static void test_re_encrypt_needs_both_keys(void **state) {
        taken("ReEncrypt", "{\"SourceKeyId\":\"" KEY "\",\"DestinationKeyId\":\"" KEY "\"}", false, KEY,
              KEY);
        refused("ReEncrypt", "{\"DestinationKeyId\":\"" KEY "\"}", "ValidationException");
        refused("ReEncrypt", "{\"SourceKeyId\":\"" KEY "\"}", "ValidationException");
        refused("ReEncrypt", "{\"SourceKeyId\":\"" KEY "\",\"DestinationKeyId\":\"" OTHER "\"}",
                "AccessDeniedException");
        refused("ReEncrypt", "{\"SourceKeyId\":\"" OTHER "\",\"DestinationKeyId\":\"" KEY "\"}",
                "AccessDeniedException");
        refused("ReEncrypt", "{\"SourceKeyId\":\"" KEY "\",\"DestinationKeyId\":\"" FAR "\"}",
                "ValidationException");
}

static void test_contexts_of_secrets_are_refused(void **state) {
        taken("Decrypt", "{" KEY_ID ",\"EncryptionContext\":{\"tenant\":\"unseald:secret\"}}", true, KEY,
              KEY);
        taken("Decrypt", "{" KEY_ID ",\"EncryptionContext\":null}", true, KEY, KEY);
        refused("Decrypt", "{" KEY_ID ",\"EncryptionContext\":{\"unseald:secret\":\"db-password\"}}",
                "AccessDeniedException");
        refused("Decrypt", "{" KEY_ID ",\"EncryptionContext\":{\"a\":\"b\",\"UNSEALD:secret\":\"x\"}}",
                "AccessDeniedException");
        refused("Decrypt", "{" KEY_ID ",\"EncryptionContext\":{\"\\u0075nseald:\":\"x\"}}",
                "AccessDeniedException");
        refused("GenerateDataKey", "{" KEY_ID ",\"EncryptionContext\":{\"unseald:volume\":\"x\"}}",
                "AccessDeniedException");
        refused("ReEncrypt",
                "{\"SourceKeyId\":\"" KEY "\",\"DestinationKeyId\":\"" KEY
                "\",\"SourceEncryptionContext\":{\"unseald:secret\":\"x\"}}",
                "AccessDeniedException");
        refused("ReEncrypt",
                "{\"SourceKeyId\":\"" KEY "\",\"DestinationKeyId\":\"" KEY
                "\",\"DestinationEncryptionContext\":{\"unseald:secret\":\"x\"}}",
                "AccessDeniedException");
        refused("Decrypt", "{" KEY_ID ",\"EncryptionContext\":[\"unseald:secret\"]}", "ValidationException");
        refused("Decrypt", "{" KEY_ID ",\"EncryptionContext\":{\"a\":{}}}", "ValidationException");
}

/* Two readers must not see two requests in one body. */
static void test_a_body_with_two_meanings_is_refused(void **state) {
        refused("Decrypt", "{" KEY_ID ",\"KeyId\":\"" OTHER "\"}", "SerializationException");
        refused("Decrypt", "{" KEY_ID ",\"keyid\":\"" OTHER "\"}", "ValidationException");
        refused("Decrypt", "{" KEY_ID ",\"encryptionContext\":{\"unseald:secret\":\"x\"}}",
                "ValidationException");
        refused("Decrypt", "{" KEY_ID ",\"recipient\":{}}", "ValidationException");
        refused("Decrypt", "{" KEY_ID "}{}", "SerializationException");
        refused("Decrypt", "[]", "SerializationException");
        refused("Decrypt", "", "SerializationException");
}

static void test_operations_are_a_list(void **state) {
        ApplicationRules by_default = { .keys = keys };
        ApplicationRequest request;

        refused("ListKeys", "{}", "UnknownOperationException");
        refused("GenerateMac", "{" KEY_ID "}", "AccessDeniedException");
        refused("PutKeyPolicy", "{" KEY_ID "}", "UnknownOperationException");
        request = judge(&by_default, "Decrypt", SCOPE, "{}", NULL);
        application_request_clear(&request);
        (void) judge(&by_default, "Sign", SCOPE, "{" KEY_ID "}", "AccessDeniedException");
        (void) judge(&by_default, "ReEncrypt", SCOPE, "{}", "AccessDeniedException");
        for (size_t i = 0; kms_operation_at(i); i++)
                assert_ptr_equal(kms_operation_find(kms_operation_at(i)->name), kms_operation_at(i));

        ApplicationRefusal refusal;
        static const char *const targets[] = { NULL,
                                               "",
                                               "Decrypt",
                                               "TrentService.",
                                               "TrentServiceXDecrypt",
                                               "TrentService.Decrypt\r\nEvil: 1" };
        for (size_t i = 0; i < ELEMENTSOF(targets); i++)
                assert_int_equal(application_request_judge(&rules, targets[i], SCOPE, "{}", 2, &request,
                                                           &refusal),
                                 -EACCES);
}

static void test_a_document_is_put_to_the_request(void **state) {
        _cleanup_(application_request_clear) ApplicationRequest request =
                        judge(&rules, "Decrypt", SCOPE, "{\"CiphertextBlob\":\"YQ==\"}", NULL);

        for (unsigned i = 0; i < 2; i++) {
                _cleanup_free_ char *body = NULL;
                const Slice document = { (const uint8_t *) "doc", 3 };

                assert_int_equal(application_request_body(&request, document, &body), 0);
                assert_string_equal(
                                body,
                                "{\"CiphertextBlob\":\"YQ==\",\"Recipient\":{\"KeyEncryptionAlgorithm\":\"RSAES_OAEP_SHA_256\",\"AttestationDocument\":\"ZG9j\"}}");
        }
}

static int judge_reply(const char *operation, const char *request_body, const char *body, char **ret_text) {
        _cleanup_(application_request_clear) ApplicationRequest request =
                        judge(&rules, operation, SCOPE, request_body, NULL);
        _cleanup_json_ struct json_object *reply = NULL;
        _cleanup_free_ uint8_t *envelope = NULL;
        _cleanup_secret_ Secret *plaintext = NULL;
        size_t size = 99;
        Error error = {};
        int r = application_reply_judge(&request, &rules, body, strlen(body), &reply, &envelope, &size,
                                        &error);

        *ret_text = NULL;
        if (r < 0) {
                assert_int_equal(error.failure, FAILURE_ANSWER);
                return r;
        }
        if (!envelope) {
                assert_null(reply);
                assert_int_equal(size, 0);
                return 0;
        }
        assert_int_equal(size, 3);
        assert_memory_equal(envelope, "cms", 3);
        assert_int_equal(secret_new(5, &plaintext), 0);
        memcpy(secret_bytes(plaintext), "Hello", 5);
        assert_int_equal(application_reply_format(&request, reply, plaintext, ret_text), 0);
        return 0;
}

static void assert_answer(const char *operation, const char *request, const char *reply,
                          const char *wanted) {
        _cleanup_free_ char *text = NULL;

        assert_int_equal(judge_reply(operation, request, reply, &text), 0);
        if (wanted)
                assert_string_equal(text, wanted);
        else
                assert_null(text);
}

static void test_an_answer_is_made_as_kms_gives_it_without_a_recipient(void **state) {
        assert_answer("Decrypt", "{}",
                      "{" KEY_ID
                      ",\"Plaintext\":\"\",\"CiphertextForRecipient\":\"Y21z\",\"KeyMaterialId\":\"m/n\"}",
                      "{" KEY_ID ",\"KeyMaterialId\":\"m/n\",\"Plaintext\":\"SGVsbG8=\"}");
        assert_answer("GenerateDataKeyPair", "{" KEY_ID "}",
                      "{\"PublicKey\":\"YQ==\"," KEY_ID
                      ",\"CiphertextForRecipient\":\"Y21z\",\"PrivateKeyPlaintext\":null}",
                      "{\"PublicKey\":\"YQ==\"," KEY_ID ",\"PrivateKeyPlaintext\":\"SGVsbG8=\"}");
        assert_answer("GenerateRandom", "{}", "{\"CiphertextForRecipient\":\"Y21z\"}",
                      "{\"Plaintext\":\"SGVsbG8=\"}");
        assert_answer("DeriveSharedSecret", "{" KEY_ID "}",
                      "{" KEY_ID ",\"CiphertextForRecipient\":\"Y21z\"}",
                      "{" KEY_ID ",\"SharedSecret\":\"SGVsbG8=\"}");
        assert_answer("Encrypt", "{" KEY_ID "}", "{" KEY_ID ",\"CiphertextBlob\":\"YQ==\"}", NULL);
        assert_answer("DescribeKey", "{" KEY_ID "}", "{\"KeyMetadata\":{}}", NULL);
        /* The client has sent a Recipient of its own. */
        assert_answer("Decrypt", "{\"Recipient\":{}}", "{" KEY_ID ",\"CiphertextForRecipient\":\"Y21z\"}",
                      NULL);
}

static void test_an_answer_that_is_not_trustworthy_is_discarded(void **state) {
        static const struct {
                const char *operation, *request, *reply;
        } rows[] = {
                { "Decrypt", "{}", "{\"KeyId\":\"" OTHER "\",\"CiphertextForRecipient\":\"Y21z\"}" },
                { "Decrypt", "{\"Recipient\":{}}",
                  "{\"KeyId\":\"" OTHER "\",\"CiphertextForRecipient\":\"Y21z\"}" },
                { "Decrypt", "{}", "{\"CiphertextForRecipient\":\"Y21z\"}" },
                { "Decrypt", "{}",
                  "{" KEY_ID ",\"CiphertextForRecipient\":\"Y21z\",\"Plaintext\":\"SGk=\"}" },
                { "Decrypt", "{}", "{" KEY_ID ",\"CiphertextForRecipient\":\"Y21z\",\"Plaintext\":7}" },
                { "Decrypt", "{}", "{" KEY_ID ",\"Plaintext\":\"SGk=\"}" },
                { "GenerateDataKeyPair", "{" KEY_ID "}",
                  "{" KEY_ID ",\"CiphertextForRecipient\":\"Y21z\",\"PrivateKeyPlaintext\":\"SGk=\"}" },
                { "Decrypt", "{}", "{" KEY_ID "}" },
                { "Decrypt", "{}", "{" KEY_ID ",\"CiphertextForRecipient\":\"\"}" },
                { "Decrypt", "{}", "{" KEY_ID ",\"CiphertextForRecipient\":\"%\"}" },
                { "Decrypt", "{}", "[]" },
                { "Decrypt", "{}", "" },
                { "Encrypt", "{" KEY_ID "}", "{\"KeyId\":\"" OTHER "\"}" },
                { "Encrypt", "{" KEY_ID "}", "<html>" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_free_ char *text = NULL;

                if (judge_reply(rows[i].operation, rows[i].request, rows[i].reply, &text) >= 0)
                        fail_msg("%s: taken", rows[i].reply);
        }
}

static void test_a_refusal_is_as_kms_words_errors(void **state) {
        _cleanup_free_ char *body = NULL;
        const ApplicationRefusal refusal = { .status = 400,
                                             .type = "ThrottlingException",
                                             .text = "Rate \"x\"" };

        assert_int_equal(application_refusal_format(&refusal, &body), 0);
        assert_string_equal(body, "{\"__type\":\"ThrottlingException\",\"message\":\"Rate \\\"x\\\"\"}");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_operations_with_a_plaintext_get_a_recipient),
                cmocka_unit_test(test_a_clients_own_recipient_is_left_alone),
                cmocka_unit_test(test_the_region_comes_from_the_arn_else_from_the_signature),
                cmocka_unit_test(test_only_the_configured_keys_are_used),
                cmocka_unit_test(test_re_encrypt_needs_both_keys),
                cmocka_unit_test(test_contexts_of_secrets_are_refused),
                cmocka_unit_test(test_a_body_with_two_meanings_is_refused),
                cmocka_unit_test(test_operations_are_a_list),
                cmocka_unit_test(test_a_document_is_put_to_the_request),
                cmocka_unit_test(test_an_answer_is_made_as_kms_gives_it_without_a_recipient),
                cmocka_unit_test(test_an_answer_that_is_not_trustworthy_is_discarded),
                cmocka_unit_test(test_a_refusal_is_as_kms_words_errors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
