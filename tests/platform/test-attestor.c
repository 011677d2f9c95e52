/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "attestor.h"
#include "basic/cleanup.h"
#include "nitrotpm/chain.h"
#include "nitrotpm/document.h"
#include "nitrotpm/nsm.h"
#include "nitrotpm/wire.h"

#define REPLY_OVERHEAD 26 /* {"Attestation": {"document": bytes of two-byte length}} */

static char directory[64], root_path[96], socket_path[96];
static Attestor *attestor;
static uint8_t pcrs[ATTESTOR_PCRS * ATTESTOR_PCR_SIZE];

/* A document, and the reply that it came in. */
typedef struct Made {
        uint8_t reply[ATTESTOR_INDEX_SIZE];
        const uint8_t *data;
        size_t size;
} Made;

static Bytes text_bytes(const char *text) {
        return (Bytes){ (const uint8_t *) text, strlen(text) };
}

static Bytes public_key(EVP_PKEY *key, uint8_t buffer[static 1024]) {
        uint8_t *end = buffer;
        int size;

        assert_in_range(i2d_PUBKEY(key, NULL), 1, 1024);
        size = i2d_PUBKEY(key, &end);
        EVP_PKEY_free(key);
        return (Bytes){ buffer, (size_t) size };
}

/* Made once, because it takes long. */
static Bytes rsa_public_key(void) {
        static uint8_t buffer[1024];
        static Bytes key;

        if (!key.data)
                key = public_key(EVP_RSA_gen(2048), buffer);
        return key;
}

static void write_request(Bytes key, Bytes user_data, Bytes nonce,
                          uint8_t index[static ATTESTOR_INDEX_SIZE]) {
        Writer writer = { .data = index, .capacity = ATTESTOR_INDEX_SIZE };

        memset(index, 0xff, ATTESTOR_INDEX_SIZE);
        WRITE(&writer, cbor_encode_map_start, 1);
        writer_text(&writer, "Attestation");
        WRITE(&writer, cbor_encode_map_start, 3);
        writer_text(&writer, "user_data");
        writer_bytes(&writer, user_data);
        writer_text(&writer, "nonce");
        writer_bytes(&writer, nonce);
        writer_text(&writer, "public_key");
        writer_bytes(&writer, key);
        assert_false(writer.overflowed);
}

static void make(Attestor *a, Bytes key, Bytes user_data, Bytes nonce, Made *ret) {
        static const uint8_t start[] = "\xa1\x6b"
                                       "Attestation\xa1\x68"
                                       "document\x59";
        uint8_t index[ATTESTOR_INDEX_SIZE];
        size_t size;

        write_request(key, user_data, nonce, index);
        assert_int_equal(attestor_answer(a, index, pcrs, ret->reply, &size), 0);
        assert_true(size > REPLY_OVERHEAD);
        assert_memory_equal(ret->reply, start, sizeof(start) - 1);
        ret->data = ret->reply + REPLY_OVERHEAD;
        ret->size = size - REPLY_OVERHEAD;
        assert_int_equal(ret->reply[REPLY_OVERHEAD - 2] << 8 | ret->reply[REPLY_OVERHEAD - 1], ret->size);
}

static void make_usual(Made *ret) {
        make(attestor, rsa_public_key(), (Bytes){}, (Bytes){}, ret);
}

static void assert_accepted(const uint8_t *data, size_t size, int64_t now) {
        const char *reason = NULL;
        AttestedFacts facts;

        if (attestor_verify(attestor, data, size, now, &facts, &reason) < 0)
                fail_msg("saw a refusal, \"%s\", wanted acceptance", reason);
}

static void assert_refused(const uint8_t *data, size_t size, int64_t now, const char *wanted) {
        const char *reason = NULL;
        AttestedFacts facts;
        int r = attestor_verify(attestor, data, size, now, &facts, &reason);

        if (r != -EBADMSG || !strstr(reason, wanted))
                fail_msg("saw %d, \"%s\", wanted %d and something of \"%s\"", r, reason ?: "", -EBADMSG,
                         wanted);
}

static uint8_t *read_vector(const char *name, size_t *ret_size) {
        uint8_t *data = malloc(65536);
        char path[4096];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", getenv("UNSEALD_TEST_VECTORS"), name);
        f = fopen(path, "re");
        assert_non_null(f);
        *ret_size = fread(data, 1, 65536, f);
        fclose(f);
        return data;
}

