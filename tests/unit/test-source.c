/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "aws/kms-key.h"
#include "basic/encoding.h"
#include "basic/io.h"
#include "failing-memory.h"
#include "source/source-file.h"
#include "source/source.h"

/* The first bytes of a KMS ciphertext. */
static const uint8_t ciphertext[] = { 0x01, 0x02, 0x02, 0x00, 0x78, 0x41, 0x42, 0x43, 0xff, 0x00 };

static void assert_decoded(const void *data, size_t size, const void *expected, size_t expected_size) {
        _cleanup_free_ uint8_t *raw = NULL;
        size_t raw_size = 0;
        Error error;

        if (source_decode(data, size, &raw, &raw_size, &error) < 0)
                fail_msg("%s", error.text);
        assert_int_equal(raw_size, expected_size);
        assert_memory_equal(raw, expected, raw_size);
}

static void test_raw_ciphertext_is_taken_as_it_is(void **state) {
        static const uint8_t texty[] = "\x01QUJD";

        assert_decoded(ciphertext, sizeof(ciphertext), ciphertext, sizeof(ciphertext));
        assert_decoded(ciphertext, 1, ciphertext, 1);
        assert_decoded(texty, 5, texty, 5);
        assert_decoded("QUJD\x80", 5, "QUJD\x80", 5);
        assert_decoded("QUJD\0", 5, "QUJD\0", 5);
        assert_decoded("\x7f", 1, "\x7f", 1);
}

