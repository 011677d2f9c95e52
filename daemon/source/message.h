/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A message of the AWS Encryption SDK whose data key is known: its frames are found and opened here, in any order and in
 * several threads at once. source/message-reader.h reads a message from its first byte to its last one. Source: AWS
 * Encryption SDK Developer Guide, "Message format", "Body AAD reference" and "Algorithms reference"; RFC 5869 (HKDF).
 *
 * Each frame that opens is authentic. That frames are missing at the end shows only at the final frame, and a suite that signs
 * says at the very end who wrote them. So nothing of a message may be used before its final frame and its signature have been
 * checked.
 */

#include "memory/secret.h"
#include "source/message-header.h"

/* The key that encrypts the frames, in locked memory, and what the frames need of the header. */
typedef struct Message Message;

/*
 * Derives the keys, compares the header's commitment in constant time, and then checks its tag. Afterwards all of the header is
 * authentic. *ret keeps nothing of header and data_key.
 *
 * -EKEYREJECTED: the data key is not the one that the message commits to, or the header was changed. -EINVAL: the data key has
 * another size than the suite demands. -ENOMEM, -EIO: memory, or OpenSSL.
 */
int message_open(const MessageHeader *header, Secret *data_key, Message **ret, Error *error);

/* Wipes the key. Returns NULL. */
Message *message_free(Message *message);
DEFINE_CLEANUP(Message *, message_free);

typedef struct MessageFrame {
        uint32_t number; /* counted from 1 */
        bool final;
        Slice iv, content, tag;
        size_t size; /* in the message; the plaintext has content.size bytes */
} MessageFrame;

/* The most bytes of plaintext that one frame may be asked for. */
#define MESSAGE_FRAME_MAX (1U << 30)

/*
 * Needs no key. Finds the frame of this number at the start of data, or the one block, which is frame 1 and final. offset is its place in the
 * message, for error texts. maximum is the most bytes that its plaintext may have (SizeMax=), at most MESSAGE_FRAME_MAX.
 *
 * -EAGAIN: the frame is not complete; *ret_needed is how many bytes the next attempt needs at least, and *error is not set.
 * -EBADMSG: the frame has another number or a wrong length. -E2BIG: its plaintext is longer than maximum.
 */
int message_frame_find(const MessageHeader *header, uint32_t number, const uint8_t *data, size_t size,
                       uint64_t offset, uint64_t maximum, MessageFrame *ret, size_t *ret_needed,
                       Error *error);

/* The place of a frame in the message, if it is framed and all frames before this one have the full length. */
uint64_t message_frame_offset(const MessageHeader *header, uint32_t number) _pure_;

/* Decrypts the frame into content.size bytes at plaintext, and checks its tag. After a failure these bytes are wiped.
 * -EBADMSG: the frame was changed, or belongs to another message or to another place. offset: for the error text. Threads
 * may share the message. */
int message_frame_open(const Message *message, const MessageFrame *frame, uint64_t offset,
                       uint8_t *plaintext, Error *error);

/* For who writes messages (unsealctl). Encrypts one frame. The caller has set number, final, iv and content, whose bytes are the
 * plaintext; ciphertext takes content.size bytes, and tag MESSAGE_TAG_SIZE. */
int message_frame_seal(const Message *message, const MessageFrame *frame, uint8_t *ciphertext,
                       uint8_t tag[static MESSAGE_TAG_SIZE]);

/* For who writes messages. Derives the keys, and the commitment if the suite commits; otherwise ret_commitment is not written.
 * frame_length is 0 for one block. */
int message_new(const MessageSuite *suite, const Slice *id, uint32_t frame_length, Secret *data_key,
                Message **ret, uint8_t ret_commitment[static MESSAGE_COMMITMENT_SIZE]);

/* For who writes messages. The tag of a header whose body is complete. iv: NULL in version 2. */
int message_header_seal(const Message *message, const uint8_t *iv, const Slice *body,
                        uint8_t ret_tag[static MESSAGE_TAG_SIZE]);
