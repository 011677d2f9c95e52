/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "unseald-volume/device-mapper.h"
#include "unseald-volume/device.h"
#include "unseald-volume/mapper.h"
#include "unseald-volume/opening.h"

static bool is_as_made(const MappingState *state, const Mapping *mapping) {
        return state->active && state->read_only && state->start == 0 &&
               state->sectors == mapping->sectors && strcmp(state->uuid, mapping->uuid) == 0 &&
               strcmp(state->target, mapping->target) == 0 &&
               strcmp(state->parameters, mapping->parameters) == 0;
}

/* Compares both tables with those that key and device demand. The key of dm-crypt cannot be compared, and need not: dm-verity serves
 * nothing but the content that the root hash stands for. */
static bool is_ours(int dm, const Volume *volume, const VolumeKey *key, dev_t device) {
        Mapping crypt, verity;
        MappingState state;

        mapping_make(MAPPING_CRYPT, volume->name, key, device, &crypt);
        if (dm_look(dm, crypt.name, &state) < 0 || !is_as_made(&state, &crypt))
                return false;
        mapping_make(MAPPING_VERITY, volume->name, key, state.device, &verity);
        return dm_look(dm, verity.name, &state) >= 0 && is_as_made(&state, &verity);
}

/* Reads the first block. What holds another volume, or is opened with another key, fails here and not in an application. */
static int check_first_block(const Volume *volume, const BlockDevice *device, dev_t mapped, Error *error) {
        char path[32], block[VOLUME_BLOCK_SIZE];
        _cleanup_close_ int fd = -1;
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/dev/dm-%u", minor(mapped));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return error_set(error, -errno, FAILURE_INTERNAL, "The device %s cannot be opened: %m.",
                                 path);
        n = pread(fd, block, sizeof(block), 0);
        if (n == (ssize_t) sizeof(block))
                return 0;
        return error_set(
                        error, n < 0 ? -errno : -EIO, FAILURE_SOURCE,
                        "The device %s does not hold the volume %s: its first block does not match the root hash in the key. It is another volume or another build, or somebody changed it. Attach the volume that was made together with the secret %s.",
                        device->path, volume->name, volume->secret);
}

static int create_verity(int dm, const Mapping *mapping, dev_t *ret, Error *error) {
        int r = dm_create(dm, mapping, ret);

        return r < 0 ? error_set(error, r, FAILURE_INTERNAL,
                                 "The kernel does not verify the device with dm-verity and " VOLUME_HASH
                                 ": %s. See the kernel's log for the reason.",
                                 strerror(-r))
                     : 0;
}

static void remove_both(int dm, const char *volume) {
        (void) mapper_remove(dm, MAPPING_VERITY, volume);
        (void) mapper_remove(dm, MAPPING_CRYPT, volume);
}

static int create(int dm, const Volume *volume, const VolumeKey *key, const BlockDevice *device,
                  Error *error) {
        const int on = 1;
        Mapping crypt, verity;
        dev_t below, mapped;
        int r;

        /* Nothing writes to the device through any other way either. */
        if (ioctl(device->fd, BLKROSET, &on) < 0)
                return error_set(error, -errno, FAILURE_INTERNAL,
                                 "The device %s cannot be made read-only: %m.", device->path);
        mapping_make(MAPPING_CRYPT, volume->name, key, device->number, &crypt);
        r = mapper_create_crypt(dm, &crypt, volume->name, key->key, &below, error);
        if (r < 0)
                return r;
        mapping_make(MAPPING_VERITY, volume->name, key, below, &verity);
        r = create_verity(dm, &verity, &mapped, error);
        if (r >= 0)
                r = check_first_block(volume, device, mapped, error);
        if (r >= 0)
                r = mapper_link(verity.name, mapped, error);
        if (r < 0)
                remove_both(dm, volume->name);
        return r;
}

