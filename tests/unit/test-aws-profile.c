/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "unsealctl/aws-profile.h"

static int parse(AwsProfileFile kind, const char *text, const char *name, AwsProfile *ret, Error *error) {
        return aws_profile_parse("FILE", kind, text, strlen(text), name, ret, error);
}

/* Asserts access key and Region of the profile. NULL: the profile is missing, or lacks the setting. */
static void check(AwsProfileFile kind, const char *text, const char *name, const char *id,
                  const char *region) {
        AwsProfile profile = {};
        Error error = {};

        if (parse(kind, text, name, &profile, &error) < 0)
                fail_msg("<%s>: %s", text, error.text);
        if (!profile.found != (!id && !region) || !profile.access_key_id != !id ||
            !profile.region != !region || (id && strcmp(profile.access_key_id, id) != 0) ||
            (region && strcmp(profile.region, region) != 0))
                fail_msg("<%s>: saw %s, key %s, region %s; wanted %s, %s", text,
                         profile.found ? "the profile" : "no profile", profile.access_key_id ?: "none",
                         profile.region ?: "none", id ?: "none", region ?: "none");
        aws_profile_clear(&profile);
}

static void test_sections_are_named_by_the_kind_of_file(void **state) {
        check(AWS_PROFILE_CREDENTIALS, "[default]\naws_access_key_id=A\n", "default", "A", NULL);
        check(AWS_PROFILE_CREDENTIALS, "[release]\naws_access_key_id=A\n", "release", "A", NULL);
        check(AWS_PROFILE_CREDENTIALS, "[profile release]\naws_access_key_id=A\n", "release", NULL, NULL);
        check(AWS_PROFILE_CREDENTIALS, "[a b]\naws_access_key_id=A\n", "a b", "A", NULL);
        check(AWS_PROFILE_CONFIG, "[default]\nregion=r\n", "default", NULL, "r");
        check(AWS_PROFILE_CONFIG, "[profile default]\nregion=r\n", "default", NULL, "r");
        check(AWS_PROFILE_CONFIG, "[profile release]\nregion=r\n", "release", NULL, "r");
        check(AWS_PROFILE_CONFIG, "[profile\trelease ]\nregion=r\n", "release", NULL, "r");
        check(AWS_PROFILE_CONFIG, "[profile \"a b\"]\nregion=r\n", "a b", NULL, "r");
        check(AWS_PROFILE_CONFIG, "[profile 'a b']\nregion=r\n", "a b", NULL, "r");
        check(AWS_PROFILE_CONFIG, "[profile a b]\nregion=r\n", "a b", NULL, NULL);
        check(AWS_PROFILE_CONFIG, "[release]\nregion=r\n", "release", NULL, NULL);
        check(AWS_PROFILE_CONFIG, "[profilerelease]\nregion=r\n", "release", NULL, NULL);
        check(AWS_PROFILE_CONFIG, "[sso-session release]\nregion=r\n", "release", NULL, NULL);
        check(AWS_PROFILE_CONFIG, "[profile]\nregion=r\n", "release", NULL, NULL);
        check(AWS_PROFILE_CONFIG,
              "[profile other]\nregion=o\n[profile release]\nregion=r\n[default]\nregion=d\n", "release",
              NULL, "r");
        check(AWS_PROFILE_CONFIG, "", "default", NULL, NULL);
}

