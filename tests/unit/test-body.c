/* SPDX-License-Identifier: Apache-2.0 */

/* Uses a ramfs, and a tmpfs with noswap where the kernel has it, in a mount namespace of its own; without root, only the pure parts are tested. This file takes the place of pwrite(),
 * so that a write can fail, and plays the source, which brings pieces in any order. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include <cmocka.h>

#include "failing-memory.h"

#include "basic/thread.h"

#define MADE_MAX (6U * 1024U * 1024U)
#include "message-maker.h"
#include "unsealing/body.h"

#define STORE "store"
#define MIB (1024U * 1024U)

static const char *file_system = "ramfs", *file_system_options = "mode=0755";
static Store *store;
static sd_event *event;
static Made made, other;

static atomic_int write_fails_at; /* the n-th write of plaintext from now fails; 0: none */
static atomic_size_t written, wiped;
static atomic_bool writes_are_slow, is_writing;

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
        bool zeros = true;

        for (size_t i = 0; i < size && zeros; i++)
                zeros = ((const uint8_t *) data)[i] == 0;
        if (!zeros && atomic_load(&write_fails_at) > 0 && atomic_fetch_sub(&write_fails_at, 1) == 1) {
                errno = ENOMEM;
                return -1;
        }
        (void) atomic_fetch_add(zeros ? &wiped : &written, size);
        if (!zeros && atomic_load(&writes_are_slow)) {
                atomic_store(&is_writing, true);
                (void) usleep(100000);
        }
        return syscall(SYS_pwrite64, fd, data, size, offset);
}

static int set_up(void **state) {
        written = wiped = 0;
        write_fails_at = 0;
        if (mount(file_system, STORE, file_system, 0, file_system_options) < 0 ||
            store_open(STORE, &store, NULL) < 0)
                return -1;
        return sd_event_new(&event);
}

static int tear_down(void **state) {
        threads_finish(UINT64_C(10000000));
        store = store_free(store);
        event = sd_event_unref(event);
        return umount2(STORE, MNT_DETACH);
}

static int set_up_namespace(void **state) {
        static char directory[] = "/var/tmp/unseald-test-body-XXXXXX";

        memset(directory + strlen(directory) - 6, 'X', 6);
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
            !mkdtemp(directory) || chdir(directory) < 0 || mkdir(STORE, 0755) < 0)
                return -1;
        *state = directory;
        return 0;
}

static int tear_down_namespace(void **state) {
        if (rmdir(STORE) < 0 || chdir("/") < 0)
                return -1;
        return rmdir(*state);
}

static unsigned entries(void) {
        DIR *directory = opendir(STORE);
        unsigned n = 0;

        assert_non_null(directory);
        for (struct dirent *entry; (entry = readdir(directory));)
                n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
        (void) closedir(directory);
        return n;
}

static uint8_t *put_number(uint8_t *at, uint64_t number, unsigned bytes) {
        for (unsigned i = 0; i < bytes; i++)
                at[i] = (uint8_t) (number >> (8 * (bytes - 1 - i)));
        return at + bytes;
}

static uint8_t *put_text(uint8_t *at, const char *text) {
        return mempcpy(put_number(at, strlen(text), 2), text, strlen(text));
}