static void test_document_says_what_was_asked_and_measured(void **state) {
        const char *reason = "";
        AttestedFacts facts;
        Made made;

        make_usual(&made);
        if (attestor_verify(attestor, made.data, made.size, time(NULL), &facts, &reason) < 0)
                fail_msg("saw \"%s\", wanted acceptance", reason);
        assert_int_equal(facts.pcrs_present, 0xffffff);
        assert_memory_equal(facts.pcrs, pcrs, sizeof(pcrs));
        assert_int_equal(facts.public_key_size, rsa_public_key().size);
        assert_memory_equal(facts.public_key, rsa_public_key().data, facts.public_key_size);
        assert_string_equal(facts.module_id, "i-0123456789abcdef0-tpm0000000000000000");
        assert_in_range(time(NULL) - (int64_t) (facts.timestamp_msec / 1000), 0, 2);
}

static void test_rsa_keys_of_three_sizes_are_accepted(void **state) {
        static const struct {
                unsigned bits;
                bool accepted;
        } cases[] = { { 3072, true }, { 4096, true }, { 1024, false }, { 2056, false } };
        uint8_t buffer[1024];
        Made made;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                make(attestor, public_key(EVP_RSA_gen(cases[i].bits), buffer), (Bytes){}, (Bytes){}, &made);
                if (cases[i].accepted)
                        assert_accepted(made.data, made.size, time(NULL));
                else
                        assert_refused(made.data, made.size, time(NULL), "RSA public key");
        }
}

static void test_no_other_public_key_is_accepted(void **state) {
        uint8_t buffer[1024], longer[1024] = {};
        Bytes cases[] = {
                {},
                text_bytes("no SubjectPublicKeyInfo"),
                public_key(EVP_EC_gen("P-256"), buffer),
                { longer, rsa_public_key().size + 1 },
        };
        Made made;

        memcpy(longer, rsa_public_key().data, rsa_public_key().size);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                make(attestor, cases[i], (Bytes){}, (Bytes){}, &made);
                assert_refused(made.data, made.size, time(NULL), "RSA public key");
        }
}

/* Flips every eleventh byte of the payload, to save time, and every byte around it. */
static void test_no_byte_can_be_flipped(void **state) {
        const int64_t now = time(NULL);
        Made made;

        make_usual(&made);
        for (size_t i = 0; i < made.size; i += i < 32 || i > made.size - 110 ? 1 : 11) {
                AttestedFacts facts;
                const char *reason;

                made.reply[REPLY_OVERHEAD + i] ^= 1;
                if (attestor_verify(attestor, made.data, made.size, now, &facts, &reason) >= 0)
                        fail_msg("byte %zu was flipped, saw acceptance, wanted a refusal", i);
                made.reply[REPLY_OVERHEAD + i] ^= 1;
        }
        assert_accepted(made.data, made.size, now);
}

static void test_nothing_may_be_missing_or_follow(void **state) {
        const int64_t now = time(NULL);
        uint8_t longer[ATTESTOR_INDEX_SIZE + 1];
        Made made;

        make_usual(&made);
        assert_refused(made.data, 0, now, "malformed");
        assert_refused(made.data, made.size - 1, now, "malformed");
        memcpy(longer, made.data, made.size);
        longer[made.size] = 0xf6;
        assert_refused(longer, made.size + 1, now, "malformed");
}

static void test_tag_of_the_specification_is_allowed(void **state) {
        uint8_t tagged[ATTESTOR_INDEX_SIZE + 1] = { 0xd2 };
        Made made;

        make_usual(&made);
        memcpy(tagged + 1, made.data, made.size);
        assert_accepted(tagged, made.size + 1, time(NULL));
        tagged[0] = 0xd1;
        assert_refused(tagged, made.size + 1, time(NULL), "malformed");
}

static void test_document_is_good_for_five_minutes_also_when_remembered(void **state) {
        const char *reason;
        AttestedFacts facts;
        int64_t made_at;
        Made made;

        make_usual(&made);
        assert_int_equal(attestor_verify(attestor, made.data, made.size, time(NULL), &facts, &reason), 0);
        made_at = (int64_t) (facts.timestamp_msec / 1000);
        assert_accepted(made.data, made.size, made_at + 300);
        assert_refused(made.data, made.size, made_at + 301, "five-minute");
        assert_refused(made.data, made.size, made_at - 61, "future");

        make_usual(&made);
        assert_refused(made.data, made.size, made_at + 310, "five-minute");
}

