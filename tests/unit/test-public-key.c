/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "attestation/public-key.h"
#include "basic/cleanup.h"
#include "tpm/nsm.h"

typedef struct Bytes {
        uint8_t data[4096];
        size_t size;
} Bytes;

/* One key in all forms. */
typedef struct Forms {
        Bytes der, pem, private_pem, certificate_der, certificate_pem;
} Forms;

static Bytes taken(BIO *bio) {
        Bytes bytes = {};
        char *data;
        long size = BIO_get_mem_data(bio, &data);

        assert_true(size > 0 && (size_t) size <= sizeof(bytes.data));
        memcpy(bytes.data, data, (size_t) size);
        bytes.size = (size_t) size;
        BIO_free(bio);
        return bytes;
}

#define WRITTEN(function, ...)                                    \
        ({                                                        \
                BIO *bio_ = BIO_new(BIO_s_mem());                 \
                assert_int_equal(function(bio_, __VA_ARGS__), 1); \
                taken(bio_);                                      \
        })

static Forms make_forms(EVP_PKEY *key) {
        X509 *certificate = X509_new();
        Forms forms;

        assert_true(X509_set_pubkey(certificate, key));
        (void) X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
        (void) X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
        assert_true(X509_sign(certificate, key, NULL) > 0 || X509_sign(certificate, key, EVP_sha256()) > 0);
        forms = (Forms){
                .der = WRITTEN(i2d_PUBKEY_bio, key),
                .pem = WRITTEN(PEM_write_bio_PUBKEY, key),
                .private_pem = WRITTEN(PEM_write_bio_PrivateKey, key, NULL, NULL, 0, NULL, NULL),
                .certificate_der = WRITTEN(i2d_X509_bio, certificate),
                .certificate_pem = WRITTEN(PEM_write_bio_X509, certificate),
        };
        X509_free(certificate);
        EVP_PKEY_free(key);
        return forms;
}

static int parse(const Bytes *bytes, uint8_t **ret, size_t *ret_size) {
        return public_key_parse(bytes->data, bytes->size, ret, ret_size);
}

static void assert_parsed(const Bytes *bytes, const Bytes *wanted) {
        _cleanup_free_ uint8_t *key = NULL;
        size_t size = 0;

        assert_int_equal(parse(bytes, &key, &size), 0);
        assert_int_equal(size, wanted->size);
        assert_memory_equal(key, wanted->data, size);
}

static void assert_refused(const Bytes *bytes, int wanted) {
        uint8_t *key = (uint8_t *) "untouched";
        size_t size = 7;
        int r = parse(bytes, &key, &size);

        if (r != wanted)
                fail_msg("%.40s: saw %i, wanted %i", (const char *) bytes->data, r, wanted);
        assert_string_equal((const char *) key, "untouched");
        assert_int_equal(size, 7);
}

static void append(Bytes *bytes, const Bytes *more) {
        assert_true(bytes->size + more->size <= sizeof(bytes->data));
        memcpy(bytes->data + bytes->size, more->data, more->size);
        bytes->size += more->size;
}

static void test_keys_of_all_kinds_come_out_of_all_forms(void **state) {
        EVP_PKEY *keys[] = {
                EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t) 2048),
                EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"),
                EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"),
        };
        static const bool is_rsa[ELEMENTSOF(keys)] = { true };

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                Forms forms = make_forms(keys[i]);

                assert_int_equal(public_key_is_rsa(forms.der.data, forms.der.size), is_rsa[i]);

                assert_parsed(&forms.der, &forms.der);
                assert_parsed(&forms.pem, &forms.der);
                assert_parsed(&forms.certificate_der, &forms.der);
                assert_parsed(&forms.certificate_pem, &forms.der);
        }
}

