/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka wants the above first */
#include <cmocka.h>

#include "basic/cbor.h"

typedef struct Sample {
        const char *what;
        const char *data;
        size_t size;
} Sample;

#define SAMPLE(what, data) \
        { what, data, sizeof(data) - 1 }

static const Sample well_formed[] = {
        SAMPLE("a small number", "\x17"),
        SAMPLE("the largest number", "\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
        SAMPLE("a number longer than need be", "\x19\x00\x01"),
        SAMPLE("a negative number", "\x38\x22"),
        SAMPLE("an empty byte string", "\x40"),
        SAMPLE("a byte string", "\x43\x61\x62\x63"),
        SAMPLE("a byte string of indefinite length", "\x5f\x41\x61\x42\x62\x63\xff"),
        SAMPLE("a text of indefinite length without chunks", "\x7f\xff"),
        SAMPLE("an empty array", "\x80"),
        SAMPLE("an array of indefinite length", "\x9f\x01\x02\xff"),
        SAMPLE("a map with a duplicate key", "\xa2\x01\x02\x01\x03"),
        SAMPLE("a map of indefinite length", "\xbf\x01\x02\xff"),
        SAMPLE("false, true, null, undefined", "\x84\xf4\xf5\xf6\xf7"),
        SAMPLE("eight levels", "\x81\x81\x81\x81\x81\x81\x81\x01"),
        SAMPLE("five levels of everything", "\x9f\xa1\x01\xbf\x01\x81\x5f\x41\x61\xff\xff\xff"),
};

static const Sample refused[] = {
        SAMPLE("nothing", ""),
        SAMPLE("a reserved length", "\x1c"),
        SAMPLE("a number of indefinite length", "\x1f"),
        SAMPLE("a negative number of indefinite length", "\x3f"),
        SAMPLE("a tag of indefinite length", "\xdf\x01"),
        SAMPLE("a number cut short", "\x1b\xff\xff\xff"),
        SAMPLE("a byte string cut short", "\x43\x61\x62"),
        SAMPLE("a byte string of 2^64-1 bytes", "\x5b\xff\xff\xff\xff\xff\xff\xff\xff\x61"),
        SAMPLE("a byte string without end", "\x5f\x41\x61"),
        SAMPLE("a byte string with a chunk of text", "\x5f\x61\x61\xff"),
        SAMPLE("a chunk of indefinite length", "\x5f\x5f\xff\xff"),
        SAMPLE("a chunk cut short", "\x5f\x42\x61"),
        SAMPLE("an array of 2^64-1 items", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        SAMPLE("an array of 2^32-1 items", "\x9a\xff\xff\xff\xff\x01"),
        SAMPLE("an array cut short", "\x82\x01"),
        SAMPLE("an array without end", "\x9f\x01"),
        SAMPLE("a map of 2^63 pairs", "\xbb\x80\x00\x00\x00\x00\x00\x00\x00\x01\x01"),
        SAMPLE("a map without a value", "\xa1\x01"),
        SAMPLE("a map of indefinite length with an odd number of items", "\xbf\x01\xff"),
        SAMPLE("a map without end", "\xbf\x01\x02"),
        SAMPLE("a tag of nothing", "\xd2"),
        SAMPLE("a break alone", "\xff"),
        SAMPLE("a break in an array of definite length", "\x82\x01\xff"),
        SAMPLE("a tag", "\xc1\x01"),
        SAMPLE("a tag in a tag", "\xd2\xc1\x01"),
        SAMPLE("half a float", "\xf9\x00\x00"),
        SAMPLE("a float", "\xfb\x00\x00\x00\x00\x00\x00\x00\x00"),
        SAMPLE("an unassigned simple value", "\xe0"),
        SAMPLE("a simple value in two bytes", "\xf8\x20"),
        SAMPLE("a reserved simple value", "\xfc"),
        SAMPLE("nine levels", "\x81\x81\x81\x81\x81\x81\x81\x81\x01"),
};

static void test_well_formed_items_are_read(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(well_formed); i++) {
                const Sample *s = &well_formed[i];
                _cleanup_cbor_ cbor_item_t *item = NULL;
                int r;

                r = cbor_parse((const uint8_t *) s->data, s->size, &item, NULL);
                if (r != 0)
                        fail_msg("%s: saw %i, wanted 0", s->what, r);
                assert_non_null(item);
        }
}

static void test_others_are_refused_and_nothing_is_written(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(refused); i++) {
                const Sample *s = &refused[i];
                cbor_item_t *item = (cbor_item_t *) &refused;
                size_t read = 4711;
                int r;

                r = cbor_parse((const uint8_t *) s->data, s->size, &item, &read);
                if (r != -EBADMSG)
                        fail_msg("%s: saw %i, wanted %i", s->what, r, -EBADMSG);
                assert_ptr_equal(item, &refused);
                assert_int_equal(read, 4711);
        }
}