static void test_certificates_are_only_good_in_their_time(void **state) {
        Made made;

        make_usual(&made);
        assert_refused(made.data, made.size, time(NULL) + 3 * 3600 + 5, "not valid at this time");
        assert_refused(made.data, made.size, time(NULL) - 10, "not valid at this time");
}

static void test_clock_offset_moves_the_timestamp_alone(void **state) {
        Made made;

        attestor_set_clock_offset(attestor, -400);
        make_usual(&made);
        attestor_set_clock_offset(attestor, 0);
        assert_refused(made.data, made.size, time(NULL), "five-minute");

        attestor_set_clock_offset(attestor, 400);
        make_usual(&made);
        attestor_set_clock_offset(attestor, 0);
        assert_refused(made.data, made.size, time(NULL), "future");
}

static void test_documents_under_other_roots_are_refused(void **state) {
        char path[128];
        size_t size;
        _cleanup_free_ uint8_t *captured = read_vector("attestation/nitrotpm-document.cbor", &size);
        _cleanup_free_ uint8_t *enclave = NULL;
        Attestor *other;
        Made made;

        assert_refused(captured, size, 1786642609, "trusted authority");
        enclave = read_vector("attestation/enclave-document.cbor", &size);
        assert_refused(enclave, size, 1665651482, "malformed");

        snprintf(path, sizeof(path), "%s/other.pem", directory);
        assert_int_equal(attestor_new("i-0123456789abcdef0", "eu-north-1", path, &other), 0);
        make(other, rsa_public_key(), (Bytes){}, (Bytes){}, &made);
        attestor_free(other);
        unlink(path);
        assert_refused(made.data, made.size, time(NULL), "trusted authority");
}

static void make_with_chain(const Chain *chain, Writer *ret) {
        const NsmFields fields = { .public_key = rsa_public_key() };

        ret->size = 0;
        assert_int_equal(document_make(chain, "i-1", (uint64_t) time(NULL) * 1000, &fields, pcrs, ret), 0);
}

static void test_chain_is_renewed_under_the_same_root_and_must_hold_together(void **state) {
        uint8_t buffer[ATTESTOR_INDEX_SIZE];
        Writer document = { .data = buffer, .capacity = sizeof(buffer) };
        X509_STORE *roots = X509_STORE_new();
        Chain chain = {}, mixed;
        X509 *old_zonal;
        AttestedFacts facts;
        const char *reason;

        assert_int_equal(chain_issue(&chain, "i-1", "i-1-tpm", "eu-north-1", time(NULL)), 0);
        assert_int_equal(X509_STORE_add_cert(roots, chain.issued[LEVEL_ROOT].certificate), 1);
        old_zonal = X509_dup(chain.issued[LEVEL_ZONAL].certificate);
        assert_int_equal(chain_issue(&chain, "i-1", "i-1-tpm", "eu-north-1", time(NULL)), 0);
        make_with_chain(&chain, &document);
        reason = document_verify(roots, (Bytes){ buffer, document.size }, time(NULL), &facts);
        if (reason)
                fail_msg("saw \"%s\", wanted acceptance", reason);

        mixed = chain;
        mixed.issued[LEVEL_ZONAL].certificate = old_zonal;
        make_with_chain(&mixed, &document);
        reason = document_verify(roots, (Bytes){ buffer, document.size }, time(NULL), &facts);
        assert_non_null(reason);
        assert_non_null(strstr(reason, "trusted authority"));

        X509_free(old_zonal);
        X509_STORE_free(roots);
        chain_clear(&chain);
}

