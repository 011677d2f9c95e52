/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Compares unseald's canonical request with the local platform's, which shares no code with it: a server
 * must compute what unseald signs. The input is lines: options, path, query, and headers.
 */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../platform/sigv4_verify.h"
#include "aws/sigv4.h"
#include "basic/cleanup.h"

#define HEADERS_MAX 6U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int hex_value(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Returns whether each percent sign begins the one spelling of a character that must be encoded, as unseald writes it. */
static bool is_encoded(const char *text) {
        static const char unreserved[] =
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

        for (const char *c = text; (c = strchr(c, '%')); c += 3) {
                int high = hex_value(c[1]), low = high < 0 ? -1 : hex_value(c[2]);

                if (low < 0 || (16 * high + low != 0 && strchr(unreserved, 16 * high + low)))
                        return false;
        }
        return true;
}

/*
 * Returns whether unseald could send this: percent-encoded, without control characters, and without a character that ends the
 * path or the query. No parameter is empty, and no value has an equals sign that is not encoded. The path does not end in
 * a "." or ".." segment: botocore and unseald drop the slash before it, RFC 3986 section 5.2.4 and the platform keep it,
 * and no vector of AWS decides.
 */
static bool is_sendable(const char *path, const char *query) {
        const char *last = strrchr(path, '/') + 1;

        if (strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
                return false;
        for (const char *c = path; *c; c++)
                if (*c <= ' ' || *c == '?' || *c == '#' || *c == 0x7f)
                        return false;
        for (const char *c = query; *c; c++)
                if (*c <= ' ' || *c == '#' || *c == 0x7f ||
                    (*c == '&' && (c == query || c[1] == '&' || c[1] == 0)))
                        return false;
        for (const char *value = query; (value = strchr(value, '=')); value += strcspn(value, "&")) {
                value++;
                if (memchr(value, '=', strcspn(value, "&")))
                        return false;
        }
        return is_encoded(path) && is_encoded(query);
}

/* A header's name is a token (RFC 9110 section 5.6.2). Its value has no control characters. */
static bool is_header(const char *line) {
        size_t name = strspn(
                        line,
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~");

        if (name == 0 || line[name] != ':')
                return false;
        for (const char *c = line + name; *c; c++)
                if (((unsigned char) *c < ' ' && *c != '\t') || *c == 0x7f)
                        return false;
        return true;
}

static void compare(const Sigv4Request *request, const char *canonical, const char *names, char **headers) {
        SigV4Header server_headers[HEADERS_MAX + 2];
        _cleanup_free_ char *target = NULL, *wanted = NULL;
        size_t n = 0;

        for (; headers[n]; n++) {
                char *colon = strchr(headers[n], ':');

                *colon = '\0';
                server_headers[n] = (SigV4Header){ headers[n], colon + 1 };
        }
        assert(asprintf(&target, "%s%s%s", request->path, *request->query ? "?" : "", request->query) >= 0);
        const SigV4Request server = {
                .method = request->method,
                .target = target,
                .headers = server_headers,
                .n_headers = n,
                .s3 = request->s3,
        };
        if (platform_sigv4_canonical_request(&server, names, &wanted) < 0)
                return;
        if (strcmp(canonical, wanted) != 0) {
                fprintf(stderr, "unseald:\n%s\n\nplatform:\n%s\n", canonical, wanted);
                abort();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size), *path = NULL, *names = NULL;
        _cleanup_erase_ char *canonical = NULL;
        char host[] = "Host: a", date[] = "X-Amz-Date: 20200101T000000Z";
        char *headers[HEADERS_MAX + 3] = { host, date }, *lines[3 + HEADERS_MAX] = {}, *rest = text;
        size_t n = 0, n_headers = 2;

        assert(text);
        while (rest && n < ELEMENTSOF(lines))
                lines[n++] = strsep(&rest, "\n");
        for (size_t i = 3; i < n; i++)
                headers[n_headers++] = lines[i];
        assert(asprintf(&path, "/%s", n > 1 ? lines[1] : "") >= 0);

        const Sigv4Request request = {
                .method = "GET",
                .path = path,
                .query = n > 2 ? lines[2] : "",
                .headers = (const char *const *) headers,
                .s3 = lines[0][0] == 's',
        };
        if (sigv4_canonical_request(&request, &canonical, &names) < 0)
                return 0;
        for (size_t i = 0; i < n_headers; i++)
                if (!is_header(headers[i]))
                        return 0;
        if (is_sendable(request.path, request.query))
                compare(&request, canonical, names, headers);
        return 0;
}