static void test_every_prefix_of_an_item_is_refused(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(well_formed); i++)
                for (size_t size = 0; size < well_formed[i].size; size++) {
                        /* Of its own size, so that reading past the end is seen by ASan and valgrind. */
                        _cleanup_free_ uint8_t *data = malloc(size ? size : 1);
                        cbor_item_t *item;
                        int r;

                        assert_non_null(data);
                        memcpy(data, well_formed[i].data, size);
                        r = cbor_parse(data, size, &item, NULL);
                        if (r != -EBADMSG)
                                fail_msg("%s, %zu bytes of it: saw %i, wanted %i", well_formed[i].what, size,
                                         r, -EBADMSG);
                }
}

static void test_what_follows_is_left_or_refused(void **state) {
        static const uint8_t data[] = { 0x82, 0x01, 0x02, 0xff, 0xff };
        _cleanup_cbor_ cbor_item_t *item = NULL;
        size_t read;

        assert_int_equal(cbor_parse(data, sizeof(data), &item, NULL), -EBADMSG);
        assert_null(item);
        assert_int_equal(cbor_parse(data, sizeof(data), &item, &read), 0);
        assert_int_equal(read, 3);
        assert_int_equal(cbor_array_size(item), 2);
}

/* An array of n ones, with a head of three bytes. */
static int parse_ones(uint16_t n) {
        _cleanup_cbor_ cbor_item_t *item = NULL;
        _cleanup_free_ uint8_t *data = malloc(3U + n);

        assert_non_null(data);
        data[0] = 0x99;
        data[1] = (uint8_t) (n >> 8);
        data[2] = (uint8_t) n;
        memset(data + 3, 0x01, n);
        return cbor_parse(data, 3U + n, &item, NULL);
}

static void test_no_more_than_1024_items(void **state) {
        assert_int_equal(parse_ones(1023), 0);
        assert_int_equal(parse_ones(1024), -EBADMSG);
}

static void test_chunks_count_as_items(void **state) {
        cbor_item_t *item;
        uint8_t data[2048];

        memset(data, 0x40, sizeof(data));
        data[0] = 0x5f;
        data[sizeof(data) - 1] = 0xff;
        assert_int_equal(cbor_parse(data, sizeof(data), &item, NULL), -EBADMSG);
}

static void test_reader_tells_where_a_string_stands(void **state) {
        static const uint8_t data[] = { 0xbf, 0x61, 'k', 0x58, 0x02, 'v', 'w', 0xff };
        CborReader reader = { data, sizeof(data) };
        CborHead map, key, value, more;

        assert_int_equal(cbor_next(&reader, &map), 0);
        assert_int_equal(map.type, CBOR_TYPE_MAP);
        assert_true(map.indefinite);
        assert_true(cbor_more(&reader, &map, 0));
        assert_int_equal(cbor_next(&reader, &key), 0);
        assert_int_equal(key.type, CBOR_TYPE_STRING);
        assert_ptr_equal(key.data, data + 2);
        assert_int_equal(key.argument, 1);
        assert_int_equal(cbor_next(&reader, &value), 0);
        assert_int_equal(value.type, CBOR_TYPE_BYTESTRING);
        assert_ptr_equal(value.data, data + 5);
        assert_int_equal(value.argument, 2);
        assert_false(cbor_more(&reader, &map, 1));
        assert_int_equal(reader.left, 0);
        assert_int_equal(cbor_next(&reader, &more), -EBADMSG);
}

static void test_reader_stays_where_a_head_is_refused(void **state) {
        static const uint8_t data[] = { 0x42, 'a' };
        CborReader reader = { data, sizeof(data) };
        CborHead head;

        assert_int_equal(cbor_next(&reader, &head), -EBADMSG);
        assert_ptr_equal(reader.data, data);
        assert_int_equal(reader.left, sizeof(data));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_well_formed_items_are_read),
                cmocka_unit_test(test_others_are_refused_and_nothing_is_written),
                cmocka_unit_test(test_every_prefix_of_an_item_is_refused),
                cmocka_unit_test(test_what_follows_is_left_or_refused),
                cmocka_unit_test(test_no_more_than_1024_items),
                cmocka_unit_test(test_chunks_count_as_items),
                cmocka_unit_test(test_reader_tells_where_a_string_stands),
                cmocka_unit_test(test_reader_stays_where_a_head_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
