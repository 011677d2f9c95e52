/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The policies below have ' in place of ", to be readable. json_of() exchanges them, and makes a ' of each
 * `.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "basic/cleanup.h"
#include "policy.h"

#define KEY "arn:aws:kms:eu-north-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab"
#define ROLE "arn:aws:iam::111111111111:role/app"
#define SESSION "arn:aws:sts::111111111111:assumed-role/app/i-0123456789abcdef0"
#define USER "arn:aws:iam::111111111111:user/staff/alice"
#define OTHER "arn:aws:iam::222222222222:role/other"

#define USER_ID "AIDAUSERUSERUSERUSERU"
static const PolicyPrincipal role = { "111111111111", ROLE, SESSION, NULL, NULL };
static const PolicyPrincipal user = { "111111111111", USER, NULL, USER_ID, NULL };
static const PolicyPrincipal service = { "", "", NULL, NULL, "ec2.amazonaws.com" };
static const PolicyPrincipal root = { "111111111111", "arn:aws:iam::111111111111:root", NULL, NULL, NULL };
static const PolicyPrincipal other = { "222222222222", OTHER,
                                       "arn:aws:sts::222222222222:assumed-role/other/session", NULL, NULL };
static const PolicyPrincipal other_root = { "222222222222", "arn:aws:iam::222222222222:root", NULL, NULL,
                                            NULL };

#define STATEMENT(effect, principal, action, rest) \
        "{'Effect':'" effect "','Principal':" principal ",'Action':" action ",'Resource':'*'" rest "}"
#define CONDITION(condition) ",'Condition':{" condition "}"
#define POLICY(statements) "{'Version':'2012-10-17','Statement':[" statements "]}"
#define AWS(principal) "{'AWS':'" principal "'}"
#define DELEGATE STATEMENT("Allow", AWS("arn:aws:iam::111111111111:root"), "'kms:*'", "")
#define MAY(action) \
        "{'Version':'2012-10-17','Statement':{'Effect':'Allow','Action':'" action "','Resource':'*'}}"
#define MUST_NOT(action) \
        "{'Version':'2012-10-17','Statement':{'Effect':'Deny','Action':'" action "','Resource':'*'}}"

static char *json_of(const char *text) {
        char *json = strdup(text);

        assert_non_null(json);
        for (char *s = json; *s; s++)
                *s = *s == '\'' ? '"' : *s == '`' ? '\'' : *s;
        return json;
}

/* The text ends at the end of its memory, so that a sanitizer notices reads beyond it. */
static int parse(PolicyKind kind, const char *text, size_t size, Policy **ret,
                 char reason[static POLICY_REASON_SIZE]) {
        _cleanup_free_ char *exact = malloc(size ? size : 1);

        assert_non_null(exact);
        memcpy(exact, text, size);
        reason[0] = '\0';
        return policy_parse(kind, exact, size, ret, reason);
}

static Policy *policy_of(PolicyKind kind, const char *text) {
        _cleanup_free_ char *json = json_of(text);
        char reason[POLICY_REASON_SIZE];
        Policy *policy = NULL;

        if (parse(kind, json, strlen(json), &policy, reason) < 0)
                fail_msg("refused: %s\n%s", reason, json);
        return policy;
}

/* Reads "key=value|key=value". A key that ends in + is a pair of the encryption context. */
static PolicyContext *context_of(const PolicyPrincipal *principal, const char *facts) {
        _cleanup_free_ char *copy = strdup(facts ? facts : "");
        PolicyContext *context;
        char *state = NULL;

        assert_int_equal(policy_context_new(principal, &context), 0);
        for (char *fact = strtok_r(copy, "|", &state); fact; fact = strtok_r(NULL, "|", &state)) {
                char *value = strchr(fact, '=');

                assert_non_null(value);
                *value++ = '\0';
                if (value[-2] == '+') {
                        value[-2] = '\0';
                        assert_int_equal(policy_context_add_encryption_context(context, fact, value), 0);
                } else {
                        assert_int_equal(policy_context_add(context, fact, value), 0);
                }
        }
        return context;
}

typedef struct Case {
        const char *name;
        const PolicyPrincipal *caller; /* NULL: the role */
        const char *action;            /* NULL: kms:Decrypt */
        const char *key_policy, *identity_policy, *facts;
        PolicyOutcome outcome;
        const PolicyGrant *grant;
        const char *resource; /* NULL: KEY */
} Case;

static PolicyDecision decide(const Case *c) {
        _cleanup_(policy_freep) Policy *key_policy =
                        c->key_policy ? policy_of(POLICY_KIND_KEY, c->key_policy) : NULL;
        _cleanup_(policy_freep) Policy *identity_policy =
                        c->identity_policy ? policy_of(POLICY_KIND_IDENTITY, c->identity_policy) : NULL;
        const PolicyPrincipal *caller = c->caller ? c->caller : &role;
        _cleanup_(policy_context_freep) PolicyContext *context = context_of(caller, c->facts);
        const Policy *identity_policies[] = { identity_policy };
        PolicySet set = { key_policy, identity_policies, identity_policy ? 1 : 0, c->grant,
                          c->grant ? 1 : 0 };
        PolicyRequest request = { c->action ? c->action : "kms:Decrypt", c->resource ? c->resource : KEY,
                                  caller, context };

        return policy_decide(&set, &request);
}

static void check(const Case *cases, size_t n) {
        for (size_t i = 0; i < n; i++) {
                PolicyDecision decision = decide(&cases[i]);

                if (decision.outcome != cases[i].outcome ||
                    decision.allowed != (cases[i].outcome <= POLICY_ALLOWED_BY_GRANT))
                        fail_msg("%s: outcome %d%s, wanted %d", cases[i].name, (int) decision.outcome,
                                 decision.allowed ? " (allowed)" : "", (int) cases[i].outcome);
        }
}

