/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Platform configuration registers of the SHA-384 bank, and pcr_measurements.json:
 * {"Measurements": {"HashAlgorithm": "SHA384 …", "PCR4": hex, "PCR7": hex, "PCR12": hex}}. Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"

#define PCR_COUNT 24
#define PCR_SIZE 48

typedef struct PcrSet {
        uint32_t present; /* bit n: value[n] is known */
        uint8_t value[PCR_COUNT][PCR_SIZE];
} PcrSet;

/* The largest pcr_measurements.json, in bytes. The daemon and all verbs of unsealctl read one with this limit. */
#define PCR_MEASUREMENTS_SIZE_MAX (64U * 1024U)

/* FAILURE_CONFIGURATION, -EBADMSG: the text is not JSON, has no measurements, or a value is not 96 hexadecimal digits. */
int pcr_measurements_parse(const char *text, size_t length, PcrSet *ret, Error *error);

/* Extends a PCR's value: SHA-384 over the value and the digest. -EIO: OpenSSL failed. */
int pcr_extend(uint8_t value[static PCR_SIZE], const uint8_t digest[static PCR_SIZE]);

/* Returns whether LockPcr= and MeasurePcr= take this PCR: 8, 13, 14 or 15. The others belong to other programs, or can be reset. */
bool pcr_is_free(unsigned pcr) _pure_;

#define PCR_LOCK_EVENT "unseald lock v1"

/* The digest with which LockPcr= extends a PCR: SHA-384 of PCR_LOCK_EVENT. -EIO: OpenSSL failed. */
int pcr_lock_digest(uint8_t ret[static PCR_SIZE]);

/* Returns whether a PCR whose value was `before` (NULL: zeros, as after every boot) and that was locked once has this value. */
bool pcr_is_locked(const uint8_t value[static PCR_SIZE], const uint8_t *before);

/* The value of PCR2 if the firmware has loaded no third-party driver: zeros, extended with the separator that firmware writes
 * before the boot (TCG PC Client Platform Firmware Profile, "Separators"). A real NitroTPM document has this value
 * (tests/vectors/attestation). */
#define PCR2_WITHOUT_DRIVERS \
        "518923b0f955d08da077c96aaba522b9decede61c599cea6c41889cfbea4ae4d50529d96fe4d1afdafb65e7f95bf23c4"

/* Returns whether PCR2 shows a third-party driver. false also if PCR2 is unknown, or zeros, as in a TPM without firmware. */
bool pcr_shows_drivers(const PcrSet *pcrs);

/* Bit n: both sets have PCR n and the values differ. */
uint32_t pcr_differing(const PcrSet *a, const PcrSet *b) _pure_;

/* A text for people that says what is measured into a PCR: 4 → "boot code: the unified kernel image". Never NULL. */
const char *pcr_covers(unsigned pcr) _pure_;
