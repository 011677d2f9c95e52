/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unsealing/late-key.h"

static const uint8_t header[] = "a header", another[] = "a Header",
                     key[] = "0123456789abcdef0123456789abcdef";
#define HEADER ((Slice){ header, sizeof(header) })

static Secret *secret_of(const uint8_t *bytes, size_t size) {
        Secret *secret;

        assert_int_equal(secret_new(size, &secret), 0);
        memcpy(secret_bytes(secret), bytes, size);
        return secret;
}

static void test_a_key_is_that_of_its_header_alone(void **state) {
        static const size_t sizes[] = { 16, 24, 32 };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_secret_ Secret *data_key = secret_of(key, sizes[i]), *late_key = NULL,
                                        *opened = NULL;

                assert_int_equal(late_key_new(HEADER, data_key, &late_key), 0);
                assert_int_equal(late_key_fits(late_key, HEADER), 1);
                assert_int_equal(late_key_fits(late_key, (Slice){ another, sizeof(another) }), 0);
                assert_int_equal(late_key_fits(late_key, (Slice){ header, sizeof(header) - 1 }), 0);
                assert_int_equal(late_key_open(late_key, &opened), 0);
                assert_int_equal(secret_size(opened), sizes[i]);
                assert_memory_equal(secret_bytes(opened), key, sizes[i]);
        }
}

static void test_what_is_no_key_is_refused(void **state) {
        static const uint8_t bytes[128];
        static const size_t sizes[] = { 0, 1, LATE_KEY_DIGEST_SIZE, LATE_KEY_DIGEST_SIZE + 33,
                                        sizeof(bytes) };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_secret_ Secret *late_key = secret_of(bytes, sizes[i]), *opened = NULL;

                assert_int_equal(late_key_fits(late_key, HEADER), -EBADMSG);
                assert_int_equal(late_key_open(late_key, &opened), -EBADMSG);
                assert_null(opened);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_key_is_that_of_its_header_alone),
                cmocka_unit_test(test_what_is_no_key_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
