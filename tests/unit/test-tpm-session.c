/* SPDX-License-Identifier: Apache-2.0 */

/* OpenSSL's own KDFs play the TPM's side, independently of tpm-session.c. test-tpm.c shows that a TPM agrees. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h needs the headers above. */
#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

#include "basic/cleanup.h"
#include "tpm/tpm-session.h"

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free);
DEFINE_CLEANUP(EVP_KDF *, EVP_KDF_free);
DEFINE_CLEANUP(EVP_KDF_CTX *, EVP_KDF_CTX_free);
DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free);

#define CODE UINT32_C(0x20000001)
#define SESSION_HANDLE UINT32_C(0x02000007)

static const TPM2B_NAME name = { .size = 4, .name = { 1, 2, 3, 4 } };
static const TPM2B_AUTH auth = { .size = 3, .buffer = "abc" };

/* KDFa is the KDF of SP 800-108 in counter mode. */
static void kdfa(const uint8_t *key, size_t key_size, const char *label, const TPM2B_NONCE *first,
                 const TPM2B_NONCE *second, uint8_t *ret, size_t size) {
        _cleanup_(EVP_KDF_freep) EVP_KDF *kdf = EVP_KDF_fetch(NULL, "KBKDF", NULL);
        _cleanup_(EVP_KDF_CTX_freep) EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
        uint8_t nonces[2 * TPM_HASH_SIZE];
        const OSSL_PARAM parameters[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_MAC, (char *) "HMAC", 0),
                OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *) "SHA512", 0),
                OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *) key, key_size),
                OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *) label, strlen(label)),
                OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, nonces, first->size + second->size),
                OSSL_PARAM_construct_end(),
        };

        memcpy(nonces, first->buffer, first->size);
        memcpy(nonces + first->size, second->buffer, second->size);
        assert_int_equal(EVP_KDF_derive(context, ret, size, parameters), 1);
}

static void session_key(const TpmSession *session, uint8_t ret[static TPM_HASH_SIZE + 3]) {
        memcpy(ret, session->key, TPM_HASH_SIZE);
        memcpy(ret + TPM_HASH_SIZE, auth.buffer, auth.size);
}

static void crypt_buffer(const TpmSession *session, const TPM2B_NONCE *newer, const TPM2B_NONCE *older,
                         bool encrypt, uint8_t *data, size_t size) {
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        uint8_t value[TPM_HASH_SIZE + 3], key[32];
        int n;

        session_key(session, value);
        kdfa(value, sizeof(value), "CFB", newer, older, key, sizeof(key));
        assert_int_equal(EVP_CipherInit_ex(context, EVP_aes_128_cfb128(), NULL, key, key + 16, encrypt), 1);
        assert_int_equal(EVP_CipherUpdate(context, data, &n, data, (int) size), 1);
}

static void hmac(const TpmSession *session, const TpmMessage *hashed, const TPM2B_NONCE *newer,
                 const TPM2B_NONCE *older, uint8_t attributes, uint8_t ret[static TPM_HASH_SIZE]) {
        uint8_t value[TPM_HASH_SIZE + 3], hash[TPM_HASH_SIZE];
        TpmMessage input = {};

        session_key(session, value);
        assert_non_null(SHA512(hashed->data, hashed->size, hash));
        tpm_put(&input, hash, sizeof(hash));
        tpm_put(&input, newer->buffer, newer->size);
        tpm_put(&input, older->buffer, older->size);
        tpm_put_u8(&input, attributes);
        assert_non_null(HMAC(EVP_sha512(), value, sizeof(value), input.data, input.size, ret, NULL));
}

static TpmSession make_session(bool encrypts) {
        TpmSession session = { .handle = SESSION_HANDLE, .encrypts = encrypts, .nonce_tpm.size = 64 };

        memset(session.key, 0x11, sizeof(session.key));
        memset(session.nonce_tpm.buffer, 0x22, 64);
        return session;
}

