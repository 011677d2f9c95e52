/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <openssl/cms.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/io.h"
#include "cms_make.h"

typedef struct Bytes {
        uint8_t *data;
        size_t size;
} Bytes;

static Bytes read_vector(const char *name) {
        char path[512];
        Bytes bytes;

        snprintf(path, sizeof(path), "%s/kms-cms/%s", getenv("UNSEALD_TEST_VECTORS"), name);
        if (read_file(path, 1024 * 1024, &bytes.data, &bytes.size) < 0)
                fail_msg("cannot read %s", path);
        return bytes;
}

/* The offset of the key identifier in the vector, behind the tags and versions of RecipientInfo. */
#define IDENTIFIER_OFFSET 33

static void test_envelope_has_the_bytes_of_a_real_one(void **state) {
        Bytes wanted = read_vector("indefinite.ber"), key = read_vector("indefinite.encrypted-key"),
              iv = read_vector("indefinite.iv"), content = read_vector("indefinite.ciphertext"), seen;

        assert_int_equal(iv.size, CMS_IV_SIZE);
        assert_int_equal(platform_cms_encode(
                                         &(const CmsParts){
                                                         .key_identifier = wanted.data + IDENTIFIER_OFFSET,
                                                         .encrypted_key = key.data,
                                                         .encrypted_key_size = key.size,
                                                         .iv = iv.data,
                                                         .content = content.data,
                                                         .content_size = content.size,
                                         },
                                         &seen.data, &seen.size),
                         0);
        assert_int_equal(seen.size, wanted.size);
        assert_memory_equal(seen.data, wanted.data, wanted.size);

        free(wanted.data);
        free(key.data);
        free(iv.data);
        free(content.data);
        free(seen.data);
}

static Bytes open_envelope(const Bytes *cms, EVP_PKEY *key) {
        BIO *in = BIO_new_mem_buf(cms->data, (int) cms->size), *out = BIO_new(BIO_s_mem());
        CMS_ContentInfo *parsed = d2i_CMS_bio(in, NULL);
        Bytes plaintext = {};
        char *data;

        assert_non_null(parsed);
        CMS_RecipientInfo *recipient = sk_CMS_RecipientInfo_value(CMS_get0_RecipientInfos(parsed), 0);
        EVP_PKEY_up_ref(key);
        assert_true(CMS_RecipientInfo_set0_pkey(recipient, key) > 0);
        assert_true(CMS_RecipientInfo_decrypt(parsed, recipient) > 0);
        assert_true(CMS_decrypt(parsed, NULL, NULL, NULL, out, 0) > 0);
        plaintext.size = (size_t) BIO_get_mem_data(out, &data);
        plaintext.data = malloc(plaintext.size + 1);
        memcpy(plaintext.data, data, plaintext.size);

        CMS_ContentInfo_free(parsed);
        BIO_free(in);
        BIO_free(out);
        return plaintext;
}

static void test_openssl_opens_what_is_made(void **state) {
        static const size_t sizes[] = { 1, 15, 16, 11, 100, 127, 128, 255, 256, 983, 984, 999, 1000, 4096 };
        static const unsigned bits[] = { 2048, 3072, 4096 };
        uint8_t plaintext[4096];

        for (size_t i = 0; i < sizeof(plaintext); i++)
                plaintext[i] = (uint8_t) (i * 31);
        for (size_t b = 0; b < sizeof(bits) / sizeof(bits[0]); b++) {
                EVP_PKEY *key = EVP_RSA_gen(bits[b]);
                unsigned char *der = NULL;
                int der_size = i2d_PUBKEY(key, &der);

                for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                        Bytes cms, opened;
                        assert_int_equal(platform_cms_make(der, (size_t) der_size, plaintext, sizes[i],
                                                           CMS_SOUND, &cms.data, &cms.size),
                                         0);
                        opened = open_envelope(&cms, key);
                        assert_int_equal(opened.size, sizes[i]);
                        assert_memory_equal(opened.data, plaintext, sizes[i]);
                        free(cms.data);
                        free(opened.data);
                }
                OPENSSL_free(der);
                EVP_PKEY_free(key);
        }
}

