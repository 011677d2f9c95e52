/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "basic/io.h"

/* By the first list unseald closes the credential socket; by the second the service manager does not start it again. */
static void test_final_failures_are_those_that_the_unit_does_not_restart_after(void **state) {
        static const char key[] = "\nRestartPreventExitStatus=";
        const char *vectors = getenv("UNSEALD_TEST_VECTORS");
        _cleanup_free_ uint8_t *text = NULL;
        char path[4096], ours[256] = "";
        const char *units;
        size_t size, used = 0;

        assert_non_null(vectors);
        (void) snprintf(path, sizeof(path), "%s/../../units/unseald.service.in", vectors);
        assert_int_equal(read_file(path, 65536, &text, &size), 0);
        units = strstr((const char *) text, key);
        assert_non_null(units);
        units += strlen(key);

        for (int i = 0; i < 256; i++)
                if (strcmp(failure_to_string((Failure) i), "unknown") != 0 && failure_is_final((Failure) i))
                        used += (size_t) snprintf(ours + used, sizeof(ours) - used, "%s%d", used ? " " : "",
                                                  i);
        if (strncmp(units, ours, used) != 0 || units[used] != '\n')
                fail_msg("final is %s, but the unit has %.*s", ours, (int) strcspn(units, "\n"), units);
}

/* curl quotes the certificate's common name in its text, and the service manager reads every line of a notification. */
static void test_outside_text_is_cleaned_when_it_enters_an_error(void **state) {
        Error error;

        assert_int_equal(error_set(&error, -EKEYREJECTED, FAILURE_TLS, "kms.example: subject name '%s'",
                                   "x\nREADY=1\x1b[2J\u202e"),
                         -EKEYREJECTED);
        assert_string_equal(error.text, "kms.example: subject name 'x?READY=1?[2J?'");

        /* The control: nothing else changes. */
        (void) error_set_remedy(&error, -EIO, FAILURE_NETWORK, REMEDY_RETRY, "%s \u2013 %s", "Zürich",
                                "\"100 %\"");
        assert_string_equal(error.text, "Zürich \u2013 \"100 %\"");
        assert_int_equal(error.remedy, REMEDY_RETRY);
}

/* Every failure with every errno: a lack of resources is never final, and everything else is as the caller says. */
static void test_a_lack_of_resources_is_never_final(void **state) {
        static const int of_resources[] = { ENOMEM, EMFILE, ENFILE, ENOBUFS, EINTR, EAGAIN };
        Error error;

        for (int number = 1; number < 134; number++)
                for (int i = 1; i < 256; i++) {
                        bool is_of_resources = false;
                        Failure failure = (Failure) i, wanted = failure;
                        Remedy remedy = REMEDY_NONE;

                        if (strcmp(failure_to_string(failure), "unknown") == 0)
                                continue;
                        for (size_t n = 0; n < ELEMENTSOF(of_resources); n++)
                                is_of_resources |= of_resources[n] == number;
                        assert_int_equal(error_is_of_resources(-number), is_of_resources);
                        /* mlockall(2) says ENOMEM where a limit is too low. */
                        if (is_of_resources && failure_is_final(failure) && failure != FAILURE_MEMORY) {
                                wanted = FAILURE_INTERNAL;
                                remedy = REMEDY_RETRY;
                        }
                        assert_int_equal(error_set(&error, -number, failure, "%s", "x"), -number);
                        if (error.failure != wanted || error.remedy != remedy)
                                fail_msg("%s with errno %d: saw %s", failure_to_string(failure), number,
                                         failure_to_string(error.failure));
                        (void) error_set_remedy(&error, -number, failure, REMEDY_CLOCK, "%s", "x");
                        assert_int_equal(error.failure, wanted);
                        assert_int_equal(error.remedy, remedy ?: REMEDY_CLOCK);
                }
}

static void test_text_that_is_too_long_ends_with_a_whole_character(void **state) {
        char text[2 * sizeof((Error){}.text)];
        Error error;

        for (size_t i = 0; i + 2 < sizeof(text); i += 2)
                memcpy(text + i, "\u00fc", 3);
        (void) error_set(&error, -EIO, FAILURE_NETWORK, "%s", text);
        assert_int_equal(strlen(error.text), sizeof(error.text) - 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_final_failures_are_those_that_the_unit_does_not_restart_after),
                cmocka_unit_test(test_outside_text_is_cleaned_when_it_enters_an_error),
                cmocka_unit_test(test_a_lack_of_resources_is_never_final),
                cmocka_unit_test(test_text_that_is_too_long_ends_with_a_whole_character),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
