/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "source/message-reader.h"
#include "unsealctl/message-writer.h"

#define ARN "arn:aws:kms:eu-north-1:111111111111:key/2020e934-86ef-4307-84ff-555a5907b3e6"
#define FRAME 16U
#define PLAINTEXT_MAX 100U

static const uint8_t id[MESSAGE_WRITER_ID_SIZE] = { 1, 2, 3 }, ciphertext[] = { 4, 5, 6 };

static Secret *make_key(void) {
        Secret *key;

        assert_int_equal(secret_new(32, &key), 0);
        memset(secret_bytes(key), 7, 32);
        return key;
}

static MessageDraft draft_of(const char *const *context) {
        return (MessageDraft){
                .id = { id, sizeof(id) },
                .context = context,
                .key_arn = ARN,
                .ciphertext = { ciphertext, sizeof(ciphertext) },
                .frame_length = FRAME,
        };
}

typedef struct Written {
        uint8_t data[4096];
        size_t size;
} Written;

static void put(Written *written, const void *data, size_t size) {
        memcpy(written->data + written->size, data, size);
        written->size += size;
}

/* Writes the numbers 0, 1, 2 … as plaintext. */
static void write_message(const char *const *context, size_t plaintext, Secret *key, Written *ret) {
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_free_ uint8_t *header = NULL;
        MessageDraft draft = draft_of(context);
        uint8_t bytes[FRAME];
        size_t size, at = 0;

        assert_int_equal(message_write_header(&draft, key, &message, &header, &size), 0);
        ret->size = 0;
        put(ret, header, size);
        for (uint32_t number = 1;; number++) {
                size_t n = plaintext - at < FRAME ? plaintext - at : FRAME;
                bool final = at + n == plaintext;
                MessageFrameEnds ends;

                for (size_t i = 0; i < n; i++)
                        bytes[i] = (uint8_t) (at + i);
                assert_int_equal(message_write_frame(message, number, final, bytes, n, &ends), 0);
                put(ret, ends.head, ends.head_size);
                put(ret, bytes, n);
                put(ret, ends.tag, sizeof(ends.tag));
                at += n;
                if (final)
                        return;
        }
}

static int read_message(const Written *written, Secret *key, MessageHeader *ret, Secret **ret_plaintext) {
        size_t needed;

        assert_int_equal(message_header_parse(written->data, written->size, &(MessageHeaderOptions){}, ret,
                                              &needed, NULL),
                         0);
        return message_read(ret, written->data, written->size, key, PLAINTEXT_MAX, ret_plaintext, NULL);
}

static void test_what_is_written_is_read(void **state) {
        static const char *const context[] = { "unseald:secret=db", "b=", "a=x=y", "ab=z", NULL };
        static const size_t sizes[] = { 0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, PLAINTEXT_MAX };
        _cleanup_secret_ Secret *key = make_key();

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_secret_ Secret *plaintext = NULL;
                MessageHeader header;
                Written written;

                write_message(context, sizes[i], key, &written);
                assert_int_equal(read_message(&written, key, &header, &plaintext), 0);
                assert_int_equal(secret_size(plaintext), sizes[i]);
                for (size_t j = 0; j < sizes[i]; j++)
                        assert_int_equal(secret_bytes(plaintext)[j], j);
        }
}

static void test_the_header_says_what_it_was_given(void **state) {
        static const char *const context[] = { "unseald:secret=db", "b=", "a=x=y", "ab=z", NULL },
                                 *const none[] = { NULL };
        static const char *const sorted[] = { "a", "ab", "b", "unseald:secret" };
        _cleanup_secret_ Secret *key = make_key(), *plaintext = NULL, *empty = NULL;
        MessageHeader header;
        Slice name, value;
        Written written;
        size_t at = 0;

        write_message(context, 1, key, &written);
        assert_int_equal(read_message(&written, key, &header, &plaintext), 0);
        assert_int_equal(header.suite->id, 0x0478);
        assert_memory_equal(header.id.data, id, sizeof(id));
        assert_int_equal(header.frame_length, FRAME);
        assert_int_equal(header.data_keys_count, 1);
        assert_true(message_slice_is(&header.data_keys[0].provider, "aws-kms"));
        assert_true(message_slice_is(&header.data_keys[0].info, ARN));
        assert_int_equal(header.data_keys[0].ciphertext.size, sizeof(ciphertext));
        assert_memory_equal(header.data_keys[0].ciphertext.data, ciphertext, sizeof(ciphertext));
        for (size_t i = 0; i < ELEMENTSOF(sorted); i++) {
                assert_true(message_context_next(&header, &at, &name, &value));
                assert_true(message_slice_is(&name, sorted[i]));
        }
        assert_false(message_context_next(&header, &at, &name, &value));

        write_message(none, 1, key, &written);
        assert_int_equal(read_message(&written, key, &header, &empty), 0);
        assert_int_equal(header.context_count, 0);
}

static void test_each_frame_has_an_iv_of_its_own(void **state) {
        static const char *const none[] = { NULL };
        _cleanup_secret_ Secret *key = make_key(), *plaintext = NULL;
        MessageHeader header;
        MessageFrame frame = {};
        Written written;
        size_t needed, at;

        write_message(none, 3 * FRAME, key, &written);
        assert_int_equal(read_message(&written, key, &header, &plaintext), 0);
        at = header.size;
        for (uint32_t n = 1; !frame.final; n++) {
                static const uint8_t zeros[MESSAGE_IV_SIZE - 1];

                assert_int_equal(message_frame_find(&header, n, written.data + at, written.size - at, at,
                                                    FRAME, &frame, &needed, NULL),
                                 0);
                assert_int_equal(frame.iv.data[MESSAGE_IV_SIZE - 1], n);
                assert_memory_equal(frame.iv.data, zeros, sizeof(zeros));
                at += frame.size;
        }
        assert_int_equal(at, written.size);
}

static void test_what_no_reader_takes_is_not_written(void **state) {
        _cleanup_secret_ Secret *key = make_key();
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_free_ uint8_t *header = NULL;
        char *pair = malloc(MESSAGE_CONTEXT_MAX + 1);
        const char *const context[] = { pair, NULL };
        MessageDraft draft = draft_of(context);
        size_t size;

        memset(pair, 'a', MESSAGE_CONTEXT_MAX);
        pair[1] = '=';
        pair[MESSAGE_CONTEXT_MAX] = '\0';
        assert_int_equal(message_write_header(&draft, key, &message, &header, &size), -E2BIG);
        /* The number of pairs, and the two lengths in place of "=". */
        pair[MESSAGE_CONTEXT_MAX - 5] = '\0';
        assert_int_equal(message_write_header(&draft, key, &message, &header, &size), 0);
        free(pair);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_is_written_is_read),
                cmocka_unit_test(test_the_header_says_what_it_was_given),
                cmocka_unit_test(test_each_frame_has_an_iv_of_its_own),
                cmocka_unit_test(test_what_no_reader_takes_is_not_written),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
