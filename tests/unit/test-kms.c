/* SPDX-License-Identifier: Apache-2.0 */

#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "basic/encoding.h"
#include "basic/json.h"
#include "failing-memory.h"
#include "http-server.h"
#include "kms/client.h"
#include "kms/cms.h"

#define KEY "arn:aws:kms:eu-north-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab"
#define REPLICA "arn:aws:kms:us-east-1:111111111111:key/mrk-1234abcd12ab34cd56ef1234567890ab"

static const char *const pins[] = { KEY, REPLICA, NULL };
static const char *const context[] = { "unseald:secret=db", "a=b=c", "empty=", NULL };

static const KmsDecrypt decrypt = {
        .ciphertext = { (const uint8_t *) "sealed", 6 },
        .key_ids = pins,
        .encryption_context = context,
        .document = { (const uint8_t *) "\xff\xfe\xfd", 3 },
};

static char access_key_id[] = "AKIDEXAMPLE", secret_access_key[] = "wJalrXUtnFEMI", token[] = "TOKEN//==";
static const AwsCredentials credentials = { access_key_id, secret_access_key, token, 0 };

static void test_replicas_differ_in_the_region_alone(void **state) {
        const KmsKeyArn key = { "aws", "eu-north-1", "111111111111", "mrk-1" };
        KmsKeyArn other = key;

        assert_false(kms_key_is_replica(&key, &other));
        (void) stpcpy(other.region, "eu-west-1");
        assert_true(kms_key_is_replica(&key, &other));
        assert_true(kms_key_is_replica(&other, &key));
        (void) stpcpy(other.key, "mrk-2");
        assert_false(kms_key_is_replica(&key, &other));
        other = (KmsKeyArn){ "aws", "eu-west-1", "222222222222", "mrk-1" };
        assert_false(kms_key_is_replica(&key, &other));
        other = (KmsKeyArn){ "aws-cn", "cn-north-1", "111111111111", "mrk-1" };
        assert_false(kms_key_is_replica(&key, &other));
        /* A key of one Region may have the same ID elsewhere by chance alone, and is none. */
        const KmsKeyArn single = { "aws", "eu-north-1", "111111111111", "1" },
                        elsewhere = { "aws", "eu-west-1", "111111111111", "1" };
        assert_false(kms_key_is_replica(&single, &elsewhere));
}

static void test_arns_of_keys_are_taken_apart(void **state) {
        KmsKeyArn arn;

        assert_int_equal(kms_key_arn_parse(REPLICA, &arn), 0);
        assert_string_equal(arn.partition, "aws");
        assert_string_equal(arn.region, "us-east-1");
        assert_string_equal(arn.account, "111111111111");
        assert_string_equal(arn.key, "mrk-1234abcd12ab34cd56ef1234567890ab");
        assert_int_equal(kms_key_arn_parse("arn:aws-us-gov:kms:us-gov-west-1:111111111111:key/a", &arn), 0);
        assert_string_equal(arn.partition, "aws-us-gov");
}

static void test_text_that_is_not_the_arn_of_a_key_is_refused(void **state) {
        static const char *const texts[] = {
                "",
                "1234abcd-12ab-34cd-56ef-1234567890ab",
                "alias/a",
                "arn:aws:kms:eu-north-1:111111111111:alias/a",
                "arn:aws:kms:eu-north-1:111111111111:key/",
                "arn:aws:kms:eu-north-1:111111111111:key/a/b",
                "arn:aws:kms:eu-north-1:111111111111:key/a b",
                "arn:aws:kms:eu-north-1:111111111111:key/a\n",
                "arn:aws:kms:eu-north-1:11111111111:key/a",
                "arn:aws:kms:eu-north-1:1111111111111:key/a",
                "arn:aws:kms:eu-north-1:11111111111a:key/a",
                "arn:aws:kms:eu.north:111111111111:key/a",
                "arn:aws:kms:evil.example/:111111111111:key/a",
                "arn:aws:kms::111111111111:key/a",
                "arn::kms:eu-north-1:111111111111:key/a",
                "arn:aws:s3:eu-north-1:111111111111:key/a",
                "ARN:aws:kms:eu-north-1:111111111111:key/a",
                "arn:aws:kms:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:111111111111:key/a",
                " " KEY,
                KEY " ",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                KmsKeyArn arn = {};

                if (kms_key_arn_parse(texts[i], &arn) != -EINVAL || arn.partition[0])
                        fail_msg("accepted: %s", texts[i]);
        }
}

static void test_endpoints_follow_partition_and_region(void **state) {
        static const struct {
                const char *partition, *region;
                KmsEndpointOptions options;
                int r;
                const char *wanted;
        } cases[] = {
                { "aws", "eu-north-1", {}, 0, "https://kms.eu-north-1.amazonaws.com" },
                { "aws", "us-east-1", { .fips = true }, 0, "https://kms-fips.us-east-1.amazonaws.com" },
                { "aws", "us-east-1", { .dual_stack = true }, 0, "https://kms.us-east-1.api.aws" },
                { "aws",
                  "us-east-1",
                  { .fips = true, .dual_stack = true },
                  0,
                  "https://kms-fips.us-east-1.api.aws" },
                { "aws-us-gov", "us-gov-west-1", {}, 0, "https://kms.us-gov-west-1.amazonaws.com" },
                { "aws-cn", "cn-north-1", {}, 0, "https://kms.cn-north-1.amazonaws.com.cn" },
                { "aws-cn",
                  "cn-north-1",
                  { .dual_stack = true },
                  0,
                  "https://kms.cn-north-1.api.amazonwebservices.com.cn" },
                { "aws-eusc", "eusc-de-east-1", {}, 0, "https://kms.eusc-de-east-1.amazonaws.eu" },
                { "aws-eusc",
                  "eusc-de-east-1",
                  { .dual_stack = true },
                  0,
                  "https://kms.eusc-de-east-1.api.amazonwebservices.eu" },
                { "aws-iso", "us-iso-east-1", {}, 0, "https://kms.us-iso-east-1.c2s.ic.gov" },
                { "aws-moon", "moon-east-1", {}, -EOPNOTSUPP, NULL },
                { "aws", "x", { .endpoint = "https://kms.internal:8443" }, 0, "https://kms.internal:8443" },
                { "aws-moon", "x", { .endpoint = "https://kms.internal" }, 0, "https://kms.internal" },
                { "aws", "x", { .endpoint = "http://kms.internal" }, -EINVAL, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *endpoint = NULL;
                KmsKeyArn arn = {};
                int r;

                (void) snprintf(arn.partition, sizeof(arn.partition), "%s", cases[i].partition);
                (void) snprintf(arn.region, sizeof(arn.region), "%s", cases[i].region);
                r = kms_endpoint(&arn, &cases[i].options, &endpoint);
                if (r != cases[i].r || (cases[i].wanted && strcmp(endpoint, cases[i].wanted) != 0))
                        fail_msg("case %zu: %d %s, wanted %d %s", i, r, endpoint, cases[i].r,
                                 cases[i].wanted);
        }
}

#define REQUEST                                                                                       \
        "{\"CiphertextBlob\":\"c2VhbGVk\",\"KeyId\":\"" KEY                                           \
        "\",\"EncryptionContext\":{\"unseald:secret\":\"db\","                                        \
        "\"a\":\"b=c\",\"empty\":\"\"},\"EncryptionAlgorithm\":\"SYMMETRIC_DEFAULT\",\"Recipient\":{" \
        "\"KeyEncryptionAlgorithm\":\"RSAES_OAEP_SHA_256\",\"AttestationDocument\":\"//79\"}}"

static void test_the_request_is_what_kms_documents(void **state) {
        _cleanup_free_ char *text = NULL;

        assert_int_equal(kms_decrypt_request(&decrypt, &text), 0);
        assert_string_equal(text, REQUEST);
}

static void test_incomplete_requests_are_refused(void **state) {
        static const char *const none[] = { NULL };
        static const char *const bad_contexts[][3] = { { "a" }, { "=b" }, { "a=1", "a=2" } };
        KmsDecrypt cases[9];
        char *text = NULL;
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                cases[i] = decrypt;
        cases[n++].document.size = 0;
        cases[n++].document.size = KMS_DOCUMENT_MAX + 1;
        cases[n++].ciphertext.size = 0;
        cases[n++].ciphertext.size = KMS_CIPHERTEXT_MAX + 1;
        cases[n++].key_ids = none;
        cases[n++].key_ids = NULL;
        for (size_t i = 0; i < ELEMENTSOF(bad_contexts); i++)
                cases[n++].encryption_context = bad_contexts[i];
        assert_int_equal(n, ELEMENTSOF(cases));
        for (size_t i = 0; i < n; i++)
                if (kms_decrypt_request(cases + i, &text) != -EINVAL)
                        fail_msg("case %zu is accepted", i);
        assert_null(text);
}

static void test_the_largest_parts_fit_a_request(void **state) {
        static const uint8_t bytes[KMS_DOCUMENT_MAX];
        const KmsDecrypt largest = {
                .ciphertext = { bytes, KMS_CIPHERTEXT_MAX },
                .key_ids = pins,
                .document = { bytes, KMS_DOCUMENT_MAX },
        };
        _cleanup_free_ char *text = NULL;

        assert_int_equal(kms_decrypt_request(&largest, &text), 0);
        assert_non_null(strstr(text, "\"EncryptionContext\":{}"));
}

#define REQUEST_FOR_KEY                                                                                 \
        "{\"NumberOfBytes\":32,\"KeyId\":\"" KEY "\",\"EncryptionContext\":{\"unseald:secret\":\"db\"," \
        "\"a\":\"b=c\",\"empty\":\"\"},"
#define REQUEST_FOR_KEY_ATTESTED                                                            \
        REQUEST_FOR_KEY "\"Recipient\":{\"KeyEncryptionAlgorithm\":\"RSAES_OAEP_SHA_256\"," \
                        "\"AttestationDocument\":\"//79\"}}"

static KmsDecrypt of_a_data_key(size_t size) {
        KmsDecrypt generate = decrypt;

        generate.ciphertext = (Slice){};
        generate.generate = size;
        return generate;
}

static void test_a_data_key_is_asked_for_with_a_document_alone(void **state) {
        static const size_t good[] = { 1, 32, KMS_GENERATE_MAX }, bad[] = { 0, KMS_GENERATE_MAX + 1 };
        KmsDecrypt generate = of_a_data_key(32), both = decrypt;
        _cleanup_free_ char *text = NULL, *probe = NULL;
        char *none = NULL;

        assert_int_equal(kms_decrypt_request(&generate, &text), 0);
        assert_string_equal(text, REQUEST_FOR_KEY_ATTESTED);
        assert_string_equal(kms_decrypt_operation(&generate), "GenerateDataKey");
        assert_string_equal(kms_decrypt_operation(&decrypt), "Decrypt");
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                _cleanup_free_ char *one = NULL;

                generate = of_a_data_key(good[i]);
                assert_int_equal(kms_decrypt_request(&generate, &one), 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                generate = of_a_data_key(bad[i]);
                assert_int_equal(kms_decrypt_request(&generate, &none), -EINVAL);
        }
        both.generate = 32;
        assert_int_equal(kms_decrypt_request(&both, &none), -EINVAL);
        generate = of_a_data_key(32);
        assert_int_equal(kms_probe_request(&generate, &none), -EINVAL);
        generate.document = (Slice){};
        assert_int_equal(kms_decrypt_request(&generate, &none), -EINVAL);
        assert_int_equal(kms_probe_request(&generate, &probe), 0);
        assert_string_equal(probe, REQUEST_FOR_KEY "\"DryRun\":true}");
        assert_null(none);
}

static void test_the_answer_with_a_data_key_is_believed_as_one_with_a_plaintext(void **state) {
        static const char good[] = "{\"CiphertextBlob\":\"AQID\",\"KeyId\":\"" KEY
                                   "\",\"CiphertextForRecipient\":\"AAEC\"}";
        static const struct {
                const char *reply, *words;
        } bad[] = {
                { "{\"CiphertextBlob\":\"AQID\",\"KeyId\":\"" KEY "x\",\"CiphertextForRecipient\":\"AAEC\"}",
                  "unseald discards the data key" },
                { "{\"CiphertextBlob\":\"AQID\",\"KeyId\":\"" KEY
                  "\",\"CiphertextForRecipient\":\"AAEC\",\"Plaintext\":\"aGk=\"}",
                  "contains a plaintext" },
                { "{\"CiphertextBlob\":\"AQID\",\"KeyId\":\"" KEY "\"}", "no CiphertextForRecipient" },
        };
        const KmsDecrypt generate = of_a_data_key(32);
        _cleanup_free_ uint8_t *envelope = NULL;
        Error error = {};
        size_t size;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                error = (Error){};
                if (kms_decrypt_reply(&generate, bad[i].reply, strlen(bad[i].reply), &envelope, &size,
                                      &error) >= 0 ||
                    error.failure != FAILURE_ANSWER || !strstr(error.text, bad[i].words))
                        fail_msg("%s: saw \"%s\"", bad[i].reply, error.text);
        }
        assert_int_equal(kms_decrypt_reply(&generate, good, strlen(good), &envelope, &size, &error), 0);
        assert_int_equal(size, 3);
}

