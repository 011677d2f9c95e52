/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "failing-memory.h"
#include "http-server.h"
#include "source/fetch.h"
#include "source/fetcher.h"

/* The first bytes of a KMS ciphertext, and the same bytes in base64. */
static const uint8_t ciphertext[] = { 0x01, 0x02, 0x02, 0x00, 0x78, 0x41, 0x42, 0x43, 0xff, 0x00 };
#define BASE64 "AQICAHhBQkP/AA=="

static char access_key_id[] = "AKIDEXAMPLE", secret_access_key[] = "wJalrXUtnFEMI", token[] = "TOKEN//==";
static const AwsCredentials credentials = { access_key_id, secret_access_key, token, 0 };

static Source parsed(const char *text) {
        Source source = {};
        Error error = {};

        if (source_parse(text, &source, &error) < 0)
                fail_msg("%s", error.text);
        return source;
}

/* The headers are those of a request that was signed for this service, with the parts of its URL. */
static void assert_signed(const FetchRequest *request, SourceKind kind, const char *region,
                          const char *host) {
        static const char *const services[][2] = {
                [SOURCE_S3] = { "s3", NULL },
                [SOURCE_SSM] = { "ssm", "AmazonSSM.GetParameter" },
                [SOURCE_SECRETS_MANAGER] = { "secretsmanager", "secretsmanager.GetSecretValue" },
        };
        const char *behind = request->url + strlen("https://") + strlen(host),
                   *question = strchr(behind, '?');
        _cleanup_free_ char *path = strndup(behind, strcspn(behind, "?"));
        _cleanup_(aws_headers_freep) char **wanted = NULL;
        size_t i;

        assert_string_equal(request->method, kind == SOURCE_S3 ? "GET" : "POST");
        assert_int_equal(aws_sign(&(AwsRequest){ .method = request->method,
                                                 .host = host,
                                                 .path = path,
                                                 .query = question ? question + 1 : NULL,
                                                 .target = services[kind][1],
                                                 .body = request->body },
                                  region, services[kind][0], &credentials, 1440938160, &wanted),
                         0);
        for (i = 0; wanted[i] && request->headers[i]; i++)
                assert_string_equal(request->headers[i], wanted[i]);
        assert_null(wanted[i]);
        assert_null(request->headers[i]);
}

static void assert_request(const char *text, const char *partition, const char *region, bool fips,
                           bool dual_stack, const char *url, const char *host) {
        _cleanup_(source_clear) Source source = parsed(text);
        _cleanup_(fetch_request_clear) FetchRequest request = {};
        const Fetch fetch = { &source, partition, region, fips, dual_stack, 6144 };

        assert_int_equal(fetch_request(&fetch, &credentials, 1440938160, &request), 0);
        assert_string_equal(request.url, url);
        if (!host) {
                assert_string_equal(request.method, "GET");
                assert_null(request.headers);
                return;
        }
        assert_string_equal(request.headers[0] + strlen("Host: "), host);
        assert_signed(&request, source.kind, region, host);
}

static void test_https_request_has_the_url_as_written_and_no_signature(void **state) {
        assert_request("https://h.example:8443/a%20b?c=d", "aws", "eu-north-1", true, true,
                       "https://h.example:8443/a%20b?c=d", NULL);
}

static void test_buckets_are_in_the_host_unless_they_have_dots(void **state) {
#define S3(text, fips, dual_stack, host, path) \
        assert_request(text, "aws", "eu-north-1", fips, dual_stack, "https://" host path, host)

        S3("s3://bucket/key", false, false, "bucket.s3.eu-north-1.amazonaws.com", "/key");
        S3("s3://bucket/key", true, false, "bucket.s3-fips.eu-north-1.amazonaws.com", "/key");
        S3("s3://bucket/key", false, true, "bucket.s3.dualstack.eu-north-1.amazonaws.com", "/key");
        S3("s3://bucket/key", true, true, "bucket.s3-fips.dualstack.eu-north-1.amazonaws.com", "/key");
        S3("s3://a.b/key", false, false, "s3.eu-north-1.amazonaws.com", "/a.b/key");
        S3("s3://a.b//key", false, true, "s3.dualstack.eu-north-1.amazonaws.com", "/a.b//key");
        assert_request("s3://bucket/key", "aws-cn", "cn-north-1", false, false,
                       "https://bucket.s3.cn-north-1.amazonaws.com.cn/key",
                       "bucket.s3.cn-north-1.amazonaws.com.cn");
}