static TpmCommand make_command(void) {
        return (TpmCommand){
                .code = CODE,
                .handle = 0x01805ea0,
                .n_handles = 2,
                .name = &name,
                .auth = &auth,
        };
}

/* Makes a TPM's response: parameters with a new nonce. */
static TpmMessage make_response(const TpmSession *session, const TpmMessage *parameters,
                                uint8_t attributes) {
        TpmMessage response = {}, hashed = {};
        TPM2B_NONCE nonce = { .size = 64 };
        uint8_t mac[TPM_HASH_SIZE];

        memset(nonce.buffer, 0x33, 64);
        tpm_put_u32(&hashed, 0);
        tpm_put_u32(&hashed, CODE);
        tpm_put(&hashed, parameters->data, parameters->size);
        hmac(session, &hashed, &nonce, &session->nonce_caller, attributes, mac);

        tpm_command_begin(&response, TPM2_ST_SESSIONS, 0);
        tpm_put_u32(&response, (uint32_t) parameters->size);
        tpm_put(&response, parameters->data, parameters->size);
        tpm_put_sized(&response, nonce.buffer, nonce.size);
        tpm_put_u8(&response, attributes);
        tpm_put_sized(&response, mac, sizeof(mac));
        tpm_command_end(&response);
        return response;
}

static void test_started_session_has_the_key_that_the_salt_gives(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_RSA_gen(2048);
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
        uint8_t modulus[TPM_MODULUS_SIZE], salt[256], wanted[TPM_HASH_SIZE];
        TPM2B_NONCE nonce_tpm = { .size = 64 };
        TpmMessage command, response = {};
        size_t size, salt_size = sizeof(salt);
        BIGNUM *n = NULL;
        const uint8_t *data;
        TpmSession session;
        uint32_t handle;

        assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
        assert_int_equal(BN_bn2binpad(n, modulus, sizeof(modulus)), sizeof(modulus));
        BN_free(n);
        assert_int_equal(tpm_session_start(&session, 0x80000001, modulus, true, &command), 0);

        /* The fields of the command. */
        assert_non_null(tpm_get(&command, TPM_HEADER_SIZE));
        assert_true(tpm_get_u32(&command, &handle));
        assert_int_equal(handle, 0x80000001);
        assert_true(tpm_get_u32(&command, &handle));
        assert_int_equal(handle, TPM2_RH_NULL);
        data = tpm_get_sized(&command, &size);
        assert_int_equal(size, 64);
        assert_memory_equal(data, session.nonce_caller.buffer, 64);
        data = tpm_get_sized(&command, &size);
        assert_int_equal(size, TPM_MODULUS_SIZE);
        assert_true(EVP_PKEY_decrypt_init(context) > 0);
        assert_true(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) > 0);
        assert_true(EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) > 0);
        assert_true(EVP_PKEY_CTX_set0_rsa_oaep_label(context, OPENSSL_memdup("SECRET", 7), 7) > 0);
        assert_true(EVP_PKEY_decrypt(context, salt, &salt_size, data, size) > 0);
        assert_int_equal(salt_size, 32);
        data = tpm_get(&command, 9);
        assert_memory_equal(data, "\x00\x00\x06\x00\x80\x00\x43\x00\x0d", 9);
        assert_int_equal(command.read, command.size);

        memset(nonce_tpm.buffer, 0x44, 64);
        kdfa(salt, 32, "ATH", &nonce_tpm, &session.nonce_caller, wanted, sizeof(wanted));
        tpm_command_begin(&response, TPM2_ST_NO_SESSIONS, 0);
        tpm_put_u32(&response, SESSION_HANDLE);
        tpm_put_sized(&response, nonce_tpm.buffer, nonce_tpm.size);
        tpm_command_end(&response);
        assert_int_equal(tpm_session_started(&session, &response), 0);
        assert_int_equal(session.handle, SESSION_HANDLE);
        assert_memory_equal(session.key, wanted, sizeof(wanted));
}