static void test_of_a_data_key_that_is_kept_the_ciphertext_is_taken(void **state) {
        static const char good[] = "{\"CiphertextBlob\":\"AQIDBA==\",\"KeyId\":\"" KEY
                                   "\",\"CiphertextForRecipient\":\"AAEC\"}";
        static const char *const bad[][2] = {
                { "{\"CiphertextBlob\":\"AQID\",\"KeyId\":\"" KEY "x\"}", "unseald discards the data key" },
                { "{\"CiphertextBlob\":\"AQID\",\"KeyId\":\"" KEY "\",\"Plaintext\":\"aGk=\"}",
                  "contains a plaintext" },
                { "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":\"AAEC\"}", "no CiphertextBlob" },
                { "{\"CiphertextBlob\":\"\",\"KeyId\":\"" KEY "\"}", "no CiphertextBlob" },
        };
        KmsDecrypt generate = of_a_data_key(32);
        _cleanup_free_ uint8_t *ciphertext = NULL;
        Error error = {};
        size_t size;

        generate.keeps_ciphertext = true;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                error = (Error){};
                assert_true(kms_decrypt_reply(&generate, bad[i][0], strlen(bad[i][0]), &ciphertext, &size,
                                              &error) < 0);
                assert_int_equal(error.failure, FAILURE_ANSWER);
                if (!strstr(error.text, bad[i][1]))
                        fail_msg("%s: saw \"%s\"", bad[i][0], error.text);
        }
        assert_int_equal(kms_decrypt_reply(&generate, good, strlen(good), &ciphertext, &size, &error), 0);
        assert_int_equal(size, 4);
        assert_memory_equal(ciphertext, "\1\2\3\4", 4);
}

static void test_a_denied_data_key_names_the_action(void **state) {
        static const char body[] = "{\"__type\":\"AccessDeniedException\",\"Message\":\"no\"}";
        KmsErrorReply reply = { .status = 400,
                                .body = body,
                                .size = strlen(body),
                                .skew = AWS_SKEW_UNKNOWN,
                                .generates = true };
        Error error = {};

        assert_true(kms_error_reply(&reply, &error) < 0);
        assert_int_equal(error.failure, FAILURE_DENIED);
        assert_non_null(strstr(
                        error.text,
                        "must allow kms:GenerateDataKey (unsealctl policy --generate-data-key=NAME)"));
        assert_null(strstr(error.text, "kms:Decrypt"));
        reply.generates = false;
        assert_true(kms_error_reply(&reply, &error) < 0);
        assert_non_null(strstr(error.text, "must allow kms:Decrypt"));
        reply.generates = reply.by_hand = true;
        assert_true(kms_error_reply(&reply, &error) < 0);
        assert_null(strstr(error.text, "of this instance"));
}

/* A probe must never ask for a plaintext, so a request with a document is not a probe. */
static void test_a_probe_is_a_dry_run_without_a_document(void **state) {
        _cleanup_free_ char *text = NULL;
        KmsDecrypt probe = decrypt;

        assert_int_equal(kms_probe_request(&probe, &text), -EINVAL);
        probe.document.size = 0;
        assert_int_equal(kms_probe_request(&probe, &text), 0);
        assert_string_equal(text, "{\"CiphertextBlob\":\"c2VhbGVk\",\"KeyId\":\"" KEY
                                  "\",\"EncryptionContext\":{\"unseald:secret\":\"db\",\"a\":\"b=c\","
                                  "\"empty\":\"\"},\"EncryptionAlgorithm\":\"SYMMETRIC_DEFAULT\","
                                  "\"DryRun\":true}");
}

