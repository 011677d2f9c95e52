/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "unsealctl/check/mistakes.h"
#include "vault/manifest.h"

#define KEY "arn:aws:kms:eu-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
#define SOCKET "/run/unseald/credentials.sock"

/* A system that is right, of one secret; each test spoils one thing. */
typedef struct System {
        Settings settings;
        IniFile *ini, *secret_ini;
        Declaration items[2];
        Declarations declarations;
        SecretFacts secrets[2];
        Consumers consumers;
        CheckFacts facts;
        char *keys[2], *units[3];
        Remarks remarks;
} System;

static IniFile *parse(const char *file, const char *text) {
        IniFile *ini = calloc(1, sizeof(*ini));

        assert_non_null(ini);
        assert_int_equal(ini_parse(file, text, strlen(text), ini, NULL), 0);
        return ini;
}

static void set_up(System *system) {
        *system = (System){
                .ini = parse("unseald.conf", "[Unseald]\nTrustedCertificates=/ca.pem\n"),
                .secret_ini = parse("db.secret",
                                    "[Secret]\nSource=file:/db\nKeyId=" KEY "\n[Deliver]\n"
                                    "Units=a.service b.service\nUnits=data.mount\nUser=app\nGroup=app\n"),
                .keys = { (char *) KEY },
                .units = { (char *) "a.service" },
                .declarations = { .count = 1 },
        };
        for (size_t i = 0; i < ELEMENTSOF(system->items); i++) {
                system->items[i] = (Declaration){
                        .name = (char *) (i == 0 ? "db" : "other"),
                        .file = (char *) (i == 0 ? "db.secret" : "other.secret"),
                        .source = { .kind = SOURCE_FILE, .location = (char *) (i == 0 ? "/db" : "/other") },
                        .key_ids = system->keys,
                        .units = system->units,
                        .store = true,
                        .user = (char *) "app",
                        .group = (char *) "app",
                };
                system->secrets[i].ini = system->secret_ini;
        }
        system->declarations.items = system->items;
        system->facts = (CheckFacts){ .settings = &system->settings,
                                      .settings_ini = system->ini,
                                      .declarations = &system->declarations,
                                      .secrets = system->secrets,
                                      .consumers = &system->consumers };
}

static void load(System *system, const char *unit, const char *text) {
        _cleanup_ini_ IniFile *file = parse(unit, text);

        assert_int_equal(consumers_take(&system->consumers, unit, file), 0);
}

/* And all is given back. wanted NULL: nothing. */
static void assert_told(System *system, bool mistake, const char *wanted) {
        const Remark *seen;

        assert_int_equal(check_configuration(&system->facts, &system->remarks), 0);
        seen = system->remarks.items;
        if (system->remarks.count != (wanted ? 1U : 0U))
                fail_msg("saw %zu remarks, the first '%s', wanted '%s'", system->remarks.count,
                         seen ? seen->text : "", wanted ?: "none");
        if (wanted && (seen->mistake != mistake || strncmp(seen->text, wanted, strlen(wanted)) != 0))
                fail_msg("saw %s '%s', wanted '%s'", seen->mistake ? "mistake" : "warning", seen->text,
                         wanted);
        assert_int_equal(remarks_mistakes(&system->remarks), wanted && mistake ? 1 : 0);
        remarks_clear(&system->remarks);
        consumers_clear(&system->consumers);
        ini_free(system->ini);
        ini_free(system->secret_ini);
}

static void test_nothing_is_said_of_what_is_right(void **state) {
        System system;

        set_up(&system);
        system.declarations.count = 2;
        load(&system, "a.service",
             "[Service]\nLoadCredential=db:" SOCKET "\nLoadCredential=x:/run/unseald/credentials/other\n");
        assert_told(&system, false, NULL);
}

static void test_certificates_that_cannot_be_loaded_are_told(void **state) {
        System system;

        set_up(&system);
        system.facts.trust = (Error){ .failure = FAILURE_CONFIGURATION, .text = "No such file." };
        assert_told(&system, true,
                    "unseald.conf:2: TrustedCertificates=: Expected a file with certificates, in PEM. No "
                    "such");
}

static void test_a_source_that_is_not_there_is_a_warning_where_it_is_optional(void **state) {
        for (int optional = 0; optional < 2; optional++) {
                System system;

                set_up(&system);
                system.items[0].optional = optional;
                system.secrets[0].source = (Error){ .failure = FAILURE_SOURCE, .text = "Not there." };
                assert_told(&system, !optional, "db.secret:2: Source=: Not there.");
        }
}

