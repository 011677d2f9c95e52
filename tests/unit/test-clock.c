/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/clock.h"

static void test_clocks_are_those_of_the_kernel(void **state) {
        static const struct {
                clockid_t clock;
                uint64_t (*now)(void);
        } clocks[] = {
                { CLOCK_BOOTTIME, now_boottime_usec },
                { CLOCK_MONOTONIC, now_monotonic_usec },
                { CLOCK_REALTIME, now_realtime_usec },
        };

        for (size_t i = 0; i < ELEMENTSOF(clocks); i++) {
                struct timespec before, after;

                assert_int_equal(clock_gettime(clocks[i].clock, &before), 0);
                uint64_t now = clocks[i].now();
                assert_int_equal(clock_gettime(clocks[i].clock, &after), 0);
                assert_in_range(now,
                                (uint64_t) before.tv_sec * USEC_PER_SEC + (uint64_t) before.tv_nsec / 1000,
                                (uint64_t) after.tv_sec * USEC_PER_SEC + (uint64_t) after.tv_nsec / 1000);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_clocks_are_those_of_the_kernel),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
