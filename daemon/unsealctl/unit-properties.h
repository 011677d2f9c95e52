/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the service manager knows about a unit, as "systemctl show" prints it. */

#include <stddef.h>

/* Returns the output of systemctl show for the unit, or, if it is empty, for the service manager itself, which the caller frees. NULL: systemctl does not work. Blocks. */
char *unit_properties(const char *unit);

/* Pure. Copies a property. It is empty if it is missing. Returns buffer. */
const char *unit_property(const char *properties, const char *name, char *buffer, size_t size);
