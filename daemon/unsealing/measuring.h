/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * MeasurePcr=: which sealed secrets a session measures into PCRs (tpm/secret-events.h). The events are recorded with the kept secrets
 * before the first one is extended, and nothing is kept or published before all are. A secret that is unsealed again is measured again
 * only if its sealed secret or its PCR has changed since its last event.
 */

#include "tpm/secret-events.h"
#include "unsealing/passage.h"
#include "vault/kept.h"

/* The new events of the unsealed secrets, in the order of the passages, which is that of the names. measured: the PCRs as attested.
 * The caller frees *ret, which may be NULL if there is none. FAILURE_TPM or FAILURE_INTERNAL. */
int measuring_plan(const Passage *passages, size_t passages_count, const Kept *kept, const PcrSet *measured,
                   ManifestEvent **ret, size_t *ret_count, Error *error);

/* All recorded events, as the TPM takes them. The caller frees *ret. FAILURE_INTERNAL. */
int measuring_recorded(const Kept *kept, SecretEvent **ret, size_t *ret_count, Error *error);

/* The PCR that the sealed secret of this name was measured into last; 0: none. kept may be NULL. */
unsigned measuring_pcr_of(const Kept *kept, const char *name);

/* Writes the events from `first` on to the journal. */
void measuring_report(const Kept *kept, size_t first);

/* Writes the log of the extended events (tpm/event-log.h), in place of an earlier one. A failure is only logged: the log helps verifiers,
 * and decides nothing. */
void measuring_write_log(const Kept *kept, const char *path);
