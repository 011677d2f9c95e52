/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Verifies each document that can be parsed against the root in the document itself, at the document's own
 * time. So a real document is accepted, and its mutations reach every check. A document that is accepted
 * must be refused once its signature, its age or the nonce is wrong.
 */

#include <assert.h>

#include "attestation/document.h"

DEFINE_CLEANUP(X509 *, X509_free);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(AttestationRefusal refusal, AttestationRefusal wanted, const Error *error) {
        assert(refusal == wanted);
        assert(error->failure == FAILURE_ATTESTATION && error->text[0] != 0);
        assert(attestation_refusal_to_string(refusal)[0] != 0);
}

static void change(AttestationDocument *document, AttestationPolicy policy) {
        static const uint8_t other[] = { 1, 2, 3 };
        const Slice nonce = { other, sizeof(other) };
        /* The slices point into document->bytes, which this copy may change. */
        uint8_t *last = (uint8_t *) document->signature.data + document->signature.size - 1;
        Error error = {};

        *last ^= 1;
        check(attestation_verify(document, &policy, &error), ATTESTATION_SIGNATURE, &error);
        *last ^= 1;

        error = (Error){};
        policy.max_age_sec = 300;
        policy.at += 301;
        AttestationRefusal late = attestation_verify(document, &policy, &error);
        assert(late == ATTESTATION_STALE || late == ATTESTATION_EXPIRED);
        policy.at -= 301;

        error = (Error){};
        policy.nonce = &nonce;
        if (document->nonce.size != sizeof(other))
                check(attestation_verify(document, &policy, &error), ATTESTATION_NONCE, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_attestation_ AttestationDocument *document = NULL;
        _cleanup_(X509_freep) X509 *root = NULL;
        const uint8_t *p;
        Error error = {};

        if (attestation_parse(data, size, &document, &error) < 0)
                return 0;
        p = document->chain[0].data;
        root = d2i_X509(NULL, &p, (long) document->chain[0].size);
        if (!root)
                return 0;

        AttestationPolicy policy = {
                .root = root,
                .at = (int64_t) (document->timestamp_msec / 1000),
                .max_age_sec = 300,
        };
        AttestationRefusal refusal = attestation_verify(document, &policy, &error);
        if (refusal == ATTESTATION_ACCEPTED)
                change(document, policy);
        else
                check(refusal, refusal, &error);
        return 0;
}
