/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aws/service.h"
#include "source/object.h"

#define ETAG_MAX 256U
#define VERSION_MAX 1024U /* S3 User Guide, "Version IDs" */

void object_version_clear(ObjectVersion *version) {
        free(version->version);
        free(version->etag);
        *version = (ObjectVersion){};
}

int object_version_copy(const ObjectVersion *version, ObjectVersion *ret) {
        *ret = (ObjectVersion){ .size = version->size, .ranges = version->ranges };
        ret->version = version->version ? strdup(version->version) : NULL;
        ret->etag = version->etag ? strdup(version->etag) : NULL;
        return (version->version && !ret->version) || (version->etag && !ret->etag) ? -ENOMEM : 0;
}

/* Reads decimal digits, at most 18, and moves *text behind them. */
static bool read_number(const char **text, uint64_t *ret) {
        size_t digits = strspn(*text, "0123456789");
        uint64_t n = 0;

        if (digits == 0 || digits > 18)
                return false;
        for (size_t i = 0; i < digits; i++)
                n = 10 * n + (uint64_t) ((*text)[i] - '0');
        *text += digits;
        *ret = n;
        return true;
}

int object_parse_range(const char *text, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_total) {
        uint64_t first, last, total;

        if (strncasecmp(text, "bytes ", 6) != 0)
                return -EINVAL;
        text += 6;
        if (!read_number(&text, &first) || *text++ != '-' || !read_number(&text, &last) || *text++ != '/' ||
            !read_number(&text, &total) || *text || first > last || last >= total)
                return -EINVAL;
        *ret_first = first;
        *ret_last = last;
        *ret_total = total;
        return 0;
}

bool object_etag_is_strong(const char *text) {
        size_t length = strlen(text);

        if (length < 2 || length > ETAG_MAX || text[0] != '"' || text[length - 1] != '"')
                return false;
        for (size_t i = 1; i < length - 1; i++)
                if (text[i] <= ' ' || text[i] > '~' || text[i] == '"')
                        return false;
        return true;
}

/* Objects that were put while the bucket had no versions all have the version "null": it does not tell two of them apart. */
static bool is_version(const char *text) {
        size_t length = strlen(text);

        if (length == 0 || length > VERSION_MAX || strcmp(text, "null") == 0)
                return false;
        for (size_t i = 0; i < length; i++)
                if (text[i] <= ' ' || text[i] > '~')
                        return false;
        return true;
}

static int again(Error *error, const char *label, const char *what) {
        return error_set_remedy(error, -EBADMSG, FAILURE_UNAVAILABLE, REMEDY_RETRY, "%.200s: %s", label,
                                what);
}

/* "aws-chunked" describes how the object was uploaded: S3 keeps it with the object and sends the bytes as they are. */
static int check_form(const char *label, const ObjectHead *head, Error *error) {
        const char *encoding = head->content_encoding;
        char quoted[41];

        if (encoding && *encoding && strcasecmp(encoding, "identity") != 0 &&
            strcasecmp(encoding, "aws-chunked") != 0)
                return error_set(
                                error, -EBADMSG, FAILURE_SOURCE,
                                "%.200s: The server sends the object with Content-Encoding \"%s\", which unseald does not decode. Store and serve the message as it is.",
                                label, aws_quotable(encoding, quoted, sizeof(quoted)));
        if (head->content_type && strncasecmp(head->content_type, "multipart/byteranges", 20) == 0)
                return again(error, label,
                             "The server answered a request for one range with several ranges.");
        return 0;
}

/* Reads Content-Length; OBJECT_SIZE_UNKNOWN: the reply has none. */
static bool read_length(const ObjectHead *head, uint64_t *ret) {
        const char *text = head->content_length;

        *ret = OBJECT_SIZE_UNKNOWN;
        return !text || (read_number(&text, ret) && !*text);
}

