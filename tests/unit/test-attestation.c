/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h needs the headers above. */
#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "attestation/document.h"
#include "basic/cbor.h"
#include "basic/io.h"

#define DOCUMENT_SIZE 5022
#define DOCUMENT_TIME 1786642608
#define DOCUMENT_NONCE "be4c5b7d743ff7808cf107a64a8de6d907823adccef58c366d3d4cc6a2b2f767"

#define CHAIN_LENGTH 5
#define LEAF (CHAIN_LENGTH - 1)

/* All documents made here are small. An overflow is a mistake of the test. */
typedef struct Buffer {
        size_t size;
        uint8_t data[16384];
} Buffer;

/* One certificate of a chain, and how it differs from AWS's certificates. */
typedef struct Certificate {
        const char *basic_constraints, *key_usage; /* NULL: the certificate has no such extension */
        EVP_PKEY *key, *signer;                    /* signer NULL: the issuer's key */
        const EVP_MD *digest;
        int issuer;
        int64_t from, until; /* relative to DOCUMENT_TIME */
        const char *extension;
        bool extension_critical, extension_identifiers;
} Certificate;

static X509 *aws_root;
static EVP_PKEY *keys[CHAIN_LENGTH], *p256_key, *rsa_key, *explicit_key;

static void put(Buffer *buffer, const void *data, size_t size) {
        assert_true(size <= sizeof(buffer->data) - buffer->size);
        memcpy(buffer->data + buffer->size, data, size);
        buffer->size += size;
}

static void put_head(Buffer *buffer, CborType type, uint64_t argument) {
        uint8_t head[9];
        CborWriter writer = { .data = head, .capacity = sizeof(head) };

        cbor_write_head(&writer, type, argument);
        put(buffer, head, writer.size);
}

static void put_bytes(Buffer *buffer, const void *data, size_t size) {
        put_head(buffer, CBOR_BYTES, size);
        put(buffer, data, size);
}

static void put_text(Buffer *buffer, const char *text) {
        put_head(buffer, CBOR_TEXT, strlen(text));
        put(buffer, text, strlen(text));
}

static void read_vector(const char *name, uint8_t **ret, size_t *ret_size) {
        const char *directory = getenv("UNSEALD_TEST_VECTORS");
        char path[4096];
        int r;

        assert_non_null(directory);
        (void) snprintf(path, sizeof(path), "%s/%s", directory, name);
        r = read_file(path, 1024U * 1024U, ret, ret_size);
        if (r < 0)
                fail_msg("%s: %s", path, strerror(-r));
}

static void wanted(const char *what, int saw, int want, const Error *error) {
        if (saw != want)
                fail_msg("%s: saw %i (%s), wanted %i", what, saw, error->text, want);
}

static void refused(const char *what, AttestationRefusal saw, AttestationRefusal want, const Error *error) {
        if (saw != want)
                fail_msg("%s: saw %s (%s), wanted %s", what, attestation_refusal_to_string(saw), error->text,
                         attestation_refusal_to_string(want));
        if (want != ATTESTATION_ACCEPTED && error->text[0] == 0)
                fail_msg("%s: refused without a word", what);
}

/* Parses a copy of the exact size, so that ASan and valgrind see a read past the end. */
static int parse(const uint8_t *data, size_t size, AttestationDocument **ret, Error *error) {
        _cleanup_free_ uint8_t *copy = malloc(size ? size : 1);

        assert_non_null(copy);
        memcpy(copy, data, size);
        return attestation_parse(copy, size, ret, error);
}

static AttestationRefusal judge(const uint8_t *data, size_t size, const AttestationPolicy *policy,
                                Error *error) {
        _cleanup_attestation_ AttestationDocument *document = NULL;
        int r;

        r = parse(data, size, &document, error);
        if (r == -EOPNOTSUPP)
                return ATTESTATION_ALGORITHM;
        if (r < 0) {
                assert_int_equal(r, -EBADMSG);
                assert_int_equal(error->failure, FAILURE_ATTESTATION);
                assert_null(document);
                return ATTESTATION_MALFORMED;
        }
        return attestation_verify(document, policy, error);
}

/* Real documents */

static void test_nitrotpm_document_is_read(void **state) {
        _cleanup_attestation_ AttestationDocument *document = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        Error error = {};
        size_t size;

        read_vector("attestation/nitrotpm-document.cbor", &data, &size);
        assert_int_equal(size, DOCUMENT_SIZE);
        wanted("nitrotpm-document.cbor", attestation_parse(data, size, &document, &error), 0, &error);

        assert_int_equal(document->kind, ATTESTATION_NITROTPM);
        assert_string_equal(document->module_id, "i-000fa553dad58a9f1-tpm0000000000000000");
        assert_int_equal(document->timestamp_msec, UINT64_C(1786642608432));
        for (size_t i = 0; i < ATTESTATION_PCRS; i++)
                assert_int_equal(document->pcrs[i].size, i < 24 ? 48 : 0);
        assert_int_equal(document->chain_length, 4);
        assert_int_equal(document->certificate.size, 627);
        assert_int_equal(document->public_key.size, 91);
        assert_null(document->user_data.data);
        assert_int_equal(document->nonce.size, strlen(DOCUMENT_NONCE));
        assert_memory_equal(document->nonce.data, DOCUMENT_NONCE, strlen(DOCUMENT_NONCE));
        assert_true(document->nonce.data > document->bytes && document->nonce.data < document->bytes + size);
}

static void test_enclave_document_is_read(void **state) {
        _cleanup_attestation_ AttestationDocument *document = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        Error error = {};
        size_t size;

        read_vector("attestation/enclave-document.cbor", &data, &size);
        wanted("enclave-document.cbor", attestation_parse(data, size, &document, &error), 0, &error);

        assert_int_equal(document->kind, ATTESTATION_ENCLAVE);
        assert_string_equal(document->module_id, "i-020b6af9246d90e92-enc0183d09086c24190");
        for (size_t i = 0; i < ATTESTATION_PCRS; i++)
                assert_int_equal(document->pcrs[i].size, i < 16 ? 48 : 0);
        assert_null(document->public_key.data);
        assert_int_equal(document->nonce.size, 256);
}

