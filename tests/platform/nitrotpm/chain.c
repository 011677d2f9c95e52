/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "chain.h"

typedef struct Names {
        const char *instance_id, *module_id, *region;
} Names;

/* The shape of each certificate, as in captured documents. */
typedef struct Attribute {
        int nid;
        const char *value; /* NULL: the certificate's own name */
} Attribute;

typedef struct Extension {
        int nid;
        const char *value;
} Extension;

static const struct Shape {
        int serial_size;        /* bytes; 0: the time of issue */
        long starts_before_sec; /* how long before its issue it becomes valid */
        long lifetime_sec;
        Attribute subject[7];
        Extension extensions[6];
} shapes[LEVELS] = {
        [LEVEL_ROOT] = {
                .serial_size = 16,
                .starts_before_sec = 365L * 86400,
                .lifetime_sec = 30L * 365 * 86400 + 3600,
                .subject = {
                        { NID_countryName, "US" },
                        { NID_organizationName, "Amazon" },
                        { NID_organizationalUnitName, "AWS" },
                        { NID_commonName, NULL },
                },
                .extensions = {
                        { NID_basic_constraints, "critical,CA:TRUE" },
                        { NID_subject_key_identifier, "hash" },
                        { NID_key_usage, "critical,digitalSignature,keyCertSign,cRLSign" },
                },
        },
        [LEVEL_REGIONAL] = {
                .serial_size = 16,
                .starts_before_sec = 86400,
                .lifetime_sec = 20L * 86400 + 3600,
                .subject = {
                        { NID_countryName, "US" },
                        { NID_organizationName, "Amazon" },
                        { NID_organizationalUnitName, "AWS" },
                        { NID_commonName, NULL },
                },
                .extensions = {
                        { NID_basic_constraints, "critical,CA:TRUE,pathlen:2" },
                        { NID_authority_key_identifier, "keyid:always" },
                        { NID_subject_key_identifier, "hash" },
                        { NID_key_usage, "critical,digitalSignature,keyCertSign,cRLSign" },
                        { NID_crl_distribution_points, "URI:http://crl.nitro.invalid/crl/regional.crl" },
                },
        },
        [LEVEL_ZONAL] = {
                .serial_size = 16,
                .starts_before_sec = 7L * 3600,
                .lifetime_sec = 5L * 86400 + 18L * 3600,
                .subject = {
                        { NID_commonName, NULL },
                        { NID_organizationalUnitName, "AWS" },
                        { NID_organizationName, "Amazon" },
                        { NID_countryName, "US" },
                        { NID_stateOrProvinceName, "WA" },
                        { NID_localityName, "Seattle" },
                },
                .extensions = {
                        { NID_basic_constraints, "critical,CA:TRUE,pathlen:1" },
                        { NID_authority_key_identifier, "keyid:always" },
                        { NID_subject_key_identifier, "hash" },
                        { NID_key_usage, "critical,digitalSignature,keyCertSign,cRLSign" },
                        { NID_crl_distribution_points, "URI:http://crl.nitro.invalid/crl/zonal.crl" },
                },
        },
        [LEVEL_INSTANCE] = {
                .serial_size = 20,
                .starts_before_sec = 2L * 3600,
                .lifetime_sec = 86400,
                .subject = {
                        { NID_countryName, "US" },
                        { NID_stateOrProvinceName, "Washington" },
                        { NID_localityName, "Seattle" },
                        { NID_organizationName, "Amazon" },
                        { NID_organizationalUnitName, "AWS" },
                        { NID_commonName, NULL },
                },
                .extensions = {
                        { NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
                        { NID_key_usage, "critical,keyCertSign" },
                        { NID_subject_key_identifier, "hash" },
                        { NID_authority_key_identifier, "keyid:always" },
                },
        },
        [LEVEL_LEAF] = {
                .starts_before_sec = 3,
                .lifetime_sec = LEAF_LIFETIME_SEC + 3,
                .subject = {
                        { NID_countryName, "US" },
                        { NID_stateOrProvinceName, "Washington" },
                        { NID_localityName, "Seattle" },
                        { NID_organizationName, "Amazon" },
                        { NID_organizationalUnitName, "AWS" },
                        { NID_commonName, NULL },
                },
                .extensions = {
                        { NID_basic_constraints, "critical,CA:FALSE" },
                        { NID_key_usage, "digitalSignature,nonRepudiation" },
                },
        },
};

static int common_name(const Names *names, Level level, char *buffer, size_t size) {
        uint64_t id;

        if (RAND_bytes((uint8_t *) &id, sizeof(id)) <= 0)
                return -EIO;
        switch (level) {
        case LEVEL_ROOT:
                return snprintf(buffer, size, "aws.nitro-enclaves");
        case LEVEL_REGIONAL:
                return snprintf(buffer, size, "%016llx.%s.aws.nitro-enclaves", (unsigned long long) id,
                                names->region);
        case LEVEL_ZONAL:
                return snprintf(buffer, size, "%016llx.zonal.%s.aws.nitro-enclaves", (unsigned long long) id,
                                names->region);
        case LEVEL_INSTANCE:
                return snprintf(buffer, size, "%s.%s.aws.nitro-enclaves", names->instance_id, names->region);
        default:
                return snprintf(buffer, size, "%s.%s.aws", names->module_id, names->region);
        }
}

static int set_subject(const Names *names, Level level, X509 *certificate) {
        X509_NAME *name = X509_get_subject_name(certificate);
        char own[256];
        int r;

        r = common_name(names, level, own, sizeof(own));
        if (r < 0)
                return r;
        for (const Attribute *attribute = shapes[level].subject; attribute->nid != 0; attribute++) {
                const char *value = attribute->value ?: own;

                if (X509_NAME_add_entry_by_NID(name, attribute->nid, MBSTRING_UTF8, (const uint8_t *) value,
                                               -1, -1, 0) <= 0)
                        return -EIO;
        }
        return 0;
}

static int set_serial(Level level, int64_t now, X509 *certificate) {
        const int size = shapes[level].serial_size;
        uint8_t bytes[20];
        BIGNUM *number;
        bool set;

        if (size == 0)
                return ASN1_INTEGER_set_int64(X509_get_serialNumber(certificate), now) > 0 ? 0 : -EIO;

        if (RAND_bytes(bytes, size) <= 0)
                return -EIO;
        bytes[0] = (uint8_t) ((bytes[0] & 0x3f) |
                              0x40); /* The serial number always has this size, and is positive. */
        number = BN_bin2bn(bytes, size, NULL);
        set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
        BN_free(number);
        return set ? 0 : -EIO;
}

static int add_extensions(Level level, X509 *issuer, X509 *certificate) {
        X509V3_CTX context;

        X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
        for (const Extension *shape = shapes[level].extensions; shape->nid != 0; shape++) {
                X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, shape->nid, shape->value);
                bool added = extension && X509_add_ext(certificate, extension, -1) > 0;

                X509_EXTENSION_free(extension);
                if (!added)
                        return -EIO;
        }
        return 0;
}

