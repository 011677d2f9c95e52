/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two independent halves. attestation_parse() reads untrusted bytes. attestation_verify() asks OpenSSL whether AWS signed
 * them. Path validation (RFC 5280) is OpenSSL's work. This file checks only what OpenSSL does not: the exact algorithms,
 * the kind of leaf, and that OpenSSL's path is the one in the document.
 */

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "attestation/document.h"
#include "basic/cbor.h"
#include "basic/openssl-util.h"

#define COSE_SIGN1_TAG 18
#define ES384_SIGNATURE_SIZE 96
#define ES384_INTEGER_SIZE (ES384_SIGNATURE_SIZE / 2)
#define SHA384_SIZE 48
#define CERTIFICATE_SIZE_MAX 1024
#define FIELD_SIZE_MAX 1024
#define TIMESTAMP_MSEC_MAX UINT64_C(253402300799999) /* the end of the year 9999 */
#define FUTURE_SEC_MAX 60

/* {1: -35}: the algorithm is ES384. It is compared as bytes, because it is signed as bytes. */
static const uint8_t es384_header[] = { 0xa1, 0x01, 0x38, 0x22 };

typedef enum Field {
        FIELD_MODULE_ID,
        FIELD_DIGEST,
        FIELD_TIMESTAMP,
        FIELD_NITROTPM_PCRS,
        FIELD_PCRS,
        FIELD_CERTIFICATE,
        FIELD_CABUNDLE,
        FIELD_PUBLIC_KEY,
        FIELD_USER_DATA,
        FIELD_NONCE,
        _FIELD_MAX,
        _FIELD_INVALID = -1,
} Field;

static const char *const field_names[_FIELD_MAX] = {
        [FIELD_MODULE_ID] = "module_id", [FIELD_DIGEST] = "digest",
        [FIELD_TIMESTAMP] = "timestamp", [FIELD_NITROTPM_PCRS] = "nitrotpm_pcrs",
        [FIELD_PCRS] = "pcrs",           [FIELD_CERTIFICATE] = "certificate",
        [FIELD_CABUNDLE] = "cabundle",   [FIELD_PUBLIC_KEY] = "public_key",
        [FIELD_USER_DATA] = "user_data", [FIELD_NONCE] = "nonce",
};

static void openssl_freep(uint8_t **buffer) {
        OPENSSL_free(*buffer);
}

static void certificates_freep(STACK_OF(X509) * *certificates) {
        sk_X509_pop_free(*certificates, X509_free);
}

/* A macro lets the compiler check the format. */
#define malformed(error, format, ...)                                                              \
        error_set(error, -EBADMSG, FAILURE_ATTESTATION, "Malformed attestation document: " format, \
                  __VA_ARGS__)

static bool is_definite(const CborHead *head, CborType type) {
        return head->type == type && !head->indefinite;
}

static bool is_null(const CborHead *head) {
        return is_definite(head, CBOR_SIMPLE) && head->argument == CBOR_NULL;
}

static bool is_printable(const CborHead *text) {
        for (uint64_t i = 0; i < text->argument; i++)
                if (text->data[i] <= ' ' || text->data[i] > '~')
                        return false;
        return true;
}

static bool text_equal(const CborHead *text, const char *string) {
        return text->argument == strlen(string) && memcmp(text->data, string, strlen(string)) == 0;
}

static int read_bytes(CborReader *reader, const char *name, size_t minimum, size_t maximum, Slice *ret,
                      Error *error) {
        CborHead head;

        if (cbor_next(reader, &head) < 0 || !is_definite(&head, CBOR_BYTES) || head.argument < minimum ||
            head.argument > maximum)
                return malformed(error, "%s must be a byte string of %zu to %zu bytes.", name, minimum,
                                 maximum);

        *ret = (Slice){ head.data, (size_t) head.argument };
        return 0;
}

static int read_bytes_or_null(CborReader *reader, const char *name, size_t minimum, size_t maximum,
                              Slice *ret, Error *error) {
        CborReader ahead = *reader;
        CborHead head;

        if (cbor_next(&ahead, &head) >= 0 && is_null(&head)) {
                *reader = ahead;
                *ret = (Slice){};
                return 0;
        }
        return read_bytes(reader, name, minimum, maximum, ret, error);
}

