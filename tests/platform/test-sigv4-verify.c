/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/io.h"
#include "basic/json.h"
#include "sigv4_verify.h"

#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
/* 2015-08-30T12:36:00Z */
#define NOW INT64_C(1440938160)

/* A request of AWS's suite. The pointers lead into text. */
typedef struct Parsed {
        char *text;
        SigV4Header headers[32];
        SigV4Request request;
} Parsed;

static char *read_text(const char *directory, const char *name) {
        char path[512];
        uint8_t *data;
        size_t size;

        snprintf(path, sizeof(path), "%s/sigv4/%s/%s", getenv("UNSEALD_TEST_VECTORS"), directory, name);
        if (read_file(path, 1024 * 1024, &data, &size) < 0)
                fail_msg("cannot read %s", path);
        return (char *) data;
}

/* The target may have spaces in it. It ends before the last word of the line. */
static char *parse_request_line(Parsed *parsed, char *line) {
        char *end = strchr(line, '\n'), *version;

        *end = '\0';
        version = strrchr(line, ' ');
        *version = '\0';
        parsed->request.method = line;
        parsed->request.target = strchr(line, ' ') + 1;
        *strchr(line, ' ') = '\0';
        return end + 1;
}

/* A line that begins with white space continues the value of the line before. */
static char *parse_headers(Parsed *parsed, char *p) {
        while (*p && *p != '\n') {
                char *end = strchr(p, '\n');
                size_t length;

                while (end && (end[1] == ' ' || end[1] == '\t')) {
                        *end = ' ';
                        end = strchr(end, '\n');
                }
                length = end ? (size_t) (end - p) : strlen(p);
                p[length] = '\0';
                char *colon = strchr(p, ':');
                assert_non_null(colon);
                *colon = '\0';
                parsed->headers[parsed->request.n_headers++] = (SigV4Header){ p, colon + 1 };
                p += length + (end != NULL);
        }
        return *p ? p + 1 : p;
}

static void parse(const char *directory, const char *name, Parsed *ret) {
        char *body;

        *ret = (Parsed){ .text = read_text(directory, name) };
        body = parse_headers(ret, parse_request_line(ret, ret->text));
        ret->request.headers = ret->headers;
        ret->request.body = (const uint8_t *) body;
        ret->request.body_size = strlen(body);
}

static bool is_normalized(const char *directory) {
        char *text = read_text(directory, "context.json");
        struct json_object *context;

        assert_int_equal(json_parse(text, strlen(text), &context), 0);
        bool normalized = json_object_get_boolean(json_member(context, "normalize"));
        json_object_put(context);
        free(text);
        return normalized;
}

static void check_vector(const char *directory) {
        char *canonical_wanted = read_text(directory, "header-canonical-request.txt"),
             *to_sign_wanted = read_text(directory, "header-string-to-sign.txt"), *canonical, *to_sign,
             signature[65];
        SigV4Refusal refusal = {};
        SigV4Claim claim;
        Parsed parsed;

        print_message("%s\n", directory);
        parse(directory, "header-signed-request.txt", &parsed);
        assert_int_equal(platform_sigv4_read_claim(&parsed.request, &claim, &refusal), 0);
        assert_string_equal(claim.access_key_id, "AKIDEXAMPLE");
        assert_int_equal(platform_sigv4_canonical_request(&parsed.request, claim.signed_headers, &canonical),
                         0);
        assert_string_equal(canonical, canonical_wanted);
        assert_int_equal(platform_sigv4_string_to_sign(&claim, canonical, &to_sign), 0);
        assert_string_equal(to_sign, to_sign_wanted);
        assert_int_equal(platform_sigv4_signature(&claim, SECRET, to_sign, signature), 0);
        assert_string_equal(signature, claim.signature);

        /* The server refuses the request whose session token was added after signing: KMS requires that it
         * is signed. */
        int r = platform_sigv4_verify(&parsed.request, &claim, SECRET, "us-east-1", "service", NOW,
                                      &refusal);
        assert_int_equal(r, strcmp(directory, "post-sts-header-after") == 0 ? -EBADMSG : 0);

        free(canonical_wanted);
        free(to_sign_wanted);
        free(canonical);
        free(to_sign);
        free(parsed.text);
}

