/* SPDX-License-Identifier: Apache-2.0 */

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "volume/mapping.h"
#include "volume/tag-superblock.h"

/* calculate_journal_section_size(): an entry has a sector's number, 8 bytes of each sector of the block, and the tag. A sector of the
 * journal has 504 bytes of entries, and a section has 8 of them and the blocks of their entries. */
#define BLOCK_SECTORS (VOLUME_BLOCK_SIZE / MAPPING_SECTOR)
#define ENTRY_SIZE (8U + 8U * BLOCK_SECTORS + TAG_SIZE)
#define SECTION_ENTRIES (504U / ENTRY_SIZE * 8U)
#define SECTION_SECTORS (SECTION_ENTRIES * BLOCK_SECTORS + 8U)

#define JOURNAL_SECTORS_MAX 131072U
#define JOURNAL_SHARE 7U /* as a power of two */

#define VERSION 4U /* the least that knows FLAG_FIXED_PADDING */
#define FLAG_FIXED_PADDING 8U
#define LOG2_INTERLEAVE 15U
#define LOG2_BLOCK_SECTORS 3U
/* One bit of a bitmap, which is never used, stands for 2^15 sectors: the journal has room for the bits of 8 PiB and more. */
#define LOG2_BITMAP_BLOCKS (15U - LOG2_BLOCK_SECTORS)

_Static_assert(1U << LOG2_INTERLEAVE == TAG_INTERLEAVE_SECTORS, "one is the logarithm of the other");
_Static_assert(1U << LOG2_BLOCK_SECTORS == BLOCK_SECTORS, "one is the logarithm of the other");

/* Numbers are little-endian. */
typedef struct __attribute__((packed)) Superblock {
        uint8_t magic[8], version, log2_interleave_sectors;
        uint16_t tag_size;
        uint32_t journal_sections;
        uint64_t data_sectors;
        uint32_t flags;
        uint8_t log2_block_sectors, log2_blocks_per_bitmap_bit, pad[2];
        uint64_t recalculated_sector;
        uint8_t pad2[8], salt[16];
} Superblock;

_Static_assert(sizeof(Superblock) == LABEL_SUPERBLOCK_SIZE, "the label has room for it");

uint64_t tag_journal_sectors(uint64_t device_size) {
        uint64_t share = device_size / MAPPING_SECTOR >> JOURNAL_SHARE;

        return share < JOURNAL_SECTORS_MAX ? share : JOURNAL_SECTORS_MAX;
}

int tag_superblock_make(uint64_t journal_sectors, uint64_t data_sectors,
                        uint8_t ret[static LABEL_SUPERBLOCK_SIZE]) {
        Superblock superblock = {
                .magic = "integrt",
                .version = VERSION,
                .log2_interleave_sectors = LOG2_INTERLEAVE,
                .tag_size = htole16(TAG_SIZE),
                .journal_sections = htole32((uint32_t) (journal_sectors / SECTION_SECTORS)),
                .data_sectors = htole64(data_sectors),
                .flags = htole32(FLAG_FIXED_PADDING),
                .log2_block_sectors = LOG2_BLOCK_SECTORS,
                .log2_blocks_per_bitmap_bit = LOG2_BITMAP_BLOCKS,
        };

        if (journal_sectors == 0 || journal_sectors % SECTION_SECTORS != 0 ||
            journal_sectors > JOURNAL_SECTORS_MAX || data_sectors == 0 || data_sectors % BLOCK_SECTORS != 0)
                return -EINVAL;
        memcpy(ret, &superblock, sizeof(superblock));
        return 0;
}

bool tag_superblock_is(const uint8_t space[static TAG_SUPERBLOCK_SPACE],
                       const uint8_t expected[static LABEL_SUPERBLOCK_SIZE]) {
        const uint8_t *rest = space + LABEL_SUPERBLOCK_SIZE;

        return memcmp(space, expected, LABEL_SUPERBLOCK_SIZE) == 0 && rest[0] == 0 &&
               memcmp(rest, rest + 1, TAG_SUPERBLOCK_SPACE - LABEL_SUPERBLOCK_SIZE - 1) == 0;
}
