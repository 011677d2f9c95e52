/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "pki.h"

#define DAY (24 * 60 * 60L)

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);
DEFINE_CLEANUP(X509 *, X509_free);
DEFINE_CLEANUP(BIO *, BIO_free);

static int add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
        X509V3_CTX context;

        X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
        if (!extension)
                return -EIO;
        int ok = X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
        return ok > 0 ? 0 : -EIO;
}

static int new_certificate(EVP_PKEY *key, const char *common_name, long from, long to, X509 **ret) {
        _cleanup_(X509_freep) X509 *certificate = X509_new();
        uint64_t serial;

        if (!certificate || RAND_bytes((unsigned char *) &serial, sizeof(serial)) <= 0)
                return -EIO;
        if (X509_set_version(certificate, X509_VERSION_3) <= 0 ||
            ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) <= 0 ||
            !X509_gmtime_adj(X509_getm_notBefore(certificate), from) ||
            !X509_gmtime_adj(X509_getm_notAfter(certificate), to) ||
            X509_set_pubkey(certificate, key) <= 0 ||
            X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                                       (const unsigned char *) common_name, -1, -1, 0) <= 0)
                return -EIO;
        *ret = TAKE_PTR(certificate);
        return 0;
}

static int make_authority(const char *name, EVP_PKEY *key, X509 **ret) {
        _cleanup_(X509_freep) X509 *certificate = NULL;
        int r;

        r = new_certificate(key, name, -DAY, 3650 * DAY, &certificate);
        if (r < 0)
                return r;
        if (X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) <= 0)
                return -EIO;
        if (add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") <
                            0 ||
            add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") < 0 ||
            add_extension(certificate, certificate, NID_subject_key_identifier, "hash") < 0 ||
            X509_sign(certificate, key, EVP_sha256()) <= 0)
                return -EIO;
        *ret = TAKE_PTR(certificate);
        return 0;
}

static int alternative_names(const char *const *names, char **ret) {
        size_t size;
        FILE *out = open_memstream(ret, &size);

        if (!out)
                return -ENOMEM;
        for (size_t i = 0; names[i]; i++)
                fprintf(out, "%sDNS:%s", i > 0 ? "," : "", names[i]);
        return fclose(out) == 0 ? 0 : -ENOMEM;
}

static int make_certificate(EVP_PKEY *key, const char *const *names, long from, long to, X509 *issuer,
                            EVP_PKEY *issuer_key, X509 **ret) {
        _cleanup_(X509_freep) X509 *certificate = NULL;
        _cleanup_free_ char *alternatives = NULL;
        int r;

        r = alternative_names(names, &alternatives);
        if (r >= 0)
                r = new_certificate(key, names[0], from, to, &certificate);
        if (r < 0)
                return r;
        if (X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) <= 0 ||
            add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE") < 0 ||
            add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature") < 0 ||
            add_extension(certificate, issuer, NID_ext_key_usage, "serverAuth") < 0 ||
            add_extension(certificate, issuer, NID_subject_alt_name, alternatives) < 0 ||
            add_extension(certificate, issuer, NID_subject_key_identifier, "hash") < 0 ||
            add_extension(certificate, issuer, NID_authority_key_identifier, "keyid") < 0 ||
            X509_sign(certificate, issuer_key, EVP_sha256()) <= 0)
                return -EIO;
        *ret = TAKE_PTR(certificate);
        return 0;
}

static int write_certificate(X509 *certificate, const char *path) {
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        char *pem;

        if (!bio || PEM_write_bio_X509(bio, certificate) <= 0)
                return -EIO;
        long size = BIO_get_mem_data(bio, &pem);
        return write_file_atomic(path, pem, (size_t) size, 0644);
}

int pki_make(const Seed *seed, const char *const *names, const char *root_path, Pki *ret) {
        static const char *const wrong_names[] = { "kms.example.com", NULL };
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *authority_key = seed_key(seed, "authority"),
                                           *stranger_key = EVP_EC_gen("P-256");
        _cleanup_(X509_freep) X509 *authority = NULL, *stranger = NULL;
        Pki pki = { .key = EVP_EC_gen("P-256") };
        int r;

        if (!authority_key || !stranger_key || !pki.key)
                r = -EIO;
        else
                r = make_authority("unseald platform CA", authority_key, &authority);
        if (r >= 0)
                r = make_authority("unseald platform stranger CA", stranger_key, &stranger);

        const struct {
                const char *const *names;
                long from, to;
                X509 *issuer;
                EVP_PKEY *issuer_key;
        } makings[_CERTIFICATE_KIND_MAX] = {
                [CERTIFICATE_RIGHT] = { names, -DAY, 395 * DAY, authority, authority_key },
                [CERTIFICATE_WRONG_NAME] = { wrong_names, -DAY, 395 * DAY, authority, authority_key },
                [CERTIFICATE_EXPIRED] = { names, -30 * DAY, -DAY, authority, authority_key },
                [CERTIFICATE_NOT_YET_VALID] = { names, DAY, 395 * DAY, authority, authority_key },
                [CERTIFICATE_UNTRUSTED] = { names, -DAY, 395 * DAY, stranger, stranger_key },
        };
        for (size_t i = 0; i < ELEMENTSOF(makings) && r >= 0; i++)
                r = make_certificate(pki.key, makings[i].names, makings[i].from, makings[i].to,
                                     makings[i].issuer, makings[i].issuer_key, &pki.certificates[i]);
        if (r >= 0)
                r = write_certificate(authority, root_path);
        if (r < 0) {
                pki_clear(&pki);
                return r;
        }

        *ret = pki;
        return 0;
}

void pki_clear(Pki *pki) {
        for (size_t i = 0; i < ELEMENTSOF(pki->certificates); i++)
                X509_free(pki->certificates[i]);
        EVP_PKEY_free(pki->key);
        *pki = (Pki){};
}
