/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads a signature of a sealed secret, judges it under a key whose private half is lost, and reads the input as a key. A signature
 * that was read can be written and read again. No input is accepted.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "source/signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                          "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEdZS0rK1D5ut+yLS1QpJrxlMfiwsR\n"
                          "ZlOIxrmS/5VWZAZylYErTtLVxoia8bjrs7ZT5wrmftJ4kOwE6Bl69aQNUA==\n"
                          "-----END PUBLIC KEY-----\n";

static EVP_PKEY *lost_key(void) {
        static EVP_PKEY *key;

        if (!key && signature_key_parse((const uint8_t *) pem, strlen(pem), &key, NULL) < 0)
                abort();
        return key;
}

static void read_key(const uint8_t *data, size_t size) {
        EVP_PKEY *key = NULL;
        Error error;

        if (signature_key_parse(data, size, &key, &error) >= 0)
                assert(signature_scheme(key) != _SIGNATURE_SCHEME_INVALID);
        else
                assert(error.failure == FAILURE_CONFIGURATION);
        EVP_PKEY_free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const SignatureRule rule = {
                .name = "db", .key = lost_key(), .key_path = "/key", .label = "file:/sig"
        };
        _cleanup_free_ char *text = NULL;
        Signature signature, again;
        uint64_t version;
        Error error;

        read_key(data, size);
        assert(signature_judge(&rule, data, size, data, size, &version, &error) < 0);
        assert(error.failure == FAILURE_SIGNATURE && error.remedy == REMEDY_RETRY);
        if (signature_parse(data, size, &signature, &error) < 0)
                return 0;
        if (signature_format(&signature, &text) < 0)
                abort();
        assert(signature_parse((const uint8_t *) text, strlen(text), &again, &error) >= 0);
        assert(again.version == signature.version && again.size == signature.size &&
               memcmp(again.bytes, signature.bytes, signature.size) == 0);
        return 0;
}
