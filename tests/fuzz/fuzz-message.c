/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads messages of the AWS Encryption SDK. No random input has the right tags, so the target makes them itself: each header that
 * parses and each frame behind it is made authentic, and the signature too. Such a message must open to what went into it if
 * it is whole, in pieces of any size, and must be refused otherwise.
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

static int read_pieces(Secret *key, size_t piece, Secret *plaintext, uint64_t *ret_size) {
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_(message_reader_freep) MessageReader *reader = NULL;
        const MessageSink sink = { .room = room, .userdata = plaintext };
        Error error = {};
        int r;

        if ((r = message_open(&made.header, key, &message, &error)) < 0 ||
            (r = message_reader_new(message, &made.header, secret_size(plaintext), &sink, &reader, &error)) <
                            0)
                return r;
        for (size_t at = made.header.size; at < made.size && r >= 0; at += piece)
                r = message_reader_feed(reader, made.data + at,
                                        piece < made.size - at ? piece : made.size - at, &error);
        return r < 0 ? r : message_reader_end(reader, ret_size, &error);
}

/* As it came: the tags are wrong. */
static void read_raw(Secret *key) {
        _cleanup_secret_ Secret *plaintext = NULL;
        Error error = {};

        (void) message_read(&made.header, made.data, made.size, key, MADE_MAX, &plaintext, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const MessageHeaderOptions options = { .allow_uncommitted = true };
        _cleanup_secret_ Secret *key = NULL, *whole = NULL, *pieces = NULL;
        uint64_t pieces_size = 0;
        Error error = {};
        size_t piece, needed = 0;
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

        if (!made_complete(&made, false) || secret_new(made.plaintext_size, &pieces) < 0)
                abort();
        r = message_read(&made.header, made.data, made.size, key, made.plaintext_size, &whole, &error);
        if ((r >= 0) != (read_pieces(key, piece, pieces, &pieces_size) >= 0))
                abort();
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
