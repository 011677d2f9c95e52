/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "basic/json.h"
#include "unsealctl/policy/lint.h"
#include "unsealctl/policy/make.h"

#define APP "arn:aws:iam::222222222222:role/app"
#define CUSTOMER "arn:aws:iam::222222222222:root"
#define ADMIN "arn:aws:iam::111111111111:role/admin"
#define ROOT "arn:aws:iam::111111111111:root"
#define RESCUE "arn:aws:iam::111111111111:user/rescue"

static const char *const app[] = { APP, NULL };
static const char *const admin[] = { ADMIN, NULL };

static PcrSet image_of(uint8_t four, uint8_t seven, uint8_t twelve) {
        PcrSet image = { .present = 1U << 4 | 1U << 7 | 1U << 12 };

        memset(image.value[4], four, PCR_SIZE);
        memset(image.value[7], seven, PCR_SIZE);
        memset(image.value[12], twelve, PCR_SIZE);
        return image;
}

static KeyPolicyOptions options_of(const PcrSet *images, size_t n_images) {
        return (KeyPolicyOptions){
                .images = images,
                .n_images = n_images,
                .principals = app,
                .administrators = admin,
        };
}

static struct json_object *make(const KeyPolicyOptions *options) {
        struct json_object *policy = NULL;
        Error error = {};

        if (key_policy_make(options, &policy, &error) < 0)
                fail_msg("%s", error.text);
        return policy;
}

static size_t count(struct json_object *policy, const char *effect) {
        struct json_object *statements = json_member(policy, "Statement");
        size_t n = 0;

        for (size_t i = 0; i < json_object_array_length(statements); i++)
                n += strcmp(json_member_string(json_object_array_get_idx(statements, i), "Effect"),
                            effect) == 0;
        return n;
}

static struct json_object *statement(struct json_object *policy, const char *sid) {
        struct json_object *statements = json_member(policy, "Statement");

        for (size_t i = 0; i < json_object_array_length(statements); i++)
                if (strcmp(json_member_string(json_object_array_get_idx(statements, i), "Sid"), sid) == 0)
                        return json_object_array_get_idx(statements, i);
        fail_msg("no statement %s in %s", sid, json_object_to_json_string(policy));
        return NULL;
}

