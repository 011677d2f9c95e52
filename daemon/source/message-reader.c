/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <string.h>

#include "basic/encoding.h"
#include "basic/openssl-util.h"
#include "source/message-reader.h"

/* The DER of an ECDSA signature with P-384 has at most 104 bytes. */
#define SIGNATURE_MAX 128U
#define SIGNATURE_BEGIN 2U

/* A buffer grows to what a frame needs, but not before so many of its bytes are there: a length alone costs no memory. */
#define GROWTH_MIN 4096U

typedef enum State {
        STATE_FRAMES,
        STATE_SIGNATURE,
        STATE_END, /* nothing may follow */
        STATE_FAILED,
} State;

struct MessageReader {
        const Message *message;
        MessageHeader header;
        MessageSink sink;
        State state;
        uint32_t number;             /* of the next frame */
        uint64_t offset;             /* in the message, of the bytes in held, or of the next ones */
        uint64_t plaintext, maximum; /* bytes so far, and at most */
        uint8_t *held;               /* the beginning of a frame or of the signature */
        size_t held_size, held_room, needed;
        EVP_MD_CTX *signature; /* NULL: the suite does not sign */
        EVP_PKEY *public_key;
        Error error; /* in STATE_FAILED */
        int r;
};

MessageReader *message_reader_free(MessageReader *reader) {
        if (!reader)
                return NULL;
        EVP_MD_CTX_free(reader->signature);
        EVP_PKEY_free(reader->public_key);
        free(reader->held);
        free(reader);
        return NULL;
}

/* The compressed point (SEC 1, section 2.3.3) that the header has in base64. */
static int read_public_key(const MessageHeader *header, EVP_PKEY **ret) {
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
        _cleanup_free_ uint8_t *point = NULL;
        Slice key, value = {};
        OSSL_PARAM parameters[3];
        size_t size;
        int r;

        for (size_t at = 0; message_context_next(header, &at, &key, &value);)
                if (message_slice_is(&key, MESSAGE_PUBLIC_KEY))
                        break;
        r = base64_decode((const char *) value.data, value.size, &point, &size);
        if (r < 0)
                return r == -ENOMEM ? r : -EBADMSG;
        parameters[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
                                                         (char *) header->suite->curve, 0);
        parameters[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, size);
        parameters[2] = OSSL_PARAM_construct_end();
        if (!context || EVP_PKEY_fromdata_init(context) <= 0 ||
            EVP_PKEY_fromdata(context, ret, EVP_PKEY_PUBLIC_KEY, parameters) <= 0)
                return openssl_failure(NULL) == -ENOMEM ? -ENOMEM : -EBADMSG;
        return 0;
}

static int begin_signature(MessageReader *reader, const MessageHeader *header, Error *error) {
        int r = read_public_key(header, &reader->public_key);

        if (r == -EBADMSG)
                return error_set(
                                error, r, FAILURE_CIPHERTEXT,
                                "The public key in the header of the message is not a point of %s. Seal the secret again.",
                                header->suite->curve);
        if (r >= 0) {
                reader->signature = EVP_MD_CTX_new();
                if (!reader->signature ||
                    EVP_DigestVerifyInit_ex(reader->signature, NULL, header->suite->digest, NULL, NULL,
                                            reader->public_key, NULL) <= 0 ||
                    EVP_DigestVerifyUpdate(reader->signature, header->body.data, header->size) <= 0)
                        r = openssl_failure(NULL);
        }
        if (r == -ENOMEM)
                return error_oom(error);
        return r < 0 ? error_set(error, r, FAILURE_INTERNAL,
                                 "OpenSSL cannot check the signature of the message.")
                     : 0;
}

int message_reader_new(const Message *message, const MessageHeader *header, uint64_t size_max,
                       const MessageSink *sink, MessageReader **ret, Error *error) {
        _cleanup_(message_reader_freep) MessageReader *reader = calloc(1, sizeof(*reader));
        int r;

        if (!reader)
                return error_oom(error);
        *reader = (MessageReader){
                .message = message,
                .header = *header,
                .sink = *sink,
                .number = 1,
                .offset = header->size,
                .maximum = size_max,
                .needed = 1,
        };
        r = header->suite->curve ? begin_signature(reader, header, error) : 0;
        if (r < 0)
                return r;
        *ret = TAKE_PTR(reader);
        return 0;
}

static int malformed(const MessageReader *reader, const char *what, Error *error) {
        return error_set(
                        error, -EBADMSG, FAILURE_CIPHERTEXT,
                        "The message is malformed at byte %llu, after %u frames: %s. It was cut or changed since it was sealed: copy it again, or seal the secret again.",
                        (unsigned long long) reader->offset, reader->number - 1, what);
}

