/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h needs the headers above. */
#include <cmocka.h>

#include "tpm/nsm.h"

typedef struct Sample {
        const char *what;
        const char *data;
        size_t size;
} Sample;

#define SAMPLE(what, data) \
        { what, data, sizeof(data) - 1 }

/* Encodings of {"Attestation": {"document": h'646f63'}}. */
static const Sample documents[] = {
        SAMPLE("a document", "\xa1\x6b"
                             "Attestation\xa1\x68"
                             "document\x43"
                             "doc"),
        SAMPLE("a document in maps of indefinite length", "\xbf\x6b"
                                                          "Attestation\xbf\x68"
                                                          "document\x43"
                                                          "doc\xff\xff"),
        SAMPLE("a document with longer lengths than need be", "\xb8\x01\x78\x0b"
                                                              "Attestation\xa1\x68"
                                                              "document\x59\x00\x03"
                                                              "doc"),
        SAMPLE("a document with padding behind", "\xa1\x6b"
                                                 "Attestation\xa1\x68"
                                                 "document\x43"
                                                 "doc\xff\xff\xff\x00"),
};

static const Sample nonsense[] = {
        SAMPLE("nothing", ""),
        SAMPLE("an index that was never written", "\xff\xff\xff\xff"),
        SAMPLE("zeros", "\x00\x00\x00\x00"),
        SAMPLE("an array", "\x81\x65"
                           "Error"),
        SAMPLE("an empty map", "\xa0"),
        SAMPLE("an empty map of indefinite length", "\xbf\xff"),
        SAMPLE("another key", "\xa1\x65"
                              "Lock!\x63"
                              "abc"),
        SAMPLE("a key that is a prefix", "\xa1\x64"
                                         "Erro\x6d"
                                         "InternalError"),
        SAMPLE("a key of bytes", "\xa1\x45"
                                 "Error\x6d"
                                 "InternalError"),
        SAMPLE("two pairs", "\xa2\x65"
                            "Error\x6d"
                            "InternalError\x61x\x61y"),
        SAMPLE("two pairs in a map of indefinite length", "\xbf\x65"
                                                          "Error\x6d"
                                                          "InternalError\x61x\x61y\xff"),
        SAMPLE("an error of bytes", "\xa1\x65"
                                    "Error\x4d"
                                    "InternalError"),
        SAMPLE("an error in chunks", "\xa1\x65"
                                     "Error\x7f\x6d"
                                     "InternalError\xff"),
        SAMPLE("a document that is text", "\xa1\x6b"
                                          "Attestation\xa1\x68"
                                          "document\x63"
                                          "doc"),
        SAMPLE("a document in chunks", "\xa1\x6b"
                                       "Attestation\xa1\x68"
                                       "document\x5f\x43"
                                       "doc\xff"),
        SAMPLE("an empty document", "\xa1\x6b"
                                    "Attestation\xa1\x68"
                                    "document\x40"),
        SAMPLE("two documents", "\xa1\x6b"
                                "Attestation\xa2\x68"
                                "document\x43"
                                "doc\x68"
                                "document\x43"
                                "doc"),
        SAMPLE("a document without its map", "\xa1\x6b"
                                             "Attestation\x43"
                                             "doc"),
        SAMPLE("the request, unanswered", "\xa1\x6b"
                                          "Attestation\xa3\x69"
                                          "user_data\xf6\x65"
                                          "nonce\x41n\x6a"
                                          "public_key\x41p"),
        SAMPLE("a document of 2^64-1 bytes", "\xa1\x6b"
                                             "Attestation\xa1\x68"
                                             "document\x5b\xff\xff\xff\xff\xff\xff\xff\xff"
                                             "doc"),
        SAMPLE("a tagged reply", "\xd2\xa1\x6b"
                                 "Attestation\xa1\x68"
                                 "document\x43"
                                 "doc"),
};

static void test_request_is_what_nitro_tpm_attest_sends(void **state) {
        static const uint8_t wanted[] = "\xa1\x6b"
                                        "Attestation\xa3\x69"
                                        "user_data\xf6\x65"
                                        "nonce\x41n\x6a"
                                        "public_key\x41p";
        const NsmRequest request = {
                .nonce = { (const uint8_t *) "n", 1 },
                .public_key = { (const uint8_t *) "p", 1 },
        };
        uint8_t buffer[NSM_REQUEST_MAX];
        size_t size;

        assert_int_equal(nsm_request_encode(&request, buffer, &size), 0);
        assert_int_equal(size, sizeof(wanted) - 1);
        assert_memory_equal(buffer, wanted, size);
}

static void test_request_distinguishes_empty_from_absent(void **state) {
        static const uint8_t wanted[] = "\xa1\x6b"
                                        "Attestation\xa3\x69"
                                        "user_data\x40\x65"
                                        "nonce\xf6\x6a"
                                        "public_key\xf6";
        const NsmRequest request = { .user_data.data = (const uint8_t *) "" };
        uint8_t buffer[NSM_REQUEST_MAX];
        size_t size;

        assert_int_equal(nsm_request_encode(&request, buffer, &size), 0);
        assert_int_equal(size, sizeof(wanted) - 1);
        assert_memory_equal(buffer, wanted, size);
}

