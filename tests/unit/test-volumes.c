/* SPDX-License-Identifier: Apache-2.0 */

/* The files *.volume, and the units that are made of them. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/duration.h"
#include "basic/io.h"
#include "config/volume-units.h"
#include "config/volumes.h"

static char root[] = "/tmp/unseald-test-volumes.XXXXXX";
static char vendor[64], local[64];

static void write_text(const char *directory, const char *name, const char *text) {
        char path[200];

        (void) snprintf(path, sizeof(path), "%s/volumes.d/%s", directory, name);
        assert_int_equal(write_file_atomic(path, text, strlen(text), 0600), 0);
}

static int setup(void **state) {
        char command[300];

        (void) snprintf(vendor, sizeof(vendor), "%s/usr", root);
        (void) snprintf(local, sizeof(local), "%s/etc", root);
        (void) snprintf(command, sizeof(command),
                        "mkdir -p %s/volumes.d %s/volumes.d %s/secrets.d/key.secret.d", vendor, local,
                        vendor);
        return system(command) == 0 ? 0 : -1;
}

static int teardown(void **state) {
        char command[100];

        (void) snprintf(command, sizeof(command), "rm -rf %s/*", root);
        return system(command) == 0 ? 0 : -1;
}

static int make(const char *file_name, const char *text, Volume *ret, Remarks *remarks, Error *error) {
        _cleanup_ini_ IniFile *ini = calloc(1, sizeof(*ini));

        assert_non_null(ini);
        ini->file = strdup("test.volume");
        assert_int_equal(ini_parse("test.volume", text, strlen(text), ini, error), 0);
        return volume_make(ini, file_name, ret, remarks, error);
}

static void test_volume_has_defaults(void **state) {
        _cleanup_(volume_clear) Volume volume = {};
        Error error = {};

        assert_int_equal(make("weights.volume", "[Volume]\nDevice=sdf\n", &volume, NULL, &error), 0);
        assert_string_equal(volume.name, "weights");
        assert_string_equal(volume.secret, "weights");
        assert_string_equal(volume.where, "/run/unseald-volumes/weights");
        assert_string_equal(volume.file_system, "erofs");
        assert_string_equal(volume.device.text, "sdf");
        assert_int_equal(volume.device.kind, DEVICE_ATTACHMENT);
        assert_int_equal(volume.device_timeout_usec, 90 * USEC_PER_SEC);
        assert_null(volume.options);
        assert_null(volume.description);
}

static void test_volume_takes_every_setting(void **state) {
        _cleanup_(volume_clear) Volume volume = {};
        Error error = {};

        assert_int_equal(
                        make("w.volume",
                             "[Volume]\nDescription=The model\nDevice=vol-0123456789abcdef0\nKey=weights-2026\n"
                             "Mode=read-only\nWhere=/srv/the-model\nFileSystem=squashfs\nDeviceTimeoutSec=5min\n"
                             "Options=nodiratime\nOptions=\nOptions=noexec noatime\nOptions=cache_strategy=disabled\n",
                             &volume, NULL, &error),
                        0);
        assert_string_equal(volume.description, "The model");
        assert_int_equal(volume.device.kind, DEVICE_VOLUME_ID);
        assert_string_equal(volume.secret, "weights-2026");
        assert_string_equal(volume.where, "/srv/the-model");
        assert_string_equal(volume.file_system, "squashfs");
        assert_int_equal(volume.device_timeout_usec, 300 * USEC_PER_SEC);
        assert_int_equal(strings_count(volume.options), 3);
        assert_string_equal(volume.options[0], "noexec");
        assert_string_equal(volume.options[2], "cache_strategy=disabled");
}

static void test_state_has_defaults_of_its_own(void **state) {
        _cleanup_(volume_clear) Volume read_only = {}, never = {}, blank = {};
        Error error = {};

        assert_int_equal(make("state.volume", "[Volume]\nDevice=sdf\n", &read_only, NULL, &error), 0);
        assert_false(read_only.writable);
        assert_false(read_only.may_begin);
        assert_int_equal(make("state.volume", "[Volume]\nDevice=sdf\nInitialize=\nMode=state\n", &never,
                              NULL, &error),
                         0);
        assert_true(never.writable);
        assert_false(never.may_begin);
        assert_string_equal(never.file_system, "ext4");
        assert_int_equal(make("state.volume",
                              "[Volume]\nInitialize=blank\nFileSystem=ext4\nMode=state\nDevice=sdf\n",
                              &blank, NULL, &error),
                         0);
        assert_true(blank.writable);
        assert_true(blank.may_begin);
        assert_string_equal(blank.file_system, "ext4");
}

/* Without a word of it, and with an empty value, a volume is verified. */
static void test_only_integrity_no_takes_the_tags_away(void **state) {
        static const struct {
                const char *lines;
                bool unverified;
        } rows[] = {
                { "", false },
                { "Integrity=\n", false },
                { "Integrity=yes\n", false },
                { "Integrity=no\n", true },
                { "Integrity=off\n", true },
                { "Integrity=no\nIntegrity=\n", false },
                { "Integrity=no\nIntegrity=yes\n", false },
                { "Integrity=yes\nIntegrity=no\n", true },
        };

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(volume_clear) Volume volume = {};
                Error error = {};
                char text[200];

                (void) snprintf(text, sizeof(text), "[Volume]\nDevice=sdf\nMode=state\n%s", rows[i].lines);
                assert_int_equal(make("state.volume", text, &volume, NULL, &error), 0);
                assert_int_equal(volume.unverified, rows[i].unverified);
        }
}

