/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads AWS's configuration files. Values have no line end and no space around them, and credentials fit
 * into a header.
 */

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "aws/service.h"
#include "unsealctl/aws-profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_value(const char *value) {
        if (!value || !*value)
                return;
        assert(!strchr(value, '\n') && !strchr(" \t\r", value[0]) &&
               !strchr(" \t\r", value[strlen(value) - 1]));
}

static void read_file_of(AwsProfileFile kind, const char *name, const uint8_t *data, size_t size,
                         AwsProfile *ret) {
        Error error = {};

        if (aws_profile_parse("fuzz", kind, (const char *) data, size, name, ret, &error) < 0)
                assert(error.failure == FAILURE_CONFIGURATION);
        check_value(ret->access_key_id);
        check_value(ret->secret_access_key);
        check_value(ret->session_token);
        check_value(ret->region);
        assert(ret->found || (!ret->access_key_id && !ret->region && !ret->login && !ret->process));
}

/* The first byte chooses the profile. The other bytes are the content of both files. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        AwsProfile credentials = {}, config = {};
        AwsCredentials found = {};
        const char *name;
        Error error = {};
        int r;

        if (size == 0)
                return 0;
        name = data[0] & 1 ? "default" : "p";
        read_file_of(AWS_PROFILE_CREDENTIALS, name, data + 1, size - 1, &credentials);
        read_file_of(AWS_PROFILE_CONFIG, name, data + 1, size - 1, &config);
        r = aws_profile_credentials(&credentials, &config, name, &found, &error);
        if (r >= 0)
                assert(aws_is_header_value(found.access_key_id) &&
                       aws_is_header_value(found.secret_access_key) &&
                       (!found.session_token || aws_is_header_value(found.session_token)));
        else if (r != -ENODATA)
                assert(error.failure == FAILURE_ROLE);
        aws_credentials_clear(&found);
        aws_profile_clear(&credentials);
        aws_profile_clear(&config);
        return 0;
}
