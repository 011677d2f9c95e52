/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whom KMS refuses. KMS says it in words alone: "User: arn:aws:sts::111122223333:assumed-role/ci/run-7 is not authorized to perform:
 * kms:Encrypt on resource: …" (AWS KMS Developer Guide, "Troubleshooting key access"). A key policy and "unsealctl policy" name the
 * role, not its session.
 */

#include <stdbool.h>

#include "basic/cleanup.h"

/* The longest ARN of a user: its path has up to 512 characters (IAM User Guide, "IAM and AWS STS quotas"). */
#define DENIED_PRINCIPAL_MAX 640U

/* For Denied.is_session. */
#define DENIED_PATH_HINT \
        "KMS does not name the path of a role. If the role has one, as those of IAM Identity Center do, take the ARN that \"aws iam get-role\" prints.\n"

typedef struct Denied {
        char principal[DENIED_PRINCIPAL_MAX]; /* the ARN of a user, or of a role; fit for a shell without quotes */
        bool is_session; /* KMS named a session of the role, which does not tell the role's path */
        char action[64]; /* "kms:Encrypt"; empty: KMS did not name it */
} Denied;

/* Reads KMS's message out of an error's text, which is untrusted. False: it names no user and no role, or what it names could be more
 * than a name to a shell. Pure. */
bool denied_parse(const char *text, Denied *ret);
