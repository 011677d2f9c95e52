/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Profiles in the files that AWS's tools share, ~/.aws/config and ~/.aws/credentials: access keys and the Region, read
 * as the AWS CLI reads them. Pure. Sources: AWS SDKs and Tools Reference Guide, "Shared config and credentials files";
 * AWS CLI User Guide, "Configuration settings and precedence"; the CLI's parser, which is Python's configparser.
 */

#include <stdbool.h>
#include <stddef.h>

#include "aws/sigv4.h"
#include "basic/error.h"

#define AWS_PROFILE_FILE_MAX (1024U * 1024U)

typedef enum AwsProfileFile {
        AWS_PROFILE_CONFIG,      /* [default], [profile NAME] */
        AWS_PROFILE_CREDENTIALS, /* [NAME] */
} AwsProfileFile;

/* What one file says of one profile; what it does not say is NULL. */
typedef struct AwsProfile {
        bool found;
        char *access_key_id, *secret_access_key, *session_token, *region;
        const char *login; /* the setting by which the CLI would sign in before it looks at access keys: "role_arn" */
        const char *process; /* that by which it would where the credentials file has none: "credential_process" */
} AwsProfile;

/* Wipes and frees what it holds. */
void aws_profile_clear(AwsProfile *profile);

/* file: for messages, which quote nothing else, since any line may hold a key. FAILURE_CONFIGURATION with file and line
 * where the CLI, too, would give up, and where what is asked for is there twice. */
int aws_profile_parse(const char *file, AwsProfileFile kind, const char *data, size_t size, const char *name,
                      AwsProfile *ret, Error *error);

/*
 * The credentials of a profile by what both files say of it, in the CLI's order: what signs in, the access key of the
 * credentials file, a process, the access key of the config file. The strings are moved to *ret. -ENODATA: neither has
 * any, and *error is not filled. Otherwise FAILURE_ROLE with what to do: half a key, or what only the CLI can do.
 */
int aws_profile_credentials(AwsProfile *credentials, AwsProfile *config, const char *name,
                            AwsCredentials *ret, Error *error);
