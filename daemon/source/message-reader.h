/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reads the body of a message in order: bytes in pieces of any size in, verified frames out. At its end it demands the final
 * frame and, in suites that sign, the writer's signature (ECDSA over everything before it). No I/O.
 *
 *     message_header_parse(…)       find the data key, and ask KMS about it
 *     message_open(…)
 *     message_reader_new(…)
 *     message_reader_feed(…)        as often as there are bytes behind the header
 *     message_reader_end(…)         0: the message is whole, and its plaintext may be used
 */

#include "source/message.h"

/* Where the plaintext of the frames goes. */
typedef struct MessageSink {
        /* Returns memory for size bytes of plaintext that begin at this offset, or NULL: out of memory. It belongs to the
         * callee; if the frame turns out not to be authentic, the reader wipes it. */
        uint8_t *(*room)(uint64_t offset, size_t size, void *userdata);
        /* A frame is verified, in the memory that room() returned. A negative errno ends the message; *error says why. NULL: not
         * needed. What is released here must not be used before message_reader_end(). */
        int (*verified)(uint64_t offset, const uint8_t *plaintext, size_t size, void *userdata,
                        Error *error);
        void *userdata;
} MessageSink;

typedef struct MessageReader MessageReader;

/* The most bytes that follow the final frame: the signature with its length. 0: the suite does not sign. */
size_t message_footer_max(const MessageHeader *header) _pure_;

/* message and what header points to must live as long as the reader. The header is the one that opened the message. size_max:
 * bytes of plaintext (SizeMax=). -EBADMSG: the public key in the header is not a key of the suite. */
int message_reader_new(const Message *message, const MessageHeader *header, uint64_t size_max,
                       const MessageSink *sink, MessageReader **ret, Error *error);
MessageReader *message_reader_free(MessageReader *reader);
DEFINE_CLEANUP(MessageReader *, message_reader_free);

/* Takes the next bytes. After a failure the reader takes no more, and each call returns the same error. */
int message_reader_feed(MessageReader *reader, const uint8_t *data, size_t size, Error *error);

/*
 * For a caller that opens frames itself, in any order and in several threads (message_frame_open()). The next bytes of the message
 * are so many frames of full length, all of which the caller has opened or will open: the reader only counts them, and hashes them
 * where the suite signs. It must be between two frames. data may be NULL if the suite does not sign. -E2BIG: SizeMax=.
 */
int message_reader_skip(MessageReader *reader, uint32_t frames, const uint8_t *data, Error *error);

/* There are no more bytes. -EBADMSG: the message ends before its final frame or its signature. *ret_size: bytes of plaintext. */
int message_reader_end(MessageReader *reader, uint64_t *ret_size, Error *error);

/* Reads a message that is in memory as a whole. *ret is its plaintext, of at most size_max bytes. data may be less than a
 * header: that is malformed. */
int message_read(const MessageHeader *header, const uint8_t *data, size_t size, Secret *data_key,
                 uint64_t size_max, Secret **ret, Error *error);