static void test_a_source_that_the_service_does_not_see_is_told(void **state) {
        System system;

        set_up(&system);
        system.items[0].source.location = (char *) "/home/db";
        assert_told(&system, true, "db.secret:2: Source=: Expected a file elsewhere");
        set_up(&system);
        system.items[0].source.location = NULL;
        assert_told(&system, true, NULL);
}

static void test_two_secrets_do_not_have_one_source(void **state) {
        System system;

        set_up(&system);
        system.declarations.count = 2;
        system.items[1].source.location = (char *) "/db";
        assert_told(&system, true, "db.secret:2: Source=: Expected another one than that of db.secret");
        set_up(&system);
        system.declarations.count = 2;
        system.items[1].source.location = (char *) "/db";
        system.items[1].source.kind = SOURCE_S3;
        system.items[1].source.bucket = (char *) "bucket";
        assert_told(&system, true, NULL);
}

static void assert_key(const char *key, bool dual_stack, bool mistake, const char *wanted) {
        System system;

        set_up(&system);
        system.keys[0] = (char *) key;
        system.settings.dual_stack = dual_stack;
        assert_told(&system, mistake, wanted);
}

static void test_keys_are_in_regions_that_there_may_be(void **state) {
#define ARN(partition, region) \
        "arn:" partition ":kms:" region ":111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
        assert_key(ARN("aws", "ap-southeast-7"), true, false, NULL);
        assert_key(ARN("aws-us-gov", "us-gov-west-1"), false, false, NULL);
        assert_key(ARN("aws-cn", "cn-north-1"), false, false, NULL);
        assert_key("alias/x", false, false, NULL);
        assert_key(ARN("aws", "cn-north-1"), false, true,
                   "db.secret:3: KeyId=: Expected a Region of the partition \"aws\", not \"cn-north-1\"");
        assert_key(ARN("aws-iso", "us-iso-east-1"), false, true,
                   "db.secret:3: KeyId=: No endpoint is known");
        assert_key(ARN("aws", "eu-nroth-1"), false, false, "db.secret:3: KeyId=: No Region has a name like");
        assert_key(ARN("aws", "eu-north-x"), false, false, "db.secret:3: KeyId=: No Region has a name like");
        assert_key(ARN("aws", "north-1"), false, false, "db.secret:3: KeyId=: No Region has a name like");
        assert_key(ARN("aws", "somewhere"), false, false, "db.secret:3: KeyId=: No Region has a name like");
}

static void test_units_that_are_not_there_are_told_by_their_line(void **state) {
        char *missing[] = { (char *) "b.service", NULL }, *mount[] = { (char *) "data.mount", NULL };
        System system;

        set_up(&system);
        system.secrets[0].missing_units = missing;
        assert_told(&system, true, "db.secret:5: Units=: There is no unit \"b.service\"");
        set_up(&system);
        system.secrets[0].missing_units = mount;
        assert_told(&system, false, "db.secret:6: Units=: There is no unit \"data.mount\"");
}

static void test_users_and_groups_that_are_not_there_are_told(void **state) {
        System system;

        set_up(&system);
        system.secrets[0].user_missing = true;
        assert_told(&system, true, "db.secret:7: User=: Expected a user of /etc/passwd, not \"app\".");
        set_up(&system);
        system.secrets[0].group_missing = true;
        assert_told(&system, true, "db.secret:8: Group=: Expected a group of /etc/group, not \"app\".");
}

/* 83 fit, as protocols of the service manager have it: 16 digits and "/unit/", "/" and a NUL in front. */
static void test_unit_and_credential_fit_in_a_socket_address(void **state) {
        char unit[128];

        for (int spare = 0; spare < 2; spare++) {
                char text[256];
                System system;

                memset(unit, 'u', sizeof(unit));
                (void) snprintf(unit + CHECK_UNIT_AND_ID_MAX - strlen("db.service") + 1U - (unsigned) spare,
                                16, ".service");
                set_up(&system);
                system.units[0] = unit;
                assert_told(&system, true,
                            spare ? NULL : "db.secret:6: Units=: Expected no more than 83 bytes");

                set_up(&system);
                system.items[0].units = NULL;
                (void) snprintf(text, sizeof(text), "[Service]\nLoadCredential=db:" SOCKET "\n");
                load(&system, unit, text);
                memcpy(text, unit, strlen(unit) + 1);
                (void) strncat(text, ":2: LoadCredential=: Expected no more than 83 bytes", 60);
                assert_told(&system, true, spare ? NULL : text);
        }
}

