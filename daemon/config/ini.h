/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * systemd's manner of configuration over libeconf: NAME in the vendor's and the local directory (the local one hides
 * the vendor's), then NAME.d/ *.conf of both, sorted by file name together (a local drop-in hides the vendor's of the
 * same name; one that is empty or a link to /dev/null masks it). Later assignments win; of keys that take a list,
 * assignments add up and an empty one resets. Each value knows the file and line that it came from.
 */

#include <stddef.h>

#include "basic/cleanup.h"
#include "basic/error.h"

typedef struct IniAssignment {
        char *section, *key, *value;
        char *file;
        unsigned line;
} IniAssignment;

typedef struct IniFile {
        IniAssignment *assignments; /* in the order in which they are to be applied */
        size_t count;
} IniFile;

IniFile *ini_free(IniFile *ini);
DEFINE_CLEANUP(IniFile *, ini_free);
#define _cleanup_ini_ _cleanup_(ini_freep)

/* name: "unseald.conf" or "secrets.d/db.secret". -ENOENT where no directory has it (drop-ins alone do not make
 * one). FAILURE_CONFIGURATION with file and line where a line cannot be read. */
int ini_read(const char *vendor_directory, const char *local_directory, const char *name, IniFile **ret, Error *error);
