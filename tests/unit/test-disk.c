/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants the above first */
#include <cmocka.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "unsealctl/measure/disk.h"

#define SECTOR_SIZE 512
#define FAT_SECTOR 34 /* the first sector of the partition in all vectors */

/* A file of tests/vectors/disk/ has the number of sectors, and then number and content of each sector that is not all
 * zeros. */
typedef struct Sectors {
        uint8_t *data;
        size_t size;
        uint64_t broken; /* reading this offset fails; 0: none */
} Sectors;

static uint8_t *load(const char *name, size_t *ret_size) {
        const char *vectors = getenv("UNSEALD_TEST_VECTORS");
        uint8_t *data;
        char path[512];
        int r;

        assert_non_null(vectors);
        (void) snprintf(path, sizeof(path), "%s/%s", vectors, name);
        r = read_file(path, 1U << 20, &data, ret_size);
        if (r < 0)
                fail_msg("%s: %s", path, strerror(-r));
        return data;
}

static uint32_t get32(const uint8_t *p) {
        return p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static void put32(uint8_t *p, uint32_t value) {
        for (size_t i = 0; i < 4; i++)
                p[i] = (uint8_t) (value >> 8 * i);
}

/* Returns the content of a sector, or NULL if it is all zeros. */
static uint8_t *sector_at(const Sectors *sectors, uint64_t number) {
        for (size_t i = 4; i + 4 + SECTOR_SIZE <= sectors->size; i += 4 + SECTOR_SIZE)
                if (get32(sectors->data + i) == number)
                        return sectors->data + i + 4;
        return NULL;
}

/* The entries of the partitions. */
static uint8_t *partition_entries(const Sectors *sectors) {
        uint8_t *entries = sector_at(sectors, 2);

        if (!entries) {
                fail_msg("the disk has no table of partitions");
                abort(); /* gcc 14 does not know that fail_msg() does not return */
        }
        return entries;
}

static int read_sectors(void *userdata, uint64_t offset, void *buffer, size_t size) {
        const Sectors *sectors = userdata;

        for (size_t done = 0; done < size;) {
                uint64_t at = offset + done, skip = at % SECTOR_SIZE;
                const uint8_t *sector = sector_at(sectors, at / SECTOR_SIZE);
                size_t part = SECTOR_SIZE - skip < size - done ? SECTOR_SIZE - skip : size - done;

                if (sectors->broken > 0 && at / SECTOR_SIZE == sectors->broken / SECTOR_SIZE)
                        return -EIO;
                if (sector)
                        memcpy((uint8_t *) buffer + done, sector + skip, part);
                else
                        memset((uint8_t *) buffer + done, 0, part);
                done += part;
        }
        return 0;
}

static Sectors load_sectors(const char *name) {
        Sectors sectors = {};

        sectors.data = load(name, &sectors.size);
        return sectors;
}

static void sectors_done(Sectors *sectors) {
        free(sectors->data);
}

static int find(Sectors *sectors, BootFile *ret, Error *error) {
        Disk disk = { read_sectors, sectors, (uint64_t) get32(sectors->data) * SECTOR_SIZE };

        return disk_read_boot_file(&disk, ret, error);
}

static void assert_refused(Sectors *sectors, int wanted, const char *text) {
        BootFile file = { .partition = 4711 };
        Error error = {};
        int r;

        r = find(sectors, &file, &error);
        if (r != wanted || !strstr(error.text, text))
                fail_msg("saw %i (%s), wanted %i (%s)", r, error.text, wanted, text);
        assert_int_equal(file.partition, 4711);
}

/* Makes the checksums of the partition table right. */
static void mend_checksums(const Sectors *sectors) {
        uint8_t *header = sector_at(sectors, 1), entries[128 * 128];

        (void) read_sectors((void *) sectors, 2 * SECTOR_SIZE, entries, sizeof(entries));
        for (int pass = 0; pass < 2; pass++) {
                const uint8_t *data = pass == 0 ? entries : header;
                size_t size = pass == 0 ? sizeof(entries) : 92;
                uint32_t crc = UINT32_MAX;

                put32(header + 16, 0);
                for (size_t i = 0; i < size; i++) {
                        crc ^= data[i];
                        for (int bit = 0; bit < 8; bit++)
                                crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0);
                }
                put32(header + (pass == 0 ? 88 : 16), ~crc);
        }
}

