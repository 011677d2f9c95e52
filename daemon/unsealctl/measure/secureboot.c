/* SPDX-License-Identifier: Apache-2.0 */

/*
 * In db and dbx only certificates and SHA-256 hashes of images are understood. Signing tools make no other kinds, and
 * those are skipped. So a certificate that is revoked only by its hash is not noticed.
 */

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/openssl-util.h"
#include "unsealctl/measure/secureboot.h"

#define GUID_SIZE 16
#define LIST_HEADER_SIZE 28
#define SHA256_SIZE 32
#define SPC_INDIRECT_DATA "1.3.6.1.4.1.311.2.1.4"

/* WIN_CERTIFICATE has length, revision and type. Each one is padded to eight bytes. */
#define CERTIFICATE_HEADER_SIZE 8
#define CERTIFICATE_PKCS7 0x0002

/* a5c059a1-94e4-4aa7-87b5-ab155c2bf072 and c1c41626-504c-4092-aca9-41f936934328. */
static const uint8_t guid_x509[GUID_SIZE] = { 0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a,
                                              0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72 };
static const uint8_t guid_sha256[GUID_SIZE] = { 0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
                                                0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28 };

static uint32_t read32(const uint8_t *p) {
        return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

_printf_(3, 4) static int malformed(Error *error, size_t offset, const char *format, ...) {
        char what[256];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(what, sizeof(what), format, arguments);
        va_end(arguments);
        return error_set(error, -EBADMSG, FAILURE_CONFIGURATION, "At offset %#zx: %s.", offset, what);
}

void signature_database_done(SignatureDatabase *database) {
        free(database->signatures);
}

/* Returns the certificate of the entry, or NULL. */
static X509 *signature_certificate(const Signature *signature) {
        const unsigned char *p = signature->data.data + SIGNATURE_OWNER_SIZE;

        return d2i_X509(NULL, &p, (long) (signature->data.size - SIGNATURE_OWNER_SIZE));
}

static int check_signature(const Signature *signature, size_t offset, Error *error) {
        if (signature->kind == SIGNATURE_SHA256 &&
            signature->data.size != SIGNATURE_OWNER_SIZE + SHA256_SIZE)
                return malformed(error, offset, "an entry of %zu bytes is not a SHA-256 hash",
                                 signature->data.size);
        if (signature->kind == SIGNATURE_X509) {
                _cleanup_(X509_freep) X509 *certificate = signature_certificate(signature);

                ERR_clear_error();
                if (!certificate)
                        return malformed(error, offset, "the entry is not a certificate in DER");
        }
        return 0;
}

static int append(SignatureDatabase *database, const Signature *signature, Error *error) {
        /* The array grows when the count is a power of two. */
        if ((database->count & (database->count - 1)) == 0) {
                size_t room = database->count > 0 ? 2 * database->count : 1;
                Signature *larger = reallocarray(database->signatures, room, sizeof(Signature));

                if (!larger)
                        return error_oom(error);
                database->signatures = larger;
        }
        database->signatures[database->count++] = *signature;
        return 0;
}

/* Parses one list. size: how many bytes there are. *ret_size: how many the list has. */
static int parse_list(const uint8_t *data, size_t size, size_t offset, SignatureDatabase *database,
                      size_t *ret_size, Error *error) {
        size_t list, header, each;
        SignatureKind kind = SIGNATURE_OTHER;
        int r;

        if (size < LIST_HEADER_SIZE)
                return malformed(error, offset, "%zu bytes are not an EFI signature list", size);
        if (memcmp(data, guid_x509, GUID_SIZE) == 0)
                kind = SIGNATURE_X509;
        else if (memcmp(data, guid_sha256, GUID_SIZE) == 0)
                kind = SIGNATURE_SHA256;

        list = read32(data + 16);
        header = read32(data + 20);
        each = read32(data + 24);
        if (list > size || list < LIST_HEADER_SIZE || list - LIST_HEADER_SIZE < header)
                return malformed(
                                error, offset + 16,
                                "an EFI signature list of %zu bytes does not fit into the remaining %zu bytes",
                                list, size);
        if (each <= SIGNATURE_OWNER_SIZE || (list - LIST_HEADER_SIZE - header) % each != 0)
                return malformed(error, offset + 24, "the list does not consist of entries of %zu bytes",
                                 each);

        for (size_t at = LIST_HEADER_SIZE + header; at < list; at += each) {
                Signature signature = { kind, { data + at, each } };

                r = check_signature(&signature, offset + at, error);
                if (r >= 0)
                        r = append(database, &signature, error);
                if (r < 0)
                        return r;
        }
        *ret_size = list;
        return 0;
}

int signature_database_parse(const uint8_t *data, size_t size, SignatureDatabase *ret, Error *error) {
        _cleanup_signatures_ SignatureDatabase database = {};
        size_t list = 0;
        int r;

        for (size_t offset = 0; offset < size; offset += list) {
                r = parse_list(data + offset, size - offset, offset, &database, &list, error);
                if (r < 0)
                        return r;
        }
        *ret = TAKE(database, (SignatureDatabase){});
        return 0;
}

/* Returns the digest if images are signed with it, or else NULL. */
static const EVP_MD *signing_digest(const X509_ALGOR *algorithm) {
        switch (OBJ_obj2nid(algorithm->algorithm)) {
        case NID_sha256:
                return EVP_sha256();
        case NID_sha384:
                return EVP_sha384();
        case NID_sha512:
                return EVP_sha512();
        default:
                return NULL;
        }
}

/* PKCS7_verify() of OpenSSL 3.0 leaks its input if it does not know one of the digests. */
static bool has_known_digests(const PKCS7 *pkcs7) {
        for (int i = 0; i < sk_X509_ALGOR_num(pkcs7->d.sign->md_algs); i++)
                if (!signing_digest(sk_X509_ALGOR_value(pkcs7->d.sign->md_algs, i)))
                        return false;
        return true;
}

/* Returns the signed bytes of an Authenticode signature: SpcIndirectDataContent without its outer tag and length. */
static bool signed_content(PKCS7 *pkcs7, Slice *ret) {
        const unsigned char *p;
        PKCS7 *contents;
        char type[64];
        long length;
        int tag, class;

        if (!PKCS7_type_is_signed(pkcs7) || !pkcs7->d.sign || !pkcs7->d.sign->contents ||
            !has_known_digests(pkcs7))
                return false;
        contents = pkcs7->d.sign->contents;
        if (OBJ_obj2txt(type, sizeof(type), contents->type, 1) <= 0 ||
            strcmp(type, SPC_INDIRECT_DATA) != 0 || !contents->d.other ||
            contents->d.other->type != V_ASN1_SEQUENCE)
                return false;

        p = contents->d.other->value.sequence->data;
        if (ASN1_get_object(&p, &length, &tag, &class, contents->d.other->value.sequence->length) !=
                            V_ASN1_CONSTRUCTED ||
            tag != V_ASN1_SEQUENCE)
                return false;
        *ret = (Slice){ p, (size_t) length };
        return true;
}

/* Sets *ret to whether the signed hash is that of the image. */
static int is_of_image(const Slice *content, const EfiImage *image, bool *ret, Error *error) {
        const unsigned char *p = content->data, *end = p + content->size;
        _cleanup_(X509_SIG_freep) X509_SIG *signed_digest = NULL;
        uint8_t digest[EVP_MAX_MD_SIZE];
        const ASN1_OCTET_STRING *octets;
        const X509_ALGOR *algorithm;
        const EVP_MD *md;
        long length;
        int tag, class, r;

        *ret = false;
        /* A description of the image, which nobody reads, and then DigestInfo. */
        if (ASN1_get_object(&p, &length, &tag, &class, end - p) != V_ASN1_CONSTRUCTED)
                return 0;
        p += length;
        signed_digest = d2i_X509_SIG(NULL, &p, end - p);
        if (!signed_digest)
                return 0;
        X509_SIG_get0(signed_digest, &algorithm, &octets);
        md = signing_digest(algorithm);
        if (!md || ASN1_STRING_length(octets) != EVP_MD_get_size(md))
                return 0;

        r = efi_image_hash(image, md, digest, error);
        if (r < 0)
                return r;
        *ret = memcmp(digest, ASN1_STRING_get0_data(octets), (size_t) EVP_MD_get_size(md)) == 0;
        return 0;
}

/* Returns whether the chain of a signer leads to the certificate, which need not be a root. */
static bool is_signed_by(PKCS7 *pkcs7, const Slice *content, X509 *certificate) {
        _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(content->data, (int) content->size);
        _cleanup_(X509_STORE_freep) X509_STORE *store = X509_STORE_new();

        return bio && store && X509_STORE_add_cert(store, certificate) == 1 &&
               X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME) == 1 &&
               X509_STORE_set_purpose(store, X509_PURPOSE_ANY) == 1 &&
               PKCS7_verify(pkcs7, NULL, store, bio, NULL, PKCS7_BINARY) == 1;
}