static void test_start_that_is_cut_short_is_refused(void **state) {
        TpmMessage response = {};

        tpm_command_begin(&response, TPM2_ST_NO_SESSIONS, 0);
        tpm_put_u32(&response, SESSION_HANDLE);
        tpm_put_sized(&response, name.name, 64);
        for (size_t size = 0; size < response.size; size++) {
                TpmMessage cut = response;
                TpmSession session = {};

                cut.size = size;
                assert_int_equal(tpm_session_started(&session, &cut), -EBADMSG);
                assert_int_equal(session.handle, size < TPM_HEADER_SIZE + 4 ? 0 : SESSION_HANDLE);
        }
}

static void test_nonce_that_is_too_long_is_refused(void **state) {
        static const uint8_t nonce[65];
        TpmMessage response = {};
        TpmSession session = {};

        tpm_command_begin(&response, TPM2_ST_NO_SESSIONS, 0);
        tpm_put_u32(&response, SESSION_HANDLE);
        tpm_put_sized(&response, nonce, sizeof(nonce));
        assert_int_equal(tpm_session_started(&session, &response), -EBADMSG);
}

static void test_command_carries_an_hmac_over_all_of_it(void **state) {
        TpmSession session = make_session(false);
        TpmCommand command = make_command();
        TpmMessage sealed, hashed = {};
        uint8_t wanted[TPM_HASH_SIZE];

        tpm_put_sized(&command.parameters, "hello", 5);
        command.sized_in = true;
        assert_int_equal(tpm_session_seal(&session, &command, &sealed), 0);

        tpm_put_u32(&hashed, CODE);
        tpm_put(&hashed, name.name, name.size);
        tpm_put(&hashed, name.name, name.size);
        tpm_put_sized(&hashed, "hello", 5);
        hmac(&session, &hashed, &session.nonce_caller, &session.nonce_tpm, 0x01, wanted);

        assert_int_equal(sealed.size, 10 + 8 + 4 + 4 + 66 + 1 + 66 + 7);
        assert_memory_equal(sealed.data,
                            "\x80\x02\x00\x00\x00\xa6\x20\x00\x00\x01\x01\x80\x5e\xa0\x01\x80\x5e\xa0"
                            "\x00\x00\x00\x89\x02\x00\x00\x07\x00\x40",
                            28);
        assert_memory_equal(sealed.data + 28, session.nonce_caller.buffer, 64);
        assert_int_equal(sealed.data[92], 0x01);
        assert_memory_equal(sealed.data + 95, wanted, sizeof(wanted));
        assert_memory_equal(sealed.data + 159, "\x00\x05hello", 7);
}

static void test_command_is_encrypted_where_it_can_be(void **state) {
        TpmSession session = make_session(true);
        TpmCommand command = make_command();
        TpmMessage sealed;

        tpm_put_sized(&command.parameters, "hello", 5);
        tpm_put_u16(&command.parameters, 0x1234);
        command.sized_in = true;
        assert_int_equal(tpm_session_seal(&session, &command, &sealed), 0);
        assert_int_equal(sealed.data[92], 0x21);
        assert_memory_equal(sealed.data + 159, "\x00\x05", 2);
        assert_memory_not_equal(sealed.data + 161, "hello", 5);
        assert_memory_equal(sealed.data + 166, "\x12\x34", 2);
        crypt_buffer(&session, &session.nonce_caller, &session.nonce_tpm, false, sealed.data + 161, 5);
        assert_memory_equal(sealed.data + 161, "hello", 5);

        command = make_command();
        command.sized_out = true;
        assert_int_equal(tpm_session_seal(&session, &command, &sealed), 0);
        assert_int_equal(sealed.data[92], 0x41);
}

