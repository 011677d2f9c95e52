/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/duration.h"

static void test_durations_are_formatted_short(void **state) {
        static const struct {
                uint64_t usec;
                const char *text;
        } cases[] = {
                { 0, "0us" },
                { 350, "350us" },
                { 999, "999us" },
                { 1000, "1ms" },
                { 1005, "1ms" },
                { 1050, "1.05ms" },
                { 1500, "1.5ms" },
                { 12345, "12.3ms" },
                { 99999, "99.9ms" },
                { 350000, "350ms" },
                { 999999, "999ms" },
                { 1000000, "1s" },
                { 4210000, "4.21s" },
                { 59999999, "59.9s" },
                { 60000000, "1min" },
                { 123000000, "2min 3s" },
                { 3600000000, "1h" },
                { 5400000000, "1h 30min" },
                { 90000000000, "1d 1h" },
                { USEC_INFINITY - 1, "213503982d 8h" },
                { USEC_INFINITY, "infinity" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char buffer[DURATION_STRING_MAX];
                assert_ptr_equal(format_duration(cases[i].usec, buffer), buffer);
                assert_string_equal(buffer, cases[i].text);
        }
}

static void test_durations_are_parsed_as_in_systemd_time(void **state) {
        static const struct {
                const char *text;
                uint64_t usec;
        } cases[] = {
                { "90", 90 * USEC_PER_SEC },
                { "0", 0 },
                { "2min", 120 * USEC_PER_SEC },
                { "1min 30s", 90 * USEC_PER_SEC },
                { "1min30s", 90 * USEC_PER_SEC },
                { " 1 min 30 ", 90 * USEC_PER_SEC },
                { "500ms", 500 * USEC_PER_MSEC },
                { "300ms20s 5day", 300 * USEC_PER_MSEC + (20 + 5 * 86400) * USEC_PER_SEC },
                { "1.5s", 1500 * USEC_PER_MSEC },
                { "4.21s", 4210 * USEC_PER_MSEC },
                { "0.5y", UINT64_C(15778800) * USEC_PER_SEC },
                { "0.0000001s", 0 },
                { "0.999999y", UINT64_C(31557568442400) },
                { "7us", 7 },
                { "7µs", 7 },
                { "7usec", 7 },
                { "1m", 60 * USEC_PER_SEC },
                { "1M", UINT64_C(2629800) * USEC_PER_SEC },
                { "2 hours", 7200 * USEC_PER_SEC },
                { "1y 12month", (UINT64_C(31557600) + 12 * UINT64_C(2629800)) * USEC_PER_SEC },
                { "1week", 604800 * USEC_PER_SEC },
                { "infinity", USEC_INFINITY },
                { "18446744073709551614us", USEC_INFINITY - 1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint64_t usec = 42;
                int r = parse_duration(cases[i].text, &usec);
                if (r < 0 || usec != cases[i].usec)
                        fail_msg("'%s' was read as %llu (%d), not %llu", cases[i].text,
                                 (unsigned long long) usec, r, (unsigned long long) cases[i].usec);
        }
}

static void test_text_that_is_not_a_duration_is_refused(void **state) {
        static const char *const wrong[] = {
                "",
                " ",
                "s",
                "-1",
                "+1",
                "1x",
                "1 minn",
                "min 1",
                "1.s",
                ".5s",
                "1..5s",
                "1.5.5s",
                "1,5s",
                "0x10",
                "1e3",
                "1min -30s",
                "infinity 1",
                "1 infinity",
                "1s\n",
                "18446744073709551615us",
                "18446744073709551616us",
                "99999999999999999999",
                "18446744073709551614us 1us",
                "18446744073709551614us 2us",
                "600000y",
                "1\xc2s",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                uint64_t usec = 42;
                if (parse_duration(wrong[i], &usec) != -EINVAL)
                        fail_msg("'%s' was read as %llu", wrong[i], (unsigned long long) usec);
                assert_int_equal(usec, 42);
        }
}

static void test_formatted_durations_can_be_parsed(void **state) {
        for (uint64_t usec = 1; usec < USEC_INFINITY / 3; usec = usec * 3 + 1) {
                char buffer[DURATION_STRING_MAX];
                uint64_t again;

                assert_int_equal(parse_duration(format_duration(usec, buffer), &again), 0);
                /* The text has three digits or the two largest units. */
                assert_in_range(again, usec - usec / 20, usec);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_durations_are_formatted_short),
                cmocka_unit_test(test_durations_are_parsed_as_in_systemd_time),
                cmocka_unit_test(test_text_that_is_not_a_duration_is_refused),
                cmocka_unit_test(test_formatted_durations_can_be_parsed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
