/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Why something failed, for a person and for the retry logic.
 *
 * Functions return 0 or a negative errno. A function whose failure a person must understand also fills an Error: the failure,
 * which decides unseald's exit status; the remedy, which decides whether unseald tries again; a text; and the name that KMS
 * gave the error. An Error owns nothing and needs no clean-up. Only the caller that acts on an Error logs it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/cleanup.h"

/* Each value is the exit status of unseald (unseald(8), "Exit status"). */
typedef enum Failure {
        FAILURE_NONE = 0,
        FAILURE_INTERNAL = 1,   /* out of memory, or a system call that should not fail */
        FAILURE_MEMORY = 10,    /* memory cannot be locked or protected */
        FAILURE_STORE = 11,     /* the store is not a memory file system, or unseald cannot write it */
        FAILURE_TPM = 20,       /* the TPM is missing, in use by another program, or answers with an error */
        FAILURE_NOT_NITRO = 21, /* the TPM lacks NitroTPM's attestation command */
        FAILURE_ATTESTATION = 22, /* the NSM refused, or its document is malformed */
        FAILURE_SOURCE = 30,      /* the source has no ciphertext, or something else */
        FAILURE_IMDS = 40,        /* IMDS is unreachable, or its answer is malformed */
        FAILURE_ROLE = 41,        /* the instance has no role, or EC2 has no credentials for it */
        FAILURE_NETWORK = 50,     /* KMS or a source is unreachable */
        FAILURE_TLS = 51,         /* the certificate of KMS or a source is not trusted */
        FAILURE_CLOCK = 52,       /* the clock is too wrong for certificates or signatures */
        FAILURE_UNAVAILABLE = 53, /* KMS or a source throttles requests or has an outage */
        FAILURE_DENIED = 60,      /* KMS denies access */
        FAILURE_KEY = 61, /* the key does not exist, is disabled, is pending deletion or is of the wrong kind */
        FAILURE_CIPHERTEXT =
                        62, /* the ciphertext was changed, or sealed with another key or for another name */
        FAILURE_DOCUMENT = 63, /* KMS refuses the attestation document */
        FAILURE_REQUEST = 64,  /* KMS refuses the request for another reason */
        FAILURE_ANSWER =
                        65, /* KMS's answer is not trustworthy: wrong key, a plaintext, or a broken envelope */
        FAILURE_POLICY = 66, /* KMS would decrypt for the role without attestation (VerifyPolicy=yes) */
        FAILURE_LOCKED = 67, /* the PCR is locked (LockPcr=), and the secrets from before are lost */
        FAILURE_SIGNATURE =
                        68, /* the ciphertext lacks a valid signature, or its version is too old (SignedBy=) */
        FAILURE_LATE = 70, /* unsealctl reload only: late secrets are still to come (Late=) */
        FAILURE_USAGE = 2, /* wrong options on the command line */
        FAILURE_CONFIGURATION =
                        78, /* unseald.conf or a *.secret file is wrong (EX_CONFIG of sysexits.h(3head)) */
} Failure;

/* What may help against a failure. */
typedef enum Remedy {
        REMEDY_NONE,        /* a program can do nothing */
        REMEDY_RETRY,       /* try again later, with backoff */
        REMEDY_CREDENTIALS, /* fetch the role's credentials again, then try again */
        REMEDY_DOCUMENT,    /* make a new attestation document, then try again, once */
        REMEDY_CLOCK,       /* sign with the server's time, then try again */
} Remedy;

typedef struct Error {
        Failure failure;
        Remedy remedy;
        bool outage; /* KMS answers that it, or what it depends on, does not work: status 5xx. Throttling is none */
        uint64_t retry_after_usec; /* the wait that the server asked for; 0: none */
        char text[768];            /* one line: what happened, to what, why, what to do */
        char code[64];       /* the name that KMS or IMDS gave the error, without namespace; or empty */
        char request_id[64]; /* as in CloudTrail; or empty */
} Error;

/*
 * Replaces *error, which may be NULL. The text is cleaned with text_clean() (basic/text.h), because it may quote a server, a
 * certificate or a file. r must be negative. Returns r.
 *
 * A lack of resources (error_is_of_resources()) is no verdict on a file, a document or a configuration: whatever failure the
 * caller names, if it is final it becomes FAILURE_INTERNAL with REMEDY_RETRY. FAILURE_MEMORY stays, since mlockall(2) says ENOMEM
 * for a limit.
 */
int error_set(Error *error, int r, Failure failure, const char *format, ...) _printf_(4, 5);

/* The same, with a remedy. */
int error_set_remedy(Error *error, int r, Failure failure, Remedy remedy, const char *format, ...)
                _printf_(5, 6);

/* Says that memory ran out. Returns -ENOMEM. */
int error_oom(Error *error);

/* Returns whether this negative errno says that the machine had too little of something for the moment, or that a call was
 * interrupted: the same call may succeed later. */
bool error_is_of_resources(int r) _pure_;

/* Returns whether a new attempt is useless. RestartPreventExitStatus= of unseald.service has the same list. */
bool failure_is_final(Failure failure) _pure_;

/* The name of a failure in status.json and unseald(8), such as "access-denied". It never changes between versions. Never
 * NULL. */
const char *failure_to_string(Failure failure) _pure_;

/* The failure of that name; FAILURE_INTERNAL: there is none. */
Failure failure_from_string(const char *name) _pure_;