static void test_which_policy_allows_the_caller(void **state) {
        static const Case cases[] = {
                { "no policy at all", NULL, NULL, NULL, NULL, NULL, POLICY_NO_KEY_POLICY_ALLOWS },
                { "no key policy, not even for root", &root, NULL, NULL, NULL, NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS },
                { "no key policy, identity alone", NULL, NULL, NULL, MAY("kms:*"), NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS },
                { "delegated, no identity policy", NULL, NULL, POLICY(DELEGATE), NULL, NULL,
                  POLICY_NO_IDENTITY_ALLOWS },
                { "delegated, identity policy", NULL, NULL, POLICY(DELEGATE), MAY("kms:Decrypt"), NULL,
                  POLICY_ALLOWED_BY_IDENTITY },
                { "delegated, identity policy for another action", NULL, NULL, POLICY(DELEGATE),
                  MAY("kms:Encrypt"), NULL, POLICY_NO_IDENTITY_ALLOWS },
                { "delegated to root, and root is the caller", &root, NULL, POLICY(DELEGATE), NULL, NULL,
                  POLICY_ALLOWED_BY_KEY_POLICY },
                { "delegated by account id", NULL, NULL,
                  POLICY(STATEMENT("Allow", AWS("111111111111"), "'kms:*'", "")), MAY("*"), NULL,
                  POLICY_ALLOWED_BY_IDENTITY },
                { "the role by name", NULL, NULL, POLICY(STATEMENT("Allow", AWS(ROLE), "'kms:Decrypt'", "")),
                  NULL, NULL, POLICY_ALLOWED_BY_KEY_POLICY },
                { "the session by name", NULL, NULL,
                  POLICY(STATEMENT("Allow", AWS(SESSION), "'kms:Decrypt'", "")), NULL, NULL,
                  POLICY_ALLOWED_BY_KEY_POLICY },
                { "another session", NULL, NULL,
                  POLICY(STATEMENT("Allow", AWS(SESSION "1"), "'kms:Decrypt'", "")), NULL, NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS },
                { "the user by name", &user, NULL,
                  POLICY(STATEMENT("Allow", AWS(USER), "'kms:Decrypt'", "")), NULL, NULL,
                  POLICY_ALLOWED_BY_KEY_POLICY },
                { "a name in other case", NULL, NULL,
                  POLICY(STATEMENT("Allow", AWS("arn:aws:iam::111111111111:role/App"), "'kms:Decrypt'", "")),
                  NULL, NULL, POLICY_NO_KEY_POLICY_ALLOWS },
                { "one of several", &user, NULL,
                  POLICY(STATEMENT("Allow",
                                   "{'Service':'ec2.amazonaws.com','AWS':['222222222222','" USER "']}",
                                   "'kms:Decrypt'", "")),
                  NULL, NULL, POLICY_ALLOWED_BY_KEY_POLICY },
                { "everyone", NULL, NULL, POLICY(STATEMENT("Allow", "'*'", "'kms:Decrypt'", "")), NULL, NULL,
                  POLICY_ALLOWED_BY_KEY_POLICY },
                { "every AWS principal", NULL, NULL,
                  POLICY(STATEMENT("Allow", AWS("*"), "'kms:Decrypt'", "")), NULL, NULL,
                  POLICY_ALLOWED_BY_KEY_POLICY },
                { "a service only", NULL, NULL,
                  POLICY(STATEMENT("Allow", "{'Service':'ec2.amazonaws.com'}", "'*'", "")), MAY("*"), NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS },
                { "a service, which is the caller", &service, NULL,
                  POLICY(STATEMENT("Allow", "{'Service':'ec2.amazonaws.com'}", "'*'", "")), NULL, NULL,
                  POLICY_ALLOWED_BY_KEY_POLICY },
                { "another service", &service, NULL,
                  POLICY(STATEMENT("Allow", "{'Service':'lambda.amazonaws.com'}", "'*'", "")), NULL, NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS },
                { "a service, by everyone", &service, NULL, POLICY(STATEMENT("Allow", "'*'", "'*'", "")),
                  NULL, NULL, POLICY_ALLOWED_BY_KEY_POLICY },
                { "a service that everyone's Deny includes", &service, NULL,
                  POLICY(STATEMENT("Allow", "{'Service':'ec2.amazonaws.com'}", "'*'",
                                   "") "," STATEMENT("Deny", "'*'", "'*'", "")),
                  NULL, NULL, POLICY_DENIED_BY_KEY_POLICY },
                { "the unique ID of the user", &user, NULL,
                  POLICY(STATEMENT("Allow", AWS(USER_ID), "'kms:Decrypt'", "")), NULL, NULL,
                  POLICY_ALLOWED_BY_KEY_POLICY },
                { "a Deny of the unique ID of the user", &user, NULL,
                  POLICY(STATEMENT("Allow", AWS(USER), "'kms:Decrypt'",
                                   "") "," STATEMENT("Deny", AWS(USER_ID), "'kms:Decrypt'", "")),
                  NULL, NULL, POLICY_DENIED_BY_KEY_POLICY },
                { "another unique ID", &user, NULL,
                  POLICY(STATEMENT("Allow", AWS("AIDAOTHEROTHEROTHERO"), "'kms:Decrypt'", "")), NULL, NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS },
                { "the key policy denies", NULL, NULL,
                  POLICY(DELEGATE "," STATEMENT("Deny", AWS(ROLE), "'kms:Decrypt'", "")), MAY("*"), NULL,
                  POLICY_DENIED_BY_KEY_POLICY },
                { "the key policy denies the account", NULL, NULL,
                  POLICY(STATEMENT("Deny", AWS("111111111111"), "'kms:Decrypt'",
                                   "") "," STATEMENT("Allow", AWS(ROLE), "'kms:Decrypt'", "")),
                  NULL, NULL, POLICY_DENIED_BY_KEY_POLICY },
                { "the key policy denies root", &root, NULL,
                  POLICY(DELEGATE "," STATEMENT("Deny", "'*'", "'kms:Decrypt'", "")), NULL, NULL,
                  POLICY_DENIED_BY_KEY_POLICY },
                { "the identity policy denies", NULL, NULL,
                  POLICY(STATEMENT("Allow", AWS(ROLE), "'kms:Decrypt'", "")), MUST_NOT("kms:D*"), NULL,
                  POLICY_DENIED_BY_IDENTITY },
                { "an action without a key", NULL, "kms:CreateKey", NULL, MAY("kms:CreateKey"), NULL,
                  POLICY_ALLOWED_BY_IDENTITY, NULL, "*" },
                { "an action without a key, not allowed", NULL, "kms:CreateKey", NULL, NULL, NULL,
                  POLICY_NO_IDENTITY_ALLOWS, NULL, "*" },
                { "an alias", &root, "kms:CreateAlias", NULL, NULL, NULL, POLICY_ALLOWED_BY_IDENTITY, NULL,
                  "arn:aws:kms:eu-north-1:111111111111:alias/a" },
                { "another account's alias", &other, "kms:CreateAlias", NULL, MAY("*"), NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS, NULL, "arn:aws:kms:eu-north-1:111111111111:alias/a" },
        };

        check(cases, ELEMENTSOF(cases));
}

static void test_another_account_needs_both_sides(void **state) {
        static const Case cases[] = {
                { "key policy alone", &other, NULL, POLICY(STATEMENT("Allow", AWS(OTHER), "'kms:*'", "")),
                  NULL, NULL, POLICY_NO_IDENTITY_ALLOWS },
                { "identity policy alone", &other, NULL, POLICY(DELEGATE), MAY("kms:*"), NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS },
                { "both, by name", &other, NULL, POLICY(STATEMENT("Allow", AWS(OTHER), "'kms:*'", "")),
                  MAY("kms:*"), NULL, POLICY_ALLOWED_BY_IDENTITY },
                { "both, by account", &other, NULL,
                  POLICY(STATEMENT("Allow", AWS("222222222222"), "'kms:*'", "")), MAY("kms:*"), NULL,
                  POLICY_ALLOWED_BY_IDENTITY },
                { "everyone alone", &other, NULL, POLICY(STATEMENT("Allow", "'*'", "'kms:*'", "")), NULL,
                  NULL, POLICY_NO_IDENTITY_ALLOWS },
                { "everyone and identity", &other, NULL, POLICY(STATEMENT("Allow", "'*'", "'kms:*'", "")),
                  MAY("kms:*"), NULL, POLICY_ALLOWED_BY_IDENTITY },
                { "the other root needs no identity policy", &other_root, NULL,
                  POLICY(STATEMENT("Allow", AWS("222222222222"), "'kms:*'", "")), NULL, NULL,
                  POLICY_ALLOWED_BY_KEY_POLICY },
                { "both, but the identity denies", &other, NULL,
                  POLICY(STATEMENT("Allow", AWS(OTHER), "'kms:*'", "")), MUST_NOT("*"), NULL,
                  POLICY_DENIED_BY_IDENTITY },
                { "both, but the key policy denies", &other, NULL,
                  POLICY(STATEMENT("Allow", "'*'", "'kms:*'", "") "," STATEMENT(
                                  "Deny", "'*'", "'kms:*'",
                                  CONDITION("'StringNotEquals':{'aws:PrincipalAccount':'111111111111'}"))),
                  MAY("*"), NULL, POLICY_DENIED_BY_KEY_POLICY },
        };

        check(cases, ELEMENTSOF(cases));
        assert_true(decide(&cases[0]).cross_account);
}

#define PCR4 "kms:RecipientAttestation:NitroTPMPCR4"
#define PCR12 "kms:RecipientAttestation:NitroTPMPCR12"
#define DENY_UNLESS(pcr, value)                                         \
        STATEMENT("Deny", "'*'", "['kms:Decrypt','kms:ReEncryptFrom']", \
                  CONDITION("'StringNotEqualsIgnoreCase':{'" pcr "':'" value "'}"))
#define GATE POLICY(DELEGATE "," DENY_UNLESS(PCR4, "aa") "," DENY_UNLESS(PCR12, "00"))
#define ONE_DENY                                             \
        POLICY(DELEGATE                                      \
               "," STATEMENT("Deny", "'*'", "'kms:Decrypt'", \
                             CONDITION("'StringNotEqualsIgnoreCase':{'" PCR4 "':'aa','" PCR12 "':'00'}")))
#define CONDITIONAL_ALLOW                              \
        STATEMENT("Allow", AWS(ROLE), "'kms:Decrypt'", \
                  CONDITION("'StringEqualsIgnoreCase':{'" PCR4 "':'AA','" PCR12 "':'00'}"))