static int read_module_id(CborReader *reader, AttestationDocument *document, Error *error) {
        CborHead head;

        if (cbor_next(reader, &head) < 0 || !is_definite(&head, CBOR_TEXT) || head.argument == 0 ||
            head.argument >= sizeof(document->module_id) || !is_printable(&head))
                return malformed(error, "%s must be a printable text of 1 to %zu characters.",
                                 field_names[FIELD_MODULE_ID], sizeof(document->module_id) - 1);

        memcpy(document->module_id, head.data, (size_t) head.argument);
        document->module_id[head.argument] = 0;
        return 0;
}

static int read_digest(CborReader *reader, Error *error) {
        CborHead head;

        if (cbor_next(reader, &head) < 0 || !is_definite(&head, CBOR_TEXT) || !text_equal(&head, "SHA384"))
                return malformed(error, "%s must be \"SHA384\".", field_names[FIELD_DIGEST]);
        return 0;
}

static int read_timestamp(CborReader *reader, AttestationDocument *document, Error *error) {
        CborHead head;

        if (cbor_next(reader, &head) < 0 || head.type != CBOR_UINT || head.argument > TIMESTAMP_MSEC_MAX)
                return malformed(error, "%s must be milliseconds since 1970.", field_names[FIELD_TIMESTAMP]);

        document->timestamp_msec = head.argument;
        return 0;
}

static int read_pcrs(CborReader *reader, AttestationDocument *document, const char *name, Error *error) {
        CborHead map;
        uint64_t n = 0;
        int r;

        if (cbor_next(reader, &map) < 0 || map.type != CBOR_MAP)
                return malformed(error, "%s must be a map.", name);

        for (; cbor_more(reader, &map, n); n++) {
                CborHead index;

                if (cbor_next(reader, &index) < 0 || index.type != CBOR_UINT ||
                    index.argument >= ATTESTATION_PCRS)
                        return malformed(error, "the keys of %s must be numbers from 0 to %i.", name,
                                         ATTESTATION_PCRS - 1);
                if (document->pcrs[index.argument].data)
                        return malformed(error, "PCR%u stands in %s twice.", (unsigned) index.argument,
                                         name);

                r = read_bytes(reader, "a PCR", SHA384_SIZE, SHA384_SIZE, &document->pcrs[index.argument],
                               error);
                if (r < 0)
                        return r;
        }
        return n == 0 ? malformed(error, "%s is empty.", name) : 0;
}

static int read_cabundle(CborReader *reader, AttestationDocument *document, Error *error) {
        CborHead array;
        int r;

        if (cbor_next(reader, &array) < 0 || array.type != CBOR_ARRAY)
                return malformed(error, "%s must be an array.", field_names[FIELD_CABUNDLE]);

        while (cbor_more(reader, &array, document->chain_length)) {
                if (document->chain_length >= ATTESTATION_CHAIN_MAX)
                        return malformed(error, "%s has more than %i certificates.",
                                         field_names[FIELD_CABUNDLE], ATTESTATION_CHAIN_MAX);

                r = read_bytes(reader, "a certificate of cabundle", 1, CERTIFICATE_SIZE_MAX,
                               &document->chain[document->chain_length], error);
                if (r < 0)
                        return r;
                document->chain_length++;
        }
        return document->chain_length == 0 ? malformed(error, "%s is empty.", field_names[FIELD_CABUNDLE])
                                           : 0;
}

