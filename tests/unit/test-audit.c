/* SPDX-License-Identifier: Apache-2.0 */

/* Each finding of policy audit is a row, and so is the answer of KMS that differs in one point and does not cause it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "basic/json.h"
#include "unsealctl/policy/audit.h"
#include "unsealctl/policy/difference.h"

#define KEY "arn:aws:kms:eu-north-1:111111111111:key/mrk-1234abcd12ab34cd56ef1234567890ab"
#define REPLICA "arn:aws:kms:eu-west-1:111111111111:key/mrk-1234abcd12ab34cd56ef1234567890ab"
#define ADMIN "arn:aws:iam::111111111111:role/admin"
#define APP "arn:aws:iam::222222222222:role/app"
#define SEALER "arn:aws:iam::444444444444:role/sealer"
#define STRANGER "arn:aws:iam::333333333333:role/x"

#define METADATA(more)                \
        "{'KeyMetadata':{'Arn':'" KEY \
        "','KeySpec':'SYMMETRIC_DEFAULT','KeyUsage':'ENCRYPT_DECRYPT','KeyManager':'CUSTOMER'," more "}}"
#define SOUND "'KeyState':'Enabled','Origin':'AWS_KMS'"
#define ONE_REGION SOUND ",'MultiRegion':false"

/* What unsealctl policy makes, in short: PCR4, PCR12 and PCR13 are zeros and PCR2 does not count. */
#define PCR_DENY(n, value)                                                                                            \
        ",{'Effect':'Deny','Principal':'*','Action':['kms:Decrypt','kms:GenerateDataKey','kms:GenerateDataKeyPair']," \
        "'Resource':'*','Condition':{'StringNotEquals':{'kms:RecipientAttestation:NitroTPMPCR" n                      \
        "':'" value "'}}}"
#define HEX48 \
        "a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4"
#define ZEROS \
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
#define ALLOWS                                                                                                     \
        "{'Sid':'Admin','Effect':'Allow','Principal':{'AWS':'" ADMIN                                               \
        "'},'Action':'kms:PutKeyPolicy','Resource':'*'},{'Sid':'Unseal','Effect':'Allow','Principal':{'AWS':'" APP \
        "'},'Action':'kms:Decrypt','Resource':'*','Condition':{'StringEquals':{"                                   \
        "'kms:RecipientAttestation:NitroTPMPCR4':'" HEX48                                                          \
        "','kms:RecipientAttestation:NitroTPMPCR12':'" ZEROS "'}}}"
#define DENIES                                                                             \
        PCR_DENY("4", HEX48)                                                               \
        PCR_DENY("12", ZEROS)                                                              \
        ",{'Effect':'Deny','Principal':'*','Action':['kms:ReEncrypt*','kms:CreateGrant']," \
        "'Resource':'*'},{'Effect':'Deny','Principal':{'AWS':'" APP                        \
        "'},'Action':['kms:Encrypt','kms:GenerateDataKey*WithoutPlaintext'],'Resource':'*'}"
#define POLICY(statements) "{'Version':'2012-10-17','Statement':[" statements "]}"
#define GOOD POLICY(ALLOWS DENIES)
#define BARE POLICY(ALLOWS)

static const char *const admins[] = { ADMIN, NULL }, *const sealers[] = { SEALER, NULL };
static const LintOptions lint_options = { .administrators = admins,
                                          .sealers = sealers,
                                          .expectation = { .any_drivers = true, .any_extensions = true } };

/* Copies the text with double quotes. */
static char *quoted(const char *text) {
        char *copy = strdup(text);

        assert_non_null(copy);
        for (char *p = copy; *p; p++)
                if (*p == '\'')
                        *p = '"';
        return copy;
}

typedef enum Answer {
        DESCRIBE,
        GRANTS,
        GRANTS_BARE,
        GRANTS_BLIND,
        ALIASES,
        ROTATION,
        USAGE,
        PUT_POLICY
} Answer;

