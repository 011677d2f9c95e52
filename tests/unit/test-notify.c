/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "basic/cleanup.h"
#include "basic/notify.h"
#include "notify-listener.h"

/* The service manager's end. */
static int manager = -1;
static sd_event *event;

static int listen_as_manager(void **state) {
        manager = notify_listen();
        return manager < 0 ? -1 : sd_event_new(&event);
}

static int close_manager(void **state) {
        event = sd_event_unref(event);
        close(manager);
        return unsetenv("NOTIFY_SOCKET");
}

/* The next message, and the descriptor that came with it, which the caller closes; -1: none. */
static int receive(char *buffer, size_t buffer_size) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
        } control;
        struct iovec iov = { .iov_base = buffer, .iov_len = buffer_size - 1 };
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        ssize_t n = recvmsg(manager, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        int fd = -1;

        if (n < 0)
                fail_msg("no message was sent: %s", strerror(errno));
        buffer[n] = '\0';
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
                        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        return fd;
}

static void expect(const char *wanted) {
        char message[4096];

        assert_int_equal(receive(message, sizeof(message)), -1);
        assert_string_equal(message, wanted);
}

static void expect_nothing(void) {
        char byte;

        assert_int_equal(recv(manager, &byte, 1, MSG_DONTWAIT), -1);
        assert_int_equal(errno, EAGAIN);
}

static void test_messages_are_those_of_sd_notify(void **state) {
        notify_status("Waiting: %s", "KMS throttles requests.");
        expect("STATUS=Waiting: KMS throttles requests.");
        assert_int_equal(notify_ready("All %u secrets.", 3), 0);
        expect("READY=1\nSTATUS=All 3 secrets.");
        notify_reloading();
        expect("RELOADING=1");
        notify_extend_timeout(120000000);
        expect("EXTEND_TIMEOUT_USEC=120000000");
        notify_stopping();
        expect("STOPPING=1");
        expect_nothing();
}

static void test_status_cannot_forge_another_message(void **state) {
        notify_status("Failed: the certificate is of %s.", "x\nREADY=1\nSTATUS=all well");
        expect("STATUS=Failed: the certificate is of x?READY=1?STATUS=all well.");
        assert_int_equal(notify_ready("The reload failed: %s", "x\nSTOPPING=1"), 0);
        expect("READY=1\nSTATUS=The reload failed: x?STOPPING=1");
}

static void test_long_status_is_cut_between_characters(void **state) {
        char text[2 * NOTIFY_STATUS_MAX + 1], message[4096];

        for (size_t i = 0; i < NOTIFY_STATUS_MAX; i++)
                memcpy(text + 2 * i, "ü", 2);
        text[sizeof(text) - 1] = '\0';
        notify_status("%s", text);
        assert_int_equal(receive(message, sizeof(message)), -1);
        /* An odd number of bytes is left for characters of two. */
        assert_int_equal(strlen(message), strlen("STATUS=") + NOTIFY_STATUS_MAX - 2);
        assert_memory_equal(message + strlen("STATUS="), text, NOTIFY_STATUS_MAX - 2);
}

static void test_descriptor_is_stored_and_removed_by_name(void **state) {
        _cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), received = -1;
        struct stat sent, got;
        char message[4096];

        assert_true(fd >= 0);
        assert_int_equal(notify_store_fd("kept-db", fd), 0);
        received = receive(message, sizeof(message));
        assert_string_equal(message, "FDSTORE=1\nFDPOLL=0\nFDNAME=kept-db");
        assert_int_equal(fstat(fd, &sent), 0);
        assert_int_equal(fstat(received, &got), 0);
        assert_int_equal(sent.st_rdev, got.st_rdev);

        assert_int_equal(notify_remove_fd("kept-db"), 0);
        expect("FDSTOREREMOVE=1\nFDNAME=kept-db");
}

static void test_name_that_the_manager_would_refuse_is_not_sent(void **state) {
        char longest[257];

        memset(longest, 'a', sizeof(longest));
        longest[256] = '\0';
        assert_int_equal(notify_store_fd("kept\nREADY=1", 0), -EINVAL);
        assert_int_equal(notify_remove_fd("kept:db"), -EINVAL);
        assert_int_equal(notify_remove_fd(""), -EINVAL);
        assert_int_equal(notify_remove_fd("b\xc3\xa4r"), -EINVAL);
        assert_int_equal(notify_remove_fd(longest), -EINVAL);
        expect_nothing();

        longest[255] = '\0';
        assert_int_equal(notify_remove_fd(longest), 0);
}

