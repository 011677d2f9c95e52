/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whose credentials a verb signs with. Both functions wait for what they ask. */

#include "aws/sigv4.h"
#include "basic/error.h"

/*
 * Found as the AWS CLI finds them: without a profile given, AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY and
 * AWS_SESSION_TOKEN; the profile (AWS_PROFILE, "default") in the shared credentials and config files
 * (AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE); IMDS, unless AWS_EC2_METADATA_DISABLED=true. What the CLI would do
 * besides (basic/aws-profile.h, web identities, containers) is FAILURE_ROLE, with advice to export credentials.
 *
 * profile: of --profile=, or NULL. *ret is to be cleared with aws_credentials_clear(). *ret_region: AWS_REGION,
 * AWS_DEFAULT_REGION, or the profile's; NULL where there is none; the caller frees.
 */
int credentials_find(const char *profile, AwsCredentials *ret, char **ret_region, Error *error);

/* The instance's role's, as unseald gets them. FAILURE_IMDS, FAILURE_ROLE. */
int credentials_from_imds(AwsCredentials *ret, Error *error);