static void test_real_documents_verify_at_their_own_time(void **state) {
        static const struct {
                const char *name;
                int64_t at;
        } documents[] = {
                { "attestation/nitrotpm-document.cbor", DOCUMENT_TIME },
                { "attestation/nitrotpm-document.cbor", DOCUMENT_TIME + 3 * 60 * 60 - 1 },
                { "attestation/enclave-document.cbor", 1665651482 },
        };

        for (size_t i = 0; i < ELEMENTSOF(documents); i++) {
                _cleanup_free_ uint8_t *data = NULL;
                Error error = {};
                size_t size;

                read_vector(documents[i].name, &data, &size);
                refused(documents[i].name,
                        judge(data, size, &(AttestationPolicy){ .root = aws_root, .at = documents[i].at },
                              &error),
                        ATTESTATION_ACCEPTED, &error);
        }
}

static void test_real_document_is_expired_at_any_other_time(void **state) {
        /* Its own certificate is valid three seconds earlier, and clocks may be a minute slow. */
        static const int64_t times[] = { 0, DOCUMENT_TIME - 64, DOCUMENT_TIME + 3 * 60 * 60 + 1,
                                         INT64_C(253402300799) };
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;

        read_vector("attestation/nitrotpm-document.cbor", &data, &size);
        for (size_t i = 0; i < ELEMENTSOF(times); i++) {
                Error error = {};

                refused("another time",
                        judge(data, size, &(AttestationPolicy){ .root = aws_root, .at = times[i] }, &error),
                        ATTESTATION_EXPIRED, &error);
        }
}

static void test_no_byte_of_a_real_document_can_be_changed(void **state) {
        static const uint8_t masks[] = { 0x01, 0x80, 0xff };
        const AttestationPolicy policy = { .root = aws_root, .at = DOCUMENT_TIME };
        /* All bytes take ten minutes under valgrind. */
        const size_t step = getenv("UNSEALD_TEST_SLOW") ? 61 : 1;
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;

        read_vector("attestation/nitrotpm-document.cbor", &data, &size);
        for (size_t i = 0; i < size; i += step)
                for (size_t j = 0; j < ELEMENTSOF(masks); j++) {
                        Error error = {};

                        data[i] ^= masks[j];
                        if (judge(data, size, &policy, &error) == ATTESTATION_ACCEPTED)
                                fail_msg("byte %zu ^ 0x%02x: saw accepted, wanted refused", i, masks[j]);
                        data[i] ^= masks[j];
                }
}

static void test_no_prefix_of_a_real_document_is_read(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;

        read_vector("attestation/nitrotpm-document.cbor", &data, &size);
        for (size_t i = 0; i < size; i++) {
                AttestationDocument *document = NULL;
                Error error = {};
                int r;

                r = parse(data, i, &document, &error);
                if (r != -EBADMSG)
                        fail_msg("%zu bytes: saw %i, wanted %i", i, r, -EBADMSG);
        }
}

static void test_nothing_may_follow_a_document(void **state) {
        uint8_t data[DOCUMENT_SIZE + 1] = {};
        _cleanup_free_ uint8_t *real = NULL;
        AttestationDocument *document;
        Error error = {};
        size_t size;

        read_vector("attestation/nitrotpm-document.cbor", &real, &size);
        memcpy(data, real, size);
        wanted("a byte more", parse(data, sizeof(data), &document, &error), -EBADMSG, &error);
}

static void test_documents_longer_than_64k_are_refused(void **state) {
        _cleanup_free_ uint8_t *data = calloc(1, ATTESTATION_DOCUMENT_MAX + 1);
        AttestationDocument *document;
        Error error = {};

        assert_non_null(data);
        wanted("64 KiB and a byte", attestation_parse(data, ATTESTATION_DOCUMENT_MAX + 1, &document, &error),
               -EBADMSG, &error);
        assert_non_null(strstr(error.text, "65536"));
}

/* Payloads with one field changed */

typedef struct Change {
        const char *what;
        const char *field; /* its value changes; "": the map gets more pairs; NULL: bytes follow the map */
        const char *value; /* NULL: the field is absent */
        size_t size;
        const char *says; /* a part of the error's text; NULL: the document is accepted */
} Change;

#define CHANGE(what, field, value, says) \
        { what, field, value, sizeof(value) - 1, says }
#define WITHOUT(field) \
        { "without " field, field, NULL, 0, field " is missing" }

#define ZEROS_16 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define ZEROS_48 ZEROS_16 ZEROS_16 ZEROS_16
#define ZEROS_64 ZEROS_16 ZEROS_16 ZEROS_16 ZEROS_16
#define ZEROS_256 ZEROS_64 ZEROS_64 ZEROS_64 ZEROS_64
#define ZEROS_1024 ZEROS_256 ZEROS_256 ZEROS_256 ZEROS_256
#define PCR "\x58\x30" ZEROS_48

