/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "attestation/document-request.h"
#include "attestation/public-key.h"
#include "basic/encoding.h"
#include "basic/openssl-util.h"

#define UNIT "billing@1.service"

static int parse(const char *body, const char *unit, DocumentRequest *ret, DocumentRefusal *refusal) {
        size_t size = strlen(body);
        /* A copy of the exact size lets sanitizers see a read past the end. */
        _cleanup_free_ char *copy = malloc(size ?: 1);

        memcpy(copy, body, size);
        *ret = (DocumentRequest){};
        *refusal = (DocumentRefusal){};
        return document_request_parse(copy, size, unit, ret, refusal);
}

static DocumentRequest accepted(const char *body, const char *unit) {
        DocumentRequest request;
        DocumentRefusal refusal;
        int r = parse(body, unit, &request, &refusal);

        if (r < 0)
                fail_msg("%s: saw %i, %s", body, r, refusal.message ?: "no message");
        return request;
}

static void assert_refused(const char *body, const char *error) {
        DocumentRequest request;
        DocumentRefusal refusal;
        int r = parse(body, UNIT, &request, &refusal);

        if (r != -EBADMSG || !refusal.message || strcmp(refusal.error, error) != 0)
                fail_msg("%.80s: saw %i, %s, wanted %s", body, r, refusal.error ?: "no error", error);
        assert_null(request.nonce);
        assert_null(request.user_data);
        assert_null(request.public_key);
}

/* A request with so many bytes in the member. */
static char *with_bytes(const char *member, size_t size) {
        _cleanup_free_ char *text = NULL, *bytes = calloc(1, size ?: 1);
        char *body;

        assert_int_equal(base64_encode(bytes, size, &text), 0);
        assert_true(asprintf(&body, "{\"%s\": \"%s\"}", member, text) > 0);
        return body;
}

/* A request with the key's SubjectPublicKeyInfo. */
static char *with_key(EVP_PKEY *key, uint8_t **ret_der, size_t *ret_size) {
        _cleanup_free_ char *text = NULL;
        unsigned char *der = NULL;
        char *body;
        int size;

        assert_non_null(key);
        size = i2d_PUBKEY(key, &der);
        assert_true(size > 0);
        assert_int_equal(base64_encode(der, (size_t) size, &text), 0);
        assert_true(asprintf(&body, "{\"public_key\": \"%s\"}", text) > 0);
        if (ret_der) {
                *ret_der = malloc((size_t) size);
                memcpy(*ret_der, der, (size_t) size);
                *ret_size = (size_t) size;
        }
        OPENSSL_free(der);
        return body;
}

static void test_members_are_decoded(void **state) {
        DocumentRequest request = accepted("{\"nonce\": \"AAEC\", \"user_data\": \"SGVsbG8=\"}", NULL);

        assert_int_equal(request.nonce_size, 3);
        assert_memory_equal(request.nonce, "\0\1\2", 3);
        assert_int_equal(request.user_data_size, 5);
        assert_memory_equal(request.user_data, "Hello", 5);
        assert_null(request.public_key);
        document_request_clear(&request);
        assert_null(request.nonce);

        request = accepted("{}", NULL);
        assert_true(!request.nonce && !request.user_data && !request.public_key);
        request = accepted(" {\"nonce\": null, \"user_data\": null, \"public_key\": null}\n", NULL);
        assert_true(!request.nonce && !request.user_data && !request.public_key);
}

static void test_user_data_begin_with_the_unit(void **state) {
        DocumentRequest request = accepted("{\"user_data\": \"SGVsbG8=\"}", UNIT);

        assert_int_equal(request.user_data_size, sizeof(UNIT) + 5);
        assert_memory_equal(request.user_data, UNIT "\0Hello", sizeof(UNIT) + 5);
        document_request_clear(&request);

        request = accepted("{}", UNIT);
        assert_int_equal(request.user_data_size, sizeof(UNIT));
        assert_memory_equal(request.user_data, UNIT, sizeof(UNIT));
        document_request_clear(&request);

        /* The name of another unit in the user data comes behind the unit's own. */
        request = accepted("{\"user_data\": \"d2ViLnNlcnZpY2UAYWRtaW4=\"}", UNIT);
        assert_memory_equal(request.user_data, UNIT "\0web.service\0admin", sizeof(UNIT) + 17);
        document_request_clear(&request);
}

static void test_each_member_has_1_to_1024_bytes(void **state) {
        static const char *const names[] = { "nonce", "user_data", "public_key" };
        DocumentRequest request;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *none = with_bytes(names[i], 0), *more = with_bytes(names[i], 1025);

                assert_refused(none, "size");
                assert_refused(more, "size");
        }
        for (size_t i = 0; i < 2; i++) {
                _cleanup_free_ char *most = with_bytes(names[i], 1024);

                request = accepted(most, NULL);
                assert_int_equal(request.nonce_size + request.user_data_size, 1024);
                document_request_clear(&request);
        }
}