static void test_reader_refuses_what_would_cost_memory_or_has_no_end(void **state) {
        static const struct {
                const char *data;
                size_t size;
        } bad[] = {
                { "", 0 },
                { "\x1c", 1 },                                          /* reserved additional information */
                { "\x18", 1 },                                          /* no argument */
                { "\x1f", 1 },                                          /* a number of indefinite length */
                { "\x9b\x00\x00\x00\x01\x00\x00\x00\x00\xf6", 10 },     /* 2^32 items */
                { "\xbb\x80\x00\x00\x00\x00\x00\x00\x00\xf6\xf6", 11 }, /* 2^63 pairs */
                { "\x5f\x41n\xff", 4 },                                 /* a string in chunks */
                { "\x9f\xf6", 2 },                                      /* no break */
                { "\xbf\xf6\xff", 3 },                                  /* a key without a value */
                { "\xff", 1 },                                          /* a break alone */
                { "\xc0\xf6", 2 },                                      /* a tag */
                { "\xf9\x00\x00", 3 },                                  /* a floating-point number */
                { "\x81\x81\x81\x81\x81\x81\x81\x81\xf6", 9 },          /* nine levels */
        };
        static const uint8_t deepest[] = { 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0xf6, 0x00 };
        uint8_t many[1 + 1024 + 1] = { 0x9f };
        cbor_item_t *item = NULL;
        size_t read;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (item_read((const uint8_t *) bad[i].data, bad[i].size, &item, &read) != -EBADMSG)
                        fail_msg("case %zu was read", i);

        assert_int_equal(item_read(deepest, sizeof(deepest), &item, &read), 0);
        assert_int_equal(read, sizeof(deepest) - 1);
        item_put(item);
        /* Something follows the item. */
        assert_int_equal(item_read(deepest, sizeof(deepest), &item, NULL), -EBADMSG);

        /* The array is an item, too. */
        memset(many + 1, 0xf6, 1024);
        many[1024] = 0xff;
        assert_int_equal(item_read(many, 1025, &item, NULL), 0);
        assert_int_equal(cbor_array_size(item), 1023);
        item_put(item);
        many[1024] = 0xf6;
        many[1025] = 0xff;
        assert_int_equal(item_read(many, 1026, &item, NULL), -EBADMSG);
}

static const char *error_of(const uint8_t *reply, size_t size, char buffer[static 64]) {
        _cleanup_item_ cbor_item_t *item = NULL;
        const cbor_item_t *name;

        if (item_read(reply, size, &item, NULL) < 0 || !cbor_isa_map(item))
                return "no CBOR map";
        name = item_in_map(item, "Error");
        if (!name || !cbor_isa_string(name))
                return "no error";
        snprintf(buffer, 64, "%.*s", (int) cbor_string_length(name),
                 (const char *) cbor_string_handle(name));
        return buffer;
}

static void assert_request_fails(const void *request, size_t size, const char *wanted) {
        uint8_t index[ATTESTOR_INDEX_SIZE], reply[ATTESTOR_INDEX_SIZE];
        char buffer[64];
        const char *seen;

        memset(index, 0xff, sizeof(index));
        memcpy(index, request, size);
        assert_int_equal(attestor_answer(attestor, index, pcrs, reply, &size), 0);
        seen = error_of(reply, size, buffer);
        if (strcmp(seen, wanted) != 0)
                fail_msg("saw %s, wanted %s", seen, wanted);
}

