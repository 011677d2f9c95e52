/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The platform's certificate authority and its certificates for the services' names: one that is right, and
 * one for each way in which a certificate can be wrong. Every start makes a new authority; with a seed it is
 * the same again. All keys are P-256. (AWS has RSA-2048, which costs the server more time.)
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
        EVP_PKEY *key; /* the key of all server certificates */
        X509 *certificates[_CERTIFICATE_KIND_MAX];
} Pki;

/* Makes certificates for the names, a NULL-terminated list. Writes the authority's certificate to root_path
 * as PEM. The authority's key is never written. */
int pki_make(const Seed *seed, const char *const *names, const char *root_path, Pki *ret);
void pki_clear(Pki *pki);
