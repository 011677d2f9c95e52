/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "aws/service.h"

static char access_key_id[] = "AKIDEXAMPLE", secret_access_key[] = "wJalrXUtnFEMI", token[] = "TOKEN//==";
static const AwsCredentials credentials = { access_key_id, secret_access_key, token, 0 };

static const char *header_of(char **headers, const char *name) {
        for (; *headers; headers++)
                if (strncmp(*headers, name, strlen(name)) == 0 && (*headers)[strlen(name)] == ':')
                        return *headers + strlen(name) + 2;
        return NULL;
}

static void test_partitions_have_their_domains(void **state) {
        assert_string_equal(aws_domain("aws", false), "amazonaws.com");
        assert_string_equal(aws_domain("aws", true), "api.aws");
        assert_string_equal(aws_domain("aws-cn", false), "amazonaws.com.cn");
        assert_string_equal(aws_domain("aws-us-gov", true), "api.aws");
        assert_string_equal(aws_domain("aws-eusc", true), "api.amazonwebservices.eu");
        assert_string_equal(aws_domain("aws-iso-b", false), "sc2s.sgov.gov");
        assert_string_equal(aws_domain("aws-iso-e", true), "api.cloud-aws.adc-e.uk");
        assert_null(aws_domain("aws-moon", false));
}

static void test_text_that_could_end_a_host_is_not_a_region(void **state) {
        static const char *const wrong[] = { "",         "-",        "eu-",
                                             "-eu",      "eu.north", "EU-north-1",
                                             "eu/north", "eu north", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };

        assert_true(aws_is_region("eu-north-1"));
        assert_true(aws_is_region("us-gov-west-1"));
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                if (aws_is_region(wrong[i]))
                        fail_msg("<%s> was believed", wrong[i]);
}

static void test_regions_are_in_their_partitions(void **state) {
        assert_string_equal(aws_partition_of("eu-north-1"), "aws");
        assert_string_equal(aws_partition_of("cn-north-1"), "aws-cn");
        assert_string_equal(aws_partition_of("us-gov-west-1"), "aws-us-gov");
        assert_string_equal(aws_partition_of("eusc-de-east-1"), "aws-eusc");
        assert_string_equal(aws_partition_of("us-iso-east-1"), "aws-iso");
        assert_string_equal(aws_partition_of("us-isob-east-1"), "aws-iso-b");
        assert_string_equal(aws_partition_of("eu-isoe-west-1"), "aws-iso-e");
        assert_string_equal(aws_partition_of("us-isof-south-1"), "aws-iso-f");
        assert_null(aws_partition_of("us-isoz-east-1"));
        assert_null(aws_partition_of("eu-isoz-west-1"));
}

static void test_text_that_could_end_a_header_is_not_a_header_value(void **state) {
        assert_true(aws_is_header_value("IQoJb3JpZ2lu/+=="));
        assert_false(aws_is_header_value(""));
        assert_false(aws_is_header_value("a b"));
        assert_false(aws_is_header_value("a\r\nX-Amz-Date: b"));
        assert_false(aws_is_header_value("\xc3\xa4"));
}

static void test_json_requests_have_a_target_and_no_hash(void **state) {
        _cleanup_(aws_headers_freep) char **headers = NULL;
        const AwsRequest request = {
                .method = "POST", .host = "h", .path = "/", .target = "A.B", .body = "{}"
        };

        assert_int_equal(aws_sign(&request, "r", "s", &credentials, 1440938160, &headers), 0);
        assert_string_equal(header_of(headers, "Host"), "h");
        assert_string_equal(header_of(headers, "Content-Type"), "application/x-amz-json-1.1");
        assert_string_equal(header_of(headers, "X-Amz-Date"), "20150830T123600Z");
        assert_string_equal(header_of(headers, "X-Amz-Target"), "A.B");
        assert_string_equal(header_of(headers, "X-Amz-Security-Token"), token);
        assert_null(header_of(headers, "X-Amz-Content-Sha256"));
        assert_non_null(strstr(header_of(headers, "Authorization"),
                               "Credential=AKIDEXAMPLE/20150830/r/s/aws4_request, SignedHeaders="
                               "content-type;host;x-amz-date;x-amz-security-token;x-amz-target, "));
}

