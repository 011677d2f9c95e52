/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/clock.h"
#include "basic/duration.h"
#include "basic/log.h"
#include "basic/notify.h"
#include "unseald-volume/device-mapper.h"
#include "unseald-volume/mapper.h"
#include "unseald-volume/state-format.h"
#include "volume/tag-superblock.h"

#define MAKEFS "/usr/lib/systemd/systemd-makefs"
#define WRITE_SIZE (1024U * 1024U)

/* While it is formatted, a volume has no device of more than these sectors until the size is known. */
#define PROBE_SECTORS (VOLUME_BLOCK_SIZE / MAPPING_SECTOR)

/* systemd-makefs makes no file system where it finds one, and what nobody has written decrypts to noise. blkid looks at no place that is
 * further from an end (UDF: 257 blocks). */
#define ENDS_SIZE (2U * WRITE_SIZE)

_Static_assert(STATE_DEVICE_MIN - LABEL_AREA_SIZE >= (uint64_t) 2 * ENDS_SIZE, "the ends do not overlap");

static int not_formatted(const StateDevice *device, int r, Error *error) {
        return error_set(
                        error, r, FAILURE_INTERNAL,
                        "The kernel does not format the device %s of the volume %s%s: %s. See the kernel's log for the reason.",
                        device->device.path, device->volume->name,
                        device->label.unverified ? "" : " with dm-integrity", strerror(-r));
}

static int write_first_label(StateDevice *device, Secret *data_key, Error *error) {
        Label label = { .state = LABEL_FORMATTING,
                        .unverified = device->volume->unverified,
                        .device_size = device->size };

        /* A format that goes on has the same key, so the label keeps its ciphertext. */
        if (device->area == LABEL_AREA_LABEL) {
                label.counter = device->label.counter;
                label.ciphertext_size = device->label.ciphertext_size;
                memcpy(label.ciphertext, device->label.ciphertext, label.ciphertext_size);
        } else if (device->sealed) {
                label.ciphertext_size = device->sealed->size;
                memcpy(label.ciphertext, device->sealed->bytes, label.ciphertext_size);
        }
        device->label = label;
        (void) snprintf(device->label.volume, sizeof(device->label.volume), "%s", device->volume->name);
        if (RAND_bytes(device->label.salt, sizeof(device->label.salt)) != 1 ||
            state_keys_derive_sectors(data_key, device->volume->name, device->label.salt, label.unverified,
                                      &device->keys) < 0)
                return error_set(error, -EIO, FAILURE_INTERNAL,
                                 "OpenSSL cannot make the keys of the volume %s.", device->volume->name);
        return state_device_write_label(device, error);
}

/* What the kernel has chosen, as it says itself: not as the device says, which somebody may have changed since. */
static int read_choice(const MappingState *state, uint64_t *ret_journal, uint64_t *ret_data) {
        const char *journal = strstr(state->parameters, " journal_sectors:");

        return journal && sscanf(journal, " journal_sectors:%" SCNu64, ret_journal) == 1 &&
                                               sscanf(state->status, "%*u %" SCNu64 " -", ret_data) == 1
                               ? 0
                               : -EBADMSG;
}

/* Has the kernel write a superblock and an empty journal where zeros are. */
static int make_superblock(int dm, StateDevice *device, Error *error) {
        uint8_t space[TAG_SUPERBLOCK_SPACE];
        uint64_t journal, data;
        MappingState state;
        Mapping tags;
        dev_t number;
        int r;

        mapping_make_tags(device->volume->name, device->part, TAGS_DIRECT, PROBE_SECTORS,
                          tag_journal_sectors(device->size), &tags);
        r = state_device_forget_superblock(device, error);
        if (r < 0)
                return r;
        r = dm_create(dm, &tags, &number);
        if (r >= 0)
                r = dm_look(dm, tags.name, &state);
        if (r >= 0)
                r = read_choice(&state, &journal, &data);
        if (r >= 0)
                r = tag_superblock_make(journal, data, device->label.superblock);
        if (r >= 0)
                r = mapper_remove(dm, MAPPING_TAGS, device->volume->name);
        if (r < 0)
                return not_formatted(device, r, error);
        device->label.data_size = data * MAPPING_SECTOR;
        r = state_device_read_superblock(device, space, error);
        if (r >= 0 && !tag_superblock_is(space, device->label.superblock))
                r = error_set(error, -EBADMSG, FAILURE_SOURCE,
                              "The superblock of dm-integrity on the device %s is not the one that the kernel has just written for the volume %s. Somebody changes the device, or this kernel writes another format. The volume is not used.",
                              device->device.path, device->volume->name);
        return r;
}

static void say_progress(const StateDevice *device, uint64_t done, uint64_t begun) {
        char duration[DURATION_STRING_MAX];
        unsigned percent = (unsigned) ((unsigned __int128) done * 100 / device->label.data_size);

        (void) format_duration(now_monotonic_usec() - begun, duration);
        log_full(LOG_INFO, &(LogFields){ .volume = device->volume->name },
                 "The volume %s is formatted: %u %% of %" PRIu64 " MiB after %s.", device->volume->name,
                 percent, device->label.data_size / WRITE_SIZE, duration);
        notify_status(VOLUME_FORMATTING "%u %% of %" PRIu64 " MiB.", percent,
                      device->label.data_size / WRITE_SIZE);
}

