/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "basic/input-form.h"
#include "basic/text.h"
#include "source/message-header.h"

#define VERSION_1 1U
#define VERSION_2 2U
#define TYPE_1 0x80U /* the second byte of version 1: customer authenticated encrypted data */
#define CONTENT_ONE_BLOCK 1U
#define CONTENT_FRAMED 2U
#define ID_SIZE_1 16U
#define ID_SIZE_2 32U

#define ADVICE "It was cut or changed since it was sealed: copy it again, or seal the secret again."

static const MessageSuite suites[] = {
        { 0x0578, 2, 32, "AES-256-GCM", "SHA512", "P-384", "SHA384", true },
        { 0x0478, 2, 32, "AES-256-GCM", "SHA512", NULL, NULL, true },
        { 0x0378, 1, 32, "AES-256-GCM", "SHA384", "P-384", "SHA384", false },
        { 0x0346, 1, 24, "AES-192-GCM", "SHA384", "P-384", "SHA384", false },
        { 0x0214, 1, 16, "AES-128-GCM", "SHA256", "P-256", "SHA256", false },
        { 0x0178, 1, 32, "AES-256-GCM", "SHA256", NULL, NULL, false },
        { 0x0146, 1, 24, "AES-192-GCM", "SHA256", NULL, NULL, false },
        { 0x0114, 1, 16, "AES-128-GCM", "SHA256", NULL, NULL, false },
        { 0x0078, 1, 32, "AES-256-GCM", NULL, NULL, NULL, false },
        { 0x0046, 1, 24, "AES-192-GCM", NULL, NULL, NULL, false },
        { 0x0014, 1, 16, "AES-128-GCM", NULL, NULL, NULL, false },
};

const MessageSuite *message_suite_find(uint16_t id) {
        for (size_t i = 0; i < ELEMENTSOF(suites); i++)
                if (suites[i].id == id)
                        return suites + i;
        return NULL;
}

/* Where the reader is. If it meets the end of the data, it remembers how many bytes it would have needed. */
typedef struct Reader {
        const uint8_t *data;
        size_t size, at, needed;
        Error *error;
} Reader;

static int malformed(const Reader *reader, const char *what) {
        return error_set(reader->error, -EBADMSG, FAILURE_CIPHERTEXT,
                         "The header of the message is malformed at byte %zu: %s. " ADVICE, reader->at,
                         what);
}

static int take(Reader *reader, size_t size, Slice *ret) {
        if (size > MESSAGE_HEADER_MAX - reader->at)
                return error_set(
                                reader->error, -E2BIG, FAILURE_CIPHERTEXT,
                                "The header of the message is longer than %u bytes, the limit. Seal the secret again with a shorter encryption context and fewer data keys.",
                                MESSAGE_HEADER_MAX);
        if (size > reader->size - reader->at) {
                reader->needed = reader->at + size;
                return -EAGAIN;
        }
        *ret = (Slice){ reader->data + reader->at, size };
        reader->at += size;
        return 0;
}

static int take_number(Reader *reader, size_t size, uint32_t *ret) {
        Slice slice = {};
        uint32_t number = 0;
        int r = take(reader, size, &slice);

        if (r < 0)
                return r;
        for (size_t i = 0; i < size; i++)
                number = number << 8 | slice.data[i];
        *ret = number;
        return 0;
}

/* Two bytes of length, and so many bytes. */
static int take_sized(Reader *reader, Slice *ret) {
        uint32_t size;
        int r = take_number(reader, 2, &size);

        return r < 0 ? r : take(reader, size, ret);
}

bool message_slice_is(const Slice *slice, const char *text) {
        return slice->size == strlen(text) && memcmp(slice->data, text, slice->size) == 0;
}

static bool is_utf8(const Slice *slice) {
        uint32_t character;
        size_t length;

        for (size_t i = 0; i < slice->size; i += length) {
                length = utf8_decode((const char *) slice->data + i, slice->size - i, &character);
                if (length == 0)
                        return false;
        }
        return true;
}

static int compare(const Slice *a, const Slice *b) {
        size_t common = a->size < b->size ? a->size : b->size;
        int r = common > 0 ? memcmp(a->data, b->data, common) : 0;

        return r != 0 ? r : (a->size > b->size) - (a->size < b->size);
}

/* The number of bytes of the context has been taken: a pair that is cut is malformed, not incomplete. */
static int take_pair(Reader *pairs, Slice *ret_key, Slice *ret_value) {
        int r = take_sized(pairs, ret_key);

        if (r >= 0)
                r = take_sized(pairs, ret_value);
        return r < 0 ? malformed(pairs, "a pair exceeds the encryption context") : 0;
}

/* Returns whether one of the first count pairs, which begin at start, has this key. */
static bool has_key(const Reader *pairs, size_t start, unsigned count, const Slice *key) {
        Reader earlier = { pairs->data, pairs->size, start, 0, NULL };
        Slice other = {}, value = {};

        while (count-- > 0 && take_pair(&earlier, &other, &value) >= 0)
                if (compare(&other, key) == 0)
                        return true;
        return false;
}