static void test_keys_are_percent_encoded_once(void **state) {
#define HOST "bucket.s3.eu-north-1.amazonaws.com"
        S3("s3://bucket/a b+c%41/\xc3\xa4~-._", false, false, HOST, "/a%20b%2Bc%2541/%C3%A4~-._");
        S3("s3://bucket/../a?b=c&d#e", false, false, HOST, "/../a%3Fb%3Dc%26d%23e");
        S3("s3://bucket//a", false, false, HOST, "//a");
        S3("s3://bucket/a?versionId=x/y+z", false, false, HOST, "/a?versionId=x/y%2Bz");
}

static void test_parameters_and_secrets_have_their_endpoints(void **state) {
        static const struct {
                const char *text, *partition, *region;
                bool fips, dual_stack;
                const char *host;
        } cases[] = {
                { "ssm:a", "aws", "eu-north-1", false, false, "ssm.eu-north-1.amazonaws.com" },
                { "ssm:a", "aws", "eu-north-1", true, false, "ssm-fips.eu-north-1.amazonaws.com" },
                { "ssm:a", "aws", "eu-north-1", true, true, "ssm-fips.eu-north-1.api.aws" },
                { "ssm:a", "aws-us-gov", "us-gov-west-1", true, false, "ssm.us-gov-west-1.amazonaws.com" },
                { "ssm:a", "aws-us-gov", "us-gov-west-1", true, true, "ssm-fips.us-gov-west-1.api.aws" },
                { "secretsmanager:a", "aws", "eu-north-1", false, false,
                  "secretsmanager.eu-north-1.amazonaws.com" },
                { "secretsmanager:a", "aws", "eu-north-1", true, true,
                  "secretsmanager-fips.eu-north-1.amazonaws.com" },
                { "secretsmanager:a", "aws-eusc", "eusc-de-east-1", false, true,
                  "secretsmanager.eusc-de-east-1.api.amazonwebservices.eu" },
                { "secretsmanager:a", "aws-us-gov", "us-gov-west-1", true, true,
                  "secretsmanager-fips.us-gov-west-1.amazonaws.com" },
                { "secretsmanager:a", "aws-cn", "cn-north-1", false, true,
                  "secretsmanager.cn-north-1.amazonaws.com.cn" },
                { "secretsmanager:a", "aws-cn", "cn-north-1", true, true,
                  "secretsmanager-fips.cn-north-1.api.amazonwebservices.com.cn" },
                { "secretsmanager:a", "aws-iso", "us-iso-east-1", false, true,
                  "secretsmanager.us-iso-east-1.api.aws.ic.gov" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char url[128];

                (void) snprintf(url, sizeof(url), "https://%s/", cases[i].host);
                assert_request(cases[i].text, cases[i].partition, cases[i].region, cases[i].fips,
                               cases[i].dual_stack, url, cases[i].host);
        }
}

static void test_requests_for_parameters_and_secrets_have_the_name(void **state) {
        static const struct {
                const char *text, *body;
        } cases[] = {
                { "ssm:/a/b", "{\"Name\":\"/a/b\"}" },
                { "secretsmanager:a/b=c", "{\"SecretId\":\"a/b=c\"}" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(source_clear) Source source = parsed(cases[i].text);
                _cleanup_(fetch_request_clear) FetchRequest request = {};
                const Fetch fetch = { .source = &source, .partition = "aws", .region = "r", .maximum = 1 };

                assert_int_equal(fetch_request(&fetch, &credentials, 0, &request), 0);
                assert_string_equal(request.method, "POST");
                assert_string_equal(request.body, cases[i].body);
        }
}

static void test_impossible_requests_are_refused(void **state) {
        static const char *const texts[] = { "s3://bucket/key", "ssm:a", "secretsmanager:a" };
        FetchRequest request = {};

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(source_clear) Source source = parsed(texts[i]);
                Fetch fetch = { .source = &source, .partition = "aws", .region = "r" };

                assert_int_equal(fetch_request(&fetch, NULL, 0, &request), -EINVAL);
                fetch.partition = "aws-moon";
                assert_int_equal(fetch_request(&fetch, &credentials, 0, &request), -EOPNOTSUPP);
                assert_null(request.url);
        }
        assert_int_equal(fetch_request(&(Fetch){ .source = &(Source){ .kind = SOURCE_FILE } }, NULL, 0,
                                       &request),
                         -EINVAL);
}

static const Source *source_to_ask;

static int ask(void) {
        _cleanup_(fetch_request_clear) FetchRequest request = {};
        const Fetch fetch = { .source = source_to_ask, .partition = "aws", .region = "eu-north-1" };
        int r = fetch_request(&fetch, &credentials, 1440938160, &request);

        if (r < 0 || !memory.failed)
                return r < 0 && request.url ? -EPROTO : r;
        /* asprintf() has an allocation that it can do without. Nothing may be missing then. */
        return request.url && !request.headers == !source_is_signed(source_to_ask) ? -ENOMEM : -EPROTO;
}

static void test_lack_of_memory_starts_no_request(void **state) {
        static const char *const texts[] = { "https://h/a", "s3://bucket/key?versionId=v", "ssm:a",
                                             "secretsmanager:a" };

        if (!memory_can_fail())
                skip(); /* before the first source, which skip() would leave behind */
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(source_clear) Source source = parsed(texts[i]);

                source_to_ask = &source;
                assert_allocations_are_checked(ask);
        }
}

