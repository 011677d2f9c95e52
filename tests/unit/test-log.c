/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/log.h"

static char logged[8192];
static int saved = -1;
static FILE *file;

static void begin(void) {
        file = tmpfile();
        assert_non_null(file);
        assert_int_equal(fflush(stderr), 0);
        saved = dup(STDERR_FILENO);
        assert_true(saved >= 0);
        assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
}

/* Returns the text that reached standard error since begin(). */
static const char *end(void) {
        size_t n;

        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        close(saved);
        rewind(file);
        n = fread(logged, 1, sizeof(logged) - 1, file);
        logged[n] = '\0';
        fclose(file);
        return logged;
}

static void test_entry_is_one_clean_line(void **state) {
        begin();
        log_warning("%s: %s", "a", "b\n<0>forged\x1b[2J");
        assert_string_equal(end(), "a: b?<0>forged?[2J\n");
}

static void test_own_lines_follow_the_text(void **state) {
        begin();
        log_full(LOG_ERR, &(LogFields){ .lines = "PCR4 DIFFERS\n  measured \x1b[2J" }, "Denied: %s", "a\nb");
        assert_string_equal(end(), "Denied: a?b\nPCR4 DIFFERS\n  measured ?[2J\n");

        begin();
        log_full(LOG_ERR, &(LogFields){ .lines = "" }, "Denied.");
        assert_string_equal(end(), "Denied.\n");
}

static void test_long_entry_is_cut(void **state) {
        char text[5000];
        size_t length;

        memset(text, 'a', sizeof(text));
        text[sizeof(text) - 1] = '\0';
        begin();
        log_full(LOG_ERR, &(LogFields){ .lines = "more" }, "%s", text);
        length = strlen(end());
        assert_in_range(length, 2000, 2560);
        assert_int_equal(logged[length - 1], '\n');
}

static void test_entries_above_the_highest_priority_are_dropped(void **state) {
        begin();
        log_debug("dropped");
        log_set_max_priority(LOG_DEBUG);
        log_debug("kept");
        log_set_max_priority(LOG_INFO);
        assert_string_equal(end(), "kept\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_entry_is_one_clean_line),
                cmocka_unit_test(test_own_lines_follow_the_text),
                cmocka_unit_test(test_long_entry_is_cut),
                cmocka_unit_test(test_entries_above_the_highest_priority_are_dropped),
        };

        if (unsetenv("JOURNAL_STREAM") < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
