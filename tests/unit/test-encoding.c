/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"

/* RFC 4648 section 10. */
static const struct {
        const char *bytes, *base64, *hex;
} rfc_vectors[] = {
        { "", "", "" },
        { "f", "Zg==", "66" },
        { "fo", "Zm8=", "666f" },
        { "foo", "Zm9v", "666f6f" },
        { "foob", "Zm9vYg==", "666f6f62" },
        { "fooba", "Zm9vYmE=", "666f6f6261" },
        { "foobar", "Zm9vYmFy", "666f6f626172" },
};

static void test_vectors_of_rfc_4648_encode_and_decode(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(rfc_vectors); i++) {
                _cleanup_free_ char *hex = NULL, *base64 = NULL;
                _cleanup_free_ uint8_t *bytes = NULL;
                size_t length = strlen(rfc_vectors[i].bytes), size = 99;
                uint8_t buffer[8] = { 0 };

                assert_int_equal(hex_encode(rfc_vectors[i].bytes, length, &hex), 0);
                assert_string_equal(hex, rfc_vectors[i].hex);
                assert_int_equal(hex_decode(hex, buffer, length), 0);
                assert_memory_equal(buffer, rfc_vectors[i].bytes, length);

                assert_int_equal(base64_encode(rfc_vectors[i].bytes, length, &base64), 0);
                assert_string_equal(base64, rfc_vectors[i].base64);
                assert_int_equal(base64_decode(base64, strlen(base64), &bytes, &size), 0);
                assert_int_equal(size, length);
                assert_non_null(bytes);
                assert_memory_equal(bytes, rfc_vectors[i].bytes, length);
        }
}

static void test_every_length_and_byte_survives_encoding(void **state) {
        uint8_t data[300];

        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t) (i * 167 + 13);

        for (size_t length = 0; length <= sizeof(data); length++) {
                _cleanup_free_ char *hex = NULL, *base64 = NULL;
                _cleanup_free_ uint8_t *bytes = NULL;
                uint8_t buffer[sizeof(data)];
                size_t size;

                assert_int_equal(hex_encode(data, length, &hex), 0);
                assert_int_equal(strlen(hex), 2 * length);
                assert_int_equal(hex_decode(hex, buffer, length), 0);
                assert_memory_equal(buffer, data, length);

                assert_int_equal(base64_encode(data, length, &base64), 0);
                assert_int_equal(base64_decode(base64, strlen(base64), &bytes, &size), 0);
                assert_int_equal(size, length);
                assert_memory_equal(bytes, data, length);
        }
}

static void test_hex_accepts_both_cases_and_nothing_else(void **state) {
        static const char *const wrong[] = {
                "",     "0",    "00",   "00000",      "000000", "00g0", "0x00", " 000",
                "00 0", "000 ", "-000", "00\xc3\xa9", "00:0",   "00/0", "00@0", "00`0",
        };
        uint8_t buffer[2];

        assert_int_equal(hex_decode("aF0C", buffer, 2), 0);
        assert_int_equal(buffer[0], 0xaf);
        assert_int_equal(buffer[1], 0x0c);

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                memset(buffer, 0x55, sizeof(buffer));
                if (hex_decode(wrong[i], buffer, 2) != -EINVAL)
                        fail_msg("'%s' was taken for two bytes", wrong[i]);
                /* A failure writes nothing. */
                assert_int_equal(buffer[0], 0x55);
                assert_int_equal(buffer[1], 0x55);
        }
}

static void test_base64_has_one_spelling(void **state) {
        static const char *const wrong[] = {
                /* length */ "Z",
                "Zg",
                "Zg=",
                "Zm9vY",
                "Zg===",
                "=",
                /* padding */ "====",
                "Z===",
                "==Zg",
                "Zg==Zg==",
                "Zm8=Zm9v",
                "Z=8=",
                "=Zm8",
                /* bits after the end */ "Zh==",
                "Zn==",
                "Zv==",
                "Zm9=",
                "Zm+=",
                "//==",
                "///=",
                /* white space */ "Zm9v\n",
                " Zm9",
                "Zm 9",
                "Zm9 ",
                "\nZg==\n\n\n",
                /* other alphabets */ "Zm-_",
                "Zm*v",
                "Zm\xff\xff",
                "Zm@v",
                "Zm[v",
                "Zm`v",
                "Zm{v",
                "Zm:v",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                uint8_t *bytes = (uint8_t *) 1;
                size_t size = 42;

                if (base64_decode(wrong[i], strlen(wrong[i]), &bytes, &size) != -EINVAL)
                        fail_msg("'%s' was taken for base64", wrong[i]);
                assert_ptr_equal(bytes, (uint8_t *) 1);
                assert_int_equal(size, 42);
        }
}

static void test_base64_ends_at_the_length_not_at_a_nul(void **state) {
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t size;

        assert_int_equal(base64_decode("Zm9vZm9v", 4, &bytes, &size), 0);
        assert_int_equal(size, 3);
        assert_int_equal(base64_decode("Zm\0v", 4, &bytes, &size), -EINVAL);
}

static void test_only_base64_decode_lines_accepts_wrapped_text(void **state) {
        static const char wrapped[] = " Zm\r\n9vYm\t\tFy\n ";
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t size;

        assert_int_equal(base64_decode(wrapped, strlen(wrapped), &bytes, &size), -EINVAL);
        assert_int_equal(base64_decode_lines(wrapped, strlen(wrapped), &bytes, &size), 0);
        assert_int_equal(size, 6);
        assert_memory_equal(bytes, "foobar", 6);
}

static void test_wrapped_base64_is_strict_otherwise(void **state) {
        static const char *const wrong[] = { "Zg=\n", "Zh=\n=", "Zm9v\v", "Zm9v\f", "Zm9v," };
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t size;

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                if (base64_decode_lines(wrong[i], strlen(wrong[i]), &bytes, &size) != -EINVAL)
                        fail_msg("'%s' was taken for base64", wrong[i]);
        assert_int_equal(base64_decode_lines("Zm9v\0\0\0\0", 8, &bytes, &size), -EINVAL);

        /* White space alone stands for no bytes and is not an error. */
        assert_int_equal(base64_decode_lines(" \n", 2, &bytes, &size), 0);
        assert_non_null(bytes);
        assert_int_equal(size, 0);
}

static void test_sizes_that_cannot_be_encoded_are_refused(void **state) {
        char *text = NULL;

        assert_int_equal(hex_encode("", SIZE_MAX / 2 + 1, &text), -ENOMEM);
        assert_int_equal(base64_encode("", SIZE_MAX, &text), -ENOMEM);
        assert_int_equal(base64_encode("", 0x7fffffff, &text), -ENOMEM);
        assert_null(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vectors_of_rfc_4648_encode_and_decode),
                cmocka_unit_test(test_every_length_and_byte_survives_encoding),
                cmocka_unit_test(test_hex_accepts_both_cases_and_nothing_else),
                cmocka_unit_test(test_base64_has_one_spelling),
                cmocka_unit_test(test_base64_ends_at_the_length_not_at_a_nul),
                cmocka_unit_test(test_only_base64_decode_lines_accepts_wrapped_text),
                cmocka_unit_test(test_wrapped_base64_is_strict_otherwise),
                cmocka_unit_test(test_sizes_that_cannot_be_encoded_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
