/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What becomes of secrets once they are unsealed: they are kept, all at once, in files of the store that nobody sees yet and
 * that the service manager holds too; then published, all at once, under their names. Secrets are called by their place in
 * the declarations.
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

/* All borrowed. */
typedef struct DeliveryOptions {
        const char *store_path;
        Kept *kept;
        const Declarations *declarations;
        const Declarations *
                        replaced; /* a reload: what is published now; NULL: none is, and what was kept is restored */
        unsigned lock_pcr; /* LockPcr= */
} DeliveryOptions;

int delivery_new(const DeliveryOptions *options, Delivery **ret, Error *error);
Delivery *delivery_free(Delivery *delivery);
DEFINE_CLEANUP(Delivery *, delivery_free);

/* Whether it is kept, to be published: since before a restart, or by delivery_keep(). */
bool delivery_has(const Delivery *delivery, size_t secret) _pure_;

/* Into the service manager's hands: from here on a crash loses nothing. plaintexts: NULL for what is not unsealed, which then
 * stays as it was kept before, if it stands for the same. A failure changes nothing. */
int delivery_keep(Delivery *delivery, Secret *const *plaintexts, const PcrSet *measured, Error *error);

/* A failure publishes nothing. */
int delivery_publish(Delivery *delivery, Error *error);
