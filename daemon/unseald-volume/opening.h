/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The life of an open volume, and the opening of a read-only one. Everything that decides how it is opened comes from the image (config/volumes.h) and from the sealed key
 * (volume/volume-key.h). A partition table, a LUKS header or a file system on the device is nothing but bytes: nobody looks for one.
 */

#include "config/volumes.h"
#include "volume/device-search.h"
#include "volume/volume-key.h"

/*
 * Makes /dev/mapper/unseald-NAME. Takes over a mapping that is there, if it is exactly the one that key and device demand, and refuses
 * any other. Waits for the device (DeviceTimeoutSec=).
 *
 * On return the key is in no keyring any more: only dm-crypt has it, and does not show it. key itself stays the caller's.
 *
 * FAILURE_SOURCE: the device, or what is on it, is not what it must be. FAILURE_INTERNAL: the kernel lacks something.
 */
int volume_open(const DevicePlaces *places, const Volume *volume, const VolumeKey *key, Error *error);

/* Removes the mappings of a volume of either kind. Nothing to remove is a success. -EBUSY: the volume is in use, and stays open. */
int volume_close(const char *name, Error *error);

/* Writes the entry of a block that did not match. what: "0,BLOCK" for data, "1,BLOCK" for the tree, as the kernel's
 * DM_VERITY_ERR_BLOCK_NR (drivers/md/dm-verity-target.c); NULL: not known which. -EINVAL: it is neither. */
int volume_report_corruption(const char *name, const char *what);
