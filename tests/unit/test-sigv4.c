/* SPDX-License-Identifier: Apache-2.0 */

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "aws/sigv4.h"
#include "basic/io.h"
#include "basic/json.h"

/* One case of AWS's test suite. The headers point into text. */
typedef struct Case {
        char *text;
        struct json_object *context;
        AwsCredentials credentials;
        char date[SIGV4_DATE_SIZE], date_header[64], token_header[512], hash_header[96];
        const char *headers[32];
        Sigv4Request request;
} Case;

static void case_clear(Case *c) {
        free(c->text);
        json_put(c->context);
        aws_credentials_clear(&c->credentials);
}

static char *read_vector(const char *name, const char *file) {
        _cleanup_free_ char *path = NULL;
        uint8_t *data = NULL;
        size_t size;

        if (asprintf(&path, "%s/sigv4/%s/%s", getenv("UNSEALD_TEST_VECTORS"), name, file) < 0 ||
            read_file(path, 65536, &data, &size) < 0)
                fail_msg("cannot read %s", path);
        return (char *) data;
}

/* "GET /a path?query HTTP/1.1", then headers, which may continue on the next line, an empty line and a body. */
static void parse_request(Case *c) {
        size_t n = 0;
        char *line = c->text, *end = strchr(line, '\n'), *query;

        c->request.method = line;
        *strchr(line, ' ') = '\0';
        c->request.path = line + strlen(line) + 1;
        *end = '\0';
        *strrchr(c->request.path, ' ') = '\0';
        query = strchr(c->request.path, '?');
        if (query) {
                *query = '\0';
                c->request.query = query + 1;
        }
        for (line = end + 1; *line && *line != '\n'; line = end + 1) {
                end = line;
                do
                        end = strchrnul(end + 1, '\n');
                while (*end && end[1] == ' ');
                assert_true(n < ELEMENTSOF(c->headers) - 4);
                c->headers[n++] = line;
                if (!*end)
                        break;
                *end = '\0';
        }
        if (*line == '\n') {
                c->request.body = line + 1;
                c->request.body_size = strlen(line + 1);
        }
        c->request.headers = c->headers;
}

static void add_header(Case *c, const char *header) {
        size_t n = 0;

        while (c->headers[n])
                n++;
        c->headers[n] = header;
}

static void read_case(const char *name, Case *ret) {
        _cleanup_free_ char *context = read_vector(name, "context.json");
        struct json_object *credentials;
        const char *t, *token;
        char hash[65];

        *ret = (Case){ .text = read_vector(name, "request.txt") };
        assert_int_equal(json_parse(context, strlen(context), &ret->context), 0);
        credentials = json_member(ret->context, "credentials");
        ret->credentials.access_key_id = strdup(json_member_string(credentials, "access_key_id"));
        ret->credentials.secret_access_key = strdup(json_member_string(credentials, "secret_access_key"));
        t = json_member_string(ret->context, "timestamp");
        /* "2015-08-30T12:36:00Z" without punctuation. */
        (void) snprintf(ret->date, sizeof(ret->date), "%.4s%.2s%.5s%.2s%.3s", t, t + 5, t + 8, t + 14,
                        t + 17);

        parse_request(ret);
        ret->request.s3 = !json_object_get_boolean(json_member(ret->context, "normalize"));
        (void) snprintf(ret->date_header, sizeof(ret->date_header), "X-Amz-Date:%s", ret->date);
        add_header(ret, ret->date_header);
        token = json_member_string(credentials, "token");
        if (token && !json_object_get_boolean(json_member(ret->context, "omit_session_token"))) {
                (void) snprintf(ret->token_header, sizeof(ret->token_header), "X-Amz-Security-Token:%s",
                                token);
                add_header(ret, ret->token_header);
        }
        if (json_object_get_boolean(json_member(ret->context, "sign_body"))) {
                assert_int_equal(sigv4_body_hash(ret->request.body, ret->request.body_size, hash), 0);
                (void) snprintf(ret->hash_header, sizeof(ret->hash_header), "X-Amz-Content-Sha256:%s", hash);
                add_header(ret, ret->hash_header);
        }
}

static void check_case(const char *name) {
        _cleanup_free_ char *canonical_wanted = read_vector(name, "header-canonical-request.txt"),
                            *signature_wanted = read_vector(name, "header-signature.txt"),
                            *signed_wanted = read_vector(name, "header-signed-request.txt");
        _cleanup_free_ char *names = NULL, *authorization = NULL;
        _cleanup_erase_ char *canonical = NULL;
        _cleanup_(case_clear) Case c = {};

        read_case(name, &c);
        assert_int_equal(sigv4_canonical_request(&c.request, &canonical, &names), 0);
        if (strcmp(canonical, canonical_wanted) != 0)
                fail_msg("%s: canonical request\n%s\nwanted\n%s", name, canonical, canonical_wanted);

        assert_int_equal(sigv4_authorization(&c.request, &c.credentials, c.date,
                                             json_member_string(c.context, "region"),
                                             json_member_string(c.context, "service"), &authorization),
                         0);
        if (!strstr(authorization, signature_wanted) || !strstr(authorization, names))
                fail_msg("%s: %s\nwanted signature %s", name, authorization, signature_wanted);
        if (!strstr(signed_wanted, authorization))
                fail_msg("%s: %s\nwanted\n%s", name, authorization, signed_wanted);
}

