/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/openssl-util.h"
#include "volume/state-keys.h"
#include "volume/volume-key.h"

#define INFO "unseald volume v1 "
#define PURPOSE_MAX 16U
#define INFO_MAX (sizeof(INFO) + PURPOSE_MAX + VOLUME_NAME_MAX_LENGTH)

void state_keys_clear(StateKeys *keys) {
        keys->sectors = secret_free(keys->sectors);
        keys->label = secret_free(keys->label);
}

/* salt: STATE_SALT_SIZE bytes, or NULL, which is as many zeros as the digest has bytes. */
static int derive(Secret *data_key, const uint8_t *salt, const char *purpose, const char *volume,
                  uint8_t *ret, size_t size) {
        _cleanup_(EVP_KDF_freep) EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
        _cleanup_(EVP_KDF_CTX_freep) EVP_KDF_CTX *context = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
        char info[INFO_MAX];
        /* The zero byte after the purpose is the format's own. */
        int length = snprintf(info, sizeof(info), INFO "%s%c%s", purpose, '\0', volume);
        static const uint8_t zeros[STATE_SALT_SIZE];
        OSSL_PARAM parameters[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *) "SHA256", 0),
                OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret_bytes(data_key),
                                                  secret_size(data_key)),
                OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, (size_t) length),
                OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *) (salt ?: zeros),
                                                  STATE_SALT_SIZE),
                OSSL_PARAM_construct_end(),
        };

        if (length < 0 || (size_t) length >= sizeof(info))
                return -EINVAL;
        if (!context || EVP_KDF_derive(context, ret, size, parameters) <= 0)
                return openssl_failure(NULL);
        return 0;
}

int state_keys_derive(Secret *data_key, const char *volume, StateKeys *ret) {
        _cleanup_state_keys_ StateKeys keys = {};
        int r;

        if (secret_size(data_key) < STATE_DATA_KEY_MIN)
                return -EINVAL;
        if (secret_new(STATE_LABEL_KEY_SIZE, &keys.label) < 0)
                return -ENOMEM;
        r = derive(data_key, NULL, "label", volume, secret_bytes(keys.label), STATE_LABEL_KEY_SIZE);
        if (r < 0)
                return r;
        *ret = TAKE(keys, (StateKeys){});
        return 0;
}

int state_keys_derive_sectors(Secret *data_key, const char *volume,
                              const uint8_t salt[static STATE_SALT_SIZE], bool unverified, StateKeys *keys) {
        size_t tags = unverified ? 0 : STATE_INTEGRITY_KEY_SIZE;
        _cleanup_secret_ Secret *sectors = NULL;
        uint8_t *bytes;
        int r;

        if (secret_size(data_key) < STATE_DATA_KEY_MIN)
                return -EINVAL;
        if (secret_new(STATE_ENCRYPTION_KEY_SIZE + tags, &sectors) < 0)
                return -ENOMEM;
        bytes = secret_bytes(sectors);
        r = derive(data_key, salt, unverified ? "encryption only" : "encryption", volume, bytes,
                   STATE_ENCRYPTION_KEY_SIZE);
        if (r >= 0 && tags > 0)
                r = derive(data_key, salt, "integrity", volume, bytes + STATE_ENCRYPTION_KEY_SIZE, tags);
        if (r < 0)
                return r;
        (void) secret_free(keys->sectors);
        keys->sectors = TAKE_PTR(sectors);
        return 0;
}