static void test_official_vectors_come_out(void **state) {
        char path[512];
        struct dirent *entry;
        size_t n = 0;

        snprintf(path, sizeof(path), "%s/sigv4", getenv("UNSEALD_TEST_VECTORS"));
        DIR *directory = opendir(path);
        assert_non_null(directory);
        while ((entry = readdir(directory))) {
                /* Only S3 does not normalise paths. */
                if (entry->d_name[0] == '.' || !is_normalized(entry->d_name))
                        continue;
                check_vector(entry->d_name);
                n++;
        }
        closedir(directory);
        assert_in_range(n, 25, 100);
}

static const char authorization[] =
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
                "SignedHeaders=host;x-amz-date, "
                "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
static const char good_date[] = "20150830T123600Z";

/* get-vanilla, which each test changes. */
typedef struct Vanilla {
        SigV4Header headers[8];
        SigV4Request request;
} Vanilla;

static void make_vanilla(Vanilla *vanilla, const char *authorization_value, const char *date) {
        *vanilla = (Vanilla){
                .headers = { { "Host", "example.amazonaws.com" },
                             { "X-Amz-Date", date },
                             { "Authorization", authorization_value } },
                .request = { .method = "GET", .target = "/", .n_headers = 3, .body = (const uint8_t *) "" },
        };
        vanilla->request.headers = vanilla->headers;
}

static void check_refusal(const SigV4Request *request, int64_t now, const char *region, const char *code,
                          const char *words) {
        SigV4Refusal refusal = {};
        SigV4Claim claim;

        int r = platform_sigv4_read_claim(request, &claim, &refusal);
        if (r >= 0)
                r = platform_sigv4_verify(request, &claim, SECRET, region, "service", now, &refusal);
        assert_int_equal(r, -EBADMSG);
        assert_string_equal(refusal.code, code);
        if (!strstr(refusal.message, words))
                fail_msg("'%s' is not in '%s'", words, refusal.message);
}

static void test_good_signature_is_accepted(void **state) {
        SigV4Refusal refusal;
        SigV4Claim claim;
        Vanilla vanilla;

        make_vanilla(&vanilla, authorization, good_date);
        assert_int_equal(platform_sigv4_read_claim(&vanilla.request, &claim, &refusal), 0);
        assert_int_equal(platform_sigv4_verify(&vanilla.request, &claim, SECRET, "us-east-1", "service", NOW,
                                               &refusal),
                         0);
        assert_int_equal(platform_sigv4_verify(&vanilla.request, &claim, SECRET, "us-east-1", "service",
                                               NOW + 300, &refusal),
                         0);
        assert_int_equal(platform_sigv4_verify(&vanilla.request, &claim, SECRET, "us-east-1", "service",
                                               NOW - 300, &refusal),
                         0);
}

static void test_any_change_breaks_the_signature(void **state) {
        static const char code[] = "InvalidSignatureException",
                          words[] = "does not match the signature you provided";
        Vanilla vanilla;

        make_vanilla(&vanilla, authorization, good_date);
        vanilla.request.body_size = 1;
        vanilla.request.body = (const uint8_t *) "x";
        check_refusal(&vanilla.request, NOW, "us-east-1", code, words);

        make_vanilla(&vanilla, authorization, good_date);
        vanilla.request.target = "/other";
        check_refusal(&vanilla.request, NOW, "us-east-1", code, words);

        make_vanilla(&vanilla, authorization, good_date);
        vanilla.request.method = "POST";
        check_refusal(&vanilla.request, NOW, "us-east-1", code, words);

        make_vanilla(&vanilla, authorization, good_date);
        vanilla.headers[0].value = "other.amazonaws.com";
        check_refusal(&vanilla.request, NOW, "us-east-1", code, words);
}

