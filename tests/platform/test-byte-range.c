/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "basic/cleanup.h"
#include "byte_range.h"

static void test_a_range_is_what_s3_sends_for_it(void **state) {
        static const struct {
                const char *header;
                uint64_t size;
                ByteRangeKind kind;
                uint64_t first, last;
        } cases[] = {
                { NULL, 10, BYTE_RANGE_WHOLE, 0, 0 },
                { "bytes=0-0", 10, BYTE_RANGE_PART, 0, 0 },
                { "bytes=3-5", 10, BYTE_RANGE_PART, 3, 5 },
                { "Bytes=3-", 10, BYTE_RANGE_PART, 3, 9 },
                { "bytes=3-99999999999999999999", 10, BYTE_RANGE_PART, 3, 9 },
                { "bytes=9-9", 10, BYTE_RANGE_PART, 9, 9 },
                { "bytes=-3", 10, BYTE_RANGE_PART, 7, 9 },
                { "bytes=-30", 10, BYTE_RANGE_PART, 0, 9 },
                { "bytes=10-", 10, BYTE_RANGE_NOT_SATISFIABLE, 0, 0 },
                { "bytes=-0", 10, BYTE_RANGE_NOT_SATISFIABLE, 0, 0 },
                { "bytes=0-", 0, BYTE_RANGE_NOT_SATISFIABLE, 0, 0 },
                { "bytes=-1", 0, BYTE_RANGE_NOT_SATISFIABLE, 0, 0 },
                { "bytes=0-1,4-5", 10, BYTE_RANGE_WHOLE, 0, 0 },
                { "bytes=5-3", 10, BYTE_RANGE_WHOLE, 0, 0 },
                { "bytes=a-b", 10, BYTE_RANGE_WHOLE, 0, 0 },
                { "bytes=", 10, BYTE_RANGE_WHOLE, 0, 0 },
                { "bytes=-", 10, BYTE_RANGE_WHOLE, 0, 0 },
                { "items=0-1", 10, BYTE_RANGE_WHOLE, 0, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint64_t first = 0, last = 0;
                ByteRangeKind kind = byte_range_read(cases[i].header, cases[i].size, &first, &last);

                if (kind != cases[i].kind || first != cases[i].first || last != cases[i].last)
                        fail_msg("%s: kind %d, %d-%d", cases[i].header ? cases[i].header : "none",
                                 (int) kind, (int) first, (int) last);
        }
}

static void test_only_the_same_strong_tag_matches(void **state) {
        assert_true(byte_range_matches(NULL, "\"a\""));
        assert_true(byte_range_matches("*", "\"a\""));
        assert_true(byte_range_matches("\"a\"", "\"a\""));
        assert_true(byte_range_matches("\"b\", \"a\"", "\"a\""));
        assert_false(byte_range_matches("\"ab\"", "\"a\""));
        assert_false(byte_range_matches("\"a\"b", "\"a\""));
        assert_false(byte_range_matches("W/\"a\"", "W/\"a\""));
        assert_false(byte_range_matches("\"a\"", NULL));
        assert_false(byte_range_matches("", "\"a\""));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_range_is_what_s3_sends_for_it),
                cmocka_unit_test(test_only_the_same_strong_tag_matches),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
