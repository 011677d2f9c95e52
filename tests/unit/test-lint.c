/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "unsealctl/policy/lint.h"
#include "unsealctl/policy/statement.h"

/* In the texts of policies ' stands for ". */
#define REPEAT(text) text text text text text text text text
#define A REPEAT("a4a4a4a4a4a4")
#define B REPEAT("b4b4b4b4b4b4")
#define ZEROS REPEAT("000000000000")
#define ONES REPEAT("ffffffffffff")
#define WITHOUT_SECURE_BOOT \
        "98441c7f7625d10058c47683aec486ce311c633235eb555593a7ee791121e3578ae72d04ecef661f272d59058b77af35"

#define WITHOUT_DRIVERS \
        "518923b0f955d08da077c96aaba522b9decede61c599cea6c41889cfbea4ae4d50529d96fe4d1afdafb65e7f95bf23c4"

#define APP "arn:aws:iam::222222222222:role/app"
#define ADMIN "arn:aws:iam::111111111111:role/admin"
#define RESCUE "arn:aws:iam::111111111111:role/rescue"
#define ROOT "arn:aws:iam::111111111111:root"
#define CUSTOMER "arn:aws:iam::222222222222:root"

#define POLICY(...) "{'Version':'2012-10-17','Statement':[" __VA_ARGS__ "]}"
#define STATEMENT(effect, principal, actions, condition)                             \
        "{'Effect':'" effect "','Principal':{'AWS':" principal "},'Action':" actions \
        ",'Resource':'*','Condition':{" condition "}}"
#define ALLOW(principal, actions, condition) STATEMENT("Allow", "'" principal "'", actions, condition)
#define DENY(principal, actions, condition) STATEMENT("Deny", "'" principal "'", actions, condition)
#define PCR_KEY(n) "'kms:RecipientAttestation:NitroTPMPCR" n "':"
#define IS(n, value) "'StringEqualsIgnoreCase':{" PCR_KEY(n) value "}"
#define IS_NOT(n, value) "'StringNotEqualsIgnoreCase':{" PCR_KEY(n) value "}"
#define BOTH(four, twelve) \
        "'StringEqualsIgnoreCase':{" PCR_KEY("4") "'" four "'," PCR_KEY("12") "'" twelve "'}"
#define NAMED(names) "'StringEquals':{'kms:EncryptionContext:unseald:secret':" names "}"
#define SPARING(arn) "'ArnNotEquals':{'aws:PrincipalArn':'" arn "'}"

#define ADMINISTER ALLOW(ADMIN, "['kms:PutKeyPolicy','kms:DescribeKey']", "")
#define UNSEAL ALLOW(APP, "'kms:Decrypt'", BOTH(A, ZEROS))
#define GATED "['kms:Decrypt','kms:GenerateDataKey','kms:GenerateDataKeyPair']"
#define DENY_2 DENY("*", GATED, IS_NOT("2", "'" WITHOUT_DRIVERS "'"))
#define DENY_4 DENY("*", GATED, IS_NOT("4", "'" A "'"))
#define DENY_12 DENY("*", GATED, IS_NOT("12", "'" ZEROS "'"))
#define MAKING "'kms:Encrypt','kms:GenerateDataKey*WithoutPlaintext'"
#define CLOSE DENY("*", "['kms:ReEncrypt*','kms:CreateGrant'," MAKING "]", "")
#define DENY_13 DENY("*", GATED, IS_NOT("13", "'" ZEROS "'"))
#define DENIALS_WITHOUT_2 DENY_4 "," DENY_12 "," DENY_13 "," CLOSE
#define DENIALS DENY_2 "," DENIALS_WITHOUT_2
#define GOOD POLICY(ADMINISTER "," UNSEAL "," DENIALS)

static const char *const administrators[] = { ADMIN, NULL };
static const char *const recovery[] = { RESCUE, NULL };

static char *with_quotes(const char *text) {
        char *copy = strdup(text);

        assert_non_null(copy);
        for (char *p = copy; *p; p++)
                if (*p == '\'')
                        *p = '"';
        return copy;
}

static LintReport *lint(const char *text, const LintOptions *options) {
        _cleanup_free_ char *policy = with_quotes(text);
        LintReport *report = NULL;

        assert_int_equal(lint_policy(policy, strlen(policy), options, &report), 0);
        return report;
}

static const LintFinding *find(const LintReport *report, LintCode code, LintSeverity severity) {
        for (size_t i = 0; i < report->n_findings; i++)
                if (report->findings[i].code == code && report->findings[i].severity == severity)
                        return &report->findings[i];
        return NULL;
}

static void print_findings(const LintReport *report) {
        for (size_t i = 0; i < report->n_findings; i++)
                printf("  saw %s %s, statement %zu, %s: %s\n",
                       lint_severity_to_string(report->findings[i].severity),
                       lint_code_to_string(report->findings[i].code), report->findings[i].statement,
                       report->findings[i].subject ?: "-", report->findings[i].meaning);
}

static PcrSet image_of(uint8_t four, uint8_t seven, uint8_t twelve) {
        PcrSet image = { .present = 1U << 4 | 1U << 7 | 1U << 12 };

        memset(image.value[4], four, PCR_SIZE);
        memset(image.value[7], seven, PCR_SIZE);
        memset(image.value[12], twelve, PCR_SIZE);
        return image;
}

static void test_nothing_is_found_in_a_good_policy(void **state) {
        const PcrSet image = image_of(0xA4, 0xA4, 0);
        const LintOptions options = { .images = &image, .n_images = 1, .administrators = administrators };
        _cleanup_(lint_report_freep) LintReport *report = lint(GOOD, &options);

        print_findings(report);
        assert_int_equal(report->n_findings, 0);
}

typedef struct Bad {
        const char *what, *policy;
        LintCode code;
        LintSeverity severity;
} Bad;

