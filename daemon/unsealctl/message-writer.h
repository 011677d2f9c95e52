/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Writes a message of the AWS Encryption SDK: suite 0x0478 (AES-256-GCM, HKDF-SHA-512, commitment), framed, with one data key of
 * KMS. source/message.h says where the format is specified. Everything here is a function of its arguments.
 */

#include "source/message.h"

/* Bytes of plaintext in a frame. Large frames cost less, and a reader needs memory for a few of them. */
#define MESSAGE_WRITER_FRAME (1024U * 1024U)

#define MESSAGE_WRITER_ID_SIZE 32U

typedef struct MessageDraft {
        Slice id;                   /* MESSAGE_WRITER_ID_SIZE random bytes */
        const char *const *context; /* "KEY=VALUE", NULL-terminated; no key twice */
        const char *key_arn;
        Slice ciphertext; /* of the data key */
        uint32_t frame_length;
} MessageDraft;

/* Makes the header. The caller frees *ret, and *ret_message, which encrypts the frames. -E2BIG: it exceeds a limit of
 * source/message-header.h. -ENOMEM, -EIO. */
int message_write_header(const MessageDraft *draft, Secret *data_key, Message **ret_message, uint8_t **ret,
                         size_t *ret_size);

#define MESSAGE_FRAME_HEAD_MAX 24U

/* What surrounds the ciphertext of a frame: head before it, tag behind it. */
typedef struct MessageFrameEnds {
        uint8_t head[MESSAGE_FRAME_HEAD_MAX], tag[MESSAGE_TAG_SIZE];
        size_t head_size;
} MessageFrameEnds;

/* Encrypts a frame in place: size bytes, the frame length or, in the final frame, 0 to the frame length. Numbers begin at 1, and
 * none comes twice. */
int message_write_frame(const Message *message, uint32_t number, bool final, uint8_t *bytes, size_t size,
                        MessageFrameEnds *ret);
