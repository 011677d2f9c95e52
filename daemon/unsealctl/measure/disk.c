/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Only the primary partition table is read. A disk with a broken primary table should not be shipped, so the backup table is
 * ignored. A chain of clusters is followed only as far as its directory or file can be long, so a loop in it ends.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "basic/cleanup.h"
#include "unsealctl/measure/disk.h"

#define GPT_HEADER_SIZE 92
#define GPT_ENTRY_SIZE_MIN 128
#define GPT_ENTRIES_SIZE_MAX (1U << 20)
#define GUID_SIZE 16

#define FAT_HEADER_SIZE 512
#define FAT_ENTRY_SIZE 32
#define FAT_DIRECTORY_SIZE_MAX (65536U * FAT_ENTRY_SIZE)
#define FAT_ATTRIBUTE_VOLUME 0x08
#define FAT_ATTRIBUTE_DIRECTORY 0x10
#define FAT_ATTRIBUTES_LONG_NAME 0x0f
#define FAT_LONG_NAME_CHARACTERS 13
#define FAT_LONG_NAME_ENTRIES 20
#define FAT_LONG_NAME_LAST 0x40
#define FAT_SHORT_NAME_SIZE 11

/* c12a7328-f81f-11d2-ba4b-00a0c93ec93b. */
static const uint8_t guid_esp[GUID_SIZE] = { 0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                             0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b };

/* The partition table. Owns the entries. */
typedef struct Gpt {
        uint64_t sector_size;
        uint32_t entries_count, entry_size;
        uint8_t *entries;
} Gpt;

typedef struct Fat {
        const Disk *disk;
        uint64_t start, size;  /* the partition on the disk, in bytes */
        unsigned bits;         /* 12, 16 or 32 */
        uint64_t table, data;  /* offsets on the disk, in bytes */
        uint64_t root;         /* FAT12, FAT16: offset of the root directory */
        uint32_t root_size;    /* its size in bytes */
        uint32_t root_cluster; /* FAT32: the first cluster of the root directory */
        uint32_t clusters;     /* clusters are numbered from 2 to clusters + 1 */
        uint32_t cluster_size;
} Fat;

/* The file or directory that a directory entry points to. */
typedef struct FatFile {
        bool directory;
        uint32_t cluster, size;
} FatFile;

/* The long name before an entry. Only ASCII is kept, since all names that are searched are ASCII. */
typedef struct LongName {
        char text[FAT_LONG_NAME_ENTRIES * FAT_LONG_NAME_CHARACTERS + 1];
        unsigned expected; /* the number of the part that must come next; 0: the name is complete */
        uint8_t checksum;  /* of the short name that belongs to it */
        bool valid;
} LongName;

static uint16_t read16(const uint8_t *p) {
        return (uint16_t) (p[0] | p[1] << 8);
}

static uint32_t read32(const uint8_t *p) {
        return (uint32_t) read16(p) | (uint32_t) read16(p + 2) << 16;
}

static uint64_t read64(const uint8_t *p) {
        return (uint64_t) read32(p) | (uint64_t) read32(p + 4) << 32;
}

_printf_(3, 4) static int malformed(Error *error, uint64_t offset, const char *format, ...) {
        char what[256];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(what, sizeof(what), format, arguments);
        va_end(arguments);
        return error_set(error, -EBADMSG, FAILURE_CONFIGURATION, "At offset %#llx: %s.",
                         (unsigned long long) offset, what);
}

static int disk_read(const Disk *disk, uint64_t offset, void *buffer, size_t size, Error *error) {
        int r;

        if (offset > disk->size || disk->size - offset < size)
                return malformed(error, offset, "%zu bytes that should be here are behind the end", size);
        r = disk->read(disk->userdata, offset, buffer, size);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "At offset %#llx: cannot be read: %s.",
                                 (unsigned long long) offset, strerror(-r));
        return 0;
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

static void gpt_done(Gpt *gpt) {
        free(gpt->entries);
}