static void test_every_dry_run_says_so(void **state) {
        static const char *const pairs[] = { "unseald:secret=db", NULL }, *const twice[] = { "a=b", "a=c",
                                                                                             NULL };
        static const uint8_t bytes[KMS_DOCUMENT_MAX + 1];
        static const struct {
                KmsDryRun question;
                const char *body; /* NULL: refused */
        } cases[] = {
                { { .operation = "Decrypt", .key_arn = KEY, .encryption_context = pairs },
                  "{\"KeyId\":\"" KEY
                  "\",\"EncryptionContext\":{\"unseald:secret\":\"db\"},\"DryRunModifiers\":[\"IGNORE_CIPHERTEXT\"],\"DryRun\":true}" },
                { { .operation = "Decrypt", .key_arn = KEY, .document = { (const uint8_t *) "doc", 3 } },
                  "{\"KeyId\":\"" KEY
                  "\",\"EncryptionContext\":{},\"DryRunModifiers\":[\"IGNORE_CIPHERTEXT\"],\"Recipient\":{\"KeyEncryptionAlgorithm\":\"RSAES_OAEP_SHA_256\",\"AttestationDocument\":\"ZG9j\"},\"DryRun\":true}" },
                { { .operation = "GenerateDataKey", .key_arn = KEY },
                  "{\"KeyId\":\"" KEY
                  "\",\"EncryptionContext\":{},\"KeySpec\":\"AES_256\",\"DryRun\":true}" },
                { { .operation = "Encrypt", .key_arn = KEY },
                  "{\"KeyId\":\"" KEY
                  "\",\"EncryptionContext\":{},\"Plaintext\":\"AA==\",\"DryRun\":true}" },
                { { .operation = "Encrypt", .key_arn = KEY, .document = { (const uint8_t *) "doc", 3 } },
                  NULL },
                { { .operation = "PutKeyPolicy", .key_arn = KEY }, NULL },
                { { .operation = "Decrypt", .key_arn = KEY, .encryption_context = twice }, NULL },
                { { .operation = "Decrypt", .key_arn = KEY, .document = { bytes, sizeof(bytes) } }, NULL },
                { { .operation = "GenerateDataKeyWithoutPlaintext", .key_arn = KEY },
                  "{\"KeyId\":\"" KEY
                  "\",\"EncryptionContext\":{},\"KeySpec\":\"AES_256\",\"DryRun\":true}" },
                { { .operation = "GenerateDataKeyPair", .key_arn = KEY, .encryption_context = pairs },
                  "{\"KeyId\":\"" KEY
                  "\",\"EncryptionContext\":{\"unseald:secret\":\"db\"},\"KeyPairSpec\":\"ECC_NIST_P256\",\"DryRun\":true}" },
                { { .operation = "GenerateDataKeyPairWithoutPlaintext", .key_arn = KEY },
                  "{\"KeyId\":\"" KEY
                  "\",\"EncryptionContext\":{},\"KeyPairSpec\":\"ECC_NIST_P256\",\"DryRun\":true}" },
                { { .operation = "ReEncrypt",
                    .key_arn = KEY,
                    .destination_arn = "there",
                    .encryption_context = pairs },
                  "{\"SourceKeyId\":\"" KEY
                  "\",\"DestinationKeyId\":\"there\",\"SourceEncryptionContext\":{\"unseald:secret\":\"db\"},\"DestinationEncryptionContext\":{\"unseald:secret\":\"db\"},\"DryRunModifiers\":[\"IGNORE_CIPHERTEXT\"],\"DryRun\":true}" },
                { { .operation = "ReEncrypt", .key_arn = KEY }, NULL },
                { { .operation = "ReEncrypt",
                    .key_arn = KEY,
                    .destination_arn = "there",
                    .encryption_context = twice },
                  NULL },
                { { .operation = "ReEncrypt",
                    .key_arn = KEY,
                    .destination_arn = "there",
                    .document = { (const uint8_t *) "doc", 3 } },
                  NULL },
                { { .operation = "CreateGrant", .key_arn = KEY, .grantee = "somebody" },
                  "{\"KeyId\":\"" KEY
                  "\",\"GranteePrincipal\":\"somebody\",\"Operations\":[\"Decrypt\"],\"DryRun\":true}" },
                { { .operation = "CreateGrant", .key_arn = KEY }, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *text = NULL;

                assert_int_equal(kms_dry_run_request(&cases[i].question, &text),
                                 cases[i].body ? 0 : -EINVAL);
                if (cases[i].body)
                        assert_string_equal(text, cases[i].body);
        }
}

static void test_probe_is_open_denied_or_unknown(void **state) {
        static const struct {
                const char *code; /* NULL: status 200 with this body */
                const char *body;
                int wanted; /* 1: open. 0: denied. -1: unknown */
        } cases[] = {
                { "AccessDeniedException", "", 0 },
                { "DryRunOperationException", "", 1 },
                { "ThrottlingException", "", -1 },
                { "ExpiredTokenException", "", -1 },
                { "ValidationException", "", -1 },
                { "InvalidCiphertextException", "", -1 },
                { "NotFoundException", "", -1 },
                { "AccessDenied", "", -1 },
                { "", "", -1 },
                { NULL, "{\"KeyId\":\"" KEY "\",\"Plaintext\":\"aGk=\"}", 1 },
                { NULL, "{\"KeyId\":\"" KEY "\",\"CiphertextBlob\":\"aGk=\"}", 1 },
                { NULL, "{\"KeyId\":\"" KEY "\",\"PrivateKeyCiphertextBlob\":\"aGk=\"}", 1 },
                { NULL, "{\"GrantId\":\"1\",\"GrantToken\":\"2\"}", 1 },
                { NULL, "{\"GrantId\":null}", -1 },
                { NULL, "{\"KeyId\":\"" KEY "\"}", -1 },
                { NULL, "", -1 },
                { NULL, "<html>", -1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Error refusal = {}, error = {};
                bool open = i % 2;
                int r;

                if (cases[i].code)
                        (void) kms_error_reply(&(KmsErrorReply){ .status = 400,
                                                                 .body = "{}",
                                                                 .size = 2,
                                                                 .error_type = cases[i].code,
                                                                 .skew = AWS_SKEW_UNKNOWN },
                                               &refusal);
                r = kms_probe_reply(cases[i].code ? -EREMOTEIO : 0, cases[i].body, strlen(cases[i].body),
                                    &refusal, &open, &error);
                if ((r != 0) != (cases[i].wanted < 0) || r > 0 || (r >= 0 && open != cases[i].wanted) ||
                    (r < 0) != (error.failure != FAILURE_NONE) || open != (r < 0 ? i % 2 : open))
                        fail_msg("%s %s: %d, open %d, wanted %d (%s)", cases[i].code, cases[i].body, r, open,
                                 cases[i].wanted, error.text);
        }
}

/* A missing answer is not a denial. */
static void test_probe_without_an_answer_is_unknown(void **state) {
        Error refusal = {}, error = {};
        bool open = false;

        (void) error_set_remedy(&refusal, -ECONNRESET, FAILURE_NETWORK, REMEDY_RETRY, "Reset.");
        assert_int_equal(kms_probe_reply(-ECONNRESET, NULL, 0, &refusal, &open, &error), -ECONNRESET);
        assert_int_equal(error.failure, FAILURE_NETWORK);
        assert_int_equal(error.remedy, REMEDY_RETRY);
}

static void test_a_good_reply_has_the_envelope(void **state) {
        static const char *const replies[] = {
                "{\"KeyId\":\"" KEY
                "\",\"CiphertextForRecipient\":\"AAEC\",\"EncryptionAlgorithm\":\"SYMMETRIC_DEFAULT\"}",
                "{\"KeyId\":\"" REPLICA "\",\"CiphertextForRecipient\":\"AAEC\",\"Plaintext\":null}",
                "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":\"AAEC\",\"Plaintext\":\"\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(replies); i++) {
                _cleanup_free_ uint8_t *envelope = NULL;
                Error error = {};
                size_t size;
                int r = kms_decrypt_reply(&decrypt, replies[i], strlen(replies[i]), &envelope, &size,
                                          &error);

                if (r < 0)
                        fail_msg("%s: %s", replies[i], error.text);
                assert_int_equal(size, 3);
                assert_memory_equal(envelope, "\x00\x01\x02", 3);
        }
}

static void assert_unbelieved(const char *reply, Remedy remedy) {
        uint8_t *envelope = NULL;
        Error error = {};
        size_t size;
        int r = kms_decrypt_reply(&decrypt, reply, strlen(reply), &envelope, &size, &error);

        if (r >= 0 || envelope || error.failure != FAILURE_ANSWER || error.remedy != remedy ||
            !error.text[0])
                fail_msg("%.80s: %d %s (failure %d, remedy %d)", reply, r, error.text, error.failure,
                         error.remedy);
        for (const char *p = error.text; *p; p++)
                assert_in_range(*p, ' ', '~');
}

static void test_untrustworthy_replies_are_refused(void **state) {
        static const char *const replies[] = {
                "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":\"AAEC\",\"Plaintext\":\"aGk=\"}",
                "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":\"AAEC\",\"Plaintext\":\"x\"}",
                "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":\"AAEC\",\"Plaintext\":{}}",
                "{\"KeyId\":\"" KEY "\",\"Plaintext\":\"aGk=\"}",
                "{\"KeyId\":\"" KEY "x\",\"CiphertextForRecipient\":\"AAEC\"}",
                "{\"KeyId\":\"evil\\u001b[31m\xc3\xa9\\n\",\"CiphertextForRecipient\":\"AAEC\"}",
                "{\"KeyId\":\"\",\"CiphertextForRecipient\":\"AAEC\"}",
                "{\"CiphertextForRecipient\":\"AAEC\"}",
                "{\"KeyId\":[\"" KEY "\"],\"CiphertextForRecipient\":\"AAEC\"}",
                "{\"KeyId\":\"" KEY "\"}",
                "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":\"\"}",
                "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":\"AAE\"}",
                "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":\"AA EC\"}",
                "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":\"AAEC\\n\"}",
                "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":12}",
                "[]",
        };
        _cleanup_free_ char *long_reply = NULL, *envelope = calloc(1, 2 * CMS_ENVELOPE_MAX);

        for (size_t i = 0; i < ELEMENTSOF(replies); i++)
                assert_unbelieved(replies[i], REMEDY_NONE);
        memset(envelope, 'A', 2 * CMS_ENVELOPE_MAX - 4);
        assert_true(asprintf(&long_reply, "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":\"%s\"}",
                             envelope) > 0);
        assert_unbelieved(long_reply, REMEDY_NONE);

        /* A broken proxy may do this, and stop. */
        assert_unbelieved("", REMEDY_RETRY);
        assert_unbelieved("<html>sign in</html>", REMEDY_RETRY);
        assert_unbelieved("{\"KeyId\":\"" KEY "\",\"KeyId\":\"x\",\"CiphertextForRecipient\":\"AAEC\"}",
                          REMEDY_RETRY);
}

static void assert_size_of_envelope(size_t size, int wanted) {
        _cleanup_free_ uint8_t *envelope = NULL, *bytes = calloc(1, size);
        _cleanup_free_ char *base64 = NULL, *reply = NULL;
        size_t envelope_size = 0;
        Error error = {};

        assert_int_equal(base64_encode(bytes, size, &base64), 0);
        assert_true(asprintf(&reply, "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":\"%s\"}", base64) >
                    0);
        assert_int_equal(
                        kms_decrypt_reply(&decrypt, reply, strlen(reply), &envelope, &envelope_size, &error),
                        wanted);
        assert_int_equal(envelope_size, wanted < 0 ? 0 : size);
}

static void test_an_envelope_has_its_largest_size_and_no_more(void **state) {
        assert_size_of_envelope(1, 0);
        assert_size_of_envelope(CMS_ENVELOPE_MAX, 0);
        assert_size_of_envelope(CMS_ENVELOPE_MAX + 1, -EBADMSG);
}

static const char *const encrypt_context[] = { "unseald:secret=a", "k=v=\"", NULL };

static void test_a_request_to_encrypt_has_the_plaintext_once_and_nothing_else(void **state) {
        static const uint8_t plaintext[] = "Hello World";
        const KmsEncrypt encrypt = {
                .key_arn = KEY,
                .plaintext = { plaintext, sizeof(plaintext) - 1 },
                .encryption_context = encrypt_context,
        };
        _cleanup_json_ struct json_object *request = NULL;
        char *body = NULL;

        assert_int_equal(kms_encrypt_request(&encrypt, &body), 0);
        assert_int_equal(json_parse(body, strlen(body), &request), 0);
        assert_int_equal(json_object_object_length(request), 4);
        assert_string_equal(json_member_string(request, "KeyId"), KEY);
        assert_string_equal(json_member_string(request, "Plaintext"), "SGVsbG8gV29ybGQ=");
        assert_string_equal(json_member_string(request, "EncryptionAlgorithm"), "SYMMETRIC_DEFAULT");
        assert_string_equal(json_member_string(json_member(request, "EncryptionContext"), "unseald:secret"),
                            "a");
        assert_string_equal(json_member_string(json_member(request, "EncryptionContext"), "k"), "v=\"");
        erase_and_free(body);
}

static void test_every_size_that_kms_encrypts_fits_the_request(void **state) {
        static const uint8_t plaintext[KMS_PLAINTEXT_MAX + 1];
        static const char *const twice[] = { "a=1", "a=2", NULL };
        KmsEncrypt encrypt = { .key_arn = KEY,
                               .plaintext.data = plaintext,
                               .encryption_context = encrypt_context };
        char *body = NULL;

        for (size_t size = 1; size <= KMS_PLAINTEXT_MAX; size += size < 10 ? 1 : 511) {
                encrypt.plaintext.size = size;
                assert_int_equal(kms_encrypt_request(&encrypt, &body), 0);
                assert_string_equal(body + strlen(body) - 2, "\"}");
                body = erase_and_free(body);
        }
        encrypt.plaintext.size = 0;
        assert_int_equal(kms_encrypt_request(&encrypt, &body), -EINVAL);
        encrypt.plaintext.size = sizeof(plaintext);
        assert_int_equal(kms_encrypt_request(&encrypt, &body), -EINVAL);
        encrypt.plaintext.size = 1;
        encrypt.encryption_context = twice;
        assert_int_equal(kms_encrypt_request(&encrypt, &body), -EINVAL);
}

static void test_ciphertext_of_another_key_is_refused(void **state) {
        static const struct {
                const char *reply;
                int r;
        } cases[] = {
                { "{\"KeyId\":\"" KEY "\",\"CiphertextBlob\":\"AQI=\"}", 0 },
                { "{\"KeyId\":\"" KEY "0\",\"CiphertextBlob\":\"AQI=\"}", -EBADMSG },
                { "{\"KeyId\":\"alias/a\",\"CiphertextBlob\":\"AQI=\"}", -EBADMSG },
                { "{\"CiphertextBlob\":\"AQI=\"}", -EBADMSG },
                { "{\"KeyId\":\"" KEY "\"}", -EBADMSG },
                { "{\"KeyId\":\"" KEY "\",\"CiphertextBlob\":\"\"}", -EBADMSG },
                { "{\"KeyId\":\"" KEY "\",\"CiphertextBlob\":\"AQI\"}", -EBADMSG },
                { "[]", -EBADMSG },
                { "<html>", -EBADMSG },
        };
        const KmsEncrypt encrypt = { .key_arn = KEY };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ uint8_t *ciphertext = NULL;
                Error error = {};
                size_t size = 0;
                int r = kms_encrypt_reply(&encrypt, cases[i].reply, strlen(cases[i].reply), &ciphertext,
                                          &size, &error);

                if (r != cases[i].r || (r < 0 && error.failure != FAILURE_ANSWER))
                        fail_msg("%s: saw %d, wanted %d", cases[i].reply, r, cases[i].r);
                if (r == 0)
                        assert_true(size == 2 && memcmp(ciphertext, "\1\2", 2) == 0);
        }
}

