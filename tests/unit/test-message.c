/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <json-c/json.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "failing-memory.h"

#include "basic/encoding.h"
#include "basic/io.h"
#include "basic/json.h"
#include "message-maker.h"

#define PLAINTEXT_MAX 65536U

static const MessageHeaderOptions committed = {}, uncommitted = { .allow_uncommitted = true };

static void load(const char *name, uint8_t **ret, size_t *ret_size) {
        char path[512];

        (void) snprintf(path, sizeof(path), "%s/message/%s", getenv("UNSEALD_TEST_VECTORS"), name);
        if (read_file(path, 1 << 20, ret, ret_size) < 0)
                fail_msg("%s cannot be read", path);
}

static Secret *secret_of(const uint8_t *data, size_t size) {
        Secret *secret;

        assert_int_equal(secret_new(size, &secret), 0);
        memcpy(secret_bytes(secret), data, size);
        return secret;
}

static Secret *secret_of_hex(const char *hex) {
        size_t size = strlen(hex) / 2;
        Secret *secret;

        assert_int_equal(secret_new(size, &secret), 0);
        assert_int_equal(hex_decode(hex, secret_bytes(secret), size), 0);
        return secret;
}

/* Parses and reads a message that is in memory. */
static int read_whole(const uint8_t *data, size_t size, Secret *key, const MessageHeaderOptions *options,
                      Secret **ret, Error *error) {
        MessageHeader header;
        size_t needed;
        int r = message_header_parse(data, size, options, &header, &needed, error);

        return r < 0 ? r : message_read(&header, data, size, key, PLAINTEXT_MAX, ret, error);
}

/* Each failure of the reader has a text, and a class that no retry mends. */
static void assert_refused(const uint8_t *data, size_t size, Secret *key, const char *what) {
        _cleanup_secret_ Secret *plaintext = NULL;
        Error error = {};
        int r = read_whole(data, size, key, &uncommitted, &plaintext, &error);

        if (r >= 0 || plaintext)
                fail_msg("%s: it opens", what);
        if (r != -EAGAIN && (error.failure != FAILURE_CIPHERTEXT || !*error.text))
                fail_msg("%s: saw %i, %i, \"%s\"", what, r, (int) error.failure, error.text);
}

typedef struct Buffer {
        uint8_t data[PLAINTEXT_MAX];
        size_t size, frames;
} Buffer;

static uint8_t *room(uint64_t offset, size_t size, void *userdata) {
        Buffer *buffer = userdata;

        assert_int_equal(offset, buffer->size);
        assert_true(offset + size <= sizeof(buffer->data));
        return buffer->data + offset;
}

static int verified(uint64_t offset, const uint8_t *plaintext, size_t size, void *userdata, Error *error) {
        Buffer *buffer = userdata;

        assert_int_equal(offset, buffer->size);
        assert_ptr_equal(plaintext, buffer->data + offset);
        buffer->size += size;
        buffer->frames++;
        return 0;
}

/* Reads a message in pieces. */
static int read_pieces(const uint8_t *data, size_t size, Secret *key, size_t piece, Buffer *ret,
                       Error *error) {
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_(message_reader_freep) MessageReader *reader = NULL;
        const MessageSink sink = { room, verified, ret };
        uint64_t plaintext_size;
        MessageHeader header;
        size_t needed;
        int r;

        ret->size = ret->frames = 0;
        if ((r = message_header_parse(data, size, &uncommitted, &header, &needed, error)) < 0 ||
            (r = message_open(&header, key, &message, error)) < 0 ||
            (r = message_reader_new(message, &header, PLAINTEXT_MAX, &sink, &reader, error)) < 0)
                return r;
        for (size_t at = header.size; at < size && r >= 0; at += piece)
                r = message_reader_feed(reader, data + at, piece < size - at ? piece : size - at, error);
        if (r >= 0)
                r = message_reader_end(reader, &plaintext_size, error);
        if (r >= 0)
                assert_int_equal(plaintext_size, ret->size);
        return r;
}

static void assert_context(const MessageHeader *header, struct json_object *wanted, const char *name) {
        Slice key, value;
        unsigned n = 0;

        for (size_t at = 0; message_context_next(header, &at, &key, &value); n++) {
                _cleanup_free_ char *text = strndup((const char *) key.data, key.size);

                if (!message_slice_is(&value, json_member_string(wanted, text) ?: "(none)"))
                        fail_msg("%s: the value of %s", name, text);
        }
        assert_int_equal(n, json_object_object_length(wanted));
        assert_int_equal(n, header->context_count);
}

