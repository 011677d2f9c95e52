/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Explains to people why KMS may have denied access. Pure. */

#include "basic/error.h"
#include "tpm/pcr.h"

#define EXPLANATION_MAX 8192

/* Describes PCR4, PCR7, PCR12 and every PCR that differs: the measured value, what the PCR covers, whether it differs, and then
 * the expected value. measurements: the file of ExpectedMeasurements=, completed as tpm/expectation.h says; may be NULL. Without
 * measurements PCR2 is added if it shows that the firmware has loaded third-party drivers, and PCR13 if it shows system extensions from
 * outside the image. own: bit n: MeasurePcr=n; unseald itself extends these PCRs, so they show nothing about extensions. Lines are
 * separated by newlines. Returns buffer. */
const char *explain_measurements(const PcrSet *measured, const PcrSet *measurements, uint32_t own,
                                 char buffer[static EXPLANATION_MAX]);

/* A denial after the PCR was locked in this boot has the lock as its cause: *error becomes FAILURE_LOCKED and says so. Any other
 * error stays as it is. lock_pcr: LockPcr=, 0 for none. */
void explain_lock(const PcrSet *measured, unsigned lock_pcr, Error *error);

/* A denial after sealed secrets were measured in this boot may have that as its cause, if the key's policy pins the PCR: the text of
 * *error says so. Any other error stays as it is. pcrs: bit n: MeasurePcr=n. */
void explain_measured(const PcrSet *measured, uint32_t pcrs, Error *error);
