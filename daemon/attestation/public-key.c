/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include "attestation/public-key.h"
#include "basic/openssl-util.h"
#include "tpm/nsm.h"

typedef struct Der {
        unsigned char *data;
        long size;
} Der;

static void der_done(Der *der) {
        OPENSSL_free(der->data);
}

static bool has_pem(const uint8_t *data, size_t size, const char *name, Der *ret) {
        _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(data, (int) size);

        return bio &&
               PEM_bytes_read_bio(&ret->data, &ret->size, NULL, name, bio, openssl_no_password, NULL) == 1;
}

/* NULL: it is no certificate, or bytes follow it. */
static X509 *read_certificate(const unsigned char *data, long size) {
        const unsigned char *p = data;
        X509 *certificate = d2i_X509(NULL, &p, size);

        if (certificate && p != data + size) {
                X509_free(certificate);
                return NULL;
        }
        return certificate;
}

/* NULL: it is no public key, or bytes follow it. */
static X509_PUBKEY *read_key(const unsigned char *data, long size) {
        const unsigned char *p = data;
        X509_PUBKEY *key = d2i_X509_PUBKEY(NULL, &p, size);

        if (key && p != data + size) {
                X509_PUBKEY_free(key);
                return NULL;
        }
        return key;
}

static int write_key(const X509_PUBKEY *key, uint8_t **ret, size_t *ret_size) {
        int size = i2d_X509_PUBKEY(key, NULL);
        unsigned char *p;

        if (size < 0)
                return openssl_failure(NULL);
        if (size > NSM_FIELD_MAX)
                return -E2BIG;
        *ret = p = malloc((size_t) size);
        if (!p)
                return -ENOMEM;
        *ret_size = (size_t) i2d_X509_PUBKEY(key, &p);
        return 0;
}

static int parse_der(const unsigned char *data, long size, uint8_t **ret, size_t *ret_size) {
        _cleanup_(X509_freep) X509 *certificate = read_certificate(data, size);
        _cleanup_(X509_PUBKEY_freep) X509_PUBKEY *key = NULL;

        if (certificate)
                return write_key(X509_get_X509_PUBKEY(certificate), ret, ret_size);
        key = read_key(data, size);
        return key ? write_key(key, ret, ret_size) : -EBADMSG;
}

bool is_pem(const uint8_t *data, size_t size) {
        static const char begin[] = "-----BEGIN ";

        return memmem(data, size, begin, sizeof(begin) - 1);
}

int public_key_parse(const uint8_t *data, size_t size, uint8_t **ret, size_t *ret_size) {
        _cleanup_(der_done) Der der = {};
        int r;

        if (size > INT_MAX)
                return -EBADMSG;
        if (!is_pem(data, size))
                r = parse_der(data, (long) size, ret, ret_size);
        else if (has_pem(data, size, PEM_STRING_X509, &der) || has_pem(data, size, PEM_STRING_PUBLIC, &der))
                r = parse_der(der.data, der.size, ret, ret_size);
        else
                r = -EBADMSG;
        ERR_clear_error();
        return r;
}

bool public_key_is_rsa(const uint8_t *key, size_t size) {
        _cleanup_(X509_PUBKEY_freep) X509_PUBKEY *parsed = read_key(key, (long) size);
        ASN1_OBJECT *algorithm = NULL;
        int nid = NID_undef;

        if (parsed && X509_PUBKEY_get0_param(&algorithm, NULL, NULL, NULL, parsed) == 1)
                nid = OBJ_obj2nid(algorithm);
        ERR_clear_error();
        return nid == NID_rsaEncryption || nid == NID_rsa || nid == NID_rsassaPss || nid == NID_rsaesOaep;
}
