/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which known name a mistyped one stands for. */

#include <stddef.h>

#include "basic/cleanup.h"

/* The number of characters that one has to insert, delete, replace or exchange with their neighbour to make `other` of `one` (optimal
 * string alignment). SIZE_MAX: one of them has more than 255 bytes. Pure. */
size_t name_distance(const char *one, const char *other) _pure_;
