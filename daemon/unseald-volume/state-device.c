/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "basic/log.h"
#include "unseald-volume/device-mapper.h"
#include "unseald-volume/state-device.h"
#include "volume/mapping.h"
#include "volume/tag-superblock.h"

static int cannot(const StateDevice *device, const char *what, int r, Error *error) {
        return error_set(error, r, FAILURE_SOURCE, "The device %s of the volume %s cannot be %s: %s.",
                         device->device.path, device->volume->name, what, strerror(-r));
}

/* For O_DIRECT. The caller frees it. */
static void *new_blocks(size_t size) {
        void *blocks = aligned_alloc(VOLUME_BLOCK_SIZE, size);

        return blocks ? memset(blocks, 0, size) : NULL;
}

static int read_blocks(const StateDevice *device, void *ret, size_t size, uint64_t at, Error *error) {
        ssize_t n = pread(device->device.fd, ret, size, (off_t) at);

        return n == (ssize_t) size ? 0 : cannot(device, "read", n < 0 ? -errno : -EIO, error);
}

/* Returns when the bytes are durable. */
static int write_blocks(const StateDevice *device, const void *data, size_t size, uint64_t at,
                        Error *error) {
        ssize_t n = pwrite(device->device.fd, data, size, (off_t) at);

        if (n != (ssize_t) size || fdatasync(device->device.fd) < 0)
                return cannot(device, "written", n < 0 || n == (ssize_t) size ? -errno : -EIO, error);
        return 0;
}

static int read_label(StateDevice *device, int access, StateKeys *keys, Error *error) {
        _cleanup_free_ uint8_t *area = new_blocks(LABEL_AREA_SIZE);
        int fd, r;

        if (!area)
                return error_oom(error);
        fd = open(device->device.path, access | O_CLOEXEC | O_NONBLOCK | O_DIRECT);
        if (fd < 0)
                return cannot(device, access == O_RDWR ? "opened for writing" : "opened", -errno, error);
        close(device->device.fd);
        device->device.fd = fd;
        if (ioctl(fd, BLKGETSIZE64, &device->size) < 0)
                return cannot(device, "measured", -errno, error);
        device->size -= device->size % VOLUME_BLOCK_SIZE;
        r = read_blocks(device, area, LABEL_AREA_SIZE, 0, error);
        if (r < 0)
                return r;
        device->area = label_judge(area, keys, &device->label, &device->copy);
        return 0;
}

int state_device_look(StateDevice *device, Error *error) {
        return read_label(device, O_RDONLY, NULL, error);
}

int state_device_open(StateDevice *device, Error *error) {
        return read_label(device, O_RDWR, &device->keys, error);
}

void state_device_close(StateDevice *device) {
        closep(&device->device.fd);
        device->device.fd = -1;
        state_keys_clear(&device->keys);
}

int state_device_map(StateDevice *device, int dm, Error *error) {
        Mapping part;
        int r;

        mapping_make_part(device->volume->name, device->device.number, device->label.device_size, &part);
        r = dm_create(dm, &part, &device->part);
        return r < 0 ? error_set(error, r, FAILURE_INTERNAL,
                                 "The kernel does not map the device %s of the volume %s: %s. See the kernel's log for the reason.",
                                 device->device.path, device->volume->name, strerror(-r))
                     : 0;
}

int state_device_ends_blank(const StateDevice *device, Error *error) {
        _cleanup_free_ uint8_t *end = new_blocks(LABEL_AREA_SIZE);
        int r;

        if (!end)
                return error_oom(error);
        r = read_blocks(device, end, LABEL_AREA_SIZE, device->size - LABEL_AREA_SIZE, error);
        if (r < 0)
                return r;
        return end[0] == 0 && memcmp(end, end + 1, LABEL_AREA_SIZE - 1) == 0;
}

/* A first label is preceded by its magic alone: see volume/label.h. */
static int begin_first_label(const StateDevice *device, uint8_t *block, Error *error) {
        memcpy(block, LABEL_MAGIC, sizeof(LABEL_MAGIC));
        return write_blocks(device, block, LABEL_SIZE, 0, error);
}

int state_device_write_label(StateDevice *device, Error *error) {
        bool first = device->area != LABEL_AREA_LABEL;
        unsigned copy = first ? 0 : 1 - device->copy;
        _cleanup_free_ uint8_t *block = new_blocks(LABEL_SIZE);
        int r = 0;

        if (!block)
                return error_oom(error);
        if (device->label.counter == UINT64_MAX)
                return cannot(device, "labelled", -EOVERFLOW, error);
        device->label.counter++;
        if (first)
                r = begin_first_label(device, block, error);
        if (r < 0)
                return r;
        r = label_write(&device->label, &device->keys, block);
        if (r < 0)
                return cannot(device, "labelled", r, error);
        r = write_blocks(device, block, LABEL_SIZE, label_copy_offset(copy), error);
        if (r >= 0) {
                device->area = LABEL_AREA_LABEL;
                device->copy = copy;
        }
        return r;
}

int state_device_read_superblock(const StateDevice *device, uint8_t *ret, Error *error) {
        _cleanup_free_ uint8_t *space = new_blocks(TAG_SUPERBLOCK_SPACE);
        int r;

        if (!space)
                return error_oom(error);
        r = read_blocks(device, space, TAG_SUPERBLOCK_SPACE, LABEL_AREA_SIZE, error);
        if (r >= 0)
                memcpy(ret, space, TAG_SUPERBLOCK_SPACE);
        return r;
}

int state_device_forget_superblock(const StateDevice *device, Error *error) {
        _cleanup_free_ uint8_t *space = new_blocks(TAG_SUPERBLOCK_SPACE);

        return space ? write_blocks(device, space, TAG_SUPERBLOCK_SPACE, LABEL_AREA_SIZE, error)
                     : error_oom(error);
}