static int keep_identity(const ObjectHead *head, ObjectVersion *version, Error *error) {
        if (head->version_id && is_version(head->version_id)) {
                version->version = strdup(head->version_id);
                if (!version->version)
                        return error_oom(error);
        }
        if (head->etag && object_etag_is_strong(head->etag)) {
                version->etag = strdup(head->etag);
                if (!version->etag)
                        return error_oom(error);
        }
        return 0;
}

int object_read_first(const char *label, const ObjectHead *head, uint64_t asked, ObjectVersion *ret,
                      uint64_t *ret_body, Error *error) {
        _cleanup_(object_version_clear) ObjectVersion version = {};
        uint64_t first = 0, last = 0, length, body;
        int r;

        r = check_form(label, head, error);
        if (r < 0)
                return r;
        if (!read_length(head, &length))
                return again(error, label, "The server's Content-Length is malformed.");
        body = version.size = length;
        if (head->status == 206) {
                if (!head->content_range ||
                    object_parse_range(head->content_range, &first, &last, &version.size) < 0)
                        return again(error, label,
                                     "The server sent a part of the object without a Content-Range that says which.");
                body = last - first + 1;
                if (first != 0 || last != (version.size < asked ? version.size : asked) - 1)
                        return error_set_remedy(error, -EBADMSG, FAILURE_UNAVAILABLE, REMEDY_RETRY,
                                                "%.200s: The server sent the bytes %" PRIu64 "-%" PRIu64
                                                " in place of the first %" PRIu64 ".",
                                                label, first, last, asked);
                if (length != OBJECT_SIZE_UNKNOWN && length != body)
                        return again(error, label,
                                     "The server's Content-Length contradicts its Content-Range.");
        }
        r = keep_identity(head, &version, error);
        if (r < 0)
                return r;
        version.ranges = head->status == 206 && (version.version || version.etag);
        *ret = TAKE(version, (ObjectVersion){});
        *ret_body = body;
        return 0;
}

/* The identity is compared, too: a server or a cache that does not know If-Match sends what it has. */
static int check_identity(const char *label, const ObjectHead *head, const ObjectVersion *version,
                          uint64_t total, Error *error) {
        const char *changed = NULL;

        if (total != OBJECT_SIZE_UNKNOWN && total != version->size)
                changed = "length";
        else if (version->version && (!head->version_id || strcmp(head->version_id, version->version) != 0))
                changed = "version";
        else if (version->etag && (!head->etag || strcmp(head->etag, version->etag) != 0))
                changed = "ETag";
        if (!changed)
                return 0;
        return error_set_remedy(
                        error, -ESTALE, FAILURE_UNAVAILABLE, REMEDY_RETRY,
                        "%.200s: The object has another %s than when the first bytes came: somebody replaced it meanwhile. unseald fetches it from the beginning.",
                        label, changed);
}

int object_check(const char *label, const ObjectHead *head, const ObjectVersion *version, uint64_t first,
                 uint64_t last, Error *error) {
        uint64_t got_first = 0, got_last = 0, total = OBJECT_SIZE_UNKNOWN, length;
        int r;

        r = check_form(label, head, error);
        if (r < 0)
                return r;
        if (!read_length(head, &length))
                return again(error, label, "The server's Content-Length is malformed.");
        if (!version->ranges)
                return check_identity(label, head, version, length, error);
        if (head->status != 206)
                return again(error, label, "The server sent the whole object in place of a range.");
        if (!head->content_range ||
            object_parse_range(head->content_range, &got_first, &got_last, &total) < 0)
                return again(error, label,
                             "The server sent a part of the object without a Content-Range that says which.");
        r = check_identity(label, head, version, total, error);
        if (r < 0)
                return r;
        if (got_first != first || got_last != last)
                return error_set_remedy(error, -EBADMSG, FAILURE_UNAVAILABLE, REMEDY_RETRY,
                                        "%.200s: The server sent the bytes %" PRIu64 "-%" PRIu64
                                        " in place of %" PRIu64 "-%" PRIu64 ".",
                                        label, got_first, got_last, first, last);
        if (length != OBJECT_SIZE_UNKNOWN && length != last - first + 1)
                return again(error, label, "The server's Content-Length contradicts its Content-Range.");
        return 0;
}
