/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The delivery of unsealed secrets. First all are kept: in hidden files of the store, whose descriptors the service manager
 * holds too. Then all are published: the files get their names. A secret is identified by its index in the declarations.
 */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "config/declaration.h"
#include "memory/secret.h"
#include "tpm/pcr.h"
#include "vault/kept.h"

typedef struct Delivery Delivery;

/* Everything is borrowed. */
typedef struct DeliveryOptions {
        const char *store_path;
        Kept *kept;
        const Declarations *declarations;
        const Declarations
                        *replaced; /* a reload: the published secrets; NULL: boot, restore what was kept */
        unsigned lock_pcr;         /* LockPcr= */
        uint64_t store_size_max;   /* StoreSizeMax= */
} DeliveryOptions;

/* Opens the store, looks up the owners, and restores what was kept before a restart. FAILURE_STORE, FAILURE_CONFIGURATION or
 * FAILURE_INTERNAL. */
int delivery_new(const DeliveryOptions *options, Delivery **ret, Error *error);
Delivery *delivery_free(Delivery *delivery);
DEFINE_CLEANUP(Delivery *, delivery_free);

/* Returns whether the secret is kept: since before a restart, or by delivery_keep(). */
bool delivery_has(const Delivery *delivery, size_t secret) _pure_;

/* A reload: returns whether the secret is kept since before it, and its declaration means the same plaintext. The next
 * delivery_keep() keeps it as it is if it gets no plaintext for it. */
bool delivery_has_before_reload(const Delivery *delivery, size_t secret);

/* A reload: the next delivery_keep() does not keep the secret as it was before. */
void delivery_withdraw(Delivery *delivery, size_t secret);

/* Returns whether the secret was kept before delivery_withdraw(). */
bool delivery_has_withdrawn(const Delivery *delivery, size_t secret) _pure_;

/* Begins the file of a secret that is decrypted piece by piece, of at most so many bytes. FAILURE_STORE. The draft must not outlive the
 * delivery, unless it is abandoned. */
int delivery_begin_draft(Delivery *delivery, const char *name, uint64_t size, StoreDraft **ret,
                         Error *error);

/* The next delivery_keep() keeps this file as the secret, whose plaintext is then NULL. The draft is taken. */
void delivery_take_draft(Delivery *delivery, size_t secret, StoreDraft *draft);

/* Late=: the data key of a secret whose message is still to come is kept like a secret, under a name of its own. */

/* The next delivery_keep() keeps this data key. It is borrowed until then. */
void delivery_take_key(Delivery *delivery, size_t secret, Secret *late_key);

/* Returns whether a data key of the secret is kept. */
bool delivery_has_key(const Delivery *delivery, size_t secret) _pure_;

/* Reads the kept data key, after a restart. FAILURE_STORE. */
int delivery_read_key(const Delivery *delivery, size_t secret, Secret **ret, Error *error);

/* The configuration of a reload is in force, and has moved to this place. */
void delivery_settle(Delivery *delivery, const Declarations *declarations);

/* Called once, from the event loop, with the outcome of delivery_keep() or delivery_keep_late(). A failure has changed nothing. */
typedef void (*DeliveryKept)(int r, const Error *error, void *userdata);

/* The places of the members in the plaintext of a bundle, sorted by name. members is NULL if the secret is no bundle. */
typedef struct DeliveryMembers {
        const ManifestMember *members;
        size_t count;
} DeliveryMembers;

/* MeasurePcr=: records what will be extended into PCRs, before any of it is; the kept secrets stay as they are. Returns 1 if it is
 * recorded, 0 if the service manager must answer first: then recorded is called. A failure changes nothing. */
int delivery_record(Delivery *delivery, const ManifestEvent *events, size_t count, const PcrSet *measured,
                    DeliveryKept recorded, void *userdata, Error *error);

/* Keeps all secrets; from then on a crash loses nothing. plaintexts, members and versions have one element for each declaration.
 * versions: what the vendor has signed; NULL: nothing. A plaintext that is NULL: the secret is not unsealed, and stays as it was
 * kept before if its declaration means the same plaintext and it is not withdrawn. measured: the PCRs of this boot, for the lock. Returns 1 if all are kept, 0 if the service manager must answer first: then kept is called. The
 * plaintexts are not needed any more. A failure changes nothing. */
int delivery_keep(Delivery *delivery, Secret *const *plaintexts, const DeliveryMembers *members,
                  const uint64_t *const *versions, const PcrSet *measured, DeliveryKept kept, void *userdata,
                  Error *error);

/* Drops everything that delivery_keep() has prepared, while its outcome is awaited. kept is not called. */
void delivery_abandon(Delivery *delivery);

/* Publishes all kept secrets. At boot a failure leaves nothing published. In a reload it publishes and removes all files that it
 * can, and a failure is the first of those that it cannot; the caller may call it again. */
int delivery_publish(Delivery *delivery, Error *error);

/* After delivery_publish(): keeps the message of a late secret in place of its data key. draft is taken; NULL: the message does not
 * come, and only the data key goes. Otherwise as delivery_keep(). After a failure the data key is still kept. */
int delivery_keep_late(Delivery *delivery, size_t secret, StoreDraft *draft, const uint64_t *version,
                       DeliveryKept kept, void *userdata, Error *error);

/* Publishes this secret alone. */
int delivery_publish_late(Delivery *delivery, size_t secret, Error *error);
