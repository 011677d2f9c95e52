/* SPDX-License-Identifier: Apache-2.0 */

/* Parses EFI signature lists. All entries must lie within the input, one behind the other. */

#include <assert.h>

#include "unsealctl/measure/secureboot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_signatures_ SignatureDatabase database = {};
        const uint8_t *end = data;
        Error error = {};

        if (signature_database_parse(data, size, &database, &error) < 0) {
                assert(!database.signatures && database.count == 0);
                assert(error.failure == FAILURE_CONFIGURATION && error.text[0] != 0);
                return 0;
        }
        for (size_t i = 0; i < database.count; i++) {
                const Slice *entry = &database.signatures[i].data;

                assert(entry->data >= end && entry->size > SIGNATURE_OWNER_SIZE);
                end = entry->data + entry->size;
                assert(end <= data + size);
        }
        return 0;
}