static void judge(AuditReport *report, Answer answer, const char *body, AuditKeys *keys) {
        _cleanup_free_ char *text = quoted(body), *marker = NULL, *policy = NULL;
        const AuditOptions options = { .lint = lint_options };
        size_t size = strlen(text);
        AuditGrants together = {};

        switch (answer) {
        case DESCRIBE:
                audit_metadata(report, KEY, text, size, keys);
                break;
        case GRANTS:
        case GRANTS_BARE:
        case GRANTS_BLIND:
                policy = answer == GRANTS_BLIND ? NULL : quoted(answer == GRANTS ? GOOD : BARE);
                audit_grants(report, KEY, text, size, policy, &lint_options, &together, &marker);
                audit_grants_together(report, KEY, policy, &lint_options, &together);
                audit_grants_done(&together);
                break;
        case ALIASES:
                audit_aliases(report, KEY, text, size, &marker);
                break;
        case ROTATION:
                audit_rotation(report, KEY, text, size);
                break;
        case USAGE:
                audit_last_usage(report, KEY, text, size);
                break;
        case PUT_POLICY:
                audit_policy(report, KEY, text, size, &options, &policy);
        }
        assert_false(report->out_of_memory);
}

typedef struct Row {
        Answer answer;
        const char *body;
        AuditSeverity severity; /* of the worst finding */
        const char *check;      /* of that finding; NULL: there is no finding */
        const char *words;      /* in its subject or text */
} Row;

#define GRANT_TO(principal, operations, more) \
        "{'GrantId':'1a','GranteePrincipal':'" principal "','Operations':[" operations "]" more "}"
#define LIST(entries) "{'Grants':[" entries "],'Truncated':false}"

