/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A KMS request of a verb: waits for the answer.
 *
 *     credentials_find(profile, &credentials, &region, &error)        (ctl/credentials.h)
 *     kms_caller_new(&(KmsCallerOptions){ .region = region, .credentials = &credentials }, &caller, &error)
 *     kms_call(caller, "DescribeKey", "{\"KeyId\":\"alias/billing\"}", &answer, &size, &error)
 *
 * Where a step fails, *error has the text for a person and, of KMS's own refusals, its code ("DryRunOperationException")
 * and the request's ID; its failure is the exit status, as unseald's.
 */

#include <stdbool.h>
#include <stddef.h>

#include "aws/sigv4.h"
#include "basic/cleanup.h"
#include "basic/error.h"

/* All borrowed; credentials until the caller is freed. What is left out is as unseald.conf(5) has it by default. */
typedef struct KmsCallerOptions {
        const char *region; /* where KMS is, and what is signed for */
        const AwsCredentials *credentials;
        bool of_instance; /* they are its role's: errors are explained as unseald explains them */
        bool fips, dual_stack;
        const char *endpoint, *proxy, *trusted_certificates;
} KmsCallerOptions;

/* One endpoint, whose connections are kept from one call to the next. */
typedef struct KmsCaller KmsCaller;

int kms_caller_new(const KmsCallerOptions *options, KmsCaller **ret, Error *error);
KmsCaller *kms_caller_free(KmsCaller *caller);
DEFINE_CLEANUP(KmsCaller *, kms_caller_free);

/* One operation. What may pass by itself (throttling, an outage, a lost connection, a wrong clock) is tried three times
 * in all. *ret: the body of an answer with status 200, NUL-terminated behind its size; to be freed with erase_and_free().
 * Decrypt without Recipient is not for here: its answer would have the plaintext in it. */
int kms_call(KmsCaller *caller, const char *operation, const char *body, char **ret, size_t *ret_size,
             Error *error);
