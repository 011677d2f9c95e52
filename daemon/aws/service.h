/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What AWS's services have in common: under which domain they are, how a request to them is signed, what their errors
 * are called and what may mend them. Pure. Sources: AWS SDK endpoint rules; AWS API references, "Common Errors"; S3 API
 * Reference, "Error responses".
 */

#include <stdbool.h>
#include <stdint.h>

#include "aws/sigv4.h"
#include "basic/cleanup.h"

/* Of a partition, "amazonaws.com"; dual_stack: the one of endpoints that have IPv6 too, "api.aws". NULL: unknown. */
const char *aws_domain(const char *partition, bool dual_stack) _pure_;

/* "eu-north-1". */
bool aws_is_region(const char *text) _pure_;

/* The partition that a Region is in, "aws" by default; NULL: one that is not known. */
const char *aws_partition_of(const char *region) _pure_;

/* Printable ASCII without spaces, and some of it: what does not end the header that it is put into. */
bool aws_is_header_value(const char *text) _pure_;

typedef struct AwsRequest {
        const char *method, *host;
        const char *path;   /* as on the wire */
        const char *query;  /* as on the wire, without "?"; may be NULL */
        const char *target; /* X-Amz-Target of a service that speaks JSON 1.1; NULL: S3's rules */
        const char *body;   /* may be NULL */
} AwsRequest;

/* The headers of the request, signed; NULL-terminated, to be freed by aws_headers_free(), which wipes them: the session
 * token is in there. time: seconds since 1970. */
int aws_sign(const AwsRequest *request, const char *region, const char *service,
             const AwsCredentials *credentials, int64_t time, char ***ret);
char **aws_headers_free(char **headers);
DEFINE_CLEANUP(char **, aws_headers_free);

/* "com.amazonaws.kms#Name" or "Name:http://…" → "Name"; what is no name becomes empty. */
void aws_error_code(const char *type, char *ret, size_t size);

#define AWS_SKEW_UNKNOWN INT64_MIN

typedef enum AwsTrouble {
        AWS_OTHER, /* something of the service's own */
        AWS_THROTTLED,
        AWS_UNAVAILABLE,
        AWS_CREDENTIALS, /* they have expired, or are not known (yet) */
        AWS_SIGNATURE,
        AWS_CLOCK, /* the request's time is off, by the skew */
        AWS_CLOCK_UNKNOWN,
} AwsTrouble;

/* skew: seconds that the service's clock is ahead of the time signed with, or AWS_SKEW_UNKNOWN. */
AwsTrouble aws_trouble(const char *code, unsigned status, int64_t skew) _pure_;

/* For an error's text: bounded, ASCII, without control characters. Returns buffer. */
const char *aws_quotable(const char *text, char *buffer, size_t size);
