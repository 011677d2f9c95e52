/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Makes messages of the AWS Encryption SDK that are authentic, however wrong they are otherwise: it puts commitment, tags and
 * signature in. What is wrong then reaches the reader's own checks, which no random change of a message would.
 */

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "basic/openssl-util.h"
#include "source/message-reader.h"

/* A test of larger messages sets another size first. */
#ifndef MADE_MAX
#define MADE_MAX (256U * 1024U)
#endif

typedef struct Made {
        uint8_t data[MADE_MAX];
        size_t size;
        uint8_t plaintext[MADE_MAX];
        size_t plaintext_size;
        MessageHeader header;
        bool whole; /* ends with its final frame, and the signature if the suite signs */
} Made;

static inline Secret *made_data_key(const MessageSuite *suite) {
        Secret *key;

        if (secret_new(suite->key_size, &key) < 0)
                abort();
        for (size_t i = 0; i < suite->key_size; i++)
                secret_bytes(key)[i] = (uint8_t) (i + 1);
        return key;
}

/* One key for each curve of a process. */
static inline EVP_PKEY *made_writer(const char *curve) {
        static EVP_PKEY *writers[2];
        EVP_PKEY **writer = writers + (strcmp(curve, "P-256") == 0);

        if (!*writer)
                *writer = EVP_EC_gen((char *) curve);
        if (!*writer)
                abort();
        return *writer;
}

/* The compressed point in base64, with a NUL. Returns its length. */
static inline size_t made_public_key(const char *curve, char ret[static 80]) {
        uint8_t point[64];
        size_t size = 0;

        EVP_PKEY *writer = made_writer(curve);
        if (EVP_PKEY_set_utf8_string_param(writer, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                           "compressed") <= 0 ||
            EVP_PKEY_get_octet_string_param(writer, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &size) <=
                            0)
                abort();
        return (size_t) EVP_EncodeBlock((unsigned char *) ret, point, (int) size);
}

static inline void put_public_key(const MessageHeader *header) {
        Slice key, value;
        char text[80];
        size_t length = made_public_key(header->suite->curve, text);

        for (size_t at = 0; message_context_next(header, &at, &key, &value);)
                if (message_slice_is(&key, MESSAGE_PUBLIC_KEY) && value.size == length)
                        memcpy((uint8_t *) value.data, text, length);
}

static inline void put_signature(Made *made) {
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
        size_t length = 128;
        uint8_t *signature = made->data + made->size + 2;

        if (!context ||
            EVP_DigestSignInit_ex(context, NULL, made->header.suite->digest, NULL, NULL,
                                  made_writer(made->header.suite->curve), NULL) <= 0 ||
            EVP_DigestSign(context, signature, &length, made->data, made->size) <= 0)
                abort();
        made->data[made->size] = 0;
        made->data[made->size + 1] = (uint8_t) length;
        made->size += 2 + length;
}

static inline void put_header(Made *made, const Message *message, const uint8_t *commitment) {
        const MessageHeader *header = &made->header;

        if (header->suite->commits && commitment)
                memcpy((uint8_t *) header->commitment.data, commitment, MESSAGE_COMMITMENT_SIZE);
        if (message_header_seal(message, header->iv.data, &header->body, (uint8_t *) header->tag.data) < 0)
                abort();
}

/* Takes the contents of the frames for their plaintext. The bytes after the final frame are dropped in suites that sign. */
static inline void put_frames(Made *made, const Message *message) {
        size_t at = made->header.size, needed;
        MessageFrame frame = {};

        for (uint32_t n = 1; !frame.final; n++) {
                if (message_frame_find(&made->header, n, made->data + at, made->size - at, at, MADE_MAX,
                                       &frame, &needed, NULL) < 0)
                        return;
                memcpy(made->plaintext + made->plaintext_size, frame.content.data, frame.content.size);
                made->plaintext_size += frame.content.size;
                if (message_frame_seal(message, &frame, (uint8_t *) frame.content.data,
                                       (uint8_t *) frame.tag.data) < 0)
                        abort();
                at += frame.size;
        }
        made->whole = made->header.suite->curve || at == made->size;
        if (made->header.suite->curve) {
                made->size = at;
                put_signature(made);
        }
}

/* Completes made->data and its size. The header's commitment stays as it is if keep_commitment. false: there is no header. */
static inline bool made_complete(Made *made, bool keep_commitment) {
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_secret_ Secret *key = NULL;
        uint8_t commitment[MESSAGE_COMMITMENT_SIZE];
        size_t needed;

        made->plaintext_size = 0;
        made->whole = false;
        if (message_header_parse(made->data, made->size,
                                 &(MessageHeaderOptions){ .allow_uncommitted = true }, &made->header,
                                 &needed, NULL) < 0)
                return false;
        if (made->header.suite->curve)
                put_public_key(&made->header);
        key = made_data_key(made->header.suite);
        if (message_new(made->header.suite, &made->header.id, made->header.frame_length, key, &message,
                        commitment) < 0)
                abort();
        put_header(made, message, keep_commitment ? NULL : commitment);
        put_frames(made, message);
        return true;
}