/* With Integrity=no the ends alone are written. */
static uint64_t skip_middle(const Label *label, uint64_t done) {
        return label->unverified && done == ENDS_SIZE ? label->data_size - ENDS_SIZE : done;
}

/* Without a tag a block cannot be read, and a file system reads blocks that it has never written. */
static int write_zeros(const StateDevice *device, const char *path, Error *error) {
        _cleanup_free_ void *zeros = aligned_alloc(VOLUME_BLOCK_SIZE, WRITE_SIZE);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC | O_DIRECT);
        uint64_t size = device->label.data_size, begun = now_monotonic_usec(), next = 0, part;

        if (!zeros)
                return error_oom(error);
        memset(zeros, 0, WRITE_SIZE);
        for (uint64_t done = 0; fd >= 0 && done < size; done = skip_middle(&device->label, done + part)) {
                if (done >= next) {
                        say_progress(device, done, begun);
                        next += size / 10 + 1;
                }
                part = size - done < WRITE_SIZE ? size - done : WRITE_SIZE;
                if (pwrite(fd, zeros, part, (off_t) done) != (ssize_t) part)
                        fd = (close(fd), -1);
        }
        if (fd < 0 || fdatasync(fd) < 0)
                return error_set(
                                error, -EIO, FAILURE_SOURCE,
                                "The device %s of the volume %s cannot be formatted: writing %s failed. See the kernel's log for the reason. The next start formats it anew.",
                                device->device.path, device->volume->name,
                                device->label.unverified ? "its first and last blocks" : "its tags");
        say_progress(device, size, begun);
        return 0;
}

/* systemd-makefs(8) knows the options that each file system needs, and makes none where one is. */
static int make_file_system(const StateDevice *device, const char *path, Error *error) {
        char *const arguments[] = { (char *) MAKEFS, (char *) device->volume->file_system, (char *) path,
                                    NULL };
        char *const environment[] = { (char *) "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
        int status = 0, r;
        pid_t pid;

        r = posix_spawn(&pid, MAKEFS, NULL, NULL, arguments, environment);
        if (r == 0)
                while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                        ;
        if (r == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        return error_set(
                        error, r > 0 ? -r : -EIO, FAILURE_INTERNAL,
                        "The volume %s gets no file system: %s %s has failed%s%s. Install mkfs.%s, and see the messages before this one. The next start formats the volume anew.",
                        device->volume->name, MAKEFS, device->volume->file_system, r > 0 ? ": " : "",
                        r > 0 ? strerror(r) : "", device->volume->file_system);
}

/* The size of the data follows from what the kernel leaves of the device. */
static int make_tags(int dm, StateDevice *device, Mapping *ret_crypt, Error *error) {
        const char *name = device->volume->name;
        uint64_t sectors;
        Mapping tags;
        dev_t number;
        int r;

        r = state_device_map(device, dm, error);
        if (r >= 0)
                r = make_superblock(dm, device, error);
        if (r < 0)
                return r;
        sectors = device->label.data_size / MAPPING_SECTOR;
        mapping_make_tags(name, device->part, TAGS_DIRECT, sectors, 0, &tags);
        r = dm_create(dm, &tags, &number);
        if (r < 0)
                return not_formatted(device, r, error);
        mapping_make_authenticated(MAPPING_FORMAT, name, number, sectors, ret_crypt);
        return 0;
}

static void make_unverified(StateDevice *device, Mapping *ret_crypt) {
        device->label.data_size = device->size - LABEL_AREA_SIZE;
        mapping_make_unverified(MAPPING_FORMAT, device->volume->name, device->device.number,
                                device->label.data_size / MAPPING_SECTOR, ret_crypt);
}

static int fill(int dm, const StateDevice *device, const Mapping *crypt, Error *error) {
        char path[32];
        dev_t number;
        int r = mapper_create_crypt(dm, crypt, device->volume->name, device->keys.sectors, &number, error);

        if (r < 0)
                return r;
        (void) snprintf(path, sizeof(path), "/dev/dm-%u", minor(number));
        r = write_zeros(device, path, error);
        return r < 0 ? r : make_file_system(device, path, error);
}

int state_format(int dm, StateDevice *device, Secret *data_key, Error *error) {
        static const MappingLayer layers[] = { MAPPING_FORMAT, MAPPING_TAGS, MAPPING_PART };
        const char *name = device->volume->name;
        Mapping crypt;
        int r;

        log_full(LOG_NOTICE, &(LogFields){ .volume = name },
                 "The volume %s is formatted on the device %s: it is new, or a first format was interrupted.",
                 name, device->device.path);
        r = write_first_label(device, data_key, error);
        if (r >= 0 && device->label.unverified)
                make_unverified(device, &crypt);
        else if (r >= 0)
                r = make_tags(dm, device, &crypt, error);
        if (r >= 0)
                r = fill(dm, device, &crypt, error);
        for (size_t i = 0; i < ELEMENTSOF(layers); i++)
                if (mapper_remove(dm, layers[i], name) < 0 && r >= 0)
                        r = not_formatted(device, -EBUSY, error);
        if (r < 0)
                return r;
        device->label.state = LABEL_READY;
        return state_device_write_label(device, error);
}
