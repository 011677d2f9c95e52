/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * AWS Signature Version 4, for requests with headers and a body at hand. Pure.
 * Source: AWS, "Create a signed AWS API request" (IAM User Guide); vectors: AWS's own test suite.
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

/* Wipes and frees a string that holds a key or a token; NULL is allowed. Returns NULL. */
char *erase_and_free(char *text);
DEFINE_CLEANUP(char *, erase_and_free);
#define _cleanup_erase_ _cleanup_(erase_and_freep)

/* Wipes and frees what it holds, leaving it empty. */
void aws_credentials_clear(AwsCredentials *credentials);

/* All its headers are signed. */
typedef struct Sigv4Request {
        const char *method;
        const char *path;           /* as on the wire, percent-encoded; "/" at least */
        const char *query;          /* as on the wire, without "?"; may be empty or NULL */
        const char *const *headers; /* "Name: value", NULL-terminated; Host and X-Amz-Date among them */
        const void *body;
        size_t body_size;
        bool s3; /* S3's rules: the path is neither normalized nor encoded a second time */
} Sigv4Request;

#define SIGV4_DATE_SIZE 17 /* "20150830T123600Z" and NUL */

/* The value of X-Amz-Date for a time in seconds since 1970. -ERANGE before 1970 or past 9999. */
int sigv4_date(int64_t time, char ret[static SIGV4_DATE_SIZE]);

/* The lower-case hex SHA-256 of a body, as S3's X-Amz-Content-Sha256. */
int sigv4_body_hash(const void *body, size_t size, char ret[static 65]);

/*
 * The canonical request has the values of all headers in it, the session token's too: erase_and_free() it.
 * *ret_names are the names of the signed headers; the caller frees. -EINVAL: no Host, no X-Amz-Date, a
 * header without a name or a path without its slash.
 */
int sigv4_canonical_request(const Sigv4Request *request, char **ret, char **ret_names);

/* The value of the Authorization header. date: as in the X-Amz-Date header. A session token is signed only
 * where it is among the headers. The caller frees *ret. */
int sigv4_authorization(const Sigv4Request *request, const AwsCredentials *credentials, const char *date,
                        const char *region, const char *service, char **ret);