static void test_traps_of_gating_by_measurements(void **state) {
        static const Case cases[] = {
                { "a conditional Allow gates while nothing else allows", NULL, NULL,
                  POLICY(CONDITIONAL_ALLOW), MAY("kms:*"), NULL, POLICY_NO_KEY_POLICY_ALLOWS },
                { "… and lets the right machine in", NULL, NULL, POLICY(CONDITIONAL_ALLOW), NULL,
                  PCR4 "=aa|" PCR12 "=00", POLICY_ALLOWED_BY_KEY_POLICY },
                { "… both PCRs are needed", NULL, NULL, POLICY(CONDITIONAL_ALLOW), NULL,
                  PCR4 "=aa|" PCR12 "=01", POLICY_NO_KEY_POLICY_ALLOWS },
                { "… and a missing one is a wrong one", NULL, NULL, POLICY(CONDITIONAL_ALLOW), NULL,
                  PCR4 "=aa", POLICY_NO_KEY_POLICY_ALLOWS },
                { "a conditional Allow beside delegation gates nothing: no document", NULL, NULL,
                  POLICY(DELEGATE "," CONDITIONAL_ALLOW), MAY("kms:Decrypt"), NULL,
                  POLICY_ALLOWED_BY_IDENTITY },
                { "a conditional Allow beside delegation gates nothing: wrong PCR4", NULL, NULL,
                  POLICY(DELEGATE "," CONDITIONAL_ALLOW), MAY("kms:Decrypt"), PCR4 "=bb|" PCR12 "=00",
                  POLICY_ALLOWED_BY_IDENTITY },
                { "delegation by NotAction leaves the gate alone", NULL, NULL,
                  POLICY("{'Effect':'Allow','Principal':{'AWS':'111111111111'},'NotAction':['kms:Decrypt',"
                         "'kms:ReEncryptFrom'],'Resource':'*'}," CONDITIONAL_ALLOW),
                  MAY("kms:*"), NULL, POLICY_NO_KEY_POLICY_ALLOWS },
                { "… but lets the rest through", NULL, "kms:Encrypt",
                  POLICY("{'Effect':'Allow','Principal':{'AWS':'111111111111'},'NotAction':['kms:Decrypt',"
                         "'kms:ReEncryptFrom'],'Resource':'*'}," CONDITIONAL_ALLOW),
                  MAY("kms:*"), NULL, POLICY_ALLOWED_BY_IDENTITY },
                { "a Deny for each PCR: no document", NULL, NULL, GATE, MAY("kms:*"), NULL,
                  POLICY_DENIED_BY_KEY_POLICY },
                { "a Deny for each PCR: wrong PCR4", NULL, NULL, GATE, MAY("kms:*"), PCR4 "=bb|" PCR12 "=00",
                  POLICY_DENIED_BY_KEY_POLICY },
                { "a Deny for each PCR: wrong PCR12", NULL, NULL, GATE, MAY("kms:*"),
                  PCR4 "=aa|" PCR12 "=01", POLICY_DENIED_BY_KEY_POLICY },
                { "a Deny for each PCR: the right machine", NULL, NULL, GATE, MAY("kms:*"),
                  PCR4 "=AA|" PCR12 "=00", POLICY_ALLOWED_BY_IDENTITY },
                { "a Deny for each PCR covers ReEncryptFrom, which has no document", NULL,
                  "kms:ReEncryptFrom", GATE, MAY("kms:*"), NULL, POLICY_DENIED_BY_KEY_POLICY },
                { "a Deny for each PCR binds root too", &root, NULL, GATE, NULL, NULL,
                  POLICY_DENIED_BY_KEY_POLICY },
                { "all PCRs in one Deny are ANDed: one wrong PCR passes", NULL, NULL, ONE_DENY, MAY("kms:*"),
                  PCR4 "=bb|" PCR12 "=00", POLICY_ALLOWED_BY_IDENTITY },
                { "all PCRs in one Deny are ANDed: all wrong are denied", NULL, NULL, ONE_DENY, MAY("kms:*"),
                  PCR4 "=bb|" PCR12 "=01", POLICY_DENIED_BY_KEY_POLICY },
                { "all PCRs in one Deny are ANDed: no document is denied", NULL, NULL, ONE_DENY,
                  MAY("kms:*"), NULL, POLICY_DENIED_BY_KEY_POLICY },
                { "the name of a PCR key has no case", NULL, NULL,
                  POLICY(STATEMENT("Allow", AWS(ROLE), "'kms:Decrypt'",
                                   CONDITION("'StringEquals':{'KMS:recipientattestation:NITROtpmpcr4':'aa'"
                                             "}"))),
                  NULL, PCR4 "=aa", POLICY_ALLOWED_BY_KEY_POLICY },
                { "the value has, unless the operator says otherwise", NULL, NULL,
                  POLICY(STATEMENT("Allow", AWS(ROLE), "'kms:Decrypt'",
                                   CONDITION("'StringEquals':{'" PCR4 "':'AA'}"))),
                  NULL, PCR4 "=aa", POLICY_NO_KEY_POLICY_ALLOWS },
        };

        check(cases, ELEMENTSOF(cases));
}

#define ACCOUNT_BOUND                                                                         \
        POLICY(STATEMENT("Allow", "'*'", "'kms:Decrypt'",                                     \
                         CONDITION("'StringEquals':{'kms:EncryptionContext:unseald:account':" \
                                   "'${aws:PrincipalAccount}'}")))

static void test_encryption_context_is_bound_to_the_callers_account(void **state) {
        static const Case cases[] = {
                { "one's own ciphertext", &other, NULL, ACCOUNT_BOUND, MAY("kms:Decrypt"),
                  "unseald:account+=222222222222", POLICY_ALLOWED_BY_IDENTITY },
                { "another customer's", &other, NULL, ACCOUNT_BOUND, MAY("kms:Decrypt"),
                  "unseald:account+=333333333333", POLICY_NO_KEY_POLICY_ALLOWS },
                { "nobody's", &other, NULL, ACCOUNT_BOUND, MAY("kms:Decrypt"), NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS },
        };

        check(cases, ELEMENTSOF(cases));
}

static void test_grants_open_the_door(void **state) {
        static const char *const operations[] = { "Decrypt", "DescribeKey", "CreateGrant", NULL };
        static const PolicyPair pairs[] = { { "Unseald:Secret", "a" } };
        static const PolicyGrant plain = { ROLE, NULL, operations };
        static const PolicyGrant to_session = { SESSION, NULL, operations };
        static const PolicyGrant to_other = { OTHER, NULL, operations };
        static const PolicyGrant to_account = { "arn:aws:iam::111111111111:root", NULL, operations };
        static const PolicyGrant to_everyone = { "*", NULL, operations };
        static const PolicyGrant to_nonsense = { "nonsense", NULL, operations };
        static const PolicyGrant subset = { ROLE, NULL, operations, pairs, 1 };
        static const PolicyGrant equals = { ROLE, NULL, operations, NULL, 0, pairs, 1 };
        static const Case cases[] = {
                { "without any policy", NULL, NULL, NULL, NULL, NULL, POLICY_ALLOWED_BY_GRANT, &plain },
                { "past a conditional Allow", NULL, NULL, POLICY(CONDITIONAL_ALLOW), NULL, NULL,
                  POLICY_ALLOWED_BY_GRANT, &plain },
                { "but not past a Deny for each PCR", NULL, NULL, GATE, NULL, NULL,
                  POLICY_DENIED_BY_KEY_POLICY, &plain },
                { "nor past an identity's Deny", NULL, NULL, NULL, MUST_NOT("*"), NULL,
                  POLICY_DENIED_BY_IDENTITY, &plain },
                { "to the session", NULL, NULL, NULL, NULL, NULL, POLICY_ALLOWED_BY_GRANT, &to_session },
                { "to another account, alone", &other, NULL, POLICY(DELEGATE), NULL, NULL,
                  POLICY_ALLOWED_BY_GRANT, &to_other },
                { "to the account, with no identity policy", NULL, NULL, NULL, NULL, NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS, &to_account },
                { "to the account, with one", NULL, NULL, NULL, MAY("kms:Decrypt"), NULL,
                  POLICY_ALLOWED_BY_GRANT, &to_account },
                { "to everyone: there is no such grant", NULL, NULL, NULL, NULL, NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS, &to_everyone },
                { "to nonsense", NULL, NULL, NULL, NULL, NULL, POLICY_NO_KEY_POLICY_ALLOWS, &to_nonsense },
                { "to somebody else", &user, NULL, NULL, NULL, NULL, POLICY_NO_KEY_POLICY_ALLOWS, &plain },
                { "for another operation", NULL, "kms:Encrypt", NULL, NULL, NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS, &plain },
                { "for another service", NULL, "s3:Decrypt", NULL, NULL, NULL, POLICY_NO_KEY_POLICY_ALLOWS,
                  &plain },
                { "subset", NULL, NULL, NULL, NULL, "unseald:secret+=a|more+=x", POLICY_ALLOWED_BY_GRANT,
                  &subset },
                { "subset, another value", NULL, NULL, NULL, NULL, "unseald:secret+=A",
                  POLICY_NO_KEY_POLICY_ALLOWS, &subset },
                { "subset, no context", NULL, NULL, NULL, NULL, NULL, POLICY_NO_KEY_POLICY_ALLOWS, &subset },
                { "equals", NULL, NULL, NULL, NULL, "unseald:secret+=a", POLICY_ALLOWED_BY_GRANT, &equals },
                { "equals, one too many", NULL, NULL, NULL, NULL, "unseald:secret+=a|more+=x",
                  POLICY_NO_KEY_POLICY_ALLOWS, &equals },
                { "equals, another value", NULL, NULL, NULL, NULL, "unseald:secret+=b",
                  POLICY_NO_KEY_POLICY_ALLOWS, &equals },
                { "constraints do not bind what has no encryption context", NULL, "kms:DescribeKey", NULL,
                  NULL, NULL, POLICY_ALLOWED_BY_GRANT, &equals },
                { "constraints bind the grants made by grant", NULL, "kms:CreateGrant", NULL, NULL, NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS, &equals },
        };

        check(cases, ELEMENTSOF(cases));
        assert_ptr_equal(decide(&cases[0]).grant, &plain);
        assert_null(decide(&cases[2]).grant);
}

static void test_grants_are_retired_by_principals_that_they_name(void **state) {
        static const char *const none[] = { NULL }, *const retire[] = { "RetireGrant", NULL };
        static const PolicyGrant named = { ROLE, USER, none }, grantee = { ROLE, NULL, retire };

        assert_true(policy_grant_lets_retire(&named, &user));
        assert_false(policy_grant_lets_retire(&named, &role));
        assert_true(policy_grant_lets_retire(&grantee, &role));
        assert_false(policy_grant_lets_retire(&grantee, &user));
}

typedef struct ConditionCase {
        const char *condition;
        const char *facts;
        bool holds;
} ConditionCase;

