/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Makes a key policy that gives the key's secrets to documents of the given images only, whoever brings them
 * and whatever identity policies and grants say (KMS Developer Guide, "Key policies", "Condition keys for
 * attested platforms"). Pure.
 *
 * An Allow for each image; for everyone Deny statements on PCRs, so that a request without a document is
 * denied as well. For one image that is a Deny for each PCR. For several, a Deny over all good values of one
 * PCR lets through PCR4 of one image beside PCR12 of another, so there are more: one for every way to choose
 * a PCR of each image, which denies where all the chosen ones are wrong, and of these only those that others
 * do not imply. Together they let through exactly the images. Where images differ in one PCR alone, as in a
 * standard boot, it is still one for each PCR.
 *
 * tpm/expectation.h says which PCRs are pinned, and to which values.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "basic/error.h"
#include "tpm/expectation.h"

#define KEY_POLICY_IMAGES_MAX 16U

/* Lists end with NULL; NULL is an empty one. Principals are ARNs of roles, users or accounts ("…:root"). */
typedef struct KeyPolicyOptions {
        const PcrSet *images;
        size_t n_images;
        ExpectationOptions expectation; /* what is pinned. lock_pcr: 0, 8, 13, 14 or 15 */
        const char *const *principals;
        const char *const *administrators;
        const char *const *sealers;
        const char *const *recovery_principals; /* roles and users */
        const char *const *organizations;
        const char *const *vpc_endpoints;
        bool generate_data_key;
        bool bind_account;
} KeyPolicyOptions;

/* FAILURE_USAGE: options that contradict each other, or that are not what they should be; measurements that
 * say nothing; more than a key policy can hold. */
int key_policy_make(const KeyPolicyOptions *options, struct json_object **ret, Error *error);

/* What the identity policy of a role in another account must have besides. keys: ARNs, wildcards allowed.
 * Only generate_data_key is looked at. */
int role_policy_make(const KeyPolicyOptions *options, const char *const *keys, struct json_object **ret,
                     Error *error);

/* As it is printed, and as its size counts. */
#define KEY_POLICY_FORMAT (JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE)
