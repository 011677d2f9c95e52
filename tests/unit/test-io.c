/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/io.h"

/* Each test has an empty working directory. */
static int set_up(void **state) {
        char *directory = strdup("/tmp/unseald-test-io-XXXXXX");

        *state = directory;
        return directory && mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int tear_down(void **state) {
        _cleanup_free_ char *directory = *state, *command = NULL;

        if (chdir("/") < 0 || asprintf(&command, "rm -rf '%s'", directory) < 0)
                return -1;
        return system(command);
}

static void write_file(const char *path, const void *data, size_t size) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, size), size);
}

static void assert_file_is(const char *path, const void *data, size_t size) {
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t n;

        assert_int_equal(read_file(path, 1024 * 1024, &bytes, &n), 0);
        assert_int_equal(n, size);
        assert_memory_equal(bytes, data, size);
        assert_int_equal(bytes[n], 0);
}

static void assert_refused(const char *path, size_t maximum, int wanted) {
        uint8_t *bytes = (uint8_t *) 1;
        size_t size = 42;

        assert_int_equal(read_file(path, maximum, &bytes, &size), wanted);
        assert_ptr_equal(bytes, (uint8_t *) 1);
        assert_int_equal(size, 42);
}

static void test_files_are_read_up_to_the_maximum_and_not_beyond(void **state) {
        static const size_t sizes[] = { 0, 1, 2, 4095, 4096, 4097, 8192, 100000 };
        static uint8_t data[100000];

        memset(data, 'x', sizeof(data));
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_free_ uint8_t *bytes = NULL;
                size_t size;

                write_file("file", data, sizes[i]);
                assert_file_is("file", data, sizes[i]);
                assert_int_equal(read_file("file", sizes[i], &bytes, &size), 0);
                assert_int_equal(size, sizes[i]);
                if (sizes[i] > 0)
                        assert_refused("file", sizes[i] - 1, -EFBIG);
                free(TAKE_PTR(bytes));
                assert_int_equal(read_file("file", SIZE_MAX, &bytes, &size), 0);
                assert_int_equal(size, sizes[i]);
        }
}

static void test_files_without_a_size_are_read(void **state) {
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t size;

        assert_int_equal(read_file("/proc/self/status", 1024 * 1024, &bytes, &size), 0);
        assert_true(size > 100);
        assert_int_equal(strncmp((char *) bytes, "Name:", 5), 0);
        assert_refused("/proc/self/status", 10, -EFBIG);
        assert_refused("/dev/zero", 10, -ENXIO);
}

static void test_other_than_regular_files_are_refused_without_waiting(void **state) {
        assert_int_equal(mkdir("directory", 0755), 0);
        assert_int_equal(mkfifo("fifo", 0644), 0);
        assert_int_equal(symlink("nowhere", "dangling"), 0);

        alarm(10);
        assert_refused("directory", 10, -EISDIR);
        assert_refused("fifo", 10, -ENXIO);
        assert_refused("/dev/null", 10, -ENXIO);
        assert_refused("absent", 10, -ENOENT);
        assert_refused("dangling", 10, -ENOENT);
        assert_int_equal(read_fd(-1, 10, &(uint8_t *){ NULL }, &(size_t){ 0 }), -EBADF);
        alarm(0);
}

static void test_links_are_followed(void **state) {
        write_file("file", "abc", 3);
        assert_int_equal(symlink("file", "link"), 0);
        assert_file_is("link", "abc", 3);
}

static void test_a_file_that_grows_is_bounded_by_the_maximum(void **state) {
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t size;

        /* The file has more bytes than fstat() says. */
        write_file("file", "0123456789", 10);
        _cleanup_close_ int fd = open("file", O_RDONLY | O_CLOEXEC);
        assert_int_equal(lseek(fd, 4, SEEK_SET), 4);
        assert_int_equal(read_fd(fd, 6, &bytes, &size), 0);
        assert_int_equal(size, 6);
        assert_memory_equal(bytes, "456789", 6);
}

typedef struct Feeder {
        int fd;
        size_t size;
} Feeder;

/* Writes small pieces with pauses: the reader gets short reads, and EAGAIN from a non-blocking descriptor. */
static void *feed(void *userdata) {
        Feeder *feeder = userdata;
        sigset_t interruption;

        sigemptyset(&interruption);
        sigaddset(&interruption, SIGALRM);
        (void) pthread_sigmask(SIG_BLOCK, &interruption, NULL);
        for (size_t i = 0; i < feeder->size; i++) {
                uint8_t byte = (uint8_t) i;
                if (write(feeder->fd, &byte, 1) != 1)
                        break;
                if (i % 1000 == 0)
                        usleep(1000);
        }
        close(feeder->fd);
        return NULL;
}

static void on_alarm(int signal) {
}

static void test_pipes_and_sockets_are_read_to_their_end(void **state) {
        struct sigaction action = { .sa_handler = on_alarm };
        struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { 0 };

        /* Signals interrupt the reads all the time. */
        assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
        assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);

        for (int i = 0; i < 3; i++) {
                _cleanup_free_ uint8_t *bytes = NULL;
                pthread_t thread;
                size_t size;
                int fds[2];

                if (i == 2)
                        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
                else
                        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
                if (i == 1)
                        assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);

                Feeder feeder = { fds[1], 10000 };
                assert_int_equal(pthread_create(&thread, NULL, feed, &feeder), 0);
                assert_int_equal(read_fd(fds[0], 10000, &bytes, &size), 0);
                pthread_join(thread, NULL);

                assert_int_equal(size, 10000);
                for (size_t j = 0; j < size; j++)
                        assert_int_equal(bytes[j], (uint8_t) j);
                /* The descriptor stays open. */
                assert_int_equal(close(fds[0]), 0);
        }

        assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
}

