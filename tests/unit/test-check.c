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
#define OTHER_KEY "arn:aws:kms:eu-north-1:111122223333:key/00000000-12ab-34cd-56ef-1234567890ab"
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

static void release(System *system) {
        remarks_clear(&system->remarks);
        unit_tree_clear(&system->tree);
        ini_free(system->ini);
        ini_free(system->secret_ini);
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
        release(system);
}

/* What a finding says in full. Its text begins with its place. */
typedef struct Finding {
        Severity severity;
        const char *id, *cure, *unit, *text;
} Finding;

/* The check adds exactly these findings, in this order. Frees the remarks. */
static void assert_findings(System *system, const Finding *wanted, size_t count) {
        static const char *const severities[] = { "advice", "warning", "mistake" };

        unit_tree_sort(&system->tree);
        assert_int_equal(check_configuration(&system->facts, &system->remarks), 0);
        if (system->remarks.count != count)
                fail_msg("saw %zu findings, wanted %zu, the first '%s', wanted '%s'", system->remarks.count,
                         count, system->remarks.count > 0 ? system->remarks.items[0].text : "",
                         count > 0 ? wanted[0].text : "");
        for (size_t i = 0; i < count; i++) {
                const Remark *seen = &system->remarks.items[i];

                assert_string_equal(seen->text, wanted[i].text);
                assert_string_equal(remark_id(seen), wanted[i].id);
                assert_string_equal(remark_severity(seen), severities[wanted[i].severity]);
                assert_string_equal(seen->cure ?: "", wanted[i].cure);
                assert_string_equal(seen->unit, wanted[i].unit ?: "");
        }
        release(system);
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

/* The first one without room is reported, and it alone. */
static void test_messages_that_have_no_room_together_are_a_mistake(void **state) {
        static const struct {
                uint64_t sizes[2], size_max;
                const char *wanted;
        } cases[] = {
                { { 60, 40 }, 100, NULL },
                { { 60, 41 },
                  100,
                  "db.secret:2: Source=: Expected room for the plaintext: with this message, the secrets in the image have at least 101 bytes, and all together may have 100. Raise StoreSizeMax=" },
                { { 102, 0 },
                  100,
                  "db.secret:2: Source=: Expected room for the plaintext: with this message, the secrets in the image have at least 102 bytes" },
                { { 103, 5 },
                  100,
                  "db.secret:2: Source=: Expected room for the plaintext: with this message, the secrets in the image have at least 103 bytes" },
                { { 0, 0 }, 0, NULL },
        };

        for (size_t i = 0; i < 2 * ELEMENTSOF(cases); i++) {
                bool optional = i % 2 == 1;
                System system;

                set_up(&system);
                system.declarations.count = 2;
                system.settings.store_size_max = cases[i / 2].size_max;
                for (size_t k = 0; k < 2; k++) {
                        system.items[k].optional = optional;
                        system.secrets[k].plaintext_size = cases[i / 2].sizes[k];
                }
                assert_remark(&system, !optional, cases[i / 2].wanted);
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
        assert_key(ARN("aws-iso", "us-iso-east-1"), false, false, NULL);
        assert_key(ARN("aws-iso-b", "us-isob-east-1"), true, false, NULL);
        assert_key(ARN("aws-moon", "moon-east-1"), false, true,
                   "db.secret:3: KeyId=: No endpoint of the partition");
        assert_key(ARN("aws", "eu-nroth-1"), false, false, "db.secret:3: KeyId=: No Region has a name like");
        assert_key(ARN("aws", "eu-north-x"), false, false, "db.secret:3: KeyId=: No Region has a name like");
        assert_key(ARN("aws", "north-1"), false, false, "db.secret:3: KeyId=: No Region has a name like");
        assert_key(ARN("aws", "somewhere"), false, false, "db.secret:3: KeyId=: No Region has a name like");
}

static void assert_fips(const char *key, SourceKind kind, bool fips, const char *wanted) {
        System system;

        set_up(&system);
        system.keys[0] = (char *) key;
        system.settings.fips = fips;
        system.items[0].source.kind = kind;
        system.items[0].source.bucket = kind == SOURCE_S3 ? (char *) "bucket" : NULL;
        assert_remark(&system, true, wanted);
}

static void test_s3_without_a_fips_endpoint_is_a_mistake(void **state) {
        const char *china = ARN("aws-cn", "cn-north-1");

        assert_fips(china, SOURCE_S3, true,
                    "db.secret:2: Source=: S3 has no FIPS endpoint in the partition \"aws-cn\"");
        assert_fips(china, SOURCE_S3, false, NULL);
        assert_fips(china, SOURCE_SSM, true, NULL);
        assert_fips(ARN("aws-us-gov", "us-gov-west-1"), SOURCE_S3, true, NULL);
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
        assert_non_null(passed_over_reason("", "weights.volume"));
        assert_non_null(passed_over_reason("/etc/unseald/volumes.d", "weights.secret"));
        assert_non_null(passed_over_reason("/etc/unseald/volumes.d", "weights"));
        assert_null(passed_over_reason("/etc/unseald/volumes.d", "weights.volume"));
        assert_null(passed_over_reason("/etc/unseald/volumes.d", "weights.volume.d"));
        assert_null(passed_over_reason("/etc/unseald/volumes.d", "README"));
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

/* A service with a number that no user has: each row consumes a secret, or has nothing to do with unseald. */
static void test_a_number_without_a_user_is_reported_of_a_unit_that_consumes(void **state) {
#define NUMBERED "[Unit]\nWants=unsealed.target\nAfter=unsealed.target\n[Service]\nUser=1\nUser=987\n"
        static const Finding finding = {
                .severity = SEVERITY_WARNING,
                .id = "user-number",
                .cure = "Add a user of this number to the image.",
                .unit = "a.service",
                .text = "a.service:6: User=: No user of /etc/passwd has the number 987. Unless systemd-sysusers adds one before the unit starts, the unit fails (217/USER). Add a user of this number to the image.",
        };
        static const struct {
                const char *text;
                bool consumes;
        } rows[] = {
                { NUMBERED "LoadCredential=db:" SOCKET "\n", true },
                { NUMBERED "LoadCredential=x:/run/unseald/credentials/db\n", true },
                { NUMBERED "EnvironmentFile=/run/unseald/credentials/db\n", true },
                { NUMBERED "LoadCredential=x:/etc/x\nLoadCredential=db:" SOCKET "\nSetCredential=y:z\n",
                  true },
                { NUMBERED, false },
                { NUMBERED "LoadCredential=x:/etc/x\n", false },
                { NUMBERED "ImportCredential=journal\n", false },
                { NUMBERED "SetCredential=y:z\n", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char *numbered[] = { (char *) "a.service", NULL };
                System system;

                set_up(&system);
                system.items[0].units = NULL;
                system.facts.unknown_ids = numbered;
                load(&system, "a.service", rows[i].text);
                load(&system, "b.service", "[Service]\nUser=app\nLoadCredential=db:" SOCKET "\n");
                assert_findings(&system, &finding, rows[i].consumes);
        }
}

static const Finding nothing_declared = {
        .severity = SEVERITY_WARNING,
        .id = "nothing-declared",
        .cure = "Declare a secret in secrets.d/NAME.secret.",
        .text = "/etc/unseald/secrets.d: No secret is declared, so unseald unseals nothing. Declare one in NAME.secret in this directory; unseald.secret(5) has an example.",
};

static void test_a_configuration_without_a_secret_is_reported(void **state) {
        for (size_t count = 0; count < 2; count++)
                for (int local = 0; local < 2; local++) {
                        System system;

                        set_up(&system);
                        system.declarations.count = count;
                        system.facts.secrets_directory = local ? "/etc/unseald/secrets.d" : NULL;
                        assert_findings(&system, &nothing_declared, count == 0 && local);
                }
}

/* A mistake may be why there is none. A warning is no reason. */
static void test_no_secret_is_reported_beside_a_warning_and_not_beside_a_mistake(void **state) {
        static const Finding mistake = {
                .severity = SEVERITY_MISTAKE,
                .id = "certificates",
                .cure = "Put the certificates into the image, as a file in PEM.",
                .text = "unseald.conf:2: TrustedCertificates=: Expected a file with certificates, in PEM. Not there.",
        };
        const Finding warnings[] = {
                { .severity = SEVERITY_WARNING,
                  .id = "passed-over",
                  .cure = "Rename the file, or remove it.",
                  .text = "/etc/unseald/secrets.d/db: unseald passes over this file: its name does not end in \".secret\". Rename it to NAME.secret, or remove it." },
                nothing_declared,
        };
        char *paths[] = { (char *) "/etc/unseald/secrets.d/db", NULL };
        System system;

        set_up(&system);
        system.declarations.count = 0;
        system.facts.secrets_directory = "/etc/unseald/secrets.d";
        system.facts.trust = (Error){ .failure = FAILURE_CONFIGURATION, .text = "Not there." };
        assert_findings(&system, &mistake, 1);

        set_up(&system);
        system.declarations.count = 0;
        system.facts.secrets_directory = "/etc/unseald/secrets.d";
        system.facts.passed_over = paths;
        assert_findings(&system, warnings, ELEMENTSOF(warnings));
}

static void test_each_reason_to_pass_over_a_file_is_told(void **state) {
#define PASSED "unseald passes over this file: "
#define AMONG_DROPINS \
        PASSED "the name of a drop-in ends in \".conf\" and begins with no dot. Rename it to NAME.conf, or remove it."
        static const struct {
                const char *path, *text; /* text NULL: no finding */
        } rows[] = {
                { "/etc/unseald/secrets.d/db.conf",
                  PASSED "its name does not end in \".secret\". Rename it to NAME.secret, or remove it." },
                { "/etc/unseald/secrets.d/.db.secret",
                  PASSED "its name begins with a dot. Rename it to NAME.secret, or remove it." },
                { "/etc/unseald/secrets.d/db.secret~",
                  PASSED "its name ends in \"~\", as an editor's copy does. Remove it." },
                { "/etc/unseald/secrets.d/db.secret.d/.10.conf", AMONG_DROPINS },
                { "/etc/unseald/unseald.conf.d/10-lock", AMONG_DROPINS },
                { "/etc/unseald/db.secret",
                  PASSED "declarations of secrets are in secrets.d/. Move it there." },
                { "/etc/unseald/unseal.conf", PASSED
                  "only unseald.conf and the drop-ins in unseald.conf.d/ are settings. Rename it, or move it there." },
                { "/etc/unseald/secrets.d/db.secret", NULL },
                { "/etc/unseald/secrets.d/.gitignore", NULL },
                { "/etc/unseald/unseald.conf", NULL },
                { "/etc/unseald/other", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char *paths[] = { (char *) rows[i].path, NULL }, text[256];
                const Finding finding = { SEVERITY_WARNING, "passed-over", "Rename the file, or remove it.",
                                          NULL, text };
                System system;

                (void) snprintf(text, sizeof(text), "%s: %s", rows[i].path, rows[i].text ?: "");
                set_up(&system);
                system.facts.passed_over = paths;
                assert_findings(&system, &finding, rows[i].text != NULL);
        }
}

/* The nearest name is told, wherever it is in the list. No name is told that is not near. */
static void test_dropins_without_a_secret_are_passed_over(void **state) {
        static const struct {
                const char *name, *near;
        } rows[] = {
                { "databse", " The nearest declared name is database." },
                { "databasess", " The nearest declared name is databases." },
                { "mail", "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char path[128], text[256], *paths[] = { path, NULL };
                const Finding finding = { SEVERITY_WARNING, "passed-over", "Rename the file, or remove it.",
                                          NULL, text };
                System system;

                (void) snprintf(path, sizeof(path), "/etc/unseald/secrets.d/%s.secret.d", rows[i].name);
                (void) snprintf(text, sizeof(text),
                                "%s: unseald passes over this directory: no file declares a secret %s.%s",
                                path, rows[i].name, rows[i].near);
                set_up(&system);
                system.declarations.count = 2;
                system.items[0].name = (char *) "database";
                system.items[1].name = (char *) "databases";
                system.facts.passed_over = paths;
                assert_findings(&system, &finding, 1);
        }
}

/* A bundle with two members. The lines of the one look like those of the other. */
typedef struct Bundle {
        System system;
        Declaration members[2];
        SecretFacts facts[2];
} Bundle;

static void set_up_bundle(Bundle *bundle) {
        System *system = &bundle->system;

        set_up(system);
        ini_free(system->secret_ini);
        system->secret_ini = parse(
                        "db.secret",
                        "[Secret]\nSource=file:/db\nFormat=bundle\nKeyId=" KEY "\n"
                        "[Member admin]\nUnits=a.service b.service\nUnits=data.mount\nUser=app\nGroup=app\n"
                        "[Member guest]\nUnits=a.service\nUnits=b.service data.mount\nUser=app\nGroup=app\n");
        system->secrets[0].ini = system->secret_ini;
        for (size_t i = 0; i < ELEMENTSOF(bundle->members); i++) {
                bundle->members[i] = system->items[0];
                bundle->members[i].name = (char *) (i == 0 ? "db.admin" : "db.guest");
                bundle->members[i].member = i == 0 ? "admin" : "guest";
                bundle->facts[i] = (SecretFacts){ .ini = system->secret_ini };
        }
        system->items[0].format = FORMAT_BUNDLE;
        system->items[0].units = NULL;
        system->items[0].store = false;
        system->items[0].members = bundle->members;
        system->items[0].members_count = ELEMENTSOF(bundle->members);
        system->secrets[0].members = bundle->facts;
}

static const struct {
        unsigned service, mount, user, group; /* the lines of the settings that name them */
} member_lines[] = { { 6, 7, 8, 9 }, { 12, 12, 13, 14 } };

static void test_units_that_a_member_misses_are_named_with_the_line_of_its_section(void **state) {
        static const char format[] =
                        "db.secret:%u: Units=: There is no unit \"%s\". Expected a unit with a unit file, or an instance of a template with one.";
        static const char cure[] = "Correct the name in Units=, or add the unit to the image.";
        char *missing[] = { (char *) "b.service", (char *) "data.mount", NULL };

        for (size_t i = 0; i < ELEMENTSOF(member_lines); i++) {
                char service[256], mount[256];
                const Finding wanted[] = {
                        { SEVERITY_MISTAKE, "unit-missing", cure, NULL, service },
                        { SEVERITY_WARNING, "unit-missing", cure, NULL, mount },
                };
                Bundle bundle;

                (void) snprintf(service, sizeof(service), format, member_lines[i].service, missing[0]);
                (void) snprintf(mount, sizeof(mount), format, member_lines[i].mount, missing[1]);
                set_up_bundle(&bundle);
                bundle.facts[i].missing_units = missing;
                assert_findings(&bundle.system, wanted, ELEMENTSOF(wanted));
        }
}

static void test_a_user_and_a_group_that_a_member_misses_are_mistakes_of_its_section(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(member_lines); i++)
                for (size_t count = 0; count < 3; count++) {
                        char user[256], group[256];
                        const Finding wanted[] = {
                                { SEVERITY_MISTAKE, "user-unknown",
                                  "Correct User=, or add the user to the image.", NULL, user },
                                { SEVERITY_MISTAKE, "group-unknown",
                                  "Correct Group=, or add the group to the image.", NULL, group },
                        };
                        Bundle bundle;

                        (void) snprintf(user, sizeof(user),
                                        "db.secret:%u: User=: Expected a user of /etc/passwd, not \"app\".",
                                        member_lines[i].user);
                        (void) snprintf(group, sizeof(group),
                                        "db.secret:%u: Group=: Expected a group of /etc/group, not \"app\".",
                                        member_lines[i].group);
                        set_up_bundle(&bundle);
                        bundle.facts[i].user_missing = count > 0;
                        bundle.facts[i].group_missing = count > 1;
                        assert_findings(&bundle.system, wanted, count);
                }
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

static void test_kms_for_applications_has_its_own_keys_and_units_that_reach_it(void **state) {
        static char *keys[] = { (char *) OTHER_KEY, (char *) KEY, NULL },
                    *own[] = { (char *) OTHER_KEY, NULL },
                    *units[] = { (char *) "app.service", (char *) "job@*.service", NULL },
                    *missing[] = { (char *) "job@*.service", NULL };
        static const char lines[] =
                        "[Kms]\nKeys=" OTHER_KEY "\nKeys=" KEY "\nUnits=app.service\nUnits=job@*.service\n";
        static const Finding shared
                        [] = { {
                                        SEVERITY_MISTAKE,
                                        "kms-key",
                                        "Give the applications a key of their own, and name it in Keys= of [Kms].",
                                        NULL,
                                        "unseald.conf:3: Keys=: Expected a key of its own, not the one of the secret db: an application could have the secret decrypted. 'unsealctl policy --application' makes the policy of a key for applications.",
                        } },
                  locked[] = { { SEVERITY_MISTAKE, "kms-locked", "Remove LockPcr=, or the section [Kms].",
                                 NULL,
                                 "unseald.conf:3: Keys=: Expected nothing, since LockPcr= is set: once the PCR is locked, KMS decrypts nothing more for this boot, and unseald-kms refuses to start. Remove LockPcr= or Keys=." },
                               { SEVERITY_WARNING, "kms-no-unit", "Name the units in Units= of [Kms].", NULL,
                                 "unseald.conf:3: Keys=: Units= of [Kms] names no unit, so unseald-kms refuses everybody. Name the units of the applications." } },
                  away[] = {
                          { SEVERITY_WARNING, "unit-missing",
                            "Correct the name in Units=, or add the unit to the image.", NULL,
                            "unseald.conf:5: Units=: There is no unit \"job@*.service\". Expected a unit with a unit file, or an instance of a template with one." },
                          { SEVERITY_WARNING, "kms-network",
                            "Remove the setting, or the unit from Units= of [Kms].", "app.service",
                            "app.service:3: PrivateNetwork=: The unit is in Units= of [Kms], and its network namespace has another 127.0.0.1: its programs cannot reach unseald-kms. Remove the setting, or the unit from Units=." },
                          { SEVERITY_WARNING, "kms-network",
                            "Remove the setting, or the unit from Units= of [Kms].", "app.service",
                            "app.service:4: NetworkNamespacePath=: The unit is in Units= of [Kms], and its network namespace has another 127.0.0.1: its programs cannot reach unseald-kms. Remove the setting, or the unit from Units=." }
                  };
        System system;

        for (unsigned i = 0; i < 4; i++) {
                set_up(&system);
                ini_free(system.ini);
                system.facts.settings_ini = system.ini = parse("unseald.conf", lines);
                system.settings.kms_keys = i == 0 ? keys : own;
                system.settings.kms_units = i == 1 ? NULL : units;
                system.settings.lock_pcr = i == 1 ? 8 : 0;
                load(&system, "app.service",
                     i == 2 ? "[Service]\nExecStart=/a\nPrivateNetwork=yes\nNetworkNamespacePath=/n\n"
                            : "[Service]\nExecStart=/a\nPrivateNetwork=no\n");
                unit_tree_sort(&system.tree);
                system.facts.kms_missing_units = i == 2 ? missing : NULL;
                assert_findings(&system,
                                i == 0   ? shared
                                : i == 1 ? locked
                                         : away,
                                i == 0   ? ELEMENTSOF(shared)
                                : i == 1 ? ELEMENTSOF(locked)
                                : i == 2 ? ELEMENTSOF(away)
                                         : 0);
        }
}

static void test_units_that_ask_for_documents_can_reach_the_service(void **state) {
        static const char lines[] = "[Documents]\nUnits=app.service\nUnits=job@*.service\n";
        static char *units[] = { (char *) "app.service", (char *) "job@*.service", NULL },
                    *missing[] = { (char *) "job@*.service", NULL };
        static const Finding away[] = {
                { SEVERITY_WARNING, "unit-missing",
                  "Correct the name in Units=, or add the unit to the image.", NULL,
                  "unseald.conf:3: Units=: There is no unit \"job@*.service\". Expected a unit with a unit file, or an instance of a template with one." },
                { SEVERITY_WARNING, "documents-network",
                  "Remove the setting, or the unit from Units= of [Documents].", "app.service",
                  "app.service:3: PrivateNetwork=: The unit is in Units= of [Documents], and its network namespace has another 127.0.0.1: its programs cannot reach unseald-documents. Remove the setting, or the unit from Units=." },
        };
        System system;

        for (unsigned i = 0; i < 2; i++) {
                set_up(&system);
                ini_free(system.ini);
                system.facts.settings_ini = system.ini = parse("unseald.conf", lines);
                system.settings.documents_units = units;
                load(&system, "app.service",
                     i == 0 ? "[Service]\nExecStart=/a\nPrivateNetwork=yes\n" : "[Service]\nExecStart=/a\n");
                unit_tree_sort(&system.tree);
                system.facts.documents_missing_units = i == 0 ? missing : NULL;
                assert_findings(&system, away, i == 0 ? ELEMENTSOF(away) : 0);
        }
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
                cmocka_unit_test(test_units_that_ask_for_documents_can_reach_the_service),
                cmocka_unit_test(test_certificates_that_cannot_be_loaded_are_a_mistake),
                cmocka_unit_test(test_a_missing_source_of_an_optional_secret_is_a_warning),
                cmocka_unit_test(test_a_sealed_secret_that_would_be_refused_is_a_mistake),
                cmocka_unit_test(test_messages_that_have_no_room_together_are_a_mistake),
                cmocka_unit_test(test_a_source_that_the_service_cannot_see_is_a_mistake),
                cmocka_unit_test(test_a_public_key_that_is_not_measured_is_a_mistake),
                cmocka_unit_test(test_a_signature_that_would_be_refused_is_reported_at_its_line),
                cmocka_unit_test(test_two_secrets_do_not_have_one_source),
                cmocka_unit_test(test_keys_are_in_possible_regions),
                cmocka_unit_test(test_s3_without_a_fips_endpoint_is_a_mistake),
                cmocka_unit_test(test_missing_units_are_named_with_their_line),
                cmocka_unit_test(test_missing_users_and_groups_are_mistakes),
                cmocka_unit_test(test_unit_and_credential_fit_in_a_socket_address),
                cmocka_unit_test(test_units_load_only_declared_secrets),
                cmocka_unit_test(test_a_unit_loads_a_credential_once),
                cmocka_unit_test(test_all_mistakes_of_a_file_are_listed),
                cmocka_unit_test(test_kms_for_applications_has_its_own_keys_and_units_that_reach_it),
                cmocka_unit_test(test_lack_of_memory_is_no_mistake_of_the_configuration),
                cmocka_unit_test(test_too_many_secrets_are_one_mistake),
                cmocka_unit_test(test_files_that_look_like_declarations_are_passed_over),
                cmocka_unit_test(test_a_number_without_a_user_is_reported_of_a_unit_that_consumes),
                cmocka_unit_test(test_a_configuration_without_a_secret_is_reported),
                cmocka_unit_test(test_no_secret_is_reported_beside_a_warning_and_not_beside_a_mistake),
                cmocka_unit_test(test_each_reason_to_pass_over_a_file_is_told),
                cmocka_unit_test(test_dropins_without_a_secret_are_passed_over),
                cmocka_unit_test(test_units_that_a_member_misses_are_named_with_the_line_of_its_section),
                cmocka_unit_test(test_a_user_and_a_group_that_a_member_misses_are_mistakes_of_its_section),
                cmocka_unit_test(test_the_place_of_a_remark_is_found),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
