/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

#include "attestor.h"
#include "basic/cbor.h"
#include "basic/cleanup.h"
#include "nitrotpm/responder.h"

#define FIELD_MAX 1024U
#define SIGNATURE_SIZE 96U
#define DOCUMENT_MAX_AGE_SEC 300
#define DOCUMENT_MAX_AHEAD_SEC 60
#define CABUNDLE_MAX 8U
#define COSE_SIGN1_TAG 0xd2 /* 18 */

/* All below the root is made anew when the leaf has lived half its three hours. */
#define LEAF_LIFETIME_SEC (3L * 3600)
#define CHAIN_RENEWAL_SEC (LEAF_LIFETIME_SEC / 2)

#define VERIFIED_MAX 32U
#define CONNECTIONS_MAX 8U
#define CONNECTION_TIMEOUT_SEC 5

static const uint8_t protected_header[] = { 0xa1, 0x01, 0x38,
                                            0x22 }; /* {1: -35}, that is: algorithm: ES384 */

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free);
DEFINE_CLEANUP(ECDSA_SIG *, ECDSA_SIG_free);
DEFINE_CLEANUP(X509 *, X509_free);
DEFINE_CLEANUP(X509_STORE_CTX *, X509_STORE_CTX_free);

typedef enum Level {
        LEVEL_ROOT,
        LEVEL_REGIONAL,
        LEVEL_ZONAL,
        LEVEL_INSTANCE,
        LEVEL_LEAF,
        LEVELS,
} Level;

typedef struct Issued {
        EVP_PKEY *key;
        X509 *certificate;
} Issued;

typedef struct Verified {
        uint8_t digest[SHA256_DIGEST_LENGTH];
        AttestedFacts facts;
} Verified;

typedef struct Server {
        pthread_t thread;
        bool running;
        int listen_fd, stop_fd;
        char path[sizeof(((struct sockaddr_un *) NULL)->sun_path)];
        AttestorFault fault;
        void *userdata;
} Server;

struct Attestor {
        char instance_id[64], region[64], module_id[128];
        X509_STORE *store; /* with the root */
        Server server;

        pthread_mutex_t mutex; /* for what follows */
        Issued chain[LEVELS];
        int64_t chain_issued_at;
        int64_t clock_offset;
        Verified verified[VERIFIED_MAX]; /* a ring */
        size_t n_verified;
};

DEFINE_CLEANUP(Attestor *, attestor_free);

typedef struct Bytes {
        const uint8_t *data;
        size_t size;
} Bytes;

/* The shape of each certificate, as in captured documents. */
typedef struct Attribute {
        int nid;
        const char *value; /* NULL: the certificate's own */
} Attribute;

typedef struct Extension {
        int nid;
        const char *value;
} Extension;