static int gpt_read_entries(const Disk *disk, const uint8_t header[GPT_HEADER_SIZE], Gpt *gpt,
                            Error *error) {
        uint64_t sector = read64(header + 72), size;
        int r;

        gpt->entries_count = read32(header + 80);
        gpt->entry_size = read32(header + 84);
        size = (uint64_t) gpt->entries_count * gpt->entry_size;
        if (gpt->entry_size < GPT_ENTRY_SIZE_MIN || size == 0 || size > GPT_ENTRIES_SIZE_MAX)
                return malformed(error, gpt->sector_size + 80, "a partition table of %u entries of %u bytes",
                                 gpt->entries_count, gpt->entry_size);
        if (sector > disk->size / gpt->sector_size)
                return malformed(error, gpt->sector_size + 72, "the partition table is behind the end");

        gpt->entries = malloc(size);
        if (!gpt->entries)
                return error_oom(error);
        r = disk_read(disk, sector * gpt->sector_size, gpt->entries, size, error);
        if (r < 0)
                return r;
        if (crc32(gpt->entries, size) != read32(header + 88))
                return malformed(error, sector * gpt->sector_size,
                                 "the partition table's checksum is wrong");
        return 0;
}

static int gpt_read(const Disk *disk, Gpt *gpt, Error *error) {
        static const uint8_t no_checksum[4] = {};
        uint8_t header[GPT_HEADER_SIZE];
        uint32_t checksum;
        int r;

        for (gpt->sector_size = 512;; gpt->sector_size = 4096) {
                r = disk_read(disk, gpt->sector_size, header, sizeof(header), error);
                if (r < 0)
                        return r;
                if (memcmp(header, "EFI PART", 8) == 0)
                        break;
                if (gpt->sector_size > 512)
                        return malformed(error, 512, "here should be a GUID partition table");
        }

        checksum = read32(header + 16);
        memcpy(header + 16, no_checksum, sizeof(no_checksum));
        if (read32(header + 12) != GPT_HEADER_SIZE || crc32(header, GPT_HEADER_SIZE) != checksum)
                return malformed(error, gpt->sector_size,
                                 "the partition table's header has a wrong size or checksum");
        return gpt_read_entries(disk, header, gpt, error);
}

static bool is_power_of_two(uint32_t n) {
        return n != 0 && (n & (n - 1)) == 0;
}

/* A file system is FAT32 if its 16-bit table size is 0, as for EDK II and Linux. The number of clusters does not
 * decide: small FAT32 file systems have too few for the rule of the specification. */
static int fat_open(const Disk *disk, uint64_t start, uint64_t size, Fat *ret, Error *error) {
        uint8_t header[FAT_HEADER_SIZE];
        Fat fat = { .disk = disk, .start = start, .size = size };
        uint64_t sectors, table_sectors, before, tables;
        uint32_t sector_size;
        int r;

        r = disk_read(disk, start, header, sizeof(header), error);
        if (r < 0)
                return r;
        sector_size = read16(header + 11);
        sectors = read16(header + 19) ?: read32(header + 32);
        table_sectors = read16(header + 22) ?: read32(header + 36);
        tables = header[16];
        if (sector_size < 512 || sector_size > 4096 || !is_power_of_two(sector_size) ||
            !is_power_of_two(header[13]) || read16(header + 14) == 0 || tables == 0 || table_sectors == 0)
                return malformed(error, start, "the EFI system partition does not start as FAT does");
        if (sectors > size / sector_size)
                return malformed(error, start + 32, "the file system is larger than its partition");

        fat.cluster_size = sector_size * header[13];
        fat.root_size = (uint32_t) read16(header + 17) * FAT_ENTRY_SIZE;
        fat.root_cluster = read32(header + 44);
        fat.table = start + (uint64_t) read16(header + 14) * sector_size;
        fat.root = fat.table + tables * table_sectors * sector_size;
        fat.data = fat.root + (fat.root_size + sector_size - 1) / sector_size * sector_size;
        before = (fat.data - start) / sector_size;
        if (before > sectors)
                return malformed(error, start + 14, "the file system has no room for files");

        fat.clusters = (uint32_t) ((sectors - before) / header[13]);
        fat.bits = read16(header + 22) == 0 ? 32 : fat.clusters < 4085 ? 12 : 16;
        if ((fat.clusters + UINT64_C(2)) * fat.bits > table_sectors * sector_size * 8)
                return malformed(error, start + 22, "the allocation table is too short for %u clusters",
                                 fat.clusters);
        if ((fat.bits == 32) != (fat.root_size == 0))
                return malformed(error, start + 17, "FAT%u does not have a root directory of %u bytes",
                                 fat.bits, fat.root_size);
        *ret = fat;
        return 0;
}

