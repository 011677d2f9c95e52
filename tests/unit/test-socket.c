/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "vault/socket.h"

/* This file replaces basic/log.c: it counts refusals and answers, and keeps the last entry. */
static unsigned refusals_logged, answers_logged, failures_logged, unlogged;
static char last_entry[512];

void log_set_max_priority(int priority) {
}

void log_full(int priority, const LogFields *fields, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(last_entry, sizeof(last_entry), format, arguments);
        va_end(arguments);
        if (fields && strcmp(fields->message_id, MESSAGE_REFUSED) == 0)
                refusals_logged++;
        failures_logged +=
                        strstr(last_entry, "no descriptor is left") || strstr(last_entry, "cannot be read");
        answers_logged += strncmp(last_entry, "Sending credential ", 19) == 0;
        if (strstr(last_entry, " more requests before this one."))
                assert_int_equal(sscanf(last_entry, "The credential socket refused %u more", &unlogged), 1);
}

/* The error of the next accept4(); 0: none. */
static int accept_error;

int accept4(int listener, struct sockaddr *address, socklen_t *size, int flags) {
        assert_int_equal(flags, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (accept_error != 0) {
                errno = accept_error;
                accept_error = 0;
                return -1;
        }
        return (int) syscall(SYS_accept4, listener, address, size, flags);
}

/* The monotonic clock stands still at this time; 0: it goes. */
static uint64_t stopped_at;

int clock_gettime(clockid_t clock, struct timespec *ret) {
        if (stopped_at == 0 || clock != CLOCK_MONOTONIC)
                return (int) syscall(SYS_clock_gettime, clock, ret);
        *ret = (struct timespec){ .tv_sec = (time_t) (stopped_at / USEC_PER_SEC),
                                  .tv_nsec = (long) (stopped_at % USEC_PER_SEC * 1000) };
        return 0;
}

/* A reader in this process, which reads only while the socket waits for it. -1: none. */
static int reader = -1;
static size_t reader_got;
static int reader_waits; /* for so many ms the socket waited */

int poll(struct pollfd *fds, nfds_t count, int timeout) {
        static uint8_t bytes[65536];
        ssize_t n;

        for (nfds_t i = 0; i < count; i++)
                assert_int_equal(fds[i].events, POLLOUT);
        n = reader < 0 ? 0 : recv(reader, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n == 0) {
                /* Nobody reads: the time passes. */
                assert_true(timeout > 0);
                reader_waits += timeout;
                stopped_at += (uint64_t) timeout * USEC_PER_MSEC;
                return 0;
        }
        if (n < 0)
                fail_msg("the socket waits for a reader that has read everything, %zu bytes", reader_got);
        reader_got += (size_t) n;
        return 1;
}

/* What poll() is with _FORTIFY_SOURCE, where the size of the array is known. */
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size) {
        assert_true(count * sizeof(*fds) <= size);
        return (poll) (fds, count, timeout);
}

#define MIB (1024U * 1024U)
/* After so many reads of a credential's file, it cannot be read any more. */
static int readable_pieces = -1;

ssize_t pread(int fd, void *buffer, size_t size, off_t offset) {
        if (readable_pieces == 0) {
                errno = EIO;
                return -1;
        }
        if (readable_pieces > 0)
                readable_pieces--;
        return syscall(SYS_pread64, fd, buffer, size, offset);
}