static const struct Shape {
        int serial_size; /* 0: the time of issue */
        long starts_before_sec, lifetime_sec;
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

static void issued_clear(Issued *issued) {
        EVP_PKEY_free(issued->key);
        X509_free(issued->certificate);
        *issued = (Issued){};
}

static int common_name(const Attestor *attestor, Level level, char *buffer, size_t size) {
        uint64_t id;

        if (RAND_bytes((uint8_t *) &id, sizeof(id)) <= 0)
                return -EIO;
        switch (level) {
        case LEVEL_ROOT:
                return snprintf(buffer, size, "aws.nitro-enclaves");
        case LEVEL_REGIONAL:
                return snprintf(buffer, size, "%016llx.%s.aws.nitro-enclaves", (unsigned long long) id,
                                attestor->region);
        case LEVEL_ZONAL:
                return snprintf(buffer, size, "%016llx.zonal.%s.aws.nitro-enclaves", (unsigned long long) id,
                                attestor->region);
        case LEVEL_INSTANCE:
                return snprintf(buffer, size, "%s.%s.aws.nitro-enclaves", attestor->instance_id,
                                attestor->region);
        default:
                return snprintf(buffer, size, "%s.%s.aws", attestor->module_id, attestor->region);
        }
}

static int set_subject(const Attestor *attestor, Level level, X509 *certificate) {
        X509_NAME *name = X509_get_subject_name(certificate);
        char own[256];
        int r;

        r = common_name(attestor, level, own, sizeof(own));
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
        bytes[0] = (uint8_t) ((bytes[0] & 0x3f) | 0x40); /* always of that size, and positive */
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

/* issuer: NULL for the root. */
static int issue(const Attestor *attestor, Level level, const Issued *issuer, int64_t now, Issued *ret) {
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
        r = set_subject(attestor, level, certificate);
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

/* The chain below the root. */
static int renew_chain(Attestor *attestor, int64_t now) {
        Issued renewed[LEVELS] = { attestor->chain[LEVEL_ROOT] };
        int r = 0;

        for (Level level = LEVEL_REGIONAL; level < LEVELS && r >= 0; level++)
                r = issue(attestor, level, &renewed[level - 1], now, &renewed[level]);
        for (Level level = LEVEL_REGIONAL; level < LEVELS; level++) {
                issued_clear(r < 0 ? &renewed[level] : &attestor->chain[level]);
                if (r >= 0)
                        attestor->chain[level] = renewed[level];
        }
        if (r >= 0)
                attestor->chain_issued_at = now;
        return r;
}

static int write_root(const X509 *root, const char *path) {
        FILE *f = fopen(path, "we");
        bool written;

        if (!f)
                return -errno;
        written = PEM_write_X509(f, root) > 0;
        if (fclose(f) != 0)
                return -errno;
        return written ? 0 : -EIO;
}

int attestor_new(const char *instance_id, const char *region, const char *root_path, Attestor **ret) {
        _cleanup_(attestor_freep) Attestor *attestor = NULL;
        const int64_t now = time(NULL);
        int r;

        attestor = calloc(1, sizeof(*attestor));
        if (!attestor)
                return -ENOMEM;
        attestor->server.listen_fd = attestor->server.stop_fd = -1;
        pthread_mutex_init(&attestor->mutex, NULL);

        if (strlen(instance_id) >= sizeof(attestor->instance_id) ||
            strlen(region) >= sizeof(attestor->region))
                return -EINVAL;
        strcpy(attestor->instance_id, instance_id);
        strcpy(attestor->region, region);
        snprintf(attestor->module_id, sizeof(attestor->module_id), "%s-tpm0000000000000000", instance_id);

        r = issue(attestor, LEVEL_ROOT, NULL, now, &attestor->chain[LEVEL_ROOT]);
        if (r < 0)
                return r;
        r = renew_chain(attestor, now);
        if (r < 0)
                return r;
        attestor->store = X509_STORE_new();
        if (!attestor->store ||
            X509_STORE_add_cert(attestor->store, attestor->chain[LEVEL_ROOT].certificate) <= 0)
                return -ENOMEM;
        r = write_root(attestor->chain[LEVEL_ROOT].certificate, root_path);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(attestor);
        return 0;
}

void attestor_set_clock_offset(Attestor *attestor, int64_t seconds) {
        pthread_mutex_lock(&attestor->mutex);
        attestor->clock_offset = seconds;
        pthread_mutex_unlock(&attestor->mutex);
}

/* CBOR into a buffer of fixed size. */
typedef struct Writer {
        uint8_t *data;
        size_t capacity, size;
        bool overflowed;
} Writer;

/* libcbor's encoders return 0 where there is no room. */
static void written(Writer *writer, size_t n) {
        writer->size += n;
        if (n == 0)
                writer->overflowed = true;
}

#define WRITE(writer, encode, ...)                                                        \
        written(writer, encode(__VA_ARGS__ __VA_OPT__(, )(writer)->data + (writer)->size, \
                               (writer)->capacity - (writer)->size))

static void write_raw(Writer *writer, const void *data, size_t size) {
        if (size > writer->capacity - writer->size) {
                writer->overflowed = true;
                return;
        }
        if (size > 0)
                memcpy(writer->data + writer->size, data, size);
        writer->size += size;
}

static void write_text(Writer *writer, const char *text) {
        WRITE(writer, cbor_encode_string_start, strlen(text));
        write_raw(writer, text, strlen(text));
}

/* data NULL: CBOR null. */
static void write_bytes(Writer *writer, Bytes bytes) {
        if (!bytes.data) {
                WRITE(writer, cbor_encode_null);
                return;
        }
        WRITE(writer, cbor_encode_bytestring_start, bytes.size);
        write_raw(writer, bytes.data, bytes.size);
}

static void write_certificate(Writer *writer, X509 *certificate) {
        uint8_t *der = NULL;
        int size = i2d_X509(certificate, &der);

        if (size < 0)
                writer->overflowed = true;
        else
                write_bytes(writer, (Bytes){ der, (size_t) size });
        OPENSSL_free(der);
}

typedef struct Request {
        Bytes user_data, nonce, public_key;
} Request;

static void write_payload(Writer *writer, const Attestor *attestor, const Request *request,
                          const uint8_t *pcrs) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        WRITE(writer, cbor_encode_indef_map_start);
        write_text(writer, "module_id");
        write_text(writer, attestor->module_id);
        write_text(writer, "digest");
        write_text(writer, "SHA384");
        write_text(writer, "timestamp");
        WRITE(writer, cbor_encode_uint,
              (uint64_t) ((now.tv_sec + attestor->clock_offset) * 1000 + now.tv_nsec / 1000000));
        write_text(writer, "nitrotpm_pcrs");
        WRITE(writer, cbor_encode_map_start, ATTESTOR_PCRS);
        for (size_t i = 0; i < ATTESTOR_PCRS; i++) {
                WRITE(writer, cbor_encode_uint, i);
                write_bytes(writer, (Bytes){ pcrs + i * ATTESTOR_PCR_SIZE, ATTESTOR_PCR_SIZE });
        }
        write_text(writer, "certificate");
        write_certificate(writer, attestor->chain[LEVEL_LEAF].certificate);
        write_text(writer, "cabundle");
        WRITE(writer, cbor_encode_array_start, LEVEL_LEAF);
        for (Level level = LEVEL_ROOT; level < LEVEL_LEAF; level++)
                write_certificate(writer, attestor->chain[level].certificate);
        write_text(writer, "public_key");
        write_bytes(writer, request->public_key);
        write_text(writer, "user_data");
        write_bytes(writer, request->user_data);
        write_text(writer, "nonce");
        write_bytes(writer, request->nonce);
        WRITE(writer, cbor_encode_break);
}

/* What a COSE_Sign1 signature covers (RFC 9052 section 4.4). */
static void write_to_be_signed(Writer *writer, Bytes payload) {
        WRITE(writer, cbor_encode_array_start, 4);
        write_text(writer, "Signature1");
        write_bytes(writer, (Bytes){ protected_header, sizeof(protected_header) });
        WRITE(writer, cbor_encode_bytestring_start, 0);
        write_bytes(writer, payload);
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

/* COSE_Sign1, untagged. Called under the lock. */
static int make_document(Attestor *attestor, const Request *request, const uint8_t *pcrs, Writer *document) {
        uint8_t payload_buffer[ATTESTOR_INDEX_SIZE], message_buffer[ATTESTOR_INDEX_SIZE + 64];
        uint8_t signature[SIGNATURE_SIZE];
        Writer payload = { .data = payload_buffer, .capacity = sizeof(payload_buffer) };
        Writer message = { .data = message_buffer, .capacity = sizeof(message_buffer) };
        const int64_t now = time(NULL);
        int r;

        if (now - attestor->chain_issued_at >= CHAIN_RENEWAL_SEC) {
                r = renew_chain(attestor, now);
                if (r < 0)
                        return r;
        }
        write_payload(&payload, attestor, request, pcrs);
        if (payload.overflowed)
                return -ENOBUFS;
        write_to_be_signed(&message, (Bytes){ payload.data, payload.size });
        r = sign(attestor->chain[LEVEL_LEAF].key, (Bytes){ message.data, message.size }, signature);
        if (r < 0)
                return r;

        WRITE(document, cbor_encode_array_start, 4);
        write_bytes(document, (Bytes){ protected_header, sizeof(protected_header) });
        WRITE(document, cbor_encode_map_start, 0);
        write_bytes(document, (Bytes){ payload.data, payload.size });
        write_bytes(document, (Bytes){ signature, sizeof(signature) });
        return document->overflowed ? -ENOBUFS : 0;
}

static bool is_text(const cbor_item_t *item, const char *text) {
        return cbor_isa_string(item) && cbor_string_is_definite(item) &&
               cbor_string_length(item) == strlen(text) &&
               memcmp(cbor_string_handle(item), text, strlen(text)) == 0;
}

/* NULL: not there. */
static cbor_item_t *map_get(const cbor_item_t *map, const char *key) {
        const struct cbor_pair *pairs = cbor_map_handle(map);

        for (size_t i = 0; i < cbor_map_size(map); i++)
                if (is_text(pairs[i].key, key))
                        return pairs[i].value;
        return NULL;
}

/* A byte string of definite length, or null: {}. */
static bool get_bytes_or_null(const cbor_item_t *item, Bytes *ret) {
        if (!item)
                return false;
        if (cbor_isa_float_ctrl(item) && cbor_float_ctrl_is_ctrl(item) &&
            cbor_ctrl_value(item) == CBOR_CTRL_NULL) {
                *ret = (Bytes){};
                return true;
        }
        if (!cbor_isa_bytestring(item) || !cbor_bytestring_is_definite(item))
                return false;
        /* Never NULL, that of an empty one either: that would be taken for null. */
        *ret = (Bytes){ cbor_bytestring_handle(item) ?: (const uint8_t *) "", cbor_bytestring_length(item) };
        return true;
}

static bool get_bytes(const cbor_item_t *item, size_t min, size_t max, Bytes *ret) {
        return get_bytes_or_null(item, ret) && ret->data && ret->size >= min && ret->size <= max;
}

/* The name of an NSM error code, NULL on success. What is behind the first item of the index is padding. */
static const char *request_parse(const cbor_item_t *item, Request *ret) {
        const cbor_item_t *fields;
        Request request;

        if (!cbor_isa_map(item) || !cbor_map_is_definite(item) || cbor_map_size(item) != 1)
                return "InvalidArgument";
        fields = map_get(item, "Attestation");
        if (!fields)
                return "InvalidOperation";
        if (!cbor_isa_map(fields) || !cbor_map_is_definite(fields) || cbor_map_size(fields) != 3 ||
            !get_bytes_or_null(map_get(fields, "user_data"), &request.user_data) ||
            !get_bytes_or_null(map_get(fields, "nonce"), &request.nonce) ||
            !get_bytes_or_null(map_get(fields, "public_key"), &request.public_key) ||
            (request.public_key.data && request.public_key.size == 0))
                return "InvalidArgument";
        if (request.user_data.size > FIELD_MAX || request.nonce.size > FIELD_MAX ||
            request.public_key.size > FIELD_MAX)
                return "InputTooLarge";
        *ret = request;
        return NULL;
}

static size_t write_error(const char *code, uint8_t *reply, size_t capacity) {
        Writer writer = { .data = reply, .capacity = capacity };

        WRITE(&writer, cbor_encode_map_start, 1);
        write_text(&writer, "Error");
        write_text(&writer, code);
        return writer.overflowed ? 0 : writer.size;
}

int attestor_answer(Attestor *attestor, const uint8_t index[static ATTESTOR_INDEX_SIZE],
                    const uint8_t pcrs[static ATTESTOR_PCRS * ATTESTOR_PCR_SIZE],
                    uint8_t reply[static ATTESTOR_INDEX_SIZE], size_t *ret_size) {
        uint8_t document_buffer[ATTESTOR_INDEX_SIZE];
        Writer document = { .data = document_buffer, .capacity = sizeof(document_buffer) };
        Writer writer = { .data = reply, .capacity = ATTESTOR_INDEX_SIZE };
        _cleanup_cbor_ cbor_item_t *item = NULL;
        const char *error;
        Request request;
        size_t read;
        int r;

        r = cbor_parse(index, ATTESTOR_INDEX_SIZE, &item, &read);
        if (r == -ENOMEM)
                return r;
        error = r < 0 ? "InvalidArgument" : request_parse(item, &request);
        if (!error) {
                pthread_mutex_lock(&attestor->mutex);
                r = make_document(attestor, &request, pcrs, &document);
                pthread_mutex_unlock(&attestor->mutex);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        error = r == -ENOBUFS ? "BufferTooSmall" : "InternalError";
        }
        if (!error) {
                WRITE(&writer, cbor_encode_map_start, 1);
                write_text(&writer, "Attestation");
                WRITE(&writer, cbor_encode_map_start, 1);
                write_text(&writer, "document");
                write_bytes(&writer, (Bytes){ document.data, document.size });
                if (writer.overflowed)
                        error = "BufferTooSmall";
        }
        *ret_size = error ? write_error(error, reply, ATTESTOR_INDEX_SIZE) : writer.size;
        return 0;
}

typedef struct Document {
        cbor_item_t *outer, *inner; /* what the others point into */
        Bytes payload, signature, certificate, cabundle[CABUNDLE_MAX], public_key;
        size_t cabundle_length;
        AttestedFacts facts;
} Document;

static void document_clear(Document *document) {
        cbor_putp(&document->outer);
        cbor_putp(&document->inner);
}

static bool parse_envelope(const cbor_item_t *array, Document *document) {
        cbor_item_t **parts;
        Bytes header;

        if (!cbor_isa_array(array) || !cbor_array_is_definite(array) || cbor_array_size(array) != 4)
                return false;
        parts = cbor_array_handle(array);
        return get_bytes(parts[0], sizeof(protected_header), sizeof(protected_header), &header) &&
               memcmp(header.data, protected_header, sizeof(protected_header)) == 0 &&
               cbor_isa_map(parts[1]) && cbor_map_size(parts[1]) == 0 &&
               get_bytes(parts[2], 1, SIZE_MAX, &document->payload) &&
               get_bytes(parts[3], SIGNATURE_SIZE, SIGNATURE_SIZE, &document->signature);
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
                    !get_bytes(pairs[i].value, ATTESTOR_PCR_SIZE, ATTESTOR_PCR_SIZE, &value))
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
                if (!get_bytes(cbor_array_handle(array)[i], 1, FIELD_MAX, &document->cabundle[i]))
                        return false;
        return true;
}

/* All nine fields and no other. */
static bool parse_payload(const cbor_item_t *map, Document *document) {
        const cbor_item_t *module_id, *timestamp, *digest;
        AttestedFacts *facts = &document->facts;
        Bytes user_data, nonce;

        if (!cbor_isa_map(map) || cbor_map_size(map) != 9)
                return false;
        module_id = map_get(map, "module_id");
        digest = map_get(map, "digest");
        timestamp = map_get(map, "timestamp");
        if (!module_id || !cbor_isa_string(module_id) || !cbor_string_is_definite(module_id) ||
            cbor_string_length(module_id) < 1 || cbor_string_length(module_id) >= sizeof(facts->module_id) ||
            !digest || !is_text(digest, "SHA384") || !timestamp || !cbor_isa_uint(timestamp))
                return false;
        memcpy(facts->module_id, cbor_string_handle(module_id), cbor_string_length(module_id));
        facts->timestamp_msec = cbor_get_int(timestamp);

        if (!parse_pcrs(map_get(map, "nitrotpm_pcrs"), facts) ||
            !get_bytes(map_get(map, "certificate"), 1, FIELD_MAX, &document->certificate) ||
            !parse_cabundle(map_get(map, "cabundle"), document) ||
            !get_bytes_or_null(map_get(map, "public_key"), &document->public_key) ||
            document->public_key.size > FIELD_MAX ||
            !get_bytes_or_null(map_get(map, "user_data"), &user_data) || user_data.size > FIELD_MAX ||
            !get_bytes_or_null(map_get(map, "nonce"), &nonce) || nonce.size > FIELD_MAX)
                return false;
        if (document->public_key.size > 0)
                memcpy(facts->public_key, document->public_key.data, document->public_key.size);
        facts->public_key_size = document->public_key.size;
        return true;
}

static bool document_parse(Bytes bytes, Document *document) {
        const size_t tag_size =
                        bytes.size > 0 && bytes.data[0] == COSE_SIGN1_TAG ? 1 : 0; /* it is optional */

        return cbor_parse(bytes.data + tag_size, bytes.size - tag_size, &document->outer, NULL) >= 0 &&
               parse_envelope(document->outer, document) &&
               cbor_parse(document->payload.data, document->payload.size, &document->inner, NULL) >= 0 &&
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

static const char *check_chain(const Attestor *attestor, const Document *document, X509 *leaf, int64_t now) {
        _cleanup_(certificates_freep) STACK_OF(X509) *bundle = sk_X509_new_null();
        _cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *context = X509_STORE_CTX_new();

        for (size_t i = 0; bundle && i < document->cabundle_length; i++) {
                X509 *certificate = load_certificate(document->cabundle[i]);

                if (!certificate || sk_X509_push(bundle, certificate) <= 0) {
                        X509_free(certificate);
                        return "The attestation document is malformed.";
                }
        }
        if (!bundle || !context || X509_STORE_CTX_init(context, attestor->store, leaf, bundle) <= 0)
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
        _cleanup_free_ uint8_t *message_buffer = malloc(document->payload.size + 64);
        Writer message = { .data = message_buffer, .capacity = document->payload.size + 64 };
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

/* Everything but the age. NULL: good. */
static const char *document_verify(const Attestor *attestor, Bytes bytes, int64_t now, AttestedFacts *ret) {
        _cleanup_(document_clear) Document document = {};
        _cleanup_(X509_freep) X509 *leaf = NULL;
        const char *reason;

        if (!document_parse(bytes, &document))
                return "The attestation document is malformed.";
        leaf = load_certificate(document.certificate);
        if (!leaf)
                return "The attestation document is malformed.";
        reason = check_chain(attestor, &document, leaf, now);
        if (reason)
                return reason;
        if (!check_signature(leaf, &document))
                return "The signature of the attestation document is invalid.";
        if (!is_rsa_public_key(document.public_key))
                return "The attestation document does not contain a valid RSA public key.";
        *ret = document.facts;
        return NULL;
}

static const char *check_age(uint64_t timestamp_msec, int64_t now) {
        const int64_t age = now - (int64_t) (timestamp_msec / 1000);

        if (age > DOCUMENT_MAX_AGE_SEC)
                return "The attestation document has exceeded its five-minute age limit.";
        if (age < -DOCUMENT_MAX_AHEAD_SEC)
                return "The timestamp of the attestation document is in the future.";
        return NULL;
}

static bool recall(Attestor *attestor, const uint8_t digest[static SHA256_DIGEST_LENGTH],
                   AttestedFacts *ret) {
        bool found = false;

        pthread_mutex_lock(&attestor->mutex);
        for (size_t i = 0; i < VERIFIED_MAX && i < attestor->n_verified && !found; i++) {
                found = memcmp(attestor->verified[i].digest, digest, SHA256_DIGEST_LENGTH) == 0;
                if (found)
                        *ret = attestor->verified[i].facts;
        }
        pthread_mutex_unlock(&attestor->mutex);
        return found;
}

static void remember(Attestor *attestor, const uint8_t digest[static SHA256_DIGEST_LENGTH],
                     const AttestedFacts *facts) {
        Verified *verified;

        pthread_mutex_lock(&attestor->mutex);
        verified = &attestor->verified[attestor->n_verified++ % VERIFIED_MAX];
        memcpy(verified->digest, digest, SHA256_DIGEST_LENGTH);
        verified->facts = *facts;
        pthread_mutex_unlock(&attestor->mutex);
}

int attestor_verify(Attestor *attestor, const uint8_t *document, size_t size, int64_t now,
                    AttestedFacts *ret, const char **ret_reason) {
        uint8_t digest[SHA256_DIGEST_LENGTH];
        AttestedFacts facts;
        const char *reason = NULL;

        SHA256(document, size, digest);
        if (!recall(attestor, digest, &facts)) {
                reason = document_verify(attestor, (Bytes){ document, size }, now, &facts);
                if (!reason)
                        remember(attestor, digest, &facts);
        }
        if (!reason)
                reason = check_age(facts.timestamp_msec, now);
        if (reason) {
                *ret_reason = reason;
                return -EBADMSG;
        }
        *ret = facts;
        return 0;
}

static bool receive_all(int fd, void *data, size_t size) {
        return recv(fd, data, size, MSG_WAITALL) == (ssize_t) size;
}

static bool send_all(int fd, const void *data, size_t size) {
        const uint8_t *p = data;

        while (size > 0) {
                ssize_t n = send(fd, p, size, MSG_NOSIGNAL);

                if (n < 0)
                        return false;
                p += n;
                size -= (size_t) n;
        }
        return true;
}

static bool serve_attestation(Attestor *attestor, int fd, size_t index_size) {
        uint8_t index[ATTESTOR_INDEX_SIZE], pcrs[ATTESTOR_PCRS * ATTESTOR_PCR_SIZE];
        struct {
                uint32_t size;
                uint8_t data[ATTESTOR_INDEX_SIZE];
        } answer;
        size_t size;

        if (index_size > sizeof(index))
                return false;
        memset(index, 0xff, sizeof(index));
        if (!receive_all(fd, index, index_size) || !receive_all(fd, pcrs, sizeof(pcrs)) ||
            attestor_answer(attestor, index, pcrs, answer.data, &size) < 0)
                return false;
        if (size > index_size)
                size = write_error("BufferTooSmall", answer.data, index_size);
        answer.size = (uint32_t) size;
        return send_all(fd, &answer, sizeof(answer.size) + size);
}

/* One question. False: the connection is of no more use. */
static bool serve_question(Attestor *attestor, int fd) {
        const Server *server = &attestor->server;
        ResponderHeader header;
        uint32_t answer;

        if (!receive_all(fd, &header, sizeof(header)))
                return false;
        switch (header.question) {
        case RESPONDER_FAULT:
                answer = server->fault ? server->fault(header.argument, server->userdata) : 0;
                return send_all(fd, &answer, sizeof(answer));
        case RESPONDER_ATTEST:
                return serve_attestation(attestor, fd, header.argument);
        default:
                return false;
        }
}

static int accept_connection(int listen_fd) {
        const struct timeval timeout = { .tv_sec = CONNECTION_TIMEOUT_SEC };
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
                        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)) {
                close(fd);
                return -1;
        }
        return fd;
}

static void *server_run(void *userdata) {
        Attestor *attestor = userdata;
        enum { STOP, LISTEN, FIRST_CONNECTION };
        struct pollfd fds[FIRST_CONNECTION + CONNECTIONS_MAX] = {
                [STOP] = { .fd = attestor->server.stop_fd, .events = POLLIN },
                [LISTEN] = { .fd = attestor->server.listen_fd, .events = POLLIN },
        };
        size_t n = FIRST_CONNECTION;

        for (;;) {
                fds[LISTEN].events = n < ELEMENTSOF(fds) ? POLLIN : 0;
                if (poll(fds, n, -1) < 0 || fds[STOP].revents != 0)
                        break;
                for (size_t i = FIRST_CONNECTION; i < n;) {
                        if (fds[i].revents != 0 && !serve_question(attestor, fds[i].fd)) {
                                close(fds[i].fd);
                                fds[i] = fds[--n];
                        } else
                                i++;
                }
                if (fds[LISTEN].revents != 0) {
                        int fd = accept_connection(attestor->server.listen_fd);

                        if (fd >= 0)
                                fds[n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
                }
        }
        for (size_t i = FIRST_CONNECTION; i < n; i++)
                close(fds[i].fd);
        return NULL;
}

static int server_listen(Server *server, const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -1;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (unlink(path) < 0 && errno != ENOENT)
                return -errno;
        if (bind(fd, (const struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(fd, CONNECTIONS_MAX) < 0)
                return -errno;
        strcpy(server->path, path);
        server->listen_fd = TAKE_FD(fd);
        return 0;
}

int attestor_serve(Attestor *attestor, const char *socket_path, AttestorFault fault, void *userdata) {
        Server *server = &attestor->server;
        sigset_t all, before;
        int r;

        if (server->running)
                return -EBUSY;
        server->fault = fault;
        server->userdata = userdata;
        server->stop_fd = eventfd(0, EFD_CLOEXEC);
        if (server->stop_fd < 0)
                return -errno;
        r = server_listen(server, socket_path);
        if (r < 0)
                return r;

        /* Signals are the main thread's. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = -pthread_create(&server->thread, NULL, server_run, attestor);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        server->running = r == 0;
        return r;
}

static void server_stop(Server *server) {
        const uint64_t one = 1;

        if (server->running && write(server->stop_fd, &one, sizeof(one)) == sizeof(one))
                pthread_join(server->thread, NULL);
        if (server->listen_fd >= 0)
                unlink(server->path);
        closep(&server->listen_fd);
        closep(&server->stop_fd);
}

Attestor *attestor_free(Attestor *attestor) {
        if (!attestor)
                return NULL;
        server_stop(&attestor->server);
        X509_STORE_free(attestor->store);
        for (Level level = LEVEL_ROOT; level < LEVELS; level++)
                issued_clear(&attestor->chain[level]);
        pthread_mutex_destroy(&attestor->mutex);
        free(attestor);
        return NULL;
}