static void test_longest_request_fits_and_longer_ones_are_refused(void **state) {
        static const uint8_t field[NSM_FIELD_MAX + 1];
        const NsmRequest longest = {
                .user_data = { field, NSM_FIELD_MAX },
                .nonce = { field, NSM_FIELD_MAX },
                .public_key = { field, NSM_FIELD_MAX },
        };
        const NsmRequest longer[] = {
                { .user_data = { field, NSM_FIELD_MAX + 1 } },
                { .nonce = { field, NSM_FIELD_MAX + 1 } },
                { .public_key = { field, NSM_FIELD_MAX + 1 } },
        };
        uint8_t buffer[NSM_REQUEST_MAX];
        size_t size;

        assert_int_equal(nsm_request_encode(&longest, buffer, &size), 0);
        assert_int_equal(size, 3 * (3 + NSM_FIELD_MAX) + 41);
        for (size_t i = 0; i < ELEMENTSOF(longer); i++) {
                size = 4711;
                assert_int_equal(nsm_request_encode(&longer[i], buffer, &size), -E2BIG);
                assert_int_equal(size, 4711);
        }
}

/* The copy has the exact size, so that ASan and valgrind see a read past the end. */
static int decode(const char *data, size_t size, uint8_t **ret, size_t *ret_size, Error *error) {
        _cleanup_free_ uint8_t *copy = malloc(size ? size : 1);

        assert_non_null(copy);
        memcpy(copy, data, size);
        return nsm_reply_decode(copy, size, ret, ret_size, error);
}

static void test_document_is_taken_out_of_the_reply(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(documents); i++) {
                _cleanup_free_ uint8_t *document = NULL;
                size_t size;
                int r;

                r = decode(documents[i].data, documents[i].size, &document, &size, NULL);
                if (r != 0)
                        fail_msg("%s: saw %i, wanted 0", documents[i].what, r);
                assert_int_equal(size, 3);
                assert_memory_equal(document, "doc", 3);
        }
}

/* tpm.c reads the index in pieces until the reply decodes. */
static void test_no_prefix_of_a_reply_decodes(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(documents); i++) {
                const char *padding = strstr(documents[i].what, "padding");

                for (size_t size = 0; !padding && size < documents[i].size; size++) {
                        uint8_t *document = NULL;
                        size_t document_size;
                        int r;

                        r = decode(documents[i].data, size, &document, &document_size, NULL);
                        if (r != -EBADMSG)
                                fail_msg("%s, %zu bytes of it: saw %i, wanted %i", documents[i].what, size,
                                         r, -EBADMSG);
                        assert_null(document);
                }
        }
}

static void test_malformed_replies_are_refused(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(nonsense); i++) {
                uint8_t *document = NULL;
                size_t size = 4711;
                Error error = {};
                int r;

                r = decode(nonsense[i].data, nonsense[i].size, &document, &size, &error);
                if (r != -EBADMSG)
                        fail_msg("%s: saw %i, wanted %i", nonsense[i].what, r, -EBADMSG);
                assert_int_equal(error.failure, FAILURE_ATTESTATION);
                assert_int_equal(error.remedy, REMEDY_NONE);
                assert_null(document);
                assert_int_equal(size, 4711);
        }
}

static void test_nsm_errors_keep_their_names(void **state) {
        static const struct {
                const char *name;
                Remedy remedy;
        } errors[] = {
                { "InvalidArgument", REMEDY_NONE },   { "InvalidIndex", REMEDY_NONE },
                { "InvalidResponse", REMEDY_NONE },   { "ReadOnlyIndex", REMEDY_NONE },
                { "InvalidOperation", REMEDY_RETRY }, { "BufferTooSmall", REMEDY_NONE },
                { "InputTooLarge", REMEDY_NONE },     { "InternalError", REMEDY_RETRY },
        };

        for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
                uint8_t *document = NULL;
                char reply[64];
                Error error;
                size_t size;
                int n, r;

                n = snprintf(reply, sizeof(reply),
                             "\xa1\x65"
                             "Error%c%s",
                             (int) (0x60 + strlen(errors[i].name)), errors[i].name);
                r = decode(reply, (size_t) n, &document, &size, &error);
                if (r != -EREMOTEIO)
                        fail_msg("%s: saw %i, wanted %i", errors[i].name, r, -EREMOTEIO);
                assert_int_equal(error.failure, FAILURE_ATTESTATION);
                assert_int_equal(error.remedy, errors[i].remedy);
                assert_string_equal(error.code, errors[i].name);
                assert_non_null(strstr(error.text, errors[i].name));
                assert_null(document);
        }
}

static void test_unknown_nsm_errors_are_not_printed(void **state) {
        static const char reply[] = "\xa1\x65"
                                    "Error\x64\x1b[2J";
        uint8_t *document = NULL;
        Error error;
        size_t size;

        assert_int_equal(decode(reply, sizeof(reply) - 1, &document, &size, &error), -EREMOTEIO);
        assert_int_equal(error.failure, FAILURE_ATTESTATION);
        assert_string_equal(error.code, "");
        assert_null(strchr(error.text, '\x1b'));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_request_is_what_nitro_tpm_attest_sends),
                cmocka_unit_test(test_request_distinguishes_empty_from_absent),
                cmocka_unit_test(test_longest_request_fits_and_longer_ones_are_refused),
                cmocka_unit_test(test_document_is_taken_out_of_the_reply),
                cmocka_unit_test(test_no_prefix_of_a_reply_decodes),
                cmocka_unit_test(test_malformed_replies_are_refused),
                cmocka_unit_test(test_nsm_errors_keep_their_names),
                cmocka_unit_test(test_unknown_nsm_errors_are_not_printed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