static socklen_t address_of(const char *name, size_t length, struct sockaddr_un *ret) {
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        memcpy(ret->sun_path + 1, name, length);
        return (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

static int parse(const char *name, size_t length, CredentialRequest *ret) {
        struct sockaddr_un address;
        socklen_t size = address_of(name, length, &address);

        return credential_request_parse(&address, size, ret);
}

static void test_the_service_managers_address_names_unit_and_credential(void **state) {
        static const struct {
                const char *name, *unit, *credential;
        } good[] = {
                { "9f3c/unit/billing.service/db-password", "billing.service", "db-password" },
                { "0/unit/worker@a\\x2db:1.service/a.b_C-9", "worker@a\\x2db:1.service", "a.b_C-9" },
                { "0123456789abcdef/unit/data.mount/k", "data.mount", "k" },
        };

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                CredentialRequest request;

                if (parse(good[i].name, strlen(good[i].name), &request) < 0)
                        fail_msg("%s was refused", good[i].name);
                assert_string_equal(request.unit, good[i].unit);
                assert_string_equal(request.credential, good[i].credential);
        }
}

static void test_an_address_that_fills_its_structure_is_read_to_its_end(void **state) {
        char name[sizeof(((struct sockaddr_un *) NULL)->sun_path) - 1];
        CredentialRequest request;

        memset(name, 'x', sizeof(name));
        memcpy(name, "1/unit/a.service/", 17);
        assert_int_equal(parse(name, sizeof(name), &request), 0);
        assert_int_equal(strlen(request.credential), sizeof(name) - 17);
}

static void test_any_other_address_is_refused(void **state) {
        static const char *const bad[] = {
                "",
                "9f3c",
                "/unit/billing.service/db-password",
                "0123456789abcdef0/unit/billing.service/db-password",
                "9F3C/unit/billing.service/db-password",
                "9f3c/Unit/billing.service/db-password",
                "9f3c/user/billing.service/db-password",
                "9f3c/unit/billing.service",
                "9f3c/unit/billing.service/",
                "9f3c/unit//db-password",
                "9f3c/unit/billing.service/db-password/",
                "9f3c/unit/billing.service/db-password/more",
                "9f3c/unit/bil ling.service/db-password",
                "9f3c/unit/billing.service/db\npassword",
                "9f3c/unit/billing.service/db:password",
                "9f3c//unit/billing.service/db-password",
        };
        static const char with_nul[] = "9f3c/unit/billing.service/db\0password";
        struct sockaddr_un address;
        CredentialRequest request;
        socklen_t size;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                int r = parse(bad[i], strlen(bad[i]), &request);

                if (r != -EBADMSG)
                        fail_msg("'%s': saw %d, wanted -EBADMSG", bad[i], r);
        }
        assert_int_equal(parse(with_nul, sizeof(with_nul) - 1, &request), -EBADMSG);

        size = address_of(bad[1], 4, &address);
        assert_int_equal(credential_request_parse(&address, 0, &request), -EBADMSG);
        assert_int_equal(credential_request_parse(&address, sizeof(sa_family_t), &request), -EBADMSG);
        assert_int_equal(credential_request_parse(&address, sizeof(address) + 1, &request), -EBADMSG);
        size = address_of("9f3c/unit/billing.service/db-password", 37, &address);
        address.sun_path[0] = 'a';
        assert_int_equal(credential_request_parse(&address, size, &request), -EBADMSG);
        address.sun_path[0] = 0;
        address.sun_family = AF_INET;
        assert_int_equal(credential_request_parse(&address, size, &request), -EBADMSG);
}

/* No byte outside of the address is read: the address ends where a page begins that cannot be read. */
static void test_an_address_of_an_impossible_size_is_refused(void **state) {
        const size_t page = (size_t) sysconf(_SC_PAGESIZE), prefix = offsetof(struct sockaddr_un, sun_path);
        uint8_t *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct sockaddr_un *address = (struct sockaddr_un *) (pages + page - sizeof(*address));
        CredentialRequest request;
        char name[sizeof(address->sun_path)];

        assert_true(pages != MAP_FAILED);
        memset(name, 'a', sizeof(name));
        (void) address_of(name, sizeof(name) - 1, address);
        for (size_t size = 0; size <= prefix + 2; size++) {
                assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
                assert_int_equal(credential_request_parse(address, (socklen_t) size, &request), -EBADMSG);
        }
        assert_int_equal(mprotect(pages + page, page, PROT_READ | PROT_WRITE), 0);
        memcpy(name, "1/unit/a.service/", 17);
        (void) address_of(name, sizeof(name) - 1, address);
        pages[page] = 'a';
        assert_int_equal(credential_request_parse(address, sizeof(*address), &request), 0);
        assert_int_equal(credential_request_parse(address, sizeof(*address) + 1, &request), -EBADMSG);
        assert_int_equal(munmap(pages, 2 * page), 0);
}

static void test_cryptsetup_has_an_error_of_its_own(void **state) {
        CredentialRequest request;

        assert_int_equal(parse("9f3c/cryptsetup/data", 20, &request), -EOPNOTSUPP);
}

/* A credential socket and a file for each credential. */
typedef struct Fixture {
        char directory[64], path[96];
        sd_event *event;
        int listener, files[4];
        CredentialSocket *socket;
        unsigned looked_up;
} Fixture;

enum { SMALL, LARGE, BROKEN, EMPTY };
static const char small[] = "the password";