static void test_message_is_signed_raw_by_one_key_and_algorithm(void **state) {
        uint8_t message[KMS_MESSAGE_MAX + 1] = "abc";
        _cleanup_free_ char *body = NULL, *longest = NULL;

        assert_int_equal(kms_signing_request(KEY, "ECDSA_SHA_256", message, 3, &body), 0);
        assert_string_equal(
                        body,
                        "{\"KeyId\":\"" KEY
                        "\",\"Message\":\"YWJj\",\"MessageType\":\"RAW\",\"SigningAlgorithm\":\"ECDSA_SHA_256\"}");
        assert_int_equal(kms_signing_request(KEY, "ECDSA_SHA_256", message, KMS_MESSAGE_MAX, &longest), 0);
        assert_int_equal(kms_signing_request(KEY, "ECDSA_SHA_256", message, KMS_MESSAGE_MAX + 1, &body),
                         -EINVAL);
        assert_int_equal(kms_signing_request(KEY, "ECDSA_SHA_256", message, 0, &body), -EINVAL);
}

#define SIGNED(key, algorithm, signature) \
        "{\"KeyId\":\"" key "\",\"SigningAlgorithm\":\"" algorithm "\",\"Signature\":" signature "}"

static void test_signature_of_another_key_or_algorithm_is_refused(void **state) {
        static const struct {
                const char *reply;
                int r;
        } cases[] = {
                { SIGNED(KEY, "ECDSA_SHA_256", "\"AQI=\""), 0 },
                { SIGNED(KEY "0", "ECDSA_SHA_256", "\"AQI=\""), -EBADMSG },
                { SIGNED(KEY, "ECDSA_SHA_384", "\"AQI=\""), -EBADMSG },
                { SIGNED(KEY, "ECDSA_SHA_256", "\"\""), -EBADMSG },
                { SIGNED(KEY, "ECDSA_SHA_256", "\"AQI\""), -EBADMSG },
                { SIGNED(KEY, "ECDSA_SHA_256", "1"), -EBADMSG },
                { "{\"KeyId\":\"" KEY "\",\"Signature\":\"AQI=\"}", -EBADMSG },
                { "{}", -EBADMSG },
                { "", -EBADMSG },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ uint8_t *signature = NULL;
                Error error = {};
                size_t size = 0;
                int r = kms_signing_reply(KEY, "ECDSA_SHA_256", cases[i].reply, strlen(cases[i].reply),
                                          &signature, &size, &error);

                if (r != cases[i].r || (r < 0 && error.failure != FAILURE_ANSWER))
                        fail_msg("%s: saw %d, wanted %d", cases[i].reply, r, cases[i].r);
                if (r == 0)
                        assert_true(size == 2 && memcmp(signature, "\1\2", 2) == 0);
        }
}

static void test_public_key_of_another_key_is_refused(void **state) {
        static const char good[] = "{\"KeyId\":\"" KEY "\",\"PublicKey\":\"AQI=\"}", *const bad[] = {
                "{\"KeyId\":\"" KEY "0\",\"PublicKey\":\"AQI=\"}", "{\"KeyId\":\"" KEY "\"}",
                "{\"PublicKey\":\"AQI=\"}", "[]"
        };
        _cleanup_free_ uint8_t *key = NULL;
        Error error = {};
        size_t size;

        assert_int_equal(kms_public_key_reply(KEY, good, strlen(good), &key, &size, &error), 0);
        assert_true(size == 2 && memcmp(key, "\1\2", 2) == 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_equal(kms_public_key_reply(KEY, bad[i], strlen(bad[i]), &key, &size, &error),
                                 -EBADMSG);
                assert_int_equal(error.failure, FAILURE_ANSWER);
        }
}

static void test_a_data_key_has_256_bits_and_is_of_the_key_that_was_asked(void **state) {
        static const char *const pairs[] = { "unseald:secret=db", "a=b", NULL }, *const twice[] = { "a=b",
                                                                                                    "a=c",
                                                                                                    NULL };
        const KmsEncrypt asked = { .key_arn = KEY, .encryption_context = pairs },
                         wrong = { .key_arn = KEY, .encryption_context = twice };
#define BITS_256 "\"Plaintext\":\"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\""
#define SEALED "\"CiphertextBlob\":\"AQI=\""
        static const char good[] = "{\"KeyId\":\"" KEY "\"," BITS_256 "," SEALED "}";
        static const char *const bad[] = {
                "{\"KeyId\":\"" KEY "0\"," BITS_256 "," SEALED "}",
                "{" BITS_256 "," SEALED "}",
                "{\"KeyId\":\"" KEY "\"," SEALED "}",
                "{\"KeyId\":\"" KEY "\"," BITS_256 "}",
                "{\"KeyId\":\"" KEY "\",\"Plaintext\":\"BwcHBwcHBwcHBwcHBwcHBw==\"," SEALED "}",
                "{\"KeyId\":\"" KEY
                "\",\"Plaintext\":\"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\"," SEALED "}",
                "",
        };
        _cleanup_free_ char *request = NULL;
        _cleanup_free_ uint8_t *ciphertext = NULL;
        _cleanup_secret_ Secret *plaintext = NULL;
        Error error = {};
        size_t size;

        assert_int_equal(kms_data_key_request(&asked, &request), 0);
        assert_string_equal(
                        request,
                        "{\"KeyId\":\"" KEY
                        "\",\"EncryptionContext\":{\"unseald:secret\":\"db\",\"a\":\"b\"},\"KeySpec\":\"AES_256\"}");
        assert_int_equal(kms_data_key_request(&wrong, &request), -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                error = (Error){};
                if (kms_data_key_reply(&asked, bad[i], strlen(bad[i]), &plaintext, &ciphertext, &size,
                                       &error) != -EBADMSG ||
                    error.failure != FAILURE_ANSWER)
                        fail_msg("%s: saw \"%s\"", bad[i], error.text);
                assert_null(plaintext);
        }
        assert_int_equal(kms_data_key_reply(&asked, good, strlen(good), &plaintext, &ciphertext, &size,
                                            &error),
                         0);
        assert_int_equal(secret_size(plaintext), 32);
        for (size_t i = 0; i < 32; i++)
                assert_int_equal(secret_bytes(plaintext)[i], 7);
        assert_true(size == 2 && memcmp(ciphertext, "\1\2", 2) == 0);
}

