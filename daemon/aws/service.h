/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * AWS's services have this in common: the domains of their endpoints, how a request is signed, and the names of their errors.
 * Everything here is a function of its arguments. Sources: AWS SDK endpoint rules; AWS API references, "Common Errors"; S3
 * API Reference, "Error responses".
 */

#include <stdbool.h>
#include <stdint.h>

#include "aws/sigv4.h"
#include "basic/cleanup.h"

/* The domain of a partition's endpoints, such as "amazonaws.com". dual_stack: of the endpoints that speak IPv6 too, such as
 * "api.aws". NULL: the partition is not known. */
const char *aws_domain(const char *partition, bool dual_stack) _pure_;

/* Returns whether text has the form of a Region's name, such as "eu-north-1". */
bool aws_is_region(const char *text) _pure_;

/* The partition of a Region, by the prefix of its name; "aws" by default. NULL: a partition that unseald does not know. */
const char *aws_partition_of(const char *region) _pure_;

/* Returns whether text may be a header's value: printable ASCII without spaces, not empty. Such a text cannot end the header. */
bool aws_is_header_value(const char *text) _pure_;

typedef struct AwsRequest {
        const char *method, *host;
        const char *path;   /* as on the wire, percent-encoded */
        const char *query;  /* as on the wire, without "?"; may be NULL */
        const char *target; /* X-Amz-Target of a service that speaks JSON 1.1; NULL: the service is S3 */
        const char *body;   /* may be NULL */
} AwsRequest;

/* Makes the headers of a request, with the signature. time: seconds since 1970. The caller frees *ret, which is NULL-terminated,
 * with aws_headers_free(). That wipes the headers, because one of them is the session token. */
int aws_sign(const AwsRequest *request, const char *region, const char *service,
             const AwsCredentials *credentials, int64_t time, char ***ret);
char **aws_headers_free(char **headers);
DEFINE_CLEANUP(char **, aws_headers_free);

/* Takes the error's name out of "com.amazonaws.kms#Name" or "Name:http://…". ret becomes empty if there is no name of letters,
 * digits, dots and underscores, or if it is longer than size - 1. */
void aws_error_code(const char *type, char *ret, size_t size);

#define AWS_SKEW_UNKNOWN INT64_MIN

/* The classes of errors that all services have. */
typedef enum AwsErrorClass {
        AWS_OTHER, /* an error of this service alone */
        AWS_THROTTLED,
        AWS_UNAVAILABLE,
        AWS_CREDENTIALS, /* the credentials have expired, or are not known, or not yet */
        AWS_SIGNATURE,
        AWS_CLOCK,         /* the time of the request is wrong by the skew */
        AWS_CLOCK_UNKNOWN, /* the time of the request is wrong, by an unknown skew */
} AwsErrorClass;

/* skew: seconds that the service's clock is ahead of the time that the request was signed with, or AWS_SKEW_UNKNOWN. */
AwsErrorClass aws_error_class(const char *code, unsigned status, int64_t skew) _pure_;

/* Copies text for quotation in an error: at most size - 1 characters. Every character that is not printable ASCII, and the
 * quotation mark, becomes "?". Returns buffer. */
const char *aws_quotable(const char *text, char *buffer, size_t size);