static int lookup(const CredentialRequest *request, void *userdata, CredentialPlace *ret,
                  const char **ret_reason) {
        static const char *const names[] = {
                [SMALL] = "small", [LARGE] = "large", [BROKEN] = "broken", [EMPTY] = "empty"
        };
        /* Places in the files above. The last two end beyond their file. */
        static const struct {
                const char *name;
                CredentialPlace place;
        } members[] = {
                { "small.word", { .fd = SMALL, .offset = 4, .size = 4 } },
                { "small.none", { .fd = SMALL, .offset = 4, .size = 0 } },
                { "large.part", { .fd = LARGE, .offset = 12345, .size = 500000 } },
                { "small.beyond", { .fd = SMALL, .offset = 4, .size = 100 } },
                { "large.beyond", { .fd = LARGE, .offset = 12345, .size = MIB } },
        };
        Fixture *fixture = userdata;

        fixture->looked_up++;
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (strcmp(request->credential, names[i]) == 0) {
                        *ret = (CredentialPlace){ .fd = fixture->files[i], .size = UINT64_MAX };
                        return 0;
                }
        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                if (strcmp(request->credential, members[i].name) == 0) {
                        *ret = members[i].place;
                        ret->fd = fixture->files[members[i].place.fd];
                        return 0;
                }
        *ret_reason = "there is none";
        return -ENOENT;
}

static int make_file(const void *data, size_t size) {
        int fd = memfd_create("credential", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, size), size);
        return fd;
}

static uint8_t large[MIB];

static int set_up_with(void **state, uint64_t patience_usec) {
        static Fixture fixture;
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        fixture = (Fixture){ .directory = "/tmp/unseald-test-socket.XXXXXX" };
        refusals_logged = answers_logged = failures_logged = 0;
        last_entry[0] = 0;
        for (size_t i = 0; i < sizeof(large); i++)
                large[i] = (uint8_t) (i * 2654435761U >> 24);
        if (!mkdtemp(fixture.directory))
                return -1;
        (void) snprintf(fixture.path, sizeof(fixture.path), "%s/socket", fixture.directory);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", fixture.path);
        fixture.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fixture.listener < 0 ||
            bind(fixture.listener, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(fixture.listener, 256) < 0 || chmod(fixture.directory, 0755) < 0 ||
            chmod(fixture.path, 0777) < 0 || sd_event_new(&fixture.event) < 0 ||
            credential_socket_new(fixture.event, fixture.listener, patience_usec, lookup, &fixture,
                                  &fixture.socket) < 0)
                return -1;
        fixture.files[SMALL] = make_file(small, strlen(small));
        fixture.files[LARGE] = make_file(large, sizeof(large));
        fixture.files[BROKEN] = open("/dev/null", O_WRONLY | O_CLOEXEC); /* cannot be read */
        fixture.files[EMPTY] = make_file("", 0);
        *state = &fixture;
        return 0;
}

/* In a test nobody is late, */
static int set_up(void **state) {
        return set_up_with(state, 3600 * USEC_PER_SEC);
}

/* or everybody is who has waited since wait_until_late(). */
#define SHORT_USEC 1000

static int set_up_impatient(void **state) {
        return set_up_with(state, SHORT_USEC);
}

static void wait_until_late(void) {
        sleep_usec(2 * SHORT_USEC);
}

static int tear_down(void **state) {
        Fixture *fixture = *state;

        readable_pieces = -1;
        (void) credential_socket_free(fixture->socket);
        closep(&fixture->listener);
        for (size_t i = 0; i < ELEMENTSOF(fixture->files); i++)
                (void) close(fixture->files[i]);
        (void) sd_event_unref(fixture->event);
        (void) unlink(fixture->path);
        (void) rmdir(fixture->directory);
        return 0;
}

/* Connects as the service manager does: from an address of its own, and without sending anything. Returns -errno if connect()
 * fails. */
static int ask(const Fixture *fixture, const char *credential) {
        static unsigned number;
        struct sockaddr_un own, address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        char name[80];
        socklen_t size;

        (void) snprintf(name, sizeof(name), "%x%06x/unit/test.service/%s", (unsigned) getpid(), number++,
                        credential);
        size = address_of(name, strlen(name), &own);
        assert_int_equal(bind(fd, (struct sockaddr *) &own, size), 0);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", fixture->path);
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        return TAKE_FD(fd);
}

static void turn(const Fixture *fixture) {
        for (unsigned i = 0; i < 100 && sd_event_run(fixture->event, 0) > 0; i++)
                ;
}