/* Finds the offset of a cluster, which must exist. */
static int fat_locate(const Fat *fat, uint32_t cluster, uint64_t *ret, Error *error) {
        if (cluster < 2 || cluster - 2 >= fat->clusters)
                return malformed(error, fat->table, "a chain of clusters ends too early, at %#x", cluster);
        *ret = fat->data + (uint64_t) (cluster - 2) * fat->cluster_size;
        return 0;
}

static bool fat_is_end(const Fat *fat, uint32_t cluster) {
        return cluster >= (fat->bits == 32 ? UINT32_C(0x0ffffff8) : (UINT32_C(1) << fat->bits) - 8);
}

static int fat_next(const Fat *fat, uint32_t cluster, uint32_t *ret, Error *error) {
        size_t size = fat->bits == 32 ? 4 : 2;
        uint8_t entry[4] = {};
        int r;

        r = disk_read(fat->disk, fat->table + (uint64_t) cluster * fat->bits / 8, entry, size, error);
        if (r < 0)
                return r;
        if (fat->bits == 32)
                *ret = read32(entry) & UINT32_C(0x0fffffff);
        else if (fat->bits == 16)
                *ret = read16(entry);
        else
                *ret = cluster % 2 == 0 ? read16(entry) & 0xfff : read16(entry) >> 4;
        return 0;
}

/* Reads bytes from the first cluster of a chain on. Adjacent clusters are read at once. */
static int fat_read_chain(const Fat *fat, uint32_t cluster, uint8_t *buffer, size_t size, Error *error) {
        size_t done = 0;
        int r;

        while (done < size) {
                uint32_t next = cluster;
                uint64_t offset = 0;
                size_t run = 0;

                r = fat_locate(fat, cluster, &offset, error);
                if (r < 0)
                        return r;
                do {
                        cluster = next;
                        run += fat->cluster_size;
                        if (run >= size - done)
                                break;
                        r = fat_next(fat, cluster, &next, error);
                        if (r < 0)
                                return r;
                } while (next == cluster + 1 && next - 2 < fat->clusters);

                if (run > size - done)
                        run = size - done;
                r = disk_read(fat->disk, offset, buffer + done, run, error);
                if (r < 0)
                        return r;
                done += run;
                cluster = next;
        }
        return 0;
}

/* A directory does not have a size. It is as long as its chain. */
static int fat_chain_size(const Fat *fat, uint32_t cluster, size_t *ret, Error *error) {
        size_t size = 0;
        uint64_t offset;
        int r;

        for (; !fat_is_end(fat, cluster); size += fat->cluster_size) {
                if (size >= FAT_DIRECTORY_SIZE_MAX)
                        return malformed(error, fat->table, "a directory has no end");
                r = fat_locate(fat, cluster, &offset, error);
                if (r >= 0)
                        r = fat_next(fat, cluster, &cluster, error);
                if (r < 0)
                        return r;
        }
        *ret = size;
        return 0;
}

/* directory: NULL: the root directory. */
static int fat_read_directory(const Fat *fat, const FatFile *directory, uint8_t **ret, size_t *ret_size,
                              Error *error) {
        uint32_t cluster = directory ? directory->cluster : fat->root_cluster;
        bool fixed = !directory && fat->bits != 32;
        _cleanup_free_ uint8_t *entries = NULL;
        size_t size = fat->root_size;
        int r;

        if (!fixed) {
                r = fat_chain_size(fat, cluster, &size, error);
                if (r < 0)
                        return r;
        }
        entries = malloc(size + 1);
        if (!entries)
                return error_oom(error);
        if (fixed)
                r = disk_read(fat->disk, fat->root, entries, size, error);
        else
                r = fat_read_chain(fat, cluster, entries, size, error);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(entries);
        *ret_size = size;
        return 0;
}

