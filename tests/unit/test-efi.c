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
#include "unsealctl/measure/efi.h"

#define SHA384_SIZE 48

/* Offsets in uki-x86-64.efi. */
#define PE 0x40
#define OPTIONAL (PE + 24)
#define SECTIONS (OPTIONAL + 0xf0)
#define SECTION_SIZE 40
#define SECTION_LINUX (SECTIONS + 4 * SECTION_SIZE)

static uint8_t *load(const char *name, size_t *ret_size) {
        const char *vectors = getenv("UNSEALD_TEST_VECTORS");
        uint8_t *data;
        char path[512];
        int r;

        assert_non_null(vectors);
        (void) snprintf(path, sizeof(path), "%s/efi/%s", vectors, name);
        r = read_file(path, 1U << 20, &data, ret_size);
        if (r < 0)
                fail_msg("%s: %s", path, strerror(-r));
        return data;
}

static void put32(uint8_t *p, uint32_t value) {
        for (size_t i = 0; i < 4; i++)
                p[i] = (uint8_t) (value >> 8 * i);
}

static void assert_hash(const EfiImage *image, const EVP_MD *md, const char *wanted) {
        _cleanup_free_ char *seen = NULL;
        uint8_t digest[EVP_MAX_MD_SIZE];

        assert_int_equal(efi_image_hash(image, md, digest, NULL), 0);
        assert_int_equal(hex_encode(digest, (size_t) EVP_MD_get_size(md), &seen), 0);
        assert_string_equal(seen, wanted);
}

static void test_hashes_are_those_of_osslsigncode_and_efitools(void **state) {
        static const struct {
                const char *name;
                EfiMachine machine;
                const char *sha384, *sha256;
        } samples[] = {
                { "uki-x86-64.efi", EFI_MACHINE_X86_64,
                  "999ca206d81d3c1883d71fb0ce371374733e01a1e6003ddf62c054ff4e77db487ebf626b6f7051fd115ce425a"
                  "03b0cb1",
                  "e48162397667fd8a183ad8310b331e3292a950f87c5f19e66e3fe7d3feaf679b" },
                /* A signature does not change the hash. */
                { "uki-signed-db1.efi", EFI_MACHINE_X86_64,
                  "999ca206d81d3c1883d71fb0ce371374733e01a1e6003ddf62c054ff4e77db487ebf626b6f7051fd115ce425a"
                  "03b0cb1",
                  "e48162397667fd8a183ad8310b331e3292a950f87c5f19e66e3fe7d3feaf679b" },
                { "uki-arm64.efi", EFI_MACHINE_ARM64,
                  "e7861cce3765f13209bffcb7f895b861834995077ce598568b62a8044a87f3777a54538256a57ad3c9862aea4"
                  "21d5651",
                  "f2917a70b9c4eb23a054799ed4de0374226cff606fda293a2855277fcc56e932" },
        };

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                _cleanup_free_ uint8_t *data = NULL;
                Error error = {};
                EfiImage image;
                size_t size;

                data = load(samples[i].name, &size);
                if (efi_image_parse(data, size, &image, &error) < 0)
                        fail_msg("%s: %s", samples[i].name, error.text);
                assert_int_equal(image.machine, samples[i].machine);
                assert_hash(&image, EVP_sha384(), samples[i].sha384);
                assert_hash(&image, EVP_sha256(), samples[i].sha256);
        }
}

/* Signing tools pad the file to eight bytes first. Firmware does not. */
static void test_bytes_behind_the_sections_are_hashed_unpadded(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        EfiImage image;
        size_t size;

        data = load("kernel-x86-64.efi", &size);
        assert_int_equal(size % 8, 7);
        assert_int_equal(efi_image_parse(data, size, &image, NULL), 0);
        assert_hash(&image, EVP_sha384(),
                    "0224c7b5ab64600707093cb48b1a0a552f3ba04b4dcebf6b12d8595b1cb53f51d17185fbe3560a49bd7f5e2"
                    "3050e2e9e");
}