static int read_field(CborReader *reader, Field field, AttestationDocument *document, Error *error) {
        const char *name = field_names[field];

        switch (field) {
        case FIELD_MODULE_ID:
                return read_module_id(reader, document, error);
        case FIELD_DIGEST:
                return read_digest(reader, error);
        case FIELD_TIMESTAMP:
                return read_timestamp(reader, document, error);
        case FIELD_NITROTPM_PCRS:
        case FIELD_PCRS:
                document->kind = field == FIELD_PCRS ? ATTESTATION_ENCLAVE : ATTESTATION_NITROTPM;
                return read_pcrs(reader, document, name, error);
        case FIELD_CERTIFICATE:
                return read_bytes(reader, name, 1, CERTIFICATE_SIZE_MAX, &document->certificate, error);
        case FIELD_CABUNDLE:
                return read_cabundle(reader, document, error);
        case FIELD_PUBLIC_KEY:
                return read_bytes_or_null(reader, name, 1, FIELD_SIZE_MAX, &document->public_key, error);
        case FIELD_USER_DATA:
                return read_bytes_or_null(reader, name, 0, FIELD_SIZE_MAX, &document->user_data, error);
        case FIELD_NONCE:
                return read_bytes_or_null(reader, name, 0, FIELD_SIZE_MAX, &document->nonce, error);
        default:
                return -EINVAL;
        }
}

static Field field_from_text(const CborHead *text) {
        for (int i = 0; i < _FIELD_MAX; i++)
                if (text_equal(text, field_names[i]))
                        return (Field) i;
        return _FIELD_INVALID;
}

static int check_complete(unsigned seen, Error *error) {
        const unsigned either = 1U << FIELD_NITROTPM_PCRS | 1U << FIELD_PCRS;

        if ((seen & either) == either)
                return malformed(error, "it has both %s and %s.", field_names[FIELD_NITROTPM_PCRS],
                                 field_names[FIELD_PCRS]);
        if (seen & either)
                seen |= either;

        for (int i = 0; i < _FIELD_MAX; i++)
                if (!(seen & 1U << i))
                        return malformed(error, "%s is missing.", field_names[i]);
        return 0;
}

static int parse_payload(AttestationDocument *document, Error *error) {
        CborReader reader = { document->payload.data, document->payload.size };
        unsigned seen = 0;
        CborHead map;
        int r;

        if (cbor_next(&reader, &map) < 0 || map.type != CBOR_MAP)
                return malformed(error, "%s must be a map.", "the payload");

        for (uint64_t n = 0; cbor_more(&reader, &map, n); n++) {
                CborHead key;
                Field field;

                if (cbor_next(&reader, &key) < 0 || !is_definite(&key, CBOR_TEXT))
                        return malformed(error, "%s must be texts.", "the keys of the payload");
                field = field_from_text(&key);
                if (field < 0)
                        return malformed(error, "the field \"%.*s\" is unknown.",
                                         is_printable(&key) && key.argument <= 64 ? (int) key.argument : 0,
                                         (const char *) key.data);
                if (seen & 1U << field)
                        return malformed(error, "%s stands there twice.", field_names[field]);
                seen |= 1U << field;

                r = read_field(&reader, field, document, error);
                if (r < 0)
                        return r;
        }
        if (reader.left > 0)
                return malformed(error, "%zu bytes follow the map of the payload.", reader.left);

        return check_complete(seen, error);
}

/* COSE_Sign1 = [protected: bstr, unprotected: {}, payload: bstr, signature: bstr] */
static int parse_cose(AttestationDocument *document, Error *error) {
        CborReader reader = { document->bytes, document->size };
        CborHead head;
        int r;

        r = cbor_next(&reader, &head);
        if (r >= 0 && head.type == CBOR_TAG && head.argument == COSE_SIGN1_TAG)
                r = cbor_next(&reader, &head);
        if (r < 0 || !is_definite(&head, CBOR_ARRAY) || head.argument != 4)
                return malformed(error, "%s must be a COSE_Sign1, which is an array of 4.", "it");

        r = read_bytes(&reader, "the protected header", 0, FIELD_SIZE_MAX, &document->protected_header,
                       error);
        if (r < 0)
                return r;

        if (cbor_next(&reader, &head) < 0 || !is_definite(&head, CBOR_MAP) || head.argument != 0)
                return malformed(error, "%s must be empty.", "the unprotected header");

        r = read_bytes(&reader, "the payload", 1, ATTESTATION_DOCUMENT_MAX, &document->payload, error);
        if (r < 0)
                return r;
        r = read_bytes(&reader, "the signature", 1, FIELD_SIZE_MAX, &document->signature, error);
        if (r < 0)
                return r;
        if (reader.left > 0)
                return malformed(error, "%zu bytes follow it.", reader.left);

        if (document->protected_header.size != sizeof(es384_header) ||
            memcmp(document->protected_header.data, es384_header, sizeof(es384_header)) != 0)
                return error_set(
                                error, -EOPNOTSUPP, FAILURE_ATTESTATION,
                                "The attestation document is not signed with ES384, or its protected header has other fields than the algorithm.");
        if (document->signature.size != ES384_SIGNATURE_SIZE)
                return malformed(error, "the signature must have %i bytes.", ES384_SIGNATURE_SIZE);
        return 0;
}