static const Change changes[] = {
        CHANGE("a one-letter module_id", "module_id", "\x61i", NULL),
        CHANGE("an empty module_id", "module_id", "\x60", "module_id"),
        CHANGE("a long module_id", "module_id", "\x79\x01\x00" ZEROS_256, "module_id"),
        CHANGE("a terminal escape in module_id", "module_id", "\x63i\033c", "module_id"),
        CHANGE("NUL in module_id", "module_id", "\x63i\0c", "module_id"),
        CHANGE("a module_id in chunks", "module_id", "\x7f\x61i\xff", "module_id"),
        CHANGE("bytes as module_id", "module_id", "\x41i", "module_id"),
        WITHOUT("module_id"),
        CHANGE("another digest", "digest", "\x66SHA512", "digest"),
        CHANGE("a longer digest", "digest", "\x67SHA3840", "digest"),
        CHANGE("bytes as digest", "digest", "\x46SHA384", "digest"),
        WITHOUT("digest"),
        CHANGE("time 0", "timestamp", "\x00", NULL),
        CHANGE("the last millisecond of 9999", "timestamp", "\x1b\0\0\xe6\x77\xd2\x1f\xdb\xff", NULL),
        CHANGE("the year 10000", "timestamp", "\x1b\0\0\xe6\x77\xd2\x1f\xdc\0", "timestamp"),
        CHANGE("a negative time", "timestamp", "\x20", "timestamp"),
        CHANGE("a tagged time", "timestamp", "\xc1\x00", "timestamp"),
        WITHOUT("timestamp"),
        CHANGE("a PCR map of indefinite length", "nitrotpm_pcrs", "\xbf\x00" PCR "\xff", NULL),
        CHANGE("PCR 31", "nitrotpm_pcrs", "\xa1\x18\x1f" PCR, NULL),
        CHANGE("PCR 32", "nitrotpm_pcrs", "\xa1\x18\x20" PCR, "0 to 31"),
        CHANGE("PCR 2^64-1", "nitrotpm_pcrs", "\xa1\x1b\xff\xff\xff\xff\xff\xff\xff\xff" PCR, "0 to 31"),
        CHANGE("PCR -1", "nitrotpm_pcrs", "\xa1\x20" PCR, "0 to 31"),
        CHANGE("PCR \"0\"", "nitrotpm_pcrs", "\xa1\x61\x30" PCR, "0 to 31"),
        CHANGE("PCR 4 twice", "nitrotpm_pcrs", "\xa2\x04" PCR "\x04" PCR, "PCR4 "),
        CHANGE("PCR 4 twice, once longer encoded", "nitrotpm_pcrs", "\xa2\x04" PCR "\x18\x04" PCR, "PCR4 "),
        CHANGE("a PCR of 47 bytes", "nitrotpm_pcrs", "\xa1\x04\x58\x2f" ZEROS_48, "PCR"),
        CHANGE("a PCR of 64 bytes", "nitrotpm_pcrs", "\xa1\x04\x58\x40" ZEROS_64, "PCR"),
        CHANGE("a PCR that is null", "nitrotpm_pcrs", "\xa1\x04\xf6", "PCR"),
        CHANGE("no PCR", "nitrotpm_pcrs", "\xa0", "nitrotpm_pcrs"),
        CHANGE("an array of PCRs", "nitrotpm_pcrs", "\x81" PCR, "nitrotpm_pcrs"),
        CHANGE("PCRs of an enclave too", "", "\x64pcrs\xa1\x05" PCR, "both"),
        WITHOUT("nitrotpm_pcrs"),
        CHANGE("an empty certificate", "certificate", "\x40", "certificate"),
        CHANGE("a certificate of 1025 bytes", "certificate", "\x59\x04\x01" ZEROS_1024 "\0", "certificate"),
        CHANGE("a certificate that is null", "certificate", "\xf6", "certificate"),
        WITHOUT("certificate"),
        CHANGE("a cabundle of indefinite length", "cabundle", "\x9f\x41\0\xff", NULL),
        CHANGE("a cabundle of eight", "cabundle", "\x88\x41\0\x41\0\x41\0\x41\0\x41\0\x41\0\x41\0\x41\0",
               NULL),
        CHANGE("a cabundle of nine", "cabundle",
               "\x89\x41\0\x41\0\x41\0\x41\0\x41\0\x41\0\x41\0\x41\0\x41\0", "cabundle"),
        CHANGE("an empty cabundle", "cabundle", "\x80", "cabundle"),
        CHANGE("an empty certificate in cabundle", "cabundle", "\x81\x40", "cabundle"),
        CHANGE("a text in cabundle", "cabundle", "\x81\x61\x61", "cabundle"),
        CHANGE("a map as cabundle", "cabundle", "\xa1\x41\0\x41\0", "cabundle"),
        WITHOUT("cabundle"),
        CHANGE("null as public_key", "public_key", "\xf6", NULL),
        CHANGE("false as public_key", "public_key", "\xf4", "public_key"),
        CHANGE("undefined as public_key", "public_key", "\xf7", "public_key"),
        CHANGE("an empty public_key", "public_key", "\x40", "public_key"),
        CHANGE("a public_key of 1024 bytes", "public_key", "\x59\x04\0" ZEROS_1024, NULL),
        CHANGE("a public_key of 1025 bytes", "public_key", "\x59\x04\x01" ZEROS_1024 "\0", "public_key"),
        WITHOUT("public_key"),
        CHANGE("an empty user_data", "user_data", "\x40", NULL),
        CHANGE("a user_data of 1025 bytes", "user_data", "\x59\x04\x01" ZEROS_1024 "\0", "user_data"),
        CHANGE("a number as user_data", "user_data", "\x00", "user_data"),
        WITHOUT("user_data"),
        CHANGE("an empty nonce", "nonce", "\x40", NULL),
        CHANGE("a nonce in chunks", "nonce", "\x5f\x41\x61\xff", "nonce"),
        CHANGE("a nonce of 1025 bytes", "nonce", "\x59\x04\x01" ZEROS_1024 "\0", "nonce"),
        WITHOUT("nonce"),
        CHANGE("nonce twice", "", "\x65nonce\xf6", "twice"),
        CHANGE("an unknown field", "", "\x65novel\xf6", "\"novel\""),
        CHANGE("an unknown field with a terminal escape", "", "\x65no\033el\xf6", "\"\""),
        CHANGE("a number for a field", "", "\x01\xf6", "keys"),
        CHANGE("a field in chunks", "", "\x7f\x65nonce\xff\xf6", "keys"),
        CHANGE("a byte behind the map", NULL, "\0", "follow"),
};

static void put_field(Buffer *buffer, const char *name, const char *value, size_t size,
                      const Change *change) {
        if (change && change->field && strcmp(change->field, name) == 0) {
                value = change->value;
                size = change->size;
        }
        if (!value)
                return;
        put_text(buffer, name);
        put(buffer, value, size);
}

static void put_payload(Buffer *buffer, const Change *change) {
        put(buffer, "\xbf", 1);
#define FIELD(name, value) put_field(buffer, name, value, sizeof(value) - 1, change)
        FIELD("module_id", "\x63i-1");
        FIELD("digest", "\x66SHA384");
        FIELD("timestamp", "\x19\x10\0");
        FIELD("nitrotpm_pcrs", "\xa1\x04" PCR);
        FIELD("certificate", "\x41\0");
        FIELD("cabundle", "\x81\x41\0");
        FIELD("public_key", "\xf6");
        FIELD("user_data", "\xf6");
        FIELD("nonce", "\xf6");
#undef FIELD
        if (change && change->field && change->field[0] == 0)
                put(buffer, change->value, change->size);
        put(buffer, "\xff", 1);
        if (change && !change->field)
                put(buffer, change->value, change->size);
}