static void test_checksum_and_certificate_directory_are_not_hashed(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        uint8_t before[EVP_MAX_MD_SIZE], after[EVP_MAX_MD_SIZE];
        EfiImage image;
        size_t size;

        data = load("uki-signed-db1.efi", &size);
        assert_int_equal(efi_image_parse(data, size, &image, NULL), 0);
        assert_int_equal(efi_image_hash(&image, EVP_sha384(), before, NULL), 0);

        for (size_t i = 0; i < size; i++) {
                /* The hash reads the section table. */
                if (i >= image.sections && i < image.sections + 5 * SECTION_SIZE)
                        continue;
                bool left_out = (i >= image.checksum && i < image.checksum + 4) ||
                                (i >= image.directory && i < image.directory + 8) ||
                                i >= (size_t) (image.certificates.data - data);

                data[i] ^= 1;
                assert_int_equal(efi_image_hash(&image, EVP_sha384(), after, NULL), 0);
                data[i] ^= 1;
                if ((memcmp(before, after, SHA384_SIZE) == 0) != left_out)
                        fail_msg("the byte at %#zx is %shashed", i, left_out ? "" : "not ");
        }
}

/* Firmware sorts sections by offset. */
static void test_order_of_the_section_table_changes_only_its_own_bytes(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        uint8_t swapped[SECTION_SIZE], seen[EVP_MAX_MD_SIZE], wanted[EVP_MAX_MD_SIZE];
        EfiImage image;
        size_t size;

        data = load("uki-x86-64.efi", &size);
        memcpy(swapped, data + SECTIONS, SECTION_SIZE);
        memmove(data + SECTIONS, data + SECTIONS + SECTION_SIZE, SECTION_SIZE);
        memcpy(data + SECTIONS + SECTION_SIZE, swapped, SECTION_SIZE);
        assert_int_equal(efi_image_parse(data, size, &image, NULL), 0);
        assert_int_equal(efi_image_hash(&image, EVP_sha384(), seen, NULL), 0);

        /* Without gaps the hash covers the whole file, except for the two fields. */
        memmove(data + image.directory, data + image.directory + 8, size - image.directory - 8);
        memmove(data + image.checksum, data + image.checksum + 4, size - 8 - image.checksum - 4);
        assert_int_equal(EVP_Digest(data, size - 12, wanted, NULL, EVP_sha384(), NULL), 1);
        assert_memory_equal(seen, wanted, SHA384_SIZE);
}

static void test_sections_are_found_without_their_padding(void **state) {
        static const char command_line[] = "console=ttyS0";
        _cleanup_free_ uint8_t *data = NULL, *kernel = NULL;
        size_t size, kernel_size;
        Slice section;
        EfiImage image;

        data = load("uki-x86-64.efi", &size);
        kernel = load("kernel-x86-64.efi", &kernel_size);
        assert_int_equal(efi_image_parse(data, size, &image, NULL), 0);

        assert_int_equal(efi_image_section(&image, ".cmdline", &section, NULL), 0);
        assert_int_equal(section.size, strlen(command_line));
        assert_memory_equal(section.data, command_line, section.size);
        assert_int_equal(efi_image_section(&image, ".linux", &section, NULL), 0);
        assert_int_equal(section.size, kernel_size);
        assert_memory_equal(section.data, kernel, kernel_size);
        /* A name of eight bytes does not end with NUL. */
        assert_int_equal(efi_image_section(&image, ".sdmagic", &section, NULL), 0);
        assert_non_null(section.data);
        assert_true(efi_image_has_section(&image, ".cmdline"));

        static const char *const absent[] = { ".initrd", ".lin", ".linux2", ".sdmagic2", "" };
        for (size_t i = 0; i < ELEMENTSOF(absent); i++) {
                assert_int_equal(efi_image_section(&image, absent[i], &section, NULL), 0);
                if (section.data || efi_image_has_section(&image, absent[i]))
                        fail_msg("there is a section '%s'", absent[i]);
        }
}

