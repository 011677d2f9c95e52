/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vault/manifest.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

static const char magic[sizeof(((ManifestHeader *) NULL)->magic)] = "unseald kept 3",
                                                   magic_of_2[sizeof(magic)] = "unseald kept 2",
                                                   magic_of_0_1[sizeof(magic)] = "unseald kept 1";

/* Padding between the members would be written with undefined content. */
_Static_assert(sizeof(ManifestHeader) == 16 + 16 + 8 + 4 + 1 + 1 + 2 + 48, "the header has holes");
_Static_assert(sizeof(ManifestEntry) == 72 + 8 + 8 + 2 * MANIFEST_DIGEST_SIZE + 8 + 1 + 3 + 4,
               "an entry has holes");
_Static_assert(sizeof(ManifestMember) == 64 + 8 + 8, "a member has holes");
_Static_assert(sizeof(ManifestHeader) + MANIFEST_ENTRIES_MAX * sizeof(ManifestEntry) +
                                               MANIFEST_MEMBERS_MAX * sizeof(ManifestMember) <=
                               SECRET_SIZE_MAX,
               "the largest manifest cannot be read");

static bool has_magic(const ManifestHeader *header, const char wanted[static sizeof(magic)]) {
        return memcmp(header->magic, wanted, sizeof(magic)) == 0;
}

static bool is_header(const ManifestHeader *header) {
        static const uint8_t zeros[sizeof(header->reserved)];

        return (has_magic(header, magic) || has_magic(header, magic_of_2) ||
                has_magic(header, magic_of_0_1)) &&
               header->generation > 0 && header->count <= MANIFEST_ENTRIES_MAX && header->lock_pcr < 24 &&
               header->locked <= (header->lock_pcr > 0) &&
               memcmp(header->reserved, zeros, sizeof(zeros)) == 0;
}

static size_t entry_size(const ManifestHeader *header) {
        return has_magic(header, magic_of_0_1) ? offsetof(ManifestEntry, version) : sizeof(ManifestEntry);
}

/* A name that is padded with zeros to the size of its field. */
static bool is_name(const char *name, size_t field, size_t maximum) {
        size_t length = strnlen(name, field);

        if (length == 0 || length > maximum || name[0] == '.' || strspn(name, LETTERS) != length)
                return false;
        for (size_t i = length; i < field; i++)
                if (name[i] != 0)
                        return false;
        return true;
}

static bool has_size(const ManifestEntry *entry) {
        static const uint8_t zeros[sizeof(entry->checksum)];

        return entry->size <= SECRET_SIZE_MAX ||
               (entry->size <= MANIFEST_SIZE_MAX && memcmp(entry->checksum, zeros, sizeof(zeros)) == 0);
}

static bool is_entry(const ManifestEntry *entry, const ManifestHeader *header) {
        static const uint8_t zeros[sizeof(entry->reserved)];

        if (entry->is_signed > 1 || (!entry->is_signed && entry->version != 0) ||
            memcmp(entry->reserved, zeros, sizeof(zeros)) != 0 ||
            (entry->members > 0 && !has_magic(header, magic)))
                return false;
        return is_name(entry->name, sizeof(entry->name), 64) && entry->generation > 0 &&
               entry->generation <= header->generation && has_size(entry);
}

static bool are_members(const ManifestMember *members, const ManifestEntry *entry) {
        for (const ManifestMember *member = members; member < members + entry->members; member++)
                if (!is_name(member->name, sizeof(member->name), sizeof(member->name) - 2) ||
                    member->size > entry->size || member->offset > entry->size - member->size ||
                    (member > members && strcmp(member[-1].name, member->name) >= 0))
                        return false;
        return true;
}

size_t manifest_members(const ManifestEntry *entries, size_t count) {
        size_t sum = 0;

        for (size_t i = 0; i < count; i++)
                sum += entries[i].members;
        return sum;
}

static int compare_members(const void *name, const void *member) {
        return strcmp(name, ((const ManifestMember *) member)->name);
}

const ManifestMember *manifest_find_member(const ManifestMember *members, size_t count, const char *name) {
        return count > 0 ? bsearch(name, members, count, sizeof(*members), compare_members) : NULL;
}

int manifest_format(const ManifestHeader *header, const ManifestEntry *entries,
                    const ManifestMember *members, Secret **ret) {
        size_t size = header->count * sizeof(*entries),
               members_size = manifest_members(entries, header->count) * sizeof(*members);
        ManifestHeader copy = *header;
        Secret *secret;
        int r;

        memcpy(copy.magic, magic, sizeof(magic));
        r = secret_new(sizeof(copy) + size + members_size, &secret);
        if (r < 0)
                return r;
        memcpy(secret_bytes(secret), &copy, sizeof(copy));
        if (size > 0)
                memcpy(secret_bytes(secret) + sizeof(copy), entries, size);
        if (members_size > 0)
                memcpy(secret_bytes(secret) + sizeof(copy) + size, members, members_size);
        *ret = secret;
        return 0;
}

/* The caller frees *ret. */
static int parse_entries(const uint8_t *data, const ManifestHeader *header, ManifestEntry **ret) {
        _cleanup_free_ ManifestEntry *entries = calloc(header->count + 1U, sizeof(*entries));
        size_t size = entry_size(header);

        if (!entries)
                return -ENOMEM;
        for (size_t i = 0; i < header->count; i++)
                memcpy(entries + i, data + i * size, size);
        for (size_t i = 0; i < header->count; i++)
                if (!is_entry(entries + i, header) ||
                    (i > 0 && strcmp(entries[i - 1].name, entries[i].name) >= 0))
                        return -EBADMSG;
        *ret = TAKE_PTR(entries);
        return 0;
}

/* The caller frees *ret. */
static int parse_members(const uint8_t *data, size_t size, const ManifestEntry *entries, size_t count,
                         ManifestMember **ret) {
        size_t sum = manifest_members(entries, count);
        _cleanup_free_ ManifestMember *members = NULL;
        const ManifestMember *next;

        if (sum > MANIFEST_MEMBERS_MAX || size != sum * sizeof(*members))
                return -EBADMSG;
        members = calloc(sum + 1, sizeof(*members));
        if (!members)
                return -ENOMEM;
        memcpy(members, data, size);
        next = members;
        for (size_t i = 0; i < count; i++) {
                if (!are_members(next, entries + i))
                        return -EBADMSG;
                next += entries[i].members;
        }
        *ret = TAKE_PTR(members);
        return 0;
}

int manifest_parse(const uint8_t *data, size_t size, ManifestHeader *ret_header, ManifestEntry **ret_entries,
                   ManifestMember **ret_members) {
        _cleanup_free_ ManifestMember *members = NULL;
        _cleanup_free_ ManifestEntry *entries = NULL;
        ManifestHeader header;
        size_t end;
        int r;

        if (size < sizeof(header))
                return -EBADMSG;
        memcpy(&header, data, sizeof(header));
        if (!is_header(&header))
                return -EBADMSG;
        end = sizeof(header) + header.count * entry_size(&header);
        if (size < end)
                return -EBADMSG;
        r = parse_entries(data + sizeof(header), &header, &entries);
        if (r >= 0)
                r = parse_members(data + end, size - end, entries, header.count, &members);
        if (r < 0)
                return r;

        *ret_header = header;
        *ret_entries = TAKE_PTR(entries);
        *ret_members = TAKE_PTR(members);
        return 0;
}
