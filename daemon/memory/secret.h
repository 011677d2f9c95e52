/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory for plaintext and keys. A Secret has pages of its own with a guard page on each side. The pages are locked, so they
 * never reach swap. Core dumps and forked children do not have them. They are wiped before they are unmapped.
 *
 * A Secret is not a string, so no code prints it by accident. Every place that opens one calls secret_bytes().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"

typedef struct Secret Secret;

/* The longest plaintext, in bytes. KMS itself decrypts at most 4096; systemd's limit for a credential is the same as this. */
#define SECRET_SIZE_MAX (1024U * 1024U)

/* Zeroed memory for size bytes, which may be 0. -ENOMEM: the kernel has no memory, or does not lock it (RLIMIT_MEMLOCK). */
int secret_new(size_t size, Secret **ret);

/* Wipes and unmaps the memory. Returns NULL. */
Secret *secret_free(Secret *secret);
DEFINE_CLEANUP(Secret *, secret_free);
#define _cleanup_secret_ _cleanup_(secret_freep)

/* Never NULL. Only the code that created the Secret writes to it. */
uint8_t *secret_bytes(Secret *secret) _pure_;
size_t secret_size(const Secret *secret) _pure_;

/* Shortens a Secret and wipes the bytes after its new end. Does nothing if size is not smaller. */
void secret_truncate(Secret *secret, size_t size);

/*
 * Protects the whole process. To be called once, before it holds a secret. Every page is locked when it is first used
 * (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)), core dumps are off, and processes of the same user cannot ptrace it.
 * FAILURE_MEMORY: the kernel refused; the text says what to set (LimitMEMLOCK=infinity).
 */
int memory_protect_process(Error *error);
