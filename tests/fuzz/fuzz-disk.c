/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Looks for the boot file of a disk. The input has the form of tests/vectors/disk: the number of sectors,
 * then number and content of each sector that is not all zeros. The target corrects the checksums of the
 * partition table, because random input would never pass them.
 */

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unsealctl/measure/disk.h"

#define SECTOR_SIZE 512
#define SECTORS_MAX 65536 /* a bound for the memory that a file can take */
#define HEADER_SIZE 92

typedef struct Sectors {
        const uint8_t *data;
        size_t size;
        uint64_t count;
} Sectors;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t get32(const uint8_t *p) {
        return p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static void put32(uint8_t *p, uint32_t value) {
        for (size_t i = 0; i < 4; i++)
                p[i] = (uint8_t) (value >> 8 * i);
}

static const uint8_t *find_sector(const Sectors *sectors, uint64_t number) {
        for (size_t i = 4; i + 4 + SECTOR_SIZE <= sectors->size; i += 4 + SECTOR_SIZE)
                if (get32(sectors->data + i) == number)
                        return sectors->data + i + 4;
        return NULL;
}

static void read_plain(const Sectors *sectors, uint64_t offset, uint8_t *buffer, size_t size) {
        for (size_t done = 0, part; done < size; done += part) {
                uint64_t skip = (offset + done) % SECTOR_SIZE;
                const uint8_t *sector = find_sector(sectors, (offset + done) / SECTOR_SIZE);

                part = SECTOR_SIZE - skip < size - done ? SECTOR_SIZE - skip : size - done;
                if (sector)
                        memcpy(buffer + done, sector + skip, part);
                else
                        memset(buffer + done, 0, part);
        }
}

static uint32_t crc32(const uint8_t *data, size_t size) {
        uint32_t crc = UINT32_MAX;

        for (size_t i = 0; i < size; i++) {
                crc ^= data[i];
                for (unsigned bit = 0; bit < 8; bit++)
                        crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
        }
        return ~crc;
}

static void mend_checksums(const Sectors *sectors, uint8_t *header) {
        uint64_t size = (uint64_t) get32(header + 80) * get32(header + 84),
                 offset = (uint64_t) get32(header + 72) * SECTOR_SIZE;

        if (size > 0 && size <= 32768 && offset + size <= sectors->count * SECTOR_SIZE) {
                uint8_t entries[32768];

                read_plain(sectors, offset, entries, size);
                put32(header + 88, crc32(entries, size));
        }
        put32(header + 16, 0);
        put32(header + 16, crc32(header, HEADER_SIZE));
}

static int read_sectors(void *userdata, uint64_t offset, void *buffer, size_t size) {
        const Sectors *sectors = userdata;

        assert(offset <= sectors->count * SECTOR_SIZE && sectors->count * SECTOR_SIZE - offset >= size);
        read_plain(sectors, offset, buffer, size);
        if (offset == SECTOR_SIZE && size == HEADER_SIZE)
                mend_checksums(sectors, buffer);
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Sectors sectors = { data, size, 0 };
        Error error = {};
        BootFile file = {};
        Disk disk;
        int r;

        if (size < 4)
                return 0;
        sectors.count = get32(data) % SECTORS_MAX;
        disk = (Disk){ read_sectors, &sectors, sectors.count * SECTOR_SIZE };

        r = disk_read_boot_file(&disk, &file, &error);
        if (r < 0) {
                assert(!file.data);
                assert(error.failure == FAILURE_CONFIGURATION && error.text[0] != 0);
                return 0;
        }
        assert(file.data && file.path && file.partition > 0 && file.size <= disk.size);
        free(file.data);
        return 0;
}