static void test_malformed_requests_get_the_security_modules_errors(void **state) {
#define ATTESTATION \
        "\xa1\x6b"  \
        "Attestation"
#define USER_DATA \
        "\x69"    \
        "user_data"
#define NONCE  \
        "\x65" \
        "nonce"
#define PUBLIC_KEY \
        "\x6a"     \
        "public_key"
#define NOTHING "\xf6"
        static const struct {
                const char *request;
                const char *error;
        } cases[] = {
                { "", "InvalidArgument" },
                { "\xf6", "InvalidArgument" },
                { "\xa0", "InvalidArgument" },
                { "\xbf\xff", "InvalidArgument" },
                { "\x6b"
                  "Attestation",
                  "InvalidArgument" },
                { "\xa1\x6b"
                  "DescribePCR\xf6",
                  "InvalidOperation" },
                { ATTESTATION "\xf6", "InvalidArgument" },
                { ATTESTATION "\xa0", "InvalidArgument" },
                { ATTESTATION "\xa2" USER_DATA NOTHING NONCE NOTHING, "InvalidArgument" },
                { ATTESTATION "\xa3" USER_DATA NOTHING NONCE NOTHING NONCE NOTHING, "InvalidArgument" },
                { ATTESTATION "\xa3" USER_DATA NOTHING NONCE "\x61n" PUBLIC_KEY NOTHING, "InvalidArgument" },
                { ATTESTATION "\xa3" USER_DATA NOTHING NONCE "\x5f\x41n\xff" PUBLIC_KEY NOTHING,
                  "InvalidArgument" },
                { ATTESTATION "\xa3" USER_DATA NOTHING NONCE NOTHING PUBLIC_KEY "\x40", "InvalidArgument" },
                { ATTESTATION "\xbf" USER_DATA NOTHING NONCE NOTHING PUBLIC_KEY NOTHING "\xff",
                  "InvalidArgument" },
                { ATTESTATION "\xa3" USER_DATA NOTHING NONCE NOTHING PUBLIC_KEY
                              "\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
                  "InvalidArgument" },
                { ATTESTATION "\xa3" USER_DATA NOTHING NONCE NOTHING PUBLIC_KEY NOTHING, "no error" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_request_fails(cases[i].request, strlen(cases[i].request), cases[i].error);
}

static void test_each_field_may_have_1024_bytes_and_no_more(void **state) {
        uint8_t bytes[1025] = {}, index[ATTESTOR_INDEX_SIZE];
        const Bytes fits = { bytes, 1024 }, too_large = { bytes, 1025 }, none = {};
        Made made;

        make(attestor, fits, fits, fits, &made);
        write_request(too_large, none, none, index);
        assert_request_fails(index, sizeof(index), "InputTooLarge");
        write_request(none, too_large, none, index);
        assert_request_fails(index, sizeof(index), "InputTooLarge");
        write_request(none, none, too_large, index);
        assert_request_fails(index, sizeof(index), "InputTooLarge");
}

static void compare_items(const char *path, const cbor_item_t *seen, const cbor_item_t *wanted);

static void compare_maps(const char *path, const cbor_item_t *seen, const cbor_item_t *wanted) {
        const struct cbor_pair *s = cbor_map_handle(seen), *w = cbor_map_handle(wanted);

        if (cbor_map_size(seen) != cbor_map_size(wanted) ||
            cbor_map_is_definite(seen) != cbor_map_is_definite(wanted))
                fail_msg("%s: saw %zu pairs, definite %d, wanted %zu, %d", path, cbor_map_size(seen),
                         cbor_map_is_definite(seen), cbor_map_size(wanted), cbor_map_is_definite(wanted));
        for (size_t i = 0; i < cbor_map_size(wanted); i++) {
                char key[256];

                if (cbor_isa_uint(w[i].key)) {
                        snprintf(key, sizeof(key), "%s/%d", path, (int) cbor_get_int(w[i].key));
                        assert_true(cbor_isa_uint(s[i].key));
                        assert_int_equal(cbor_get_int(s[i].key), cbor_get_int(w[i].key));
                        assert_int_equal(cbor_int_get_width(s[i].key), cbor_int_get_width(w[i].key));
                } else {
                        snprintf(key, sizeof(key), "%s/%.*s", path, (int) cbor_string_length(w[i].key),
                                 (const char *) cbor_string_handle(w[i].key));
                        if (!item_is_text(s[i].key, strrchr(key, '/') + 1))
                                fail_msg("key %zu: saw another one, wanted %s", i, key);
                }
                compare_items(key, s[i].value, w[i].value);
        }
}

/* Compares type, order, definiteness, width and length. The lengths of certificates may differ. */
static void compare_items(const char *path, const cbor_item_t *seen, const cbor_item_t *wanted) {
        const bool any_length = strstr(path, "/certificate") || strstr(path, "/cabundle");

        if (cbor_typeof(seen) != cbor_typeof(wanted))
                fail_msg("%s: saw type %d, wanted %d", path, cbor_typeof(seen), cbor_typeof(wanted));
        switch (cbor_typeof(wanted)) {
        case CBOR_TYPE_UINT:
        case CBOR_TYPE_NEGINT:
                assert_int_equal(cbor_int_get_width(seen), cbor_int_get_width(wanted));
                break;
        case CBOR_TYPE_BYTESTRING:
                assert_true(cbor_bytestring_is_definite(seen));
                if (!any_length && cbor_bytestring_length(seen) != cbor_bytestring_length(wanted))
                        fail_msg("%s: saw %zu bytes, wanted %zu", path, cbor_bytestring_length(seen),
                                 cbor_bytestring_length(wanted));
                break;
        case CBOR_TYPE_STRING:
                assert_true(cbor_string_is_definite(seen));
                if (cbor_string_length(seen) != cbor_string_length(wanted))
                        fail_msg("%s: saw %zu characters, wanted %zu", path, cbor_string_length(seen),
                                 cbor_string_length(wanted));
                break;
        case CBOR_TYPE_ARRAY:
                assert_int_equal(cbor_array_is_definite(seen), cbor_array_is_definite(wanted));
                assert_int_equal(cbor_array_size(seen), cbor_array_size(wanted));
                for (size_t i = 0; i < cbor_array_size(wanted); i++)
                        compare_items(path, cbor_array_handle(seen)[i], cbor_array_handle(wanted)[i]);
                break;
        case CBOR_TYPE_MAP:
                compare_maps(path, seen, wanted);
                break;
        case CBOR_TYPE_FLOAT_CTRL:
                assert_int_equal(cbor_ctrl_value(seen), cbor_ctrl_value(wanted));
                break;
        default:
                fail_msg("%s: saw a type that does not belong here", path);
        }
}

static cbor_item_t *parse(Bytes bytes) {
        cbor_item_t *item;

        assert_int_equal(item_read(bytes.data, bytes.size, &item, NULL), 0);
        return item;
}

static Bytes bytes_of(const cbor_item_t *item) {
        Bytes bytes;

        assert_true(item_bytes_or_null(item, &bytes));
        return bytes;
}

/* The captured document, and one of the platform's for the same request. */
typedef struct Pair {
        uint8_t *captured;
        Made made;
        cbor_item_t *outer[2], *payload[2]; /* the platform's, the captured */
} Pair;

static void pair_clear(Pair *pair) {
        for (size_t i = 0; i < 2; i++) {
                item_putp(&pair->outer[i]);
                item_putp(&pair->payload[i]);
        }
        free(pair->captured);
}

static void pair_make(Pair *ret) {
        const cbor_item_t *payload;
        size_t size;

        ret->captured = read_vector("attestation/nitrotpm-document.cbor", &size);
        ret->outer[1] = parse((Bytes){ ret->captured, size });
        ret->payload[1] = parse(bytes_of(cbor_array_handle(ret->outer[1])[2]));
        payload = ret->payload[1];
        make(attestor, bytes_of(item_in_map(payload, "public_key")),
             bytes_of(item_in_map(payload, "user_data")), bytes_of(item_in_map(payload, "nonce")),
             &ret->made);
        ret->outer[0] = parse((Bytes){ ret->made.data, ret->made.size });
        ret->payload[0] = parse(bytes_of(cbor_array_handle(ret->outer[0])[2]));
}

static void test_document_has_the_shape_of_a_captured_one(void **state) {
        _cleanup_(pair_clear) Pair pair = {};
        Bytes seen, wanted;

        pair_make(&pair);
        /* The array, the protected header, the unprotected map and the payload's head. They differ only in
         * a length. */
        assert_memory_equal(pair.made.data, pair.captured, 8);
        for (size_t i = 0; i < 4; i++) {
                if (i == 2)
                        continue;
                compare_items("", cbor_array_handle(pair.outer[0])[i], cbor_array_handle(pair.outer[1])[i]);
        }
        compare_items("", pair.payload[0], pair.payload[1]);

        seen = bytes_of(item_in_map(pair.payload[0], "nonce"));
        wanted = bytes_of(item_in_map(pair.payload[1], "nonce"));
        assert_memory_equal(seen.data, wanted.data, wanted.size);
        seen = bytes_of(item_in_map(pair.payload[0], "public_key"));
        wanted = bytes_of(item_in_map(pair.payload[1], "public_key"));
        assert_memory_equal(seen.data, wanted.data, wanted.size);
}

static void compare_names(const X509_NAME *seen, const X509_NAME *wanted) {
        assert_int_equal(X509_NAME_entry_count(seen), X509_NAME_entry_count(wanted));
        for (int i = 0; i < X509_NAME_entry_count(wanted); i++) {
                const X509_NAME_ENTRY *s = X509_NAME_get_entry(seen, i), *w = X509_NAME_get_entry(wanted, i);
                const ASN1_STRING *value = X509_NAME_ENTRY_get_data(w);
                int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(w));

                assert_int_equal(OBJ_obj2nid(X509_NAME_ENTRY_get_object(s)), nid);
                assert_int_equal(ASN1_STRING_type(X509_NAME_ENTRY_get_data(s)), ASN1_STRING_type(value));
                if (nid != NID_commonName)
                        assert_int_equal(ASN1_STRING_cmp(X509_NAME_ENTRY_get_data(s), value), 0);
        }
}

static void compare_extensions(const X509 *seen, const X509 *wanted) {
        assert_int_equal(X509_get_ext_count(seen), X509_get_ext_count(wanted));
        for (int i = 0; i < X509_get_ext_count(wanted); i++) {
                X509_EXTENSION *s = X509_get_ext(seen, i), *w = X509_get_ext(wanted, i);
                int nid = OBJ_obj2nid(X509_EXTENSION_get_object(w));

                assert_int_equal(OBJ_obj2nid(X509_EXTENSION_get_object(s)), nid);
                assert_int_equal(X509_EXTENSION_get_critical(s), X509_EXTENSION_get_critical(w));
                if (nid == NID_basic_constraints || nid == NID_key_usage)
                        assert_int_equal(ASN1_STRING_cmp(X509_EXTENSION_get_data(s),
                                                         X509_EXTENSION_get_data(w)),
                                         0);
                else if (nid != NID_crl_distribution_points)
                        assert_int_equal(ASN1_STRING_length(X509_EXTENSION_get_data(s)),
                                         ASN1_STRING_length(X509_EXTENSION_get_data(w)));
        }
}

static int64_t lifetime(const X509 *certificate) {
        int days, seconds;

        assert_int_equal(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(certificate),
                                        X509_get0_notAfter(certificate)),
                         1);
        return (int64_t) days * 86400 + seconds;
}

