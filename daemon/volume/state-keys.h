/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The keys of a read-write volume: one a purpose, by HKDF-SHA-256 (RFC 5869) of the data key. The info is "unseald volume v1 ", the purpose,
 * a zero byte and the name of the volume. The keys of the sectors have a salt that each format makes anew, and the label has it. So no key
 * serves two purposes or two volumes, and where several instances have one data key, a sector of one does not open on another. Sectors
 * with tags have the purposes "encryption" and "integrity", and those without (Integrity=no) "encryption only".
 */

#include <stdbool.h>
#include <stdint.h>

#include "memory/secret.h"

/* The data key is as strong as the keys that are made of it. */
#define STATE_DATA_KEY_MIN 32U

#define STATE_SALT_SIZE 32U
#define STATE_ENCRYPTION_KEY_SIZE 64U /* AES-256-XTS has two keys */
#define STATE_INTEGRITY_KEY_SIZE 32U  /* HMAC-SHA-256 */
#define STATE_LABEL_KEY_SIZE 32U      /* HMAC-SHA-256 */

typedef struct StateKeys {
        /* As dm-crypt takes them for an authenticated cipher: the key of encryption, then that of the tags (crypt_copy_authenckey() in
         * drivers/md/dm-crypt.c of the kernel). Without tags: the key of encryption alone. */
        Secret *sectors; /* NULL: not derived yet */
        Secret *label;   /* the MAC of the label */
} StateKeys;

void state_keys_clear(StateKeys *keys);
#define _cleanup_state_keys_ _cleanup_(state_keys_clear)

/* Derives the key of the label, which needs no salt. volume: a valid name. -EINVAL: the data key is shorter than STATE_DATA_KEY_MIN.
 * -ENOMEM. -EIO: OpenSSL failed. The caller clears *ret. */
int state_keys_derive(Secret *data_key, const char *volume, StateKeys *ret);

/* Derives those of the sectors, in place of what is there. As above. */
int state_keys_derive_sectors(Secret *data_key, const char *volume,
                              const uint8_t salt[static STATE_SALT_SIZE], bool unverified, StateKeys *keys);
