/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "basic/event-util.h"

typedef struct Countdown {
        unsigned left;
        bool exits, done;
} Countdown;

static int on_defer(sd_event_source *source, void *userdata) {
        Countdown *countdown = userdata;

        if (--countdown->left > 0)
                return 0;
        if (countdown->exits)
                return sd_event_exit(sd_event_source_get_event(source), 42);
        countdown->done = true;
        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

static int run(Countdown *countdown) {
        sd_event *event = NULL;
        sd_event_source *source = NULL;
        int r;

        assert_int_equal(sd_event_new(&event), 0);
        assert_int_equal(sd_event_add_defer(event, &source, on_defer, countdown), 0);
        assert_int_equal(sd_event_source_set_enabled(source, SD_EVENT_ON), 0);
        r = event_run_until(event, &countdown->done);
        (void) sd_event_source_disable_unref(source);
        (void) sd_event_unref(event);
        return r;
}

static void test_loop_runs_until_done(void **state) {
        Countdown countdown = { .left = 3 };

        assert_int_equal(run(&countdown), 0);
        assert_int_equal(countdown.left, 0);
}

static void test_loop_that_exits_is_an_error(void **state) {
        Countdown countdown = { .left = 3, .exits = true };

        assert_true(run(&countdown) < 0);
        assert_false(countdown.done);
}

static void test_loop_does_not_run_when_all_is_done(void **state) {
        Countdown countdown = { .left = 3, .done = true };

        assert_int_equal(run(&countdown), 0);
        assert_int_equal(countdown.left, 3);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_loop_runs_until_done),
                cmocka_unit_test(test_loop_that_exits_is_an_error),
                cmocka_unit_test(test_loop_does_not_run_when_all_is_done),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