static void compare_certificates(Bytes seen_der, Bytes wanted_der, bool is_root) {
        const uint8_t *s = seen_der.data, *w = wanted_der.data;
        X509 *seen = d2i_X509(NULL, &s, (long) seen_der.size),
             *wanted = d2i_X509(NULL, &w, (long) wanted_der.size);
        char group[2][32];

        assert_non_null(seen);
        assert_non_null(wanted);
        assert_int_equal(X509_get_version(seen), X509_get_version(wanted));
        assert_int_equal(X509_get_signature_nid(seen), X509_get_signature_nid(wanted));
        assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(seen)),
                         ASN1_STRING_length(X509_get0_serialNumber(wanted)));
        EVP_PKEY_get_group_name(X509_get0_pubkey(seen), group[0], sizeof(group[0]), NULL);
        EVP_PKEY_get_group_name(X509_get0_pubkey(wanted), group[1], sizeof(group[1]), NULL);
        assert_string_equal(group[0], group[1]);
        compare_names(X509_get_subject_name(seen), X509_get_subject_name(wanted));
        compare_names(X509_get_issuer_name(seen), X509_get_issuer_name(wanted));
        compare_extensions(seen, wanted);
        /* Thirty years have seven or eight leap days. */
        if (is_root)
                assert_in_range(llabs(lifetime(seen) - lifetime(wanted)), 0, 8 * 86400);
        else
                assert_int_equal(lifetime(seen), lifetime(wanted));
        X509_free(seen);
        X509_free(wanted);
}

