/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/io.h"

/* Returns whether to repeat the call that just failed. Waits if the descriptor was not ready. */
static bool again(int fd, short events) {
        struct pollfd wanted = { .fd = fd, .events = events };

        if (errno == EINTR)
                return true;
        if (errno != EAGAIN)
                return false;
        return poll(&wanted, 1, -1) >= 0 || errno == EINTR;
}

ssize_t read_up_to(int fd, void *buffer, size_t size) {
        uint8_t *bytes = buffer;
        size_t done = 0;

        while (done < size) {
                ssize_t n = read(fd, bytes + done, size - done);
                if (n == 0)
                        break;
                if (n > 0)
                        done += (size_t) n;
                else if (!again(fd, POLLIN))
                        return -errno;
        }
        return (ssize_t) done;
}

int read_fd(int fd, size_t maximum, uint8_t **ret, size_t *ret_size) {
        _cleanup_free_ uint8_t *buffer = NULL;
        size_t size = 0, allocated = 4096;
        struct stat st;

        if (maximum > SSIZE_MAX - 1)
                maximum = SSIZE_MAX - 1;

        /* The size is only a hint: the file may grow or shrink, and files in /proc have none. With one more byte of room,
         * the end shows without a larger buffer. */
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISREG(st.st_mode) && st.st_size > 0)
                allocated = (size_t) st.st_size + 1;

        for (;;) {
                if (allocated > maximum + 1)
                        allocated = maximum + 1;

                /* One more byte for the NUL. */
                uint8_t *larger = realloc(buffer, allocated + 1);
                if (!larger)
                        return -ENOMEM;
                buffer = larger;

                ssize_t n = read_up_to(fd, buffer + size, allocated - size);
                if (n < 0)
                        return (int) n;
                size += (size_t) n;
                if (size < allocated)
                        break;
                if (size > maximum)
                        return -EFBIG;
                allocated = allocated > maximum / 2 ? maximum + 1 : allocated * 2;
        }

        buffer[size] = '\0';
        *ret = TAKE_PTR(buffer);
        *ret_size = size;
        return 0;
}

int read_file(const char *path, size_t maximum, uint8_t **ret, size_t *ret_size) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        /* A foreign tree may have anything under any name: to open some devices changes something, and a FIFO without a writer
         * blocks. What the first look misses, because the path changes, O_NONBLOCK and the second look catch. */
        if (stat(path, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -ENXIO;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (!S_ISREG(st.st_mode))
                return -ENXIO;

        return read_fd(fd, maximum, ret, ret_size);
}

int write_all(int fd, const void *data, size_t size) {
        const uint8_t *bytes = data;

        while (size > 0) {
                ssize_t n = write(fd, bytes, size);
                if (n < 0) {
                        if (!again(fd, POLLOUT))
                                return -errno;
                        continue;
                }
                bytes += n;
                size -= (size_t) n;
        }
        return 0;
}

static int fill_and_rename(int fd, const char *temporary, const char *path, const void *data, size_t size,
                           mode_t mode) {
        int r = write_all(fd, data, size);
        if (r < 0)
                return r;

        /* fsync() comes before the rename: even after a power cut the file is the old one or the new one. */
        if (fchmod(fd, mode) < 0 || fsync(fd) < 0 || rename(temporary, path) < 0)
                return -errno;
        return 0;
}

static int write_in_place(const char *path, const void *data, size_t size) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);

        return fd < 0 ? -errno : write_all(fd, data, size);
}

int write_file_atomic(const char *path, const void *data, size_t size, mode_t mode) {
        _cleanup_free_ char *temporary = NULL;
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (stat(path, &st) >= 0 && !S_ISREG(st.st_mode))
                return write_in_place(path, data, size);

        const char *slash = strrchr(path, '/');
        int directory = slash ? (int) (slash - path + 1) : 0;
        if (asprintf(&temporary, "%.*s.unseald-XXXXXX", directory, path) < 0) {
                temporary = NULL;
                return -ENOMEM;
        }

        fd = mkostemp(temporary, O_CLOEXEC);
        if (fd < 0)
                return -errno;

        int r = fill_and_rename(fd, temporary, path, data, size, mode);
        if (r < 0)
                (void) unlink(temporary);
        return r;
}
