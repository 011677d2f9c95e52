/* SPDX-License-Identifier: Apache-2.0 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "basic/io.h"
#include "vault/store.h"

/*
 * All names are relative to the directory's descriptor, and no link is followed. A secret is written to a hidden file of mode
 * 0. When the file is whole it gets its owner and mode, and then the name of the secret. O_TMPFILE would not save the hidden
 * name: linkat() does not replace a file, and it refuses a file that was opened in the mount namespace of a previous process.
 *
 * The store does not decide who may read which secret. It does not watch the directory for changes by others: only root and
 * unseald can make any.
 */
struct Store {
        int fd;
        char *path;
        uint64_t size_max;
        bool is_summed; /* sum is true until a file is published or removed */
        uint64_t sum;   /* of the sizes of all files, and of what the drafts may become */
        StoreDraft *drafts;
};

#define NAME_LENGTH_MAX 64U
#define TEMPORARY_SIZE (1 + NAME_LENGTH_MAX + 1 + 16 + 1) /* .NAME.RANDOM and NUL */

struct StoreDraft {
        Store *store; /* NULL: abandoned */
        StoreDraft *next;
        int fd;
        uint64_t size; /* at most */
        char name[NAME_LENGTH_MAX + 1], temporary[TEMPORARY_SIZE];
};

#define MOUNTINFO_MAX (16U * 1024U * 1024U)

DEFINE_CLEANUP(DIR *, closedir);

static bool has_option(const char *options, const char *wanted) {
        size_t length = strlen(wanted);

        for (;;) {
                size_t n = strcspn(options, ",");
                if (n == length && memcmp(options, wanted, n) == 0)
                        return true;
                if (options[n] == '\0')
                        return false;
                options += n + 1;
        }
}

bool store_file_system_is_memory(long type, const char *super_options) {
        if ((unsigned long) type == RAMFS_MAGIC)
                return true;
        return (unsigned long) type == TMPFS_MAGIC && super_options && has_option(super_options, "noswap");
}

/*
 * 36 35 98:0 /root /mount/point rw,noatime master:1 - tmpfs source rw,noswap
 *
 * A blank within a field is written as \040. Optional fields come between the mount's options and the dash.
 */
static int line_super_options(const char *line, size_t length, char **ret) {
        const char *end = line + length;

        const char *p = memmem(line, length, " - ", 3);
        if (!p)
                return -EBADMSG;
        p += 3;

        for (unsigned field = 0; field < 2; field++) {
                p = memchr(p, ' ', (size_t) (end - p));
                if (!p)
                        return -EBADMSG;
                p++;
        }

        char *options = strndup(p, (size_t) (end - p));
        if (!options)
                return -ENOMEM;
        *ret = options;
        return 0;
}

/* Whether the field with this index, of which the first is 0, is this one. */
static bool line_has(const char *line, size_t length, unsigned index, const char *wanted) {
        const char *end = line + length;

        for (; index > 0; index--) {
                line = memchr(line, ' ', (size_t) (end - line));
                if (!line)
                        return false;
                line++;
        }

        size_t n = strlen(wanted);
        return (size_t) (end - line) > n && memcmp(line, wanted, n) == 0 && line[n] == ' ';
}

/* The options in the first line that has this field. */
static int find_super_options(const char *mountinfo, unsigned index, const char *wanted, char **ret) {
        for (const char *line = mountinfo; *line != '\0';) {
                size_t length = strcspn(line, "\n");
                if (line_has(line, length, index, wanted))
                        return line_super_options(line, length, ret);
                line += length;
                line += *line == '\n';
        }
        return -ENOENT;
}

int store_mountinfo_options(const char *mountinfo, uint64_t mount_id, char **ret) {
        char wanted[24];

        (void) snprintf(wanted, sizeof(wanted), "%" PRIu64, mount_id);
        return find_super_options(mountinfo, 0, wanted, ret);
}

int store_mountinfo_device_options(const char *mountinfo, dev_t device, char **ret) {
        char wanted[24];

        (void) snprintf(wanted, sizeof(wanted), "%u:%u", major(device), minor(device));
        return find_super_options(mountinfo, 2, wanted, ret);
}