static void test_a_sealed_key_is_one_that_nobody_has_seen(void **state) {
        static const char *const pairs[] = { "unseald:secret=db", NULL }, *const twice[] = { "a=b", "a=c",
                                                                                             NULL };
        static const char good[] = "{\"KeyId\":\"" KEY "\",\"CiphertextBlob\":\"AQI=\"}";
        static const char *const bad[] = {
                "{\"KeyId\":\"" KEY "\",\"CiphertextBlob\":\"AQI=\",\"Plaintext\":\"aGk=\"}",
                "{\"KeyId\":\"" REPLICA "\",\"CiphertextBlob\":\"AQI=\"}",
                "{\"KeyId\":\"" KEY "\"}",
                "",
        };
        const KmsEncrypt asked = { .key_arn = KEY, .encryption_context = pairs },
                         wrong = { .key_arn = KEY, .encryption_context = twice };
        _cleanup_free_ uint8_t *ciphertext = NULL;
        _cleanup_free_ char *request = NULL;
        char *none = NULL;
        Error error = {};
        size_t size;

        assert_int_equal(kms_sealed_key_request(&asked, 64, &request), 0);
        assert_string_equal(request,
                            "{\"KeyId\":\"" KEY
                            "\",\"EncryptionContext\":{\"unseald:secret\":\"db\"},\"NumberOfBytes\":64}");
        assert_int_equal(kms_sealed_key_request(&wrong, 64, &none), -EINVAL);
        assert_int_equal(kms_sealed_key_request(&asked, 0, &none), -EINVAL);
        assert_int_equal(kms_sealed_key_request(&asked, KMS_GENERATE_MAX + 1, &none), -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                error = (Error){};
                if (kms_sealed_key_reply(&asked, bad[i], strlen(bad[i]), &ciphertext, &size, &error) !=
                                    -EBADMSG ||
                    error.failure != FAILURE_ANSWER)
                        fail_msg("%s: saw \"%s\"", bad[i], error.text);
        }
        assert_int_equal(kms_sealed_key_reply(&asked, good, strlen(good), &ciphertext, &size, &error), 0);
        assert_true(size == 2 && memcmp(ciphertext, "\1\2", 2) == 0);
}

static void test_describe_key_says_which_key_an_alias_stands_for(void **state) {
        static const char good[] = "{\"KeyMetadata\":{\"Arn\":\"" KEY "\",\"Enabled\":true}}",
                          *const bad[] = { "{\"KeyMetadata\":{\"Arn\":\"alias/a\"}}",
                                           "{\"Arn\":\"" KEY "\"}", "{}", "" };
        _cleanup_free_ char *request = NULL, *arn = NULL;
        Error error = {};

        assert_int_equal(kms_describe_key_request("alias/a\"b", &request), 0);
        assert_string_equal(request, "{\"KeyId\":\"alias/a\\\"b\"}");
        assert_int_equal(kms_describe_key_reply(good, strlen(good), &arn, &error), 0);
        assert_string_equal(arn, KEY);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_equal(kms_describe_key_reply(bad[i], strlen(bad[i]), &arn, &error), -EBADMSG);
                assert_int_equal(error.failure, FAILURE_ANSWER);
        }
}

static Error error_of(unsigned status, const char *body, const char *type, int64_t skew) {
        const KmsErrorReply reply = {
                .status = status,
                .body = body,
                .size = strlen(body),
                .error_type = type,
                .request_id = "id-1",
                .retry_after_usec = 7,
                .skew = skew,
        };
        Error error = {};

        assert_true(kms_error_reply(&reply, &error) < 0);
        assert_string_equal(error.request_id, "id-1");
        assert_int_equal(error.retry_after_usec, 7);
        assert_true(strlen(error.text) > 10);
        return error;
}

static bool is_quoted(Failure failure, const char *code) {
        return (failure != FAILURE_ROLE && failure != FAILURE_CLOCK && failure != FAILURE_REQUEST) ||
               strcmp(code, "ValidationException") == 0;
}

static void assert_error_class(const char *code, const char *message, int64_t skew, Failure failure,
                               Remedy remedy) {
        _cleanup_free_ char *body = NULL;
        Error error;

        assert_true(asprintf(&body, "{\"__type\":\"%s\",\"message\":\"%s\"}", code, message) > 0);
        error = error_of(400, body, NULL, skew);
        if (error.failure != failure || error.remedy != remedy || strcmp(error.code, code) != 0)
                fail_msg("%s: failure %d remedy %d code %s, wanted %d %d", code, error.failure, error.remedy,
                         error.code, failure, remedy);
        if (*message && (strstr(error.text, message) != NULL) != is_quoted(failure, code))
                fail_msg("%s: \"%s\" is %squoted in: %s", code, message,
                         is_quoted(failure, code) ? "not " : "", error.text);
}

static void test_message_that_repeats_the_session_token_is_not_quoted(void **state) {
        static const char *const codes[] = { "InvalidSignatureException", "IncompleteSignatureException",
                                             "ExpiredTokenException",     "UnrecognizedClientException",
                                             "RequestTimeTooSkewed",      "SomethingNewException" };

        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                for (int64_t skew = 0; skew <= 3600; skew += 3600) {
                        _cleanup_free_ char *body = NULL;
                        Error error;

                        assert_true(asprintf(&body,
                                             "{\"__type\":\"%s\",\"message\":\"x-amz-security-token:"
                                             "CANARY\"}",
                                             codes[i]) > 0);
                        error = error_of(400, body, NULL, skew);
                        assert_null(strstr(error.text, "CANARY"));
                }
}

static void test_each_error_of_kms_has_its_failure_and_remedy(void **state) {
        static const struct {
                const char *code;
                Failure failure;
                Remedy remedy;
        } cases[] = {
                { "AccessDeniedException", FAILURE_DENIED, REMEDY_NONE },
                { "NotFoundException", FAILURE_KEY, REMEDY_NONE },
                { "DisabledException", FAILURE_KEY, REMEDY_NONE },
                { "KMSInvalidStateException", FAILURE_KEY, REMEDY_NONE },
                { "InvalidKeyUsageException", FAILURE_KEY, REMEDY_NONE },
                { "InvalidCiphertextException", FAILURE_CIPHERTEXT, REMEDY_NONE },
                { "IncorrectKeyException", FAILURE_CIPHERTEXT, REMEDY_NONE },
                { "InvalidGrantTokenException", FAILURE_REQUEST, REMEDY_NONE },
                { "ValidationException", FAILURE_REQUEST, REMEDY_NONE },
                { "SerializationException", FAILURE_REQUEST, REMEDY_NONE },
                { "ThrottlingException", FAILURE_UNAVAILABLE, REMEDY_RETRY },
                { "LimitExceededException", FAILURE_UNAVAILABLE, REMEDY_RETRY },
                { "RequestLimitExceeded", FAILURE_UNAVAILABLE, REMEDY_RETRY },
                { "TooManyRequestsException", FAILURE_UNAVAILABLE, REMEDY_RETRY },
                { "KeyUnavailableException", FAILURE_UNAVAILABLE, REMEDY_RETRY },
                { "DependencyTimeoutException", FAILURE_UNAVAILABLE, REMEDY_RETRY },
                { "KMSInternalException", FAILURE_UNAVAILABLE, REMEDY_RETRY },
                { "ExpiredTokenException", FAILURE_ROLE, REMEDY_CREDENTIALS },
                { "UnrecognizedClientException", FAILURE_ROLE, REMEDY_CREDENTIALS },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                assert_error_class(cases[i].code, "", 0, cases[i].failure, cases[i].remedy);
                assert_error_class(cases[i].code, "some text", 0, cases[i].failure, cases[i].remedy);
        }
}