static void test_empty_sections_lie_nowhere(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        Slice section;
        EfiImage image;
        size_t size;

        data = load("kernel-x86-64.efi", &size);
        put32(data + SECTIONS + SECTION_SIZE + 8, 0);
        put32(data + SECTIONS + SECTION_SIZE + 16, 0);
        put32(data + SECTIONS + SECTION_SIZE + 20, UINT32_MAX);
        assert_int_equal(efi_image_parse(data, size, &image, NULL), 0);
        assert_int_equal(efi_image_section(&image, ".reloc", &section, NULL), 0);
        assert_int_equal(section.size, 0);
        assert_true(section.data >= data && section.data < data + size);
}

static void test_a_section_that_can_be_read_in_two_ways_is_refused(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        Error error = {};
        Slice section = {};
        EfiImage image;
        size_t size;

        data = load("uki-x86-64.efi", &size);
        assert_int_equal(efi_image_parse(data, size, &image, NULL), 0);
        put32(data + SECTION_LINUX + 8, 0x801);
        assert_int_equal(efi_image_section(&image, ".linux", &section, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "At offset 0x1e8: section .linux has 2049 bytes in memory"));

        put32(data + SECTION_LINUX + 8, 0x600);
        memcpy(data + SECTIONS, ".linux\0", 8);
        assert_int_equal(efi_image_section(&image, ".linux", &section, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "second section .linux"));
        assert_null(section.data);
}

/* A changed field of uki-x86-64.efi, and the error that follows. */
static void test_malformed_images_are_refused_with_the_offset(void **state) {
        static const struct {
                size_t offset;
                uint32_t value;
                int r;
                const char *text;
        } samples[] = {
                { 0, 0, -EBADMSG, "At offset 0: this is not the beginning of an EFI image" },
                { 0x3c, UINT32_MAX, -EBADMSG, "At offset 0x3c: the PE header would be at 0xffffffff" },
                { 0x3c, 5120 - 23, -EBADMSG, "At offset 0x3c: the PE header" },
                { 0x3c, 5120 - 24, -EBADMSG, "At offset 0x13e8: here should be a PE header" },
                { PE, 0, -EBADMSG, "At offset 0x40: here should be a PE header" },
                { PE + 4, 0x0005014c, -EOPNOTSUPP, "At offset 0x44: the image is for machine 0x14c" },
                { PE + 4, 0xffff8664, -EBADMSG,
                  "At offset 0x94: headers of 1024 bytes do not have room for 65535 sections" },
                { PE + 20, 0x0206ffff, -EBADMSG, "At offset 0x54: the optional header of 65535 bytes" },
                { PE + 20, 0x0206006f, -EBADMSG,
                  "At offset 0x58: the optional header is not that of a PE32+ file" },
                { OPTIONAL, 0x10b, -EBADMSG,
                  "At offset 0x58: the optional header is not that of a PE32+ file" },
                { OPTIONAL + 60, 0, -EBADMSG, "At offset 0x94: headers of 0 bytes" },
                { OPTIONAL + 60, 5121, -EBADMSG, "At offset 0x94: headers of 5121 bytes" },
                { OPTIONAL + 60, SECTIONS + 5 * SECTION_SIZE - 1, -EBADMSG,
                  "At offset 0x94: headers of 527 bytes" },
                { OPTIONAL + 108, 17, -EBADMSG, "At offset 0xc4: 17 data directories" },
                { OPTIONAL + 108, UINT32_MAX, -EBADMSG, "At offset 0xc4: 4294967295 data directories" },
                { OPTIONAL + 112 + 4 * 8 + 4, 8, -EBADMSG,
                  "At offset 0xe8: the certificate table, 8 bytes at 0," },
                { OPTIONAL + 112 + 4 * 8 + 4, UINT32_MAX, -EBADMSG,
                  "At offset 0xe8: the certificate table" },
                { SECTION_LINUX + 16, 0x801, -EBADMSG,
                  "At offset 0x1e8: section 4, 2049 bytes at 0xc00, passes" },
                { SECTION_LINUX + 20, 5121, -EBADMSG, "At offset 0x1e8: section 4" },
                { SECTION_LINUX + 20, UINT32_MAX, -EBADMSG, "At offset 0x1e8: section 4" },
                { SECTIONS + 16, 0x201, -EBADMSG, "At offset 0x1e8: section 4 overlaps" },
        };
        _cleanup_free_ uint8_t *good = NULL;
        size_t size;

        good = load("uki-x86-64.efi", &size);
        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                _cleanup_free_ uint8_t *data = malloc(size);
                EfiImage image = { .checksum = 4711 };
                Error error = {};
                int r;

                assert_non_null(data);
                memcpy(data, good, size);
                put32(data + samples[i].offset, samples[i].value);
                r = efi_image_parse(data, size, &image, &error);
                if (r != samples[i].r || !strstr(error.text, samples[i].text))
                        fail_msg("%#zx = %#x: saw %i (%s), wanted %i (%s)", samples[i].offset,
                                 samples[i].value, r, error.text, samples[i].r, samples[i].text);
                assert_int_equal(error.failure, FAILURE_CONFIGURATION);
                assert_int_equal(image.checksum, 4711);
        }
}

