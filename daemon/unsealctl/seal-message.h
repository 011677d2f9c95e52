/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Seals a plaintext of any length as a message of the AWS Encryption SDK. KMS makes the data key; the plaintext is read and
 * encrypted frame by frame (seal-frames.h), and never leaves this process.
 */

#include "memory/secret.h"
#include "unsealctl/kms-call.h"

typedef struct MessageSealing {
        const char *key_arn;
        char *const *context; /* "KEY=VALUE", NULL-terminated */
        int fd;               /* where the plaintext goes on */
        Secret *begin;        /* what has been read of it already; not more than a frame */
        const char *input;    /* its name, for people */
        const char *output;   /* NULL: standard output */

        /* Called with the header before anything is written, for a signature. It returns 0, or the exit status after its message is
         * printed. NULL: nothing is to be done. */
        int (*on_header)(const uint8_t *header, size_t size, void *userdata);
        void *userdata;
} MessageSealing;

/* Returns 0, or the exit status after the message is printed. Without success no file is left, also after a signal that ends the
 * process; where the file system has no O_TMPFILE (open(2)), the signal leaves ".unseald-XXXXXX" beside the output, with
 * ciphertext. *ret_size: bytes of plaintext. */
int seal_message(KmsCaller *caller, const MessageSealing *sealing, uint64_t *ret_size);