static const Bad bad[] = {
        { "an account with kms:*, which lets its identity policies decrypt without a document",
          POLICY(ALLOW(ROOT, "'kms:*'", "") "," UNSEAL), LINT_ROOT_DELEGATION, LINT_ERROR },
        { "KMS's default policy", POLICY(ALLOW(ROOT, "'kms:*'", "")), LINT_ROOT_DELEGATION, LINT_ERROR },
        { "an account by its digits",
          POLICY(ADMINISTER "," ALLOW("111111111111", "'kms:Decrypt'", "") "," CLOSE), LINT_ROOT_DELEGATION,
          LINT_ERROR },
        { "a Deny that does not name the account that may decrypt",
          POLICY(ALLOW(ROOT, "'kms:Decrypt'", "") "," DENY(APP, "'kms:Decrypt'", IS_NOT("4", "'" A "'"))),
          LINT_ROOT_DELEGATION, LINT_ERROR },
        { "a role without conditions", POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", "")),
          LINT_UNGATED_DECRYPT, LINT_ERROR },
        { "an administrator with kms:*", POLICY(ALLOW(ADMIN, "'kms:*'", "") "," UNSEAL),
          LINT_UNGATED_DECRYPT, LINT_ERROR },
        { "everyone", POLICY(ADMINISTER "," ALLOW("*", "'kms:Decrypt'", "")), LINT_ANYONE, LINT_ERROR },
        { "everyone with the right document",
          POLICY(ADMINISTER "," ALLOW("*", "'kms:Decrypt'", BOTH(A, ZEROS)) "," DENIALS), LINT_ANYONE,
          LINT_WARNING },
        { "PCR12 forgotten",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", IS("4", "'" A "'")) "," DENY_4 "," CLOSE),
          LINT_PCR12_MISSING, LINT_ERROR },
        { "PCR12 forgotten, and PCR7 pinned without --secure-boot",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'",
                                      "'StringEquals':{" PCR_KEY("4") "'" A "'," PCR_KEY("7") "'" B "'}")),
          LINT_PCR12_MISSING, LINT_ERROR },
        { "PCR4 forgotten", POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", IS("12", "'" ZEROS "'"))),
          LINT_PCR4_MISSING, LINT_ERROR },
        { "only PCRs that are the same everywhere",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'",
                                      "'StringEquals':{" PCR_KEY("0") "'" A "'," PCR_KEY("1") "'" B "'}")),
          LINT_CONSTANT_PCRS, LINT_ERROR },
        { "only a PCR that anybody can reset",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", IS("23", "'" A "'"))), LINT_CONSTANT_PCRS,
          LINT_ERROR },
        { "IfExists",
          POLICY(ADMINISTER
                 "," ALLOW(APP, "'kms:Decrypt'", "'StringEqualsIfExists':{" PCR_KEY("4") "'" A "'}")),
          LINT_OPTIONAL_CONDITION, LINT_WARNING },
        { "IfExists gates nothing",
          POLICY(ADMINISTER
                 "," ALLOW(APP, "'kms:Decrypt'", "'StringEqualsIfExists':{" PCR_KEY("4") "'" A "'}")),
          LINT_UNGATED_DECRYPT, LINT_ERROR },
        { "a request without the key meets ForAllValues",
          POLICY(ADMINISTER
                 "," ALLOW(APP, "'kms:Decrypt'", "'ForAllValues:StringEquals':{" PCR_KEY("4") "'" A "'}")),
          LINT_UNGATED_DECRYPT, LINT_ERROR },
        { "a wildcard for a value",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'",
                                      "'StringLike':{" PCR_KEY("4") "'*'," PCR_KEY("12") "'" ZEROS "'}")),
          LINT_PCR4_MISSING, LINT_ERROR },
        { "a variable for a value",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'",
                                      "'StringEquals':{" PCR_KEY("4") "'${aws:PrincipalTag/pcr}'," PCR_KEY(
                                                      "12") "'" ZEROS "'}")),
          LINT_PCR4_MISSING, LINT_ERROR },
        { "a condition that is negated by mistake",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", IS_NOT("4", "'" B "'"))), LINT_UNGATED_DECRYPT,
          LINT_ERROR },
        { "the PCRs of a Nitro Enclave",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'",
                                      "'StringEquals':{'kms:RecipientAttestation:PCR4':'" A "'}")),
          LINT_ENCLAVE_PCR, LINT_WARNING },
        { "values as of SHA-256",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", BOTH(REPEAT("a4a4a4a4"), ZEROS))),
          LINT_VALUE_SIZE, LINT_WARNING },
        { "a statement that no document meets",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", BOTH(REPEAT("a4a4a4a4"), ZEROS))),
          LINT_NEVER_MATCHES, LINT_WARNING },
        { "an Allow whose value a Deny refuses",
          POLICY(ADMINISTER "," UNSEAL "," DENY("*", "'kms:Decrypt'", IS_NOT("4", "'" B "'"))),
          LINT_NEVER_MATCHES, LINT_WARNING },
        { "no action", POLICY(ADMINISTER "," UNSEAL "," DENIALS "," ALLOW(APP, "[]", "")),
          LINT_NEVER_MATCHES, LINT_WARNING },
        { "actions of another service",
          POLICY(ADMINISTER "," UNSEAL "," DENIALS "," ALLOW(APP, "'s3:*'", "")), LINT_NEVER_MATCHES,
          LINT_WARNING },
        { "capitals compared with case",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'",
                                      "'StringEquals':{" PCR_KEY("4") "'" REPEAT("A4A4A4A4A4A4") "'}")),
          LINT_VALUE_CASE, LINT_WARNING },
        { "PCR4 of an instance that measured nothing",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", BOTH(ZEROS, ZEROS))), LINT_VALUE_CONSTANT,
          LINT_ERROR },
        { "PCR4 all ones", POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", BOTH(ONES, ZEROS))),
          LINT_VALUE_CONSTANT, LINT_ERROR },
        { "ReEncryptFrom for a role that decrypts",
          POLICY(ADMINISTER "," UNSEAL "," DENY_4 "," DENY_12 "," ALLOW(APP, "'kms:ReEncryptFrom'", "")),
          LINT_RE_ENCRYPT, LINT_ERROR },
        { "ReEncrypt* for the account",
          POLICY(ADMINISTER "," UNSEAL "," DENY_4 "," DENY_12 "," ALLOW(ROOT, "'kms:ReEncrypt*'", "")),
          LINT_RE_ENCRYPT, LINT_ERROR },
        { "CreateGrant for a role that decrypts",
          POLICY(ADMINISTER "," UNSEAL "," DENY_4 "," DENY_12 "," ALLOW(APP, "'kms:CreateGrant'", "")),
          LINT_CREATE_GRANT, LINT_ERROR },
        { "PutKeyPolicy for a role that decrypts",
          POLICY(UNSEAL "," DENIALS "," ALLOW(APP, "'kms:PutKeyPolicy'", "")), LINT_PUT_KEY_POLICY,
          LINT_ERROR },
        { "PutKeyPolicy for the account of a role that decrypts",
          POLICY(UNSEAL "," DENIALS "," ALLOW(CUSTOMER, "'kms:PutKeyPolicy'", "")), LINT_PUT_KEY_POLICY,
          LINT_ERROR },
        { "PutKeyPolicy for a role of the account that decrypts",
          POLICY(ALLOW(CUSTOMER, "'kms:Decrypt'", BOTH(A, ZEROS)) "," DENIALS "," ALLOW(
                          "arn:aws:iam::222222222222:role/other", "'kms:PutKeyPolicy'", "")),
          LINT_PUT_KEY_POLICY, LINT_ERROR },
        { "ReplicateKey for a role that decrypts",
          POLICY(ADMINISTER "," UNSEAL "," DENIALS "," ALLOW(APP, "'kms:ReplicateKey'", "")),
          LINT_REPLICATE_KEY, LINT_ERROR },
        { "GenerateDataKey without a document",
          POLICY(ADMINISTER "," UNSEAL "," ALLOW(APP, "'kms:GenerateDataKey'", "")), LINT_GENERATE_DATA_KEY,
          LINT_ERROR },
        { "Encrypt for a role that decrypts",
          POLICY(ADMINISTER "," UNSEAL "," ALLOW(APP, "'kms:Encrypt'", "")), LINT_ENCRYPT, LINT_ERROR },
        { "Encrypt for the account of a role that decrypts",
          POLICY(ADMINISTER "," UNSEAL "," ALLOW(CUSTOMER, "'kms:Encrypt'", "")), LINT_ENCRYPT, LINT_ERROR },
        { "Encrypt for another role of the account that decrypts",
          POLICY(ADMINISTER "," UNSEAL
                            "," ALLOW("arn:aws:iam::222222222222:role/other", "'kms:Encrypt'", "")),
          LINT_ENCRYPT, LINT_ERROR },
        { "ReEncryptTo for a role that decrypts",
          POLICY(ADMINISTER "," UNSEAL "," ALLOW(APP, "'kms:ReEncryptTo'", "")), LINT_ENCRYPT, LINT_ERROR },
        { "GenerateDataKeyWithoutPlaintext for a role that decrypts",
          POLICY(ADMINISTER "," UNSEAL "," ALLOW(APP, "'kms:GenerateDataKeyWithoutPlaintext'", "")),
          LINT_ENCRYPT, LINT_ERROR },
        { "Encrypt for a role of a third account",
          POLICY(ADMINISTER "," UNSEAL "," ALLOW("arn:aws:iam::333333333333:role/ci", "'kms:Encrypt'", "")),
          LINT_SEALER, LINT_NOTE },
        { "Encrypt for a third account",
          POLICY(ADMINISTER "," UNSEAL "," ALLOW("333333333333", "'kms:Encrypt'", "")), LINT_SEALER,
          LINT_WARNING },
        { "no Deny of Encrypt", POLICY(ADMINISTER "," UNSEAL "," DENY_4), LINT_ENCRYPT_NOT_DENIED,
          LINT_NOTE },
        { "ImportKeyMaterial for a role that decrypts",
          POLICY(ADMINISTER "," UNSEAL "," ALLOW(APP, "'kms:ImportKeyMaterial'", "")),
          LINT_IMPORT_KEY_MATERIAL, LINT_ERROR },
        { "PutKeyPolicy for a unique ID",
          POLICY(ADMINISTER "," UNSEAL "," ALLOW("AROAEXAMPLEEXAMPLE123", "'kms:PutKeyPolicy'", "")),
          LINT_PUT_KEY_POLICY, LINT_ERROR },
        { "a condition key that KMS does not have",
          POLICY(ADMINISTER "," UNSEAL
                            "," DENY("*", "'kms:Decrypt'", "'Null':{'kms:RecipientAttestation':'true'}")),
          LINT_UNKNOWN_KEY, LINT_WARNING },
        { "a misspelt condition key of KMS",
          POLICY(ADMINISTER "," UNSEAL
                            "," DENY("*", "'kms:Decrypt'", "'StringNotEquals':{'kms:CallerAcount':'1'}")),
          LINT_UNKNOWN_KEY, LINT_WARNING },
        { "PCR1, which differs between instances",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", IS("1", "'" A "'"))), LINT_UNSTEADY_PCR,
          LINT_WARNING },
        { "no Deny", POLICY(ADMINISTER "," UNSEAL), LINT_NO_DENY, LINT_WARNING },
        { "a Deny for the role alone, which does not bind other grantees",
          POLICY(ADMINISTER "," UNSEAL "," DENY(APP, "'kms:Decrypt'", IS_NOT("4", "'" A "'")) "," DENY(
                          APP, "'kms:Decrypt'", IS_NOT("12", "'" ZEROS "'")) "," CLOSE),
          LINT_NO_DENY, LINT_WARNING },
        { "a Deny of two PCRs, which denies where both are wrong",
          POLICY(ALLOW(ROOT, "'kms:Decrypt'", "") "," DENY(
                          "*", "'kms:Decrypt'",
                          "'StringNotEquals':{" PCR_KEY("4") "'" A "'," PCR_KEY("12") "'" ZEROS "'}")),
          LINT_WEAK_DENY, LINT_WARNING },
        { "a Deny of two PCRs gates neither",
          POLICY(ALLOW(ROOT, "'kms:Decrypt'", "") "," DENY(
                          "*", "'kms:Decrypt'",
                          "'StringNotEquals':{" PCR_KEY("4") "'" A "'," PCR_KEY("12") "'" ZEROS "'}")),
          LINT_ROOT_DELEGATION, LINT_ERROR },
        { "a Deny with another condition",
          POLICY(ADMINISTER "," UNSEAL "," DENY_12 "," CLOSE
                            "," DENY("*", "'kms:Decrypt'",
                                     IS_NOT("4", "'" A "'") ",'Bool':{'aws:SecureTransport':'true'}")),
          LINT_WEAK_DENY, LINT_WARNING },
        { "NotPrincipal",
          POLICY(ADMINISTER "," UNSEAL ",{'Effect':'Deny','NotPrincipal':{'AWS':'" ADMIN
                            "'},'Action':'kms:Decrypt','Resource':'*'}"),
          LINT_NOT_PRINCIPAL, LINT_WARNING },
        { "Allow with NotPrincipal",
          POLICY("{'Effect':'Allow','NotPrincipal':{'AWS':'" ADMIN
                 "'},'Action':'kms:Decrypt','Resource':'*'}"),
          LINT_MALFORMED, LINT_ERROR },
        { "NotAction that forgets ReEncryptFrom",
          POLICY(UNSEAL ",{'Effect':'Allow','Principal':{'AWS':'" ROOT
                        "'},'NotAction':['kms:Decrypt','kms:GenerateDataKey*'],'Resource':'*'}"),
          LINT_RE_ENCRYPT, LINT_ERROR },
        { "NotAction",
          POLICY(UNSEAL
                 "," DENIALS ",{'Effect':'Allow','Principal':{'AWS':'" ROOT
                 "'},'NotAction':['kms:Decrypt','kms:GenerateDataKey*','kms:ReEncrypt*'],'Resource':'*'}"),
          LINT_NOT_ACTION, LINT_WARNING },
        { "a wildcard", POLICY(ALLOW(ADMIN, "'kms:Put*'", "") "," UNSEAL "," DENIALS), LINT_WILDCARD_ACTION,
          LINT_WARNING },
        { "a Deny of another resource",
          POLICY(ADMINISTER
                 "," UNSEAL
                 ",{'Effect':'Deny','Principal':'*','Action':'kms:*','Resource':'arn:aws:kms:*:*:key/1'}"),
          LINT_RESOURCE, LINT_WARNING },
        { "a PCR condition on an action that takes no document",
          POLICY(ADMINISTER "," ALLOW(APP, "['kms:Decrypt','kms:ReEncryptFrom']",
                                      BOTH(A, ZEROS)) "," DENY_4 "," DENY_12),
          LINT_NOT_APPLICABLE, LINT_WARNING },
        { "a PCR that moves", POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", IS("11", "'" A "'"))),
          LINT_UNSTEADY_PCR, LINT_NOTE },
        { "a variable in a policy of 2008",
          "{'Version':'2008-10-17','Statement':[" ADMINISTER
          "," ALLOW(APP, "'kms:Decrypt'",
                    "'StringEquals':{'kms:EncryptionContext:unseald:account':'${aws:PrincipalAccount}'"
                    "}") "]}",
          LINT_VERSION, LINT_WARNING },
        { "an account that administers",
          POLICY(ALLOW(ROOT, "'kms:PutKeyPolicy'", "") "," UNSEAL "," DENIALS), LINT_ADMINISTRATOR,
          LINT_WARNING },
        { "no administrator", POLICY(UNSEAL "," DENIALS), LINT_NO_ADMINISTRATOR, LINT_NOTE },
        { "a role that is deleted",
          POLICY(ADMINISTER "," UNSEAL "," DENIALS "," ALLOW("AROAEXAMPLEEXAMPLE123", "'kms:Decrypt'", "")),
          LINT_UNIQUE_ID, LINT_NOTE },
        { "a federated principal",
          POLICY(ADMINISTER ",{'Effect':'Allow','Principal':{'Federated':'cognito-identity.amazonaws.com'},"
                            "'Action':'kms:Decrypt','Resource':'*'}"),
          LINT_TOO_CLEVER, LINT_ERROR },
        { "a service",
          POLICY(ADMINISTER ",{'Effect':'Allow','Principal':{'Service':'ec2.amazonaws.com'},"
                            "'Action':'kms:Decrypt','Resource':'*'}"),
          LINT_UNGATED_DECRYPT, LINT_ERROR },
};

