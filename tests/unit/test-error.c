/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

#include "basic/error.h"
#include "basic/io.h"

/* unseald shuts the credential socket for good by one list, and is not started again by the other. */
static void test_what_is_final_is_what_the_unit_does_not_restart_after(void **state) {
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

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_is_final_is_what_the_unit_does_not_restart_after),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