/* Returns the index of the first certificate in the database that verifies the signature, or database->count. */
static size_t find_signer(PKCS7 *pkcs7, const Slice *content, const SignatureDatabase *database) {
        for (size_t i = 0; i < database->count; i++) {
                _cleanup_(X509_freep) X509 *certificate = NULL;

                if (database->signatures[i].kind != SIGNATURE_X509)
                        continue;
                certificate = signature_certificate(&database->signatures[i]);
                if (certificate && is_signed_by(pkcs7, content, certificate))
                        return i;
        }
        return database->count;
}

static size_t find_hash(const uint8_t digest[SHA256_SIZE], const SignatureDatabase *database) {
        for (size_t i = 0; i < database->count; i++)
                if (database->signatures[i].kind == SIGNATURE_SHA256 &&
                    memcmp(database->signatures[i].data.data + SIGNATURE_OWNER_SIZE, digest, SHA256_SIZE) ==
                                    0)
                        return i;
        return database->count;
}

/* Judges one entry of the certificate table. Sets *index if the entry is the first that db authorises. */
static int judge_signature(const EfiImage *image, const Slice *entry, const SignatureDatabase *db,
                           const SignatureDatabase *dbx, size_t *index, Error *error) {
        _cleanup_(PKCS7_freep) PKCS7 *pkcs7 = NULL;
        const unsigned char *p = entry->data;
        Slice content;
        bool genuine;
        int r;

        pkcs7 = d2i_PKCS7(NULL, &p, (long) entry->size);
        if (!pkcs7 || !signed_content(pkcs7, &content))
                return 0;
        r = is_of_image(&content, image, &genuine, error);
        if (r < 0 || !genuine)
                return r;

        if (find_signer(pkcs7, &content, dbx) < dbx->count)
                return error_set(
                                error, -EKEYREJECTED, FAILURE_CONFIGURATION,
                                "Firmware would not start the image: a certificate in dbx forbids its signature.");
        if (*index == db->count)
                *index = find_signer(pkcs7, &content, db);
        return 0;
}

