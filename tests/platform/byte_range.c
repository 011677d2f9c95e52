/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "byte_range.h"

/* Reads digits and moves *text behind them. A number that is too large is the largest. */
static bool read_number(const char **text, uint64_t *ret) {
        char *end;

        if (**text < '0' || **text > '9')
                return false;
        *ret = strtoull(*text, &end, 10);
        *text = end;
        return true;
}

static ByteRangeKind read_suffix(const char *text, uint64_t size, uint64_t *ret_first, uint64_t *ret_last) {
        uint64_t length;

        if (!read_number(&text, &length) || *text)
                return BYTE_RANGE_WHOLE;
        if (length == 0 || size == 0)
                return BYTE_RANGE_NOT_SATISFIABLE;
        *ret_first = length < size ? size - length : 0;
        *ret_last = size - 1;
        return BYTE_RANGE_PART;
}

ByteRangeKind byte_range_read(const char *header, uint64_t size, uint64_t *ret_first, uint64_t *ret_last) {
        uint64_t first, last = UINT64_MAX;
        const char *text;

        if (!header || strncasecmp(header, "bytes=", 6) != 0)
                return BYTE_RANGE_WHOLE;
        text = header + 6;
        if (*text == '-')
                return read_suffix(text + 1, size, ret_first, ret_last);
        if (!read_number(&text, &first) || *text++ != '-')
                return BYTE_RANGE_WHOLE;
        if (*text && !read_number(&text, &last))
                return BYTE_RANGE_WHOLE;
        if (*text || last < first)
                return BYTE_RANGE_WHOLE;
        if (first >= size)
                return BYTE_RANGE_NOT_SATISFIABLE;
        *ret_first = first;
        *ret_last = last < size ? last : size - 1;
        return BYTE_RANGE_PART;
}

/* The comparison is the strong one: a weak tag matches nothing. */
bool byte_range_matches(const char *header, const char *etag) {
        size_t length = etag ? strlen(etag) : 0;

        if (!header || strcmp(header, "*") == 0)
                return true;
        while (length > 0 && etag[0] == '"' && *header) {
                header += strspn(header, ", \t");
                if (strncmp(header, etag, length) == 0 && strchr(", \t", header[length]))
                        return true;
                header += strcspn(header, ",");
        }
        return false;
}
