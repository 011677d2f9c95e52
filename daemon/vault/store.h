/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The store: a directory in memory in which each secret is a file, for
 * LoadCredential=NAME:/run/unseald/credentials/NAME. Only ramfs, or tmpfs mounted with noswap, is believed
 * to be memory; anything else is refused. A file appears whole or not at all.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "memory/secret.h"

typedef struct Store Store;

#define STORE_SIZE_MAX (16U * 1024U * 1024U) /* of all secrets; ramfs knows no limit of its own */

/* Whether the directory is memory; for who only looks at the store. FAILURE_STORE. */
int store_check_memory(const char *path, Error *error);

/* Opens the directory and proves that it is memory and ours to write. FAILURE_STORE. */
int store_open(const char *path, Store **ret, Error *error);
Store *store_free(Store *store);
DEFINE_CLEANUP(Store *, store_free);

/*
 * name: a credential name, 1 to 64 of A-Z a-z 0-9 - _ . that does not begin with a dot (those are
 * half-written files).
 * mode: permission bits only. Another owner than unseald's own takes CAP_CHOWN.
 *
 * What is removed is overwritten unless somebody is just reading it; who opens it in that very moment may
 * read zeros. What is replaced is not overwritten, for then a reader might see half of it: its pages go back
 * to the kernel, which zeroes them before it gives them to anybody (and at once where it was booted with
 * init_on_free=1). Nor is what a descriptor of store_prepare() or store_hold() is still open for.
 */

/* A secret in two steps. The first makes a file that is whole but hidden. uid, gid: of the file, (uid_t) -1 and (gid_t) -1 for
 * unseald's own. *ret_fd is open for reading and writing. */
int store_prepare(Store *store, const char *name, Secret *secret, uid_t uid, gid_t gid, mode_t mode,
                  int *ret_fd, Error *error);

/* The second gives it its name, in place of a file that has it, and may come much later, in another process. It does nothing
 * where the file has its name already. */
int store_publish(Store *store, const char *name, int fd, Error *error);

/* Whether the file is in this store, hidden or under this name, with this owner and mode. uid, gid: no -1. */
bool store_can_publish(const Store *store, const char *name, int fd, uid_t uid, gid_t gid, mode_t mode);

/* A file without a name, for what is not to be found in the store. Not counted in STORE_SIZE_MAX. */
int store_hold(Store *store, Secret *secret, int *ret_fd, Error *error);

/* Whether it is a regular file in memory that is never swapped: in the store, or on a ramfs that was mounted in its place. */
bool store_trusts(const Store *store, int fd);

/* All of a file, from its beginning; its position stays where it is. -EFBIG above SECRET_SIZE_MAX. */
int store_read(int fd, Secret **ret);

typedef struct StoreFile {
        const char *name; /* NULL: it may only be hidden */
        int fd;           /* negative: there is none */
} StoreFile;

/* Removes every file but these: what a killed predecessor left, half-written ones too, and what anybody else has put there,
 * whatever its name. To overwrite another owner's file takes CAP_DAC_OVERRIDE and CAP_LEASE. */
int store_retain(Store *store, const StoreFile *files, size_t count, Error *error);

/* Pure: whether a file system of this kind (statfs(2) f_type) with these mount options is memory that
 * cannot be swapped. */
bool store_file_system_is_memory(long type, const char *super_options) _pure_;

/* Pure: the options of the file system (not those of the mount) that /proc/self/mountinfo, proc(5), lists
 * under this mount ID. The caller frees. -ENOENT where it does not, -EBADMSG where the line is not as it
 * should be. */
int store_mountinfo_options(const char *mountinfo, uint64_t mount_id, char **ret);
