/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * EFI images: PE32+ files (Microsoft's "PE Format"), and their Authenticode hash as firmware makes it (UEFI 2.10,
 * 32.5.1; "Windows Authenticode Portable Executable Signature Format"). Pure; x86-64 and arm64. Images in which
 * firmware and signing tools would hash different bytes are refused rather than measured one way or the other.
 */

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"

typedef enum EfiMachine {
        EFI_MACHINE_X86_64 = 0x8664,
        EFI_MACHINE_ARM64 = 0xaa64,
} EfiMachine;

/* Bytes inside an image; data NULL: there are none. */
typedef struct EfiBytes {
        const uint8_t *data;
        size_t size;
} EfiBytes;

typedef struct EfiImage {
        EfiBytes file; /* borrowed */
        EfiMachine machine;
        size_t checksum;  /* offset of the CheckSum field, which is not hashed */
        size_t directory; /* offset of the certificate table's directory entry, not hashed either; 0: none */
        size_t headers_size;     /* SizeOfHeaders */
        size_t sections;         /* offset of the section table */
        uint16_t sections_count; /* each lies within the file */
        EfiBytes certificates;   /* the certificate table: the end of the file */
} EfiImage;

/* FAILURE_CONFIGURATION with a text that gives the offset: -EBADMSG where it is no PE32+ image or one that
 * contradicts itself, -EOPNOTSUPP for another machine. */
int efi_image_parse(const uint8_t *data, size_t size, EfiImage *ret, Error *error);

/* The Authenticode hash: EVP_MD_get_size(md) bytes. -ENOMEM alone. */
int efi_image_hash(const EfiImage *image, const EVP_MD *md, uint8_t digest[EVP_MAX_MD_SIZE], Error *error);

/* A section's content, without the padding to the file's alignment; ret->data NULL where there is none of that name.
 * -EBADMSG where there are two, or where it is longer in memory than in the file. */
int efi_image_section(const EfiImage *image, const char *name, EfiBytes *ret, Error *error);

bool efi_image_has_section(const EfiImage *image, const char *name) _pure_;

/* "x86-64", "arm64". */
const char *efi_machine_to_string(EfiMachine machine) _pure_;