static void test_certificates_have_the_shape_of_captured_ones(void **state) {
        _cleanup_(pair_clear) Pair pair = {};
        const cbor_item_t *seen, *wanted;

        pair_make(&pair);
        seen = item_in_map(pair.payload[0], "cabundle");
        wanted = item_in_map(pair.payload[1], "cabundle");
        for (size_t i = 0; i < cbor_array_size(wanted); i++)
                compare_certificates(bytes_of(cbor_array_handle(seen)[i]),
                                     bytes_of(cbor_array_handle(wanted)[i]), i == 0);
        compare_certificates(bytes_of(item_in_map(pair.payload[0], "certificate")),
                             bytes_of(item_in_map(pair.payload[1], "certificate")), false);
}

static uint32_t busy_for_get_random(uint32_t command_code, void *userdata) {
        (*(unsigned *) userdata)++;
        return command_code == 0x17b ? 0x922 : 0;
}

static int connect_to_responder(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        strcpy(address.sun_path, socket_path);
        assert_int_equal(connect(fd, (const struct sockaddr *) &address, sizeof(address)), 0);
        return fd;
}

static uint32_t ask(int fd, ResponderQuestion question, uint32_t argument, const void *data, size_t size) {
        const ResponderHeader header = { .question = question, .argument = argument };
        uint32_t answer;

        assert_int_equal(send(fd, &header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
        if (size > 0)
                assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), size);
        assert_int_equal(recv(fd, &answer, sizeof(answer), MSG_WAITALL), sizeof(answer));
        return answer;
}

