/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Writes the units of all volumes and the file system of the store, at each start of the service manager and at each daemon-reload
 * (systemd.generator(7)). A mistake in one file does not take away the units of the others.
 */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/io.h"
#include "basic/log.h"
#include "build-config.h"
#include "config/volume-units.h"
#include "config/volumes.h"

static int write_unit(const char *directory, const VolumeUnitFile *unit) {
        _cleanup_free_ char *path = NULL, *parent = NULL;
        _cleanup_close_ int fd = -1;

        if (asprintf(&path, "%s/%s", directory, unit->path) < 0 || !(parent = strdup(path)))
                return -ENOMEM;
        if (mkdir(dirname(parent), 0755) < 0 && errno != EEXIST)
                return -errno;
        if (unit->link)
                return symlink(unit->link, path) < 0 && errno != EEXIST ? -errno : 0;
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
        return fd < 0 ? -errno : write_all(fd, unit->text, strlen(unit->text));
}

static int write_units(const char *directory, const Volume *volume) {
        VolumeUnitFile units[VOLUME_UNIT_FILES_MAX];
        int r = volume_units(volume, units);

        if (r < 0)
                return r;
        for (size_t i = 0; r >= 0 && i < VOLUME_UNIT_FILES_MAX; i++)
                r = units[i].path ? write_unit(directory, units + i) : 0;
        volume_units_clear(units);
        return r;
}

/* What the kernel's tmpfs can do. Nothing is mounted. glibc has no functions for these calls before 2.36. */
typedef struct TmpfsOptions {
        bool noswap; /* Linux 6.4 or later (tmpfs(5)), and only with the rights of the whole machine */
        bool huge;   /* the kernel is built with huge pages, and the processor has them */
} TmpfsOptions;

static TmpfsOptions tmpfs_options(void) {
        _cleanup_close_ int fd = (int) syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);

        if (fd < 0)
                return (TmpfsOptions){};
        return (TmpfsOptions){
                .noswap = syscall(SYS_fsconfig, fd, FSCONFIG_SET_FLAG, "noswap", NULL, 0) == 0,
                .huge = syscall(SYS_fsconfig, fd, FSCONFIG_SET_STRING, "huge", "within_size", 0) == 0,
        };
}

#define STORE_OPTIONS "mode=0711,nosuid,nodev,noexec,noswap,size=100%%,nr_inodes=0"

/* Makes the store a tmpfs in place of ramfs. A drop-in of the administrator with a later name can do otherwise. An option that the
 * kernel does not take would leave the machine without a store, so it is tried first. With within_size, only what fills a huge page
 * takes one: a small secret takes a small page. */
static int write_store(const char *directory) {
        TmpfsOptions has = tmpfs_options();
        const VolumeUnitFile unit = {
                .path = (char *) "run-unseald-credentials.mount.d/50-tmpfs.conf",
                .text = has.huge ? (char *) "# Made by unseald-generator, since this kernel's tmpfs has noswap and huge\n"
                                            "[Mount]\nWhat=tmpfs\nType=tmpfs\n"
                                            "Options=" STORE_OPTIONS ",huge=within_size\n"
                                 : (char *) "# Made by unseald-generator, since this kernel's tmpfs has noswap\n"
                                            "[Mount]\nWhat=tmpfs\nType=tmpfs\n"
                                            "Options=" STORE_OPTIONS "\n",
        };

        return has.noswap ? write_unit(directory, &unit) : 0;
}

static int say(const Error *error) {
        log_full(LOG_ERR, &(LogFields){ .message_id = MESSAGE_CONFIGURATION, .error = error }, "%s",
                 error->text);
        return (int) error->failure;
}

/* Returns the exit status. A volume that lacks its device is a mistake that was reported, and has no units. */
static int generate(const char *directory) {
        _cleanup_(volumes_clear) Volumes volumes = {};
        _cleanup_(remarks_clear) Remarks remarks = {};
        int status = EXIT_SUCCESS;
        Error error = {};

        int r = write_store(directory);
        if (r < 0) {
                (void) error_set(
                                &error, r, FAILURE_INTERNAL,
                                "The file system of the store cannot be written to %s: %s. The store is ramfs.",
                                directory, strerror(-r));
                status = say(&error);
        }

        if (volumes_examine(UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR, &volumes, &remarks,
                            &error) < 0)
                return say(&error);
        for (size_t i = 0; i < remarks.count; i++)
                log_full(LOG_WARNING, &(LogFields){ .message_id = MESSAGE_CONFIGURATION }, "%s",
                         remarks.items[i].text);
        for (size_t i = 0; i < volumes.count; i++) {
                const Volume *volume = volumes.items + i;
                r = volume->device.text[0] ? write_units(directory, volume) : 0;

                if (r >= 0)
                        continue;
                (void) error_set(&error, r, FAILURE_INTERNAL,
                                 "The units of the volume %s cannot be written to %s: %s.", volume->name,
                                 directory, strerror(-r));
                status = say(&error);
        }
        return status;
}

int main(int argc, char *argv[]) {
        if (argc != 2 && argc != 4) {
                fputs("unseald-generator DIRECTORY [EARLY LATE]\n\nWrite the units of all volumes, and the file system of the store; see unseald-volume@.service(8).\n",
                      stderr);
                return FAILURE_USAGE;
        }
        (void) umask(0022);
        return generate(argv[1]);
}
