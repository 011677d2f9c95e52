/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "failing-memory.h"
#include "source/object.h"

#define MIB (UINT64_C(1) << 20)
#define LABEL "s3://bucket/weights"
#define ETAG "\"9bb58f26192e4ba00f01e2e7b136bbd8-4\""

static void test_content_range_is_taken_literally(void **state) {
        static const struct {
                const char *text;
                uint64_t first, last, total;
        } good[] = {
                { "bytes 0-0/1", 0, 0, 1 },
                { "Bytes 5-9/10", 5, 9, 10 },
                { "bytes 1048576-2097151/999999999999999999", MIB, 2 * MIB - 1, 999999999999999999 },
        };
        static const char *const bad[] = {
                "",
                "bytes",
                "bytes ",
                "bytes 0-0",
                "bytes 0-0/",
                "bytes 0-0/*",
                "bytes */10",
                "bytes 0-10/10",
                "bytes 3-2/10",
                "bytes 0-0/0",
                "bytes -1/10",
                "bytes 0-/10",
                "bytes  0-0/1",
                "bytes 0 -0/1",
                "bytes +0-0/1",
                "bytes 0-0/1 ",
                "bytes 0-0/1,bytes 1-1/2",
                "bytes=0-0/1",
                "octets 0-0/1",
                "bytes 0x0-0/1",
                "bytes 0-0/18446744073709551617",
                "bytes 0-0/1000000000000000000",
        };
        uint64_t first, last, total;

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                assert_int_equal(object_parse_range(good[i].text, &first, &last, &total), 0);
                assert_int_equal(first, good[i].first);
                assert_int_equal(last, good[i].last);
                assert_int_equal(total, good[i].total);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (object_parse_range(bad[i], &first, &last, &total) != -EINVAL)
                        fail_msg("'%s' was taken", bad[i]);
}

static void test_only_strong_tags_identify_an_object(void **state) {
        static const char *const strong[] = { "\"\"", "\"a\"", ETAG, "\"W/\"" }, *const weak[] = {
                "",         "\"",      "a",       "W/\"a\"", "w/\"a\"",     "\"a", "a\"",
                "\"a\"b\"", "\"a b\"", "\"a\r\"", "\"a\" ",  "\"a\",\"b\"", "*",   "\"\x80\""
        };
        char long_tag[300];

        for (size_t i = 0; i < ELEMENTSOF(strong); i++)
                if (!object_etag_is_strong(strong[i]))
                        fail_msg("%s is not strong", strong[i]);
        for (size_t i = 0; i < ELEMENTSOF(weak); i++)
                if (object_etag_is_strong(weak[i]))
                        fail_msg("%s is strong", weak[i]);
        memset(long_tag, 'a', sizeof(long_tag));
        long_tag[0] = long_tag[255] = '"';
        long_tag[256] = '\0';
        assert_true(object_etag_is_strong(long_tag));
        long_tag[255] = 'a';
        long_tag[256] = '"';
        long_tag[257] = '\0';
        assert_false(object_etag_is_strong(long_tag));
}

static const ObjectHead first_head = { .status = 206,
                                       .content_range = "bytes 0-1048575/67108864",
                                       .content_length = "1048576",
                                       .content_type = "binary/octet-stream",
                                       .etag = ETAG,
                                       .version_id = "v1" };

static void test_a_first_range_says_what_the_others_must_be(void **state) {
        _cleanup_(object_version_clear) ObjectVersion version = {};
        uint64_t body;

        assert_int_equal(object_read_first(LABEL, &first_head, MIB, &version, &body, NULL), 0);
        assert_int_equal(version.size, 64 * MIB);
        assert_int_equal(body, MIB);
        assert_true(version.ranges);
        assert_string_equal(version.version, "v1");
        assert_string_equal(version.etag, ETAG);
}