static int read_reply(const char *text, const FetchReply *reply, size_t maximum, Error *error) {
        _cleanup_(source_clear) Source source = parsed(text);
        const Fetch fetch = {
                .source = &source, .partition = "aws", .region = "eu-north-1", .maximum = maximum
        };
        FetchReply sized = *reply;
        _cleanup_free_ uint8_t *raw = NULL;
        size_t size;
        int r;

        if (sized.size == 0)
                sized.size = strlen(sized.body);
        *error = (Error){};
        r = fetch_reply(&fetch, &sized, &raw, &size, error);
        if (r >= 0) {
                assert_int_equal(size, sizeof(ciphertext));
                assert_memory_equal(raw, ciphertext, size);
                assert_string_equal(error->request_id, "");
        } else
                assert_null(raw);
        return r;
}

static void assert_good(const char *text, const char *body) {
        Error error;

        if (read_reply(text, &(FetchReply){ .status = 200, .body = body, .request_id = "R-1" }, 100,
                       &error) < 0)
                fail_msg("%s: %s", body, error.text);
}

static void assert_bad(const char *text, const char *body, int wanted, const char *expected) {
        Error error;
        int r;

        r = read_reply(text, &(FetchReply){ .status = 200, .body = body }, 100, &error);
        if (r != wanted || !strstr(error.text, expected))
                fail_msg("%s: saw %d, \"%s\", wanted %d, \"%s\"", body, r, error.text, wanted, expected);
        assert_int_equal(error.failure, FAILURE_SOURCE);
        assert_int_equal(error.remedy, REMEDY_NONE);
}

static void test_bodies_are_ciphertext_raw_or_base64(void **state) {
        static const char *const texts[] = { "https://h/x", "s3://bucket/key" };
        const FetchReply raw = { .status = 200,
                                 .body = (const char *) ciphertext,
                                 .size = sizeof(ciphertext) };
        Error error;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                assert_good(texts[i], BASE64 "\n");
                assert_int_equal(read_reply(texts[i], &raw, sizeof(ciphertext), &error), 0);
                assert_int_equal(read_reply(texts[i], &raw, sizeof(ciphertext) - 1, &error), -EFBIG);
                assert_non_null(strstr(error.text, "longer than 9 bytes (SizeMax=)"));
                assert_bad(texts[i], "<html></html>", -EBADMSG, "not base64");
                assert_bad(texts[i], "", -ENODATA, "is empty");
        }
}

static void test_parameter_is_a_string(void **state) {
        assert_good("ssm:a", "{\"Parameter\":{\"Type\":\"String\",\"Value\":\"" BASE64 "\"}}");
        assert_bad("ssm:a", "{\"Parameter\":{\"Type\":\"SecureString\",\"Value\":\"" BASE64 "\"}}", -EINVAL,
                   "is a SecureString. Parameter Store decrypts");
        assert_bad("ssm:a", "{\"Parameter\":{\"Type\":\"StringList\",\"Value\":\"" BASE64 "\"}}", -EBADMSG,
                   "no parameter of type String");
        assert_bad("ssm:a", "{\"Parameter\":{\"Type\":\"String\"}}", -EBADMSG,
                   "no parameter of type String");
        assert_bad("ssm:a", "{\"Parameter\":[]}", -EBADMSG, "no parameter of type String");
        assert_bad("ssm:a", "{}", -EBADMSG, "no parameter of type String");
        assert_bad("ssm:a", "{\"Parameter\":{\"Type\":\"String\",\"Value\":\"plain text\"}}", -EBADMSG,
                   "not base64");
}

