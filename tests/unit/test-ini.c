/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/io.h"
#include "config/ini.h"

static IniFile *parse(const char *text, size_t size) {
        IniFile *ini = calloc(1, sizeof(*ini));
        Error error;

        assert_non_null(ini);
        if (ini_parse("test.conf", text, size, ini, &error) < 0)
                fail_msg("parse of <%.*s>: %s", (int) size, text, error.text);
        return ini;
}
#define PARSE(text) parse(text, strlen(text))

/* All assignments as one string, each as "section.key=value@line". */
static void assert_assignments(const IniFile *ini, const char *expected) {
        char seen[4096] = "";
        size_t n = 0;

        for (size_t i = 0; i < ini->count; i++) {
                const IniAssignment *a = &ini->assignments[i];

                n += (size_t) snprintf(seen + n, sizeof(seen) - n, "%s%s.%s=<%s>@%u", i > 0 ? " " : "",
                                       a->section, a->key, a->value, a->line);
                assert_true(n < sizeof(seen));
        }
        assert_string_equal(seen, expected);
}

static void assert_refused(const char *text, size_t size, const char *expected) {
        _cleanup_ini_ IniFile *ini = calloc(1, sizeof(*ini));
        Error error = {};

        assert_non_null(ini);
        assert_int_equal(ini_parse("test.conf", text, size, ini, &error), -EINVAL);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        if (!strstr(error.text, expected))
                fail_msg("saw \"%s\", wanted \"%s\" in it", error.text, expected);
}
#define REFUSED(text, expected) assert_refused(text, strlen(text), expected)

static void test_assignments_keep_their_order_section_and_line(void **state) {
        _cleanup_ini_ IniFile *ini = PARSE("[A]\nX=1\n\n# comment\n; comment\n  Y = 2 \n[B]\nX=3\n[A]\nX=4");

        assert_assignments(ini, "A.X=<1>@2 A.Y=<2>@6 B.X=<3>@8 A.X=<4>@10");
        assert_string_equal(ini->assignments[0].file, "test.conf");
}

static void test_repeated_and_empty_assignments_are_all_kept(void **state) {
        _cleanup_ini_ IniFile *ini = PARSE("[A]\nK=1\nK=2\nK=\nK=3\n");

        assert_assignments(ini, "A.K=<1>@2 A.K=<2>@3 A.K=<>@4 A.K=<3>@5");
}

static void test_values_are_taken_unchanged(void **state) {
        _cleanup_ini_ IniFile *ini =
                        PARSE("[A]\n"
                              "K=a=b\nK=a#b\nK=a ; b\nK=\"a # b\" c\nK=[a]\nK=%d\nK=a\\b\nK=ä ☃\nK=a\tb\n");

        assert_assignments(
                        ini,
                        "A.K=<a=b>@2 A.K=<a#b>@3 A.K=<a ; b>@4 A.K=<\"a # b\" c>@5 A.K=<[a]>@6 A.K=<%d>@7 "
                        "A.K=<a\\b>@8 A.K=<ä ☃>@9 A.K=<a\tb>@10");
}

static void test_backslash_at_the_end_continues_a_line(void **state) {
        _cleanup_ini_ IniFile *ini =
                        PARSE("[A]\nK=one \\\n    two \\\n# comment\n  three\nL=a\\\\\nM=x\\\n\nN=end\\");

        /* Two backslashes do not continue a line. An empty line and the end of the file end a continued line. */
        assert_assignments(ini, "A.K=<one  two  three>@2 A.L=<a\\\\>@6 A.M=<x>@7 A.N=<end>@9");
}

static void test_carriage_returns_and_byte_order_mark_are_white_space(void **state) {
        _cleanup_ini_ IniFile *ini = PARSE("\xef\xbb\xbf[A]\r\nX=1\r\nY=a\\\r\n b\r\n");

        assert_assignments(ini, "A.X=<1>@2 A.Y=<a b>@3");
}

static void test_empty_files_have_no_assignments(void **state) {
        static const char *const texts[] = { "", "\n\n", "# x", "\r\n", "[A]", "\xef\xbb\xbf", "   \t" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_ini_ IniFile *ini = PARSE(texts[i]);
                assert_int_equal(ini->count, 0);
        }
}

