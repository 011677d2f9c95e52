/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The AWS credentials that a verb signs with. Both functions block until they have an answer. */

#include "aws/sigv4.h"
#include "basic/error.h"

/*
 * Looks where the AWS CLI looks, in this order (AWS CLI User Guide, "Configuration settings and precedence"):
 *
 * 1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, unless `profile` is given;
 * 2. the profile (AWS_PROFILE, or "default") in the shared credentials and config files (AWS_SHARED_CREDENTIALS_FILE,
 *    AWS_CONFIG_FILE);
 * 3. IMDS, unless AWS_EC2_METADATA_DISABLED=true.
 *
 * Where the CLI would use another source (see unsealctl/aws-profile.h, web identities, containers), the result is FAILURE_ROLE with
 * the advice to export the credentials.
 *
 * profile: the value of --profile=, or NULL. The caller clears *ret with aws_credentials_clear(). *ret_region is AWS_REGION,
 * AWS_DEFAULT_REGION or the Region of the profile, NULL where there is none; the caller frees it.
 */
int credentials_find(const char *profile, AwsCredentials *ret, char **ret_region, Error *error);

/* The credentials of the instance's role, from IMDS as unseald gets them. FAILURE_IMDS, FAILURE_ROLE. */
int credentials_from_imds(AwsCredentials *ret, Error *error);
