/* SPDX-License-Identifier: Apache-2.0 */

/* What the attestation service is sent: an outcome once and for all, whatever follows, and a nonce within its bounds. */

#include <stdlib.h>
#include <string.h>

#include "attestation/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const AttestationQuery *query) {
        if ((query->status == 200) != !query->error || !query->error != !query->message)
                abort();
        if (query->status == 200 &&
            (query->nonce_size < ATTESTATION_NONCE_MIN || query->nonce_size > ATTESTATION_NONCE_MAX))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        AttestationQuery whole, piece;
        bool decided;

        decided = attestation_query_parse((const char *) data, size, &whole);
        if (decided)
                check(&whole);
        /* As it comes over a network, in pieces: what is wrong is found sooner or later, what is right stays right. */
        for (size_t n = 0, step = size / 16 + 1; n < size; n += step) {
                if (!attestation_query_parse((const char *) data, n, &piece))
                        continue;
                check(&piece);
                if (!decided ||
                    (piece.status == 200 && (whole.status != 200 || piece.nonce_size != whole.nonce_size ||
                                             memcmp(piece.nonce, whole.nonce, piece.nonce_size) != 0)))
                        abort();
        }
        return 0;
}
