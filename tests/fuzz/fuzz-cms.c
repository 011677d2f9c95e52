/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Parses envelopes. All slices must lie within the input. Opening one with a wrong key must fail without
 * harm.
 */

#include <openssl/rsa.h>
#include <stdlib.h>

#include "kms/cms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_slice(const uint8_t *data, size_t size, CmsSlice slice) {
        if (slice.data < data || slice.size > size || slice.data + slice.size > data + size)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static EVP_PKEY *key;
        _cleanup_secret_ Secret *secret = NULL;
        CmsEnvelope envelope;
        size_t content = 0;

        key = key ?: EVP_RSA_gen(2048);
        if (cms_parse(data, size, &envelope) < 0)
                return 0;
        check_slice(data, size, envelope.encrypted_key);
        check_slice(data, size, envelope.iv);
        for (size_t i = 0; i < envelope.segments; i++) {
                check_slice(data, size, envelope.content[i]);
                content += envelope.content[i].size;
        }
        if (content != envelope.content_size)
                abort();
        (void) cms_open(data, size, key, &secret);
        return 0;
}
