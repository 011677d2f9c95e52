/* SPDX-License-Identifier: Apache-2.0 */

/* Opens responses that were made without the session's key. None may be accepted. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tpm/tpm-session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const TPM2B_NAME name = { .size = 2 };
        const TPM2B_AUTH auth = {};
        TpmCommand command = {
                .code = 0x20000001, .n_handles = 1, .name = &name, .auth = &auth, .sized_out = true
        };
        TpmMessage sealed, response = {};
        TpmSession session = {};

        if (size > sizeof(response.data))
                return 0;
        response.size = size;
        if (size > 0)
                memcpy(response.data, data, size);
        if (tpm_session_started(&session, &response) < 0)
                return 0;

        session.encrypts = true;
        if (tpm_session_seal(&session, &command, &sealed) < 0)
                abort();
        response.read = 0;
        if (tpm_session_open(&session, &command, &response) >= 0)
                abort();
        return 0;
}