static void check_conditions(const char *version, const ConditionCase *cases, size_t n) {
        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *policy = NULL;
                Case c = { .facts = cases[i].facts };

                assert_true(asprintf(&policy,
                                     "{%s'Statement':{'Effect':'Allow','Principal':'*','Action':'*','"
                                     "Resource':'*',"
                                     "'Condition':{%s}}}",
                                     version, cases[i].condition) > 0);
                c.key_policy = policy;
                if (decide(&c).allowed != cases[i].holds)
                        fail_msg("%s with %s %s", cases[i].condition,
                                 cases[i].facts ? cases[i].facts : "nothing",
                                 cases[i].holds ? "should hold" : "should not hold");
        }
}

#define V2012 "'Version':'2012-10-17',"

static void test_operators_compare(void **state) {
        static const ConditionCase cases[] = {
                { "", NULL, true },
                { "'StringEquals':{}", NULL, true },
                { "'StringEquals':{'a:k':'v'}", "a:k=v", true },
                { "'StringEquals':{'a:k':'v'}", "a:k=V", false },
                { "'StringEquals':{'a:k':'v'}", "A:K=v", true },
                { "'StringEquals':{'a:k':'v*'}", "a:k=v*", true },
                { "'StringEquals':{'a:k':'v*'}", "a:k=vv", false },
                { "'StringEquals':{'a:k':['u','v']}", "a:k=v", true },
                { "'StringEquals':{'a:k':['u','v']}", "a:k=w", false },
                { "'StringEquals':{'a:k':[]}", "a:k=v", false },
                { "'StringNotEquals':{'a:k':[]}", "a:k=v", true },
                { "'StringEquals':{'a:k':12}", "a:k=12", true },
                { "'StringEquals':{'a:k':true}", "a:k=true", true },
                { "'StringEquals':{'a:k':'v','a:l':'w'}", "a:k=v|a:l=w", true },
                { "'StringEquals':{'a:k':'v','a:l':'w'}", "a:k=v|a:l=v", false },
                { "'StringEquals':{'a:k':'v'},'StringLike':{'a:l':'w*'}", "a:k=v|a:l=ww", true },
                { "'StringEquals':{'a:k':'v'},'StringLike':{'a:l':'w*'}", "a:k=v|a:l=v", false },
                { "'StringNotEquals':{'a:k':['u','v']}", "a:k=v", false },
                { "'StringNotEquals':{'a:k':['u','v']}", "a:k=w", true },
                { "'StringEqualsIgnoreCase':{'a:k':'Value'}", "a:k=vALUE", true },
                { "'StringNotEqualsIgnoreCase':{'a:k':'Value'}", "a:k=vALUE", false },
                { "'StringLike':{'a:k':'a*c'}", "a:k=abbc", true },
                { "'StringLike':{'a:k':'a*c'}", "a:k=ac", true },
                { "'StringLike':{'a:k':'a*c'}", "a:k=acb", false },
                { "'StringLike':{'a:k':'a*bc*d'}", "a:k=abxbcxxd", true },
                { "'StringLike':{'a:k':'*'}", "a:k=", true },
                { "'StringLike':{'a:k':''}", "a:k=", true },
                { "'StringLike':{'a:k':'a?c'}", "a:k=abc", true },
                { "'StringLike':{'a:k':'a?c'}",
                  "a:k=a\xc3\xa9"
                  "c",
                  true },
                { "'StringLike':{'a:k':'a?c'}", "a:k=ac", false },
                { "'StringLike':{'a:k':'A*'}", "a:k=ab", false },
                { "'StringNotLike':{'a:k':'a*'}", "a:k=ab", false },
                { "'StringNotLike':{'a:k':'a*'}", "a:k=b", true },
                { "'ArnLike':{'a:k':'arn:aws:iam::*:role/a*'}", "a:k=arn:aws:iam::1:role/app", true },
                { "'ArnEquals':{'a:k':'arn:aws:iam::*:role/a*'}", "a:k=arn:aws:iam::1:role/app", true },
                { "'ArnEquals':{'a:k':'arn:aws:iam::1:role/app'}", "a:k=arn:aws:iam::1:role/App", false },
                { "'ArnNotLike':{'a:k':'arn:aws:iam::*:role/a*'}", "a:k=arn:aws:iam::1:role/app", false },
                { "'ArnNotEquals':{'a:k':'arn:aws:iam::*:role/a*'}", "a:k=arn:aws:iam::1:role/b", true },
                { "'ArnLike':{'a:k':'arn:aws:s:*:1:f/*'}", "a:k=arn:aws:s:r:9:store/abc:1:f/d", false },
                { "'StringLike':{'a:k':'arn:aws:s:*:1:f/*'}", "a:k=arn:aws:s:r:9:store/abc:1:f/d", true },
                { "'ArnLike':{'a:k':'arn:aws:s:*'}", "a:k=arn:aws:s:r:1:x", false },
                { "'ArnLike':{'a:k':'arn:aws:s:r:1:x:*'}", "a:k=arn:aws:s:r:1:x:y:z", true },
                { "'ArnLike':{'a:k':'*'}", "a:k=arn:aws:s:r:1:x", true },
                { "'ArnLike':{'a:k':'arn:aws:s:r:1:x'}", "a:k=x", false },
                { "'Bool':{'aws:SecureTransport':'true'}", "aws:SecureTransport=true", true },
                { "'Bool':{'aws:SecureTransport':true}", "aws:SecureTransport=false", false },
                { "'Bool':{'aws:SecureTransport':'False'}", "aws:SecureTransport=false", true },
                { "'BinaryEquals':{'a:k':'QQ=='}", "a:k=QQ==", true },
                { "'NumericEquals':{'a:k':'10'}", "a:k=10.0", true },
                { "'NumericEquals':{'a:k':'10'}", "a:k=ten", false },
                { "'NumericNotEquals':{'a:k':'10'}", "a:k=11", true },
                { "'NumericNotEquals':{'a:k':'10'}", "a:k=10", false },
                { "'NumericLessThan':{'a:k':10}", "a:k=9", true },
                { "'NumericLessThan':{'a:k':10}", "a:k=10", false },
                { "'NumericLessThanEquals':{'a:k':10}", "a:k=10", true },
                { "'NumericLessThanEquals':{'a:k':10}", "a:k=10.5", false },
                { "'NumericGreaterThan':{'a:k':10}", "a:k=10", false },
                { "'NumericGreaterThan':{'a:k':10}", "a:k=1e2", true },
                { "'NumericGreaterThanEquals':{'a:k':10}", "a:k=10", true },
                { "'NumericGreaterThanEquals':{'a:k':10}", "a:k=-10", false },
                { "'DateEquals':{'a:k':'2025-01-01T00:00:00Z'}", "a:k=2025-01-01T01:00:00+01:00", true },
                { "'DateEquals':{'a:k':'2025-01-01'}", "a:k=1735689600", true },
                { "'DateEquals':{'a:k':'2025'}", "a:k=2025-01", true },
                { "'DateNotEquals':{'a:k':'2025-01-01'}", "a:k=2025-01-01T00:00Z", false },
                { "'DateLessThan':{'a:k':'2025-01-01T00:00:00.5Z'}", "a:k=2024-12-31T23:59:59Z", true },
                { "'DateLessThan':{'a:k':'2025-01-01'}", "a:k=2025-01-02", false },
                { "'DateLessThanEquals':{'a:k':'2025-01-01'}", "a:k=2025-01-01", true },
                { "'DateGreaterThan':{'a:k':'2025-01-01'}", "a:k=2025-01-01", false },
                { "'DateGreaterThan':{'a:k':'2025-01-01'}", "a:k=soon", false },
                { "'DateGreaterThanEquals':{'a:k':'2025-01-01'}", "a:k=2025-01-01T00:00:00-00:30", true },
                { "'IpAddress':{'aws:SourceIp':'203.0.113.0/24'}", "aws:SourceIp=203.0.113.77", true },
                { "'IpAddress':{'aws:SourceIp':'203.0.113.0/25'}", "aws:SourceIp=203.0.113.129", false },
                { "'IpAddress':{'aws:SourceIp':'203.0.113.7'}", "aws:SourceIp=203.0.113.7", true },
                { "'IpAddress':{'aws:SourceIp':'0.0.0.0/0'}", "aws:SourceIp=203.0.113.7", true },
                { "'IpAddress':{'aws:SourceIp':['0.0.0.0/0','2001:db8::/33']}",
                  "aws:SourceIp=2001:db8:7fff::1", true },
                { "'IpAddress':{'aws:SourceIp':['0.0.0.0/0','2001:db8::/33']}",
                  "aws:SourceIp=2001:db8:8000::1", false },
                { "'NotIpAddress':{'aws:SourceIp':'203.0.113.0/24'}", "aws:SourceIp=203.0.113.77", false },
                { "'NotIpAddress':{'aws:SourceIp':'203.0.113.0/24'}", "aws:SourceIp=203.0.114.77", true },
                { "'IpAddress':{'aws:SourceIp':'203.0.113.0/24'}", "aws:SourceIp=nowhere", false },
                { "'Null':{'a:k':'true'}", NULL, true },
                { "'Null':{'a:k':true}", "a:k=v", false },
                { "'Null':{'a:k':'false'}", "a:k=v", true },
                { "'Null':{'a:k':'false'}", NULL, false },
                { "'Null':{'a:k':'false'}", "a:k=", false },
        };

        check_conditions(V2012, cases, ELEMENTSOF(cases));
}