static void test_payload_has_exactly_its_fields(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                const Change *change = &changes[i];
                _cleanup_attestation_ AttestationDocument *document = NULL;
                Buffer payload = {}, data = {};
                Error error = {};

                put_payload(&payload, change);
                put(&data, "\x84\x44\xa1\x01\x38\x22\xa0", 7);
                put_bytes(&data, payload.data, payload.size);
                put_bytes(&data, ZEROS_64 ZEROS_16 ZEROS_16, 96);

                wanted(change->what, parse(data.data, data.size, &document, &error),
                       change->says ? -EBADMSG : 0, &error);
                if (change->says && !strstr(error.text, change->says))
                        fail_msg("%s: saw \"%s\", wanted something on %s", change->what, error.text,
                                 change->says);
        }
}

/* COSE_Sign1 around a good payload */

static void test_cose_is_es384_and_nothing_else(void **state) {
        static const struct {
                const char *what, *before;
                size_t before_size;
                size_t signature_size;
                int want;
        } shapes[] = {
#define SHAPE(what, before, signature_size, want) { what, before, sizeof(before) - 1, signature_size, want }
                SHAPE("untagged", "\x84\x44\xa1\x01\x38\x22\xa0", 96, 0),
                SHAPE("with COSE_Sign1's tag", "\xd2\x84\x44\xa1\x01\x38\x22\xa0", 96, 0),
                SHAPE("COSE_Sign1's tag twice", "\xd2\xd2\x84\x44\xa1\x01\x38\x22\xa0", 96, -EBADMSG),
                SHAPE("COSE_Mac0's tag", "\xd1\x84\x44\xa1\x01\x38\x22\xa0", 96, -EBADMSG),
                SHAPE("a CWT's tag", "\xd8\x3d\xd2\x84\x44\xa1\x01\x38\x22\xa0", 96, -EBADMSG),
                SHAPE("an array of 3", "\x83\x44\xa1\x01\x38\x22\xa0", 96, -EBADMSG),
                SHAPE("an array of 5", "\x85\x44\xa1\x01\x38\x22\xa0", 96, -EBADMSG),
                SHAPE("an array of indefinite length", "\x9f\x44\xa1\x01\x38\x22\xa0", 96, -EBADMSG),
                SHAPE("a map", "\xa2\x44\xa1\x01\x38\x22\xa0", 96, -EBADMSG),
                SHAPE("ES256", "\x84\x43\xa1\x01\x26\xa0", 96, -EOPNOTSUPP),
                SHAPE("ES512", "\x84\x44\xa1\x01\x38\x23\xa0", 96, -EOPNOTSUPP),
                SHAPE("RS256 with an RSA signature", "\x84\x45\xa1\x01\x39\x01\x00\xa0", 256, -EOPNOTSUPP),
                SHAPE("HMAC", "\x84\x43\xa1\x01\x06\xa0", 96, -EOPNOTSUPP),
                SHAPE("no algorithm", "\x84\x40\xa0", 96, -EOPNOTSUPP),
                SHAPE("an empty map for algorithm", "\x84\x41\xa0\xa0", 96, -EOPNOTSUPP),
                SHAPE("a key ID beside it", "\x84\x47\xa2\x01\x38\x22\x04\x41\0\xa0", 96, -EOPNOTSUPP),
                SHAPE("a critical header", "\x84\x47\xa2\x01\x38\x22\x02\x81\x01\xa0", 96, -EOPNOTSUPP),
                SHAPE("the header not as bytes", "\x84\xa1\x01\x38\x22\xa0", 96, -EBADMSG),
                SHAPE("the algorithm unprotected too", "\x84\x44\xa1\x01\x38\x22\xa1\x01\x38\x22", 96,
                      -EBADMSG),
                SHAPE("the algorithm unprotected", "\x84\x40\xa1\x01\x38\x22", 96, -EBADMSG),
                SHAPE("unprotected null", "\x84\x44\xa1\x01\x38\x22\xf6", 96, -EBADMSG),
                SHAPE("a detached payload", "\x84\x44\xa1\x01\x38\x22\xa0\xf6", 96, -EBADMSG),
                SHAPE("an empty payload", "\x84\x44\xa1\x01\x38\x22\xa0\x40", 96, -EBADMSG),
                SHAPE("a number for payload", "\x84\x44\xa1\x01\x38\x22\xa0\x41\0", 96, -EBADMSG),
                SHAPE("a signature of 95 bytes", "\x84\x44\xa1\x01\x38\x22\xa0", 95, -EBADMSG),
                SHAPE("a signature of 97 bytes", "\x84\x44\xa1\x01\x38\x22\xa0", 97, -EBADMSG),
                SHAPE("no signature", "\x84\x44\xa1\x01\x38\x22\xa0", 0, -EBADMSG),
#undef SHAPE
        };
        Buffer payload = {};

        put_payload(&payload, NULL);
        for (size_t i = 0; i < ELEMENTSOF(shapes); i++) {
                _cleanup_attestation_ AttestationDocument *document = NULL;
                Buffer data = {};
                Error error = {};

                put(&data, shapes[i].before, shapes[i].before_size);
                if (!strstr(shapes[i].what, "payload"))
                        put_bytes(&data, payload.data, payload.size);
                put_bytes(&data, ZEROS_1024, shapes[i].signature_size);
                wanted(shapes[i].what, parse(data.data, data.size, &document, &error), shapes[i].want,
                       &error);
        }
}

/* Chains made here, which break at most one rule of AWS's chains */

static const Certificate good_chain[CHAIN_LENGTH] = {
        { "critical,CA:TRUE", "critical,digitalSignature,keyCertSign,cRLSign", .issuer = 0 },
        { "critical,CA:TRUE,pathlen:2", "critical,digitalSignature,keyCertSign,cRLSign", .issuer = 0 },
        { "critical,CA:TRUE,pathlen:1", "critical,digitalSignature,keyCertSign,cRLSign", .issuer = 1 },
        { "critical,CA:TRUE,pathlen:0", "critical,keyCertSign", .issuer = 2 },
        { "critical,CA:FALSE", "digitalSignature,nonRepudiation", .issuer = 3 },
};