/* A key that comes twice could mean something else to KMS than to the writer. Writers ought to sort the keys, but not all of
 * AWS's do, and KMS takes no notice of the order. */
static int check_pairs(Reader *pairs, MessageHeader *header) {
        Slice last = {}, key = {}, value = {};
        size_t start = pairs->at;
        bool sorted = true;

        for (unsigned i = 0; i < header->context_count; i++) {
                int r = take_pair(pairs, &key, &value);

                if (r < 0)
                        return r;
                if (!is_utf8(&key) || !is_utf8(&value))
                        return malformed(pairs, "the encryption context is not UTF-8");
                sorted = sorted && (i == 0 || compare(&last, &key) < 0);
                if (!sorted && has_key(pairs, start, i, &key))
                        return malformed(pairs, "the encryption context has the same key twice");
                last = key;
        }
        return pairs->at < pairs->size ? malformed(pairs, "bytes follow the pairs of the encryption context")
                                       : 0;
}

/* Points behind the pairs of the context alone, but counts bytes from the start of the message. */
static int take_context(Reader *reader, MessageHeader *header) {
        uint32_t size, count;
        int r = take_number(reader, 2, &size);

        if (r < 0 || size == 0)
                return r;
        if (size > MESSAGE_CONTEXT_MAX)
                return error_set(
                                reader->error, -E2BIG, FAILURE_CIPHERTEXT,
                                "The encryption context of the message has %u bytes, and the limit is %u. Seal the secret again with a shorter one.",
                                size, MESSAGE_CONTEXT_MAX);
        if (size < 2)
                return malformed(reader, "the encryption context has one byte");
        r = take_number(reader, 2, &count);
        if (r >= 0)
                r = take(reader, size - 2, &header->context);
        if (r < 0)
                return r;
        if (count == 0)
                return malformed(reader, "the encryption context has a length and no pairs");
        header->context_count = count;

        Reader pairs = { reader->data, reader->at, reader->at - header->context.size, 0, reader->error };
        return check_pairs(&pairs, header);
}

bool message_context_next(const MessageHeader *header, size_t *at, Slice *ret_key, Slice *ret_value) {
        Reader pairs = { header->context.data, header->context.size, *at, 0, NULL };

        if (*at >= header->context.size || take_pair(&pairs, ret_key, ret_value) < 0)
                return false;
        *at = pairs.at;
        return true;
}

static int take_data_keys(Reader *reader, MessageHeader *header) {
        uint32_t count;
        int r = take_number(reader, 2, &count);

        if (r < 0)
                return r;
        if (count == 0)
                return malformed(reader, "it has no data key");
        if (count > MESSAGE_DATA_KEYS_MAX)
                return error_set(
                                reader->error, -E2BIG, FAILURE_CIPHERTEXT,
                                "The message has %u data keys, and unseald tries at most %u. Seal the secret again for fewer KMS keys.",
                                count, MESSAGE_DATA_KEYS_MAX);
        for (header->data_keys_count = 0; header->data_keys_count < count; header->data_keys_count++) {
                MessageDataKey *key = header->data_keys + header->data_keys_count;

                if ((r = take_sized(reader, &key->provider)) < 0 ||
                    (r = take_sized(reader, &key->info)) < 0 ||
                    (r = take_sized(reader, &key->ciphertext)) < 0)
                        return r;
        }
        return 0;
}

/* The public key of the signature is in the context if the suite signs, and only then. */
static int check_public_key(const Reader *reader, const MessageHeader *header) {
        Slice key, value;
        bool found = false;

        for (size_t at = 0; message_context_next(header, &at, &key, &value);)
                found |= message_slice_is(&key, MESSAGE_PUBLIC_KEY);
        if (found == (header->suite->curve != NULL))
                return 0;
        return malformed(reader, found ? "it has a public key, but its suite does not sign"
                                       : "its suite signs, but it has no public key");
}

/* Content type and frame length, which version 1 has in other places. */
static int check_content(const Reader *reader, MessageHeader *header, uint32_t type) {
        if (type != CONTENT_ONE_BLOCK && type != CONTENT_FRAMED)
                return malformed(reader, "the content is neither one block nor framed");
        header->framed = type == CONTENT_FRAMED;
        if (header->framed != (header->frame_length > 0))
                return malformed(reader,
                                 header->framed ? "the frame length is 0" : "one block has a frame length");
        return 0;
}

static int take_end_1(Reader *reader, MessageHeader *header) {
        uint32_t type, reserved, iv_size;
        int r;

        if ((r = take_number(reader, 1, &type)) < 0 || (r = take_number(reader, 4, &reserved)) < 0 ||
            (r = take_number(reader, 1, &iv_size)) < 0 ||
            (r = take_number(reader, 4, &header->frame_length)) < 0 ||
            (r = check_content(reader, header, type)) < 0)
                return r;
        if (reserved != 0 || iv_size != MESSAGE_IV_SIZE)
                return malformed(reader, "the reserved bytes or the size of the IV are wrong");
        header->body = (Slice){ reader->data, reader->at };
        r = take(reader, MESSAGE_IV_SIZE, &header->iv);
        return r < 0 ? r : take(reader, MESSAGE_TAG_SIZE, &header->tag);
}

