/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Names what a file is that is not the image that was expected, by its first bytes: an error with an offset alone stops people who
 * gave the right file in the wrong form, or the wrong file. The answer is a guess, for error texts only. Pure.
 *
 * Sources: PE/COFF (MS-DOS stub), ELF, UEFI 2.10 section 5.2 (MBR), QEMU's docs/interop/qcow2.txt, VMware's and Microsoft's
 * specifications of VMDK, VHD and VHDX, ECMA-119.
 */

#include <stddef.h>
#include <stdint.h>

/* As many bytes of the beginning suffice to know every form. */
#define IMAGE_FORM_BYTES 36864U

/* Returns a sentence that says what the file is and what to give. Where nothing is known of it: what is expected. */
const char *image_form_of_efi(const uint8_t *data, size_t size);
const char *image_form_of_disk(const uint8_t *data, size_t size);
