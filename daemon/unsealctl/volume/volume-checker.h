/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Checks each block of a volume against its key, as dm-verity does when a block is read (volume/volume-key.h). */

#include "basic/error.h"
#include "unsealctl/progress.h"
#include "volume/volume-key.h"

/*
 * image: a file or a block device of image_size bytes; it may be longer than the volume. Memory: 1 MiB a thread, and 64 KiB for each
 * GiB of the file system.
 *
 * -EBADMSG: a block differs, and the text names the first one: the levels of the tree come first, from the root down, and then the data,
 * each with its block of level 0. -ENODATA: the image is too short. Both with FAILURE_CIPHERTEXT. FAILURE_SOURCE: the image cannot be
 * read. FAILURE_INTERNAL.
 */
int volume_check(const VolumeKey *key, int image, uint64_t image_size, Progress *progress, Error *error);