/* Failure and quotation are the same. The advice is for a person, not for the role of an instance. */
static void test_errors_are_explained_to_a_person_in_other_words(void **state) {
        static const struct {
                const char *code, *words;
                Failure failure;
                bool quoted;
        } cases[] = {
                { "AccessDeniedException", "with these credentials do not allow the request", FAILURE_DENIED,
                  true },
                { "NotFoundException", "Check the account and the Region of the key", FAILURE_KEY, true },
                { "DisabledException", "The key must be enabled", FAILURE_KEY, true },
                { "ExpiredTokenException", "The credentials have expired", FAILURE_ROLE, false },
                { "InvalidSignatureException", "the secret access key does not belong", FAILURE_ROLE,
                  false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *body = NULL;
                Error error = {};

                assert_true(asprintf(&body, "{\"__type\":\"%s\",\"message\":\"CANARY\"}", cases[i].code) >
                            0);
                const KmsErrorReply reply = {
                        .status = 400, .body = body, .size = strlen(body), .by_hand = true
                };
                assert_true(kms_error_reply(&reply, &error) < 0);
                if (error.failure != cases[i].failure || !strstr(error.text, cases[i].words) ||
                    strstr(error.text, "instance") || !strstr(error.text, "CANARY") == cases[i].quoted)
                        fail_msg("%s: saw %d, \"%s\", wanted %d with \"%s\"", cases[i].code, error.failure,
                                 error.text, cases[i].failure, cases[i].words);
        }
}

static void test_refused_document_is_distinguished_from_other_validation_errors(void **state) {
        assert_error_class("ValidationException",
                           "The Attestation document is older than the five-minute age limit", 0,
                           FAILURE_DOCUMENT, REMEDY_DOCUMENT);
        assert_error_class("AccessDeniedException", "no attestation", 0, FAILURE_DENIED, REMEDY_NONE);
}

/* The text of the second refusal is that of the first, and no third document follows. */
static void test_a_refused_document_promises_one_new_document_and_no_more(void **state) {
        Error error = error_of(400,
                               "{\"__type\":\"ValidationException\",\"message\":\"Attestation document\"}",
                               NULL, 0);

        assert_int_equal(error.failure, FAILURE_DOCUMENT);
        assert_non_null(strstr(error.text, "a new one, but only once."));
}

static void test_wrong_clock_is_distinguished_from_wrong_signature(void **state) {
        static const char *const codes[] = { "InvalidSignatureException", "SignatureDoesNotMatch" };

        for (size_t i = 0; i < ELEMENTSOF(codes); i++) {
                assert_error_class(codes[i], "Signature expired", 241, FAILURE_CLOCK, REMEDY_CLOCK);
                assert_error_class(codes[i], "", -86400, FAILURE_CLOCK, REMEDY_CLOCK);
                assert_error_class(codes[i], "", 240, FAILURE_ROLE, REMEDY_CREDENTIALS);
                assert_error_class(codes[i], "", -240, FAILURE_ROLE, REMEDY_CREDENTIALS);
                assert_error_class(codes[i], "", AWS_SKEW_UNKNOWN, FAILURE_ROLE, REMEDY_CREDENTIALS);
        }
        assert_error_class("RequestTimeTooSkewed", "", 3600, FAILURE_CLOCK, REMEDY_CLOCK);
        assert_error_class("RequestTimeTooSkewed", "", AWS_SKEW_UNKNOWN, FAILURE_CLOCK, REMEDY_RETRY);
        assert_error_class("RequestExpired", "", 0, FAILURE_CLOCK, REMEDY_RETRY);
}

static void test_the_name_of_an_error_is_found_wherever_aws_puts_it(void **state) {
        static const struct {
                const char *body, *type, *code;
        } cases[] = {
                { "{\"__type\":\"com.amazonaws.kms#DisabledException\"}", NULL, "DisabledException" },
                { "{\"__type\":\"DisabledException\",\"Message\":\"x\"}", "Other", "DisabledException" },
                { "{}", "DisabledException:http://internal.amazon.com/coral#x/", "DisabledException" },
                { "<html>", "DisabledException", "DisabledException" },
                { "{\"__type\":\"Disabled Exception\"}", NULL, "" },
                { "{\"__type\":\"a#\"}", NULL, "" },
                { "{\"__type\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", NULL,
                  "" },
                { "", NULL, "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Error error = error_of(400, cases[i].body, cases[i].type, 0);

                if (strcmp(error.code, cases[i].code) != 0)
                        fail_msg("%s: %s, wanted %s", cases[i].body, error.code, cases[i].code);
                assert_int_equal(error.failure, *cases[i].code ? FAILURE_KEY : FAILURE_REQUEST);
        }
}

static void test_an_error_without_a_name_goes_by_its_status(void **state) {
        static const unsigned passing[] = { 408, 429, 500, 502, 503, 504 },
                              lasting[] = { 301, 400, 403, 404, 413 };

        for (size_t i = 0; i < ELEMENTSOF(passing); i++) {
                Error error = error_of(passing[i], "<html>", NULL, 0);

                assert_int_equal(error.failure, FAILURE_UNAVAILABLE);
                assert_int_equal(error.remedy, REMEDY_RETRY);
                assert_int_equal(error.outage, passing[i] >= 500);
        }
        for (size_t i = 0; i < ELEMENTSOF(lasting); i++) {
                Error error = error_of(lasting[i], "<html>", NULL, 0);

                assert_int_equal(error.failure, FAILURE_REQUEST);
                assert_int_equal(error.remedy, REMEDY_NONE);
                assert_false(error.outage);
        }
}

/* In an outage unseald asks in another Region (unsealing/passage-key.h). */
static void test_an_outage_is_a_failure_of_kms_and_no_throttling(void **state) {
        static const struct {
                unsigned status;
                const char *code;
                bool outage;
        } cases[] = {
                { 500, "KMSInternalException", true },    { 503, "DependencyTimeoutException", true },
                { 500, "KeyUnavailableException", true }, { 503, "ServiceUnavailable", true },
                { 400, "ThrottlingException", false },    { 503, "SlowDown", false },
                { 408, "RequestTimeout", false },         { 500, "AccessDeniedException", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Error error = error_of(cases[i].status, "", cases[i].code, 0);

                if (error.outage != cases[i].outage)
                        fail_msg("%u %s: %s an outage", cases[i].status, cases[i].code,
                                 error.outage ? "is" : "is not");
        }
}

static void test_message_of_kms_is_quoted_short_and_clean(void **state) {
        char body[3000] = "{\"__type\":\"AccessDeniedException\",\"message\":\"\\u001b[2J\\n\\\"\xc3\xa9";
        Error error;

        memset(body + strlen(body), '%', 2000);
        memcpy(body + strlen(body), "\"}", 3);
        error = error_of(400, body, NULL, 0);
        assert_int_equal(error.failure, FAILURE_DENIED);
        assert_non_null(strstr(error.text, "\"?[2J????%%%"));
        for (const char *p = error.text; *p; p++)
                assert_in_range(*p, ' ', '~');
        /* The advice after the quotation is complete. */
        assert_string_equal(error.text + strlen(error.text) - 22, "context of the secret.");
}

static void test_every_error_has_room_for_its_advice(void **state) {
        static const char *const codes[] = { "AccessDeniedException", "InvalidCiphertextException",
                                             "DisabledException" };

        for (size_t i = 0; i < ELEMENTSOF(codes); i++) {
                char body[1200] = "";
                Error error;

                (void) snprintf(body, sizeof(body), "{\"__type\":\"%s\",\"message\":\"%0900d\"}", codes[i],
                                0);
                error = error_of(400, body, NULL, 0);
                assert_true(strlen(error.text) < sizeof(error.text) - 1);
                assert_int_equal(error.text[strlen(error.text) - 1], '.');
        }
}

/* The signature that belongs to the headers of a request. */
static void assert_signed(const char *request, const char *region) {
        static const char *const names[] = {
                "Host", "Content-Type", "X-Amz-Date", "X-Amz-Target", "X-Amz-Security-Token",
        };
        _cleanup_free_ char *authorization = server_request_header(request, "Authorization"), *wanted = NULL;
        _cleanup_free_ char *date = server_request_header(request, "X-Amz-Date");
        const char *headers[ELEMENTSOF(names) + 1] = {}, *body = strstr(request, "\r\n\r\n") + 4;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *value = server_request_header(request, names[i]);

                if (!value)
                        fail_msg("no header %s in %s", names[i], request);
                assert_true(asprintf((char **) &headers[i], "%s: %s", names[i], value) > 0);
        }
        assert_int_equal(sigv4_authorization(&(Sigv4Request){ .method = "POST",
                                                              .path = "/",
                                                              .headers = headers,
                                                              .body = body,
                                                              .body_size = strlen(body) },
                                             &credentials, date, region, "kms", &wanted),
                         0);
        assert_string_equal(authorization, wanted);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                free((char *) headers[i]);
}

static void test_headers_are_signed_with_or_without_a_token(void **state) {
        _cleanup_(aws_headers_freep) char **headers = NULL, **without = NULL;
        const AwsCredentials no_token = { access_key_id, secret_access_key, NULL, 0 };

        assert_int_equal(kms_sign("h", "r", &credentials, 1440938160, "Decrypt", "{}", &headers), 0);
        assert_string_equal(headers[0], "Host: h");
        assert_string_equal(headers[1], "Content-Type: application/x-amz-json-1.1");
        assert_string_equal(headers[2], "X-Amz-Date: 20150830T123600Z");
        assert_string_equal(headers[3], "X-Amz-Target: TrentService.Decrypt");
        assert_string_equal(headers[4], "X-Amz-Security-Token: TOKEN//==");
        assert_non_null(strstr(headers[5],
                               "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/r/kms/"));
        assert_non_null(strstr(
                        headers[5],
                        "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target,"));
        assert_null(headers[6]);

        assert_int_equal(kms_sign("h", "r", &no_token, 1440938160, "Decrypt", "{}", &without), 0);
        assert_non_null(strstr(without[4], "Authorization: "));
        assert_null(without[5]);
        assert_int_equal(kms_sign("h", "r", &credentials, -1, "Decrypt", "{}", &(char **){ NULL }), -ERANGE);
        assert_int_equal(kms_sign("h", "r", &(AwsCredentials){}, 0, "Decrypt", "{}", &(char **){ NULL }),
                         -EINVAL);
}

/* The arguments of the callbacks. */
typedef struct Outcome {
        unsigned calls;
        int r;
        uint8_t cms[64];
        size_t size;
        char request_id[64];
        bool has_request_id; /* it was not NULL */
        Error error;
        KmsClient *free_it;
} Outcome;

static void decrypted(int r, const uint8_t *cms, size_t size, const char *request_id, const Error *error,
                      void *userdata) {
        Outcome *outcome = userdata;

        outcome->calls++;
        outcome->r = r;
        outcome->size = size;
        assert_true(size <= sizeof(outcome->cms));
        if (size > 0)
                memcpy(outcome->cms, cms, size);
        (void) snprintf(outcome->request_id, sizeof(outcome->request_id), "%s", request_id ?: "");
        outcome->has_request_id = request_id;
        outcome->error = *error;
        outcome->free_it = kms_client_free(outcome->free_it);
}

static void connected(int r, const Error *error, void *userdata) {
        Outcome *outcome = userdata;

        outcome->calls++;
        outcome->r = r;
        outcome->error = *error;
}

/* An event loop, a client and its server. */
typedef struct Stage {
        sd_event *event;
        HttpClient *http;
        Server *server;
        KmsClient *client;
} Stage;

static void stage_clear(Stage *stage) {
        kms_client_free(stage->client);
        http_client_free(stage->http);
        server_free(stage->server);
        sd_event_unref(stage->event);
}

static void stage_set(Stage *stage, const Answer *answers, size_t size) {
        stage->server = server_start(answers, size);
        assert_int_equal(sd_event_new(&stage->event), 0);
        assert_int_equal(http_client_new(stage->event, &(HttpOptions){}, &stage->http), 0);
        assert_int_equal(kms_client_new(stage->http, stage->server->address, "eu-north-1", &stage->client),
                         0);
        kms_client_set_credentials(stage->client, &credentials);
}

#define GOOD_REPLY "{\"KeyId\":\"" KEY "\",\"CiphertextForRecipient\":\"AAEC\"}"
#define REQUEST_ID "x-amzn-RequestId: 0000-1\r\n"

static void test_decrypt_is_signed_and_returns_the_envelope(void **state) {
        static const Answer answers[] = { { 200, REQUEST_ID, GOOD_REPLY } };
        _cleanup_(stage_clear) Stage stage = {};
        Outcome outcome = {};
        const char *request;

        stage_set(&stage, answers, ELEMENTSOF(answers));
        assert_int_equal(kms_decrypt(stage.client, &decrypt, decrypted, &outcome), 0);
        assert_int_equal(outcome.calls, 0);
        assert_true(run_until(stage.event, &outcome.calls, 1));
        assert_int_equal(outcome.r, 0);
        assert_int_equal(outcome.size, 3);
        assert_memory_equal(outcome.cms, "\x00\x01\x02", 3);
        assert_string_equal(outcome.request_id, "0000-1");
        assert_string_equal(outcome.error.request_id, ""); /* there is no error */

        server_stop(stage.server);
        request = stage.server->requests[0];
        assert_int_equal(strncmp(request, "POST / HTTP/1.1\r\n", 17), 0);
        assert_string_equal(strstr(request, "\r\n\r\n") + 4, REQUEST);
        assert_signed(request, "eu-north-1");
}

static void test_a_data_key_is_asked_for_by_its_operation(void **state) {
        static const Answer answers[] = {
                { 200, REQUEST_ID, GOOD_REPLY },
                { 400, REQUEST_ID, "{\"__type\":\"AccessDeniedException\",\"Message\":\"no\"}" },
        };
        const KmsDecrypt generate = of_a_data_key(32);
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                Outcome outcome = {};

                assert_int_equal(kms_decrypt(stage.client, &generate, decrypted, &outcome), 0);
                assert_true(run_until(stage.event, &outcome.calls, 1));
                assert_int_equal(outcome.r < 0, i == 1);
                if (i == 1)
                        assert_non_null(strstr(outcome.error.text, "kms:GenerateDataKey"));
        }
        server_stop(stage.server);
        assert_non_null(strstr(stage.server->requests[0],
                               "\r\nX-Amz-Target: TrentService.GenerateDataKey\r\n"));
        assert_string_equal(strstr(stage.server->requests[0], "\r\n\r\n") + 4, REQUEST_FOR_KEY_ATTESTED);
}

static void test_decrypt_reports_what_kms_denies(void **state) {
        static const Answer answers[] = {
                { 400, REQUEST_ID, "{\"__type\":\"AccessDeniedException\",\"Message\":\"no\"}" },
                { 200, REQUEST_ID, "{\"KeyId\":\"other\"}" },
                { 503, "Retry-After: 3\r\nx-amzn-ErrorType: ThrottlingException\r\n", "" },
                { 0 },
        };
        static const Failure failures[] = { FAILURE_DENIED, FAILURE_ANSWER, FAILURE_UNAVAILABLE,
                                            FAILURE_NETWORK };
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                Outcome outcome = {};

                assert_int_equal(kms_decrypt(stage.client, &decrypt, decrypted, &outcome), 0);
                assert_true(run_until(stage.event, &outcome.calls, 1));
                assert_true(outcome.r < 0);
                if (outcome.error.failure != failures[i])
                        fail_msg("answer %zu: failure %d, wanted %d", i, outcome.error.failure, failures[i]);
                assert_string_equal(outcome.request_id, i < 2 ? "0000-1" : "");
                assert_string_equal(outcome.error.request_id, outcome.request_id);
                assert_int_equal(outcome.has_request_id, i < 3); /* the last one is no answer */
                if (i == 2)
                        assert_int_equal(outcome.error.retry_after_usec, 3000000);
        }
}