static void assert_json(struct json_object *object, const char *wanted) {
        const char *saw = json_object_to_json_string_ext(
                        object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

        if (strcmp(saw, wanted) != 0)
                fail_msg("saw    %s\nwanted %s", saw, wanted);
}

static void lint_or_fail(const KeyPolicyOptions *options, struct json_object *policy) {
        const LintOptions lint_options = { options->images,
                                           options->n_images,
                                           options->expectation,
                                           options->administrators,
                                           options->recovery_principals,
                                           options->sealers };
        const char *text = json_object_to_json_string_ext(policy, KEY_POLICY_FORMAT);
        _cleanup_(lint_report_freep) LintReport *report = NULL;
        bool clean = true, warned = false,
             drivers = options->expectation.any_drivers && !options->expectation.secure_boot;

        assert_int_equal(lint_policy(text, strlen(text), &lint_options, &report), 0);
        for (size_t i = 0; i < report->n_findings; i++) {
                const LintFinding *finding = &report->findings[i];

                if (finding->code == LINT_PCR2_MISSING && drivers) {
                        warned = true;
                        continue;
                }
                if ((finding->code == LINT_RECOVERY_PRINCIPAL && options->recovery_principals) ||
                    (finding->code == LINT_NO_ADMINISTRATOR && !options->administrators))
                        continue;
                printf("  saw %s in statement %zu: %s\n", lint_code_to_string(finding->code),
                       finding->statement, finding->meaning);
                clean = false;
        }
        if (drivers && !warned)
                printf("  wanted %s\n", lint_code_to_string(LINT_PCR2_MISSING));
        if (!clean || warned != drivers)
                fail_msg("%s", text);
}

static void test_lint_finds_nothing_whatever_the_options_but_drivers_allowed(void **state) {
        static const char *const principals[][3] = { { APP },
                                                     { CUSTOMER },
                                                     { APP, "arn:aws:iam::111111111111:role/app" },
                                                     { "arn:aws:iam::333333333333:root", APP } };
        static const char *const administrators[][3] = {
                {}, { ADMIN }, { ROOT }, { "arn:aws:iam::222222222222:role/admin", ADMIN }, { RESCUE }
        };
        static const char *const sealer[] = { "arn:aws:iam::111111111111:role/ci", NULL },
                                 *const rescue[] = { RESCUE, NULL },
                                 *const organization[] = { "o-0123456789", NULL },
                                 *const endpoint[] = { "vpce-0123456789abcdef0", "vpce-01234567", NULL },
                                 *const made[] = { "db-key", "session-key", NULL };
        const PcrSet images[][3] = {
                { image_of(0xA4, 0xA7, 0) },
                { image_of(0xA4, 0xA7, 0), image_of(0xB4, 0xA7, 0) },
                { image_of(0xA4, 0xA7, 0), image_of(0xB4, 0xB7, 0xC1), image_of(0xA4, 0xA7, 0) },
                { image_of(0xA4, 0xA7, 0), image_of(0xB4, 0xB7, 0xB1), image_of(0xC4, 0xC7, 0xC1) },
        };
        static const size_t n_images[] = { 1, 2, 3, 3 };
        const unsigned step = getenv("UNSEALD_TEST_SLOW") ? 37 : 3;
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(images) * ELEMENTSOF(principals) * ELEMENTSOF(administrators); i++)
                for (unsigned bits = 0; bits < 1024; bits += step) {
                        size_t which = i % ELEMENTSOF(images),
                               who = i / ELEMENTSOF(images) % ELEMENTSOF(principals),
                               whose = i / ELEMENTSOF(images) / ELEMENTSOF(principals);
                        const KeyPolicyOptions options = {
                                .images = images[which],
                                .n_images = n_images[which],
                                .principals = principals[who],
                                .administrators = *administrators[whose] ? administrators[whose] : NULL,
                                .expectation = { .secure_boot = bits & 1,
                                                 .any_drivers = bits & 256,
                                                 .any_extensions = bits & 512,
                                                 .measured = bits & 64 ? 1U << 14 : 0,
                                                 .lock_pcr = bits & 2 ? (bits & 4 ? 13 : 15) : 0 },
                                /* With all other options, images that share no PCR leave no room for a sealer and for data keys. */
                                .sealers = bits & 4 && (which < 3 || !(bits & 8)) ? sealer : NULL,
                                .recovery_principals = bits & 8 ? rescue : NULL,
                                .organizations = bits & 16 ? organization : NULL,
                                .vpc_endpoints = bits & 32 ? endpoint : NULL,
                                .generated = bits & 64 && which < 2 ? made : NULL,
                                .generate_data_key = (bits & 192) == 64 && which < 2,
                                .bind_account = bits & 128,
                        };
                        _cleanup_json_ struct json_object *policy = make(&options);

                        lint_or_fail(&options, policy);
                        n++;
                }
        printf("%zu policies\n", n);
}

static void test_one_image_is_one_allow_and_a_deny_for_each_pcr(void **state) {
        const PcrSet image = image_of(0xA4, 0xA7, 0);
        KeyPolicyOptions options = options_of(&image, 1);
        _cleanup_json_ struct json_object *standard = make(&options), *secure = NULL;

        /* Three more deny other ways, sealing and administration. */
        assert_int_equal(count(standard, "Deny"), 4 + 3);
        statement(standard, "DenyOtherPCR2");
        statement(standard, "DenyOtherPCR4");
        statement(standard, "DenyOtherPCR12");
        statement(standard, "DenyOtherPCR13");
        options.expectation.secure_boot = true;
        options.expectation.lock_pcr = 8;
        secure = make(&options);
        assert_int_equal(count(secure, "Deny"), 6 + 3);
        statement(secure, "DenyOtherPCR2");
        statement(secure, "DenyOtherPCR7");
        statement(secure, "DenyOtherPCR8");
}

