/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Why KMS may have denied access, from what this boot measured and what it was expected to measure. Pure. */

#include <stddef.h>

#include "tpm/pcr.h"

#define EXPLANATION_MAX 2048

/* A line each for PCR4, PCR7 and PCR12: measured, expected (where expected is not NULL and knows it), whether they differ, what
 * the PCR covers. PCR2 too, if it shows that firmware has loaded drivers of others. Returns buffer. */
const char *explain_measurements(const PcrSet *measured, const PcrSet *expected,
                                 char buffer[static EXPLANATION_MAX]);
