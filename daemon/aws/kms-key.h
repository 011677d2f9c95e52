/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The ARN of a KMS key, and the endpoint for this key. Everything here is a function of its arguments. Sources: KMS Developer
 * Guide, "Key identifiers"; AWS SDK endpoint rules. */

#include <stdbool.h>

#include "basic/cleanup.h"

#define KMS_CIPHERTEXT_MAX 6144U

/* arn:PARTITION:kms:REGION:ACCOUNT:key/ID. ID is a UUID, or "mrk-…" for a multi-Region key. */
typedef struct KmsKeyArn {
        char partition[32], region[32], account[16], key[128];
} KmsKeyArn;

/* -EINVAL: text is not the ARN of a key. The ARN of an alias is not one. */
int kms_key_arn_parse(const char *text, KmsKeyArn *ret);

/* Returns whether the two are one multi-Region key, of which each Region has a replica: their ARNs differ in the Region alone (KMS
 * Developer Guide, "Multi-Region keys in AWS KMS"). */
bool kms_key_is_replica(const KmsKeyArn *key, const KmsKeyArn *other) _pure_;

typedef struct KmsEndpointOptions {
        bool fips, dual_stack;
        const char *endpoint; /* KmsEndpoint=: "https://host[:port]", which replaces the other options; NULL: not set */
} KmsEndpointOptions;

/* Makes the URL of the endpoint, such as "https://kms.eu-north-1.amazonaws.com". The caller frees *ret. -EOPNOTSUPP: the
 * partition is not known. -EINVAL: options->endpoint is not https. -ENOMEM. */
int kms_endpoint(const KmsKeyArn *key, const KmsEndpointOptions *options, char **ret);
