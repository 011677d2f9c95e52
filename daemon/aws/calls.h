/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The requests of one client of an AWS service that are under way, and how far the service's clock is ahead of this
 * machine's. AWS refuses a signature whose time is more than five minutes off (IAM User Guide, "Signature Version 4"), and
 * early in a boot the clock may be wrong by years: a client learns the time from the refusal and signs with it from then on.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/http.h"

typedef struct AwsCall AwsCall;

/* Zeroed except http. */
typedef struct AwsCalls {
        HttpClient *http;     /* borrowed; must outlive it */
        AwsCall *first;       /* under way */
        int64_t clock_offset; /* seconds that the service's clock is ahead of this machine's */
} AwsCalls;

/* The first member of the client's own request, which is allocated with malloc(). */
struct AwsCall {
        AwsCalls *calls;
        HttpTransfer *transfer;
        int64_t signed_at;            /* seconds since 1970 by the service's clock, as far as it is known */
        int64_t clock_offset;         /* of calls when this one was signed */
        void (*clear)(AwsCall *call); /* frees what the request owns; NULL: it owns nothing */
        AwsCall *previous, *next;
};

/* Cancels and frees all calls, without their callbacks. */
void aws_calls_cancel(AwsCalls *calls);

/* A call that is signed now. */
AwsCall aws_call_now(AwsCalls *calls);

/* Starts the transfer, with call as the callback's userdata. On success the list owns call until aws_call_end(). */
int aws_call_start(AwsCall *call, const HttpRequest *request, HttpCallback callback);

/* Takes a call out of the list; to be called first in its callback. The caller then frees it. */
void aws_call_end(AwsCall *call);

/* Seconds that the server's clock is ahead of the time that the request was signed with, by the reply's Date header, or
 * AWS_SKEW_UNKNOWN. */
int64_t aws_call_skew(const AwsCall *call, const HttpReply *reply);

/* From now on requests are signed with the server's time. Several requests that run side by side may find the same clock
 * wrong: skew is added to the offset that this call was signed with, not to the current one. */
void aws_call_adjust_clock(const AwsCall *call, int64_t skew);