static int64_t date_of(const char *request) {
        _cleanup_free_ char *date = server_request_header(request, "X-Amz-Date");
        struct tm tm = {};

        assert_non_null(date);
        assert_non_null(strptime(date, "%Y%m%dT%H%M%SZ", &tm));
        return timegm(&tm);
}

static void answered(int r, const char *body, size_t size, const char *request_id, const Error *error,
                     void *userdata) {
        decrypted(r, (const uint8_t *) body, size, request_id, error, userdata);
}

static void test_any_operation_returns_the_whole_answer(void **state) {
        static const Answer answers[] = {
                { 200, REQUEST_ID, "{\"KeyMetadata\":{}}" },
                { 400, REQUEST_ID, "{\"__type\":\"AccessDeniedException\",\"Message\":\"no\"}" },
                { 0 },
        };
        static const Failure failures[] = { FAILURE_NONE, FAILURE_DENIED, FAILURE_NETWORK };
        _cleanup_(stage_clear) Stage stage = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        kms_client_set_by_hand(stage.client);
        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                Outcome outcome = {};

                assert_int_equal(kms_request(stage.client, "DescribeKey", "{}", answered, &outcome), 0);
                assert_true(run_until(stage.event, &outcome.calls, 1));
                if (outcome.error.failure != failures[i] || (outcome.r < 0) != (failures[i] != FAILURE_NONE))
                        fail_msg("answer %zu: saw %d, failure %d, wanted %d", i, outcome.r,
                                 outcome.error.failure, failures[i]);
                if (i == 0) {
                        assert_int_equal(outcome.size, strlen(answers[0].body));
                        assert_memory_equal(outcome.cms, answers[0].body, outcome.size);
                }
                if (i == 1)
                        assert_non_null(strstr(outcome.error.text, "with these credentials"));
                assert_string_equal(outcome.request_id, i < 2 ? "0000-1" : "");
        }
        server_stop(stage.server);
        assert_non_null(strstr(stage.server->requests[0], "X-Amz-Target: TrentService.DescribeKey\r\n"));
        assert_string_equal(strstr(stage.server->requests[0], "\r\n\r\n") + 4, "{}");
}

typedef struct Forwarded {
        unsigned calls, status;
        int r;
        bool has_reply;
        char body[256], request_id[64], error_type[64];
        Failure failure;
} Forwarded;

static void forwarded(int r, const KmsReply *reply, const Error *error, void *userdata) {
        Forwarded *seen = userdata;

        *seen = (Forwarded){
                .calls = seen->calls + 1, .r = r, .has_reply = reply, .failure = error->failure
        };
        if (!reply)
                return;
        seen->status = reply->status;
        assert_int_equal(strlen(reply->body), reply->size);
        (void) snprintf(seen->body, sizeof(seen->body), "%s", reply->body);
        (void) snprintf(seen->request_id, sizeof(seen->request_id), "%s", reply->request_id);
        (void) snprintf(seen->error_type, sizeof(seen->error_type), "%s", reply->error_type);
}

static void test_a_forwarded_request_gets_errors_as_they_came(void **state) {
        static const char denied[] = "{\"__type\":\"AccessDeniedException\",\"Message\":\"no\"}";
        static const Answer answers[] = {
                { 200, REQUEST_ID, "{\"CiphertextBlob\":\"YQ==\"}" },
                { 400, REQUEST_ID "x-amzn-ErrorType: AccessDeniedException:http://a/\r\n", denied },
                { 0 },
        };
        _cleanup_(stage_clear) Stage stage = {};
        Forwarded seen = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        for (unsigned i = 0; i < ELEMENTSOF(answers); i++) {
                assert_int_equal(kms_forward(stage.client, "Encrypt", "{\"a\":1}", forwarded, &seen), 0);
                assert_true(run_until(stage.event, &seen.calls, i + 1));
                assert_int_equal(seen.has_reply, i < 2);
                assert_int_equal(seen.r<0, i> 0);
                assert_int_equal(seen.status, i < 2 ? answers[i].status : 0);
                assert_string_equal(seen.body, i < 2 ? answers[i].body : "");
                assert_string_equal(seen.request_id, i < 2 ? "0000-1" : "");
                assert_string_equal(seen.error_type, i == 1 ? "AccessDeniedException" : "");
        }
        assert_int_equal(seen.failure, FAILURE_NETWORK);
        server_stop(stage.server);
        assert_non_null(strstr(stage.server->requests[0], "X-Amz-Target: TrentService.Encrypt\r\n"));
        assert_string_equal(strstr(stage.server->requests[0], "\r\n\r\n") + 4, "{\"a\":1}");
        assert_signed(stage.server->requests[0], "eu-north-1");
}

static void test_wrong_clock_is_corrected_for_all_later_requests(void **state) {
        static const char body[] =
                        "{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature expired\"}";
        char header[64];
        const time_t now = time(NULL), later = now + 7200;
        struct tm tm;
        _cleanup_(stage_clear) Stage stage = {};
        Outcome outcome = {};
        int64_t corrected;

        strftime(header, sizeof(header), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&later, &tm));
        stage_set(&stage,
                  (Answer[]){ { 400, header, body }, { 400, header, body }, { 200, header, GOOD_REPLY } },
                  3);

        /* Two requests find the same skew at the same time. The client must not add it twice. */
        assert_int_equal(kms_decrypt(stage.client, &decrypt, decrypted, &outcome), 0);
        assert_int_equal(kms_decrypt(stage.client, &decrypt, decrypted, &outcome), 0);
        assert_true(run_until(stage.event, &outcome.calls, 2));
        assert_int_equal(outcome.error.failure, FAILURE_CLOCK);
        assert_int_equal(outcome.error.remedy, REMEDY_CLOCK);
        assert_int_equal(kms_decrypt(stage.client, &decrypt, decrypted, &outcome), 0);
        assert_true(run_until(stage.event, &outcome.calls, 3));
        assert_int_equal(outcome.r, 0);

        server_stop(stage.server);
        assert_in_range(date_of(stage.server->requests[0]), now - 60, now + 60);
        corrected = date_of(stage.server->requests[2]);
        if (corrected < later - 60 || corrected > later + 60)
                fail_msg("signed %lld s ahead, wanted 7200", (long long) (corrected - now));
        assert_signed(stage.server->requests[2], "eu-north-1");
}

static void test_any_answer_is_a_connection(void **state) {
        static const Answer answers[] = { { 404, NULL, "<html>" }, { 0 } };
        _cleanup_(stage_clear) Stage stage = {};
        Outcome outcome = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        assert_int_equal(kms_connect(stage.client, connected, &outcome), 0);
        assert_true(run_until(stage.event, &outcome.calls, 1));
        assert_int_equal(outcome.r, 0);
        assert_int_equal(kms_connect(stage.client, connected, &outcome), 0);
        assert_true(run_until(stage.event, &outcome.calls, 2));
        assert_true(outcome.r < 0);
        assert_int_equal(outcome.error.failure, FAILURE_NETWORK);
        assert_int_equal(outcome.error.remedy, REMEDY_RETRY);

        server_stop(stage.server);
        assert_int_equal(strncmp(stage.server->requests[0], "GET /ping HTTP/1.1\r\n", 20), 0);
        assert_null(server_request_header(stage.server->requests[0], "Authorization"));
}

