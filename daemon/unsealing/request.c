/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config/ini.h"
#include "unsealing/request.h"

/* The Region that the declaration names, else the one in the source's ARN, else the key's. */
static void find_source_region(const Declaration *declaration, RequestTarget *target) {
        if (declaration->source_region)
                (void) snprintf(target->source_region, sizeof(target->source_region), "%s",
                                declaration->source_region);
        else if (!source_region(&declaration->source, target->source_region, sizeof(target->source_region)))
                memcpy(target->source_region, target->key.region, sizeof(target->source_region));
}

int request_target(const Settings *settings, const Declaration *declaration, RequestTarget *ret,
                   Error *error) {
        const KmsEndpointOptions options = {
                .fips = settings->fips,
                .dual_stack = settings->dual_stack,
                .endpoint = settings->kms_endpoint,
        };
        RequestTarget target = {};
        int r;

        r = kms_key_arn_parse(declaration->key_ids[0], &target.key);
        if (r >= 0)
                r = kms_endpoint(&target.key, &options, &target.endpoint);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return error_set(error, r, FAILURE_CONFIGURATION,
                                 "%s: KeyId=%s: no endpoint of KMS is known for this key.",
                                 declaration->file, declaration->key_ids[0]);
        find_source_region(declaration, &target);
        *ret = target;
        return 0;
}

void request_target_clear(RequestTarget *target) {
        free(target->endpoint);
        *target = (RequestTarget){};
}

Fetch request_fetch(const Settings *settings, const Declaration *declaration, const RequestTarget *target) {
        return (Fetch){
                .source = &declaration->source,
                .partition = target->key.partition,
                .region = target->source_region,
                .fips = settings->fips,
                .dual_stack = settings->dual_stack,
                .maximum = declaration->size_max,
        };
}

const char **request_context(const Declaration *declaration, const char *account_pair) {
        char *const *declared = declaration->encryption_context;
        size_t n = strings_count(declared);
        const char **context = calloc(n + 2, sizeof(*context));

        if (!context)
                return NULL;
        for (size_t i = 0; i < n; i++)
                context[i] = declared[i];
        if (declaration->bind_account)
                context[n] = account_pair;
        return context;
}

KmsDecrypt request_decrypt(const Declaration *declaration, const char *const *context, Slice ciphertext) {
        return (KmsDecrypt){
                .ciphertext = ciphertext,
                .key_ids = (const char *const *) declaration->key_ids,
                .encryption_context = context,
        };
}