static void test_absent_keys(void **state) {
        static const ConditionCase cases[] = {
                { "'StringEquals':{'a:k':'v'}", NULL, false },
                { "'StringEqualsIgnoreCase':{'a:k':'v'}", NULL, false },
                { "'StringLike':{'a:k':'*'}", NULL, false },
                { "'ArnLike':{'a:k':'*'}", NULL, false },
                { "'Bool':{'a:k':'false'}", NULL, false },
                { "'NumericLessThan':{'a:k':'1'}", NULL, false },
                { "'DateGreaterThan':{'a:k':'2020-01-01'}", NULL, false },
                { "'IpAddress':{'a:k':'0.0.0.0/0'}", NULL, false },
                { "'StringNotEquals':{'a:k':'v'}", NULL, true },
                { "'StringNotEqualsIgnoreCase':{'a:k':'v'}", NULL, true },
                { "'StringNotLike':{'a:k':'*'}", NULL, true },
                { "'ArnNotLike':{'a:k':'*'}", NULL, true },
                { "'ArnNotEquals':{'a:k':'*'}", NULL, true },
                { "'NumericNotEquals':{'a:k':'1'}", NULL, true },
                { "'DateNotEquals':{'a:k':'2020-01-01'}", NULL, true },
                { "'NotIpAddress':{'a:k':'0.0.0.0/0'}", NULL, true },
                { "'StringEqualsIfExists':{'a:k':'v'}", NULL, true },
                { "'StringEqualsIfExists':{'a:k':'v'}", "a:k=w", false },
                { "'StringEqualsIfExists':{'a:k':'v'}", "a:k=v", true },
                { "'StringNotEqualsIfExists':{'a:k':'v'}", NULL, true },
                { "'StringNotEqualsIfExists':{'a:k':'v'}", "a:k=v", false },
                { "'BoolIfExists':{'a:k':'true'}", NULL, true },
                { "'NumericLessThanIfExists':{'a:k':'1'}", NULL, true },
                { "'ForAllValues:StringEquals':{'a:k':'v'}", NULL, true },
                { "'ForAllValues:StringNotEquals':{'a:k':'v'}", NULL, true },
                { "'ForAnyValue:StringEquals':{'a:k':'v'}", NULL, false },
                { "'ForAnyValue:StringNotEquals':{'a:k':'v'}", NULL, false },
                { "'ForAnyValue:StringEqualsIfExists':{'a:k':'v'}", NULL, true },
                { "'ForAllValues:StringEquals':{'a:k':'v'}", "a:k=", true },
                { "'ForAnyValue:StringEquals':{'a:k':''}", "a:k=", false },
        };

        check_conditions(V2012, cases, ELEMENTSOF(cases));
}

static void test_keys_with_several_values(void **state) {
        static const ConditionCase cases[] = {
                { "'ForAllValues:StringEquals':{'a:k':['u','v']}", "a:k=u|a:k=v", true },
                { "'ForAllValues:StringEquals':{'a:k':['u','v']}", "a:k=u|a:k=w", false },
                { "'ForAnyValue:StringEquals':{'a:k':['u','v']}", "a:k=w|a:k=v", true },
                { "'ForAnyValue:StringEquals':{'a:k':['u','v']}", "a:k=w|a:k=x", false },
                { "'ForAllValues:StringNotEquals':{'a:k':['u','v']}", "a:k=w|a:k=x", true },
                { "'ForAllValues:StringNotEquals':{'a:k':['u','v']}", "a:k=w|a:k=v", false },
                { "'ForAnyValue:StringNotEquals':{'a:k':['u','v']}", "a:k=w|a:k=v", true },
                { "'ForAnyValue:StringNotEquals':{'a:k':['u','v']}", "a:k=u|a:k=v", false },
                { "'ForAllValues:StringLike':{'kms:EncryptionContextKeys':'unseald:*'}",
                  "unseald:secret+=a|unseald:account+=b", true },
                { "'ForAllValues:StringLike':{'kms:EncryptionContextKeys':'unseald:*'}",
                  "unseald:secret+=a|x+=b", false },
                { "'ForAnyValue:StringEquals':{'kms:EncryptionContextKeys':'AppName'}", "appname+=a",
                  false },
                { "'StringEquals':{'kms:EncryptionContext:AppName':'a'}", "appname+=a", true },
                { "'StringEquals':{'kms:EncryptionContext:AppName':'a'}", "appname+=A", false },
                { "'StringEquals':{'a:k':'v'}", "a:k=u|a:k=v", true },
                { "'StringNotEquals':{'a:k':'v'}", "a:k=u|a:k=v", false },
                { "'StringNotEquals':{'a:k':'v'}", "a:k=u|a:k=w", true },
        };

        check_conditions(V2012, cases, ELEMENTSOF(cases));
}

static void test_variables(void **state) {
        static const ConditionCase cases[] = {
                { "'StringEquals':{'a:k':'${aws:PrincipalAccount}'}", "a:k=111111111111", true },
                { "'StringEquals':{'a:k':'${AWS:principalaccount}'}", "a:k=111111111111", true },
                { "'StringEquals':{'a:k':'${aws:PrincipalArn}'}", "a:k=" ROLE, true },
                { "'StringEquals':{'a:k':'<${a:l}-${a:m}>'}", "a:k=<x-y>|a:l=x|a:m=y", true },
                { "'StringEquals':{'a:k':'<${a:l}-${a:m}>'}", "a:k=<x-x>|a:l=x|a:m=y", false },
                { "'StringEqualsIgnoreCase':{'a:k':'${a:l}'}", "a:k=V|a:l=v", true },
                { "'StringLike':{'a:k':'${a:l}/*'}", "a:k=v/w|a:l=v", true },
                { "'StringLike':{'a:k':'*${a:l}'}", "a:k=vwv|a:l=v", true },
                { "'StringLike':{'a:k':'${a:l}'}", "a:k=vw|a:l=*", false },
                { "'StringLike':{'a:k':'${a:l}'}", "a:k=*|a:l=*", true },
                { "'ArnLike':{'a:k':'arn:aws:iam::${aws:PrincipalAccount}:role/*'}", "a:k=" ROLE, true },
                { "'ArnLike':{'a:k':'arn:aws:iam::${aws:PrincipalAccount}:role/*'}", "a:k=" OTHER, false },
                { "'StringLike':{'a:k':'a${*}c'}", "a:k=a*c", true },
                { "'StringLike':{'a:k':'a${*}c'}", "a:k=abc", false },
                { "'StringLike':{'a:k':'a${?}c'}", "a:k=abc", false },
                { "'StringEquals':{'a:k':'${$}{x}'}", "a:k=${x}", true },
                { "'StringEquals':{'a:k':'$x'}", "a:k=$x", true },
                { "'StringEquals':{'a:k':'${a:l, `d`}'}", "a:k=d", true },
                { "'StringEquals':{'a:k':'${a:l,`d`}'}", "a:k=d|a:l=e", false },
                { "'StringEquals':{'a:k':'${a:l, `d` }'}", "a:k=e|a:l=e", true },
                { "'StringEquals':{'a:k':'${a:l, `}`}'}", "a:k=}", true },
                /* An empty value is equal to nothing, and matches no pattern. */
                { "'StringEquals':{'a:k':'${a:l}'}", "a:k=", false },
                { "'StringEquals':{'a:k':'${a:l}'}", "a:k=${a:l}", false },
                { "'StringLike':{'a:k':'*${a:l}*'}", "a:k=v", false },
                { "'StringNotEquals':{'a:k':'${a:l}'}", "a:k=v", true },
                { "'StringNotLike':{'a:k':'${a:l}*'}", "a:k=v", true },
                { "'StringEquals':{'a:k':['${a:l}','v']}", "a:k=v", true },
                { "'StringEquals':{'a:k':'${a:l}'}", "a:k=v|a:l=v|a:l=w", false },
                { "'Bool':{'a:k':'true'}", "a:k=true", true },
        };
        static const ConditionCase old[] = {
                { "'StringEquals':{'a:k':'${aws:PrincipalAccount}'}", "a:k=111111111111", false },
                { "'StringEquals':{'a:k':'${aws:PrincipalAccount}'}", "a:k=${aws:PrincipalAccount}", true },
                { "'StringLike':{'a:k':'${*}'}", "a:k=${anything}", true },
                { "'StringEquals':{'a:k':'${'}", "a:k=${", true },
        };

        check_conditions(V2012, cases, ELEMENTSOF(cases));
        check_conditions("'Version':'2008-10-17',", old, ELEMENTSOF(old));
        check_conditions("", old, ELEMENTSOF(old));
}

#define IDENTITY(rest) "{'Version':'2012-10-17','Statement':{'Effect':'Allow'," rest "}}"

