/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A raw disk image, as far as firmware goes to find what it starts: GUID partition table (UEFI 2.10, chapter 5), EFI
 * system partition, FAT12, 16 or 32 (Microsoft's "FAT File System Specification"), EFI/BOOT/BOOT*.EFI. Pure over
 * a function that reads; nothing is ever written.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"

typedef struct Disk {
        /* All of it, or a negative errno. Is asked for nothing beyond size. */
        int (*read)(void *userdata, uint64_t offset, void *buffer, size_t size);
        void *userdata;
        uint64_t size;
} Disk;

#define BOOT_FILE_SIZE_MAX (1U << 30)

typedef struct BootFile {
        unsigned partition; /* from 1 */
        const char *path;   /* "EFI/BOOT/BOOTX64.EFI" */
        uint8_t *data;      /* the caller frees */
        size_t size;
} BootFile;

/* What firmware starts from the disk where no boot option says otherwise. FAILURE_CONFIGURATION with a text that
 * gives the offset: -EBADMSG, a structure is malformed; -ENOENT, there is no such file; -ENOTUNIQ, more than one.
 * Whatever the function that reads returns, with FAILURE_INTERNAL. */
int disk_read_boot_file(const Disk *disk, BootFile *ret, Error *error);
