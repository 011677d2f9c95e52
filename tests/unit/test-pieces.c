/* SPDX-License-Identifier: Apache-2.0 */

/* This file takes the place of pread(), so that a disk can fail, or block. */

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include <cmocka.h>

#include "failing-memory.h"

#include "basic/thread.h"
#include "source/pieces.h"

static atomic_int read_error;
static atomic_size_t read_most = SIZE_MAX;
static atomic_bool read_blocks;
static sem_t go_on, blocked;

ssize_t pread(int fd, void *data, size_t size, off_t offset) {
        size_t most = atomic_load(&read_most);

        if (atomic_exchange(&read_blocks, false)) {
                (void) sem_post(&blocked);
                while (sem_wait(&go_on) < 0)
                        ;
        }
        if (atomic_load(&read_error) != 0) {
                errno = atomic_load(&read_error);
                if (errno == EINTR)
                        atomic_store(&read_error, 0);
                return -1;
        }
        return syscall(SYS_pread64, fd, data, size < most ? size : most, offset);
}

static sd_event *event;
static Pieces *pieces;
static int file = -1;
static uint8_t content[1000];
static struct {
        uint64_t next; /* of a file the pieces come in order */
        uint8_t *out[8];
        unsigned count, most;
        bool gives_back, frees, ended;
        int r;
        Error error;
} got;

static int set_up(void **state) {
        memset(&got, 0, sizeof(got));
        read_error = 0;
        read_most = SIZE_MAX;
        read_blocks = false;
        for (size_t i = 0; i < sizeof(content); i++)
                content[i] = (uint8_t) (i * 7);
        file = memfd_create("object", MFD_CLOEXEC);
        if (file < 0 || write(file, content, sizeof(content)) != sizeof(content) ||
            sem_init(&go_on, 0, 0) < 0 || sem_init(&blocked, 0, 0) < 0)
                return -1;
        return sd_event_new(&event);
}

static int tear_down(void **state) {
        pieces = pieces_free(pieces);
        threads_finish(UINT64_C(60000000));
        event = sd_event_unref(event);
        return close(file);
}

static void on_piece(uint64_t offset, uint8_t *data, size_t size, void *userdata) {
        assert_ptr_equal(userdata, &got);
        assert_false(got.ended);
        assert_int_equal(offset, got.next);
        assert_memory_equal(data, content + offset, size);
        got.next += size;
        got.out[got.count++] = data;
        got.most = got.count > got.most ? got.count : got.most;
        if (got.frees)
                pieces = pieces_free(pieces);
        else if (got.gives_back) {
                memset(data, 0xee, size);
                pieces_give_back(pieces, got.out[--got.count]);
        }
}

static void on_ended(int r, const Error *error, void *userdata) {
        assert_ptr_equal(userdata, &got);
        assert_false(got.ended);
        got.ended = true;
        got.r = r;
        got.error = *error;
        if (got.frees)
                pieces = pieces_free(pieces);
}

static int begin(uint64_t from, uint64_t end, size_t piece_size, unsigned ahead_max) {
        const PiecesPlan plan = { from, end, piece_size, ahead_max };
        const PiecesSink sink = { on_piece, on_ended, &got };

        got.next = from;
        return pieces_new_file(event, file, &plan, &sink, &pieces, &got.error);
}

static void run(void) {
        while (!got.ended)
                assert_true(sd_event_run(event, UINT64_MAX) >= 0);
}

static void test_a_file_comes_in_pieces(void **state) {
        static const size_t sizes[] = { 1, 7, 100, 999, 1000, 5000 };

        got.gives_back = true;
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                got.ended = false;
                read_most = i == 1 ? 3 : SIZE_MAX;
                read_error = i == 2 ? EINTR : 0;
                assert_int_equal(begin(13, 1000, sizes[i], 3), 0);
                run();
                assert_int_equal(got.r, 0);
                assert_int_equal(got.next, 1000);
                pieces = pieces_free(pieces);
        }
}