static void test_lines_are_read_as_configparser_reads_them(void **state) {
        static const char *const same[] = {
                "[p]\naws_access_key_id=A\nregion=r",
                "[p]\r\naws_access_key_id = A\r\nregion = r\r\n",
                "# comment\n\n; comment\n[p]\n  # comment\nAWS_Access_Key_ID: A\n\nRegion:r\n",
                "[p] trailing\naws_access_key_id=A\nregion=r\n",
                "[p]\nx=\n  region=n\n\n  # c\n  aws_access_key_id=N\naws_access_key_id=A\nregion=r\n",
                "[p]\n  aws_access_key_id=A\n  region=r\n",
                "[other]\nregion=o\n  [p]\n  aws_access_key_id=N\n[p]\n  aws_access_key_id=A\n region=r\n",
                "[p]\naws_access_key_id=A\nempty=\nregion=r\nunknown = = : [x]\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(same); i++)
                check(AWS_PROFILE_CREDENTIALS, same[i], "p", "A", "r");
        check(AWS_PROFILE_CREDENTIALS, "[p]\nregion = r # no comment\naws_access_key_id=A=:\n", "p",
              "A=:", "r # no comment");
}

static void test_lines_that_the_cli_refuses_are_errors_with_their_line(void **state) {
        static const struct {
                const char *text, *line;
        } wrong[] = {
                { "aws_access_key_id=A\n", "FILE:1: " },
                { "[p]\naws_access_key_id A\n", "FILE:2: " },
                { "[p]\n= A\n", "FILE:2: " },
                { "[p]\n[]\n", "FILE:2: " },
                { "[p]\n\n[p\n", "FILE:3: " },
                { "[other]\nnonsense\n", "FILE:2: " },
                { "[p]\n[q]\n[p]\n", "FILE:3: " },
                { "[p]\nregion=a\nREGION=b\n", "FILE:3: " },
                { "[p]\naws_secret_access_key=SECRET\n  SECRET\n", "FILE:3: " },
                { "\xef\xbb\xbf[p]\n", "FILE:1: " },
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                AwsProfile profile = {};
                Error error = {};
                int r = parse(AWS_PROFILE_CREDENTIALS, wrong[i].text, "p", &profile, &error);

                if (r >= 0 || error.failure != FAILURE_CONFIGURATION ||
                    strncmp(error.text, wrong[i].line, strlen(wrong[i].line)) != 0)
                        fail_msg("<%s>: saw %d, \"%s\", wanted an error in %s", wrong[i].text, r, error.text,
                                 wrong[i].line);
                assert_null(strstr(error.text, "SECRET"));
        }
}

static void test_a_nul_byte_is_an_error(void **state) {
        static const char text[] = "[p]\nregion=\0r\n", edge[] = "[p]\nregion=r\0\n";
        AwsProfile profile = {};
        Error error;

        assert_int_equal(aws_profile_parse("FILE", AWS_PROFILE_CREDENTIALS, text, sizeof(text) - 1, "p",
                                           &profile, &error),
                         -EINVAL);
        assert_int_equal(aws_profile_parse("FILE", AWS_PROFILE_CREDENTIALS, edge, sizeof(edge) - 1, "p",
                                           &profile, &error),
                         -EINVAL);
}

/* want: the access key chosen from both files, or the beginning of the error's text, or "none". */
static void check_choice(const char *credentials_file, const char *config_file, const char *want) {
        AwsProfile credentials = {}, config = {};
        AwsCredentials found = {};
        Error error = {};
        const char *saw;
        int r;

        assert_int_equal(parse(AWS_PROFILE_CREDENTIALS, credentials_file, "p", &credentials, &error), 0);
        assert_int_equal(parse(AWS_PROFILE_CONFIG, config_file, "p", &config, &error), 0);
        r = aws_profile_credentials(&credentials, &config, "p", &found, &error);
        saw = r == 0 ? found.access_key_id : r == -ENODATA ? "none" : error.text;
        if (strncmp(saw, want, strlen(want)) != 0 ||
            (r < 0 && r != -ENODATA && error.failure != FAILURE_ROLE))
                fail_msg("<%s> and <%s>: saw \"%s\", wanted \"%s\"", credentials_file, config_file, saw,
                         want);
        if (r == 0)
                assert_string_equal(found.secret_access_key, found.access_key_id);
        aws_credentials_clear(&found);
        aws_profile_clear(&credentials);
        aws_profile_clear(&config);
}

#define KEY(name) "aws_access_key_id=" name "\naws_secret_access_key=" name "\n"

static void test_access_keys_are_chosen_as_the_cli_chooses(void **state) {
        check_choice("", "", "none");
        check_choice("[p]\n" KEY("C"), "", "C");
        check_choice("", "[profile p]\n" KEY("F"), "F");
        check_choice("[p]\n" KEY("C"), "[profile p]\n" KEY("F"), "C");
        check_choice("[p]\n" KEY("C"), "[profile p]\ncredential_process=x\n", "C");
        check_choice("[p]\n" KEY("C"), "[profile p]\nlogin_session=x\n", "C");
        check_choice("", "[profile p]\ncredential_process=x\n" KEY("F"),
                     "The profile p gets its credentials by credential_process");
        check_choice("[p]\ncredential_process=x\n", "",
                     "The profile p gets its credentials by credential_process");
        check_choice("[p]\n" KEY("C"), "[profile p]\nrole_arn=x\nsource_profile=p\n",
                     "The profile p gets its credentials by role_arn");
        check_choice("[p]\nrole_arn=x\n" KEY("C"), "", "The profile p gets its credentials by role_arn");
        check_choice("[p]\n" KEY("C"), "[profile p]\nsso_account_id=1\n",
                     "The profile p gets its credentials by sso_account_id");
        check_choice("", "[profile p]\nlogin_session=x\n",
                     "The profile p gets its credentials by login_session");
        /* A secret key without its ID is skipped. An ID without its secret key is an error. */
        check_choice("[p]\naws_secret_access_key=C\n", "[profile p]\n" KEY("F"), "F");
        check_choice("[p]\naws_access_key_id=C\n", "[profile p]\n" KEY("F"),
                     "The profile p has aws_access_key_id, but");
        check_choice("[p]\naws_access_key_id=C D\naws_secret_access_key=S\n", "",
                     "The access key or session token");
        check_choice("[p]\naws_access_key_id=\naws_secret_access_key=\n", "",
                     "The access key or session token");
        check_choice("[p]\n" KEY("C") "aws_session_token=a\tb\n", "", "The access key or session token");
}

static void test_a_session_token_goes_with_its_key(void **state) {
        AwsProfile credentials = {}, config = {};
        AwsCredentials found = {};
        Error error;

        assert_int_equal(parse(AWS_PROFILE_CREDENTIALS, "[p]\n" KEY("C") "aws_session_token=T\n", "p",
                               &credentials, &error),
                         0);
        assert_int_equal(aws_profile_credentials(&credentials, &config, "p", &found, &error), 0);
        assert_string_equal(found.session_token, "T");
        assert_int_equal(found.expiration, 0);
        aws_credentials_clear(&found);
        aws_profile_clear(&credentials);

        assert_int_equal(parse(AWS_PROFILE_CREDENTIALS, "[p]\n" KEY("C") "aws_session_token=\n", "p",
                               &credentials, &error),
                         0);
        assert_int_equal(parse(AWS_PROFILE_CONFIG, "[profile p]\naws_session_token=T\n", "p", &config,
                               &error),
                         0);
        assert_int_equal(aws_profile_credentials(&credentials, &config, "p", &found, &error), 0);
        assert_null(found.session_token);
        aws_credentials_clear(&found);
        aws_profile_clear(&credentials);
        aws_profile_clear(&config);
}

static void test_errors_say_how_to_let_the_cli_do_it(void **state) {
        AwsProfile credentials = {}, config = {};
        AwsCredentials found = {};
        Error error;

        assert_int_equal(parse(AWS_PROFILE_CONFIG, "[profile p]\nrole_arn=x\n", "p", &config, &error), 0);
        assert_int_equal(aws_profile_credentials(&credentials, &config, "p", &found, &error), -EOPNOTSUPP);
        assert_non_null(strstr(error.text, "aws configure export-credentials --profile p --format env"));
        aws_profile_clear(&config);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sections_are_named_by_the_kind_of_file),
                cmocka_unit_test(test_lines_are_read_as_configparser_reads_them),
                cmocka_unit_test(test_lines_that_the_cli_refuses_are_errors_with_their_line),
                cmocka_unit_test(test_a_nul_byte_is_an_error),
                cmocka_unit_test(test_access_keys_are_chosen_as_the_cli_chooses),
                cmocka_unit_test(test_a_session_token_goes_with_its_key),
                cmocka_unit_test(test_errors_say_how_to_let_the_cli_do_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
