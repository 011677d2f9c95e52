/* SPDX-License-Identifier: Apache-2.0 */

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/volume-units.h"

#define UNIT_DIRECTORY "/usr/lib/systemd/system"

static bool stays(char c, bool first) {
        return isascii(c) && (isalnum(c) || c == ':' || c == '_' || (c == '.' && !first));
}

int unit_name_of_path(const char *path, char **ret) {
        char *name, *at;

        path += strspn(path, "/");
        name = at = malloc(4 * strlen(path) + 2);
        if (!name)
                return -ENOMEM;
        if (path[0] == '\0')
                *at++ = '-';
        for (const char *c = path; *c; c++)
                if (*c == '/')
                        *at++ = '-';
                else if (stays(*c, c == path))
                        *at++ = *c;
                else
                        at += sprintf(at, "\\x%02x", (unsigned char) *c);
        *at = '\0';
        *ret = name;
        return 0;
}

int volume_mount_unit(const Volume *volume, char **ret) {
        _cleanup_free_ char *name = NULL;
        int r = unit_name_of_path(volume->where, &name);

        return r < 0 || asprintf(ret, "%s.mount", name) < 0 ? -ENOMEM : 0;
}

/* The device unit of the mapping; systemd makes it when udev has seen the device. */
static int device_unit(const Volume *volume, char **ret) {
        _cleanup_free_ char *path = NULL, *name = NULL;

        if (asprintf(&path, "/dev/mapper/unseald-%s", volume->name) < 0 ||
            unit_name_of_path(path, &name) < 0 || asprintf(ret, "%s.device", name) < 0)
                return -ENOMEM;
        return 0;
}

static int print_options(const Volume *volume, char **ret) {
        const char *always = volume->writable ? "rw,nodev,nosuid" : "ro,nodev,nosuid";
        size_t size = strlen(always) + 1, length;

        for (char **option = volume->options; option && *option; option++)
                size += 1 + strlen(*option);
        *ret = malloc(size);
        if (!*ret)
                return -ENOMEM;
        length = (size_t) snprintf(*ret, size, "%s", always);
        for (char **option = volume->options; option && *option; option++)
                length += (size_t) snprintf(*ret + length, size - length, ",%s", *option);
        return 0;
}

/* Not Before=local-fs.target, which a mount has by default: unseald starts after that target. */
static const char mount_text[] = "# Made by unseald-generator from %s\n"
                                 "\n"
                                 "[Unit]\n"
                                 "Description=Volume %s\n"
                                 "Documentation=man:unseald.volume(5) man:unseald-volume@.service(8)\n"
                                 "DefaultDependencies=no\n"
                                 "Wants=unseald-volume@%s.service\n"
                                 "After=unseald-volume@%s.service\n"
                                 "Conflicts=umount.target\n"
                                 "Before=umount.target\n"
                                 "\n"
                                 "[Mount]\n"
                                 "What=/dev/mapper/unseald-%s\n"
                                 "Where=%s\n"
                                 "Type=%s\n"
                                 "Options=%s\n";

static int add_mount(const Volume *volume, const char *unit, VolumeUnitFile *file) {
        _cleanup_free_ char *options = NULL;
        const char *name = volume->name;

        if (print_options(volume, &options) < 0 || !(file->path = strdup(unit)) ||
            asprintf(&file->text, mount_text, volume->file, name, name, name, name, volume->where,
                     volume->file_system, options) < 0)
                return -ENOMEM;
        return 0;
}

/* A read-write volume needs more than the read-only one, for which the rights of the unit are: it writes the device, and the counter of the
 * label to a directory. mkfs.ext4 needs memory for a large volume. With "exec" the manager also hears why a stop has failed. */
static const char writable_text[] = "DeviceAllow=block-* rw\n"
                                    "RuntimeDirectory=unseald-volume\n"
                                    "RuntimeDirectoryMode=0755\n"
                                    "RuntimeDirectoryPreserve=yes\n"
                                    "NotifyAccess=exec\n"
                                    "MemoryMax=512M\n";

/* The service itself starts the unit of OnOpen=. After= has the manager remember the result of that unit, which nothing else names, until the
 * service has read it. */
