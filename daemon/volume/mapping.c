/* SPDX-License-Identifier: Apache-2.0 */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "volume/label.h"
#include "volume/mapping.h"
#include "volume/tag-superblock.h"

#define HEX_SIZE (2 * VOLUME_DIGEST_SIZE + 1)
_Static_assert(VOLUME_SALT_SIZE <= VOLUME_DIGEST_SIZE, "the salt does not fit into its text");

static void print_hex(const uint8_t *data, size_t size, char ret[static HEX_SIZE]) {
        for (size_t i = 0; i < size; i++)
                (void) snprintf(ret + 2 * i, 3, "%02x", data[i]);
}

void mapping_name(MappingLayer layer, const char *volume, Mapping *ret) {
        static const struct {
                const char *prefix, *uuid, *target;
                bool writable;
        } layers[] = {
                [MAPPING_CRYPT] = { "unseald_crypt-", "UNSEALD-CRYPT-", "crypt", false },
                [MAPPING_VERITY] = { "unseald-", "UNSEALD-VERITY-", "verity", false },
                [MAPPING_PART] = { "unseald_part-", "UNSEALD-PART-", "linear", true },
                [MAPPING_TAGS] = { "unseald_tags-", "UNSEALD-TAGS-", "integrity", true },
                [MAPPING_FORMAT] = { "unseald_crypt-", "UNSEALD-CRYPT-", "crypt", true },
                [MAPPING_STATE] = { "unseald-", "UNSEALD-STATE-", "crypt", true },
        };

        *ret = (Mapping){ .target = layers[layer].target, .writable = layers[layer].writable };
        (void) snprintf(ret->name, sizeof(ret->name), "%s%.64s", layers[layer].prefix, volume);
        (void) snprintf(ret->uuid, sizeof(ret->uuid), "%s%.64s", layers[layer].uuid, volume);
}

void mapping_key_description(const char *volume, char ret[static MAPPING_NAME_MAX]) {
        (void) snprintf(ret, MAPPING_NAME_MAX, "unseald-volume:%.64s", volume);
}

static void make_crypt(const char *volume, const VolumeKey *key, dev_t below, Mapping *mapping) {
        char description[MAPPING_NAME_MAX];

        mapping_key_description(volume, description);
        mapping->sectors = key->size / MAPPING_SECTOR;
        (void) snprintf(mapping->parameters, sizeof(mapping->parameters),
                        VOLUME_CIPHER " :%u:logon:%s 0 %u:%u 0 1 sector_size:%u", VOLUME_KEY_SIZE,
                        description, major(below), minor(below), VOLUME_BLOCK_SIZE);
}

/* Without an option a block that does not match the tree is an error of input (EIO), and each block is verified each time it is read. */
static void make_verity(const VolumeKey *key, dev_t below, Mapping *mapping) {
        char root_hash[HEX_SIZE], salt[HEX_SIZE];

        print_hex(key->root_hash, sizeof(key->root_hash), root_hash);
        print_hex(key->salt, sizeof(key->salt), salt);
        mapping->sectors = key->data_blocks * (VOLUME_BLOCK_SIZE / MAPPING_SECTOR);
        (void) snprintf(mapping->parameters, sizeof(mapping->parameters),
                        "1 %u:%u %u:%u %u %u %llu %llu " VOLUME_HASH " %s %s", major(below), minor(below),
                        major(below), minor(below), VOLUME_BLOCK_SIZE, VOLUME_BLOCK_SIZE,
                        (unsigned long long) key->data_blocks, (unsigned long long) key->hash_start,
                        root_hash, salt);
}

void mapping_make(MappingLayer layer, const char *volume, const VolumeKey *key, dev_t below, Mapping *ret) {
        mapping_name(layer, volume, ret);
        if (layer == MAPPING_CRYPT)
                make_crypt(volume, key, below, ret);
        else
                make_verity(key, below, ret);
}

void mapping_make_part(const char *volume, dev_t below, uint64_t size, Mapping *ret) {
        mapping_name(MAPPING_PART, volume, ret);
        ret->sectors = size / MAPPING_SECTOR;
        (void) snprintf(ret->parameters, sizeof(ret->parameters), "%u:%u 0", major(below), minor(below));
}

static void print_tags(dev_t below, TagsMode mode, char *ret, size_t size) {
        (void) snprintf(ret, size, "%u:%u %u %u %c ", major(below), minor(below),
                        LABEL_AREA_SIZE / MAPPING_SECTOR, TAG_SIZE, mode == TAGS_JOURNAL ? 'J' : 'D');
}

/* The label lies in the sectors that dm-integrity leaves out. Never with a bitmap, and never with "recalculate": both have the kernel
 * make tags of what it finds. */
void mapping_make_tags(const char *volume, dev_t below, TagsMode mode, uint64_t sectors,
                       uint64_t journal_sectors, Mapping *ret) {
        size_t length;

        mapping_name(MAPPING_TAGS, volume, ret);
        ret->sectors = sectors;
        print_tags(below, mode, ret->parameters, sizeof(ret->parameters));
        length = strlen(ret->parameters);
        if (journal_sectors > 0)
                (void) snprintf(ret->parameters + length, sizeof(ret->parameters) - length,
                                "4 block_size:%u journal_sectors:%llu interleave_sectors:%u fix_padding",
                                VOLUME_BLOCK_SIZE, (unsigned long long) journal_sectors,
                                TAG_INTERLEAVE_SECTORS);
        else
                (void) snprintf(ret->parameters + length, sizeof(ret->parameters) - length,
                                "2 block_size:%u fix_padding", VOLUME_BLOCK_SIZE);
}

bool mapping_is_journal(const char *parameters, dev_t below) {
        char expected[64];

        print_tags(below, TAGS_JOURNAL, expected, sizeof(expected));
        return strncmp(parameters, expected, strlen(expected)) == 0 && !strstr(parameters, "recalculate") &&
               !strstr(parameters, "internal_hash");
}

/* The number of a sector, and its tweak, are what the tag is made over, too: a sector opens at no other place. */
void mapping_make_authenticated(MappingLayer layer, const char *volume, dev_t below, uint64_t sectors,
                                Mapping *ret) {
        char description[MAPPING_NAME_MAX];

        mapping_name(layer, volume, ret);
        mapping_key_description(volume, description);
        ret->sectors = sectors;
        (void) snprintf(ret->parameters, sizeof(ret->parameters),
                        "capi:authenc(hmac(sha256),xts(aes))-plain64 :%u:logon:%s 0 %u:%u 0 2 integrity:%u:aead sector_size:%u",
                        STATE_ENCRYPTION_KEY_SIZE + STATE_INTEGRITY_KEY_SIZE, description, major(below),
                        minor(below), TAG_SIZE, VOLUME_BLOCK_SIZE);
}

void mapping_make_unverified(MappingLayer layer, const char *volume, dev_t below, uint64_t sectors,
                             Mapping *ret) {
        char description[MAPPING_NAME_MAX];

        mapping_name(layer, volume, ret);
        mapping_key_description(volume, description);
        ret->sectors = sectors;
        (void) snprintf(ret->parameters, sizeof(ret->parameters),
                        VOLUME_CIPHER " :%u:logon:%s 0 %u:%u %u 1 sector_size:%u", STATE_ENCRYPTION_KEY_SIZE,
                        description, major(below), minor(below), LABEL_AREA_SIZE / MAPPING_SECTOR,
                        VOLUME_BLOCK_SIZE);
}