static void test_secret_is_a_string_or_binary(void **state) {
        static const char id[] = "secretsmanager:a";

        assert_good(id, "{\"SecretString\":\"" BASE64 "\"}");
        assert_good(id, "{\"SecretBinary\":\"" BASE64 "\"}");
        /* The bytes are base64 themselves: somebody stored the output of "aws kms encrypt". */
        assert_good(id, "{\"SecretBinary\":\"QVFJQ0FIaEJRa1AvQUE9PQ==\"}");
        assert_bad(id, "{\"SecretBinary\":\"*\"}", -EBADMSG, "neither SecretString nor SecretBinary");
        assert_bad(id, "{\"SecretBinary\":\"" BASE64 "\",\"SecretString\":\"x\"}", -EBADMSG, "neither");
        assert_bad(id, "{\"SecretString\":1}", -EBADMSG, "neither SecretString nor SecretBinary");
        assert_bad(id, "[]", -EBADMSG, "neither SecretString nor SecretBinary");
        assert_bad(id, "{\"SecretString\":\"hunter2\"}", -EBADMSG, "not base64");
}

static void test_member_of_a_secret_is_a_string_of_its_json_object(void **state) {
        static const char id[] = "secretsmanager:a#db";

        assert_good(id, "{\"SecretString\":\"{\\\"db\\\":\\\"" BASE64 "\\\",\\\"x\\\":1}\"}");
        assert_good("secretsmanager:a#d b", "{\"SecretString\":\"{\\\"d b\\\":\\\"" BASE64 "\\\"}\"}");
        assert_bad(id, "{\"SecretString\":\"{\\\"DB\\\":\\\"hunter2\\\"}\"}", -ENOENT, "no member \"db\"");
        assert_bad(id, "{\"SecretString\":\"{\\\"db\\\":{\\\"db\\\":\\\"hunter2\\\"}}\"}", -EBADMSG,
                   "is no string");
        assert_bad(id, "{\"SecretString\":\"{\\\"db\\\":5}\"}", -EBADMSG, "is no string");
        assert_bad(id, "{\"SecretString\":\"{\\\"db\\\":null}\"}", -ENOENT, "no member");
        assert_bad(id, "{\"SecretString\":\"[\\\"db\\\"]\"}", -EBADMSG, "no JSON object");
        assert_bad(id, "{\"SecretString\":\"" BASE64 "\"}", -EBADMSG, "no JSON object");
        assert_bad(id, "{\"SecretString\":\"{\"}", -EBADMSG, "no JSON object");
        assert_bad(id, "{\"SecretString\":\"{\\\"db\\\":\\\"\\\\u0000\\\"}\"}", -EBADMSG, "no JSON object");
        assert_bad(id, "{\"SecretString\":\"{\\\"db\\\":\\\"hunter2\\\"}\"}", -EBADMSG, "not base64");
        assert_bad(id, "{\"SecretBinary\":\"" BASE64 "\"}", -EBADMSG, "is binary");
        /* Without the member, the whole object is no ciphertext. */
        assert_bad("secretsmanager:a", "{\"SecretString\":\"{\\\"db\\\":\\\"" BASE64 "\\\"}\"}", -EBADMSG,
                   "JSON");

        /* Deeper than any reader of unseald goes. */
        char deep[512] = "{\"SecretString\":\"{\\\"db\\\":", *end = deep + strlen(deep);

        end = memset(end, '[', 200);
        (void) strcpy(end + 200, "\"}");
        assert_bad(id, deep, -EBADMSG, "no JSON object");
}

static void test_answer_that_is_not_json_may_pass(void **state) {
        Error error;

        assert_int_equal(read_reply("ssm:a", &(FetchReply){ .status = 200, .body = "<html>" }, 100, &error),
                         -EBADMSG);
        assert_int_equal(error.failure, FAILURE_UNAVAILABLE);
        assert_int_equal(error.remedy, REMEDY_RETRY);
}

#define XML(code, message)                                                                          \
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>" code "</Code><Message>" message \
        "</Message><RequestId>R</RequestId></Error>"