static NotifyBarrier *barrier;
static unsigned ended;
static int outcome;

static void on_ended(int r, void *userdata) {
        assert_ptr_equal(userdata, &ended);
        ended++;
        outcome = r;
}

static void begin_barrier(uint64_t timeout_usec, int wanted) {
        ended = 0;
        assert_int_equal(notify_barrier_new(event, timeout_usec, on_ended, &ended, &barrier), wanted);
}

static void assert_awaited(void) {
        assert_true(sd_event_run(event, 0) >= 0);
        assert_int_equal(ended, 0);
}

static void assert_outcome(int wanted) {
        while (ended == 0)
                assert_true(sd_event_run(event, UINT64_MAX) >= 0);
        assert_int_equal(ended, 1);
        assert_int_equal(outcome, wanted);
        barrier = notify_barrier_free(barrier);
}

static int receive_barrier(void) {
        char message[64];
        int fd = receive(message, sizeof(message));

        assert_string_equal(message, "BARRIER=1");
        assert_true(fd >= 0);
        return fd;
}

#define NEVER UINT64_C(3600000000)

static void test_barrier_is_passed_when_the_manager_closes_its_descriptor(void **state) {
        int fd;

        begin_barrier(NEVER, 0);
        assert_awaited();
        fd = receive_barrier();
        assert_awaited();
        close(fd);
        assert_outcome(0);
}

static void test_barrier_is_not_passed_by_a_manager_that_writes(void **state) {
        int fd;

        begin_barrier(NEVER, 0);
        fd = receive_barrier();
        assert_int_equal(write(fd, "READY=1", 7), 7);
        assert_awaited();
        close(fd);
        assert_outcome(0);
}

static void test_barrier_that_nobody_answers_is_unknown(void **state) {
        begin_barrier(0, 0);
        assert_outcome(-ETIMEDOUT);
        close(receive_barrier());
}

/* The time-out and the answer came while the process was stopped. */
static void test_barrier_that_was_answered_before_its_time_out_is_seen_is_passed(void **state) {
        begin_barrier(0, 0);
        close(receive_barrier());
        assert_outcome(0);
}

static void test_barrier_that_is_freed_ends_nothing(void **state) {
        begin_barrier(NEVER, 0);
        barrier = notify_barrier_free(barrier);
        close(receive_barrier());
        assert_awaited();
        begin_barrier(0, 0);
        barrier = notify_barrier_free(barrier);
        assert_awaited();
}

static void test_barrier_that_cannot_be_sent_fails(void **state) {
        assert_int_equal(setenv("NOTIFY_SOCKET", "/nonexistent", 1), 0);
        begin_barrier(NEVER, -ENOENT);
        assert_null(barrier);
        assert_awaited();
}

static void test_ready_that_cannot_be_sent_fails(void **state) {
        assert_int_equal(setenv("NOTIFY_SOCKET", "/nonexistent", 1), 0);
        assert_int_equal(notify_ready("Done."), -ENOENT);
}

static void test_without_a_manager_nothing_happens(void **state) {
        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
        notify_status("Waiting.");
        assert_int_equal(notify_ready("Done."), 0);
        assert_int_equal(notify_store_fd("kept-db", 0), 0);
        begin_barrier(1000, 1);
        assert_null(barrier);
        expect_nothing();
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, listen_as_manager, close_manager)
        const struct CMUnitTest tests[] = {
                TEST(test_messages_are_those_of_sd_notify),
                TEST(test_status_cannot_forge_another_message),
                TEST(test_long_status_is_cut_between_characters),
                TEST(test_descriptor_is_stored_and_removed_by_name),
                TEST(test_name_that_the_manager_would_refuse_is_not_sent),
                TEST(test_barrier_is_passed_when_the_manager_closes_its_descriptor),
                TEST(test_barrier_is_not_passed_by_a_manager_that_writes),
                TEST(test_barrier_that_nobody_answers_is_unknown),
                TEST(test_barrier_that_was_answered_before_its_time_out_is_seen_is_passed),
                TEST(test_barrier_that_is_freed_ends_nothing),
                TEST(test_barrier_that_cannot_be_sent_fails),
                TEST(test_ready_that_cannot_be_sent_fails),
                TEST(test_without_a_manager_nothing_happens),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