static int take_end_2(Reader *reader, MessageHeader *header) {
        uint32_t type;
        int r;

        if ((r = take_number(reader, 1, &type)) < 0 ||
            (r = take_number(reader, 4, &header->frame_length)) < 0 ||
            (r = check_content(reader, header, type)) < 0 ||
            (r = take(reader, MESSAGE_COMMITMENT_SIZE, &header->commitment)) < 0)
                return r;
        header->body = (Slice){ reader->data, reader->at };
        return take(reader, MESSAGE_TAG_SIZE, &header->tag);
}

static int take_suite(Reader *reader, const MessageHeaderOptions *options, MessageHeader *header) {
        uint32_t version, type = TYPE_1, id;
        int r;

        if ((r = take_number(reader, 1, &version)) < 0 ||
            (r = version == VERSION_1 ? take_number(reader, 1, &type) : 0) < 0)
                return r;
        /* So the ciphertexts of KMS begin. */
        if (version == VERSION_1 && (type == 1 || type == 2))
                return error_set(
                                reader->error, -EBADMSG, FAILURE_CIPHERTEXT,
                                "This is a ciphertext of KMS, not a message of the AWS Encryption SDK. Remove Format=, or seal the secret again with --format=message or --bundle.");
        if ((version != VERSION_1 && version != VERSION_2) || type != TYPE_1)
                return error_set(
                                reader->error, -EBADMSG, FAILURE_CIPHERTEXT,
                                "This is not a message of the AWS Encryption SDK: its first bytes are not 02, or 01 80. Expected what \"unsealctl seal\" or the SDK wrote, as raw bytes.%s",
                                input_form_hint(reader->data, reader->size));
        r = take_number(reader, 2, &id);
        if (r < 0)
                return r;
        header->suite = message_suite_find((uint16_t) id);
        if (!header->suite || header->suite->version != version)
                return error_set(
                                reader->error, -EOPNOTSUPP, FAILURE_CIPHERTEXT,
                                "The message has the algorithm suite 0x%04x, which unseald does not know in a header of version %u. Seal the secret again with suite 0x0478 or 0x0578.",
                                id, version);
        if (!header->suite->commits && !options->allow_uncommitted)
                return error_set(
                                reader->error, -EPERM, FAILURE_CIPHERTEXT,
                                "The message has the algorithm suite 0x%04x, which does not commit to its data key: it could open to different secrets under different keys. Seal the secret again with suite 0x0478 or 0x0578, or set AllowUncommitted=yes.",
                                id);
        return 0;
}

bool message_is_likely(const uint8_t *data, size_t size) {
        return size >= 2 && ((data[0] == VERSION_1 && data[1] == TYPE_1) ||
                             (data[0] == VERSION_2 && (data[1] == 0x04 || data[1] == 0x05)));
}

int message_header_parse(const uint8_t *data, size_t size, const MessageHeaderOptions *options,
                         MessageHeader *ret, size_t *ret_needed, Error *error) {
        Reader reader = { .data = data, .size = size, .error = error };
        MessageHeader header = {};
        int r;

        if ((r = take_suite(&reader, options, &header)) < 0 ||
            (r = take(&reader, header.suite->version == VERSION_1 ? ID_SIZE_1 : ID_SIZE_2, &header.id)) <
                            0 ||
            (r = take_context(&reader, &header)) < 0 || (r = check_public_key(&reader, &header)) < 0 ||
            (r = take_data_keys(&reader, &header)) < 0 ||
            (r = header.suite->version == VERSION_1 ? take_end_1(&reader, &header)
                                                    : take_end_2(&reader, &header)) < 0) {
                if (r == -EAGAIN)
                        *ret_needed = reader.needed;
                return r;
        }
        header.size = reader.at;
        *ret = header;
        return 0;
}

static char *pair_text(const Slice *key, const Slice *value) {
        char *text = malloc(key->size + value->size + 2), *p = text;

        if (!text)
                return NULL;
        p = mempcpy(p, key->data, key->size);
        *p++ = '=';
        p = mempcpy(p, value->data, value->size);
        *p = '\0';
        return text;
}

static bool fits_text(const Slice *key, const Slice *value) {
        return key->size > 0 && !memchr(key->data, '=', key->size) && !memchr(key->data, '\0', key->size) &&
               !(value->size > 0 && memchr(value->data, '\0', value->size));
}

int message_context_pairs(const MessageHeader *header, char ***ret) {
        char **pairs = calloc(header->context_count + 1, sizeof(*pairs));
        Slice key, value;
        size_t n = 0;
        int r = pairs ? 0 : -ENOMEM;

        for (size_t at = 0; r >= 0 && message_context_next(header, &at, &key, &value);)
                if (!fits_text(&key, &value))
                        r = -EINVAL;
                else if (!(pairs[n++] = pair_text(&key, &value)))
                        r = -ENOMEM;
        if (r >= 0) {
                *ret = pairs;
                return 0;
        }
        for (size_t i = 0; pairs && i < n; i++)
                free(pairs[i]);
        free(pairs);
        return r;
}
