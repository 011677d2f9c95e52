/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The instance metadata service, version 2 (EC2 User Guide, "Use the Instance Metadata Service"): session tokens are
 * required, the plain GETs of version 1 are refused. What unseald and the AWS SDKs ask for is there: the role's
 * credentials, the identity document, user data and a handful of metadata; nothing else. Thread-safe.
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
        const char *account; /* the instance's own */
        Accounts *accounts;
        Faults *faults;
        Trail *trail;
} ImdsOptions;

int platform_imds_new(const ImdsOptions *options, Imds **ret);
Imds *platform_imds_free(Imds *imds);
DEFINE_CLEANUP(Imds *, platform_imds_free);

void platform_imds_handle(Exchange *exchange, void *userdata);

/* The instance's role, which must be one of its account; NULL: none. -ENOENT. Credentials are made anew. */
int platform_imds_set_role(Imds *imds, const char *role);

/* "m7i.large". -EINVAL: too long. */
int platform_imds_set_instance_type(Imds *imds, const char *type);

/* The account that the instance identity document names; NULL: the instance's own. */
void platform_imds_claim_account(Imds *imds, const char *account);

/* At most 16 KiB; NULL: none. -EFBIG. Copied. */
int platform_imds_set_user_data(Imds *imds, const void *data, size_t size);
