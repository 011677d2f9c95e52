/* SPDX-License-Identifier: Apache-2.0 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "unsealctl/volume/file-system-form.h"
#include "volume/volume-key.h"

/* An inode of EROFS has 64 bytes, and an entry of a directory 12 and a name of up to 255. */
#define INODE_COST 512U

FileSystemKind file_system_kind(const uint8_t begin[static FILE_SYSTEM_BEGIN]) {
        static const uint8_t erofs[] = { 0xe2, 0xe1, 0xf5, 0xe0 };

        if (memcmp(begin + 1024, erofs, sizeof(erofs)) == 0)
                return FILE_SYSTEM_EROFS;
        return memcmp(begin, "hsqs", 4) == 0 ? FILE_SYSTEM_SQUASHFS : FILE_SYSTEM_NONE;
}

uint64_t file_system_estimate(uint64_t bytes, uint64_t inodes) {
        uint64_t extra, sum;

        return __builtin_mul_overflow(inodes, VOLUME_BLOCK_SIZE + INODE_COST, &extra) ||
                                               __builtin_add_overflow(bytes, extra, &sum)
                               ? UINT64_MAX
                               : sum;
}

uint64_t memory_available(const char *meminfo) {
        const char *line = strstr(meminfo, "MemAvailable:");
        uint64_t kib;

        return line && sscanf(line, "MemAvailable: %" SCNu64 " kB", &kib) == 1 && kib <= UINT64_MAX / 1024
                               ? kib * 1024
                               : 0;
}

bool swaps_have_disk(const char *swaps) {
        static const char zram[] = "/dev/zram";

        /* The first line has the titles of the columns. */
        for (const char *line = strchr(swaps, '\n'); line && line[1] != '\0'; line = strchr(line + 1, '\n'))
                if (strncmp(line + 1, zram, strlen(zram)) != 0)
                        return true;
        return false;
}
