/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The owner of a file in the store: User= and Group= of a secret or of a member, looked up on this machine. */

#include <sys/types.h>

#include "basic/error.h"
#include "config/declaration.h"

typedef struct Owner {
        uid_t uid;
        gid_t gid;
} Owner;

/* FAILURE_CONFIGURATION: there is no such user or group. FAILURE_INTERNAL: it cannot be looked up now. */
int owner_find(const Declaration *declaration, Owner *ret, Error *error);