static int judge_signatures(const EfiImage *image, const SignatureDatabase *db, const SignatureDatabase *dbx,
                            size_t *index, Error *error) {
        const uint8_t *table = image->certificates.data;
        size_t size = image->certificates.size, offset = 0, length;
        int r;

        while (size - offset >= CERTIFICATE_HEADER_SIZE) {
                length = read32(table + offset);
                if (length < CERTIFICATE_HEADER_SIZE || length > size - offset)
                        return malformed(error, (size_t) (table - image->file.data) + offset,
                                         "a signature of %zu bytes does not fit into the certificate table",
                                         length);
                if ((table[offset + 6] | table[offset + 7] << 8) == CERTIFICATE_PKCS7) {
                        Slice entry = { table + offset + CERTIFICATE_HEADER_SIZE,
                                        length - CERTIFICATE_HEADER_SIZE };

                        r = judge_signature(image, &entry, db, dbx, index, error);
                        ERR_clear_error();
                        if (r < 0)
                                return r;
                }
                length = (length + 7) & ~(size_t) 7;
                offset = length < size - offset ? offset + length : size;
        }
        return 0;
}

int secureboot_authorise(const EfiImage *image, const SignatureDatabase *db, const SignatureDatabase *dbx,
                         size_t *ret_index, Error *error) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        size_t index = db->count;
        int r;

        r = efi_image_hash(image, EVP_sha256(), digest, error);
        if (r < 0)
                return r;
        if (find_hash(digest, dbx) < dbx->count)
                return error_set(error, -EKEYREJECTED, FAILURE_CONFIGURATION,
                                 "Firmware would not start the image: its hash is in dbx.");

        r = judge_signatures(image, db, dbx, &index, error);
        if (r < 0)
                return r;
        if (index == db->count)
                index = find_hash(digest, db);
        if (index == db->count)
                return error_set(error, -EKEYREJECTED, FAILURE_CONFIGURATION,
                                 "Firmware would not start the image: %s, and its hash is not in db.",
                                 image->certificates.size > 0 ? "no certificate in db verifies its signature"
                                                              : "it is not signed");
        *ret_index = index;
        return 0;
}