static void test_known_answers(void **state) {
        _cleanup_json_ struct json_object *file = NULL;
        _cleanup_free_ uint8_t *text = NULL;
        struct json_object *tests;
        size_t size, opened = 0, refused = 0;

        load("commitment-known-answers.json", &text, &size);
        assert_int_equal(json_parse((char *) text, size, &file), 0);
        tests = json_member(file, "tests");
        for (size_t i = 0; i < json_object_array_length(tests); i++) {
                struct json_object *test = json_object_array_get_idx(tests, i);
                const char *comment = json_member_string(test, "comment"),
                           *encoded = json_member_string(test, "ciphertext"),
                           *dek = json_member_string(test, "decrypted-dek");
                _cleanup_free_ uint8_t *data = NULL, *key = NULL;
                _cleanup_secret_ Secret *data_key = NULL, *plaintext = NULL;
                size_t data_size, key_size, at = 0;
                Error error = {};
                int r;

                assert_int_equal(base64_decode(encoded, strlen(encoded), &data, &data_size), 0);
                assert_int_equal(base64_decode(dek, strlen(dek), &key, &key_size), 0);
                data_key = secret_of(key, key_size);
                r = read_whole(data, data_size, data_key, &committed, &plaintext, &error);
                if (!json_object_get_boolean(json_member(test, "status"))) {
                        if (r != -EKEYREJECTED || !strstr(error.text, "does not commit"))
                                fail_msg("%s: saw %i, \"%s\"", comment, r, error.text);
                        refused++;
                        continue;
                }
                if (r < 0)
                        fail_msg("%s: saw %i, \"%s\"", comment, r, error.text);
                struct json_object *frames = json_member(test, "plaintext-frames");
                for (size_t j = 0; j < json_object_array_length(frames); j++) {
                        const char *frame = json_object_get_string(json_object_array_get_idx(frames, j));

                        assert_memory_equal(secret_bytes(plaintext) + at, frame, strlen(frame));
                        at += strlen(frame);
                }
                assert_int_equal(at, secret_size(plaintext));
                opened++;
        }
        printf("%zu open, %zu are refused\n", opened, refused);
        assert_true(opened >= 15 && refused >= 3);
}

static void check_written(struct json_object *entry) {
        const char *name = json_member_string(entry, "file");
        _cleanup_secret_ Secret *key = secret_of_hex(json_member_string(entry, "data_key")),
                                *plaintext = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        size_t size, needed, wanted = (size_t) json_object_get_int(json_member(entry, "plaintext_size"));
        uint8_t sum[SHA256_DIGEST_LENGTH], digest[SHA256_DIGEST_LENGTH];
        char path[256];
        static Buffer buffer;
        MessageHeader header;
        Error error = {};

        (void) snprintf(path, sizeof(path), "written/%s", name);
        load(path, &data, &size);
        assert_int_equal(hex_decode(json_member_string(entry, "plaintext_sha256"), sum, sizeof(sum)), 0);
        if (message_header_parse(data, size, &uncommitted, &header, &needed, &error) < 0 ||
            message_read(&header, data, size, key, wanted, &plaintext, &error) < 0)
                fail_msg("%s: %s", name, error.text);
        assert_int_equal(secret_size(plaintext), wanted);
        assert_memory_equal(SHA256(secret_bytes(plaintext), wanted, digest), sum, sizeof(sum));

        assert_int_equal(header.suite->id, strtoul(json_member_string(entry, "suite"), NULL, 16));
        assert_int_equal(header.framed, strcmp(json_member_string(entry, "content"), "framed") == 0);
        assert_int_equal(header.frame_length, json_object_get_int64(json_member(entry, "frame_length")));
        assert_context(&header, json_member(entry, "stored_context"), name);
        assert_true(message_is_likely(data, size));

        static const size_t pieces[] = { 1, 7, 64, 4096 };
        for (size_t i = 0; i < ELEMENTSOF(pieces); i++) {
                if (read_pieces(data, size, key, pieces[i], &buffer, &error) < 0)
                        fail_msg("%s in pieces of %zu: %s", name, pieces[i], error.text);
                assert_int_equal(buffer.size, wanted);
                assert_memory_equal(SHA256(buffer.data, wanted, digest), sum, sizeof(sum));
        }

        /* One byte less than the plaintext is too small a limit. */
        if (wanted > 0) {
                plaintext = secret_free(plaintext);
                assert_int_equal(message_read(&header, data, size, key, wanted - 1, &plaintext, &error),
                                 -E2BIG);
                assert_non_null(strstr(error.text, "SizeMax="));
        }
        /* Suites that do not commit are refused unless they are allowed. */
        int r = message_header_parse(data, size, &committed, &header, &needed, &error);
        assert_int_equal(r, header.suite->commits ? 0 : -EPERM);
        if (r < 0)
                assert_non_null(strstr(error.text, "AllowUncommitted=yes"));
}

static void test_messages_that_other_programs_wrote_open(void **state) {
        _cleanup_json_ struct json_object *file = NULL;
        _cleanup_free_ uint8_t *text = NULL;
        size_t size, n;

        load("written.json", &text, &size);
        assert_int_equal(json_parse((char *) text, size, &file), 0);
        n = json_object_array_length(file);
        for (size_t i = 0; i < n; i++)
                check_written(json_object_array_get_idx(file, i));
        printf("%zu messages\n", n);
        assert_int_equal(n, 176);
}