/* In all vectors the file is fragmented, and its entry follows a long name and a deleted entry. */
static void test_the_boot_file_is_read_from_every_kind_of_fat(void **state) {
        static const struct {
                const char *disk, *path;
        } samples[] = {
                { "disk/fat12.sectors", "EFI/BOOT/BOOTX64.EFI" },
                { "disk/fat16.sectors", "EFI/BOOT/BOOTAA64.EFI" },
                { "disk/fat32.sectors", "EFI/BOOT/BOOTX64.EFI" },
        };
        _cleanup_free_ uint8_t *wanted = NULL;
        size_t size;

        wanted = load("efi/kernel-x86-64.efi", &size);
        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                _cleanup_(sectors_done) Sectors sectors = load_sectors(samples[i].disk);
                _cleanup_free_ uint8_t *data = NULL;
                Error error = {};
                BootFile file;

                if (find(&sectors, &file, &error) < 0)
                        fail_msg("%s: %s", samples[i].disk, error.text);
                data = file.data;
                assert_string_equal(file.path, samples[i].path);
                assert_int_equal(file.partition, 1);
                assert_int_equal(file.size, size);
                assert_memory_equal(data, wanted, size);
        }
}

static void test_two_boot_files_are_one_too_many(void **state) {
        _cleanup_(sectors_done) Sectors sectors = load_sectors("disk/both.sectors");

        assert_refused(&sectors, -ENOTUNIQ, "EFI/BOOT/BOOTX64.EFI and EFI/BOOT/BOOTAA64.EFI");
}

static void test_two_partitions_with_a_boot_file_are_refused(void **state) {
        _cleanup_(sectors_done) Sectors sectors = load_sectors("disk/fat12.sectors");
        uint8_t *entries = partition_entries(&sectors);

        memcpy(entries + 128, entries, 128);
        mend_checksums(&sectors);
        assert_refused(&sectors, -ENOTUNIQ, "Partitions 1 and 2");
}

static void test_other_partitions_are_passed_over(void **state) {
        _cleanup_(sectors_done) Sectors sectors = load_sectors("disk/fat12.sectors");
        uint8_t *entries = partition_entries(&sectors);
        _cleanup_free_ uint8_t *data = NULL;
        BootFile file;

        memcpy(entries + 2 * 128, entries, 128);
        entries[0] ^= 1;
        mend_checksums(&sectors);
        assert_int_equal(find(&sectors, &file, NULL), 0);
        data = file.data;
        assert_int_equal(file.partition, 3);

        entries[2 * 128] ^= 1;
        mend_checksums(&sectors);
        assert_refused(&sectors, -ENOENT, "No EFI system partition");
}

static void test_malformed_partition_tables_are_refused(void **state) {
        static const struct {
                size_t sector, offset;
                uint32_t value;
                bool mend;
                const char *text;
        } samples[] = {
                { 1, 0, 0, false, "At offset 0x200: here should be a GUID partition table" },
                { 1, 12, 93, true, "At offset 0x200: the partition table's header" },
                { 1, 40, 1, false, "At offset 0x200: the partition table's header" },
                { 1, 72, 195, true, "At offset 0x18600: 16384 bytes" },
                { 1, 76, UINT32_MAX, true, "At offset 0x248: the partition table is behind" },
                { 1, 80, 0, true, "At offset 0x250: a partition table of 0 entries" },
                { 1, 80, 8193, true, "At offset 0x250: a partition table of 8193 entries of 128 bytes" },
                { 1, 84, 127, true, "At offset 0x250: a partition table of 128 entries of 127 bytes" },
                { 1, 84, UINT32_MAX, true, "At offset 0x250: a partition table" },
                { 2, 32, 35, false, "At offset 0x400: the partition table's checksum" },
                { 2, 32, 500, true, "Partition 1, sectors 500 to 161," },
                { 2, 40, 195, true, "Partition 1, sectors 34 to 195, does not fit" },
                { 2, 44, UINT32_MAX, true, "does not fit" },
        };

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                _cleanup_(sectors_done) Sectors sectors = load_sectors("disk/fat12.sectors");

                put32(sector_at(&sectors, samples[i].sector) + samples[i].offset, samples[i].value);
                if (samples[i].mend)
                        mend_checksums(&sectors);
                assert_refused(&sectors, -EBADMSG, samples[i].text);
        }
}

