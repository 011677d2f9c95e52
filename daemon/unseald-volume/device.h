/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The block device of a volume: found, waited for, and opened. Nothing of its content is read here. */

#include <sys/types.h>

#include "config/volumes.h"
#include "volume/device-search.h"

typedef struct BlockDevice {
        char path[DEVICE_PATH_MAX];
        int fd; /* the caller closes it */
        dev_t number;
} BlockDevice;

/*
 * Waits until the device that Device= selects is there, for DeviceTimeoutSec= at most, and opens it for reading. size: the bytes that the
 * volume needs; a device may have more, because EBS counts in GiB.
 *
 * exclusive: nothing else may have claimed the device: no mount, no other mapping. The claim ends before the return, because the device
 * mapper makes one of its own.
 *
 * FAILURE_SOURCE: the device is not there, is ambiguous, is no block device, is in use, or is too short.
 */
int device_wait(const DevicePlaces *places, const Volume *volume, uint64_t size, bool exclusive,
                BlockDevice *ret, Error *error);
