/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The header of a message of the AWS Encryption SDK: which keys open it, with which encryption context, and how its body is
 * cut into frames. Source: AWS Encryption SDK Developer Guide, "Message format" and "Algorithms reference".
 *
 * Nothing in a header is believed before message_open() (source/message.h). To find the data key, its reader must believe the
 * encryption context and the key's ARN so far as to ask KMS about them. Everything here is a function of its arguments.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/slice.h"

/* Limits in bytes. The format allows more; writers need less. The context is what a request to KMS has to carry. */
#define MESSAGE_HEADER_MAX (64U * 1024U)
#define MESSAGE_CONTEXT_MAX (8U * 1024U)

/* Whoever stores a message could add data keys without end, and each costs a request to KMS. */
#define MESSAGE_DATA_KEYS_MAX 8U

#define MESSAGE_ID_MAX 32U
#define MESSAGE_KEY_MAX 32U /* of AES-256 */
#define MESSAGE_COMMITMENT_SIZE 32U
#define MESSAGE_IV_SIZE 12U
#define MESSAGE_TAG_SIZE 16U

/* The pair of the encryption context that holds the writer's public key, in suites that sign. */
#define MESSAGE_PUBLIC_KEY "aws-crypto-public-key"

/* The provider of a data key that KMS made. Its info is the ARN of the KMS key. */
#define MESSAGE_PROVIDER_KMS "aws-kms"

typedef struct MessageSuite {
        uint16_t id;
        uint8_t version;            /* of the header */
        uint8_t key_size;           /* of the data key and of the key that is derived from it, in bytes */
        const char *cipher;         /* OpenSSL's name */
        const char *derivation;     /* the digest of HKDF; NULL: the data key itself encrypts */
        const char *curve, *digest; /* of the signature; NULL: the suite does not sign */
        bool commits;               /* a message opens under one data key only */
} MessageSuite;

/* NULL: this is none of the eleven suites with an IV of 12 and a tag of 16 bytes. */
const MessageSuite *message_suite_find(uint16_t id) _pure_;

typedef struct MessageDataKey {
        Slice provider, info, ciphertext;
} MessageDataKey;

typedef struct MessageHeader {
        const MessageSuite *suite;
        Slice id;
        Slice context; /* the pairs, without their number; see message_context_next() */
        unsigned context_count;
        MessageDataKey data_keys[MESSAGE_DATA_KEYS_MAX];
        unsigned data_keys_count;
        bool framed;           /* false: the body is one block */
        uint32_t frame_length; /* bytes of plaintext in each frame but the last; 0: one block */
        Slice commitment;      /* empty in suites that do not commit */
        Slice body;            /* the header without IV and tag: what the tag authenticates */
        Slice iv;              /* empty: twelve zero bytes */
        Slice tag;
        size_t size; /* of the whole header; the message's body follows */
} MessageHeader;

typedef struct MessageHeaderOptions {
        bool allow_uncommitted; /* AllowUncommitted=: take the nine suites of header version 1 as well */
} MessageHeaderOptions;

/* Returns whether these first bytes are those of a message, not of a ciphertext of KMS (01 01 or 01 02). Two bytes decide. */
bool message_is_likely(const uint8_t *data, size_t size) _pure_;

/*
 * Reads the header at the start of data, and all members of *ret point into data.
 *
 * -EAGAIN: the header is not complete; *ret_needed is how many bytes the next attempt needs at least, and *error is not set.
 * -EBADMSG: the header is malformed. -E2BIG: it exceeds a limit above. -EOPNOTSUPP: the suite is unknown. -EPERM: the suite
 * does not commit to its key, and options do not allow that. All are FAILURE_CIPHERTEXT, and the text names the byte.
 */
int message_header_parse(const uint8_t *data, size_t size, const MessageHeaderOptions *options,
                         MessageHeader *ret, size_t *ret_needed, Error *error);

/* Goes through the encryption context in the order of its keys: *at begins at 0. false: there is no other pair. The header has
 * been parsed, so keys and values are UTF-8, and no key comes twice. */
bool message_context_next(const MessageHeader *header, size_t *at, Slice *ret_key, Slice *ret_value);

/* Returns whether the slice has exactly these bytes. */
bool message_slice_is(const Slice *slice, const char *text) _pure_;

/* Makes "KEY=VALUE" of each pair, as kms/exchange.h takes them. KMS is given all pairs, MESSAGE_PUBLIC_KEY too. The caller frees
 * each string of *ret, which is NULL-terminated, and *ret. -EINVAL: such a text cannot hold a pair, because its key is empty or
 * contains "=", or because it contains a NUL. -ENOMEM. */
int message_context_pairs(const MessageHeader *header, char ***ret);