static void *drain(void *userdata) {
        static uint8_t bytes[300000];
        size_t done = 0;
        ssize_t n;

        while ((n = read(*(int *) userdata, bytes + done,
                         sizeof(bytes) - done < 5000 ? sizeof(bytes) - done : 5000)) > 0)
                done += (size_t) n;
        for (size_t i = 0; i < done; i++)
                if (bytes[i] != (uint8_t) (i / 7))
                        return (void *) 0;
        return (void *) done;
}

static void test_everything_is_written_even_if_a_pipe_is_full(void **state) {
        static uint8_t data[200000];

        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t) (i / 7);

        for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
                pthread_t thread;
                void *drained;
                int fds[2];

                assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
                assert_int_equal(fcntl(fds[1], F_SETFL, flags), 0);
                assert_int_equal(pthread_create(&thread, NULL, drain, &fds[0]), 0);
                assert_int_equal(write_all(fds[1], data, sizeof(data)), 0);
                close(fds[1]);
                pthread_join(thread, &drained);
                assert_int_equal((size_t) drained, sizeof(data));
                close(fds[0]);
        }
}

static void test_write_errors_are_returned(void **state) {
        _cleanup_close_ int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

        assert_int_equal(write_all(full, "x", 1), -ENOSPC);
        assert_int_equal(write_all(-1, "x", 1), -EBADF);
        assert_int_equal(write_all(-1, NULL, 0), 0);
}

static size_t count_entries(void) {
        FILE *listing = popen("ls -A | wc -l", "r");
        size_t n = 999;

        assert_non_null(listing);
        assert_int_equal(fscanf(listing, "%zu", &n), 1);
        pclose(listing);
        return n;
}

static void test_a_file_is_replaced_at_once_and_has_its_mode(void **state) {
        _cleanup_free_ char *absolute = NULL;
        struct stat st;

        (void) umask(077);
        assert_int_equal(write_file_atomic("file", "old", 3, 0600), 0);
        _cleanup_close_ int reader = open("file", O_RDONLY | O_CLOEXEC);
        assert_int_equal(write_file_atomic("file", "newer", 5, 0644), 0);
        (void) umask(022);

        assert_file_is("file", "newer", 5);
        assert_int_equal(stat("file", &st), 0);
        assert_int_equal(st.st_mode & 07777, 0644);

        char old[4] = "";
        assert_int_equal(read(reader, old, 3), 3);
        assert_string_equal(old, "old");

        assert_true(asprintf(&absolute, "%s/other", (char *) *state) > 0);
        assert_int_equal(write_file_atomic(absolute, "abc", 3, 0600), 0);
        assert_file_is("other", "abc", 3);
        assert_int_equal(count_entries(), 2);
}

static void test_a_failed_replacement_leaves_nothing(void **state) {
        assert_int_equal(mkdir("directory", 0755), 0);
        assert_int_equal(write_file_atomic("directory", "abc", 3, 0600), -EISDIR);
        assert_int_equal(write_file_atomic("file/", "abc", 3, 0600), -ENOENT);
        assert_int_equal(write_file_atomic("absent/file", "abc", 3, 0600), -ENOENT);
        assert_int_equal(count_entries(), 1);
}

/* Root may write to /dev/null with -o. This must not replace the device. */
static void test_a_device_or_pipe_is_written_to_and_not_replaced(void **state) {
        _cleanup_close_ int reader = -1;
        char seen[4] = "";
        struct stat st;

        assert_int_equal(mkfifo("pipe", 0600), 0);
        assert_int_equal(symlink("pipe", "link"), 0);
        reader = open("pipe", O_RDWR | O_CLOEXEC);
        assert_int_equal(write_file_atomic("link", "abc", 3, 0644), 0);

        assert_int_equal(read(reader, seen, 3), 3);
        assert_string_equal(seen, "abc");
        assert_int_equal(lstat("pipe", &st), 0);
        assert_true(S_ISFIFO(st.st_mode));
        assert_int_equal(lstat("link", &st), 0);
        assert_true(S_ISLNK(st.st_mode));
        assert_int_equal(count_entries(), 2);
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                test(test_files_are_read_up_to_the_maximum_and_not_beyond),
                test(test_files_without_a_size_are_read),
                test(test_other_than_regular_files_are_refused_without_waiting),
                test(test_links_are_followed),
                test(test_a_file_that_grows_is_bounded_by_the_maximum),
                test(test_pipes_and_sockets_are_read_to_their_end),
                test(test_everything_is_written_even_if_a_pipe_is_full),
                test(test_write_errors_are_returned),
                test(test_a_file_is_replaced_at_once_and_has_its_mode),
                test(test_a_failed_replacement_leaves_nothing),
                test(test_a_device_or_pipe_is_written_to_and_not_replaced),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