static void test_every_bad_policy_is_named_by_its_code(void **state) {
        const LintOptions options = { .administrators = administrators };
        size_t failed = 0;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_(lint_report_freep) LintReport *report = lint(bad[i].policy, &options);

                if (find(report, bad[i].code, bad[i].severity))
                        continue;
                printf("%s: wanted %s %s\n", bad[i].what, lint_severity_to_string(bad[i].severity),
                       lint_code_to_string(bad[i].code));
                print_findings(report);
                failed++;
        }
        assert_int_equal(failed, 0);
}

/* Policies that the comparison with the platform found, and others that are easy to judge wrongly. */
static const Bad counterexamples[] = {
        { "a session of the role that decrypts administers",
          POLICY(ALLOW("arn:aws:sts::222222222222:assumed-role/app/i-1", "'kms:PutKeyPolicy'",
                       "") "," UNSEAL "," DENIALS),
          LINT_PUT_KEY_POLICY, LINT_ERROR },
        { "a session of a role with a path decrypts, the role administers",
          POLICY(ALLOW("arn:aws:iam::222222222222:role/a/b/app", "'kms:PutKeyPolicy'",
                       "") "," ALLOW("arn:aws:sts::222222222222:assumed-role/app/i-1", "'kms:Decrypt'",
                                     BOTH(A, ZEROS)) "," DENIALS),
          LINT_PUT_KEY_POLICY, LINT_ERROR },
        { "a Deny spares a role by another spelling of its ARN",
          POLICY(ADMINISTER "," ALLOW(ROOT, "'kms:Decrypt'", "") "," CLOSE "," DENY_4 "," DENY(
                          "*", "'kms:Decrypt'",
                          "'StringNotEquals':{" PCR_KEY(
                                          "12") "'" ZEROS
                                                "'},'StringNotEqualsIgnoreCase':{'aws:PrincipalArn':"
                                                "'arn:aws:iam::111111111111:role/RESCUE'}")),
          LINT_PCR12_MISSING, LINT_ERROR },
        { "a Deny spares a pattern of roles of an account that may decrypt",
          POLICY(ADMINISTER "," ALLOW(ROOT, "'kms:Decrypt'", "") "," CLOSE "," DENY_4 "," DENY(
                          "*", "'kms:Decrypt'",
                          IS_NOT("12", "'" ZEROS "'") ",'ArnNotLike':{'aws:PrincipalArn':'arn:aws:iam::"
                                                      "111111111111:role/r*'}")),
          LINT_PCR12_MISSING, LINT_ERROR },
        { "a Deny spares a role of an account that may decrypt",
          POLICY(ADMINISTER "," ALLOW(ROOT, "'kms:Decrypt'", "") "," CLOSE "," DENY_4 "," DENY(
                          "*", "'kms:Decrypt'", IS_NOT("12", "'" ZEROS "'") "," SPARING(RESCUE))),
          LINT_PCR12_MISSING, LINT_ERROR },
        { "ForAnyValue of a negation is not met without a document",
          POLICY(ADMINISTER "," ALLOW(ROOT, "'kms:Decrypt'", "") "," CLOSE "," DENY_12 "," DENY(
                          "*", "'kms:Decrypt'", "'ForAnyValue:StringNotEquals':{" PCR_KEY("4") "'" A "'}")),
          LINT_PCR4_MISSING, LINT_ERROR },
        { "a Deny whose value may be anything",
          POLICY(ADMINISTER "," ALLOW(ROOT, "'kms:Decrypt'", "") "," CLOSE "," DENY_12 "," DENY(
                          "*", "'kms:Decrypt'", "'StringNotLike':{" PCR_KEY("4") "'" A "*'}")),
          LINT_PCR4_MISSING, LINT_ERROR },
        { "PCR04 is no PCR",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'",
                                      "'StringEquals':{'kms:RecipientAttestation:NitroTPMPCR04':'" A
                                      "'," PCR_KEY("12") "'" ZEROS "'}")),
          LINT_PCR4_MISSING, LINT_ERROR },
        { "a Deny of another key",
          POLICY(ADMINISTER
                 "," ALLOW(ROOT, "'kms:Decrypt'", "") "," CLOSE "," DENY_12
                                                      ",{'Effect':'Deny','Principal':'*','Action':'kms:"
                                                      "Decrypt','Resource':'arn:aws:kms:*:*:key/1'}"),
          LINT_PCR4_MISSING, LINT_ERROR },
        { "a Deny of all keys but this",
          POLICY(ADMINISTER "," ALLOW(
                          ROOT, "'kms:Decrypt'",
                          "") "," CLOSE "," DENY_12
                              ",{'Effect':'Deny','Principal':'*','Action':'kms:Decrypt','NotResource':'*'}"),
          LINT_PCR4_MISSING, LINT_ERROR },
        { "a Deny with NotPrincipal is not relied on",
          POLICY(ADMINISTER
                 "," ALLOW(ROOT, "'kms:Decrypt'", "") "," CLOSE "," DENY_12
                                                      ",{'Effect':'Deny','NotPrincipal':{'AWS':'" ROOT
                                                      "'},'Action':'kms:Decrypt','Resource':'*'}"),
          LINT_PCR4_MISSING, LINT_ERROR },
        { "a session of a role that a Deny may spare",
          POLICY(ADMINISTER
                 "," ALLOW("arn:aws:sts::222222222222:assumed-role/app/i-1", "'kms:Decrypt'",
                           "") "," CLOSE "," DENY_12
                               "," DENY("*", "'kms:Decrypt'", IS_NOT("4", "'" A "'") "," SPARING(APP))),
          LINT_PCR4_MISSING, LINT_ERROR },
        { "a Deny of a role is not certainly one of a session that has its name",
          POLICY(UNSEAL "," DENIALS
                        "," ALLOW("arn:aws:sts::222222222222:assumed-role/app/i-1", "'kms:PutKeyPolicy'",
                                  "") "," DENY(APP, "'kms:PutKeyPolicy'", "")),
          LINT_PUT_KEY_POLICY, LINT_ERROR },
        { "two Denies spare patterns that have a role in common",
          POLICY(ADMINISTER "," ALLOW(ROOT, "'kms:Decrypt'", "") "," CLOSE "," DENY_4 "," DENY(
                          "*", "'kms:Decrypt'",
                          IS_NOT("12",
                                 "'" ZEROS
                                 "'") ",'ArnNotLike':{'aws:PrincipalArn':'arn:aws:iam::111111111111:role/"
                                      "a*'}") "," DENY("*", "'kms:Decrypt'",
                                                       IS_NOT("12",
                                                              "'" ZEROS
                                                              "'") ",'ArnNotLike':{'aws:PrincipalArn':'arn:"
                                                                   "aws:iam::111111111111:role/*b'}")),
          LINT_PCR12_MISSING, LINT_ERROR },
        { "a Deny spares a pattern of roles of any account",
          POLICY(ADMINISTER "," ALLOW(CUSTOMER, "'kms:Decrypt'", "") "," CLOSE "," DENY_4 "," DENY(
                          "*", "'kms:Decrypt'",
                          IS_NOT("12", "'" ZEROS "'") ",'ArnNotLike':{'aws:PrincipalArn':'*:role/a*'}")),
          LINT_PCR12_MISSING, LINT_ERROR },
        { "a Deny of one account does not bind a pattern of roles of any",
          POLICY(ADMINISTER "," ALLOW(CUSTOMER, "'kms:Decrypt'", "") "," CLOSE "," DENY_4 "," DENY(
                          "*", "'kms:Decrypt'",
                          IS_NOT("12", "'" ZEROS "'") ",'ArnNotLike':{'aws:PrincipalArn':'*:role/"
                                                      "a*'}") "," DENY(ROOT, "'kms:Decrypt'",
                                                                       IS_NOT("12", "'" ZEROS "'"))),
          LINT_PCR12_MISSING, LINT_ERROR },
        { "a Deny spares the principal that a variable names",
          POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", "") "," CLOSE "," DENY_4 "," DENY(
                          "*", "'kms:Decrypt'",
                          IS_NOT("12", "'" ZEROS "'") "," SPARING("${aws:PrincipalArn}"))),
          LINT_PCR12_MISSING, LINT_ERROR },
        { "a Deny spares the root user of an account",
          POLICY(ADMINISTER "," ALLOW(ROOT, "'kms:Decrypt'", "") "," CLOSE "," DENY_4 "," DENY(
                          "*", "'kms:Decrypt'", IS_NOT("12", "'" ZEROS "'") "," SPARING(ROOT))),
          LINT_PCR12_MISSING, LINT_ERROR },
        { "a Deny for one role alone, by a condition",
          POLICY(ADMINISTER "," ALLOW(ROOT, "'kms:Decrypt'", "") "," CLOSE "," DENY_4 "," DENY(
                          "*", "'kms:Decrypt'",
                          IS_NOT("12", "'" ZEROS "'") ",'ArnEquals':{'aws:PrincipalArn':'" APP "'}")),
          LINT_PCR12_MISSING, LINT_ERROR },
        { "a Deny of all actions but this",
          POLICY(ADMINISTER "," ALLOW(ROOT, "'kms:Decrypt'",
                                      "") "," CLOSE "," DENY_12 ",{'Effect':'Deny','Principal':'*',"
                                          "'NotAction':'kms:d*','Resource':'*','Condition':{" IS_NOT(
                                                          "4", "'" A "'") "}}"),
          LINT_PCR4_MISSING, LINT_ERROR },
        { "actions match without regard to case", POLICY(ADMINISTER "," ALLOW(APP, "'KMS:dEcrypt'", "")),
          LINT_UNGATED_DECRYPT, LINT_ERROR },
};