static void test_other_lines_are_refused_with_their_number(void **state) {
        REFUSED("[A]\nX=1\nnonsense\n", "test.conf:3: Expected Key=value");
        REFUSED("[A]\n=1\n", "test.conf:2: Expected Key=value");
        REFUSED("[A]\n \\\n =1\n", "test.conf:2: Expected Key=value");
        REFUSED("X=1\n[A]\n", "test.conf:1: Expected a section such as [Secret] before");
        REFUSED("\n[A\nX=1\n", "test.conf:2: Expected a section such as [Secret].");
        REFUSED("[]\n", "test.conf:1: Expected a section such as [Secret].");
        REFUSED("[A] x\n", "test.conf:1: Expected a section such as [Secret].");
}

static void test_bytes_that_are_not_text_are_refused_with_their_line(void **state) {
        static const char nul[] = "[A]\nX=a\0b\n", comment[] = "[A]\n#\0\nX=1\n",
                          continued[] = "[A]\nX=1\\\n\x01\n";

        assert_refused(nul, sizeof(nul) - 1, "test.conf:2: Expected UTF-8 text");
        assert_refused(comment, sizeof(comment) - 1, "test.conf:2: Expected UTF-8 text");
        assert_refused(continued, sizeof(continued) - 1, "test.conf:3: Expected UTF-8 text");
        REFUSED("[A]\nX=\x1b[31m\n", "test.conf:2:"); /* an escape sequence that colours a terminal */
        REFUSED("[A]\nX=\xc2\x9b"
                "31m\n",
                "test.conf:2:"); /* the same in one character */
        REFUSED("[A]\nX=a\rb\n", "test.conf:2:");
        REFUSED("[A]\nX=\x7f\n", "test.conf:2:");
        REFUSED("[A]\nX=\xff\n", "test.conf:2:");
        REFUSED("[A]\nX=\xc0\xaf\n", "test.conf:2:");         /* overlong */
        REFUSED("[A]\nX=\xe0\x80\xaf\n", "test.conf:2:");     /* overlong */
        REFUSED("[A]\nX=\xed\xa0\x80\n", "test.conf:2:");     /* surrogate */
        REFUSED("[A]\nX=\xf4\x90\x80\x80\n", "test.conf:2:"); /* after the last character of Unicode */
        REFUSED("[A]\nX=\xc3(\n", "test.conf:2:");
        REFUSED("[A]\nX=\xe2\x98", "test.conf:2:"); /* cut short */
        REFUSED("[A]\nX=\x80\n", "test.conf:2:");
}

static void test_all_of_unicode_is_text(void **state) {
        _cleanup_ini_ IniFile *ini =
                        PARSE("[A]\nX=\xc2\xa0\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80"
                              "\xf4\x8f\xbf\xbf.\n");

        assert_int_equal(ini->count, 1);
}

static void assert_boolean(const char *value, int expected) {
        IniAssignment assignment = {
                .key = (char *) "K", .value = (char *) value, .file = (char *) "f", .line = 7
        };
        Error error = {};
        bool seen = !expected;
        int r;

        r = ini_boolean(&assignment, &seen, &error);
        if (expected >= 0 ? r < 0 || seen != expected : r != -EINVAL)
                fail_msg("\"%s\": r = %d, %s", value, r, seen ? "true" : "false");
        if (expected < 0)
                assert_non_null(strstr(error.text, "f:7: K=: Expected yes or no, not"));
}

static void test_booleans_are_those_of_systemd(void **state) {
        static const char *const yes[] = { "yes", "true", "on", "1", "y", "t", "YES", "True" },
                                 *const no[] = { "no", "false", "off", "0", "n", "f", "No" },
                                 *const neither[] = { "", "2", "yess", "ye", "-1", "yes no" };

        for (size_t i = 0; i < ELEMENTSOF(yes); i++)
                assert_boolean(yes[i], true);
        for (size_t i = 0; i < ELEMENTSOF(no); i++)
                assert_boolean(no[i], false);
        for (size_t i = 0; i < ELEMENTSOF(neither); i++)
                assert_boolean(neither[i], -1);
}

/* expected: the words, with a bar before each; NULL: the value is refused. */
static void assert_words(const char *value, const char *expected) {
        IniAssignment assignment = {
                .key = (char *) "K", .value = (char *) value, .file = (char *) "f", .line = 7
        };
        _cleanup_strings_ char **words = NULL;
        char seen[512] = "";
        Error error = {};
        int r;

        r = ini_words(&assignment, &words, &error);
        for (char **word = words; word && *word; word++) {
                strncat(seen, "|", sizeof(seen) - strlen(seen) - 1);
                strncat(seen, *word, sizeof(seen) - strlen(seen) - 1);
        }
        if (expected ? r < 0 || strcmp(seen, expected) != 0 : r != -EINVAL)
                fail_msg("<%s>: r = %d, <%s>, wanted <%s>", value, r, seen, expected ?: "(refused)");
        if (!expected)
                assert_non_null(strstr(error.text, "f:7: K=: Expected words"));
}

