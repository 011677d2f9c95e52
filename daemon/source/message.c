/* SPDX-License-Identifier: Apache-2.0 */

#include <endian.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <string.h>

#include "basic/openssl-util.h"
#include "source/message.h"

#define END_MARK 0xFFFFFFFFU
#define NUMBER_SIZE 4U
#define FRAME_OVERHEAD (NUMBER_SIZE + MESSAGE_IV_SIZE + MESSAGE_TAG_SIZE)
#define FINAL_BEGIN (2 * NUMBER_SIZE + MESSAGE_IV_SIZE + 4U) /* mark, number, IV, length */
#define BLOCK_BEGIN (MESSAGE_IV_SIZE + 8U)                   /* IV, length */

/* What follows the ID of the message in the AAD of a frame. */
static const char aad_frame[] = "AWSKMSEncryptionClient Frame",
                  aad_final[] = "AWSKMSEncryptionClient Final Frame",
                  aad_block[] = "AWSKMSEncryptionClient Single Block";
#define AAD_MAX (MESSAGE_ID_MAX + sizeof(aad_block) + 4 + 8)

#define ADVICE "It was cut or changed since it was sealed: copy it again, or seal the secret again."

struct Message {
        const MessageSuite *suite;
        uint8_t id[MESSAGE_ID_MAX];
        size_t id_size;
        bool framed;
        EVP_CIPHER *cipher; /* shared by threads */
        Secret *key;
};

Message *message_free(Message *message) {
        if (!message)
                return NULL;
        (void) secret_free(message->key);
        EVP_CIPHER_free(message->cipher);
        free(message);
        return NULL;
}

/* HKDF (RFC 5869). Without a salt, it has as many zeros as the digest has bytes. */
static int derive(const MessageSuite *suite, Secret *data_key, const Slice *salt, const void *info,
                  size_t info_size, uint8_t *ret, size_t size) {
        _cleanup_(EVP_KDF_freep) EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
        _cleanup_(EVP_KDF_CTX_freep) EVP_KDF_CTX *context = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
        OSSL_PARAM parameters[5], *p = parameters;

        *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *) suite->derivation, 0);
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret_bytes(data_key),
                                                 secret_size(data_key));
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *) info, info_size);
        if (salt->size > 0)
                *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *) salt->data,
                                                         salt->size);
        *p = OSSL_PARAM_construct_end();
        if (!context || EVP_KDF_derive(context, ret, size, parameters) <= 0)
                return openssl_failure(NULL);
        return 0;
}

/* Version 1: the ID of the message is in the info. Version 2: it is the salt, and a text is in the info. */
static int derive_key(const Message *message, const Slice *id, Secret *data_key, uint8_t *ret) {
        static const char label[] = "DERIVEKEY";
        const MessageSuite *suite = message->suite;
        bool commits = suite->commits;
        uint8_t info[2 + MESSAGE_ID_MAX] = { (uint8_t) (suite->id >> 8), (uint8_t) suite->id };
        const Slice none = {}, rest = commits ? (Slice){ (const uint8_t *) label, strlen(label) } : *id;

        if (!suite->derivation) {
                memcpy(ret, secret_bytes(data_key), suite->key_size);
                return 0;
        }
        memcpy(info + 2, rest.data, rest.size);
        return derive(suite, data_key, commits ? id : &none, info, 2 + rest.size, ret, suite->key_size);
}

static int derive_commitment(const MessageSuite *suite, const Slice *id, Secret *data_key,
                             uint8_t ret[static MESSAGE_COMMITMENT_SIZE]) {
        static const char label[] = "COMMITKEY";

        return derive(suite, data_key, id, label, strlen(label), ret, MESSAGE_COMMITMENT_SIZE);
}

