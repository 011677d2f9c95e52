/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The headers Range and If-Match of a request for an object (RFC 9110 sections 13.1.1 and 14.2; S3 API Reference, GetObject).
 * Functions of their arguments. */

#include <stdbool.h>
#include <stdint.h>

typedef enum ByteRangeKind {
        BYTE_RANGE_WHOLE, /* no header, another unit, a malformed header, or several ranges, which S3 does not send */
        BYTE_RANGE_PART,
        BYTE_RANGE_NOT_SATISFIABLE,
} ByteRangeKind;

/* header may be NULL. For BYTE_RANGE_PART *ret_first and *ret_last are bytes of an object of this size. */
ByteRangeKind byte_range_read(const char *header, uint64_t size, uint64_t *ret_first, uint64_t *ret_last);

/* Returns whether If-Match lets the request through. header may be NULL. etag: of the object, or NULL. */
bool byte_range_matches(const char *header, const char *etag);
