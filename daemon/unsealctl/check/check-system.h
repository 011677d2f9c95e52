/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Gathers the facts for unsealctl check: the configuration, and the parts of its system that matter for it, which are unit files,
 * files with sealed secrets, certificates, users and groups. Reads files and nothing else. */

#include "basic/error.h"
#include "config/remarks.h"

/* Adds every mistake to *remarks: first what cannot be read, then what contradicts something else. Returns a negative errno and fills
 * *error only where the check itself fails. */
int check_system(const char *vendor_directory, const char *local_directory, Remarks *remarks, Error *error);
