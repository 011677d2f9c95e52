/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "failing-memory.h"
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

/* Asks in a child, which exits with the answered status if the text is the wanted one. */
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

static void test_a_caller_gets_the_outcome(void **state) {
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

static void test_a_caller_during_a_reload_gets_a_reload_of_its_own(void **state) {
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

static void test_an_end_without_an_answer_has_an_error_of_its_own(void **state) {
        Fixture *fixture = *state;
        pid_t pid = ask(fixture, "");
        char text[CONTROL_ANSWER_MAX];

        run_until_asked(fixture, 1);
        fixture->control = control_free(fixture->control);
        assert_int_equal(end_of(pid), 201);
        assert_int_equal(control_ask(fixture->path, text), -ENOENT);
}

static void test_the_socket_of_a_previous_process_is_replaced(void **state) {
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

static void test_only_its_owner_may_open_the_socket(void **state) {
        Fixture *fixture = *state;
        struct stat st;

        assert_int_equal(stat(fixture->path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
}

/* Becomes this user, asks, and exits with 0 if the connection is closed without an answer. */
static void assert_refused(Fixture *fixture, uid_t uid) {
        char text[CONTROL_ANSWER_MAX];
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(setuid(uid) < 0 ? 1 : control_ask(fixture->path, text) == -ECONNRESET ? 0 : 2);
        while (waitpid(pid, &status, WNOHANG) == 0) {
                (void) sd_event_run(fixture->event, 10000);
                assert_int_equal(fixture->asked, 0);
        }
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

static void open_to_all(const Fixture *fixture) {
        assert_int_equal(chmod(fixture->directory, 0755), 0);
        assert_int_equal(chmod(fixture->path, 0666), 0);
}

static void test_another_user_is_refused_although_the_socket_is_open_to_all(void **state) {

        if (geteuid() != 0) {
                print_message("skipped: only root can become another user\n");
                skip();
        }
        open_to_all(*state);
        assert_refused(*state, 1);
        assert_refused(*state, 65534);
}

/* As ExecReload= does. Root may ask a daemon that is not root. */
static void test_root_and_the_user_of_the_daemon_are_answered(void **state) {
        static const uid_t users[] = { 0, 65534 };
        Fixture *fixture = *state;

        if (geteuid() != 0) {
                print_message("skipped: only root can become another user\n");
                skip();
        }
        open_to_all(fixture);
        for (unsigned i = 0; i < ELEMENTSOF(users); i++) {
                char text[CONTROL_ANSWER_MAX];
                pid_t pid = fork();

                assert_true(pid >= 0);
                if (pid == 0)
                        _exit(setuid(users[i]) < 0 ? 1 : control_ask(fixture->path, text) == 0 ? 0 : 2);
                assert_int_equal(seteuid(65534), 0);
                run_until_asked(fixture, i + 1);
                control_answer(fixture->control, NULL);
                assert_int_equal(seteuid(0), 0);
                assert_int_equal(end_of(pid), 0);
        }
}

/* The path of a socket has 107 bytes at most (unix(7)). */
static void test_a_path_that_is_too_long_is_an_error(void **state) {
        Fixture *fixture = *state;
        char path[109], text[CONTROL_ANSWER_MAX];
        Control *control = NULL;

        memset(path, 'x', sizeof(path) - 1);
        path[0] = '/';
        path[sizeof(path) - 1] = 0;
        assert_int_equal(control_new(fixture->event, path, asked, fixture, &control), -ENAMETOOLONG);
        assert_null(control);
        assert_int_equal(control_ask(path, text), -ENAMETOOLONG);
        path[sizeof(path) - 2] = 0;
        assert_int_equal(control_ask(path, text), -ENOENT);
}

static void test_a_socket_that_cannot_be_made_is_an_error(void **state) {
        Fixture *fixture = *state;
        Control *control = NULL;

        assert_int_equal(control_new(fixture->event, "/nonexistent/socket", asked, fixture, &control),
                         -ENOENT);
        assert_null(control);
        assert_int_equal(control_new(fixture->event, fixture->directory, asked, fixture, &control), -EISDIR);
        assert_null(control);
}

static int connect_to(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        return fd;
}

static void assert_answered(int fd) {
        char answer[CONTROL_ANSWER_MAX];

        assert_int_equal(recv(fd, answer, sizeof(answer), MSG_DONTWAIT), 3);
        assert_memory_equal(answer, "0 \n", 3);
        assert_int_equal(recv(fd, answer, sizeof(answer), MSG_DONTWAIT), 0);
}

/* One reload is for 16 callers. The next caller waits for the reload after it. */
static void test_more_callers_than_places_wait_for_the_next_reload(void **state) {
        Fixture *fixture = *state;
        int fds[17];
        char byte;

        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = connect_to(fixture->path);
        run_until_asked(fixture, 1);
        control_answer(fixture->control, NULL);
        for (size_t i = 0; i < 16; i++)
                assert_answered(fds[i]);
        assert_int_equal(recv(fds[16], &byte, 1, MSG_DONTWAIT), -1);
        assert_int_equal(errno, EAGAIN);
        run_until_asked(fixture, 2);
        control_answer(fixture->control, NULL);
        assert_answered(fds[16]);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                (void) close(fds[i]);
}

static void test_descriptor_0_is_a_descriptor(void **state) {
        Fixture *fixture = *state;
        int input = dup(STDIN_FILENO), r, after;
        Control *control = NULL;

        assert_true(input > 0);
        (void) close(STDIN_FILENO);
        r = control_new(fixture->event, fixture->path, asked, fixture, &control);
        (void) control_free(control);
        after = fcntl(STDIN_FILENO, F_GETFD);
        assert_int_equal(dup2(input, STDIN_FILENO), STDIN_FILENO);
        (void) close(input);
        assert_int_equal(r, 0);
        assert_int_equal(after, -1);
        assert_int_equal(access(fixture->path, F_OK), -1);
}

/* Asks a listener that answers with these bytes. */
static int ask_for_answer(const char *path, const char *answer, char *text) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
        pid_t pid;

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s.other", path);
        assert_int_equal(bind(listener, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(listen(listener, 1), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                int fd = accept(listener, NULL, NULL);

                _exit(send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0);
        }
        r = control_ask(address.sun_path, text);
        assert_int_equal(end_of(pid), 0);
        (void) close(listener);
        (void) unlink(address.sun_path);
        return r;
}

static void test_an_answer_is_a_status_and_a_text(void **state) {
        static const struct {
                const char *answer;
                int r;
                const char *text;
        } cases[] = {
                { "0 \n", 0, "" },
                { "255 ~ text\nmore", 255, "~ text" },
                { "60 a\x7f"
                  "b\x1f"
                  "c\n",
                  60, "a?b?c" },
                { "256 text\n", -EBADMSG, NULL },
                { " text\n", -EBADMSG, NULL },
                { "256\n", -EBADMSG, NULL },
                { "-1 text\n", -EBADMSG, NULL },
                { "text\n", -EBADMSG, NULL },
                { "60\n", -EBADMSG, NULL },
        };
        Fixture *fixture = *state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char text[CONTROL_ANSWER_MAX] = "";
                int r = ask_for_answer(fixture->path, cases[i].answer, text);

                if (r != cases[i].r)
                        fail_msg("\"%s\": saw %d, wanted %d", cases[i].answer, r, cases[i].r);
                if (cases[i].text)
                        assert_string_equal(text, cases[i].text);
        }
}

static Fixture *to_open;

static int open_again(void) {
        Control *control = NULL;
        int r = control_new(to_open->event, to_open->path, asked, to_open, &control);

        (void) control_free(control);
        return r;
}

static void test_lack_of_memory_is_reported(void **state) {
        to_open = *state;
        assert_allocations_are_checked(open_again);
}

int main(void) {
#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                test(test_a_caller_gets_the_outcome),
                test(test_a_caller_during_a_reload_gets_a_reload_of_its_own),
                test(test_an_end_without_an_answer_has_an_error_of_its_own),
                test(test_the_socket_of_a_previous_process_is_replaced),
                test(test_only_its_owner_may_open_the_socket),
                test(test_another_user_is_refused_although_the_socket_is_open_to_all),
                test(test_root_and_the_user_of_the_daemon_are_answered),
                test(test_a_path_that_is_too_long_is_an_error),
                test(test_a_socket_that_cannot_be_made_is_an_error),
                test(test_more_callers_than_places_wait_for_the_next_reload),
                test(test_descriptor_0_is_a_descriptor),
                test(test_an_answer_is_a_status_and_a_text),
                test(test_lack_of_memory_is_reported),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
