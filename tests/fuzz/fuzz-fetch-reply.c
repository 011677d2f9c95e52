/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads replies of the services that hold ciphertext. The first byte chooses the service and the HTTP
 * status, the rest is the body. The result is a ciphertext within its bounds, or an error that can be
 * printed. User data are read as well.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "source/fetch.h"

#define MAXIMUM 64U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int r, const uint8_t *raw, size_t raw_size, const Error *error) {
        if (r >= 0) {
                assert(raw && raw_size > 0 && raw_size <= MAXIMUM);
                return;
        }
        assert(!raw && error->failure != FAILURE_NONE && *error->text);
        for (const char *c = error->text; *c; c++)
                assert(*c >= ' ' && *c <= '~');
        for (const char *c = error->code; *c; c++)
                assert(*c > ' ' && *c <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const unsigned statuses[] = { 200, 301, 400, 403, 404, 500, 503, 200 };
        static char location[] = "/a", bucket[] = "bucket", label[] = "label";
        Source source = { .location = location, .bucket = bucket, .label = label };
        _cleanup_free_ uint8_t *raw = NULL, *user_data = NULL;
        _cleanup_free_ char *body = NULL;
        size_t raw_size = 0;
        Error error = {};
        int r;

        if (size == 0)
                return 0;
        body = malloc(size);
        if (!body)
                return 0;
        memcpy(body, data + 1, size - 1);
        body[size - 1] = '\0';

        const Fetch fetch = {
                .source = &source, .partition = "aws", .region = "eu-north-1", .maximum = MAXIMUM
        };
        const FetchReply reply = {
                .status = statuses[data[0] >> 2 & 7],
                .body = body,
                .size = size - 1,
                .error_type = body,
                .request_id = body,
                .bucket_region = body,
        };

        source.kind = SOURCE_HTTPS + (data[0] & 3);
        r = fetch_reply(&fetch, &reply, &raw, &raw_size, &error);
        check(r, raw, raw_size, &error);

        if (source.kind == SOURCE_SECRETS_MANAGER) {
                static char member[] = "k";
                _cleanup_free_ uint8_t *part = NULL;

                source.member = member;
                error = (Error){};
                r = fetch_reply(&fetch, &reply, &part, &raw_size, &error);
                check(r, part, raw_size, &error);
        }

        source.kind = SOURCE_USER_DATA;
        r = source_take_user_data(&source, body, size - 1, MAXIMUM, &user_data, &raw_size, &error);
        check(r, user_data, raw_size, &error);
        return 0;
}