int attestation_parse(const uint8_t *data, size_t size, AttestationDocument **ret, Error *error) {
        _cleanup_attestation_ AttestationDocument *document = NULL;
        int r;

        if (size == 0 || size > ATTESTATION_DOCUMENT_MAX)
                return malformed(error, "it must have 1 to %u bytes.", ATTESTATION_DOCUMENT_MAX);

        document = calloc(1, sizeof(*document));
        if (!document)
                return error_oom(error);
        document->bytes = malloc(size);
        if (!document->bytes)
                return error_oom(error);
        memcpy(document->bytes, data, size);
        document->size = size;

        r = parse_cose(document, error);
        if (r < 0)
                return r;
        r = parse_payload(document, error);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(document);
        return 0;
}

AttestationDocument *attestation_free(AttestationDocument *document) {
        if (document)
                free(document->bytes);
        free(document);
        return NULL;
}

#define refuse(refusal, error, ...) \
        ((void) error_set(error, -EBADMSG, FAILURE_ATTESTATION, __VA_ARGS__), refusal)

/* OpenSSL failed, so that there is no judgement. */
static AttestationRefusal no_judgement(Error *error) {
        const char *reason;
        int r = openssl_failure(&reason);

        if (r == -ENOMEM)
                (void) error_oom(error);
        else
                (void) error_set(error, r, FAILURE_INTERNAL,
                                 "OpenSSL failed while it verified the attestation document: %s.", reason);
        return ATTESTATION_INTERNAL;
}

static AttestationRefusal check_root(const AttestationDocument *document, const X509 *root, Error *error) {
        _cleanup_(openssl_freep) uint8_t *der = NULL;
        int size;

        size = i2d_X509(root, &der);
        if (size < 0)
                return no_judgement(error);
        if (document->chain[0].size != (size_t) size ||
            memcmp(document->chain[0].data, der, (size_t) size) != 0)
                return refuse(ATTESTATION_UNTRUSTED, error,
                              "The certificates of the attestation document begin with another root than the pinned one.");
        return ATTESTATION_ACCEPTED;
}

/* Reads the certificates in the document's order: the root first, the leaf last. */
static AttestationRefusal read_certificates(const AttestationDocument *document, STACK_OF(X509) * *ret,
                                            Error *error) {
        _cleanup_(certificates_freep) STACK_OF(X509) *certificates = sk_X509_new_null();

        if (!certificates)
                return no_judgement(error);

        for (size_t i = 0; i <= document->chain_length; i++) {
                const Slice *slice =
                                i < document->chain_length ? &document->chain[i] : &document->certificate;
                const uint8_t *end = slice->data;
                X509 *certificate;

                certificate = d2i_X509(NULL, &end, (long) slice->size);
                if (!certificate || end != slice->data + slice->size) {
                        X509_free(certificate);
                        return refuse(ATTESTATION_MALFORMED, error,
                                      "Certificate %zu of the attestation document is not an X.509 certificate.",
                                      i + 1);
                }
                if (sk_X509_push(certificates, certificate) == 0) {
                        X509_free(certificate);
                        return no_judgement(error);
                }
        }

        *ret = TAKE_PTR(certificates);
        return ATTESTATION_ACCEPTED;
}

static bool is_p384(const X509 *certificate) {
        const EVP_PKEY *key = X509_get0_pubkey(certificate);
        char curve[32];
        size_t length;

        return key && EVP_PKEY_is_a(key, "EC") &&
               EVP_PKEY_get_group_name(key, curve, sizeof(curve), &length) == 1 &&
               strcmp(curve, SN_secp384r1) == 0;
}