static void test_counterexamples_stay_found(void **state) {
        const LintOptions options = { .administrators = administrators };
        size_t failed = 0;

        for (size_t i = 0; i < ELEMENTSOF(counterexamples); i++) {
                _cleanup_(lint_report_freep) LintReport *report = lint(counterexamples[i].policy, &options);

                if (find(report, counterexamples[i].code, counterexamples[i].severity))
                        continue;
                printf("%s: wanted %s\n", counterexamples[i].what,
                       lint_code_to_string(counterexamples[i].code));
                print_findings(report);
                failed++;
        }
        assert_int_equal(failed, 0);
}

static void assert_codes(const char *policy, const LintOptions *options, const LintCode *codes,
                         size_t n_codes) {
        _cleanup_(lint_report_freep) LintReport *report = lint(policy, options);
        bool same = report->n_findings == n_codes;

        for (size_t i = 0; same && i < n_codes; i++)
                same = report->findings[i].code == codes[i];
        if (same)
                return;
        for (size_t i = 0; i < n_codes; i++)
                printf("  wanted %s\n", lint_code_to_string(codes[i]));
        print_findings(report);
        fail();
}
#define ASSERT_CODES(policy, options, ...)                                 \
        do {                                                               \
                const LintCode _codes[] = { __VA_ARGS__ };                 \
                assert_codes(policy, options, _codes, ELEMENTSOF(_codes)); \
        } while (false)

static void test_under_secure_boot_pcr7_is_wanted_and_the_others_are_advised(void **state) {
        const LintOptions options = { .expectation.secure_boot = true, .administrators = administrators };

        ASSERT_CODES(POLICY(ADMINISTER
                            "," ALLOW(APP, "'kms:Decrypt'", IS("7", "'" A "'")) "," CLOSE "," DENY(
                                            "*", GATED, IS_NOT("7", "'" A "'"))),
                     &options, LINT_NO_DENY, LINT_PCR4_MISSING, LINT_PCR12_MISSING);
        ASSERT_CODES(GOOD, &options, LINT_NO_DENY, LINT_PCR7_MISSING);
        ASSERT_CODES(POLICY(ADMINISTER "," UNSEAL "," DENIALS "," DENY(
                                     "*", "'kms:Decrypt'", IS_NOT("7", "'" WITHOUT_SECURE_BOOT "'"))),
                     &options, LINT_VALUE_CONSTANT);
}

static void test_a_recovery_principal_is_an_error_until_it_is_declared(void **state) {
#define DENY_BUT_RESCUE(n, value) DENY("*", GATED, IS_NOT(n, "'" value "'") "," SPARING(RESCUE))
        static const char policy[] = POLICY(
                        ADMINISTER
                        "," UNSEAL "," CLOSE
                        "," ALLOW(RESCUE, "'kms:Decrypt'", "") "," DENY_BUT_RESCUE("2", WITHOUT_DRIVERS) "," DENY_BUT_RESCUE(
                                        "4", A) "," DENY_BUT_RESCUE("12", ZEROS) "," DENY_BUT_RESCUE("13",
                                                                                                     ZEROS));
        const LintOptions without = { .administrators = administrators },
                          with = { .administrators = administrators, .recovery_principals = recovery };

        ASSERT_CODES(policy, &without, LINT_NO_DENY, LINT_ENCRYPT_NOT_DENIED, LINT_UNGATED_DECRYPT);
        ASSERT_CODES(policy, &with, LINT_RECOVERY_PRINCIPAL);
}