/* issuer is NULL for the root. */
static int issue(const Names *names, Level level, const Issued *issuer, int64_t now, Issued *ret) {
        const struct Shape *shape = &shapes[level];
        const time_t start = (time_t) now - shape->starts_before_sec;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-384");
        _cleanup_(X509_freep) X509 *certificate = X509_new();
        X509 *issuer_certificate = issuer ? issuer->certificate : certificate;
        int r;

        if (!key || !certificate)
                return -ENOMEM;
        if (X509_set_version(certificate, X509_VERSION_3) <= 0 || X509_set_pubkey(certificate, key) <= 0 ||
            !ASN1_TIME_set(X509_getm_notBefore(certificate), start) ||
            !ASN1_TIME_set(X509_getm_notAfter(certificate), start + shape->lifetime_sec))
                return -EIO;
        r = set_serial(level, now, certificate);
        if (r < 0)
                return r;
        r = set_subject(names, level, certificate);
        if (r < 0)
                return r;
        if (X509_set_issuer_name(certificate, X509_get_subject_name(issuer_certificate)) <= 0)
                return -EIO;
        r = add_extensions(level, issuer_certificate, certificate);
        if (r < 0)
                return r;
        if (X509_sign(certificate, issuer ? issuer->key : key, EVP_sha384()) <= 0)
                return -EIO;
        *ret = (Issued){ .key = TAKE_PTR(key), .certificate = TAKE_PTR(certificate) };
        return 0;
}

void chain_clear(Chain *chain) {
        for (Level level = LEVEL_ROOT; level < LEVELS; level++) {
                EVP_PKEY_free(chain->issued[level].key);
                X509_free(chain->issued[level].certificate);
        }
        *chain = (Chain){};
}

int chain_issue(Chain *chain, const char *instance_id, const char *module_id, const char *region,
                int64_t now) {
        const Names names = { .instance_id = instance_id, .module_id = module_id, .region = region };
        _cleanup_(chain_clear) Chain made = {};
        Chain old;
        int r = 0;

        if (chain->issued[LEVEL_ROOT].certificate) {
                made.issued[LEVEL_ROOT] = chain->issued[LEVEL_ROOT];
                EVP_PKEY_up_ref(made.issued[LEVEL_ROOT].key);
                X509_up_ref(made.issued[LEVEL_ROOT].certificate);
        } else
                r = issue(&names, LEVEL_ROOT, NULL, now, &made.issued[LEVEL_ROOT]);
        for (Level level = LEVEL_REGIONAL; level < LEVELS && r >= 0; level++)
                r = issue(&names, level, &made.issued[level - 1], now, &made.issued[level]);
        if (r < 0)
                return r;
        old = *chain;
        *chain = made;
        made = old;
        return 0;
}
