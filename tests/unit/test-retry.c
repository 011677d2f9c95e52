/* SPDX-License-Identifier: Apache-2.0 */

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "basic/retry.h"

static void test_the_longest_delay_doubles_up_to_the_cap(void **state) {
        static const uint64_t longest[] = { 100000,  200000,  400000,   800000,  1600000,
                                            3200000, 6400000, 10000000, 10000000 };

        for (unsigned i = 0; i < sizeof(longest) / sizeof(longest[0]); i++)
                assert_int_equal(retry_delay_usec(i, 0, UINT64_MAX), longest[i]);
        assert_int_equal(retry_delay_usec(64, 0, UINT64_MAX), RETRY_CAP_USEC);
        assert_int_equal(retry_delay_usec(UINT_MAX, 0, UINT64_MAX), RETRY_CAP_USEC);
}

static void test_delays_are_spread_evenly_from_zero(void **state) {
        assert_int_equal(retry_delay_usec(1, 0, 0), 0);
        assert_int_equal(retry_delay_usec(3, 0, UINT64_MAX / 2), 400000);

        /* A hundred equal steps of the random number give a hundred equal steps of the delay. */
        for (uint64_t i = 0; i < 100; i++) {
                uint64_t delay = retry_delay_usec(20, 0, UINT64_MAX / 100 * i);
                assert_in_range(delay, i * RETRY_CAP_USEC / 100 - (i > 0), i * RETRY_CAP_USEC / 100 + 1);
        }
}

static void test_delay_is_never_shorter_than_retry_after(void **state) {
        assert_int_equal(retry_delay_usec(1, 5000000, 0), 5000000);
        assert_int_equal(retry_delay_usec(1, 5000000, UINT64_MAX), 5000000);
        /* This holds above the cap too. A longer delay of our own stays. */
        assert_int_equal(retry_delay_usec(1, 60000000, UINT64_MAX), 60000000);
        assert_int_equal(retry_delay_usec(9, 5000000, UINT64_MAX), RETRY_CAP_USEC);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_longest_delay_doubles_up_to_the_cap),
                cmocka_unit_test(test_delays_are_spread_evenly_from_zero),
                cmocka_unit_test(test_delay_is_never_shorter_than_retry_after),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
