/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka wants the above first */
#include <cmocka.h>

#include "basic/encoding.h"
#include "basic/io.h"
#include "unsealctl/measure/secureboot.h"

#define LIST_HEADER_SIZE 28
#define UKI_SHA256 "e48162397667fd8a183ad8310b331e3292a950f87c5f19e66e3fe7d3feaf679b"

typedef struct File {
        uint8_t *data;
        size_t size;
} File;

static File load(const char *name) {
        const char *vectors = getenv("UNSEALD_TEST_VECTORS");
        char path[512];
        File file;
        int r;

        assert_non_null(vectors);
        (void) snprintf(path, sizeof(path), "%s/efi/%s", vectors, name);
        r = read_file(path, 1U << 20, &file.data, &file.size);
        if (r < 0)
                fail_msg("%s: %s", path, strerror(-r));
        return file;
}

static void file_done(File *file) {
        free(file->data);
}
#define _cleanup_file_ _cleanup_(file_done)

static void put32(uint8_t *p, uint32_t value) {
        for (size_t i = 0; i < 4; i++)
                p[i] = (uint8_t) (value >> 8 * i);
}

static SignatureDatabase parse(const File *file) {
        SignatureDatabase database;
        Error error = {};

        if (signature_database_parse(file->data, file->size, &database, &error) < 0)
                fail_msg("%s", error.text);
        return database;
}

static void test_lists_that_efitools_made_are_read(void **state) {
        _cleanup_file_ File db = load("db.esl"), dbx = load("dbx.esl");
        _cleanup_signatures_ SignatureDatabase certificates = parse(&db), hashes = parse(&dbx);

        assert_int_equal(certificates.count, 2);
        assert_int_equal(certificates.signatures[0].kind, SIGNATURE_X509);
        assert_ptr_equal(certificates.signatures[0].data.data, db.data + LIST_HEADER_SIZE);
        assert_int_equal(certificates.signatures[0].data.size + certificates.signatures[1].data.size,
                         db.size - 2 * LIST_HEADER_SIZE);
        assert_int_equal(hashes.count, 1);
        assert_int_equal(hashes.signatures[0].kind, SIGNATURE_SHA256);
        assert_int_equal(hashes.signatures[0].data.size, 48);
}

static void test_no_bytes_are_an_empty_database(void **state) {
        SignatureDatabase database = { .count = 4711 };

        assert_int_equal(signature_database_parse(NULL, 0, &database, NULL), 0);
        assert_int_equal(database.count, 0);
        signature_database_done(&database);
}

static void test_unknown_kinds_and_headers_are_passed_over(void **state) {
        uint8_t list[LIST_HEADER_SIZE + 5 + 3 * 17] = { 0x42 };
        File file = { list, sizeof(list) };

        put32(list + 16, sizeof(list));
        put32(list + 20, 5);
        put32(list + 24, 17);
        _cleanup_signatures_ SignatureDatabase database = parse(&file);
        assert_int_equal(database.count, 3);
        assert_int_equal(database.signatures[2].kind, SIGNATURE_OTHER);
        assert_ptr_equal(database.signatures[0].data.data, list + LIST_HEADER_SIZE + 5);
}

/* A changed field of db.esl or dbx.esl, and the error that follows. */
static void test_malformed_lists_are_refused_with_the_offset(void **state) {
        static const struct {
                const char *file;
                size_t offset;
                uint32_t value;
                const char *text;
        } samples[] = {
                { "db.esl", 16, 27, "At offset 0x10: an EFI signature list of 27 bytes" },
                { "db.esl", 16, 0, "At offset 0x10: an EFI signature list of 0 bytes" },
                { "db.esl", 16, UINT32_MAX, "At offset 0x10: an EFI signature list of 4294967295 bytes" },
                { "db.esl", 20, 0x33e, "At offset 0x10: an EFI signature list of 829 bytes" },
                { "db.esl", 20, UINT32_MAX, "At offset 0x10: an EFI signature list" },
                { "db.esl", 24, 0, "At offset 0x18: the list does not consist of entries of 0 bytes" },
                { "db.esl", 24, 16, "At offset 0x18: the list does not consist of entries of 16 bytes" },
                { "db.esl", 24, UINT32_MAX, "At offset 0x18" },
                { "db.esl", 44, 0, "At offset 0x1c: the entry is not a certificate" },
                { "db.esl", 829, 0, NULL },
                { "db.esl", 829 + 44, 0, "At offset 0x359: the entry is not a certificate" },
                { "db.esl", 829 + 24, 1, "At offset 0x355: the list" },
                { "dbx.esl", 24, 24, "At offset 0x1c: an entry of 24 bytes is not a SHA-256 hash" },
        };

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                _cleanup_file_ File file = load(samples[i].file);
                SignatureDatabase database = { .count = 4711 };
                Error error = {};
                int r;

                put32(file.data + samples[i].offset, samples[i].value);
                r = signature_database_parse(file.data, file.size, &database, &error);
                if (!samples[i].text) {
                        assert_int_equal(r, 0);
                        signature_database_done(&database);
                        continue;
                }
                if (r != -EBADMSG || !strstr(error.text, samples[i].text))
                        fail_msg("%s, %#zx = %#x: saw %i (%s), wanted %s", samples[i].file,
                                 samples[i].offset, samples[i].value, r, error.text, samples[i].text);
                assert_int_equal(error.failure, FAILURE_CONFIGURATION);
                assert_int_equal(database.count, 4711);
        }
}