typedef struct Minted {
        Certificate chain[CHAIN_LENGTH];
        X509 *certificates[CHAIN_LENGTH];
        int cabundle[ATTESTATION_CHAIN_MAX + 1]; /* indices into certificates, -1 at the end */
        EVP_PKEY *signer;
        Buffer junk; /* bytes after the leaf's DER */
        Buffer document;
} Minted;

static void mint_init(Minted *minted) {
        *minted = (Minted){ .cabundle = { 0, 1, 2, 3, -1 } };
        for (int i = 0; i < CHAIN_LENGTH; i++) {
                minted->chain[i] = good_chain[i];
                minted->chain[i].key = keys[i];
                minted->chain[i].digest = EVP_sha384();
                minted->chain[i].from = -3600;
                minted->chain[i].until = 3600;
                minted->chain[i].extension_identifiers = i < LEAF;
        }
}

static void mint_done(Minted *minted) {
        for (int i = 0; i < CHAIN_LENGTH; i++)
                X509_free(minted->certificates[i]);
}

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
        X509_EXTENSION *extension;
        X509V3_CTX context;

        if (!value)
                return;
        X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
        extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
        assert_non_null(extension);
        assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
        X509_EXTENSION_free(extension);
}

static void add_unknown_extension(X509 *certificate, const char *oid, bool critical) {
        ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
        ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
        X509_EXTENSION *extension;

        assert_int_equal(ASN1_OCTET_STRING_set(value, (const uint8_t *) "\x05", 2), 1);
        extension = X509_EXTENSION_create_by_OBJ(NULL, object, critical, value);
        assert_non_null(extension);
        assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
        X509_EXTENSION_free(extension);
        ASN1_OBJECT_free(object);
        ASN1_OCTET_STRING_free(value);
}

static X509_NAME *set_name(X509_NAME *name, int index) {
        char text[32];

        (void) snprintf(text, sizeof(text), "certificate %i", index);
        assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *) text, -1, -1,
                                                    0),
                         1);
        return name;
}

static void mint_certificate(Minted *minted, int index) {
        const Certificate *c = &minted->chain[index];
        X509 *certificate = X509_new(), *issuer;

        minted->certificates[index] = certificate;
        issuer = minted->certificates[c->issuer];

        assert_int_equal(X509_set_version(certificate, X509_VERSION_3), 1);
        assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(certificate), index + 1), 1);
        (void) set_name(X509_get_subject_name(certificate), index);
        assert_int_equal(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)), 1);
        assert_non_null(ASN1_TIME_set(X509_getm_notBefore(certificate), DOCUMENT_TIME + c->from));
        assert_non_null(ASN1_TIME_set(X509_getm_notAfter(certificate), DOCUMENT_TIME + c->until));
        assert_int_equal(X509_set_pubkey(certificate, c->key), 1);

        add_extension(certificate, issuer, NID_basic_constraints, c->basic_constraints);
        add_extension(certificate, issuer, NID_key_usage, c->key_usage);
        if (c->extension_identifiers) {
                add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
                if (index > 0)
                        add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always");
        }
        if (c->extension)
                add_unknown_extension(certificate, c->extension, c->extension_critical);

        assert_true(X509_sign(certificate, c->signer ?: minted->chain[c->issuer].key, c->digest) > 0);
}

static void put_certificate(Buffer *buffer, const X509 *certificate, const Buffer *junk) {
        uint8_t *der = NULL;
        Buffer whole = {};
        int size;

        size = i2d_X509(certificate, &der);
        assert_true(size > 0);
        put(&whole, der, (size_t) size);
        if (junk)
                put(&whole, junk->data, junk->size);
        put_bytes(buffer, whole.data, whole.size);
        OPENSSL_free(der);
}

/* RFC 9052 section 4.4, independently of document.c. */
static void put_signature(Buffer *buffer, const Buffer *payload, EVP_PKEY *key) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        uint8_t der[512], pair[96] = {};
        size_t size = sizeof(der);
        Buffer structure = {};

        put_head(&structure, CBOR_ARRAY, 4);
        put_text(&structure, "Signature1");
        put_bytes(&structure, "\xa1\x01\x38\x22", 4);
        put_bytes(&structure, "", 0);
        put_bytes(&structure, payload->data, payload->size);

        assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha384(), NULL, key), 1);
        assert_int_equal(EVP_DigestSign(context, der, &size, structure.data, structure.size), 1);
        EVP_MD_CTX_free(context);

        if (EVP_PKEY_is_a(key, "EC")) {
                const uint8_t *p = der;
                ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &p, (long) size);

                assert_non_null(signature);
                assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(signature), pair, 48), 48);
                assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(signature), pair + 48, 48), 48);
                ECDSA_SIG_free(signature);
        }
        put_bytes(buffer, pair, sizeof(pair));
}

static void mint_chain(Minted *minted) {
        for (int i = 0; i < CHAIN_LENGTH; i++)
                mint_certificate(minted, i);
}

static void mint_document(Minted *minted) {
        Buffer payload = {}, certificate = {}, cabundle = {};
        uint64_t n = 0;

        put_certificate(&certificate, minted->certificates[LEAF], &minted->junk);
        while (minted->cabundle[n] >= 0)
                n++;
        put_head(&cabundle, CBOR_ARRAY, n);
        for (uint64_t i = 0; i < n; i++)
                put_certificate(&cabundle, minted->certificates[minted->cabundle[i]], NULL);

        put(&payload, "\xa9", 1);
        put_field(&payload, "module_id", "\x63i-1", 4, NULL);
        put_field(&payload, "digest", "\x66SHA384", 7, NULL);
        put_text(&payload, "timestamp");
        put_head(&payload, CBOR_UINT, UINT64_C(1000) * DOCUMENT_TIME + 999);
        put_field(&payload, "nitrotpm_pcrs", "\xa1\x04" PCR, 52, NULL);
        put_field(&payload, "certificate", (const char *) certificate.data, certificate.size, NULL);
        put_field(&payload, "cabundle", (const char *) cabundle.data, cabundle.size, NULL);
        put_field(&payload, "public_key", "\x43key", 4, NULL);
        put_field(&payload, "user_data", "\xf6", 1, NULL);
        put_field(&payload, "nonce", "\x45nonce", 6, NULL);

        put(&minted->document, "\x84\x44\xa1\x01\x38\x22\xa0", 7);
        put_bytes(&minted->document, payload.data, payload.size);
        put_signature(&minted->document, &payload, minted->signer ?: minted->chain[LEAF].key);
}