/* Reads to the end of the stream, and runs the event loop while there is nothing to read. */
static size_t read_to_end(const Fixture *fixture, int fd, uint8_t *buffer, size_t size) {
        size_t done = 0;

        for (;;) {
                ssize_t n = recv(fd, buffer + done, size - done, 0);

                if (n == 0 || done + (size_t) n == size)
                        return done + (size_t) n;
                if (n > 0)
                        done += (size_t) n;
                else if (errno == EAGAIN)
                        assert_true(sd_event_run(fixture->event, 1000000) > 0);
                else
                        fail_msg("recv: %s", strerror(errno));
        }
}

static uint8_t received[2 * MIB];

static void assert_gets(const Fixture *fixture, int fd, const void *data, size_t size) {
        size_t n = read_to_end(fixture, fd, received, sizeof(received));

        if (n != size || memcmp(received, data, size) != 0)
                fail_msg("saw %zu bytes, wanted %zu", n, size);
        (void) close(fd);
}

static void assert_is_refused(const Fixture *fixture, int fd) {
        size_t n = read_to_end(fixture, fd, received, sizeof(received));

        if (n <= MIB)
                fail_msg("saw %zu bytes, which the service manager takes for a credential", n);
        assert_int_equal(received[0], 0);
        assert_memory_equal(received, received + 1, n - 1);
        (void) close(fd);
}

/* A refusal has a MiB, which takes half a second under valgrind: there, each sixteenth is read to its end. */
static void assert_are_refused(const Fixture *fixture, const int *fds, size_t count) {
        const size_t step = getenv("UNSEALD_TEST_SLOW") ? 16 : 1;

        for (size_t i = 0; i < count; i++)
                if (i % step == 0)
                        assert_is_refused(fixture, fds[i]);
                else
                        (void) close(fds[i]);
}

/* Some of the credential, and then zeros. */
static void assert_fails_the_unit(const Fixture *fixture, int fd) {
        size_t n = read_to_end(fixture, fd, received, sizeof(received));

        if (n <= MIB)
                fail_msg("saw %zu bytes, which the service manager takes for a credential", n);
        (void) close(fd);
}

static bool needs_root(void) {
        if (geteuid() == 0)
                return false;
        print_message("Only root is answered: run this as root.\n");
        return true;
}

static void test_no_connection_is_accepted_before_the_outcome_is_known(void **state) {
        Fixture *fixture = *state;
        int fd = ask(fixture, "small");
        char byte;

        if (needs_root())
                skip();
        turn(fixture);
        assert_int_equal(fixture->looked_up, 0);
        assert_int_equal(recv(fd, &byte, 1, 0), -1);
        assert_int_equal(errno, EAGAIN);

        assert_true(credential_socket_open(fixture->socket) >= 0);
        turn(fixture);
        assert_gets(fixture, fd, small, strlen(small));
}

static void test_300_requests_in_a_row_are_answered(void **state) {
        Fixture *fixture = *state;

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        for (unsigned i = 0; i < 300; i++) {
                int fd = ask(fixture, "small");

                turn(fixture);
                assert_gets(fixture, fd, small, strlen(small));
        }
}

static void test_a_request_during_a_shortage_of_descriptors_is_answered_later(void **state) {
        Fixture *fixture = *state;
        struct rlimit enough, none;
        int fd = ask(fixture, "small");

        /* valgrind emulates this limit, and closes connections that the kernel has accepted. */
        if (needs_root() || getenv("UNSEALD_TEST_SLOW"))
                skip();
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &enough), 0);
        none = enough;
        none.rlim_cur = 3;
        assert_true(credential_socket_open(fixture->socket) >= 0);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        turn(fixture);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &enough), 0);
        assert_int_equal(fixture->looked_up, 0);
        assert_gets(fixture, fd, small, strlen(small));
}

static void test_a_connection_that_was_interrupted_or_aborted_delays_no_other(void **state) {
        static const int errors[] = { EINTR, ECONNABORTED };
        Fixture *fixture = *state;

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        last_entry[0] = 0;
        for (unsigned i = 0; i < ELEMENTSOF(errors); i++) {
                int fd = ask(fixture, "small");

                accept_error = errors[i];
                assert_int_equal(sd_event_run(fixture->event, 0), 1);
                assert_int_equal(fixture->looked_up, i + 1);
                assert_gets(fixture, fd, small, strlen(small));
        }
        assert_null(strstr(last_entry, "cannot accept"));
}