/* RSA-PSS has its own algorithm in SubjectPublicKeyInfo. */
static void test_a_key_for_rsa_pss_is_an_rsa_key(void **state) {
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
        EVP_PKEY *key = NULL;
        Bytes der;

        assert_int_equal(EVP_PKEY_keygen_init(context), 1);
        assert_int_equal(EVP_PKEY_generate(context, &key), 1);
        EVP_PKEY_CTX_free(context);
        der = WRITTEN(i2d_PUBKEY_bio, key);
        assert_true(public_key_is_rsa(der.data, der.size));
        assert_false(public_key_is_rsa(der.data, der.size - 1));
        EVP_PKEY_free(key);
}

/* HPKE uses such keys (RFC 9180). They cannot sign a certificate. */
static void test_a_key_for_agreement_is_a_key(void **state) {
        EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
        Bytes der = WRITTEN(i2d_PUBKEY_bio, key), pem = WRITTEN(PEM_write_bio_PUBKEY, key);

        assert_parsed(&der, &der);
        assert_parsed(&pem, &der);
        EVP_PKEY_free(key);
}

static void test_the_first_certificate_of_a_chain_counts(void **state) {
        Forms ours = make_forms(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
        Forms issuer = make_forms(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
        Bytes file = ours.private_pem;

        append(&file, &issuer.pem);
        append(&file, &ours.certificate_pem);
        append(&file, &issuer.certificate_pem);
        assert_parsed(&file, &ours.der);
}

static void test_data_without_a_public_key_is_refused(void **state) {
        Forms forms = make_forms(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
        Bytes bytes = { .size = 0 };

        assert_refused(&bytes, -EBADMSG);
        assert_refused(&forms.private_pem, -EBADMSG);
        bytes = forms.der;
        bytes.size--;
        assert_refused(&bytes, -EBADMSG);
        bytes.size += 2;
        assert_refused(&bytes, -EBADMSG);
        bytes = forms.certificate_der;
        bytes.size++;
        assert_refused(&bytes, -EBADMSG);
        bytes = forms.certificate_pem;
        memset(bytes.data + 40, '?', 20);
        assert_refused(&bytes, -EBADMSG);
        assert_int_equal(public_key_parse(forms.der.data, SIZE_MAX, NULL, NULL), -EBADMSG);
}

static void test_a_key_that_no_document_can_hold_is_refused(void **state) {
        /* RSA of 8192 bits has 1056 bytes. The key is put together by hand, since a search takes a minute. */
        static const uint8_t begin[] = { 0x30, 0x82, 0x04, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48,
                                         0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x04,
                                         0x0f, 0x00, 0x30, 0x82, 0x04, 0x0a, 0x02, 0x82, 0x04, 0x01, 0x00 };
        static const uint8_t end[] = { 0x02, 0x03, 0x01, 0x00, 0x01 };
        Bytes bytes = { .size = sizeof(begin) + 1024 + sizeof(end) };

        memset(bytes.data, 0xff, sizeof(bytes.data));
        memcpy(bytes.data, begin, sizeof(begin));
        memcpy(bytes.data + sizeof(begin) + 1024, end, sizeof(end));
        assert_refused(&bytes, -E2BIG);
}

static void test_pem_is_recognised_by_its_first_line_anywhere(void **state) {
        static const char text[] = "subject=/CN=x\n-----BEGIN CERTIFICATE-----\n";

        assert_true(is_pem((const uint8_t *) text, sizeof(text) - 1));
        assert_false(is_pem((const uint8_t *) text, 20));
        assert_false(is_pem((const uint8_t *) "", 0));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_keys_of_all_kinds_come_out_of_all_forms),
                cmocka_unit_test(test_a_key_for_rsa_pss_is_an_rsa_key),
                cmocka_unit_test(test_a_key_for_agreement_is_a_key),
                cmocka_unit_test(test_the_first_certificate_of_a_chain_counts),
                cmocka_unit_test(test_data_without_a_public_key_is_refused),
                cmocka_unit_test(test_a_key_that_no_document_can_hold_is_refused),
                cmocka_unit_test(test_pem_is_recognised_by_its_first_line_anywhere),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