static void test_what_units_load_goes_with_what_is_declared(void **state) {
        System system;

        set_up(&system);
        load(&system, "a.service", "[Service]\nLoadCredential=x:" SOCKET "\n");
        assert_told(&system, true,
                    "a.service:2: LoadCredential=: Credential x from " SOCKET ": No secret of this name");
        set_up(&system);
        load(&system, "a.service", "[Service]\nLoadCredential=%i:" SOCKET "\n");
        assert_told(&system, true, NULL);
}

static void test_a_unit_loads_a_credential_once(void **state) {
        System system;

        set_up(&system);
        load(&system, "a.service",
             "[Service]\nLoadCredential=db:" SOCKET "\nLoadCredential=db:/run/unseald/credentials/db\n");
        assert_told(&system, true, "a.service:3: LoadCredential=: Expected one line for credential db");
}

static void test_more_secrets_than_can_be_kept_are_told_once(void **state) {
        static Declaration items[MANIFEST_ENTRIES_MAX + 2];
        static SecretFacts secrets[MANIFEST_ENTRIES_MAX + 2];
        System system;

        set_up(&system);
        for (size_t i = 0; i < ELEMENTSOF(items); i++) {
                items[i] = (Declaration){ .name = (char *) "db" };
                secrets[i].ini = system.secret_ini;
        }
        system.declarations = (Declarations){ .items = items, .count = ELEMENTSOF(items) };
        system.facts.secrets = secrets;
        assert_told(&system, true, "db.secret:2: Source=: Expected no more than 500 secrets");
}

static void test_all_mistakes_of_a_file_are_told(void **state) {
        static const char *const wanted[] = {
                "unseald.conf:2: Fips=: Expected yes or no",
                "unseald.conf:3: Colour=: Unknown key",
                "unseald.conf:4: RsaKeyBits=: Expected",
                "unseald.conf:6: KmsEndpoint=: Expected nothing",
        };
        _cleanup_ini_ IniFile *ini = parse(
                        "unseald.conf", "[Unseald]\nFips=maybe\nColour=blue\nRsaKeyBits=1\nDualStack=yes\n"
                                        "KmsEndpoint=https://a\n");
        _cleanup_(remarks_clear) Remarks remarks = {};
        _cleanup_(settings_clear) Settings settings = {};
        Error error = {};

        assert_int_equal(settings_examine(ini, &settings, &remarks, &error), 0);
        assert_int_equal(remarks.count, ELEMENTSOF(wanted));
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++) {
                if (strncmp(remarks.items[i].text, wanted[i], strlen(wanted[i])) != 0)
                        fail_msg("saw '%s', wanted '%s'", remarks.items[i].text, wanted[i]);
                assert_int_equal(remarks.items[i].mistake, i != 1);
        }
        assert_int_equal(settings.rsa_key_bits, 2048);
        assert_int_equal(settings_examine(ini, &settings, NULL, &error), -EINVAL);
}

static void test_want_of_memory_is_no_mistake_of_the_configuration(void **state) {
        Remarks remarks = {};
        Error error;
        int r = error_oom(&error);

        assert_int_equal(remarks_take(&remarks, r, &error), -ENOMEM);
        assert_int_equal(remarks.count, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nothing_is_said_of_what_is_right),
                cmocka_unit_test(test_certificates_that_cannot_be_loaded_are_told),
                cmocka_unit_test(test_a_source_that_is_not_there_is_a_warning_where_it_is_optional),
                cmocka_unit_test(test_a_source_that_the_service_does_not_see_is_told),
                cmocka_unit_test(test_two_secrets_do_not_have_one_source),
                cmocka_unit_test(test_keys_are_in_regions_that_there_may_be),
                cmocka_unit_test(test_units_that_are_not_there_are_told_by_their_line),
                cmocka_unit_test(test_users_and_groups_that_are_not_there_are_told),
                cmocka_unit_test(test_unit_and_credential_fit_in_a_socket_address),
                cmocka_unit_test(test_what_units_load_goes_with_what_is_declared),
                cmocka_unit_test(test_a_unit_loads_a_credential_once),
                cmocka_unit_test(test_all_mistakes_of_a_file_are_told),
                cmocka_unit_test(test_want_of_memory_is_no_mistake_of_the_configuration),
                cmocka_unit_test(test_more_secrets_than_can_be_kept_are_told_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
