/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The platform's certificate authority, made anew at every start (out of the seed, where there is one), and its certificates for KMS's names: the right one,
 * and one for each way in which a certificate can be wrong. P-256: AWS has RSA-2048 there, which costs the server more.
 */

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "faults.h"
#include "seed.h"

typedef enum CertificateKind {
        CERTIFICATE_RIGHT,
        CERTIFICATE_WRONG_NAME,
        CERTIFICATE_EXPIRED,
        CERTIFICATE_NOT_YET_VALID,
        CERTIFICATE_UNTRUSTED,
        _CERTIFICATE_KIND_MAX,
} CertificateKind;

typedef struct Pki {
        EVP_PKEY *key; /* of all server certificates */
        X509 *certificates[_CERTIFICATE_KIND_MAX];
} Pki;

/* For the names (NULL-terminated); the authority's certificate is written to root_path as PEM, its key nowhere. */
int pki_make(const Seed *seed, const char *const *names, const char *root_path, Pki *ret);
void pki_clear(Pki *pki);
