/* SPDX-License-Identifier: Apache-2.0 */

/* Parses a key's ARN. Its endpoint is a host in the key's Region, and nothing else. */

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "aws/kms-key.h"
#include "basic/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_endpoint(const KmsKeyArn *arn, bool fips, bool dual_stack) {
        const KmsEndpointOptions options = { .fips = fips, .dual_stack = dual_stack };
        _cleanup_free_ char *url = NULL;
        char prefix[128];

        if (kms_endpoint(arn, &options, &url) < 0)
                return;
        (void) snprintf(prefix, sizeof(prefix), "https://kms%s.%s.", fips ? "-fips" : "", arn->region);
        assert(strncmp(url, prefix, strlen(prefix)) == 0);
        assert(strspn(url + strlen("https://"), "abcdefghijklmnopqrstuvwxyz0123456789.-") ==
               strlen(url + strlen("https://")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size);
        char again[512];
        KmsKeyArn arn;

        assert(text);
        if (kms_key_arn_parse(text, &arn) < 0)
                return 0;
        (void) snprintf(again, sizeof(again), "arn:%s:kms:%s:%s:key/%s", arn.partition, arn.region,
                        arn.account, arn.key);
        assert(strcmp(again, text) == 0);
        for (unsigned i = 0; i < 4; i++)
                check_endpoint(&arn, i & 1, i & 2);
        return 0;
}
