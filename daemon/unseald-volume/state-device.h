/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The device of a read-write volume: its label is read and written here. All bytes pass by the page cache (O_DIRECT), since the kernel's
 * mappings do, too. */

#include "unseald-volume/device.h"
#include "volume/label.h"

/* Smaller devices have no room for journal, tags and a file system. */
#define STATE_DEVICE_MIN (UINT64_C(16) * 1024 * 1024)

/* The ciphertext of the data key, for the label. */
typedef struct SealedKey {
        size_t size;
        uint8_t bytes[LABEL_CIPHERTEXT_MAX];
} SealedKey;

typedef struct StateDevice {
        const Volume *volume;
        const SealedKey *sealed; /* with key_in_label of the volume; NULL: the key is kept elsewhere */
        BlockDevice device;      /* opened for reading and writing */
        dev_t part;              /* once state_device_map() has made it */
        uint64_t size;           /* bytes, in whole blocks */
        StateKeys keys;
        LabelArea area;
        Label label;   /* the newest, if area is LABEL_AREA_LABEL */
        unsigned copy; /* where it lies */
} StateDevice;

/* Reads the label of the device that device_wait() has found, without a key: nothing of it is believed. FAILURE_SOURCE, FAILURE_INTERNAL. */
int state_device_look(StateDevice *device, Error *error);

/* Opens the device that device_wait() has found, and reads its label. The caller calls state_device_close() after failure, too.
 * FAILURE_SOURCE, FAILURE_INTERNAL. */
int state_device_open(StateDevice *device, Error *error);
void state_device_close(StateDevice *device);

/* Maps the part of the device that the label is of. The caller removes the mapping. FAILURE_INTERNAL. */
int state_device_map(StateDevice *device, int dm, Error *error);

/* Returns 1 if the last MiB is zeros. FAILURE_SOURCE. */
int state_device_ends_blank(const StateDevice *device, Error *error);

/* Writes the label to the copy that is not the newest, with the next counter, and waits until it is durable. FAILURE_SOURCE. */
int state_device_write_label(StateDevice *device, Error *error);

/* Reads the superblock of dm-integrity, or makes it zeros, so that the kernel writes a new one. FAILURE_SOURCE. */
int state_device_read_superblock(const StateDevice *device, uint8_t *ret, Error *error);
int state_device_forget_superblock(const StateDevice *device, Error *error);
