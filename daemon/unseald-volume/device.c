/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "unseald-volume/device.h"

/* A new node in /dev is noticed at once. Links in other directories, which udev makes, are looked for this often. */
#define LOOK_AGAIN_USEC USEC_PER_SEC

/* Opened a second time, with O_EXCL: the kernel refuses that while a mount or a mapping has claimed the device (open(2)). */
static int check_claim(const BlockDevice *device, Error *error) {
        _cleanup_close_ int fd = open(device->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_EXCL);
        struct stat st;

        if (fd < 0)
                return error_set(
                                error, -errno, FAILURE_SOURCE,
                                "The device %s cannot be had for the volume alone: %m. Find what uses it: a mount, or another mapping.",
                                device->path);
        if (fstat(fd, &st) < 0 || st.st_rdev != device->number)
                return error_set_remedy(error, -ENXIO, FAILURE_SOURCE, REMEDY_RETRY,
                                        "The device %s has just been replaced by another.", device->path);
        return 0;
}

static int check_size(const BlockDevice *device, const Volume *volume, uint64_t size, Error *error) {
        uint64_t bytes;

        if (ioctl(device->fd, BLKGETSIZE64, &bytes) < 0)
                return error_set_remedy(error, -errno, FAILURE_SOURCE, REMEDY_RETRY,
                                        "The size of the device %s is not known: %m.", device->path);
        if (bytes >= size)
                return 0;
        /* A device that has just appeared may have no size yet. */
        return error_set_remedy(
                        error, -ENOSPC, FAILURE_SOURCE, bytes == 0 ? REMEDY_RETRY : REMEDY_NONE,
                        "The device %s is too short for the volume %s: it has %" PRIu64
                        " bytes, and the volume needs %" PRIu64
                        ". It is another volume, or was cut off. Attach a volume with the whole image.",
                        device->path, volume->name, bytes, size);
}

static int open_device(BlockDevice *device, Error *error) {
        struct stat st;

        device->fd = open(device->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (device->fd < 0 || fstat(device->fd, &st) < 0)
                return error_set_remedy(error, -errno, FAILURE_SOURCE, REMEDY_RETRY,
                                        "The device %s cannot be opened: %m.", device->path);
        if (!S_ISBLK(st.st_mode))
                return error_set(error, -ENOTBLK, FAILURE_SOURCE,
                                 "%s, which Device= names, is no block device. Correct Device=.",
                                 device->path);
        device->number = st.st_rdev;
        return 0;
}

static int try_once(const DevicePlaces *places, const Volume *volume, uint64_t size, bool exclusive,
                    BlockDevice *ret, Error *error) {
        BlockDevice device = { .fd = -1 };
        int r = device_find(places, &volume->device, device.path, error);

        if (r >= 0)
                r = open_device(&device, error);
        if (r >= 0)
                r = check_size(&device, volume, size, error);
        if (r >= 0 && exclusive)
                r = check_claim(&device, error);
        if (r < 0) {
                closep(&device.fd);
                return r;
        }
        *ret = device;
        return 0;
}

/* Waits for a change in /dev, or for a while. */
static void wait_for_change(int inotify, uint64_t usec) {
        struct pollfd poll_fd = { .fd = inotify, .events = POLLIN };
        char events[4096];

        (void) poll(&poll_fd, 1, (int) (usec / USEC_PER_MSEC) + 1);
        while (inotify >= 0 && read(inotify, events, sizeof(events)) > 0)
                ;
}

int device_wait(const DevicePlaces *places, const Volume *volume, uint64_t size, bool exclusive,
                BlockDevice *ret, Error *error) {
        uint64_t now = now_monotonic_usec(), deadline = now + volume->device_timeout_usec;
        _cleanup_close_ int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        Error why = {};
        int r;

        if (inotify >= 0)
                (void) inotify_add_watch(inotify, places->dev, IN_CREATE | IN_MOVED_TO | IN_ATTRIB);
        for (bool said = false;; said = true) {
                r = try_once(places, volume, size, exclusive, ret, &why);
                now = now_monotonic_usec();
                if (r >= 0)
                        return r;
                if (why.remedy != REMEDY_RETRY || now >= deadline)
                        break;
                if (!said)
                        log_info("The volume %s waits for its device. %s", volume->name, why.text);
                wait_for_change(inotify,
                                deadline - now < LOOK_AGAIN_USEC ? deadline - now : LOOK_AGAIN_USEC);
        }
        if (error)
                *error = why;
        return r;
}