static int make(const MessageSuite *suite, const Slice *id, uint32_t frame_length, Secret *data_key,
                Message **ret) {
        _cleanup_(message_freep) Message *message = calloc(1, sizeof(*message));
        int r;

        if (!message)
                return -ENOMEM;
        message->suite = suite;
        message->id_size = id->size;
        memcpy(message->id, id->data, id->size);
        message->framed = frame_length > 0;
        message->cipher = EVP_CIPHER_fetch(NULL, suite->cipher, NULL);
        if (!message->cipher)
                return openssl_failure(NULL);
        r = secret_new(suite->key_size, &message->key);
        if (r >= 0)
                r = derive_key(message, id, data_key, secret_bytes(message->key));
        if (r < 0)
                return r;
        *ret = TAKE_PTR(message);
        return 0;
}

typedef struct Aad {
        uint8_t data[AAD_MAX];
        size_t size;
} Aad;

/* Body AAD: message ID, kind of the content, frame number, length of the plaintext. */
static Aad make_aad(const Message *message, const MessageFrame *frame) {
        const char *kind = !message->framed ? aad_block : frame->final ? aad_final : aad_frame;
        uint32_t number = htobe32(frame->number);
        uint64_t size = htobe64(frame->content.size);
        Aad aad;
        uint8_t *p = aad.data;

        p = mempcpy(p, message->id, message->id_size);
        p = mempcpy(p, kind, strlen(kind));
        p = mempcpy(p, &number, sizeof(number));
        p = mempcpy(p, &size, sizeof(size));
        aad.size = (size_t) (p - aad.data);
        return aad;
}

static EVP_CIPHER_CTX *cipher_new(const Message *message, const uint8_t *iv, bool encrypts,
                                  const Slice *aad) {
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        int n;

        if (!context ||
            EVP_CipherInit_ex2(context, message->cipher, secret_bytes(message->key), iv, encrypts, NULL) <=
                            0 ||
            EVP_CipherUpdate(context, NULL, &n, aad->data, (int) aad->size) <= 0)
                return NULL;
        return TAKE_PTR(context);
}

/* Returns whether the tag is right. The plaintext is not to be used otherwise. */
static int open_sealed(const Message *message, const uint8_t *iv, const Slice *aad, const Slice *content,
                       const Slice *tag, uint8_t *plaintext) {
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *context = cipher_new(message, iv, false, aad);
        uint8_t end[16];
        int n = 0;

        if (!context ||
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, (int) tag->size, (void *) tag->data) <= 0)
                return openssl_failure(NULL);
        if (content->size > 0 &&
            EVP_CipherUpdate(context, plaintext, &n, content->data, (int) content->size) <= 0)
                return openssl_failure(NULL);
        if (EVP_CipherFinal_ex(context, end, &n) > 0)
                return 0;
        return openssl_failure(NULL) == -ENOMEM ? -ENOMEM : -EBADMSG;
}

static int seal(const Message *message, const uint8_t *iv, const Slice *aad, const Slice *content,
                uint8_t *ciphertext, uint8_t tag[static MESSAGE_TAG_SIZE]) {
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *context = cipher_new(message, iv, true, aad);
        uint8_t end[16];
        int n = 0;

        if (!context ||
            (content->size > 0 &&
             EVP_CipherUpdate(context, ciphertext, &n, content->data, (int) content->size) <= 0) ||
            EVP_CipherFinal_ex(context, end, &n) <= 0 ||
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, MESSAGE_TAG_SIZE, tag) <= 0)
                return openssl_failure(NULL);
        return 0;
}

static const uint8_t zero_iv[MESSAGE_IV_SIZE];

static int check_commitment(const MessageHeader *header, Secret *data_key, Error *error) {
        uint8_t commitment[MESSAGE_COMMITMENT_SIZE];
        int r;

        if (!header->suite->commits)
                return 0;
        r = derive_commitment(header->suite, &header->id, data_key, commitment);
        if (r < 0)
                return r;
        if (CRYPTO_memcmp(commitment, header->commitment.data, sizeof(commitment)) != 0)
                return error_set(
                                error, -EKEYREJECTED, FAILURE_CIPHERTEXT,
                                "The message does not commit to the data key that KMS decrypted: its header was changed, or the data key belongs to another message. Copy the message again, or seal the secret again.");
        return 0;
}

