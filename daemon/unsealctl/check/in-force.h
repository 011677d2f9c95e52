/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The configuration as it is in force, for people: what is left of all files and drop-ins, as INI that could be read
 * back, each assignment under the file and line that it came from. */

#include <stdio.h>

#include "config/declaration.h"
#include "config/ini.h"

/* Pure. Sections in the order in which they first appear. */
void configuration_print_file(FILE *out, const IniFile *ini, IniKeyKindOf kind_of);

/* unseald.conf and every secret, each under its file's name. */
int configuration_print(FILE *out, const char *vendor_directory, const char *local_directory,
                        const Declarations *declarations, Error *error);
