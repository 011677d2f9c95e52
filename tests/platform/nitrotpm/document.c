/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/x509_vfy.h>
#include <string.h>
#include <time.h>

#include "document.h"

#define COSE_SIGN1_TAG 0xd2 /* tag 18; the specification permits it, captured documents do not have it */
#define SIGNATURE_SIZE 96U
#define ENVELOPE_SIZE 64U /* a signature covers less than this besides the payload */
#define CABUNDLE_MAX 8U

/* {1: -35}: the algorithm is ES384. */
static const uint8_t protected_header[] = { 0xa1, 0x01, 0x38, 0x22 };

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free);
DEFINE_CLEANUP(ECDSA_SIG *, ECDSA_SIG_free);
DEFINE_CLEANUP(X509_STORE_CTX *, X509_STORE_CTX_free);

static void write_certificate(Writer *writer, X509 *certificate) {
        uint8_t *der = NULL;
        int size = i2d_X509(certificate, &der);

        if (size < 0)
                writer->overflowed = true;
        else
                writer_bytes(writer, (Bytes){ der, (size_t) size });
        OPENSSL_free(der);
}

static void write_payload(Writer *writer, const Chain *chain, const char *module_id, uint64_t timestamp_msec,
                          const NsmFields *fields, const uint8_t *pcrs) {
        WRITE(writer, cbor_encode_indef_map_start);
        writer_text(writer, "module_id");
        writer_text(writer, module_id);
        writer_text(writer, "digest");
        writer_text(writer, "SHA384");
        writer_text(writer, "timestamp");
        WRITE(writer, cbor_encode_uint, timestamp_msec);
        writer_text(writer, "nitrotpm_pcrs");
        WRITE(writer, cbor_encode_map_start, ATTESTOR_PCRS);
        for (size_t i = 0; i < ATTESTOR_PCRS; i++) {
                WRITE(writer, cbor_encode_uint, i);
                writer_bytes(writer, (Bytes){ pcrs + i * ATTESTOR_PCR_SIZE, ATTESTOR_PCR_SIZE });
        }
        writer_text(writer, "certificate");
        write_certificate(writer, chain->issued[LEVEL_LEAF].certificate);
        writer_text(writer, "cabundle");
        WRITE(writer, cbor_encode_array_start, LEVEL_LEAF);
        for (Level level = LEVEL_ROOT; level < LEVEL_LEAF; level++)
                write_certificate(writer, chain->issued[level].certificate);
        writer_text(writer, "public_key");
        writer_bytes(writer, fields->public_key);
        writer_text(writer, "user_data");
        writer_bytes(writer, fields->user_data);
        writer_text(writer, "nonce");
        writer_bytes(writer, fields->nonce);
        WRITE(writer, cbor_encode_break);
}

/* Writes what a COSE_Sign1 signature covers (RFC 9052 section 4.4). */
static void write_to_be_signed(Writer *writer, Bytes payload) {
        WRITE(writer, cbor_encode_array_start, 4);
        writer_text(writer, "Signature1");
        writer_bytes(writer, (Bytes){ protected_header, sizeof(protected_header) });
        WRITE(writer, cbor_encode_bytestring_start, 0);
        writer_bytes(writer, payload);
}

static int sign(EVP_PKEY *key, Bytes message, uint8_t ret[static SIGNATURE_SIZE]) {
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
        _cleanup_(ECDSA_SIG_freep) ECDSA_SIG *signature = NULL;
        uint8_t der[SIGNATURE_SIZE + 16];
        const uint8_t *p = der;
        size_t size = sizeof(der);

        if (!context || EVP_DigestSignInit(context, NULL, EVP_sha384(), NULL, key) <= 0 ||
            EVP_DigestSign(context, der, &size, message.data, message.size) <= 0)
                return -EIO;
        signature = d2i_ECDSA_SIG(NULL, &p, (long) size);
        if (!signature || BN_bn2binpad(ECDSA_SIG_get0_r(signature), ret, SIGNATURE_SIZE / 2) < 0 ||
            BN_bn2binpad(ECDSA_SIG_get0_s(signature), ret + SIGNATURE_SIZE / 2, SIGNATURE_SIZE / 2) < 0)
                return -EIO;
        return 0;
}

int document_make(const Chain *chain, const char *module_id, uint64_t timestamp_msec,
                  const NsmFields *fields, const uint8_t pcrs[static ATTESTOR_PCRS * ATTESTOR_PCR_SIZE],
                  Writer *document) {
        uint8_t payload_buffer[ATTESTOR_INDEX_SIZE], message_buffer[ATTESTOR_INDEX_SIZE + ENVELOPE_SIZE];
        uint8_t signature[SIGNATURE_SIZE];
        Writer payload = { .data = payload_buffer, .capacity = sizeof(payload_buffer) };
        Writer message = { .data = message_buffer, .capacity = sizeof(message_buffer) };
        int r;

        write_payload(&payload, chain, module_id, timestamp_msec, fields, pcrs);
        if (payload.overflowed)
                return -ENOBUFS;
        write_to_be_signed(&message, (Bytes){ payload.data, payload.size });
        r = sign(chain->issued[LEVEL_LEAF].key, (Bytes){ message.data, message.size }, signature);
        if (r < 0)
                return r;

        WRITE(document, cbor_encode_array_start, 4);
        writer_bytes(document, (Bytes){ protected_header, sizeof(protected_header) });
        WRITE(document, cbor_encode_map_start, 0);
        writer_bytes(document, (Bytes){ payload.data, payload.size });
        writer_bytes(document, (Bytes){ signature, sizeof(signature) });
        return document->overflowed ? -ENOBUFS : 0;
}