static const Row rows[] = {
        { DESCRIBE, METADATA(ONE_REGION), AUDIT_NOTE, NULL, NULL },
        { DESCRIBE, METADATA("'KeyState':'Disabled','Origin':'AWS_KMS','MultiRegion':false"), AUDIT_WARNING,
          "state", "Disabled" },
        { DESCRIBE,
          METADATA("'KeyState':'PendingDeletion','DeletionDate':1.8e9,'Origin':'AWS_KMS','MultiRegion':false"),
          AUDIT_WARNING, "state", "deletes it at 2027-01-15 08:00:00 UTC" },
        { DESCRIBE, METADATA("'KeyState':'PendingReplicaDeletion','Origin':'AWS_KMS','MultiRegion':false"),
          AUDIT_WARNING, "state", "after its last replica" },
        { DESCRIBE, METADATA("'KeyState':'Unavailable','Origin':'AWS_KMS','MultiRegion':false"),
          AUDIT_WARNING, "state", "Unavailable" },
        { DESCRIBE, METADATA("'KeyState':'Enabled','Origin':'EXTERNAL','MultiRegion':false"), AUDIT_UNPROVEN,
          "origin", "Whoever has a copy opens every ciphertext" },
        { DESCRIBE, METADATA("'KeyState':'Enabled','Origin':'EXTERNAL_KEY_STORE','MultiRegion':false"),
          AUDIT_UNPROVEN, "origin", "outside of AWS" },
        { DESCRIBE, METADATA("'KeyState':'Enabled','Origin':'AWS_CLOUDHSM','MultiRegion':false"),
          AUDIT_UNPROVEN, "origin", "CloudHSM" },
        { DESCRIBE, METADATA("'KeyState':'Enabled','Origin':'MOON','MultiRegion':false"), AUDIT_UNPROVEN,
          "origin", "MOON" },
        { DESCRIBE, METADATA("'KeyState':'Enabled','MultiRegion':false"), AUDIT_UNPROVEN, "origin", "" },
        { DESCRIBE,
          "{'KeyMetadata':{'Arn':'" KEY
          "','KeySpec':'RSA_2048','KeyUsage':'ENCRYPT_DECRYPT','KeyManager':'CUSTOMER'," ONE_REGION "}}",
          AUDIT_ERROR, "kind", "RSA_2048" },
        { DESCRIBE,
          "{'KeyMetadata':{'Arn':'" KEY
          "','KeySpec':'SYMMETRIC_DEFAULT','KeyUsage':'ENCRYPT_DECRYPT','KeyManager':'AWS'," ONE_REGION "}}",
          AUDIT_ERROR, "kind", "AWS writes its policy" },
        { DESCRIBE, "{'KeyMetadata':{'Arn':'" REPLICA "'}}", AUDIT_UNPROVEN, "answer", "another key" },
        { DESCRIBE, "{}", AUDIT_UNPROVEN, "answer", "another key" },
        { DESCRIBE, "[]", AUDIT_UNPROVEN, "answer", "cannot be read" },
        { DESCRIBE, "", AUDIT_UNPROVEN, "answer", "cannot be read" },
        { DESCRIBE,
          METADATA(SOUND ",'MultiRegion':true,'MultiRegionConfiguration':{'PrimaryKey':{'Arn':'" KEY
                         "'},'ReplicaKeys':[]}"),
          AUDIT_NOTE, NULL, NULL },
        { DESCRIBE,
          METADATA(SOUND ",'MultiRegion':true,'MultiRegionConfiguration':{'PrimaryKey':{'Arn':'" KEY
                         "'},'ReplicaKeys':[{'Arn':'" REPLICA "'}]}"),
          AUDIT_NOTE, "replica", REPLICA },
        { DESCRIBE,
          METADATA(SOUND
                   ",'MultiRegion':true,'MultiRegionConfiguration':{'PrimaryKey':{'Arn':'" KEY
                   "'},'ReplicaKeys':[{'Arn':'arn:aws:kms:eu-west-1:999999999999:key/mrk-1234abcd12ab34cd56ef1234567890ab'}]}"),
          AUDIT_UNPROVEN, "replica", "another account or ID" },
        { DESCRIBE,
          METADATA(SOUND ",'MultiRegion':true,'MultiRegionConfiguration':{'PrimaryKey':{'Arn':'" KEY
                         "'},'ReplicaKeys':[7]}"),
          AUDIT_UNPROVEN, "replica", "another account or ID" },
        { DESCRIBE, METADATA(SOUND ",'MultiRegion':true"), AUDIT_UNPROVEN, "replica", "which replicas" },
        { DESCRIBE, METADATA(SOUND), AUDIT_UNPROVEN, "replica", "which replicas" },

        { GRANTS, LIST(""), AUDIT_NOTE, NULL, NULL },
        { GRANTS, LIST(GRANT_TO(STRANGER, "'DescribeKey','RetireGrant','GetPublicKey'", "")), AUDIT_NOTE,
          "grant", "gives nothing away" },
        { GRANTS, LIST(GRANT_TO(STRANGER, "'Decrypt'", "")), AUDIT_WARNING, "grant", "hold it back" },
        { GRANTS_BARE, LIST(GRANT_TO(STRANGER, "'Decrypt'", "")), AUDIT_ERROR, "grant",
          "no Deny of the policy prevents it" },
        { GRANTS_BARE, LIST(GRANT_TO(STRANGER, "'DescribeKey'", "")), AUDIT_NOTE, "grant",
          "gives nothing away" },
        { GRANTS, LIST(GRANT_TO(STRANGER, "'ReEncryptFrom'", "")), AUDIT_WARNING, "grant", "hold it back" },
        { GRANTS_BARE, LIST(GRANT_TO(STRANGER, "'ReEncryptFrom'", "")), AUDIT_ERROR, "grant",
          "1a to " STRANGER },
        { GRANTS, LIST(GRANT_TO(APP, "'Encrypt'", "")), AUDIT_WARNING, "grant", "hold it back" },
        { GRANTS_BARE, LIST(GRANT_TO(APP, "'Encrypt'", "")), AUDIT_ERROR, "grant",
          "choose what the instance takes" },
        { GRANTS, LIST(GRANT_TO("arn:aws:iam::222222222222:role/other", "'Encrypt'", "")), AUDIT_ERROR,
          "grant", "choose what" },
        { GRANTS, LIST(GRANT_TO(STRANGER, "'Encrypt'", "")), AUDIT_WARNING, "grant", "choose the secrets" },
        { GRANTS, LIST(GRANT_TO(SEALER, "'Encrypt','DescribeKey'", "")), AUDIT_NOTE, "grant",
          "that the options name" },
        { GRANTS, LIST(GRANT_TO(SEALER, "'Encrypt','Decrypt'", "")), AUDIT_WARNING, "grant",
          "hold it back" },
        /* Deny statements hold back each one. Together the stranger may unseal with the right document, and choose the secret. */
        { GRANTS, LIST(GRANT_TO(STRANGER, "'Decrypt'", "") "," GRANT_TO(STRANGER, "'Encrypt'", "")),
          AUDIT_ERROR, "grant", "the grants together do not" },
        { GRANTS, LIST(GRANT_TO(STRANGER, "'Encrypt'", "") "," GRANT_TO(STRANGER, "'Decrypt'", "")),
          AUDIT_ERROR, "grant", "the grants together do not" },
        { GRANTS, LIST(GRANT_TO(STRANGER, "'Encrypt'", "") "," GRANT_TO(STRANGER, "'Encrypt'", "")),
          AUDIT_WARNING, "grant", "choose the secrets" },
        { GRANTS, LIST(GRANT_TO(APP, "'CreateGrant'", "")), AUDIT_WARNING, "grant", "hold it back" },
        { GRANTS_BARE, LIST(GRANT_TO(APP, "'CreateGrant'", "")), AUDIT_ERROR, "grant", "kms:CreateGrant" },
        { GRANTS, LIST(GRANT_TO(STRANGER, "'GenerateDataKey'", "")), AUDIT_WARNING, "grant",
          "hold it back" },
        { GRANTS, LIST(GRANT_TO(STRANGER, "'TeleportKey'", "")), AUDIT_WARNING, "grant", "TeleportKey" },
        { GRANTS_BARE,
          LIST(GRANT_TO(STRANGER, "'Decrypt'", ",'Constraints':{'EncryptionContextSubset':{'a':'b'}}")),
          AUDIT_ERROR, "grant", "Its constraints do not count" },
        { GRANTS, LIST(GRANT_TO("ec2.amazonaws.com", "'Decrypt'", "")), AUDIT_WARNING, "grant",
          "hold it back" },
        { GRANTS_BARE, LIST(GRANT_TO("ec2.amazonaws.com", "'Decrypt'", "")), AUDIT_ERROR, "grant",
          "ec2.amazonaws.com" },
        { GRANTS_BARE,
          LIST("{'GrantId':'1a','GranteeServicePrincipal':'ec2.amazonaws.com','Operations':['Decrypt']}"),
          AUDIT_ERROR, "grant", "ec2.amazonaws.com" },
        { GRANTS_BARE, LIST(GRANT_TO("AROAAPPAPPAPPAPPAPPAP", "'Decrypt'", "")), AUDIT_ERROR, "grant",
          "AROAAPP" },
        { GRANTS, LIST(GRANT_TO("arn:aws:iam::1:role/x", "'Decrypt'", "")), AUDIT_UNPROVEN, "grant",
          "cannot be judged" },
        { GRANTS, LIST("{'GrantId':'1a','Operations':['Decrypt']}"), AUDIT_UNPROVEN, "grant",
          "its grantee" },
        { GRANTS, LIST("{'GrantId':'1a','GranteePrincipal':'" APP "','Operations':[]}"), AUDIT_UNPROVEN,
          "grant", "its operations" },
        { GRANTS, LIST("{'GrantId':'1a','GranteePrincipal':'" APP "','Operations':[null]}"), AUDIT_UNPROVEN,
          "grant", "its operations" },
        { GRANTS, LIST("7"), AUDIT_UNPROVEN, "grant", "without an ID" },
        { GRANTS_BLIND, LIST(GRANT_TO(STRANGER, "'DescribeKey'", "")), AUDIT_UNPROVEN, "grant",
          "the policy is not known" },
        { GRANTS, "{'Grants':{},'Truncated':false}", AUDIT_UNPROVEN, "answer", "no list of grants" },
        { GRANTS, "{'Grants':[]}", AUDIT_UNPROVEN, "answer", "whether the list goes on" },
        { GRANTS, "{'Grants':[],'Truncated':true}", AUDIT_UNPROVEN, "answer", "whether the list goes on" },
        { GRANTS, "{'Grants':[],'Truncated':true,'NextMarker':'m'}", AUDIT_NOTE, NULL, NULL },
        { GRANTS, "no JSON", AUDIT_UNPROVEN, "answer", "cannot be read" },

        { ALIASES, "{'Aliases':[{'AliasName':'alias/a'}],'Truncated':false}", AUDIT_NOTE, "alias",
          "alias/a" },
        { ALIASES, "{'Aliases':[],'Truncated':false}", AUDIT_NOTE, NULL, NULL },
        { ALIASES, "{'Aliases':[]}", AUDIT_NOTE, "answer", "whether the list goes on" },
        { ROTATION, "{'KeyRotationEnabled':true,'NextRotationDate':1.8e9}", AUDIT_NOTE, "rotation",
          "next at 2027-01-15" },
        { ROTATION, "{'KeyRotationEnabled':false}", AUDIT_NOTE, "rotation", "does not rotate" },
        { USAGE,
          "{'KeyLastUsage':{'Operation':'Decrypt','Timestamp':1.8e9,'CloudTrailEventId':'e-1'},'TrackingStartDate':1.7e9}",
          AUDIT_NOTE, "last-use", "2027-01-15 08:00:00 UTC. The event in CloudTrail is e-1" },
        { USAGE, "{'TrackingStartDate':1.7e9}", AUDIT_NOTE, "last-use",
          "no use of the key since 2023-11-14" },
        { USAGE, "{'KeyLastUsage':{},'TrackingStartDate':'soon'}", AUDIT_NOTE, "last-use",
          "since an unknown time" },
        { PUT_POLICY, "{'PolicyName':'default'}", AUDIT_UNPROVEN, "answer", "no policy" },
        { PUT_POLICY, "{'Policy':'{}'}", AUDIT_ERROR, "policy", "" },
};