static void test_truncated_lists_are_refused(void **state) {
        _cleanup_file_ File file = load("db.esl");

        for (size_t i = 1; i < file.size; i++) {
                _cleanup_free_ uint8_t *part = malloc(i);
                SignatureDatabase database = {};
                int r;

                assert_non_null(part);
                memcpy(part, file.data, i);
                r = signature_database_parse(part, i, &database, NULL);
                /* One whole list is a database, too. */
                if ((r == 0) != (i == 829))
                        fail_msg("the first %zu bytes: saw %i", i, r);
                signature_database_done(&database);
        }
}

/* A database of one hash. */
static File hash_list(const char *hex) {
        File file = load("dbx.esl");

        assert_int_equal(hex_decode(hex, file.data + LIST_HEADER_SIZE + SIGNATURE_OWNER_SIZE, 32), 0);
        return file;
}

/* Returns the index in db of the entry that authorises the image, or a negative errno. */
static int judge(const File *file, const File *db, const File *dbx, Error *error) {
        _cleanup_signatures_ SignatureDatabase allowed = parse(db), forbidden = parse(dbx);
        size_t index = 4711;
        EfiImage image;
        int r;

        r = efi_image_parse(file->data, file->size, &image, error);
        if (r < 0)
                return r;
        r = secureboot_authorise(&image, &allowed, &forbidden, &index, error);
        assert_true(r < 0 ? index == 4711 : index < allowed.count);
        return r < 0 ? r : (int) index;
}

static void test_the_certificate_that_signed_authorises(void **state) {
        _cleanup_file_ File one = load("uki-signed-db1.efi"), two = load("uki-signed-db2.efi"),
                            db = load("db.esl"), dbx = load("dbx.esl"), kek = load("KEK.esl");
        File none = {};
        Error error = {};

        assert_int_equal(judge(&one, &db, &dbx, &error), 0);
        assert_int_equal(judge(&two, &db, &dbx, &error), 1);
        assert_int_equal(judge(&one, &db, &none, &error), 0);
        assert_int_equal(judge(&one, &kek, &dbx, &error), -EKEYREJECTED);
        assert_non_null(strstr(error.text, "no certificate in db verifies its signature"));
        assert_int_equal(judge(&one, &none, &none, &error), -EKEYREJECTED);
}

static void test_dbx_wins_over_db(void **state) {
        _cleanup_file_ File one = load("uki-signed-db1.efi"), two = load("uki-signed-db2.efi"),
                            db = load("db.esl"), hash = hash_list(UKI_SHA256);
        File first = { db.data, 829 };
        Error error = {};

        assert_int_equal(judge(&one, &db, &first, &error), -EKEYREJECTED);
        assert_non_null(strstr(error.text, "a certificate in dbx forbids its signature"));
        assert_int_equal(judge(&two, &db, &first, &error), 1);
        assert_int_equal(judge(&two, &db, &hash, &error), -EKEYREJECTED);
        assert_non_null(strstr(error.text, "its hash is in dbx"));
}