typedef struct Raw {
        uint16_t suite;
        const char *context; /* the pairs as they stand in the header */
        size_t context_size;
        unsigned context_count, data_keys;
        uint32_t frame_length;
        size_t plaintext;
        size_t data_key_size; /* of each data key's ciphertext */
} Raw;

static uint8_t *put_number(uint8_t *p, uint64_t number, unsigned size) {
        for (unsigned i = size; i > 0; i--)
                *p++ = (uint8_t) (i > sizeof(number) ? 0 : number >> (8 * (i - 1)) & 0xff);
        return p;
}

static uint8_t *put_sized(uint8_t *p, const void *data, size_t size) {
        return mempcpy(put_number(p, size, 2), data, size);
}

static uint8_t *put_frames_of(uint8_t *p, const Raw *raw) {
        uint32_t n = 1;
        size_t left = raw->plaintext;

        if (raw->frame_length == 0)
                return put_number(put_number(p, 7, 12), raw->plaintext, 8) + raw->plaintext +
                       MESSAGE_TAG_SIZE;
        for (; left > raw->frame_length; left -= raw->frame_length)
                p = put_number(put_number(p, n, 4), n, 12) + raw->frame_length + MESSAGE_TAG_SIZE, n++;
        p = put_number(put_number(put_number(p, UINT32_MAX, 4), n, 4), n, 12);
        return put_number(p, left, 4) + left + MESSAGE_TAG_SIZE;
}

/* The message without commitment and tags. */
static void put_raw(const Raw *raw, Made *made) {
        const MessageSuite *suite = message_suite_find(raw->suite);
        uint8_t *p = made->data;
        char point[80];

        memset(made, 0, sizeof(*made));
        if (suite->version == 1)
                *p++ = 1, *p++ = 0x80;
        else
                *p++ = 2;
        p = put_number(p, raw->suite, 2);
        memset(p, 0x1d, suite->version == 1 ? 16 : 32);
        p += suite->version == 1 ? 16 : 32;
        if (suite->curve) {
                size_t size = made_public_key(suite->curve, point);

                p = put_number(put_number(p, 2 + 4 + strlen(MESSAGE_PUBLIC_KEY) + size, 2), 1, 2);
                p = put_sized(put_sized(p, MESSAGE_PUBLIC_KEY, strlen(MESSAGE_PUBLIC_KEY)), point, size);
        } else if (raw->context_size > 0) {
                p = put_number(put_number(p, 2 + raw->context_size, 2), raw->context_count, 2);
                p = mempcpy(p, raw->context, raw->context_size);
        } else
                p = put_number(p, 0, 2);
        p = put_number(p, raw->data_keys, 2);
        for (unsigned i = 0; i < raw->data_keys; i++)
                p = put_number(put_sized(put_sized(p, "p", 1), "i", 1), raw->data_key_size, 2) +
                    raw->data_key_size;
        *p++ = raw->frame_length > 0 ? 2 : 1;
        if (suite->version == 1)
                p = put_number(p, MESSAGE_IV_SIZE, 5);
        p = put_number(p, raw->frame_length, 4);
        p += suite->version == 1 ? MESSAGE_IV_SIZE + MESSAGE_TAG_SIZE
                                 : MESSAGE_COMMITMENT_SIZE + MESSAGE_TAG_SIZE;
        p = put_frames_of(p, raw);
        made->size = (size_t) (p - made->data);
}

static void make(const Raw *raw, Made *made) {
        put_raw(raw, made);
        assert_true(made_complete(made, false));
        assert_true(made->whole);
        assert_int_equal(made->plaintext_size, raw->plaintext);
}

static Made made, other;

#define PAIR_A "\0\1a\0\1x"
#define PAIR_B "\0\1b\0\0"
#define TEXT(text) (text), sizeof(text) - 1
static const Raw plain = { 0x0478, TEXT(PAIR_A PAIR_B), 2, 1, 16, 40, 3 };

/* The control of all tests that follow: what the maker makes is right. */
static void test_what_the_maker_makes_opens_in_every_suite(void **state) {
        static const uint16_t ids[] = { 0x0578, 0x0478, 0x0378, 0x0346, 0x0214, 0x0178,
                                        0x0146, 0x0114, 0x0078, 0x0046, 0x0014 };
        static const uint32_t lengths[] = { 0, 1, 16, 40, UINT32_MAX };

        for (size_t i = 0; i < ELEMENTSOF(ids); i++)
                for (size_t j = 0; j < ELEMENTSOF(lengths); j++) {
                        _cleanup_secret_ Secret *key = made_data_key(message_suite_find(ids[i])),
                                                *plaintext = NULL;
                        Raw raw = plain;
                        Error error = {};

                        raw.suite = ids[i];
                        raw.frame_length = lengths[j];
                        make(&raw, &made);
                        if (read_whole(made.data, made.size, key, &uncommitted, &plaintext, &error) < 0)
                                fail_msg("0x%04x, %u: %s", ids[i], lengths[j], error.text);
                        assert_int_equal(secret_size(plaintext), made.plaintext_size);
                        assert_memory_equal(secret_bytes(plaintext), made.plaintext, made.plaintext_size);
                }
}