static const AuditFinding *worst(const AuditReport *report) {
        const AuditFinding *found = NULL;

        for (size_t i = 0; i < report->n_findings; i++)
                if (!found || report->findings[i].severity >= found->severity)
                        found = &report->findings[i];
        return found;
}

static bool says(const AuditFinding *finding, const char *words) {
        return strstr(finding->text, words) || (finding->subject && strstr(finding->subject, words));
}

static void test_each_finding_has_an_answer_that_causes_it_and_one_that_does_not(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(audit_report_done) AuditReport report = {};
                AuditKeys keys = { .n = 1 };
                const Row *row = &rows[i];
                const AuditFinding *finding;

                (void) strcpy(keys.arns[0], KEY);
                judge(&report, row->answer, row->body, &keys);
                finding = worst(&report);
                if (!finding != !row->check ||
                    (finding && (finding->severity != row->severity ||
                                 strcmp(finding->check, row->check) != 0 || !says(finding, row->words))))
                        fail_msg("%s: saw %s %s \"%s\" \"%s\", wanted %s %s \"%s\"", row->body,
                                 finding ? audit_severity_to_string(finding->severity) : "nothing",
                                 finding ? finding->check : "",
                                 finding && finding->subject ? finding->subject : "",
                                 finding ? finding->text : "", audit_severity_to_string(row->severity),
                                 row->check ?: "nothing", row->words ?: "");
                for (size_t j = 0; j < report.n_findings; j++)
                        assert_string_equal(report.findings[j].key, KEY);
        }
}