static void test_headers_may_end_with_the_section_table(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        EfiImage image;
        size_t size;

        data = load("uki-x86-64.efi", &size);
        put32(data + OPTIONAL + 60, SECTIONS + 5 * SECTION_SIZE);
        assert_int_equal(efi_image_parse(data, size, &image, NULL), 0);
        assert_int_equal(image.headers_size, image.sections + 5 * SECTION_SIZE);
}

static void test_truncated_images_are_refused(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        EfiImage image;
        size_t size;

        data = load("uki-signed-db1.efi", &size);
        for (size_t i = 0; i < size; i++) {
                /* The buffer has exactly this size, so that a sanitizer finds a read behind the end. */
                _cleanup_free_ uint8_t *part = malloc(i + 1);

                assert_non_null(part);
                memcpy(part, data, i);
                if (efi_image_parse(part, i, &image, NULL) >= 0)
                        fail_msg("the first %zu bytes were accepted", i);
        }
}

static void test_images_without_a_certificate_directory_are_hashed_to_their_end(void **state) {
        _cleanup_free_ uint8_t *data = NULL;
        uint8_t seen[EVP_MAX_MD_SIZE], wanted[EVP_MAX_MD_SIZE];
        EfiImage image;
        size_t size;

        data = load("uki-x86-64.efi", &size);
        put32(data + OPTIONAL + 108, 4);
        assert_int_equal(efi_image_parse(data, size, &image, NULL), 0);
        assert_int_equal(image.directory, 0);
        assert_null(image.certificates.data);
        assert_int_equal(efi_image_hash(&image, EVP_sha384(), seen, NULL), 0);

        memmove(data + image.checksum, data + image.checksum + 4, size - image.checksum - 4);
        assert_int_equal(EVP_Digest(data, size - 4, wanted, NULL, EVP_sha384(), NULL), 1);
        assert_memory_equal(seen, wanted, SHA384_SIZE);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_hashes_are_those_of_osslsigncode_and_efitools),
                cmocka_unit_test(test_bytes_behind_the_sections_are_hashed_unpadded),
                cmocka_unit_test(test_checksum_and_certificate_directory_are_not_hashed),
                cmocka_unit_test(test_order_of_the_section_table_changes_only_its_own_bytes),
                cmocka_unit_test(test_sections_are_found_without_their_padding),
                cmocka_unit_test(test_empty_sections_lie_nowhere),
                cmocka_unit_test(test_a_section_that_can_be_read_in_two_ways_is_refused),
                cmocka_unit_test(test_malformed_images_are_refused_with_the_offset),
                cmocka_unit_test(test_headers_may_end_with_the_section_table),
                cmocka_unit_test(test_truncated_images_are_refused),
                cmocka_unit_test(test_images_without_a_certificate_directory_are_hashed_to_their_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