static void test_every_flipped_bit_is_refused(void **state) {
        static const uint16_t ids[] = { 0x0478, 0x0578, 0x0214, 0x0178, 0x0014 };
        static const uint32_t lengths[] = { 0, 16 };
        size_t bits = 0;

        for (size_t i = 0; i < ELEMENTSOF(ids); i++)
                for (size_t j = 0; j < ELEMENTSOF(lengths); j++) {
                        _cleanup_secret_ Secret *key = made_data_key(message_suite_find(ids[i]));
                        char what[64];
                        Raw raw = plain;

                        raw.suite = ids[i];
                        raw.frame_length = lengths[j];
                        make(&raw, &made);
                        for (size_t bit = 0; bit < 8 * made.size; bit++, bits++) {
                                (void) snprintf(what, sizeof(what), "0x%04x, %u, bit %zu of byte %zu",
                                                ids[i], lengths[j], bit % 8, bit / 8);
                                made.data[bit / 8] ^= (uint8_t) (1U << bit % 8);
                                assert_refused(made.data, made.size, key, what);
                                made.data[bit / 8] ^= (uint8_t) (1U << bit % 8);
                        }
                }
        printf("%zu bits\n", bits);
}

static void test_a_message_that_is_cut_or_longer_is_refused(void **state) {
        static const uint16_t ids[] = { 0x0478, 0x0578, 0x0178 };

        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                _cleanup_secret_ Secret *key = made_data_key(message_suite_find(ids[i]));
                _cleanup_secret_ Secret *plaintext = NULL;
                static Buffer buffer;
                char what[64];
                Raw raw = plain;
                Error error = {};

                raw.suite = ids[i];
                make(&raw, &made);
                for (size_t size = 0; size < made.size; size++) {
                        (void) snprintf(what, sizeof(what), "0x%04x, cut after %zu bytes", ids[i], size);
                        assert_refused(made.data, size, key, what);
                        assert_true(read_pieces(made.data, size, key, 5, &buffer, &error) < 0);
                }
                made.data[made.size] = 0;
                assert_int_equal(read_whole(made.data, made.size + 1, key, &uncommitted, &plaintext, &error),
                                 -EBADMSG);
                assert_non_null(strstr(error.text, "bytes follow its end"));
        }
}

/* An incomplete header says how many bytes it needs, and never needs more than it has. */
static void test_a_header_says_how_many_bytes_it_needs(void **state) {
        static const uint16_t ids[] = { 0x0478, 0x0578, 0x0178 };

        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                Raw raw = plain;
                MessageHeader header;
                size_t size = 0, needed = 0, attempts = 0;

                raw.suite = ids[i];
                make(&raw, &made);
                for (;
                     message_header_parse(made.data, size, &uncommitted, &header, &needed, NULL) == -EAGAIN;
                     attempts++) {
                        assert_true(needed > size && needed <= made.header.size);
                        size = needed;
                }
                assert_int_equal(size, made.header.size);
                assert_int_equal(header.size, size);
                assert_true(attempts < 40);
        }
}

/* The bytes of frame n, which has the full length. */
static uint8_t *frame_of(Made *message, uint32_t n) {
        return message->data + message->header.size + (n - 1) * (4 + 12 + 16 + 16);
}

#define FRAME (4U + 12 + 16 + 16)

static void test_frames_out_of_place_are_refused(void **state) {
        _cleanup_secret_ Secret *key = made_data_key(message_suite_find(0x0478));
        uint8_t first[FRAME], second[FRAME];
        Raw raw = plain;

        make(&raw, &made);
        memcpy(first, frame_of(&made, 1), FRAME);
        memcpy(second, frame_of(&made, 2), FRAME);

        memcpy(frame_of(&made, 1), second, FRAME);
        memcpy(frame_of(&made, 2), first, FRAME);
        assert_refused(made.data, made.size, key, "frames swapped");
        /* Their numbers are part of what the tag authenticates. */
        (void) put_number(frame_of(&made, 1), 1, 4);
        (void) put_number(frame_of(&made, 2), 2, 4);
        assert_refused(made.data, made.size, key, "frames swapped, with the right numbers");

        make(&raw, &made);
        memcpy(frame_of(&made, 2), first, FRAME);
        assert_refused(made.data, made.size, key, "a frame repeated");
        (void) put_number(frame_of(&made, 2), 2, 4);
        assert_refused(made.data, made.size, key, "a frame repeated, with the right number");

        make(&raw, &made);
        memmove(frame_of(&made, 1), frame_of(&made, 2), made.size - made.header.size - FRAME);
        assert_refused(made.data, made.size - FRAME, key, "a frame dropped");

        /* The same data key, and another message. */
        make(&raw, &made);
        put_raw(&raw, &other);
        other.data[3] ^= 1;
        assert_true(made_complete(&other, false));
        memcpy(frame_of(&made, 2), frame_of(&other, 2), FRAME);
        assert_refused(made.data, made.size, key, "a frame of another message");

        /* The final frame: missing, in the middle, and as a frame that is not final. */
        make(&raw, &made);
        assert_refused(made.data, made.header.size + 2 * FRAME, key, "the final frame missing");
        assert_refused(made.data, made.header.size, key, "all frames missing");
        memmove(frame_of(&made, 2), frame_of(&made, 3), made.size - made.header.size - 2 * FRAME);
        assert_refused(made.data, made.size - FRAME, key, "the final frame in place of the second");
}