static void test_errors_mean_what_aws_says_they_do(void **state) {
        static const struct {
                const char *text;
                unsigned status;
                const char *body;
                int64_t skew;
                Failure failure;
                Remedy remedy;
                const char *code, *expected;
        } cases[] = {
                { "s3://bucket/key", 404, XML("NoSuchKey", "The key \"k\"."), 0, FAILURE_SOURCE, REMEDY_NONE,
                  "NoSuchKey",
                  "s3://bucket/key: The service refuses the request (HTTP status 404, NoSuchKey): \"The key ?k?.\". The object does not exist." },
                { "s3://bucket/key", 403, XML("AccessDenied", "Access Denied"), 0, FAILURE_SOURCE,
                  REMEDY_NONE, "AccessDenied", "s3:GetObject" },
                { "s3://bucket/key", 403, "", 0, FAILURE_SOURCE, REMEDY_NONE, "", "HTTP status 403" },
                { "s3://bucket/key", 503, XML("SlowDown", ""), 0, FAILURE_UNAVAILABLE, REMEDY_RETRY,
                  "SlowDown", "throttles" },
                { "s3://bucket/key", 502, "<html>", 0, FAILURE_UNAVAILABLE, REMEDY_RETRY, "", "502" },
                { "s3://bucket/key", 400, XML("ExpiredToken", ""), 0, FAILURE_ROLE, REMEDY_CREDENTIALS,
                  "ExpiredToken", "credentials" },
                { "s3://bucket/key", 403, XML("RequestTimeTooSkewed", ""), 3600, FAILURE_CLOCK, REMEDY_CLOCK,
                  "RequestTimeTooSkewed", "clock" },
                { "s3://bucket/key", 403, XML("SignatureDoesNotMatch", ""), 0, FAILURE_ROLE,
                  REMEDY_CREDENTIALS, "SignatureDoesNotMatch", "signature" },
                { "s3://bucket/key", 301, XML("PermanentRedirect", ""), 0, FAILURE_SOURCE, REMEDY_NONE,
                  "PermanentRedirect", "another Region. Set SourceRegion=us-east-1." },
                { "ssm:a", 400, "{\"__type\":\"ParameterNotFound\"}", 0, FAILURE_SOURCE, REMEDY_NONE,
                  "ParameterNotFound", "parameter does not exist" },
                { "ssm:a", 400, "{\"__type\":\"AccessDeniedException\",\"Message\":\"no\"}", 0,
                  FAILURE_SOURCE, REMEDY_NONE, "AccessDeniedException",
                  "\"no\". The role of this instance needs ssm:" },
                { "ssm:a", 400, "{\"__type\":\"ThrottlingException\"}", 0, FAILURE_UNAVAILABLE, REMEDY_RETRY,
                  "ThrottlingException", "throttles" },
                { "secretsmanager:a", 400, "{\"__type\":\"x#ResourceNotFoundException\"}", 0, FAILURE_SOURCE,
                  REMEDY_NONE, "ResourceNotFoundException", "secret does not exist" },
                { "secretsmanager:a", 500, "{\"__type\":\"InternalServiceError\"}", 0, FAILURE_UNAVAILABLE,
                  REMEDY_RETRY, "InternalServiceError", "not available" },
                { "secretsmanager:a", 400, "{\"__type\":\"InvalidSignatureException\"}", -3600,
                  FAILURE_CLOCK, REMEDY_CLOCK, "InvalidSignatureException", "clock" },
                { "https://h/x?secret", 404, "", 0, FAILURE_SOURCE, REMEDY_NONE, "",
                  "https://h/x: The server answers HTTP status 404." },
                { "https://h/x", 302, "", 0, FAILURE_SOURCE, REMEDY_NONE, "", "does not follow redirects" },
                { "https://h/x", 299, "", 0, FAILURE_SOURCE, REMEDY_NONE, "", "HTTP status 299." },
                { "https://h/x", 300, "", 0, FAILURE_SOURCE, REMEDY_NONE, "", "does not follow redirects" },
                { "https://h/x", 399, "", 0, FAILURE_SOURCE, REMEDY_NONE, "", "does not follow redirects" },
                { "https://h/x", 400, "", 0, FAILURE_SOURCE, REMEDY_NONE, "", "HTTP status 400." },
                { "https://h/x", 408, "", 0, FAILURE_UNAVAILABLE, REMEDY_RETRY, "", "408" },
                { "https://h/x", 425, "", 0, FAILURE_UNAVAILABLE, REMEDY_RETRY, "", "425" },
                { "https://h/x", 499, "", 0, FAILURE_SOURCE, REMEDY_NONE, "", "499" },
                { "https://h/x", 500, "", 0, FAILURE_UNAVAILABLE, REMEDY_RETRY, "", "500" },
                { "ssm:a", 400, "{\"__type\":\"SomethingNew\",\"message\":\"words\"}", 0, FAILURE_SOURCE,
                  REMEDY_NONE, "SomethingNew",
                  "ssm:a: The service refuses the request (HTTP status 400, SomethingNew): \"words\"." },
                { "s3://bucket/key", 403, "", 0, FAILURE_SOURCE, REMEDY_NONE, "",
                  "s3://bucket/key: The service refuses the request (HTTP status 403). Set SourceRegion=us-east-1." },
                { "https://h/x", 204, "", 0, FAILURE_SOURCE, REMEDY_NONE, "", "204" },
                { "https://h/x", 503, "", 0, FAILURE_UNAVAILABLE, REMEDY_RETRY, "", "503" },
                { "https://h/x", 429, "", 0, FAILURE_UNAVAILABLE, REMEDY_RETRY, "", "429" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const FetchReply reply = {
                        .status = cases[i].status,
                        .body = cases[i].body,
                        .request_id = "R-1",
                        .bucket_region = "us-east-1",
                        .retry_after_usec = 5,
                        .skew = cases[i].skew,
                };
                Error error;

                assert_int_equal(read_reply(cases[i].text, &reply, 100, &error), -EREMOTEIO);
                if (!strstr(error.text, cases[i].expected))
                        fail_msg("saw \"%s\", wanted \"%s\"", error.text, cases[i].expected);
                assert_int_equal(error.failure, cases[i].failure);
                assert_int_equal(error.remedy, cases[i].remedy);
                assert_string_equal(error.code, cases[i].code);
                assert_string_equal(error.request_id, "R-1");
                assert_int_equal(error.retry_after_usec, 5);
        }
}

static void test_reply_is_judged_for_a_caller_who_wants_no_reasons(void **state) {
        static const struct {
                const char *text;
                unsigned status;
                const char *body;
                int r;
        } cases[] = {
                { "ssm:a", 400, "{}", -EREMOTEIO },     { "ssm:a", 200, "<html>", -EBADMSG },
                { "ssm:a", 200, "{}", -EBADMSG },       { "secretsmanager:a", 200, "{}", -EBADMSG },
                { "https://h/x", 400, "", -EREMOTEIO }, { "https://h/x", 200, "", -ENODATA },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(source_clear) Source source = parsed(cases[i].text);
                const Fetch fetch = { .source = &source, .region = "eu-north-1", .maximum = 100 };
                const FetchReply reply = { .status = cases[i].status,
                                           .body = cases[i].body,
                                           .size = strlen(cases[i].body) };
                uint8_t *raw = NULL;
                size_t size;

                assert_int_equal(fetch_reply(&fetch, &reply, &raw, &size, NULL), cases[i].r);
                assert_null(raw);
        }
}

static void test_name_of_the_error_may_be_in_a_header_alone(void **state) {
        const FetchReply reply = { .status = 400,
                                   .body = "<html>",
                                   .error_type = "ParameterNotFound:http://x" };
        Error error;

        assert_int_equal(read_reply("ssm:a", &reply, 100, &error), -EREMOTEIO);
        assert_string_equal(error.code, "ParameterNotFound");
}

static void test_malformed_bucket_region_is_not_quoted(void **state) {
        static const char *const regions[] = { "eu-north-1", "evil. Do this", "" };

        for (size_t i = 0; i < ELEMENTSOF(regions); i++) {
                Error error;

                assert_int_equal(read_reply("s3://bucket/key",
                                            &(FetchReply){ .status = 403,
                                                           .body = XML("AccessDenied", ""),
                                                           .bucket_region = regions[i] },
                                            100, &error),
                                 -EREMOTEIO);
                assert_null(strstr(error.text, "SourceRegion"));
        }
}

static void test_xml_is_not_read_beyond_its_bounds(void **state) {
        static const struct {
                const char *xml, *text;
        } cases[] = {
                { "<Code>a</Code>", "a" },
                { "<Error><Codec>x</Codec><Code></Code>", "" },
                { "<<<Code>a<", "a" },
                { "<Code>a&amp;b</Code>", "a&amp;b" },
                { "<Code>1234567</Code>", "1234567" },
                { "<Code>12345678</Code>", NULL },
                { "<Code>a", NULL },
                { "<Code>", NULL },
                { "<Code", NULL },
                { "<", NULL },
                { "", NULL },
                { "Code>a<", NULL },
        };
        char text[8];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                bool found = fetch_xml_text(cases[i].xml, strlen(cases[i].xml), "Code", text, sizeof(text));

                if (found != !!cases[i].text || (found && strcmp(text, cases[i].text) != 0))
                        fail_msg("%s: %s", cases[i].xml, found ? text : "nothing");
        }
        assert_false(fetch_xml_text("<Code>a<", 5, "Code", text, sizeof(text)));
        assert_false(fetch_xml_text("<Code>a<", 7, "Code", text, sizeof(text)));
        assert_true(fetch_xml_text("<Code>a<", 8, "Code", text, sizeof(text)));
        assert_false(fetch_xml_text("<Code>a\0b</Code>", 16, "Code", text, sizeof(text)));
}