/* The options of the file system that fd is on. */
static int super_options_of(int fd, char **ret) {
        _cleanup_free_ uint8_t *mountinfo = NULL;
        struct statx stx;
        size_t size;

        if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0)
                return -errno;
        if (!(stx.stx_mask & STATX_MNT_ID))
                return -EOPNOTSUPP;

        int r = read_file("/proc/self/mountinfo", MOUNTINFO_MAX, &mountinfo, &size);
        if (r < 0)
                return r;
        return store_mountinfo_options((const char *) mountinfo, stx.stx_mnt_id, ret);
}

static int check_memory(int fd, const char *path, Error *error) {
        _cleanup_free_ char *options = NULL;
        struct statfs fs;

        if (fstatfs(fd, &fs) < 0)
                return error_set(error, -errno, FAILURE_STORE,
                                 "Cannot find out which file system %s is on: %m.", path);

        if (fs.f_type == TMPFS_MAGIC) {
                int r = super_options_of(fd, &options);
                if (r < 0)
                        return error_set(
                                        error, r, FAILURE_STORE,
                                        "Cannot find out whether the tmpfs of the store %s can be swapped: %s. Mount ramfs there.",
                                        path, strerror(-r));
        }

        if (store_file_system_is_memory(fs.f_type, options))
                return 0;
        if (fs.f_type == TMPFS_MAGIC)
                return error_set(
                                error, -EMEDIUMTYPE, FAILURE_STORE,
                                "The store %s is on a tmpfs that can be swapped to disk. Mount ramfs there, or tmpfs with the option noswap (Linux 6.4 or later).",
                                path);
        return error_set(
                        error, -EMEDIUMTYPE, FAILURE_STORE,
                        "The store %s is on a file system that is not memory (type 0x%lx). Mount ramfs there, or tmpfs with the option noswap (Linux 6.4 or later).",
                        path, (unsigned long) fs.f_type);
}

static int check_owner(int fd, const char *path, Error *error) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return error_set(error, -errno, FAILURE_STORE, "Cannot find out who owns the store %s: %m.",
                                 path);
        if (st.st_uid != 0 && st.st_uid != geteuid())
                return error_set(
                                error, -EPERM, FAILURE_STORE,
                                "The store %s belongs to user %u. It must belong to root or to unseald's own user.",
                                path, (unsigned) st.st_uid);
        if (st.st_mode & (S_IWGRP | S_IWOTH))
                return error_set(
                                error, -EPERM, FAILURE_STORE,
                                "Users other than the owner may write to the store %s (mode %04o). Mount it with mode=0755.",
                                path, (unsigned) st.st_mode & 07777);
        return 0;
}

static int open_directory(const char *path, Error *error) {
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return error_set(
                                error, -errno, FAILURE_STORE,
                                "The store %s cannot be opened: %m. It must be a directory, not a symbolic link, on ramfs or on tmpfs mounted with noswap.",
                                path);
        return fd;
}

int store_check_memory(const char *path, Error *error) {
        _cleanup_close_ int fd = open_directory(path, error);

        return fd < 0 ? fd : check_memory(fd, path, error);
}

int store_open(const char *path, Store **ret, Error *error) {
        _cleanup_close_ int fd = -1;
        int r;

        fd = open_directory(path, error);
        if (fd < 0)
                return fd;
        r = check_memory(fd, path, error);
        if (r < 0)
                return r;
        r = check_owner(fd, path, error);
        if (r < 0)
                return r;

        Store *store = malloc(sizeof(*store));
        char *copy = strdup(path);
        if (!store || !copy) {
                free(store);
                free(copy);
                return error_oom(error);
        }

        *store = (Store){ .fd = TAKE_FD(fd), .path = copy, .size_max = LIMIT_STORE_BYTES };
        *ret = store;
        return 0;
}

Store *store_free(Store *store) {
        if (!store)
                return NULL;

        (void) close(store->fd);
        free(store->path);
        free(store);
        return NULL;
}

void store_set_size_max(Store *store, uint64_t size_max) {
        store->size_max = size_max;
}

static int check_name(const Store *store, const char *name, Error *error) {
        size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");

        if (length > 0 && length <= NAME_LENGTH_MAX && name[length] == '\0' && name[0] != '.')
                return 0;
        return error_set(
                        error, -EINVAL, FAILURE_STORE,
                        "A file in the store %s cannot be named '%.80s'. A name has 1 to %u of A-Z a-z 0-9 - _ . and does not begin with a dot.",
                        store->path, name, NAME_LENGTH_MAX);
}

