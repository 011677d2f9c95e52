/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads messages of the AWS Encryption SDK. No random input has the right tags, so the target makes them itself: each header that
 * parses and each frame behind it is made authentic, and the signature too. Such a message must open to what went into it if
 * it is whole, in pieces of any size, and must be refused otherwise. A reader that skips the first frames, because
 * they were opened elsewhere, must say the same.
 */

#include <errno.h>

#include "../unit/message-maker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Made made;

static uint8_t *room(uint64_t offset, size_t size, void *userdata) {
        Secret *plaintext = userdata;

        if (offset + size > secret_size(plaintext))
                abort();
        return secret_bytes(plaintext) + offset;
}

/* How many frames there are before the final one, or before what is no frame. */
static uint32_t count_frames(void) {
        MessageFrame frame = {};
        size_t at = made.header.size, needed;
        uint32_t count = 0;

        while (message_frame_find(&made.header, count + 1, made.data + at, made.size - at, at, MADE_MAX,
                                  &frame, &needed, NULL) >= 0 &&
               !frame.final) {
                at += frame.size;
                count++;
        }
        return count;
}

/* Skips the first frames, and feeds the others in pieces. */
static int read_pieces(Secret *key, uint32_t skipped, size_t piece, Secret *plaintext, uint64_t *ret_size) {
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_(message_reader_freep) MessageReader *reader = NULL;
        const MessageSink sink = { .room = room, .userdata = plaintext };
        size_t at = made.header.size;
        Error error = {};
        int r;

        if ((r = message_open(&made.header, key, &message, &error)) < 0 ||
            (r = message_reader_new(message, &made.header, secret_size(plaintext), &sink, &reader, &error)) <
                            0)
                return r;
        if (skipped > 0) {
                r = message_reader_skip(reader, skipped, made.data + at, &error);
                at = (size_t) message_frame_offset(&made.header, skipped + 1);
        }
        for (; at < made.size && r >= 0; at += piece)
                r = message_reader_feed(reader, made.data + at,
                                        piece < made.size - at ? piece : made.size - at, &error);
        return r < 0 ? r : message_reader_end(reader, ret_size, &error);
}

/* No frame may be skipped while the reader is within one, nor more frames than a message can have. */
static void refuse_to_skip(Secret *key) {
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_(message_reader_freep) MessageReader *reader = NULL, *other = NULL;
        const MessageSink sink = { .room = room };
        const uint8_t *body = made.data + made.header.size;
        Error error = {};

        if (message_open(&made.header, key, &message, &error) < 0 ||
            message_reader_new(message, &made.header, MADE_MAX, &sink, &reader, &error) < 0 ||
            message_reader_new(message, &made.header, MADE_MAX, &sink, &other, &error) < 0)
                return;
        (void) message_reader_feed(reader, body, 1, &error);
        if (message_reader_skip(reader, 1, body, &error) >= 0 ||
            message_reader_end(reader, NULL, &error) >= 0)
                abort();
        if (message_reader_skip(other, UINT32_MAX, body, &error) >= 0 || !*error.text)
                abort();
}

/* As it came: the tags are wrong. */
static void read_raw(Secret *key) {
        _cleanup_secret_ Secret *plaintext = NULL;
        Error error = {};

        (void) message_read(&made.header, made.data, made.size, key, MADE_MAX, &plaintext, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const MessageHeaderOptions options = { .allow_uncommitted = true };
        _cleanup_secret_ Secret *key = NULL, *whole = NULL, *pieces = NULL, *rest = NULL;
        uint64_t pieces_size = 0, rest_size = 0;
        Error error = {};
        size_t piece, needed = 0;
        uint32_t skipped;
        int r;

        if (size < 2 || size > MADE_MAX - 256)
                return 0;
        piece = 1U + data[0];
        made.size = size - 1;
        memcpy(made.data, data + 1, made.size);
        r = message_header_parse(made.data, made.size, &options, &made.header, &needed, &error);
        if ((r == -EAGAIN) != (needed > made.size) || (r < 0 && r != -EAGAIN && !*error.text))
                abort();
        if (r < 0)
                return 0;
        key = made_data_key(made.header.suite);
        read_raw(key);

        if (!made_complete(&made, false) || secret_new(made.plaintext_size, &pieces) < 0 ||
            secret_new(made.plaintext_size, &rest) < 0)
                abort();
        skipped = (uint32_t) (data[0] % (count_frames() + 1U));
        r = message_read(&made.header, made.data, made.size, key, made.plaintext_size, &whole, &error);
        if ((r >= 0) != (read_pieces(key, 0, piece, pieces, &pieces_size) >= 0) ||
            (r >= 0) != (read_pieces(key, skipped, piece, rest, &rest_size) >= 0) ||
            rest_size != pieces_size)
                abort();
        if (made.header.size < made.size)
                refuse_to_skip(key);
        /* The writer's public key fits into the header only if it has the right length there. */
        if (made.header.suite->curve && r < 0)
                return 0;
        if ((r >= 0) != made.whole)
                abort();
        if (r >= 0 && (secret_size(whole) != made.plaintext_size || pieces_size != made.plaintext_size ||
                       memcmp(secret_bytes(whole), made.plaintext, made.plaintext_size) != 0 ||
                       memcmp(secret_bytes(pieces), made.plaintext, made.plaintext_size) != 0))
                abort();
        return 0;
}