static void test_s3_requests_have_a_hash_and_no_target(void **state) {
        static const AwsCredentials without_token = { access_key_id, secret_access_key, NULL, 0 };
        _cleanup_(aws_headers_freep) char **headers = NULL;
        const AwsRequest request = {
                .method = "GET", .host = "h", .path = "/a%20b", .query = "versionId=v"
        };

        assert_int_equal(aws_sign(&request, "r", "s3", &without_token, 0, &headers), 0);
        assert_string_equal(header_of(headers, "X-Amz-Content-Sha256"),
                            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_null(header_of(headers, "Content-Type"));
        assert_null(header_of(headers, "X-Amz-Target"));
        assert_null(header_of(headers, "X-Amz-Security-Token"));
        assert_non_null(strstr(header_of(headers, "Authorization"),
                               "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "));
}

static void test_invalid_requests_are_not_signed(void **state) {
        const AwsRequest request = { .method = "GET", .host = "h", .path = "/" };
        char **headers = NULL;

        assert_int_equal(aws_sign(&request, "r", "s", &credentials, -1, &headers), -ERANGE);
        assert_int_equal(aws_sign(&request, "r", "s", &(AwsCredentials){}, 0, &headers), -EINVAL);
        assert_null(headers);
}

static void test_codes_are_names_or_nothing(void **state) {
        static const struct {
                const char *type, *code;
        } cases[] = {
                { "Name", "Name" },
                { "com.amazonaws.kms#Name", "Name" },
                { "Name:http://internal.amazon.com/coral#x", "Name" },
                { "a#b:c#d", "b" },
                { "Na me", "" },
                { "<html>", "" },
                { "", "" },
                { "aaaaaaaaaaaaaaaaaaaaaaaaa", "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char code[24] = "?";

                aws_error_code(cases[i].type, code, sizeof(code));
                assert_string_equal(code, cases[i].code);
        }
}

static void test_error_class_follows_the_code_then_the_status(void **state) {
        static const struct {
                const char *code;
                unsigned status;
                int64_t skew;
                AwsErrorClass class;
        } cases[] = {
                { "ThrottlingException", 400, 0, AWS_THROTTLED },
                { "SlowDown", 503, 0, AWS_THROTTLED },
                { "InternalError", 500, 0, AWS_UNAVAILABLE },
                { "RequestTimeout", 400, 0, AWS_UNAVAILABLE },
                { "ExpiredToken", 400, 0, AWS_CREDENTIALS },
                { "InvalidAccessKeyId", 403, 0, AWS_CREDENTIALS },
                { "SignatureDoesNotMatch", 403, 0, AWS_SIGNATURE },
                { "SignatureDoesNotMatch", 403, AWS_SKEW_UNKNOWN, AWS_SIGNATURE },
                { "InvalidSignatureException", 400, 3600, AWS_CLOCK },
                { "RequestTimeTooSkewed", 403, -241, AWS_CLOCK },
                { "RequestTimeTooSkewed", 403, 240, AWS_CLOCK_UNKNOWN },
                { "RequestTimeTooSkewed", 403, AWS_SKEW_UNKNOWN, AWS_CLOCK_UNKNOWN },
                { "AccessDenied", 403, 3600, AWS_OTHER },
                { "", 404, 0, AWS_OTHER },
                { "", 503, 0, AWS_UNAVAILABLE },
                { "Anything", 429, 0, AWS_THROTTLED },
                { "", 408, 0, AWS_UNAVAILABLE },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                if (aws_error_class(cases[i].code, cases[i].status, cases[i].skew) != cases[i].class)
                        fail_msg("%s, %u: saw %u, wanted %u", cases[i].code, cases[i].status,
                                 (unsigned) aws_error_class(cases[i].code, cases[i].status, cases[i].skew),
                                 (unsigned) cases[i].class);
}

static void test_quoted_text_is_short_and_printable(void **state) {
        char buffer[8];

        assert_string_equal(aws_quotable("a\"b\x01\xc3\xa4", buffer, sizeof(buffer)), "a?b???");
        assert_string_equal(aws_quotable("123456789", buffer, sizeof(buffer)), "1234567");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_partitions_have_their_domains),
                cmocka_unit_test(test_text_that_could_end_a_host_is_not_a_region),
                cmocka_unit_test(test_regions_are_in_their_partitions),
                cmocka_unit_test(test_text_that_could_end_a_header_is_not_a_header_value),
                cmocka_unit_test(test_json_requests_have_a_target_and_no_hash),
                cmocka_unit_test(test_s3_requests_have_a_hash_and_no_target),
                cmocka_unit_test(test_invalid_requests_are_not_signed),
                cmocka_unit_test(test_codes_are_names_or_nothing),
                cmocka_unit_test(test_error_class_follows_the_code_then_the_status),
                cmocka_unit_test(test_quoted_text_is_short_and_printable),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