typedef struct Document {
        cbor_item_t *outer, *inner; /* the members below point into these */
        Bytes payload, signature, certificate, cabundle[CABUNDLE_MAX], public_key;
        size_t cabundle_length;
        AttestedFacts facts;
} Document;

static void document_clear(Document *document) {
        item_putp(&document->outer);
        item_putp(&document->inner);
}

static bool parse_envelope(const cbor_item_t *array, Document *document) {
        cbor_item_t **parts;
        Bytes header;

        if (!cbor_isa_array(array) || !cbor_array_is_definite(array) || cbor_array_size(array) != 4)
                return false;
        parts = cbor_array_handle(array);
        return item_bytes(parts[0], sizeof(protected_header), sizeof(protected_header), &header) &&
               memcmp(header.data, protected_header, sizeof(protected_header)) == 0 &&
               cbor_isa_map(parts[1]) && cbor_map_size(parts[1]) == 0 &&
               item_bytes(parts[2], 1, SIZE_MAX, &document->payload) &&
               item_bytes(parts[3], SIGNATURE_SIZE, SIGNATURE_SIZE, &document->signature);
}

static bool parse_pcrs(const cbor_item_t *map, AttestedFacts *facts) {
        const struct cbor_pair *pairs;

        if (!map || !cbor_isa_map(map))
                return false;
        pairs = cbor_map_handle(map);
        for (size_t i = 0; i < cbor_map_size(map); i++) {
                uint64_t pcr;
                Bytes value;

                if (!cbor_isa_uint(pairs[i].key) ||
                    !item_bytes(pairs[i].value, ATTESTOR_PCR_SIZE, ATTESTOR_PCR_SIZE, &value))
                        return false;
                pcr = cbor_get_int(pairs[i].key);
                if (pcr >= ATTESTOR_PCRS || (facts->pcrs_present & (1U << pcr)))
                        return false;
                facts->pcrs_present |= 1U << pcr;
                memcpy(facts->pcrs[pcr], value.data, ATTESTOR_PCR_SIZE);
        }
        return facts->pcrs_present != 0;
}

static bool parse_cabundle(const cbor_item_t *array, Document *document) {
        if (!array || !cbor_isa_array(array) || cbor_array_size(array) < 1 ||
            cbor_array_size(array) > CABUNDLE_MAX)
                return false;
        document->cabundle_length = cbor_array_size(array);
        for (size_t i = 0; i < document->cabundle_length; i++)
                if (!item_bytes(cbor_array_handle(array)[i], 1, NSM_FIELD_MAX_SIZE, &document->cabundle[i]))
                        return false;
        return true;
}

/* The payload must have exactly these nine fields. */
static bool parse_payload(const cbor_item_t *map, Document *document) {
        const cbor_item_t *module_id, *timestamp, *digest;
        AttestedFacts *facts = &document->facts;
        Bytes user_data, nonce;

        if (!cbor_isa_map(map) || cbor_map_size(map) != 9)
                return false;
        module_id = item_in_map(map, "module_id");
        digest = item_in_map(map, "digest");
        timestamp = item_in_map(map, "timestamp");
        if (!module_id || !cbor_isa_string(module_id) || !cbor_string_is_definite(module_id) ||
            cbor_string_length(module_id) < 1 || cbor_string_length(module_id) >= sizeof(facts->module_id) ||
            !digest || !item_is_text(digest, "SHA384") || !timestamp || !cbor_isa_uint(timestamp))
                return false;
        memcpy(facts->module_id, cbor_string_handle(module_id), cbor_string_length(module_id));
        facts->timestamp_msec = cbor_get_int(timestamp);

        if (!parse_pcrs(item_in_map(map, "nitrotpm_pcrs"), facts) ||
            !item_bytes(item_in_map(map, "certificate"), 1, NSM_FIELD_MAX_SIZE, &document->certificate) ||
            !parse_cabundle(item_in_map(map, "cabundle"), document) ||
            !item_bytes_or_null(item_in_map(map, "public_key"), &document->public_key) ||
            document->public_key.size > NSM_FIELD_MAX_SIZE ||
            !item_bytes_or_null(item_in_map(map, "user_data"), &user_data) ||
            user_data.size > NSM_FIELD_MAX_SIZE || !item_bytes_or_null(item_in_map(map, "nonce"), &nonce) ||
            nonce.size > NSM_FIELD_MAX_SIZE)
                return false;
        if (document->public_key.size > 0)
                memcpy(facts->public_key, document->public_key.data, document->public_key.size);
        facts->public_key_size = document->public_key.size;
        return true;
}

