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

/* One profile in one file. Settings that the file does not have are NULL. */
typedef struct AwsProfile {
        bool found;
        char *access_key_id, *secret_access_key, *session_token, *region;
        /* Settings that make the CLI get credentials in another way, such as "role_arn" and "credential_process". The CLI prefers
         * login to any access key, and process only to the access key of the config file. NULL: not set. */
        const char *login, *process;
} AwsProfile;

/* Wipes and frees the strings. */
void aws_profile_clear(AwsProfile *profile);

/*
 * file: the name for messages. They quote nothing from the file, since any line may contain a key. FAILURE_CONFIGURATION with file
 * and line where the CLI would fail too, and where the profile or one of its settings appears twice. The caller clears *ret.
 */
int aws_profile_parse(const char *file, AwsProfileFile kind, const char *data, size_t size, const char *name,
                      AwsProfile *ret, Error *error);

/*
 * Chooses the credentials of a profile from both files, in the CLI's order: a login setting, the access key of the credentials file,
 * a process setting, the access key of the config file. Moves the strings to *ret. -ENODATA: neither file has credentials, and
 * *error is not filled. FAILURE_ROLE: half a key, or a setting that only the CLI can use; the text says what to do.
 */
int aws_profile_credentials(AwsProfile *credentials, AwsProfile *config, const char *name,
                            AwsCredentials *ret, Error *error);
