/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Explains to people why KMS may have denied access. Pure. */

#include "basic/error.h"
#include "tpm/pcr.h"

#define EXPLANATION_MAX 2048

/* Describes PCR4, PCR7 and PCR12, each with the measured value, what the PCR covers, and, if expected has it, the expected value
 * and whether the two differ. PCR2 is added if it shows that the firmware has loaded third-party drivers. expected may be NULL.
 * Lines are separated by newlines. Returns buffer. */
const char *explain_measurements(const PcrSet *measured, const PcrSet *expected,
                                 char buffer[static EXPLANATION_MAX]);

/* A denial after the PCR was locked in this boot has the lock as its cause: *error becomes FAILURE_LOCKED and says so. Any other
 * error stays as it is. lock_pcr: LockPcr=, 0 for none. */
void explain_lock(const PcrSet *measured, unsigned lock_pcr, Error *error);
