/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Why something failed, for a person and for the retry logic.
 *
 * Functions return 0 or a negative errno. Where the *why* must reach a person they also fill an Error: what
 * failed (which decides unseald's exit status), what to do about it (may it pass by itself?), a sentence, and what
 * KMS called it. An Error owns nothing and needs no clean-up. It is logged once, by whoever can act on it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/cleanup.h"

/* Each value is the exit status of unseald (unseald(8), "Exit status"). */
typedef enum Failure {
        FAILURE_NONE = 0,
        FAILURE_INTERNAL = 1,     /* out of memory, or a system call that should not fail */
        FAILURE_MEMORY = 10,      /* memory cannot be locked or protected */
        FAILURE_STORE = 11,       /* the store is not a memory file system, or cannot be written */
        FAILURE_TPM = 20,         /* the TPM is not there, is held by somebody else, or answers an error */
        FAILURE_NOT_NITRO = 21,   /* a TPM, but without NitroTPM's attestation command */
        FAILURE_ATTESTATION = 22, /* the NSM refused, or its document cannot be read */
        FAILURE_SOURCE = 30,      /* the ciphertext is not to be had, or is none */
        FAILURE_IMDS = 40,        /* IMDS cannot be reached or answers nonsense */
        FAILURE_ROLE = 41,        /* the instance has no role, or EC2 has no credentials for it */
        FAILURE_NETWORK = 50,     /* KMS or a source cannot be reached */
        FAILURE_TLS = 51,         /* the certificate of KMS or a source is not trusted */
        FAILURE_CLOCK = 52,       /* the clock is too far off for certificates or signatures */
        FAILURE_UNAVAILABLE = 53, /* KMS or a source throttles or has an outage */
        FAILURE_DENIED = 60,      /* KMS denies access */
        FAILURE_KEY = 61, /* no such key, or it cannot be used: disabled, pending deletion, wrong kind */
        FAILURE_CIPHERTEXT = 62, /* tampered with, of another key, or of another secret's name */
        FAILURE_DOCUMENT = 63,   /* KMS does not accept the attestation document */
        FAILURE_REQUEST = 64,    /* KMS does not accept the request for another reason */
        FAILURE_ANSWER =
                        65, /* KMS's answer cannot be believed: wrong key, plaintext in it, envelope broken */
        FAILURE_POLICY =
                        66, /* KMS would give the secret to the role without attestation (VerifyPolicy=yes) */
        FAILURE_LOCKED =
                        67, /* the PCR is locked, and what was unsealed before that is not kept (LockPcr=) */
        FAILURE_USAGE = 2,  /* wrong options on the command line */
        FAILURE_CONFIGURATION = 78, /* unseald.conf or a *.secret file is wrong (sysexits' EX_CONFIG) */
} Failure;

/* What may mend a failure. */
typedef enum Remedy {
        REMEDY_NONE,        /* nothing that a program can do */
        REMEDY_RETRY,       /* try again later, with backoff */
        REMEDY_CREDENTIALS, /* fetch the role's credentials anew, then try again */
        REMEDY_DOCUMENT,    /* make a new attestation document, then try again, once */
        REMEDY_CLOCK,       /* use the server's time, then try again */
} Remedy;

typedef struct Error {
        Failure failure;
        Remedy remedy;
        uint64_t retry_after_usec; /* what the server asked for; 0: nothing */
        char text[768];            /* one or two sentences without final newline: what, where, what to do */
        char code[64];             /* KMS's or IMDS's name of the error, without namespace; or empty */
        char request_id[64];       /* as in CloudTrail; or empty */
} Error;

/* Fills *error (which may be NULL), clearing what it held, and returns r, which must be negative. */
int error_set(Error *error, int r, Failure failure, const char *format, ...) _printf_(4, 5);

/* The same with a remedy. */
int error_set_remedy(Error *error, int r, Failure failure, Remedy remedy, const char *format, ...)
                _printf_(5, 6);

/* -ENOMEM, said. */
int error_oom(Error *error);

/* Whether no new attempt can mend it: RestartPreventExitStatus= of unseald.service has the same list. */
bool failure_is_final(Failure failure) _pure_;

/* The stable name of a failure, as in status.json and unseald(8): "access-denied". Never NULL. */
const char *failure_to_string(Failure failure) _pure_;