/* Each of these is authentic, so only the reader's own checks refuse it. */
static void test_wrong_frames_that_are_authentic_are_refused(void **state) {
        _cleanup_secret_ Secret *key = made_data_key(message_suite_find(0x0478)), *plaintext = NULL;
        Raw raw = plain;
        Error error = {};

        /* The final frame is longer than the frame length. message_frame_find() refuses it, so the tag is made by hand. */
        put_raw(&raw, &made);
        assert_true(made_complete(&made, false));
        (void) put_number(frame_of(&made, 3) + 4 + 4 + 12, 17, 4);
        assert_int_equal(read_whole(made.data, made.size + 9, key, &committed, &plaintext, &error),
                         -EBADMSG);
        assert_non_null(strstr(error.text, "longer than the frame length"));

        /* An empty final frame after full ones is what some writers end with. */
        raw.plaintext = 32;
        make(&raw, &made);
        uint8_t *p = frame_of(&made, 2);
        p = put_number(put_number(p, 2, 4), 2, 12) + 16 + MESSAGE_TAG_SIZE;
        p = put_number(put_number(put_number(put_number(p, UINT32_MAX, 4), 3, 4), 3, 12), 0, 4);
        made.size = (size_t) (p + MESSAGE_TAG_SIZE - made.data);
        assert_true(made_complete(&made, false) && made.whole);
        assert_int_equal(read_whole(made.data, made.size, key, &committed, &plaintext, &error), 0);
        assert_int_equal(secret_size(plaintext), 32);
}

static void test_the_signature_of_another_message_is_refused(void **state) {
        _cleanup_secret_ Secret *key = made_data_key(message_suite_find(0x0578));
        Raw raw = plain;
        size_t footer;

        raw.suite = 0x0578;
        raw.frame_length = 64;
        make(&raw, &made);
        put_raw(&raw, &other);
        other.data[other.size - 20] ^= 1; /* a byte of plaintext */
        assert_true(made_complete(&other, false));

        footer = made.header.size + 4 + 4 + 12 + 4 + 40 + 16;
        memcpy(made.data + footer, other.data + footer, other.size - footer);
        assert_refused(made.data, footer + (other.size - footer), key, "the signature of another message");
        memset(made.data + footer, 0, 2);
        assert_refused(made.data, footer + 2, key, "an empty signature");
        (void) put_number(made.data + footer, 60000, 2);
        assert_refused(made.data, footer + 60002, key, "a signature of 60000 bytes");
}

static void test_the_commitment_decides_before_the_tag(void **state) {
        _cleanup_secret_ Secret *key = made_data_key(message_suite_find(0x0478)), *plaintext = NULL;
        Error error = {};

        put_raw(&plain, &made);
        /* The commitment stays zero, and the tag is that of the header with this commitment. */
        assert_true(made_complete(&made, true));
        assert_int_equal(read_whole(made.data, made.size, key, &committed, &plaintext, &error),
                         -EKEYREJECTED);
        assert_non_null(strstr(error.text, "does not commit"));

        secret_bytes(key)[0] ^= 1;
        make(&plain, &made);
        assert_int_equal(read_whole(made.data, made.size, key, &committed, &plaintext, &error),
                         -EKEYREJECTED);
        assert_non_null(strstr(error.text, "does not commit"));
        secret_truncate(key, 31);
        assert_int_equal(read_whole(made.data, made.size, key, &committed, &plaintext, &error), -EINVAL);
        assert_non_null(strstr(error.text, "has 31 bytes"));
}

/* Writers can authenticate pairs of the context that they do not store. A reader who left them out would not know the context. */
static void test_pairs_outside_the_message_are_refused(void **state) {
        _cleanup_secret_ Secret *key = made_data_key(message_suite_find(0x0478)), *plaintext = NULL;
        _cleanup_(message_freep) Message *message = NULL;
        static const char outside[] = "\0\1" PAIR_A;
        uint8_t body[4096], commitment[MESSAGE_COMMITMENT_SIZE];
        Error error = {};

        make(&plain, &made);
        size_t size = made.header.body.size;
        memcpy(body, made.data, size);
        memcpy(body + size, outside, sizeof(outside) - 1);
        assert_int_equal(message_new(made.header.suite, &made.header.id, 16, key, &message, commitment), 0);
        assert_int_equal(message_header_seal(message, NULL, &(Slice){ body, size + sizeof(outside) - 1 },
                                             (uint8_t *) made.header.tag.data),
                         0);
        assert_int_equal(read_whole(made.data, made.size, key, &committed, &plaintext, &error),
                         -EKEYREJECTED);
        assert_non_null(strstr(error.text, "outside the message"));
        /* The control: the same without them. */
        assert_int_equal(message_header_seal(message, NULL, &(Slice){ body, size },
                                             (uint8_t *) made.header.tag.data),
                         0);
        assert_int_equal(read_whole(made.data, made.size, key, &committed, &plaintext, &error), 0);
}