static void test_words_are_separated_by_white_space_and_may_be_quoted(void **state) {
        assert_words("", "");
        assert_words("  ", "");
        assert_words("a", "|a");
        assert_words(" a\tb  c ", "|a|b|c");
        assert_words("\"a b\" 'c \" d' e", "|a b|c \" d|e");
        assert_words("\"\" x", "||x");
        assert_words("k=\"v", "|k=\"v");
        assert_words("\"a", NULL);
        assert_words("'a\"", NULL);
        assert_words("\"a\"b", NULL);
        assert_words("\"", NULL);
}

/* Two directories, vendor/ and local/, in a temporary one. */
static int make_directories(void **state) {
        char *root = strdup("/tmp/test-ini-XXXXXX");

        assert_non_null(root);
        assert_non_null(mkdtemp(root));
        assert_int_equal(chdir(root), 0);
        assert_int_equal(mkdir("vendor", 0755), 0);
        assert_int_equal(mkdir("local", 0755), 0);
        *state = root;
        return 0;
}

static int remove_directories(void **state) {
        _cleanup_free_ char *command = NULL;

        assert_int_equal(chdir("/"), 0);
        assert_true(asprintf(&command, "rm -r %s", (char *) *state) > 0);
        assert_int_equal(system(command), 0);
        free(*state);
        return 0;
}

static void put(const char *path, const char *text) {
        _cleanup_free_ char *directory = strdup(path);

        *strrchr(directory, '/') = '\0';
        assert_true(mkdir(directory, 0755) == 0 || errno == EEXIST);
        assert_int_equal(write_file_atomic(path, text, strlen(text), 0644), 0);
}

static void assert_read(const char *file, const char *expected) {
        _cleanup_ini_ IniFile *ini = NULL;
        Error error;

        if (ini_read("vendor", "local", "x.conf", &ini, &error) < 0)
                fail_msg("%s", error.text);
        assert_assignments(ini, expected);
        if (file)
                assert_string_equal(ini->file, file);
        else
                assert_null(ini->file);
}

static void test_local_file_hides_the_vendors(void **state) {
        assert_read(NULL, "");
        put("vendor/x.conf", "[A]\nX=vendor\nY=vendor\n");
        assert_read("vendor/x.conf", "A.X=<vendor>@2 A.Y=<vendor>@3");
        put("local/x.conf", "[A]\nX=local\n");
        assert_read("local/x.conf", "A.X=<local>@2");
}

static void test_drop_ins_of_both_apply_in_the_order_of_their_names(void **state) {
        put("local/x.conf.d/20.conf", "[A]\nX=local20\n");
        assert_read(NULL, "A.X=<local20>@2");
        put("vendor/x.conf", "[A]\nX=main\n");
        put("vendor/x.conf.d/10.conf", "[A]\nX=vendor10\n");
        put("vendor/x.conf.d/20.conf", "[A]\nX=vendor20\n");
        put("vendor/x.conf.d/30.conf", "[A]\nX=vendor30\n");
        put("local/x.conf.d/05.conf", "[A]\nX=local05\n");
        put("vendor/x.conf.d/40.conf.bak", "[A]\nX=backup\n");
        put("vendor/x.conf.d/.50.conf", "[A]\nX=hidden\n");
        put("vendor/x.conf.d/60", "[A]\nX=other\n");
        assert_read("vendor/x.conf",
                    "A.X=<main>@2 A.X=<local05>@2 A.X=<vendor10>@2 A.X=<local20>@2 A.X=<vendor30>@2");
}

static void test_empty_file_and_link_to_null_mask(void **state) {
        put("vendor/x.conf", "[A]\nX=main\n");
        put("vendor/x.conf.d/10.conf", "[A]\nX=10\n");
        put("vendor/x.conf.d/20.conf", "[A]\nX=20\n");
        put("local/x.conf.d/10.conf", "");
        assert_read("vendor/x.conf", "A.X=<main>@2 A.X=<20>@2");
        put("local/x.conf", "");
        assert_read(NULL, "A.X=<20>@2");
        assert_int_equal(unlink("local/x.conf"), 0);
        assert_int_equal(symlink("/dev/null", "local/x.conf"), 0);
        assert_read(NULL, "A.X=<20>@2");
}

