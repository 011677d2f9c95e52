/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From the JSON of a bundle to the members that are delivered: the declared ones. */

#include "config/declaration.h"
#include "memory/secret.h"
#include "vault/manifest.h"

/*
 * Decodes the bundle in its own memory, moves the values of the declared members to its begin, wipes the rest and shortens it. Nothing of a
 * member that is not declared stays. *ret: the places, sorted by name; the caller frees it. After a failure the caller wipes the bundle.
 *
 * FAILURE_CIPHERTEXT: the plaintext is no bundle, or lacks a member that is not optional. The journal has the names of the members
 * that the bundle lacks, and of those that are not declared.
 */
int members_unpack(const Declaration *declaration, Secret *bundle, ManifestMember **ret, size_t *ret_count,
                   Error *error);
