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

#include "basic/encoding.h"
#include "basic/io.h"
#include "sealed/source.h"

/* The first bytes of a ciphertext of KMS. */
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

static void test_text_that_is_no_base64_is_refused(void **state) {
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

static void test_whatever_begins_like_a_ciphertext_is_raw(void **state) {
        uint8_t data[] = { 0x01, 'Q', 'U', 'J', 'D', 'Q', 'U', 'J' };

        /* All tails of text after the first byte of KMS's format, a byte at a time. */
        for (unsigned i = 1; i < sizeof(data); i++)
                for (unsigned c = 0; c <= UINT8_MAX; c++) {
                        data[i] = (uint8_t) c;
                        assert_decoded(data, sizeof(data), data, sizeof(data));
                }
}

static void assert_parsed(const char *text, const char *location) {
        Source source = {};
        Error error = {};
        int r;

        r = source_parse(text, &source, &error);
        if (location) {
                if (r < 0)
                        fail_msg("<%s>: %s", text, error.text);
                assert_int_equal(source.kind, SOURCE_FILE);
                assert_string_equal(source.location, location);
        } else {
                if (r != -EINVAL)
                        fail_msg("<%s> was believed", text);
                assert_int_equal(error.failure, FAILURE_CONFIGURATION);
                assert_null(source.location);
        }
        source_clear(&source);
        assert_null(source.location);
}

static void test_source_is_a_file_with_a_plain_path(void **state) {
        _cleanup_free_ char *longest = malloc(PATH_MAX + 6);

        assert_parsed("file:/usr/share/billing/db-password.sealed", "/usr/share/billing/db-password.sealed");
        assert_parsed("file:/a", "/a");
        assert_parsed("file:/a b=#%41/...", "/a b=#%41/...");

        assert_parsed("", NULL);
        assert_parsed("/usr/share/x", NULL);
        assert_parsed("file:", NULL);
        assert_parsed("file:/", NULL);
        assert_parsed("file:x", NULL);
        assert_parsed("file:///usr/share/x", NULL);
        assert_parsed("file:/usr//share", NULL);
        assert_parsed("file:/usr/./share", NULL);
        assert_parsed("file:/usr/../etc/shadow", NULL);
        assert_parsed("file:/usr/share/", NULL);
        assert_parsed("file:/usr/.", NULL);
        assert_parsed("file:/usr/..", NULL);
        assert_parsed("FILE:/usr/share/x", NULL);
        assert_parsed("https://example.com/x", NULL);
        assert_parsed("user-data:/x", NULL);
        assert_parsed("s3://bucket/key", NULL);

        strcpy(longest, "file:");
        memset(longest + 5, 'a', PATH_MAX);
        longest[5] = '/';
        longest[5 + PATH_MAX] = '\0';
        assert_parsed(longest, NULL);
        longest[5 + PATH_MAX - 1] = '\0';
        assert_parsed(longest, longest + 5);
}

static void test_unsupported_source_says_what_is_supported(void **state) {
        Source source = {};
        Error error = {};

        assert_int_equal(source_parse("s3://bucket/key", &source, &error), -EINVAL);
        assert_non_null(strstr(error.text, "Expected file:/absolute/path"));
        assert_non_null(strstr(error.text, "s3://bucket/key"));
}

#define FILE_NAME "x.sealed"

static int read_source(size_t maximum, const char *expected_text) {
        Source source = { .location = (char *) FILE_NAME };
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

static void test_file_that_cannot_be_read_is_said(void **state) {
        assert_int_equal(read_source(100, "cannot be read: No such file or directory."), -ENOENT);
        assert_int_equal(mkdir(FILE_NAME, 0755), 0);
        assert_int_equal(read_source(100, "cannot be read: Is a directory."), -EISDIR);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_raw_ciphertext_is_taken_as_it_is),
                cmocka_unit_test(test_base64_is_decoded_however_it_is_wrapped),
                cmocka_unit_test(test_text_that_is_no_base64_is_refused),
                cmocka_unit_test(test_whatever_begins_like_a_ciphertext_is_raw),
                cmocka_unit_test(test_source_is_a_file_with_a_plain_path),
                cmocka_unit_test(test_unsupported_source_says_what_is_supported),
                cmocka_unit_test_setup_teardown(test_file_is_read_raw_or_base64_up_to_the_maximum,
                                                make_directory, remove_directory),
                cmocka_unit_test_setup_teardown(test_file_that_cannot_be_read_is_said, make_directory,
                                                remove_directory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
