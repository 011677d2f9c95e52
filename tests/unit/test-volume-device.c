/* SPDX-License-Identifier: Apache-2.0 */

/* Which device Device= selects, over NVMe controllers that the test plays, and the tables of a volume. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/io.h"
#include "volume/device-search.h"
#include "volume/ebs-identity.h"
#include "volume/mapping.h"

static char root[] = "/tmp/unseald-test-volume.XXXXXX";
static char block_directory[64], dev_directory[64];
static int controller_status;
static unsigned commands;

/* Plays a controller: its answer is the content of the node. It takes the one command that is right. */
static int play_controller(int fd, struct nvme_admin_cmd *command) {
        struct nvme_admin_cmd expected = {
                .opcode = 0x06, .addr = command->addr, .data_len = 4096, .cdw10 = 1, .timeout_ms = 5000
        };

        assert_true(command->addr != 0);
        assert_memory_equal(command, &expected, sizeof(expected));
        commands++;
        if (controller_status != 0)
                return controller_status;
        assert_int_equal(read_up_to(fd, (void *) (uintptr_t) command->addr, 4096), 4096);
        return 0;
}

static const DevicePlaces places = { .block = block_directory,
                                     .dev = dev_directory,
                                     .command = play_controller };

static void make_page(uint8_t page[4096], const char *serial, const char *attachment) {
        memset(page, 0, 4096);
        page[0] = 0x0f;
        page[1] = 0x1d;
        memset(page + 4, ' ', 20 + 40);
        memcpy(page + 4, serial, strlen(serial));
        memcpy(page + 24, "Amazon Elastic Block Store", 26);
        if (attachment) {
                memset(page + 3072, ' ', 32);
                memcpy(page + 3072, attachment, strlen(attachment));
        }
}

static void add_file(const char *directory, const char *name, const void *data, size_t size) {
        char path[400];

        (void) snprintf(path, sizeof(path), "%s/%s", directory, name);
        assert_int_equal(write_file_atomic(path, data, size, 0600), 0);
}

static void add_block(const char *name) {
        char path[200];

        (void) snprintf(path, sizeof(path), "%s/%s", block_directory, name);
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
}

static void attach(const char *name, const char *serial, const char *attachment) {
        uint8_t page[4096];

        make_page(page, serial, attachment);
        add_file(dev_directory, name, page, sizeof(page));
        add_block(name);
}

static int setup(void **state) {
        (void) snprintf(block_directory, sizeof(block_directory), "%s/block", root);
        (void) snprintf(dev_directory, sizeof(dev_directory), "%s/dev", root);
        controller_status = 0;
        commands = 0;
        return mkdir(block_directory, 0700) == 0 && mkdir(dev_directory, 0700) == 0 ? 0 : -1;
}

static int teardown(void **state) {
        char command[100];

        (void) snprintf(command, sizeof(command), "rm -rf %s/*", root);
        return system(command) == 0 ? 0 : -1;
}

static void test_selector_tells_names_ids_and_paths_apart(void **state) {
        static const struct {
                const char *text;
                int kind; /* -1: refused */
                const char *selected;
        } rows[] = {
                { "sdf", DEVICE_ATTACHMENT, "sdf" },
                { "/dev/sdf", DEVICE_ATTACHMENT, "sdf" },
                { "sda1", DEVICE_ATTACHMENT, "sda1" },
                { "xvdba", DEVICE_ATTACHMENT, "xvdba" },
                { "/dev/xvdf", DEVICE_ATTACHMENT, "xvdf" },
                { "vol-0123456789abcdef0", DEVICE_VOLUME_ID, "vol-0123456789abcdef0" },
                { "vol-01234567", DEVICE_VOLUME_ID, "vol-01234567" },
                { "/dev/nvme1n1", DEVICE_PATH, "/dev/nvme1n1" },
                { "/dev/disk/by-path/pci-0000:00:1f.0-nvme-1", DEVICE_PATH,
                  "/dev/disk/by-path/pci-0000:00:1f.0-nvme-1" },
                { "/dev/sdfabc", DEVICE_PATH, "/dev/sdfabc" },
                { "/dev/vol-01234567", DEVICE_PATH, "/dev/vol-01234567" },
                { "", -1 },
                { "sd", -1 },
                { "sdF", -1 },
                { "sdf123", -1 },
                { "sdfgh", -1 },
                { "vol-0123456789ABCDEF0", -1 },
                { "vol-0123456789abcdef", -1 },
                { "vol-0123456789abcdef01", -1 },
                { "vol0123456789abcdef0", -1 },
                { "nvme1n1", -1 },
                { "/dev", -1 },
                { "/dev/", -1 },
                { "/dev/disk/", -1 },
                { "/dev/../etc/passwd", -1 },
                { "/dev/a/..", -1 },
                { "/dev/a/.", -1 },
                { "/dev/./sdf", -1 },
                { "/dev//sdf", -1 },
                { "/etc/passwd", -1 },
                { "/dev/a b", -1 },
                { "/dev/a\nb", -1 },
        };
        char longest[DEVICE_TEXT_MAX + 1];
        DeviceSelector selector;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                int r = device_selector_parse(rows[i].text, &selector);

                if ((r < 0) != (rows[i].kind < 0))
                        fail_msg("saw %d for \"%s\"", r, rows[i].text);
                if (rows[i].kind < 0)
                        continue;
                assert_int_equal(selector.kind, rows[i].kind);
                assert_string_equal(selector.text, rows[i].selected);
        }
        memset(longest, 'a', sizeof(longest));
        memcpy(longest, "/dev/", 5);
        longest[DEVICE_TEXT_MAX] = '\0';
        assert_int_equal(device_selector_parse(longest, &selector), -EINVAL);
        longest[DEVICE_TEXT_MAX - 1] = '\0';
        assert_int_equal(device_selector_parse(longest, &selector), 0);
}