static void test_malformed_file_systems_are_refused(void **state) {
        static const struct {
                const char *disk;
                size_t offset, size;
                uint32_t value;
                const char *text;
        } samples[] = {
                { "disk/fat12.sectors", 11, 2, 0, "does not start as FAT" },
                { "disk/fat12.sectors", 11, 2, 768, "does not start as FAT" },
                { "disk/fat12.sectors", 11, 2, 8192, "does not start as FAT" },
                { "disk/fat12.sectors", 13, 1, 0, "does not start as FAT" },
                { "disk/fat12.sectors", 13, 1, 3, "does not start as FAT" },
                { "disk/fat12.sectors", 14, 2, 0, "does not start as FAT" },
                { "disk/fat12.sectors", 14, 2, 1000, "no room for files" },
                { "disk/fat12.sectors", 16, 1, 0, "does not start as FAT" },
                { "disk/fat12.sectors", 17, 2, 0, "FAT12 does not have a root directory of 0 bytes" },
                { "disk/fat12.sectors", 19, 2, 129, "larger than its partition" },
                { "disk/fat32.sectors", 17, 2, 16, "FAT32 does not have a root directory of 512 bytes" },
                { "disk/fat32.sectors", 36, 4, 1, "too short" },
                { "disk/fat32.sectors", 36, 4, UINT32_MAX, "no room for files" },
                { "disk/fat32.sectors", 44, 4, 0, "a chain of clusters ends too early" },
                { "disk/fat32.sectors", 44, 4, 0x0ffffff7,
                  "a chain of clusters ends too early, at 0xffffff7" },
        };

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                _cleanup_(sectors_done) Sectors sectors = load_sectors(samples[i].disk);
                uint8_t *header = sector_at(&sectors, FAT_SECTOR), value[4];

                put32(value, samples[i].value);
                memcpy(header + samples[i].offset, value, samples[i].size);
                assert_refused(&sectors, -EBADMSG, samples[i].text);
        }
}

/* Finds a directory entry by the eleven bytes of its name. */
static uint8_t *entry_of(const Sectors *sectors, const char *name) {
        for (size_t i = 4; i + 4 + SECTOR_SIZE <= sectors->size; i += 4 + SECTOR_SIZE)
                for (size_t j = 0; j < SECTOR_SIZE; j += 32)
                        if (memcmp(sectors->data + i + 4 + j, name, 11) == 0)
                                return sectors->data + i + 4 + j;
        fail_msg("no entry %s", name);
        return NULL;
}

static void test_malformed_directories_and_files_are_refused(void **state) {
        static const struct {
                const char *disk, *name;
                size_t offset;
                uint8_t value;
                int r;
                const char *text;
        } samples[] = {
                { "disk/fat12.sectors", "BOOTX64 EFI", 31, 0x80, -EBADMSG, "does not fit its file system" },
                { "disk/fat12.sectors", "BOOTX64 EFI", 26, 0, -EBADMSG, "ends too early, at 0" },
                { "disk/fat12.sectors", "BOOTX64 EFI", 27, 0xff, -EBADMSG, "ends too early" },
                { "disk/fat12.sectors", "BOOTX64 EFI", 29, 0x20, -EBADMSG, "ends too early, at 0xfff" },
                { "disk/fat12.sectors", "BOOTX64 EFI", 11, 0x10, -ENOENT, "No EFI system partition" },
                { "disk/fat12.sectors", "BOOTX64 EFI", 11, 0x08, -ENOENT, "No EFI system partition" },
                { "disk/fat12.sectors", "BOOTX64 EFI", 0, 0xe5, -ENOENT, "No EFI system partition" },
                { "disk/fat12.sectors", "BOOT       ", 11, 0x20, -ENOENT, "No EFI system partition" },
                { "disk/fat12.sectors", "BOOT       ", 26, 0, -EBADMSG, "ends too early" },
                { "disk/fat12.sectors", "EFI        ", 11, 0x20, -ENOENT, "No EFI system partition" },
                { "disk/fat12.sectors", "EFI        ", 0, 0, -ENOENT, "No EFI system partition" },
                { "disk/fat32.sectors", "BOOTX64 EFI", 21, 0xff, -EBADMSG, "ends too early" },
        };

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                _cleanup_(sectors_done) Sectors sectors = load_sectors(samples[i].disk);

                entry_of(&sectors, samples[i].name)[samples[i].offset] = samples[i].value;
                assert_refused(&sectors, samples[i].r, samples[i].text);
        }
}

static void test_a_directory_whose_chain_is_a_loop_ends(void **state) {
        _cleanup_(sectors_done) Sectors sectors = load_sectors("disk/fat32.sectors");
        uint8_t *table = sector_at(&sectors, FAT_SECTOR + 32);

        /* The only cluster of the root directory, 2, leads to itself. */
        put32(table + 2 * 4, 2);
        assert_refused(&sectors, -EBADMSG, "a directory has no end");
}

/* Changes the short name, so that only the long name before it identifies the file. */
static void give_long_name(uint8_t *entry, const char *name, uint8_t checksum) {
        static const uint8_t places[] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
        uint8_t *part = entry - 32;

        memset(part, 0, 32);
        part[0] = 0x41;
        part[11] = 0x0f;
        part[13] = checksum;
        for (size_t i = 0; i < strlen(name); i++)
                part[places[i]] = (uint8_t) name[i];
        memcpy(entry, "SOMETH~1TMP", 11);
}

