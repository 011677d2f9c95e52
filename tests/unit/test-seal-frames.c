/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "basic/io.h"
#include "build-config.h"
#include "source/message-reader.h"
#include "unsealctl/message-writer.h"
#include "unsealctl/seal-frames.h"

#define FRAME MESSAGE_WRITER_FRAME
#define THREADS 4U

static const uint8_t id[MESSAGE_WRITER_ID_SIZE] = { 1, 2, 3 }, ciphertext[] = { 4, 5, 6 };

/* A message without its frames. */
typedef struct Draft {
        Secret *key;
        Message *message;
        uint8_t *header;
        size_t header_size;
} Draft;

static void draft_done(Draft *draft) {
        (void) secret_free(draft->key);
        (void) message_free(draft->message);
        free(draft->header);
}

static Draft make_draft(void) {
        static const char *const none[] = { NULL };
        const MessageDraft wanted = { .id = { id, sizeof(id) },
                                      .context = none,
                                      .key_arn = "arn:aws:kms:eu-north-1:111111111111:key/k",
                                      .ciphertext = { ciphertext, sizeof(ciphertext) },
                                      .frame_length = FRAME };
        Draft draft = {};

        assert_int_equal(secret_new(32, &draft.key), 0);
        assert_int_equal(message_write_header(&wanted, draft.key, &draft.message, &draft.header,
                                              &draft.header_size),
                         0);
        return draft;
}

static uint8_t byte_at(size_t i) {
        return (uint8_t) (i ^ i >> 8 ^ i >> 20);
}

static uint8_t *make_plaintext(size_t size) {
        uint8_t *plaintext = malloc(size + 1);

        assert_non_null(plaintext);
        for (size_t i = 0; i < size; i++)
                plaintext[i] = byte_at(i);
        return plaintext;
}