static void test_identity_reads_serial_number_and_name(void **state) {
        EbsIdentity identity;
        uint8_t page[4096];

        make_page(page, "vol0123456789abcdef0", "sdf");
        assert_int_equal(ebs_identity_parse(page, &identity), 0);
        assert_string_equal(identity.volume_id, "vol-0123456789abcdef0");
        assert_string_equal(identity.attachment, "sdf");

        make_page(page, "vol01234567", "/dev/xvdba");
        assert_int_equal(ebs_identity_parse(page, &identity), 0);
        assert_string_equal(identity.volume_id, "vol-01234567");
        assert_string_equal(identity.attachment, "xvdba");

        /* 32 characters are the whole field. */
        make_page(page, "vol01234567", "abcdefghijklmnopqrstuvwxyz012345");
        assert_int_equal(ebs_identity_parse(page, &identity), 0);
        assert_string_equal(identity.attachment, "abcdefghijklmnopqrstuvwxyz012345");
}

static void test_identity_leaves_out_a_name_that_is_none(void **state) {
        static const char *const names[] = {
                "sd f", "sdf\n", "../sdf", "SDF", "\x01", "sdf\xff", "/dev/", ""
        };
        EbsIdentity identity;
        uint8_t page[4096];

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                make_page(page, "vol0123456789abcdef0", names[i]);
                assert_int_equal(ebs_identity_parse(page, &identity), 0);
                assert_string_equal(identity.attachment, "");
        }
        make_page(page, "vol0123456789abcdef0", NULL);
        assert_int_equal(ebs_identity_parse(page, &identity), 0);
        assert_string_equal(identity.attachment, "");
        /* A NUL inside the name, and a name behind it. */
        make_page(page, "vol0123456789abcdef0", "sdf");
        page[3072 + 3] = '\0';
        page[3072 + 4] = 'x';
        assert_int_equal(ebs_identity_parse(page, &identity), 0);
        assert_string_equal(identity.attachment, "sdf");
}

static void test_identity_refuses_other_controllers(void **state) {
        static const char *const serials[] = {
                "",           "vol",          "vol0123456",   "vol0123456789ABCDEF0",
                "AWS0123456", "vol 01234567", "vol01234567 x"
        };
        EbsIdentity identity;
        uint8_t page[4096];

        for (size_t i = 0; i < ELEMENTSOF(serials); i++) {
                make_page(page, serials[i], "sdf");
                assert_int_equal(ebs_identity_parse(page, &identity), -EBADMSG);
        }
        make_page(page, "vol0123456789abcdef0", "sdf");
        memcpy(page + 24, "Amazon EC2 NVMe Instance Storage", 32);
        assert_int_equal(ebs_identity_parse(page, &identity), -ENODEV);
        make_page(page, "vol0123456789abcdef0", "sdf");
        page[1] = 0x1e;
        assert_int_equal(ebs_identity_parse(page, &identity), -ENODEV);
}

static int find(const char *text, char path[static DEVICE_PATH_MAX], Error *error) {
        DeviceSelector selector;

        assert_int_equal(device_selector_parse(text, &selector), 0);
        return device_find(&places, &selector, path, error);
}