static int check_header_tag(const Message *message, const MessageHeader *header, Error *error) {
        const Slice nothing = {};
        int r = open_sealed(message, header->iv.size > 0 ? header->iv.data : zero_iv, &header->body,
                            &nothing, &header->tag, NULL);

        if (r != -EBADMSG)
                return r;
        return error_set(
                        error, -EKEYREJECTED, FAILURE_CIPHERTEXT,
                        "The header of the message is not authentic: it was changed, or its writer kept pairs of the encryption context outside the message, which unseald does not support. Copy the message again, or seal the secret again.");
}

int message_open(const MessageHeader *header, Secret *data_key, Message **ret, Error *error) {
        _cleanup_(message_freep) Message *message = NULL;
        int r;

        if (secret_size(data_key) != header->suite->key_size)
                return error_set(
                                error, -EINVAL, FAILURE_CIPHERTEXT,
                                "The data key of the message has %zu bytes, and its algorithm suite 0x%04x demands %u. Seal the secret again.",
                                secret_size(data_key), header->suite->id, header->suite->key_size);
        (void) error_set(error, -EIO, FAILURE_INTERNAL, "OpenSSL cannot open the message.");
        if ((r = check_commitment(header, data_key, error)) < 0 ||
            (r = make(header->suite, &header->id, header->frame_length, data_key, &message)) < 0 ||
            (r = check_header_tag(message, header, error)) < 0)
                return r == -ENOMEM ? error_oom(error) : r;
        if (error)
                *error = (Error){};
        *ret = TAKE_PTR(message);
        return 0;
}

int message_new(const MessageSuite *suite, const Slice *id, uint32_t frame_length, Secret *data_key,
                Message **ret, uint8_t ret_commitment[static MESSAGE_COMMITMENT_SIZE]) {
        int r = suite->commits ? derive_commitment(suite, id, data_key, ret_commitment) : 0;

        return r < 0 ? r : make(suite, id, frame_length, data_key, ret);
}

int message_header_seal(const Message *message, const uint8_t *iv, const Slice *body,
                        uint8_t ret_tag[static MESSAGE_TAG_SIZE]) {
        const Slice nothing = {};

        return seal(message, iv ?: zero_iv, body, &nothing, NULL, ret_tag);
}

/* The frame that is looked for, and where. */
typedef struct Search {
        uint32_t number;
        const uint8_t *data;
        size_t size;
        uint64_t offset, maximum;
        size_t *ret_needed;
        Error *error;
} Search;

static int wants(const Search *search, size_t needed) {
        if (search->size >= needed)
                return 0;
        *search->ret_needed = needed;
        return -EAGAIN;
}

static int malformed(const Search *search, const char *what) {
        return error_set(search->error, -EBADMSG, FAILURE_CIPHERTEXT,
                         "Frame %u of the message, at byte %llu, is malformed: %s. " ADVICE, search->number,
                         (unsigned long long) search->offset, what);
}

/* Completes a frame whose IV ends before begin bytes and whose content begins there. */
static int find_content(const Search *search, size_t begin, uint64_t size, MessageFrame *frame) {
        int r;

        if (size > search->maximum || size > MESSAGE_FRAME_MAX)
                return error_set(
                                search->error, -E2BIG, FAILURE_CIPHERTEXT,
                                "Frame %u of the message, at byte %llu, has %llu bytes, and the plaintext may have %llu more. Raise SizeMax= (for a bundle at most 1M), or seal less.",
                                search->number, (unsigned long long) search->offset,
                                (unsigned long long) size,
                                (unsigned long long) (search->maximum < MESSAGE_FRAME_MAX
                                                                      ? search->maximum
                                                                      : MESSAGE_FRAME_MAX));
        r = wants(search, begin + (size_t) size + MESSAGE_TAG_SIZE);
        if (r < 0)
                return r;
        frame->content = (Slice){ search->data + begin, (size_t) size };
        frame->tag = (Slice){ search->data + begin + size, MESSAGE_TAG_SIZE };
        frame->size = begin + (size_t) size + MESSAGE_TAG_SIZE;
        return 0;
}

