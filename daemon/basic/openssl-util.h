/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Clean-ups for OpenSSL's objects, and the reason why a call of OpenSSL failed. */

#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>
#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <stdbool.h>

#include "basic/cleanup.h"
#include "basic/error.h"

DEFINE_CLEANUP(BIGNUM *, BN_clear_free);
DEFINE_CLEANUP(BIO *, BIO_free);
DEFINE_CLEANUP(BN_CTX *, BN_CTX_free);
DEFINE_CLEANUP(BN_MONT_CTX *, BN_MONT_CTX_free);
DEFINE_CLEANUP(ECDSA_SIG *, ECDSA_SIG_free);
DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free);
DEFINE_CLEANUP(EVP_KDF *, EVP_KDF_free);
DEFINE_CLEANUP(EVP_KDF_CTX *, EVP_KDF_CTX_free);
DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free);
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free);
DEFINE_CLEANUP(OSSL_PARAM *, OSSL_PARAM_free);
DEFINE_CLEANUP(OSSL_PARAM_BLD *, OSSL_PARAM_BLD_free);
DEFINE_CLEANUP(PKCS7 *, PKCS7_free);
DEFINE_CLEANUP(X509 *, X509_free);
DEFINE_CLEANUP(X509_PUBKEY *, X509_PUBKEY_free);
DEFINE_CLEANUP(X509_SIG *, X509_SIG_free);
DEFINE_CLEANUP(X509_STORE *, X509_STORE_free);
DEFINE_CLEANUP(X509_STORE_CTX *, X509_STORE_CTX_free);

/*
 * To be called right after a call of OpenSSL failed, in the same thread. Returns -ENOMEM if OpenSSL had too little
 * memory, and -EIO otherwise. *ret_reason (NULL: not needed) is OpenSSL's text for the innermost error, valid for ever,
 * or "unknown error". Empties the thread's error queue, so that the next failure is not explained by this one.
 */
int openssl_failure(const char **ret_reason);

/* To be called as openssl_failure(). Sets *error to "OpenSSL cannot WHAT: REASON." and FAILURE_INTERNAL, or says that memory ran
 * out. Returns what openssl_failure() returns. */
int openssl_error(Error *error, const char *what);

/* The pem_password_cb of every file that is not to be decrypted: it gives none. Without it, OpenSSL asks the terminal, or waits for
 * standard input, as soon as any PEM file says that it is encrypted. Certificates and public keys can say so, too. */
int openssl_no_password(char *buffer, int size, int writing, void *userdata);

/* RSAES-OAEP with SHA-256, MGF1-SHA-256 and no label (RFC 8017 section 7.1), for a context that EVP_PKEY_encrypt_init()
 * or EVP_PKEY_decrypt_init() has set up. false: OpenSSL failed. */
bool openssl_set_oaep_sha256(EVP_PKEY_CTX *context);

/* A number that lives until the BN_CTX_end() of the current BN_CTX_start(). OpenSSL's arithmetic takes the same time for all values
 * of it. NULL: OpenSSL failed. */
BIGNUM *openssl_local(BN_CTX *context);