static void assert_found(const char *text, const char *name) {
        char path[DEVICE_PATH_MAX], expected[DEVICE_PATH_MAX];
        Error error = {};

        if (find(text, path, &error) < 0)
                fail_msg("saw \"%s\"", error.text);
        (void) snprintf(expected, sizeof(expected), "%s/%s", dev_directory, name);
        assert_string_equal(path, expected);
}

static void test_search_finds_by_name_and_by_id(void **state) {
        attach("nvme0n1", "vol0aaaaaaaaaaaaaaa0", "/dev/xvda");
        attach("nvme1n1", "vol0bbbbbbbbbbbbbbb0", "sdf");
        attach("nvme10n1", "vol0cccccccccccccccc", "/dev/sdg");
        assert_found("sdf", "nvme1n1");
        assert_found("/dev/sdf", "nvme1n1");
        assert_found("sdg", "nvme10n1");
        assert_found("vol-0cccccccccccccccc", "nvme10n1");
        assert_int_equal(commands, 12);
}

static void test_search_asks_no_partition_and_no_other_disk(void **state) {
        char path[DEVICE_PATH_MAX];
        Error error = {};

        attach("nvme1n1p1", "vol0bbbbbbbbbbbbbbb0", "sdf");
        (void) snprintf(path, sizeof(path), "%s/nvme1n1p1", block_directory);
        add_file(path, "partition", "1\n", 2);
        attach("vda", "vol0bbbbbbbbbbbbbbb0", "sdf");
        add_block("nvme2n1"); /* without a node */
        assert_int_equal(find("sdf", path, &error), -ENOENT);
        assert_int_equal(commands, 0);
}

static void test_search_that_finds_nothing_names_what_is_there(void **state) {
        char path[DEVICE_PATH_MAX];
        uint8_t page[4096];
        Error error = {};

        assert_int_equal(find("sdf", path, &error), -ENOENT);
        assert_int_equal(error.remedy, REMEDY_RETRY);
        assert_int_equal(error.failure, FAILURE_SOURCE);
        assert_non_null(strstr(error.text, "Attached are: none."));

        attach("nvme1n1", "vol0bbbbbbbbbbbbbbb0", "sdg");
        attach("nvme2n1", "vol0cccccccccccccccc", NULL);
        assert_int_equal(find("sdf", path, &error), -ENOENT);
        assert_non_null(strstr(error.text, "nvme1n1 (vol-0bbbbbbbbbbbbbbb0 as sdg), "));
        assert_non_null(strstr(error.text, "nvme2n1 (vol-0cccccccccccccccc). Attach"));

        make_page(page, "vol0dddddddddddddddd", "sdf");
        memcpy(page + 24, "Amazon EC2 NVMe Instance Storage", 32);
        add_file(dev_directory, "nvme3n1", page, sizeof(page));
        add_block("nvme3n1");
        assert_int_equal(find("sdf", path, &error), -ENOENT);
        assert_non_null(strstr(error.text, "nvme3n1 (not of EBS). Attach"));
}

static void test_search_refuses_two_matches_and_names_both(void **state) {
        char path[DEVICE_PATH_MAX];
        Error error = {};

        attach("nvme1n1", "vol0bbbbbbbbbbbbbbb0", "sdf");
        attach("nvme2n1", "vol0cccccccccccccccc", "/dev/sdf");
        assert_int_equal(find("sdf", path, &error), -ENOTUNIQ);
        assert_int_equal(error.remedy, REMEDY_NONE);
        assert_non_null(strstr(error.text, "nvme1n1 (vol-0bbbbbbbbbbbbbbb0 as sdf), "));
        assert_non_null(strstr(error.text, "nvme2n1 (vol-0cccccccccccccccc as sdf)."));
}

static void test_controller_that_fails_is_no_candidate(void **state) {
        char path[DEVICE_PATH_MAX];
        Error error = {};

        attach("nvme1n1", "vol0bbbbbbbbbbbbbbb0", "sdf");
        for (int i = 0; i < 2; i++) {
                controller_status = i == 0 ? -EACCES : 0x4002;
                assert_int_equal(find("sdf", path, &error), -ENOENT);
        }
        assert_int_equal(commands, 2);
        controller_status = 0;
        assert_found("sdf", "nvme1n1");
}

static void test_path_selects_what_is_there(void **state) {
        char path[DEVICE_PATH_MAX];
        Error error = {};

        assert_int_equal(find("/dev/null", path, &error), 0);
        assert_string_equal(path, "/dev/null");
        assert_int_equal(find("/dev/unseald-is-not-here", path, &error), -ENOENT);
        assert_int_equal(error.remedy, REMEDY_RETRY);
}

