/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The manifest of what is kept over a restart: for each secret the file's size and checksum and what declaration it
 * stands for, and how far the lock of the PCR has got. No plaintext; but checksums tell something about it, so that it
 * is a Secret and lies in memory that is never swapped, like the secrets themselves. Pure.
 *
 * It is read by the unseald that is started next on the same machine in the same boot, so its integers are the machine's
 * own: a header, then the entries, sorted by name.
 */

#include <stddef.h>
#include <stdint.h>

#include "memory/secret.h"

#define MANIFEST_ENTRIES_MAX 500U
#define MANIFEST_DIGEST_SIZE 32U /* SHA-256 */
#define MANIFEST_SIZE_MAX (sizeof(ManifestHeader) + MANIFEST_ENTRIES_MAX * sizeof(ManifestEntry))

typedef struct ManifestHeader {
        char magic[16];
        uint8_t boot_id[16];
        uint64_t generation; /* of the manifests of one boot, from 1 */
        uint32_t count;      /* of the entries */
        uint8_t lock_pcr;    /* 0: there is no lock */
        uint8_t locked;      /* 1: it was extended. The one byte that is changed in place */
        uint8_t reserved[2];
        uint8_t pcr_before[48]; /* what that PCR was when the secrets were unsealed */
} ManifestHeader;

typedef struct ManifestEntry {
        char name[72];       /* a credential name, 1 to 64 of A-Z a-z 0-9 - _ . and zeros */
        uint64_t generation; /* of the manifest that it came with, which is part of its descriptor's name */
        uint64_t size;
        uint8_t checksum[MANIFEST_DIGEST_SIZE]; /* SHA-256 of the plaintext */
        uint8_t stands_for[MANIFEST_DIGEST_SIZE];
} ManifestEntry;

/* Sets magic; everything else in the header is the caller's. */
int manifest_format(const ManifestHeader *header, const ManifestEntry *entries, Secret **ret);

/* The entries, *ret_header.count of them, are the caller's to free. -EBADMSG for anything that manifest_format() would not
 * have made, another version of it included. */
int manifest_parse(const uint8_t *data, size_t size, ManifestHeader *ret_header,
                   ManifestEntry **ret_entries);
