/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>
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

static void ignore(int signal) {
}

static void test_signals_do_not_shorten_a_sleep(void **state) {
        const struct sigaction action = { .sa_handler = ignore };
        const struct itimerval every_2ms = { .it_interval.tv_usec = 2000, .it_value.tv_usec = 2000 },
                               never = {};
        uint64_t begun;

        assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
        assert_int_equal(setitimer(ITIMER_REAL, &every_2ms, NULL), 0);
        begun = now_monotonic_usec();
        sleep_usec(20000);
        assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
        assert_true(now_monotonic_usec() - begun >= 20000);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_clocks_are_those_of_the_kernel),
                cmocka_unit_test(test_signals_do_not_shorten_a_sleep),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