static int take_over(int dm, const Volume *volume, const VolumeKey *key, const BlockDevice *device,
                     const MappingState *state, Error *error) {
        Mapping verity;

        mapping_name(MAPPING_VERITY, volume->name, &verity);
        if (!is_ours(dm, volume, key, device->number))
                return error_set(
                                error, -EEXIST, FAILURE_SOURCE,
                                "/dev/mapper/%s exists and is not this volume: its table is not what the key and the device %s demand. It is not used. Unmount it and stop unseald-volume@%s.service, or restart the machine.",
                                verity.name, device->path, volume->name);
        return mapper_link(verity.name, state->device, error);
}

/* A mapping of this program that nobody can have read. A process that was killed before the table was there has left it. */
static bool is_unfinished(const MappingState *state, const Mapping *verity) {
        return !state->active && state->openers == 0 && strcmp(state->uuid, verity->uuid) == 0;
}

int volume_open(const DevicePlaces *places, const Volume *volume, const VolumeKey *key, Error *error) {
        static const char *const targets[] = { "crypt", "verity", NULL };
        uint64_t begun = now_monotonic_usec();
        _cleanup_close_ int dm = -1;
        BlockDevice device = { .fd = -1 };
        MappingState state = {};
        Mapping verity;
        bool there;
        int r;

        r = mapper_open(targets, &dm, error);
        if (r < 0)
                return r;
        mapping_name(MAPPING_VERITY, volume->name, &verity);
        r = dm_look(dm, verity.name, &state);
        there = r != -ENXIO && (r < 0 || !is_unfinished(&state, &verity));
        if (!there)
                remove_both(dm, volume->name); /* what a process that was killed has left */
        r = device_wait(places, volume, key->size, !there, &device, error);
        if (r < 0)
                return r;
        r = there ? take_over(dm, volume, key, &device, &state, error)
                  : create(dm, volume, key, &device, error);
        if (r >= 0)
                log_full(LOG_NOTICE,
                         &(LogFields){ .message_id = MESSAGE_VOLUME_OPENED,
                                       .volume = volume->name,
                                       .duration_usec = now_monotonic_usec() - begun },
                         there ? "The volume %s is still open as /dev/mapper/%s; its table is what key and device %s demand."
                               : "The volume %s is open as /dev/mapper/%s, from the device %s.",
                         volume->name, verity.name, device.path);
        close(device.fd);
        return r;
}

int volume_report_corruption(const char *name, const char *what) {
        char block[96] = "";

        if (what) {
                const char *digits = what + 2;

                if ((strncmp(what, "0,", 2) != 0 && strncmp(what, "1,", 2) != 0) || digits[0] == '\0' ||
                    strspn(digits, "0123456789") != strlen(digits) || strlen(digits) > 20)
                        return -EINVAL;
                (void) snprintf(block, sizeof(block), " It is block %s of %s.", digits,
                                what[0] == '0' ? "the data" : "the hash tree");
        }
        log_full(LOG_ERR, &(LogFields){ .message_id = MESSAGE_VOLUME_CORRUPT, .volume = name },
                 "A block of the volume %s is not what its key demands, and reading it failed with EIO.%s Somebody changed the device, or it is broken. Replace it with a copy of the image.",
                 name, block);
        return 0;
}

int volume_close(const char *name, Error *error) {
        static const MappingLayer layers[] = { MAPPING_VERITY, MAPPING_CRYPT, MAPPING_TAGS, MAPPING_PART };
        _cleanup_close_ int dm = dm_open();
        Mapping upper;
        MappingState state;
        char path[MAPPING_NAME_MAX + 16];
        int r = 0;

        if (dm < 0)
                return dm == -ENOENT || dm == -ENXIO ? 0 : mapper_kernel_lacks(error, dm, "device mapper");
        /* A read-write volume has the same name. */
        mapping_name(MAPPING_VERITY, name, &upper);
        if (dm_look(dm, upper.name, &state) >= 0 && state.status[0] == 'C')
                (void) volume_report_corruption(name, NULL);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(layers); i++)
                r = mapper_remove(dm, layers[i], name);
        if (r < 0)
                return error_set(
                                error, r, FAILURE_INTERNAL,
                                "The volume %s stays open, because it is in use: %s. Unmount it, and stop the service again.",
                                name, strerror(-r));
        (void) snprintf(path, sizeof(path), "/dev/mapper/%s", upper.name);
        (void) unlink(path);
        return 0;
}
