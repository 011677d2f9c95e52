/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config/ini.h"
#include "unsealing/request.h"

/* The Region that the declaration names, else the one in the source's ARN, else the key's. */
static void find_region(const Declaration *declaration, const Source *source, const KmsKeyArn *key,
                        char ret[static sizeof(((KmsKeyArn *) NULL)->region)]) {
        if (declaration->source_region)
                (void) snprintf(ret, sizeof(key->region), "%s", declaration->source_region);
        else if (!source->location || !source_region(source, ret, sizeof(key->region)))
                memcpy(ret, key->region, sizeof(key->region));
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
        find_region(declaration, &declaration->source, &target.key, target.source_region);
        find_region(declaration, &declaration->signature, &target.key, target.signature_region);
        *ret = target;
        return 0;
}

void request_target_clear(RequestTarget *target) {
        free(target->endpoint);
        *target = (RequestTarget){};
}

size_t request_maximum(const Declaration *declaration, const Source *source) {
        return source->is_signature ? SIGNATURE_FILE_MAX : declaration->size_max;
}

Fetch request_fetch(const Settings *settings, const Declaration *declaration, const RequestTarget *target,
                    const Source *source) {
        return (Fetch){
                .source = source,
                .partition = target->key.partition,
                .region = source->is_signature ? target->signature_region : target->source_region,
                .fips = settings->fips,
                .dual_stack = settings->dual_stack,
                .maximum = request_maximum(declaration, source),
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