static void test_a_declared_administrator_who_decrypts_by_name_is_still_an_error(void **state) {
        static const char *const app[] = { APP, NULL };
        const LintOptions options = { .administrators = app };

        ASSERT_CODES(POLICY(UNSEAL "," DENIALS "," ALLOW(APP, "'kms:PutKeyPolicy'", "")), &options,
                     LINT_PUT_KEY_POLICY);
}

static void test_a_role_of_an_administrating_account_needs_a_deny_to_be_apart(void **state) {
        static const char *const root[] = { ROOT, NULL };
        const LintOptions options = { .administrators = root };
#define NEIGHBOUR "arn:aws:iam::111111111111:role/app"
#define SAME_ACCOUNT                          \
        ALLOW(ROOT, "'kms:PutKeyPolicy'", "") \
        "," ALLOW(NEIGHBOUR, "'kms:Decrypt'", BOTH(A, ZEROS)) "," DENIALS

        ASSERT_CODES(POLICY(SAME_ACCOUNT), &options, LINT_PUT_KEY_POLICY);
        assert_codes(POLICY(SAME_ACCOUNT "," DENY(NEIGHBOUR, "'kms:PutKeyPolicy'", "")), &options, NULL, 0);
}

static void test_statement_with_dead_pcr_condition_gives_nothing_away(void **state) {
        const LintOptions options = { .administrators = administrators };

        ASSERT_CODES(POLICY(ADMINISTER
                            "," DENY_2 "," DENY_4 "," DENY_12 "," DENY_13
                            "," DENY("*", "['kms:CreateGrant','kms:ReEncryptTo'," MAKING "]", "") "," ALLOW(
                                            APP, "['kms:Decrypt','kms:ReEncryptFrom']", BOTH(A, ZEROS))),
                     &options, LINT_NO_DENY, LINT_NOT_APPLICABLE);
}

static void test_a_measurement_without_pcr12_means_zeros(void **state) {
        PcrSet image = image_of(0xA4, 0xA4, 0);
        const LintOptions options = { &image, 1, .administrators = administrators };

        image.present &= ~(1U << 12);
        assert_codes(GOOD, &options, NULL, 0);
        ASSERT_CODES(POLICY(ADMINISTER "," CLOSE "," DENY_2 "," DENY_13
                                       "," ALLOW(APP, "'kms:Decrypt'", BOTH(A, B)) "," DENY_4 "," DENY(
                                                       "*", "'kms:Decrypt'", IS_NOT("12", "'" B "'"))),
                     &options, LINT_IMAGE_LOCKED_OUT, LINT_FOREIGN_MEASUREMENT, LINT_VALUE_UNUSUAL,
                     LINT_VALUE_UNUSUAL);
}

static void test_under_secure_boot_images_are_told_by_pcr7_too(void **state) {
        const PcrSet image = image_of(0xA4, 0xA4, 0);
        const LintOptions options = { &image, 1, .expectation.secure_boot = true,
                                      .administrators = administrators };
#define WITH_7(value)                                                  \
        POLICY(ADMINISTER "," CLOSE "," DENY_4 "," DENY_12 "," DENY_13 \
                          "," DENY("*", "'kms:Decrypt'", IS_NOT("7", "'" value "'")) "," UNSEAL)

        assert_codes(WITH_7(A), &options, NULL, 0);
        ASSERT_CODES(WITH_7(B), &options, LINT_IMAGE_LOCKED_OUT, LINT_FOREIGN_MEASUREMENT);
}

static void test_firmware_may_run_drivers_where_neither_pcr2_is_pinned_nor_secure_boot(void **state) {
        const LintOptions options = { .administrators = administrators };
        const LintFinding *finding;
#define OPEN ADMINISTER "," UNSEAL "," DENIALS_WITHOUT_2
#define IN_ALLOW(n, value)                                                                             \
        POLICY(ADMINISTER                                                                              \
               "," ALLOW(APP, "'kms:Decrypt'",                                                         \
                         "'StringEquals':{" PCR_KEY(n) "'" value "'," PCR_KEY("4") "'" A "'," PCR_KEY( \
                                         "12") "'" ZEROS "'}") "," DENIALS_WITHOUT_2)
        _cleanup_(lint_report_freep) LintReport *report = lint(POLICY(OPEN), &options);

        finding = find(report, LINT_PCR2_MISSING, LINT_WARNING);
        assert_int_equal(report->n_findings, 1);
        assert_non_null(finding);
        assert_int_equal(finding->statement, 2);
        assert_string_equal(finding->subject, APP);
        assert_string_equal(lint_code_to_string(finding->code), "pcr2-missing");
        assert_codes(POLICY(OPEN "," DENY_2), &options, NULL, 0);
        assert_codes(POLICY(OPEN "," DENY("*", "'kms:Decrypt'", IS_NOT("7", "'" A "'"))), &options, NULL, 0);
        ASSERT_CODES(POLICY(OPEN "," DENY("*", "'kms:Decrypt'", IS_NOT("7", "'" WITHOUT_SECURE_BOOT "'"))),
                     &options, LINT_PCR2_MISSING, LINT_VALUE_CONSTANT);
        ASSERT_CODES(POLICY(OPEN "," DENY("*", "'kms:Decrypt'",
                                          IS_NOT("7", "['" WITHOUT_SECURE_BOOT "','" A "']"))),
                     &options, LINT_PCR2_MISSING, LINT_VALUE_CONSTANT);
        /* A grant bypasses what an Allow pins. */
        ASSERT_CODES(IN_ALLOW("2", WITHOUT_DRIVERS), &options, LINT_NO_DENY);
        ASSERT_CODES(IN_ALLOW("7", A), &options, LINT_NO_DENY);
        /* A Deny that denies only if another PCR is wrong, too, does not pin PCR2. */
        ASSERT_CODES(POLICY(OPEN "," DENY("*", "'kms:Decrypt'",
                                          "'StringNotEquals':{" PCR_KEY("2") "'" WITHOUT_DRIVERS
                                                                             "'," PCR_KEY("4") "'" A "'}")),
                     &options, LINT_PCR2_MISSING, LINT_WEAK_DENY);
        /* A driver gets data keys in the same way. */
        ASSERT_CODES(POLICY(ADMINISTER
                            "," ALLOW(APP, "'kms:GenerateDataKey'",
                                      BOTH(A, ZEROS) "," NAMED(
                                                      "'db-key'")) "," UNSEAL "," DENIALS_WITHOUT_2
                                                                   "," DENY("*", "'kms:Decrypt'",
                                                                            IS_NOT("2", "'" WITHOUT_DRIVERS
                                                                                        "'"))),
                     &options, LINT_PCR2_MISSING);
}

/* KMS answers a request with a document with a ciphertext, too. So the policy must say for which secrets. */
static void test_data_keys_are_bound_to_the_secrets_that_kms_makes(void **state) {
        static const char bound[][120] = {
                NAMED("'db-key'"),
                NAMED("['db-key','session-key']"),
                "'StringLike':{'KMS:encryptioncontext:unseald:secret':'db-key'}",
                "'Null':{'kms:EncryptionContext:unseald:secret':'true'}",
                "'Null':{'kms:EncryptionContext:unseald:secret':true}",
        };
        static const char unbound[][120] = {
                "'StringEquals':{'aws:PrincipalOrgID':'o-0123456789'}",
                NAMED("'${aws:PrincipalTag/team}'"),
                "'StringLike':{'kms:EncryptionContext:unseald:secret':['db-key','*']}",
                "'StringLike':{'kms:EncryptionContext:unseald:secret':'?b-password'}",
                "'StringEqualsIfExists':{'kms:EncryptionContext:unseald:secret':'db-key'}",
                "'ForAllValues:StringEquals':{'kms:EncryptionContext:unseald:secret':'db-key'}",
                "'StringNotEquals':{'kms:EncryptionContext:unseald:secret':'db-password'}",
                "'StringEquals':{'kms:EncryptionContext:secret':'db-key'}",
                "'Null':{'kms:EncryptionContext:unseald:secret':'false'}",
                "'Null':{'kms:EncryptionContext:unseald:secret':['true','false']}",
        };
        static const char *const actions[] = { "kms:GenerateDataKey", "kms:GenerateDataKeyPair" };
        const PcrSet image = image_of(0xA4, 0xA4, 0);
        const LintOptions options = { &image, 1, .administrators = administrators };

        for (size_t i = 0; i < ELEMENTSOF(bound) + ELEMENTSOF(unbound); i++)
                for (size_t j = 0; j < ELEMENTSOF(actions); j++) {
                        const char *condition =
                                        i < ELEMENTSOF(bound) ? bound[i] : unbound[i - ELEMENTSOF(bound)];
                        _cleanup_(lint_report_freep) LintReport *report = NULL;
                        _cleanup_free_ char *text = NULL;
                        bool said = false;

                        assert_true(asprintf(&text,
                                             "{'Version':'2012-10-17','Statement':[" ADMINISTER "," UNSEAL
                                             "," DENIALS ",{'Effect':'Allow','Principal':{'AWS':'" APP
                                             "'},'Action':'%s','Resource':'*','Condition':{%s,%s}}]}",
                                             actions[j], BOTH(A, ZEROS), condition) > 0);
                        report = lint(text, &options);
                        for (size_t k = 0; k < report->n_findings; k++)
                                said |= report->findings[k].code == LINT_ANY_CONTEXT &&
                                        report->findings[k].severity == LINT_WARNING;
                        if (said != (i >= ELEMENTSOF(bound)) || lint_count(report, LINT_ERROR) > 0) {
                                print_findings(report);
                                fail_msg("%s", condition);
                        }
                }
}