static void test_a_callback_may_free_the_client_and_ends_all_other_requests(void **state) {
        static const Answer answers[] = { { 200, NULL, GOOD_REPLY },
                                          { 200, NULL, GOOD_REPLY },
                                          { 200, NULL, GOOD_REPLY } };
        _cleanup_(stage_clear) Stage stage = {};
        Outcome outcome = {};

        stage_set(&stage, answers, ELEMENTSOF(answers));
        for (unsigned i = 0; i < ELEMENTSOF(answers); i++)
                assert_int_equal(kms_decrypt(stage.client, &decrypt, decrypted, &outcome), 0);
        outcome.free_it = TAKE_PTR(stage.client);
        assert_true(run_until(stage.event, &outcome.calls, 1));
        assert_null(outcome.free_it);
        while (sd_event_run(stage.event, 50000) > 0)
                ;
        assert_int_equal(outcome.calls, 1);
}

static void test_no_request_is_started_without_credentials(void **state) {
        _cleanup_(stage_clear) Stage stage = {};
        Outcome outcome = {};
        KmsDecrypt incomplete = decrypt;

        stage_set(&stage, NULL, 0);
        incomplete.document.size = 0;
        assert_int_equal(kms_decrypt(stage.client, &incomplete, decrypted, &outcome), -EINVAL);
        kms_client_set_credentials(stage.client, NULL);
        assert_int_equal(kms_decrypt(stage.client, &decrypt, decrypted, &outcome), -EINVAL);
        assert_int_equal(kms_client_new(stage.http, "kms.example", "r", &(KmsClient *){ NULL }), -EINVAL);
        assert_null(kms_client_free(NULL));
}

/* If json-c 0.16 cannot enlarge its text, it leaves out the pieces that do not fit, and reports success. KMS refuses such a
 * request. So no allocation fails while json-c writes. */
const char *json_object_to_json_string_ext(struct json_object *object, int flags) {
        const char *(*real)(struct json_object *, int) =
                        (const char *(*) (struct json_object *, int) ) dlsym(
                                        RTLD_NEXT, "json_object_to_json_string_ext");
        const bool armed = memory.armed;
        const char *text;

        memory.armed = false;
        text = real(object, flags);
        memory.armed = armed;
        return text;
}

static int make_decrypt_request(void) {
        _cleanup_free_ char *text = NULL;

        return kms_decrypt_request(&decrypt, &text);
}

static int make_probe_request(void) {
        _cleanup_free_ char *text = NULL;
        KmsDecrypt probe = decrypt;

        probe.document.size = 0;
        return kms_probe_request(&probe, &text);
}

static int make_encrypt_request(void) {
        const KmsEncrypt encrypt = { .key_arn = KEY,
                                     .plaintext = { (const uint8_t *) "x", 1 },
                                     .encryption_context = encrypt_context };
        _cleanup_free_ char *text = NULL;

        return kms_encrypt_request(&encrypt, &text);
}

static int make_dry_run_request(void) {
        const KmsDryRun question = { .operation = "Decrypt",
                                     .key_arn = KEY,
                                     .encryption_context = encrypt_context };
        _cleanup_free_ char *text = NULL;

        return kms_dry_run_request(&question, &text);
}

static int make_data_key_request(void) {
        const KmsEncrypt request = { .key_arn = KEY, .encryption_context = encrypt_context };
        _cleanup_free_ char *text = NULL;

        return kms_data_key_request(&request, &text);
}

static int make_sealed_key_request(void) {
        const KmsEncrypt request = { .key_arn = KEY, .encryption_context = encrypt_context };
        _cleanup_free_ char *text = NULL;

        return kms_sealed_key_request(&request, 32, &text);
}

static int make_generate_request(void) {
        const KmsDecrypt generate = of_a_data_key(32);
        _cleanup_free_ char *text = NULL;

        return kms_decrypt_request(&generate, &text);
}

static int make_signing_request(void) {
        _cleanup_free_ char *text = NULL;

        return kms_signing_request(KEY, "ECDSA_SHA_256", (const uint8_t *) "x", 1, &text);
}

static int make_describe_key_request(void) {
        _cleanup_free_ char *text = NULL;

        return kms_describe_key_request("alias/a", &text);
}

static int make_client(void) {
        _cleanup_(kms_client_freep) KmsClient *client = NULL;

        return kms_client_new(NULL, "https://kms.example", "eu-north-1", &client);
}

static int make_endpoint(void) {
        KmsKeyArn arn = { .partition = "aws", .region = "eu-north-1" };
        _cleanup_free_ char *endpoint = NULL;

        int r = kms_endpoint(&arn, &(KmsEndpointOptions){}, &endpoint);

        /* asprintf() has an allocation that it can do without. */
        return r == 0 && memory.failed && endpoint ? -ENOMEM : r;
}

static void test_a_lack_of_memory_is_reported_by_everything_that_allocates(void **state) {
        static int (*const makers[])(
                        void) = { make_decrypt_request,      make_probe_request,    make_encrypt_request,
                                  make_dry_run_request,      make_data_key_request, make_signing_request,
                                  make_describe_key_request, make_client,           make_endpoint,
                                  make_sealed_key_request,   make_generate_request };

        for (size_t i = 0; i < ELEMENTSOF(makers); i++)
                assert_allocations_are_checked(makers[i]);
}

/* The first allocation is that of the JSON parser. */
static void test_an_answer_without_memory_for_it_is_no_malformed_answer(void **state) {
        static const KmsEncrypt encrypt = { .key_arn = KEY };
        uint8_t *bytes = NULL;
        Error errors[3] = {};
        char *arn = NULL;
        size_t size;
        int r[3];

        if (!memory_can_fail())
                skip();
        memory_fail_after(0);
        r[0] = kms_decrypt_reply(&decrypt, "{}", 2, &bytes, &size, errors);
        memory_fail_after(0);
        r[1] = kms_encrypt_reply(&encrypt, "{}", 2, &bytes, &size, errors + 1);
        memory_fail_after(0);
        r[2] = kms_describe_key_reply("{}", 2, &arn, errors + 2);
        assert_true(memory_has_failed());
        for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
                assert_int_equal(r[i], -ENOMEM);
                assert_int_equal(errors[i].failure, FAILURE_INTERNAL);
        }
        assert_null(bytes);
        assert_null(arn);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_arns_of_keys_are_taken_apart),
                cmocka_unit_test(test_replicas_differ_in_the_region_alone),
                cmocka_unit_test(test_text_that_is_not_the_arn_of_a_key_is_refused),
                cmocka_unit_test(test_endpoints_follow_partition_and_region),
                cmocka_unit_test(test_the_request_is_what_kms_documents),
                cmocka_unit_test(test_incomplete_requests_are_refused),
                cmocka_unit_test(test_a_data_key_is_asked_for_with_a_document_alone),
                cmocka_unit_test(test_the_answer_with_a_data_key_is_believed_as_one_with_a_plaintext),
                cmocka_unit_test(test_of_a_data_key_that_is_kept_the_ciphertext_is_taken),
                cmocka_unit_test(test_a_denied_data_key_names_the_action),
                cmocka_unit_test(test_a_data_key_is_asked_for_by_its_operation),
                cmocka_unit_test(test_a_sealed_key_is_one_that_nobody_has_seen),
                cmocka_unit_test(test_the_largest_parts_fit_a_request),
                cmocka_unit_test(test_a_probe_is_a_dry_run_without_a_document),
                cmocka_unit_test(test_every_dry_run_says_so),
                cmocka_unit_test(test_probe_is_open_denied_or_unknown),
                cmocka_unit_test(test_probe_without_an_answer_is_unknown),
                cmocka_unit_test(test_a_good_reply_has_the_envelope),
                cmocka_unit_test(test_untrustworthy_replies_are_refused),
                cmocka_unit_test(test_an_envelope_has_its_largest_size_and_no_more),
                cmocka_unit_test(test_a_request_to_encrypt_has_the_plaintext_once_and_nothing_else),
                cmocka_unit_test(test_every_size_that_kms_encrypts_fits_the_request),
                cmocka_unit_test(test_ciphertext_of_another_key_is_refused),
                cmocka_unit_test(test_message_is_signed_raw_by_one_key_and_algorithm),
                cmocka_unit_test(test_signature_of_another_key_or_algorithm_is_refused),
                cmocka_unit_test(test_public_key_of_another_key_is_refused),
                cmocka_unit_test(test_a_data_key_has_256_bits_and_is_of_the_key_that_was_asked),
                cmocka_unit_test(test_describe_key_says_which_key_an_alias_stands_for),
                cmocka_unit_test(test_each_error_of_kms_has_its_failure_and_remedy),
                cmocka_unit_test(test_errors_are_explained_to_a_person_in_other_words),
                cmocka_unit_test(test_refused_document_is_distinguished_from_other_validation_errors),
                cmocka_unit_test(test_a_refused_document_promises_one_new_document_and_no_more),
                cmocka_unit_test(test_wrong_clock_is_distinguished_from_wrong_signature),
                cmocka_unit_test(test_message_that_repeats_the_session_token_is_not_quoted),
                cmocka_unit_test(test_the_name_of_an_error_is_found_wherever_aws_puts_it),
                cmocka_unit_test(test_an_error_without_a_name_goes_by_its_status),
                cmocka_unit_test(test_an_outage_is_a_failure_of_kms_and_no_throttling),
                cmocka_unit_test(test_message_of_kms_is_quoted_short_and_clean),
                cmocka_unit_test(test_every_error_has_room_for_its_advice),
                cmocka_unit_test(test_headers_are_signed_with_or_without_a_token),
                cmocka_unit_test(test_decrypt_is_signed_and_returns_the_envelope),
                cmocka_unit_test(test_decrypt_reports_what_kms_denies),
                cmocka_unit_test(test_any_operation_returns_the_whole_answer),
                cmocka_unit_test(test_a_forwarded_request_gets_errors_as_they_came),
                cmocka_unit_test(test_wrong_clock_is_corrected_for_all_later_requests),
                cmocka_unit_test(test_any_answer_is_a_connection),
                cmocka_unit_test(test_a_callback_may_free_the_client_and_ends_all_other_requests),
                cmocka_unit_test(test_no_request_is_started_without_credentials),
                cmocka_unit_test(test_a_lack_of_memory_is_reported_by_everything_that_allocates),
                cmocka_unit_test(test_an_answer_without_memory_for_it_is_no_malformed_answer),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
