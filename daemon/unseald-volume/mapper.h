/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the opening of a read-only and of a read-write volume share: the kernel's targets, a key in its keyring, links, and patience. */

#include <stddef.h>
#include <sys/types.h>

#include "basic/error.h"
#include "memory/secret.h"
#include "volume/mapping.h"

/* Says that the kernel has no such thing, and returns r. FAILURE_INTERNAL. */
int mapper_kernel_lacks(Error *error, int r, const char *what);

/* Opens the device mapper, and loads the modules of the targets, NULL-terminated. The caller closes *ret. FAILURE_INTERNAL. */
int mapper_open(const char *const *targets, int *ret, Error *error);

/* Makes a mapping of dm-crypt. The key reaches it through the kernel's keyring, so that it stands in no table, and is taken out of the
 * keyring again. FAILURE_INTERNAL. */
int mapper_create_crypt(int dm, const Mapping *mapping, const char *volume, Secret *key, dev_t *ret,
                        Error *error);

/* Makes /dev/mapper/NAME. With udev a rule makes the same link. A program that has waited for this one finds it in any case. */
int mapper_link(const char *name, dev_t device, Error *error);

/* Removes the mapping of this layer, and waits a little for a program that has just looked at it, such as udev. Nothing to remove is a
 * success. -EBUSY: it is in use. */
int mapper_remove(int dm, MappingLayer layer, const char *volume);
