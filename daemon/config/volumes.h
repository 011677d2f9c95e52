/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The volumes that unseald-volume opens: the files *.volume (unseald.volume(5)). They are part of the measured image, so they are
 * believed, except that Device= only selects.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "config/ini.h"
#include "config/remarks.h"
#include "volume/device-selector.h"

/* The names of a volume and of its secret together: unseald-volume@NAME.service and the credential stand in one address
 * (LIMIT_UNIT_AND_CREDENTIAL). */
#define VOLUME_NAMES_MAX 60U

/* No more volumes can be attached to any instance (Amazon EC2 User Guide, "Amazon EBS volume limits"). */
#define VOLUMES_MAX 128U

typedef struct Volume {
        char *name; /* the file's without .volume: 1 to 64 of A-Z a-z 0-9 - _ . and not . or .. */
        char *file; /* its path, for messages */
        char *description;
        DeviceSelector device;
        uint64_t device_timeout_usec; /* how long to wait for the device; 0: not at all */
        char *secret;                 /* the credential with the key of the volume */
        bool key_in_label; /* that secret has Source=volume: and this volume, whose label has its ciphertext; only with writable */
        char *where;   /* where it is mounted: an absolute path */
        bool writable; /* Mode=state */
        bool unverified; /* Integrity=no: sectors without tags, so nobody notices what was changed; only with writable */
        char *on_open; /* the service that may refuse the volume when it is opened; NULL: none; only with writable */
        bool may_begin; /* Initialize=blank: a blank device becomes a new volume; only with writable */
        const char *file_system; /* "erofs" or "squashfs"; "ext4" if writable */
        char **options;          /* more options of the mount; NULL-terminated */
} Volume;

typedef struct Volumes {
        Volume *items; /* sorted by file name */
        size_t count;
} Volumes;

void volume_clear(Volume *volume);
void volumes_clear(Volumes *volumes);

/* Makes a volume of the lines of its file, all but key_in_label. file_name: without its directory; it ends in ".volume". With remarks mistakes go there, and
 * *ret may lack where or secret. The caller clears *ret. FAILURE_CONFIGURATION with file, line and key. Pure. */
int volume_make(const IniFile *ini, const char *file_name, Volume *ret, Remarks *remarks, Error *error);

/* Reads one volume with its drop-ins (NAME.volume.d/ *.conf) from volumes.d/ of both directories, and of its secret where that comes from. -ENOENT with FAILURE_CONFIGURATION:
 * there is no such file, or it is masked. */
int volume_read(const char *vendor_directory, const char *local_directory, const char *name, Volume *ret,
                Error *error);

/* Reads all of them. With remarks it goes on after a mistake; without, it stops at the first. Two volumes at one place, two with one
 * device, and more than VOLUMES_MAX are mistakes, too. */
int volumes_examine(const char *vendor_directory, const char *local_directory, Volumes *ret,
                    Remarks *remarks, Error *error);

/* The kind of a key of a *.volume file. */
IniKeyKind volume_key_kind(const char *section, const char *key) _pure_;