static void test_replicas_are_audited_once(void **state) {
        AuditKeys keys = { .n = 1 };
        _cleanup_(audit_report_done) AuditReport report = {};
        const char *body = METADATA(
                        SOUND ",'MultiRegion':true,'MultiRegionConfiguration':{'PrimaryKey':{'Arn':'" REPLICA
                              "'},'ReplicaKeys':[{'Arn':'" KEY "'},{'Arn':'" REPLICA "'}]}");

        (void) strcpy(keys.arns[0], KEY);
        judge(&report, DESCRIBE, body, &keys);
        judge(&report, DESCRIBE, body, &keys);
        assert_int_equal(keys.n, 2);
        assert_string_equal(keys.arns[1], REPLICA);
        assert_int_equal(report.n_findings, 1);
}

static void test_material_that_expires_is_told_beside_its_origin(void **state) {
        _cleanup_(audit_report_done) AuditReport report = {};
        AuditKeys keys = { .n = 1, .arns = { KEY } };

        judge(&report, DESCRIBE,
              METADATA("'KeyState':'Enabled','Origin':'EXTERNAL','ExpirationModel':'KEY_MATERIAL_EXPIRES','ValidTo':1800000000,'MultiRegion':false"),
              &keys);
        assert_int_equal(audit_count(&report, AUDIT_UNPROVEN), 1);
        assert_int_equal(audit_count(&report, AUDIT_WARNING), 1);
        assert_non_null(strstr(report.findings[1].text, "expires at 2027-01-15"));
}