static void test_every_case_of_the_official_suite_has_its_signature(void **state) {
        _cleanup_free_ char *path = NULL;
        unsigned n = 0;
        DIR *suite;

        assert_true(asprintf(&path, "%s/sigv4", getenv("UNSEALD_TEST_VECTORS")) > 0);
        suite = opendir(path);
        assert_non_null(suite);
        for (struct dirent *entry; (entry = readdir(suite));)
                if (entry->d_name[0] != '.') {
                        check_case(entry->d_name);
                        n++;
                }
        closedir(suite);
        assert_int_equal(n, 38);
}

static const char *const plain_headers[] = { "Host: h", "X-Amz-Date: 20150830T123600Z", NULL };

static void assert_canonical(const Sigv4Request *request, const char *wanted_start) {
        _cleanup_erase_ char *canonical = NULL;
        _cleanup_free_ char *names = NULL;
        Sigv4Request complete = *request;

        complete.method = "GET";
        complete.headers = complete.headers ?: plain_headers;
        assert_int_equal(sigv4_canonical_request(&complete, &canonical, &names), 0);
        if (strncmp(canonical, wanted_start, strlen(wanted_start)) != 0)
                fail_msg("saw\n%s\nwanted\n%s", canonical, wanted_start);
}

static void test_a_path_is_encoded_again_but_not_for_s3(void **state) {
        assert_canonical(&(Sigv4Request){ .path = "/a%20b/../c%2Fd/" }, "GET\n/c%252Fd/\n\n");
        assert_canonical(&(Sigv4Request){ .path = "/a%20b/../c!//d", .s3 = true },
                         "GET\n/a%20b/../c%21//d\n\n");
        assert_canonical(&(Sigv4Request){ .path = "/../.." }, "GET\n/\n\n");
        assert_canonical(&(Sigv4Request){ .path = "/a/b/./..//c/..d/.e" }, "GET\n/a/c/..d/.e\n\n");
}

static void test_a_query_is_sorted_by_name_then_value(void **state) {
        assert_canonical(&(Sigv4Request){ .path = "/", .query = "b=2&a-b=1&a=3&a=1&&flag&b=1=1&A=0&" },
                         "GET\n/\nA=0&a=1&a=3&a-b=1&b=1%3D1&b=2&flag=\n");
        assert_canonical(&(Sigv4Request){ .path = "/", .query = "k=%2F/ +&k=" },
                         "GET\n/\nk=&k=%2F%2F%20%2B\n");
        assert_canonical(&(Sigv4Request){ .path = "/", .query = "ab=1&a=1&ab=1" },
                         "GET\n/\na=1&ab=1&ab=1\n");
}

static void test_headers_are_sorted_without_regard_to_case(void **state) {
        static const char *const headers[] = {
                "X-AMZ-DATE:d", "b:  2  3 ", "HOST: h", "a-b: 1", "B:1\t\r\n 9", "A:", NULL,
        };

        assert_canonical(
                        &(Sigv4Request){ .path = "/", .headers = headers },
                        "GET\n/\n\na:\na-b:1\nb:2 3,1 9\nhost:h\nx-amz-date:d\n\na;a-b;b;host;x-amz-date\n");
}

static void assert_refused(const Sigv4Request *request, int wanted) {
        char *canonical = NULL, *names = NULL;
        int r = sigv4_canonical_request(request, &canonical, &names);

        if (r != wanted || canonical || names)
                fail_msg("%d, wanted %d", r, wanted);
}

static void test_invalid_requests_are_refused(void **state) {
        static const char *const bad[][4] = {
                { "Host: h" },
                { "X-Amz-Date: d" },
                { "Host: h", "X-Amz-Date: d", "no colon" },
                { "Host: h", "X-Amz-Date: d", ": no name" },
                { "Host: h", "X-Amz-Date: d", "space : 1" },
        };
        const char *many[80] = { "Host: h", "X-Amz-Date: d" };
        _cleanup_free_ char *long_text = calloc(1, 70000);

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_refused(&(Sigv4Request){ .method = "GET", .path = "/", .headers = bad[i] }, -EINVAL);
        assert_refused(&(Sigv4Request){ .method = "GET", .path = "", .headers = plain_headers }, -EINVAL);
        assert_refused(&(Sigv4Request){ .method = "GET", .path = "a/", .headers = plain_headers }, -EINVAL);

        for (size_t i = 2; i < ELEMENTSOF(many) - 1; i++)
                many[i] = "A: 1";
        assert_refused(&(Sigv4Request){ .method = "GET", .path = "/", .headers = many }, -E2BIG);

        memset(long_text, '/', 69999);
        assert_refused(&(Sigv4Request){ .method = "GET", .path = long_text, .headers = plain_headers },
                       -E2BIG);
        for (size_t i = 0; i < 200; i++)
                memcpy(long_text + 2 * i, "a&", 3);
        assert_refused(&(Sigv4Request){ .method = "GET",
                                        .path = "/",
                                        .query = long_text,
                                        .headers = plain_headers },
                       -E2BIG);
}

