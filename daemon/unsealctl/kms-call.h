/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A KMS request of a verb. Blocks until the answer is there.
 *
 *     credentials_find(profile, &credentials, &region, &error)        (unsealctl/credentials.h)
 *     kms_caller_new(&(KmsCallerOptions){ .region = region, .credentials = &credentials }, &caller, &error)
 *     kms_call(caller, "DescribeKey", "{\"KeyId\":\"alias/billing\"}", &answer, &size, &error)
 *
 * If a step fails, *error has the text for people and, where KMS refused, KMS's code ("DryRunOperationException") and the ID of the
 * request. error->failure is the exit status, as for unseald.
 */

#include <stdbool.h>
#include <stddef.h>

#include "aws/sigv4.h"
#include "basic/cleanup.h"
#include "basic/error.h"

/* All borrowed, credentials until kms_caller_free(). An option that is left out has the default of unseald.conf(5). */
typedef struct KmsCallerOptions {
        const char *region; /* of KMS, and of the signature */
        const AwsCredentials *credentials;
        bool of_instance; /* credentials of the instance's role: errors are explained as in unseald, with its settings */
        bool fips, dual_stack;
        const char *endpoint, *proxy, *trusted_certificates;
} KmsCallerOptions;

/* One endpoint. Keeps its connections from one call to the next. */
typedef struct KmsCaller KmsCaller;

int kms_caller_new(const KmsCallerOptions *options, KmsCaller **ret, Error *error);
KmsCaller *kms_caller_free(KmsCaller *caller);
DEFINE_CLEANUP(KmsCaller *, kms_caller_free);

/*
 * Calls one operation. Failures that may pass (throttling, an outage, a lost connection, a wrong clock) are tried three times in all.
 * *ret is the body of an answer with HTTP status 200, with a NUL after its size; the caller frees it with erase_and_free(). Do not
 * call Decrypt without Recipient: its answer contains the plaintext.
 */
int kms_call(KmsCaller *caller, const char *operation, const char *body, char **ret, size_t *ret_size,
             Error *error);

/* Prints why a call failed, with the ID of the request. Returns the exit status. */
int kms_call_failure(const Error *error);

/* Prints what to do where KMS lets the caller make no ciphertext: the option of "unsealctl policy" that names the caller. */
void kms_call_say_sealer(const Error *error);
