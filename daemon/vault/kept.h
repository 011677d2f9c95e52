/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Keeps unsealed secrets over a restart. For each secret this process and the service manager's descriptor store hold a
 * descriptor of a file in the store. A manifest (vault/manifest.h) lets the next process check that nothing has changed. No
 * plaintext stays in this process's own memory.
 *
 * Secrets are first put and then committed together. If the process is killed before the commit, the next process gets the
 * secrets of the last commit, or none. A reload therefore puts all secrets, commits, and publishes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "memory/secret.h"
#include "vault/manifest.h"
#include "vault/store.h"

typedef struct Kept Kept;

#define KEPT_MAX MANIFEST_ENTRIES_MAX

/* A secret and the digest of everything that decides which plaintext it is (declaration_digest()). */
typedef struct KeptClaim {
        const char *name;
        uint8_t stands_for[MANIFEST_DIGEST_SIZE];
        const uint64_t *version; /* for kept_put(): what the vendor has signed; NULL: nothing */
        const ManifestMember *
                        members; /* for kept_put(): of a bundle, sorted by name; NULL: the secret is no bundle */
        size_t members_count;
} KeptClaim;

/* The lock that belongs to the kept secrets. */
typedef struct KeptLock {
        uint8_t pcr; /* LockPcr=; 0: no lock */
        /* The value of the PCR when the secrets were unsealed. */
        uint8_t before[sizeof(((ManifestHeader *) NULL)->pcr_before)];
} KeptLock;

/* event is borrowed. */
int kept_new(sd_event *event, Kept **ret);

/* Closes this process's descriptors; the service manager keeps its own. Returns NULL. */
Kept *kept_free(Kept *kept);
DEFINE_CLEANUP(Kept *, kept_free);

/*
 * Takes back what the service manager has kept. Call it once, at the start. A secret is accepted if a manifest of this boot
 * lists it with the same size and checksum (a file of more than SECRET_SIZE_MAX bytes has no checksum and is not read), its file is in memory (store_trusts()), and its digest is the one claimed now.
 * Every other descriptor is dropped, here and by the service manager, and the journal says which and why.
 */
int kept_restore(Kept *kept, const Store *store, const KeptClaim *claims, size_t claims_count, Error *error);

/* The descriptor of a committed secret, borrowed until the next kept_commit(). Read it with pread(): other processes share the
 * file position. -ENOENT. */
int kept_find(const Kept *kept, const char *name);

/* The signed version of a committed secret, borrowed until the next change. NULL: there is no such secret, or it is not signed. */
const uint64_t *kept_version(const Kept *kept, const char *name);

/* The places of the members of a committed bundle, sorted by name, borrowed until the next change. NULL: there is no such bundle. */
const ManifestMember *kept_members(const Kept *kept, const char *name, size_t *ret_count);

/* Returns whether a secret of this name and this digest is committed. */
bool kept_has(const Kept *kept, const KeptClaim *claim);

/* Keeps a secret from the next kept_commit() on, in place of a committed one of the same name. fd comes from store_prepare() or
 * store_hold(); it is taken, on failure too. FAILURE_STORE: more than KEPT_MAX secrets or StoreSizeMax= bytes. */
int kept_put(Kept *kept, const KeptClaim *claim, Secret *secret, int fd, Error *error);

/* The same for a file whose plaintext is not in this process's memory. A file of up to SECRET_SIZE_MAX bytes is read for its
 * checksum. */
int kept_put_file(Kept *kept, const KeptClaim *claim, int fd, Error *error);

/* The most bytes that may be kept together (StoreSizeMax=). The default is LIMIT_STORE_BYTES. */
void kept_set_size_max(Kept *kept, uint64_t size_max);

/* The next kept_commit() drops every committed secret that is neither claimed here nor put again. */
void kept_claim(Kept *kept, const KeptClaim *claims, size_t count);

/* Called once, from the event loop, with the outcome of kept_commit(). */
typedef void (*KeptCommitted)(int r, const Error *error, void *userdata);

/* Hands the descriptors of all secrets, and of a manifest that lists them, to the service manager. The lock is recorded as not
 * done, unless the manifest before has the same lock as done. Returns 0 if the service manager must answer first: committed is
 * then called with the outcome. Returns 1 if there is no service manager: all is committed. Until then the secrets of the last
 * commit are the kept ones, and nothing may be put or claimed.
 *
 * This is the one point of no return: success means that the next process gets these secrets. A failure, here or in the callback,
 * means that it gets those of the last commit, all of them, and that this manifest is invalid for everybody; the caller then calls
 * kept_abandon(). -ETIMEDOUT: the service manager has not answered, so it is unknown which descriptors it has. */
int kept_commit(Kept *kept, Store *store, const KeptLock *lock, KeptCommitted committed, void *userdata,
                Error *error);

/* Drops what was put, claimed and meant since the last commit. A commit whose outcome is awaited has failed: committed is not called. */
void kept_abandon(Kept *kept);

/* Returns whether the manifest has exactly the kept secrets, and this lock. */
bool kept_is_committed(const Kept *kept, const KeptLock *lock);

/* Records for the next process that the PCR of the lock is extended. */
int kept_set_locked(Kept *kept, Error *error);
bool kept_is_locked(const Kept *kept);

/* MeasurePcr=: from the next kept_commit() on, the manifest has these events after those of the last commit, and says that not all are
 * extended. A later commit keeps them, and what it says of them. Events are never dropped before the next boot. FAILURE_STORE: more
 * than MANIFEST_EVENTS_MAX. */
int kept_mean(Kept *kept, const ManifestEvent *events, size_t count, Error *error);

/* The events of the last commit, borrowed until the next one. */
const ManifestEvent *kept_events(const Kept *kept, size_t *ret_count);

/* How many of these events, from the first on, are known to be extended. */
size_t kept_measured(const Kept *kept);

/* From kept_touch() on, events that are not known to be extended may be extended all the same. So they may be after a restart, if the
 * process before has committed them. */
void kept_touch(Kept *kept);
bool kept_is_touched(const Kept *kept);

/* Records for the next process that all events are extended. */
int kept_set_measured(Kept *kept, Error *error);

/* The lock in the manifest. pcr is 0 if there is no manifest or no lock. */
KeptLock kept_lock(const Kept *kept);
