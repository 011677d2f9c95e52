/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory for plaintext and keys: pages of their own, locked (never in swap), left out of core dumps and of
 * forked children, with an unmapped guard page on either side, and overwritten before they are given back.
 *
 * A Secret cannot be printed by accident: it is no string. Every place that opens one calls secret_bytes().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"

typedef struct Secret Secret;

/* A plaintext as long as KMS decrypts itself; one that a later format may carry (systemd's bound, too). */
#define SECRET_SIZE_MAX (1024U * 1024U)

/* Zeroed memory for size bytes (0 is allowed). -ENOMEM where it is not to be had or may not be locked. */
int secret_new(size_t size, Secret **ret);

/* Wipes and unmaps. Always returns NULL. */
Secret *secret_free(Secret *secret);
DEFINE_CLEANUP(Secret *, secret_free);
#define _cleanup_secret_ _cleanup_(secret_freep)

/* The bytes, writable while whoever made it fills it; never NULL. */
uint8_t *secret_bytes(Secret *secret) _pure_;
size_t secret_size(const Secret *secret) _pure_;

/* Cuts a secret that turned out shorter than its memory; what lies behind is wiped. size must not grow. */
void secret_truncate(Secret *secret, size_t size);

/*
 * For the whole process, once, before anything secret is held: every page locked as it comes into use
 * (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)), no core dump, no ptrace by the same user.
 * FAILURE_MEMORY with what to do (LimitMEMLOCK=infinity) where that is refused.
 */
int memory_protect_process(Error *error);
