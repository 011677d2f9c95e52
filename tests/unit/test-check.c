/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "unsealctl/check/finding.h"
#include "unsealctl/check/mistakes.h"
#include "unsealctl/check/unit-mistakes.h"
#include "vault/manifest.h"

#define KEY "arn:aws:kms:eu-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
#define SOCKET "/run/unseald/credentials.sock"

/* A correct system with one secret. Each test spoils one thing of it. */
typedef struct System {
        Settings settings;
        IniFile *ini, *secret_ini;
        Declaration items[2];
        Declarations declarations;
        SecretFacts secrets[2];
        UnitTree tree;
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
                                      .tree = &system->tree };
}

static void load(System *system, const char *unit, const char *text) {
        assert_int_equal(unit_tree_add(&system->tree, unit, unit, text, strlen(text)), 0);
}

/* The check adds exactly this remark, or none with wanted NULL. Frees the remarks. */
static void assert_remark(System *system, bool mistake, const char *wanted) {
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
        unit_tree_clear(&system->tree);
        ini_free(system->ini);
        ini_free(system->secret_ini);
}

static void test_a_correct_system_gets_no_remark(void **state) {
        System system;

        set_up(&system);
        system.declarations.count = 2;
        load(&system, "a.service",
             "[Unit]\nWants=unsealed.target\nAfter=unsealed.target\n"
             "[Service]\nLoadCredential=db:" SOCKET "\nLoadCredential=x:/run/unseald/credentials/other\n");
        assert_remark(&system, false, NULL);
}

static void test_certificates_that_cannot_be_loaded_are_a_mistake(void **state) {
        System system;

        set_up(&system);
        system.facts.trust = (Error){ .failure = FAILURE_CONFIGURATION, .text = "No such file." };
        assert_remark(&system, true,
                      "unseald.conf:2: TrustedCertificates=: Expected a file with certificates, in PEM. No "
                      "such");
}

static void test_a_missing_source_of_an_optional_secret_is_a_warning(void **state) {
        for (int optional = 0; optional < 2; optional++) {
                System system;

                set_up(&system);
                system.items[0].optional = optional;
                system.secrets[0].source = (Error){ .failure = FAILURE_SOURCE, .text = "Not there." };
                assert_remark(&system, !optional, "db.secret:2: Source=: Not there.");
        }
}

static void test_a_sealed_secret_that_would_be_refused_is_a_mistake(void **state) {
        for (int optional = 0; optional < 2; optional++) {
                System system;

                set_up(&system);
                system.items[0].optional = optional;
                system.items[0].source.label = (char *) "file:/db";
                system.secrets[0].sealed = (Error){ .failure = FAILURE_CIPHERTEXT, .text = "Another." };
                assert_remark(&system, !optional, "db.secret:2: Source=: file:/db: Another.");
        }
}

static void test_a_source_that_the_service_cannot_see_is_a_mistake(void **state) {
        System system;

        set_up(&system);
        system.items[0].source.location = (char *) "/home/db";
        assert_remark(&system, true, "db.secret:2: Source=: Expected a file in another directory");
        set_up(&system);
        system.items[0].source.location = NULL;
        assert_remark(&system, true, NULL);
}

/* The configuration of a signed secret, without a mistake of its own. */
static void set_up_signed(System *system, const char *path) {
        set_up(system);
        ini_free(system->secret_ini);
        system->secret_ini = parse(
                        "db.secret",
                        "[Secret]\nSource=file:/db\nKeyId=" KEY "\nSignedBy=/key\nMinVersion=3\n"
                        "[Deliver]\nUnits=a.service b.service\nUnits=data.mount\nUser=app\nGroup=app\n");
        system->secrets[0].ini = system->secret_ini;
        system->items[0].signed_by = (char *) path;
        system->items[0].signature = (Source){ .kind = SOURCE_FILE, .location = (char *) "/db.sig" };
}