static void test_pcr2_is_that_of_firmware_without_drivers_unless_measured_or_allowed(void **state) {
#define PCR2 "kms:RecipientAttestation:NitroTPMPCR2"
#define CONDITION "/Condition/StringNotEqualsIgnoreCase"
        PcrSet images[] = { image_of(0xA4, 0xA7, 0), image_of(0xA4, 0xA7, 0) };
        KeyPolicyOptions options = options_of(images, 1);
        _cleanup_json_ struct json_object *predicted = make(&options), *measured = NULL, *allowed = NULL;
        struct json_object *both;

        assert_json(json_pointer(statement(predicted, "DenyOtherPCR2"), CONDITION),
                    "{\"" PCR2 "\":\"" PCR2_WITHOUT_DRIVERS "\"}");
        assert_string_equal(json_member_string(json_pointer(statement(predicted, "Unseal"),
                                                            "/Condition/StringEqualsIgnoreCase"),
                                               PCR2),
                            PCR2_WITHOUT_DRIVERS);

        /* The second image runs on an instance type whose firmware has drivers. */
        images[1].present |= 1U << 2;
        memset(images[1].value[2], 0xA2, PCR_SIZE);
        options.n_images = 2;
        measured = make(&options);
        both = json_pointer(statement(measured, "DenyOtherPCR2"), CONDITION "/" PCR2);
        assert_int_equal(json_object_array_length(both), 2);
        assert_int_equal(count(measured, "Deny"), 4 + 3);

        options.expectation.any_drivers = true;
        allowed = make(&options);
        assert_null(strstr(json_object_to_json_string(allowed), "PCR2"));
}

static void test_an_allow_alone_has_the_conditions_of_organization_endpoint_and_account(void **state) {
        static const char *const organizations[] = { "o-0123456789", NULL }, *const endpoints[] = {
                "vpce-01234567", NULL
        };
        const PcrSet image = image_of(0xA4, 0xA7, 0);
        KeyPolicyOptions options = options_of(&image, 1);
        _cleanup_json_ struct json_object *policy = NULL;

        options.organizations = organizations;
        options.vpc_endpoints = endpoints;
        options.bind_account = true;
        policy = make(&options);
        assert_json(json_pointer(statement(policy, "Unseal"), "/Condition/StringEquals"),
                    "{\"aws:PrincipalOrgID\":\"o-0123456789\",\"aws:SourceVpce\":\"vpce-01234567\","
                    "\"kms:EncryptionContext:unseald:account\":\"${aws:PrincipalAccount}\"}");
        assert_json(json_pointer(statement(policy, "DenyOtherAccounts"), "/Condition"),
                    "{\"StringNotEquals\":{\"kms:EncryptionContext:unseald:account\":\"${aws:"
                    "PrincipalAccount}\"}}");
}

static void test_images_that_differ_in_one_pcr_need_no_more_denies(void **state) {
        const PcrSet images[] = { image_of(0xA4, 0xA7, 0), image_of(0xB4, 0xA7, 0), image_of(0xC4, 0xA7, 0),
                                  image_of(0xA4, 0xA7, 0) };
        const KeyPolicyOptions options = options_of(images, ELEMENTSOF(images));
        _cleanup_json_ struct json_object *policy = make(&options);

        /* The fourth image equals the first. One more Allow is for the administrator. */
        assert_int_equal(count(policy, "Allow"), 3 + 1);
        assert_int_equal(count(policy, "Deny"), 4 + 3);
}

static void test_images_that_differ_in_two_pcrs_do_not_mix(void **state) {
        const PcrSet images[] = { image_of(0xA4, 0xA7, 0), image_of(0xB4, 0xA7, 0xC1) };
        const KeyPolicyOptions options = options_of(images, 2);
        _cleanup_json_ struct json_object *policy = make(&options);

        assert_int_equal(count(policy, "Deny"), 6 + 3);
        assert_int_equal(json_object_object_length(json_pointer(statement(policy, "DenyOtherPCR4PCR12x3"),
                                                                "/Condition/StringNotEqualsIgnoreCase")),
                         2);
}

