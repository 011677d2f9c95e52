/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Finds the PCR values that ExpectedMeasurements= names, in a file or in the user data. The account's owner can change the user
 * data, so the values are advice: they are printed beside a denial and decide nothing.
 */

#include "tpm/pcr.h"
#include "unsealing/instance.h"

/* expected: the values, valid during the call; NULL if none could be read, which is then in the journal. */
typedef void (*ExpectedMeasurementsFound)(const PcrSet *expected, void *userdata);

/* One search. The caller keeps it until the callback. */
typedef struct ExpectedMeasurements {
        const char *setting; /* ExpectedMeasurements=: "user-data:/pointer", "user-data:", or a path; borrowed */
        ExpectedMeasurementsFound found;
        void *userdata;
} ExpectedMeasurements;

/* Calls search->found once, possibly before it returns. */
void expected_measurements_find(ExpectedMeasurements *search, Instance *instance);