static void test_a_public_key_that_is_not_measured_is_a_mistake(void **state) {
        static const char *const wrong[] = { "/run/key", "/var/lib/key", "/tmp/key", "/home/a/key" },
                                 *const right[] = { "/usr/lib/unseald/vendor.pub", "/etc/unseald/vendor.pub",
                                                    "/variety/key", "/opt/run/key" };
        System system;

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                set_up_signed(&system, wrong[i]);
                assert_remark(&system, true,
                              "db.secret:4: SignedBy=: Expected a file in the measured part of the image");
        }
        for (size_t i = 0; i < ELEMENTSOF(right); i++) {
                set_up_signed(&system, right[i]);
                assert_remark(&system, true, NULL);
        }
}

static void test_a_signature_that_would_be_refused_is_reported_at_its_line(void **state) {
        System system;

        set_up_signed(&system, "/usr/key");
        (void) error_set(&system.secrets[0].signature, -ESTALE, FAILURE_SIGNATURE, "Too old.");
        assert_remark(&system, true, "db.secret:5: MinVersion=: Too old.");
        set_up_signed(&system, "/usr/key");
        (void) error_set_remedy(&system.secrets[0].signature, -EKEYREJECTED, FAILURE_SIGNATURE, REMEDY_RETRY,
                                "Not signed.");
        assert_remark(&system, true, "db.secret:4: SignedBy=: Not signed.");
        set_up_signed(&system, "/usr/key");
        (void) error_set(&system.secrets[0].signature, -ENOENT, FAILURE_SOURCE, "Not there.");
        system.items[0].optional = true;
        assert_remark(&system, false, "db.secret:4: SignedBy=: Not there.");
}

static void test_two_secrets_do_not_have_one_source(void **state) {
        System system;

        set_up(&system);
        system.declarations.count = 2;
        system.items[1].source.location = (char *) "/db";
        assert_remark(&system, true, "db.secret:2: Source=: Expected another source than db.secret");
        set_up(&system);
        system.declarations.count = 2;
        system.items[1].source.location = (char *) "/db";
        system.items[1].source.kind = SOURCE_S3;
        system.items[1].source.bucket = (char *) "bucket";
        assert_remark(&system, true, NULL);
}

static void assert_key(const char *key, bool dual_stack, bool mistake, const char *wanted) {
        System system;

        set_up(&system);
        system.keys[0] = (char *) key;
        system.settings.dual_stack = dual_stack;
        assert_remark(&system, mistake, wanted);
}

static void test_keys_are_in_possible_regions(void **state) {
#define ARN(partition, region) \
        "arn:" partition ":kms:" region ":111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
        assert_key(ARN("aws", "ap-southeast-7"), true, false, NULL);
        assert_key(ARN("aws-us-gov", "us-gov-west-1"), false, false, NULL);
        assert_key(ARN("aws-cn", "cn-north-1"), false, false, NULL);
        assert_key("alias/x", false, false, NULL);
        assert_key(ARN("aws", "cn-north-1"), false, true,
                   "db.secret:3: KeyId=: Expected a Region of the partition \"aws\", not \"cn-north-1\"");
        assert_key(ARN("aws-iso", "us-iso-east-1"), false, true,
                   "db.secret:3: KeyId=: No endpoint of the partition");
        assert_key(ARN("aws", "eu-nroth-1"), false, false, "db.secret:3: KeyId=: No Region has a name like");
        assert_key(ARN("aws", "eu-north-x"), false, false, "db.secret:3: KeyId=: No Region has a name like");
        assert_key(ARN("aws", "north-1"), false, false, "db.secret:3: KeyId=: No Region has a name like");
        assert_key(ARN("aws", "somewhere"), false, false, "db.secret:3: KeyId=: No Region has a name like");
}

static void test_missing_units_are_named_with_their_line(void **state) {
        char *missing[] = { (char *) "b.service", NULL }, *mount[] = { (char *) "data.mount", NULL };
        System system;

        set_up(&system);
        system.secrets[0].missing_units = missing;
        assert_remark(&system, true, "db.secret:5: Units=: There is no unit \"b.service\"");
        set_up(&system);
        system.secrets[0].missing_units = mount;
        assert_remark(&system, false, "db.secret:6: Units=: There is no unit \"data.mount\"");
}