static void test_pcr2_and_pcr13_are_compared_with_the_images(void **state) {
        PcrSet driven = image_of(0xA4, 0xA4, 0), extended = driven;
        const PcrSet image = driven;
        const LintOptions plain = { &image, 1, .administrators = administrators },
                          any = { &image,
                                  1,
                                  { .any_drivers = true, .any_extensions = true },
                                  .administrators = administrators },
                          with_driver = { &driven, 1, .administrators = administrators },
                          with_extension = { &extended, 1, .administrators = administrators };
#define PINNING(two, thirteen)                                                               \
        POLICY(ADMINISTER "," UNSEAL "," CLOSE "," DENY_4 "," DENY_12                        \
                          "," DENY("*", "'kms:Decrypt'", IS_NOT("2", "'" two "'")) "," DENY( \
                                          "*", "'kms:Decrypt'", IS_NOT("13", "'" thirteen "'")))

        driven.present |= 1U << 2;
        memset(driven.value[2], 0xB4, PCR_SIZE);
        extended.present |= 1U << 13;
        memset(extended.value[13], 0xB4, PCR_SIZE);
        assert_codes(PINNING(WITHOUT_DRIVERS, ZEROS), &plain, NULL, 0);
        assert_codes(PINNING(B, ZEROS), &with_driver, NULL, 0);
        assert_codes(PINNING(WITHOUT_DRIVERS, B), &with_extension, NULL, 0);
        ASSERT_CODES(PINNING(B, ZEROS), &plain, LINT_IMAGE_LOCKED_OUT, LINT_FOREIGN_MEASUREMENT,
                     LINT_VALUE_UNUSUAL);
        ASSERT_CODES(PINNING(WITHOUT_DRIVERS, B), &plain, LINT_IMAGE_LOCKED_OUT, LINT_FOREIGN_MEASUREMENT,
                     LINT_VALUE_UNUSUAL);
        ASSERT_CODES(PINNING(WITHOUT_DRIVERS, ZEROS), &with_driver, LINT_IMAGE_LOCKED_OUT,
                     LINT_FOREIGN_MEASUREMENT);
        assert_codes(PINNING(WITHOUT_DRIVERS, ZEROS), &any, NULL, 0);
        ASSERT_CODES(POLICY(ADMINISTER "," UNSEAL "," CLOSE "," DENY_4 "," DENY_12), &plain,
                     LINT_PCR2_MISSING, LINT_PCR13_MISSING);
        ASSERT_CODES(POLICY(ADMINISTER "," UNSEAL "," CLOSE "," DENY_4 "," DENY_12), &any,
                     LINT_PCR2_MISSING);
}

/* MeasurePcr= extends it with each sealed secret. */
static void test_a_measured_pcr_is_not_pinned(void **state) {
        const PcrSet image = image_of(0xA4, 0xA4, 0);
        const LintOptions eight = { &image, 1, { .measured = 1U << 8 }, .administrators = administrators },
                          thirteen = { &image,
                                       1,
                                       { .measured = 1U << 13 },
                                       .administrators = administrators },
                          none = { &image, 1, .administrators = administrators };
#define PINNING_8                                                                                        \
        POLICY(ADMINISTER "," UNSEAL "," CLOSE "," DENY_4 "," DENY_12 "," DENY_13                        \
                          "," DENY("*", "'kms:Decrypt'", IS_NOT("2", "'" WITHOUT_DRIVERS "'")) "," DENY( \
                                          "*", "'kms:Decrypt'", IS_NOT("8", "'" ZEROS "'")))

        assert_codes(PINNING_8, &none, NULL, 0);
        ASSERT_CODES(PINNING_8, &eight, LINT_MEASURED_PCR);
        ASSERT_CODES(PINNING(WITHOUT_DRIVERS, ZEROS), &thirteen, LINT_MEASURED_PCR);
        /* Without the pin, nothing is said of PCR13, as with --no-pcr13. */
        ASSERT_CODES(POLICY(ADMINISTER "," UNSEAL "," CLOSE "," DENY_4 "," DENY_12), &thirteen,
                     LINT_PCR2_MISSING);
}

static void test_a_sealer_is_named_until_it_is_declared(void **state) {
#define CI "arn:aws:iam::111111111111:role/ci"
        static const char *const sealers[] = { CI, NULL }, *const app[] = { APP, NULL };
        const LintOptions without = { .administrators = administrators },
                          with = { .administrators = administrators, .sealers = sealers },
                          wrong = { .administrators = administrators, .sealers = app };
        static const char policy[] = POLICY(ADMINISTER "," UNSEAL "," DENIALS_WITHOUT_2 "," DENY_2
                                                       "," ALLOW(CI, "'kms:Tag*'", ""));
        static const char seals[] =
                        POLICY(ADMINISTER
                               "," UNSEAL "," DENY_2 "," DENY_4 "," DENY_12 "," DENY_13
                               "," DENY("*", "['kms:ReEncrypt*','kms:CreateGrant']", "") "," DENY(
                                               APP, "[" MAKING "]", "") "," ALLOW(CI, "'kms:Encrypt'", ""));

        assert_codes(policy, &without, NULL, 0);
        ASSERT_CODES(seals, &without, LINT_SEALER);
        assert_codes(seals, &with, NULL, 0);
        /* A sealer makes data keys without a document. The Deny statements spare it by its name, and nobody else. */
#define SPARED_DENY(pcr, value) DENY("*", GATED, IS_NOT(pcr, "'" value "'") "," SPARING(CI))
#define SPARED_2_AND_4 SPARED_DENY("2", WITHOUT_DRIVERS) "," SPARED_DENY("4", A)
#define SPARED_12_AND_13 SPARED_DENY("12", ZEROS) "," SPARED_DENY("13", ZEROS)
#define OTHER_WAYS DENY("*", "['kms:ReEncrypt*','kms:CreateGrant']", "") "," DENY(APP, "[" MAKING "]", "")
#define SPARED ADMINISTER "," UNSEAL "," SPARED_2_AND_4 "," SPARED_12_AND_13 "," OTHER_WAYS
#define NO_UNSEALING DENY(CI, "['kms:Decrypt','kms:GenerateDataKeyPair']", "")
#define DATA_KEYS(who) ALLOW(who, "'kms:GenerateDataKey'", "")
        ASSERT_CODES(POLICY(SPARED "," NO_UNSEALING "," DATA_KEYS(CI)), &without, LINT_SEALER);
        assert_codes(POLICY(SPARED "," NO_UNSEALING "," DATA_KEYS(CI)), &with, NULL, 0);
        ASSERT_CODES(POLICY(SPARED "," NO_UNSEALING "," DATA_KEYS(APP)), &with, LINT_ANY_CONTEXT);
        ASSERT_CODES(POLICY(SPARED "," DATA_KEYS(CI)), &with, LINT_NO_DENY);

        /* A principal that unseals must not seal, even if --sealer= declares it. */
        ASSERT_CODES(POLICY(ADMINISTER "," UNSEAL "," DENY_2 "," DENY_4 "," DENY_12 "," DENY_13
                                       "," DENY("*", "['kms:ReEncrypt*','kms:CreateGrant']",
                                                "") "," ALLOW(APP, "'kms:Encrypt'", "")),
                     &wrong, LINT_ENCRYPT_NOT_DENIED, LINT_ENCRYPT);
}