static void test_a_failure_to_accept_is_logged_and_tried_again_after_a_pause(void **state) {
        Fixture *fixture = *state;
        int fd = ask(fixture, "small");
        uint64_t begun;

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        accept_error = ENFILE;
        begun = now_monotonic_usec();
        assert_int_equal(sd_event_run(fixture->event, 0), 1);
        assert_non_null(strstr(last_entry, "cannot accept a connection"));
        assert_non_null(strstr(last_entry, strerror(ENFILE)));
        assert_int_equal(fixture->looked_up, 0);
        assert_gets(fixture, fd, small, strlen(small));
        assert_true(now_monotonic_usec() - begun >= 100 * USEC_PER_MSEC);
}

static void test_a_queue_is_answered_whole(void **state) {
        Fixture *fixture = *state;
        int known[100], unknown[100];

        if (needs_root())
                skip();
        for (size_t i = 0; i < ELEMENTSOF(known); i++) {
                assert_true((unknown[i] = ask(fixture, "none")) >= 0);
                assert_true((known[i] = ask(fixture, "small")) >= 0);
        }
        assert_true(credential_socket_open(fixture->socket) >= 0);
        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                assert_gets(fixture, known[i], small, strlen(small));
        assert_are_refused(fixture, unknown, ELEMENTSOF(unknown));
}

static void test_a_refusal_is_longer_than_a_credential_may_be(void **state) {
        Fixture *fixture = *state;
        int unknown = ask(fixture, "none"), wrong = ask(fixture, "no such/name"),
            broken = ask(fixture, "broken");

        assert_true(credential_socket_open(fixture->socket) >= 0);
        assert_is_refused(fixture, unknown);
        assert_is_refused(fixture, wrong);
        assert_is_refused(fixture, broken);
}

/* A message of the AWS Encryption SDK may have an empty plaintext. */
static void test_an_empty_credential_is_no_refusal(void **state) {
        Fixture *fixture = *state;
        int empty;

        if (needs_root())
                skip();
        empty = ask(fixture, "empty");
        assert_true(credential_socket_open(fixture->socket) >= 0);
        assert_gets(fixture, empty, "", 0);
        assert_int_equal(refusals_logged, 0);
}

static void test_the_journal_has_refusals_as_refusals_and_answers_as_answers(void **state) {
        Fixture *fixture = *state;

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        assert_is_refused(fixture, ask(fixture, "none"));
        assert_string_equal(last_entry,
                            "Refused credential none to test.service, asked for by user 0: there is none.");
        assert_is_refused(fixture, ask(fixture, "broken"));
        assert_string_equal(
                        last_entry,
                        "Refused credential broken to test.service, asked for by user 0: its file cannot be read.");
        assert_int_equal(answers_logged, 0);
        assert_gets(fixture, ask(fixture, "small"), small, strlen(small));
        assert_string_equal(last_entry, "Sending credential small to test.service.");
        assert_int_equal(refusals_logged, 2);
}

/* 20 at once, then one a second, at a time that stands still. */
static void test_a_caller_in_a_loop_does_not_fill_the_journal(void **state) {
        Fixture *fixture = *state;

        assert_true(credential_socket_open(fixture->socket) >= 0);
        unlogged = UINT_MAX;
        stopped_at = now_monotonic_usec();
        for (unsigned i = 0; i < 60; i++)
                assert_is_refused(fixture, ask(fixture, "none"));
        assert_int_equal(refusals_logged, 20);
        assert_int_equal(unlogged, UINT_MAX); /* nothing is left out before */

        stopped_at += USEC_PER_SEC;
        for (unsigned i = 0; i < 30; i++)
                assert_is_refused(fixture, ask(fixture, "none"));
        assert_int_equal(refusals_logged, 21);
        assert_int_equal(unlogged, 40);

        stopped_at += 20 * USEC_PER_SEC;
        for (unsigned i = 0; i < 30; i++)
                assert_is_refused(fixture, ask(fixture, "none"));
        assert_int_equal(refusals_logged, 41);
        assert_int_equal(unlogged, 29);
        stopped_at = 0;
}

static void test_a_file_that_cannot_be_read_is_a_refusal(void **state) {
        Fixture *fixture = *state;
        int fd = ask(fixture, "small");

        if (needs_root())
                skip();
        (void) close(fixture->files[SMALL]);
        fixture->files[SMALL] = open("/dev/null", O_WRONLY | O_CLOEXEC);
        assert_true(credential_socket_open(fixture->socket) >= 0);
        assert_is_refused(fixture, fd);
}