static void test_missing_users_and_groups_are_mistakes(void **state) {
        System system;

        set_up(&system);
        system.secrets[0].user_missing = true;
        assert_remark(&system, true, "db.secret:7: User=: Expected a user of /etc/passwd, not \"app\".");
        set_up(&system);
        system.secrets[0].group_missing = true;
        assert_remark(&system, true, "db.secret:8: Group=: Expected a group of /etc/group, not \"app\".");
}

/* 83 bytes fit beside what the service manager puts into the address: a NUL, 16 digits, "/unit/" and "/". */
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
                assert_remark(&system, true,
                              spare ? NULL : "db.secret:6: Units=: Expected no more than 83 bytes");

                set_up(&system);
                system.items[0].units = NULL;
                (void) snprintf(text, sizeof(text), "[Service]\nLoadCredential=db:" SOCKET "\n");
                load(&system, unit, text);
                memcpy(text, unit, strlen(unit) + 1);
                (void) strncat(text, ":2: LoadCredential=: Expected no more than 83 bytes", 60);
                assert_remark(&system, true, spare ? NULL : text);
        }
}

static void test_units_load_only_declared_secrets(void **state) {
        System system;

        set_up(&system);
        load(&system, "a.service", "[Service]\nLoadCredential=x:" SOCKET "\n");
        assert_remark(&system, true,
                      "a.service:2: LoadCredential=: Credential x from " SOCKET ": No secret of this name");
        set_up(&system);
        load(&system, "a.service", "[Service]\nLoadCredential=%i:" SOCKET "\n");
        assert_remark(&system, true, NULL);
}

static void test_a_unit_loads_a_credential_once(void **state) {
        System system;

        set_up(&system);
        load(&system, "a.service",
             "[Service]\nLoadCredential=db:" SOCKET "\nLoadCredential=db:/run/unseald/credentials/db\n"
             "[Unit]\nWants=unsealed.target\nAfter=unsealed.target\n");
        assert_remark(&system, true, "a.service:3: LoadCredential=: Expected one line for credential db");
}

static void test_files_that_look_like_declarations_are_passed_over(void **state) {
        static const char *const passed[] = {
                "db.conf",       "db.secret~",     ".db.secret",         "db", "db.Secret",
                "db.secret.bak", ".db.secret.swp", "db.secret.dpkg-new", ""
        };
        static const char *const silent[] = { "db.secret", "db.secret.d", "README",  "README.md",
                                              ".",         "..",          ".gitkeep" };
        char *paths[] = { (char *) "/etc/unseald/secrets.d/x.conf", (char *) "/etc/unseald/secrets.d/README",
                          NULL };
        System system;

        for (size_t i = 0; i < ELEMENTSOF(passed); i++)
                if (!passed_over_reason("/etc/unseald/secrets.d", passed[i]))
                        fail_msg("'%s' is not reported", passed[i]);
        for (size_t i = 0; i < ELEMENTSOF(silent); i++)
                if (passed_over_reason("/etc/unseald/secrets.d", silent[i]))
                        fail_msg("'%s' is reported", silent[i]);
        assert_non_null(passed_over_reason("", "db.secret"));
        assert_non_null(passed_over_reason("", "unseal.conf"));
        assert_non_null(passed_over_reason("/etc/unseald/unseald.conf.d", "10-lock"));
        assert_non_null(passed_over_reason("/etc/unseald/secrets.d/db.secret.d", ".10.conf"));
        assert_null(passed_over_reason("", "unseald.conf"));
        assert_null(passed_over_reason("", "unseald"));
        assert_null(passed_over_reason("/etc/unseald/unseald.conf.d", "10-lock.conf"));
        assert_null(passed_over_reason("/etc/unseald/secrets.d/db.secret.d", "README"));
        set_up(&system);
        system.facts.passed_over = paths;
        assert_remark(&system, false,
                      "/etc/unseald/secrets.d/x.conf: unseald passes over this file: its name does not");
}