static void test_measurements_that_say_nothing_are_refused(void **state) {
        PcrSet without_secure_boot = image_of(0xA4, 0, 0), none4 = image_of(0xA4, 0xA7, 0), none12 = none4;
        const struct {
                PcrSet image;
                bool secure_boot;
        } cases[] = {
                { image_of(0, 0xA7, 0), false },       { image_of(0xFF, 0xA7, 0), false },
                { image_of(0xA4, 0xA7, 0xFF), false }, { image_of(0xA4, 0, 0), true },
                { image_of(0xA4, 0xFF, 0), true },
        };
        static const uint8_t pcr7[PCR_SIZE] = {
                0x98, 0x44, 0x1c, 0x7f, 0x76, 0x25, 0xd1, 0x00, 0x58, 0xc4, 0x76, 0x83,
                0xae, 0xc4, 0x86, 0xce, 0x31, 0x1c, 0x63, 0x32, 0x35, 0xeb, 0x55, 0x55,
                0x93, 0xa7, 0xee, 0x79, 0x11, 0x21, 0xe3, 0x57, 0x8a, 0xe7, 0x2d, 0x04,
                0xec, 0xef, 0x66, 0x1f, 0x27, 0x2d, 0x59, 0x05, 0x8b, 0x77, 0xaf, 0x35,
        };
        struct json_object *policy = NULL;
        KeyPolicyOptions options;
        Error error;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                options = options_of(&cases[i].image, 1);
                options.expectation.secure_boot = cases[i].secure_boot;
                assert_int_equal(key_policy_make(&options, &policy, &error), -EINVAL);
        }
        memcpy(without_secure_boot.value[7], pcr7, PCR_SIZE);
        options = options_of(&without_secure_boot, 1);
        options.expectation.secure_boot = true;
        assert_int_equal(key_policy_make(&options, &policy, &error), -EINVAL);
        assert_non_null(strstr(error.text, "without Secure Boot"));

        none4.present &= ~(1U << 4);
        options = options_of(&none4, 1);
        assert_int_equal(key_policy_make(&options, &policy, &error), -EINVAL);
        assert_non_null(strstr(error.text, "no PCR4"));

        /* Without PCR12 in the file, nothing may come from outside the image. */
        none12.present &= ~(1U << 12);
        memset(none12.value[12], 0xEE, PCR_SIZE);
        options = options_of(&none12, 1);
        _cleanup_json_ struct json_object *made = make(&options);
        assert_non_null(strstr(json_object_to_json_string(made), "NitroTPMPCR12\": \"00000000"));
}

static void test_options_that_contradict_each_other_are_refused(void **state) {
        static const char *const
                        sessions[] = { "arn:aws:sts::222222222222:assumed-role/app/i-1", NULL },
                        *const everyone[] = { "*", NULL }, *const digits[] = { "222222222222", NULL },
                        *const like[] = { "arn:aws:iam::222222222222:role/*", NULL },
                        *const customer[] = { CUSTOMER, NULL }, *const no_organization[] = { "o-1", NULL },
                        *const variable[] = { "o-${aws:User}aa", NULL },
                        *const no_endpoint[] = { "vpce-x*", NULL };
        const PcrSet image = image_of(0xA4, 0xA7, 0);
        const KeyPolicyOptions good = options_of(&image, 1);
        static const char *const namesake[] = { "arn:aws:iam::222222222222:role/path/App", NULL };
        KeyPolicyOptions cases[16];
        struct json_object *policy = NULL;
        Error error;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                cases[i] = good;
        cases[0].principals = NULL;
        cases[1].principals = sessions;
        cases[2].principals = everyone;
        cases[3].principals = digits;
        cases[4].principals = like;
        cases[5].administrators = app;
        cases[6].recovery_principals = app;
        cases[7].recovery_principals = customer;
        cases[8].expectation.lock_pcr = 12;
        cases[9].expectation.lock_pcr = 16;
        cases[10].organizations = no_organization;
        cases[11].organizations = variable;
        cases[12].vpc_endpoints = no_endpoint;
        cases[13].n_images = 0;
        cases[14].administrators = namesake;
        cases[15].recovery_principals = namesake;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                error = (Error){};
                if (key_policy_make(&cases[i], &policy, &error) != -EINVAL ||
                    error.failure != FAILURE_USAGE || !*error.text)
                        fail_msg("case %zu: %s", i, error.text);
        }
        assert_null(policy);
        cases[0] = good;
        cases[0].principals = cases[0].administrators = customer;
        assert_int_equal(key_policy_make(&cases[0], &policy, &error), -EINVAL);
}

