/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The one judge of what a pcr_measurements.json means: which PCRs an attestation document must show, and with which
 * values. Pure.
 *
 * The file comes from a prediction ('unsealctl measure', AWS's nitro-tpm-pcr-compute) or from a trusted boot. A prediction
 * has PCR4, PCR7 and perhaps PCR12 only. A PCR that the file does not have is completed where its value is the same for all
 * images:
 *
 *     PCR2   firmware has loaded no drivers but its own (PCR2_WITHOUT_DRIVERS)
 *     PCR12  zeros: no kernel command line and no credentials came from outside the image (systemd-stub(7))
 *     PCR13  zeros: no system extensions came from outside the image (systemd-stub(7))
 *
 * 'unsealctl policy' pins what is judged here. So 'policy lint', 'verify', 'doctor' and the daemon's explanation of a denial
 * accept no document that KMS denies for its PCRs, with one exception: the lock PCR. A policy with lock_pcr pins it as it is
 * before the lock. A running instance has locked it, so 'verify' does not compare it, and 'doctor' reports it apart. They may
 * be stricter: they compare all PCRs of the file, and a key policy pins PCR2, PCR4, PCR12 and PCR13, PCR7 with secure_boot,
 * and the lock PCR.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tpm/pcr.h"

/* How many files may be alternatives of one another: images of a rolling update. */
#define EXPECTATIONS_MAX 16U

typedef struct ExpectationOptions {
        bool any_drivers;    /* PCR2 may have any value, even if the file has one */
        bool any_extensions; /* PCR13 may have any value, even if the file has one */
        bool secure_boot;    /* a policy pins PCR7 too */
        uint32_t measured; /* bit n: MeasurePcr=n extends PCR n, so it may have any value, even if the file has one */
        unsigned lock_pcr; /* a policy pins this PCR too, as it is before the lock: by default zeros. 0: none */
} ExpectationOptions;

typedef struct Expectation {
        PcrSet pcrs; /* the PCRs that a document must show */
        uint32_t pinned; /* bit n: a key policy pins PCR n. A pinned PCR without a value is a mistake of the file */
} Expectation;

void expectation_make(const PcrSet *measurements, const ExpectationOptions *options, Expectation *ret);

/* Checks that the expectation tells an image from others. FAILURE_USAGE, -EINVAL: a pinned PCR has no value, or one for which
* pcr_value_is_constant() is true. */
int expectation_check(const Expectation *expectation, Error *error);

typedef struct ExpectationVerdict {
        bool met;
        size_t index; /* the alternative that is met; else the first of those with the fewest wrong PCRs */
        uint32_t differing; /* bit n: PCR n has another value than that alternative */
        uint32_t missing;   /* bit n: that alternative has PCR n, and the measured set does not */
} ExpectationVerdict;

/* Compares what was measured with alternatives. One of them must be met as a whole: PCR4 of one image beside PCR12 of
 * another meets neither. n may be 0: nothing is met, and index, differing and missing are 0. */
ExpectationVerdict expectation_judge(const Expectation *alternatives, size_t n, const PcrSet *measured);

/* Returns whether this value says nothing about what booted: zeros of PCR4 or PCR7; ones of a PCR below 16; PCR7 while Secure
* Boot is off and no keys are enrolled. */
bool pcr_value_is_constant(unsigned pcr, const uint8_t value[static PCR_SIZE]) _pure_;
