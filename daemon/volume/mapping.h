/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The two mappings of a volume, as the kernel's device mapper names and prints them. Of a read-only one: dm-crypt over the device, and
 * dm-verity over dm-crypt. Every parameter comes from the sealed key of the volume, and nothing from the device. Of a read-write one:
 * dm-integrity over the device, in the size that it was formatted in, which only stores tags, and dm-crypt with an authenticated cipher, which makes and checks them. Of one with
 * Integrity=no: dm-crypt alone. Every parameter is fixed, or stands in the label under its MAC (volume/label.h).
 *
 * Sources: Documentation/admin-guide/device-mapper/dm-crypt.rst, dm-integrity.rst and verity.rst of the kernel. The texts are exactly what the kernel
 * prints of a table (STATUSTYPE_TABLE), so that a table that is there can be compared.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "volume/volume-key.h"

#define MAPPING_NAME_MAX 128U /* DM_NAME_LEN and DM_UUID_LEN - 1 of linux/dm-ioctl.h */
#define MAPPING_PARAMETERS_MAX 512U
#define MAPPING_SECTOR 512U

typedef enum MappingLayer {
        MAPPING_CRYPT, /* /dev/mapper/unseald_crypt-NAME: the plaintext, which nobody has verified. Nothing but the next layer uses it. */
        MAPPING_VERITY, /* /dev/mapper/unseald-NAME: the file system */
        MAPPING_PART, /* unseald_part-NAME: of a read-write volume, the device in the size that it was formatted in */
        MAPPING_TAGS,   /* unseald_tags-NAME: of a read-write volume, ciphertext and its tags */
        MAPPING_FORMAT, /* unseald_crypt-NAME, too: of a read-write volume while it is formatted */
        MAPPING_STATE,  /* /dev/mapper/unseald-NAME: of a read-write volume, the file system */
} MappingLayer;

typedef struct Mapping {
        char name[MAPPING_NAME_MAX];
        char uuid[MAPPING_NAME_MAX]; /* for udev rules: begins with UNSEALD-VERITY- or -STATE-, or of a layer below, -CRYPT-, -PART- or -TAGS- */
        const char *target; /* "crypt", "verity", "linear" or "integrity" */
        bool writable;
        uint64_t sectors; /* of 512 bytes */
        char parameters[MAPPING_PARAMETERS_MAX];
} Mapping;

/* The name and uuid alone. volume: a valid name, 1 to 64 characters. Pure. */
void mapping_name(MappingLayer layer, const char *volume, Mapping *ret);

/* Of a read-only volume. below: the device of dm-crypt, or dm-crypt's of dm-verity. The parameters of dm-crypt name the key by mapping_key_description() and do
 * not contain it. Pure. */
void mapping_make(MappingLayer layer, const char *volume, const VolumeKey *key, dev_t below, Mapping *ret);

/* How dm-integrity writes blocks and tags. */
typedef enum TagsMode {
        TAGS_JOURNAL, /* both at once, by a journal */
        TAGS_DIRECT,  /* one after the other: for a format, of which nothing counts before its end */
} TagsMode;

/* The table of dm-linear, which gives the first bytes of the device. dm-integrity would take a device that has grown for a wish to grow, and
 * change its superblock. Pure. */
void mapping_make_part(const char *volume, dev_t below, uint64_t size, Mapping *ret);

/* The table of dm-integrity. sectors: of 512 bytes, that it gives. journal_sectors: for a device without a superblock, which the kernel then
 * writes; 0: there must be one. Not the text that the kernel prints: that has more. Pure. */
void mapping_make_tags(const char *volume, dev_t below, TagsMode mode, uint64_t sectors,
                       uint64_t journal_sectors, Mapping *ret);

/* Returns whether the text that the kernel prints of dm-integrity's table is of such a table in TAGS_JOURNAL. Pure. */
bool mapping_is_journal(const char *parameters, dev_t below);

/* The table of dm-crypt with an authenticated cipher. layer: MAPPING_FORMAT or MAPPING_STATE. below: that of MAPPING_TAGS. Pure. */
void mapping_make_authenticated(MappingLayer layer, const char *volume, dev_t below, uint64_t sectors,
                                Mapping *ret);

/* The table of dm-crypt alone, for Integrity=no: it begins after the label, and nothing notices a changed sector. below: the device. Pure. */
void mapping_make_unverified(MappingLayer layer, const char *volume, dev_t below, uint64_t sectors,
                             Mapping *ret);

/* The description of the key in the kernel's keyring, of type "logon", whose value no program can read (keyrings(7)). Pure. */
void mapping_key_description(const char *volume, char ret[static MAPPING_NAME_MAX]);