static void test_text_of_a_grant_cannot_reach_the_terminal(void **state) {
        _cleanup_(audit_report_done) AuditReport report = {};

        judge(&report, GRANTS,
              LIST("{'GrantId':'1\\u001b[2J','Name':'a\\nerror: b','GranteePrincipal':'" STRANGER
                   "','Operations':['De\\u0007crypt']}"),
              NULL);
        for (size_t i = 0; i < report.n_findings; i++)
                assert_null(strpbrk(report.findings[i].text, "\n\033\007"));
        assert_null(strpbrk(report.findings[0].subject, "\n\033\007"));
}

static void test_marker_leads_to_the_next_page(void **state) {
        _cleanup_(audit_report_done) AuditReport report = {};
        _cleanup_free_ char *body = quoted("{'Grants':[],'Truncated':true,'NextMarker':'page 2'}"),
                            *marker = NULL;
        AuditGrants together = {};

        audit_grants(&report, KEY, body, strlen(body), NULL, &lint_options, &together, &marker);
        audit_grants_done(&together);
        assert_string_equal(marker, "page 2");
}

static void test_lint_judges_the_live_policy(void **state) {
        _cleanup_json_ struct json_object *answer = json_object_new_object();
        _cleanup_free_ char *good = quoted(GOOD), *bare = quoted(BARE);
        const char *const policies[] = { good, bare };
        const AuditOptions options = { .lint = lint_options };

        for (size_t i = 0; i < 2; i++) {
                _cleanup_(audit_report_done) AuditReport report = {};
                _cleanup_free_ char *policy = NULL;
                const char *body;

                json_object_object_add(answer, "Policy", json_object_new_string(policies[i]));
                body = json_object_to_json_string(answer);
                audit_policy(&report, KEY, body, strlen(body), &options, &policy);
                assert_string_equal(policy, policies[i]);
                assert_int_equal(audit_count(&report, AUDIT_ERROR), 0);
                assert_int_equal(audit_count(&report, AUDIT_WARNING) > 0, i == 1);
                if (i == 1)
                        assert_string_equal(worst(&report)->code, "no-deny");
        }
}

/* The differences of two policies as one text. */
typedef struct Said {
        char text[2048];
} Said;

static void take(void *userdata, size_t statement, const char *sid, const char *text) {
        Said *said = userdata;
        size_t n = strlen(said->text);

        (void) snprintf(said->text + n, sizeof(said->text) - n, "%zu %s: %s\n", statement, sid ?: "-", text);
}