static void test_request_of_special_characters_fits_the_bound(void **state) {
        _cleanup_free_ char *path = calloc(1, 20001), *query = calloc(1, 20001);

        memset(path, '!', 20000);
        path[0] = '/';
        memset(query, ' ', 20000);
        for (size_t i = 1; i < 60; i++)
                query[2 * i] = '&';
        assert_canonical(&(Sigv4Request){ .path = path, .query = query }, "GET\n/%21%21");
}

static void test_dates_and_credentials_are_checked_before_signing(void **state) {
        static const char *const dates[] = {
                "",
                "20150830T12360Z",
                "20150830 123600Z",
                "20150830T123600",
                "20150830T123600Z ",
                "2015083oT123600Z",
        };
        const Sigv4Request request = { .method = "GET", .path = "/", .headers = plain_headers };
        char id[] = "AKID", secret[] = "s";
        const AwsCredentials good = { .access_key_id = id, .secret_access_key = secret };
        char *authorization = NULL;

        for (size_t i = 0; i < ELEMENTSOF(dates); i++)
                assert_int_equal(sigv4_authorization(&request, &good, dates[i], "r", "kms", &authorization),
                                 -EINVAL);
        assert_int_equal(sigv4_authorization(&request, &(AwsCredentials){ .access_key_id = id },
                                             "20150830T123600Z", "r", "kms", &authorization),
                         -EINVAL);
        assert_int_equal(sigv4_authorization(&(Sigv4Request){ .method = "GET",
                                                              .path = "",
                                                              .headers = plain_headers },
                                             &good, "20150830T123600Z", "r", "kms", &authorization),
                         -EINVAL);
        assert_null(authorization);
}

static void test_times_become_dates(void **state) {
        char date[SIGV4_DATE_SIZE];

        assert_int_equal(sigv4_date(1440938160, date), 0);
        assert_string_equal(date, "20150830T123600Z");
        assert_int_equal(sigv4_date(0, date), 0);
        assert_string_equal(date, "19700101T000000Z");
        assert_int_equal(sigv4_date(INT64_C(253402300799), date), 0);
        assert_string_equal(date, "99991231T235959Z");
        assert_int_equal(sigv4_date(INT64_C(253402300800), date), -ERANGE);
        assert_int_equal(sigv4_date(-1, date), -ERANGE);
}

static void test_cleared_credentials_are_empty(void **state) {
        AwsCredentials credentials = {
                .access_key_id = strdup("a"),
                .secret_access_key = strdup("b"),
                .session_token = strdup("c"),
                .expiration = 1,
        };

        aws_credentials_clear(&credentials);
        assert_memory_equal(&credentials, &(AwsCredentials){}, sizeof(credentials));
        aws_credentials_clear(&credentials);
}

/* S3 User Guide, "Signature Calculations for the Authorization Header": its example of GET Object. */
static void test_signature_of_the_example_in_the_s3_user_guide(void **state) {
        static char id[] = "AKIAIOSFODNN7EXAMPLE", secret[] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        static const AwsCredentials s3_credentials = { .access_key_id = id, .secret_access_key = secret };
        static const char *const headers[] = {
                "Host: examplebucket.s3.amazonaws.com",
                "Range: bytes=0-9",
                "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "x-amz-date: 20130524T000000Z",
                NULL,
        };
        const Sigv4Request request = {
                .method = "GET", .path = "/test.txt", .headers = headers, .s3 = true
        };
        _cleanup_free_ char *authorization = NULL;

        assert_int_equal(sigv4_authorization(&request, &s3_credentials, "20130524T000000Z", "us-east-1",
                                             "s3", &authorization),
                         0);
        assert_non_null(strstr(
                        authorization,
                        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_signature_of_the_example_in_the_s3_user_guide),
                cmocka_unit_test(test_every_case_of_the_official_suite_has_its_signature),
                cmocka_unit_test(test_a_path_is_encoded_again_but_not_for_s3),
                cmocka_unit_test(test_a_query_is_sorted_by_name_then_value),
                cmocka_unit_test(test_headers_are_sorted_without_regard_to_case),
                cmocka_unit_test(test_invalid_requests_are_refused),
                cmocka_unit_test(test_request_of_special_characters_fits_the_bound),
                cmocka_unit_test(test_dates_and_credentials_are_checked_before_signing),
                cmocka_unit_test(test_times_become_dates),
                cmocka_unit_test(test_cleared_credentials_are_empty),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