/* source/fetcher, with a server without TLS. source_parse() refuses such a URL. */

typedef struct Got {
        unsigned calls;
        int r;
        size_t size;
        Error error;
} Got;

static void on_fetched(int r, const uint8_t *data, size_t size, const Error *error, void *userdata) {
        Got *got = userdata;

        assert_int_equal(data != NULL, r >= 0);
        if (size == sizeof(ciphertext))
                assert_memory_equal(data, ciphertext, size);
        *got = (Got){ .calls = got->calls + 1, .r = r, .size = size, .error = *error };
}

static Got fetch_from(const Answer *answer, size_t maximum) {
        _cleanup_(server_freep) Server *server = server_start(answer, 1);
        _cleanup_free_ char *url = NULL;
        _cleanup_(http_client_freep) HttpClient *http = NULL;
        _cleanup_(fetcher_freep) Fetcher *fetcher = NULL;
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        Got got = {};

        assert_true(asprintf(&url, "%s/a/../b", server->address) > 0);
        const Source source = { .kind = SOURCE_HTTPS, .location = url, .label = (char *) "https://h/b" };
        const Fetch fetch = { .source = &source, .maximum = maximum };

        assert_int_equal(sd_event_new(&event), 0);
        assert_int_equal(http_client_new(event, &(HttpOptions){}, &http), 0);
        assert_int_equal(fetcher_new(http, &fetcher), 0);
        assert_int_equal(source_fetch(fetcher, &fetch, on_fetched, &got), 0);
        assert_true(run_until(event, &got.calls, 1));
        server_stop(server);
        assert_int_equal(strncmp(server->requests[0], "GET /a/../b HTTP/1.1\r\n", 22), 0);
        return got;
}