static void assert_read_refused(int expected, const char *text) {
        _cleanup_ini_ IniFile *ini = NULL;
        Error error = {};

        assert_int_equal(ini_read("vendor", "local", "x.conf", &ini, &error), expected);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        assert_null(ini);
        if (!strstr(error.text, text))
                fail_msg("saw \"%s\", wanted \"%s\" in it", error.text, text);
}

static void test_file_that_cannot_be_read_is_an_error(void **state) {
        char *large = malloc(INI_FILE_MAX + 2);

        /* Reading the vendor's file instead would hide that the local one is not read. */
        put("vendor/x.conf", "[A]\nX=main\n");
        assert_int_equal(symlink("missing", "local/x.conf"), 0);
        assert_read_refused(-ENOENT, "local/x.conf: cannot be read: No such file or directory.");
        assert_int_equal(unlink("local/x.conf"), 0);

        assert_int_equal(mkdir("local/x.conf", 0755), 0);
        assert_read_refused(-EISDIR, "local/x.conf: cannot be read: Is a directory.");
        assert_int_equal(rmdir("local/x.conf"), 0);

        assert_int_equal(mkfifo("local/x.conf", 0644), 0);
        assert_read_refused(-ENXIO, "local/x.conf: cannot be read:");
        assert_int_equal(unlink("local/x.conf"), 0);

        memset(large, '\n', INI_FILE_MAX + 1);
        large[INI_FILE_MAX + 1] = '\0';
        put("local/x.conf", large);
        assert_read_refused(-EFBIG, "local/x.conf: cannot be read: it is longer than 256 KiB.");
        large[INI_FILE_MAX] = '\0';
        put("local/x.conf", large);
        assert_read("local/x.conf", "");
        free(large);

        put("vendor/x.conf.d/10.conf", "[A]\nnonsense\n");
        assert_read_refused(-EINVAL, "vendor/x.conf.d/10.conf:2: Expected Key=value");
        assert_int_equal(unlink("vendor/x.conf.d/10.conf"), 0);

        put("local/x.conf.d", "a file");
        assert_read_refused(-ENOTDIR, "local/x.conf.d: cannot be read: Not a directory.");
}

static void test_thousands_of_assignments_are_read(void **state) {
        char *text = malloc(INI_FILE_MAX + 1);
        size_t n = 4;

        strcpy(text, "[A]\n");
        for (; n + 4 < INI_FILE_MAX; n += 4)
                strcpy(text + n, "K=1\n");
        put("local/x.conf", text);
        free(text);

        _cleanup_ini_ IniFile *ini = NULL;
        assert_int_equal(ini_read("vendor", "local", "x.conf", &ini, NULL), 0);
        assert_int_equal(ini->count, (n - 4) / 4);
}

#define DIRECTORY_TEST(test) cmocka_unit_test_setup_teardown(test, make_directories, remove_directories)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_assignments_keep_their_order_section_and_line),
                cmocka_unit_test(test_repeated_and_empty_assignments_are_all_kept),
                cmocka_unit_test(test_values_are_taken_unchanged),
                cmocka_unit_test(test_backslash_at_the_end_continues_a_line),
                cmocka_unit_test(test_carriage_returns_and_byte_order_mark_are_white_space),
                cmocka_unit_test(test_empty_files_have_no_assignments),
                cmocka_unit_test(test_other_lines_are_refused_with_their_number),
                cmocka_unit_test(test_bytes_that_are_not_text_are_refused_with_their_line),
                cmocka_unit_test(test_all_of_unicode_is_text),
                cmocka_unit_test(test_booleans_are_those_of_systemd),
                cmocka_unit_test(test_words_are_separated_by_white_space_and_may_be_quoted),
                DIRECTORY_TEST(test_local_file_hides_the_vendors),
                DIRECTORY_TEST(test_drop_ins_of_both_apply_in_the_order_of_their_names),
                DIRECTORY_TEST(test_empty_file_and_link_to_null_mask),
                DIRECTORY_TEST(test_file_that_cannot_be_read_is_an_error),
                DIRECTORY_TEST(test_thousands_of_assignments_are_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