static int memory_file(void) {
        int fd = memfd_create("seal-frames", MFD_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

typedef struct Feeder {
        const uint8_t *data;
        size_t size;
        int fd;
} Feeder;

/* Writes all, in pieces that end anywhere. */
static void *feed(void *userdata) {
        const Feeder *feeder = userdata;

        for (size_t at = 0; at < feeder->size;) {
                size_t n = feeder->size - at < 70001 ? feeder->size - at : 70001;

                if (write_all(feeder->fd, feeder->data + at, n) < 0)
                        break;
                at += n;
        }
        (void) close(feeder->fd);
        return NULL;
}

static Secret *make_begin(const uint8_t *plaintext, size_t size) {
        Secret *begin;

        assert_int_equal(secret_new(size, &begin), 0);
        memcpy(secret_bytes(begin), plaintext, size);
        return begin;
}

static void assert_opens(const Draft *draft, int fd, size_t plaintext) {
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_secret_ Secret *opened = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        MessageHeader header;
        size_t size, needed;

        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(read_fd(fd, 16 * FRAME, &data, &size), 0);
        assert_int_equal(message_header_parse(data, size, &(MessageHeaderOptions){}, &header, &needed, NULL),
                         0);
        assert_int_equal(message_read(&header, data, size, draft->key, 16 * FRAME, &opened, NULL), 0);
        assert_int_equal(secret_size(opened), plaintext);
        for (size_t i = 0; i < plaintext; i++)
                if (secret_bytes(opened)[i] != byte_at(i))
                        fail_msg("byte %zu of %zu is another one", i, plaintext);
}

typedef struct Case {
        size_t size, begin;
        unsigned threads;
        bool pipe;
} Case;

static void seal_and_open(const Case *row) {
        _cleanup_(draft_done) Draft draft = make_draft();
        _cleanup_free_ uint8_t *plaintext = make_plaintext(row->size);
        _cleanup_secret_ Secret *begin = make_begin(plaintext, row->begin);
        _cleanup_close_ int output = memory_file(), input = -1;
        Feeder feeder = { plaintext + row->begin, row->size - row->begin, -1 };
        Progress progress = {};
        int ends[2];
        pthread_t thread;
        uint64_t size = 0;
        FramesStep step;

        if (row->pipe) {
                assert_int_equal(pipe(ends), 0);
                input = ends[0];
                feeder.fd = ends[1];
                assert_int_equal(pthread_create(&thread, NULL, feed, &feeder), 0);
        } else {
                input = memory_file();
                assert_int_equal(write_all(input, feeder.data, feeder.size), 0);
                assert_int_equal(lseek(input, 0, SEEK_SET), 0);
        }
        assert_int_equal(write_all(output, draft.header, draft.header_size), 0);
        const FramesSealing sealing = { .message = draft.message,
                                        .input = input,
                                        .begin = begin,
                                        .output = output,
                                        .threads = row->threads,
                                        .progress = &progress };
        assert_int_equal(seal_frames(&sealing, &size, &step), 0);
        if (row->pipe)
                assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(size, row->size);
        assert_opens(&draft, output, row->size);
}

static void test_what_is_sealed_is_opened(void **state) {
        static const Case rows[] = {
                { 0, 0, 1, false },
                { 1, 1, THREADS, true },
                { FRAME - 1, 0, 2, false },
                { FRAME, 4097, 1, false },
                { FRAME, FRAME, 2, true },
                { FRAME + 1, FRAME, THREADS, true },
                { FRAME + 1, 1, 1, false },
                { 2 * FRAME, 4097, THREADS, true },
                { 5 * FRAME + 7, 0, 3, false },
                { 5 * FRAME + 7, 4097, THREADS, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                seal_and_open(rows + i);
}

static void test_no_more_threads_than_frames_are_needed(void **state) {
        seal_and_open(&(Case){ FRAME, 0, SEAL_THREADS_MAX, false });
        seal_and_open(&(Case){ FRAME + 1, 0, SEAL_THREADS_MAX + 1, false });
}

typedef struct Sealer {
        const Draft *draft;
        Secret *begin;
        int input, output, r;
} Sealer;

static void *run_sealer(void *userdata) {
        Sealer *sealer = userdata;
        Progress progress = {};
        const FramesSealing sealing = { .message = sealer->draft->message,
                                        .input = sealer->input,
                                        .begin = sealer->begin,
                                        .output = sealer->output,
                                        .threads = 2,
                                        .progress = &progress };
        uint64_t size;
        FramesStep step;

        sealer->r = seal_frames(&sealing, &size, &step);
        (void) close(sealer->output);
        return NULL;
}

/* Nobody reads the output at first, and a pipe holds less than a frame. One thread alone would read no second frame, and this test would
 * not end. */
static void test_one_thread_reads_while_the_other_writes(void **state) {
        _cleanup_(draft_done) Draft draft = make_draft();
        _cleanup_free_ uint8_t *plaintext = make_plaintext(2 * FRAME);
        _cleanup_secret_ Secret *begin = make_begin(plaintext, 0);
        _cleanup_close_ int kept = memory_file();
        Sealer sealer = { .draft = &draft, .begin = begin };
        int in[2], out[2];
        pthread_t thread;
        uint8_t buffer[4096];
        ssize_t n;

        assert_int_equal(pipe(in), 0);
        assert_int_equal(pipe(out), 0);
        sealer.input = in[0];
        sealer.output = out[1];
        assert_int_equal(pthread_create(&thread, NULL, run_sealer, &sealer), 0);
        assert_int_equal(write_all(in[1], plaintext, 2 * FRAME), 0);
        (void) close(in[1]);
        assert_int_equal(write_all(kept, draft.header, draft.header_size), 0);
        while ((n = read(out[0], buffer, sizeof(buffer))) > 0)
                assert_int_equal(write_all(kept, buffer, (size_t) n), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        (void) close(in[0]);
        (void) close(out[0]);
        assert_int_equal(sealer.r, 0);
        assert_opens(&draft, kept, 2 * FRAME);
}

/* Seals from input to output. Returns what seal_frames() returned. */
static int try_to_seal(int input, int output, const uint8_t *plaintext, size_t size, FramesStep *ret_step) {
        _cleanup_(draft_done) Draft draft = make_draft();
        _cleanup_secret_ Secret *begin = make_begin(plaintext, size);
        Progress progress = {};
        const FramesSealing sealing = { .message = draft.message,
                                        .input = input,
                                        .begin = begin,
                                        .output = output,
                                        .threads = THREADS,
                                        .progress = &progress };
        uint64_t sealed;

        return seal_frames(&sealing, &sealed, ret_step);
}

static void test_input_that_cannot_be_read(void **state) {
        _cleanup_close_ int input = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), output = memory_file();
        FramesStep step;

        assert_int_equal(try_to_seal(input, output, id, 1, &step), -EISDIR);
        assert_int_equal(step, FRAMES_READ);
        assert_int_equal(lseek(output, 0, SEEK_END), 0);
}

/* The other end stays open and sends nothing more. */
static void test_input_that_blocks_keeps_no_failure_waiting(void **state) {
        _cleanup_close_ int output = open("/dev/full", O_WRONLY | O_CLOEXEC);
        _cleanup_free_ uint8_t *plaintext = make_plaintext(FRAME);
        FramesStep step;
        int ends[2];

        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], "xy", 2), 2);
        assert_int_equal(try_to_seal(ends[0], output, plaintext, FRAME, &step), -ENOSPC);
        assert_int_equal(step, FRAMES_WRITE);
        (void) close(ends[0]);
        (void) close(ends[1]);
}

/* The file takes three frames. What the fourth one and later ones meet is not told, and nothing of them is written. */
static void test_first_frame_that_fails_is_the_failure(void **state) {
        _cleanup_close_ int input = memory_file(),
                            output = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        _cleanup_free_ uint8_t *plaintext = make_plaintext(5 * FRAME);
        const size_t whole = FRAME + 4 + MESSAGE_IV_SIZE + MESSAGE_TAG_SIZE;
        FramesStep step;
        struct stat st;

        assert_int_equal(write_all(input, plaintext, 5 * FRAME), 0);
        assert_int_equal(lseek(input, 0, SEEK_SET), 0);
        assert_int_equal(ftruncate(output, (off_t) (3 * whole)), 0);
        assert_int_equal(fcntl(output, F_ADD_SEALS, F_SEAL_GROW), 0);
        assert_int_equal(try_to_seal(input, output, plaintext, 0, &step), -EPERM);
        assert_int_equal(step, FRAMES_WRITE);
        assert_int_equal(fstat(output, &st), 0);
        assert_int_equal(st.st_size, 3 * whole);
        assert_int_equal(lseek(output, 0, SEEK_CUR), 3 * whole);
}

/* Seals five frames where so much memory may be locked. RLIMIT_MEMLOCK does not hold for root.  */
static void seal_with(size_t memory, int r) {
        int input = memory_file(), status;
        pid_t child;

        assert_int_equal(ftruncate(input, 5 * FRAME), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                FramesStep step = FRAMES_READ;

                if (setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ memory, memory }) < 0 ||
                    setresuid(65534, 65534, 65534) < 0)
                        _exit(2);
                if (try_to_seal(input, memory_file(), id, 0, &step) != r)
                        _exit(3);
                _exit(r == 0 || step == FRAMES_LOCK ? 0 : 4);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        (void) close(input);
}

/* Besides its buffers the program locks a few pages. */
static void test_as_many_threads_work_as_have_memory(void **state) {
        const size_t few = 16 * (size_t) sysconf(_SC_PAGESIZE);

        if (UNSEALD_SANITIZED || geteuid() != 0)
                skip();
        seal_with(few + FRAME, 0);
        seal_with(few, -ENOMEM);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_is_sealed_is_opened),
                cmocka_unit_test(test_no_more_threads_than_frames_are_needed),
                cmocka_unit_test(test_as_many_threads_work_as_have_memory),
                cmocka_unit_test(test_one_thread_reads_while_the_other_writes),
                cmocka_unit_test(test_input_that_cannot_be_read),
                cmocka_unit_test(test_input_that_blocks_keeps_no_failure_waiting),
                cmocka_unit_test(test_first_frame_that_fails_is_the_failure),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
