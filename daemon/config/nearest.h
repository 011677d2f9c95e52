/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which known name a mistyped one stands for. */

#include <stdbool.h>
#include <stddef.h>

#include "basic/cleanup.h"

/* The number of characters that one has to insert, delete, replace or exchange with their neighbour to make `other` of `one` (optimal
 * string alignment). SIZE_MAX: one of them has more than 255 bytes. Pure. */
size_t name_distance(const char *one, const char *other) _pure_;

/* Returns whether `typed` is probably a mistyped `known`: they differ in at most two characters (three in long names), and in less than
 * half of them; capital and small letters are the same. *best is the distance of the nearest name so far, SIZE_MAX at first, and a
 * name that is not nearer does not count. Pure. */
bool name_is_nearer(const char *typed, const char *known, size_t *best);