static void test_condition_that_no_request_meets_keeps_image_out(void **state) {
        const PcrSet image = image_of(0xA4, 0xA4, 0);
        const LintOptions options = { &image, 1, .administrators = administrators };
#define WITH_NULL(key, value)                    \
        POLICY(ADMINISTER "," UNSEAL "," DENIALS \
                          "," DENY("*", "'kms:Decrypt'", "'Null':{'" key "':'" value "'}"))

        assert_codes(WITH_NULL("kms:RecipientAttestation:NitroTPMPCR4", "true"), &options, NULL, 0);
        ASSERT_CODES(WITH_NULL("kms:RecipientAttestation:NitroTPMPCR4", "false"), &options,
                     LINT_IMAGE_LOCKED_OUT);
        ASSERT_CODES(WITH_NULL("kms:RecipientAttestation", "true"), &options, LINT_IMAGE_LOCKED_OUT,
                     LINT_UNKNOWN_KEY);
        ASSERT_CODES(WITH_NULL("kms:RecipientAttestation:PCR0", "true"), &options, LINT_IMAGE_LOCKED_OUT,
                     LINT_ENCLAVE_PCR);
        ASSERT_CODES(WITH_NULL("kms:RecipientAttestation", "false"), &options, LINT_UNKNOWN_KEY);
}

static void test_condition_keys_of_kms_are_known(void **state) {
        static const char *const known[] = { "kms:ViaService",
                                             "KMS:viaservice",
                                             "kms:EncryptionContext:unseald:secret",
                                             "kms:EncryptionContextKeys",
                                             "kms:RecipientAttestation:NitroTPMPCR23",
                                             "kms:RecipientAttestation:PCR15",
                                             "kms:RecipientAttestation:ImageSha384",
                                             "aws:PrincipalArn",
                                             "aws:Whatever" },
                                 *const unknown[] = { "kms:RecipientAttestation",
                                                      "kms:RecipientAttestation:",
                                                      "kms:RecipientAttestation:NitroTPMPCR24",
                                                      "kms:RecipientAttestation:NitroTPMPCR04",
                                                      "kms:RecipientAttestation:PCR",
                                                      "kms:EncryptionContext:",
                                                      "kms:ViaServices" };

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (!condition_key_exists(known[i]))
                        fail_msg("%s is taken for unknown", known[i]);
        for (size_t i = 0; i < ELEMENTSOF(unknown); i++)
                if (condition_key_exists(unknown[i]))
                        fail_msg("%s is taken for known", unknown[i]);
}

/* The answer to GetKeyPolicy, and the output of jq without -r. */
static void test_a_policy_is_found_in_what_tools_print(void **state) {
        _cleanup_free_ char *policy = with_quotes(POLICY(ADMINISTER "," UNSEAL));
        struct json_object *answer = json_object_new_object();
        const LintOptions options = { .administrators = administrators };
        const char *texts[2];

        json_object_object_add(answer, "Policy", json_object_new_string(policy));
        json_object_object_add(answer, "PolicyName", json_object_new_string("default"));
        texts[0] = json_object_to_json_string(answer);
        texts[1] = json_object_to_json_string(json_object_object_get(answer, "Policy"));
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(lint_report_freep) LintReport *report = NULL;

                assert_int_equal(lint_policy(texts[i], strlen(texts[i]), &options, &report), 0);
                assert_null(find(report, LINT_MALFORMED, LINT_ERROR));
                assert_non_null(find(report, LINT_NO_DENY, LINT_WARNING));
        }
        json_object_put(answer);
}

static void test_values_are_compared_with_the_images(void **state) {
        const PcrSet images[] = { image_of(0xA4, 0xA4, 0), image_of(0xB4, 0xA4, 0xC1),
                                  image_of(0xD4, 0xA4, 0) };
#define TWO(a, b) "['" a "','" b "']"
#define OTHER_12 REPEAT("c1c1c1c1c1c1")
#define UNION                                                                               \
        DENY_2 "," DENY_13 "," DENY("*", "'kms:Decrypt'", IS_NOT("4", TWO(A, B))) "," DENY( \
                        "*", "'kms:Decrypt'", IS_NOT("12", TWO(ZEROS, OTHER_12)))
        static const char apart[] = POLICY(ADMINISTER "," UNSEAL "," ALLOW(
                        APP, "'kms:Decrypt'", BOTH(B, OTHER_12)) "," CLOSE "," UNION);
        static const char delegated[] =
                        POLICY(ADMINISTER "," ALLOW(CUSTOMER, "'kms:Decrypt'", "") "," CLOSE "," UNION);
        const LintOptions first = { images, 1, .administrators = administrators },
                          two = { images, 2, .administrators = administrators },
                          last = { images + 2, 1, .administrators = administrators };

        ASSERT_CODES(GOOD, &last, LINT_IMAGE_LOCKED_OUT, LINT_FOREIGN_MEASUREMENT);
        ASSERT_CODES(GOOD, &two, LINT_IMAGE_LOCKED_OUT);
        /* The Deny statements alone let images mix, and a grant needs no Allow. */
        ASSERT_CODES(apart, &two, LINT_NO_DENY);
        ASSERT_CODES(apart, &first, LINT_FOREIGN_MEASUREMENT, LINT_VALUE_UNUSUAL, LINT_VALUE_UNUSUAL);
        ASSERT_CODES(delegated, &two, LINT_MIXED_IMAGES);
}

static void test_message_about_locked_out_image_is_true_of_an_open_key(void **state) {
        const PcrSet image = image_of(0xA4, 0xA4, 0), other = image_of(0xB4, 0xA4, 0);
        const LintOptions options = { &image, 1, .administrators = administrators },
                          locked_out = { &other, 1, .administrators = administrators };
        static const char *const open[] = { POLICY(ALLOW(ROOT, "'kms:*'", "")),
                                            POLICY(ADMINISTER "," ALLOW("*", "'kms:Decrypt'", "")),
                                            POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", "")) };

        for (size_t i = 0; i <= ELEMENTSOF(open); i++) {
                bool closed = i == ELEMENTSOF(open);
                _cleanup_(lint_report_freep) LintReport *report =
                                lint(closed ? GOOD : open[i], closed ? &locked_out : &options);
                const LintFinding *finding = find(report, LINT_IMAGE_LOCKED_OUT, LINT_WARNING);

                assert_non_null(finding);
                assert_int_equal(strncmp(finding->meaning, "Nobody ", 7) == 0, closed);
                assert_int_equal(strncmp(finding->meaning, "Only those who need no document ", 32) == 0,
                                 !closed);
        }
}

static void test_denies_that_leave_the_images_alone_do_not_mix_them(void **state) {
        const PcrSet images[] = { image_of(0xA4, 0xA4, 0), image_of(0xB4, 0xA4, 0xC1) };
        const LintOptions options = { images, 2, .administrators = administrators };
#define CLAUSE(four, twelve)       \
        DENY("*", "'kms:Decrypt'", \
             "'StringNotEqualsIgnoreCase':{" PCR_KEY("4") "'" four "'," PCR_KEY("12") "'" twelve "'}")

        assert_codes(POLICY(ADMINISTER "," ALLOW(APP, "'kms:Decrypt'", "") "," CLOSE "," UNION "," CLAUSE(
                                     A, OTHER_12) "," CLAUSE(B, ZEROS)),
                     &options, NULL, 0);
}

static void test_a_policy_that_is_too_much_is_not_safe(void **state) {
        static char text[KEY_POLICY_SIZE_MAX + 2];
        const LintOptions options = {};
        size_t n = 0;
        _cleanup_(lint_report_freep) LintReport *large = NULL, *many = NULL, *values = NULL;

        memset(text, ' ', sizeof(text));
        assert_int_equal(lint_policy(text, sizeof(text) - 1, &options, &large), 0);
        assert_non_null(find(large, LINT_TOO_LARGE, LINT_ERROR));

        n = (size_t) snprintf(
                        text, sizeof(text),
                        "{'Statement':{'Effect':'Deny','Action':'*','Resource':'*','Principal':{'AWS':[");
        for (unsigned i = 0; i < 300; i++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, "%s'%012u'", i > 0 ? "," : "", i);
        (void) snprintf(text + n, sizeof(text) - n, "]}}}");
        many = lint(text, &options);
        assert_non_null(find(many, LINT_TOO_CLEVER, LINT_ERROR));

        n = (size_t) snprintf(text, sizeof(text),
                              "{'Statement':{'Effect':'Allow','Action':'kms:Decrypt','Resource':'*',"
                              "'Principal':{'AWS':'" APP "'},'Condition':{'StringEquals':{");
        for (unsigned pcr = 4; pcr <= 12; pcr += 8) {
                n += (size_t) snprintf(text + n, sizeof(text) - n,
                                       "%s'kms:RecipientAttestation:NitroTPMPCR%u':[", pcr > 4 ? "," : "",
                                       pcr);
                for (unsigned i = 0; i < 65; i++)
                        n += (size_t) snprintf(text + n, sizeof(text) - n, "%s'%096x'", i > 0 ? "," : "",
                                               i + 1);
                n += (size_t) snprintf(text + n, sizeof(text) - n, "]");
        }
        (void) snprintf(text + n, sizeof(text) - n, "}}}}");
        values = lint(text, &options);
        assert_non_null(find(values, LINT_TOO_CLEVER, LINT_ERROR));
}

static void test_text_that_is_no_policy_is_malformed(void **state) {
        static const char *const texts[] = {
                "",
                "[]",
                "{}",
                "{'Statement':[]}",
                "{'Version':'2013-10-17','Statement':[" UNSEAL "]}",
                "{'Statement':[" UNSEAL "],'Other':1}",
                "{'Statement':[" UNSEAL "],'Statement':[" UNSEAL "]}",
                "{'Statement':'x'}",
                "{'Statement':{'Effect':'allow','Principal':'*','Action':'*','Resource':'*'}}",
                "{'Statement':{'Effect':'Allow','Action':'*','Resource':'*'}}",
                "{'Statement':{'Effect':'Allow','Principal':'x','Action':'*','Resource':'*'}}",
                "{'Statement':{'Effect':'Allow','Principal':{},'Action':'*','Resource':'*'}}",
                "{'Statement':{'Effect':'Allow','Principal':{'AWS':1},'Action':'*','Resource':'*'}}",
                "{'Statement':{'Effect':'Allow','Principal':{'Other':'*'},'Action':'*','Resource':'*'}}",
                "{'Statement':{'Effect':'Allow','Principal':1,'Action':'*','Resource':'*'}}",
                "{'Statement':{'Effect':'Allow','Principal':'*','NotPrincipal':'*','Action':'*','Resource':'"
                "*'}}",
                "{'Statement':{'Effect':'Allow','Principal':'*','Action':'Decrypt','Resource':'*'}}",
                "{'Statement':{'Effect':'Allow','Principal':'*','Action':1,'Resource':'*'}}",
                "{'Statement':{'Effect':'Allow','Principal':'*','Action':'*','Resource':1}}",
                "{'Statement':{'Effect':'Allow','Principal':'*','Action':'*','Resource':'*','Sid':1}}",
                "{'Statement':{'Effect':'Allow','Principal':'*','Action':'*','Resource':'*','Condition':1}}",
                "{'Statement':{'Effect':'Allow','Principal':'*','Action':'*','Resource':'*','Condition':{'"
                "Bool':1}}}",
                "{'Statement':{'Effect':'Allow','Principal':'*','Action':'*','Resource':'*','Condition':{'"
                "Like':{'a:b':'1'}}}}",
                "{'Statement':{'Effect':'Allow','Principal':'*','Action':'*','Resource':'*','Condition':{'"
                "Bool':{'ab':'1'}}}}",
                "{'Statement':{'Effect':'Allow','Principal':'*','Action':'*','Resource':'*','Condition':{'"
                "Bool':{'a:b':{}}}}}",
                "{'Statement':{'Effect':'Allow','Principal':'*','Action':'*','Resource':null}}",
                "{'Statement':[{'Sid':'a','Effect':'Deny','Principal':'*','Action':'*','Resource':'*'},"
                "{'Sid':'a','Effect':'Deny','Principal':'*','Action':'*','Resource':'*'}]}",
        };
        const LintOptions options = {};

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(lint_report_freep) LintReport *report = lint(texts[i], &options);

                if (report->n_findings == 1 && report->findings[0].code == LINT_MALFORMED)
                        continue;
                print_findings(report);
                fail_msg("not malformed: %s", texts[i]);
        }
}