static void test_actions_and_resources(void **state) {
        static const struct {
                const char *identity_policy, *action;
                bool matches;
        } cases[] = {
                { IDENTITY("'Action':'kms:Decrypt','Resource':'*'"), "kms:Decrypt", true },
                { IDENTITY("'Action':'KMS:decrypt','Resource':'*'"), "kms:Decrypt", true },
                { IDENTITY("'Action':'kms:Decrypt','Resource':'*'"), "kms:Encrypt", false },
                { IDENTITY("'Action':'kms:ReEncrypt*','Resource':'*'"), "kms:ReEncryptFrom", true },
                { IDENTITY("'Action':'kms:?ecrypt','Resource':'*'"), "kms:Decrypt", true },
                { IDENTITY("'Action':'kms:*','Resource':'*'"), "kms:Decrypt", true },
                { IDENTITY("'Action':'s3:*','Resource':'*'"), "kms:Decrypt", false },
                { IDENTITY("'Action':'*','Resource':'*'"), "kms:Decrypt", true },
                { IDENTITY("'Action':'*:*','Resource':'*'"), "kms:Decrypt", true },
                { IDENTITY("'Action':['s3:*','kms:D*'],'Resource':'*'"), "kms:Decrypt", true },
                { IDENTITY("'NotAction':'kms:D*','Resource':'*'"), "kms:Decrypt", false },
                { IDENTITY("'NotAction':['s3:*','kms:D*'],'Resource':'*'"), "kms:Encrypt", true },
                { IDENTITY("'Action':'*','Resource':'" KEY "'"), "kms:Decrypt", true },
                { IDENTITY("'Action':'*','Resource':'" KEY "x'"), "kms:Decrypt", false },
                { IDENTITY("'Action':'*','Resource':['arn:aws:s3:::b/*','arn:aws:kms:*:111111111111:key/"
                           "*']"),
                  "kms:Decrypt", true },
                { IDENTITY("'Action':'*','Resource':'arn:aws:kms:*:222222222222:key/*'"), "kms:Decrypt",
                  false },
                { IDENTITY("'Action':'*','Resource':'arn:aws:kms:*'"), "kms:Decrypt", true },
                { IDENTITY("'Action':'*','Resource':'ARN:aws:kms:*:*:key/*'"), NULL, false },
                { IDENTITY("'Action':'*','NotResource':'arn:aws:kms:*:111111111111:key/*'"), "kms:Decrypt",
                  false },
                { IDENTITY("'Action':'*','NotResource':'arn:aws:kms:*:222222222222:key/*'"), "kms:Decrypt",
                  true },
                { IDENTITY("'Action':'*','Resource':'arn:aws:kms:eu-north-1:111111111111:key/${a:k}'"),
                  "kms:Decrypt", false },
                { IDENTITY("'Action':'*','NotResource':'arn:aws:kms:eu-north-1:111111111111:key/${a:k}'"),
                  "kms:Decrypt", true },
                { IDENTITY("'Action':'*','Resource':'arn:aws:kms:eu-north-1:111111111111:key/${a:k, "
                           "`1234*`}'"),
                  "kms:Decrypt", false },
                { IDENTITY("'Action':'*','Resource':'arn:aws:kms:eu-north-1:111111111111:key/${a:k, "
                           "`1234`}*'"),
                  "kms:Decrypt", true },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Case c = { .key_policy = POLICY(DELEGATE),
                           .identity_policy = cases[i].identity_policy,
                           .action = cases[i].action };

                if (cases[i].action && decide(&c).allowed != cases[i].matches)
                        fail_msg("%s %s %s", cases[i].identity_policy,
                                 cases[i].matches ? "does not match" : "matches", cases[i].action);
        }
}

static void test_statements_that_have_no_effect(void **state) {
        static const Case cases[] = {
                { "no Resource", NULL, NULL,
                  "{'Statement':{'Effect':'Allow','Principal':'*','Action':'kms:*'}}", NULL, NULL,
                  POLICY_NO_KEY_POLICY_ALLOWS },
                { "no Action", NULL, NULL, "{'Statement':{'Effect':'Allow','Principal':'*','Resource':'*'}}",
                  NULL, NULL, POLICY_NO_KEY_POLICY_ALLOWS },
                { "a Deny without Resource", NULL, NULL,
                  POLICY("{'Effect':'Deny','Principal':'*','Action':'*'}," STATEMENT("Allow", "'*'", "'*'",
                                                                                     "")),
                  NULL, NULL, POLICY_ALLOWED_BY_KEY_POLICY },
                { "another key as Resource", NULL, NULL,
                  "{'Statement':{'Effect':'Allow','Principal':'*','Action':'kms:*','Resource':'" KEY "x'}}",
                  NULL, NULL, POLICY_NO_KEY_POLICY_ALLOWS },
                { "the key itself as Resource", NULL, NULL,
                  "{'Statement':{'Effect':'Allow','Principal':'*','Action':'kms:*','Resource':'" KEY "'}}",
                  NULL, NULL, POLICY_ALLOWED_BY_KEY_POLICY },
        };

        check(cases, ELEMENTSOF(cases));
}

#define SPARE(list)                                                                          \
        POLICY(STATEMENT("Allow", "'*'", "'*'", "") ",{'Effect':'Deny','NotPrincipal':" list \
                                                    ",'Action':'*','Resource':'*'}")

static void test_not_principal_exempts_only_callers_named_in_full(void **state) {
        static const Case cases[] = {
                { "account, role and session", NULL, NULL,
                  SPARE("{'AWS':['111111111111','" ROLE "','" SESSION "']}"), NULL, NULL,
                  POLICY_ALLOWED_BY_KEY_POLICY },
                { "account and role", NULL, NULL, SPARE("{'AWS':['111111111111','" ROLE "']}"), NULL, NULL,
                  POLICY_DENIED_BY_KEY_POLICY },
                { "role and session", NULL, NULL, SPARE("{'AWS':['" ROLE "','" SESSION "']}"), NULL, NULL,
                  POLICY_DENIED_BY_KEY_POLICY },
                { "account and user", &user, NULL, SPARE("{'AWS':['111111111111','" USER "']}"), NULL, NULL,
                  POLICY_ALLOWED_BY_KEY_POLICY },
                { "account alone, a user", &user, NULL, SPARE("{'AWS':'111111111111'}"), NULL, NULL,
                  POLICY_DENIED_BY_KEY_POLICY },
                { "account alone, its root", &root, NULL, SPARE("{'AWS':'111111111111'}"), NULL, NULL,
                  POLICY_ALLOWED_BY_KEY_POLICY },
                { "everyone", &user, NULL, SPARE("'*'"), NULL, NULL, POLICY_ALLOWED_BY_KEY_POLICY },
                { "a service", &user, NULL, SPARE("{'Service':'ec2.amazonaws.com'}"), NULL, NULL,
                  POLICY_DENIED_BY_KEY_POLICY },
        };

        check(cases, ELEMENTSOF(cases));
}

