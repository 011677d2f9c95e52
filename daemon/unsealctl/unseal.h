/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Unseals one secret for another verb, exactly as "unsealctl unseal" does. */

#include "memory/secret.h"

typedef struct UnsealRequest {
        const char *declared;       /* the name of a secret in secrets.d; NULL: file says all */
        const char *file;           /* a *.secret file; NULL: declared says all */
        const char *member;         /* of a bundle; NULL: the whole secret, which then must be no bundle */
        const char *vendor, *local; /* directories of the configuration; NULL: the usual ones */
} UnsealRequest;

/* Returns 0, or the exit status after its message is printed: one of unseald(8). The caller frees *ret with secret_free(). */
int unseal_into(const UnsealRequest *request, Secret **ret);
