/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vault/manifest.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

static const char magic[sizeof(((ManifestHeader *) NULL)->magic)] = "unseald kept 4",
                                                   magic_of_3[sizeof(magic)] = "unseald kept 3",
                                                   magic_of_2[sizeof(magic)] = "unseald kept 2",
                                                   magic_of_0_1[sizeof(magic)] = "unseald kept 1";

/* Padding between the members would be written with undefined content. */
_Static_assert(sizeof(ManifestHeader) == 16 + 16 + 8 + 4 + 1 + 1 + 2 + 48, "the header has holes");
_Static_assert(sizeof(ManifestEntry) == 72 + 8 + 8 + 2 * MANIFEST_DIGEST_SIZE + 8 + 1 + 3 + 4,
               "an entry has holes");
_Static_assert(sizeof(ManifestMember) == 64 + 8 + 8, "a member has holes");
_Static_assert(MANIFEST_EVENTS_MAX <= UINT16_MAX, "the number of extended events does not fit");
_Static_assert(sizeof(ManifestEvent) == 72 + 1 + 7 + 2 * MANIFEST_PCR_SIZE, "an event has holes");
_Static_assert(sizeof(ManifestHeader) + MANIFEST_ENTRIES_MAX * sizeof(ManifestEntry) +
                                               MANIFEST_MEMBERS_MAX * sizeof(ManifestMember) +
                                               MANIFEST_EVENTS_MAX * sizeof(ManifestEvent) <=
                               SECRET_SIZE_MAX,
               "the largest manifest cannot be read");

static bool has_magic(const ManifestHeader *header, const char wanted[static sizeof(magic)]) {
        return memcmp(header->magic, wanted, sizeof(magic)) == 0;
}

static bool is_header(const ManifestHeader *header) {
        return (has_magic(header, magic) || has_magic(header, magic_of_3) || has_magic(header, magic_of_2) ||
                has_magic(header, magic_of_0_1)) &&
               header->generation > 0 && header->count <= MANIFEST_ENTRIES_MAX && header->lock_pcr < 24 &&
               header->locked <= (header->lock_pcr > 0);
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

/* The name of a secret, or that of its data key. */
static bool is_entry_name(const char name[static sizeof(((ManifestEntry *) NULL)->name)]) {
        static const char suffix[] = MANIFEST_KEY_SUFFIX;
        size_t field = sizeof(((ManifestEntry *) NULL)->name), length = strnlen(name, field),
               of_suffix = strlen(suffix);
        char copy[sizeof(((ManifestEntry *) NULL)->name)];

        memcpy(copy, name, field);
        if (length > of_suffix && memcmp(name + length - of_suffix, suffix, of_suffix) == 0)
                memset(copy + length - of_suffix, 0, of_suffix);
        return is_name(copy, field, 64);
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
            (entry->members > 0 && !has_magic(header, magic) && !has_magic(header, magic_of_3)))
                return false;
        return is_entry_name(entry->name) && entry->generation > 0 &&
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

static bool is_event(const ManifestEvent *event) {
        static const uint8_t zeros[sizeof(event->reserved)];

        return is_name(event->name, sizeof(event->name), 64) && event->pcr > 0 && event->pcr < 24 &&
               memcmp(event->reserved, zeros, sizeof(zeros)) == 0;
}

void manifest_clear(Manifest *manifest) {
        free(manifest->entries);
        free(manifest->members);
        free(manifest->events);
        *manifest = (Manifest){};
}

static uint8_t *append(uint8_t *end, const void *data, size_t size) {
        if (size > 0)
                memcpy(end, data, size);
        return end + size;
}

int manifest_format(const Manifest *manifest, Secret **ret) {
        size_t entries = manifest->header.count * sizeof(*manifest->entries),
               members = manifest_members(manifest->entries, manifest->header.count) *
                         sizeof(*manifest->members),
               events = manifest->events_count * sizeof(*manifest->events);
        ManifestHeader header = manifest->header;
        Secret *secret;
        uint8_t *end;
        int r;

        memcpy(header.magic, magic, sizeof(magic));
        r = secret_new(sizeof(header) + entries + members + events, &secret);
        if (r < 0)
                return r;
        end = append(secret_bytes(secret), &header, sizeof(header));
        end = append(end, manifest->entries, entries);
        end = append(end, manifest->members, members);
        (void) append(end, manifest->events, events);
        *ret = secret;
        return 0;
}

/* What is still to be parsed. */
typedef struct Remaining {
        const uint8_t *data;
        size_t size;
} Remaining;

static int take(Remaining *rest, void *array, size_t size) {
        if (size > rest->size)
                return -EBADMSG;
        if (size > 0)
                memcpy(array, rest->data, size);
        rest->data += size;
        rest->size -= size;
        return 0;
}

static int parse_entries(Remaining *rest, Manifest *manifest) {
        const ManifestHeader *header = &manifest->header;
        ManifestEntry *entries = calloc(header->count + 1U, sizeof(*entries));
        size_t size = entry_size(header);

        manifest->entries = entries;
        if (!entries)
                return -ENOMEM;
        for (size_t i = 0; i < header->count; i++)
                if (take(rest, entries + i, size) < 0 || !is_entry(entries + i, header) ||
                    (i > 0 && strcmp(entries[i - 1].name, entries[i].name) >= 0))
                        return -EBADMSG;
        return 0;
}

static int parse_members(Remaining *rest, Manifest *manifest) {
        size_t sum = manifest_members(manifest->entries, manifest->header.count);
        const ManifestMember *next;

        if (sum > MANIFEST_MEMBERS_MAX)
                return -EBADMSG;
        manifest->members = calloc(sum + 1, sizeof(*manifest->members));
        if (!manifest->members)
                return -ENOMEM;
        if (take(rest, manifest->members, sum * sizeof(*manifest->members)) < 0)
                return -EBADMSG;
        next = manifest->members;
        for (size_t i = 0; i < manifest->header.count; i++) {
                if (!are_members(next, manifest->entries + i))
                        return -EBADMSG;
                next += manifest->entries[i].members;
        }
        return 0;
}

/* The events are all that is left. */
static int parse_events(Remaining *rest, Manifest *manifest) {
        size_t count = rest->size / sizeof(*manifest->events);

        if (rest->size % sizeof(*manifest->events) != 0 || count > MANIFEST_EVENTS_MAX ||
            (count > 0 && !has_magic(&manifest->header, magic)) || manifest->header.measured > count)
                return -EBADMSG;
        manifest->events = calloc(count + 1, sizeof(*manifest->events));
        if (!manifest->events)
                return -ENOMEM;
        (void) take(rest, manifest->events, rest->size);
        for (size_t i = 0; i < count; i++)
                if (!is_event(manifest->events + i))
                        return -EBADMSG;
        manifest->events_count = count;
        return 0;
}

int manifest_parse(const uint8_t *data, size_t size, Manifest *ret) {
        _cleanup_(manifest_clear) Manifest manifest = {};
        Remaining rest = { data, size };
        int r;

        if (take(&rest, &manifest.header, sizeof(manifest.header)) < 0 || !is_header(&manifest.header))
                return -EBADMSG;
        r = parse_entries(&rest, &manifest);
        if (r >= 0)
                r = parse_members(&rest, &manifest);
        if (r >= 0)
                r = parse_events(&rest, &manifest);
        if (r < 0)
                return r;
        *ret = TAKE(manifest, (Manifest){});
        return 0;
}
