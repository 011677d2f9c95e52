/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads the headers of replies to requests for parts of an object. The first byte says which headers there are, the lines that
 * follow are their values. What is believed is printable and consistent; a reply that says the same once more is of the same
 * object.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "source/object.h"

#define ASKED UINT64_C(1000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes the next line out of text, if this reply has the header. */
static const char *take(char **text, bool has) {
        char *line = *text, *end = line + strcspn(line, "\n");

        *text = *end ? end + 1 : end;
        *end = '\0';
        return has ? line : NULL;
}

static void check_error(int r, const Error *error) {
        assert(r < 0 && error->failure != FAILURE_NONE && *error->text);
        for (const char *c = error->text; *c; c++)
                assert(*c >= ' ' && *c <= '~');
}

static void check_version(const ObjectVersion *version, uint64_t body) {
        assert(!version->ranges || version->version || version->etag);
        assert(!version->ranges || (version->size != OBJECT_SIZE_UNKNOWN && body <= ASKED && body > 0));
        assert(version->size == OBJECT_SIZE_UNKNOWN || body <= version->size);
        for (const char *c = version->version ?: ""; *c; c++)
                assert(*c > ' ' && *c <= '~');
        for (const char *c = version->etag ?: ""; *c; c++)
                assert(*c > ' ' && *c <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(object_version_clear) ObjectVersion version = {};
        _cleanup_free_ char *copy = NULL;
        uint64_t body = 0;
        Error error = {};
        char *text;
        int r;

        if (size == 0)
                return 0;
        copy = malloc(size);
        if (!copy)
                return 0;
        memcpy(copy, data + 1, size - 1);
        copy[size - 1] = '\0';
        text = copy;

        const ObjectHead head = {
                .status = data[0] & 1 ? 206 : 200,
                .content_range = take(&text, data[0] & 2),
                .content_length = take(&text, data[0] & 4),
                .content_type = take(&text, data[0] & 8),
                .content_encoding = take(&text, data[0] & 16),
                .etag = take(&text, data[0] & 32),
                .version_id = take(&text, data[0] & 64),
        };
        r = object_read_first("label", &head, ASKED, &version, &body, &error);
        if (r < 0) {
                check_error(r, &error);
                return 0;
        }
        check_version(&version, body);
        r = object_check("label", &head, &version, 0, body - 1, &error);
        assert(r >= 0 || !version.ranges);
        if (version.ranges) {
                r = object_check("label", &head, &version, 1, body, &error);
                check_error(r, &error);
        }
        return 0;
}
