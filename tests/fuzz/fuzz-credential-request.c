/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Parses the address of a unit's request. Unit and credential, put together again, must be the end of that
 * address.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vault/socket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        size_t prefix = offsetof(struct sockaddr_un, sun_path);
        char tail[2 * sizeof(address.sun_path)];
        CredentialRequest request;
        int length;

        if (size > sizeof(address.sun_path))
                return 0;
        memcpy(address.sun_path, data, size);
        if (credential_request_parse(&address, (socklen_t) (prefix + size), &request) < 0)
                return 0;

        length = snprintf(tail, sizeof(tail), "/unit/%s/%s", request.unit, request.credential);
        if ((size_t) length + 2 > size || (size_t) length + 17 < size ||
            memcmp(data + size - length, tail, (size_t) length) != 0)
                abort();
        return 0;
}
