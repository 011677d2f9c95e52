/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The store is a directory in memory. Each published secret is a file in it, for
 * LoadCredential=NAME:/run/unseald/credentials/NAME. The directory must be on ramfs, or on tmpfs mounted with noswap; any
 * other file system is refused. A file appears whole or not at all.
 *
 * A file that is removed is overwritten with zeros, unless a process has it open. A process that opens it at the same moment
 * may read zeros. A file that is replaced is not overwritten, because a reader could then see half of it. The kernel zeroes
 * the freed pages before it gives them to another process, or at once if it was booted with init_on_free=1. A file whose
 * descriptor from store_prepare() or store_hold() is still open is not overwritten either. Nor is a page from which the kernel has moved
 * the content: it compacts memory, and joins small pages of a mapped file to a huge one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/limits.h"
#include "memory/secret.h"

typedef struct Store Store;

/* Checks only that the directory is on a memory file system. FAILURE_STORE. */
int store_check_memory(const char *path, Error *error);

/* Opens the directory, and checks that it is on a memory file system and that only root or unseald's user can write to it.
 * FAILURE_STORE. */
int store_open(const char *path, Store **ret, Error *error);
Store *store_free(Store *store);
DEFINE_CLEANUP(Store *, store_free);

/* The most bytes that all files may have together (StoreSizeMax=). The default is LIMIT_STORE_BYTES. */
void store_set_size_max(Store *store, uint64_t size_max);

/*
 * The first of two steps: makes a file that is whole but hidden. FAILURE_STORE.
 *
 * name: a credential name, 1 to 64 of A-Z a-z 0-9 - _ . that does not begin with a dot (hidden files do).
 * uid, gid: the owner of the file; (uid_t) -1 and (gid_t) -1 mean unseald's own. Any other owner requires CAP_CHOWN.
 * mode: permission bits only.
 * *ret_fd: open for reading and writing; the caller closes it.
 */
int store_prepare(Store *store, const char *name, Secret *secret, uid_t uid, gid_t gid, mode_t mode,
                  int *ret_fd, Error *error);

/*
 * The first step for a file that is written piece by piece. Until it is finished it is hidden and has mode 0. store_draft_begin(),
 * store_draft_finish() and store_draft_abandon() belong to the thread of the store.
 */
typedef struct StoreDraft StoreDraft;

/* size: the most bytes that the file will have; from now on they count towards StoreSizeMax=. ramfs gives memory until the machine
 * has none, so it looks at what is available first. -ENOSPC, FAILURE_STORE: the store is full, or the machine
 * has too little memory; the text says how much is missing. The store must outlive the draft, or store_draft_abandon(). */
int store_draft_begin(Store *store, const char *name, uint64_t size, StoreDraft **ret, Error *error);

/* Before the first byte is written: the file will have so many bytes at least if it is ever finished. A tmpfs with huge=within_size
 * then takes huge pages for it, which is several times as quick. Elsewhere nothing happens. */
void store_draft_expect(StoreDraft *draft, uint64_t size);

/* Any thread, but one at a time. A negative errno: not all bytes are written. */
int store_draft_write(StoreDraft *draft, const uint8_t *data, size_t size, uint64_t offset);

/* The file is whole, and gets its owner and mode; the rest is as with store_prepare(). Frees the draft, on failure too, and then nothing
 * of the file is left. */
int store_draft_finish(StoreDraft *draft, uid_t uid, gid_t gid, mode_t mode, int *ret_fd, Error *error);

/* The same for a secret that has no file in the store: as store_hold(). */
int store_draft_hold(StoreDraft *draft, int *ret_fd, Error *error);

/* The file loses its name, and does not count any more. Afterwards only store_draft_free() may be called, by any thread. */
void store_draft_abandon(StoreDraft *draft);

/* Overwrites the file and frees its memory. Returns NULL. */
StoreDraft *store_draft_free(StoreDraft *draft);
DEFINE_CLEANUP(StoreDraft *, store_draft_free);