static int list(const Store *store, DIR **ret) {
        _cleanup_close_ int fd = -1;

        /* A duplicate of the descriptor would share its position. */
        fd = openat(store->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        DIR *directory = fdopendir(fd);
        if (!directory)
                return -errno;
        (void) TAKE_FD(fd);
        *ret = directory;
        return 0;
}

/* The next entry except . and ... NULL: the end, with 0 in *ret_r, or an error. */
static const char *list_next(DIR *directory, int *ret_r) {
        for (;;) {
                errno = 0;
                const struct dirent *entry = readdir(directory);
                *ret_r = entry ? 0 : -errno;
                if (!entry)
                        return NULL;
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        return entry->d_name;
        }
}

static bool is_draft(const Store *store, const char *name) {
        for (const StoreDraft *draft = store->drafts; draft; draft = draft->next)
                if (strcmp(draft->temporary, name) == 0)
                        return true;
        return false;
}

static int sum_sizes(const Store *store, uint64_t *ret) {
        _cleanup_(closedirp) DIR *directory = NULL;
        uint64_t sum = 0;
        const char *name;
        struct stat st;

        int r = list(store, &directory);
        if (r < 0)
                return r;

        while ((name = list_next(directory, &r))) {
                if (fstatat(store->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return -errno;
                if (S_ISREG(st.st_mode) && !is_draft(store, name))
                        sum += (uint64_t) st.st_size;
        }
        for (const StoreDraft *draft = store->drafts; draft; draft = draft->next)
                sum += draft->size;
        if (r >= 0)
                *ret = sum;
        return r;
}

/* The total size of all files except the published one of this name, which is to be replaced. A session prepares many files one
 * after another, so the sum is kept: listing the store for each of them would take n² system calls. */
static int sum_others(Store *store, const char *name, uint64_t *ret) {
        struct stat st;

        int r = store->is_summed ? 0 : sum_sizes(store, &store->sum);
        if (r < 0)
                return r;
        store->is_summed = true;
        *ret = store->sum;
        if (fstatat(store->fd, name, &st, AT_SYMLINK_NOFOLLOW) >= 0 && S_ISREG(st.st_mode))
                *ret -= (uint64_t) st.st_size < store->sum ? (uint64_t) st.st_size : store->sum;
        return 0;
}

static bool overwrite(int fd, off_t begin, off_t end) {
        static const uint8_t zeros[4096];

        while (begin < end) {
                size_t left = (size_t) (end - begin);
                ssize_t n = pwrite(fd, zeros, left < sizeof(zeros) ? left : sizeof(zeros), begin);
                if (n > 0)
                        begin += n;
                else if (n == 0 || errno != EINTR)
                        return false;
        }
        return true;
}

/*
 * Overwrites a file that has no name any more; ramfs and tmpfs would free its pages with their content. The kernel grants a
 * write lease only while no other process has the file open. The lease does not show a process that has looked up the name but
 * not opened the file yet. With readers in a tight loop that happened a few times in 100000 replacements, so a secret that is
 * replaced is not overwritten.
 */
static void wipe_unread(int fd) {
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || st.st_nlink > 0)
                return;

        /* Root may still open it through /proc/PID/fd; the kernel then sends a signal. The default, SIGIO, would kill unseald. */
        if (fcntl(fd, F_SETSIG, SIGURG) < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
                return;

        /* A draft may have holes, and zeros in a hole would take memory. */
        for (off_t begin = 0, end; (begin = lseek(fd, begin, SEEK_DATA)) >= 0; begin = end) {
                end = lseek(fd, begin, SEEK_HOLE);
                if (end < 0 || !overwrite(fd, begin, end))
                        return;
        }
}

/* An entry that cannot be opened like this, such as a symbolic link, has nothing to wipe. A draft that a killed process has left has mode
 * 0, and unseald's own user may not override that. */
static int open_to_wipe(const Store *store, const char *name) {
        const int flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
        int fd = openat(store->fd, name, flags);
        struct stat st;

        if (fd >= 0 || errno != EACCES || name[0] != '.')
                return fd;
        if (fstatat(store->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
            fchmodat(store->fd, name, S_IWUSR, 0) < 0)
                return -1;
        return openat(store->fd, name, flags);
}

static int remove_entry(const Store *store, const char *name) {
        _cleanup_close_ int fd = open_to_wipe(store, name); /* while it has a name */

        if (unlinkat(store->fd, name, 0) < 0)
                return -errno;
        wipe_unread(fd);
        return 0;
}

static int create_temporary(const Store *store, const char *name,
                            char ret_temporary[static TEMPORARY_SIZE]) {
        uint64_t random;

        if (getrandom(&random, sizeof(random), 0) != sizeof(random))
                return -errno;
        (void) snprintf(ret_temporary, TEMPORARY_SIZE, ".%s.%016" PRIx64, name, random);

        int fd = openat(store->fd, ret_temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
}

/* The order is group, mode, owner. If the mode came first, unseald's own group could read a secret for another group. If the
 * owner came first, unseald would need CAP_FOWNER to set the mode. An owner that stays the same is not set: then unseald needs
 * neither the capability nor the system call. */
static int give(int fd, uid_t uid, gid_t gid, mode_t mode) {
        struct stat st;

        if (fstat(fd, &st) < 0 || (st.st_gid != gid && fchown(fd, (uid_t) -1, gid) < 0) ||
            fchmod(fd, mode) < 0 || (st.st_uid != uid && fchown(fd, uid, (gid_t) -1) < 0))
                return -errno;
        return 0;
}

/* Returns the descriptor of a complete hidden file, and its name. */
static int write_hidden(const Store *store, const char *name, const uint8_t *bytes, size_t size, uid_t uid,
                        gid_t gid, mode_t mode, char temporary[static TEMPORARY_SIZE]) {
        _cleanup_close_ int fd = -1;

        fd = create_temporary(store, name, temporary);
        if (fd < 0)
                return fd;

        int r = write_all(fd, bytes, size);
        if (r >= 0)
                r = give(fd, uid, gid, mode);
        if (r < 0) {
                (void) unlinkat(store->fd, temporary, 0);
                wipe_unread(fd);
                return r;
        }
        return TAKE_FD(fd);
}

static int explain_write(int r, const Store *store, const char *name, Error *error) {
        return error_set(error, r, FAILURE_STORE, "%s cannot be written to the store %s: %s.%s", name,
                         store->path, strerror(-r),
                         r == -EPERM ? " User= or Group= other than unseald's own requires CAP_CHOWN." : "");
}

/* Returns whether so many bytes more fit into the store under this name. */
static int check_room(Store *store, const char *name, uint64_t size, Error *error) {
        uint64_t others;

        int r = check_name(store, name, error);
        if (r < 0)
                return r;
        r = sum_others(store, name, &others);
        if (r < 0)
                return error_set(error, r, FAILURE_STORE, "The store %s cannot be listed: %s.", store->path,
                                 strerror(-r));
        if (size > store->size_max || others > store->size_max - size)
                return error_set(
                                error, -ENOSPC, FAILURE_STORE,
                                "%s does not fit into the store %s: all secrets together may have %llu bytes. Raise StoreSizeMax= in unseald.conf.",
                                name, store->path, (unsigned long long) store->size_max);
        return 0;
}

/* Returns the descriptor, as write_hidden(). */
static int prepare(Store *store, const char *name, const uint8_t *bytes, size_t size, uid_t uid, gid_t gid,
                   mode_t mode, char temporary[static TEMPORARY_SIZE], Error *error) {
        if (mode & ~(mode_t) 0777)
                return error_set(error, -EINVAL, FAILURE_STORE,
                                 "Mode %04o of %s has bits other than permissions.", (unsigned) mode, name);

        int r = check_room(store, name, size, error);
        if (r < 0)
                return r;
        r = write_hidden(store, name, bytes, size, uid, gid, mode, temporary);
        if (r < 0)
                return explain_write(r, store, name, error);
        store->sum += size;
        return r;
}

int store_prepare(Store *store, const char *name, Secret *secret, uid_t uid, gid_t gid, mode_t mode,
                  int *ret_fd, Error *error) {
        char temporary[TEMPORARY_SIZE];
        int r = prepare(store, name, secret_bytes(secret), secret_size(secret), uid, gid, mode, temporary,
                        error);

        if (r < 0)
                return r;
        *ret_fd = r;
        return 0;
}

int store_stage(Store *store, const char *name, const uint8_t *bytes, size_t size, uid_t uid, gid_t gid,
                mode_t mode, char **ret_hidden, Error *error) {
        char temporary[TEMPORARY_SIZE];
        _cleanup_close_ int fd = prepare(store, name, bytes, size, uid, gid, mode, temporary, error);
        char *hidden;

        if (fd < 0)
                return fd;
        hidden = strdup(temporary);
        if (!hidden) {
                (void) unlinkat(store->fd, temporary, 0);
                wipe_unread(fd);
                return error_oom(error);
        }
        *ret_hidden = hidden;
        return 0;
}

int store_reveal(Store *store, const char *name, const char *hidden, Error *error) {
        int r = check_name(store, name, error);

        if (r < 0)
                return r;
        store->is_summed = false;
        return renameat(store->fd, hidden, store->fd, name) < 0 ? explain_write(-errno, store, name, error)
                                                                : 0;
}

bool store_shows(const Store *store, const char *name, const uint8_t *bytes, size_t size, uid_t uid,
                 gid_t gid, mode_t mode) {
        _cleanup_close_ int fd =
                        openat(store->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        _cleanup_secret_ Secret *content = NULL;
        struct stat st;

        return fd >= 0 && fstat(fd, &st) >= 0 && S_ISREG(st.st_mode) && st.st_uid == uid &&
               st.st_gid == gid && (st.st_mode & 07777) == mode && st.st_size == (off_t) size &&
               store_read(fd, &content) >= 0 && secret_size(content) == size &&
               memcmp(secret_bytes(content), bytes, size) == 0;
}

int store_memory_available(const char *meminfo, uint64_t *ret) {
        static const char field[] = "MemAvailable:";
        const char *line = strncmp(meminfo, field, strlen(field)) == 0 ? meminfo
                                                                       : strstr(meminfo, "\nMemAvailable:");
        uint64_t kilobytes;

        if (!line || sscanf(line, " MemAvailable: %" SCNu64 " kB", &kilobytes) != 1 ||
            kilobytes > UINT64_MAX / 1024)
                return -EBADMSG;
        *ret = kilobytes * 1024;
        return 0;
}

#define BLOCK_SIZE 512U /* of st_blocks (stat(3type)) */

/* What a draft that is under way may still take. Its size does not tell: it may be set already, and parts come in any order. */
static uint64_t draft_missing(const StoreDraft *draft) {
        struct stat st;

        if (fstat(draft->fd, &st) < 0)
                return 0;
        uint64_t taken = (uint64_t) st.st_blocks * BLOCK_SIZE;
        return taken < draft->size ? draft->size - taken : 0;
}

/* A kernel that does not say what is available is not asked to give it. */
static int check_available(const Store *store, const char *name, uint64_t size, Error *error) {
        _cleanup_free_ uint8_t *meminfo = NULL;
        uint64_t available;
        size_t length;

        int r = read_file("/proc/meminfo", MOUNTINFO_MAX, &meminfo, &length);
        if (r >= 0)
                r = store_memory_available((const char *) meminfo, &available);
        if (r < 0)
                return error_set(error, r, FAILURE_STORE,
                                 "Cannot find out how much memory is available for %s: /proc/meminfo: %s.",
                                 name, strerror(-r));
        for (const StoreDraft *draft = store->drafts; draft; draft = draft->next)
                size += draft_missing(draft);
        if (available >= STORE_MEMORY_LEFT && available - STORE_MEMORY_LEFT >= size)
                return 0;
        return error_set(
                        error, -ENOSPC, FAILURE_STORE,
                        "%s cannot be written to the store %s: %llu bytes of memory are missing. It needs %llu and %llu for the rest of the machine, and %llu are available. Use an instance with more memory, or seal less.",
                        name, store->path, (unsigned long long) (size + STORE_MEMORY_LEFT - available),
                        (unsigned long long) size, (unsigned long long) STORE_MEMORY_LEFT,
                        (unsigned long long) available);
}

int store_draft_begin(Store *store, const char *name, uint64_t size, StoreDraft **ret, Error *error) {
        StoreDraft *draft;

        int r = check_room(store, name, size, error);
        if (r >= 0)
                r = check_available(store, name, size, error);
        if (r < 0)
                return r;
        draft = malloc(sizeof(*draft));
        if (!draft)
                return error_oom(error);
        *draft = (StoreDraft){ .store = store, .next = store->drafts, .size = size };
        memcpy(draft->name, name, strlen(name) + 1);
        draft->fd = create_temporary(store, name, draft->temporary);
        if (draft->fd < 0) {
                r = draft->fd;
                free(draft);
                return explain_write(r, store, name, error);
        }
        store->drafts = draft;
        store->sum += size;
        *ret = draft;
        return 0;
}

void store_draft_expect(StoreDraft *draft, uint64_t size) {
        struct statfs fs;

        /* A hole of ramfs looks like data, and wiping it would take memory. */
        if (size > draft->size || fstatfs(draft->fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC)
                return;
        /* Without its size the file is written in small pages. */
        if (ftruncate(draft->fd, (off_t) size) < 0)
                return;
}

int store_draft_write(StoreDraft *draft, const uint8_t *data, size_t size, uint64_t offset) {
        while (size > 0) {
                ssize_t n = pwrite(draft->fd, data, size, (off_t) offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                data += n;
                size -= (size_t) n;
                offset += (size_t) n;
        }
        return 0;
}

static void forget_draft(StoreDraft *draft) {
        StoreDraft **place = &draft->store->drafts;

        while (*place != draft)
                place = &(*place)->next;
        *place = draft->next;
        draft->store->is_summed = false;
        draft->store = NULL;
}

void store_draft_abandon(StoreDraft *draft) {
        if (!draft->store)
                return;
        (void) unlinkat(draft->store->fd, draft->temporary, 0);
        forget_draft(draft);
}

StoreDraft *store_draft_free(StoreDraft *draft) {
        if (!draft)
                return NULL;
        store_draft_abandon(draft);
        if (draft->fd >= 0) {
                wipe_unread(draft->fd);
                (void) close(draft->fd);
        }
        free(draft);
        return NULL;
}

int store_draft_finish(StoreDraft *draft, uid_t uid, gid_t gid, mode_t mode, int *ret_fd, Error *error) {
        _cleanup_(store_draft_freep) StoreDraft *taken = draft;

        int r = give(draft->fd, uid, gid, mode);
        if (r < 0)
                return explain_write(r, draft->store, draft->name, error);
        forget_draft(draft);
        *ret_fd = TAKE_FD(draft->fd);
        return 0;
}

int store_draft_hold(StoreDraft *draft, int *ret_fd, Error *error) {
        _cleanup_(store_draft_freep) StoreDraft *taken = draft;

        if (unlinkat(draft->store->fd, draft->temporary, 0) < 0)
                return explain_write(-errno, draft->store, draft->name, error);
        forget_draft(draft);
        *ret_fd = TAKE_FD(draft->fd);
        return 0;
}

int store_hold(Store *store, Secret *secret, int *ret_fd, Error *error) {
        char temporary[TEMPORARY_SIZE];
        _cleanup_close_ int fd = -1;

        fd = create_temporary(store, "held", temporary);
        int r = fd < 0 ? fd : 0;
        if (r >= 0 && unlinkat(store->fd, temporary, 0) < 0)
                r = -errno;
        if (r >= 0)
                r = write_all(fd, secret_bytes(secret), secret_size(secret));
        if (r < 0) {
                wipe_unread(fd);
                return error_set(error, r, FAILURE_STORE, "The store %s cannot be written to: %s.",
                                 store->path, strerror(-r));
        }
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Whether a tmpfs may be a store that is no longer mounted. */
static bool tmpfs_was_store(dev_t device) {
        _cleanup_free_ uint8_t *mountinfo = NULL;
        _cleanup_free_ char *options = NULL;
        _cleanup_close_ int shared = memfd_create("unseald-device", MFD_CLOEXEC);
        struct stat st;
        size_t size;

        if (shared < 0 || fstat(shared, &st) < 0 || st.st_dev == device ||
            read_file("/proc/self/mountinfo", MOUNTINFO_MAX, &mountinfo, &size) < 0)
                return false;
        int r = store_mountinfo_device_options((const char *) mountinfo, device, &options);
        return r == -ENOENT || (r >= 0 && has_option(options, "noswap"));
}

bool store_trusts(const Store *store, int fd) {
        struct stat st, directory;
        struct statfs fs;

        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fstat(store->fd, &directory) < 0)
                return false;
        if (st.st_dev == directory.st_dev)
                return true;
        /* If the store was mounted again since, the files of the old mount are still in memory. */
        if (fstatfs(fd, &fs) < 0)
                return false;
        return fs.f_type == TMPFS_MAGIC ? tmpfs_was_store(st.st_dev)
                                        : store_file_system_is_memory(fs.f_type, NULL);
}

int store_read(int fd, Secret **ret) {
        _cleanup_secret_ Secret *secret = NULL;
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size > SECRET_SIZE_MAX)
                return -EFBIG;
        r = secret_new((size_t) st.st_size, &secret);
        if (r < 0)
                return r;

        for (size_t done = 0; done < secret_size(secret);) {
                ssize_t n = pread(fd, secret_bytes(secret) + done, secret_size(secret) - done, (off_t) done);
                if (n > 0)
                        done += (size_t) n;
                else if (n == 0)
                        return -ENODATA;
                else if (errno != EINTR)
                        return -errno;
        }
        *ret = TAKE_PTR(secret);
        return 0;
}

static bool is_same_file(const struct stat *a, const struct stat *b) {
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The hidden name of this file of a secret. -ENOENT: it has none. */
static int find_hidden(const Store *store, const char *secret, const struct stat *wanted,
                       char ret_name[static TEMPORARY_SIZE]) {
        _cleanup_(closedirp) DIR *directory = NULL;
        size_t length = strlen(secret);
        const char *name;
        struct stat st;

        int r = list(store, &directory);
        if (r < 0)
                return r;
        while ((name = list_next(directory, &r)))
                if (name[0] == '.' && strncmp(name + 1, secret, length) == 0 && name[1 + length] == '.' &&
                    strlen(name) < TEMPORARY_SIZE &&
                    fstatat(store->fd, name, &st, AT_SYMLINK_NOFOLLOW) >= 0 && is_same_file(&st, wanted)) {
                        memcpy(ret_name, name, strlen(name) + 1);
                        return 0;
                }
        return r < 0 ? r : -ENOENT;
}

/* Returns 1 if the file has the name already. Otherwise *ret_hidden is the name that it has now. */
static int find_file(const Store *store, const char *name, int fd, char ret_hidden[static TEMPORARY_SIZE]) {
        struct stat st, published;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (fstatat(store->fd, name, &published, AT_SYMLINK_NOFOLLOW) >= 0 && is_same_file(&st, &published))
                return true;
        int r = find_hidden(store, name, &st, ret_hidden);
        return r < 0 ? r : false;
}

bool store_can_publish(const Store *store, const char *name, int fd, uid_t uid, gid_t gid, mode_t mode) {
        char hidden[TEMPORARY_SIZE];
        struct stat st;

        return fstat(fd, &st) >= 0 && st.st_uid == uid && st.st_gid == gid && (st.st_mode & 07777) == mode &&
               find_file(store, name, fd, hidden) >= 0;
}

int store_publish(Store *store, const char *name, int fd, Error *error) {
        char hidden[TEMPORARY_SIZE];

        int r = check_name(store, name, error);
        if (r < 0)
                return r;
        r = find_file(store, name, fd, hidden);
        store->is_summed = false;
        if (r == 0 && renameat(store->fd, hidden, store->fd, name) < 0)
                r = -errno;
        return r < 0 ? explain_write(r, store, name, error) : 0;
}

/* Compares the files themselves: another file with the name of a secret does not stay. */
static bool is_retained(const Store *store, const char *name, const StoreFile *files, size_t count) {
        struct stat st, file;

        if (fstatat(store->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return false;
        for (size_t i = 0; i < count; i++)
                if (files[i].by_name) {
                        const char *wanted = name[0] == '.' ? files[i].hidden : files[i].name;

                        if (wanted && strcmp(name, wanted) == 0)
                                return S_ISREG(st.st_mode);
                } else if ((name[0] == '.' || (files[i].name && strcmp(name, files[i].name) == 0)) &&
                           fstat(files[i].fd, &file) >= 0 && is_same_file(&st, &file))
                        return true;
        return false;
}

int store_retain(Store *store, const StoreFile *files, size_t count, Error *error) {
        _cleanup_(closedirp) DIR *directory = NULL;
        const char *name;
        int result = 0;

        int r = list(store, &directory);
        if (r < 0)
                return error_set(error, r, FAILURE_STORE, "The store %s cannot be listed: %s.", store->path,
                                 strerror(-r));
        store->is_summed = false;

        /* If one file cannot be removed, the others still must go. */
        while ((name = list_next(directory, &r))) {
                int q = is_retained(store, name, files, count) ? 0 : remove_entry(store, name);
                if (q < 0)
                        result = error_set(error, q, FAILURE_STORE,
                                           "%s cannot be removed from the store %s: %s.", name, store->path,
                                           strerror(-q));
        }
        if (r < 0)
                return error_set(error, r, FAILURE_STORE, "The store %s cannot be listed: %s.", store->path,
                                 strerror(-r));
        return result;
}