/* Makes a message whose plaintext is no zeros. salt: another one is another message. */
static void make(Made *ret, uint16_t suite, uint32_t frame_length, size_t size, uint8_t salt) {
        bool signs = suite == 0x0578;
        uint8_t *at = put_number(ret->data, 2, 1);
        char public_key[80] = "";
        uint32_t number = 1;

        at = put_number(at, suite, 2);
        for (unsigned i = 0; i < 32; i++)
                *at++ = (uint8_t) (salt + i);
        if (signs) {
                (void) made_public_key("P-384", public_key);
                at = put_number(at, 2 + 2 + strlen(MESSAGE_PUBLIC_KEY) + 2 + strlen(public_key), 2);
                at = put_text(put_text(put_number(at, 1, 2), MESSAGE_PUBLIC_KEY), public_key);
        } else
                at = put_number(at, 0, 2);
        at = put_text(put_text(put_text(put_number(at, 1, 2), "aws-kms"), "arn"), "ciphertext");
        at = put_number(put_number(at, 2, 1), frame_length, 4);
        memset(at, 0, MESSAGE_COMMITMENT_SIZE + MESSAGE_TAG_SIZE);
        at += MESSAGE_COMMITMENT_SIZE + MESSAGE_TAG_SIZE;
        for (size_t done = 0, n = frame_length; n == frame_length; number++) {
                n = size - done < frame_length ? size - done : frame_length;
                if (n < frame_length || done + n == size)
                        at = put_number(at, UINT32_MAX, 4);
                at = put_number(put_number(put_number(at, number, 4), 0, 8), number, 4);
                if (n < frame_length || done + n == size)
                        at = put_number(at, n, 4);
                for (size_t i = 0; i < n; i++)
                        at[i] = (uint8_t) (((done + i) * 31 + number + salt) | 1);
                at += n + MESSAGE_TAG_SIZE;
                done += n;
                if (done == size)
                        break;
        }
        ret->size = (size_t) (at - ret->data);
        assert_true(ret->size + 200 <= MADE_MAX);
        assert_true(made_complete(ret, false));
        assert_true(ret->whole);
        assert_int_equal(ret->plaintext_size, size);
}

/* The source. Each piece is in memory of its own, so that its use after it was given back is noticed. */
typedef enum Order { FORWARD, BACKWARD, SHUFFLED } Order;

typedef struct Source {
        Pieces pieces;
        PiecesPlan plan;
        PiecesSink sink;
        const uint8_t *data;
        Order order;
        uint8_t *out[64];
        unsigned out_count, out_most, next, count;
        unsigned fails_at; /* after so many pieces; 0: never */
        bool done, freed;
        sd_event_source *defer;
} Source;

static Source source;

/* Among the next ahead_max pieces, as connections side by side have them. */
static unsigned piece_at(unsigned n) {
        unsigned window = source.plan.ahead_max, begin = n / window * window,
                 size = source.count - begin < window ? source.count - begin : window;

        if (source.order == FORWARD)
                return n;
        if (source.order == BACKWARD)
                return begin + (size - 1 - (n - begin));
        /* 7 has no factor in common with sizes below it, nor with those of the tests. */
        return begin + (n - begin) * 7 % size;
}

static void bring_piece(void) {
        uint64_t offset = source.plan.begin + (uint64_t) piece_at(source.next++) * source.plan.piece_size;
        size_t size = source.plan.end - offset < source.plan.piece_size ? (size_t) (source.plan.end - offset)
                                                                        : source.plan.piece_size;
        uint8_t *piece = malloc(size);

        assert_non_null(piece);
        memcpy(piece, source.data + offset, size);
        source.out[source.out_count++] = piece;
        if (source.out_count > source.out_most)
                source.out_most = source.out_count;
        source.sink.piece(offset, piece, size, source.sink.userdata);
}

static void source_fail(void) {
        Error error;

        source.done = true;
        (void) sd_event_source_set_enabled(source.defer, SD_EVENT_OFF);
        source.sink.ended(error_set(&error, -EIO, FAILURE_SOURCE, "The source is gone."), &error,
                          source.sink.userdata);
}

