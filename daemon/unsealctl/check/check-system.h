/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* unseald --check: the configuration, and what of the system that it is in matters for it: unit files, sealed secrets in files,
 * certificates, users and groups. Reads files, and nothing else. */

#include "basic/error.h"
#include "config/remarks.h"

/* All that is wrong: first what cannot be read, then what does not go together. A negative errno only where it cannot be looked for. */
int check_system(const char *vendor_directory, const char *local_directory, Remarks *remarks, Error *error);