static void test_a_sealer_that_unseals_is_refused(void **state) {
        static const struct {
                const char *principal, *sealer;
                bool good;
        } cases[] = {
                { APP, "arn:aws:iam::111111111111:role/ci", true },
                { APP, "arn:aws:iam::222222222222:role/ci", true },
                { APP, ROOT, true },
                { APP, APP, false },
                { APP, CUSTOMER, false },
                { CUSTOMER, APP, false },
                { CUSTOMER, CUSTOMER, false },
                /* An account has one role of a name, whatever its path and case. */
                { APP, "arn:aws:iam::222222222222:role/path/app", false },
                { "arn:aws:iam::222222222222:role/path/app", APP, false },
                { APP, "arn:aws:iam::222222222222:role/APP", false },
                { APP, "arn:aws:iam::222222222222:role//app", false },
                { APP, "arn:aws:iam::222222222222:user/app", true },
                { APP, "arn:aws:iam::333333333333:role/app", true },
                { APP, "arn:aws:iam::222222222222:role/app/other", true },
                /* These are not spelled as the principals of the options. */
                { APP, "arn:aws:sts::222222222222:assumed-role/app/i-1", false },
                { APP, "arn:aws:sts::222222222222:assumed-role/app/*", false },
                { APP, "arn:aws:iam::222222222222:role/*", false },
                { APP, "222222222222", false },
                { APP, "*", false },
                { APP, "AROAAPPAPPAPPAPPAPPAP", false },
                { APP, " " APP, false },
        };
        const PcrSet image = image_of(0xA4, 0xA7, 0);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *const principals[] = { cases[i].principal, NULL }, *const sealers[] = {
                        cases[i].sealer, NULL
                };
                KeyPolicyOptions options = options_of(&image, 1);
                _cleanup_json_ struct json_object *policy = NULL;
                Error error = {};
                int r;

                options.principals = principals;
                options.sealers = sealers;
                r = key_policy_make(&options, &policy, &error);
                if (r != (cases[i].good ? 0 : -EINVAL))
                        fail_msg("%s seals for %s: saw %i, %s", cases[i].sealer, cases[i].principal, r,
                                 error.text);
                if (cases[i].good)
                        assert_string_equal(json_member_string(json_member(statement(policy, "DenySealing"),
                                                                           "Principal"),
                                                               "AWS"),
                                            cases[i].principal);
        }
}

static void test_sealers_make_data_keys_and_nothing_else(void **state) {
        static const char *const sealers[] = { "arn:aws:iam::111111111111:role/ci",
                                               "arn:aws:iam::444444444444:root", RESCUE, NULL },
                                 *const rescue[] = { RESCUE, NULL };
        const PcrSet image = image_of(0xA4, 0xA7, 0);
        KeyPolicyOptions options = options_of(&image, 1);
        _cleanup_json_ struct json_object *policy = NULL;

        options.sealers = sealers;
        options.recovery_principals = rescue;
        policy = make(&options);
        assert_json(json_member(statement(policy, "Seal"), "Action"),
                    "[\"kms:Encrypt\",\"kms:GenerateDataKey\",\"kms:GenerateDataKeyWithoutPlaintext\"]");
        /* An account cannot be spared by its name, and who recovers must decrypt. */
        assert_json(json_member(json_member(json_member(statement(policy, "DenyOtherPCR4"), "Condition"),
                                            "ArnNotEquals"),
                                "aws:PrincipalArn"),
                    "[\"" RESCUE "\",\"arn:aws:iam::111111111111:role/ci\"]");
        assert_json(json_member(json_member(statement(policy, "DenySealersUnsealing"), "Principal"), "AWS"),
                    "[\"arn:aws:iam::111111111111:role/ci\",\"arn:aws:iam::444444444444:root\"]");
        assert_json(json_member(statement(policy, "DenySealersUnsealing"), "Action"),
                    "[\"kms:Decrypt\",\"kms:GenerateDataKeyPair\"]");
}

static void test_data_keys_are_for_the_named_secrets_or_for_none(void **state) {
        static const char *const names[] = { "db-key", "session-key", NULL },
                                 *const bad[] = { "db/key", NULL }, *const empty[] = { "db-key", "", NULL };
        const PcrSet image = image_of(0xA4, 0xA7, 0);
        KeyPolicyOptions options = options_of(&image, 1);
        _cleanup_json_ struct json_object *policy = NULL;
        struct json_object *condition, *none = NULL;
        Error error;

        options.generated = names;
        options.generate_data_key = true;
        policy = make(&options);
        assert_json(json_member(statement(policy, "Unseal"), "Action"), "\"kms:Decrypt\"");
        condition = json_member(statement(policy, "Generate"), "Condition");
        assert_json(json_member(statement(policy, "Generate"), "Action"), "\"kms:GenerateDataKey\"");
        assert_json(json_member(condition, "StringEquals"),
                    "{\"kms:EncryptionContext:unseald:secret\":[\"db-key\",\"session-key\"]}");
        assert_json(json_member(condition, "StringEqualsIgnoreCase"),
                    json_object_to_json_string_ext(
                                    json_member(json_member(statement(policy, "Unseal"), "Condition"),
                                                "StringEqualsIgnoreCase"),
                                    JSON_C_TO_STRING_PLAIN));
        condition = json_member(statement(policy, "MakeDataKeys"), "Condition");
        assert_json(json_member(condition, "Null"), "{\"kms:EncryptionContext:unseald:secret\":\"true\"}");
        lint_or_fail(&options, policy);

        options.generated = bad;
        assert_int_equal(key_policy_make(&options, &none, &error), -EINVAL);
        assert_non_null(strstr(error.text, "db/key"));
        options.generated = empty;
        assert_int_equal(key_policy_make(&options, &none, &error), -EINVAL);
}

