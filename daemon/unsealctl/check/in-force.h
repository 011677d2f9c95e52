/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Prints the configuration that is in force after all files and drop-ins. The output is INI that unseald could read back. A comment
 * above each assignment names its file and line. */

#include <stdio.h>

#include "config/declaration.h"
#include "config/ini.h"
#include "config/volumes.h"

/* Prints one file, with its sections in the order in which they first appear. Pure, except that it writes to out. */
void configuration_print_file(FILE *out, const IniFile *ini, IniKeyKindOf kind_of);

/* Reads and prints unseald.conf, every declared secret and every volume, each below a comment with the file's name. */
int configuration_print(FILE *out, const char *vendor_directory, const char *local_directory,
                        const Declarations *declarations, const Volumes *volumes, Error *error);