static void test_a_credential_of_many_pieces_arrives_whole(void **state) {
        Fixture *fixture = *state;
        int fd = ask(fixture, "large");

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        turn(fixture);
        assert_true(recv(fd, received, 1, MSG_PEEK) == 1);
        /* The file may be replaced while it is being sent. */
        (void) close(fixture->files[LARGE]);
        fixture->files[LARGE] = make_file("another", 7);
        assert_gets(fixture, fd, large, sizeof(large));
}

static void test_without_a_descriptor_for_the_rest_of_an_answer_the_unit_fails(void **state) {
        Fixture *fixture = *state;
        struct rlimit enough, none;
        int fd = ask(fixture, "large"), next = dup(fd);

        if (needs_root() || getenv("UNSEALD_TEST_SLOW"))
                skip();
        (void) close(next);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &enough), 0);
        none = enough;
        none.rlim_cur = (rlim_t) next + 1;
        assert_true(credential_socket_open(fixture->socket) >= 0);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        turn(fixture);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &enough), 0);
        assert_int_equal(fixture->looked_up, 1);
        assert_int_equal(failures_logged, 1);
        assert_fails_the_unit(fixture, fd);
        assert_gets(fixture, ask(fixture, "large"), large, sizeof(large));
}

static void test_a_member_is_a_part_of_its_file(void **state) {
        Fixture *fixture = *state;

        assert_true(credential_socket_open(fixture->socket) >= 0);
        assert_gets(fixture, ask(fixture, "small.word"), "pass", 4);
        assert_gets(fixture, ask(fixture, "small.none"), "", 0);
        assert_gets(fixture, ask(fixture, "large.part"), large + 12345, 500000);
        assert_gets(fixture, ask(fixture, "small"), small, strlen(small));
}

/* Its begin alone would be another secret. */
static void test_a_member_that_ends_beyond_its_file_fails_the_unit(void **state) {
        Fixture *fixture = *state;

        assert_true(credential_socket_open(fixture->socket) >= 0);
        assert_is_refused(fixture, ask(fixture, "small.beyond"));
        assert_fails_the_unit(fixture, ask(fixture, "large.beyond"));
}

/* The file fails before, in and after the first pieces, while the caller reads or waits. */
static void test_a_file_that_fails_half_way_fails_the_unit(void **state) {
        Fixture *fixture = *state;

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        for (int pieces = 0; pieces < 15; pieces++) {
                int fd = ask(fixture, "large");

                readable_pieces = pieces;
                turn(fixture);
                assert_fails_the_unit(fixture, fd);
                assert_int_equal(readable_pieces, 0);
                assert_int_equal(failures_logged, pieces + 1);
        }
        readable_pieces = -1;
        assert_gets(fixture, ask(fixture, "large"), large, sizeof(large));
}

static void test_a_reader_that_is_late_for_its_credential_is_refused(void **state) {
        Fixture *fixture = *state;
        int fd = ask(fixture, "large");

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        while (!strstr(last_entry, "and is refused now"))
                assert_true(sd_event_run(fixture->event, UINT64_MAX) > 0);
        assert_fails_the_unit(fixture, fd);
}

static void test_a_credential_of_exactly_one_piece_arrives_whole(void **state) {
        Fixture *fixture = *state;

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        for (size_t size = CREDENTIAL_PIECE_MAX - 1; size <= CREDENTIAL_PIECE_MAX + 1; size++) {
                (void) close(fixture->files[SMALL]);
                fixture->files[SMALL] = make_file(large, size);
                assert_gets(fixture, ask(fixture, "small"), large, size);
        }
}

/* Callers that do not read. */
static void ask_and_do_not_read(const Fixture *fixture, int *ret, size_t count) {
        for (size_t i = 0; i < count; i++) {
                assert_true((ret[i] = ask(fixture, "none")) >= 0);
                if (i % 50 == 0)
                        turn(fixture);
        }
        turn(fixture);
}

static void test_readers_that_do_not_read_delay_no_other(void **state) {
        Fixture *fixture = *state;
        int slow[300];

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        ask_and_do_not_read(fixture, slow, ELEMENTSOF(slow));
        assert_gets(fixture, ask(fixture, "small"), small, strlen(small));
        assert_gets(fixture, ask(fixture, "large"), large, sizeof(large));
        /* All of them are refused, whenever they read. */
        assert_are_refused(fixture, slow, ELEMENTSOF(slow));
}