static void test_empty_value_is_the_default(void **state) {
        _cleanup_(volume_clear) Volume volume = {};
        Error error = {};

        assert_int_equal(
                        make("w.volume",
                             "[Volume]\nDevice=sdf\nDevice=\nDevice=sdg\nKey=\nMode=\nWhere=\nFileSystem=squashfs\n"
                             "FileSystem=\nDeviceTimeoutSec=1s\nDeviceTimeoutSec=\nOptions=\n",
                             &volume, NULL, &error),
                        0);
        assert_string_equal(volume.device.text, "sdg");
        assert_string_equal(volume.file_system, "erofs");
        assert_int_equal(volume.device_timeout_usec, 90 * USEC_PER_SEC);
}

static void test_wrong_values_are_refused_with_their_line(void **state) {
        static const struct {
                const char *line, *expected;
        } rows[] = {
                { "Device=/etc/passwd", "test.volume:3: Device=" },
                { "Device=nvme1n1", "test.volume:3: Device=" },
                { "Key=a/b", "Key=: Expected the name of a secret" },
                { "Key=..", "Key=" },
                { "Mode=status", "Mode=: Expected read-only or state" },
                { "Mode=state\nInitialize=always", "test.volume:4: Initialize=: Expected blank or never" },
                { "Initialize=blank", "test.volume:3: Initialize=: The setting needs Mode=state" },
                { "Initialize=never", "Initialize=: The setting needs Mode=state" },
                { "Mode=state\nIntegrity=none", "test.volume:4: Integrity=: Expected yes or no" },
                { "Integrity=no", "test.volume:3: Integrity=: The setting needs Mode=state" },
                { "Integrity=yes", "Integrity=: The setting needs Mode=state" },
                { "Mode=state\nFileSystem=erofs",
                  "test.volume:4: FileSystem=: Expected ext4 with Mode=state" },
                { "Mode=state\nFileSystem=xfs", "FileSystem=: Expected erofs or squashfs, or ext4" },
                { "Mode=read-write", "Mode=" },
                { "OnOpen=anchor.service", "test.volume:3: OnOpen=: The setting needs Mode=state" },
                { "Mode=state\nOnOpen=anchor", "test.volume:4: OnOpen=: Expected the name of a service" },
                { "Mode=state\nOnOpen=.service", "OnOpen=" },
                { "Mode=state\nOnOpen=a.target", "OnOpen=" },
                { "Mode=state\nOnOpen=anchor@.service", "OnOpen=" },
                { "Mode=state\nOnOpen=@state.service", "OnOpen=" },
                { "Mode=state\nOnOpen=a@b@c.service", "OnOpen=" },
                { "Mode=state\nOnOpen=-a.service", "OnOpen=" },
                { "Mode=state\nOnOpen=a/b.service", "OnOpen=" },
                { "Mode=state\nOnOpen=%i.service", "OnOpen=" },
                { "Mode=state\nOnOpen=a b.service", "OnOpen=" },
                { "Mode=state\nOnOpen=unseald.service", "OnOpen=" },
                { "Mode=state\nOnOpen=unseald-volume@w.service", "OnOpen=" },
                { "Where=srv/weights", "Where=" },
                { "Where=/", "Where=" },
                { "Where=/srv/../etc", "Where=" },
                { "Where=/srv/..", "Where=" },
                { "Where=/srv/.", "Where=" },
                { "Where=/srv/./a", "Where=" },
                { "Where=/srv//a", "Where=" },
                { "Where=/srv/a/", "Where=" },
                { "Where=/srv/a b", "Where=" },
                { "Where=/srv/%i", "Where=" },
                { "Where=/srv/$a", "Where=" },
                { "FileSystem=ext4", "FileSystem=" },
                { "DeviceTimeoutSec=soon", "DeviceTimeoutSec=" },
                { "DeviceTimeoutSec=2d", "DeviceTimeoutSec=" },
                { "Options=rw", "Options=" },
                { "Options=noexec dev", "Options=" },
                { "Options=suid", "Options=" },
                { "Options=remount", "Options=" },
                { "Options=bind", "Options=" },
                { "Options=loop=/dev/loop0", "Options=" },
                { "Options=x-systemd.makefs", "Options=" },
                { "Options=noexec,rw", "Options=" },
                { "Options=a%b", "Options=" },
                { "Options=\"a", "Options=" },
                { "Options=a b c d e f g h i j k l m n o p q", "no more than 16" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(volume_clear) Volume volume = {};
                Error error = {};
                char text[200];

                (void) snprintf(text, sizeof(text), "[Volume]\nDevice=sdf\n%s\n", rows[i].line);
                if (make("w.volume", text, &volume, NULL, &error) >= 0)
                        fail_msg("\"%s\" was taken", rows[i].line);
                assert_int_equal(error.failure, FAILURE_CONFIGURATION);
                if (!strstr(error.text, rows[i].expected))
                        fail_msg("saw \"%s\", wanted \"%s\" in it", error.text, rows[i].expected);
        }
}

static void test_file_without_device_or_with_a_wrong_name_is_refused(void **state) {
        static const char *const names[] = {
                ".volume",
                "a/b.volume",
                "...volume",
                "a b.volume",
                "w.secret",
                "w",
                "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff12345.volume"
        };
        Volume volume = {};
        Error error = {};

        assert_int_equal(make("w.volume", "[Volume]\nKey=w\n", &volume, NULL, &error), -EINVAL);
        assert_non_null(strstr(error.text, "Device= is missing"));
        assert_int_equal(make("w.volume", "[Volume]\nDevice=sdf\nDevice=\n", &volume, NULL, &error),
                         -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                assert_int_equal(make(names[i], "[Volume]\nDevice=sdf\n", &volume, NULL, &error), -EINVAL);
                assert_non_null(strstr(error.text, "Rename the file."));
        }
}

/* The credential socket's address has no more room. */
static void test_names_that_are_too_long_together_are_refused(void **state) {
        Volume volume = {};
        Error error = {};

        assert_int_equal(make("aaaaaaaaaabbbbbbbbbbccccccccccd.volume", "[Volume]\nDevice=sdf\n", &volume,
                              NULL, &error),
                         -EINVAL);
        assert_non_null(strstr(error.text, "more than 60 characters together"));
        assert_int_equal(make("aaaaaaaaaabbbbbbbbbbcccccccccc.volume", "[Volume]\nDevice=sdf\n", &volume,
                              NULL, &error),
                         0);
        volume_clear(&volume);
}

/* A unit's name must be a name of a file: "-" becomes "\\x2d". */
static void test_paths_that_give_too_long_names_of_units_are_refused(void **state) {
        static const char name[] = "---------------------------------------------------------.volume";
        char dashes[100], text[200];
        Volume volume = {};
        Error error = {};

        memset(dashes, '-', sizeof(dashes));
        for (int n = 60; n <= 63; n++) { /* 4 × 60 + strlen("srv-aa.mount") is 252 */
                (void) snprintf(text, sizeof(text), "[Volume]\nDevice=sdf\nWhere=/srv/aa%.*s\n", n, dashes);
                assert_int_equal(make("w.volume", text, &volume, NULL, &error), n == 60 ? 0 : -ENAMETOOLONG);
                assert_true(n == 60 || strstr(error.text, "Where= or the name of the volume is too long"));
                volume_clear(&volume);
        }
        assert_int_equal(make(name, "[Volume]\nDevice=sdf\nKey=w\nWhere=/srv\n", &volume, NULL, &error),
                         -ENAMETOOLONG);
        assert_int_equal(make(name + 4, "[Volume]\nDevice=sdf\nKey=w\nWhere=/srv\n", &volume, NULL, &error),
                         0);
        volume_clear(&volume);
}

static void test_remarks_get_every_mistake_of_a_file(void **state) {
        _cleanup_(remarks_clear) Remarks remarks = {};
        _cleanup_(volume_clear) Volume volume = {};
        Error error = {};

        assert_int_equal(make("w.volume", "[Volume]\nMode=states\nWhere=x\nDevise=sdf\n[Disk]\nA=b\n",
                              &volume, &remarks, &error),
                         0);
        assert_int_equal(remarks.count, 5);
        assert_int_equal(remarks_mistakes(&remarks), 3);
        assert_non_null(strstr(remarks.items[2].text, "Device"));
}

static void test_files_and_drop_ins_take_precedence_as_for_secrets(void **state) {
        _cleanup_(volume_clear) Volume volume = {};
        _cleanup_(volumes_clear) Volumes volumes = {};
        char path[200];
        Error error = {};

        write_text(vendor, "weights.volume", "[Volume]\nDevice=sdf\nWhere=/srv/a\n");
        (void) snprintf(path, sizeof(path), "%s/volumes.d/weights.volume.d", vendor);
        assert_int_equal(mkdir(path, 0700), 0);
        write_text(vendor, "weights.volume.d/10-where.conf", "[Volume]\nWhere=/srv/b\n");
        write_text(vendor, "masked.volume", "[Volume]\nDevice=sdg\n");
        (void) snprintf(path, sizeof(path), "%s/volumes.d/masked.volume", local);
        assert_int_equal(symlink("/dev/null", path), 0);

        assert_int_equal(volume_read(vendor, local, "weights", &volume, &error), 0);
        assert_string_equal(volume.where, "/srv/b");
        volume_clear(&volume);
        write_text(local, "weights.volume", "[Volume]\nDevice=sdh\n");
        assert_int_equal(volume_read(vendor, local, "weights", &volume, &error), 0);
        assert_string_equal(volume.device.text, "sdh");
        assert_string_equal(volume.where, "/srv/b");

        assert_int_equal(volumes_examine(vendor, local, &volumes, NULL, &error), 0);
        assert_int_equal(volumes.count, 1);
        volume_clear(&volume);
        assert_int_equal(volume_read(vendor, local, "masked", &volume, &error), -ENOENT);
        assert_int_equal(volume_read(vendor, local, "absent", &volume, &error), -ENOENT);
        assert_non_null(strstr(error.text, "is not declared"));
        assert_int_equal(volume_read(vendor, local, "../absent", &volume, &error), -EINVAL);
}

static void write_secret(const char *name, const char *text) {
        char path[200];

        (void) snprintf(path, sizeof(path), "%s/secrets.d/%s", vendor, name);
        assert_int_equal(write_file_atomic(path, text, strlen(text), 0600), 0);
}

static void assert_key_in_label(bool expected) {
        _cleanup_(volume_clear) Volume volume = {};
        _cleanup_(volumes_clear) Volumes volumes = {};
        Error error = {};

        if (volume_read(vendor, local, "state", &volume, &error) < 0)
                fail_msg("%s", error.text);
        assert_int_equal(volume.key_in_label, expected);
        assert_int_equal(volumes_examine(vendor, local, &volumes, NULL, &error), 0);
        assert_int_equal(volumes.items[0].key_in_label, expected);
}

/* A label without its ciphertext could not be opened in the next boot. */
static void test_the_secret_says_whether_the_label_has_its_ciphertext(void **state) {
        _cleanup_(volume_clear) Volume volume = {};
        Error error = {};

        write_text(vendor, "state.volume", "[Volume]\nDevice=sdf\nMode=state\nKey=key\n");
        assert_key_in_label(false); /* there is no such file: the key may be a member of a bundle */
        write_secret("key.secret", "[Secret]\nSource=ssm:/key\n");
        assert_key_in_label(false);
        write_secret("key.secret", "[Secret]\nSource=volume:state\n");
        assert_key_in_label(true);
        write_secret("key.secret.d/10-source.conf", "[Secret]\nSource=ssm:/key\n");
        assert_key_in_label(false);
        write_secret("key.secret", "[Secret]\nSource=ssm:/key\n");
        write_secret("key.secret.d/10-source.conf", "[Secret]\nSource=volume:state\n");
        assert_key_in_label(true);
        write_text(vendor, "state.volume", "[Volume]\nDevice=sdf\nMode=read-only\nKey=key\n");
        assert_key_in_label(false);
        write_text(vendor, "state.volume", "[Volume]\nDevice=sdf\nMode=state\nKey=key\n");
        write_secret("key.secret.d/10-source.conf", "[Secret]\nSource=volume:other\n");
        assert_int_equal(volume_read(vendor, local, "state", &volume, &error), -EINVAL);
        assert_non_null(strstr(error.text, "Key=key is the secret of another volume"));
        write_secret("key.secret.d/10-source.conf", "no setting\n");
        assert_true(volume_read(vendor, local, "state", &volume, &error) < 0);
}

static void test_two_volumes_share_neither_place_nor_device(void **state) {
        _cleanup_(remarks_clear) Remarks remarks = {};
        _cleanup_(volumes_clear) Volumes volumes = {};
        Error error = {};

        write_text(vendor, "a.volume", "[Volume]\nDevice=sdf\nWhere=/srv/a\n");
        write_text(vendor, "b.volume", "[Volume]\nDevice=sdg\nWhere=/srv/a\n");
        write_text(vendor, "c.volume", "[Volume]\nDevice=/dev/sdf\nWhere=/srv/c\n");
        write_text(vendor, "d.volume", "[Volume]\nWhere=/srv/d\n");
        write_text(vendor, "e.volume", "[Volume]\nDevice=sdh\nMode=state\nOnOpen=a.service\n");
        write_text(vendor, "f.volume", "[Volume]\nDevice=sdi\nMode=state\nOnOpen=a.service\n");
        write_text(vendor, "g.volume", "[Volume]\nDevice=sdj\nMode=state\nOnOpen=b.service\n");
        write_secret("e.secret", "[Secret]\nSource=/e\n");
        write_secret("f.secret", "[Secret]\nSource=/f\n");
        write_secret("g.secret", "[Secret]\nSource=/g\n");
        assert_int_equal(volumes_examine(vendor, local, &volumes, &remarks, &error), 0);
        assert_int_equal(volumes.count, 7);
        assert_int_equal(remarks_mistakes(&remarks), 4);
        assert_non_null(strstr(remarks.items[0].text, "b.volume: Where= is the same as in"));
        assert_non_null(strstr(remarks.items[1].text, "c.volume: Device= is the same as in"));
        assert_non_null(strstr(remarks.items[3].text, "f.volume: OnOpen= is the same as in"));
        volumes_clear(&volumes);
        assert_int_equal(volumes_examine(vendor, local, &volumes, NULL, &error), -EEXIST);
}

static void test_directory_without_volumes_is_empty(void **state) {
        _cleanup_(volumes_clear) Volumes volumes = {};
        Error error = {};

        assert_int_equal(volumes_examine("/nonexistent", "/nonexistent", &volumes, NULL, &error), 0);
        assert_int_equal(volumes.count, 0);
}

static void test_more_volumes_than_an_instance_takes_are_refused(void **state) {
        _cleanup_(volumes_clear) Volumes volumes = {};
        char name[32];
        Error error = {};

        for (unsigned i = 0; i <= VOLUMES_MAX; i++) {
                (void) snprintf(name, sizeof(name), "v%03u.volume", i);
                write_text(vendor, name, "");
        }
        assert_int_equal(volumes_examine(vendor, local, &volumes, NULL, &error), -E2BIG);
}

static void test_key_kinds(void **state) {
        assert_int_equal(volume_key_kind("Volume", "Device"), INI_KEY_VALUE);
        assert_int_equal(volume_key_kind("Volume", "Options"), INI_KEY_LIST);
        assert_int_equal(volume_key_kind("Secret", "Device"), INI_KEY_UNKNOWN);
        assert_int_equal(volume_key_kind("Volume", "Devices"), INI_KEY_UNKNOWN);
}

/* As "systemd-escape --path" prints them. */
static void test_unit_names_are_escaped_as_systemd_does(void **state) {
        static const char *const rows[][2] = {
                { "/srv/weights", "srv-weights" },
                { "/srv/my-model", "srv-my\\x2dmodel" },
                { "/.srv/.a", "\\x2esrv-.a" },
                { "/a_b:c.d", "a_b:c.d" },
                { "/a@b+c", "a\\x40b\\x2bc" },
                { "/ä", "\\xc3\\xa4" },
                { "/", "-" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_free_ char *name = NULL;

                assert_int_equal(unit_name_of_path(rows[i][0], &name), 0);
                assert_string_equal(name, rows[i][1]);
        }
}

static void assert_text(const VolumeUnitFile *file, const char *path, const char *line) {
        assert_string_equal(file->path, path);
        assert_null(file->link);
        if (!strstr(file->text, line))
                fail_msg("saw <%s>, wanted <%s> in it", file->text, line);
}

static void test_units_mount_read_only_and_bring_the_key(void **state) {
        VolumeUnitFile files[VOLUME_UNIT_FILES_MAX] = {};
        _cleanup_(volume_clear) Volume volume = {};
        Error error = {};

        assert_int_equal(
                        make("my-model.volume",
                             "[Volume]\nDevice=sdf\nKey=weights\nWhere=/srv/my-model\nOptions=noexec noatime\n",
                             &volume, NULL, &error),
                        0);
        assert_int_equal(volume_units(&volume, files), 0);
        assert_text(files + 0, "srv-my\\x2dmodel.mount",
                    "[Mount]\nWhat=/dev/mapper/unseald-my-model\nWhere=/srv/my-model\nType=erofs\n"
                    "Options=ro,nodev,nosuid,noexec,noatime\n");
        assert_text(files + 0, "srv-my\\x2dmodel.mount",
                    "DefaultDependencies=no\nWants=unseald-volume@my-model.service\n"
                    "After=unseald-volume@my-model.service\n");
        assert_text(files + 1, "unseald-volume@my-model.service.d/50-unseald-generator.conf",
                    "[Service]\nLoadCredential=weights:/run/unseald/credentials.sock\n");
        assert_text(files + 2, "dev-mapper-unseald\\x2dmy\\x2dmodel.device.d/50-unseald-generator.conf",
                    "After=unseald-volume@my-model.service\nJobRunningTimeoutSec=15s\n");
        assert_string_equal(files[3].path,
                            "dev-mapper-unseald\\x2dmy\\x2dmodel.device.wants/srv-my\\x2dmodel.mount");
        assert_string_equal(files[3].link, "../srv-my\\x2dmodel.mount");
        assert_string_equal(files[4].path, "unsealed.target.wants/unseald-volume@my-model.service");
        assert_string_equal(files[4].link, "/usr/lib/systemd/system/unseald-volume@.service");
        volume_units_clear(files);
}

static void test_units_of_state_may_write(void **state) {
        VolumeUnitFile files[VOLUME_UNIT_FILES_MAX] = {}, read_only[VOLUME_UNIT_FILES_MAX] = {};
        _cleanup_(volume_clear) Volume volume = {};
        Error error = {};

        assert_int_equal(make("state.volume",
                              "[Volume]\nDevice=sdf\nMode=state\nWhere=/srv/state\nOptions=noexec\n",
                              &volume, NULL, &error),
                         0);
        assert_int_equal(volume_units(&volume, files), 0);
        assert_text(files + 0, "srv-state.mount",
                    "[Mount]\nWhat=/dev/mapper/unseald-state\nWhere=/srv/state\nType=ext4\n"
                    "Options=rw,nodev,nosuid,noexec\n");
        assert_text(files + 1, "unseald-volume@state.service.d/50-unseald-generator.conf",
                    "LoadCredential=state:/run/unseald/credentials.sock\nDeviceAllow=block-* rw\n");
        /* A stop that fails says why: its process is no main one. */
        assert_non_null(strstr(files[1].text, "NotifyAccess=exec\n"));
        volume_units_clear(files);
        volume.writable = false;
        assert_int_equal(volume_units(&volume, read_only), 0);
        assert_null(strstr(read_only[1].text, "DeviceAllow="));
        assert_null(read_only[5].path);
        volume_units_clear(read_only);
}

/* Without the order, the manager forgets the result of the unit before the service of the volume has read it. */
static void test_the_hook_is_named_by_the_service_of_the_volume(void **state) {
        VolumeUnitFile files[VOLUME_UNIT_FILES_MAX] = {};
        _cleanup_(volume_clear) Volume volume = {}, without = {};
        Error error = {};

        assert_int_equal(make("state.volume",
                              "[Volume]\nDevice=sdf\nMode=state\nOnOpen=anchor@state.service\n", &volume,
                              NULL, &error),
                         0);
        assert_string_equal(volume.on_open, "anchor@state.service");
        assert_int_equal(volume_units(&volume, files), 0);
        assert_text(files + 1, "unseald-volume@state.service.d/50-unseald-generator.conf",
                    "[Unit]\nAfter=anchor@state.service\n\n[Service]\nLoadCredential=state:");
        volume_units_clear(files);
        assert_int_equal(make("state.volume",
                              "[Volume]\nDevice=sdf\nMode=state\nOnOpen=a.service\nOnOpen=\n", &without,
                              NULL, &error),
                         0);
        assert_null(without.on_open);
}

static void test_unseald_starts_what_reads_the_label(void **state) {
        VolumeUnitFile files[VOLUME_UNIT_FILES_MAX] = {};
        _cleanup_(volume_clear) Volume volume = {};
        Error error = {};

        assert_int_equal(make("state.volume", "[Volume]\nDevice=sdf\nMode=state\n", &volume, NULL, &error),
                         0);
        volume.key_in_label = true;
        assert_int_equal(volume_units(&volume, files), 0);
        assert_string_equal(files[5].path, "unseald.service.wants/unseald-volume-label@state.service");
        assert_string_equal(files[5].link, "/usr/lib/systemd/system/unseald-volume-label@.service");
        volume_units_clear(files);
}

#define FILES_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_volume_has_defaults),
                cmocka_unit_test(test_volume_takes_every_setting),
                cmocka_unit_test(test_state_has_defaults_of_its_own),
                cmocka_unit_test(test_only_integrity_no_takes_the_tags_away),
                cmocka_unit_test(test_empty_value_is_the_default),
                cmocka_unit_test(test_wrong_values_are_refused_with_their_line),
                cmocka_unit_test(test_file_without_device_or_with_a_wrong_name_is_refused),
                cmocka_unit_test(test_names_that_are_too_long_together_are_refused),
                cmocka_unit_test(test_paths_that_give_too_long_names_of_units_are_refused),
                cmocka_unit_test(test_remarks_get_every_mistake_of_a_file),
                FILES_TEST(test_files_and_drop_ins_take_precedence_as_for_secrets),
                FILES_TEST(test_the_secret_says_whether_the_label_has_its_ciphertext),
                FILES_TEST(test_two_volumes_share_neither_place_nor_device),
                cmocka_unit_test(test_directory_without_volumes_is_empty),
                FILES_TEST(test_more_volumes_than_an_instance_takes_are_refused),
                cmocka_unit_test(test_key_kinds),
                cmocka_unit_test(test_unit_names_are_escaped_as_systemd_does),
                cmocka_unit_test(test_units_mount_read_only_and_bring_the_key),
                cmocka_unit_test(test_units_of_state_may_write),
                cmocka_unit_test(test_the_hook_is_named_by_the_service_of_the_volume),
                cmocka_unit_test(test_unseald_starts_what_reads_the_label),
        };
        int failed;

        if (!mkdtemp(root))
                return 1;
        failed = cmocka_run_group_tests(tests, NULL, NULL);
        (void) rmdir(root);
        return failed;
}
