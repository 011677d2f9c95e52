/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"
#include "basic/openssl-util.h"
#include "source/signature.h"

#define NAME "db-password"
#define VERSION UINT64_C(0x0102030405060708)

static const uint8_t ciphertext[] = "\x01\x02\x02\x00 a sealed secret as KMS returns it";

static EVP_PKEY *keys[_SIGNATURE_SCHEMES]; /* by SignatureScheme */

static int make_keys(void **state) {
        keys[SIGNATURE_ED25519] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        keys[SIGNATURE_P256] = EVP_EC_gen("P-256");
        keys[SIGNATURE_P384] = EVP_EC_gen("P-384");
        return keys[0] && keys[1] && keys[2] ? 0 : -1;
}

static int free_keys(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                EVP_PKEY_free(keys[i]);
        return 0;
}

/* Signs with OpenSSL alone, by the text of design and page: no code of the product is asked for the message. */
static Signature sign_as(EVP_PKEY *key, const char *digest, const char *name, uint64_t version,
                         const uint8_t *data, size_t size) {
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
        Signature signature = { .version = version, .size = sizeof(signature.bytes) };
        uint8_t message[512] = "unseald signature v1";
        size_t used = 21;

        used += (size_t) snprintf((char *) message + used, 256, "%s", name) + 1;
        for (unsigned i = 0; i < 8; i++)
                message[used++] = (uint8_t) (version >> (56 - 8 * i));
        assert_int_equal(EVP_Digest(data, size, message + used, NULL, EVP_sha384(), NULL), 1);
        used += 48;
        assert_int_equal(EVP_DigestSignInit_ex(context, NULL, digest, NULL, NULL, key, NULL), 1);
        assert_int_equal(EVP_DigestSign(context, signature.bytes, &signature.size, message, used), 1);
        return signature;
}

static Signature sign(SignatureScheme scheme) {
        static const char *const digests[] = { NULL, "SHA256", "SHA384" };

        return sign_as(keys[scheme], digests[scheme], NAME, VERSION, ciphertext, sizeof(ciphertext));
}

static int verify(const Signature *signature, SignatureScheme scheme) {
        return signature_verify(signature, keys[scheme], NAME, ciphertext, sizeof(ciphertext));
}

static void test_each_scheme_verifies_what_openssl_has_signed(void **state) {
        for (SignatureScheme scheme = 0; scheme < _SIGNATURE_SCHEMES; scheme++) {
                Signature signature = sign(scheme);

                assert_int_equal(signature_scheme(keys[scheme]), scheme);
                assert_int_equal(verify(&signature, scheme), 0);
        }
}

static void test_message_has_the_form_of_the_page(void **state) {
        static const char wanted[] = "756e7365616c64207369676e6174757265207631006462002000000000000001"
                                     "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                                     "8086072ba1e7cc2358baeca134c825a7";
        uint8_t message[SIGNATURE_MESSAGE_MAX];
        _cleanup_free_ char *hex = NULL;
        size_t size;

        assert_int_equal(signature_message("db", UINT64_C(0x2000000000000001), (const uint8_t *) "abc", 3,
                                           message, &size),
                         0);
        assert_int_equal(hex_encode(message, size, &hex), 0);
        assert_string_equal(hex, wanted);
}

static void test_name_fits_up_to_64_bytes(void **state) {
        uint8_t message[SIGNATURE_MESSAGE_MAX];
        char name[66] = "";
        size_t size;

        memset(name, 'n', 64);
        assert_int_equal(signature_message(name, 1, ciphertext, 4, message, &size), 0);
        assert_int_equal(size, SIGNATURE_MESSAGE_MAX);
        name[64] = 'n';
        assert_int_equal(signature_message(name, 1, ciphertext, 4, message, &size), -EINVAL);
}

static void test_every_changed_bit_of_a_signature_is_refused(void **state) {
        for (SignatureScheme scheme = 0; scheme < _SIGNATURE_SCHEMES; scheme++) {
                const Signature whole = sign(scheme);

                for (size_t bit = 0; bit < 8 * whole.size; bit++) {
                        Signature changed = whole;

                        changed.bytes[bit / 8] ^= (uint8_t) (1U << bit % 8);
                        if (verify(&changed, scheme) != -EKEYREJECTED)
                                fail_msg("scheme %d accepts a signature with bit %zu changed", scheme, bit);
                }
                for (size_t size = 0; size < whole.size; size++) {
                        Signature shorter = whole;

                        shorter.size = size;
                        assert_int_equal(verify(&shorter, scheme), -EKEYREJECTED);
                }
                for (size_t more = 1; whole.size + more <= sizeof(whole.bytes); more++) {
                        Signature longer = whole;

                        longer.size += more;
                        assert_int_equal(verify(&longer, scheme), -EKEYREJECTED);
                }
        }
}

