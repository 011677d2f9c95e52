/* SPDX-License-Identifier: Apache-2.0 */

/* Parses a document. All slices must lie within it. */

#include <assert.h>

#include "attestation/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_slice(const AttestationDocument *document, const Slice *slice) {
        if (!slice->data) {
                assert(slice->size == 0);
                return;
        }
        assert(slice->data >= document->bytes);
        assert(slice->size <= (size_t) (document->bytes + document->size - slice->data));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_attestation_ AttestationDocument *document = NULL;
        Error error = {};
        int r;

        r = attestation_parse(data, size, &document, &error);
        if (r < 0) {
                assert(!document);
                assert(error.failure == FAILURE_ATTESTATION && error.text[0] != 0);
                return 0;
        }

        check_slice(document, &document->payload);
        check_slice(document, &document->certificate);
        for (size_t i = 0; i < document->chain_length; i++)
                check_slice(document, &document->chain[i]);
        for (size_t i = 0; i < ATTESTATION_PCRS; i++)
                check_slice(document, &document->pcrs[i]);
        check_slice(document, &document->public_key);
        check_slice(document, &document->user_data);
        check_slice(document, &document->nonce);
        return 0;
}
