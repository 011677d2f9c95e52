/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The file system in the clear, of which a volume is made. From a directory, mkfs.erofs(1) makes it. It needs a file in which it can
 * seek, so the file system exists as a whole for a while. It has no name and lies in memory (memfd_create(2)), so that nothing of it
 * is left when this program ends in whatever way. A file that is removed before it is written would be no help: its blocks stay on the
 * disk, where they can be read without a name.
 *
 * A file that is a file system already is read as it is, and needs no memory.
 */

#include <stdint.h>

#include "unsealctl/volume/file-system-form.h"

/* Exit statuses of "volume create", beside those of "seal". */
#define EXIT_EXISTS 3      /* a file of the output exists */
#define EXIT_FILE_SYSTEM 4 /* the input is no file system, or none can be made of it */
#define EXIT_NO_MEMORY 5   /* the file system does not fit in memory */

typedef struct FileSystem {
        int fd;        /* for reading; the caller closes it */
        uint64_t size; /* in bytes, not 0 */
        FileSystemKind kind;
} FileSystem;

/*
 * Opens the file system in a file, or makes one of a directory. temporary: a directory on whose disk it may lie in place of memory, in
 * a file without a name; NULL: memory. The file system that is made has no times, owners and extended attributes, so that the same
 * directory always gives the same bytes. Returns 0, or the exit status after its message is printed.
 */
int file_system_open(const char *input, const char *temporary, FileSystem *ret);
