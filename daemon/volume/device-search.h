/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Finds the one block device that Device= selects. Nothing on a device is read: only the controllers of NVMe disks are asked who they
 * are. */

#include <linux/nvme_ioctl.h>
#include <stdint.h>

#include "basic/error.h"
#include "volume/device-selector.h"

#define DEVICE_PATH_MAX 300U

/* Sends a command to the controller that has this namespace (NVME_IOCTL_ADMIN_CMD). 0, a positive status of NVMe, or a negative errno.
 * A test has one of its own. */
typedef int (*NvmeCommand)(int fd, struct nvme_admin_cmd *command);

typedef struct DevicePlaces {
        const char *block; /* "/sys/class/block": the names of all block devices */
        const char *dev;   /* "/dev" */
        NvmeCommand command;
} DevicePlaces;

/* The machine's own. Identify needs CAP_SYS_ADMIN. */
extern const DevicePlaces device_places;

/*
 * Returns the path of the device. A path that Device= names is returned if something is there; the caller judges what it is.
 *
 * -ENOENT with REMEDY_RETRY: no device matches (yet). -ENOTUNIQ: more than one does. Both errors name the candidates.
 * FAILURE_SOURCE. Anything else: a directory cannot be read.
 */
int device_find(const DevicePlaces *places, const DeviceSelector *selector, char ret[static DEVICE_PATH_MAX],
                Error *error);
