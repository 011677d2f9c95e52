/* SPDX-License-Identifier: Apache-2.0 */

/* Reads a public key. It must fit into an NSM request, and reading it again must give the same key. */

#include <assert.h>
#include <string.h>

#include "attestation/public-key.h"
#include "basic/cleanup.h"
#include "tpm/nsm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ uint8_t *key = NULL, *again = NULL;
        size_t key_size, again_size;

        if (public_key_parse(data, size, &key, &key_size) < 0)
                return 0;
        assert(key_size > 0 && key_size <= NSM_FIELD_MAX);
        (void) public_key_is_rsa(key, key_size);
        assert(public_key_parse(key, key_size, &again, &again_size) >= 0);
        assert(again_size == key_size && memcmp(again, key, key_size) == 0);
        return 0;
}
