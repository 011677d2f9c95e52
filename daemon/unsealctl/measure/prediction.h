/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Predicts PCR4, PCR7 and PCR12 after a boot, from the images in the order in which firmware starts them, and from the
 * variables of Secure Boot (TCG PC Client Platform Firmware Profile, 3.3.4.5 and 3.3.4.8; systemd-stub(7)). The
 * prediction is right for a NitroTPM, and for any firmware that starts the first image by a boot option and nothing
 * before it. Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/error.h"
#include "tpm/pcr.h"
#include "unsealctl/measure/efi.h"
#include "unsealctl/measure/secureboot.h"

/* Facts about one image, to show to people. */
typedef struct PredictedImage {
        EfiMachine machine;
        uint8_t digest[PCR_SIZE]; /* its Authenticode hash */
        bool has_kernel;          /* it is a unified kernel image: it has a .linux section */
        unsigned stub_version;    /* version of systemd-stub; 0 if has_kernel is false */
        bool stub_assumed;    /* there is no .sdmagic section: the stub is the one of Amazon Linux 2023 */
        bool kernel_measured; /* firmware loads the kernel, so PCR4 covers it, too */
        uint8_t kernel_digest[PCR_SIZE];
        const Signature *authority; /* the entry of db that authorises the image; NULL: Secure Boot is off */
} PredictedImage;

typedef struct Prediction {
        PcrSet pcrs; /* PCR4, PCR7 and PCR12 */
        SignatureDatabase db, dbx;
        bool *db_measured; /* for each entry of db: whether it is measured already */
        bool secure_boot;
} Prediction;

/* The variables must outlive the prediction. An error comes from signature_database_parse(). */
int prediction_begin(const SecureBootVariables *variables, Prediction *ret, Error *error);
void prediction_done(Prediction *prediction);
#define _cleanup_prediction_ _cleanup_(prediction_done)

/* Adds the image that firmware starts next. FAILURE_CONFIGURATION: -EBADMSG: the image is malformed; -EOPNOTSUPP:
 * machine or systemd-stub are unknown; -EKEYREJECTED: Secure Boot does not let the image start. After an error the
 * prediction must not be used. */
int prediction_add_image(Prediction *prediction, const uint8_t *data, size_t size, PredictedImage *ret,
                         Error *error);