/* What stays available to the rest of the machine when a draft has its whole size. */
#define STORE_MEMORY_LEFT (UINT64_C(32) * 1024 * 1024)

/* Pure. MemAvailable of /proc/meminfo (proc(5)), in bytes. -EBADMSG: there is no such line. */
int store_memory_available(const char *meminfo, uint64_t *ret);

/* The second step: gives the file its name and replaces another file of that name. This step may run much later and in another
 * process. If the file has the name already, nothing changes. FAILURE_STORE. */
int store_publish(Store *store, const char *name, int fd, Error *error);

/* Returns whether the file is in this store, hidden or under this name, with this owner and mode. uid and gid may not be -1. */
bool store_can_publish(const Store *store, const char *name, int fd, uid_t uid, gid_t gid, mode_t mode);

/* Makes a file without a name, for a secret that has no file in the store. It does not count towards StoreSizeMax=. The
 * caller closes *ret_fd. FAILURE_STORE. */
int store_hold(Store *store, Secret *secret, int *ret_fd, Error *error);

/*
 * Returns whether fd is a regular file in memory that is never swapped: in the store, or on a ramfs or a tmpfs that was its mount
 * before. The options of a tmpfs that is mounted nowhere cannot be found out. It is trusted: only unseald gives the service manager
 * descriptors to keep (NotifyAccess=main), and it writes only where store_open() saw noswap. A tmpfs that is mounted without noswap is
 * not trusted, and neither is the kernel's own, which has memfds and shared memory.
 */
bool store_trusts(const Store *store, int fd);

/* Reads the whole file and leaves the file position alone. -EFBIG: the file is larger than SECRET_SIZE_MAX. */
int store_read(int fd, Secret **ret);

/*
 * The files of the members of a bundle. Nobody keeps their descriptors: the bundle is kept as a whole, so a file that is lost is
 * written again. bytes and size: the content.
 */

/* The first step, as with store_prepare(). *ret_hidden: the file's hidden name; the caller frees it. FAILURE_STORE. */
int store_stage(Store *store, const char *name, const uint8_t *bytes, size_t size, uid_t uid, gid_t gid,
                mode_t mode, char **ret_hidden, Error *error);

/* The second step: gives the file its name and replaces another file of that name. FAILURE_STORE. */
int store_reveal(Store *store, const char *name, const char *hidden, Error *error);

/* Returns whether the published file of this name has this content, owner and mode, and is a regular file. */
bool store_shows(const Store *store, const char *name, const uint8_t *bytes, size_t size, uid_t uid,
                 gid_t gid, mode_t mode);

typedef struct StoreFile {
        const char *name;   /* NULL: the file stays only while it is hidden */
        int fd;             /* of the file; negative: there is no file, or the file of a member */
        bool by_name;       /* of a member: what has the name stays */
        const char *hidden; /* of a member: what has this name stays, too; NULL: nothing */
} StoreFile;

/* Removes every file but these, whatever its name: half-written files of a killed process too, and files that somebody else
 * has put there. Overwriting another owner's file requires CAP_DAC_OVERRIDE and CAP_LEASE. FAILURE_STORE. */
int store_retain(Store *store, const StoreFile *files, size_t count, Error *error);

/* Pure. Whether a file system of this type (statfs(2), f_type) with these mount options is memory that is never swapped.
 * super_options may be NULL. */
bool store_file_system_is_memory(long type, const char *super_options) _pure_;

/* Pure. The options of the file system (not those of the mount) that /proc/self/mountinfo (proc(5)) lists under this mount ID.
 * The caller frees *ret. -ENOENT: the ID is not listed. -EBADMSG: its line is malformed. */
int store_mountinfo_options(const char *mountinfo, uint64_t mount_id, char **ret);

/* Pure. The same for the first mount of the file system with this device number. */
int store_mountinfo_device_options(const char *mountinfo, dev_t device, char **ret);
