/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a file system is, and whether there is memory for one. Functions of their arguments. */

#include <stdbool.h>
#include <stdint.h>

#include "basic/cleanup.h"

typedef enum FileSystemKind { FILE_SYSTEM_NONE, FILE_SYSTEM_EROFS, FILE_SYSTEM_SQUASHFS } FileSystemKind;

/* Bytes at the start of a file that say its kind. */
#define FILE_SYSTEM_BEGIN 1028U

/* Sources: Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h (magic 0xE0F5E1E2 at byte 1024, little-endian);
 * fs/squashfs/squashfs_fs.h (magic "hsqs" at byte 0). Pure. */
FileSystemKind file_system_kind(const uint8_t begin[static FILE_SYSTEM_BEGIN]) _pure_;

/* The bytes of memory that a file system of these files needs at most: each file, directory and link is rounded up to whole blocks, and
 * has an inode. Pure. */
uint64_t file_system_estimate(uint64_t bytes, uint64_t inodes) _pure_;

/* Reads MemAvailable of /proc/meminfo (proc_meminfo(5)), in bytes. 0: it is not there. Pure. */
uint64_t memory_available(const char *meminfo) _pure_;

/* Returns whether /proc/swaps (proc(5)) has a device or file that is not zram, which is memory. Pure. */
bool swaps_have_disk(const char *swaps) _pure_;
