/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "basic/cleanup.h"
#include "volume/volume-key.h"

/* 64 bytes from 0 to 63. */
#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
#define SALT "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ROOT "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

typedef struct Pair {
        const char *name, *value;
} Pair;

/* 200 blocks of data need two blocks of digests and a root over them. */
static const Pair right[] = {
        { "version", "1" },
        { "name", "\"weights\"" },
        { "cipher", "\"aes-xts-plain64\"" },
        { "sector_size", "4096" },
        { "key", "\"" KEY "\"" },
        { "hash", "\"sha256\"" },
        { "salt", "\"" SALT "\"" },
        { "root_hash", "\"" ROOT "\"" },
        { "data_block_size", "4096" },
        { "hash_block_size", "4096" },
        { "data_size", "819199" },
        { "data_blocks", "200" },
        { "hash_start", "200" },
        { "size", "831488" },
};

/* Writes the members, with one value replaced; a value of NULL leaves the member out. */
static char *with(const char *name, const char *value) {
        char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);
        const char *separator = "{";

        assert_non_null(stream);
        for (size_t i = 0; i < ELEMENTSOF(right); i++) {
                const char *v = name && strcmp(right[i].name, name) == 0 ? value : right[i].value;

                if (!v)
                        continue;
                fprintf(stream, "%s\"%s\":%s", separator, right[i].name, v);
                separator = ",";
        }
        fputs("}", stream);
        assert_int_equal(fclose(stream), 0);
        return text;
}

/* Parses a copy of just this size, so that valgrind sees an access beyond it. */
static int parse_bytes(const char *bytes, size_t size, VolumeKey *ret, Error *error) {
        _cleanup_free_ char *text = malloc(size > 0 ? size : 1);

        assert_non_null(text);
        memcpy(text, bytes, size);
        return volume_key_parse(text, size, ret, error);
}

static void refused_as(int expected, const char *text, const char *words) {
        VolumeKey key = {};
        Error error = {};
        int r = parse_bytes(text, strlen(text), &key, &error);

        if (r != expected || error.failure != FAILURE_CIPHERTEXT || !strstr(error.text, words))
                fail_msg("%s: saw %d, %s; wanted %d, %s", text, r, error.text, expected, words);
        if (strstr(error.text, KEY) || key.key)
                fail_msg("%s: the key is in the error, or was returned", text);
}

static void refused(const char *name, const char *value, const char *words) {
        _cleanup_free_ char *text = with(name, value);

        refused_as(-EBADMSG, text, words);
}

static void test_reads_each_member(void **state) {
        _cleanup_free_ char *text = with(NULL, NULL);
        _cleanup_volume_key_ VolumeKey key = {};
        Error error;

        if (parse_bytes(text, strlen(text), &key, &error) < 0)
                fail_msg("%s", error.text);
        assert_string_equal(key.name, "weights");
        for (uint8_t i = 0; i < VOLUME_KEY_SIZE; i++)
                assert_int_equal(secret_bytes(key.key)[i], i);
        for (size_t i = 0; i < 32; i++) {
                assert_int_equal(key.salt[i], 0xaa);
                assert_int_equal(key.root_hash[i], 0xbb);
        }
        assert_int_equal(key.data_size, 819199);
        assert_int_equal(key.data_blocks, 200);
        assert_int_equal(key.hash_start, 200);
        assert_int_equal(key.size, 831488);
}

static void test_takes_white_space_and_any_order(void **state) {
        _cleanup_volume_key_ VolumeKey key = {};
        char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);
        Error error;

        assert_non_null(stream);
        for (size_t i = ELEMENTSOF(right); i-- > 0;)
                fprintf(stream, "%s\n  \"%s\" :\t%s ", i + 1 == ELEMENTSOF(right) ? " {" : ",",
                        right[i].name, right[i].value);
        fputs("}\n", stream);
        assert_int_equal(fclose(stream), 0);
        if (parse_bytes(text, size, &key, &error) < 0)
                fail_msg("%s", error.text);
        assert_int_equal(key.size, 831488);
        free(text);
}

static void test_refuses_a_member_that_is_missing_twice_or_unknown(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(right); i++) {
                _cleanup_free_ char *words = NULL, *twice = NULL, *text = with(NULL, NULL);

                assert_true(asprintf(&words, "wrong \"%s\"", right[i].name) > 0);
                refused(right[i].name, NULL, words);
                assert_true(asprintf(&twice, "%.*s,\"%s\":%s}", (int) strlen(text) - 1, text, right[i].name,
                                     right[i].value) > 0);
                refused_as(-EBADMSG, twice, words);
        }
        refused("size", "831488,\"iv_large_sectors\":true", "a member that version 1 has");
        refused("size", "831488,\"sizE\":831488", "a member that version 1 has");
}

