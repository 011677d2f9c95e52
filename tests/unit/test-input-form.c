/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/input-form.h"

#define BYTES(text) text, sizeof(text) - 1

static const struct {
        const char *bytes;
        size_t size;
        InputForm form;
} table[] = {
        { BYTES(""), INPUT_EMPTY },
        { BYTES(" \r\n\t"), INPUT_EMPTY },
        /* The first bytes of a KMS ciphertext, and of a CBOR document. */
        { BYTES("\x01\x02\x02\x00\x78\x9a\x41\x42"), INPUT_BINARY },
        { BYTES("\x84\x44\xa1\x01\x38\x22\xa0\x59"), INPUT_BINARY },
        { BYTES("\x00"), INPUT_BINARY },
        { BYTES("AQICAHiaQUI="), INPUT_BASE64 },
        { BYTES("AQIC\nAHia\r\nQUI=\n"), INPUT_BASE64 },
        { BYTES("AQICAHiaQUI"), INPUT_TEXT },
        { BYTES("a secret, in the clear"), INPUT_TEXT },
        { BYTES("0102020078000000000000000000000d"), INPUT_HEX },
        { BYTES("0102020078000000 000000000000000D\n"), INPUT_HEX },
        /* Too short, and an odd number of digits: base64 as good as any. */
        { BYTES("01020200"), INPUT_BASE64 },
        { BYTES("0102020078000000000000000000000d0"), INPUT_TEXT },
        { BYTES("{\"CiphertextBlob\": \"AQIC\"}"), INPUT_JSON },
        { BYTES("\n [1]"), INPUT_JSON },
        { BYTES("\"AQICAHiaQUI=\"\n"), INPUT_JSON_STRING },
        { BYTES("\"AQICAHiaQUI="), INPUT_TEXT },
        { BYTES("[Secret]\nSource=file:/etc/shadow\n"), INPUT_TEXT },
        { BYTES("{\"CiphertextBlob\": \"AQIC"), INPUT_TEXT },
        { BYTES("-----BEGIN CMS-----\nAQIC\n-----END CMS-----\n"), INPUT_PEM },
        { BYTES("Content-Type: multipart/mixed; boundary=\"a\"\n\n"), INPUT_MIME },
        { BYTES("mime-version: 1.0\n"), INPUT_MIME },
        { BYTES("\xef\xbb\xbf"
                "AQICAHiaQUI="),
          INPUT_BYTE_ORDER_MARK },
        { BYTES("\xff\xfe"
                "A\0Q\0I\0C\0"),
          INPUT_UTF16 },
        { BYTES("\xfe\xff"
                "\0A\0Q\0I\0C"),
          INPUT_UTF16 },
        { BYTES("A\0Q\0I\0C\0"), INPUT_UTF16 },
        { BYTES("\0A\0Q\0I\0C"), INPUT_UTF16 },
        /* Not UTF-16: an odd size, too short, a byte that is not ASCII. */
        { BYTES("A\0Q\0I\0C\0x"), INPUT_BINARY },
        { BYTES("A\0Q\0"), INPUT_BINARY },
        { BYTES("\x01\0Q\0I\0C\0"), INPUT_BINARY },
        { BYTES("\x1f\x8b\x08\0\0\0\0\0"), INPUT_COMPRESSED },
        { BYTES("\x28\xb5\x2f\xfd\x04\x00"), INPUT_COMPRESSED },
        { BYTES("\xfd"
                "7zXZ\0\0"),
          INPUT_COMPRESSED },
        { BYTES("BZh91AY&SY"), INPUT_COMPRESSED },
        { BYTES("PK\x03\x04\x14\x00"), INPUT_COMPRESSED },
};

static void test_each_form_is_told_from_the_others(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                InputForm form = input_form(table[i].bytes, table[i].size);

                if (form != table[i].form)
                        fail_msg("row %zu: saw %s, wanted %s", i, input_form_name(form),
                                 input_form_name(table[i].form));
        }
}

static void test_every_form_has_a_name_and_a_cure_that_may_be_empty(void **state) {
        for (InputForm form = INPUT_EMPTY; form < _INPUT_FORMS; form++) {
                assert_non_null(input_form_name(form));
                assert_true(strlen(input_form_name(form)) > 0);
                assert_non_null(input_form_cure(form));
        }
}

static void test_form_around_a_text_is_named_and_a_wrong_text_is_not(void **state) {
        static const char word[] = "measurements";
        static const char long_base64[] =
                        "eyJNZWFzdXJlbWVudHMiOiB7IlBDUjQiOiAiMDEyMzQ1Njc4OWFiY2RlZiJ9fQ==AAAA";

        assert_int_equal(input_form(word, strlen(word)), INPUT_BASE64);
        assert_int_equal(input_form_of_failed_text(word, strlen(word)), INPUT_TEXT);
        assert_int_equal(input_form_of_failed_text(long_base64, 64), INPUT_BASE64);
        assert_int_equal(input_form_of_failed_text(BYTES("\xef\xbb\xbf{}")), INPUT_BYTE_ORDER_MARK);
        assert_int_equal(input_form_of_failed_text(BYTES("\xff\xfe{\0}\0")), INPUT_UTF16);
        assert_int_equal(input_form_of_failed_text(BYTES("{\"PCR4\": ")), INPUT_TEXT);
        assert_int_equal(input_form_of_failed_text(BYTES("\x01\x02\x80")), INPUT_TEXT);
        assert_int_equal(input_form_of_failed_text("", 0), INPUT_EMPTY);
}

static void test_hint_names_what_explains_something(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const char *hint = input_form_hint(table[i].bytes, table[i].size);
                bool wanted = table[i].form != INPUT_BINARY && table[i].form != INPUT_TEXT &&
                              (table[i].form != INPUT_BASE64 || table[i].size >= INPUT_FORM_HEX_MIN);

                if ((*hint != '\0') != wanted || (wanted && strncmp(hint, " It is ", 7) != 0))
                        fail_msg("row %zu: saw '%s'", i, hint);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_form_is_told_from_the_others),
                cmocka_unit_test(test_every_form_has_a_name_and_a_cure_that_may_be_empty),
                cmocka_unit_test(test_form_around_a_text_is_named_and_a_wrong_text_is_not),
                cmocka_unit_test(test_hint_names_what_explains_something),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
