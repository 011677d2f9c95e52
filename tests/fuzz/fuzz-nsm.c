/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Decodes a reply of the NSM. A reply that is accepted must be accepted with other padding behind it, too,
 * because tpm.c reads the reply piece by piece.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tpm/nsm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ uint8_t *document = NULL, *again = NULL, *padded = NULL;
        size_t document_size, again_size;
        Error error;

        if (nsm_reply_decode(data, size, &document, &document_size, &error) < 0)
                return 0;
        if (document_size == 0 || document_size >= size)
                abort();

        padded = malloc(size + 1);
        if (!padded)
                abort();
        memcpy(padded, data, size);
        padded[size] = 0xff;
        if (nsm_reply_decode(padded, size + 1, &again, &again_size, &error) < 0 ||
            again_size != document_size || memcmp(document, again, document_size) != 0)
                abort();
        return 0;
}