static void test_refuses_another_version(void **state) {
        _cleanup_free_ char *text = with("version", "2");

        refused_as(-EOPNOTSUPP, text, "has version 2");
        refused("version", "\"1\"", "wrong \"version\"");
        refused("version", "1.0", "comma");
        refused("version", "01", "wrong \"version\"");
        refused("version", "-1", "wrong \"version\"");
        refused("version", "18446744073709551617", "wrong \"version\"");
}

static void test_refuses_another_cipher_hash_and_block_size(void **state) {
        refused("cipher", "\"cipher_null-ecb\"", "wrong \"cipher\": expected aes-xts-plain64");
        refused("cipher", "\"aes-xts-plain64 \"", "wrong \"cipher\"");
        refused("cipher", "\"aes-xts-plain\"", "wrong \"cipher\"");
        refused("cipher", "\"aes-xts-plain64aes-xts-plain64aes-xts-plain64\"", "wrong \"cipher\"");
        refused("hash", "\"sha1\"", "wrong \"hash\"");
        refused("sector_size", "512", "wrong \"sector_size\"");
        refused("data_block_size", "1024", "wrong \"data_block_size\"");
        refused("hash_block_size", "8192", "wrong \"hash_block_size\"");
}

static void test_refuses_a_wrong_key_without_showing_it(void **state) {
        refused("key", "\"\"", "64 bytes in base64");
        refused("key", "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"", "64 bytes in base64"); /* 32 */
        refused("key", "\"A" KEY "\"", "64 bytes in base64");
        refused("key",
                "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Py==\"",
                "64 bytes in base64"); /* sixty-four bytes are 86 characters; the stray bits after them are not zero */
        refused("key", "\"" KEY "\",\"key\":\"" KEY "\"", "expected it once");
        /* Both halves are 0 to 31. */
        refused("key",
                "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8AAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw==\"",
                "two halves that differ");
}

static void test_refuses_a_wrong_name(void **state) {
        refused("name", "\"\"", "wrong \"name\"");
        refused("name", "\"..\"", "wrong \"name\"");
        refused("name", "\"a/b\"", "wrong \"name\"");
        refused("name", "\"a\\u0062\"", "wrong \"name\"");
        refused("name", "\"a\nb\"", "wrong \"name\"");
        refused("name", "\"0123456789012345678901234567890123456789012345678901234567890123x\"",
                "wrong \"name\"");
}

static void test_refuses_a_wrong_salt_and_root_hash(void **state) {
        refused("salt", "\"\"", "wrong \"salt\"");
        refused("salt", "\"-\"", "wrong \"salt\"");
        refused("salt", "\"" SALT "aa\"", "wrong \"salt\"");
        refused("root_hash", "\"" ROOT "\\u0062\"", "wrong \"root_hash\"");
        refused("root_hash", "\"g" ROOT "\"", "wrong \"root_hash\"");
}

static void test_refuses_numbers_that_contradict_each_other(void **state) {
        refused("data_size", "0", "wrong \"data_size\"");
        refused("data_size", "819201", "wrong \"data_blocks\"");
        refused("data_size", "815104", "wrong \"data_blocks\"");
        refused("data_size", "17592186044417", "wrong \"data_size\"");       /* 16 TiB and a byte */
        refused("data_size", "18446744073709551615", "wrong \"data_size\""); /* would round up to 0 */
        refused("data_size", "18446744073709551616", "digits alone");
        refused("data_size", "8e5", "comma");
        refused("data_size", "+819199", "digits alone");
        refused("data_blocks", "201", "wrong \"data_blocks\"");
        refused("hash_start", "0", "wrong \"hash_start\""); /* the tree would lie in the data */
        refused("hash_start", "201", "wrong \"hash_start\"");
        refused("size", "819200", "wrong \"size\""); /* no room for the tree */
        refused("size", "831489", "wrong \"size\"");
        refused("size", "null", "digits alone");
}

static void test_refuses_what_is_no_object(void **state) {
        _cleanup_free_ char *text = with(NULL, NULL), *more = NULL;
        VolumeKey key = {};
        Error error;

        refused_as(-EBADMSG, "", "an object of JSON");
        refused_as(-EBADMSG, "[]", "an object of JSON");
        refused_as(-EBADMSG, "{}", "the name of a member");
        refused_as(-EBADMSG, "{\"version\" 1}", "a colon");
        assert_true(asprintf(&more, "%s{", text) > 0);
        refused_as(-EBADMSG, more, "nothing after the object");
        /* Each text that is cut is refused. */
        for (size_t size = 0; size < strlen(text); size++)
                assert_int_equal(parse_bytes(text, size, &key, &error), -EBADMSG);
}

static void test_refuses_a_text_that_is_too_long(void **state) {
        _cleanup_free_ char *text = NULL, *begin = with(NULL, NULL);

        assert_true(asprintf(&text, "%-4095s", begin) == 4095);
        VolumeKey key = {};
        Error error;
        assert_int_equal(parse_bytes(text, 4095, &key, &error), 0);
        volume_key_clear(&key);
        free(text);
        assert_true(asprintf(&text, "%-4096s", begin) == 4096);
        refused_as(-E2BIG, text, "4096 bytes");
}

static void test_writes_what_it_reads(void **state) {
        _cleanup_free_ char *text = with(NULL, NULL);
        _cleanup_volume_key_ VolumeKey key = {};
        _cleanup_secret_ Secret *written = NULL;
        Error error;

        assert_int_equal(parse_bytes(text, strlen(text), &key, &error), 0);
        assert_int_equal(volume_key_format(&key, &written), 0);
        assert_int_equal(secret_size(written), strlen(text));
        assert_memory_equal(secret_bytes(written), text, strlen(text));
}

/* The numbers are those of "veritysetup format" over files of these sizes. */
static void test_places_the_tree(void **state) {
        static const struct {
                uint64_t blocks;
                unsigned levels;
                uint64_t tree;
        } rows[] = {
                { 1, 0, 0 },
                { 2, 1, 1 },
                { 128, 1, 1 },
                { 129, 2, 3 },
                { 16384, 2, 129 },
                { 16385, 3, 132 },
                { 2097152, 3, 16384 + 128 + 1 },
                { UINT64_C(1) << 32, 5, (UINT64_C(1) << 25) + (1U << 18) + 2048 + 16 + 1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                VolumeTree tree;

                volume_tree_place(rows[i].blocks, 1000, &tree);
                if (tree.levels != rows[i].levels || tree.end != 1000 + rows[i].tree)
                        fail_msg("%llu blocks: saw %u levels in %llu blocks",
                                 (unsigned long long) rows[i].blocks, tree.levels,
                                 (unsigned long long) tree.end - 1000);
                if (tree.levels > 0)
                        assert_int_equal(tree.start[tree.levels - 1], 1000);
                for (unsigned level = 1; level < tree.levels; level++)
                        assert_int_equal(tree.start[level] + tree.blocks[level], tree.start[level - 1]);
        }
}

static void test_lays_out_up_to_16_tib(void **state) {
        VolumeKey key = { .data_size = UINT64_C(1) << 44 };

        assert_int_equal(volume_key_lay_out(&key), 0);
        assert_int_equal(key.data_blocks, UINT64_C(1) << 32);
        key.data_size++;
        assert_int_equal(volume_key_lay_out(&key), -EFBIG);
        key.data_size = 0;
        assert_int_equal(volume_key_lay_out(&key), -EINVAL);
        key.data_size = 1;
        assert_int_equal(volume_key_lay_out(&key), 0);
        assert_int_equal(key.size, 4096);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_reads_each_member),
                cmocka_unit_test(test_takes_white_space_and_any_order),
                cmocka_unit_test(test_refuses_a_member_that_is_missing_twice_or_unknown),
                cmocka_unit_test(test_refuses_another_version),
                cmocka_unit_test(test_refuses_another_cipher_hash_and_block_size),
                cmocka_unit_test(test_refuses_a_wrong_key_without_showing_it),
                cmocka_unit_test(test_refuses_a_wrong_name),
                cmocka_unit_test(test_refuses_a_wrong_salt_and_root_hash),
                cmocka_unit_test(test_refuses_numbers_that_contradict_each_other),
                cmocka_unit_test(test_refuses_what_is_no_object),
                cmocka_unit_test(test_refuses_a_text_that_is_too_long),
                cmocka_unit_test(test_writes_what_it_reads),
                cmocka_unit_test(test_places_the_tree),
                cmocka_unit_test(test_lays_out_up_to_16_tib),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