static void test_principals_are_told_apart(void **state) {
        static const struct {
                const char *text;
                int kind; /* -1: not a principal */
        } cases[] = {
                { "*", CALLER_EVERYONE },
                { "111111111111", CALLER_ACCOUNT },
                { ROOT, CALLER_ACCOUNT },
                { "arn:aws-us-gov:iam::111111111111:root", CALLER_ACCOUNT },
                { APP, CALLER_IDENTITY },
                { "arn:aws:iam::111111111111:user/a/b/c", CALLER_IDENTITY },
                { "arn:aws:iam::111111111111:role/a!b/~c:d/app", CALLER_IDENTITY },
                { "arn:aws:iam::111111111111:role/a!b", -1 },
                { "arn:aws:iam::111111111111:role/a*/b", -1 },
                { "arn:aws:iam::111111111111:role/a b/c", -1 },
                { "arn:aws:sts::111111111111:assumed-role/a/b", CALLER_SESSION },
                { "AIDACKCEVSQ6C2EXAMPLE", CALLER_UNIQUE_ID },
                { "11111111111", -1 },
                { "arn:aws:iam::11111111111:root", -1 },
                { "arn:aws:iam::111111111111:role/", -1 },
                { "arn:aws:iam::111111111111:role/*", -1 },
                { "arn:aws:iam::111111111111:role/${aws:username}", -1 },
                { "arn:aws:iam::111111111111:group/a", -1 },
                { "arn:aws:iam:eu-north-1:111111111111:role/a", -1 },
                { "arn:aws:sts::111111111111:role/a", -1 },
                { "arn:other:iam::111111111111:root", -1 },
                { "arn:aws", -1 },
                { "", -1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Caller caller;
                int kind = caller_parse(cases[i].text, &caller) ? (int) caller.kind : -1;

                if (kind != cases[i].kind)
                        fail_msg("%s: saw %i, wanted %i", cases[i].text, kind, cases[i].kind);
        }
}

static void test_wildcards_match_as_in_a_policy(void **state) {
        assert_true(wildcard_match("kms:*", "kms:Decrypt"));
        assert_true(wildcard_match("KMS:de*pt", "kms:Decrypt"));
        assert_true(wildcard_match("kms:?ecrypt", "kms:Decrypt"));
        assert_true(wildcard_match("*a*b", "xaxbab"));
        assert_true(wildcard_match("*", ""));
        assert_false(wildcard_match("kms:Decrypt?", "kms:Decrypt"));
        assert_false(wildcard_match("kms:Decrypt", "kms:Decryption"));
        assert_false(wildcard_match("*a*b", "xaxbac"));
        assert_false(wildcard_match("", "a"));
}

static void test_every_code_has_a_name_of_its_own_and_advice(void **state) {
        for (LintCode i = 0; i < _LINT_CODES; i++) {
                assert_non_null(lint_code_to_string(i));
                assert_non_null(lint_code_advice(i));
                for (LintCode j = 0; j < i; j++)
                        assert_string_not_equal(lint_code_to_string(i), lint_code_to_string(j));
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nothing_is_found_in_a_good_policy),
                cmocka_unit_test(test_every_bad_policy_is_named_by_its_code),
                cmocka_unit_test(test_counterexamples_stay_found),
                cmocka_unit_test(test_under_secure_boot_pcr7_is_wanted_and_the_others_are_advised),
                cmocka_unit_test(test_a_recovery_principal_is_an_error_until_it_is_declared),
                cmocka_unit_test(test_a_declared_administrator_who_decrypts_by_name_is_still_an_error),
                cmocka_unit_test(test_a_role_of_an_administrating_account_needs_a_deny_to_be_apart),
                cmocka_unit_test(test_statement_with_dead_pcr_condition_gives_nothing_away),
                cmocka_unit_test(test_a_measurement_without_pcr12_means_zeros),
                cmocka_unit_test(test_under_secure_boot_images_are_told_by_pcr7_too),
                cmocka_unit_test(test_firmware_may_run_drivers_where_neither_pcr2_is_pinned_nor_secure_boot),
                cmocka_unit_test(test_data_keys_are_bound_to_the_secrets_that_kms_makes),
                cmocka_unit_test(test_pcr2_and_pcr13_are_compared_with_the_images),
                cmocka_unit_test(test_a_measured_pcr_is_not_pinned),
                cmocka_unit_test(test_a_sealer_is_named_until_it_is_declared),
                cmocka_unit_test(test_condition_that_no_request_meets_keeps_image_out),
                cmocka_unit_test(test_condition_keys_of_kms_are_known),
                cmocka_unit_test(test_a_policy_is_found_in_what_tools_print),
                cmocka_unit_test(test_values_are_compared_with_the_images),
                cmocka_unit_test(test_message_about_locked_out_image_is_true_of_an_open_key),
                cmocka_unit_test(test_denies_that_leave_the_images_alone_do_not_mix_them),
                cmocka_unit_test(test_a_policy_that_is_too_much_is_not_safe),
                cmocka_unit_test(test_text_that_is_no_policy_is_malformed),
                cmocka_unit_test(test_principals_are_told_apart),
                cmocka_unit_test(test_wildcards_match_as_in_a_policy),
                cmocka_unit_test(test_every_code_has_a_name_of_its_own_and_advice),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
