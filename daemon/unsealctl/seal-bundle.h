/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Reads the JSON of a bundle that is to be sealed, and checks it as unseald will (source/bundle.h). */

#include "memory/secret.h"

/*
 * Reads the bundle from fd. name: that of the secret; input: of the file, for people. *ret: its text. *ret_members: the names of its
 * members, sorted, which can all be declared; the caller calls strings_free(). Returns 0, or the exit status after the message is
 * printed: with the name of the member that is wrong, and never with a value.
 */
int seal_read_bundle(int fd, const char *name, const char *input, Secret **ret, char ***ret_members);
