/* SPDX-License-Identifier: Apache-2.0 */

/* No reader of PEM asks for a password, whatever the file says of itself. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/ui.h>
#include <cmocka.h>

#include "attestation/public-key.h"
#include "basic/http.h"
#include "basic/openssl-util.h"
#include "source/signature.h"

/* A PEM object of 16 bytes that says it is encrypted (RFC 1421). */
#define ENCRYPTED(label)                                                                                      \
        "-----BEGIN " label "-----\nProc-Type: 4,ENCRYPTED\n"                                                 \
        "DEK-Info: AES-128-CBC,000102030405060708090A0B0C0D0E0F\n\nAAECAwQFBgcICQoLDA0ODw==\n-----END " label \
        "-----\n"

static const char certificate[] = ENCRYPTED("CERTIFICATE"), public_key[] = ENCRYPTED("PUBLIC KEY");
static unsigned asked;

static int on_read(UI *ui, UI_STRING *string) {
        asked++;
        return 0;
}

/* Takes the place of the terminal. */
static int set_up_terminal(void **state) {
        UI_METHOD *method = UI_create_method("test");

        if (!method || UI_method_set_reader(method, on_read) < 0)
                return -1;
        UI_set_default_method(method);
        *state = method;
        return 0;
}

static int tear_down_terminal(void **state) {
        UI_set_default_method(UI_OpenSSL());
        UI_destroy_method(*state);
        return 0;
}

/* The control: OpenSSL asks for such a file by itself. */
static void test_openssl_asks_by_itself(void **state) {
        _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(certificate, -1);

        asked = 0;
        assert_null(PEM_read_bio_X509(bio, NULL, NULL, NULL));
        assert_true(asked > 0);
}

static void test_trusted_certificates_do_not_ask(void **state) {
        char path[] = "/tmp/test-no-password.XXXXXX";
        X509_STORE *store = NULL;
        Error error = {};
        int fd = mkstemp(path);

        asked = 0;
        assert_true(fd >= 0);
        assert_int_equal(write(fd, certificate, strlen(certificate)), strlen(certificate));
        assert_int_equal(close(fd), 0);
        assert_true(http_trust_new(path, &store, &error) < 0);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(asked, 0);
}

static void test_public_keys_do_not_ask(void **state) {
        const char *const texts[] = { certificate, public_key };
        EVP_PKEY *key = NULL;
        Error error = {};
        uint8_t *der = NULL;
        size_t size;

        asked = 0;
        for (size_t i = 0; i < 2; i++) {
                const uint8_t *text = (const uint8_t *) texts[i];

                assert_true(public_key_parse(text, strlen(texts[i]), &der, &size) < 0);
                assert_true(signature_key_parse(text, strlen(texts[i]), &key, &error) < 0);
        }
        assert_int_equal(asked, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_openssl_asks_by_itself),
                cmocka_unit_test(test_trusted_certificates_do_not_ask),
                cmocka_unit_test(test_public_keys_do_not_ask),
        };

        return cmocka_run_group_tests(tests, set_up_terminal, tear_down_terminal);
}
