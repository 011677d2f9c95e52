/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "unseald-volume/device-mapper.h"
#include "unseald-volume/mapper.h"

/* How long a program that has just looked at a device, such as udev, may keep a mapping from being removed. */
#define REMOVE_PATIENCE_USEC (2 * USEC_PER_SEC)
#define REMOVE_PAUSE_USEC (100 * USEC_PER_MSEC)

int mapper_kernel_lacks(Error *error, int r, const char *what) {
        return error_set(
                        error, r, FAILURE_INTERNAL,
                        "The kernel has no %s: %s. Build the image with a kernel, and its modules, that has device mapper, dm-crypt, dm-verity or dm-integrity, and a keyring.",
                        what, strerror(-r));
}

int mapper_open(const char *const *targets, int *ret, Error *error) {
        _cleanup_close_ int dm = dm_open();

        if (dm < 0)
                return mapper_kernel_lacks(error, dm, "device mapper");
        for (; *targets; targets++) {
                char what[16];
                int r = dm_has_target(dm, *targets);

                (void) snprintf(what, sizeof(what), "dm-%s", *targets);
                if (r < 0)
                        return mapper_kernel_lacks(error, r, what);
        }
        *ret = TAKE_FD(dm);
        return 0;
}

int mapper_create_crypt(int dm, const Mapping *mapping, const char *volume, Secret *key, dev_t *ret,
                        Error *error) {
        char description[MAPPING_NAME_MAX];
        long serial;
        int r;

        mapping_key_description(volume, description);
        serial = syscall(SYS_add_key, "logon", description, secret_bytes(key), secret_size(key),
                         KEY_SPEC_PROCESS_KEYRING);
        if (serial < 0)
                return mapper_kernel_lacks(error, -errno, "room for a key in its keyring");
        r = dm_create(dm, mapping, ret);
        if (syscall(SYS_keyctl, KEYCTL_INVALIDATE, serial, 0, 0, 0) < 0 && r >= 0) {
                r = -errno;
                (void) dm_remove(dm, mapping->name);
        }
        return r < 0 ? error_set(error, r, FAILURE_INTERNAL,
                                 "The kernel does not decrypt the device with %.*s: %s. See the kernel's log for the reason.",
                                 (int) strcspn(mapping->parameters, " "), mapping->parameters, strerror(-r))
                     : 0;
}

int mapper_link(const char *name, dev_t device, Error *error) {
        char path[MAPPING_NAME_MAX + 16], target[32], there[32] = "";

        (void) snprintf(path, sizeof(path), "/dev/mapper/%s", name);
        (void) snprintf(target, sizeof(target), "../dm-%u", minor(device));
        if (readlink(path, there, sizeof(there) - 1) > 0 && strcmp(there, target) == 0)
                return 0;
        (void) unlink(path);
        if (symlink(target, path) < 0 && errno != EEXIST)
                return error_set(error, -errno, FAILURE_INTERNAL, "The link %s cannot be made: %m.", path);
        return 0;
}

int mapper_remove(int dm, MappingLayer layer, const char *volume) {
        uint64_t until = now_monotonic_usec() + REMOVE_PATIENCE_USEC;
        Mapping mapping;
        int r;

        mapping_name(layer, volume, &mapping);
        while ((r = dm_remove(dm, mapping.name)) == -EBUSY && now_monotonic_usec() < until)
                sleep_usec(REMOVE_PAUSE_USEC);
        return r == -ENXIO ? 0 : r;
}