static void test_more_than_a_policy_can_hold_is_refused(void **state) {
        PcrSet images[KEY_POLICY_IMAGES_MAX + 1];
        char names[300][64];
        const char *many[301] = {};
        struct json_object *policy = NULL;
        KeyPolicyOptions options;
        Error error;

        for (uint8_t i = 0; i < ELEMENTSOF(images); i++)
                images[i] = image_of((uint8_t) (i + 1), (uint8_t) (i + 1), (uint8_t) (i + 1));
        options = options_of(images, ELEMENTSOF(images));
        assert_int_equal(key_policy_make(&options, &policy, &error), -EINVAL);
        options = options_of(images, 8);
        assert_int_equal(key_policy_make(&options, &policy, &error), -E2BIG);
        for (uint8_t i = 0; i < ELEMENTSOF(images); i++)
                for (unsigned pcr = 2; pcr <= 8; pcr += 6) {
                        images[i].present |= 1U << pcr;
                        memset(images[i].value[pcr], i + 1, PCR_SIZE);
                }
        options = options_of(images, KEY_POLICY_IMAGES_MAX);
        options.expectation.secure_boot = true;
        options.expectation.lock_pcr = 8;
        assert_int_equal(key_policy_make(&options, &policy, &error), -E2BIG);
        options = options_of(images, 1);
        for (size_t i = 0; i < 300; i++) {
                (void) snprintf(names[i], sizeof(names[i]),
                                "arn:aws:iam::222222222222:role/a-rather-long-name-%zu", i);
                many[i] = names[i];
        }
        options.principals = many;
        assert_int_equal(key_policy_make(&options, &policy, &error), -E2BIG);
        assert_non_null(strstr(error.text, "32768"));
}

static size_t findings(struct json_object *policy, const LintOptions *options, LintCode code) {
        _cleanup_(lint_report_freep) LintReport *report = NULL;
        const char *text = json_object_to_json_string(policy);
        size_t n = 0;

        assert_int_equal(lint_policy(text, strlen(text), options, &report), 0);
        for (size_t i = 0; i < report->n_findings; i++)
                n += report->findings[i].code == code ||
                     (code == _LINT_CODES && report->findings[i].severity > LINT_NOTE);
        return n;
}

