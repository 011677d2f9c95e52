/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests to the attestation service. A request has one outcome, whatever follows it, and its nonce is
 * within its bounds.
 */

#include <stdlib.h>
#include <string.h>

#include "attestation/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const AttestationQuery *query) {
        if ((query->status == 200) != !query->error || !query->error != !query->message)
                abort();
        if (query->status == 200 && query->wants_status && query->nonce_size != 0)
                abort();
        if (query->status == 200 && !query->wants_status &&
            (query->nonce_size < ATTESTATION_NONCE_MIN || query->nonce_size > ATTESTATION_NONCE_MAX))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        AttestationQuery whole, piece;
        bool decided;

        decided = attestation_query_parse((const char *) data, size, &whole);
        if (decided)
                check(&whole);
        /* A request arrives in pieces. A wrong one is refused sooner or later, a right one stays right. */
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
