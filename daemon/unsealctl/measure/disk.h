/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Finds the file that firmware starts from a raw disk image: in the GUID partition table (UEFI 2.10, chapter 5) the EFI
 * system partition, on it FAT12, FAT16 or FAT32 (Microsoft's "FAT File System Specification"), and there
 * EFI/BOOT/BOOT*.EFI. Pure, except for the caller's function that reads. Nothing is written.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"

typedef struct Disk {
        /* Reads exactly the bytes that are asked for. Returns 0 or a negative errno. It is never asked for bytes behind
         * size. */
        int (*read)(void *userdata, uint64_t offset, void *buffer, size_t size);
        void *userdata;
        uint64_t size;
} Disk;

#define BOOT_FILE_SIZE_MAX (1U << 30)

typedef struct BootFile {
        unsigned partition; /* counted from 1 */
        const char *path;   /* "EFI/BOOT/BOOTX64.EFI" */
        uint8_t *data;      /* the caller frees */
        size_t size;
} BootFile;

/* Finds the file that firmware starts if no boot option names another one. FAILURE_CONFIGURATION, with a text that has
 * the offset:
 * -EBADMSG: a structure is malformed; -ENOENT: there is no such file; -ENOTUNIQ: there is more than one.
 * FAILURE_INTERNAL: the error of the function that reads. */
int disk_read_boot_file(const Disk *disk, BootFile *ret, Error *error);
