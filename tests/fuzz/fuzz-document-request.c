/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests of applications for documents. What is accepted fits into a document, has no RSA key, and has user data that begin with the
 * name of the unit. The first byte chooses whether they do.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attestation/document-request.h"
#include "attestation/public-key.h"
#include "tpm/nsm.h"

static const char unit[] = "billing@1.service";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const DocumentRequest *request, const char *name) {
        if (request->nonce && (request->nonce_size == 0 || request->nonce_size > NSM_FIELD_MAX))
                abort();
        if (request->user_data && (request->user_data_size == 0 || request->user_data_size > NSM_FIELD_MAX))
                abort();
        if (name && (!request->user_data || request->user_data_size < sizeof(unit) ||
                     memcmp(request->user_data, unit, sizeof(unit)) != 0))
                abort();
        if (request->public_key && (request->public_key_size > NSM_FIELD_MAX ||
                                    public_key_is_rsa(request->public_key, request->public_key_size)))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *name = size > 0 && data[0] % 2 == 0 ? unit : NULL;
        DocumentRefusal refusal = {};
        DocumentRequest request = {};
        int r;

        if (size == 0)
                return 0;
        r = document_request_parse((const char *) data + 1, size - 1, name, &request, &refusal);
        if ((r == -EBADMSG) != !!refusal.message || (r < 0 && request.user_data))
                abort();
        if (r >= 0)
                check(&request, name);
        document_request_clear(&request);
        return 0;
}