static void test_a_header_that_breaks_the_rules_is_refused(void **state) {
        static char much[MESSAGE_CONTEXT_MAX + 1];
        const struct {
                Raw raw;
                int r;
                const char *text;
        } cases[] = {
                { { 0x0478, TEXT(PAIR_A PAIR_A), 2, 1, 16, 40, 3 }, -EBADMSG, "the same key twice" },
                { { 0x0478, TEXT(PAIR_B PAIR_A PAIR_B), 3, 1, 16, 40, 3 }, -EBADMSG, "the same key twice" },
                { { 0x0478, TEXT("\0\1\xff\0\0"), 1, 1, 16, 40, 3 }, -EBADMSG, "not UTF-8" },
                { { 0x0478, TEXT("\0\1a\0\2\xc0\x80"), 1, 1, 16, 40, 3 }, -EBADMSG, "not UTF-8" },
                { { 0x0478, TEXT("\0\1a\0\3\xed\xa0\x80"), 1, 1, 16, 40, 3 }, -EBADMSG, "not UTF-8" },
                { { 0x0478, TEXT(PAIR_A), 2, 1, 16, 40, 3 }, -EBADMSG, "exceeds the encryption context" },
                { { 0x0478, TEXT(PAIR_A PAIR_B), 1, 1, 16, 40, 3 }, -EBADMSG, "bytes follow the pairs" },
                { { 0x0478, TEXT(PAIR_A), 0, 1, 16, 40, 3 }, -EBADMSG, "no pairs" },
                { { 0x0478, TEXT("\0\1a\0\2x"), 1, 1, 16, 40, 3 }, -EBADMSG, "exceeds" },
                { { 0x0478, TEXT("\0\x15" MESSAGE_PUBLIC_KEY "\0\1A"), 1, 1, 16, 40, 3 },
                  -EBADMSG,
                  "does not sign" },
                { { 0x0478, much, sizeof(much) - 3, 1, 1, 16, 40, 3 }, -EBADMSG, "exceeds" },
                { { 0x0478, much, sizeof(much) - 2, 1, 1, 16, 40, 3 }, -E2BIG, "the limit is 8192" },
                { { 0x0478, TEXT(PAIR_A), 1, 0, 16, 40, 3 }, -EBADMSG, "no data key" },
                { { 0x0478, TEXT(PAIR_A), 1, 9, 16, 40, 3 }, -E2BIG, "9 data keys" },
                { { 0x0478, TEXT(PAIR_A), 1, 10000, 16, 40, 3 }, -E2BIG, "10000 data keys" },
                { { 0x0478, TEXT(PAIR_A), 1, 8, 16, 40, 8190 }, -E2BIG, "longer than 65536 bytes" },
        };
        /* AWS's own known answers have contexts whose keys are not in order. */
        static const Raw unsorted = { 0x0478, TEXT(PAIR_B PAIR_A), 2, 1, 16, 40, 3 };
        /* The longest that the limits allow. */
        static const Raw longest = { 0x0478, TEXT(PAIR_A), 1, 8, 16, 40, 8160 };
        size_t needed;

        memset(much, 'a', sizeof(much));
        (void) put_number((uint8_t *) much, MESSAGE_CONTEXT_MAX, 2);
        make(&unsorted, &made);
        make(&longest, &made);
        assert_int_equal(made.header.data_keys_count, 8);
        assert_int_equal(made.header.data_keys[7].ciphertext.size, 8160);
        assert_true(message_slice_is(&made.header.data_keys[7].provider, "p"));
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                MessageHeader header;
                Error error = {};
                int r;

                put_raw(&cases[i].raw, &made);
                r = message_header_parse(made.data, made.size, &committed, &header, &needed, &error);
                if (r != cases[i].r || !strstr(error.text, cases[i].text))
                        fail_msg("case %zu: saw %i, \"%s\", wanted %i, \"%s\"", i, r, error.text, cases[i].r,
                                 cases[i].text);
        }
}

static void assert_header(const char *what, size_t offset, uint64_t value, unsigned size, const char *text) {
        MessageHeader header;
        size_t needed;
        Error error = {};

        make(&plain, &made);
        (void) put_number(made.data + offset, value, size);
        if (message_header_parse(made.data, made.size, &committed, &header, &needed, &error) >= 0 ||
            !strstr(error.text, text))
                fail_msg("%s: saw \"%s\", wanted \"%s\"", what, error.text, text);
}

