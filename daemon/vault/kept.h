/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What is kept of the secrets once they are unsealed: for each the descriptor of a file of the store, in this process and in
 * the service manager's descriptor store, and a manifest (vault/manifest.h) by which the next unseald tells whether all of
 * it is as it was. No plaintext is in our own memory for that.
 *
 * A secret is put, and counts when what was put is committed: a process that is killed before leaves the next one what was
 * committed before, or nothing. So a reload is: put all, commit, publish.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "memory/secret.h"
#include "vault/manifest.h"
#include "vault/store.h"

typedef struct Kept Kept;

/* Twice as many descriptors and two manifests, while a reload replaces everything, fit into FileDescriptorStoreMax= of
 * unseald.service. */
#define KEPT_MAX MANIFEST_ENTRIES_MAX

/* What a secret stands for: a digest over all that decides which plaintext it is. */
typedef struct KeptClaim {
        const char *name;
        uint8_t stands_for[MANIFEST_DIGEST_SIZE];
} KeptClaim;

/* The lock that goes with the secrets: the PCR, 0 for none, and its value when they were unsealed. */
typedef struct KeptLock {
        uint8_t pcr;
        uint8_t before[sizeof(((ManifestHeader *) NULL)->pcr_before)];
} KeptLock;

int kept_new(Kept **ret);

/* Closes our descriptors; the service manager has its own. Returns NULL. */
Kept *kept_free(Kept *kept);
DEFINE_CLEANUP(Kept *, kept_free);

/*
 * Takes back what the service manager kept for us, once, at the start. What is believed: of this boot, with a manifest, of a
 * size and checksum that this says, in memory (store_trusts()), and standing for what is claimed now. The rest is given up,
 * here and by the service manager, and the journal says which and why.
 */
int kept_restore(Kept *kept, const Store *store, const KeptClaim *claims, size_t claims_count, Error *error);

/* The descriptor of a secret, for reading at given offsets, not from its position, which others share; borrowed, until the
 * next kept_commit(). -ENOENT. */
int kept_find(const Kept *kept, const char *name);

/* Whether a secret is kept that stands for just that. */
bool kept_has(const Kept *kept, const KeptClaim *claim);

/* Keeps a secret, from the next kept_commit() on in place of one of that name. fd: of store_prepare() or store_hold(); it is
 * taken, also by a failure. FAILURE_STORE where it is too much. */
int kept_put(Kept *kept, const KeptClaim *claim, Secret *secret, int fd, Error *error);

/* From the next kept_commit() on nothing is kept but what is claimed here and what is put. */
void kept_claim(Kept *kept, const KeptClaim *claims, size_t count);

/* Returns when the service manager has all that was put, and a manifest that says so. lock: what goes with it, not done yet
 * unless the one before was the same and done. */
int kept_commit(Kept *kept, Store *store, const KeptLock *lock, Error *error);

/* Gives up what was put and claimed and not committed. */
void kept_abandon(Kept *kept);

/* Whether all that is kept is in the manifest, with this lock. */
bool kept_is_committed(const Kept *kept, const KeptLock *lock);

/* The lock's PCR was extended: so that a next process knows. */
int kept_set_locked(Kept *kept, Error *error);
bool kept_is_locked(const Kept *kept);

/* That of the manifest; pcr 0 where there is none. */
KeptLock kept_lock(const Kept *kept);