static void test_when_all_slots_are_taken_further_callers_wait_unaccepted(void **state) {
        Fixture *fixture = *state;
        int slow[CREDENTIAL_REPLIES_MAX], fd;
        char byte;

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        ask_and_do_not_read(fixture, slow, ELEMENTSOF(slow));
        assert_int_equal(sd_event_run(fixture->event, 0), 0); /* and nothing spins */
        fd = ask(fixture, "small");
        turn(fixture);
        assert_int_equal(recv(fd, &byte, 1, 0), -1);
        assert_int_equal(errno, EAGAIN);

        assert_is_refused(fixture, slow[7]);
        turn(fixture);
        assert_gets(fixture, fd, small, strlen(small));
        for (size_t i = 0; i < ELEMENTSOF(slow); i++)
                if (i != 7)
                        (void) close(slow[i]);
}

static void test_when_all_slots_are_taken_the_latest_reader_is_cut_off(void **state) {
        Fixture *fixture = *state;
        int slow[CREDENTIAL_REPLIES_MAX];

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        ask_and_do_not_read(fixture, slow, ELEMENTSOF(slow));
        wait_until_late();
        assert_gets(fixture, ask(fixture, "small"), small, strlen(small));
        assert_true(read_to_end(fixture, slow[0], received, sizeof(received)) < MIB);
        (void) close(slow[0]);
        assert_are_refused(fixture, slow + 1, ELEMENTSOF(slow) - 1);
}

/* A caller that comes while all slots are taken waits for the first reader that is late. */
static void test_a_waiting_caller_is_answered_once_a_reader_is_late(void **state) {
        Fixture *fixture = *state;
        int slow[CREDENTIAL_REPLIES_MAX];

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        ask_and_do_not_read(fixture, slow, ELEMENTSOF(slow));
        for (unsigned i = 0; i < 5; i++)
                assert_gets(fixture, ask(fixture, "small"), small, strlen(small));
        for (size_t i = 0; i < ELEMENTSOF(slow); i++)
                (void) close(slow[i]);
}

static void test_during_a_shortage_of_descriptors_a_late_reader_is_cut_off(void **state) {
        Fixture *fixture = *state;
        int slow, fd;

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        ask_and_do_not_read(fixture, &slow, 1);
        wait_until_late();
        fd = ask(fixture, "small");
        accept_error = EMFILE;
        turn(fixture);
        assert_gets(fixture, fd, small, strlen(small));
        assert_true(read_to_end(fixture, slow, received, sizeof(received)) < MIB);
        (void) close(slow);
}

static void test_only_root_is_answered(void **state) {
        Fixture *fixture = *state;
        int status;
        pid_t pid;

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                size_t n = 0;
                int fd;

                if (setuid(65534) < 0 || (fd = ask(fixture, "small")) < 0 || fcntl(fd, F_SETFL, 0) < 0)
                        _exit(2);
                for (ssize_t k; (k = recv(fd, received, sizeof(received), 0)) > 0; n += (size_t) k)
                        if (memmem(received, (size_t) k, small, strlen(small)))
                                _exit(1);
                _exit(n > MIB ? 0 : 3);
        }
        while (waitpid(pid, &status, WNOHANG) == 0)
                (void) sd_event_run(fixture->event, 10000);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_int_equal(fixture->looked_up, 0);
}

/* Ends the socket at a time that stands still but while the socket waits. */
static void end_with_stopped_clock(Fixture *fixture) {
        stopped_at = now_monotonic_usec();
        fixture->socket = credential_socket_free(fixture->socket);
        stopped_at = 0;
}

static void test_a_half_sent_refusal_is_completed_before_the_end(void **state) {
        Fixture *fixture = *state;
        _cleanup_close_ int slow = ask(fixture, "none"), fd = ask(fixture, "none");

        /* The first one does not read, and takes none of the other's time. */
        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        turn(fixture);
        assert_int_equal(fixture->looked_up, 2);
        reader = fd;
        reader_got = 0;
        end_with_stopped_clock(fixture);
        reader = -1;
        assert_true(reader_got > 0);
        assert_int_equal(reader_got, MIB + CREDENTIAL_PIECE_MAX);
        assert_true(read_to_end(fixture, slow, received, sizeof(received)) < MIB);
}

static void test_the_end_waits_a_second_for_a_reader_that_does_not_read(void **state) {
        Fixture *fixture = *state;
        int fds[] = { ask(fixture, "none"), ask(fixture, "large") };
        size_t n;

        if (needs_root())
                skip();
        assert_true(credential_socket_open(fixture->socket) >= 0);
        turn(fixture);
        assert_int_equal(fixture->looked_up, 2);
        reader_waits = 0;
        end_with_stopped_clock(fixture);
        assert_in_range(reader_waits, 1000, 1001);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                n = read_to_end(fixture, fds[i], received, sizeof(received));
                assert_in_range(n, 1, MIB - 1);
                (void) close(fds[i]);
        }
}

