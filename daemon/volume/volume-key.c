/* SPDX-License-Identifier: Apache-2.0 */

/* Copies of the key on this file's stack are wiped. The text itself is the caller's. */

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"
#include "basic/json-text.h"
#include "volume/volume-key.h"

#define CURE "Make the volume again with \"unsealctl volume create\", or correct the text and seal it again."

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

/* Base64 of the key, with a NUL. */
#define KEY_TEXT_SIZE ((VOLUME_KEY_SIZE + 2) / 3 * 4 + 1)

void volume_key_clear(VolumeKey *key) {
        key->key = secret_free(key->key);
        *key = (VolumeKey){};
}

void volume_tree_place(uint64_t data_blocks, uint64_t hash_start, VolumeTree *ret) {
        uint64_t below = data_blocks;

        *ret = (VolumeTree){ .end = hash_start };
        while (below > 1) {
                below = (below + VOLUME_DIGESTS_PER_BLOCK - 1) / VOLUME_DIGESTS_PER_BLOCK;
                ret->blocks[ret->levels++] = below;
        }
        /* The level of the root comes first on the device. */
        for (unsigned i = ret->levels; i-- > 0;) {
                ret->start[i] = ret->end;
                ret->end += ret->blocks[i];
        }
}

int volume_key_lay_out(VolumeKey *key) {
        VolumeTree tree;

        if (key->data_size == 0)
                return -EINVAL;
        if (key->data_size > VOLUME_DATA_BLOCKS_MAX * VOLUME_BLOCK_SIZE)
                return -EFBIG;
        key->data_blocks = (key->data_size + VOLUME_BLOCK_SIZE - 1) / VOLUME_BLOCK_SIZE;
        key->hash_start = key->data_blocks;
        volume_tree_place(key->data_blocks, key->hash_start, &tree);
        key->size = tree.end * VOLUME_BLOCK_SIZE;
        return 0;
}

