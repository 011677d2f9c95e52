/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The plaintext of a bundle (Format=bundle): a JSON object (RFC 8259), one secret a member. A member is a string, or an object
 * {"base64": "…"} (RFC 4648, section 4) for bytes that are not text. Everything else is refused: numbers, true, false, null, arrays,
 * other objects, two members of one name, an empty name, and \u0000, which programs take for the end of a text.
 *
 * The text is a secret. The reader decodes it in place, so that no copy of a value is ever made, and an error has the name of a member
 * or a place in the text, never a value. Pure.
 */

#include <stddef.h>

#include "basic/error.h"
#include "basic/limits.h"

/* In one bundle, declared or not. */
#define BUNDLE_MEMBERS_MAX LIMIT_MEMBERS

typedef struct BundleMember {
        const char *name; /* UTF-8 without NUL, not terminated; it lies in the text */
        size_t name_size;
        size_t offset, size; /* of the decoded value in the text, in bytes */
} BundleMember;

/*
 * Decodes the text. *ret has the members, sorted by the bytes of their names; the caller frees it. After a failure the text is half
 * decoded, and the caller wipes it. -EBADMSG: the text is no bundle. -E2BIG: it has more than BUNDLE_MEMBERS_MAX members. Both with
 * FAILURE_CIPHERTEXT. -ENOMEM.
 */
int bundle_parse(char *text, size_t size, BundleMember **ret, size_t *ret_count, Error *error);

/* Finds a member by its name, which ends with a NUL. NULL: there is none. */
const BundleMember *bundle_find(const BundleMember *members, size_t count, const char *name) _pure_;
