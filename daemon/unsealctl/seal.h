/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Seals a plaintext that another verb has made, exactly as "unsealctl seal" seals one from a file.
 *
 *     sealing_new(&request, &sealing)        checks the options, and asks KMS whether it would seal
 *     sealing_run(sealing, plaintext)        asks KMS, and perhaps signs
 *     sealing_write(sealing)                 writes the files
 *
 * Each function returns 0, or the exit status after its message is printed.
 */

#include <stdint.h>
#include <stdio.h>

#include "basic/cleanup.h"
#include "memory/secret.h"
#include "unsealctl/kms-call.h"

/* The options of seal with the same names. Borrowed until sealing_free(). */
typedef struct SealRequest {
        const char *key, *name, *account, *profile, *sign_file, *sign_key, *secret_version;
        const char *output;        /* of the ciphertext, in base64 */
        const char *output_option; /* the option that gave it, with "=" */
        const char *const *pairs;
        size_t pairs_count;
        KmsCallerOptions kms;
} SealRequest;

typedef struct Sealing Sealing;

int sealing_new(const SealRequest *request, Sealing **ret);
Sealing *sealing_free(Sealing *sealing);
DEFINE_CLEANUP(Sealing *, sealing_free);

/* plaintext: at most KMS_PLAINTEXT_MAX bytes. Once. */
int sealing_run(Sealing *sealing, Secret *plaintext);

int sealing_write(Sealing *sealing);

/* Writes the section [Secret] of the NAME.secret that fits. */
void sealing_print_secret_file(const Sealing *sealing, FILE *stream);