static void test_a_key_of_applications_is_gated_and_closed_to_secrets(void **state) {
        const PcrSet image = image_of(0xA4, 0xA7, 0);
        KeyPolicyOptions options = options_of(&image, 1);
        _cleanup_json_ struct json_object *policy = NULL, *role = NULL;
        LintOptions lint = { .images = &image,
                             .n_images = 1,
                             .administrators = options.administrators,
                             .application = true };
        static const char *const keys[] = { "arn:aws:kms:eu-north-1:111111111111:key/a-1", NULL };
        struct json_object *none = NULL;
        Error error;

        options.application = true;
        policy = make(&options);
        assert_json(json_pointer(statement(policy, "Unseal"), "/Action"),
                    "[\"kms:Decrypt\",\"kms:GenerateDataKey\",\"kms:GenerateDataKeyPair\"]");
        assert_json(json_pointer(statement(policy, "Application"), "/Action"),
                    "[\"kms:DescribeKey\",\"kms:Encrypt\",\"kms:GenerateDataKeyPairWithoutPlaintext\",\"kms:GenerateDataKeyWithoutPlaintext\"]");
        assert_json(json_pointer(statement(policy, "DenyContextsOfSecrets"), "/Condition"),
                    "{\"ForAnyValue:StringLike\":{\"kms:EncryptionContextKeys\":\"unseald:*\"}}");
        assert_null(strstr(json_object_to_json_string(policy), "DenySealing\""));
        assert_int_equal(findings(policy, &lint, _LINT_CODES), 0);
        lint.application = false;
        assert_true(findings(policy, &lint, LINT_ENCRYPT) > 0);

        /* The control: without the Deny, or with one that is not for all, lint says so. */
        lint.application = true;
        json_object_object_add(statement(policy, "DenyContextsOfSecrets"), "Effect",
                               json_object_new_string("Allow"));
        assert_int_equal(findings(policy, &lint, LINT_CONTEXT_NOT_DENIED), 1);
        json_object_object_add(statement(policy, "DenyContextsOfSecrets"), "Effect",
                               json_object_new_string("Deny"));
        assert_int_equal(findings(policy, &lint, LINT_CONTEXT_NOT_DENIED), 0);
        json_object_object_add(statement(policy, "DenyContextsOfSecrets"), "Action",
                               json_object_new_string("kms:Encrypt"));
        assert_int_equal(findings(policy, &lint, LINT_CONTEXT_NOT_DENIED), 1);

        assert_int_equal(role_policy_make(&options, keys, &role, &error), 0);
        assert_non_null(strstr(json_object_to_json_string(role), "kms:Encrypt"));

        options.bind_account = true;
        assert_int_equal(key_policy_make(&options, &none, &error), -EINVAL);
        assert_non_null(strstr(error.text, "--bind-account"));
        options.bind_account = false;
        options.expectation.lock_pcr = 8;
        assert_int_equal(key_policy_make(&options, &none, &error), -EINVAL);
        assert_non_null(strstr(error.text, "--lock-pcr"));
}

static void test_the_role_policy_names_keys(void **state) {
        static const char *const keys[] = { "arn:aws:kms:eu-north-1:111111111111:key/a-1",
                                            "arn:aws-cn:kms:*:111111111111:key/*", NULL };
        static const char *const bad[] = { "*", "arn:aws:kms:*:*:alias/a", "arn:aws:s3:::key/a",
                                           "arn:aws:kms:a:1:key/${b}", "key/a" };
        static const char *const names[] = { "db-key", NULL };
        const KeyPolicyOptions options = { .generated = names };
        _cleanup_json_ struct json_object *policy = NULL;
        struct json_object *none = NULL;
        Error error;

        assert_int_equal(role_policy_make(&options, keys, &policy, &error), 0);
        assert_json(policy, "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"Unseal\",\"Effect\":"
                            "\"Allow\",\"Action\":["
                            "\"kms:Decrypt\",\"kms:GenerateDataKey\"],\"Resource\":[\"arn:aws:kms:eu-north-"
                            "1:111111111111:key/"
                            "a-1\",\"arn:aws-cn:kms:*:111111111111:key/*\"]}]}");
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                const char *const one[] = { bad[i], NULL };

                if (role_policy_make(&options, one, &none, &error) != -EINVAL)
                        fail_msg("%s was taken", bad[i]);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lint_finds_nothing_whatever_the_options_but_drivers_allowed),
                cmocka_unit_test(test_one_image_is_one_allow_and_a_deny_for_each_pcr),
                cmocka_unit_test(test_pcr2_is_that_of_firmware_without_drivers_unless_measured_or_allowed),
                cmocka_unit_test(
                                test_an_allow_alone_has_the_conditions_of_organization_endpoint_and_account),
                cmocka_unit_test(test_images_that_differ_in_one_pcr_need_no_more_denies),
                cmocka_unit_test(test_images_that_differ_in_two_pcrs_do_not_mix),
                cmocka_unit_test(test_measurements_that_say_nothing_are_refused),
                cmocka_unit_test(test_options_that_contradict_each_other_are_refused),
                cmocka_unit_test(test_a_sealer_that_unseals_is_refused),
                cmocka_unit_test(test_sealers_make_data_keys_and_nothing_else),
                cmocka_unit_test(test_data_keys_are_for_the_named_secrets_or_for_none),
                cmocka_unit_test(test_more_than_a_policy_can_hold_is_refused),
                cmocka_unit_test(test_a_key_of_applications_is_gated_and_closed_to_secrets),
                cmocka_unit_test(test_the_role_policy_names_keys),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
