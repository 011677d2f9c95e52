/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The instance metadata service, version 2 (EC2 User Guide, "Use the Instance Metadata Service"). It
 * requires session tokens and refuses the plain GETs of version 1. It has what unseald and the AWS SDKs ask
 * for: the role's credentials, the identity document, user data and a few metadata, with their directories.
 * Thread-safe.
 */

#include "accounts.h"
#include "basic/cleanup.h"
#include "exchange.h"
#include "faults.h"
#include "trail.h"

typedef struct Imds Imds;

typedef struct ImdsOptions {
        const char *region;
        const char *instance_id;
        const char *account; /* the instance's account */
        Accounts *accounts;
        Faults *faults;
        Trail *trail;
} ImdsOptions;

int platform_imds_new(const ImdsOptions *options, Imds **ret);
Imds *platform_imds_free(Imds *imds);
DEFINE_CLEANUP(Imds *, platform_imds_free);

void platform_imds_handle(Exchange *exchange, void *userdata);

/* Sets the instance's role, which must belong to its account; NULL removes it. New credentials are issued.
 * Returns -ENOENT for an unknown role. */
int platform_imds_set_role(Imds *imds, const char *role);

/* Sets the type, such as "m7i.large". Returns -EINVAL where the text is too long. */
int platform_imds_set_instance_type(Imds *imds, const char *type);

/* Sets the account that the identity document names. NULL: the instance's own account. */
void platform_imds_claim_account(Imds *imds, const char *account);

/* Sets the user data, at most 16 KiB; NULL removes them. Copies the data. Returns -EFBIG where they are too
 * long. */
int platform_imds_set_user_data(Imds *imds, const void *data, size_t size);