static void test_responder_answers_several_shims_and_ends_with_them_connected(void **state) {
        uint8_t message[ATTESTOR_INDEX_SIZE + sizeof(pcrs)], reply[ATTESTOR_INDEX_SIZE];
        _cleanup_close_ int one = -1, other = -1, wrong = -1;
        const ResponderHeader nonsense = { .question = 77 };
        unsigned asked = 0;
        char buffer[64];
        uint32_t size;

        assert_int_equal(attestor_serve(attestor, socket_path, busy_for_get_random, &asked), 0);
        assert_int_equal(attestor_serve(attestor, socket_path, NULL, NULL), -EBUSY);
        one = connect_to_responder();
        other = connect_to_responder();
        assert_int_equal(ask(one, RESPONDER_FAULT, 0x17b, NULL, 0), 0x922);
        assert_int_equal(ask(other, RESPONDER_FAULT, 0x17e, NULL, 0), 0);
        assert_int_equal(asked, 2);

        write_request(rsa_public_key(), (Bytes){}, (Bytes){}, message);
        memcpy(message + ATTESTOR_INDEX_SIZE, pcrs, sizeof(pcrs));
        size = ask(one, RESPONDER_ATTEST, ATTESTOR_INDEX_SIZE, message, sizeof(message));
        assert_int_equal(recv(one, reply, size, MSG_WAITALL), size);
        assert_accepted(reply + REPLY_OVERHEAD, size - REPLY_OVERHEAD, time(NULL));

        /* The request fits into this index, but no document does. */
        memmove(message + 2048, pcrs, sizeof(pcrs));
        size = ask(one, RESPONDER_ATTEST, 2048, message, 2048 + sizeof(pcrs));
        assert_int_equal(recv(one, reply, size, MSG_WAITALL), size);
        assert_string_equal(error_of(reply, size, buffer), "BufferTooSmall");
        /* The buffer has no room even for an error. */
        assert_int_equal(ask(one, RESPONDER_ATTEST, 8, message, 8 + sizeof(pcrs)), 0);

        wrong = connect_to_responder();
        assert_int_equal(send(wrong, &nonsense, sizeof(nonsense), MSG_NOSIGNAL), sizeof(nonsense));
        assert_int_equal(recv(wrong, reply, 1, 0), 0);

        attestor = attestor_free(attestor);
        assert_int_equal(recv(one, reply, 1, 0), 0);
        assert_int_equal(access(socket_path, F_OK), -1);
}

static int set_up(void **state) {
        strcpy(directory, "/tmp/test-attestor-XXXXXX");
        assert_non_null(mkdtemp(directory));
        snprintf(root_path, sizeof(root_path), "%s/root.pem", directory);
        snprintf(socket_path, sizeof(socket_path), "%s/socket", directory);
        for (size_t i = 0; i < sizeof(pcrs); i++)
                pcrs[i] = (uint8_t) (i * 7 + i / ATTESTOR_PCR_SIZE);
        return attestor_new("i-0123456789abcdef0", "eu-north-1", root_path, &attestor);
}

static int tear_down(void **state) {
        attestor = attestor_free(attestor);
        unlink(root_path);
        return rmdir(directory);
}

#define UNIT_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                UNIT_TEST(test_document_says_what_was_asked_and_measured),
                UNIT_TEST(test_rsa_keys_of_three_sizes_are_accepted),
                UNIT_TEST(test_no_other_public_key_is_accepted),
                UNIT_TEST(test_no_byte_can_be_flipped),
                UNIT_TEST(test_nothing_may_be_missing_or_follow),
                UNIT_TEST(test_tag_of_the_specification_is_allowed),
                UNIT_TEST(test_document_is_good_for_five_minutes_also_when_remembered),
                UNIT_TEST(test_certificates_are_only_good_in_their_time),
                UNIT_TEST(test_clock_offset_moves_the_timestamp_alone),
                UNIT_TEST(test_documents_under_other_roots_are_refused),
                UNIT_TEST(test_chain_is_renewed_under_the_same_root_and_must_hold_together),
                UNIT_TEST(test_reader_refuses_what_would_cost_memory_or_has_no_end),
                UNIT_TEST(test_malformed_requests_get_the_security_modules_errors),
                UNIT_TEST(test_each_field_may_have_1024_bytes_and_no_more),
                UNIT_TEST(test_document_has_the_shape_of_a_captured_one),
                UNIT_TEST(test_certificates_have_the_shape_of_captured_ones),
                UNIT_TEST(test_responder_answers_several_shims_and_ends_with_them_connected),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
