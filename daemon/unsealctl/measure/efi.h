/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * EFI images are PE32+ files (Microsoft's "PE Format"). Firmware measures them by their Authenticode hash (UEFI 2.10,
 * 32.5.1; "Windows Authenticode Portable Executable Signature Format"). Pure. Images for x86-64 and arm64 are
 * supported. An image is refused if firmware and signing tools would hash different bytes of it.
 */

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "basic/slice.h"

typedef enum EfiMachine {
        EFI_MACHINE_X86_64 = 0x8664,
        EFI_MACHINE_ARM64 = 0xaa64,
} EfiMachine;

typedef struct EfiImage {
        Slice file; /* borrowed */
        EfiMachine machine;
        size_t checksum; /* offset of the CheckSum field, which is not hashed */
        size_t directory; /* offset of the directory entry of the certificate table, which is not hashed; 0: none */
        size_t headers_size;     /* SizeOfHeaders */
        size_t sections;         /* offset of the section table */
        uint16_t sections_count; /* each is inside the file */
        Slice certificates;      /* the certificate table, which ends the file */
} EfiImage;

/* The image borrows the data. FAILURE_CONFIGURATION, with a text that has the offset: -EBADMSG: the data is not a PE32+
 * image, or contradicts itself; -EOPNOTSUPP: the image is for another machine. */
int efi_image_parse(const uint8_t *data, size_t size, EfiImage *ret, Error *error);

/* Makes the Authenticode hash, of EVP_MD_get_size(md) bytes. Returns 0 or -ENOMEM. */
int efi_image_hash(const EfiImage *image, const EVP_MD *md, uint8_t digest[EVP_MAX_MD_SIZE], Error *error);

/* Finds the content of a section, without its padding. ret->data is NULL if no section has that name. -EBADMSG: two
 * sections have it, or the section is longer in memory than in the file. */
int efi_image_section(const EfiImage *image, const char *name, Slice *ret, Error *error);

bool efi_image_has_section(const EfiImage *image, const char *name) _pure_;

/* "x86-64" or "arm64". Never NULL. */
const char *efi_machine_to_string(EfiMachine machine) _pure_;