static void test_lockout_safety_check(void **state) {
        static const struct {
                const char *name, *key_policy;
                const PolicyPrincipal *caller;
                bool safe;
        } cases[] = {
                { "delegation counts", POLICY(DELEGATE), &role, true },
                { "delegation to another account does not",
                  POLICY(STATEMENT("Allow", AWS("222222222222"), "'kms:*'", "")), &role, false },
                { "delegation without PutKeyPolicy does not",
                  POLICY("{'Effect':'Allow','Principal':{'AWS':'111111111111'},'NotAction':'kms:Put*',"
                         "'Resource':'*'}"),
                  &role, false },
                { "the caller by name", POLICY(STATEMENT("Allow", AWS(USER), "'kms:PutKeyPolicy'", "")),
                  &user, true },
                { "somebody else", POLICY(STATEMENT("Allow", AWS(USER), "'kms:PutKeyPolicy'", "")), &role,
                  false },
                { "root is not above it", POLICY(STATEMENT("Allow", AWS(USER), "'kms:PutKeyPolicy'", "")),
                  &root, false },
                { "a Deny", POLICY(DELEGATE "," STATEMENT("Deny", "'*'", "'kms:PutKeyPolicy'", "")), &role,
                  false },
                { "a condition that does not hold",
                  POLICY(STATEMENT("Allow", AWS(USER), "'kms:PutKeyPolicy'",
                                   CONDITION("'Bool':{'aws:MultiFactorAuthPresent':'true'}"))),
                  &user, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(policy_freep) Policy *policy = policy_of(POLICY_KIND_KEY, cases[i].key_policy);
                _cleanup_(policy_context_freep) PolicyContext *context = context_of(cases[i].caller, NULL);
                PolicyRequest request = { "kms:CreateKey", KEY, cases[i].caller, context };

                if (policy_lets_caller_put_policy(policy, &request) != cases[i].safe)
                        fail_msg("%s: should be %s", cases[i].name, cases[i].safe ? "safe" : "refused");
        }
}

static void test_context_describes_the_caller(void **state) {
        static const struct {
                const PolicyPrincipal *caller;
                const char *condition;
        } cases[] = {
                { &role, "'StringEquals':{'aws:PrincipalType':'AssumedRole'}" },
                { &role, "'ArnEquals':{'aws:PrincipalArn':'" ROLE "'}" },
                { &role, "'Null':{'aws:username':'true'}" },
                { &user, "'StringEquals':{'aws:PrincipalType':'User','aws:username':'alice'}" },
                { &root,
                  "'StringEquals':{'aws:PrincipalType':'Account','kms:CallerAccount':'111111111111'}" },
                { &root, "'Bool':{'aws:PrincipalIsAWSService':'false'}" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *policy = NULL;
                Case c = { .caller = cases[i].caller };

                assert_true(asprintf(&policy, POLICY(STATEMENT("Allow", "'*'", "'*'", CONDITION("%s"))),
                                     cases[i].condition) > 0);
                c.key_policy = policy;
                if (!decide(&c).allowed)
                        fail_msg("%s does not hold for %s", cases[i].condition, cases[i].caller->arn);
        }
}

static void test_measurements_are_lower_case_hexadecimal(void **state) {
        _cleanup_(policy_freep) Policy *policy =
                        policy_of(POLICY_KIND_KEY,
                                  POLICY(STATEMENT("Allow", "'*'", "'*'",
                                                   CONDITION("'StringEquals':{'" PCR4
                                                             "':'00abff','a:b':'true','a:c':'false'}"))));
        _cleanup_(policy_context_freep) PolicyContext *context = context_of(&role, NULL);
        PolicySet set = { .key_policy = policy };
        PolicyRequest request = { "kms:Decrypt", KEY, &role, context };

        assert_int_equal(policy_context_add_pcr(context, 4, (const uint8_t[]){ 0x00, 0xab, 0xff }, 3), 0);
        assert_int_equal(policy_context_add_bool(context, "a:b", true), 0);
        assert_false(policy_decide(&set, &request).allowed);
        assert_int_equal(policy_context_add_bool(context, "a:c", false), 0);
        assert_true(policy_decide(&set, &request).allowed);
}

#define KEY_WITH(rest) "{'Statement':{'Effect':'Allow','Action':'kms:*','Resource':'*'," rest "}}"
#define NAMED(sid) "{'Sid':'" sid "','Effect':'Allow','Principal':'*'}"
#define IF(condition) KEY_WITH("'Principal':'*','Condition':" condition)
#define IF_2012(condition)                                                                       \
        "{'Version':'2012-10-17','Statement':{'Effect':'Allow','Action':'kms:*','Resource':'*'," \
        "'Principal':'*','Condition':" condition "}}"

static void test_malformed_policies_are_refused(void **state) {
        static const struct {
                PolicyKind kind;
                const char *text, *reason;
        } cases[] = {
                { POLICY_KIND_KEY, "", "invalid Json" },
                { POLICY_KIND_KEY, "{", "invalid Json" },
                { POLICY_KIND_KEY, "null", "invalid Json" },
                { POLICY_KIND_KEY, "[]", "Syntax" },
                { POLICY_KIND_KEY, "'x'", "Syntax" },
                { POLICY_KIND_KEY, "{}", "Syntax" },
                { POLICY_KIND_KEY, "{'Statement':null}", "Syntax" },
                { POLICY_KIND_KEY, "{'Statement':[]}", "Syntax" },
                { POLICY_KIND_KEY, "{'Statement':'x'}", "Syntax" },
                { POLICY_KIND_KEY, "{'Statement':[null]}", "Syntax" },
                { POLICY_KIND_KEY, "{'Statement':[[]]}", "Syntax" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'*'") " x", "invalid Json" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'*','Principal':'*'"), "invalid Json" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'*','Effect':'Deny'"), "invalid Json" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'*\xe2\x82\xac'"), "characters" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'*\xc2'"), "characters" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'*\x01'"), "characters" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'\\u0000'"), "invalid Json" },
                { POLICY_KIND_KEY, "{'Version':'2012-10-18','Statement':[" DELEGATE "]}", "Syntax" },
                { POLICY_KIND_KEY, "{'Version':20121017,'Statement':[" DELEGATE "]}", "Syntax" },
                { POLICY_KIND_KEY, "{'version':'2012-10-17','Statement':[" DELEGATE "]}", "Syntax" },
                { POLICY_KIND_KEY, "{'Id':1,'Statement':[" DELEGATE "]}", "Syntax" },
                { POLICY_KIND_IDENTITY,
                  "{'Id':'x','Statement':{'Effect':'Allow','Action':'*','Resource':'*'}}", "Syntax" },
                { POLICY_KIND_KEY, "{'Statement':{'Principal':'*','Action':'*','Resource':'*'}}", "Syntax" },
                { POLICY_KIND_KEY,
                  "{'Statement':{'Effect':'allow','Principal':'*','Action':'*','Resource':'*'}}", "Syntax" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'*','Extra':1"), "Syntax" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'*','NotAction':'*'"), "Syntax" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'*','NotResource':'*'"), "Syntax" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'*','NotPrincipal':'*'"), "Syntax" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'*','Sid':1"), "Syntax" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'*','Condition':null"), "Syntax" },
                { POLICY_KIND_KEY, POLICY(NAMED("a") "," NAMED("b") "," NAMED("a")), "must be unique" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*','Resource':'*','Sid':'a b'"),
                  "alpha-numeric" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*','Resource':'*','Principal':'*'"),
                  "should not specify a principal" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*','Resource':'*','NotPrincipal':'*'"),
                  "should not specify a principal" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Resource':'*'"), "contain actions" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':[],'Resource':'*'"), "contain actions" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*'"), "contain resources" },
                { POLICY_KIND_KEY, "{'Statement':{'Effect':'Allow','Action':'*','Resource':'*'}}",
                  "Principal" },
                { POLICY_KIND_KEY, KEY_WITH("'NotPrincipal':'*'"), "NotPrincipal" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':1"), "Syntax" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':'111111111111'"), "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{}"), "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':[]}"), "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':null}"), "Syntax" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':[1]}"), "Syntax" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':''}"), "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':'11111111111'}"), "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':'AROAEXAMPLE'}"), "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':'arn:aws:iam::111111111111:role/*'}"),
                  "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':'arn:aws:iam::111111111111:role/a?'}"),
                  "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':'arn:aws:iam::*:root'}"),
                  "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':'arn:aws:iam::111111111111:group/x'}"),
                  "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':'arn:aws:iam::111111111111:user/'}"),
                  "invalid principals" },
                { POLICY_KIND_KEY,
                  KEY_WITH("'Principal':{'AWS':'arn:aws:sts::111111111111:assumed-role/x'}"),
                  "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':'arn:aws:s3::111111111111:root'}"),
                  "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':'arn:aws:iam:x:111111111111:root'}"),
                  "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'AWS':'arn:aws:iam'}"), "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'Service':'*'}"), "invalid principals" },
                { POLICY_KIND_KEY, KEY_WITH("'Principal':{'CanonicalUser':'x'}"), "invalid principals" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'Decrypt','Resource':'*'"), "vendor" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':':Decrypt','Resource':'*'"), "vendor" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'kms:','Resource':'*'"), "vendor" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'k*:Decrypt','Resource':'*'"), "vendor" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'kms:De crypt','Resource':'*'"), "vendor" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':['kms:*',1],'Resource':'*'"), "Syntax" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':{},'Resource':'*'"), "Syntax" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*','Resource':['*',{}]"), "Syntax" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*','Resource':''"), "ARN format" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*','Resource':'key/x'"), "ARN format" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*','Resource':'arn:aws:kms'"), "ARN format" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*','Resource':'arn:aws:kms:a:b'"),
                  "ARN format" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*','Resource':'arn:aws:*:a:b:c'"),
                  "ARN format" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*','Resource':'arn:aws:kms:a:b:'"),
                  "ARN format" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*','Resource':'arn:aws:kms:*:${a:k}:key/x'"),
                  "ARN format" },
                { POLICY_KIND_IDENTITY, IDENTITY("'Action':'*','Resource':'arn:aws:kms:a:b:key/${'"),
                  "ARN format" },
                { POLICY_KIND_KEY, IF("[]"), "Syntax" },
                { POLICY_KIND_KEY, IF("{'StringEquals':'x'}"), "Syntax" },
                { POLICY_KIND_KEY, IF("{'StringEquals':{'a:k':null}}"), "Syntax" },
                { POLICY_KIND_KEY, IF("{'StringEquals':{'a:k':{}}}"), "Syntax" },
                { POLICY_KIND_KEY, IF("{'StringEquals':{'a:k':['x',[]]}}"), "Syntax" },
                { POLICY_KIND_KEY, IF("{'StringEquals':{'k':'x'}}"), "vendor" },
                { POLICY_KIND_KEY, IF("{'StringEquals':{':k':'x'}}"), "vendor" },
                { POLICY_KIND_KEY, IF("{'StringSimilar':{'a:k':'x'}}"),
                  "Invalid Condition type : StringSimilar." },
                { POLICY_KIND_KEY, IF("{'stringEquals':{'a:k':'x'}}"), "Invalid Condition type" },
                { POLICY_KIND_KEY, IF("{'StringEqualsIfExistsIfExists':{'a:k':'x'}}"),
                  "Invalid Condition type" },
                { POLICY_KIND_KEY, IF("{'ForSomeValues:StringEquals':{'a:k':'x'}}"),
                  "Invalid Condition type" },
                { POLICY_KIND_KEY, IF("{'IfExists':{'a:k':'x'}}"), "Invalid Condition type" },
                { POLICY_KIND_KEY, IF("{'NullIfExists':{'a:k':'true'}}"), "Invalid Condition type" },
                { POLICY_KIND_KEY, IF("{'ForAnyValue:Null':{'a:k':'true'}}"), "Invalid Condition type" },
                { POLICY_KIND_KEY, IF("{'Bool':{'a:k':'yes'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF("{'Null':{'a:k':1}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF("{'NumericEquals':{'a:k':'0x10'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF("{'NumericEquals':{'a:k':''}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF("{'NumericEquals':{'a:k':'1e999'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF("{'NumericEquals':{'a:k':'1-'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF("{'DateEquals':{'a:k':'tomorrow'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF("{'DateEquals':{'a:k':'2025-13-01'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF("{'DateEquals':{'a:k':'2025-01-01T00:00:00+1'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF("{'IpAddress':{'a:k':'10.0.0.0/33'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF("{'IpAddress':{'a:k':'10.0.0.0/'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF("{'IpAddress':{'a:k':'10.0.0/8'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF("{'IpAddress':{'a:k':'::1/129'}}"), "Invalid value" },
                { POLICY_KIND_KEY,
                  IF("{'IpAddress':{'a:k':'1111111111111111111111111111111111111111111111111111'}}"),
                  "Invalid value" },
                { POLICY_KIND_KEY, IF("{'ForAllValues:StringEquals':{'kms:EncryptionContext:a':'x'}}"),
                  "OverlyPermissiveCondition" },
                { POLICY_KIND_KEY, IF_2012("{'StringEquals':{'a:k':'${a:l'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF_2012("{'StringEquals':{'a:k':'${}'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF_2012("{'StringEquals':{'a:k':'${ a:l}'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF_2012("{'StringEquals':{'a:k':'${a:l,}'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF_2012("{'StringEquals':{'a:k':'${a:l, `d}'}}"), "Invalid value" },
                { POLICY_KIND_KEY, IF_2012("{'StringEquals':{'a:k':'${a:l, `d` x}'}}"), "Invalid value" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *text = json_of(cases[i].text);
                _cleanup_(policy_freep) Policy *policy = NULL;
                char reason[POLICY_REASON_SIZE];

                if (parse(cases[i].kind, text, strlen(text), &policy, reason) != -EBADMSG)
                        fail_msg("taken: %s", text);
                if (!strstr(reason, cases[i].reason))
                        fail_msg("%s: refused with \"%s\", wanted \"%s\"", text, reason, cases[i].reason);
                assert_int_equal(policy_parse(cases[i].kind, text, strlen(text), &policy, NULL), -EBADMSG);
        }
}

static void test_policies_that_aws_accepts_are_accepted(void **state) {
        static const struct {
                PolicyKind kind;
                const char *text;
        } cases[] = {
                { POLICY_KIND_KEY, POLICY(NAMED("Allow access for Key Administrators") "," NAMED("")) },
                { POLICY_KIND_KEY, POLICY(NAMED("") "," NAMED("")) },
                { POLICY_KIND_KEY,
                  "{'Version':'2008-10-17','Id':'key-default-1','Statement':" DELEGATE "}" },
                { POLICY_KIND_KEY, KEY_WITH("'Sid':'caf\xc3\xa9','Principal':'*'") },
                { POLICY_KIND_KEY,
                  KEY_WITH("'Principal':{'AWS':'arn:aws-cn:iam::111111111111:role/path/to/x'}") },
                { POLICY_KIND_KEY,
                  KEY_WITH("'Principal':{'AWS':'arn:aws:sts::111111111111:federated-user/x'}") },
                { POLICY_KIND_KEY,
                  KEY_WITH("'Principal':{'Service':['a.amazonaws.com','b.amazonaws.com']}") },
                { POLICY_KIND_IDENTITY, IDENTITY("'Sid':'Some1','Action':['kms:*'],'Resource':['*']") },
                { POLICY_KIND_IDENTITY,
                  IDENTITY("'Action':'*','Resource':'*','Condition':{'ForAllValues:StringEquals':"
                           "{'kms:EncryptionContext:a':'x'}}") },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                policy_free(policy_of(cases[i].kind, cases[i].text));
}

/* Parses a policy that is as long as wanted, by spaces at its end. */
static int parse_padded(PolicyKind kind, const char *text, size_t size) {
        _cleanup_free_ char *json = json_of(text), *padded = malloc(size);
        _cleanup_(policy_freep) Policy *policy = NULL;
        char reason[POLICY_REASON_SIZE];

        assert_non_null(padded);
        memset(padded, ' ', size);
        memcpy(padded, json, strlen(json));
        return parse(kind, padded, size, &policy, reason);
}

static void test_key_policies_have_at_most_32_kib(void **state) {
        assert_int_equal(parse_padded(POLICY_KIND_KEY, POLICY(DELEGATE), 32768), 0);
        assert_int_equal(parse_padded(POLICY_KIND_KEY, POLICY(DELEGATE), 32769), -E2BIG);
        assert_int_equal(parse_padded(POLICY_KIND_IDENTITY, MAY("*"), 32769), 0);
}

static uint32_t next_random(uint32_t *seed) {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 17;
        *seed ^= *seed << 5;
        return *seed;
}

/* Changes, removes and doubles bytes. A policy that is still valid decides something. */
static void test_garbage_is_refused_or_decides(void **state) {
        static const char *const seeds[] = {
                GATE,
                ACCOUNT_BOUND,
                SPARE("{'AWS':['111111111111','" ROLE "'],'Service':'x.y'}"),
                IF_2012("{'StringLike':{'a:k':['${a:l, "
                        "`d`}*','${*}?']},'ArnLike':{'a:k':'arn:aws:${a:l}:*:b:c:d'},"
                        "'DateLessThanIfExists':{'a:k':'2025-01-01T00:00:00+01:00'},'NumericEquals':{'a:k':"
                        "1.5},"
                        "'IpAddress':{'a:k':['10.0.0.0/8','2001:db8::/32']},'Null':{'a:k':true}}"),
        };
        static const char bytes[] = "\"{}[]:,\\*?$'\0 \xc3\xa9/.-10";
        _cleanup_(policy_context_freep) PolicyContext *context =
                        context_of(&role, "a:k=10.1.2.3|a:l=x|" PCR4 "=aa");
        PolicyRequest request = { "kms:Decrypt", KEY, &role, context };
        uint32_t seed = 20251122;
        size_t taken = 0;

        for (size_t i = 0; i < 40000; i++) {
                _cleanup_free_ char *json = json_of(seeds[i % ELEMENTSOF(seeds)]);
                _cleanup_(policy_freep) Policy *policy = NULL;
                char reason[POLICY_REASON_SIZE];
                size_t size = strlen(json);

                for (size_t n = 1 + next_random(&seed) % 3; n > 0 && size > 1; n--) {
                        size_t at = next_random(&seed) % size;

                        switch (next_random(&seed) % 3) {
                        case 0:
                                json[at] = bytes[next_random(&seed) % (sizeof(bytes) - 1)];
                                break;
                        case 1:
                                memmove(json + at, json + at + 1, size - at - 1);
                                size--;
                                break;
                        case 2:
                                size = at + 1;
                                break;
                        }
                }
                if (parse(POLICY_KIND_KEY, json, size, &policy, reason) < 0) {
                        assert_true(reason[0] != '\0');
                        continue;
                }
                taken++;
                PolicySet set = { .key_policy = policy };

                (void) policy_decide(&set, &request);
        }
        assert_in_range(taken, 1000, 30000);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_which_policy_allows_the_caller),
                cmocka_unit_test(test_another_account_needs_both_sides),
                cmocka_unit_test(test_traps_of_gating_by_measurements),
                cmocka_unit_test(test_encryption_context_is_bound_to_the_callers_account),
                cmocka_unit_test(test_grants_open_the_door),
                cmocka_unit_test(test_grants_are_retired_by_principals_that_they_name),
                cmocka_unit_test(test_operators_compare),
                cmocka_unit_test(test_absent_keys),
                cmocka_unit_test(test_keys_with_several_values),
                cmocka_unit_test(test_variables),
                cmocka_unit_test(test_actions_and_resources),
                cmocka_unit_test(test_statements_that_have_no_effect),
                cmocka_unit_test(test_not_principal_exempts_only_callers_named_in_full),
                cmocka_unit_test(test_lockout_safety_check),
                cmocka_unit_test(test_context_describes_the_caller),
                cmocka_unit_test(test_measurements_are_lower_case_hexadecimal),
                cmocka_unit_test(test_malformed_policies_are_refused),
                cmocka_unit_test(test_policies_that_aws_accepts_are_accepted),
                cmocka_unit_test(test_key_policies_have_at_most_32_kib),
                cmocka_unit_test(test_garbage_is_refused_or_decides),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
