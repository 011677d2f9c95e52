/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Ciphertext over the network: from an HTTPS server, S3 (GetObject), Parameter Store (GetParameter) and Secrets Manager
 * (GetSecretValue). The parts that decide are pure; source_fetch() is the thin shell round them. Sources: AWS's endpoint
 * rules; S3, Systems Manager and Secrets Manager API References.
 */

#include "aws/service.h"
#include "basic/error.h"
#include "basic/http.h"
#include "source/source.h"

/* What is wanted, and where AWS has it. All borrowed. */
typedef struct Fetch {
        const Source *source; /* source_is_remote() */
        const char *partition, *region;
        bool fips, dual_stack;
        size_t maximum; /* raw bytes of ciphertext */
} Fetch;

/* A request as it goes over the wire. */
typedef struct FetchRequest {
        const char *method;
        char *url;
        char **headers; /* NULL: none of our own */
        char *body;     /* NULL: none */
} FetchRequest;

/* Wipes and frees what it holds. */
void fetch_request_clear(FetchRequest *request);

/* Signed where source_is_signed(), with the time in seconds since 1970. credentials may be NULL otherwise. */
int fetch_request(const Fetch *fetch, const AwsCredentials *credentials, int64_t time, FetchRequest *ret);

typedef struct FetchReply {
        unsigned status;
        const char *body;
        size_t size;
        const char *error_type;    /* x-amzn-ErrorType, or NULL */
        const char *request_id;    /* x-amzn-RequestId or x-amz-request-id, or NULL */
        const char *bucket_region; /* x-amz-bucket-region, or NULL */
        uint64_t retry_after_usec;
        int64_t skew; /* seconds that the server's clock is ahead of the time signed with, or AWS_SKEW_UNKNOWN */
} FetchReply;

/* The ciphertext as raw bytes, which the caller frees, or *error and a negative errno. What may pass is of the failures
 * that unseald is started again after: FAILURE_UNAVAILABLE, FAILURE_ROLE, FAILURE_CLOCK; what will not is
 * FAILURE_SOURCE. */
int fetch_reply(const Fetch *fetch, const FetchReply *reply, uint8_t **ret, size_t *ret_size, Error *error);

/* The text of the first element of this name in an error body of S3, which is small, flat and XML: its entities as they
 * stand. False: there is none, or it does not fit. */
bool fetch_xml_text(const char *xml, size_t size, const char *name, char *ret, size_t ret_size);
