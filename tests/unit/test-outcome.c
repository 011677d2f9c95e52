/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "basic/json.h"
#include "unsealctl/status/late-line.h"
#include "unsealctl/status/outcome.h"
#include "unsealctl/status/volume-state.h"
#include "unsealctl/unit-properties.h"

#define RAN "ExecMainStartTimestampMonotonic=5\n"

static void test_a_volume_has_a_counter_only_while_it_is_open(void **state) {
        static const struct {
                const char *properties, *file, *state, *counter, *device, *text;
        } rows[] = {
                { NULL, "UNSEALD_VOLUME_COUNTER=3\n", "unknown", "", "", "" },
                { "ActiveState=active\nSubState=exited\nStatusText=Open.\n",
                  "UNSEALD_VOLUME_COUNTER=3\nUNSEALD_VOLUME_DEVICE=/dev/loop0\n", "open", "3", "/dev/loop0",
                  "" },
                { "ActiveState=active\n", NULL, "open", "", "", "" },
                { "ActiveState=active\n", "UNSEALD_VOLUME_COUNTER=-3\n", "open", "", "", "" },
                { "ActiveState=active\n", "UNSEALD_VOLUME_COUNTER=18446744073709551615", "open",
                  "18446744073709551615", "", "" },
                { "ActiveState=deactivating\n", "UNSEALD_VOLUME_COUNTER=3\n", "open", "3", "", "" },
                { "ActiveState=inactive\nStatusText=\n", "UNSEALD_VOLUME_COUNTER=3\n", "closed", "", "",
                  "" },
                { "ActiveState=activating\nSubState=start\n", "UNSEALD_VOLUME_COUNTER=3\n", "opening", "",
                  "", "" },
                { "ActiveState=activating\nSubState=start\nStatusText=Formatting the volume: 40 % of 9 MiB.\n",
                  NULL, "formatting", "", "", "Formatting the volume: 40 % of 9 MiB." },
                { "ActiveState=activating\nSubState=auto-restart\nStatusText=Formatting the volume: 40 %.\n",
                  NULL, "failed", "", "", "Formatting the volume: 40 %." },
                { "ActiveState=failed\nSubState=failed\nStatusText=No\033device.\n", NULL, "failed", "", "",
                  "No?device." },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                VolumeState volume;

                volume_state(rows[i].properties, rows[i].file, &volume);
                assert_string_equal(volume.state, rows[i].state);
                assert_string_equal(volume.counter, rows[i].counter);
                assert_string_equal(volume.device, rows[i].device);
                assert_string_equal(volume.text, rows[i].text);
        }
}

static Outcome outcome(const char *file, const char *unit, const char *secret) {
        _cleanup_json_ struct json_object *status = NULL;

        if (file)
                assert_int_equal(json_parse(file, strlen(file), &status), 0);
        return outcome_of(status, unit, secret);
}

