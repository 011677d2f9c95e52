/* SPDX-License-Identifier: Apache-2.0 */

#include <endian.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "basic/openssl-util.h"
#include "volume/label.h"

#define AT_COUNTER 16U
#define AT_STATE 24U
#define AT_CIPHERTEXT_SIZE 28U
#define AT_VOLUME 32U
#define AT_DEVICE_SIZE 96U
#define AT_DATA_SIZE 104U
#define AT_SUPERBLOCK 112U
#define AT_SALT 176U
#define AT_UNVERIFIED 208U
#define AT_CIPHERTEXT 512U
#define AT_DIGEST 4032U
#define AT_MAC 4064U
#define AT_PADDING (AT_UNVERIFIED + 4)
#define DIGEST_SIZE 32U

_Static_assert(sizeof(LABEL_MAGIC) == AT_COUNTER, "the counter follows the magic");
_Static_assert(AT_VOLUME + VOLUME_NAME_MAX_LENGTH == AT_DEVICE_SIZE, "the name has its room");
_Static_assert(AT_SUPERBLOCK + LABEL_SUPERBLOCK_SIZE == AT_SALT, "the superblock has its room");
_Static_assert(AT_SALT + STATE_SALT_SIZE == AT_UNVERIFIED, "the salt has its room");
_Static_assert(AT_CIPHERTEXT + LABEL_CIPHERTEXT_MAX <= AT_DIGEST, "the ciphertext has its room");
_Static_assert(AT_MAC + DIGEST_SIZE == LABEL_SIZE, "the MAC ends the block");

static void put64(uint8_t *at, uint64_t number) {
        number = htobe64(number);
        memcpy(at, &number, sizeof(number));
}

static uint64_t get64(const uint8_t *at) {
        uint64_t number;

        memcpy(&number, at, sizeof(number));
        return be64toh(number);
}

static void put32(uint8_t *at, uint32_t number) {
        number = htobe32(number);
        memcpy(at, &number, sizeof(number));
}

static uint32_t get32(const uint8_t *at) {
        uint32_t number;

        memcpy(&number, at, sizeof(number));
        return be32toh(number);
}

