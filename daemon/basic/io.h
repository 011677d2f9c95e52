/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Reads and writes whole files. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads a file of at most maximum bytes: the one way to read a path of a tree that may be hostile. Symbolic links are followed. It
 * opens only regular files, so it neither blocks nor touches a device. -EFBIG: the file is longer. -EISDIR. -ENXIO: it is not a
 * regular file. A NUL follows the last byte and is not counted in *ret_size. The caller frees *ret. */
int read_file(const char *path, size_t maximum, uint8_t **ret, size_t *ret_size);

/* The same from a descriptor, which stays open. Sockets and pipes are read until their end. */
int read_fd(int fd, size_t maximum, uint8_t **ret, size_t *ret_size);

/* Reads into memory of the caller: size bytes, or fewer when the end comes first. Returns their number, or a negative
 * errno. */
ssize_t read_up_to(int fd, void *buffer, size_t size);

/* Writes all bytes. Returns 0 or a negative errno. */
int write_all(int fd, const void *data, size_t size);

/* Replaces a file, so that no reader ever sees half of it: writes a temporary file in the same directory and renames it. If
 * path is a device or a pipe, writes into it instead. Not for secrets: the temporary file may reach a disk. */
int write_file_atomic(const char *path, const void *data, size_t size, mode_t mode);
