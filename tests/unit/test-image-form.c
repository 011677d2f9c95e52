/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "basic/cleanup.h"
#include "unsealctl/measure/image-form.h"

#define ROW(offset, bytes, efi, disk) \
        { offset, bytes, sizeof(bytes) - 1, efi, disk }

/* The file has these bytes at the offset, and zeros before and behind. */
static const struct {
        size_t offset;
        const char *bytes;
        size_t size;
        const char *efi, *disk; /* in what is said of the file as an image, and as a disk */
} rows[] = {
        ROW(0, "MZ", "begins as an EFI image", "is an EFI image. Give it without --disk="),
        ROW(0, "\177ELF", "ELF file, such as vmlinux", "is an ELF file"),
        ROW(510, "\x55\xaa", "looks like a disk. Give it as --disk=", "Expected the raw image"),
        ROW(512, "EFI PART", "looks like a disk. Give it as --disk=", "begins as a disk"),
        ROW(0, "QFI\xfb", "qemu-img convert -f qcow2", "qemu-img convert -f qcow2"),
        ROW(0, "KDMV", "-f vmdk", "-f vmdk"),
        ROW(0, "conectix", "-f vpc", "-f vpc"),
        ROW(0, "vhdxfile", "-f vhdx", "-f vhdx"),
        ROW(32769, "CD001", "ISO 9660", "ISO 9660"),
        ROW(0, "\x1f\x8b\x08", "compressed", "compressed"),
        ROW(0, "PK\3\4", "compressed", "compressed"),
        ROW(0, "\1\2", "Expected an EFI image", "Expected the raw image"),
};

static void expect(const char *saw, const char *wanted, size_t row) {
        if (!strstr(saw, wanted))
                fail_msg("row %zu: saw '%s', wanted '%s'", row, saw, wanted);
}

static void test_each_form_is_named_for_both_arguments(void **state) {
        static uint8_t file[IMAGE_FORM_BYTES];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                memset(file, 0, sizeof(file));
                memcpy(file + rows[i].offset, rows[i].bytes, rows[i].size);
                expect(image_form_of_efi(file, sizeof(file)), rows[i].efi, i);
                expect(image_form_of_disk(file, sizeof(file)), rows[i].disk, i);
                /* A byte less does not have it. */
                size_t shorter = rows[i].offset + rows[i].size - 1;
                uint8_t *exact = test_malloc(shorter + 1);

                memcpy(exact, file, shorter);
                (void) image_form_of_efi(exact, shorter);
                (void) image_form_of_disk(exact, shorter);
                test_free(exact);
        }
}

static void test_text_and_nothing_are_named(void **state) {
        static const char json[] = "{\"Measurements\": {}}", text[] = "hello\n";

        expect(image_form_of_efi((const uint8_t *) json, strlen(json)), "is JSON", 0);
        expect(image_form_of_disk((const uint8_t *) text, strlen(text)), "is plain text", 1);
        expect(image_form_of_efi(NULL, 0), "is empty", 2);
        expect(image_form_of_disk(NULL, 0), "is empty", 3);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_form_is_named_for_both_arguments),
                cmocka_unit_test(test_text_and_nothing_are_named),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
