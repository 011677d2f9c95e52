/* SPDX-License-Identifier: Apache-2.0 */

/* What a step says of its last attempt, also where there is no memory to keep it. test-session.c shows the rest. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "failing-memory.h"
#include "unsealing/step.h"

static Error denied(const char *text) {
        Error error;

        (void) error_set(&error, -EACCES, FAILURE_DENIED, "%s", text);
        return error;
}

static void test_a_step_without_a_failure_has_an_empty_error(void **state) {
        Step step = { .name = "a" };

        assert_false(step_failed(&step));
        assert_int_equal(step_error(&step)->failure, FAILURE_NONE);
        assert_string_equal(step_error(&step)->text, "");
        step_forget_error(&step);
}

static void test_a_step_keeps_the_error_of_its_last_attempt_until_it_succeeds(void **state) {
        Step step = { .name = "a" };
        Error first = denied("the first"), second = denied("the second");

        step_begin(&step, 1);
        (void) step_postpone(&step, &first, 0, 2, 0);
        assert_string_equal(step_error(&step)->text, "the first");
        step_begin(&step, 3);
        step_give_up(&step, &second);
        assert_true(step_failed(&step));
        assert_false(step_is_done(&step));
        assert_int_equal(step_error(&step)->failure, FAILURE_DENIED);
        assert_string_equal(step_error(&step)->text, "the second");
        /* The caller may pass in what step_error() returned. */
        step_give_up(&step, step_error(&step));
        assert_string_equal(step_error(&step)->text, "the second");
        step_done(&step);
        assert_true(step_is_done(&step));
        assert_null(step.error);
        assert_string_equal(step_error(&step)->text, "");
}

static void test_a_step_without_memory_for_its_error_has_failed_all_the_same(void **state) {
        Step step = { .name = "a" };
        Error error = denied("no access");

        if (!memory_can_fail())
                skip();
        memory_fail_after(0);
        step_give_up(&step, &error);
        memory.armed = false;
        assert_true(memory_has_failed());
        assert_true(step_failed(&step));
        assert_false(step_is_done(&step));
        assert_null(step.error);
        /* Not the failure itself: its text is missing, and a next process must not take the verdict on trust. */
        assert_int_equal(step_error(&step)->failure, FAILURE_INTERNAL);
        assert_int_equal(step_error(&step)->remedy, REMEDY_RETRY);
        assert_non_null(strstr(step_error(&step)->text, "Out of memory"));
        step_set_error(&step, &error);
        assert_string_equal(step_error(&step)->text, "no access");
        step_forget_error(&step);
        assert_false(step_failed(&step));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_step_without_a_failure_has_an_empty_error),
                cmocka_unit_test(test_a_step_keeps_the_error_of_its_last_attempt_until_it_succeeds),
                cmocka_unit_test(test_a_step_without_memory_for_its_error_has_failed_all_the_same),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