static int add_credential(const Volume *volume, VolumeUnitFile *file) {
        return asprintf(&file->path, "unseald-volume@%s.service.d/50-unseald-generator.conf",
                        volume->name) < 0 || asprintf(&file->text,
                                                      "# Made by unseald-generator from %s\n"
                                                      "\n"
                                                      "%s%s%s"
                                                      "[Service]\n"
                                                      "LoadCredential=%s:/run/unseald/credentials.sock\n"
                                                      "%s",
                                                      volume->file, volume->on_open ? "[Unit]\nAfter=" : "",
                                                      volume->on_open ?: "", volume->on_open ? "\n\n" : "",
                                                      volume->secret,
                                                      volume->writable ? writable_text : "") < 0
                               ? -ENOMEM
                               : 0;
}

/* The mount waits for its device. The device's own time-out, 90 seconds from the start of the boot, would end before unseald does. So the
 * wait begins when the service has ended: then the device is there, or it does not come. */
static int add_device(const Volume *volume, const char *device, VolumeUnitFile *file) {
        return asprintf(&file->path, "%s.d/50-unseald-generator.conf", device) < 0 ||
                                               asprintf(&file->text,
                                                        "# Made by unseald-generator from %s\n"
                                                        "\n"
                                                        "[Unit]\n"
                                                        "After=unseald-volume@%s.service\n"
                                                        "JobRunningTimeoutSec=15s\n",
                                                        volume->file, volume->name) < 0
                               ? -ENOMEM
                               : 0;
}

/* The device starts the mount whenever it appears, also after a first attempt that failed. */
static int add_link(VolumeUnitFile *file, const char *wanting, const char *unit, const char *target) {
        return asprintf(&file->path, "%s.wants/%s", wanting, unit) < 0 ||
                                               asprintf(&file->link, "%s", target) < 0
                               ? -ENOMEM
                               : 0;
}

/* The mount beside the directory. */
static int add_wanted_mount(VolumeUnitFile *file, const char *device, const char *mount) {
        _cleanup_free_ char *target = NULL;

        return asprintf(&target, "../%s", mount) < 0 ? -ENOMEM : add_link(file, device, mount, target);
}

static int add_service(const Volume *volume, VolumeUnitFile *file) {
        _cleanup_free_ char *service = NULL;

        if (asprintf(&service, "unseald-volume@%s.service", volume->name) < 0)
                return -ENOMEM;
        return add_link(file, "unsealed.target", service, UNIT_DIRECTORY "/unseald-volume@.service");
}

/* unseald waits for the label, and starts what reads it. */
static int add_label(const Volume *volume, VolumeUnitFile *file) {
        _cleanup_free_ char *service = NULL;

        if (!volume->key_in_label)
                return 0;
        if (asprintf(&service, "unseald-volume-label@%s.service", volume->name) < 0)
                return -ENOMEM;
        return add_link(file, "unseald.service", service, UNIT_DIRECTORY "/unseald-volume-label@.service");
}

int volume_units(const Volume *volume, VolumeUnitFile ret[static VOLUME_UNIT_FILES_MAX]) {
        _cleanup_free_ char *mount = NULL, *device = NULL;
        VolumeUnitFile files[VOLUME_UNIT_FILES_MAX] = {};

        if (volume_mount_unit(volume, &mount) < 0 || device_unit(volume, &device) < 0 ||
            add_mount(volume, mount, &files[0]) < 0 || add_credential(volume, &files[1]) < 0 ||
            add_device(volume, device, &files[2]) < 0 || add_wanted_mount(&files[3], device, mount) < 0 ||
            add_service(volume, &files[4]) < 0 || add_label(volume, &files[5]) < 0) {
                volume_units_clear(files);
                return -ENOMEM;
        }
        memcpy(ret, files, sizeof(files));
        return 0;
}

void volume_units_clear(VolumeUnitFile files[static VOLUME_UNIT_FILES_MAX]) {
        for (size_t i = 0; i < VOLUME_UNIT_FILES_MAX; i++) {
                free(files[i].path);
                free(files[i].text);
                free(files[i].link);
                files[i] = (VolumeUnitFile){};
        }
}