static uint32_t number_at(const uint8_t *data) {
        uint32_t number;

        memcpy(&number, data, sizeof(number));
        return be32toh(number);
}

static int find_block(const Search *search, MessageFrame *frame) {
        uint64_t size;
        int r = wants(search, BLOCK_BEGIN);

        if (r < 0)
                return r;
        if (search->number != 1)
                return malformed(search, "a message of one block has only one");
        frame->final = true;
        frame->iv = (Slice){ search->data, MESSAGE_IV_SIZE };
        memcpy(&size, search->data + MESSAGE_IV_SIZE, sizeof(size));
        return find_content(search, BLOCK_BEGIN, be64toh(size), frame);
}

static int find_final(const MessageHeader *header, const Search *search, MessageFrame *frame) {
        uint32_t size;
        int r = wants(search, FINAL_BEGIN);

        if (r < 0)
                return r;
        if (number_at(search->data + NUMBER_SIZE) != search->number)
                return malformed(search, "the final frame has another number");
        size = number_at(search->data + FINAL_BEGIN - 4);
        if (size > header->frame_length)
                return malformed(search, "the final frame is longer than the frame length");
        frame->final = true;
        frame->iv = (Slice){ search->data + 2 * NUMBER_SIZE, MESSAGE_IV_SIZE };
        return find_content(search, FINAL_BEGIN, size, frame);
}

static int find_frame(const MessageHeader *header, const Search *search, MessageFrame *frame) {
        int r = wants(search, NUMBER_SIZE);

        if (r < 0)
                return r;
        if (number_at(search->data) == END_MARK)
                return find_final(header, search, frame);
        if (number_at(search->data) != search->number)
                return malformed(search,
                                 "it has another number: a frame is missing, repeated or out of place");
        frame->iv = (Slice){ search->data + NUMBER_SIZE, MESSAGE_IV_SIZE };
        return find_content(search, NUMBER_SIZE + MESSAGE_IV_SIZE, header->frame_length, frame);
}

int message_frame_find(const MessageHeader *header, uint32_t number, const uint8_t *data, size_t size,
                       uint64_t offset, uint64_t maximum, MessageFrame *ret, size_t *ret_needed,
                       Error *error) {
        const Search search = { number, data, size, offset, maximum, ret_needed, error };
        MessageFrame frame = { .number = number };
        int r = header->framed ? find_frame(header, &search, &frame) : find_block(&search, &frame);

        if (r >= 0)
                *ret = frame;
        return r;
}

uint64_t message_frame_offset(const MessageHeader *header, uint32_t number) {
        return header->size + (number - 1) * ((uint64_t) header->frame_length + FRAME_OVERHEAD);
}

int message_frame_open(const Message *message, const MessageFrame *frame, uint64_t offset,
                       uint8_t *plaintext, Error *error) {
        const Aad aad = make_aad(message, frame);
        int r = open_sealed(message, frame->iv.data, &(Slice){ aad.data, aad.size }, &frame->content,
                            &frame->tag, plaintext);

        if (r >= 0)
                return 0;
        if (frame->content.size > 0)
                explicit_bzero(plaintext, frame->content.size);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r != -EBADMSG)
                return error_set(error, r, FAILURE_INTERNAL,
                                 "OpenSSL cannot decrypt frame %u of the message.", frame->number);
        return error_set(
                        error, r, FAILURE_CIPHERTEXT,
                        "Frame %u of the message, at byte %llu, is not authentic: it was changed, or it is a frame of another message. Copy the message again, or seal the secret again.",
                        frame->number, (unsigned long long) offset);
}

int message_frame_seal(const Message *message, const MessageFrame *frame, uint8_t *ciphertext,
                       uint8_t tag[static MESSAGE_TAG_SIZE]) {
        const Aad aad = make_aad(message, frame);

        return seal(message, frame->iv.data, &(Slice){ aad.data, aad.size }, &frame->content, ciphertext,
                    tag);
}