static void test_a_header_with_wrong_fields_is_refused(void **state) {
        make(&plain, &made);
        size_t type = made.header.size - MESSAGE_TAG_SIZE - MESSAGE_COMMITMENT_SIZE - 5;

        assert_header("version 3", 0, 3, 1, "not a message of the AWS Encryption SDK");
        assert_header("a ciphertext of KMS", 0, 0x0102, 2, "not a message of the AWS Encryption SDK");
        assert_header("an unknown suite", 1, 0x0678, 2, "suite 0x0678, which unseald does not know");
        assert_header("a suite of version 1", 1, 0x0178, 2,
                      "0x0178, which unseald does not know in a header of version 2");
        assert_header("content type 3", type, 3, 1, "neither one block nor framed");
        assert_header("one block with a frame length", type, 1, 1, "one block has a frame length");
        assert_header("no frame length", type + 1, 0, 4, "the frame length is 0");
        assert_header("a suite that signs", 1, 0x0578, 2, "it has no public key");
        static const uint8_t kms[] = { 1, 2, 2, 0 }, envelope[] = { 2, 4 }, old[] = { 1, 0x80 };
        assert_false(message_is_likely(kms, sizeof(kms)));
        assert_true(message_is_likely(envelope, sizeof(envelope)));
        assert_true(message_is_likely(old, sizeof(old)));
        assert_false(message_is_likely(old, 1));
}

static void test_a_frame_that_is_not_authentic_leaves_nothing(void **state) {
        _cleanup_secret_ Secret *key = made_data_key(message_suite_find(0x0478));
        static Buffer buffer;
        Error error = {}, again = {};

        make(&plain, &made);
        frame_of(&made, 2)[FRAME - 1] ^= 1;
        memset(buffer.data, 0xEE, sizeof(buffer.data));
        assert_int_equal(read_pieces(made.data, made.size, key, 3, &buffer, &error), -EBADMSG);
        assert_int_equal(buffer.frames, 1);
        assert_non_null(strstr(error.text, "Frame 2 of the message, at byte "));
        for (size_t i = 16; i < 32; i++)
                assert_int_equal(buffer.data[i], 0);
        /* Memory of frames that were not reached is not touched. */
        assert_int_equal(buffer.data[32], 0xEE);

        /* A reader that has failed stays so. */
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_(message_reader_freep) MessageReader *reader = NULL;
        const MessageSink sink = { room, verified, &buffer };
        buffer.size = 0;
        assert_int_equal(message_open(&made.header, key, &message, &error), 0);
        assert_int_equal(message_reader_new(message, &made.header, 100, &sink, &reader, &error), 0);
        assert_int_equal(message_reader_feed(reader, frame_of(&made, 2), FRAME, &error), -EBADMSG);
        assert_int_equal(message_reader_feed(reader, frame_of(&made, 1), FRAME, &again), -EBADMSG);
        assert_string_equal(error.text, again.text);
        assert_int_equal(message_reader_end(reader, NULL, &again), -EBADMSG);
        assert_string_equal(error.text, again.text);
}

static int no_more(uint64_t offset, const uint8_t *plaintext, size_t size, void *userdata, Error *error) {
        return offset > 0 ? error_set(error, -ENOSPC, FAILURE_STORE, "The store is full.") : 0;
}

static uint8_t *no_room(uint64_t offset, size_t size, void *userdata) {
        return NULL;
}

static void test_a_sink_can_end_the_message(void **state) {
        _cleanup_secret_ Secret *key = made_data_key(message_suite_find(0x0478));
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_(message_reader_freep) MessageReader *full = NULL, *small = NULL;
        static Buffer buffer;
        const MessageSink sink = { room, no_more, &buffer }, none = { .room = no_room };
        const uint8_t *body;
        Error error = {};

        make(&plain, &made);
        body = made.data + made.header.size;
        assert_int_equal(message_open(&made.header, key, &message, &error), 0);
        assert_int_equal(message_reader_new(message, &made.header, 100, &none, &small, &error), 0);
        assert_int_equal(message_reader_feed(small, body, FRAME, &error), -ENOMEM);

        assert_int_equal(message_reader_new(message, &made.header, 100, &sink, &full, &error), 0);
        assert_int_equal(message_reader_feed(full, body, FRAME, &error), 0);
        buffer.size = 16;
        assert_int_equal(message_reader_feed(full, body + FRAME, FRAME, &error), -ENOSPC);
        assert_string_equal(error.text, "The store is full.");
}

typedef struct Worker {
        const Message *message;
        uint32_t first;
        uint8_t *plaintext;
        int r;
} Worker;

#define MANY 64U /* frames */

/* Opens every second frame, from the last one to the first one. */
static void *open_frames(void *userdata) {
        Worker *worker = userdata;

        for (uint32_t i = MANY; i > 0 && worker->r >= 0; i--) {
                uint64_t at = message_frame_offset(&made.header, i);
                MessageFrame frame;
                size_t needed;

                if (i % 2 != worker->first)
                        continue;
                worker->r = message_frame_find(&made.header, i, made.data + at, made.size - at, at, 16,
                                               &frame, &needed, NULL);
                if (worker->r >= 0)
                        worker->r = message_frame_open(worker->message, &frame, at,
                                                       worker->plaintext + (i - 1) * 16, NULL);
        }
        return NULL;
}