static AttestationRefusal check_algorithms(const STACK_OF(X509) * certificates, Error *error) {
        for (int i = 0; i < sk_X509_num(certificates); i++) {
                const X509 *certificate = sk_X509_value(certificates, i);

                if (X509_get_signature_nid(certificate) != NID_ecdsa_with_SHA384 || !is_p384(certificate))
                        return refuse(ATTESTATION_ALGORITHM, error,
                                      "Certificate %i of the attestation document is not P-384 with SHA-384.",
                                      i + 1);
        }
        return ATTESTATION_ACCEPTED;
}

/* Path validation does not check these properties of a leaf. */
static AttestationRefusal check_leaf(X509 *leaf, Error *error) {
        uint32_t flags = X509_get_extension_flags(leaf);

        if ((flags & EXFLAG_INVALID) || !(flags & EXFLAG_BCONS) || (flags & EXFLAG_CA))
                return refuse(ATTESTATION_UNTRUSTED, error,
                              "The leaf certificate of the attestation document is not marked as that of an end entity.");
        if (!(flags & EXFLAG_KUSAGE) || !(X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE))
                return refuse(ATTESTATION_UNTRUSTED, error,
                              "The key usage of the attestation document's leaf certificate does not allow signatures.");
        return ATTESTATION_ACCEPTED;
}

/* Turns COSE's r ‖ s into the DER that OpenSSL needs. */
static int signature_to_der(const Slice *signature, uint8_t **ret, size_t *ret_size) {
        _cleanup_(ECDSA_SIG_freep) ECDSA_SIG *pair = ECDSA_SIG_new();
        BIGNUM *r = BN_bin2bn(signature->data, ES384_INTEGER_SIZE, NULL);
        BIGNUM *s = BN_bin2bn(signature->data + ES384_INTEGER_SIZE, ES384_INTEGER_SIZE, NULL);
        uint8_t *der = NULL;
        int size;

        if (!pair || !r || !s || ECDSA_SIG_set0(pair, r, s) == 0) {
                BN_free(r);
                BN_free(s);
                return -EIO;
        }

        size = i2d_ECDSA_SIG(pair, &der);
        if (size < 0)
                return -EIO;
        *ret = der;
        *ret_size = (size_t) size;
        return 0;
}

/* The signature covers the Sig_structure of RFC 9052 section 4.4: ["Signature1", protected, h'', payload]. */
static AttestationRefusal check_signature(const AttestationDocument *document, const X509 *leaf,
                                          Error *error) {
        static const uint8_t context[] = { 0x84, 0x6a, 'S', 'i', 'g', 'n', 'a', 't', 'u', 'r', 'e', '1' };
        static const uint8_t no_external_data[] = { 0x40 };
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *digest = EVP_MD_CTX_new();
        _cleanup_(openssl_freep) uint8_t *der = NULL;
        uint8_t header[9], payload[9];
        CborWriter header_head = { .data = header, .capacity = sizeof(header) },
                   payload_head = { .data = payload, .capacity = sizeof(payload) };
        size_t der_size;

        if (!digest || signature_to_der(&document->signature, &der, &der_size) < 0)
                return no_judgement(error);

        cbor_write_head(&header_head, CBOR_BYTES, document->protected_header.size);
        cbor_write_head(&payload_head, CBOR_BYTES, document->payload.size);

        if (EVP_DigestVerifyInit(digest, NULL, EVP_sha384(), NULL, X509_get0_pubkey(leaf)) != 1 ||
            EVP_DigestVerifyUpdate(digest, context, sizeof(context)) != 1 ||
            EVP_DigestVerifyUpdate(digest, header, header_head.size) != 1 ||
            EVP_DigestVerifyUpdate(digest, document->protected_header.data,
                                   document->protected_header.size) != 1 ||
            EVP_DigestVerifyUpdate(digest, no_external_data, sizeof(no_external_data)) != 1 ||
            EVP_DigestVerifyUpdate(digest, payload, payload_head.size) != 1 ||
            EVP_DigestVerifyUpdate(digest, document->payload.data, document->payload.size) != 1)
                return no_judgement(error);

        if (EVP_DigestVerifyFinal(digest, der, der_size) != 1)
                return refuse(ATTESTATION_SIGNATURE, error,
                              "The signature of the attestation document does not verify: the document was altered.");
        return ATTESTATION_ACCEPTED;
}

