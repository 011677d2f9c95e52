/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The units of a volume that unseald-generator writes: the mount, and drop-ins of two units (unseald-volume@.service(8)). */

#include <stddef.h>

#include "config/volumes.h"

#define VOLUME_UNIT_FILES_MAX 6U

typedef struct VolumeUnitFile {
        char *path; /* relative to the directory of the generator; NULL: the item is not used */
        char *text; /* NULL: the path becomes a symbolic link */
        char *link; /* where to; NULL: a file */
} VolumeUnitFile;

/* The name of a unit for a path, without a suffix, as systemd-escape --path makes it (systemd.unit(5), "String Escaping for Inclusion in
 * Unit Names"). The caller frees *ret. Pure. -ENOMEM. */
int unit_name_of_path(const char *path, char **ret);

/* The name of the mount unit. The caller frees *ret. Pure. -ENOMEM. */
int volume_mount_unit(const Volume *volume, char **ret);

/* Writes the units of a complete volume. Items that are not used are {}. The caller clears them. Pure. -ENOMEM. */
int volume_units(const Volume *volume, VolumeUnitFile ret[static VOLUME_UNIT_FILES_MAX]);

void volume_units_clear(VolumeUnitFile files[static VOLUME_UNIT_FILES_MAX]);
