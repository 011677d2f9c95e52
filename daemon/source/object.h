/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a server says of an object that is fetched in parts: which bytes it sends, how long the whole is, and what keeps two
 * parts of one object. Everything here is a function of its arguments; source/fetcher.h sends and receives. Sources: RFC 9110
 * section 8.8.3 (ETag), 13.1.1 (If-Match), 14 (ranges); S3 API Reference, "GetObject".
 *
 * That the parts are of one object is consistency, not trust: the frames of another message do not open (source/message.h).
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"

/* The headers of a reply that matter here, as they came; NULL: the reply lacks it. Borrowed. */
typedef struct ObjectHead {
        unsigned status;
        const char *content_range, *content_length, *content_type, *content_encoding;
        const char *etag, *version_id; /* version_id: x-amz-version-id */
} ObjectHead;

#define OBJECT_SIZE_UNKNOWN UINT64_MAX

typedef struct ObjectVersion {
        uint64_t size; /* bytes of the whole object, or OBJECT_SIZE_UNKNOWN */
        bool ranges;   /* the server sends ranges, and version or etag keeps them of one object */
        char *version; /* of S3, for versionId=; NULL: the bucket has no versions */
        char *etag;    /* for If-Match=, with its quotation marks; NULL: there is none, or it is weak */
} ObjectVersion;

void object_version_clear(ObjectVersion *version);

/* -ENOMEM. The caller clears *ret, on failure too. */
int object_version_copy(const ObjectVersion *version, ObjectVersion *ret);

/*
 * Reads the first reply (status 200 or 206) to a request for the bytes 0 to asked - 1. *ret_body is the size of this reply's
 * body, or OBJECT_SIZE_UNKNOWN. label names the source in *error. The caller clears *ret.
 *
 * -EBADMSG: these are other bytes, several ranges, or bytes that are encoded. FAILURE_SOURCE, or FAILURE_UNAVAILABLE with
 * REMEDY_RETRY where another attempt may help. -ENOMEM.
 */
int object_read_first(const char *label, const ObjectHead *head, uint64_t asked, ObjectVersion *ret,
                      uint64_t *ret_body, Error *error);

/*
 * Compares a later reply (status 200 or 206) with what was asked for: the bytes first to last of this version. With
 * !version->ranges the request was for the whole object.
 *
 * -ESTALE: it is another object than that of the first reply. Every part must be fetched again. -EBADMSG: the same request may
 * bring the right bytes. Both are FAILURE_UNAVAILABLE with REMEDY_RETRY.
 */
int object_check(const char *label, const ObjectHead *head, const ObjectVersion *version, uint64_t first,
                 uint64_t last, Error *error);

/* Parses "bytes FIRST-LAST/TOTAL" (RFC 9110 section 14.4). -EINVAL: it is malformed, does not say the total, or the three
 * contradict each other. */
int object_parse_range(const char *text, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_total);

/* Returns whether text is a strong entity tag of visible ASCII (RFC 9110 section 8.8.3), at most 256 characters long. */
bool object_etag_is_strong(const char *text) _pure_;
