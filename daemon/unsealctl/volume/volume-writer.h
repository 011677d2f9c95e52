/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Makes the ciphertext of a volume: the file system, the hash tree over it, and XTS over both (volume/volume-key.h). Each block of the
 * file system is read once, so its digest and its ciphertext are of the same bytes even while somebody changes the file. */

#include "basic/error.h"
#include "unsealctl/progress.h"
#include "volume/volume-key.h"

/*
 * file_system: a file of key->data_size bytes. output: a file, written from its start, key->size bytes. key: has everything but
 * root_hash, which is set. Memory: 1 MiB a thread, and 64 KiB for each GiB of the file system.
 *
 * FAILURE_SOURCE: the file system cannot be read, or is shorter. FAILURE_STORE: the output cannot be written. FAILURE_INTERNAL.
 */
int volume_write(VolumeKey *key, int file_system, int output, Progress *progress, Error *error);