/* X509_V_FLAG_X509_STRICT demands too much in one point. AWS's leaves have no authority key identifier, and some issuers
 * of enclaves' leaves have no subject key identifier. Both only help to find an issuer, and the document names it. */
static int tolerate_missing_identifiers(int ok, X509_STORE_CTX *context) {
        int e = X509_STORE_CTX_get_error(context);

        return ok || e == X509_V_ERR_MISSING_AUTHORITY_KEY_IDENTIFIER ||
               e == X509_V_ERR_MISSING_SUBJECT_KEY_IDENTIFIER;
}

static AttestationRefusal refuse_path(X509_STORE_CTX *context, int length, Error *error) {
        int e = X509_STORE_CTX_get_error(context);
        AttestationRefusal refusal = ATTESTATION_UNTRUSTED;

        if (e == X509_V_ERR_OUT_OF_MEM)
                return no_judgement(error);
        if (e == X509_V_ERR_CERT_NOT_YET_VALID)
                return refuse(ATTESTATION_EXPIRED, error,
                              "Certificate %i of the %i in the attestation document is not yet valid. The clock of this machine may be slow.",
                              length - X509_STORE_CTX_get_error_depth(context), length);
        if (e == X509_V_ERR_CERT_HAS_EXPIRED)
                refusal = ATTESTATION_EXPIRED;

        return refuse(refusal, error, "Certificate %i of the %i in the attestation document is refused: %s.",
                      length - X509_STORE_CTX_get_error_depth(context), length,
                      X509_verify_cert_error_string(e));
}

/* OpenSSL builds the path from leaf to root, out of any certificates that fit. The path must be the one in the document. */
static bool is_same_path(const STACK_OF(X509) * path, const STACK_OF(X509) * certificates) {
        int n = sk_X509_num(certificates);

        if (sk_X509_num(path) != n)
                return false;
        for (int i = 0; i < n; i++)
                if (X509_cmp(sk_X509_value(path, i), sk_X509_value(certificates, n - 1 - i)) != 0)
                        return false;
        return true;
}

/* The time at which the certificates are verified: as asked, or up to a minute later. AWS does not date a document's own
 * certificate back, and it is only seconds older than the first document: a clock that is a little slow would refuse that. */
static int64_t path_time(const STACK_OF(X509) * certificates, int64_t at) {
        int64_t time = at;

        for (int i = 0; i < sk_X509_num(certificates); i++) {
                struct tm tm;
                int64_t begin;

                if (ASN1_TIME_to_tm(X509_get0_notBefore(sk_X509_value(certificates, i)), &tm) != 1)
                        continue;
                begin = timegm(&tm);
                if (begin > time && begin - at <= FUTURE_SEC_MAX)
                        time = begin;
        }
        return time;
}

static AttestationRefusal check_path(STACK_OF(X509) * certificates, const AttestationPolicy *policy,
                                     Error *error) {
        _cleanup_(X509_STORE_freep) X509_STORE *store = X509_STORE_new();
        _cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *context = X509_STORE_CTX_new();
        int n = sk_X509_num(certificates);
        X509_VERIFY_PARAM *parameters;

        if (!store || !context || X509_STORE_add_cert(store, policy->root) != 1 ||
            X509_STORE_CTX_init(context, store, sk_X509_value(certificates, n - 1), certificates) != 1)
                return no_judgement(error);

        parameters = X509_STORE_CTX_get0_param(context);
        X509_VERIFY_PARAM_set_time(parameters, (time_t) path_time(certificates, policy->at));
        X509_VERIFY_PARAM_set_depth(parameters, ATTESTATION_CHAIN_MAX);
        if (X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT) != 1)
                return no_judgement(error);
        X509_STORE_CTX_set_verify_cb(context, tolerate_missing_identifiers);

        if (X509_verify_cert(context) != 1)
                return refuse_path(context, n, error);
        if (!is_same_path(X509_STORE_CTX_get0_chain(context), certificates))
                return refuse(ATTESTATION_UNTRUSTED, error,
                              "The certificates of the attestation document are not one chain in the document's order.");
        return ATTESTATION_ACCEPTED;
}