/* The control is the row without a change. */
static void test_signature_holds_for_one_name_version_ciphertext_and_key(void **state) {
        for (SignatureScheme scheme = 0; scheme < _SIGNATURE_SCHEMES; scheme++) {
                const Signature signature = sign(scheme);
                const size_t size = sizeof(ciphertext);
                uint8_t other[sizeof(ciphertext)];
                Signature version = signature;

                assert_int_equal(signature_verify(&signature, keys[scheme], NAME, ciphertext, size), 0);
                assert_int_equal(signature_verify(&signature, keys[scheme], "db-passwore", ciphertext, size),
                                 -EKEYREJECTED);
                assert_int_equal(signature_verify(&signature, keys[scheme], "db", ciphertext, size),
                                 -EKEYREJECTED);
                assert_int_equal(signature_verify(&signature, keys[scheme], "", ciphertext, size),
                                 -EKEYREJECTED);
                assert_int_equal(signature_verify(&signature, keys[scheme], NAME, ciphertext, size - 1),
                                 -EKEYREJECTED);
                assert_int_equal(signature_verify(&signature, keys[scheme], NAME, ciphertext, 0),
                                 -EKEYREJECTED);
                for (size_t i = 0; i < size; i++) {
                        memcpy(other, ciphertext, size);
                        other[i] ^= 1;
                        assert_int_equal(signature_verify(&signature, keys[scheme], NAME, other, size),
                                         -EKEYREJECTED);
                }
                for (unsigned bit = 0; bit < 64; bit++) {
                        version.version = VERSION ^ UINT64_C(1) << bit;
                        assert_int_equal(verify(&version, scheme), -EKEYREJECTED);
                }
                for (SignatureScheme wrong = 0; wrong < _SIGNATURE_SCHEMES; wrong++)
                        if (wrong != scheme)
                                assert_int_equal(verify(&signature, wrong), -EKEYREJECTED);
        }
}

static void test_another_key_of_the_same_kind_is_refused(void **state) {
        for (SignatureScheme scheme = 0; scheme < _SIGNATURE_SCHEMES; scheme++) {
                _cleanup_(EVP_PKEY_freep) EVP_PKEY *stranger =
                                scheme == SIGNATURE_ED25519
                                                ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
                                                : EVP_EC_gen(scheme == SIGNATURE_P256 ? "P-256" : "P-384");
                const Signature signature = sign(scheme);

                assert_int_equal(
                                signature_verify(&signature, stranger, NAME, ciphertext, sizeof(ciphertext)),
                                -EKEYREJECTED);
        }
}

/* A key signs with one digest only, or the digest would be the signer's choice. */
static void test_curve_decides_about_the_digest(void **state) {
        Signature wrong = sign_as(keys[SIGNATURE_P256], "SHA384", NAME, VERSION, ciphertext,
                                  sizeof(ciphertext));

        assert_int_equal(verify(&wrong, SIGNATURE_P256), -EKEYREJECTED);
        wrong = sign_as(keys[SIGNATURE_P384], "SHA256", NAME, VERSION, ciphertext, sizeof(ciphertext));
        assert_int_equal(verify(&wrong, SIGNATURE_P384), -EKEYREJECTED);
}

/* (r, n - s) is the same statement by the same key, and harmless. Another encoding of the same numbers is refused. */
static void test_der_has_one_form_and_the_mirrored_signature_says_the_same(void **state) {
        const Signature signature = sign(SIGNATURE_P256);
        const unsigned char *p = signature.bytes;
        _cleanup_(ECDSA_SIG_freep) ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &p, (long) signature.size);
        EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
        BIGNUM *s = BN_new();
        Signature mirrored = { .version = VERSION }, longer = signature;
        unsigned char *end = mirrored.bytes;

        assert_true(BN_sub(s, EC_GROUP_get0_order(group), ECDSA_SIG_get0_s(pair)));
        assert_true(ECDSA_SIG_set0(pair, BN_dup(ECDSA_SIG_get0_r(pair)), s));
        mirrored.size = (size_t) i2d_ECDSA_SIG(pair, &end);
        EC_GROUP_free(group);
        assert_int_equal(verify(&mirrored, SIGNATURE_P256), 0);

        /* BER: the length of the sequence in two bytes, where DER takes one */
        assert_int_equal(longer.bytes[0], 0x30);
        assert_true(longer.bytes[1] < 0x80);
        memcpy(longer.bytes + 2, signature.bytes + 1, signature.size - 1);
        longer.bytes[1] = 0x81;
        longer.size++;
        assert_int_equal(verify(&longer, SIGNATURE_P256), -EKEYREJECTED);
}