static bool is_zero(const uint8_t *data, size_t size) {
        return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

size_t label_copy_offset(unsigned copy) {
        return (size_t) copy * LABEL_COPY_DISTANCE;
}

/* Tags take room of the data, and what keeps them has a superblock. */
static bool is_consistent(const Label *label) {
        bool ready = label->state == LABEL_READY, tags = ready && !label->unverified;
        uint64_t room;

        if (label->device_size <= LABEL_AREA_SIZE)
                return false;
        room = label->device_size - LABEL_AREA_SIZE;
        return (ready || label->state == LABEL_FORMATTING) && label->counter > 0 &&
               label->volume[0] != '\0' && label->ciphertext_size <= LABEL_CIPHERTEXT_MAX &&
               label->data_size % VOLUME_BLOCK_SIZE == 0 && (label->data_size > 0) == ready &&
               (tags ? label->data_size < room : label->data_size <= room) &&
               is_zero(label->superblock, LABEL_SUPERBLOCK_SIZE) == !tags;
}

static bool make_mac(const uint8_t block[static LABEL_SIZE], StateKeys *keys, uint8_t ret[DIGEST_SIZE]) {
        return HMAC(EVP_sha256(), secret_bytes(keys->label), (int) secret_size(keys->label), block, AT_MAC,
                    ret, NULL);
}

int label_write(const Label *label, StateKeys *keys, uint8_t ret[static LABEL_SIZE]) {
        uint8_t block[LABEL_SIZE] = LABEL_MAGIC;

        if (!is_consistent(label))
                return -EINVAL;
        put64(block + AT_COUNTER, label->counter);
        put32(block + AT_STATE, label->state);
        put32(block + AT_CIPHERTEXT_SIZE, (uint32_t) label->ciphertext_size);
        memcpy(block + AT_VOLUME, label->volume, strlen(label->volume));
        put64(block + AT_DEVICE_SIZE, label->device_size);
        put64(block + AT_DATA_SIZE, label->data_size);
        memcpy(block + AT_SUPERBLOCK, label->superblock, LABEL_SUPERBLOCK_SIZE);
        memcpy(block + AT_SALT, label->salt, STATE_SALT_SIZE);
        put32(block + AT_UNVERIFIED, label->unverified);
        memcpy(block + AT_CIPHERTEXT, label->ciphertext, label->ciphertext_size);
        if (EVP_Digest(block, AT_DIGEST, block + AT_DIGEST, NULL, EVP_sha256(), NULL) != 1 ||
            !make_mac(block, keys, block + AT_MAC))
                return openssl_failure(NULL);
        memcpy(ret, block, LABEL_SIZE);
        return 0;
}

static bool is_complete(const uint8_t block[static LABEL_SIZE]) {
        uint8_t digest[DIGEST_SIZE];

        return memcmp(block, LABEL_MAGIC, sizeof(LABEL_MAGIC)) == 0 &&
               EVP_Digest(block, AT_DIGEST, digest, NULL, EVP_sha256(), NULL) == 1 &&
               memcmp(digest, block + AT_DIGEST, DIGEST_SIZE) == 0;
}

/* All bytes that no field has, the padding of the fields included. */
static bool is_padded(const uint8_t block[static LABEL_SIZE], const Label *label) {
        size_t name = AT_VOLUME + strlen(label->volume), ciphertext = AT_CIPHERTEXT + label->ciphertext_size;

        return is_zero(block + name, AT_DEVICE_SIZE - name) &&
               is_zero(block + AT_PADDING, AT_CIPHERTEXT - AT_PADDING) &&
               is_zero(block + ciphertext, AT_DIGEST - ciphertext);
}

int label_parse(const uint8_t block[static LABEL_SIZE], Label *ret) {
        Label label = {
                .counter = get64(block + AT_COUNTER),
                .state = (LabelState) get32(block + AT_STATE),
                .unverified = get32(block + AT_UNVERIFIED) == 1,
                .device_size = get64(block + AT_DEVICE_SIZE),
                .data_size = get64(block + AT_DATA_SIZE),
                .ciphertext_size = get32(block + AT_CIPHERTEXT_SIZE),
        };

        memcpy(label.volume, block + AT_VOLUME, VOLUME_NAME_MAX_LENGTH);
        memcpy(label.superblock, block + AT_SUPERBLOCK, LABEL_SUPERBLOCK_SIZE);
        memcpy(label.salt, block + AT_SALT, STATE_SALT_SIZE);
        if (!is_complete(block) || get32(block + AT_UNVERIFIED) > 1 || !is_consistent(&label) ||
            !is_padded(block, &label) || !volume_name_is_valid(label.volume, strlen(label.volume)))
                return -EBADMSG;
        memcpy(label.ciphertext, block + AT_CIPHERTEXT, label.ciphertext_size);
        *ret = label;
        return 0;
}

bool label_is_authentic(const uint8_t block[static LABEL_SIZE], StateKeys *keys) {
        uint8_t mac[DIGEST_SIZE];

        return make_mac(block, keys, mac) && CRYPTO_memcmp(mac, block + AT_MAC, DIGEST_SIZE) == 0;
}

/* A block that begins with the magic and is no complete copy is what a power cut has left of a first label, if all else is zero. */
static bool is_blank(const uint8_t area[static LABEL_AREA_SIZE]) {
        bool torn = memcmp(area, LABEL_MAGIC, sizeof(LABEL_MAGIC)) == 0 && !is_complete(area);

        return (torn || is_zero(area, LABEL_SIZE)) &&
               is_zero(area + LABEL_SIZE, LABEL_AREA_SIZE - LABEL_SIZE);
}

LabelArea label_judge(const uint8_t area[static LABEL_AREA_SIZE], StateKeys *keys, Label *ret,
                      unsigned *ret_copy) {
        Label newest = {}, label;
        unsigned at = 0;

        for (unsigned copy = 0; copy < LABEL_COPIES; copy++) {
                const uint8_t *block = area + label_copy_offset(copy);

                if (label_parse(block, &label) < 0 || (keys && !label_is_authentic(block, keys)) ||
                    label.counter <= newest.counter)
                        continue;
                newest = label;
                at = copy;
        }
        if (newest.counter == 0)
                return is_blank(area) ? LABEL_AREA_BLANK : LABEL_AREA_FOREIGN;
        *ret = newest;
        *ret_copy = at;
        return LABEL_AREA_LABEL;
}