static void test_nonces_are_never_used_again(void **state) {
        TpmSession session = make_session(false);
        TpmCommand command = make_command();
        TpmMessage first, second;

        assert_int_equal(tpm_session_seal(&session, &command, &first), 0);
        assert_int_equal(tpm_session_seal(&session, &command, &second), 0);
        assert_memory_not_equal(first.data + 28, second.data + 28, 64);
}

static void seal(TpmSession *session, TpmCommand *command) {
        TpmMessage sealed;

        assert_int_equal(tpm_session_seal(session, command, &sealed), 0);
}

static void test_response_is_decrypted(void **state) {
        TpmSession session = make_session(true);
        TpmCommand command = make_command();
        TpmMessage parameters = {}, response;
        TPM2B_NONCE nonce = { .size = 64 };
        const uint8_t *data;
        size_t size;

        command.sized_out = true;
        seal(&session, &command);
        memset(nonce.buffer, 0x33, 64);
        tpm_put_sized(&parameters, "hello", 5);
        crypt_buffer(&session, &nonce, &session.nonce_caller, true, parameters.data + 2, 5);
        response = make_response(&session, &parameters, 0x41);

        assert_int_equal(tpm_session_open(&session, &command, &response), 0);
        assert_memory_equal(session.nonce_tpm.buffer, nonce.buffer, 64);
        data = tpm_get_sized(&response, &size);
        assert_int_equal(size, 5);
        assert_memory_equal(data, "hello", 5);
        assert_int_equal(response.read, response.size);
}

static void test_response_with_any_bit_changed_is_refused(void **state) {
        TpmMessage parameters = {}, response;
        TpmSession session = make_session(false);
        TpmCommand command = make_command();

        seal(&session, &command);
        tpm_put_sized(&parameters, "hello", 5);
        response = make_response(&session, &parameters, 0x01);

        /* The HMAC does not cover the header, only its response code. */
        for (size_t bit = 8 * TPM_HEADER_SIZE; bit < 8 * response.size; bit++) {
                TpmMessage changed = response;
                TpmSession same = session;
                int r;

                changed.data[bit / 8] ^= (uint8_t) (1U << bit % 8);
                r = tpm_session_open(&same, &command, &changed);
                if (r != -EBADMSG && r != -EKEYREJECTED)
                        fail_msg("bit %zu: saw %i, wanted %i or %i", bit, r, -EBADMSG, -EKEYREJECTED);
        }
        for (size_t size = 0; size < response.size; size++) {
                TpmMessage cut = response;
                TpmSession same = session;

                cut.size = size;
                assert_int_equal(tpm_session_open(&same, &command, &cut), -EBADMSG);
        }
        response.size++;
        assert_int_equal(tpm_session_open(&session, &command, &response), -EBADMSG);
        response.size--;
        response.read = 0;
        command.code++;
        assert_int_equal(tpm_session_open(&session, &command, &response), -EKEYREJECTED);
}

static void test_response_without_the_buffer_to_decrypt_is_refused(void **state) {
        TpmSession session = make_session(true);
        TpmCommand command = make_command();
        TpmMessage parameters = {}, response;

        command.sized_out = true;
        seal(&session, &command);
        tpm_put_u16(&parameters, 5);
        response = make_response(&session, &parameters, 0x41);
        assert_int_equal(tpm_session_open(&session, &command, &response), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_started_session_has_the_key_that_the_salt_gives),
                cmocka_unit_test(test_start_that_is_cut_short_is_refused),
                cmocka_unit_test(test_nonce_that_is_too_long_is_refused),
                cmocka_unit_test(test_command_carries_an_hmac_over_all_of_it),
                cmocka_unit_test(test_command_is_encrypted_where_it_can_be),
                cmocka_unit_test(test_nonces_are_never_used_again),
                cmocka_unit_test(test_response_is_decrypted),
                cmocka_unit_test(test_response_with_any_bit_changed_is_refused),
                cmocka_unit_test(test_response_without_the_buffer_to_decrypt_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