static void mint(Minted *minted) {
        mint_chain(minted);
        mint_document(minted);
}

static void mint_and_judge(const char *what, Minted *minted, AttestationRefusal want) {
        Error error = {};

        mint(minted);
        refused(what,
                judge(minted->document.data, minted->document.size,
                      &(AttestationPolicy){ .root = minted->certificates[0], .at = DOCUMENT_TIME }, &error),
                want, &error);
        mint_done(minted);
}

static void test_chain_like_aws_is_accepted(void **state) {
        Minted minted;

        mint_init(&minted);
        mint_and_judge("as AWS", &minted, ATTESTATION_ACCEPTED);
}

static void test_certificates_without_identifiers_are_accepted(void **state) {
        Minted minted;

        mint_init(&minted);
        for (int i = 0; i < CHAIN_LENGTH; i++)
                minted.chain[i].extension_identifiers = false;
        mint_and_judge("no key identifiers", &minted, ATTESTATION_ACCEPTED);
}

static void test_other_keys_and_digests_are_refused_anywhere(void **state) {
        Minted minted;

        for (int i = 0; i < CHAIN_LENGTH; i++) {
                mint_init(&minted);
                minted.chain[i].key = p256_key;
                mint_and_judge("P-256", &minted, ATTESTATION_ALGORITHM);

                mint_init(&minted);
                minted.chain[i].key = rsa_key;
                mint_and_judge("RSA", &minted, ATTESTATION_ALGORITHM);

                mint_init(&minted);
                minted.chain[i].digest = EVP_sha256();
                mint_and_judge("SHA-256", &minted, ATTESTATION_ALGORITHM);
        }
}

/* The root's parameters do not matter: the caller trusts the root as it is. */
static void test_explicit_curve_parameters_are_refused(void **state) {
        for (int i = 1; i < CHAIN_LENGTH; i++) {
                Minted minted;

                mint_init(&minted);
                minted.chain[i].key = explicit_key;
                mint_and_judge("explicit curve parameters", &minted, ATTESTATION_UNTRUSTED);
        }
}

static void test_certificates_out_of_their_time_are_expired(void **state) {
        Minted minted;

        for (int i = 0; i < CHAIN_LENGTH; i++) {
                mint_init(&minted);
                minted.chain[i].until = -1;
                mint_and_judge("ended a second ago", &minted, ATTESTATION_EXPIRED);

                mint_init(&minted);
                minted.chain[i].from = 60;
                mint_and_judge("begins in a minute, by a clock that is slow", &minted, ATTESTATION_ACCEPTED);

                mint_init(&minted);
                minted.chain[i].from = 62;
                mint_and_judge("begins in more than a minute", &minted, ATTESTATION_EXPIRED);
        }
}

static void test_issuers_must_be_authorities(void **state) {
        Minted minted;

        for (int i = 0; i < LEAF; i++) {
                mint_init(&minted);
                minted.chain[i].basic_constraints = "critical,CA:FALSE";
                mint_and_judge("issuer with CA:FALSE", &minted, ATTESTATION_UNTRUSTED);

                mint_init(&minted);
                minted.chain[i].basic_constraints = NULL;
                mint_and_judge("issuer without basic constraints", &minted, ATTESTATION_UNTRUSTED);

                mint_init(&minted);
                minted.chain[i].basic_constraints = "CA:TRUE";
                mint_and_judge("issuer with basic constraints not critical", &minted, ATTESTATION_UNTRUSTED);

                mint_init(&minted);
                minted.chain[i].key_usage = "critical,digitalSignature,cRLSign";
                mint_and_judge("issuer that may not sign certificates", &minted, ATTESTATION_UNTRUSTED);

                mint_init(&minted);
                minted.chain[i].key_usage = NULL;
                mint_and_judge("issuer without key usage", &minted, ATTESTATION_UNTRUSTED);
        }
}

static void test_path_length_constraints_hold(void **state) {
        static const char *const too_short[LEAF] = {
                "critical,CA:TRUE,pathlen:2",
                "critical,CA:TRUE,pathlen:1",
                "critical,CA:TRUE,pathlen:0",
        };
        Minted minted;

        for (int i = 0; i < LEAF - 1; i++) {
                mint_init(&minted);
                minted.chain[i].basic_constraints = too_short[i];
                mint_and_judge("path length one too short", &minted, ATTESTATION_UNTRUSTED);
        }
}

static void test_leaf_must_be_an_end_entity_that_signs(void **state) {
        static const struct {
                const char *what, *basic_constraints, *key_usage;
        } leaves[] = {
                { "leaf with CA:TRUE", "critical,CA:TRUE", "critical,digitalSignature,keyCertSign" },
                { "leaf without basic constraints", NULL, "digitalSignature,nonRepudiation" },
                { "leaf without key usage", "critical,CA:FALSE", NULL },
                { "leaf that may not sign", "critical,CA:FALSE", "keyAgreement" },
                { "leaf that may sign certificates", "critical,CA:FALSE", "digitalSignature,keyCertSign" },
                { "leaf with a path length", "critical,CA:FALSE,pathlen:0", "digitalSignature" },
        };

        for (size_t i = 0; i < ELEMENTSOF(leaves); i++) {
                Minted minted;

                mint_init(&minted);
                minted.chain[LEAF].basic_constraints = leaves[i].basic_constraints;
                minted.chain[LEAF].key_usage = leaves[i].key_usage;
                mint_and_judge(leaves[i].what, &minted, ATTESTATION_UNTRUSTED);
        }
}