static void test_the_unit_s_name_counts(void **state) {
        _cleanup_free_ char *most = with_bytes("user_data", 1024 - sizeof(UNIT)),
                            *more = with_bytes("user_data", 1025 - sizeof(UNIT));
        char name[1025];
        DocumentRequest request = accepted(most, UNIT);
        uint8_t *bytes;
        size_t size;

        assert_int_equal(request.user_data_size, 1024);
        document_request_clear(&request);
        assert_refused(more, "size");

        memset(name, 'a', 1024);
        name[1024] = '\0';
        assert_int_equal(document_user_data(name, NULL, 0, &bytes, &size), -E2BIG);
        name[1023] = '\0';
        assert_int_equal(document_user_data(name, "b", 1, &bytes, &size), -E2BIG);
        assert_int_equal(document_user_data(name, NULL, 0, &bytes, &size), 0);
        assert_int_equal(size, 1024);
        free(bytes);
}

static void test_other_bodies_are_refused(void **state) {
        static const char *const malformed[] = {
                "",
                "null",
                "[]",
                "\"AAEC\"",
                "{",
                "{\"nonce\": \"AAEC\"} {}",
                "{\"nonce\": \"AAEC\", \"nonce\": \"AAED\"}",
                "{\"nonce\": 1}",
                "{\"nonce\": [\"AAEC\"]}",
                "{\"nonce\": \"AAE\"}",
                "{\"nonce\": \"AA EC\"}",
                "{\"nonce\": \"AAEC\\u0000\"}",
                "{\"Nonce\": \"AAEC\"}",
                "{\"userData\": \"AAEC\"}",
                "{\"userData\": null}",
                "{\"unit\": \"AAEC\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(malformed); i++)
                assert_refused(malformed[i], "malformed");
}

static void test_a_public_key_is_written_as_documents_have_it(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256"),
                                           *edwards = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        _cleanup_free_ uint8_t *der = NULL;
        size_t size;
        _cleanup_free_ char *body = with_key(key, &der, &size), *other = with_key(edwards, NULL, NULL),
                            *pem = NULL, *text = NULL, *base64 = NULL;
        DocumentRequest request = accepted(body, UNIT);

        assert_int_equal(request.public_key_size, size);
        assert_memory_equal(request.public_key, der, size);
        document_request_clear(&request);
        request = accepted(other, UNIT);
        document_request_clear(&request);

        assert_int_equal(base64_encode(der, size, &text), 0);
        assert_true(asprintf(&pem, "-----BEGIN PUBLIC KEY-----\n%.64s\n%s\n-----END PUBLIC KEY-----\n", text,
                             text + 64) > 0);
        assert_int_equal(base64_encode(pem, strlen(pem), &base64), 0);
        free(body);
        assert_true(asprintf(&body, "{\"public_key\": \"%s\"}", base64) > 0);
        request = accepted(body, UNIT);
        assert_int_equal(request.public_key_size, size);
        assert_memory_equal(request.public_key, der, size);
        document_request_clear(&request);
}

static void test_rsa_keys_and_what_is_no_key_are_refused(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *rsa = EVP_RSA_gen(2048), *key = EVP_EC_gen("P-256");
        _cleanup_free_ char *body = with_key(rsa, NULL, NULL), *bytes = with_bytes("public_key", 91),
                            *good = NULL, *text = NULL, *followed = NULL;
        _cleanup_free_ uint8_t *der = NULL;
        uint8_t longer[256] = {};
        size_t size;

        assert_refused(body, "public-key");
        assert_refused(bytes, "public-key");

        /* Bytes after a key could be another key for another reader. */
        good = with_key(key, &der, &size);
        memcpy(longer, der, size);
        assert_int_equal(base64_encode(longer, size + 1, &text), 0);
        assert_true(asprintf(&followed, "{\"public_key\": \"%s\"}", text) > 0);
        assert_refused(followed, "public-key");
}

static void test_the_form_of_the_answer_follows_accept(void **state) {
        static const char *const cbor[] = { "application/cbor", "Application/CBOR;q=0.9",
                                            "application/json, application/cbor",
                                            "a/b,application/cbor ;q=1" },
                                 *const json[] = { "",
                                                   "*/*",
                                                   "application/json",
                                                   "application/cbor-seq",
                                                   "a/b;c=application/cbor",
                                                   ",, ,",
                                                   "application/cbo" };

        for (size_t i = 0; i < ELEMENTSOF(cbor); i++)
                if (!document_wants_cbor(cbor[i]))
                        fail_msg("%s: saw JSON", cbor[i]);
        for (size_t i = 0; i < ELEMENTSOF(json); i++)
                if (document_wants_cbor(json[i]))
                        fail_msg("%s: saw CBOR", json[i]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_members_are_decoded),
                cmocka_unit_test(test_user_data_begin_with_the_unit),
                cmocka_unit_test(test_each_member_has_1_to_1024_bytes),
                cmocka_unit_test(test_the_unit_s_name_counts),
                cmocka_unit_test(test_other_bodies_are_refused),
                cmocka_unit_test(test_a_public_key_is_written_as_documents_have_it),
                cmocka_unit_test(test_rsa_keys_and_what_is_no_key_are_refused),
                cmocka_unit_test(test_the_form_of_the_answer_follows_accept),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
