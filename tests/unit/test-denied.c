/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "unsealctl/denied.h"

#define REFUSED \
        " is not authorized to perform: kms:Encrypt on resource: arn:aws:kms:eu-north-1:111122223333:key/x"
#define SESSION "arn:aws:sts::111122223333:assumed-role/"

/* Asserts the principal; NULL: the text names none. */
static void check(const char *text, const char *principal) {
        Denied denied;
        bool found = denied_parse(text, &denied);

        if (found != (principal != NULL) || (found && strcmp(denied.principal, principal) != 0))
                fail_msg("<%s>: saw %s, wanted %s", text, found ? denied.principal : "none",
                         principal ?: "none");
}

static void test_session_is_its_role_and_the_rest_is_as_named(void **state) {
        check("User: " SESSION "ci/run-7" REFUSED, "arn:aws:iam::111122223333:role/ci");
        check("KMS denies access: \"User: " SESSION "AWSReservedSSO_A_0123/a.b@example.com" REFUSED
              "\" Either",
              "arn:aws:iam::111122223333:role/AWSReservedSSO_A_0123");
        check("User: arn:aws-us-gov:sts::111122223333:assumed-role/a/b" REFUSED,
              "arn:aws-us-gov:iam::111122223333:role/a");
        check("User: arn:aws:iam::111122223333:user/anna" REFUSED, "arn:aws:iam::111122223333:user/anna");
        check("User: arn:aws:iam::111122223333:user/team/x/anna" REFUSED,
              "arn:aws:iam::111122223333:user/team/x/anna");
        check("User: arn:aws:iam::111122223333:role/ci" REFUSED, "arn:aws:iam::111122223333:role/ci");
        check("\"User: arn:aws:iam::111122223333:user/anna\"", "arn:aws:iam::111122223333:user/anna");
}

/* A person copies the line into a root shell. */
static void test_what_a_shell_could_take_for_more_is_no_principal(void **state) {
        static const char *const wrong[] = {
                "",
                "User: ",
                "arn:aws:iam::111122223333:user/anna" REFUSED,
                "User: arn:aws:iam::111122223333:root" REFUSED,
                "User: arn:aws:sts::111122223333:federated-user/anna" REFUSED,
                "User: arn:evil:iam::111122223333:user/anna" REFUSED,
                "User: arn:aws:iam::11112222333:user/anna" REFUSED,
                "User: arn:aws:iam::1111222233334:user/anna" REFUSED,
                "User: arn:aws:iam::111122223333:user/" REFUSED,
                "User: arn:aws:iam::111122223333:user/team/" REFUSED,
                "User: arn:aws:iam::111122223333:user/a;reboot" REFUSED,
                "User: arn:aws:iam::111122223333:user/a$(reboot)" REFUSED,
                "User: arn:aws:iam::111122223333:user/a`reboot`" REFUSED,
                "User: arn:aws:iam::111122223333:user/a\nreboot" REFUSED,
                "User: arn:aws:iam::111122223333:user/a\033[2J" REFUSED,
                "User: arn:aws:iam::111122223333:user/a\\b" REFUSED,
                "User: " SESSION "ci" REFUSED,
                "User: " SESSION "ci/" REFUSED,
                "User: " SESSION "ci/run/7" REFUSED,
                "User: " SESSION "ci/run;reboot" REFUSED,
                "User: " SESSION "/run" REFUSED,
                "User: " SESSION
                "a2345678901234567890123456789012345678901234567890123456789012345/run" REFUSED,
                "User: arn:aws:iam::",
                "User: arn:aws:sts::111122223333",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                check(wrong[i], NULL);
}

static void test_action_is_a_name_or_empty(void **state) {
        Denied denied;

        assert_true(denied_parse("User: " SESSION "ci/run" REFUSED, &denied));
        assert_string_equal(denied.action, "kms:Encrypt");
        assert_true(denied.is_session);
        assert_true(denied_parse("User: arn:aws:iam::111122223333:user/anna is not welcome", &denied));
        assert_string_equal(denied.action, "");
        assert_false(denied.is_session);
        assert_true(denied_parse(
                        "User: arn:aws:iam::111122223333:user/a is not authorized to perform: kms:A;b",
                        &denied));
        assert_string_equal(denied.action, "kms:A");
        assert_true(denied_parse(
                        "User: arn:aws:iam::111122223333:user/a is not authorized to perform: s3:Get",
                        &denied));
        assert_string_equal(denied.action, "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_session_is_its_role_and_the_rest_is_as_named),
                cmocka_unit_test(test_what_a_shell_could_take_for_more_is_no_principal),
                cmocka_unit_test(test_action_is_a_name_or_empty),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
