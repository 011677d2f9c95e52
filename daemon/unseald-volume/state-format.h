/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The format of a read-write volume: dm-integrity's superblock, a tag for every block, and a file system. With Integrity=no the file system
 * alone. */

#include "unseald-volume/state-device.h"

/*
 * Writes the label "formatting" first, durably, and the label "ready" last. What was on the device is lost. Says in the journal and in the
 * status of the unit how far it is. On return there is no mapping.
 *
 * FAILURE_SOURCE: the device cannot be written, or does not keep what is written. FAILURE_INTERNAL: the kernel lacks something, or
 * there is no file system's program.
 */
int state_format(int dm, StateDevice *device, Secret *data_key, Error *error);