static void test_no_more_pieces_are_out_than_the_plan_allows(void **state) {
        assert_int_equal(begin(0, 1000, 100, 3), 0);
        while (got.count < 3)
                assert_true(sd_event_run(event, UINT64_MAX) >= 0);
        /* The thread has no buffer, so nothing is to be awaited. */
        assert_int_equal(sd_event_run(event, 0), 0);
        assert_int_equal(got.next, 300);
        got.gives_back = true;
        pieces_give_back(pieces, got.out[--got.count]);
        run();
        assert_int_equal(got.r, 0);
        assert_int_equal(got.next, 1000);
        assert_int_equal(got.most, 3);
}

static void test_a_file_that_becomes_shorter_ends_with_an_error(void **state) {
        got.gives_back = true;
        assert_int_equal(ftruncate(file, 550), 0);
        assert_int_equal(begin(0, 1000, 100, 2), 0);
        run();
        assert_int_equal(got.r, -ENODATA);
        assert_int_equal(got.error.failure, FAILURE_SOURCE);
        assert_non_null(strstr(got.error.text, "became shorter"));
        assert_int_equal(got.next, 500);
}

static void test_a_disk_that_fails_is_reported(void **state) {
        read_error = EIO;
        assert_int_equal(begin(0, 1000, 100, 2), 0);
        run();
        assert_int_equal(got.r, -EIO);
        assert_int_equal(got.error.failure, FAILURE_SOURCE);
        assert_non_null(strstr(got.error.text, strerror(EIO)));
        /* The other read ends, too, and nobody is told. */
        for (unsigned i = 0; i < 10; i++)
                assert_true(sd_event_run(event, 10000) >= 0);
        assert_int_equal(got.next, 0);
}

static void test_a_callback_may_free_the_pieces(void **state) {
        got.frees = true;
        assert_int_equal(begin(0, 1000, 100, 2), 0);
        while (pieces)
                assert_true(sd_event_run(event, UINT64_MAX) >= 0);
        assert_int_equal(got.next, 100);
        assert_int_equal(ftruncate(file, 0), 0);
        assert_int_equal(begin(0, 1000, 100, 2), 0);
        run();
        assert_null(pieces);
}

static void test_a_disk_that_blocks_holds_up_nobody(void **state) {
        read_blocks = true;
        assert_int_equal(begin(0, 1000, 100, 2), 0);
        while (sem_wait(&blocked) < 0)
                ;
        pieces = pieces_free(pieces);
        assert_int_equal(sd_event_run(event, 0), 0);
        assert_int_equal(sem_post(&go_on), 0);
}

static void test_without_memory_there_are_no_pieces(void **state) {
        bool failed = true;

        if (!memory_can_fail())
                skip();
        for (unsigned n = 0; failed; n++) {
                int r;

                memory_fail_after(n);
                r = begin(0, 1000, 100, 4);
                failed = memory_has_failed();
                pieces = r >= 0 ? pieces_free(pieces) : NULL;
                if (r < 0)
                        assert_int_equal(got.error.failure, FAILURE_INTERNAL);
        }
}

static void test_without_memory_for_the_next_piece_the_end_says_so(void **state) {
        if (!memory_can_fail())
                skip();
        assert_int_equal(begin(0, 1000, 100, 1), 0);
        while (got.count < 1)
                assert_true(sd_event_run(event, UINT64_MAX) >= 0);
        memory_fail_after(0);
        pieces_give_back(pieces, got.out[--got.count]);
        assert_true(memory_has_failed());
        assert_false(got.ended);
        run();
        assert_int_equal(got.r, -ENOMEM);
        assert_int_equal(got.error.remedy, REMEDY_RETRY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_a_file_comes_in_pieces),
                TEST(test_no_more_pieces_are_out_than_the_plan_allows),
                TEST(test_a_file_that_becomes_shorter_ends_with_an_error),
                TEST(test_a_disk_that_fails_is_reported),
                TEST(test_a_callback_may_free_the_pieces),
                TEST(test_a_disk_that_blocks_holds_up_nobody),
                TEST(test_without_memory_there_are_no_pieces),
                TEST(test_without_memory_for_the_next_piece_the_end_says_so),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