/* Takes a frame at the start of data. Returns its size in the message, or a negative errno; -EAGAIN: it is not complete. */
static ssize_t take_frame(MessageReader *reader, const uint8_t *data, size_t size, Error *error) {
        uint8_t *plaintext;
        MessageFrame frame;
        int r;

        r = message_frame_find(&reader->header, reader->number, data, size, reader->offset,
                               reader->maximum - reader->plaintext, &frame, &reader->needed, error);
        if (r < 0)
                return r;
        plaintext = reader->sink.room(reader->plaintext, frame.content.size, reader->sink.userdata);
        if (!plaintext)
                return error_oom(error);
        r = message_frame_open(reader->message, &frame, reader->offset, plaintext, error);
        if (r >= 0 && reader->signature && EVP_DigestVerifyUpdate(reader->signature, data, frame.size) <= 0)
                r = error_set(error, -EIO, FAILURE_INTERNAL,
                              "OpenSSL cannot check the signature of the message.");
        if (r >= 0 && reader->sink.verified)
                r = reader->sink.verified(reader->plaintext, plaintext, frame.content.size,
                                          reader->sink.userdata, error);
        if (r < 0)
                return r;
        reader->plaintext += frame.content.size;
        reader->number++;
        if (frame.final)
                reader->state = reader->signature ? STATE_SIGNATURE : STATE_END;
        return (ssize_t) frame.size;
}

static ssize_t take_signature(MessageReader *reader, const uint8_t *data, size_t size, Error *error) {
        size_t length;

        reader->needed = SIGNATURE_BEGIN;
        if (size < SIGNATURE_BEGIN)
                return -EAGAIN;
        length = (size_t) data[0] << 8 | data[1];
        if (length == 0 || length > SIGNATURE_MAX)
                return malformed(reader, "the signature has a wrong length", error);
        reader->needed = SIGNATURE_BEGIN + length;
        if (size < reader->needed)
                return -EAGAIN;
        if (EVP_DigestVerifyFinal(reader->signature, data + SIGNATURE_BEGIN, length) <= 0) {
                if (openssl_failure(NULL) == -ENOMEM)
                        return error_oom(error);
                return error_set(
                                error, -EKEYREJECTED, FAILURE_CIPHERTEXT,
                                "The signature of the message is not that of its writer: the message was changed, or put together from others. Copy it again, or seal the secret again.");
        }
        reader->state = STATE_END;
        return (ssize_t) (SIGNATURE_BEGIN + length);
}

static ssize_t take_part(MessageReader *reader, const uint8_t *data, size_t size, Error *error) {
        switch (reader->state) {
        case STATE_FRAMES:
                return take_frame(reader, data, size, error);
        case STATE_SIGNATURE:
                return take_signature(reader, data, size, error);
        default:
                return malformed(reader, "bytes follow its end", error);
        }
}

/* Takes all complete parts at the start of data. Returns how many bytes they have. */
static ssize_t take_parts(MessageReader *reader, const uint8_t *data, size_t size, Error *error) {
        size_t at = 0;

        while (at < size) {
                ssize_t n = take_part(reader, data + at, size - at, error);

                if (n == -EAGAIN)
                        break;
                if (n < 0)
                        return n;
                at += (size_t) n;
                reader->offset += (size_t) n;
                reader->needed = 1;
        }
        return (ssize_t) at;
}

static int hold(MessageReader *reader, const uint8_t *data, size_t size) {
        size_t wanted = reader->held_size + size;

        if (wanted > reader->held_room) {
                size_t room = 2 * wanted > GROWTH_MIN ? 2 * wanted : GROWTH_MIN;
                uint8_t *more;

                if (room > reader->needed && reader->needed >= wanted)
                        room = reader->needed;
                more = realloc(reader->held, room);
                if (!more)
                        return -ENOMEM;
                reader->held = more;
                reader->held_room = room;
        }
        memcpy(reader->held + reader->held_size, data, size);
        reader->held_size = wanted;
        return 0;
}

/* Completes the part that began in an earlier call. Returns how many bytes of data it took. */
static ssize_t complete_held(MessageReader *reader, const uint8_t *data, size_t size, Error *error) {
        size_t at = 0;

        while (reader->held_size > 0 && at < size) {
                size_t missing = reader->needed - reader->held_size,
                       n = missing < size - at ? missing : size - at;
                ssize_t taken;

                if (hold(reader, data + at, n) < 0)
                        return error_oom(error);
                at += n;
                if (reader->held_size < reader->needed)
                        break;
                taken = take_parts(reader, reader->held, reader->held_size, error);
                if (taken < 0)
                        return taken;
                if (taken > 0)
                        reader->held_size = 0;
        }
        return (ssize_t) at;
}