static void test_fetch_brings_the_ciphertext(void **state) {
        Got got = fetch_from(&(Answer){ 200, NULL, BASE64 }, 100);

        assert_int_equal(got.r, 0);
        assert_int_equal(got.size, sizeof(ciphertext));
        assert_int_equal(got.error.failure, FAILURE_NONE);
}

static void test_fetch_says_why_there_is_none(void **state) {
        char long_body[70 * 1024];
        Got got = fetch_from(&(Answer){ 302, "Location: https://evil.example/\r\nRetry-After: 7\r\n", "" },
                             100);

        assert_int_equal(got.r, -EREMOTEIO);
        assert_int_equal(got.error.failure, FAILURE_SOURCE);
        assert_int_equal(got.error.retry_after_usec, 7000000);

        got = fetch_from(&(Answer){}, 100);
        assert_int_equal(got.error.failure, FAILURE_NETWORK);
        assert_int_equal(got.error.remedy, REMEDY_RETRY);

        memset(long_body, 'A', sizeof(long_body) - 1);
        long_body[sizeof(long_body) - 1] = '\0';
        got = fetch_from(&(Answer){ 200, NULL, long_body }, 100);
        assert_int_equal(got.r, -EFBIG);
        assert_int_equal(got.error.failure, FAILURE_SOURCE);
        assert_int_equal(got.error.remedy, REMEDY_NONE);
}