static uint8_t short_name_checksum(const uint8_t *name) {
        uint8_t sum = 0;

        for (size_t i = 0; i < FAT_SHORT_NAME_SIZE; i++)
                sum = (uint8_t) ((uint8_t) (sum << 7 | sum >> 1) + name[i]);
        return sum;
}

/* Converts "BOOTX64 EFI" to "BOOTX64.EFI". */
static void short_name_text(const uint8_t *name, char text[FAT_SHORT_NAME_SIZE + 2]) {
        size_t length = 0;

        for (size_t i = 0; i < 8 && name[i] != ' '; i++)
                text[length++] = (char) name[i];
        if (name[8] != ' ')
                text[length++] = '.';
        for (size_t i = 8; i < FAT_SHORT_NAME_SIZE && name[i] != ' '; i++)
                text[length++] = (char) name[i];
        text[length] = 0;
}

/* The last part comes first. Each part has 13 characters in three pieces. */
static void long_name_add(LongName *name, const uint8_t *entry) {
        static const uint8_t places[FAT_LONG_NAME_CHARACTERS] = { 1,  3,  5,  7,  9,  14, 16,
                                                                  18, 20, 22, 24, 28, 30 };
        unsigned number = entry[0] & ~FAT_LONG_NAME_LAST;

        if (entry[0] & FAT_LONG_NAME_LAST)
                *name = (LongName){ .valid = number >= 1 && number <= FAT_LONG_NAME_ENTRIES,
                                    .expected = number,
                                    .checksum = entry[13] };
        if (!name->valid || number == 0 || number != name->expected || entry[13] != name->checksum) {
                name->valid = false;
                return;
        }
        name->expected--;
        for (size_t i = 0; i < FAT_LONG_NAME_CHARACTERS; i++) {
                uint16_t character = read16(entry + places[i]);

                name->text[name->expected * FAT_LONG_NAME_CHARACTERS + i] =
                                character < 0x80 ? (char) character : '?';
        }
}

static bool entry_has_name(const uint8_t *entry, const LongName *long_name, const char *name) {
        char text[FAT_SHORT_NAME_SIZE + 2];

        short_name_text(entry, text);
        if (strcasecmp(text, name) == 0)
                return true;
        return long_name->valid && long_name->expected == 0 &&
               long_name->checksum == short_name_checksum(entry) && strcasecmp(long_name->text, name) == 0;
}

/* *ret_found: whether the directory has such an entry. */
static int fat_find(const Fat *fat, const FatFile *directory, const char *name, FatFile *ret,
                    bool *ret_found, Error *error) {
        _cleanup_free_ uint8_t *entries = NULL;
        LongName long_name = {};
        size_t size = 0;
        int r;

        *ret_found = false;
        r = fat_read_directory(fat, directory, &entries, &size, error);
        if (r < 0)
                return r;

        for (size_t i = 0; i + FAT_ENTRY_SIZE <= size && entries[i] != 0; i += FAT_ENTRY_SIZE) {
                const uint8_t *entry = entries + i;

                if (entry[0] != 0xe5 && (entry[11] & 0x3f) == FAT_ATTRIBUTES_LONG_NAME) {
                        long_name_add(&long_name, entry);
                        continue;
                }
                if (entry[0] != 0xe5 && !(entry[11] & FAT_ATTRIBUTE_VOLUME) &&
                    entry_has_name(entry, &long_name, name)) {
                        uint32_t high = fat->bits == 32 ? read16(entry + 20) : 0;

                        *ret = (FatFile){ entry[11] & FAT_ATTRIBUTE_DIRECTORY,
                                          high << 16 | read16(entry + 26), read32(entry + 28) };
                        *ret_found = true;
                        return 0;
                }
                long_name.valid = false;
        }
        return 0;
}