static bool document_parse(Bytes bytes, Document *document) {
        const size_t tag_size = bytes.size > 0 && bytes.data[0] == COSE_SIGN1_TAG ? 1 : 0;

        return item_read(bytes.data + tag_size, bytes.size - tag_size, &document->outer, NULL) >= 0 &&
               parse_envelope(document->outer, document) &&
               item_read(document->payload.data, document->payload.size, &document->inner, NULL) >= 0 &&
               parse_payload(document->inner, document);
}

static X509 *load_certificate(Bytes bytes) {
        const uint8_t *p = bytes.data;
        X509 *certificate = d2i_X509(NULL, &p, (long) bytes.size);

        if (certificate && p != bytes.data + bytes.size) {
                X509_free(certificate);
                return NULL;
        }
        return certificate;
}

static void certificates_free(STACK_OF(X509) * certificates) {
        sk_X509_pop_free(certificates, X509_free);
}
DEFINE_CLEANUP(STACK_OF(X509) *, certificates_free);

static const char *check_chain(X509_STORE *roots, const Document *document, X509 *leaf, int64_t now) {
        _cleanup_(certificates_freep) STACK_OF(X509) *bundle = sk_X509_new_null();
        _cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *context = X509_STORE_CTX_new();

        for (size_t i = 0; bundle && i < document->cabundle_length; i++) {
                X509 *certificate = load_certificate(document->cabundle[i]);

                if (!certificate || sk_X509_push(bundle, certificate) <= 0) {
                        X509_free(certificate);
                        return "The attestation document is malformed.";
                }
        }
        if (!bundle || !context || X509_STORE_CTX_init(context, roots, leaf, bundle) <= 0)
                return "The attestation document could not be verified.";
        X509_STORE_CTX_set_time(context, 0, (time_t) now);
        if (X509_verify_cert(context) > 0)
                return NULL;
        switch (X509_STORE_CTX_get_error(context)) {
        case X509_V_ERR_CERT_HAS_EXPIRED:
        case X509_V_ERR_CERT_NOT_YET_VALID:
                return "A certificate of the attestation document is not valid at this time.";
        default:
                return "The attestation document is not signed by a trusted authority.";
        }
}

static bool check_signature(X509 *leaf, const Document *document) {
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
        _cleanup_(ECDSA_SIG_freep) ECDSA_SIG *signature = ECDSA_SIG_new();
        _cleanup_free_ uint8_t *message_buffer = malloc(document->payload.size + ENVELOPE_SIZE);
        Writer message = { .data = message_buffer, .capacity = document->payload.size + ENVELOPE_SIZE };
        BIGNUM *r = BN_bin2bn(document->signature.data, SIGNATURE_SIZE / 2, NULL);
        BIGNUM *s = BN_bin2bn(document->signature.data + SIGNATURE_SIZE / 2, SIGNATURE_SIZE / 2, NULL);
        uint8_t *der = NULL;
        bool good;
        int size;

        if (!signature || !r || !s || ECDSA_SIG_set0(signature, r, s) <= 0) {
                BN_free(r);
                BN_free(s);
                return false;
        }
        size = i2d_ECDSA_SIG(signature, &der);
        if (!context || !message_buffer || size < 0)
                return false;
        write_to_be_signed(&message, document->payload);
        good = !message.overflowed &&
               EVP_DigestVerifyInit(context, NULL, EVP_sha384(), NULL, X509_get0_pubkey(leaf)) > 0 &&
               EVP_DigestVerify(context, der, (size_t) size, message.data, message.size) > 0;
        OPENSSL_free(der);
        return good;
}

static bool is_rsa_public_key(Bytes bytes) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
        const uint8_t *p = bytes.data;
        int bits;

        if (bytes.size == 0)
                return false;
        key = d2i_PUBKEY(NULL, &p, (long) bytes.size);
        if (!key || p != bytes.data + bytes.size || !EVP_PKEY_is_a(key, "RSA"))
                return false;
        bits = EVP_PKEY_get_bits(key);
        return bits == 2048 || bits == 3072 || bits == 4096;
}

const char *document_verify(X509_STORE *roots, Bytes bytes, int64_t now, AttestedFacts *ret) {
        _cleanup_(document_clear) Document document = {};
        _cleanup_(X509_freep) X509 *leaf = NULL;
        const char *reason;

        if (!document_parse(bytes, &document))
                return "The attestation document is malformed.";
        leaf = load_certificate(document.certificate);
        if (!leaf)
                return "The attestation document is malformed.";
        reason = check_chain(roots, &document, leaf, now);
        if (reason)
                return reason;
        if (!check_signature(leaf, &document))
                return "The signature of the attestation document is invalid.";
        if (!is_rsa_public_key(document.public_key))
                return "The attestation document does not contain a valid RSA public key.";
        *ret = document.facts;
        return NULL;
}
