/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>

#include "unsealing/control.h"

typedef struct Fixture {
        char directory[64], path[96];
        sd_event *event;
        Control *control;
        unsigned asked;
} Fixture;

static void asked(void *userdata) {
        ((Fixture *) userdata)->asked++;
}

static int set_up(void **state) {
        static Fixture fixture;

        fixture = (Fixture){ .directory = "/tmp/unseald-test-control.XXXXXX" };
        if (!mkdtemp(fixture.directory) || sd_event_new(&fixture.event) < 0)
                return -1;
        (void) snprintf(fixture.path, sizeof(fixture.path), "%s/socket", fixture.directory);
        *state = &fixture;
        return control_new(fixture.event, fixture.path, asked, &fixture, &fixture.control);
}

static int tear_down(void **state) {
        Fixture *fixture = *state;

        (void) control_free(fixture->control);
        (void) sd_event_unref(fixture->event);
        return rmdir(fixture->directory);
}

/* A child that asks, and exits with the answer if the text is as wanted. */
static pid_t ask_later(const Fixture *fixture, useconds_t usec, const char *wanted) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                char text[CONTROL_ANSWER_MAX] = "";
                int r;

                (void) usleep(usec);
                r = control_ask(fixture->path, text);

                _exit(r == -ECONNRESET ? 201 : r < 0 ? 202 : strcmp(text, wanted) == 0 ? r : 203);
        }
        return pid;
}

static pid_t ask(const Fixture *fixture, const char *wanted) {
        return ask_later(fixture, 0, wanted);
}

static int end_of(pid_t pid) {
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void run_until_asked(Fixture *fixture, unsigned times) {
        while (fixture->asked < times)
                assert_true(sd_event_run(fixture->event, 5000000) > 0);
}

static void test_who_asks_hears_the_outcome(void **state) {
        Fixture *fixture = *state;
        Error error;
        pid_t pid = ask(fixture, "KMS denies? access.");

        run_until_asked(fixture, 1);
        (void) error_set(&error, -EACCES, FAILURE_DENIED, "KMS denies\x1b access.");
        control_answer(fixture->control, &error);
        assert_int_equal(end_of(pid), FAILURE_DENIED);

        pid = ask(fixture, "");
        run_until_asked(fixture, 2);
        control_answer(fixture->control, NULL);
        assert_int_equal(end_of(pid), 0);
}

static void test_who_asks_during_a_reload_gets_another(void **state) {
        Fixture *fixture = *state;
        pid_t first = ask(fixture, ""), second = ask_later(fixture, 300000, "");

        run_until_asked(fixture, 1);
        assert_int_equal(sd_event_run(fixture->event, 600000), 0);
        assert_int_equal(fixture->asked, 1);
        control_answer(fixture->control, NULL);
        assert_int_equal(end_of(first), 0);
        run_until_asked(fixture, 2);
        control_answer(fixture->control, NULL);
        assert_int_equal(end_of(second), 0);
}

static void test_an_end_without_answer_is_told_apart(void **state) {
        Fixture *fixture = *state;
        pid_t pid = ask(fixture, "");
        char text[CONTROL_ANSWER_MAX];

        run_until_asked(fixture, 1);
        fixture->control = control_free(fixture->control);
        assert_int_equal(end_of(pid), 201);
        assert_int_equal(control_ask(fixture->path, text), -ENOENT);
}

static void test_what_a_predecessor_left_is_replaced(void **state) {
        Fixture *fixture = *state;
        Control *next = NULL;
        pid_t pid;

        assert_int_equal(control_new(fixture->event, fixture->path, asked, fixture, &next), 0);
        pid = ask(fixture, "");
        run_until_asked(fixture, 1);
        control_answer(next, NULL);
        assert_int_equal(end_of(pid), 0);
        (void) control_free(next);
}

int main(void) {
#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                test(test_who_asks_hears_the_outcome),
                test(test_who_asks_during_a_reload_gets_another),
                test(test_an_end_without_answer_is_told_apart),
                test(test_what_a_predecessor_left_is_replaced),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
