/* SPDX-License-Identifier: Apache-2.0 */

/* The service manager is a socket of this file. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "basic/limits.h"
#include "vault/fdstore.h"
#include "vault/socket.h"

static int manager = -1;

static int set_up(void **state) {
        static const char name[] = "unseald-test-fdstore";
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char path[64];

        (void) snprintf(path, sizeof(path), "@%s-%u", name, (unsigned) getpid());
        memcpy(address.sun_path + 1, path + 1, strlen(path) - 1);
        manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (manager < 0 || bind(manager, (struct sockaddr *) &address,
                                (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(path))) < 0)
                return -1;
        return setenv("NOTIFY_SOCKET", path, 1);
}

static int tear_down(void **state) {
        (void) unsetenv("NOTIFY_SOCKET");
        return close(manager);
}

/* The next message, and the descriptor that came with it, or -1. */
static int receive(char *text, size_t size) {
        union {
                struct cmsghdr header;
                uint8_t space[256];
        } control = {};
        struct iovec part = { .iov_base = text, .iov_len = size - 1 };
        struct msghdr message = {
                .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        ssize_t n = recvmsg(manager, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        int fd = -1;

        assert_true(n >= 0);
        text[n] = 0;
        for (struct cmsghdr *p = CMSG_FIRSTHDR(&message); p; p = CMSG_NXTHDR(&message, p))
                if (p->cmsg_level == SOL_SOCKET && p->cmsg_type == SCM_RIGHTS)
                        memcpy(&fd, CMSG_DATA(p), sizeof(fd));
        return fd;
}

static void test_a_descriptor_is_put_under_its_name_and_not_polled(void **state) {
        int fd = memfd_create("secret", MFD_CLOEXEC), received;
        struct stat put, got;
        char text[256];

        assert_true(fdstore_is_there());
        assert_int_equal(fdstore_put("kept-1-db-password", fd), 0);
        received = receive(text, sizeof(text));
        assert_string_equal(text, "FDSTORE=1\nFDPOLL=0\nFDNAME=kept-1-db-password");
        assert_int_equal(fstat(fd, &put), 0);
        assert_int_equal(fstat(received, &got), 0);
        assert_int_equal(put.st_ino, got.st_ino);
        (void) close(fd);
        (void) close(received);
}

static void test_a_descriptor_is_removed_by_its_name(void **state) {
        char text[256];

        assert_int_equal(fdstore_remove("kept-1-db-password"), 0);
        assert_int_equal(receive(text, sizeof(text)), -1);
        assert_string_equal(text, "FDSTOREREMOVE=1\nFDNAME=kept-1-db-password");
}

static void fail_if_ended(int r, void *userdata) {
        fail_msg("there is nothing to wait for");
}

static void test_without_a_service_manager_nothing_is_sent(void **state) {
        NotifyBarrier *barrier;
        sd_event *event;

        (void) unsetenv("NOTIFY_SOCKET");
        assert_false(fdstore_is_there());
        assert_int_equal(fdstore_put("kept-1", STDIN_FILENO), 0);
        assert_int_equal(fdstore_remove("kept-1"), 0);
        assert_int_equal(sd_event_new(&event), 0);
        assert_int_equal(fdstore_barrier(event, fail_if_ended, NULL, &barrier), 1);
        assert_null(barrier);
        (void) sd_event_unref(event);
}

/* In a child, whose descriptors 3, 4 and 5 are the manager's: a socket unit's, and two kept ones. */
static int take_in_child(void) {
        int *fds, file = memfd_create("second", MFD_CLOEXEC), status = 0;
        char pid[16], **names;
        struct stat second, got;
        size_t count;

        (void) snprintf(pid, sizeof(pid), "%u", (unsigned) getpid());
        if (file < 0 || file <= 5)
                file = fcntl(file, F_DUPFD, 10);
        if (dup2(file, 3) < 0 || dup2(file, 4) < 0 || dup2(file, 5) < 0 || fstat(file, &second) < 0 ||
            setenv("LISTEN_PID", pid, 1) < 0 || setenv("LISTEN_FDS", "3", 1) < 0 ||
            setenv("LISTEN_FDNAMES", "kept-1:unseald.socket:kept-1-api-token", 1) < 0)
                return 1;
        if (fdstore_take(&fds, &names, &count) < 0 || count != 2)
                return 2;
        if (fds[0] != 3 || fds[1] != 5 || fstat(fds[1], &got) < 0 || got.st_ino != second.st_ino)
                status = 3;
        else if (strcmp(names[0], "kept-1") != 0 || strcmp(names[1], "kept-1-api-token") != 0)
                status = 4;
        /* The daemon looks for the socket unit's descriptor later. */
        else if (sd_listen_fds(false) != 3)
                status = 5;
        free(names[0]);
        free(names[1]);
        free(names);
        free(fds);
        return status;
}

static void test_kept_descriptors_are_taken_and_a_socket_units_is_not(void **state) {
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(take_in_child());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

static unsigned unit_setting(const char *name) {
        const char *vectors = getenv("UNSEALD_TEST_VECTORS");
        _cleanup_free_ uint8_t *text = NULL;
        char path[4096];
        const char *at;
        size_t size;

        assert_non_null(vectors);
        (void) snprintf(path, sizeof(path), "%s/../../units/unseald.service.in", vectors);
        assert_int_equal(read_file(path, 65536, &text, &size), 0);
        at = strstr((const char *) text, name);
        if (!at)
                fail_msg("the unit has no %s", name);
        return (unsigned) strtoul(at + strlen(name), NULL, 10);
}

/* A descriptor more than the manager keeps would be dropped without a word. */
static void test_the_unit_has_the_limits_of_the_program(void **state) {
        assert_int_equal(unit_setting("\nFileDescriptorStoreMax="), LIMIT_DESCRIPTORS);
        /* All that are kept, those of the answers at the credential socket and their files, and some for everything else. */
        assert_true(unit_setting("\nLimitNOFILE=") >= LIMIT_DESCRIPTORS + CREDENTIAL_REPLIES_MAX + 128);
}

int main(void) {
#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                test(test_a_descriptor_is_put_under_its_name_and_not_polled),
                test(test_a_descriptor_is_removed_by_its_name),
                test(test_without_a_service_manager_nothing_is_sent),
                cmocka_unit_test(test_the_unit_has_the_limits_of_the_program),
                test(test_kept_descriptors_are_taken_and_a_socket_units_is_not),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
