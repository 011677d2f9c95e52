/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The manifest of the secrets that are kept over a restart. It has, for each secret, the size and the checksum of the file and
 * a digest of the declaration, and it says whether the PCR is locked. A file of more than SECRET_SIZE_MAX bytes has no checksum:
 * a restart must not read gigabytes. It has no plaintext. A checksum still reveals something
 * about the plaintext, so the manifest is a Secret and lies in memory that is never swapped. Pure.
 *
 * The format is a header, then the entries, sorted by name, and then the members of the entries that are bundles, in the order of
 * the entries. Integers have the machine's byte order: only the next process
 * on the same machine in the same boot reads the manifest.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/limits.h"
#include "memory/secret.h"

#define MANIFEST_ENTRIES_MAX LIMIT_SECRETS
#define MANIFEST_MEMBERS_MAX LIMIT_MEMBERS
#define MANIFEST_DIGEST_SIZE 32U /* SHA-256 */
#define MANIFEST_SIZE_MAX LIMIT_STORE_BYTES_MAX

typedef struct ManifestHeader {
        char magic[16];
        uint8_t boot_id[16];
        uint64_t generation; /* grows with each manifest of one boot, from 1; a failed commit uses one up */
        uint32_t count;      /* number of entries */
        uint8_t lock_pcr;    /* LockPcr=, below 24; 0: no lock */
        uint8_t locked;      /* 1: the PCR is extended. The only byte that changes in place */
        uint8_t reserved[2]; /* zero */
        uint8_t pcr_before[48]; /* SHA-384 value of the PCR when the secrets were unsealed */
} ManifestHeader;

typedef struct ManifestEntry {
        char name[72];       /* a credential name, 1 to 64 of A-Z a-z 0-9 - _ . ; padded with zeros */
        uint64_t generation; /* of the first manifest with this secret; it is part of the descriptor's name */
        uint64_t size;       /* of the plaintext, in bytes; MANIFEST_SIZE_MAX */
        uint8_t checksum[MANIFEST_DIGEST_SIZE]; /* SHA-256 of the plaintext; zeros beyond SECRET_SIZE_MAX */
        uint8_t stands_for[MANIFEST_DIGEST_SIZE]; /* declaration_digest() */
        uint64_t version;    /* that the vendor has signed (SignedBy=); 0 without a signature */
        uint8_t is_signed;   /* 1: version counts */
        uint8_t reserved[3]; /* zero */
        uint32_t members; /* of a bundle (Format=bundle): the number of its members here; 0: it is no bundle */
} ManifestEntry;

/* A member of a bundle: its place in the plaintext that is kept. */
typedef struct ManifestMember {
        char name[64];         /* as in [Member NAME]; padded with zeros */
        uint64_t offset, size; /* in bytes; within the size of the entry */
} ManifestMember;

/* The number of members of all entries together. */
size_t manifest_members(const ManifestEntry *entries, size_t count) _pure_;

/* Finds a member of one entry by its name. NULL: there is none. */
const ManifestMember *manifest_find_member(const ManifestMember *members, size_t count,
                                           const char *name) _pure_;

/* Sets header->magic; the caller sets everything else. entries are sorted by name. members: those of all entries, one after
 * another, those of one entry sorted by name; may be NULL if there are none. */
int manifest_format(const ManifestHeader *header, const ManifestEntry *entries,
                    const ManifestMember *members, Secret **ret);

/* The caller frees *ret_entries, which has ret_header->count entries, and *ret_members, which has manifest_members() of them. Manifests
 * of earlier versions are read, too, so that an update of the package keeps the secrets: the entries of unseald 0.1 end before the
 * version, and those of version 2 have no members. -EBADMSG: the data is not what manifest_format() writes or wrote then. */
int manifest_parse(const uint8_t *data, size_t size, ManifestHeader *ret_header, ManifestEntry **ret_entries,
                   ManifestMember **ret_members);
