/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The kernel's device mapper, by its ioctls (linux/dm-ioctl.h, version 4). Without libdevmapper: the program with the most rights has the
 * least code, and no library of its own makes nodes or waits for udev.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "volume/mapping.h"

typedef struct MappingState {
        bool active; /* has a table and is not suspended */
        bool read_only;
        dev_t device;
        unsigned openers;        /* programs, mounts and mappings that have the device open */
        uint64_t start, sectors; /* of its one target */
        char uuid[MAPPING_NAME_MAX];
        char target[16];
        char parameters[MAPPING_PARAMETERS_MAX]; /* of the table */
        /* Of dm-verity: "V", or "C" if a block did not match. Of dm-integrity: the mismatches, the sectors for data, and how far the tags
         * were made anew, or "-". */
        char status[64];
} MappingState;

/* Opens /dev/mapper/control. The caller closes it. A negative errno: the kernel has no device mapper. */
int dm_open(void);

/* Returns whether the kernel has the target, and loads its module. -ENXIO or another errno: it has not. */
int dm_has_target(int dm, const char *target);

/* Makes the device, read-only unless the mapping is writable, and activates it. On failure nothing is left. -EBUSY: the name or the uuid is taken. */
int dm_create(int dm, const Mapping *mapping, dev_t *ret);

/* -ENXIO: there is no device of this name. -E2BIG: it has another table than one target, whose parameters fit. */
int dm_look(int dm, const char *name, MappingState *ret);

/* -ENXIO: there is none. -EBUSY: it is in use. */
int dm_remove(int dm, const char *name);