static void test_unknown_extensions_are_refused_if_critical(void **state) {
        Minted minted;

        for (int i = 0; i < CHAIN_LENGTH; i++) {
                mint_init(&minted);
                minted.chain[i].extension = "1.3.6.1.4.1.4711.1";
                minted.chain[i].extension_critical = true;
                mint_and_judge("unknown critical extension", &minted, ATTESTATION_UNTRUSTED);

                mint_init(&minted);
                minted.chain[i].extension = "1.3.6.1.4.1.4711.1";
                mint_and_judge("unknown extension", &minted, ATTESTATION_ACCEPTED);
        }
}

static void test_cabundle_is_the_chain_in_order(void **state) {
        static const struct {
                const char *what;
                int cabundle[ATTESTATION_CHAIN_MAX + 1];
        } bundles[] = {
                { "two swapped", { 0, 2, 1, 3, -1 } },       { "the last two swapped", { 0, 1, 3, 2, -1 } },
                { "the root last", { 1, 2, 3, 0, -1 } },     { "one missing", { 0, 1, 3, -1 } },
                { "without root", { 1, 2, 3, -1 } },         { "root alone", { 0, -1 } },
                { "one twice", { 0, 1, 1, 2, 3, -1 } },      { "the root twice", { 0, 0, 1, 2, 3, -1 } },
                { "the leaf in it", { 0, 1, 2, 3, 4, -1 } },
        };

        for (size_t i = 0; i < ELEMENTSOF(bundles); i++) {
                Minted minted;

                mint_init(&minted);
                memcpy(minted.cabundle, bundles[i].cabundle, sizeof(minted.cabundle));
                mint_and_judge(bundles[i].what, &minted, ATTESTATION_UNTRUSTED);
        }
}

static void test_certificates_are_signed_by_the_one_before(void **state) {
        for (int i = 1; i < CHAIN_LENGTH; i++) {
                Minted minted;

                mint_init(&minted);
                minted.chain[i].signer = keys[i];
                mint_and_judge("the right issuer's name, another's signature", &minted,
                               ATTESTATION_UNTRUSTED);

                mint_init(&minted);
                minted.chain[i].issuer = i;
                mint_and_judge("signed by itself", &minted, ATTESTATION_UNTRUSTED);

                if (i > 1) {
                        mint_init(&minted);
                        minted.chain[i].issuer = i - 2;
                        mint_and_judge("signed by the one before that", &minted, ATTESTATION_UNTRUSTED);
                }
        }
}

static void test_root_never_comes_from_the_document(void **state) {
        Minted minted;
        Error error = {};

        mint_init(&minted);
        mint(&minted);
        refused("a chain under a root of its own",
                judge(minted.document.data, minted.document.size,
                      &(AttestationPolicy){ .root = aws_root, .at = DOCUMENT_TIME }, &error),
                ATTESTATION_UNTRUSTED, &error);
        mint_done(&minted);
}

/* The forger has a root of the same name, puts the real root into cabundle, and omits the identifiers that would
 * distinguish them. */
static void test_real_root_before_a_forged_chain_is_refused(void **state) {
        Minted real, forged;
        Error error = {};

        mint_init(&real);
        mint_chain(&real);

        mint_init(&forged);
        forged.chain[0].key = keys[LEAF];
        for (int i = 0; i < CHAIN_LENGTH; i++)
                forged.chain[i].extension_identifiers = false;
        mint_chain(&forged);
        X509_free(forged.certificates[0]);
        forged.certificates[0] = X509_dup(real.certificates[0]);
        mint_document(&forged);

        refused("a forged chain behind the real root",
                judge(forged.document.data, forged.document.size,
                      &(AttestationPolicy){ .root = real.certificates[0], .at = DOCUMENT_TIME }, &error),
                ATTESTATION_UNTRUSTED, &error);
        mint_done(&forged);
        mint_done(&real);
}

static void test_document_signed_by_another_key_is_altered(void **state) {
        Minted minted;

        mint_init(&minted);
        minted.signer = keys[3];
        mint_and_judge("signed by the issuer", &minted, ATTESTATION_SIGNATURE);

        mint_init(&minted);
        minted.signer = p256_key;
        mint_and_judge("signed with P-256", &minted, ATTESTATION_SIGNATURE);
}

static void test_signature_out_of_range_is_altered(void **state) {
        static const uint8_t fills[] = { 0x00, 0xff };

        for (size_t i = 0; i < ELEMENTSOF(fills); i++) {
                Minted minted;
                Error error = {};

                mint_init(&minted);
                mint(&minted);
                memset(minted.document.data + minted.document.size - 96, fills[i], 96);
                refused("r and s out of range",
                        judge(minted.document.data, minted.document.size,
                              &(AttestationPolicy){ .root = minted.certificates[0], .at = DOCUMENT_TIME },
                              &error),
                        ATTESTATION_SIGNATURE, &error);
                mint_done(&minted);
        }
}

static void test_certificate_is_der_and_nothing_follows(void **state) {
        Minted minted;

        mint_init(&minted);
        put(&minted.junk, "", 1);
        mint_and_judge("a byte behind the certificate", &minted, ATTESTATION_MALFORMED);
}

/* Age, nonce, public key */

