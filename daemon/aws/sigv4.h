/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * AWS Signature Version 4, for requests whose headers and body are known. Everything here is a function of its arguments.
 * Source: IAM User Guide, "Create a signed AWS API request". The tests use the vectors of AWS's own test suite.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"

typedef struct AwsCredentials {
        char *access_key_id;
        char *secret_access_key;
        char *session_token; /* NULL for long-lived keys */
        int64_t expiration;  /* seconds since 1970; 0: never */
} AwsCredentials;

/* Wipes and frees a string that holds a key or a token. text may be NULL. Returns NULL. */
char *erase_and_free(char *text);
DEFINE_CLEANUP(char *, erase_and_free);
#define _cleanup_erase_ _cleanup_(erase_and_freep)

/* Wipes and frees all members and sets them to zero. */
void aws_credentials_clear(AwsCredentials *credentials);

/* The signature covers all headers. */
typedef struct Sigv4Request {
        const char *method;
        const char *path;           /* as on the wire, percent-encoded; begins with "/" */
        const char *query;          /* as on the wire, without "?"; may be empty or NULL */
        const char *const *headers; /* "Name: value", NULL-terminated; must include Host and X-Amz-Date */
        const void *body;
        size_t body_size;
        bool s3; /* S3's rules: the path is not normalized and not encoded again */
} Sigv4Request;

#define SIGV4_DATE_SIZE 17 /* "20150830T123600Z" and a NUL */

/* The value of X-Amz-Date for a time in seconds since 1970. -ERANGE: the time is before 1970 or after 9999. */
int sigv4_date(int64_t time, char ret[static SIGV4_DATE_SIZE]);

/* The SHA-256 of a body in lower-case hexadecimal, as in S3's X-Amz-Content-Sha256. -ENOMEM. */
int sigv4_body_hash(const void *body, size_t size, char ret[static 65]);

/*
 * The canonical request contains the values of all headers, and so the session token: the caller frees *ret with
 * erase_and_free(). *ret_names has the names of the signed headers; the caller frees it. -EINVAL: Host or X-Amz-Date is missing,
 * a header has no name, or the path does not begin with a slash. -E2BIG: more than 64 headers or parameters, or 64 KiB. -ENOMEM.
 */
int sigv4_canonical_request(const Sigv4Request *request, char **ret, char **ret_names);

/* The value of the Authorization header. date: as in X-Amz-Date. The signature covers a session token only if it is among the
 * headers. The caller frees *ret. */
int sigv4_authorization(const Sigv4Request *request, const AwsCredentials *credentials, const char *date,
                        const char *region, const char *service, char **ret);
