/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a session waits for, in words: for status.json (unseald-status.json(5)). Pure. */

#include "unsealing/passage.h"
#include "unsealing/status-file.h"

/* What the secret waits for until it is unsealed. *ret is empty if it waits for nothing: it is unsealed, or has failed for
 * good. begun_usec: CLOCK_MONOTONIC, when the session began; a step that has not begun is awaited since then. */
void waiting_for_secret(Passage *passage, uint64_t begun_usec, StatusWaiting *ret);

/* All secrets wait for the service manager to say that it has them. */
void waiting_for_manager(const Step *step, uint64_t begun_usec, StatusWaiting *ret);

/* All secrets wait for the TPM to extend the PCRs of MeasurePcr=. */
void waiting_for_measurement(const Step *step, uint64_t begun_usec, StatusWaiting *ret);

/* What all secrets wait for once they are kept: that the PCR is locked, or that the store shows them. pcr: 0: publication. */
void waiting_for_step(const Step *step, unsigned pcr, uint64_t begun_usec, StatusWaiting *ret);
