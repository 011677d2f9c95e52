/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "source/message-header.h"
#include "unsealing/late-key.h"

static int digest(Slice header, uint8_t ret[static LATE_KEY_DIGEST_SIZE]) {
        return EVP_Digest(header.data, header.size, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

static bool is_late_key(const Secret *late_key) {
        return secret_size(late_key) > LATE_KEY_DIGEST_SIZE &&
               secret_size(late_key) <= LATE_KEY_DIGEST_SIZE + MESSAGE_KEY_MAX;
}

int late_key_new(Slice header, Secret *data_key, Secret **ret) {
        _cleanup_secret_ Secret *late_key = NULL;
        int r = secret_new(LATE_KEY_DIGEST_SIZE + secret_size(data_key), &late_key);

        if (r >= 0)
                r = digest(header, secret_bytes(late_key));
        if (r < 0)
                return r;
        memcpy(secret_bytes(late_key) + LATE_KEY_DIGEST_SIZE, secret_bytes(data_key), secret_size(data_key));
        *ret = TAKE_PTR(late_key);
        return 0;
}

int late_key_fits(Secret *late_key, Slice header) {
        uint8_t wanted[LATE_KEY_DIGEST_SIZE];
        int r = is_late_key(late_key) ? digest(header, wanted) : -EBADMSG;

        return r < 0 ? r : memcmp(secret_bytes(late_key), wanted, sizeof(wanted)) == 0;
}

int late_key_open(Secret *late_key, Secret **ret) {
        size_t size = secret_size(late_key) - LATE_KEY_DIGEST_SIZE;
        int r = is_late_key(late_key) ? secret_new(size, ret) : -EBADMSG;

        if (r >= 0)
                memcpy(secret_bytes(*ret), secret_bytes(late_key) + LATE_KEY_DIGEST_SIZE, size);
        return r;
}
