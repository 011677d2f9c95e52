/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A KMS key's ARN, and the endpoint that answers for it. Pure. */

#include <stdbool.h>

#define KMS_CIPHERTEXT_MAX 6144U

/* arn:PARTITION:kms:REGION:ACCOUNT:key/ID, ID being a UUID or that of a multi-Region key, "mrk-…". */
typedef struct KmsKeyArn {
        char partition[32], region[32], account[16], key[128];
} KmsKeyArn;

/* -EINVAL: no ARN of a KMS key (an alias is none). */
int kms_key_arn_parse(const char *text, KmsKeyArn *ret);

typedef struct KmsEndpointOptions {
        bool fips, dual_stack;
        const char *endpoint; /* KmsEndpoint=: "https://host[:port]" in place of all that; NULL: none */
} KmsEndpointOptions;

/* "https://kms.eu-north-1.amazonaws.com". The caller frees. -EOPNOTSUPP: an unknown partition. -EINVAL: an
 * endpoint that is not https. */
int kms_endpoint(const KmsKeyArn *key, const KmsEndpointOptions *options, char **ret);