static void test_many_disks_do_not_overflow_the_error(void **state) {
        char path[DEVICE_PATH_MAX], name[16], serial[21];
        Error error = {};

        for (unsigned i = 0; i < 60; i++) {
                (void) snprintf(name, sizeof(name), "nvme%un1", i);
                (void) snprintf(serial, sizeof(serial), "vol%017x", i);
                attach(name, serial, i < 30 ? "sdf" : "sdg");
        }
        assert_int_equal(find("sdf", path, &error), -ENOTUNIQ);
        assert_non_null(strstr(error.text, "selects 30 devices"));
        assert_int_equal(find("sdz", path, &error), -ENOENT);
}

static void test_tables_have_every_parameter_of_the_key(void **state) {
        VolumeKey key = { .data_size = 3 * 4096 - 5 };
        Mapping mapping;

        assert_int_equal(volume_key_lay_out(&key), 0);
        memset(key.root_hash, 0xab, sizeof(key.root_hash));
        memset(key.salt, 0xcd, sizeof(key.salt));

        mapping_make(MAPPING_CRYPT, "weights", &key, makedev(259, 300), &mapping);
        assert_string_equal(mapping.name, "unseald_crypt-weights");
        assert_string_equal(mapping.uuid, "UNSEALD-CRYPT-weights");
        assert_string_equal(mapping.target, "crypt");
        assert_int_equal(mapping.sectors, 4 * 8); /* three blocks of data, one of the tree */
        assert_string_equal(
                        mapping.parameters,
                        "aes-xts-plain64 :64:logon:unseald-volume:weights 0 259:300 0 1 sector_size:4096");

        mapping_make(MAPPING_VERITY, "weights", &key, makedev(254, 0), &mapping);
        assert_string_equal(mapping.name, "unseald-weights");
        assert_string_equal(mapping.uuid, "UNSEALD-VERITY-weights");
        assert_string_equal(mapping.target, "verity");
        assert_int_equal(mapping.sectors, 3 * 8);
        assert_string_equal(mapping.parameters,
                            "1 254:0 254:0 4096 4096 3 3 sha256 "
                            "abababababababababababababababababababababababababababababababab "
                            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd");
}

static void test_tables_of_state_are_authenticated(void **state) {
        Mapping mapping;

        mapping_make_part("state", makedev(259, 1), 64U * 1024 * 1024, &mapping);
        assert_string_equal(mapping.name, "unseald_part-state");
        assert_string_equal(mapping.uuid, "UNSEALD-PART-state");
        assert_string_equal(mapping.target, "linear");
        assert_int_equal(mapping.sectors, 131072);
        assert_true(mapping.writable);
        assert_string_equal(mapping.parameters, "259:1 0");

        mapping_make_tags("state", makedev(254, 0), TAGS_JOURNAL, 65536, 0, &mapping);
        assert_string_equal(mapping.name, "unseald_tags-state");
        assert_string_equal(mapping.uuid, "UNSEALD-TAGS-state");
        assert_string_equal(mapping.target, "integrity");
        assert_int_equal(mapping.sectors, 65536);
        assert_string_equal(mapping.parameters, "254:0 2048 32 J 2 block_size:4096 fix_padding");
        mapping_make_tags("state", makedev(254, 0), TAGS_DIRECT, 8, 1024, &mapping);
        assert_string_equal(
                        mapping.parameters,
                        "254:0 2048 32 D 4 block_size:4096 journal_sectors:1024 interleave_sectors:32768 fix_padding");

        mapping_make_authenticated(MAPPING_FORMAT, "state", makedev(254, 1), 65536, &mapping);
        assert_string_equal(mapping.name, "unseald_crypt-state");
        mapping_make_authenticated(MAPPING_STATE, "state", makedev(254, 1), 65536, &mapping);
        assert_string_equal(mapping.name, "unseald-state");
        assert_string_equal(mapping.uuid, "UNSEALD-STATE-state");
        assert_string_equal(mapping.target, "crypt");
        assert_true(mapping.writable);
        assert_int_equal(mapping.sectors, 65536);
        assert_string_equal(
                        mapping.parameters,
                        "capi:authenc(hmac(sha256),xts(aes))-plain64 :96:logon:unseald-volume:state 0 254:1 0 2 "
                        "integrity:32:aead sector_size:4096");
}

static void test_table_without_integrity_begins_after_the_label(void **state) {
        Mapping mapping;

        mapping_make_unverified(MAPPING_FORMAT, "state", makedev(259, 1), 129024, &mapping);
        assert_string_equal(mapping.name, "unseald_crypt-state");
        mapping_make_unverified(MAPPING_STATE, "state", makedev(259, 1), 129024, &mapping);
        assert_string_equal(mapping.name, "unseald-state");
        assert_string_equal(mapping.uuid, "UNSEALD-STATE-state");
        assert_string_equal(mapping.target, "crypt");
        assert_true(mapping.writable);
        assert_int_equal(mapping.sectors, 129024);
        assert_string_equal(
                        mapping.parameters,
                        "aes-xts-plain64 :64:logon:unseald-volume:state 0 259:1 2048 1 sector_size:4096");
}

/* As kernel 6.1 prints it. */
static void test_only_a_journal_without_other_tags_is_taken_over(void **state) {
        static const char text[] =
                        "254:0 2048 32 J 7 block_size:4096 journal_sectors:264 interleave_sectors:32768 "
                        "buffer_sectors:128 journal_watermark:50 commit_time:10000 fix_padding";
        static const char *const others[] = {
                "254:1 2048 32 J 1 block_size:4096",
                "254:0 2048 32 B 1 block_size:4096",
                "254:0 2048 32 D 1 block_size:4096",
                "254:0 0 32 J 1 block_size:4096",
                "254:0 2048 4 J 1 block_size:4096",
                "254:0 2048 32 J 2 block_size:4096 recalculate",
                "254:0 2048 32 J 2 block_size:4096 internal_hash:crc32c",
                "",
        };

        assert_true(mapping_is_journal(text, makedev(254, 0)));
        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                assert_false(mapping_is_journal(others[i], makedev(254, 0)));
}

/* The kernel's names have 127 characters at most. */
static void test_longest_names_fit(void **state) {
        VolumeKey key = { .data_size = VOLUME_DATA_BLOCKS_MAX * VOLUME_BLOCK_SIZE };
        char name[65], description[MAPPING_NAME_MAX];
        Mapping mapping;

        memset(name, 'n', 64);
        name[64] = '\0';
        assert_int_equal(volume_key_lay_out(&key), 0);
        for (int layer = MAPPING_CRYPT; layer <= MAPPING_VERITY; layer++) {
                mapping_make(layer, name, &key, makedev(4095, 1048575), &mapping);
                assert_string_equal(mapping.name + strlen(mapping.name) - 64, name);
                assert_string_equal(mapping.uuid + strlen(mapping.uuid) - 64, name);
                assert_true(strlen(mapping.parameters) < MAPPING_PARAMETERS_MAX - 1);
        }
        mapping_make_unverified(MAPPING_STATE, name, makedev(4095, 1048575), UINT64_MAX, &mapping);
        assert_string_equal(mapping.name + strlen(mapping.name) - 64, name);
        assert_non_null(strstr(mapping.parameters, " 4095:1048575 2048 1 sector_size:4096"));
        mapping_key_description(name, description);
        assert_string_equal(description + strlen(description) - 64, name);
}

#define DEVICE_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_selector_tells_names_ids_and_paths_apart),
                cmocka_unit_test(test_identity_reads_serial_number_and_name),
                cmocka_unit_test(test_identity_leaves_out_a_name_that_is_none),
                cmocka_unit_test(test_identity_refuses_other_controllers),
                DEVICE_TEST(test_search_finds_by_name_and_by_id),
                DEVICE_TEST(test_search_asks_no_partition_and_no_other_disk),
                DEVICE_TEST(test_search_that_finds_nothing_names_what_is_there),
                DEVICE_TEST(test_search_refuses_two_matches_and_names_both),
                DEVICE_TEST(test_controller_that_fails_is_no_candidate),
                DEVICE_TEST(test_path_selects_what_is_there),
                DEVICE_TEST(test_many_disks_do_not_overflow_the_error),
                cmocka_unit_test(test_tables_have_every_parameter_of_the_key),
                cmocka_unit_test(test_tables_of_state_are_authenticated),
                cmocka_unit_test(test_table_without_integrity_begins_after_the_label),
                cmocka_unit_test(test_only_a_journal_without_other_tags_is_taken_over),
                cmocka_unit_test(test_longest_names_fit),
        };
        int failed;

        if (!mkdtemp(root))
                return 1;
        failed = cmocka_run_group_tests(tests, NULL, NULL);
        (void) rmdir(root);
        return failed;
}