static void test_base64_is_decoded_however_it_is_wrapped(void **state) {
        static const char *const texts[] = { "AQICAHhBQkP/AA==", "AQICAHhBQkP/AA==\n",
                                             " AQIC\r\nAHhB\r\n\tQkP/\r\nAA==\r\n" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                assert_decoded(texts[i], strlen(texts[i]), ciphertext, sizeof(ciphertext));
}

static void test_text_that_is_not_base64_is_refused(void **state) {
        static const char *const texts[] = { "",
                                             " \n",
                                             "AQICAHhBQkP/AA=",
                                             "AQICAHhBQkP_AA==",
                                             "hello, world",
                                             "QUJD=",
                                             "QUJE!",
                                             "{\"CiphertextBlob\": \"AQICAHhBQkP/AA==\"}" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                uint8_t *raw = NULL;
                size_t size;
                Error error = {};

                if (source_decode((const uint8_t *) texts[i], strlen(texts[i]), &raw, &size, &error) >= 0)
                        fail_msg("<%s> was believed", texts[i]);
                assert_int_equal(error.failure, FAILURE_SOURCE);
                assert_null(raw);
        }
}

static void test_form_that_is_no_ciphertext_is_named(void **state) {
        static const char twice[] =
                        "QVFJQ0FIaUFRVWxCUVVGQlFVRkJRVUZCUVVGQlFVRkJRVUZCUVVGQlFVRkJRVUZCUVVGQlFVRkJRVUZCUVVGQlFVRkI=";
        static const char of_urls[] = "AQICAHhKy_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQ-",
                          encoded[] = "AQICAHhKy%2BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU%3D";
        static const struct {
                const char *data;
                size_t size;
                const char *named;
        } cases[] = {
                { "\xef\xbb\xbf"
                  "QUJD",
                  7, "byte order mark" },
                { "\xff\xfe"
                  "Q\0U\0",
                  6, "UTF-16" },
                { "Q\0U\0J\0D\0", 8, "UTF-16" },
                { "\x1f\x8b\x08\0\0", 5, "compressed" },
                { "0102020078000000000000000000000d", 32, "hexadecimal" },
                { "MIME-Version: 1.0\n", 18, "MIME" },
                { "-----BEGIN CMS-----\n", 20, "PEM" },
                { "{\"CiphertextBlob\": \"QUJD\"}", 26, "--query CiphertextBlob" },
                { twice, sizeof(twice) - 1, "base64 of base64" },
                { of_urls, sizeof(of_urls) - 1, "Put + in place of -, and / in place of _." },
                { of_urls, 63, "Put there what \"unsealctl seal\"" }, /* it may be a word */
                { encoded, sizeof(encoded) - 1, "It has %2B, %2F or %3D" },
                { "a plaintext-by-mistake", 22, "Put there what \"unsealctl seal\"" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t *raw = NULL;
                size_t size;
                Error error = {};

                assert_int_equal(source_decode((const uint8_t *) cases[i].data, cases[i].size, &raw, &size,
                                               &error),
                                 -EBADMSG);
                assert_int_equal(error.failure, FAILURE_SOURCE);
                if (!strstr(error.text, cases[i].named))
                        fail_msg("%s is not named: %s", cases[i].named, error.text);
        }
}

static void test_data_that_begins_like_a_ciphertext_is_raw(void **state) {
        uint8_t data[] = { 0x01, 'Q', 'U', 'J', 'D', 'Q', 'U', 'J' };

        /* The first byte of KMS's format, with text of every length after it. */
        for (unsigned i = 1; i < sizeof(data); i++)
                for (unsigned c = 0; c <= UINT8_MAX; c++) {
                        data[i] = (uint8_t) c;
                        assert_decoded(data, sizeof(data), data, sizeof(data));
                }
}

static void assert_refused(const char *text) {
        Source source = {};
        Error error = {};

        if (source_parse(text, &source, &error) != -EINVAL)
                fail_msg("<%s> was believed", text);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        assert_int_equal(strncmp(error.text, "Expected ", 9), 0);
        assert_null(source.location);
}

static void assert_parsed(const char *text, SourceKind kind, const char *location) {
        Source source = {};
        Error error = {};

        if (source_parse(text, &source, &error) < 0)
                fail_msg("<%s>: %s", text, error.text);
        assert_int_equal(source.kind, kind);
        assert_string_equal(source.location, location);
        source_clear(&source);
        assert_null(source.location);
        assert_null(source.label);
}

static void test_source_is_a_file_with_a_plain_path(void **state) {
        _cleanup_free_ char *longest = malloc(PATH_MAX + 6);
        static const char *const wrong[] = {
                "",
                "/usr/share/x",
                "file:",
                "file:/",
                "file:x",
                "file:///usr/share/x",
                "file:/usr//share",
                "file:/usr/./share",
                "file:/usr/../etc/shadow",
                "file:/usr/share/",
                "file:/usr/.",
                "file:/usr/..",
                "FILE:/usr/share/x",
        };

        assert_parsed("file:/usr/share/billing/db-password.sealed", SOURCE_FILE,
                      "/usr/share/billing/db-password.sealed");
        assert_parsed("file:/a", SOURCE_FILE, "/a");
        assert_parsed("file:/a b=#%41/...", SOURCE_FILE, "/a b=#%41/...");
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_refused(wrong[i]);

        strcpy(longest, "file:");
        memset(longest + 5, 'a', PATH_MAX);
        longest[5] = '/';
        longest[5 + PATH_MAX] = '\0';
        assert_refused(longest);
        longest[5 + PATH_MAX - 1] = '\0';
        assert_parsed(longest, SOURCE_FILE, longest + 5);
}

static void test_source_is_a_credential_by_its_name(void **state) {
        static const char *const wrong[] = { "credential:",    "credential:.",    "credential:..",
                                             "credential:a/b", "credential:/etc", "credential:a:b",
                                             "credential:a b", "credential:\x01", "credential:\xc3\xa4" };

        assert_parsed("credential:db.sealed", SOURCE_CREDENTIAL, "db.sealed");
        assert_parsed("credential:...", SOURCE_CREDENTIAL, "...");
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_refused(wrong[i]);
}

static void test_source_is_the_label_of_a_volume(void **state) {
        static const char *const wrong[] = {
                "volume:",     "volume:.",   "volume:..",    "volume:a/b",
                "volume:/etc", "volume:a b", "volume:a\x01", "volume:\xc3\xa4"
        };
        char longest[80] = "volume:";

        assert_parsed("volume:state", SOURCE_VOLUME, "state");
        assert_parsed("volume:A.b-c_1", SOURCE_VOLUME, "A.b-c_1");
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_refused(wrong[i]);
        memset(longest + 7, 'a', 65);
        assert_refused(longest);
        longest[7 + 64] = '\0';
        assert_parsed(longest, SOURCE_VOLUME, longest + 7);
}

static void test_source_is_user_data_or_a_pointer_into_it(void **state) {
        assert_parsed("user-data:", SOURCE_USER_DATA, "");
        assert_parsed("user-data:/secrets/db", SOURCE_USER_DATA, "/secrets/db");
        assert_parsed("user-data:/a~1b~0c/ d", SOURCE_USER_DATA, "/a~1b~0c/ d");
        assert_refused("user-data:secrets");
        assert_refused("user-data:/a~2");
        assert_refused("user-data");
}

static void test_source_is_an_https_url_and_nothing_near_it(void **state) {
        static const char *const wrong[] = {
                "http://downloads.example.com/x",
                "HTTPS://downloads.example.com/x",
                "https://",
                "https:///x",
                "https://downloads.example.com",
                "https://downloads.example.com?x",
                "https://user@downloads.example.com/x",
                "https://user:password@downloads.example.com/x",
                "https://a@b/x",
                "https://downloads.example.com/x#y",
                "https://downloads.example.com/a b",
                "https://downloads.example.com/\xc3\xa4",
                "https://downloads.example.com/\"",
                "https://downloads.example.com\\@evil.example/",
                "https://downloads.example.com:/x",
                "https://downloads.example.com:0/x",
                "https://downloads.example.com:65536/x",
                "https://downloads.example.com:123456/x",
                "https://downloads.example.com:44x/x",
                "https://downloads.example.com:443?/x",
                "https://.example.com/x",
                "https://a..example.com/x",
                "https://-a/x",
                "https://[::1]/x",
                "https://a_b/x",
                "https://_b/x",
        };

        assert_parsed("https://downloads.example.com/x", SOURCE_HTTPS, "https://downloads.example.com/x");
        assert_parsed("https://Downloads.example.com:8443/a%20b/../c?d=e&f=%2F", SOURCE_HTTPS,
                      "https://Downloads.example.com:8443/a%20b/../c?d=e&f=%2F");
        assert_parsed("https://192.0.2.1/", SOURCE_HTTPS, "https://192.0.2.1/");
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_refused(wrong[i]);
}

/* A source of prefix, length times fill, and suffix is parsed; the one that is longer by one is refused. */
static void assert_longest(const char *prefix, char fill, size_t length, const char *suffix) {
        _cleanup_free_ char *middle = calloc(1, length + 2), *text = NULL, *longer = NULL;
        Source source = {};

        memset(middle, fill, length);
        assert_true(asprintf(&text, "%s%s%s", prefix, middle, suffix) > 0);
        middle[length] = fill;
        assert_true(asprintf(&longer, "%s%s%s", prefix, middle, suffix) > 0);
        if (source_parse(text, &source, NULL) < 0)
                fail_msg("%s with %zu '%c' was refused", prefix, length, fill);
        source_clear(&source);
        assert_refused(longer);
}

static void test_every_part_of_a_source_has_its_largest_length(void **state) {
        assert_longest("credential:", '~', 255, "");
        assert_longest("credential:", '!', 255, "");
        assert_longest("https://h/", 'p', 2048 - strlen("h/"), "");
        assert_longest("https://", 'h', 253, "/");
        assert_longest("s3://", 'b', 63, "/key");
        assert_longest("s3://bucket/key?versionId=", 'v', 1024, "");
        assert_longest("ssm:", 'p', 2048, "");
        assert_longest("ssm:arn:aws:ssm:eu-north-1:111111111111:parameter/", 'p',
                       2048 - strlen("arn:aws:ssm:eu-north-1:111111111111:parameter/"), "");
        assert_longest("secretsmanager:arn:aws:secretsmanager:eu-north-1:111111111111:secret:", 's',
                       2048 - strlen("arn:aws:secretsmanager:eu-north-1:111111111111:secret:"), "");
}

static void test_limits_within_a_source_are_exact(void **state) {
        static const char *const good[] = { "https://h:65535/",  "https://h:1/",        "https://a/!~",
                                            "s3://abc/key",      "s3://1.2.3/key",      "s3://1.2.3.4.5/key",
                                            "s3://1.2.3.4a/key", "s3://bucket/ !~\x80", "s3://zaz/k" },
                                 *const wrong[] = { "https://h:65536/", "https://h:099/",
                                                    "https://h:/",      "s3://bucket/\x1f",
                                                    "s3://1.2.3.4/key", "s3://bucket/key?versionId=\x1f",
                                                    "credential:\x7f",  "https://h/\x7f",
                                                    "ssm:db:",          "ssm:db::" };
        Error error = {};

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                Source source = {};

                if (source_parse(good[i], &source, &error) < 0)
                        fail_msg("%s", error.text);
                source_clear(&source);
        }
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_refused(wrong[i]);
}

static void test_refusal_says_what_was_expected_in_place_of_what(void **state) {
        static const struct {
                const char *text, *expected, *other;
        } cases[] = {
                { "file:x", "Expected an absolute path without" },
                { "credential:", "Expected the name of a credential" },
                { "user-data:x", "Expected nothing or a JSON pointer" },
                { "https://", "Expected https://HOST[:PORT]/PATH" },
                { "s3://bucket/", "Expected s3://BUCKET/KEY or" },
                { "s3://Bucket/k", "Expected s3://BUCKET/KEY or" },
                { "s3://a--x-s3/k", "a directory bucket" },
                { "s3://a--table-s3/k", "a table bucket" },
                { "s3://a.mrap/k", "a Multi-Region Access Point" },
                { "ssm:", "Expected the name or ARN of a parameter" },
                { "ssm:arn:aws:ssm:eu-north-1:1:parameter/db", "Expected the name or ARN of a parameter" },
                { "s3://--x-s3/k", "a directory bucket" },
                { "secretsmanager:", "Expected the name or ARN of a secret" },
                { "secretsmanager::b", "Expected the name or ARN of a secret", "without a JSON key" },
                { "secretsmanager:a:b", "without a JSON key, a stage or a version" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Source source = {};
                Error error = {};

                assert_int_equal(source_parse(cases[i].text, &source, &error), -EINVAL);
                if (!strstr(error.text, cases[i].expected) || !strstr(error.text, cases[i].text))
                        fail_msg("<%s>: saw \"%s\", wanted \"%s\"", cases[i].text, error.text,
                                 cases[i].expected);
                if (cases[i].other && strstr(error.text, cases[i].other))
                        fail_msg("<%s>: saw \"%s\" with \"%s\"", cases[i].text, error.text, cases[i].other);
        }
}

static void test_query_of_a_url_is_not_shown(void **state) {
        Source source = {};

        assert_int_equal(source_parse("https://h/x?X-Amz-Signature=secret", &source, NULL), 0);
        assert_string_equal(source.label, "https://h/x");
        source_clear(&source);
        assert_int_equal(source_parse("s3://bucket/a?b", &source, NULL), 0);
        assert_string_equal(source.label, "s3://bucket/a?b");
        source_clear(&source);
}

static void assert_object(const char *text, const char *bucket, const char *key, const char *version) {
        Source source = {};
        Error error = {};

        if (source_parse(text, &source, &error) < 0)
                fail_msg("<%s>: %s", text, error.text);
        assert_int_equal(source.kind, SOURCE_S3);
        assert_string_equal(source.bucket, bucket);
        assert_string_equal(source.location, key);
        if (version)
                assert_string_equal(source.version, version);
        else
                assert_null(source.version);
        source_clear(&source);
}

static void test_source_is_an_object_whose_key_is_literal(void **state) {
        static const char *const wrong[] = {
                "s3://",
                "s3://bucket",
                "s3://bucket/",
                "s3:///key",
                "s3://ab/key",
                "s3://Bucket/key",
                "s3://under_score/key",
                "s3://-bucket/key",
                "s3://bucket-/key",
                "s3://.bucket/key",
                "s3://bucket./key",
                "s3://buc..ket/key",
                "s3://192.0.2.1/key",
                "s3://sealed--eun1-az1--x-s3/key",
                "s3://sealed--table-s3/key",
                "s3://mfzwi23gnjvgw.mrap/key",
                "s3://bucket@evil/key",
                "s3://bucket?x/key",
                "s3://bucket/?versionId=v",
                "s3://bucket/key?versionId=",
                "s3://bucket/key?versionId=a b",
                "s3://bucket/a\tb",
                "s3://bucket/a\x7f",
                "s3://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/key",
        };
        char key[1100] = "s3://bucket/";

        assert_object("s3://bucket/key", "bucket", "key", NULL);
        assert_object("s3://a.b-c.1/d/e", "a.b-c.1", "d/e", NULL);
        assert_object("s3://bucket/a b+c%41/\xc3\xa4?x=#", "bucket", "a b+c%41/\xc3\xa4?x=#", NULL);
        assert_object("s3://bucket//a//../b", "bucket", "/a//../b", NULL);
        assert_object("s3://bucket/key?versionId=3/L4kqtJl-_.xyz", "bucket", "key", "3/L4kqtJl-_.xyz");
        assert_object("s3://bucket/a?versionId=b?versionId=c", "bucket", "a?versionId=b", "c");
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_refused(wrong[i]);

        memset(key + strlen(key), 'k', 1025);
        assert_refused(key);
        key[strlen("s3://bucket/") + 1024] = '\0';
        assert_object(key, "bucket", key + strlen("s3://bucket/"), NULL);
}

static void test_source_is_a_parameter_or_a_secret(void **state) {
        assert_parsed("ssm:/billing/db:3", SOURCE_SSM, "/billing/db:3");
        assert_parsed("secretsmanager:billing/db", SOURCE_SECRETS_MANAGER, "billing/db");
        static const char *const good[] = {
                "ssm:db",
                "ssm:/billing/db:current",
                "ssm:arn:aws-cn:ssm:cn-north-1:111111111111:parameter/billing/db",
                "ssm:arn:aws:ssm:eu-north-1:111111111111:parameter/billing/db:3",
                "secretsmanager:a/b_c+d=e.f@g-h",
                "secretsmanager:arn:aws:secretsmanager:eu-north-1:111111111111:secret:prod/db-AbCdEf",
                "secretsmanager:arn:aws-us-gov:secretsmanager:us-gov-west-1:111111111111:secret:db",
        };
        static const char *const wrong[] = {
                "ssm:",
                "ssm:a b",
                "ssm::3",
                "ssm:db:",
                "ssm:db:3:4",
                "ssm:arn:aws:ssm:eu-north-1:111111111111:parameter",
                "ssm:arn:aws:ssm:eu-north-1:111111111111:document/db",
                "ssm:arn:aws:ssm::111111111111:parameter/db",
                "ssm:arn:aws:ssm:eu-north-1:1111:parameter/db",
                "ssm:arn:aws:secretsmanager:eu-north-1:111111111111:secret:db-AbCdEf",
                "secretsmanager:",
                "secretsmanager:\xc3\xa4",
                "secretsmanager:#db",
                "secretsmanager:a#",
                "secretsmanager:a# b",
                "secretsmanager:a#\x7f",
                "secretsmanager:a:b#c",
                "ssm:a#b",
                "secretsmanager:db:password::",
                "secretsmanager:arn:aws:secretsmanager:eu-north-1:111111111111:secret:db-AbCdEf:password::",
                "secretsmanager:arn:aws:secretsmanager:eu-north-1:111111111111:secret:db-AbCdEf::AWSCURRENT:",
                "secretsmanager:arn:aws:secretsmanager:eu-north-1:111111111111:secret:",
                "secretsmanager:arn:aws:ssm:eu-north-1:111111111111:parameter/db",
                "secretsmanager:arn:aws:secretsmanager:eu-north-1:secret:db",
        };
        char name[600] = "secretsmanager:";
        Source source;

        assert_int_equal(source_parse("secretsmanager:billing/db#the key#2", &source, NULL), 0);
        assert_string_equal(source.location, "billing/db");
        assert_string_equal(source.member, "the key#2");
        assert_string_equal(source.label, "secretsmanager:billing/db#the key#2");
        source_clear(&source);

        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                assert_parsed(good[i], good[i][1] == 's' ? SOURCE_SSM : SOURCE_SECRETS_MANAGER,
                              strchr(good[i], ':') + 1);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_refused(wrong[i]);

        memset(name + strlen(name), 'n', 513);
        assert_refused(name);
        name[strlen("secretsmanager:") + 512] = '\0';
        assert_parsed(name, SOURCE_SECRETS_MANAGER, name + strlen("secretsmanager:"));
}

static void test_region_is_taken_from_an_arn(void **state) {
        static const struct {
                const char *text, *region;
        } cases[] = {
                { "secretsmanager:arn:aws:secretsmanager:eu-west-1:111111111111:secret:db-AbCdEf",
                  "eu-west-1" },
                { "ssm:arn:aws:ssm:us-east-1:111111111111:parameter/db", "us-east-1" },
                { "ssm:/billing/db", NULL },
                { "s3://bucket/arn:aws:s3:eu-west-1:x", NULL },
                { "user-data:", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Source source = {};
                char region[32];

                assert_int_equal(source_parse(cases[i].text, &source, NULL), 0);
                if (source_region(&source, region, sizeof(region)) != !!cases[i].region)
                        fail_msg("%s", cases[i].text);
                if (cases[i].region) {
                        assert_string_equal(region, cases[i].region);
                        assert_true(source_region(&source, region, strlen(cases[i].region) + 1));
                        assert_false(source_region(&source, region, strlen(cases[i].region)));
                }
                source_clear(&source);
        }
}

static void test_error_says_what_each_kind_expects(void **state) {
        static const struct {
                SourceKind kind;
                bool remote, signature;
        } needs[] = {
                { SOURCE_FILE, false, false },
                { SOURCE_CREDENTIAL, false, false },
                { SOURCE_USER_DATA, false, false },
                { SOURCE_HTTPS, true, false },
                { SOURCE_S3, true, true },
                { SOURCE_SSM, true, true },
                { SOURCE_SECRETS_MANAGER, true, true },
                { SOURCE_VOLUME, false, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(needs); i++) {
                const Source source = { .kind = needs[i].kind };

                assert_int_equal(source_is_remote(&source), needs[i].remote);
                assert_int_equal(source_is_signed(&source), needs[i].signature);
        }
}

static void test_region_is_taken_from_nothing_that_is_no_whole_arn(void **state) {
        static const char *const locations[] = {
                "arn:",           "arn:aws",          "arn:aws:ssm", "arn:aws:ssm:eu-west-1",
                "arn:aws:ssm::1", "arn:aws:ssm:EU:1",
        };
        char region[32];

        for (size_t i = 0; i < ELEMENTSOF(locations); i++) {
                const Source source = { .kind = SOURCE_SSM, .location = (char *) locations[i] };

                if (source_region(&source, region, sizeof(region)))
                        fail_msg("%s has the Region %s", locations[i], region);
        }
}

/* Twice the maximum, as base64 has line breaks. Past the half of all numbers there is no double. */
static void test_carrier_may_be_twice_as_long_as_the_secret(void **state) {
        static const uint8_t bytes[21];
        const Source source = { .label = (char *) "x" };
        uint8_t *raw = NULL;
        Error error = {};
        size_t size;

        assert_int_equal(source_carrier_max(0), 0);
        assert_int_equal(source_carrier_max(6144), 12288);
        assert_true(source_carrier_max(SIZE_MAX / 2 - 1) == SIZE_MAX - 3);
        assert_true(source_carrier_max(SIZE_MAX / 2) == SIZE_MAX / 2);
        assert_true(source_carrier_max(SIZE_MAX) == SIZE_MAX);

        assert_int_equal(source_take(&source, "AQICAHhBQkP/AA==    ", 20, 10, &raw, &size, &error), 0);
        assert_int_equal(size, sizeof(ciphertext));
        assert_memory_equal(raw, ciphertext, size);
        free(raw);
        raw = NULL;
        assert_int_equal(source_take(&source, bytes, 21, 10, &raw, &size, &error), -EFBIG);
        assert_string_equal(
                        error.text,
                        "x: The sealed secret is longer than 10 bytes (SizeMax=). Raise SizeMax= (for a bundle at most 1M), or seal less.");
        assert_int_equal(source_take(&source, bytes, 11, 10, &raw, &size, &error), -EFBIG);
        assert_null(raw);
        assert_int_equal(source_too_long(&source, 6144, &error), -EFBIG);
        assert_non_null(strstr(error.text, "KMS makes none that is longer."));
        assert_non_null(strstr(error.text, "set Format=message."));
}

/* Shorter text may be a ciphertext's beginning by chance. */
static void test_text_in_base64_is_refused_from_64_bytes_on(void **state) {
        char text[64];

        memset(text, 'x', sizeof(text));
        text[0] = ' ';
        for (size_t size = 62; size <= sizeof(text); size++) {
                _cleanup_free_ char *base64 = NULL;
                _cleanup_free_ uint8_t *raw = NULL;
                Error error = {};
                size_t raw_size;

                assert_int_equal(base64_encode((const uint8_t *) text, size, &base64), 0);
                assert_int_equal(source_decode((const uint8_t *) base64, strlen(base64), &raw, &raw_size,
                                               &error),
                                 size < 64 ? 0 : -EBADMSG);
        }
}

static const char *text_to_parse;

static int parse_text(void) {
        Source source = {};
        Error error = {};
        int r;

        r = source_parse(text_to_parse, &source, &error);
        if (r < 0 && (error.failure != FAILURE_INTERNAL || source.location || source.label))
                return -EPROTO;
        source_clear(&source);
        return r;
}

static int decode_raw(void) {
        _cleanup_free_ uint8_t *raw = NULL;
        size_t size;

        return source_decode(ciphertext, sizeof(ciphertext), &raw, &size, NULL);
}

static int take_base64(void) {
        const Source source = { .label = (char *) "x" };
        _cleanup_free_ uint8_t *raw = NULL;
        Error error = {};
        size_t size;
        int r;

        r = source_take(&source, "AQICAHhBQkP/AA==", 16, 100, &raw, &size, &error);
        if (r < 0)
                return error.failure == FAILURE_INTERNAL ? r : -EPROTO;
        /* The form is found out first. Without memory for that it is taken for base64, and decoded all the same. */
        return memory.failed && size == sizeof(ciphertext) ? -ENOMEM : r;
}

static void test_lack_of_memory_is_no_mistake_in_a_source(void **state) {
        static const char *const texts[] = { "file:/a", "credential:a",  "user-data:/a",
                                             "ssm:a",   "https://h/a?b", "s3://bucket/key?versionId=v" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                text_to_parse = texts[i];
                assert_allocations_are_checked(parse_text);
        }
        assert_allocations_are_checked(decode_raw);
        assert_allocations_are_checked(take_base64);
}

static void test_error_for_an_unknown_scheme_lists_all_schemes(void **state) {
        Source source = {};
        Error error = {};

        assert_int_equal(source_parse("ftp://x/y", &source, &error), -EINVAL);
        assert_non_null(strstr(error.text, "Expected file:/absolute/path"));
        assert_non_null(strstr(error.text, "s3://bucket/key"));
        assert_non_null(strstr(error.text, "not \"ftp://x/y\"."));
}

static void test_error_for_an_arn_says_how_to_write_it(void **state) {
        static const struct {
                const char *text, *cure;
        } cases[] = {
                { "arn:aws:secretsmanager:eu-north-1:111111111111:secret:db-AbCdEf",
                  "Write secretsmanager: in front" },
                { "arn:aws:ssm:eu-north-1:111111111111:parameter/db", "Write ssm: in front" },
                { "arn:aws:s3:::bucket/db.sealed", "Write s3:// and what follows" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Source source = {};
                Error error = {};

                assert_int_equal(source_parse(cases[i].text, &source, &error), -EINVAL);
                if (!strstr(error.text, cases[i].cure))
                        fail_msg("%s: %s", cases[i].text, error.text);
        }
}

static void assert_user_data(const char *pointer, const char *data, size_t maximum, int wanted) {
        const Source source = { .kind = SOURCE_USER_DATA,
                                .location = (char *) pointer,
                                .label = (char *) "user-data:" };
        _cleanup_free_ uint8_t *raw = NULL;
        size_t size;
        Error error = {};
        int r;

        r = source_take_user_data(&source, data, strlen(data), maximum, &raw, &size, &error);
        if (r != wanted)
                fail_msg("<%s> of <%s>: saw %d, wanted %d", pointer, data, r, wanted);
        if (r < 0) {
                assert_int_equal(error.failure, FAILURE_SOURCE);
                assert_int_equal(error.remedy, REMEDY_NONE);
                return;
        }
        assert_int_equal(size, sizeof(ciphertext));
        assert_memory_equal(raw, ciphertext, size);
}

static void test_user_data_is_used_whole_or_by_pointer(void **state) {
        static const char json[] = "{\"secrets\": {\"db\": \"AQICAHhBQkP/AA==\", \"n\": 1, \"bad\": \"x\"}}";

        assert_user_data("", "AQICAHhBQkP/AA==\n", 100, 0);
        assert_user_data("/secrets/db", json, 100, 0);
        assert_user_data("/secrets/db", json, sizeof(ciphertext) - 1, -EFBIG);
        assert_user_data("", json, 100, -EBADMSG);
        assert_user_data("/secrets/none", json, 100, -ENOENT);
        assert_user_data("/secrets/n", json, 100, -ENOENT);
        assert_user_data("/secrets", json, 100, -ENOENT);
        assert_user_data("/secrets/bad", json, 100, -EBADMSG);
        assert_user_data("/secrets/db", "#!/bin/sh\n", 100, -EBADMSG);
        assert_user_data("/secrets/db", "{\"secrets\": {\"db\": \"QQ==\", \"db\": \"QQ==\"}}", 100,
                         -EBADMSG);
}

#define FILE_NAME "x.sealed"

static int read_source(size_t maximum, const char *expected_text) {
        Source source = { .location = (char *) FILE_NAME, .label = (char *) FILE_NAME };
        _cleanup_free_ uint8_t *raw = NULL;
        size_t size;
        Error error = {};
        int r;

        r = source_read_file(&source, maximum, &raw, &size, &error);
        if (r >= 0) {
                assert_int_equal(size, sizeof(ciphertext));
                assert_memory_equal(raw, ciphertext, size);
                return r;
        }
        assert_int_equal(error.failure, FAILURE_SOURCE);
        assert_int_equal(error.remedy, REMEDY_NONE);
        if (!strstr(error.text, FILE_NAME) || !strstr(error.text, expected_text))
                fail_msg("saw \"%s\", wanted \"%s\" in it", error.text, expected_text);
        return r;
}

static int make_directory(void **state) {
        char *path = strdup("/tmp/test-source-XXXXXX");

        assert_non_null(path);
        assert_non_null(mkdtemp(path));
        assert_int_equal(chdir(path), 0);
        *state = path;
        return 0;
}

static int remove_directory(void **state) {
        (void) unlink(FILE_NAME);
        (void) rmdir(FILE_NAME);
        assert_int_equal(chdir("/"), 0);
        assert_int_equal(rmdir(*state), 0);
        free(*state);
        return 0;
}

static void test_file_is_read_raw_or_base64_up_to_the_maximum(void **state) {
        static const char text[] = "AQICAHhB\nQkP/AA==\n", blank[] = "\n\n";

        assert_int_equal(write_file_atomic(FILE_NAME, ciphertext, sizeof(ciphertext), 0644), 0);
        assert_int_equal(read_source(sizeof(ciphertext), ""), 0);
        assert_int_equal(read_source(SIZE_MAX, ""), 0);
        assert_int_equal(read_source(sizeof(ciphertext) - 1, "longer than 9 bytes"), -EFBIG);
        assert_int_equal(read_source(4, "longer than 4 bytes"), -EFBIG);

        assert_int_equal(write_file_atomic(FILE_NAME, text, strlen(text), 0644), 0);
        assert_int_equal(read_source(sizeof(ciphertext), ""), 0);
        assert_int_equal(read_source(sizeof(ciphertext) - 1, "longer than 9 bytes"), -EFBIG);

        assert_int_equal(write_file_atomic(FILE_NAME, blank, strlen(blank), 0644), 0);
        assert_int_equal(read_source(100, "is empty"), -ENODATA);
        assert_int_equal(write_file_atomic(FILE_NAME, "hello", 5, 0644), 0);
        assert_int_equal(read_source(100, "not base64"), -EBADMSG);
}

static void test_credential_is_read_from_the_service_managers_directory(void **state) {
        Source source = { .kind = SOURCE_CREDENTIAL, .location = (char *) FILE_NAME, .label = (char *) "c" };
        _cleanup_free_ uint8_t *raw = NULL;
        size_t size;
        Error error = {};

        assert_int_equal(write_file_atomic(FILE_NAME, ciphertext, sizeof(ciphertext), 0644), 0);
        assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
        assert_int_equal(source_read_file(&source, 100, &raw, &size, &error), -ENOENT);
        assert_int_equal(error.failure, FAILURE_SOURCE);
        assert_non_null(strstr(error.text, "LoadCredential="));
        assert_int_equal(setenv("CREDENTIALS_DIRECTORY", *state, 1), 0);
        assert_int_equal(chdir("/"), 0);
        assert_int_equal(source_read_file(&source, 100, &raw, &size, &error), 0);
        assert_int_equal(size, sizeof(ciphertext));
        assert_int_equal(chdir(*state), 0);
}

static int remove_labels(void **state) {
        (void) unlink("labels/state");
        (void) rmdir("labels/state");
        (void) rmdir("labels");
        (void) unlink("sealed/state");
        (void) rmdir("sealed");
        return remove_directory(state);
}

static void test_label_that_is_not_there_yet_may_come(void **state) {
        const Source source = { .kind = SOURCE_VOLUME, .location = (char *) "state", .label = (char *) "v" };
        const SourceLabelPlaces places = { .labels = "labels", .sealed = "sealed" };
        _cleanup_free_ uint8_t *raw = NULL, *again = NULL;
        Error error = {};
        size_t size = 0;

        assert_true(source_read_label(&source, &places, &raw, &size, &error) < 0);
        assert_int_equal(error.failure, FAILURE_UNAVAILABLE);
        assert_int_equal(error.remedy, REMEDY_RETRY);
        assert_non_null(strstr(error.text, "unseald-volume-label@state.service"));
        assert_int_equal(mkdir("labels", 0755), 0);
        assert_int_equal(write_file_atomic("labels/state", "", 0, 0644), 0);
        assert_int_equal(source_read_label(&source, &places, &raw, &size, &error), 1);
        assert_int_equal(write_file_atomic("labels/state", ciphertext, sizeof(ciphertext), 0644), 0);
        assert_int_equal(source_read_label(&source, &places, &raw, &size, &error), 0);
        assert_int_equal(size, sizeof(ciphertext));
        assert_memory_equal(raw, ciphertext, size);
        /* What this boot has used comes first. */
        assert_int_equal(source_write_sealed(&source, "sealed", (const uint8_t *) "own", 3, &error), 0);
        assert_int_equal(source_read_label(&source, &places, &again, &size, &error), 0);
        assert_int_equal(size, 3);
        assert_memory_equal(again, "own", 3);
}

static void test_label_is_read_from_a_file_of_the_right_size(void **state) {
        const Source source = { .kind = SOURCE_VOLUME, .location = (char *) "state", .label = (char *) "v" };
        const SourceLabelPlaces places = { .labels = "labels" };
        static char much[KMS_CIPHERTEXT_MAX + 1];
        uint8_t *raw = NULL;
        Error error = {};
        size_t size;

        assert_int_equal(mkdir("labels", 0755), 0);
        assert_int_equal(write_file_atomic("labels/state", much, sizeof(much), 0644), 0);
        assert_true(source_read_label(&source, &places, &raw, &size, &error) < 0);
        assert_int_equal(error.failure, FAILURE_SOURCE);
        assert_int_equal(unlink("labels/state"), 0);
        assert_int_equal(mkdir("labels/state", 0755), 0);
        assert_true(source_read_label(&source, &places, &raw, &size, &error) < 0);
        assert_int_equal(error.failure, FAILURE_SOURCE);
}

static void test_ciphertext_of_a_volume_can_be_read_by_all(void **state) {
        const Source source = { .kind = SOURCE_VOLUME, .location = (char *) "state", .label = (char *) "v" };
        const mode_t before = umask(0077);
        struct stat directory, file;
        Error error = {};

        assert_int_equal(source_write_sealed(&source, "sealed", ciphertext, sizeof(ciphertext), &error), 0);
        (void) umask(before);
        assert_int_equal(stat("sealed", &directory), 0);
        assert_int_equal(stat("sealed/state", &file), 0);
        assert_int_equal(directory.st_mode & 07777, 0755);
        assert_int_equal(file.st_mode & 07777, 0644);
        assert_int_equal(source_write_sealed(&source, "no/such", ciphertext, sizeof(ciphertext), &error),
                         -ENOENT);
        assert_int_equal(error.failure, FAILURE_STORE);
}

static void test_lack_of_memory_is_no_mistake_in_a_file(void **state) {
        Source source = { .location = (char *) FILE_NAME, .label = (char *) FILE_NAME };
        uint8_t *raw = NULL;
        Error error = {};
        size_t size;
        int r;

        if (!memory_can_fail())
                skip();
        assert_int_equal(write_file_atomic(FILE_NAME, "QQ==", 4, 0644), 0);
        memory_fail_after(0);
        r = source_read_file(&source, 100, &raw, &size, &error);
        assert_true(memory_has_failed());
        assert_int_equal(r, -ENOMEM);
        assert_int_equal(error.failure, FAILURE_INTERNAL);
        assert_null(raw);
}

static void test_error_names_a_file_that_cannot_be_read(void **state) {
        assert_int_equal(read_source(100, "cannot be read: No such file or directory."), -ENOENT);
        assert_int_equal(mkdir(FILE_NAME, 0755), 0);
        assert_int_equal(read_source(100, "cannot be read: Is a directory."), -EISDIR);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_raw_ciphertext_is_taken_as_it_is),
                cmocka_unit_test(test_base64_is_decoded_however_it_is_wrapped),
                cmocka_unit_test(test_text_that_is_not_base64_is_refused),
                cmocka_unit_test(test_form_that_is_no_ciphertext_is_named),
                cmocka_unit_test(test_data_that_begins_like_a_ciphertext_is_raw),
                cmocka_unit_test(test_source_is_a_file_with_a_plain_path),
                cmocka_unit_test(test_source_is_a_credential_by_its_name),
                cmocka_unit_test(test_source_is_the_label_of_a_volume),
                cmocka_unit_test(test_source_is_user_data_or_a_pointer_into_it),
                cmocka_unit_test(test_source_is_an_https_url_and_nothing_near_it),
                cmocka_unit_test(test_every_part_of_a_source_has_its_largest_length),
                cmocka_unit_test(test_limits_within_a_source_are_exact),
                cmocka_unit_test(test_refusal_says_what_was_expected_in_place_of_what),
                cmocka_unit_test(test_region_is_taken_from_nothing_that_is_no_whole_arn),
                cmocka_unit_test(test_carrier_may_be_twice_as_long_as_the_secret),
                cmocka_unit_test(test_text_in_base64_is_refused_from_64_bytes_on),
                cmocka_unit_test(test_lack_of_memory_is_no_mistake_in_a_source),
                cmocka_unit_test(test_query_of_a_url_is_not_shown),
                cmocka_unit_test(test_source_is_an_object_whose_key_is_literal),
                cmocka_unit_test(test_source_is_a_parameter_or_a_secret),
                cmocka_unit_test(test_region_is_taken_from_an_arn),
                cmocka_unit_test(test_error_says_what_each_kind_expects),
                cmocka_unit_test(test_error_for_an_unknown_scheme_lists_all_schemes),
                cmocka_unit_test(test_error_for_an_arn_says_how_to_write_it),
                cmocka_unit_test(test_user_data_is_used_whole_or_by_pointer),
                cmocka_unit_test_setup_teardown(test_label_that_is_not_there_yet_may_come, make_directory,
                                                remove_labels),
                cmocka_unit_test_setup_teardown(test_label_is_read_from_a_file_of_the_right_size,
                                                make_directory, remove_labels),
                cmocka_unit_test_setup_teardown(test_ciphertext_of_a_volume_can_be_read_by_all,
                                                make_directory, remove_labels),
                cmocka_unit_test_setup_teardown(test_credential_is_read_from_the_service_managers_directory,
                                                make_directory, remove_directory),
                cmocka_unit_test_setup_teardown(test_file_is_read_raw_or_base64_up_to_the_maximum,
                                                make_directory, remove_directory),
                cmocka_unit_test_setup_teardown(test_lack_of_memory_is_no_mistake_in_a_file, make_directory,
                                                remove_directory),
                cmocka_unit_test_setup_teardown(test_error_names_a_file_that_cannot_be_read, make_directory,
                                                remove_directory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