static void test_clock_is_held_to_five_minutes(void **state) {
        Vanilla vanilla;

        make_vanilla(&vanilla, authorization, good_date);
        check_refusal(&vanilla.request, NOW + 301, "us-east-1", "InvalidSignatureException",
                      "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z "
                      "(20150830T124101Z - 5 min.)");
        check_refusal(&vanilla.request, NOW - 301, "us-east-1", "InvalidSignatureException",
                      "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z");
}

static void test_scope_must_be_this_service_here_and_today(void **state) {
        Vanilla vanilla;

        make_vanilla(&vanilla, authorization, good_date);
        check_refusal(&vanilla.request, NOW, "eu-north-1", "InvalidSignatureException",
                      "scoped to a valid region, not 'us-east-1'");
        make_vanilla(&vanilla,
                     "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/s3/aws4_request, "
                     "SignedHeaders=host;x-amz-date, Signature=00",
                     good_date);
        check_refusal(&vanilla.request, NOW, "us-east-1", "InvalidSignatureException",
                      "scoped to correct service: 'service'");
        make_vanilla(&vanilla, authorization, "20150831T000000Z");
        check_refusal(&vanilla.request, NOW, "us-east-1", "InvalidSignatureException",
                      "Date in Credential scope does not match");
}

static void test_host_and_amz_headers_must_be_signed(void **state) {
        Vanilla vanilla;

        make_vanilla(&vanilla,
                     "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
                     "SignedHeaders=x-amz-date, Signature=00",
                     good_date);
        check_refusal(&vanilla.request, NOW, "us-east-1", "InvalidSignatureException",
                      "'Host' or ':authority' must be");
        make_vanilla(&vanilla, authorization, good_date);
        vanilla.headers[vanilla.request.n_headers++] =
                        (SigV4Header){ "X-Amz-Target", "TrentService.Decrypt" };
        check_refusal(&vanilla.request, NOW, "us-east-1", "InvalidSignatureException",
                      "'X-Amz-Target' must be");
}

static void test_unreadable_requests_are_incomplete(void **state) {
        static const struct {
                const char *authorization;
                const char *date;
                const char *words;
        } cases[] = {
                { "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=00", good_date,
                  "requires 'Credential' parameter" },
                { "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, Signature=00", good_date,
                  "requires 'SignedHeaders'" },
                { "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host", good_date,
                  "requires 'Signature'" },
                { "AWS4-HMAC-SHA256 Credential=a/b/c/aws4_request, SignedHeaders=host, Signature=00",
                  good_date, "exactly 5 slash-delimited" },
                { "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws5_request, SignedHeaders=host, Signature=00",
                  good_date, "exactly 5 slash-delimited" },
                { authorization, "Sun, 30 Aug 2015 12:36:00 GMT", "ISO-8601" },
                { authorization, "20150830T123600+", "ISO-8601" },
                { "Bearer abc", good_date, "Unsupported AWS 'algorithm': 'Bearer'" },
                { "AWS4-HMAC-SHA256", good_date, "Unsupported AWS 'algorithm'" },
        };
        Vanilla vanilla;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                make_vanilla(&vanilla, cases[i].authorization, cases[i].date);
                check_refusal(&vanilla.request, NOW, "us-east-1", "IncompleteSignatureException",
                              cases[i].words);
        }
        make_vanilla(&vanilla, authorization, good_date);
        vanilla.request.n_headers = 2;
        check_refusal(&vanilla.request, NOW, "us-east-1", "MissingAuthenticationTokenException",
                      "Missing Authentication Token");
        make_vanilla(&vanilla, authorization, good_date);
        vanilla.headers[1].name = "X-Other";
        check_refusal(&vanilla.request, NOW, "us-east-1", "IncompleteSignatureException",
                      "'X-Amz-Date' or a 'Date' header");
}

