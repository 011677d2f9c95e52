/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads only those headers that the hash needs, in the order of EDK II's PE/COFF loader. An image that can be read in
 * two ways is refused, for example one with overlapping sections or with bytes behind the certificate table.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/openssl-util.h"
#include "unsealctl/measure/efi.h"

#define DOS_HEADER_SIZE 0x40
#define DOS_PE_OFFSET 0x3c
#define PE_SIGNATURE_SIZE 4
#define COFF_HEADER_SIZE 20
#define PE32_PLUS_MAGIC 0x20b
#define DIRECTORY_SIZE 8
#define DIRECTORIES_MAX 16
#define DIRECTORY_CERTIFICATES 4

/* Offsets into the optional header. */
#define OPTIONAL_HEADERS_SIZE 60
#define OPTIONAL_CHECKSUM 64
#define OPTIONAL_DIRECTORIES_COUNT 108
#define OPTIONAL_DIRECTORIES 112

#define SECTION_SIZE 40
#define SECTION_NAME_SIZE 8

typedef struct Section {
        const uint8_t *name;
        uint32_t memory_size, offset, size; /* VirtualSize; PointerToRawData, SizeOfRawData */
        uint16_t index;
} Section;

static uint16_t read16(const uint8_t *p) {
        return (uint16_t) (p[0] | p[1] << 8);
}

static uint32_t read32(const uint8_t *p) {
        return (uint32_t) read16(p) | (uint32_t) read16(p + 2) << 16;
}

static Section get_section(const EfiImage *image, uint16_t index) {
        const uint8_t *p = image->file.data + image->sections + (size_t) index * SECTION_SIZE;

        return (Section){
                .name = p,
                .memory_size = read32(p + 8),
                .size = read32(p + 16),
                .offset = read32(p + 20),
                .index = index,
        };
}

_printf_(3, 4) static int malformed(Error *error, size_t offset, const char *format, ...) {
        char what[256];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(what, sizeof(what), format, arguments);
        va_end(arguments);
        return error_set(error, -EBADMSG, FAILURE_CONFIGURATION, "At offset %#zx: %s.", offset, what);
}

/* Parses the headers before the optional header, and finds the offset and size of that. */
static int parse_coff_header(EfiImage *image, size_t *ret_optional, size_t *ret_optional_size,
                             Error *error) {
        const uint8_t *data = image->file.data;
        size_t size = image->file.size, pe, optional;
        uint16_t machine;

        if (size < DOS_HEADER_SIZE || data[0] != 'M' || data[1] != 'Z')
                return malformed(error, 0, "this is not the beginning of an EFI image");
        pe = read32(data + DOS_PE_OFFSET);
        if (pe > size || size - pe < PE_SIGNATURE_SIZE + COFF_HEADER_SIZE)
                return malformed(error, DOS_PE_OFFSET,
                                 "the PE header would be at %#zx, behind the end of the file", pe);
        if (memcmp(data + pe, "PE\0\0", PE_SIGNATURE_SIZE) != 0)
                return malformed(error, pe, "here should be a PE header");

        machine = read16(data + pe + 4);
        if (machine != EFI_MACHINE_X86_64 && machine != EFI_MACHINE_ARM64)
                return error_set(error, -EOPNOTSUPP, FAILURE_CONFIGURATION,
                                 "At offset %#zx: the image is for machine %#x, neither x86-64 nor arm64.",
                                 pe + 4, machine);
        image->machine = machine;
        image->sections_count = read16(data + pe + 6);
        *ret_optional_size = read16(data + pe + 20);

        optional = pe + PE_SIGNATURE_SIZE + COFF_HEADER_SIZE;
        if (size - optional < *ret_optional_size)
                return malformed(error, pe + 20,
                                 "the optional header of %zu bytes passes the end of the file",
                                 *ret_optional_size);
        image->sections = optional + *ret_optional_size;
        *ret_optional = optional;
        return 0;
}

static int parse_certificates(EfiImage *image, Error *error) {
        size_t offset = read32(image->file.data + image->directory),
               size = read32(image->file.data + image->directory + 4), end = image->file.size;

        if (size == 0)
                return 0;
        if (offset < image->headers_size || offset > end || size != end - offset)
                return malformed(error, image->directory,
                                 "the certificate table, %zu bytes at %#zx, is not the end of the file",
                                 size, offset);
        image->certificates = (Slice){ image->file.data + offset, size };
        return 0;
}

static int parse_optional_header(EfiImage *image, size_t offset, size_t size, Error *error) {
        const uint8_t *optional = image->file.data + offset;
        uint32_t directories;

        if (size < OPTIONAL_DIRECTORIES || read16(optional) != PE32_PLUS_MAGIC)
                return malformed(error, offset, "the optional header is not that of a PE32+ file");

        directories = read32(optional + OPTIONAL_DIRECTORIES_COUNT);
        if (directories > DIRECTORIES_MAX || size - OPTIONAL_DIRECTORIES < directories * DIRECTORY_SIZE)
                return malformed(error, offset + OPTIONAL_DIRECTORIES_COUNT,
                                 "%u data directories do not fit into the optional header", directories);

        image->checksum = offset + OPTIONAL_CHECKSUM;
        image->headers_size = read32(optional + OPTIONAL_HEADERS_SIZE);
        if (image->headers_size < image->sections ||
            image->headers_size - image->sections < (size_t) image->sections_count * SECTION_SIZE ||
            image->headers_size > image->file.size)
                return malformed(
                                error, offset + OPTIONAL_HEADERS_SIZE,
                                "headers of %zu bytes do not have room for %u sections, or do not fit into the file",
                                image->headers_size, image->sections_count);

        if (directories <= DIRECTORY_CERTIFICATES)
                return 0;
        image->directory = offset + OPTIONAL_DIRECTORIES + DIRECTORY_CERTIFICATES * DIRECTORY_SIZE;
        return parse_certificates(image, error);
}

