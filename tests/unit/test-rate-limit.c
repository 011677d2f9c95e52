/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "basic/rate-limit.h"

static void test_a_full_bucket_gives_its_burst_and_then_one_token_an_interval(void **state) {
        RateLimit limit = { .interval_usec = 1000, .burst = 3 };
        uint64_t wait = 7;

        for (unsigned i = 0; i < 3; i++)
                assert_true(rate_limit_take(&limit, 50000, &wait));
        assert_int_equal(wait, 7);
        assert_false(rate_limit_take(&limit, 50000, &wait));
        assert_int_equal(wait, 1000);
        assert_false(rate_limit_take(&limit, 50999, &wait));
        assert_int_equal(wait, 1);

        assert_true(rate_limit_take(&limit, 51000, &wait));
        assert_false(rate_limit_take(&limit, 51000, &wait));
        assert_true(rate_limit_take(&limit, 53000, &wait));
        assert_true(rate_limit_take(&limit, 53000, &wait));
        assert_false(rate_limit_take(&limit, 53000, &wait));
}

static void test_refusal_costs_no_token(void **state) {
        RateLimit limit = { .interval_usec = 1000, .burst = 1 };
        uint64_t wait;

        assert_true(rate_limit_take(&limit, 1, &wait));
        for (unsigned i = 0; i < 1000; i++)
                assert_false(rate_limit_take(&limit, 1000, &wait));
        assert_true(rate_limit_take(&limit, 1001, &wait));
}

static void test_bucket_does_not_overflow(void **state) {
        RateLimit limit = { .interval_usec = 1000, .burst = 2 };
        uint64_t wait;
        unsigned taken = 0;

        assert_true(rate_limit_take(&limit, 0, &wait));
        while (rate_limit_take(&limit, 1000000, &wait))
                taken++;
        assert_int_equal(taken, 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_full_bucket_gives_its_burst_and_then_one_token_an_interval),
                cmocka_unit_test(test_refusal_costs_no_token),
                cmocka_unit_test(test_bucket_does_not_overflow),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
