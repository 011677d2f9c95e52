/* SPDX-License-Identifier: Apache-2.0 */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/input-form.h"
#include "unsealctl/measure/image-form.h"

typedef struct Magic {
        size_t offset;
        const char *bytes;
        size_t size;
        const char *advice;
} Magic;

#define MAGIC(offset, bytes, advice) \
        { offset, bytes, sizeof(bytes) - 1, advice }

#define TO_RAW(name, format)                                                                   \
        "It is a disk image in the format " name ". Convert it: \"qemu-img convert -f " format \
        " -O raw FILE disk.raw\"."

/* Disks in other formats than raw, which neither argument takes. */
static const Magic virtual_disks[] = {
        MAGIC(0, "QFI\xfb", TO_RAW("qcow2", "qcow2")),
        MAGIC(0, "KDMV", TO_RAW("VMDK", "vmdk")),
        MAGIC(0, "# Disk DescriptorFile", TO_RAW("VMDK", "vmdk")),
        MAGIC(0, "conectix", TO_RAW("VHD", "vpc")),
        MAGIC(0, "vhdxfile", TO_RAW("VHDX", "vhdx")),
        MAGIC(32769, "CD001", "It is an ISO 9660 image. Give the raw disk image of the AMI."),
};

static bool has(const uint8_t *data, size_t size, const Magic *magic) {
        return size >= magic->offset && size - magic->offset >= magic->size &&
               memcmp(data + magic->offset, magic->bytes, magic->size) == 0;
}

static const char *find(const Magic *magics, size_t count, const uint8_t *data, size_t size) {
        for (size_t i = 0; i < count; i++)
                if (has(data, size, &magics[i]))
                        return magics[i].advice;
        return NULL;
}

/* What is neither, in words that fit both. */
static const char *find_other(const uint8_t *data, size_t size) {
        const char *advice = find(virtual_disks, ELEMENTSOF(virtual_disks), data, size);

        if (advice)
                return advice;
        if (input_form(data, size) == INPUT_JSON)
                return "It is JSON, perhaps pcr_measurements.json itself. Give the image that was measured.";
        if (input_form(data, size) == INPUT_TEXT)
                return "It is plain text.";
        advice = input_form_hint(data, size);
        return *advice ? advice + 1 : NULL;
}

const char *image_form_of_efi(const uint8_t *data, size_t size) {
        static const Magic magics[] = {
                MAGIC(0,
                      "\x7f"
                      "ELF",
                      "It is an ELF file, such as vmlinux. Give the EFI image: a unified kernel image, a boot loader, or the kernel's bzImage or Image with an EFI stub."),
                MAGIC(510, "\x55\xaa", "It looks like a disk. Give it as --disk=FILE."),
                MAGIC(512, "EFI PART", "It looks like a disk. Give it as --disk=FILE."),
        };

        if (size >= 2 && data[0] == 'M' && data[1] == 'Z')
                return "It begins as an EFI image does, so it is probably damaged or cut off. Copy it again.";
        return find(magics, ELEMENTSOF(magics), data, size)
                               ?: find_other(data, size)
                               ?: "Expected an EFI image, such as EFI/BOOT/BOOTX64.EFI of the AMI.";
}

const char *image_form_of_disk(const uint8_t *data, size_t size) {
        static const Magic magics[] = {
                MAGIC(0, "MZ", "It is an EFI image. Give it without --disk=."),
                MAGIC(0,
                      "\x7f"
                      "ELF",
                      "It is an ELF file. Give the raw disk image of the AMI."),
        };
        static const Magic gpt = MAGIC(512, "EFI PART", NULL);

        if (has(data, size, &gpt))
                return "It begins as a disk with a partition table does, so it is probably damaged or cut off. Copy it again.";
        return find(magics, ELEMENTSOF(magics), data, size)
                               ?: find_other(data, size)
                               ?: "Expected the raw image of a disk with a GPT and an EFI system partition.";
}
