/* SPDX-License-Identifier: Apache-2.0 */

/* Reads the kernel's answer about a Unix socket. Whatever it reads as a request has only characters of names, and all of it
 * comes from the input. */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "vault/callers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        CredentialRequest request;
        SocketDiag diag;
        int r = socket_diag_parse(data, size, &diag);

        assert(r == 0 || (r < 0 && r >= -4095));
        if (r < 0)
                return 0;
        assert(diag.waiting_count <= CALLERS_MAX);
        assert(diag.waiting_count * sizeof(diag.waiting[0]) <= size);
        assert(diag.address_size <= sizeof(diag.address));
        if (credential_request_parse(&diag.address, diag.address_size, &request) < 0)
                return 0;
        assert(memmem(data, size, request.unit, strlen(request.unit)));
        assert(memmem(data, size, request.credential, strlen(request.credential)));
        for (const char *p = request.unit; *p; p++)
                assert(*p > ' ' && *p < 0x7f);
        return 0;
}
