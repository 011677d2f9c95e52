/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h needs the headers above */
#include <cmocka.h>

#include "basic/cbor.h"
#include "basic/cleanup.h"

typedef struct Sample {
        const char *what;
        const char *data;
        size_t size;
        CborHead head; /* only type, argument and indefinite */
        size_t left;
} Sample;

#define SAMPLE(what, data, ...) \
        { what, data, sizeof(data) - 1, __VA_ARGS__ }
#define HEAD(type_, argument_) \
        { .type = (type_), .argument = (argument_) }
#define INDEFINITE(type_) \
        { .type = (type_), .indefinite = true }

/* Most of them are in RFC 8949, Appendix A. */
static const Sample heads[] = {
        SAMPLE("0", "\x00", HEAD(CBOR_UINT, 0)),
        SAMPLE("23", "\x17", HEAD(CBOR_UINT, 23)),
        SAMPLE("24", "\x18\x18", HEAD(CBOR_UINT, 24)),
        SAMPLE("1000", "\x19\x03\xe8", HEAD(CBOR_UINT, 1000)),
        SAMPLE("1000000", "\x1a\x00\x0f\x42\x40", HEAD(CBOR_UINT, 1000000)),
        SAMPLE("2^64-1", "\x1b\xff\xff\xff\xff\xff\xff\xff\xff", HEAD(CBOR_UINT, UINT64_MAX)),
        SAMPLE("a number longer than necessary", "\x19\x00\x01", HEAD(CBOR_UINT, 1)),
        SAMPLE("-1000", "\x39\x03\xe7", HEAD(CBOR_NEGATIVE, 999)),
        SAMPLE("an empty byte string", "\x40", HEAD(CBOR_BYTES, 0)),
        SAMPLE("a byte string, and a byte behind it",
               "\x43"
               "abc\x01",
               HEAD(CBOR_BYTES, 3), 1),
        SAMPLE("a byte string of indefinite length",
               "\x5f\x41"
               "a\xff",
               INDEFINITE(CBOR_BYTES), 3),
        SAMPLE("a text", "\x64IETF", HEAD(CBOR_TEXT, 4)),
        SAMPLE("a text that is not UTF-8", "\x61\xff", HEAD(CBOR_TEXT, 1)),
        SAMPLE("a text of indefinite length", "\x7f\xff", INDEFINITE(CBOR_TEXT), 1),
        SAMPLE("an array of two", "\x82\x01\x02", HEAD(CBOR_ARRAY, 2), 2),
        SAMPLE("an array of indefinite length", "\x9f\xff", INDEFINITE(CBOR_ARRAY), 1),
        SAMPLE("a map of one pair", "\xa1\x01\x02", HEAD(CBOR_MAP, 1), 2),
        SAMPLE("a map of indefinite length", "\xbf\xff", INDEFINITE(CBOR_MAP), 1),
        SAMPLE("tag 18", "\xd2\x84", HEAD(CBOR_TAG, 18), 1),
        SAMPLE("false", "\xf4", HEAD(CBOR_SIMPLE, CBOR_FALSE)),
        SAMPLE("true", "\xf5", HEAD(CBOR_SIMPLE, CBOR_TRUE)),
        SAMPLE("null", "\xf6", HEAD(CBOR_SIMPLE, CBOR_NULL)),
        SAMPLE("undefined", "\xf7", HEAD(CBOR_SIMPLE, CBOR_UNDEFINED)),
        SAMPLE("the break", "\xff", INDEFINITE(CBOR_SIMPLE)),
};

