/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "basic/clock.h"
#include "basic/io.h"
#include "basic/log.h"
#include "basic/notify.h"
#include "unseald-volume/device-mapper.h"
#include "unseald-volume/hook.h"
#include "unseald-volume/mapper.h"
#include "unseald-volume/state-device.h"
#include "unseald-volume/state-format.h"
#include "unseald-volume/state.h"
#include "volume/tag-superblock.h"

static int refuse(const StateDevice *device, const char *what, Error *error) {
        return error_set(error, -EBADMSG, FAILURE_SOURCE, "The device %s is not used for the volume %s: %s",
                         device->device.path, device->volume->name, what);
}

/* Whether a device without a label may become the volume. A device with other content is never touched. */
static int judge_unlabelled(const StateDevice *device, Error *error) {
        int r;

        if (device->area == LABEL_AREA_FOREIGN && !device->keys.label)
                return refuse(device,
                              "it has no valid label, and is not blank. It has something else, or somebody changed it. Attach the volume of this application; to begin with an empty one, attach a new device.",
                              error);
        if (device->area == LABEL_AREA_FOREIGN && device->volume->key_in_label)
                return refuse(device,
                              "it has no label that the key of the volume has made, and is not blank. unseald has the key of the first device that was there in this boot. If this device came later, restart the machine. Otherwise it is another volume, or somebody changed it. Attach the volume of this application; to begin with an empty one, attach a new device.",
                              error);
        if (device->area == LABEL_AREA_FOREIGN)
                return refuse(device,
                              "it has no label that the key of the volume has made, and is not blank. It is another volume, the secret is another, or somebody changed it. Attach the volume of this secret; to begin with an empty one, attach a new device.",
                              error);
        if (!device->volume->may_begin)
                return refuse(device,
                              "it is blank, and Initialize=never. The state of the application is on another device, or was erased. Attach the volume that has it.",
                              error);
        r = state_device_ends_blank(device, error);
        if (r == 0)
                r = refuse(device,
                           "its first MiB is zeros, but not its last one, so it may have somebody's data. Attach a new device, or erase this one.",
                           error);
        return r < 0 ? r : 0;
}

static int judge_label(const StateDevice *device, Error *error) {
        const Label *label = &device->label;

        if (strcmp(label->volume, device->volume->name) != 0)
                return refuse(device, "its label is of another volume.", error);
        /* Without it the next boot could not open what is stored in this one. */
        if (device->volume->key_in_label && label->ciphertext_size == 0)
                return refuse(device,
                              "its label has no ciphertext. It was made with a key that is kept elsewhere: Key= must be that secret.",
                              error);
        /* The measured configuration decides. So whoever writes the device cannot take the tags away, and data that never had tags do not
         * pass for verified ones. */
        if (label->unverified != device->volume->unverified)
                return refuse(device,
                              label->unverified
                                              ? "its label says Integrity=no, and the declaration says Integrity=yes. What it holds can have been changed without being noticed. Copy it to a new volume, if you trust it, or declare Integrity=no."
                                              : "its label says Integrity=yes, and the declaration says Integrity=no. Declare Integrity=yes, or attach a new device.",
                              error);
        if (label->device_size > device->size)
                return refuse(device,
                              "it is shorter than when it was formatted. It was cut off, or copied to a smaller one.",
                              error);
        if (label->state == LABEL_FORMATTING && !device->volume->may_begin)
                return refuse(device,
                              "its first format has not ended, and Initialize=never. The state of the application is on another device. Attach the volume that has it.",
                              error);
        return 0;
}

/* The kernel believes the superblock, so it must not see another one. */
static int check_superblock(const StateDevice *device, Error *error) {
        uint8_t space[TAG_SUPERBLOCK_SPACE];
        int r = state_device_read_superblock(device, space, error);

        if (r < 0 || tag_superblock_is(space, device->label.superblock))
                return r;
        return refuse(device,
                      "the superblock of dm-integrity is not the one in its label. Somebody changed the device. Restore a snapshot.",
                      error);
}

/* The kernel has read the superblock again: it must have found what the label says. */
static int check_tags(int dm, const StateDevice *device, const Mapping *tags, Error *error) {
        uint64_t sectors = 0;
        MappingState state;
        char behind[2] = "";
        int r = dm_look(dm, tags->name, &state);

        if (r >= 0 && sscanf(state.status, "%*u %" SCNu64 " %1s", &sectors, behind) == 2 &&
            sectors * MAPPING_SECTOR == device->label.data_size && behind[0] == '-' &&
            mapping_is_journal(state.parameters, device->part))
                return 0;
        return refuse(device,
                      "the superblock of dm-integrity has changed while it was opened. Somebody changes the device.",
                      error);
}