static void test_a_hash_in_db_authorises_without_a_signature(void **state) {
        _cleanup_file_ File plain = load("uki-x86-64.efi"), one = load("uki-signed-db1.efi"),
                            other = load("uki-arm64.efi"), hash = hash_list(UKI_SHA256);
        File none = {};
        Error error = {};

        assert_int_equal(judge(&plain, &hash, &none, &error), 0);
        /* A signature by an unknown certificate does no harm, either. */
        assert_int_equal(judge(&one, &hash, &none, &error), 0);
        assert_int_equal(judge(&other, &hash, &none, &error), -EKEYREJECTED);
        assert_non_null(strstr(error.text, "it is not signed"));
}

static void test_no_changed_byte_of_the_image_stays_authorised(void **state) {
        _cleanup_file_ File one = load("uki-signed-db1.efi"), db = load("db.esl");
        size_t checksum = 0x98;
        File none = {};

        for (size_t i = 0; i < 5120; i += i < 0x420 ? 1 : 13) {
                if (i >= checksum && i < checksum + 4)
                        continue;
                one.data[i] ^= 0x10;
                if (judge(&one, &db, &none, NULL) >= 0)
                        fail_msg("authorised in spite of the byte at %#zx", i);
                one.data[i] ^= 0x10;
        }
}

static void test_malformed_certificate_tables_are_refused_or_passed_over(void **state) {
        static const struct {
                size_t offset;
                uint32_t value;
                int r;
                const char *text;
        } samples[] = {
                { 0, 7, -EBADMSG, "At offset 0x1400: a signature of 7 bytes" },
                { 0, UINT32_MAX, -EBADMSG, "At offset 0x1400: a signature of 4294967295 bytes" },
                { 0, 8, -EBADMSG, "At offset 0x1408: a signature" },
                { 4, 0x0ef10200, -EKEYREJECTED, "no certificate in db" },
                { 8, 0, -EKEYREJECTED, "no certificate in db" },
                { 0x20, 0, -EKEYREJECTED, "no certificate in db" },
                { 0x60, 0, -EKEYREJECTED, "no certificate in db" },
        };
        _cleanup_file_ File db = load("db.esl");
        File none = {};

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                _cleanup_file_ File one = load("uki-signed-db1.efi");
                Error error = {};
                int r;

                put32(one.data + 5120 + samples[i].offset, samples[i].value);
                r = judge(&one, &db, &none, &error);
                if (r != samples[i].r || !strstr(error.text, samples[i].text))
                        fail_msg("%#zx = %#x: saw %i (%s), wanted %i (%s)", samples[i].offset,
                                 samples[i].value, r, error.text, samples[i].r, samples[i].text);
        }
}

/* The image has two signatures. The second counts if the first is unknown, and dbx applies to both. */
static void test_every_signature_is_looked_at(void **state) {
        _cleanup_file_ File one = load("uki-signed-db1.efi"), two = load("uki-signed-db2.efi"),
                            db = load("db.esl");
        size_t more = two.size - 5120;
        File both = { malloc(one.size + more), one.size + more }, first = { db.data, 829 },
             second = { db.data + 829, db.size - 829 }, none = {};
        Error error = {};

        assert_non_null(both.data);
        memcpy(both.data, one.data, one.size);
        memcpy(both.data + one.size, two.data + 5120, more);
        put32(both.data + 0xe8 + 4, (uint32_t) (both.size - 5120));

        assert_int_equal(judge(&both, &db, &none, &error), 0);
        assert_int_equal(judge(&both, &second, &none, &error), 0);
        assert_int_equal(judge(&both, &first, &second, &error), -EKEYREJECTED);
        assert_int_equal(judge(&both, &second, &first, &error), -EKEYREJECTED);

        put32(both.data + one.size, (uint32_t) more + 1);
        assert_int_equal(judge(&both, &db, &none, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "At offset 0x1a08: a signature of 1545 bytes"));
        free(both.data);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lists_that_efitools_made_are_read),
                cmocka_unit_test(test_no_bytes_are_an_empty_database),
                cmocka_unit_test(test_unknown_kinds_and_headers_are_passed_over),
                cmocka_unit_test(test_malformed_lists_are_refused_with_the_offset),
                cmocka_unit_test(test_truncated_lists_are_refused),
                cmocka_unit_test(test_the_certificate_that_signed_authorises),
                cmocka_unit_test(test_dbx_wins_over_db),
                cmocka_unit_test(test_a_hash_in_db_authorises_without_a_signature),
                cmocka_unit_test(test_no_changed_byte_of_the_image_stays_authorised),
                cmocka_unit_test(test_malformed_certificate_tables_are_refused_or_passed_over),
                cmocka_unit_test(test_every_signature_is_looked_at),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