static void test_written_signature_is_read_again(void **state) {
        static const uint64_t versions[] = {
                0, 1, VERSION, INT64_MAX, (uint64_t) INT64_MAX + 1, UINT64_MAX
        };

        for (size_t i = 0; i < ELEMENTSOF(versions); i++) {
                Signature signature = sign(SIGNATURE_P384), read;
                _cleanup_free_ char *text = NULL;
                Error error = {};

                signature.version = versions[i];
                assert_int_equal(signature_format(&signature, &text), 0);
                if (signature_parse((const uint8_t *) text, strlen(text), &read, &error) < 0)
                        fail_msg("%s: %s", text, error.text);
                assert_int_equal(read.version, versions[i]);
                assert_int_equal(read.size, signature.size);
                assert_memory_equal(read.bytes, signature.bytes, read.size);
        }
}

static int parse_text(const char *text, size_t size) {
        Signature signature;
        Error error = {};
        int r = signature_parse((const uint8_t *) text, size, &signature, &error);

        if (r < 0) {
                assert_int_equal(error.failure, FAILURE_SIGNATURE);
                assert_int_equal(error.remedy, REMEDY_RETRY);
        }
        return r;
}

static void test_other_texts_than_one_object_of_two_members_are_refused(void **state) {
        static const char *const accepted[] = {
                "{\"version\":1,\"signature\":\"AAAA\"}",
                "{\"signature\":\"AAAA\",\"version\":18446744073709551615}",
                " {\n\t\"version\" : 0 , \"signature\" : \"AA==\" }\r\n",
                "{\"version\":10,\"signature\":\"AA\\/A\"}",
        };
        static const char *const refused[] = {
                "",
                "null",
                "[]",
                "{}",
                "1",
                "{\"version\":1}",
                "{\"signature\":\"AAAA\"}",
                "{\"version\":1,\"signature\":\"\"}",
                "{\"version\":1,\"signature\":null}",
                "{\"version\":null,\"signature\":\"AAAA\"}",
                "{\"version\":\"1\",\"signature\":\"AAAA\"}",
                "{\"version\":true,\"signature\":\"AAAA\"}",
                "{\"version\":1,\"signature\":1}",
                "{\"version\":1,\"signature\":[\"AAAA\"]}",
                "[{\"version\":1,\"signature\":\"AAAA\"}]",
                /* numbers */
                "{\"version\":-1,\"signature\":\"AAAA\"}",
                "{\"version\":-0,\"signature\":\"AAAA\"}",
                "{\"version\":01,\"signature\":\"AAAA\"}",
                "{\"version\":1.0,\"signature\":\"AAAA\"}",
                "{\"version\":1.,\"signature\":\"AAAA\"}",
                "{\"version\":1e0,\"signature\":\"AAAA\"}",
                "{\"version\":18446744073709551616,\"signature\":\"AAAA\"}",
                "{\"version\":99999999999999999999999999,\"signature\":\"AAAA\"}",
                /* members */
                "{\"version\":1,\"version\":1,\"signature\":\"AAAA\"}",
                "{\"version\":1,\"version\":2,\"signature\":\"AAAA\"}",
                "{\"version\":1,\"\\u0076ersion\":2,\"signature\":\"AAAA\"}",
                "{\"\\u0076ersion\":1,\"signature\":\"AAAA\"}",
                "{\"version\":1,\"signature\":\"AAAA\",\"signature\":\"BBBB\"}",
                "{\"version\":1,\"signature\":\"AAAA\",\"name\":\"db\"}",
                "{\"Version\":1,\"signature\":\"AAAA\"}",
                /* what follows */
                "{\"version\":1,\"signature\":\"AAAA\"}x",
                "{\"version\":1,\"signature\":\"AAAA\"}{}",
                "{\"version\":1,\"signature\":\"AAAA\"",
                "{\"version\":1,\"signature\":\"AAAA\",}",
                /* base64 */
                "{\"version\":1,\"signature\":\"AA\"}",
                "{\"version\":1,\"signature\":\"AA=\"}",
                "{\"version\":1,\"signature\":\"AAA\"}",
                "{\"version\":1,\"signature\":\"AB==\"}",
                "{\"version\":1,\"signature\":\"AA-_\"}",
                "{\"version\":1,\"signature\":\"AA AA\"}",
                "{\"version\":1,\"signature\":\"AAAA\\n\"}",
                "{\"version\":1,\"signature\":\"AA==AAAA\"}",
                "{\"version\":1,\"signature\":\"AAAA\\u0000\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(accepted); i++)
                if (parse_text(accepted[i], strlen(accepted[i])) < 0)
                        fail_msg("refused: %s", accepted[i]);
        for (size_t i = 0; i < ELEMENTSOF(refused); i++)
                if (parse_text(refused[i], strlen(refused[i])) != -EBADMSG)
                        fail_msg("accepted: %s", refused[i]);
        assert_int_equal(parse_text("{\"version\":1,\"signature\":\"AAAA\"}\0", 34), -EBADMSG);
}

static void test_long_signatures_and_texts_are_refused(void **state) {
        uint8_t bytes[SIGNATURE_BYTES_MAX + 1] = {};
        char text[SIGNATURE_FILE_MAX + 2];

        for (size_t size = SIGNATURE_BYTES_MAX; size <= sizeof(bytes); size++) {
                _cleanup_free_ char *encoded = NULL;

                assert_int_equal(base64_encode(bytes, size, &encoded), 0);
                (void) snprintf(text, sizeof(text), "{\"version\":1,\"signature\":\"%s\"}", encoded);
                assert_int_equal(parse_text(text, strlen(text)), size > SIGNATURE_BYTES_MAX ? -EBADMSG : 0);
        }
        (void) memset(text, ' ', sizeof(text));
        memcpy(text, "{\"version\":1,\"signature\":\"AAAA\"}", 32);
        assert_int_equal(parse_text(text, SIGNATURE_FILE_MAX), 0);
        assert_int_equal(parse_text(text, SIGNATURE_FILE_MAX + 1), -EBADMSG);
}

static int judge(const Signature *signature, uint64_t version_min, Error *error) {
        const SignatureRule rule = { .name = NAME,
                                     .key = keys[SIGNATURE_P256],
                                     .version_min = version_min,
                                     .key_path = "/usr/lib/unseald/vendor.pub",
                                     .label = "s3://bucket/db.sig" };
        _cleanup_free_ char *text = NULL;
        uint64_t version = 0;
        int r;

        assert_int_equal(signature_format(signature, &text), 0);
        r = signature_judge(&rule, (const uint8_t *) text, strlen(text), ciphertext, sizeof(ciphertext),
                            &version, error);
        if (r >= 0)
                assert_int_equal(version, VERSION);
        return r;
}

static void test_judge_takes_the_smallest_version_and_no_smaller_one(void **state) {
        const Signature signature = sign(SIGNATURE_P256);
        Error error = {};

        assert_int_equal(judge(&signature, 0, &error), 0);
        assert_int_equal(judge(&signature, VERSION, &error), 0);
        assert_int_equal(judge(&signature, VERSION + 1, &error), -ESTALE);
        assert_int_equal(error.failure, FAILURE_SIGNATURE);
        assert_int_equal(error.remedy, REMEDY_NONE);
        assert_non_null(strstr(error.text,
                               "version 72623859790382856, and this image takes no version below "
                               "72623859790382857 (MinVersion=)"));
}

/* Only what the vendor has signed is too old: an unsigned version says nothing. */
static void test_judge_believes_no_version_that_is_not_signed(void **state) {
        Signature signature = sign(SIGNATURE_P256);
        Error error = {};

        signature.version = VERSION + 1;
        assert_int_equal(judge(&signature, VERSION + 1, &error), -EKEYREJECTED);
        assert_int_equal(error.remedy, REMEDY_RETRY);
        signature.version = 0;
        assert_int_equal(judge(&signature, VERSION + 1, &error), -EKEYREJECTED);
        assert_int_equal(error.failure, FAILURE_SIGNATURE);
        assert_non_null(strstr(error.text, "s3://bucket/db.sig: The key /usr/lib/unseald/vendor.pub has not "
                                           "signed this ciphertext as version 0 of secret db-password."));
}

typedef int (*WriteKey)(BIO *bio, const EVP_PKEY *key);

static int write_private(BIO *bio, const EVP_PKEY *key) {
        return PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
}

static int parse_key(const char *pem, size_t size, Error *error) {
        EVP_PKEY *key = NULL;
        int r = signature_key_parse((const uint8_t *) pem, size, &key, error);

        if (r >= 0)
                assert_int_not_equal(signature_scheme(key), _SIGNATURE_SCHEME_INVALID);
        else
                assert_int_equal(error->failure, FAILURE_CONFIGURATION);
        EVP_PKEY_free(key);
        return r;
}

static void assert_key(EVP_PKEY *key, WriteKey write, const char *refusal) {
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        Error error = {};
        char *pem;
        long size;
        int r;

        assert_non_null(key);
        assert_int_equal(write(bio, key), 1);
        size = BIO_get_mem_data(bio, &pem);
        r = parse_key(pem, (size_t) size, &error);
        if ((r < 0) != (refusal != NULL) || (refusal && !strstr(error.text, refusal)))
                fail_msg("%d %s, wanted %s", r, error.text, refusal ?: "a key");
}

static void test_keys_of_other_kinds_are_refused(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *rsa = EVP_RSA_gen(2048), *p521 = EVP_EC_gen("P-521"),
                                           *k1 = EVP_EC_gen("secp256k1"),
                                           *ed448 = EVP_PKEY_Q_keygen(NULL, NULL, "ED448"),
                                           *x25519 = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                assert_key(keys[i], PEM_write_bio_PUBKEY, NULL);
                assert_key(keys[i], write_private, "It is a private key.");
        }
        assert_key(rsa, PEM_write_bio_PUBKEY, "It is an RSA key.");
        assert_key(p521, PEM_write_bio_PUBKEY, "It is a key on another curve");
        assert_key(k1, PEM_write_bio_PUBKEY, "It is a key on another curve");
        assert_key(ed448, PEM_write_bio_PUBKEY, "It is a key of another kind.");
        assert_key(x25519, PEM_write_bio_PUBKEY, "It is a key of another kind.");
}