static const Sample refused[] = {
        SAMPLE("nothing", ""),
        SAMPLE("a reserved length", "\x1c"),
        SAMPLE("another reserved length", "\x5e"),
        SAMPLE("a number of indefinite length", "\x1f"),
        SAMPLE("a negative number of indefinite length", "\x3f"),
        SAMPLE("a tag of indefinite length", "\xdf\x01"),
        SAMPLE("a number cut short", "\x1b\xff\xff\xff"),
        SAMPLE("a byte string cut short", "\x43\x61\x62"),
        SAMPLE("a byte string of 2^64-1 bytes", "\x5b\xff\xff\xff\xff\xff\xff\xff\xff\x61"),
        SAMPLE("a text cut short", "\x62\x61"),
        SAMPLE("an array of 2^64-1 items", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        SAMPLE("an array of 2^32-1 items", "\x9a\xff\xff\xff\xff\x01"),
        SAMPLE("an array with more items than bytes", "\x82\x01"),
        SAMPLE("a map of 2^63 pairs", "\xbb\x80\x00\x00\x00\x00\x00\x00\x00\x01\x01"),
        SAMPLE("a map with a key and no value", "\xa1\x01"),
        SAMPLE("half a float", "\xf9\x00\x00"),
        SAMPLE("a float", "\xfb\x00\x00\x00\x00\x00\x00\x00\x00"),
        SAMPLE("an unassigned simple value", "\xe0"),
        SAMPLE("a simple value in two bytes", "\xf8\x20"),
        SAMPLE("a reserved simple value", "\xfc"),
};

/* A copy of exactly this size: ASan and valgrind see a read beyond its end. */
static uint8_t *copy(const char *data, size_t size) {
        uint8_t *copied = malloc(size ?: 1);

        assert_non_null(copied);
        memcpy(copied, data, size);
        return copied;
}

static bool is_string(const CborHead *head) {
        return (head->type == CBOR_BYTES || head->type == CBOR_TEXT) && !head->indefinite;
}

static void test_heads_are_read(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(heads); i++) {
                const Sample *s = &heads[i];
                _cleanup_free_ uint8_t *data = copy(s->data, s->size);
                CborReader reader = { data, s->size };
                CborHead head;
                int r = cbor_next(&reader, &head);

                if (r != 0 || head.type != s->head.type || head.argument != s->head.argument ||
                    head.indefinite != s->head.indefinite || reader.left != s->left)
                        fail_msg("%s: saw %i, type %i, argument %ju, indefinite %i, %zu bytes left", s->what,
                                 r, (int) head.type, (uintmax_t) head.argument, head.indefinite,
                                 reader.left);
                assert_ptr_equal(reader.data, data + s->size - s->left);
                assert_ptr_equal(head.data, is_string(&s->head) ? reader.data - head.argument : NULL);
        }
}

static void test_other_heads_are_refused_and_nothing_is_read(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(refused); i++) {
                const Sample *s = &refused[i];
                _cleanup_free_ uint8_t *data = copy(s->data, s->size);
                CborReader reader = { data, s->size };
                CborHead head = { .argument = 4711 };
                int r = cbor_next(&reader, &head);

                if (r != -EBADMSG)
                        fail_msg("%s: saw %i, wanted %i", s->what, r, -EBADMSG);
                assert_ptr_equal(reader.data, data);
                assert_int_equal(reader.left, s->size);
                assert_int_equal(head.argument, 4711);
        }
}

static void test_every_prefix_of_a_head_is_refused(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(heads); i++)
                for (size_t size = 0; size < heads[i].size - heads[i].left; size++) {
                        _cleanup_free_ uint8_t *data = copy(heads[i].data, size);
                        CborReader reader = { data, size };
                        CborHead head;
                        int r = cbor_next(&reader, &head);

                        if (r != -EBADMSG)
                                fail_msg("%s, its first %zu bytes: saw %i, wanted %i", heads[i].what, size,
                                         r, -EBADMSG);
                }
}

static void test_definite_container_ends_after_its_items(void **state) {
        CborReader reader = { (const uint8_t *) "\xff", 1 };
        const CborHead array = HEAD(CBOR_ARRAY, 2);

        assert_true(cbor_more(&reader, &array, 0));
        assert_true(cbor_more(&reader, &array, 1));
        assert_false(cbor_more(&reader, &array, 2));
        assert_int_equal(reader.left, 1);
}

static void test_indefinite_container_ends_with_the_break(void **state) {
        static const uint8_t data[] = { 0xbf, 0x61, 'k', 0x58, 0x02, 'v', 'w', 0xff };
        CborReader reader = { data, sizeof(data) };
        CborHead map, key, value, more;

        assert_int_equal(cbor_next(&reader, &map), 0);
        assert_true(cbor_more(&reader, &map, 0));
        assert_int_equal(cbor_next(&reader, &key), 0);
        assert_ptr_equal(key.data, data + 2);
        assert_int_equal(cbor_next(&reader, &value), 0);
        assert_ptr_equal(value.data, data + 5);
        assert_int_equal(reader.left, 1);
        assert_false(cbor_more(&reader, &map, 1));
        assert_int_equal(reader.left, 0);

        /* Without the break another item is expected, and its head is missing. */
        assert_true(cbor_more(&reader, &map, 1));
        assert_int_equal(cbor_next(&reader, &more), -EBADMSG);
}