/* Reads the first block. What was changed there fails here and not in an application. */
static int check_first_block(const StateDevice *device, dev_t mapped, Error *error) {
        _cleanup_free_ void *block = aligned_alloc(VOLUME_BLOCK_SIZE, VOLUME_BLOCK_SIZE);
        _cleanup_close_ int fd = -1;
        char path[32];

        if (!block)
                return error_oom(error);
        (void) snprintf(path, sizeof(path), "/dev/dm-%u", minor(mapped));
        fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
        if (fd >= 0 && pread(fd, block, VOLUME_BLOCK_SIZE, 0) == VOLUME_BLOCK_SIZE)
                return 0;
        return refuse(device,
                      device->label.unverified
                                      ? "its first block cannot be read. It is broken. Restore a snapshot."
                                      : "its first block does not match its tag. Somebody changed the device, or it is broken. Restore a snapshot.",
                      error);
}

static void remove_all(int dm, const char *volume) {
        (void) mapper_remove(dm, MAPPING_STATE, volume);
        (void) mapper_remove(dm, MAPPING_FORMAT, volume);
        (void) mapper_remove(dm, MAPPING_TAGS, volume);
        (void) mapper_remove(dm, MAPPING_PART, volume);
}

/* Opens dm-integrity below dm-crypt. */
static int activate_tags(int dm, StateDevice *device, Mapping *ret_crypt, Error *error) {
        const char *name = device->volume->name;
        uint64_t sectors = device->label.data_size / MAPPING_SECTOR;
        Mapping tags;
        dev_t below;
        int r;

        r = state_device_map(device, dm, error);
        if (r < 0)
                return r;
        mapping_make_tags(name, device->part, TAGS_JOURNAL, sectors, 0, &tags);
        r = dm_create(dm, &tags, &below);
        if (r < 0)
                return error_set(
                                error, r, FAILURE_INTERNAL,
                                "The kernel does not open the device %s of the volume %s with dm-integrity: %s. See the kernel's log for the reason.",
                                device->device.path, name, strerror(-r));
        r = check_tags(dm, device, &tags, error);
        if (r >= 0)
                mapping_make_authenticated(MAPPING_STATE, name, below, sectors, ret_crypt);
        return r;
}

static int activate(int dm, StateDevice *device, Error *error) {
        const char *name = device->volume->name;
        Mapping crypt;
        dev_t mapped;
        int r = 0;

        if (device->label.unverified)
                mapping_make_unverified(MAPPING_STATE, name, device->device.number,
                                        device->label.data_size / MAPPING_SECTOR, &crypt);
        else
                r = activate_tags(dm, device, &crypt, error);
        if (r >= 0)
                r = mapper_create_crypt(dm, &crypt, name, device->keys.sectors, &mapped, error);
        if (r >= 0)
                r = check_first_block(device, mapped, error);
        return r < 0 ? r : mapper_link(crypt.name, mapped, error);
}

/* For EnvironmentFile= of units. step: of OnOpen=; NULL: the volume is open. */
static int write_counter(const StateDevice *device, uint64_t counter, const char *step, Error *error) {
        char path[sizeof(VOLUME_RUNTIME_DIR) + VOLUME_NAME_MAX_LENGTH + 8];
        _cleanup_free_ char *text = NULL, *kernel_name = realpath(device->device.path, NULL);
        int r;

        if (asprintf(&text, "UNSEALD_VOLUME_COUNTER=%" PRIu64 "\nUNSEALD_VOLUME_DEVICE=%s\n%s%s%s", counter,
                     kernel_name ?: "", step ? "UNSEALD_VOLUME_STEP=" : "", step ?: "",
                     step ? "\n" : "") < 0)
                return error_oom(error);
        (void) mkdir(VOLUME_RUNTIME_DIR, 0755);
        (void) snprintf(path, sizeof(path), VOLUME_RUNTIME_DIR "/%s.env", device->volume->name);
        r = write_file_atomic(path, text, strlen(text), 0644);
        return r < 0 ? error_set(error, r, FAILURE_INTERNAL,
                                 "The counter of the volume %s cannot be written to %s: %s.",
                                 device->volume->name, path, strerror(-r))
                     : 0;
}