static void test_oversized_parts_are_refused(void **state) {
        char *huge = malloc(4096);
        SigV4Refusal refusal = {};
        SigV4Claim claim;
        Vanilla vanilla;
        char *text;

        memset(huge, 'a', 4095);
        huge[4095] = '\0';
        make_vanilla(&vanilla, huge, good_date);
        assert_int_equal(platform_sigv4_read_claim(&vanilla.request, &claim, &refusal), -EBADMSG);

        for (size_t i = 0; i < 2000; i++)
                huge[i] = i % 2 ? ';' : 'a';
        huge[2000] = '\0';
        assert_int_equal(platform_sigv4_canonical_request(&vanilla.request, huge, &text), -E2BIG);

        huge[0] = '/';
        huge[1] = '?';
        for (size_t i = 2; i < 2000; i++)
                huge[i] = i % 2 ? '&' : 'a';
        vanilla.request.target = huge;
        assert_int_equal(platform_sigv4_canonical_request(&vanilla.request, "host", &text), -E2BIG);
        free(huge);
}

/* The example of GET Object in the S3 User Guide, "Signature Calculations for the Authorization Header". */
static void test_s3_has_rules_of_its_own(void **state) {
        static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                          secret[] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                          signature[] = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        static const SigV4Header headers[] = {
                { "Host", "examplebucket.s3.amazonaws.com" },
                { "Authorization",
                  "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
                  "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
                  "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },
                { "Range", "bytes=0-9" },
                { "x-amz-content-sha256", empty },
                { "x-amz-date", "20130524T000000Z" },
        };
        SigV4Request request = {
                .method = "GET", .target = "/test.txt", .headers = headers, .n_headers = 5, .s3 = true
        };
        const int64_t then = 1369353600;
        SigV4Refusal refusal = {};
        SigV4Claim claim;
        char *canonical;

        assert_int_equal(platform_sigv4_read_claim(&request, &claim, &refusal), 0);
        assert_string_equal(claim.signature, signature);
        assert_int_equal(platform_sigv4_verify(&request, &claim, secret, "us-east-1", "s3", then, &refusal),
                         0);
        assert_int_equal(platform_sigv4_verify(&request, &claim, secret, "us-east-1", "s3", then + 900,
                                               &refusal),
                         0);
        assert_int_equal(platform_sigv4_verify(&request, &claim, secret, "us-east-1", "s3", then + 901,
                                               &refusal),
                         -EBADMSG);

        /* The path is neither normalised nor encoded twice. */
        request.target = "/a%20b//../c%2Bd?versionId=x";
        assert_int_equal(platform_sigv4_canonical_request(&request, claim.signed_headers, &canonical), 0);
        if (strncmp(canonical, "GET\n/a%20b//../c%2Bd\nversionId=x\n", 33) != 0)
                fail_msg("%s", canonical);
        free(canonical);
}

static void test_path_may_have_many_segments(void **state) {
        static const SigV4Header headers[] = { { "Host", "a" } };
        char path[1025], wanted[1100];
        SigV4Request request = { .method = "GET", .target = path, .headers = headers, .n_headers = 1 };
        char *canonical;

        for (size_t i = 0; i < sizeof(path) - 1; i += 2)
                memcpy(path + i, "/a", 2);
        path[sizeof(path) - 1] = '\0';
        snprintf(wanted, sizeof(wanted), "GET\n%s\n\nhost:a\n", path);
        assert_int_equal(platform_sigv4_canonical_request(&request, "host", &canonical), 0);
        if (strncmp(canonical, wanted, strlen(wanted)) != 0)
                fail_msg("saw %s, wanted %s", canonical, wanted);
        free(canonical);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_s3_has_rules_of_its_own),
                cmocka_unit_test(test_path_may_have_many_segments),
                cmocka_unit_test(test_official_vectors_come_out),
                cmocka_unit_test(test_good_signature_is_accepted),
                cmocka_unit_test(test_any_change_breaks_the_signature),
                cmocka_unit_test(test_clock_is_held_to_five_minutes),
                cmocka_unit_test(test_scope_must_be_this_service_here_and_today),
                cmocka_unit_test(test_host_and_amz_headers_must_be_signed),
                cmocka_unit_test(test_unreadable_requests_are_incomplete),
                cmocka_unit_test(test_oversized_parts_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