/* Without an identity, two parts might be of two objects. */
static void test_ranges_need_a_strong_identity(void **state) {
        static const struct {
                unsigned status;
                const char *etag, *version_id;
                bool ranges;
        } cases[] = {
                { 206, ETAG, "v1", true },         { 206, ETAG, NULL, true },   { 206, NULL, "v1", true },
                { 206, "W/" ETAG, NULL, false },   { 206, NULL, NULL, false },  { 206, NULL, "null", false },
                { 206, "W/" ETAG, "null", false }, { 206, NULL, "a b", false }, { 206, NULL, "", false },
                { 206, ETAG, "null", true },       { 200, ETAG, "v1", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(object_version_clear) ObjectVersion version = {};
                ObjectHead head = first_head;
                uint64_t body;

                head.status = cases[i].status;
                head.etag = cases[i].etag;
                head.version_id = cases[i].version_id;
                assert_int_equal(object_read_first(LABEL, &head, MIB, &version, &body, NULL), 0);
                if (version.ranges != cases[i].ranges)
                        fail_msg("case %zu: ranges %d, wanted %d", i, version.ranges, cases[i].ranges);
                assert_int_equal(body, MIB);
        }
}

static void test_a_whole_object_may_come_in_place_of_the_first_range(void **state) {
        _cleanup_(object_version_clear) ObjectVersion version = {}, chunked = {};
        ObjectHead head = { .status = 200, .content_length = "5000000", .content_encoding = "aws-chunked" };
        uint64_t body;

        assert_int_equal(object_read_first(LABEL, &head, MIB, &version, &body, NULL), 0);
        assert_int_equal(version.size, 5000000);
        assert_int_equal(body, 5000000);
        assert_false(version.ranges);
        head.content_length = NULL;
        assert_int_equal(object_read_first(LABEL, &head, MIB, &chunked, &body, NULL), 0);
        assert_true(chunked.size == OBJECT_SIZE_UNKNOWN && body == OBJECT_SIZE_UNKNOWN);
}

static void test_a_short_object_comes_whole_in_one_range(void **state) {
        _cleanup_(object_version_clear) ObjectVersion version = {};
        const ObjectHead head = { .status = 206, .content_range = "bytes 0-99/100", .etag = ETAG };
        uint64_t body;

        assert_int_equal(object_read_first(LABEL, &head, MIB, &version, &body, NULL), 0);
        assert_int_equal(version.size, 100);
        assert_int_equal(body, 100);
}

typedef struct BadHead {
        const char *name;
        ObjectHead head;
        int r;
        Remedy remedy;
        const char *words;
} BadHead;

static void assert_refused(const BadHead *bad, int r, const Error *error) {
        if (r != bad->r || error->remedy != bad->remedy || !strstr(error->text, bad->words) ||
            strncmp(error->text, LABEL ": ", strlen(LABEL ": ")) != 0)
                fail_msg("%s: %d, remedy %d: %s", bad->name, r, (int) error->remedy, error->text);
}

static void test_what_a_first_reply_must_not_be(void **state) {
        static const BadHead cases[] = {
                { "no range", { .status = 206 }, -EBADMSG, REMEDY_RETRY, "without a Content-Range" },
                { "other unit",
                  { .status = 206, .content_range = "pages 0-1/2" },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "without a Content-Range" },
                { "other bytes",
                  { .status = 206, .content_range = "bytes 1-1048576/67108864" },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "the bytes 1-1048576 in place of the first 1048576" },
                { "begins later",
                  { .status = 206, .content_range = "bytes 1-1048575/67108864" },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "the bytes 1-1048575 in place of the first 1048576" },
                { "too few",
                  { .status = 206, .content_range = "bytes 0-1048574/67108864" },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "in place of" },
                { "too many",
                  { .status = 206, .content_range = "bytes 0-1048576/67108864" },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "in place of" },
                { "other length",
                  { .status = 206,
                    .content_range = "bytes 0-1048575/67108864",
                    .content_length = "1048575" },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "contradicts" },
                { "no number",
                  { .status = 200, .content_length = "12a" },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "malformed" },
                { "several ranges",
                  { .status = 206, .content_type = "multipart/byteranges; boundary=x" },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "several ranges" },
                { "encoded",
                  { .status = 200, .content_length = "9", .content_encoding = "gzip" },
                  -EBADMSG,
                  REMEDY_NONE,
                  "Content-Encoding \"gzip\"" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                ObjectVersion version = {};
                uint64_t body = 0;
                Error error = {};
                int r = object_read_first(LABEL, &cases[i].head, MIB, &version, &body, &error);

                assert_refused(cases + i, r, &error);
                assert_true(!version.version && !version.etag && version.size == 0 && body == 0);
        }
}

static char version_text[] = "v1", etag_text[] = ETAG;
static const ObjectVersion whole = {
        .size = 64 * MIB, .ranges = true, .version = version_text, .etag = etag_text
};

#define RANGE "bytes 1048576-2097151/67108864"
#define SAME .etag = ETAG, .version_id = "v1"

static void test_a_range_must_be_the_one_that_was_asked_for(void **state) {
        static const BadHead cases[] = {
                { "whole",
                  { .status = 200, .content_length = "67108864", SAME },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "whole object in place of a range" },
                { "no range", { .status = 206, SAME }, -EBADMSG, REMEDY_RETRY, "without a Content-Range" },
                { "earlier",
                  { .status = 206, .content_range = "bytes 0-1048575/67108864", SAME },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "the bytes 0-1048575 in place of 1048576-2097151" },
                { "shorter",
                  { .status = 206, .content_range = "bytes 1048576-2097150/67108864", SAME },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "in place of" },
                { "other total",
                  { .status = 206, .content_range = "bytes 1048576-2097151/67108865", SAME },
                  -ESTALE,
                  REMEDY_RETRY,
                  "another length" },
                { "other version",
                  { .status = 206, .content_range = RANGE, .etag = ETAG, .version_id = "v2" },
                  -ESTALE,
                  REMEDY_RETRY,
                  "another version" },
                { "no version",
                  { .status = 206, .content_range = RANGE, .etag = ETAG },
                  -ESTALE,
                  REMEDY_RETRY,
                  "another version" },
                { "other tag",
                  { .status = 206, .content_range = RANGE, .etag = "\"b\"", .version_id = "v1" },
                  -ESTALE,
                  REMEDY_RETRY,
                  "another ETag" },
                { "no tag",
                  { .status = 206, .content_range = RANGE, .version_id = "v1" },
                  -ESTALE,
                  REMEDY_RETRY,
                  "another ETag" },
                { "weak tag",
                  { .status = 206, .content_range = RANGE, .etag = "W/" ETAG, .version_id = "v1" },
                  -ESTALE,
                  REMEDY_RETRY,
                  "another ETag" },
                { "other length",
                  { .status = 206, .content_range = RANGE, .content_length = "1", SAME },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "contradicts" },
                { "several",
                  { .status = 206, .content_type = "multipart/byteranges", SAME },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "several ranges" },
                { "encoded",
                  { .status = 206, .content_range = RANGE, .content_encoding = "br", SAME },
                  -EBADMSG,
                  REMEDY_NONE,
                  "Content-Encoding" },
                { "no number",
                  { .status = 206, .content_range = RANGE, .content_length = "-1", SAME },
                  -EBADMSG,
                  REMEDY_RETRY,
                  "malformed" },
        };
        const ObjectHead good = { .status = 206, .content_range = RANGE, .content_length = "1048576", SAME };

        assert_int_equal(object_check(LABEL, &good, &whole, MIB, 2 * MIB - 1, NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Error error = {};
                int r = object_check(LABEL, &cases[i].head, &whole, MIB, 2 * MIB - 1, &error);

                assert_refused(cases + i, r, &error);
        }
}

/* A server without ranges sends the whole object again. Its length and its tag are compared all the same. */
static void test_a_stream_that_begins_anew_must_be_the_same_object(void **state) {
        const ObjectVersion stream = { .size = 5000000, .etag = etag_text };
        ObjectHead head = { .status = 200, .content_length = "5000000", .etag = ETAG };

        assert_int_equal(object_check(LABEL, &head, &stream, 0, 4999999, NULL), 0);
        head.content_length = "5000001";
        assert_int_equal(object_check(LABEL, &head, &stream, 0, 4999999, NULL), -ESTALE);
        head.content_length = "5000000";
        head.etag = "\"b\"";
        assert_int_equal(object_check(LABEL, &head, &stream, 0, 4999999, NULL), -ESTALE);
        head.etag = NULL;
        assert_int_equal(object_check(LABEL, &head, &stream, 0, 4999999, NULL), -ESTALE);
}

static void test_lack_of_memory_is_said(void **state) {
        if (!memory_can_fail())
                skip();
        for (unsigned i = 0; i < 2; i++) {
                ObjectVersion version = {};
                Error error = {};
                uint64_t body;

                memory_fail_after(i);
                assert_int_equal(object_read_first(LABEL, &first_head, MIB, &version, &body, &error),
                                 -ENOMEM);
                assert_true(memory_has_failed());
                assert_int_equal(error.failure, FAILURE_INTERNAL);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_content_range_is_taken_literally),
                cmocka_unit_test(test_only_strong_tags_identify_an_object),
                cmocka_unit_test(test_a_first_range_says_what_the_others_must_be),
                cmocka_unit_test(test_ranges_need_a_strong_identity),
                cmocka_unit_test(test_a_whole_object_may_come_in_place_of_the_first_range),
                cmocka_unit_test(test_a_short_object_comes_whole_in_one_range),
                cmocka_unit_test(test_what_a_first_reply_must_not_be),
                cmocka_unit_test(test_a_range_must_be_the_one_that_was_asked_for),
                cmocka_unit_test(test_a_stream_that_begins_anew_must_be_the_same_object),
                cmocka_unit_test(test_lack_of_memory_is_said),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
