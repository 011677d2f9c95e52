/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Requests for ciphertext over the network, and what the answers mean: HTTPS servers, S3 (GetObject), Parameter Store
 * (GetParameter) and Secrets Manager (GetSecretValue). Everything here is a function of its arguments; source/fetcher.h sends
 * and receives. Sources: AWS SDK endpoint rules; S3, Systems Manager and Secrets Manager API References.
 */

#include "aws/service.h"
#include "basic/error.h"
#include "basic/http.h"
#include "source/object.h"
#include "source/source.h"

/* A source, and the options of its endpoint. All members are borrowed. */
typedef struct Fetch {
        const Source *source; /* source_is_remote() */
        const char *partition, *region;
        bool fips, dual_stack;
        size_t maximum; /* bytes in the ciphertext, after decoding */
} Fetch;

/* A request as it goes over the wire. */
typedef struct FetchRequest {
        const char *method;
        char *url;
        char **headers; /* NULL: no headers */
        char *body;     /* NULL: no body */
} FetchRequest;

/* Wipes and frees all members and sets them to zero. */
void fetch_request_clear(FetchRequest *request);

/* Makes a request. It is signed if source_is_signed(): then credentials must not be NULL (-EINVAL), and time is in seconds since
 * 1970. -EOPNOTSUPP: the partition is not known. The caller clears *ret. */
int fetch_request(const Fetch *fetch, const AwsCredentials *credentials, int64_t time, FetchRequest *ret);

/* The bytes first to last of an object. All members are borrowed. */
typedef struct FetchRange {
        uint64_t first, last;
        const ObjectVersion *version; /* of the first reply; NULL: this is the first request */
        bool without_version_id; /* the role may not read versions, so that only If-Match keeps the ranges of one object */
} FetchRange;

/* The same as fetch_request() for a part of an object of S3 or of an HTTPS server. With a version without ranges the request is for
 * the whole object. */
int fetch_range_request(const Fetch *fetch, const FetchRange *range, const AwsCredentials *credentials,
                        int64_t time, FetchRequest *ret);

typedef struct FetchReply {
        unsigned status;
        const char *body;
        size_t size;
        const char *error_type;    /* x-amzn-ErrorType, or NULL */
        const char *request_id;    /* x-amzn-RequestId or x-amz-request-id, or NULL */
        const char *bucket_region; /* x-amz-bucket-region, or NULL */
        uint64_t retry_after_usec;
        int64_t skew; /* seconds that the server's clock is ahead of the time that the request was signed with, or AWS_SKEW_UNKNOWN */
} FetchReply;

/* Takes the ciphertext out of an answer, as raw bytes; the caller frees *ret. Otherwise fills *error and returns a negative
 * errno. A failure that may pass is FAILURE_UNAVAILABLE, FAILURE_ROLE or FAILURE_CLOCK, after which unseald starts again. A
 * failure that stays is FAILURE_SOURCE. */
int fetch_reply(const Fetch *fetch, const FetchReply *reply, uint8_t **ret, size_t *ret_size, Error *error);

/* Explains an answer whose status is neither 200 nor 206. Returns a negative errno. */
int fetch_refused(const Fetch *fetch, const FetchReply *reply, Error *error);

/* The same for the answer to fetch_range_request(). -ESTALE: it is not the object of the first reply any more, or the object is
 * gone; every part must be fetched again. -EACCES: S3 refuses to send a version by its ID. -ENODATA: the object is empty. */
int fetch_range_refused(const Fetch *fetch, const FetchRange *range, const FetchReply *reply, Error *error);

/* Copies the text of the first element of this name out of an error of S3, which is flat XML. Entities stay as they are. False:
 * there is no such element, or its text does not fit. */
bool fetch_xml_text(const char *xml, size_t size, const char *name, char *ret, size_t ret_size);