static int ask_hook(const StateDevice *device, HookStep step, uint64_t counter, Error *error) {
        int r;

        if (!device->volume->on_open)
                return 0;
        r = write_counter(device, counter, hook_step_to_string(step), error);
        return r < 0 ? r : hook_run(device->volume, step, counter, error);
}

/* The label with the next counter is durable before anything is written to the volume. A format has just written one. */
static int prepare(int dm, StateDevice *device, Secret *data_key, Error *error) {
        bool labelled = device->area == LABEL_AREA_LABEL,
             format = !labelled || device->label.state == LABEL_FORMATTING;
        int r = labelled ? judge_label(device, error) : judge_unlabelled(device, error);

        if (r >= 0 && !format && !device->label.unverified)
                r = check_superblock(device, error);
        /* A format writes two labels. */
        if (r >= 0)
                r = ask_hook(device, HOOK_COMPARE, (labelled ? device->label.counter : 0) + (format ? 2 : 1),
                             error);
        if (r < 0)
                return r;
        if (format)
                return state_format(dm, device, data_key, error);
        if (state_keys_derive_sectors(data_key, device->volume->name, device->label.salt,
                                      device->label.unverified, &device->keys) < 0)
                return error_set(error, -EIO, FAILURE_INTERNAL,
                                 "OpenSSL cannot make the keys of the volume %s.", device->volume->name);
        return state_device_write_label(device, error);
}

static int create(int dm, StateDevice *device, Secret *data_key, Error *error) {
        /* What read_credential() has filled may be longer. */
        int r = secret_size(data_key) > VOLUME_KEY_TEXT_MAX
                                ? -EINVAL
                                : state_keys_derive(data_key, device->volume->name, &device->keys);

        if (r < 0)
                return error_set(
                                error, r, r == -EINVAL ? FAILURE_CIPHERTEXT : FAILURE_INTERNAL,
                                "The secret %s cannot be the key of the volume %s: %s. Make one with \"unsealctl seal --generate=32\".",
                                device->volume->secret, device->volume->name,
                                r == -EINVAL ? "it must have 32 to 4095 bytes" : strerror(-r));
        r = state_device_open(device, error);
        if (r >= 0)
                r = prepare(dm, device, data_key, error);
        if (r >= 0)
                r = ask_hook(device, HOOK_RAISE, device->label.counter, error);
        /* Before the mapping is there: the next start takes it over, if this process is killed, and cannot know the counter then. */
        if (r >= 0)
                r = write_counter(device, device->label.counter, NULL, error);
        if (r >= 0)
                r = activate(dm, device, error);
        if (r < 0)
                remove_all(dm, device->volume->name);
        return r;
}

static bool is_of(int dm, const Mapping *expected, MappingState *ret) {
        return dm_look(dm, expected->name, ret) >= 0 && ret->active && !ret->read_only && ret->start == 0 &&
               strcmp(ret->uuid, expected->uuid) == 0 && strcmp(ret->target, expected->target) == 0;
}

/* Compares all tables with those that the device demands. Their keys cannot be compared, nor the size where there are no tags: only root can
 * have made them. */
static bool is_ours(int dm, const StateDevice *device) {
        const char *name = device->volume->name;
        MappingState part, tags, state;
        Mapping expected;

        if (device->volume->unverified) {
                mapping_make_unverified(MAPPING_STATE, name, device->device.number, 0, &expected);
                return is_of(dm, &expected, &state) && strcmp(state.parameters, expected.parameters) == 0;
        }
        mapping_make_part(name, device->device.number, 0, &expected);
        if (!is_of(dm, &expected, &part) || strcmp(part.parameters, expected.parameters) != 0)
                return false;
        mapping_name(MAPPING_TAGS, name, &expected);
        if (!is_of(dm, &expected, &tags) || !mapping_is_journal(tags.parameters, part.device))
                return false;
        mapping_make_authenticated(MAPPING_STATE, name, tags.device, tags.sectors, &expected);
        return is_of(dm, &expected, &state) && state.sectors == expected.sectors &&
               strcmp(state.parameters, expected.parameters) == 0;
}

static int take_over(int dm, const StateDevice *device, const MappingState *state, Error *error) {
        Mapping upper;

        mapping_name(MAPPING_STATE, device->volume->name, &upper);
        if (!is_ours(dm, device))
                return error_set(
                                error, -EEXIST, FAILURE_SOURCE,
                                "/dev/mapper/%s exists and is not this volume: its table is not what the device %s demands. It is not used. Unmount it and stop unseald-volume@%s.service, or restart the machine.",
                                upper.name, device->device.path, device->volume->name);
        return mapper_link(upper.name, state->device, error);
}