static void test_age_nonce_and_public_key_are_compared(void **state) {
#define SLICE(string)                                          \
        &(Slice) {                                             \
                (const uint8_t *) (string), sizeof(string) - 1 \
        }
        const struct {
                const char *what;
                int64_t at;
                uint64_t max_age_sec;
                const Slice *nonce, *public_key;
                AttestationRefusal want;
        } policies[] = {
                { "just made", DOCUMENT_TIME, 1, .want = ATTESTATION_ACCEPTED },
                { "as old as may be", DOCUMENT_TIME + 300, 300, .want = ATTESTATION_ACCEPTED },
                { "a second too old", DOCUMENT_TIME + 301, 300, .want = ATTESTATION_STALE },
                { "any age", DOCUMENT_TIME + 3000, 0, .want = ATTESTATION_ACCEPTED },
                { "a minute from the future", DOCUMENT_TIME - 60, 300, .want = ATTESTATION_ACCEPTED },
                { "61 s from the future", DOCUMENT_TIME - 61, 300, .want = ATTESTATION_STALE },
                { "from the future, age not asked", DOCUMENT_TIME - 61, 0, .want = ATTESTATION_ACCEPTED },
                { "the largest age", DOCUMENT_TIME, UINT64_MAX, .want = ATTESTATION_ACCEPTED },
                { "the nonce", DOCUMENT_TIME, .nonce = SLICE("nonce"), .want = ATTESTATION_ACCEPTED },
                { "another nonce", DOCUMENT_TIME, .nonce = SLICE("noncE"), .want = ATTESTATION_NONCE },
                { "a shorter nonce", DOCUMENT_TIME, .nonce = SLICE("nonc"), .want = ATTESTATION_NONCE },
                { "a longer nonce", DOCUMENT_TIME, .nonce = SLICE("nonce "), .want = ATTESTATION_NONCE },
                { "an empty nonce", DOCUMENT_TIME, .nonce = SLICE(""), .want = ATTESTATION_NONCE },
                { "the key", DOCUMENT_TIME, .public_key = SLICE("key"), .want = ATTESTATION_ACCEPTED },
                { "another key", DOCUMENT_TIME, .public_key = SLICE("kez"), .want = ATTESTATION_PUBLIC_KEY },
                { "all wrong: the age is said", DOCUMENT_TIME + 9, 1, SLICE("a"), SLICE("b"),
                  ATTESTATION_STALE },
        };
        Minted minted;

        mint_init(&minted);
        mint(&minted);
        for (size_t i = 0; i < ELEMENTSOF(policies); i++) {
                const AttestationPolicy policy = {
                        .root = minted.certificates[0],
                        .at = policies[i].at,
                        .max_age_sec = policies[i].max_age_sec,
                        .nonce = policies[i].nonce,
                        .public_key = policies[i].public_key,
                };
                Error error = {};

                refused(policies[i].what, judge(minted.document.data, minted.document.size, &policy, &error),
                        policies[i].want, &error);
        }
        mint_done(&minted);
}

static void test_document_without_nonce_has_no_empty_one(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        Error error = {};
        size_t size;

        /* The public key of the enclave's document is null. */
        read_vector("attestation/enclave-document.cbor", &data, &size);
        refused("an empty key wanted, null in the document",
                judge(data, size,
                      &(AttestationPolicy){ .root = aws_root, .at = 1665651482, .public_key = SLICE("") },
                      &error),
                ATTESTATION_PUBLIC_KEY, &error);
}

static void test_refusals_have_distinct_names(void **state) {
        static const AttestationRefusal refusals[] = {
                ATTESTATION_ACCEPTED,   ATTESTATION_INTERNAL,  ATTESTATION_MALFORMED,
                ATTESTATION_ALGORITHM,  ATTESTATION_SIGNATURE, ATTESTATION_UNTRUSTED,
                ATTESTATION_EXPIRED,    ATTESTATION_STALE,     ATTESTATION_NONCE,
                ATTESTATION_PUBLIC_KEY, ATTESTATION_PCR,       (AttestationRefusal) 99,
        };

        for (size_t i = 0; i < ELEMENTSOF(refusals); i++)
                for (size_t j = 0; j < i; j++)
                        assert_string_not_equal(attestation_refusal_to_string(refusals[i]),
                                                attestation_refusal_to_string(refusals[j]));
}

static int setup(void **state) {
        _cleanup_free_ uint8_t *pem = NULL;
        size_t size;
        BIO *bio;

        read_vector("../../conf/nitro-root/aws-nitro-root-g1.pem", &pem, &size);
        bio = BIO_new_mem_buf(pem, (int) size);
        aws_root = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        BIO_free(bio);
        if (!aws_root)
                return -1;

        for (int i = 0; i < CHAIN_LENGTH; i++)
                keys[i] = EVP_EC_gen("P-384");
        p256_key = EVP_EC_gen("P-256");
        rsa_key = EVP_RSA_gen(2048);
        explicit_key = EVP_EC_gen("P-384");
        return EVP_PKEY_set_utf8_string_param(explicit_key, "encoding", "explicit") == 1 ? 0 : -1;
}

static int teardown(void **state) {
        for (int i = 0; i < CHAIN_LENGTH; i++)
                EVP_PKEY_free(keys[i]);
        EVP_PKEY_free(p256_key);
        EVP_PKEY_free(rsa_key);
        EVP_PKEY_free(explicit_key);
        X509_free(aws_root);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nitrotpm_document_is_read),
                cmocka_unit_test(test_enclave_document_is_read),
                cmocka_unit_test(test_real_documents_verify_at_their_own_time),
                cmocka_unit_test(test_real_document_is_expired_at_any_other_time),
                cmocka_unit_test(test_no_byte_of_a_real_document_can_be_changed),
                cmocka_unit_test(test_no_prefix_of_a_real_document_is_read),
                cmocka_unit_test(test_nothing_may_follow_a_document),
                cmocka_unit_test(test_documents_longer_than_64k_are_refused),
                cmocka_unit_test(test_payload_has_exactly_its_fields),
                cmocka_unit_test(test_cose_is_es384_and_nothing_else),
                cmocka_unit_test(test_chain_like_aws_is_accepted),
                cmocka_unit_test(test_certificates_without_identifiers_are_accepted),
                cmocka_unit_test(test_other_keys_and_digests_are_refused_anywhere),
                cmocka_unit_test(test_explicit_curve_parameters_are_refused),
                cmocka_unit_test(test_certificates_out_of_their_time_are_expired),
                cmocka_unit_test(test_issuers_must_be_authorities),
                cmocka_unit_test(test_path_length_constraints_hold),
                cmocka_unit_test(test_leaf_must_be_an_end_entity_that_signs),
                cmocka_unit_test(test_unknown_extensions_are_refused_if_critical),
                cmocka_unit_test(test_cabundle_is_the_chain_in_order),
                cmocka_unit_test(test_certificates_are_signed_by_the_one_before),
                cmocka_unit_test(test_root_never_comes_from_the_document),
                cmocka_unit_test(test_real_root_before_a_forged_chain_is_refused),
                cmocka_unit_test(test_document_signed_by_another_key_is_altered),
                cmocka_unit_test(test_signature_out_of_range_is_altered),
                cmocka_unit_test(test_certificate_is_der_and_nothing_follows),
                cmocka_unit_test(test_age_nonce_and_public_key_are_compared),
                cmocka_unit_test(test_document_without_nonce_has_no_empty_one),
                cmocka_unit_test(test_refusals_have_distinct_names),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
