/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "unsealctl/new-file.h"

/* Of the directory, with its slash. 0: the working directory. */
static int directory_length(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? (int) (slash - path + 1) : 0;
}

static int open_nameless(const char *path) {
        _cleanup_free_ char *directory = NULL;
        int fd;

        /* Without /proc the file would never get a name. */
        if (access("/proc/self/fd", X_OK) < 0)
                return -errno;
        if (asprintf(&directory, "%.*s.", directory_length(path), path) < 0) {
                directory = NULL;
                return -ENOMEM;
        }
        fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        return fd < 0 ? -errno : fd;
}

static int open_named(const char *path, char **ret_name) {
        _cleanup_free_ char *name = NULL;
        int fd;

        if (asprintf(&name, "%.*s.unseald-XXXXXX", directory_length(path), path) < 0) {
                name = NULL;
                return -ENOMEM;
        }
        fd = mkostemp(name, O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *ret_name = TAKE_PTR(name);
        return fd;
}

int new_file_open(const char *path, NewFile *ret) {
        int fd = open_nameless(path);

        *ret = (NewFile){ .fd = -1 };
        if (fd < 0)
                fd = open_named(path, &ret->temporary);
        if (fd < 0)
                return fd;
        ret->fd = fd;
        return 0;
}

/* Gives a file without a name one that no file has. */
static int link_as(const NewFile *file, const char *path) {
        char self[sizeof("/proc/self/fd/") + 10];

        (void) snprintf(self, sizeof(self), "/proc/self/fd/%i", file->fd);
        return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int link_as_temporary(NewFile *file, const char *path) {
        _cleanup_free_ char *name = NULL;
        uint64_t number;
        int r;

        if (RAND_bytes((uint8_t *) &number, sizeof(number)) <= 0)
                return -EIO;
        if (asprintf(&name, "%.*s.unseald-%016" PRIx64, directory_length(path), path, number) < 0) {
                name = NULL;
                return -ENOMEM;
        }
        r = link_as(file, name);
        if (r >= 0)
                file->temporary = TAKE_PTR(name);
        return r;
}

/* linkat(2) replaces no file, so a file without a name gets two names, one after the other. No signal but SIGKILL comes between them. */
static int put_in_place(NewFile *file, const char *path) {
        sigset_t all, before;
        int r;

        (void) sigfillset(&all);
        (void) sigprocmask(SIG_BLOCK, &all, &before);
        r = file->temporary ? 0 : link_as_temporary(file, path);
        if (r >= 0 && rename(file->temporary, path) < 0) {
                r = -errno;
                (void) unlink(file->temporary);
        }
        free(TAKE_PTR(file->temporary));
        (void) sigprocmask(SIG_SETMASK, &before, NULL);
        return r;
}

/* fsync() comes before the name, as in write_file_atomic(). */
int new_file_commit(NewFile *file, const char *path, bool replace) {
        if (fchmod(file->fd, 0644) < 0 || fsync(file->fd) < 0)
                return -errno;
        if (!replace && !file->temporary)
                return link_as(file, path);
        if (!replace && access(path, F_OK) >= 0)
                return -EEXIST;
        return put_in_place(file, path);
}

void new_file_done(NewFile *file) {
        if (file->temporary)
                (void) unlink(file->temporary);
        free(TAKE_PTR(file->temporary));
        if (file->fd >= 0)
                close(file->fd);
        file->fd = -1;
}
