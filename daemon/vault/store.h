/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The store: a directory in memory in which each secret is a file, for LoadCredential=NAME:/run/unseald/credentials/NAME.
 * Only ramfs, or tmpfs mounted with noswap, is believed to be memory; anything else is refused. A file appears whole
 * or not at all.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "vault/memory.h"

typedef struct Store Store;

#define STORE_SIZE_MAX (16U * 1024U * 1024U) /* of all secrets; ramfs knows no limit of its own */

/* Opens the directory and proves that it is memory and ours to write. FAILURE_STORE. */
int store_open(const char *path, Store **ret, Error *error);
Store *store_free(Store *store);
DEFINE_CLEANUP(Store *, store_free);

/* uid, gid: of the file, (uid_t) -1 and (gid_t) -1 for unseald's own. Replaces a file of that name. */
int store_put(Store *store, const char *name, Secret *secret, uid_t uid, gid_t gid, mode_t mode, Error *error);

/* -ENOENT where there is none. */
int store_remove(Store *store, const char *name, Error *error);

/* Removes every file that is not in keep (NULL-terminated): what a killed predecessor left, half-written ones too. */
int store_retain(Store *store, const char *const *keep, Error *error);

/* Pure: whether a file system of this kind (statfs(2) f_type) with these mount options is memory that cannot be
 * swapped. */
bool store_file_system_is_memory(long type, const char *super_options) _pure_;