static void test_heads_are_written_in_their_shortest_form(void **state) {
        static const struct {
                CborType type;
                uint64_t argument;
                const char *data;
                size_t size;
        } cases[] = {
#define CASE(type, argument, data) { type, argument, data, sizeof(data) - 1 }
                CASE(CBOR_UINT, 0, "\x00"),
                CASE(CBOR_UINT, 23, "\x17"),
                CASE(CBOR_UINT, 24, "\x18\x18"),
                CASE(CBOR_UINT, 255, "\x18\xff"),
                CASE(CBOR_UINT, 256, "\x19\x01\x00"),
                CASE(CBOR_UINT, 65535, "\x19\xff\xff"),
                CASE(CBOR_UINT, 65536, "\x1a\x00\x01\x00\x00"),
                CASE(CBOR_UINT, 1000000, "\x1a\x00\x0f\x42\x40"),
                CASE(CBOR_UINT, UINT32_MAX, "\x1a\xff\xff\xff\xff"),
                CASE(CBOR_UINT, UINT64_C(1) << 32, "\x1b\x00\x00\x00\x01\x00\x00\x00\x00"),
                CASE(CBOR_UINT, 1000000000000, "\x1b\x00\x00\x00\xe8\xd4\xa5\x10\x00"),
                CASE(CBOR_UINT, UINT64_MAX, "\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
                CASE(CBOR_NEGATIVE, 99, "\x38\x63"),
                CASE(CBOR_BYTES, 4, "\x44"),
                CASE(CBOR_TEXT, 4, "\x64"),
                CASE(CBOR_ARRAY, 25, "\x98\x19"),
                CASE(CBOR_MAP, 5, "\xa5"),
                CASE(CBOR_TAG, 18, "\xd2"),
                CASE(CBOR_SIMPLE, CBOR_NULL, "\xf6"),
#undef CASE
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t buffer[9];
                CborWriter writer = { .data = buffer, .capacity = cases[i].size };

                cbor_write_head(&writer, cases[i].type, cases[i].argument);
                assert_false(writer.overflowed);
                assert_int_equal(writer.size, cases[i].size);
                assert_memory_equal(buffer, cases[i].data, cases[i].size);
        }
}

static void test_strings_and_null_are_written(void **state) {
        static const uint8_t wanted[] = { 0xa3, 0x61, 'a', 0x40, 0x61, 'b', 0x42, 1, 0, 0x61, 'c', 0xf6 };
        uint8_t buffer[sizeof(wanted)];
        CborWriter writer = { .data = buffer, .capacity = sizeof(buffer) };

        cbor_write_head(&writer, CBOR_MAP, 3);
        cbor_write_text(&writer, "a");
        cbor_write_bytes(&writer, NULL, 0);
        cbor_write_text(&writer, "b");
        cbor_write_bytes(&writer, "\x01\x00", 2);
        cbor_write_text(&writer, "c");
        cbor_write_null(&writer);
        assert_false(writer.overflowed);
        assert_int_equal(writer.size, sizeof(wanted));
        assert_memory_equal(buffer, wanted, sizeof(wanted));
}

static void test_writer_that_overflowed_writes_no_more(void **state) {
        uint8_t buffer[5] = { [3] = 0xaa, [4] = 0xaa };
        CborWriter writer = { .data = buffer, .capacity = 4 };

        cbor_write_text(&writer, "ab");
        assert_false(writer.overflowed);
        cbor_write_text(&writer, "c");
        assert_true(writer.overflowed);
        assert_int_equal(buffer[4], 0xaa);

        size_t size = writer.size;
        cbor_write_null(&writer);
        assert_int_equal(writer.size, size);
        assert_int_equal(buffer[4], 0xaa);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_heads_are_read),
                cmocka_unit_test(test_other_heads_are_refused_and_nothing_is_read),
                cmocka_unit_test(test_every_prefix_of_a_head_is_refused),
                cmocka_unit_test(test_definite_container_ends_after_its_items),
                cmocka_unit_test(test_indefinite_container_ends_with_the_break),
                cmocka_unit_test(test_heads_are_written_in_their_shortest_form),
                cmocka_unit_test(test_strings_and_null_are_written),
                cmocka_unit_test(test_writer_that_overflowed_writes_no_more),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