#define S(sid, effect, principal, action, more)                                                     \
        "{'Sid':'" sid "','Effect':'" effect "','Principal':{'AWS':" principal "},'Action':" action \
        ",'Resource':'*'" more "}"
#define ONE S("One", "Allow", "'" ADMIN "'", "'kms:Encrypt'", "")

static void test_difference_is_told_statement_by_statement(void **state) {
        static const struct {
                const char *live, *wanted, *said;
        } cases[] = {
                { ONE, ONE, "" },
                { S("Other", "Allow", "['" ADMIN "']", "['KMS:encrypt']", ""), ONE, "" },
                { S("One", "Allow", "['" APP "','" ADMIN "']", "'kms:Encrypt'", ""),
                  S("One", "Allow", "['" ADMIN "','" APP "']", "'kms:Encrypt'", ""), "" },
                { S("One", "Allow", "'111111111111'", "'kms:Encrypt'", ""),
                  S("One", "Allow", "'arn:aws:iam::111111111111:root'", "'kms:Encrypt'", ""), "" },
                { ONE "," S("Two", "Allow", "'*'", "'kms:*'", ""), ONE,
                  "2 Two: unsealctl policy would not write this statement.\n" },
                { ONE, ONE "," S("Two", "Deny", "'*'", "'kms:*'", ""),
                  "0 Two: The policy lacks a statement that unsealctl policy writes.\n" },
                { ONE "," ONE, ONE, "2 One: unsealctl policy would not write this statement.\n" },
                { S("One", "Deny", "'" ADMIN "'", "'kms:Encrypt'", ""), ONE,
                  "1 One: The statement differs from the one that unsealctl policy writes. It also has: Effect Deny. It lacks: Effect Allow.\n" },
                { S("One", "Allow", "['" ADMIN "','" APP "']", "['kms:Encrypt','kms:Decrypt']", ""), ONE,
                  "1 One: The statement differs from the one that unsealctl policy writes. It also has: Action kms:decrypt, Principal AWS " APP
                  ".\n" },
                { ONE,
                  S("One", "Allow", "'" ADMIN "'", "'kms:Encrypt'",
                    ",'Condition':{'Bool':{'aws:SecureTransport':'true'}}"),
                  "1 One: The statement differs from the one that unsealctl policy writes. It lacks: Condition Bool of aws:securetransport: true.\n" },
                { "{'Effect':'Allow','NotPrincipal':{'AWS':'*'},'NotAction':'a:b','NotResource':'*'}", "",
                  "1 -: unsealctl policy would not write this statement.\n" },
                { "{'Effect':'Deny','Principal':'*','Action':'*','Resource':'*'}",
                  S("One", "Deny", "'*'", "'*'", ""), "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_json_ struct json_object *live = NULL, *wanted = NULL;
                Said said = {};
                char text[2][4096];

                (void) snprintf(text[0], sizeof(text[0]), POLICY("%s"), cases[i].live);
                (void) snprintf(text[1], sizeof(text[1]), POLICY("%s"), cases[i].wanted);
                for (size_t j = 0; j < 2; j++) {
                        _cleanup_free_ char *copy = quoted(text[j]);

                        assert_int_equal(json_parse(copy, strlen(copy), j == 0 ? &live : &wanted), 0);
                }
                assert_true(policy_difference(live, wanted, take, &said) >= 0);
                assert_string_equal(said.text, cases[i].said);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_finding_has_an_answer_that_causes_it_and_one_that_does_not),
                cmocka_unit_test(test_replicas_are_audited_once),
                cmocka_unit_test(test_material_that_expires_is_told_beside_its_origin),
                cmocka_unit_test(test_text_of_a_grant_cannot_reach_the_terminal),
                cmocka_unit_test(test_marker_leads_to_the_next_page),
                cmocka_unit_test(test_lint_judges_the_live_policy),
                cmocka_unit_test(test_difference_is_told_statement_by_statement),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