static int on_defer(sd_event_source *s, void *userdata) {
        Error error = {};

        if (source.fails_at > 0 && source.next == source.fails_at)
                source_fail();
        else if (source.next < source.count) {
                if (source.out_count < source.plan.ahead_max)
                        bring_piece();
                else
                        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        } else {
                source.done = true;
                (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
                source.sink.ended(0, &error, source.sink.userdata);
        }
        return 0;
}

static void source_give_back(Pieces *pieces, uint8_t *data) {
        unsigned i = 0;

        while (i < source.out_count && source.out[i] != data)
                i++;
        assert_true(i < source.out_count);
        memset(data, 0xee, 16);
        free(data);
        source.out[i] = source.out[--source.out_count];
        if (!source.done)
                (void) sd_event_source_set_enabled(source.defer, SD_EVENT_ON);
}

static void source_free(Pieces *pieces) {
        assert_false(source.freed);
        while (source.out_count > 0)
                free(source.out[--source.out_count]);
        source.defer = sd_event_source_disable_unref(source.defer);
        source.freed = true;
}

static Pieces *source_new(const PiecesPlan *plan, const PiecesSink *sink, const uint8_t *data, Order order,
                          unsigned fails_at) {
        static const PiecesKind kind = { source_give_back, source_free };

        source = (Source){
                .pieces.kind = &kind, .plan = *plan, .sink = *sink, .data = data, .order = order
        };
        source.fails_at = fails_at;
        source.count = (unsigned) ((plan->end - plan->begin + plan->piece_size - 1) / plan->piece_size);
        assert_true(plan->ahead_max <= ELEMENTSOF(source.out));
        assert_true(sd_event_add_defer(event, &source.defer, on_defer, NULL) >= 0);
        assert_true(sd_event_source_set_enabled(source.defer, SD_EVENT_ON) >= 0);
        return &source.pieces;
}

static struct {
        bool ended;
        int r, fd;
        uint64_t size;
        Error error;
} result;

static void on_ended(int r, StoreDraft *draft, uint64_t size, const Error *error, void *userdata) {
        assert_ptr_equal(userdata, &result);
        assert_false(result.ended);
        assert_true(source.freed);
        result.ended = true;
        result.r = r;
        result.size = size;
        if (r < 0) {
                assert_null(draft);
                assert_int_equal(entries(), 0);
                assert_true(wiped >= written);
                result.error = *error;
        } else
                assert_int_equal(store_draft_finish(draft, geteuid(), getegid(), 0400, &result.fd, NULL), 0);
}

static uint64_t size_max = MADE_MAX;

/* Begins to read the size bytes at data as the message that they begin with. */
static int begin(const uint8_t *data, size_t size, Order order, unsigned fails_at, Body **ret,
                 Error *error) {
        const MessageHeaderOptions options = {};
        _cleanup_secret_ Secret *key = NULL;
        StoreDraft *draft;
        Message *message;
        MessageHeader header;
        BodyPlan plan;
        PiecesSink sink;
        size_t needed;
        int r;

        memset(&result, 0, sizeof(result));
        result.fd = -1;
        assert_int_equal(message_header_parse(data, size, &options, &header, &needed, error), 0);
        key = made_data_key(header.suite);
        assert_int_equal(message_open(&header, key, &message, error), 0);
        r = body_plan(&header, size, size_max, 3, &plan, error);
        if (r < 0) {
                (void) message_free(message);
                return r;
        }
        assert_int_equal(store_draft_begin(store, "model", plan.plaintext_max, &draft, error), 0);
        assert_int_equal(entries(), 1);
        r = body_new(event, &plan, &header, size_max, message, draft, on_ended, &result, ret, error);
        if (r < 0)
                return r;
        sink = body_sink(*ret);
        body_take_pieces(*ret, source_new(&plan.pieces, &sink, data, order, fails_at));
        return 0;
}

static int run(const uint8_t *data, size_t size, Order order, unsigned fails_at) {
        _cleanup_(body_freep) Body *body = NULL;
        int r = begin(data, size, order, fails_at, &body, &result.error);

        if (r < 0)
                return r;
        while (!result.ended)
                assert_true(sd_event_run(event, UINT64_MAX) >= 0);
        assert_true(source.out_most <= source.plan.ahead_max);
        return result.r;
}

static void assert_opens(const Made *message, Order order, const char *what) {
        _cleanup_free_ uint8_t *content = NULL;
        struct stat st;

        if (run(message->data, message->size, order, 0) < 0)
                fail_msg("%s: %s", what, result.error.text);
        assert_int_equal(result.size, message->plaintext_size);
        assert_int_equal(fstat(result.fd, &st), 0);
        assert_int_equal(st.st_size, message->plaintext_size);
        content = malloc(message->plaintext_size + 1);
        assert_non_null(content);
        assert_int_equal(pread(result.fd, content, message->plaintext_size + 1, 0), message->plaintext_size);
        if (memcmp(content, message->plaintext, message->plaintext_size) != 0)
                fail_msg("%s: another plaintext", what);
        assert_int_equal(close(result.fd), 0);
        assert_int_equal(store_retain(store, NULL, 0, NULL), 0);
}

static void assert_refused(const uint8_t *data, size_t size, const char *what) {
        for (Order order = FORWARD; order <= SHUFFLED; order += SHUFFLED) {
                int r = run(data, size, order, 0);

                if (r >= 0)
                        fail_msg("%s: it opens", what);
                if (result.error.failure != FAILURE_CIPHERTEXT || !*result.error.text)
                        fail_msg("%s: %d, failure %d: %s", what, r, result.error.failure, result.error.text);
                assert_int_equal(entries(), 0);
        }
}

/* Under valgrind every fourth place is enough: the paths are the same, and ASan sees all places. */
static size_t step(void) {
        return getenv("UNSEALD_TEST_SLOW") ? 4 : 1;
}

static void test_pieces_open_in_any_order(void **state) {
        static const uint16_t suites[] = { 0x0478, 0x0578 };
        static const uint32_t lengths[] = { 4096, MIB, 700001 };

        for (size_t i = 0; i < ELEMENTSOF(suites); i++)
                for (size_t k = 0; k < ELEMENTSOF(lengths); k++) {
                        make(&made, suites[i], lengths[k], 5 * MIB + 12345, 1);
                        for (Order order = FORWARD; order <= SHUFFLED; order++) {
                                char what[64];

                                (void) snprintf(what, sizeof(what), "suite %04x, frames %u, order %d",
                                                suites[i], lengths[k], (int) order);
                                assert_opens(&made, order, what);
                        }
                }
}

static void test_frames_end_anywhere(void **state) {
        for (unsigned signs = 0; signs < 2; signs++)
                for (int more = -2; more <= 2; more += step() > 1 ? 2 : 1)
                        for (uint32_t length = 1024; length <= MIB; length *= 1024) {
                                make(&made, signs ? 0x0578 : 0x0478, length,
                                     (size_t) ((int) (2 * MIB) + more), 1);
                                assert_opens(&made, SHUFFLED, "at the end of a frame");
                        }
        /* So short a final frame that, by its size alone, the frame before it might be the final one. */
        for (size_t more = 1; more < 40; more += 3 * step()) {
                make(&made, 0x0578, 65536, 2 * MIB + more, 1);
                assert_opens(&made, FORWARD, "a short final frame, signed");
        }
        make(&made, 0x0478, 1, 40000, 1);
        assert_opens(&made, BACKWARD, "frames of one byte");
        make(&made, 0x0578, 3, 40001, 1);
        assert_opens(&made, BACKWARD, "frames of three bytes, signed");
        make(&made, 0x0478, 4 * MIB, 5 * MIB, 1);
        assert_opens(&made, FORWARD, "the longest frames");
}

/* The place of a frame in made, and the size that all but the final one have. */
static uint8_t *frame(uint32_t number) {
        return made.data + message_frame_offset(&made.header, number);
}

static size_t slot(void) {
        return made.header.frame_length + 32;
}

/* A signature over what was changed says nothing: the attacker has none. Without one, the frames must speak for themselves. */
static void test_frames_out_of_place_are_refused(void **state) {
        static uint8_t copy[MIB + 32];

        for (unsigned signs = 0; signs < 2; signs++) {
                uint16_t suite = signs ? 0x0578 : 0x0478;
                static const uint32_t places[][2] = { { 1, 600 }, { 255, 256 } };

                for (size_t i = 0; i < ELEMENTSOF(places); i += step()) {
                        make(&made, suite, 4096, 4 * MIB + 100, 1);
                        memcpy(copy, frame(places[i][0]), slot());
                        memcpy(frame(places[i][0]), frame(places[i][1]), slot());
                        assert_refused(made.data, made.size, "a repeated frame");
                        memcpy(frame(places[i][1]), copy, slot());
                        assert_refused(made.data, made.size, "two frames that have changed places");
                        /* Their numbers are put right: the tag knows the number. */
                        put_number(frame(places[i][0]), places[i][0], 4);
                        put_number(frame(places[i][1]), places[i][1], 4);
                        assert_refused(made.data, made.size, "two frames with each other's number");
                }
                make(&made, suite, 4096, 4 * MIB + 100, 1);
                memmove(frame(500), frame(501), made.size - (size_t) (frame(501) - made.data));
                assert_refused(made.data, made.size - slot(), "a frame that is missing");

                make(&other, suite, 4096, 4 * MIB + 100, 9);
                make(&made, suite, 4096, 4 * MIB + 100, 1);
                memcpy(frame(700), other.data + message_frame_offset(&other.header, 700), slot());
                assert_refused(made.data, made.size, "a frame of another message");
        }
}

static void test_a_flipped_bit_is_refused_wherever_it_is(void **state) {
        for (unsigned signs = 0; signs < 2; signs++) {
                make(&made, signs ? 0x0578 : 0x0478, 65536, 3 * MIB + 100, 1);
                for (size_t at = made.header.size; at < made.size; at += 397003 * step()) {
                        made.data[at] ^= 4;
                        assert_refused(made.data, made.size, "a flipped bit");
                        made.data[at] ^= 4;
                }
                for (size_t at = made.size - 200; at < made.size; at += 29 * step()) {
                        made.data[at] ^= 1;
                        assert_refused(made.data, made.size, "a flipped bit at the end");
                        made.data[at] ^= 1;
                }
                assert_opens(&made, FORWARD, "with all bits as they were");
        }
}

static void test_a_message_that_is_cut_is_refused(void **state) {
        for (unsigned signs = 0; signs < 2; signs++) {
                make(&made, signs ? 0x0578 : 0x0478, 65536, 3 * MIB + 100, 1);
                for (size_t size = made.header.size + 1; size < made.size; size += 786433 * step())
                        assert_refused(made.data, size, "a message that is cut");
                for (size_t missing = 1; missing < 300; missing += 61 * step())
                        assert_refused(made.data, made.size - missing, "a message whose end is missing");
                assert_refused(made.data, (size_t) (frame(48) - made.data),
                               "a message without its last frames");
                assert_refused(made.data, (size_t) (frame(49) - made.data),
                               "a message without its final frame");
                made.data[made.size] = 0;
                assert_refused(made.data, made.size + 1, "a byte behind the end");
        }
}

/* The final frame of a shorter message with the same key and ID, as a writer makes it that uses both twice. */
static void test_an_early_end_is_refused(void **state) {
        for (unsigned signs = 0; signs < 2; signs++) {
                uint16_t suite = signs ? 0x0578 : 0x0478;
                size_t final;

                make(&other, suite, 65536, 20 * 65536 + 100, 1);
                final = (size_t) message_frame_offset(&other.header, 21);
                make(&made, suite, 65536, 3 * MIB, 1);
                memcpy(frame(21), other.data + final, 40 + 100);
                assert_refused(made.data, made.size, "a final frame in the middle");
                assert_opens(&other, FORWARD, "the shorter one by itself");
        }
        /* A whole message, and then more frames of the longer one. */
        make(&other, 0x0478, 4096, 2 * MIB, 1);
        make(&made, 0x0478, 4096, 4 * MIB, 1);
        memcpy(frame(512), other.data + message_frame_offset(&other.header, 512), 4096 + 40);
        assert_refused(made.data, made.size, "a final frame that is as long as the others");
}

static void test_another_signature_is_refused(void **state) {
        make(&other, 0x0578, 65536, 3 * MIB, 9);
        make(&made, 0x0578, 65536, 3 * MIB, 1);
        memcpy(made.data + made.size - 100, other.data + other.size - 100, 100);
        assert_refused(made.data, made.size, "the signature of another message");
        assert_true(result.r == -EKEYREJECTED || result.r == -EBADMSG);
}

static void test_a_write_that_fails_leaves_nothing(void **state) {
        for (unsigned signs = 0; signs < 2; signs++)
                for (int n = 1; n <= 6; n++) {
                        make(&made, signs ? 0x0578 : 0x0478, MIB, 5 * MIB + 5, 1);
                        write_fails_at = n;
                        assert_true(run(made.data, made.size, FORWARD, 0) < 0);
                        assert_int_equal(write_fails_at, 0);
                        if (!strstr(result.error.text, "The plaintext cannot be written to the store"))
                                fail_msg("%s", result.error.text);
                        assert_int_equal(entries(), 0);
                }
}

static void test_a_source_that_fails_leaves_nothing(void **state) {
        make(&made, 0x0578, 4096, 5 * MIB, 1);
        for (unsigned n = 1; n <= 5; n++) {
                assert_int_equal(run(made.data, made.size, SHUFFLED, n), -EIO);
                assert_string_equal(result.error.text, "The source is gone.");
                assert_int_equal(result.error.failure, FAILURE_SOURCE);
                assert_int_equal(entries(), 0);
        }
}

/* The final frame is right, and its thread is about to say so when the source fails. The message does not count as whole: its file is
 * overwritten. */
static void test_a_source_that_fails_at_the_very_end_leaves_nothing(void **state) {
        _cleanup_(body_freep) Body *body = NULL;

        make(&made, 0x0478, 4 * MIB, 3 * MIB, 1);
        assert_int_equal(begin(made.data, made.size, FORWARD, 0, &body, NULL), 0);
        assert_int_equal(source.count, 1);
        is_writing = false;
        writes_are_slow = true;
        bring_piece();
        while (!atomic_load(&is_writing))
                (void) usleep(1000);
        source_fail();
        while (!result.ended)
                assert_true(sd_event_run(event, UINT64_MAX) >= 0);
        writes_are_slow = false;
        assert_int_equal(result.r, -EIO);
        assert_string_equal(result.error.text, "The source is gone.");
        assert_int_equal(entries(), 0);
}

static void test_a_body_that_is_stopped_leaves_nothing(void **state) {
        for (unsigned signs = 0; signs < 2; signs++)
                for (unsigned turns = 0; turns < 12; turns += (unsigned) step()) {
                        Body *body;

                        make(&made, signs ? 0x0578 : 0x0478, MIB, 5 * MIB, 1);
                        written = wiped = 0;
                        assert_int_equal(begin(made.data, made.size, FORWARD, 0, &body, NULL), 0);
                        for (unsigned i = 0; i < turns && !result.ended; i++)
                                assert_true(sd_event_run(event, UINT64_MAX) >= 0);
                        if (result.ended)
                                break;
                        assert_null(body_free(body));
                        assert_true(source.freed);
                        assert_false(result.ended);
                        /* The name goes at once, and the content when the thread has overwritten it. */
                        assert_int_equal(entries(), 0);
                        threads_finish(UINT64_C(60000000));
                        assert_true(wiped >= written);
                }
        if (result.fd >= 0)
                assert_int_equal(close(result.fd), 0);
}

static void test_without_memory_nothing_is_left(void **state) {
        bool failed = true;

        if (!memory_can_fail())
                skip();
        make(&made, 0x0478, 65536, 2 * MIB, 1);
        for (unsigned n = 0; failed; n++) {
                const MessageHeaderOptions options = {};
                _cleanup_secret_ Secret *key = NULL;
                StoreDraft *draft;
                Message *message;
                MessageHeader header;
                BodyPlan plan;
                size_t needed;
                Error error = {};
                Body *body = NULL;
                int r;

                assert_int_equal(
                                message_header_parse(made.data, made.size, &options, &header, &needed, NULL),
                                0);
                key = made_data_key(header.suite);
                assert_int_equal(message_open(&header, key, &message, NULL), 0);
                assert_int_equal(body_plan(&header, made.size, size_max, 2, &plan, NULL), 0);
                assert_int_equal(store_draft_begin(store, "model", plan.plaintext_max, &draft, NULL), 0);
                memory_fail_after(n);
                r = body_new(event, &plan, &header, size_max, message, draft, on_ended, NULL, &body, &error);
                failed = memory_has_failed();
                if (r >= 0)
                        assert_null(body_free(body));
                else if (error.failure != FAILURE_INTERNAL || !*error.text)
                        fail_msg("%u: %d: %s", n, r, error.text);
                assert_int_equal(entries(), 0);
                threads_finish(UINT64_C(60000000));
        }
}

static void plan_of(uint32_t frame_length, uint64_t size, unsigned processors, int wanted, BodyPlan *ret) {
        const MessageHeader header = { .suite = message_suite_find(0x0578),
                                       .framed = frame_length > 0,
                                       .frame_length = frame_length,
                                       .size = 500 };
        Error error = {};
        int r = body_plan(&header, size, UINT64_C(1) << 40, processors, ret, &error);

        if (r != wanted)
                fail_msg("frames %u, size %llu: %d, not %d: %s", frame_length, (unsigned long long) size, r,
                         wanted, error.text);
        if (r < 0)
                assert_int_equal(error.failure, FAILURE_CIPHERTEXT);
}

static void assert_cost(const BodyPlan *plan, uint32_t frame_length) {
        const BodyCost cost = body_cost(plan, 16), of_file = body_cost(plan, 0);

        assert_int_equal(cost.bytes, (plan->threads + plan->pieces.ahead_max) * plan->pieces.piece_size +
                                                     (plan->pieces.end - plan->tail) + frame_length);
        assert_int_equal(cost.threads, plan->threads);
        assert_true(cost.threads <= BODY_THREADS_MAX && cost.connections <= BODY_CONNECTIONS_MAX);
        assert_int_equal(cost.connections, plan->pieces.ahead_max < 16 ? plan->pieces.ahead_max : 16);
        assert_int_equal(of_file.connections, 0);
}

/* A prompt of two or three MiB leaves room for others. */
static void test_a_short_message_takes_no_more_than_it_fills(void **state) {
        BodyPlan plan;

        plan_of(MIB, 2 * MIB, 192, 0, &plan);
        assert_int_equal(plan.threads, 2);
        assert_int_equal(plan.pieces.ahead_max, 2);
        assert_true(body_cost(&plan, 16).bytes < 7 * MIB);
        plan_of(65536, 3 * MIB, 1, 0, &plan);
        assert_int_equal(plan.threads, 1);
        assert_int_equal(plan.pieces.ahead_max, 4);
        plan_of(MIB, 600, 8, 0, &plan);
        assert_int_equal(plan.threads, 1);
        assert_int_equal(plan.pieces.ahead_max, 2);
}

static void test_no_message_takes_more_memory_than_the_bound(void **state) {
        static const uint32_t lengths[] = { 1,        100, 4096,    65536,       1000000,       MIB - 32,
                                            MIB - 31, MIB, 2 * MIB, 3 * MIB + 1, BODY_FRAME_MAX };
        static const uint64_t sizes[] = { 2 * MIB, 64 * MIB, UINT64_C(4) << 30, UINT64_C(100) << 30 };

        for (size_t i = 0; i < ELEMENTSOF(lengths); i++)
                for (size_t k = 0; k < ELEMENTSOF(sizes); k++)
                        for (unsigned processors = 1; processors <= 192; processors += 7) {
                                bool numbered = sizes[k] / (lengths[i] + 32) < UINT32_MAX - 1;
                                BodyPlan plan;

                                plan_of(lengths[i], sizes[k], processors, numbered ? 0 : -EBADMSG, &plan);
                                if (!numbered)
                                        continue;
                                assert_true(plan.threads >= 1 && plan.threads <= processors &&
                                            plan.pieces.ahead_max >= 2);
                                assert_true((plan.threads + plan.pieces.ahead_max) * plan.pieces.piece_size +
                                                            (plan.pieces.end - plan.tail) + lengths[i] <=
                                            BODY_BUFFERS_MAX);
                                assert_cost(&plan, lengths[i]);
                                assert_int_equal(plan.pieces.piece_size % (lengths[i] + 32), 0);
                                assert_int_equal((plan.tail - 500) % (lengths[i] + 32), 0);
                                assert_true(plan.plaintext_max <= sizes[k]);
                        }
}

/* Nor than the frames that are certain: the file in the store gets their size at once (store_draft_expect()), and a message that has less
 * would end with zeros. */
static void test_no_plaintext_is_shorter_or_longer_than_planned(void **state) {
        static const uint32_t lengths[] = { 1, 40, 97, 98, 4096 };
        static const uint64_t signatures[] = { 8, 70, 96, 97, 102, 104, 128 };

        for (size_t i = 0; i < ELEMENTSOF(lengths); i++)
                for (size_t k = 0; k < ELEMENTSOF(signatures); k++)
                        for (uint64_t plaintext = 0; plaintext < 3 * lengths[i] + 300; plaintext++)
                                for (unsigned empty = 0; empty < 2; empty++) {
                                        /* Some writers end with an empty frame if all others are full. */
                                        uint64_t frames = plaintext / lengths[i],
                                                 rest = plaintext % lengths[i];
                                        BodyPlan plan;

                                        if (rest == 0 && frames > 0 && empty == 0)
                                                frames--;
                                        plan_of(lengths[i],
                                                500 + plaintext + frames * 32 + 40 + 2 + signatures[k], 2, 0,
                                                &plan);
                                        assert_true((uint64_t) plan.frames * lengths[i] <=
                                                    plan.plaintext_min);
                                        if (plan.plaintext_min > plaintext || plan.plaintext_max < plaintext)
                                                fail_msg("frames %u, signature %llu, plaintext %llu: planned %llu to %llu",
                                                         lengths[i], (unsigned long long) signatures[k],
                                                         (unsigned long long) plaintext,
                                                         (unsigned long long) plan.plaintext_min,
                                                         (unsigned long long) plan.plaintext_max);
                                }
}

static void test_messages_that_cannot_be_cut_are_refused(void **state) {
        BodyPlan plan;

        plan_of(0, 2 * MIB, 2, -EBADMSG, &plan);
        plan_of(BODY_FRAME_MAX + 1, 20 * MIB, 2, -EBADMSG, &plan);
        plan_of(UINT32_MAX, 20 * MIB, 2, -EBADMSG, &plan);
        plan_of(1, UINT64_C(33) * UINT32_MAX + 1000, 2, -EBADMSG, &plan);
        plan_of(MIB, UINT64_C(1) << 41, 2, -E2BIG, &plan);
        plan_of(MIB, 500, 2, -EBADMSG, &plan);
        plan_of(MIB, UINT64_MAX, 2, -EBADMSG, &plan);
}

static void test_more_than_size_max_is_refused(void **state) {
        make(&made, 0x0478, 65536, 3 * MIB + 7, 1);
        size_max = 3 * MIB + 7;
        assert_opens(&made, FORWARD, "as many bytes as SizeMax=");
        size_max--;
        assert_refused(made.data, made.size, "one byte more");
        if (!strstr(result.error.text, "Raise SizeMax="))
                fail_msg("%s", result.error.text);
        size_max = MIB;
        assert_refused(made.data, made.size, "many bytes more");
        size_max = MADE_MAX;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest pure[] = {
                cmocka_unit_test(test_no_message_takes_more_memory_than_the_bound),
                cmocka_unit_test(test_a_short_message_takes_no_more_than_it_fills),
                cmocka_unit_test(test_no_plaintext_is_shorter_or_longer_than_planned),
                cmocka_unit_test(test_messages_that_cannot_be_cut_are_refused),
        };
        const struct CMUnitTest mounting[] = {
                TEST(test_pieces_open_in_any_order),
                TEST(test_frames_end_anywhere),
                TEST(test_frames_out_of_place_are_refused),
                TEST(test_a_flipped_bit_is_refused_wherever_it_is),
                TEST(test_a_message_that_is_cut_is_refused),
                TEST(test_an_early_end_is_refused),
                TEST(test_another_signature_is_refused),
                TEST(test_a_write_that_fails_leaves_nothing),
                TEST(test_a_source_that_fails_leaves_nothing),
                TEST(test_a_source_that_fails_at_the_very_end_leaves_nothing),
                TEST(test_a_body_that_is_stopped_leaves_nothing),
                TEST(test_without_memory_nothing_is_left),
                TEST(test_more_than_size_max_is_refused),
        };
        /* Those that do the same with every file system are not among them. */
        const struct CMUnitTest mounting_tmpfs[] = {
                TEST(test_pieces_open_in_any_order),
                TEST(test_frames_end_anywhere),
                TEST(test_a_message_that_is_cut_is_refused),
                TEST(test_a_write_that_fails_leaves_nothing),
                TEST(test_a_source_that_fails_leaves_nothing),
                TEST(test_a_body_that_is_stopped_leaves_nothing),
        };
        int failed = cmocka_run_group_tests(pure, NULL, NULL);

        if (geteuid() != 0) {
                puts("SKIPPED: all tests of the body that mount a file system, for want of root.");
                return failed > 0 ? failed : 77;
        }
        failed += cmocka_run_group_tests(mounting, set_up_namespace, tear_down_namespace);
        file_system = "tmpfs";
        file_system_options = "mode=0755,noswap";
        if (unshare(CLONE_NEWNS) < 0 || mount("tmpfs", "/mnt", "tmpfs", 0, "noswap") < 0) {
                puts("SKIPPED: the tests on tmpfs with noswap, which takes Linux 6.4.");
                return failed;
        }
        return failed + cmocka_run_group_tests(mounting_tmpfs, set_up_namespace, tear_down_namespace);
}
