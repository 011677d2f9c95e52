/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Decodes ciphertext, and parses a source. Decoded ciphertext is never empty and never longer than the
 * input. The request for a source stays at the source's host.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "source/fetch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever the key or name is, it must not change the host or end a line. */
static void check_request(const Source *source) {
        static char id[] = "AKID", secret[] = "secret";
        const AwsCredentials credentials = { .access_key_id = id, .secret_access_key = secret };
        const Fetch fetch = {
                .source = source, .partition = "aws", .region = "eu-north-1", .maximum = 6144
        };
        _cleanup_(fetch_request_clear) FetchRequest request = {};
        const char *host;

        if (fetch_request(&fetch, &credentials, 0, &request) < 0)
                abort();
        for (const char *c = request.url; *c; c++)
                assert(*c > ' ' && *c <= '~');
        host = request.url + strlen("https://");
        assert(strncmp(request.url, "https://", 8) == 0 && strcspn(host, "/?#") == strcspn(host, "/?#@"));
        if (source->kind == SOURCE_S3)
                assert(strncmp(host + strcspn(host, "/") - strlen(".eu-north-1.amazonaws.com"),
                               ".eu-north-1.amazonaws.com", strlen(".eu-north-1.amazonaws.com")) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size);
        _cleanup_free_ uint8_t *raw = NULL;
        size_t raw_size;
        Source source;
        Error error;

        assert(text);
        if (source_decode(data, size, &raw, &raw_size, &error) >= 0) {
                assert(raw_size > 0 && raw_size <= size);
                if (data[0] == 0x01)
                        assert(raw_size == size && memcmp(raw, data, size) == 0);
        } else
                assert(error.failure == FAILURE_SOURCE && (size == 0 || data[0] != 0x01));

        if (source_parse(text, &source, &error) >= 0) {
                if (source.kind == SOURCE_FILE)
                        assert(source.location[0] == '/' && !strstr(source.location, "/../") &&
                               !strstr(source.location, "//"));
                if (source.kind == SOURCE_CREDENTIAL)
                        assert(!strchr(source.location, '/'));
                if (source_is_remote(&source))
                        check_request(&source);
                source_clear(&source);
        }
        return 0;
}
