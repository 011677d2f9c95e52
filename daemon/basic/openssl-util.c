/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include "basic/openssl-util.h"

int openssl_failure(const char **ret_reason) {
        const char *reason = ERR_reason_error_string(ERR_peek_error());
        unsigned long code;
        int r = -EIO;

        while ((code = ERR_get_error()) != 0)
                if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE)
                        r = -ENOMEM;
        if (ret_reason)
                *ret_reason = reason ?: "unknown error";
        return r;
}

int openssl_error(Error *error, const char *what) {
        const char *reason;
        int r = openssl_failure(&reason);

        return r == -ENOMEM ? error_oom(error)
                            : error_set(error, r, FAILURE_INTERNAL, "OpenSSL cannot %s: %s.", what, reason);
}

int openssl_no_password(char *buffer, int size, int writing, void *userdata) {
        return -1;
}

bool openssl_set_oaep_sha256(EVP_PKEY_CTX *context) {
        return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) > 0 &&
               EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) > 0 &&
               EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) > 0;
}

BIGNUM *openssl_local(BN_CTX *context) {
        BIGNUM *number = BN_CTX_get(context);

        if (number)
                BN_set_flags(number, BN_FLG_CONSTTIME);
        return number;
}