static void test_the_place_of_a_remark_is_found(void **state) {
        static const struct {
                const char *text, *path, *rest, *secret;
                unsigned line;
        } cases[] = {
                { "/etc/a.service:7: After=: x: y", "/etc/a.service", "After=: x: y", "", 7 },
                { "/etc/a b:c.secret: Source= is missing", "/etc/a b:c.secret", "Source= is missing",
                  "a b:c", 0 },
                { "/e/secrets.d/db.secret:12: Key=: 3: 4", "/e/secrets.d/db.secret", "Key=: 3: 4", "db",
                  12 },
                { "/e/db.secret.d/10.conf:1: x", "/e/db.secret.d/10.conf", "x", "db", 1 },
                { "/e/db.secrets:1: x", "/e/db.secrets", "x", "", 1 },
                { "/a:12345678901: x", "/a:12345678901", "x", "", 0 },
                { "no path: x", "", "no path: x", "", 0 },
                { "/nothing", "", "/nothing", "", 0 },
                { "", "", "", "", 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const Remark remark = { .text = (char *) cases[i].text };
                const char *rest;
                unsigned line;
                size_t length = remark_place(cases[i].text, &line, &rest);
                char secret[72];

                remark_secret(&remark, secret, sizeof(secret));
                if (length != strlen(cases[i].path) || line != cases[i].line ||
                    strcmp(rest, cases[i].rest) != 0 || strcmp(secret, cases[i].secret) != 0)
                        fail_msg("'%s': saw %zu bytes, line %u, '%s', secret '%s'", cases[i].text, length,
                                 line, rest, secret);
        }
}

static void test_too_many_secrets_are_one_mistake(void **state) {
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
        assert_remark(&system, true, "db.secret:2: Source=: Expected no more than 500 secrets");
}

static void test_all_mistakes_of_a_file_are_listed(void **state) {
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

static void test_lack_of_memory_is_no_mistake_of_the_configuration(void **state) {
        Remarks remarks = {};
        Error error;
        int r = error_oom(&error);

        assert_int_equal(remarks_take(&remarks, r, &error), -ENOMEM);
        assert_int_equal(remarks.count, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_correct_system_gets_no_remark),
                cmocka_unit_test(test_certificates_that_cannot_be_loaded_are_a_mistake),
                cmocka_unit_test(test_a_missing_source_of_an_optional_secret_is_a_warning),
                cmocka_unit_test(test_a_sealed_secret_that_would_be_refused_is_a_mistake),
                cmocka_unit_test(test_a_source_that_the_service_cannot_see_is_a_mistake),
                cmocka_unit_test(test_a_public_key_that_is_not_measured_is_a_mistake),
                cmocka_unit_test(test_a_signature_that_would_be_refused_is_reported_at_its_line),
                cmocka_unit_test(test_two_secrets_do_not_have_one_source),
                cmocka_unit_test(test_keys_are_in_possible_regions),
                cmocka_unit_test(test_missing_units_are_named_with_their_line),
                cmocka_unit_test(test_missing_users_and_groups_are_mistakes),
                cmocka_unit_test(test_unit_and_credential_fit_in_a_socket_address),
                cmocka_unit_test(test_units_load_only_declared_secrets),
                cmocka_unit_test(test_a_unit_loads_a_credential_once),
                cmocka_unit_test(test_all_mistakes_of_a_file_are_listed),
                cmocka_unit_test(test_lack_of_memory_is_no_mistake_of_the_configuration),
                cmocka_unit_test(test_too_many_secrets_are_one_mistake),
                cmocka_unit_test(test_files_that_look_like_declarations_are_passed_over),
                cmocka_unit_test(test_the_place_of_a_remark_is_found),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
