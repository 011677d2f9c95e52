/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vault/manifest.h"

static const char magic[sizeof(((ManifestHeader *) NULL)->magic)] = "unseald kept 2",
                                                   magic_of_0_1[sizeof(magic)] = "unseald kept 1";

/* Padding between the members would be written with undefined content. */
_Static_assert(sizeof(ManifestHeader) == 16 + 16 + 8 + 4 + 1 + 1 + 2 + 48, "the header has holes");
_Static_assert(sizeof(ManifestEntry) == 72 + 8 + 8 + 2 * MANIFEST_DIGEST_SIZE + 8 + 1 + 7,
               "an entry has holes");

static bool is_header(const ManifestHeader *header) {
        static const uint8_t zeros[sizeof(header->reserved)];

        return (memcmp(header->magic, magic, sizeof(magic)) == 0 ||
                memcmp(header->magic, magic_of_0_1, sizeof(magic)) == 0) &&
               header->generation > 0 && header->count <= MANIFEST_ENTRIES_MAX && header->lock_pcr < 24 &&
               header->locked <= (header->lock_pcr > 0) &&
               memcmp(header->reserved, zeros, sizeof(zeros)) == 0;
}

static size_t entry_size(const ManifestHeader *header) {
        return memcmp(header->magic, magic, sizeof(magic)) == 0 ? sizeof(ManifestEntry)
                                                                : offsetof(ManifestEntry, version);
}

static bool is_entry(const ManifestEntry *entry, const ManifestHeader *header) {
        static const uint8_t zeros[sizeof(entry->reserved)];
        size_t length = strnlen(entry->name, sizeof(entry->name));

        if (entry->is_signed > 1 || (!entry->is_signed && entry->version != 0) ||
            memcmp(entry->reserved, zeros, sizeof(zeros)) != 0)
                return false;
        if (length == 0 || length > 64 || entry->name[0] == '.' ||
            strspn(entry->name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") !=
                            length)
                return false;
        for (size_t i = length; i < sizeof(entry->name); i++)
                if (entry->name[i] != 0)
                        return false;
        return entry->generation > 0 && entry->generation <= header->generation &&
               entry->size <= SECRET_SIZE_MAX;
}

int manifest_format(const ManifestHeader *header, const ManifestEntry *entries, Secret **ret) {
        size_t size = header->count * sizeof(*entries);
        ManifestHeader copy = *header;
        Secret *secret;
        int r;

        memcpy(copy.magic, magic, sizeof(magic));
        r = secret_new(sizeof(copy) + size, &secret);
        if (r < 0)
                return r;
        memcpy(secret_bytes(secret), &copy, sizeof(copy));
        if (size > 0)
                memcpy(secret_bytes(secret) + sizeof(copy), entries, size);
        *ret = secret;
        return 0;
}

int manifest_parse(const uint8_t *data, size_t size, ManifestHeader *ret_header,
                   ManifestEntry **ret_entries) {
        _cleanup_free_ ManifestEntry *entries = NULL;
        ManifestHeader header;

        if (size < sizeof(header))
                return -EBADMSG;
        memcpy(&header, data, sizeof(header));
        if (!is_header(&header) || size - sizeof(header) != header.count * entry_size(&header))
                return -EBADMSG;

        entries = calloc(header.count + 1U, sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        for (size_t i = 0; i < header.count; i++)
                memcpy(entries + i, data + sizeof(header) + i * entry_size(&header), entry_size(&header));
        for (size_t i = 0; i < header.count; i++)
                if (!is_entry(entries + i, &header) ||
                    (i > 0 && strcmp(entries[i - 1].name, entries[i].name) >= 0))
                        return -EBADMSG;

        *ret_header = header;
        *ret_entries = TAKE_PTR(entries);
        return 0;
}