static void test_a_shut_socket_refuses_new_callers_and_waiting_ones_once_it_is_closed(void **state) {
        Fixture *fixture = *state;
        int fd = ask(fixture, "small");
        char byte;

        credential_socket_shut(fixture->listener);
        assert_int_equal(ask(fixture, "small"), -ECONNREFUSED);
        fixture->socket = credential_socket_free(fixture->socket);
        assert_int_equal(recv(fd, &byte, 1, 0), -1);
        assert_int_equal(errno, EAGAIN);
        (void) close(TAKE_FD(fixture->listener));
        assert_int_equal(recv(fd, &byte, 1, 0), -1);
        assert_int_equal(errno, ECONNRESET);
        (void) close(fd);
        credential_socket_shut(-1);
}

static void test_only_a_socket_that_cannot_be_shut_is_logged(void **state) {
        int pair[2], file = make_file("", 0);

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        last_entry[0] = 0;
        credential_socket_shut(-1);
        credential_socket_shut(pair[0]);
        assert_string_equal(last_entry, "");
        assert_int_equal(read(pair[1], &(char){ 0 }, 1), 0);
        credential_socket_shut(file);
        assert_non_null(strstr(last_entry, "Cannot shut the credential socket"));
        (void) close(file);
        (void) close(pair[0]);
        (void) close(pair[1]);
}

int main(void) {
#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define impatient(f) cmocka_unit_test_setup_teardown(f, set_up_impatient, tear_down)
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_only_a_socket_that_cannot_be_shut_is_logged),
                cmocka_unit_test(test_the_service_managers_address_names_unit_and_credential),
                cmocka_unit_test(test_an_address_that_fills_its_structure_is_read_to_its_end),
                cmocka_unit_test(test_any_other_address_is_refused),
                cmocka_unit_test(test_an_address_of_an_impossible_size_is_refused),
                cmocka_unit_test(test_cryptsetup_has_an_error_of_its_own),
                test(test_no_connection_is_accepted_before_the_outcome_is_known),
                test(test_300_requests_in_a_row_are_answered),
                test(test_a_request_during_a_shortage_of_descriptors_is_answered_later),
                test(test_a_connection_that_was_interrupted_or_aborted_delays_no_other),
                test(test_a_failure_to_accept_is_logged_and_tried_again_after_a_pause),
                test(test_a_queue_is_answered_whole),
                test(test_a_refusal_is_longer_than_a_credential_may_be),
                test(test_an_empty_credential_is_no_refusal),
                test(test_the_journal_has_refusals_as_refusals_and_answers_as_answers),
                test(test_a_caller_in_a_loop_does_not_fill_the_journal),
                test(test_a_file_that_cannot_be_read_is_a_refusal),
                test(test_a_credential_of_many_pieces_arrives_whole),
                test(test_without_a_descriptor_for_the_rest_of_an_answer_the_unit_fails),
                test(test_a_member_is_a_part_of_its_file),
                test(test_a_member_that_ends_beyond_its_file_fails_the_unit),
                test(test_a_file_that_fails_half_way_fails_the_unit),
                impatient(test_a_reader_that_is_late_for_its_credential_is_refused),
                test(test_a_credential_of_exactly_one_piece_arrives_whole),
                test(test_readers_that_do_not_read_delay_no_other),
                test(test_when_all_slots_are_taken_further_callers_wait_unaccepted),
                impatient(test_when_all_slots_are_taken_the_latest_reader_is_cut_off),
                impatient(test_a_waiting_caller_is_answered_once_a_reader_is_late),
                impatient(test_during_a_shortage_of_descriptors_a_late_reader_is_cut_off),
                test(test_only_root_is_answered),
                test(test_a_half_sent_refusal_is_completed_before_the_end),
                test(test_the_end_waits_a_second_for_a_reader_that_does_not_read),
                test(test_a_shut_socket_refuses_new_callers_and_waiting_ones_once_it_is_closed),
        };

        /* Both ends of all connections are here. */
        (void) setrlimit(RLIMIT_NOFILE,
                         &(struct rlimit){ 4 * CREDENTIAL_REPLIES_MAX, 4 * CREDENTIAL_REPLIES_MAX });
        return cmocka_run_group_tests(tests, NULL, NULL);
}
