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

/* FAILURE_CONFIGURATION, -EBADMSG: no JSON, no measurements in it, a value that is not 96 hex digits. */
int pcr_measurements_parse(const char *text, size_t length, PcrSet *ret, Error *error);

/* What extending a PCR makes of its value: SHA-384 over it and the digest. */
int pcr_extend(uint8_t value[static PCR_SIZE], const uint8_t digest[static PCR_SIZE]);

/* LockPcr=: what is extended, SHA-384("unseald lock v1"). */
#define PCR_LOCK_EVENT "unseald lock v1"
int pcr_lock_digest(uint8_t ret[static PCR_SIZE]);

/* Whether this value is that of a PCR that was `before` (NULL: zeros, as after every boot) and was locked since. */
bool pcr_is_locked(const uint8_t value[static PCR_SIZE], const uint8_t *before);

/* PCR2 where firmware has loaded no driver that is not its own: zeros, extended with the separator before the boot (TCG PC
 * Client Platform Firmware Profile, "Separators"). So in a real NitroTPM document (tests/vectors/attestation). */
#define PCR2_WITHOUT_DRIVERS \
        "518923b0f955d08da077c96aaba522b9decede61c599cea6c41889cfbea4ae4d50529d96fe4d1afdafb65e7f95bf23c4"

/* Whether it has: not where PCR2 is not known, or zeros, as in a TPM that no firmware has measured into. */
bool pcr_shows_drivers(const PcrSet *pcrs);

/* Bit n: both know PCR n and the values differ. */
uint32_t pcr_differing(const PcrSet *a, const PcrSet *b) _pure_;

/* What a PCR covers, for people: 4 → "boot code: the unified kernel image". Never NULL. */
const char *pcr_covers(unsigned pcr) _pure_;