static int feed(MessageReader *reader, const uint8_t *data, size_t size, Error *error) {
        ssize_t held = complete_held(reader, data, size, error), taken;

        if (held < 0)
                return (int) held;
        data += held;
        size -= (size_t) held;
        if (size == 0)
                return 0;
        taken = take_parts(reader, data, size, error);
        if (taken < 0)
                return (int) taken;
        size -= (size_t) taken;
        if (size > 0 && hold(reader, data + taken, size) < 0)
                return error_oom(error);
        return 0;
}

/* Remembers the failure for later calls. */
static int fail(MessageReader *reader, int r, Error *error) {
        reader->state = STATE_FAILED;
        reader->r = r;
        if (error)
                *error = reader->error;
        return r;
}

int message_reader_feed(MessageReader *reader, const uint8_t *data, size_t size, Error *error) {
        int r = reader->r;

        if (reader->state != STATE_FAILED)
                r = feed(reader, data, size, &reader->error);
        return r < 0 ? fail(reader, r, error) : 0;
}

int message_reader_end(MessageReader *reader, uint64_t *ret_size, Error *error) {
        int r = reader->r;

        if (reader->state == STATE_FRAMES)
                r = malformed(reader, "it ends before its final frame", &reader->error);
        else if (reader->state == STATE_SIGNATURE)
                r = malformed(reader, "it ends before its signature", &reader->error);
        if (r < 0)
                return fail(reader, r, error);
        if (ret_size)
                *ret_size = reader->plaintext;
        return 0;
}

size_t message_footer_max(const MessageHeader *header) {
        return header->suite->curve ? SIGNATURE_BEGIN + SIGNATURE_MAX : 0;
}

static int skip(MessageReader *reader, uint32_t frames, const uint8_t *data, Error *error) {
        uint64_t plaintext = (uint64_t) frames * reader->header.frame_length,
                 size = message_frame_offset(&reader->header, frames + 1) - reader->header.size;

        if (reader->state != STATE_FRAMES || reader->held_size > 0 || frames > UINT32_MAX - reader->number)
                return malformed(reader, "more frames follow", error);
        if (plaintext > reader->maximum - reader->plaintext)
                return error_set(
                                error, -E2BIG, FAILURE_CIPHERTEXT,
                                "The plaintext of the message has more than %llu bytes. Raise SizeMax= (for a bundle at most 1M), or seal less.",
                                (unsigned long long) reader->maximum);
        if (reader->signature && EVP_DigestVerifyUpdate(reader->signature, data, size) <= 0)
                return error_set(error, -EIO, FAILURE_INTERNAL,
                                 "OpenSSL cannot check the signature of the message.");
        reader->number += frames;
        reader->offset += size;
        reader->plaintext += plaintext;
        return 0;
}

int message_reader_skip(MessageReader *reader, uint32_t frames, const uint8_t *data, Error *error) {
        int r = reader->r;

        if (reader->state != STATE_FAILED)
                r = skip(reader, frames, data, &reader->error);
        return r < 0 ? fail(reader, r, error) : 0;
}

static uint8_t *room_in_secret(uint64_t offset, size_t size, void *userdata) {
        Secret *plaintext = userdata;

        return offset + size <= secret_size(plaintext) ? secret_bytes(plaintext) + offset : NULL;
}

int message_read(const MessageHeader *header, const uint8_t *data, size_t size, Secret *data_key,
                 uint64_t size_max, Secret **ret, Error *error) {
        _cleanup_(message_freep) Message *message = NULL;
        _cleanup_(message_reader_freep) MessageReader *reader = NULL;
        _cleanup_secret_ Secret *plaintext = NULL;
        uint64_t plaintext_size;
        int r;

        r = message_open(header, data_key, &message, error);
        if (r < 0)
                return r;
        /* The frames are longer than their plaintext. */
        if (secret_new(size - header->size < size_max ? size - header->size : (size_t) size_max,
                       &plaintext) < 0)
                return error_oom(error);
        const MessageSink sink = { .room = room_in_secret, .userdata = plaintext };
        if ((r = message_reader_new(message, header, size_max, &sink, &reader, error)) < 0 ||
            (r = message_reader_feed(reader, data + header->size, size - header->size, error)) < 0 ||
            (r = message_reader_end(reader, &plaintext_size, error)) < 0)
                return r;
        secret_truncate(plaintext, (size_t) plaintext_size);
        *ret = TAKE_PTR(plaintext);
        return 0;
}