static void test_frames_open_in_any_order_and_in_threads(void **state) {
        _cleanup_secret_ Secret *key = made_data_key(message_suite_find(0x0478));
        _cleanup_(message_freep) Message *message = NULL;
        uint8_t plaintext[MANY * 16] = {};
        Worker workers[2] = { { .first = 0, .plaintext = plaintext },
                              { .first = 1, .plaintext = plaintext } };
        pthread_t threads[2];
        Raw raw = plain;

        raw.plaintext = MANY * 16;
        make(&raw, &made);
        for (uint32_t i = 1; i < MANY; i++)
                memset(frame_of(&made, i) + 16, (int) i, 16);
        assert_true(made_complete(&made, false));
        assert_int_equal(message_open(&made.header, key, &message, NULL), 0);
        for (size_t i = 0; i < 2; i++) {
                workers[i].message = message;
                assert_int_equal(pthread_create(threads + i, NULL, open_frames, workers + i), 0);
        }
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(pthread_join(threads[i], NULL), 0);
                assert_int_equal(workers[i].r, 0);
        }
        assert_memory_equal(plaintext, made.plaintext, sizeof(plaintext));
}

static void test_pairs_that_kms_is_given(void **state) {
        static const Raw unusual[] = {
                { 0x0478, TEXT("\0\3a=b\0\0"), 1, 1, 16, 40, 3 },
                { 0x0478, TEXT("\0\0\0\1x"), 1, 1, 16, 40, 3 },
                { 0x0478, TEXT("\0\2a\0\0\1x"), 1, 1, 16, 40, 3 },
                { 0x0478, TEXT("\0\1a\0\2x\0"), 1, 1, 16, 40, 3 },
        };
        static const Raw usual = { 0x0478, TEXT("\0\1a\0\3x=y\0\1b\0\0"), 2, 1, 16, 40, 3 };
        char **pairs;

        make(&usual, &made);
        assert_int_equal(message_context_pairs(&made.header, &pairs), 0);
        assert_string_equal(pairs[0], "a=x=y");
        assert_string_equal(pairs[1], "b=");
        assert_null(pairs[2]);
        for (char **pair = pairs; *pair; pair++)
                free(*pair);
        free(pairs);
        for (size_t i = 0; i < ELEMENTSOF(unusual); i++) {
                make(unusual + i, &made);
                assert_int_equal(message_context_pairs(&made.header, &pairs), -EINVAL);
        }
}

/* Whatever lacks memory, the message is refused or it opens, and nothing leaks. */
static void test_without_memory_no_plaintext_is_wrong(void **state) {
        _cleanup_secret_ Secret *key = NULL;
        unsigned failures = 0;
        bool failed = true;
        Raw raw = plain;

        if (!memory_can_fail())
                skip();
        raw.suite = 0x0578;
        make(&raw, &made);
        key = made_data_key(made.header.suite);
        for (unsigned before = 0; failed; before++) {
                Secret *plaintext = NULL;
                Error error = {};
                int r;

                memory_fail_after(before);
                r = read_whole(made.data, made.size, key, &committed, &plaintext, &error);
                failed = memory_has_failed();
                if (r >= 0)
                        assert_memory_equal(secret_bytes(plaintext), made.plaintext, made.plaintext_size);
                else {
                        assert_true(failed);
                        assert_null(plaintext);
                        assert_true(*error.text);
                        failures++;
                }
                (void) secret_free(plaintext);
        }
        printf("%u failures\n", failures);
        assert_true(failures > 10);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_known_answers),
                cmocka_unit_test(test_messages_that_other_programs_wrote_open),
                cmocka_unit_test(test_what_the_maker_makes_opens_in_every_suite),
                cmocka_unit_test(test_every_flipped_bit_is_refused),
                cmocka_unit_test(test_a_message_that_is_cut_or_longer_is_refused),
                cmocka_unit_test(test_a_header_says_how_many_bytes_it_needs),
                cmocka_unit_test(test_frames_out_of_place_are_refused),
                cmocka_unit_test(test_wrong_frames_that_are_authentic_are_refused),
                cmocka_unit_test(test_the_signature_of_another_message_is_refused),
                cmocka_unit_test(test_the_commitment_decides_before_the_tag),
                cmocka_unit_test(test_pairs_outside_the_message_are_refused),
                cmocka_unit_test(test_a_header_that_breaks_the_rules_is_refused),
                cmocka_unit_test(test_a_header_with_wrong_fields_is_refused),
                cmocka_unit_test(test_a_frame_that_is_not_authentic_leaves_nothing),
                cmocka_unit_test(test_a_sink_can_end_the_message),
                cmocka_unit_test(test_frames_open_in_any_order_and_in_threads),
                cmocka_unit_test(test_pairs_that_kms_is_given),
                cmocka_unit_test(test_without_memory_no_plaintext_is_wrong),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
