/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The superblock of dm-integrity (drivers/md/dm-integrity.c of the kernel, "struct superblock"), as the kernel writes it for a read-write
 * volume. The kernel believes what stands there: a flag has it make all tags anew, or take a bitmap of other places. So the label
 * has the bytes, and the superblock on the device is compared with them before the kernel reads it. Pure.
 */

#include <stdbool.h>
#include <stdint.h>

#include "volume/label.h"

#define TAG_SIZE 32U               /* bytes a block: HMAC-SHA-256 of dm-crypt */
#define TAG_SUPERBLOCK_SPACE 4096U /* bytes that the kernel reads. What follows the superblock is zero. */
#define TAG_INTERLEAVE_SECTORS 32768U

/* Sectors of the journal that format asks for: the kernel's own choice, 1/128 of the device and at most 64 MiB. */
uint64_t tag_journal_sectors(uint64_t device_size) _pure_;

/* Writes the superblock of a device that was formatted with this journal and gives so many sectors of 512 bytes for data. journal_sectors:
 * as the kernel prints it of a table, which is whole sections. -EINVAL: it is not. */
int tag_superblock_make(uint64_t journal_sectors, uint64_t data_sectors,
                        uint8_t ret[static LABEL_SUPERBLOCK_SIZE]);

/* Returns whether the superblock on the device is the expected one, all bytes that the kernel reads included. */
bool tag_superblock_is(const uint8_t space[static TAG_SUPERBLOCK_SPACE],
                       const uint8_t expected[static LABEL_SUPERBLOCK_SIZE]) _pure_;
