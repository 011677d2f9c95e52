/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/json.h"
#include "kms_blob.h"

static const uint8_t key_id[KMS_KEY_ID_SIZE] = "0123456789abcde",
                     key[KMS_KEY_SIZE] = "the key's material, 32 bytes....";

static struct json_object *context(const char *text) {
        struct json_object *object;

        assert_int_equal(json_parse(text, strlen(text), &object), 0);
        return object;
}

static uint8_t *seal(struct json_object *sealed_context, size_t *ret_size) {
        uint8_t *blob;

        assert_int_equal(platform_kms_blob_seal(key_id, key, sealed_context, (const uint8_t *) "Hello World",
                                                11, &blob, ret_size),
                         0);
        return blob;
}

static void test_blob_begins_like_a_real_one_and_opens(void **state) {
        struct json_object *one = context("{\"a\": \"1\", \"b\": \"2\"}"),
                           *swapped = context("{\"b\": \"2\", \"a\": \"1\"}");
        uint8_t id[KMS_KEY_ID_SIZE], *plaintext;
        size_t size, plaintext_size;
        uint8_t *blob = seal(one, &size);

        assert_memory_equal(blob, "\x01\x02\x02\x00", 4);
        assert_int_equal(platform_kms_blob_key_id(blob, size, id), 0);
        assert_memory_equal(id, key_id, sizeof(id));
        assert_int_equal(platform_kms_blob_open(blob, size, key, swapped, &plaintext, &plaintext_size), 0);
        assert_int_equal(plaintext_size, 11);
        assert_memory_equal(plaintext, "Hello World", 11);
        free(plaintext);
        free(blob);
        json_object_put(one);
        json_object_put(swapped);
}

static void test_other_context_does_not_open(void **state) {
        static const char *const others[] = { "{}", "{\"a\": \"12\"}", "{\"a1\": \"\"}", "{\"A\": \"1\"}",
                                              "{\"a\": \"1\", \"b\": \"\"}" };
        struct json_object *right = context("{\"a\": \"1\"}");
        uint8_t *plaintext;
        size_t size, plaintext_size;
        uint8_t *blob = seal(right, &size);

        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                struct json_object *other = context(others[i]);
                assert_int_equal(platform_kms_blob_open(blob, size, key, other, &plaintext, &plaintext_size),
                                 -EBADMSG);
                json_object_put(other);
        }
        assert_int_equal(platform_kms_blob_open(blob, size, key, NULL, &plaintext, &plaintext_size),
                         -EBADMSG);
        free(blob);
        json_object_put(right);
}

static void test_no_byte_may_be_changed(void **state) {
        uint8_t *plaintext;
        size_t size, plaintext_size;
        uint8_t *blob = seal(NULL, &size);

        for (size_t i = 0; i < size; i++) {
                blob[i] ^= 1;
                assert_int_equal(platform_kms_blob_open(blob, size, key, NULL, &plaintext, &plaintext_size),
                                 -EBADMSG);
                blob[i] ^= 1;
        }
        for (size_t i = 0; i < size; i++)
                assert_int_equal(platform_kms_blob_open(blob, i, key, NULL, &plaintext, &plaintext_size),
                                 -EBADMSG);
        free(blob);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_blob_begins_like_a_real_one_and_opens),
                cmocka_unit_test(test_other_context_does_not_open),
                cmocka_unit_test(test_no_byte_may_be_changed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
