/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Makes a key policy under which KMS decrypts only for documents of the given images, whatever identity policies and
 * grants say (KMS Developer Guide, "Key policies", "Condition keys for attested platforms"). Pure.
 *
 * There is one Allow for each image. Deny statements on PCRs apply to everyone, so a request without a document is
 * denied, too. One image needs one Deny for each PCR. For several images that is not enough: a Deny over all good
 * values of one PCR accepts PCR4 of one image together with PCR12 of another. Therefore there is a Deny for each way to
 * choose one PCR of each image. It denies if all chosen PCRs are wrong. A Deny that another one implies is left out.
 * Together they accept exactly the images. Images that differ in one PCR only, as in a standard boot, still need one
 * Deny for each PCR.
 *
 * tpm/expectation.h decides which PCRs are pinned, and to which values.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "basic/error.h"
#include "tpm/expectation.h"

#define KEY_POLICY_IMAGES_MAX 16U

/* Lists end with NULL; NULL is an empty list. A principal is the ARN of a role, a user or an account ("…:root"). */
typedef struct KeyPolicyOptions {
        const PcrSet *images;
        size_t n_images;
        ExpectationOptions expectation; /* what is pinned; lock_pcr is 0, 8, 13, 14 or 15 */
        const char *const *principals;
        const char *const *administrators;
        const char *const *sealers;
        const char *const *recovery_principals; /* no accounts */
        const char *const *organizations;
        const char *const *vpc_endpoints;
        const char *const *generated; /* the names of secrets that KMS may make (Generate=) */
        bool generate_data_key; /* data keys whose encryption context names no secret: those of applications */
        bool bind_account;
        bool application; /* a key of applications, by unseald-kms(8): they may also encrypt, and never with a context of a secret */
} KeyPolicyOptions;

/* The caller puts *ret. FAILURE_USAGE, -EINVAL: the options are wrong or contradict each other, or expectation_check()
 * refuses the measurements. FAILURE_USAGE, -E2BIG: the policy would be longer than KMS accepts, 32 KiB. */
int key_policy_make(const KeyPolicyOptions *options, struct json_object **ret, Error *error);

/* Makes the identity policy that a role in another account needs, too. keys: ARNs, which may have wildcards. Of the
 * options only generated, generate_data_key and application count. */
int role_policy_make(const KeyPolicyOptions *options, const char *const *keys, struct json_object **ret,
                     Error *error);

/* The format in which the policy is printed, and in which its size counts. */
#define KEY_POLICY_FORMAT (JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE)