static bool opens(const Bytes *cms, EVP_PKEY *key) {
        BIO *in = BIO_new_mem_buf(cms->data, (int) cms->size), *out = BIO_new(BIO_s_mem());
        CMS_ContentInfo *parsed = d2i_CMS_bio(in, NULL);
        bool opened = false;

        if (parsed) {
                CMS_RecipientInfo *recipient =
                                sk_CMS_RecipientInfo_value(CMS_get0_RecipientInfos(parsed), 0);
                EVP_PKEY_up_ref(key);
                opened = CMS_RecipientInfo_set0_pkey(recipient, key) > 0 &&
                         CMS_RecipientInfo_decrypt(parsed, recipient) > 0 &&
                         CMS_decrypt(parsed, NULL, NULL, NULL, out, 0) > 0;
        }
        CMS_ContentInfo_free(parsed);
        BIO_free(in);
        BIO_free(out);
        return opened;
}

static void test_no_defect_goes_unnoticed(void **state) {
        static const CmsDefect defects[] = { CMS_DEFECT_CONTENT, CMS_DEFECT_KEY, CMS_DEFECT_STRUCTURE };
        static const size_t sizes[] = { 1, 11, 15, 16, 17, 31, 1000, 1008, 4096 };
        static const uint8_t plaintext[4096];
        EVP_PKEY *key = EVP_RSA_gen(2048);
        unsigned char *der = NULL;
        int der_size = i2d_PUBKEY(key, &der);

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
                for (size_t d = 0; d < sizeof(defects) / sizeof(defects[0]); d++)
                        for (size_t round = 0; round < 40; round++) {
                                Bytes cms;
                                assert_int_equal(platform_cms_make(der, (size_t) der_size, plaintext,
                                                                   sizes[i], defects[d], &cms.data,
                                                                   &cms.size),
                                                 0);
                                if (opens(&cms, key))
                                        fail_msg("defect %d opens with %zu bytes of plaintext", defects[d],
                                                 sizes[i]);
                                free(cms.data);
                        }
        OPENSSL_free(der);
        EVP_PKEY_free(key);
}

static void test_two_envelopes_share_no_key(void **state) {
        EVP_PKEY *key = EVP_RSA_gen(2048);
        unsigned char *der = NULL;
        int der_size = i2d_PUBKEY(key, &der);
        Bytes first, second;

        assert_int_equal(platform_cms_make(der, (size_t) der_size, (const uint8_t *) "same", 4, CMS_SOUND,
                                           &first.data, &first.size),
                         0);
        assert_int_equal(platform_cms_make(der, (size_t) der_size, (const uint8_t *) "same", 4, CMS_SOUND,
                                           &second.data, &second.size),
                         0);
        assert_int_equal(first.size, second.size);
        assert_memory_not_equal(first.data + 131, second.data + 131, 256);
        assert_memory_not_equal(first.data + first.size - 28, second.data + second.size - 28, 16);
        free(first.data);
        free(second.data);
        OPENSSL_free(der);
        EVP_PKEY_free(key);
}

static void test_only_rsa_keys_are_taken(void **state) {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        unsigned char *der = NULL;
        int der_size = i2d_PUBKEY(key, &der);
        Bytes cms;

        assert_int_equal(platform_cms_make(der, (size_t) der_size, (const uint8_t *) "x", 1, CMS_SOUND,
                                           &cms.data, &cms.size),
                         -EBADMSG);
        assert_int_equal(platform_cms_make((const uint8_t *) "no key", 6, (const uint8_t *) "x", 1,
                                           CMS_SOUND, &cms.data, &cms.size),
                         -EBADMSG);
        OPENSSL_free(der);
        EVP_PKEY_free(key);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_envelope_has_the_bytes_of_a_real_one),
                cmocka_unit_test(test_openssl_opens_what_is_made),
                cmocka_unit_test(test_no_defect_goes_unnoticed),
                cmocka_unit_test(test_two_envelopes_share_no_key),
                cmocka_unit_test(test_only_rsa_keys_are_taken),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
