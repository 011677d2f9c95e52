/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Files, read and written whole. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads a file of at most maximum bytes. -EFBIG where it is longer, -EISDIR, -ENXIO for what is no
 * regular file. *ret has a NUL behind its end that does not count; the caller frees. */
int read_file(const char *path, size_t maximum, uint8_t **ret, size_t *ret_size);

/* The same from a descriptor, which stays open; sockets and pipes are read to their end. */
int read_fd(int fd, size_t maximum, uint8_t **ret, size_t *ret_size);

/* Into memory of the caller's: at most size bytes, fewer only at the end. How many, or a negative errno. */
ssize_t read_up_to(int fd, void *buffer, size_t size);

/* All of it, or a negative errno. */
int write_all(int fd, const void *data, size_t size);

/* Writes beside the file and renames over it, so that no reader sees half; what is there and no regular file, a device or
 * a pipe, is written to instead. For what is not secret. */
int write_file_atomic(const char *path, const void *data, size_t size, mode_t mode);