static AttestationRefusal check_authentic(const AttestationDocument *document,
                                          const AttestationPolicy *policy, Error *error) {
        _cleanup_(certificates_freep) STACK_OF(X509) *certificates = NULL;
        AttestationRefusal refusal;
        X509 *leaf;

        /* Cheap checks come first. */
        refusal = check_root(document, policy->root, error);
        if (refusal != ATTESTATION_ACCEPTED)
                return refusal;
        refusal = read_certificates(document, &certificates, error);
        if (refusal != ATTESTATION_ACCEPTED)
                return refusal;
        refusal = check_algorithms(certificates, error);
        if (refusal != ATTESTATION_ACCEPTED)
                return refusal;

        leaf = sk_X509_value(certificates, sk_X509_num(certificates) - 1);
        refusal = check_leaf(leaf, error);
        if (refusal != ATTESTATION_ACCEPTED)
                return refusal;
        refusal = check_signature(document, leaf, error);
        if (refusal != ATTESTATION_ACCEPTED)
                return refusal;
        return check_path(certificates, policy, error);
}

static AttestationRefusal check_age(const AttestationDocument *document, const AttestationPolicy *policy,
                                    Error *error) {
        uint64_t made = document->timestamp_msec / 1000, at = policy->at < 0 ? 0 : (uint64_t) policy->at;

        if (made > at && made - at > FUTURE_SEC_MAX)
                return refuse(ATTESTATION_STALE, error,
                              "The attestation document is from %llu s in the future: a clock is wrong.",
                              (unsigned long long) (made - at));
        if (at > made && at - made > policy->max_age_sec)
                return refuse(ATTESTATION_STALE, error,
                              "The attestation document is %llu s old; at most %llu s are allowed.",
                              (unsigned long long) (at - made), (unsigned long long) policy->max_age_sec);
        return ATTESTATION_ACCEPTED;
}

static bool slice_equal(const Slice *a, const Slice *b) {
        return a->data && b->data && a->size == b->size && CRYPTO_memcmp(a->data, b->data, a->size) == 0;
}

AttestationRefusal attestation_verify(const AttestationDocument *document, const AttestationPolicy *policy,
                                      Error *error) {
        AttestationRefusal refusal;

        /* A refusal leaves entries in OpenSSL's error queue. They must not explain the next failure. */
        ERR_set_mark();
        refusal = check_authentic(document, policy, error);
        ERR_pop_to_mark();
        if (refusal != ATTESTATION_ACCEPTED)
                return refusal;

        if (policy->max_age_sec > 0) {
                refusal = check_age(document, policy, error);
                if (refusal != ATTESTATION_ACCEPTED)
                        return refusal;
        }
        if (policy->nonce && !slice_equal(policy->nonce, &document->nonce))
                return refuse(ATTESTATION_NONCE, error,
                              "The attestation document has another nonce than expected: it answers another request.");
        if (policy->public_key && !slice_equal(policy->public_key, &document->public_key))
                return refuse(ATTESTATION_PUBLIC_KEY, error,
                              "The attestation document has another public key than expected.");
        return ATTESTATION_ACCEPTED;
}

const char *attestation_refusal_to_string(AttestationRefusal refusal) {
        switch (refusal) {
        case ATTESTATION_ACCEPTED:
                return "accepted";
        case ATTESTATION_INTERNAL:
                return "internal";
        case ATTESTATION_MALFORMED:
                return "malformed";
        case ATTESTATION_ALGORITHM:
                return "algorithm";
        case ATTESTATION_SIGNATURE:
                return "signature";
        case ATTESTATION_UNTRUSTED:
                return "untrusted";
        case ATTESTATION_EXPIRED:
                return "expired";
        case ATTESTATION_STALE:
                return "stale";
        case ATTESTATION_NONCE:
                return "nonce";
        case ATTESTATION_PUBLIC_KEY:
                return "public-key";
        case ATTESTATION_PCR:
                return "pcr";
        case ATTESTATION_EVENT_LOG:
                return "event-log";
        case ATTESTATION_USER_DATA:
                return "user-data";
        }
        return "unknown";
}
