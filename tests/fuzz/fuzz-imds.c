/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads IMDS's replies. Their content goes into headers and into the path of a later request, so nothing
 * that ends a header or a path may pass.
 */

#include <stdlib.h>
#include <string.h>

#include "aws/imds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_part(const char *part) {
        if (!*part)
                abort();
        for (; *part; part++)
                if (*part <= ' ' || *part > '~')
                        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        AwsCredentials credentials = {};
        char role[IMDS_ROLE_MAX + 1], account[IMDS_ACCOUNT_SIZE];

        if (imds_credentials_parse((const char *) data, size, &credentials, NULL) >= 0) {
                check_part(credentials.access_key_id);
                check_part(credentials.secret_access_key);
                check_part(credentials.session_token);
                aws_credentials_clear(&credentials);
        }
        if (imds_role_parse((const char *) data, size, role, NULL) >= 0) {
                check_part(role);
                if (strchr(role, '/') || strlen(role) > size)
                        abort();
        }
        if (imds_account_parse((const char *) data, size, account, NULL) >= 0 &&
            (strspn(account, "0123456789") != 12 || strlen(account) != 12))
                abort();
        return 0;
}