static void say_unverified(const Volume *volume) {
        log_full(LOG_WARNING,
                 &(LogFields){ .message_id = MESSAGE_VOLUME_UNVERIFIED, .volume = volume->name },
                 "The volume %s has Integrity=no: it is encrypted and not verified. Whoever writes its device can change what the application reads, and nobody notices. With Integrity=yes, a new volume is verified.",
                 volume->name);
}

static void say_open(const StateDevice *device, bool taken_over, uint64_t begun) {
        const LogFields fields = { .message_id = MESSAGE_VOLUME_OPENED,
                                   .volume = device->volume->name,
                                   .duration_usec = now_monotonic_usec() - begun };
        const char *name = device->volume->name, *path = device->device.path;

        if (taken_over) {
                log_full(LOG_NOTICE, &fields,
                         "The volume %s is still open as /dev/mapper/unseald-%s; its table is what the device %s demands.",
                         name, name, path);
                return;
        }
        log_full(LOG_NOTICE, &fields,
                 "The volume %s is open as /dev/mapper/unseald-%s, from the device %s. The counter of its label is %" PRIu64
                 ".",
                 name, name, path, device->label.counter);
        notify_status("Open%s. The counter of the label is %" PRIu64 ".",
                      device->volume->unverified ? ", not verified (Integrity=no)" : "",
                      device->label.counter);
}

/* A mapping of this program that nobody can have used. A process that was killed before the table was there has left it. */
static bool is_unfinished(const MappingState *state, const Mapping *upper) {
        return !state->active && state->openers == 0 && strcmp(state->uuid, upper->uuid) == 0;
}

int state_open(const DevicePlaces *places, const Volume *volume, const SealedKey *sealed, Secret *data_key,
               Error *error) {
        const char *const targets[] = { "crypt", volume->unverified ? NULL : "integrity", NULL };
        StateDevice device = { .volume = volume, .sealed = sealed, .device.fd = -1 };
        uint64_t begun = now_monotonic_usec();
        _cleanup_close_ int dm = -1;
        MappingState state = {};
        Mapping upper;
        bool there;
        int r = mapper_open(targets, &dm, error);

        if (r < 0)
                return r;
        mapping_name(MAPPING_STATE, volume->name, &upper);
        r = dm_look(dm, upper.name, &state);
        there = r != -ENXIO && (r < 0 || !is_unfinished(&state, &upper));
        if (!there)
                remove_all(dm, volume->name); /* what a process that was killed has left */
        r = device_wait(places, volume, STATE_DEVICE_MIN, !there, &device.device, error);
        if (r >= 0)
                r = there ? take_over(dm, &device, &state, error) : create(dm, &device, data_key, error);
        if (r >= 0)
                say_open(&device, there, begun);
        if (r >= 0 && volume->unverified)
                say_unverified(volume);
        state_device_close(&device);
        return r;
}

/* A device with a label that was made without a key of ours is refused later: only KMS can tell. */
static int judge_unread(const StateDevice *device, Error *error) {
        return device->area == LABEL_AREA_LABEL ? judge_label(device, error)
                                                : judge_unlabelled(device, error);
}

static int write_ciphertext(const StateDevice *device, const char *directory, Error *error) {
        size_t size = device->area == LABEL_AREA_LABEL ? device->label.ciphertext_size : 0;
        _cleanup_free_ char *path = NULL;
        int r;

        if (asprintf(&path, "%s/%s", directory, device->volume->name) < 0)
                return error_oom(error);
        (void) mkdir(directory, 0755);
        r = write_file_atomic(path, device->label.ciphertext, size, 0644);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "The file %s cannot be written: %s.", path,
                                 strerror(-r));
        log_full(LOG_INFO, &(LogFields){ .volume = device->volume->name },
                 size > 0 ? "The label of the volume %s on the device %s is read."
                          : "The volume %s is new: its device %s is blank.",
                 device->volume->name, device->device.path);
        return 0;
}

int state_copy_label(const DevicePlaces *places, const Volume *volume, const char *directory, Error *error) {
        StateDevice device = { .volume = volume, .device.fd = -1 };
        int r = device_wait(places, volume, STATE_DEVICE_MIN, false, &device.device, error);

        if (r >= 0)
                r = state_device_look(&device, error);
        if (r >= 0)
                r = judge_unread(&device, error);
        if (r >= 0)
                r = write_ciphertext(&device, directory, error);
        state_device_close(&device);
        return r;
}