bool volume_name_is_valid(const char *name, size_t length) {
        return length > 0 && length <= VOLUME_NAME_MAX_LENGTH && strspn(name, LETTERS) == length &&
               strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

typedef struct Parser {
        const char *begin;
        JsonText text;
        unsigned seen; /* a bit for each member, in the order of the table */
        VolumeKey *key;
} Parser;

typedef struct Member Member;
typedef int (*MemberReader)(Parser *parser, const Member *member, Error *error);

struct Member {
        const char *name;
        MemberReader read;
        const char *text; /* for read_fixed_text(): the one value */
        uint64_t number;  /* for read_fixed_number(): the one value */
        size_t offset;    /* for the others: where the value goes in VolumeKey */
};

static int refuse(const Member *member, const char *expected, Error *error) {
        return error_set(error, -EBADMSG, FAILURE_CIPHERTEXT,
                         "The key of the volume has a wrong \"%s\": expected %s. " CURE, member->name,
                         expected);
}

static int malformed(const Parser *parser, const char *expected, Error *error) {
        return error_set(error, -EBADMSG, FAILURE_CIPHERTEXT,
                         "The key of the volume is malformed at byte %zu: expected %s. " CURE,
                         (size_t) (parser->text.at - parser->begin), expected);
}

/* Copies a string to a buffer, with a NUL. A string with an escape is refused, since no value needs one. False: it is no string, it has
 * an escape, or it does not fit. */
static bool take_plain_string(Parser *parser, char *buffer, size_t size, size_t *ret_length) {
        const char *begin, *end;

        if (!json_take(&parser->text, '"'))
                return false;
        begin = parser->text.at;
        end = memchr(begin, '"', (size_t) (parser->text.end - begin));
        if (!end || (size_t) (end - begin) >= size)
                return false;
        *ret_length = (size_t) (end - begin);
        if (memchr(begin, '\\', *ret_length) || memchr(begin, '\0', *ret_length))
                return false;
        memcpy(buffer, begin, *ret_length);
        buffer[*ret_length] = '\0';
        parser->text.at = end + 1;
        return true;
}

/* A whole number without sign, fraction, exponent and leading zeros. */
static bool take_number(Parser *parser, uint64_t *ret) {
        const char *begin = parser->text.at;
        uint64_t number = 0;

        for (; parser->text.at < parser->text.end && *parser->text.at >= '0' && *parser->text.at <= '9';
             parser->text.at++)
                if (__builtin_mul_overflow(number, 10U, &number) ||
                    __builtin_add_overflow(number, (unsigned) (*parser->text.at - '0'), &number))
                        return false;
        *ret = number;
        return parser->text.at > begin && (*begin != '0' || parser->text.at == begin + 1);
}

static int read_version(Parser *parser, const Member *member, Error *error) {
        uint64_t number;

        if (!take_number(parser, &number))
                return refuse(member, "1", error);
        return number == 1 ? 0
                           : error_set(error, -EOPNOTSUPP, FAILURE_CIPHERTEXT,
                                       "The key of the volume has version %" PRIu64
                                       ", and this program knows version 1. Install a newer unseald.",
                                       number);
}

static int read_fixed_text(Parser *parser, const Member *member, Error *error) {
        char text[32];
        size_t length;

        return take_plain_string(parser, text, sizeof(text), &length) && strcmp(text, member->text) == 0
                               ? 0
                               : refuse(member, member->text, error);
}

static int read_fixed_number(Parser *parser, const Member *member, Error *error) {
        uint64_t number;

        return take_number(parser, &number) && number == member->number ? 0 : refuse(member, "4096", error);
}

static int read_number(Parser *parser, const Member *member, Error *error) {
        uint64_t number;

        if (!take_number(parser, &number))
                return refuse(member, "a whole number of digits alone", error);
        memcpy((uint8_t *) parser->key + member->offset, &number, sizeof(number));
        return 0;
}

static int read_name(Parser *parser, const Member *member, Error *error) {
        char name[VOLUME_NAME_MAX_LENGTH + 1];
        size_t length;

        if (!take_plain_string(parser, name, sizeof(name), &length) || !volume_name_is_valid(name, length))
                return refuse(member, "1 to 64 letters, digits, \"-\", \"_\" and \".\"", error);
        memcpy(parser->key->name, name, length + 1);
        return 0;
}

static int read_digest(Parser *parser, const Member *member, Error *error) {
        char text[2 * VOLUME_DIGEST_SIZE + 1];
        size_t length;

        return take_plain_string(parser, text, sizeof(text), &length) &&
                                               hex_decode(text, (uint8_t *) parser->key + member->offset,
                                                          VOLUME_DIGEST_SIZE) >= 0
                               ? 0
                               : refuse(member, "64 hexadecimal digits", error);
}

static int decode_key(Parser *parser, char *text, const Member *member, Error *error) {
        size_t length, size = 0;

        if (!take_plain_string(parser, text, KEY_TEXT_SIZE, &length) ||
            base64_decode_to(text, length, (uint8_t *) text, &size) < 0 || size != VOLUME_KEY_SIZE)
                return refuse(member, "64 bytes in base64", error);
        if (CRYPTO_memcmp(text, text + VOLUME_KEY_SIZE / 2, VOLUME_KEY_SIZE / 2) == 0)
                return refuse(member, "two halves that differ, as XTS needs them", error);
        if (secret_new(VOLUME_KEY_SIZE, &parser->key->key) < 0)
                return error_oom(error);
        memcpy(secret_bytes(parser->key->key), text, VOLUME_KEY_SIZE);
        return 0;
}

static int read_key(Parser *parser, const Member *member, Error *error) {
        char text[KEY_TEXT_SIZE];
        int r = decode_key(parser, text, member, error);

        explicit_bzero(text, sizeof(text));
        return r;
}

static const Member members[] = {
        { .name = "version", .read = read_version },
        { .name = "name", .read = read_name },
        { .name = "cipher", .read = read_fixed_text, .text = VOLUME_CIPHER },
        { .name = "sector_size", .read = read_fixed_number, .number = VOLUME_BLOCK_SIZE },
        { .name = "key", .read = read_key },
        { .name = "hash", .read = read_fixed_text, .text = VOLUME_HASH },
        { .name = "salt", .read = read_digest, .offset = offsetof(VolumeKey, salt) },
        { .name = "root_hash", .read = read_digest, .offset = offsetof(VolumeKey, root_hash) },
        { .name = "data_block_size", .read = read_fixed_number, .number = VOLUME_BLOCK_SIZE },
        { .name = "hash_block_size", .read = read_fixed_number, .number = VOLUME_BLOCK_SIZE },
        { .name = "data_size", .read = read_number, .offset = offsetof(VolumeKey, data_size) },
        { .name = "data_blocks", .read = read_number, .offset = offsetof(VolumeKey, data_blocks) },
        { .name = "hash_start", .read = read_number, .offset = offsetof(VolumeKey, hash_start) },
        { .name = "size", .read = read_number, .offset = offsetof(VolumeKey, size) },
};

_Static_assert(VOLUME_SALT_SIZE == VOLUME_DIGEST_SIZE, "read_digest() reads both");

static int take_member(Parser *parser, Error *error) {
        char name[32];
        size_t length, i;

        if (!take_plain_string(parser, name, sizeof(name), &length))
                return malformed(parser, "the name of a member in quotes", error);
        for (i = 0; i < ELEMENTSOF(members) && strcmp(members[i].name, name) != 0; i++)
                ;
        if (i == ELEMENTSOF(members))
                return malformed(parser, "a member that version 1 has, before this place", error);
        if (parser->seen & 1U << i)
                return refuse(members + i, "it once", error);
        parser->seen |= 1U << i;
        json_skip_space(&parser->text);
        if (!json_take(&parser->text, ':'))
                return malformed(parser, "a colon after a member's name", error);
        json_skip_space(&parser->text);
        return members[i].read(parser, members + i, error);
}

static int take_object(Parser *parser, Error *error) {
        int r;

        json_skip_space(&parser->text);
        if (!json_take(&parser->text, '{'))
                return malformed(parser, "an object of JSON, which begins with \"{\"", error);
        do {
                json_skip_space(&parser->text);
                r = take_member(parser, error);
                if (r < 0)
                        return r;
                json_skip_space(&parser->text);
        } while (json_take(&parser->text, ','));
        if (!json_take(&parser->text, '}'))
                return malformed(parser, "a comma or \"}\" after a member", error);
        json_skip_space(&parser->text);
        if (parser->text.at < parser->text.end)
                return malformed(parser, "nothing after the object", error);
        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                if (!(parser->seen & 1U << i))
                        return refuse(members + i, "it to be there", error);
        return 0;
}

static int inconsistent(const char *name, const char *expected, Error *error) {
        return refuse(&(Member){ .name = name }, expected, error);
}

/* All follows from data_size, so a text in which something else stands was not made for one volume. */
static int check_layout(const VolumeKey *key, Error *error) {
        VolumeKey right = { .data_size = key->data_size };

        if (volume_key_lay_out(&right) < 0)
                return inconsistent("data_size", "1 byte to 16 TiB", error);
        if (key->data_blocks != right.data_blocks)
                return inconsistent("data_blocks", "data_size in blocks of 4096 bytes, rounded up", error);
        if (key->hash_start != right.hash_start)
                return inconsistent("hash_start", "the number that data_blocks has", error);
        if (key->size != right.size)
                return inconsistent("size", "the bytes of the data blocks and of the hash tree over them",
                                    error);
        return 0;
}

int volume_key_parse(const char *text, size_t size, VolumeKey *ret, Error *error) {
        _cleanup_volume_key_ VolumeKey key = {};
        Parser parser = { .begin = text, .text = { .at = text, .end = text + size }, .key = &key };
        int r;

        if (size > VOLUME_KEY_TEXT_MAX)
                return error_set(error, -E2BIG, FAILURE_CIPHERTEXT,
                                 "The key of the volume has %zu bytes, and at most %u are expected. " CURE,
                                 size, VOLUME_KEY_TEXT_MAX);
        if ((r = take_object(&parser, error)) < 0 || (r = check_layout(&key, error)) < 0)
                return r;
        *ret = TAKE(key, (VolumeKey){});
        return 0;
}

/* key: KEY_TEXT_SIZE bytes for the key in base64. Returns the length of the text, which is cut if size is too small. */
static int write_text(const VolumeKey *key, char *key_text, const char *salt, const char *root_hash,
                      char *buffer, size_t size) {
        (void) EVP_EncodeBlock((uint8_t *) key_text, secret_bytes(key->key), VOLUME_KEY_SIZE);
        return snprintf(buffer, size,
                        "{\"version\":1,\"name\":\"%s\",\"cipher\":\"" VOLUME_CIPHER
                        "\",\"sector_size\":4096,\"key\":\"%s\",\"hash\":\"" VOLUME_HASH
                        "\",\"salt\":\"%s\",\"root_hash\":\"%s\",\"data_block_size\":4096,"
                        "\"hash_block_size\":4096,\"data_size\":%" PRIu64 ",\"data_blocks\":%" PRIu64
                        ",\"hash_start\":%" PRIu64 ",\"size\":%" PRIu64 "}",
                        key->name, key_text, salt, root_hash, key->data_size, key->data_blocks,
                        key->hash_start, key->size);
}

/* snprintf() writes to the caller's locked memory directly, but may leave copies of numbers and strings on the stack. None of them is
 * the key: glibc copies strings from where they are. */
int volume_key_format(const VolumeKey *key, Secret **ret) {
        _cleanup_free_ char *salt = NULL, *root_hash = NULL;
        _cleanup_secret_ Secret *text = NULL, *key_text = NULL;
        int length;

        if (hex_encode(key->salt, sizeof(key->salt), &salt) < 0 ||
            hex_encode(key->root_hash, sizeof(key->root_hash), &root_hash) < 0 ||
            secret_new(VOLUME_KEY_TEXT_MAX, &text) < 0 || secret_new(KEY_TEXT_SIZE, &key_text) < 0)
                return -ENOMEM;
        length = write_text(key, (char *) secret_bytes(key_text), salt, root_hash,
                            (char *) secret_bytes(text), VOLUME_KEY_TEXT_MAX);
        secret_truncate(text, (size_t) length);
        *ret = TAKE_PTR(text);
        return 0;
}
