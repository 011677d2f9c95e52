/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The label of a read-write volume. It lies in the first MiB of the device, in two copies that are written in turn, each with a counter
 * that only grows. A write that a power cut interrupts destroys at most the copy that it replaces.
 *
 *     0            512 KiB          1 MiB
 *     | copy 0 | 0 | copy 1 | 0     | superblock of dm-integrity, its journal, tags and data … or data alone
 *
 * A copy is one block of 4096 bytes. Numbers are big-endian, and what is not named is zero:
 *
 *     0     magic, "unseald-state-1" with a NUL
 *     16    counter, 8 bytes
 *     24    state, 4 bytes
 *     28    size of the ciphertext, 4 bytes
 *     32    name of the volume, 64 bytes, padded with zeros
 *     96    size of the device, 8 bytes
 *     104   size of the data, 8 bytes
 *     112   superblock of dm-integrity, 64 bytes
 *     176   salt of the keys, 32 bytes
 *     208   how the sectors are kept, 4 bytes: 0 with tags, by dm-integrity; 1 without (Integrity=no), and the superblock is zeros then
 *     512   ciphertext of the data key, 2048 bytes, padded with zeros; empty if the key is kept elsewhere
 *     4032  SHA-256 of the bytes 0 to 4031
 *     4064  HMAC-SHA-256 of the bytes 0 to 4063
 *
 * The digest needs no key: it tells a copy that was written as a whole from one that was not. It protects nothing. Whoever writes the
 * device writes the label, too, so all of it is untrusted until the MAC is right.
 *
 * A power cut tears a write between sectors, never within one. So the writer of a first label, on a blank device, writes the sector with
 * the magic alone before it writes the block: whatever a power cut leaves, a torn first label begins with the magic.
 *
 * Everything here is a function of its arguments.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "volume/state-keys.h"
#include "volume/volume-key.h"

#define LABEL_AREA_SIZE (1024U * 1024U)
#define LABEL_SIZE 4096U
#define LABEL_COPIES 2U
#define LABEL_COPY_DISTANCE (LABEL_AREA_SIZE / LABEL_COPIES)
#define LABEL_SUPERBLOCK_SIZE 64U
/* KMS makes about 200 bytes for a key of 32 bytes, and promises at most 6144 (KMS API Reference, GenerateDataKey). */
#define LABEL_CIPHERTEXT_MAX 2048U

#define LABEL_SECTOR 512U

/* Where unseald-volume writes the counter of each open volume, in NAME.env, and how its status (STATUS=) begins during a format:
 * "unsealctl status" reads both. */
#define VOLUME_RUNTIME_DIR "/run/unseald-volume"
#define VOLUME_FORMATTING "Formatting the volume: "
#define LABEL_MAGIC "unseald-state-1"

typedef enum LabelState {
        LABEL_FORMATTING = 1, /* the volume has a key, and nothing that anybody has stored */
        LABEL_READY,          /* tags, if it has any, and file system are there */
} LabelState;

typedef struct Label {
        char volume[VOLUME_NAME_MAX_LENGTH + 1];
        LabelState state;
        bool unverified; /* Integrity=no: the sectors have no tags. The keys of the sectors are others, too */
        uint64_t counter;
        uint64_t device_size; /* bytes of the device when it was formatted */
        uint64_t data_size;   /* bytes of the file system's device; 0 while formatting */
        uint8_t superblock[LABEL_SUPERBLOCK_SIZE];
        uint8_t salt[STATE_SALT_SIZE]; /* random, made anew by each format */
        size_t ciphertext_size;
        uint8_t ciphertext[LABEL_CIPHERTEXT_MAX];
} Label;

/* What the area of the label holds. */
typedef enum LabelArea {
        LABEL_AREA_BLANK, /* zeros, or zeros and the torn beginning of a first label: no label was ever complete */
        LABEL_AREA_LABEL,   /* a label, which is the newest of the complete copies */
        LABEL_AREA_FOREIGN, /* anything else */
} LabelArea;

/* Writes the block of a copy. -EINVAL: the label has a value that label_parse() refuses. -EIO: OpenSSL failed. */
int label_write(const Label *label, StateKeys *keys, uint8_t ret[static LABEL_SIZE]);

/* Reads the block of a copy, without a key: nothing in *ret is believed. -EBADMSG: it is no complete copy. */
int label_parse(const uint8_t block[static LABEL_SIZE], Label *ret);

/* Returns whether the MAC is right, in constant time. */
bool label_is_authentic(const uint8_t block[static LABEL_SIZE], StateKeys *keys);

/* Where a copy begins in the area. */
size_t label_copy_offset(unsigned copy) _pure_;

/*
 * Judges the area, LABEL_AREA_SIZE bytes. With keys only a copy whose MAC is right counts; without, any complete one does. Of two, that with
 * the larger counter is *ret, and *ret_copy is its number. The caller writes the next label to the other copy.
 *
 * With keys an area whose copies are all of another key is LABEL_AREA_FOREIGN.
 */
LabelArea label_judge(const uint8_t area[static LABEL_AREA_SIZE], StateKeys *keys, Label *ret,
                      unsigned *ret_copy);