/* Columns: what the file says, then the outcome for each state of the unit: not known, running, starting, stopped, failed. */
static void test_file_and_unit_together_tell_the_outcome(void **state) {
        static const char *const units[] = { NULL, "ActiveState=active\n" RAN,
                                             "ActiveState=activating\n" RAN, "ActiveState=inactive\n" RAN,
                                             "ActiveState=failed\n" RAN };
        static const struct {
                const char *file;
                Outcome wanted[ELEMENTSOF(units)];
        } rows[] = {
                { NULL,
                  { OUTCOME_NEVER_RUN, OUTCOME_PUBLISHED, OUTCOME_NOT_YET, OUTCOME_STOPPED,
                    OUTCOME_FAILED } },
                { "{\"state\": \"unsealed\"}",
                  { OUTCOME_PUBLISHED, OUTCOME_PUBLISHED, OUTCOME_PUBLISHED, OUTCOME_STOPPED,
                    OUTCOME_FAILED } },
                { "{\"state\": \"unsealing\"}",
                  { OUTCOME_NOT_YET, OUTCOME_NOT_YET, OUTCOME_NOT_YET, OUTCOME_STOPPED, OUTCOME_FAILED } },
                { "{\"state\": \"stopped\"}",
                  { OUTCOME_STOPPED, OUTCOME_STOPPED, OUTCOME_NOT_YET, OUTCOME_STOPPED, OUTCOME_STOPPED } },
                { "{\"state\": \"failed\", \"failure\": \"access-denied\"}",
                  { OUTCOME_FAILED, OUTCOME_FAILED, OUTCOME_FAILED, OUTCOME_FAILED, OUTCOME_FAILED } },
                { "{\"state\": \"failed\", \"failure\": \"network\"}",
                  { OUTCOME_NOT_YET, OUTCOME_NOT_YET, OUTCOME_NOT_YET, OUTCOME_FAILED, OUTCOME_FAILED } },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                for (size_t k = 0; k < ELEMENTSOF(units); k++)
                        if (outcome(rows[i].file, units[k], NULL) != rows[i].wanted[k])
                                fail_msg("%s with %s: %s, wanted %s", rows[i].file ?: "no file",
                                         units[k] ?: "an unknown unit",
                                         outcome_to_string(outcome(rows[i].file, units[k], NULL)),
                                         outcome_to_string(rows[i].wanted[k]));
        assert_int_equal(outcome(NULL, "ActiveState=inactive\nExecMainStartTimestampMonotonic=0\n", NULL),
                         OUTCOME_NEVER_RUN);
        assert_int_equal(outcome(NULL, "ActiveState=inactive\n", NULL), OUTCOME_NEVER_RUN);
        assert_int_equal(outcome(NULL, "ActiveState=maintenance\n" RAN, NULL), OUTCOME_NEVER_RUN);
}

static void test_a_secret_has_an_outcome_of_its_own(void **state) {
#define SECRETS                                                                                                 \
        "\"secrets\": [{\"name\": \"a\", \"state\": \"published\"}, {\"name\": \"b\", \"state\": \"failed\"}, " \
        "{\"name\": \"c\", \"state\": \"sealed\"}]}"
        static const char unsealed[] = "{\"state\": \"unsealed\", " SECRETS,
                          unsealing[] = "{\"state\": \"unsealing\", " SECRETS,
                          network[] = "{\"state\": \"failed\", \"failure\": \"network\", " SECRETS,
                          denied[] = "{\"state\": \"failed\", \"failure\": \"access-denied\", " SECRETS;

        assert_int_equal(outcome(unsealed, NULL, "a"), OUTCOME_PUBLISHED);
        assert_int_equal(outcome(unsealed, NULL, "b"), OUTCOME_FAILED);
        assert_int_equal(outcome(unsealed, NULL, "missing"), OUTCOME_FAILED);
        assert_int_equal(outcome(unsealed, "ActiveState=inactive\n" RAN, "a"), OUTCOME_STOPPED);
        assert_int_equal(outcome(unsealing, NULL, "a"), OUTCOME_PUBLISHED);
        assert_int_equal(outcome(unsealing, NULL, "b"), OUTCOME_FAILED);
        assert_int_equal(outcome(unsealing, NULL, "c"), OUTCOME_NOT_YET);
        assert_int_equal(outcome(network, NULL, "b"), OUTCOME_NOT_YET);
        assert_int_equal(outcome(denied, NULL, "a"), OUTCOME_FAILED);
}

/* One late secret of each state, and whether it is optional. */
static Outcome late(const char *state, bool optional, const char *other) {
        char text[512];

        (void) snprintf(text, sizeof(text),
                        "{\"state\": \"unsealed\", \"secrets\": ["
                        "{\"name\": \"a\", \"state\": \"published\", \"optional\": false}, "
                        "{\"name\": \"b\", \"state\": \"failed\", \"optional\": false}, "
                        "{\"name\": \"c\", \"state\": \"%s\", \"optional\": %s, \"late\": true}, "
                        "{\"name\": \"d\", \"state\": \"%s\", \"optional\": false, \"late\": true}]}",
                        state, optional ? "true" : "false", other);
        return outcome(text, NULL, OUTCOME_OF_LATE);
}

/* The others have no say: READY=1 speaks of them. */
static void test_late_secrets_have_one_outcome_together(void **state) {
        static const char alone[] =
                        "{\"state\": \"unsealed\", \"secrets\": [{\"name\": \"a\", \"state\": \"late\", "
                        "\"late\": true}]}";

        assert_int_equal(late("published", false, "published"), OUTCOME_PUBLISHED);
        assert_int_equal(late("late", false, "published"), OUTCOME_NOT_YET);
        assert_int_equal(late("published", false, "fetching"), OUTCOME_NOT_YET);
        assert_int_equal(late("failed", false, "late"), OUTCOME_FAILED);
        assert_int_equal(late("late", false, "failed"), OUTCOME_FAILED);
        assert_int_equal(late("failed", true, "late"), OUTCOME_NOT_YET);
        assert_int_equal(late("failed", true, "published"), OUTCOME_PUBLISHED);
        assert_int_equal(outcome(alone, NULL, "a"), OUTCOME_NOT_YET);
        assert_int_equal(outcome(alone, NULL, NULL), OUTCOME_PUBLISHED);
        assert_int_equal(outcome("{\"state\": \"unsealing\"}", NULL, OUTCOME_OF_LATE), OUTCOME_NOT_YET);
        assert_int_equal(outcome("{\"state\": \"unsealed\"}", NULL, OUTCOME_OF_LATE), OUTCOME_PUBLISHED);
        /* Without the file nobody knows of them. */
        assert_int_equal(outcome(NULL, "ActiveState=active\n" RAN, OUTCOME_OF_LATE), OUTCOME_NOT_YET);
        assert_int_equal(outcome(NULL, "ActiveState=failed\n" RAN, OUTCOME_OF_LATE), OUTCOME_FAILED);
}

static void assert_line_is(const char *status, bool with_bar, const char *wanted) {
        _cleanup_json_ struct json_object *root = NULL;
        char line[LATE_LINE_MAX];
        struct json_object *secret;

        assert_int_equal(json_parse(status, strlen(status), &root), 0);
        secret = late_secret_under_way(root);
        assert_int_equal(late_line(root, secret, with_bar, line), wanted[0] != 0);
        assert_string_equal(line, wanted);
}

static void test_a_line_says_how_far_a_late_secret_is(void **state) {
#define LATE(written, bytes, total)                                                                     \
        "{\"written_monotonic_usec\": " written ", \"secrets\": [{\"name\": \"a\"}, {\"name\": \"b\", " \
        "\"bytes\": " bytes ", \"bytes_total\": " total ", \"bytes_since_monotonic_usec\": 1000000}]}"
        assert_line_is(LATE("3000000", "1073741824", "2147483648"), false, "50 % of 2.00 GiB, 512 MiB/s");
        assert_line_is(LATE("3000000", "1073741824", "2147483648"), true,
                       "[##########          ] 50 % of 2.00 GiB, 512 MiB/s");
        assert_line_is(LATE("1500000", "0", "999"), true, "[                    ] 0 % of 999 bytes");
        assert_line_is(LATE("1000000", "5", "10"), false, "50 % of 10 bytes");
        assert_line_is(LATE("2000000", "30", "10"), true,
                       "[####################] 100 % of 10 bytes, 10 bytes/s");
        assert_line_is(LATE("2000000", "1000", "17592186044416"), false, "0 % of 16.0 TiB, 0.98 KiB/s");
        assert_line_is(LATE("2000000", "-1", "-1"), false, "");
        assert_line_is("{\"secrets\": [{\"name\": \"a\"}]}", true, "");
        assert_line_is("{}", true, "");
}

static void test_a_file_that_differs_from_the_unit_is_out_of_date(void **state) {
        _cleanup_json_ struct json_object *status = NULL;
        static const char text[] = "{\"state\": \"unsealing\"}";

        assert_int_equal(json_parse(text, strlen(text), &status), 0);
        assert_true(outcome_is_in_file(status, OUTCOME_NOT_YET));
        assert_false(outcome_is_in_file(status, OUTCOME_FAILED));
        assert_false(outcome_is_in_file(NULL, OUTCOME_STOPPED));
}

static void test_a_property_is_a_whole_line(void **state) {
        static const char text[] = "XActiveState=a\nActiveStateY=b\nActiveState=c d\nActiveState=e";
        char value[8];

        assert_string_equal(unit_property(text, "ActiveState", value, sizeof(value)), "c d");
        assert_string_equal(unit_property(text, "State", value, sizeof(value)), "");
        assert_string_equal(unit_property("", "ActiveState", value, sizeof(value)), "");
        assert_string_equal(unit_property("A=0123456789", "A", value, sizeof(value)), "0123456");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_file_and_unit_together_tell_the_outcome),
                cmocka_unit_test(test_a_volume_has_a_counter_only_while_it_is_open),
                cmocka_unit_test(test_a_secret_has_an_outcome_of_its_own),
                cmocka_unit_test(test_late_secrets_have_one_outcome_together),
                cmocka_unit_test(test_a_line_says_how_far_a_late_secret_is),
                cmocka_unit_test(test_a_file_that_differs_from_the_unit_is_out_of_date),
                cmocka_unit_test(test_a_property_is_a_whole_line),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