static void test_the_last_cluster_is_one_and_the_next_is_not(void **state) {
        _cleanup_(sectors_done) Sectors sectors = load_sectors("disk/fat32.sectors");
        uint8_t *header = sector_at(&sectors, FAT_SECTOR);
        uint32_t last = get32(header + 32) - 32 - header[16] * get32(header + 36) + 1;
        char text[64];

        /* Its entry in the allocation table is 0. */
        put32(header + 44, last);
        assert_refused(&sectors, -EBADMSG, "ends too early, at 0.");
        put32(header + 44, last + 1);
        (void) snprintf(text, sizeof(text), "ends too early, at %#x.", last + 1);
        assert_refused(&sectors, -EBADMSG, text);
}

static void test_a_bad_cluster_is_no_end(void **state) {
        _cleanup_(sectors_done) Sectors sectors = load_sectors("disk/fat32.sectors");
        uint8_t *table = sector_at(&sectors, FAT_SECTOR + 32);
        _cleanup_free_ uint8_t *data = NULL;
        BootFile file;

        put32(table + 2 * 4, 0xfffffff8);
        assert_int_equal(find(&sectors, &file, NULL), 0);
        data = file.data;
        put32(table + 2 * 4, 0x0ffffff7);
        assert_refused(&sectors, -EBADMSG, "ends too early, at 0xffffff7");
}

static void test_a_long_name_counts_if_it_goes_with_its_entry(void **state) {
        uint8_t checksum = 0;

        for (size_t i = 0; i < 11; i++)
                checksum = (uint8_t) ((uint8_t) (checksum << 7 | checksum >> 1) + "SOMETH~1TMP"[i]);

        for (int wrong = 0; wrong < 2; wrong++) {
                _cleanup_(sectors_done) Sectors sectors = load_sectors("disk/fat12.sectors");
                uint8_t *entry = entry_of(&sectors, "BOOTX64 EFI");
                _cleanup_free_ uint8_t *data = NULL;
                BootFile file;

                /* The directory begins with "." and "..". The new entry replaces "..". */
                give_long_name(entry, "BootX64.efi", (uint8_t) (checksum + wrong));
                if (wrong) {
                        assert_refused(&sectors, -ENOENT, "No EFI system partition");
                        continue;
                }
                assert_int_equal(find(&sectors, &file, NULL), 0);
                data = file.data;
                assert_int_equal(file.size, 1543);
        }
}

static void test_a_disk_that_cannot_be_read_says_where(void **state) {
        _cleanup_(sectors_done) Sectors sectors = load_sectors("disk/fat12.sectors");
        BootFile file;
        Error error = {};

        sectors.broken = (uint64_t) FAT_SECTOR * SECTOR_SIZE;
        assert_int_equal(find(&sectors, &file, &error), -EIO);
        assert_int_equal(error.failure, FAILURE_INTERNAL);
        assert_non_null(strstr(error.text, "At offset 0x4400: cannot be read: Input/output error"));
}

static void test_disks_too_short_for_anything_are_refused(void **state) {
        _cleanup_(sectors_done) Sectors sectors = load_sectors("disk/fat12.sectors");
        uint32_t sectors_there = get32(sectors.data);

        /* The backup partition table is behind the partition, and is not needed. */
        for (uint32_t i = 0; i < sectors_there - 33; i++) {
                BootFile file;

                put32(sectors.data, i);
                if (find(&sectors, &file, NULL) != -EBADMSG)
                        fail_msg("a disk of %u sectors was not refused", i);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_boot_file_is_read_from_every_kind_of_fat),
                cmocka_unit_test(test_two_boot_files_are_one_too_many),
                cmocka_unit_test(test_two_partitions_with_a_boot_file_are_refused),
                cmocka_unit_test(test_other_partitions_are_passed_over),
                cmocka_unit_test(test_malformed_partition_tables_are_refused),
                cmocka_unit_test(test_malformed_file_systems_are_refused),
                cmocka_unit_test(test_malformed_directories_and_files_are_refused),
                cmocka_unit_test(test_a_directory_whose_chain_is_a_loop_ends),
                cmocka_unit_test(test_the_last_cluster_is_one_and_the_next_is_not),
                cmocka_unit_test(test_a_bad_cluster_is_no_end),
                cmocka_unit_test(test_a_long_name_counts_if_it_goes_with_its_entry),
                cmocka_unit_test(test_a_disk_that_cannot_be_read_says_where),
                cmocka_unit_test(test_disks_too_short_for_anything_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
