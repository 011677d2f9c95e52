/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The opening of a read-write volume (Mode=state), and before its first use its format. Nothing on the device is believed before the MAC
 * of its label is right (volume/label.h), and the superblock of dm-integrity must be, byte for byte, the one in the label. With Integrity=no
 * there is no dm-integrity, and nothing of the data is verified: a label of one kind never opens with a declaration of the other.
 *
 *     blank ──► formatting ──► ready ──► ready …
 *                 ▲    │
 *                 └────┘ after a power cut
 *
 * The label says "formatting" until all tags are written and the file system is there. Until then nobody has stored anything, so a format
 * that was interrupted begins anew. Each opening writes a label with a greater counter.
 */

#include "config/volumes.h"
#include "memory/secret.h"
#include "unseald-volume/state-device.h"
#include "volume/device-search.h"

/*
 * Makes /dev/mapper/unseald-NAME, and writes the counter to /run/unseald-volume/NAME.env. Takes over a mapping that is there, if it is
 * exactly the one that the device demands, and refuses any other. Waits for the device (DeviceTimeoutSec=).
 *
 * data_key: STATE_DATA_KEY_MIN to VOLUME_KEY_TEXT_MAX bytes, any bytes; it stays the caller's. On return the keys that were made of it are in no keyring.
 *
 * sealed: the ciphertext of the data key, with key_in_label of the volume: a new volume gets it in its first label, which is durable before
 * the key is used. NULL without.
 *
 * FAILURE_CIPHERTEXT: the data key is too short or too long. FAILURE_SOURCE: the device, or what is on it, is not what it must be, or the
 * unit of OnOpen= refuses it (unseald-volume/hook.h). FAILURE_CONFIGURATION: that unit cannot be used.
 * FAILURE_INTERNAL: the kernel lacks something.
 */
int state_open(const DevicePlaces *places, const Volume *volume, const SealedKey *sealed, Secret *data_key,
               Error *error);

/*
 * Reads the label of a volume with key_in_label, without a key, and writes the ciphertext in it to directory/NAME, or an empty file if the
 * device is blank and may become a volume. Everybody may read the file. Nothing is written to the device, and nothing on it is believed: KMS and the encryption
 * context decide whether the ciphertext opens. Waits for the device (DeviceTimeoutSec=).
 *
 * FAILURE_SOURCE: there is no such device, or it has neither a label of this name with a ciphertext nor may it become a volume.
 */
int state_copy_label(const DevicePlaces *places, const Volume *volume, const char *directory, Error *error);
