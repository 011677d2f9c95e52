/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h needs the headers above. */
#include <cmocka.h>

#include "basic/cleanup.h"
#include "unsealctl/verify-input.h"

#define DIGITS "00112233445566778899aabbccddeeff"
#define BASE64 "ABEiM0RVZneImaq7zN3u/w=="

static const uint8_t nonce[] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };

static void test_a_nonce_is_read_with_a_prefix_and_without_where_it_is_certain(void **state) {
        static const char *const texts[] = { "hex:" DIGITS, "hex:00112233445566778899AABBCCDDEEFF", DIGITS,
                                             "base64:" BASE64, BASE64 };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_free_ uint8_t *bytes = NULL;
                size_t size = 0;
                int r = nonce_from_text(texts[i], &bytes, &size);

                if (r < 0 || size != sizeof(nonce) || memcmp(bytes, nonce, size) != 0)
                        fail_msg("%s: saw %i and %zu bytes, wanted the nonce", texts[i], r, size);
        }
}

static void test_a_text_that_may_be_a_file_name_is_no_nonce(void **state) {
        static const struct {
                const char *text;
                int r;
                const char *missing;
        } samples[] = {
                { "nonce", -ENOENT, NULL },
                { "", -ENOENT, NULL },
                { "nonces/today", -ENOENT, NULL }, /* base64 of 9 bytes */
                { "nonces/of/the/customer/1", -ENOENT, "base64:" },
                { "/tmp/nonce.bin", -ENOENT, NULL },
                { "0011223344556677", -ENOENT, "hex:" },
                { DIGITS "0", -ENOENT, NULL },
                { "AAAA=", -ENOENT, NULL },
                { "QUJDRA==", -ENOENT, NULL }, /* 4 bytes */
                { "hex:0", -EINVAL, NULL },
                { "hex:0g", -EINVAL, NULL },
                { "hex:" BASE64, -EINVAL, NULL },
                { "base64:ABE", -EINVAL, NULL },
                { "base64:" DIGITS "=", -EINVAL, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                uint8_t *bytes = NULL;
                size_t size;
                int r = nonce_from_text(samples[i].text, &bytes, &size);

                if (r != samples[i].r || bytes)
                        fail_msg("\"%s\": saw %i, wanted %i", samples[i].text, r, samples[i].r);
                const char *missing = nonce_missing_prefix(samples[i].text);
                if (strcmp(missing ?: "none", samples[i].missing ?: "none") != 0)
                        fail_msg("\"%s\": saw prefix %s, wanted %s", samples[i].text, missing ?: "none",
                                 samples[i].missing ?: "none");
        }
}

static void test_only_text_of_a_document_is_decoded(void **state) {
        static const struct {
                const char *text, *bytes;
                size_t size;
        } samples[] = {
                { "84440102030405060708090a0b0c0d0e\n",
                  "\x84\x44\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e", 16 },
                { "84440102 03040506\n0708090A 0B0C0D0E",
                  "\x84\x44\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e", 16 },
                { "hEQBAgMEBQYHCAkK", "\x84\x44\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a", 12 },
                { "hEQBAgME\nBQYHCAkK\n", "\x84\x44\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a", 12 },
                { "0oRDoQEB", "\xd2\x84\x43\xa1\x01\x01", 6 },
                { "AQICAHiaQUI=", "AQICAHiaQUI=", 12 }, /* KMS's ciphertext */
                { "00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff", 32 },
                { "Hello World\n", "Hello World\n", 12 },
                { "\x84\x44\x01", "\x84\x44\x01", 3 },
                { "", "", 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                size_t size = strlen(samples[i].text);
                _cleanup_free_ uint8_t *data = malloc(size + 1);

                assert_non_null(data);
                memcpy(data, samples[i].text, size + 1);
                assert_int_equal(document_unwrap(&data, &size), 0);
                if (size != samples[i].size || memcmp(data, samples[i].bytes, size) != 0)
                        fail_msg("\"%s\": saw %zu bytes, wanted %zu others", samples[i].text, size,
                                 samples[i].size);
        }
}

static void test_a_short_word_is_not_called_base64(void **state) {
        assert_int_equal(document_form((const uint8_t *) "document", 8), INPUT_TEXT);
        assert_int_equal(document_form((const uint8_t *) DIGITS, 32), INPUT_HEX);
        assert_int_equal(document_form((const uint8_t *) "{}", 2), INPUT_JSON);
        assert_int_equal(document_form((const uint8_t *) "\x84\x44\xff", 3), INPUT_BINARY);
}

static void test_digits_of_a_nonce_are_found_between_other_characters(void **state) {
        static const struct {
                const char *text, *digits;
        } cases[] = {
                { "0x00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff" },
                { "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff", "00112233445566778899aabbccddeeff" },
                { "00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff", "00112233445566778899aabbccddeeff" },
                { "123e4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000" },
                { "123e4567-e89b-12d3-a456-42661417400", NULL }, /* an odd number */
                { "00:11:22", NULL },                            /* too few */
                { "00112233445566778899aabbccddeefg", NULL },
                { "nonce.bin", NULL },
                { "", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *digits = NULL;

                assert_int_equal(nonce_digits(cases[i].text, &digits), 0);
                if (!cases[i].digits)
                        assert_null(digits);
                else
                        assert_string_equal(digits, cases[i].digits);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_digits_of_a_nonce_are_found_between_other_characters),
                cmocka_unit_test(test_a_nonce_is_read_with_a_prefix_and_without_where_it_is_certain),
                cmocka_unit_test(test_a_text_that_may_be_a_file_name_is_no_nonce),
                cmocka_unit_test(test_only_text_of_a_document_is_decoded),
                cmocka_unit_test(test_a_short_word_is_not_called_base64),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