static int fat_read_file(const Fat *fat, const FatFile *file, const char *path, BootFile *ret,
                         Error *error) {
        _cleanup_free_ uint8_t *data = NULL;
        int r;

        if (file->size > BOOT_FILE_SIZE_MAX || file->size > (uint64_t) fat->clusters * fat->cluster_size)
                return malformed(error, fat->start, "%s of %u bytes does not fit its file system", path,
                                 file->size);
        data = malloc(file->size + 1U);
        if (!data)
                return error_oom(error);
        r = fat_read_chain(fat, file->cluster, data, file->size, error);
        if (r < 0)
                return r;
        ret->path = path;
        ret->data = TAKE_PTR(data);
        ret->size = file->size;
        return 0;
}

/* Reads the file in EFI/BOOT. ret->data stays NULL if there is none. */
static int fat_read_boot_file(const Fat *fat, BootFile *ret, Error *error) {
        static const struct {
                const char *name, *path;
        } files[] = {
                { "BOOTX64.EFI", "EFI/BOOT/BOOTX64.EFI" },
                { "BOOTAA64.EFI", "EFI/BOOT/BOOTAA64.EFI" },
        };
        FatFile efi, boot, file;
        bool found;
        int r;

        r = fat_find(fat, NULL, "EFI", &efi, &found, error);
        if (r < 0 || !found || !efi.directory)
                return r;
        r = fat_find(fat, &efi, "BOOT", &boot, &found, error);
        if (r < 0 || !found || !boot.directory)
                return r;

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                r = fat_find(fat, &boot, files[i].name, &file, &found, error);
                if (r < 0)
                        return r;
                if (!found || file.directory)
                        continue;
                if (ret->data)
                        return error_set(
                                        error, -ENOTUNIQ, FAILURE_CONFIGURATION,
                                        "Partition %u has both %s and %s. Extract the right one, and measure that file.",
                                        ret->partition, ret->path, files[i].path);
                r = fat_read_file(fat, &file, files[i].path, ret, error);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int partition_read_boot_file(const Disk *disk, const Gpt *gpt, unsigned index, BootFile *ret,
                                    Error *error) {
        const uint8_t *entry = gpt->entries + (size_t) index * gpt->entry_size;
        uint64_t first = read64(entry + 32), last = read64(entry + 40);
        Fat fat;
        int r;

        if (memcmp(entry, guid_esp, GUID_SIZE) != 0)
                return 0;
        if (first > last || last >= disk->size / gpt->sector_size)
                return error_set(error, -EBADMSG, FAILURE_CONFIGURATION,
                                 "Partition %u, sectors %llu to %llu, does not fit the disk.", index + 1,
                                 (unsigned long long) first, (unsigned long long) last);
        r = fat_open(disk, first * gpt->sector_size, (last - first + 1) * gpt->sector_size, &fat, error);
        if (r < 0)
                return r;
        ret->partition = index + 1;
        return fat_read_boot_file(&fat, ret, error);
}

static void boot_file_done(BootFile *file) {
        free(file->data);
}

int disk_read_boot_file(const Disk *disk, BootFile *ret, Error *error) {
        _cleanup_(boot_file_done) BootFile found = {};
        _cleanup_(gpt_done) Gpt gpt = {};
        int r;

        r = gpt_read(disk, &gpt, error);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < gpt.entries_count; i++) {
                _cleanup_(boot_file_done) BootFile file = {};

                r = partition_read_boot_file(disk, &gpt, i, &file, error);
                if (r < 0)
                        return r;
                if (!file.data)
                        continue;
                if (found.data)
                        return error_set(
                                        error, -ENOTUNIQ, FAILURE_CONFIGURATION,
                                        "Partitions %u and %u both have an EFI/BOOT/BOOT*.EFI. Firmware may start either one. Remove one.",
                                        found.partition, file.partition);
                found = TAKE(file, (BootFile){});
        }
        if (!found.data)
                return error_set(error, -ENOENT, FAILURE_CONFIGURATION,
                                 "No EFI system partition has EFI/BOOT/BOOTX64.EFI or BOOTAA64.EFI.");
        *ret = TAKE(found, (BootFile){});
        return 0;
}