static void test_reply_may_have_64_kib_or_twice_the_largest_secret(void **state) {
        char body[80 * 1024 + 2] = "";
        Got got;

        memset(body, 'A', 64 * 1024);
        got = fetch_from(&(Answer){ 200, NULL, body }, 100);
        assert_int_equal(got.r, -EFBIG);
        assert_non_null(strstr(got.error.text, "longer than 100 bytes (SizeMax=)"));
        body[64 * 1024] = 'A';
        got = fetch_from(&(Answer){ 200, NULL, body }, 100);
        assert_int_equal(got.r, -EFBIG);
        assert_string_equal(got.error.text,
                            "https://h/b: The answer is longer than a sealed secret can be.");

        memset(body, 'A', 80 * 1024);
        memcpy(body, "AQIC", 4);
        got = fetch_from(&(Answer){ 200, NULL, body }, 40 * 1024);
        assert_non_null(strstr(got.error.text, "longer than 40960 bytes (SizeMax=)"));
        body[80 * 1024] = 'A';
        got = fetch_from(&(Answer){ 200, NULL, body }, 40 * 1024);
        assert_non_null(strstr(got.error.text, "longer than a sealed secret can be."));
}

static void test_request_id_is_taken_from_either_header(void **state) {
        static const char *const headers[] = { "x-amzn-RequestId: R-1\r\n", "x-amz-request-id: R-1\r\n" };

        for (size_t i = 0; i < ELEMENTSOF(headers); i++) {
                Got got = fetch_from(&(Answer){ 400, headers[i], "" }, 100);

                assert_int_equal(got.r, -EREMOTEIO);
                assert_string_equal(got.error.request_id, "R-1");
        }
}

static void test_freed_fetcher_calls_nobody(void **state) {
        _cleanup_(source_clear) Source first = parsed("https://127.0.0.1/a"),
                                       second = parsed("https://127.0.0.1/b");
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(http_client_freep) HttpClient *http = NULL;
        Fetcher *fetcher;
        Got got = {};

        assert_int_equal(sd_event_new(&event), 0);
        assert_int_equal(http_client_new(event, &(HttpOptions){}, &http), 0);
        assert_int_equal(fetcher_new(http, &fetcher), 0);
        assert_int_equal(source_fetch(fetcher, &(Fetch){ .source = &first, .maximum = 1 }, on_fetched, &got),
                         0);
        assert_int_equal(
                        source_fetch(fetcher, &(Fetch){ .source = &second, .maximum = 1 }, on_fetched, &got),
                        0);
        assert_null(fetcher_free(fetcher));
        while (sd_event_run(event, 10000) > 0)
                ;
        assert_int_equal(got.calls, 0);
        assert_null(fetcher_free(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_https_request_has_the_url_as_written_and_no_signature),
                cmocka_unit_test(test_buckets_are_in_the_host_unless_they_have_dots),
                cmocka_unit_test(test_keys_are_percent_encoded_once),
                cmocka_unit_test(test_parameters_and_secrets_have_their_endpoints),
                cmocka_unit_test(test_requests_for_parameters_and_secrets_have_the_name),
                cmocka_unit_test(test_impossible_requests_are_refused),
                cmocka_unit_test(test_lack_of_memory_starts_no_request),
                cmocka_unit_test(test_bodies_are_ciphertext_raw_or_base64),
                cmocka_unit_test(test_parameter_is_a_string),
                cmocka_unit_test(test_secret_is_a_string_or_binary),
                cmocka_unit_test(test_member_of_a_secret_is_a_string_of_its_json_object),
                cmocka_unit_test(test_answer_that_is_not_json_may_pass),
                cmocka_unit_test(test_errors_mean_what_aws_says_they_do),
                cmocka_unit_test(test_reply_is_judged_for_a_caller_who_wants_no_reasons),
                cmocka_unit_test(test_name_of_the_error_may_be_in_a_header_alone),
                cmocka_unit_test(test_malformed_bucket_region_is_not_quoted),
                cmocka_unit_test(test_xml_is_not_read_beyond_its_bounds),
                cmocka_unit_test(test_fetch_brings_the_ciphertext),
                cmocka_unit_test(test_fetch_says_why_there_is_none),
                cmocka_unit_test(test_reply_may_have_64_kib_or_twice_the_largest_secret),
                cmocka_unit_test(test_request_id_is_taken_from_either_header),
                cmocka_unit_test(test_freed_fetcher_calls_nobody),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
