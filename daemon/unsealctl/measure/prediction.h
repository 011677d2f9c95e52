/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a boot will leave in PCR4, PCR7 and PCR12, computed from the images that firmware starts, in that order, and
 * from Secure Boot's variables (TCG PC Client Platform Firmware Profile, 3.3.4.5 and 3.3.4.8; systemd-stub(7)).
 * Holds for a NitroTPM, and for any firmware that starts the first image by a boot option and nothing before it.
 * Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "tpm/pcr.h"
#include "unsealctl/measure/efi.h"
#include "unsealctl/measure/secureboot.h"

/* What was found in one image, for people. */
typedef struct PredictedImage {
        EfiMachine machine;
        uint8_t digest[PCR_SIZE]; /* its Authenticode hash */
        bool has_kernel;          /* a .linux section: it is a unified kernel image */
        unsigned stub_version;    /* of systemd-stub; 0: has_kernel is false */
        bool stub_assumed;        /* there is no .sdmagic section: taken for Amazon Linux 2023's stub, 252 */
        bool kernel_measured;     /* the stub has firmware load the kernel, so that it is in PCR4 too */
        uint8_t kernel_digest[PCR_SIZE];
        const Signature *authority; /* what of db lets it start; NULL: Secure Boot is off */
} PredictedImage;

typedef struct Prediction {
        PcrSet pcrs; /* 4, 7 and 12 */
        SignatureDatabase db, dbx;
        bool *db_measured; /* of each entry of db */
        bool secure_boot;
} Prediction;

/* The variables must be parsable (signature_database_parse() says what is wrong) and outlive the prediction. */
int prediction_begin(const SecureBootVariables *variables, Prediction *ret, Error *error);
void prediction_done(Prediction *prediction);
#define _cleanup_prediction_ _cleanup_(prediction_done)

/* The next image that is started. FAILURE_CONFIGURATION: -EBADMSG, malformed; -EOPNOTSUPP, an unknown machine or
 * systemd-stub; -EKEYREJECTED, Secure Boot does not let it start. After an error the prediction is good for nothing. */
int prediction_add_image(Prediction *prediction, const uint8_t *data, size_t size, PredictedImage *ret,
                         Error *error);
