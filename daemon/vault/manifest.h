/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The manifest of the secrets that are kept over a restart. It has, for each secret, the size and the checksum of the file and
 * a digest of the declaration, and it says whether the PCR is locked. A file of more than SECRET_SIZE_MAX bytes has no checksum:
 * a restart must not read gigabytes. It has no plaintext. A checksum still reveals something
 * about the plaintext, so the manifest is a Secret and lies in memory that is never swapped. Pure.
 *
 * The format is a header, then the entries, sorted by name, then the members of the entries that are bundles, in the order of
 * the entries, and then the events that are or will be extended into PCRs in this boot (MeasurePcr=), in that order. Integers
 * have the machine's byte order: only the next process on the same machine in the same boot reads the manifest.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/limits.h"
#include "memory/secret.h"

#define MANIFEST_ENTRIES_MAX (LIMIT_SECRETS + LIMIT_LATE_SECRETS)

/* Behind the name of a secret, this is the name of its data key, while its message is still to come (Late=). */
#define MANIFEST_KEY_SUFFIX "+key"
#define MANIFEST_MEMBERS_MAX LIMIT_MEMBERS
#define MANIFEST_EVENTS_MAX 2048U /* each change of a measured secret adds one until the next boot */
#define MANIFEST_DIGEST_SIZE 32U  /* SHA-256 */
#define MANIFEST_PCR_SIZE 48U     /* SHA-384 */
#define MANIFEST_SIZE_MAX LIMIT_STORE_BYTES_MAX

typedef struct ManifestHeader {
        char magic[16];
        uint8_t boot_id[16];
        uint64_t generation; /* grows with each manifest of one boot, from 1; a failed commit uses one up */
        uint32_t count;      /* number of entries */
        uint8_t lock_pcr;    /* LockPcr=, below 24; 0: no lock */
        uint8_t locked;      /* 1: the PCR is extended. This number and the next one change in place */
        uint16_t measured;   /* so many events, from the first on, are known to be extended */
        uint8_t pcr_before[MANIFEST_PCR_SIZE]; /* SHA-384 value of the PCR when the secrets were unsealed */
} ManifestHeader;

typedef struct ManifestEntry {
        char name[72]; /* a credential name, 1 to 64 of A-Z a-z 0-9 - _ . or that with MANIFEST_KEY_SUFFIX; padded with zeros */
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

/* An event of MeasurePcr=: a sealed secret that is extended into a PCR (tpm/secret-events.h). */
typedef struct ManifestEvent {
        char name[72];                     /* of the secret, as in ManifestEntry */
        uint8_t pcr;                       /* from 1 to 23 */
        uint8_t reserved[7];               /* zero */
        uint8_t sealed[MANIFEST_PCR_SIZE]; /* SHA-384 of the ciphertext or of the message's header */
        uint8_t before[MANIFEST_PCR_SIZE]; /* the value that the PCR is expected to have before the event */
} ManifestEvent;

/* Everything in a manifest. */
typedef struct Manifest {
        ManifestHeader header;
        ManifestEntry *entries; /* header.count of them, sorted by name */
        ManifestMember *members; /* of all entries, one after another; those of one entry are sorted by name */
        ManifestEvent *events;   /* in the order in which they are extended */
        size_t events_count;
} Manifest;

void manifest_clear(Manifest *manifest);

/* The number of members of all entries together. */
size_t manifest_members(const ManifestEntry *entries, size_t count) _pure_;

/* Finds a member of one entry by its name. NULL: there is none. */
const ManifestMember *manifest_find_member(const ManifestMember *members, size_t count,
                                           const char *name) _pure_;

/* Ignores header.magic; the caller sets everything else. Arrays may be NULL if they have no elements. */
int manifest_format(const Manifest *manifest, Secret **ret);

/* The caller clears *ret. Manifests of earlier versions are read, too, so that an update of the package keeps the secrets: the
 * entries of unseald 0.1 end before the version, those of version 2 have no members, and version 3 has no events. -EBADMSG: the data
 * is not what manifest_format() writes or wrote then. */
int manifest_parse(const uint8_t *data, size_t size, Manifest *ret);