/* The hash covers the bytes behind the headers by their number, not by their place. The two agree only if the sections
 * do not overlap. */
static int check_sections(const EfiImage *image, Error *error) {
        size_t end = image->file.size - image->certificates.size, hashed = image->headers_size;

        for (uint16_t i = 0; i < image->sections_count; i++) {
                Section section = get_section(image, i);
                size_t header = image->sections + (size_t) i * SECTION_SIZE;

                if (section.size == 0)
                        continue;
                if (section.offset > end || end - section.offset < section.size)
                        return malformed(error, header, "section %u, %u bytes at %#x, passes the end", i,
                                         section.size, section.offset);
                if (end - hashed < section.size)
                        return malformed(error, header, "section %u overlaps another or the headers", i);
                hashed += section.size;
        }
        return 0;
}

int efi_image_parse(const uint8_t *data, size_t size, EfiImage *ret, Error *error) {
        EfiImage image = { .file = { data, size } };
        size_t optional = 0, optional_size = 0;
        int r;

        r = parse_coff_header(&image, &optional, &optional_size, error);
        if (r >= 0)
                r = parse_optional_header(&image, optional, optional_size, error);
        if (r >= 0)
                r = check_sections(&image, error);
        if (r < 0)
                return r;

        *ret = image;
        return 0;
}

static int compare_sections(const void *a, const void *b) {
        const Section *x = a, *y = b;

        if (x->offset != y->offset)
                return x->offset < y->offset ? -1 : 1;
        return x->index - y->index;
}

static bool update(EVP_MD_CTX *context, const EfiImage *image, size_t start, size_t end) {
        return EVP_DigestUpdate(context, image->file.data + start, end - start) == 1;
}

static bool hash_headers(EVP_MD_CTX *context, const EfiImage *image) {
        size_t start = image->checksum + 4;

        if (!update(context, image, 0, image->checksum))
                return false;
        if (image->directory > 0) {
                if (!update(context, image, start, image->directory))
                        return false;
                start = image->directory + DIRECTORY_SIZE;
        }
        return update(context, image, start, image->headers_size);
}

/* Hashes the sections in the order of the file, and then the bytes that no section has, counted by the sizes of the
 * sections. */
static bool hash_sections(EVP_MD_CTX *context, const EfiImage *image, Section *sections) {
        size_t hashed = image->headers_size;

        for (uint16_t i = 0; i < image->sections_count; i++)
                sections[i] = get_section(image, i);
        qsort(sections, image->sections_count, sizeof(Section), compare_sections);

        for (uint16_t i = 0; i < image->sections_count; i++) {
                size_t start = sections[i].offset;

                if (sections[i].size == 0)
                        continue;
                if (!update(context, image, start, start + sections[i].size))
                        return false;
                hashed += sections[i].size;
        }
        return update(context, image, hashed, image->file.size - image->certificates.size);
}

int efi_image_hash(const EfiImage *image, const EVP_MD *md, uint8_t digest[EVP_MAX_MD_SIZE], Error *error) {
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
        _cleanup_free_ Section *sections = calloc(image->sections_count + 1U, sizeof(Section));

        if (!sections)
                return error_oom(error);
        if (!context || EVP_DigestInit_ex(context, md, NULL) != 1 || !hash_headers(context, image) ||
            !hash_sections(context, image, sections) || EVP_DigestFinal_ex(context, digest, NULL) != 1)
                return openssl_error(error, "hash an EFI program");
        return 0;
}

static bool has_name(const Section *section, const char *name) {
        size_t length = strlen(name);

        return length <= SECTION_NAME_SIZE && memcmp(section->name, name, length) == 0 &&
               (length == SECTION_NAME_SIZE || section->name[length] == 0);
}

bool efi_image_has_section(const EfiImage *image, const char *name) {
        for (uint16_t i = 0; i < image->sections_count; i++) {
                Section section = get_section(image, i);

                if (has_name(&section, name))
                        return true;
        }
        return false;
}

int efi_image_section(const EfiImage *image, const char *name, Slice *ret, Error *error) {
        Slice found = {};

        for (uint16_t i = 0; i < image->sections_count; i++) {
                Section section = get_section(image, i);
                size_t header = image->sections + (size_t) i * SECTION_SIZE;

                if (!has_name(&section, name))
                        continue;
                if (found.data)
                        return malformed(error, header, "there is a second section %s", name);
                if (section.memory_size > section.size)
                        return malformed(error, header,
                                         "section %s has %u bytes in memory and %u in the file", name,
                                         section.memory_size, section.size);
                /* The offset of an empty section was not checked. */
                found = (Slice){ image->file.data + (section.size > 0 ? section.offset : 0),
                                 section.memory_size };
        }
        *ret = found;
        return 0;
}

const char *efi_machine_to_string(EfiMachine machine) {
        return machine == EFI_MACHINE_X86_64 ? "x86-64" : "arm64";
}