static void test_explicit_curve_parameters_are_refused(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");

        assert_int_equal(EVP_PKEY_set_utf8_string_param(key, "encoding", "explicit"), 1);
        assert_key(key, PEM_write_bio_PUBKEY, "or one with explicit parameters");
}

static void test_key_file_has_one_key_and_nothing_else(void **state) {
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        char *pem, both[2 * SIGNATURE_KEY_MAX];
        Error error = {};
        size_t size;

        assert_int_equal(PEM_write_bio_PUBKEY(bio, keys[SIGNATURE_P256]), 1);
        size = (size_t) BIO_get_mem_data(bio, &pem);
        memcpy(both, pem, size);
        memcpy(both + size, pem, size);
        assert_int_equal(parse_key(both, size, &error), 0);
        assert_int_equal(parse_key(both, 2 * size, &error), -EINVAL);
        assert_non_null(strstr(error.text, "more than one object"));
        for (size_t i = 0; i + 1 < size; i++)
                assert_int_equal(parse_key(both, i, &error), -EINVAL);
        assert_int_equal(parse_key("", 0, &error), -EINVAL);
        assert_non_null(strstr(error.text, "no PEM"));
        assert_int_equal(parse_key("ssh-ed25519 AAAAC3Nza vendor\n", 29, &error), -EINVAL);
        assert_non_null(strstr(error.text, "a key of OpenSSH. Make one with"));
        (void) memset(both + size, '\n', sizeof(both) - size);
        assert_int_equal(parse_key(both, SIGNATURE_KEY_MAX, &error), 0);
        assert_int_equal(parse_key(both, SIGNATURE_KEY_MAX + 1, &error), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_scheme_verifies_what_openssl_has_signed),
                cmocka_unit_test(test_message_has_the_form_of_the_page),
                cmocka_unit_test(test_name_fits_up_to_64_bytes),
                cmocka_unit_test(test_every_changed_bit_of_a_signature_is_refused),
                cmocka_unit_test(test_signature_holds_for_one_name_version_ciphertext_and_key),
                cmocka_unit_test(test_another_key_of_the_same_kind_is_refused),
                cmocka_unit_test(test_curve_decides_about_the_digest),
                cmocka_unit_test(test_der_has_one_form_and_the_mirrored_signature_says_the_same),
                cmocka_unit_test(test_written_signature_is_read_again),
                cmocka_unit_test(test_other_texts_than_one_object_of_two_members_are_refused),
                cmocka_unit_test(test_long_signatures_and_texts_are_refused),
                cmocka_unit_test(test_judge_takes_the_smallest_version_and_no_smaller_one),
                cmocka_unit_test(test_judge_believes_no_version_that_is_not_signed),
                cmocka_unit_test(test_keys_of_other_kinds_are_refused),
                cmocka_unit_test(test_explicit_curve_parameters_are_refused),
                cmocka_unit_test(test_key_file_has_one_key_and_nothing_else),
        };

        return cmocka_run_group_tests(tests, make_keys, free_keys);
}
