/* SPDX-License-Identifier: Apache-2.0 */

/* Parses a manifest. What is accepted must be, byte for byte, what formatting gives. */

#include <stdlib.h>
#include <string.h>

#include "vault/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(manifest_clear) Manifest manifest = {};
        _cleanup_secret_ Secret *secret = NULL;

        if (manifest_parse(data, size, &manifest) < 0)
                return 0;
        if (manifest_format(&manifest, &secret) < 0)
                return 0;
        if (memcmp(manifest.header.magic, "unseald kept 4", 15) != 0)
                return 0; /* earlier versions are read, and not written any more */
        if (secret_size(secret) != size || memcmp(secret_bytes(secret), data, size) != 0)
                abort();
        return 0;
}
