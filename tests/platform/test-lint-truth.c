/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Compares lint with the platform's own decisions. If lint finds no error, no request without the right document gets a plaintext, and
 * no principal that unseals makes a ciphertext, whoever the caller is and although all identity policies allow everything.
 *
 * The policies are random. Some come from a grammar; most are made by `unsealctl policy` and then mutated. UNSEALD_TEST_SEED chooses
 * other policies, UNSEALD_TEST_POLICIES more of them. Random grants on the key are judged as `unsealctl policy audit` does
 * (UNSEALD_TEST_GRANTS). There is also a table of policies whose verdicts were written down before lint
 * judged them (tests/vectors/policies).
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "basic/encoding.h"
#include "basic/json.h"
#include "build-config.h"
#include "policy.h"
#include "unsealctl/policy/audit.h"
#include "unsealctl/policy/lint.h"
#include "unsealctl/policy/make.h"

#define KEY "arn:aws:kms:eu-north-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab"
#define OTHER_KEY "arn:aws:kms:eu-north-1:111111111111:key/*-0000"
#define ADMIN "arn:aws:iam::111111111111:role/admin"
#define RESCUE "arn:aws:iam::111111111111:role/rescue"
#define APP "arn:aws:iam::222222222222:role/app"
#define NEIGHBOUR "arn:aws:iam::111111111111:role/app"
#define FEDERATED "arn:aws:sts::222222222222:federated-user/guest"
#define ID_OF_APP "AROAAPPAPPAPPAPPAPPAP"
#define ID_OF_OTHER "AROAOTHEROTHEROTHEROT"
#define ID_OF_CI "AIDACICICICICICICICIC"
#define SERVICE "ec2.amazonaws.com"
#define POLICIES 100000U
#define POLICIES_SLOWLY 2000U
#define GRANTS_QUICKLY 2000U
#define GRANTS_SLOWLY 300U
#define GRANTS_MAX 3U
#define SEED UINT64_C(20260813)

/* One of each kind: sessions of roles, users, roots, a federated user, and a service. */
static const PolicyPrincipal callers[] = {
        { "222222222222", APP, "arn:aws:sts::222222222222:assumed-role/app/i-1", ID_OF_APP, NULL },
        { "111111111111", NEIGHBOUR, "arn:aws:sts::111111111111:assumed-role/app/i-2", NULL, NULL },
        { "111111111111", ADMIN, "arn:aws:sts::111111111111:assumed-role/admin/me", NULL, NULL },
        { "111111111111", RESCUE, "arn:aws:sts::111111111111:assumed-role/rescue/me", NULL, NULL },
        { "111111111111", "arn:aws:iam::111111111111:user/ci", NULL, ID_OF_CI, NULL },
        { "111111111111", "arn:aws:iam::111111111111:root", NULL, NULL, NULL },
        { "222222222222", "arn:aws:iam::222222222222:role/path/other",
          "arn:aws:sts::222222222222:assumed-role/other/x", ID_OF_OTHER, NULL },
        { "222222222222", "arn:aws:iam::222222222222:root", NULL, NULL, NULL },
        { "222222222222", FEDERATED, NULL, NULL, NULL },
        { "333333333333", "arn:aws:iam::333333333333:role/stranger",
          "arn:aws:sts::333333333333:assumed-role/stranger/x", NULL, NULL },
        { "", "", NULL, NULL, SERVICE },
};
#define N_CALLERS ELEMENTSOF(callers)

/* A value of a PCR is one byte, repeated. No policy has V. */
enum { Z = 0x00, A = 0xA4, B = 0xB4, W = 0x33, V = 0x77, C = 0xC1 };
/* P is PCR2 where the firmware has loaded no third-party driver. PCR7 is Z without Secure Boot. */
enum { P = 0x51 };
static const uint8_t values2[] = { P, V }, values4[] = { A, B, W, V }, values7[] = { A, B, W, V, Z },
                     values12[] = { Z, C, W, V };

typedef struct Document {
        int pcr4, pcr7, pcr12, pcr2; /* negative: the request has no document */
} Document;
#define N_DOCUMENTS (1 + 4 * 5 * 4 * 2)
/* (A, A, Z, P) and (B, B, C, P) */
#define FIRST_IMAGE 1
#define SECOND_IMAGE (1 + 1 + 4 + 20)
static Document documents[N_DOCUMENTS];
/* A request has everything that a condition may demand, or nothing of it. */
enum { WITH_ALL, BARE, N_WAYS };
static PolicyContext *contexts[N_CALLERS][N_DOCUMENTS][N_WAYS];
/* Requests with the first image's document, in the name of a secret that no policy lets KMS make. */
static PolicyContext *contexts_of_secret[N_CALLERS];
static Policy *everything;
static PcrSet images[2]; /* (A, A, Z, P) and (B, B, C, P) */

static uint64_t random_state;

/* SplitMix64. */
static uint64_t random_next(void) {
        uint64_t z = random_state += UINT64_C(0x9E3779B97F4A7C15);

        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        return z ^ (z >> 31);
}

static size_t below(size_t n) {
        return (size_t) (random_next() % n);
}

static bool chance(unsigned percent) {
        return below(100) < percent;
}

#define PICK(array) ((array)[below(ELEMENTSOF(array))])

static void hex_of(uint8_t byte, char text[2 * PCR_SIZE + 1]) {
        for (size_t i = 0; i < PCR_SIZE; i++)
                (void) snprintf(text + 2 * i, 3, "%02x", byte);
}

static struct json_object *string(const char *text) {
        return json_object_new_string(text);
}

static struct json_object *pcr_value(const char **ret_key) {
        static const char *const keys[] = {
                "kms:RecipientAttestation:NitroTPMPCR4",  "kms:RecipientAttestation:NitroTPMPCR4",
                "kms:RecipientAttestation:NitroTPMPCR4",  "kms:RecipientAttestation:NitroTPMPCR12",
                "kms:RecipientAttestation:NitroTPMPCR12", "kms:RecipientAttestation:NitroTPMPCR12",
                "kms:RecipientAttestation:NitroTPMPCR7",  "kms:recipientattestation:nitrotpmpcr7",
                "kms:RecipientAttestation:NitroTPMPCR0",  "kms:RecipientAttestation:NitroTPMPCR8",
                "kms:RecipientAttestation:PCR4",          "kms:RecipientAttestation:NitroTPMPCR04",
                "kms:RecipientAttestation:NitroTPMPCR2",  "kms:RecipientAttestation:NitroTPMPCR2",
        };
        static const char *const odd[] = { "*", "a4*", "${aws:PrincipalAccount}", "", "a4a4", "?" };
        static const uint8_t bytes4[] = { A, A, A, A, B, W }, bytes12[] = { Z, Z, Z, Z, C, W };
        char text[2 * PCR_SIZE + 1];

        *ret_key = PICK(keys);
        if (chance(3))
                return string(PICK(odd));
        hex_of((*ret_key)[strlen(*ret_key) - 2] == '1' ? PICK(bytes12) : PICK(bytes4), text);
        if (strstr(*ret_key, "PCR0") || strstr(*ret_key, "PCR8"))
                hex_of(Z, text);
        if (strstr(*ret_key, "PCR2"))
                hex_of(P, text);
        if ((*ret_key)[strlen(*ret_key) - 1] == '7' && chance(40))
                hex_of(Z, text);
        if (chance(3))
                text[0] = 'A';
        return string(text);
}

static const char *const principals[] = { APP,
                                          APP,
                                          APP,
                                          NEIGHBOUR,
                                          NEIGHBOUR,
                                          ADMIN,
                                          ADMIN,
                                          RESCUE,
                                          "*",
                                          "*",
                                          "arn:aws:iam::111111111111:root",
                                          "111111111111",
                                          "arn:aws:iam::222222222222:root",
                                          "arn:aws:iam::111111111111:user/ci",
                                          "arn:aws:sts::222222222222:assumed-role/app/i-1",
                                          "arn:aws:sts::222222222222:assumed-role/other/x",
                                          FEDERATED,
                                          ID_OF_APP,
                                          ID_OF_OTHER,
                                          ID_OF_CI };

static struct json_object *random_principals(void) {
        struct json_object *object = json_object_new_object(), *list = json_object_new_array();

        for (size_t n = 1 + (chance(25) ? below(3) : 0); n > 0; n--)
                json_object_array_add(list, string(PICK(principals)));
        json_object_object_add(object, "AWS", list);
        if (chance(4))
                json_object_object_add(object, "Service", string(SERVICE));
        return object;
}

static const char *const actions[] = {
        "kms:Decrypt",
        "kms:Decrypt",
        "kms:Decrypt",
        "kms:Decrypt",
        "kms:decrypt",
        "kms:GenerateDataKey",
        "kms:GenerateDataKey*",
        "kms:GenerateDataKeyPair",
        "kms:ReEncryptFrom",
        "kms:ReEncrypt*",
        "kms:CreateGrant",
        "kms:PutKeyPolicy",
        "kms:Put*",
        "kms:Create*",
        "kms:ReplicateKey",
        "kms:*",
        "*",
        "kms:De?rypt",
        "kms:D*",
        "kms:Encrypt",
        "kms:Encrypt",
        "kms:ReEncryptTo",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:GenerateDataKeyPairWithoutPlaintext",
        "kms:ImportKeyMaterial",
        "kms:Import*",
        "kms:RotateKeyOnDemand",
        "kms:UpdateAlias",
        "kms:CreateAlias",
        "kms:TagResource",
        "kms:DescribeKey",
        "s3:GetObject",
};

static struct json_object *random_actions(void) {
        struct json_object *list = json_object_new_array();

        for (size_t n = 1 + below(4); n > 0; n--)
                json_object_array_add(list, string(PICK(actions)));
        return list;
}

static void add_value(struct json_object *condition, const char *operator, const char * key,
                      struct json_object *value) {
        struct json_object *keys = json_member(condition, operator), *list;

        if (!keys) {
                keys = json_object_new_object();
                json_object_object_add(condition, operator, keys);
        }
        list = json_member(keys, key);
        if (!list || !json_object_is_type(list, json_type_array)) {
                list = json_object_new_array();
                json_object_object_add(keys, key, list);
        }
        json_object_array_add(list, value);
}

static void add_pcr_condition(struct json_object *condition, bool deny) {
        static const char *const allowing[] = { "StringEqualsIgnoreCase",
                                                "StringEqualsIgnoreCase",
                                                "StringEquals",
                                                "StringLike",
                                                "ForAnyValue:StringEquals",
                                                "StringEqualsIfExists",
                                                "ForAllValues:StringEquals",
                                                "StringNotEquals" };
        static const char *const denying[] = { "StringNotEqualsIgnoreCase",
                                               "StringNotEqualsIgnoreCase",
                                               "StringNotEquals",
                                               "StringNotLike",
                                               "StringNotEqualsIfExists",
                                               "ForAllValues:StringNotEquals",
                                               "ForAnyValue:StringNotEquals",
                                               "StringEquals",
                                               "ArnNotEquals" };
        const char *key;
        struct json_object *value = pcr_value(&key);

        if (chance(3)) {
                add_value(condition, "Null", key, string(chance(50) ? "true" : "false"));
                json_object_put(value);
        } else if (deny)
                add_value(condition, PICK(denying), key, value);
        else
                add_value(condition, PICK(allowing), key, value);
}

static void add_other_condition(struct json_object *condition) {
        static const char *const others[][3] = {
                { "ArnNotEquals", "aws:PrincipalArn", RESCUE },
                { "ArnNotEquals", "aws:PrincipalArn", ADMIN },
                { "StringNotEquals", "aws:PrincipalArn", RESCUE },
                { "StringNotEqualsIgnoreCase", "aws:PrincipalArn", "arn:aws:iam::111111111111:role/RESCUE" },
                { "ArnNotLike", "aws:PrincipalArn", "arn:aws:iam::111111111111:role/*" },
                { "StringNotLike", "aws:principalarn", "*/a*" },
                { "ArnNotEqualsIfExists", "aws:PrincipalArn", APP },
                { "ArnNotEquals", "aws:PrincipalArn", "arn:aws:iam::111111111111:root" },
                { "ArnEquals", "aws:PrincipalArn", APP },
                { "StringNotEquals", "aws:PrincipalArn", "${aws:PrincipalArn}" },
                { "StringEquals", "aws:PrincipalAccount", "222222222222" },
                { "StringNotEquals", "aws:PrincipalAccount", "222222222222" },
                { "StringEquals", "aws:SourceVpce", "vpce-0123456789abcdef0" },
                { "StringEquals", "kms:EncryptionContext:unseald:account", "${aws:PrincipalAccount}" },
                { "StringNotEquals", "kms:EncryptionContext:unseald:account", "${aws:PrincipalAccount}" },
                { "Bool", "aws:SecureTransport", "true" },
                { "Bool", "aws:PrincipalIsAWSService", "false" },
                { "Null", "aws:PrincipalArn", "false" },
                { "Bool", "aws:PrincipalIsAWSService", "true" },
                { "StringEquals", "kms:RequestAlias", "alias/billing" },
                { "StringNotEquals", "kms:RequestAlias", "alias/billing" },
                { "ForAnyValue:StringEquals", "kms:ResourceAliases", "alias/billing" },
                { "StringEquals", "aws:ResourceTag/team", "billing" },
                { "StringNotEquals", "aws:ResourceTag/team", "billing" },
                { "StringEquals", "aws:PrincipalTag/team", "billing" },
                { "StringEquals", "kms:ViaService", "ec2.eu-north-1.amazonaws.com" },
                { "StringNotEquals", "kms:ViaService", "ec2.eu-north-1.amazonaws.com" },
                { "Bool", "kms:GrantIsForAWSResource", "true" },
        };
        const char *const *other = PICK(others);

        add_value(condition, other[0], other[1], string(other[2]));
}

static struct json_object *random_condition(bool deny) {
        struct json_object *condition = json_object_new_object();

        for (size_t n = below(4); n > 0; n--)
                add_pcr_condition(condition, deny);
        if (chance(15))
                add_other_condition(condition);
        return condition;
}

static struct json_object *random_statement(void) {
        struct json_object *statement = json_object_new_object();
        bool deny = chance(55);

        json_object_object_add(statement, "Effect", string(deny ? "Deny" : "Allow"));
        json_object_object_add(statement, deny && chance(3) ? "NotPrincipal" : "Principal",
                               random_principals());
        json_object_object_add(statement, chance(4) ? "NotAction" : "Action", random_actions());
        json_object_object_add(statement, chance(2) ? "NotResource" : "Resource",
                               string(chance(96)   ? "*"
                                      : chance(50) ? KEY
                                                   : OTHER_KEY));
        json_object_object_add(statement, "Condition", random_condition(deny));
        return statement;
}

static struct json_object *random_policy(void) {
        struct json_object *policy = json_object_new_object(), *statements = json_object_new_array();

        json_object_object_add(policy, "Version", string(chance(95) ? "2012-10-17" : "2008-10-17"));
        json_object_object_add(policy, "Statement", statements);
        for (size_t n = 1 + below(7); n > 0; n--)
                json_object_array_add(statements, random_statement());
        return policy;
}

static struct json_object *made_policy(void) {
        static const char *const lists[][3] = { { APP },
                                                { APP, NEIGHBOUR },
                                                { "arn:aws:iam::222222222222:root" },
                                                { NEIGHBOUR },
                                                { "arn:aws:iam::222222222222:root", NEIGHBOUR } };
        static const char *const admins[][2] = { { ADMIN }, { "arn:aws:iam::111111111111:root" }, {} };
        static const char *const rescue[] = { RESCUE, NULL }, *const none[] = { NULL },
                                 *const sealers[] = { "arn:aws:iam::111111111111:user/ci", NULL },
                                 *const generated[] = { "db-key", NULL };
        const KeyPolicyOptions options = {
                .images = images,
                .n_images = 1 + below(2),
                .expectation = { .secure_boot = chance(30),
                                 .any_drivers = chance(30),
                                 .any_extensions = chance(30),
                                 .measured = chance(20) ? 1U << 13 | 1U << 14 : 0,
                                 .lock_pcr = chance(20) ? 8 : 0 },
                .principals = PICK(lists),
                .administrators = PICK(admins),
                .sealers = chance(30) ? sealers : none,
                .recovery_principals = chance(30) ? rescue : none,
                .generated = chance(30) ? generated : none,
                .generate_data_key = chance(20),
                .bind_account = chance(20),
        };
        struct json_object *policy = NULL;
        Error error = {};

        if (key_policy_make(&options, &policy, &error) < 0)
                fail_msg("%s", error.text);
        return policy;
}

/* Returns any member of an object, whose value may then be replaced or moved. */
static const char *random_member(struct json_object *object) {
        size_t n = json_object_is_type(object, json_type_object) ? (size_t) json_object_object_length(object)
                                                                 : 0;
        const char *chosen = NULL;

        n = n > 0 ? below(n) : 0;
        if (!json_object_is_type(object, json_type_object))
                return NULL;
        json_object_object_foreach(object, name, value) {
                (void) value;
                if (n-- == 0)
                        chosen = name;
        }
        return chosen;
}

static void rename_member(struct json_object *object, const char *from, const char *to) {
        struct json_object *value = json_object_get(json_member(object, from));

        json_object_object_del(object, from);
        json_object_object_add(object, to, value);
}

static void mutate_condition(struct json_object *statement, bool deny) {
        struct json_object *condition = json_member(statement, "Condition"), *keys;
        const char *operator, * key;
        char name[128];

        if (!condition) {
                json_object_object_add(statement, "Condition", random_condition(deny));
                return;
        }
        operator= random_member(condition);
        if (!operator|| chance(20)) {
                if (chance(50))
                        add_other_condition(condition);
                else
                        add_pcr_condition(condition, deny);
                return;
        }
        keys = json_member(condition, operator);
        key = random_member(keys);
        switch (below(5)) {
        case 0:
                json_object_object_del(statement, "Condition");
                break;
        case 1:
                if (key)
                        json_object_object_del(keys, key);
                break;
        case 2:
                (void) snprintf(name, sizeof(name), "%sIfExists", operator);
                rename_member(condition, operator, name);
                break;
        case 3:
                (void) snprintf(name, sizeof(name), "%s:%s",
                                chance(50) ? "ForAllValues" : "ForAnyValue", operator);
                rename_member(condition, operator, name);
                break;
        default:
                if (key && chance(70)) {
                        struct json_object *value = pcr_value(&key);

                        add_value(condition, operator, key, value);
                } else
                        rename_member(condition, operator, deny ? "StringNotLike" : "StringLike");
        }
}

static void mutate_list(struct json_object *object, const char *name, const char *const *pool, size_t n) {
        struct json_object *old = json_member(object, name), *list = json_object_new_array();

        if (json_object_is_type(old, json_type_array))
                for (size_t i = 0; i < json_object_array_length(old); i++) {
                        if (!chance(15))
                                json_object_array_add(list,
                                                      json_object_get(json_object_array_get_idx(old, i)));
                }
        else if (old && !chance(30))
                json_object_array_add(list, json_object_get(old));
        if (json_object_array_length(list) == 0 || chance(60))
                json_object_array_add(list, string(pool[below(n)]));
        json_object_object_add(object, name, list);
}

static void mutate(struct json_object *policy) {
        struct json_object *statements = json_member(policy, "Statement");
        size_t n = json_object_array_length(statements), i = below(n);
        struct json_object *statement = json_object_array_get_idx(statements, i);
        bool deny = strcmp(json_member_string(statement, "Effect"), "Deny") == 0;

        switch (below(9)) {
        case 0:
                if (n > 1)
                        json_object_array_del_idx(statements, i, 1);
                break;
        case 1:
                json_object_array_add(statements, random_statement());
                break;
        case 2:
                rename_member(statement, json_member(statement, "Action") ? "Action" : "NotAction",
                              chance(50) ? "Action" : "NotAction");
                break;
        case 3:
                json_object_object_add(statement, "Principal", random_principals());
                break;
        case 4:
                if (json_member(statement, "Principal"))
                        mutate_list(json_member(statement, "Principal"), "AWS", principals,
                                    ELEMENTSOF(principals));
                break;
        case 5:
        case 6:
                mutate_list(statement, json_member(statement, "Action") ? "Action" : "NotAction", actions,
                            ELEMENTSOF(actions));
                break;
        default:
                mutate_condition(statement, deny);
        }
}

static struct json_object *next_policy(void) {
        struct json_object *policy;

        if (chance(40))
                return random_policy();
        policy = made_policy();
        for (size_t n = below(5); n > 0; n--)
                mutate(policy);
        return policy;
}

typedef struct Trial {
        const char *text;
        LintOptions options;
        LintReport *report;
        Policy *policy;
        const PolicyGrant *grants; /* on the key */
        size_t n_grants;
        const AuditReport *audit; /* names grantees; NULL: there are no grants */
        int8_t decrypts[N_CALLERS]; /* 1: the caller may decrypt with some document, -1: with none, 0: not tried yet */
} Trial;

static bool decide(const Trial *trial, const char *action, size_t caller, size_t document,
                   const char *grant) {
        const Policy *const identity[] = { everything };
        const char *const operations[] = { grant, NULL };
        const PolicyPrincipal *who = &callers[caller];
        PolicyGrant grants[GRANTS_MAX + 1];
        PolicySet set = { trial->policy, identity, who->service ? 0 : 1, grants, trial->n_grants };

        for (size_t i = 0; i < trial->n_grants; i++)
                grants[i] = trial->grants[i];
        if (grant)
                grants[set.n_grants++] = (PolicyGrant){ .grantee_principal = who->service ?: who->arn,
                                                        .operations = operations };
        for (size_t way = 0; way < N_WAYS; way++) {
                const PolicyRequest request = { action, KEY, who, contexts[caller][document][way] };

                if (policy_decide(&set, &request).allowed)
                        return true;
        }
        return false;
}

static const LintFinding *find(const Trial *trial, LintCode code, const char *subject) {
        for (size_t i = 0; i < trial->report->n_findings; i++)
                if (trial->report->findings[i].code == code &&
                    (!subject || (trial->report->findings[i].subject &&
                                  strcmp(trial->report->findings[i].subject, subject) == 0)))
                        return &trial->report->findings[i];
        return NULL;
}

/* Returns whether a finding about a grant has the words. */
static bool grant_says(const Trial *trial, const char *words) {
        for (size_t i = 0; trial->audit && i < trial->audit->n_findings; i++)
                if (strcmp(trial->audit->findings[i].check, "grant") == 0 &&
                    strstr(trial->audit->findings[i].text, words))
                        return true;
        return false;
}

/* A document is right if it matches the images that lint was given. Without images, it is right if the
 * policy knows one of its values. */
static bool is_right(const Trial *trial, const Document *document, bool strict) {
        bool any4 = !strict &&
                    (find(trial, LINT_PCR4_MISSING, NULL) || grant_says(trial, "PCR4 is not pinned")),
             any12 = !strict &&
                     (find(trial, LINT_PCR12_MISSING, NULL) || grant_says(trial, "PCR12 is not pinned")),
             secure = trial->options.expectation.secure_boot;

        if (document->pcr4 < 0)
                return false;
        if (trial->options.n_images == 0)
                return (any4 || document->pcr4 != V) && (any12 || document->pcr12 != V) &&
                       (!secure || (document->pcr7 != V && document->pcr7 != Z));
        for (size_t i = 0; i < trial->options.n_images; i++)
                if ((any4 || document->pcr4 == images[i].value[4][0]) &&
                    (any12 || document->pcr12 == images[i].value[12][0]) &&
                    (!secure || document->pcr7 == images[i].value[7][0]))
                        return true;
        return false;
}

/* Firmware loaded third-party drivers before the image. Such a document may be allowed only where lint has
 * warned of it, or where the policy takes its PCR7 for Secure Boot. */
static bool has_untold_drivers(const Trial *trial, const Document *document) {
        if (grant_says(trial, "PCR2 is not pinned"))
                return false;
        return document->pcr4 >= 0 && document->pcr2 == V && (document->pcr7 == V || document->pcr7 == Z) &&
               !find(trial, LINT_PCR2_MISSING, NULL);
}

static void report_lie(const Trial *trial, const char *action, size_t caller, size_t document,
                       const char *why) {
        const Document *d = &documents[document];

        for (size_t i = 0; trial->audit && i < trial->audit->n_findings; i++)
                printf("  %s %s %s: %s\n", audit_severity_to_string(trial->audit->findings[i].severity),
                       trial->audit->findings[i].check, trial->audit->findings[i].subject ?: "",
                       trial->audit->findings[i].text);
        for (size_t i = 0; i < trial->report->n_findings; i++)
                printf("  %s %s %zu %s: %s\n", lint_severity_to_string(trial->report->findings[i].severity),
                       lint_code_to_string(trial->report->findings[i].code),
                       trial->report->findings[i].statement, trial->report->findings[i].subject ?: "",
                       trial->report->findings[i].meaning);
        fail_msg("%s by %s with PCR2=%x PCR4=%x PCR7=%x PCR12=%x is allowed (%s), which lint does not say "
                 "(images: %zu, Secure Boot: %d) of\n%s",
                 action, callers[caller].arn, (unsigned) d->pcr2, (unsigned) d->pcr4, (unsigned) d->pcr7,
                 (unsigned) d->pcr12, why, trial->options.n_images, trial->options.expectation.secure_boot,
                 trial->text);
}

static bool has(const char *const *list, const char *text) {
        return list && list[0] && strcmp(list[0], text) == 0;
}

static bool is_grantee(const PolicyGrant *grant, size_t caller) {
        const PolicyPrincipal *who = &callers[caller];
        const char *to = grant->grantee_principal;
        char root[64];

        (void) snprintf(root, sizeof(root), "arn:aws:iam::%s:root", who->account);
        return strcmp(to, who->service ?: who->arn) == 0 || strcmp(to, root) == 0 ||
               strcmp(to, who->account) == 0 || (who->session_arn && strcmp(to, who->session_arn) == 0) ||
               (who->unique_id && strcmp(to, who->unique_id) == 0);
}

/* Returns whether a finding about a grant names the caller: not as one that is harmless, but that somebody must look at. */
static bool is_named_grantee(const Trial *trial, size_t caller) {
        for (size_t i = 0; i < trial->n_grants; i++)
                for (size_t j = 0; j < trial->audit->n_findings; j++) {
                        const AuditFinding *finding = &trial->audit->findings[j];
                        const char *to = trial->grants[i].grantee_principal;
                        char end[300];

                        (void) snprintf(end, sizeof(end), " to %s", to);
                        if (strcmp(finding->check, "grant") == 0 && finding->severity >= AUDIT_WARNING &&
                            finding->subject && strstr(finding->subject, end) &&
                            is_grantee(&trial->grants[i], caller))
                                return true;
                }
        return false;
}

/* Returns whether a finding with that code names the caller, its account or everyone. A pattern with a wildcard may mean the
* caller. */
static bool is_named(const Trial *trial, LintCode code, size_t caller) {
        char root[64];

        (void) snprintf(root, sizeof(root), "arn:aws:iam::%s:root", callers[caller].account);
        if (is_named_grantee(trial, caller))
                return true;
        if (find(trial, code, callers[caller].arn) || find(trial, code, root) ||
            find(trial, code, callers[caller].account) ||
            (callers[caller].unique_id && find(trial, code, callers[caller].unique_id)) ||
            (callers[caller].service && find(trial, code, callers[caller].service)) ||
            (callers[caller].session_arn && find(trial, code, callers[caller].session_arn)))
                return true;
        for (size_t i = 0; i < trial->report->n_findings; i++)
                if (trial->report->findings[i].code == code && trial->report->findings[i].subject &&
                    strchr(trial->report->findings[i].subject, '*'))
                        return true;
        return find(trial, code, "arn:aws:iam::111111111111:role/RESCUE");
}

static bool may_decrypt(Trial *trial, size_t caller) {
        int8_t *known = &trial->decrypts[caller];

        for (size_t document = 0; document < N_DOCUMENTS && *known == 0; document++)
                if (decide(trial, "kms:Decrypt", caller, document, NULL))
                        *known = 1;
        if (*known == 0)
                *known = -1;
        return *known > 0;
}

static bool has_administrator(const Trial *trial, const char *account) {
        for (size_t i = 0; i < N_CALLERS; i++)
                if (strcmp(callers[i].account, account) == 0 &&
                    decide(trial, "kms:PutKeyPolicy", i, 0, NULL))
                        return true;
        return false;
}

/* Operations that make ciphertext without a document. */
static const char *const makers[] = { "Encrypt",
                                      "ReEncryptTo",
                                      "GenerateDataKey",
                                      "GenerateDataKeyPair",
                                      "GenerateDataKeyWithoutPlaintext",
                                      "GenerateDataKeyPairWithoutPlaintext" };

/* Only a sealer makes a ciphertext. No principal that may decrypt makes one, and no other principal of its account, unless an
 * administrator is in it. A finding names every other maker. */
static void check_making(Trial *trial, size_t caller, const char *operation) {
        char action[64];

        (void) snprintf(action, sizeof(action), "kms:%s", operation);
        if (!decide(trial, action, caller, 0, NULL))
                return;
        /* The options name it. It chooses the secrets, so it may as well have the image read them. */
        if (has(trial->options.sealers, callers[caller].arn))
                return;
        if (may_decrypt(trial, caller))
                report_lie(trial, action, caller, 0, "by one who may decrypt");
        if (has(trial->options.administrators, callers[caller].arn))
                return;
        for (size_t i = 0; i < N_CALLERS; i++)
                if (strcmp(callers[i].account, callers[caller].account) == 0 &&
                    !has(trial->options.recovery_principals, callers[i].arn) && may_decrypt(trial, i) &&
                    !has_administrator(trial, callers[caller].account))
                        report_lie(trial, action, caller, 0, "by one of an account that may decrypt");
        if (!is_named(trial, LINT_SEALER, caller))
                report_lie(trial, action, caller, 0, "by somebody whom no finding names");
}

static void check_makers(Trial *trial, size_t caller, bool clean) {
        if (has(trial->options.recovery_principals, callers[caller].arn))
                return;
        for (size_t i = 0; i < ELEMENTSOF(makers); i++) {
                check_making(trial, caller, makers[i]);
                if (clean && !find(trial, LINT_ENCRYPT_NOT_DENIED, NULL) && may_decrypt(trial, caller)) {
                        char action[64];

                        (void) snprintf(action, sizeof(action), "kms:%s", makers[i]);
                        if (decide(trial, action, caller, 0, makers[i]))
                                report_lie(trial, action, caller, 0, "by a grant");
                }
        }
}

/* Returns whether somebody who may decrypt is in the account, and somebody in another account administers the key. */
static bool is_of_another_key(Trial *trial, const char *account) {
        bool near = false, foreign = false;

        for (size_t i = 0; i < N_CALLERS; i++)
                if (strcmp(callers[i].account, account) != 0)
                        foreign |= *callers[i].account && decide(trial, "kms:PutKeyPolicy", i, 0, NULL);
                else
                        near |= !has(trial->options.recovery_principals, callers[i].arn) &&
                                may_decrypt(trial, i);
        return near && foreign;
}

static void check_control(Trial *trial, size_t caller) {
        /* The last one only brings imported key material into use: somebody who does not unseal may do it. */
        static const char *const control[] = { "kms:PutKeyPolicy", "kms:CreateGrant", "kms:ReplicateKey",
                                               "kms:ImportKeyMaterial", "kms:RotateKeyOnDemand" };

        for (size_t i = 0; i < ELEMENTSOF(control); i++) {
                if (!decide(trial, control[i], caller, 0, NULL) ||
                    has(trial->options.administrators, callers[caller].arn))
                        continue;
                if (i + 1 < ELEMENTSOF(control) && !is_named(trial, LINT_ADMINISTRATOR, caller))
                        report_lie(trial, control[i], caller, 0, "by somebody whom no finding names");
                if (may_decrypt(trial, caller))
                        report_lie(trial, control[i], caller, 0, "by one who may decrypt");
                if (i + 1 < ELEMENTSOF(control) && is_of_another_key(trial, callers[caller].account))
                        report_lie(trial, control[i], caller, 0, "by one of an account that may decrypt");
        }
}

static void check_caller(const Trial *trial, size_t caller, size_t document, bool clean) {
        bool untold = has_untold_drivers(trial, &documents[document]);
        bool right = is_right(trial, &documents[document], false) && !untold;
        bool strictly_right = is_right(trial, &documents[document], true) && !untold;

        if (has(trial->options.recovery_principals, callers[caller].arn))
                return;
        if (!right && decide(trial, "kms:Decrypt", caller, document, NULL))
                report_lie(trial, "kms:Decrypt", caller, document, "by the policy");
        if (!strictly_right && !is_named(trial, LINT_SEALER, caller) &&
            !has(trial->options.administrators, callers[caller].arn) &&
            !has(trial->options.sealers, callers[caller].arn)) {
                if (decide(trial, "kms:GenerateDataKey", caller, document, NULL))
                        report_lie(trial, "kms:GenerateDataKey", caller, document, "by the policy");
                if (decide(trial, "kms:GenerateDataKeyPair", caller, document, NULL))
                        report_lie(trial, "kms:GenerateDataKeyPair", caller, document, "by the policy");
        }
        if (clean && !strictly_right && decide(trial, "kms:Decrypt", caller, document, "Decrypt"))
                report_lie(trial, "kms:Decrypt", caller, document, "by a grant");
        if (document > 0)
                return;
        if (decide(trial, "kms:ReEncryptFrom", caller, 0, NULL))
                report_lie(trial, "kms:ReEncryptFrom", caller, 0, "by the policy");
        if (clean && decide(trial, "kms:ReEncryptFrom", caller, 0, "ReEncryptFrom"))
                report_lie(trial, "kms:ReEncryptFrom", caller, 0, "by a grant");
}

/* Even with the right document nobody has ciphertext made in the name of any secret, unless lint says so, or the caller may make it
 * without a document, of which other findings speak. Returns whether somebody has data keys made with a document. */
static bool check_names(const Trial *trial, size_t caller) {
        static const char *const makes[] = { "kms:GenerateDataKey", "kms:GenerateDataKeyPair" };
        const Policy *const identity[] = { everything };
        const PolicyPrincipal *who = &callers[caller];
        const PolicySet set = { trial->policy, identity, who->service ? 0 : 1, NULL, 0 };
        bool made = false;

        for (size_t i = 0; i < ELEMENTSOF(makes); i++) {
                const PolicyRequest request = { makes[i], KEY, who, contexts_of_secret[caller] };

                if (decide(trial, makes[i], caller, 0, NULL) || is_named(trial, LINT_SEALER, caller) ||
                    has(trial->options.recovery_principals, who->arn) ||
                    has(trial->options.administrators, who->arn) || has(trial->options.sealers, who->arn))
                        continue;
                made |= decide(trial, makes[i], caller, FIRST_IMAGE, NULL);
                if (policy_decide(&set, &request).allowed && !is_named(trial, LINT_ANY_CONTEXT, caller))
                        report_lie(trial, makes[i], caller, FIRST_IMAGE, "in the name of any secret");
        }
        return made;
}

typedef struct Tally {
        size_t refused, errors, safe, clean, unlocks, made;
} Tally;

static void try_policy(const char *text, Tally *tally) {
        static const char *const admins[] = { ADMIN, NULL }, *const rescue[] = { RESCUE, NULL };
        Trial trial = { .text = text,
                        .options = { images,
                                     below(3),
                                     { .secure_boot = chance(25) },
                                     chance(50) ? admins : NULL,
                                     chance(50) ? rescue : NULL } };
        bool clean, unlocks = false, made = false;

        if (policy_parse(POLICY_KIND_KEY, text, strlen(text), &trial.policy, NULL) < 0) {
                tally->refused++;
                return;
        }
        assert_int_equal(lint_policy(text, strlen(text), &trial.options, &trial.report), 0);
        clean = lint_count(trial.report, LINT_ERROR) + lint_count(trial.report, LINT_WARNING) == 0;
        if (lint_count(trial.report, LINT_ERROR) > 0)
                tally->errors++;
        else {
                tally->safe++;
                tally->clean += clean;
                for (size_t caller = 0; caller < N_CALLERS; caller++) {
                        check_control(&trial, caller);
                        check_makers(&trial, caller, clean);
                        made |= check_names(&trial, caller);
                        check_caller(&trial, caller, 0, clean);
                        for (size_t i = 0; i < 8; i++)
                                check_caller(&trial, caller, below(N_DOCUMENTS), clean);
                        unlocks |= decide(&trial, "kms:Decrypt", caller, FIRST_IMAGE, NULL) ||
                                   decide(&trial, "kms:Decrypt", caller, SECOND_IMAGE, NULL);
                }
                tally->unlocks += unlocks;
                tally->made += made && !find(&trial, LINT_ANY_CONTEXT, NULL);
        }
        lint_report_free(trial.report);
        policy_free(trial.policy);
}

/* A grant, and the memory of what it borrows. */
typedef struct RandomGrant {
        const char *operations[8];
        PolicyPair pair;
        PolicyGrant grant;
} RandomGrant;

static void random_grant(RandomGrant *ret) {
        static const char *const operations[] = { "Decrypt",
                                                  "Decrypt",
                                                  "Encrypt",
                                                  "Encrypt",
                                                  "ReEncryptFrom",
                                                  "ReEncryptTo",
                                                  "GenerateDataKey",
                                                  "CreateGrant",
                                                  "GenerateDataKeyWithoutPlaintext",
                                                  "DescribeKey",
                                                  "RetireGrant",
                                                  "GenerateDataKeyPair",
                                                  "GetPublicKey",
                                                  "GenerateDataKeyPairWithoutPlaintext" };
        const char *grantee;
        size_t n = 1 + (chance(40) ? below(4) : 0);

        do
                grantee = chance(4) ? SERVICE : PICK(principals);
        while (strcmp(grantee, "*") == 0);
        *ret = (RandomGrant){};
        for (size_t i = 0; i < n; i++)
                ret->operations[i] = PICK(operations);
        ret->grant = (PolicyGrant){ .grantee_principal = grantee, .operations = ret->operations };
        if (chance(20))
                ret->grant.retiring_principal = PICK(principals);
        ret->pair = (PolicyPair){ "unseald:account", chance(80) ? "222222222222" : "111111111111" };
        if (chance(15)) {
                ret->grant.subset = &ret->pair;
                ret->grant.n_subset = 1;
        } else if (chance(15)) {
                ret->grant.equals = &ret->pair;
                ret->grant.n_equals = 1;
        }
}

/* The grant as ListGrants shows it. */
static struct json_object *listed(const RandomGrant *grant, size_t number) {
        struct json_object *entry = json_object_new_object(), *operations = json_object_new_array();
        char id[24];

        (void) snprintf(id, sizeof(id), "%zu", number);
        json_object_object_add(entry, "GrantId", string(id));
        json_object_object_add(entry, "GranteePrincipal", string(grant->grant.grantee_principal));
        if (grant->grant.retiring_principal)
                json_object_object_add(entry, "RetiringPrincipal", string(grant->grant.retiring_principal));
        for (const char *const *o = grant->operations; *o; o++)
                json_object_array_add(operations, string(*o));
        json_object_object_add(entry, "Operations", operations);
        if (grant->grant.subset || grant->grant.equals) {
                struct json_object *constraints = json_object_new_object(), *pair = json_object_new_object();

                json_object_object_add(pair, grant->pair.key, string(grant->pair.value));
                json_object_object_add(constraints,
                                       grant->grant.subset ? "EncryptionContextSubset"
                                                           : "EncryptionContextEquals",
                                       pair);
                json_object_object_add(entry, "Constraints", constraints);
        }
        return entry;
}

static struct json_object *random_list(RandomGrant grants[static GRANTS_MAX], size_t *ret_n) {
        struct json_object *answer = json_object_new_object(), *list = json_object_new_array();

        *ret_n = 1 + below(GRANTS_MAX);
        for (size_t i = 0; i < *ret_n; i++) {
                random_grant(&grants[i]);
                json_object_array_add(list, listed(&grants[i], i + 1));
        }
        json_object_object_add(answer, "Grants", list);
        json_object_object_add(answer, "Truncated", json_object_new_boolean(false));
        return answer;
}

/* Judges the grants as policy audit does. */
static void audit_list(const Trial *trial, struct json_object *answer, AuditReport *ret) {
        const char *body = json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN);
        AuditGrants together = {};
        char *marker;

        audit_grants(ret, KEY, body, strlen(body), trial->text, &trial->options, &together, &marker);
        assert_null(marker);
        audit_grants_together(ret, KEY, trial->text, &trial->options, &together);
        audit_grants_done(&together);
        assert_false(ret->out_of_memory);
}

typedef struct GrantTally {
        size_t tried, refused, dirty, errors, unproven, warnings, notes, effective;
} GrantTally;

static void check_grants(Trial *trial, GrantTally *tally) {
        const Trial bare = { .text = trial->text, .policy = trial->policy };
        bool effective = false;

        for (size_t caller = 0; caller < N_CALLERS; caller++) {
                check_control(trial, caller);
                check_makers(trial, caller, false);
                for (size_t i = 0; i < 9; i++) {
                        size_t document = i == 0 ? 0 : below(N_DOCUMENTS);

                        check_caller(trial, caller, document, false);
                        effective |= decide(trial, "kms:Decrypt", caller, document, NULL) &&
                                     !decide(&bare, "kms:Decrypt", caller, document, NULL);
                }
        }
        tally->effective += effective;
}

static void try_grants(const char *text, GrantTally *tally) {
        static const char *const admins[] = { ADMIN, NULL }, *const rescue[] = { RESCUE, NULL },
                                 *const sealers[] = { "arn:aws:iam::111111111111:user/ci", NULL };
        RandomGrant grants[GRANTS_MAX];
        PolicyGrant copies[GRANTS_MAX];
        AuditReport audit = {};
        Trial trial = { .text = text,
                        .options = { images,
                                     below(3),
                                     { .secure_boot = chance(25) },
                                     chance(70) ? admins : NULL,
                                     chance(50) ? rescue : NULL,
                                     chance(50) ? sealers : NULL },
                        .grants = copies,
                        .audit = &audit };
        struct json_object *answer;

        if (policy_parse(POLICY_KIND_KEY, text, strlen(text), &trial.policy, NULL) < 0) {
                tally->refused++;
                return;
        }
        assert_int_equal(lint_policy(text, strlen(text), &trial.options, &trial.report), 0);
        answer = random_list(grants, &trial.n_grants);
        for (size_t i = 0; i < trial.n_grants; i++)
                copies[i] = grants[i].grant;
        if (lint_count(trial.report, LINT_ERROR) > 0)
                tally->dirty++;
        else {
                tally->tried++;
                audit_list(&trial, answer, &audit);
                if (audit_count(&audit, AUDIT_ERROR) > 0)
                        tally->errors++;
                else if (audit_count(&audit, AUDIT_UNPROVEN) > 0)
                        tally->unproven++;
                else {
                        *(audit_count(&audit, AUDIT_WARNING) > 0 ? &tally->warnings : &tally->notes) += 1;
                        check_grants(&trial, tally);
                }
        }
        audit_report_done(&audit);
        json_object_put(answer);
        lint_report_free(trial.report);
        policy_free(trial.policy);
}

static uint64_t from_environment(const char *name, uint64_t otherwise) {
        const char *text = getenv(name);

        return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static void test_lint_finds_an_error_wherever_the_platform_lets_a_wrong_document_through(void **state) {
        bool slowly = UNSEALD_SANITIZED || getenv("UNSEALD_TEST_SLOW");
        uint64_t seed = from_environment("UNSEALD_TEST_SEED", SEED);
        size_t n = from_environment("UNSEALD_TEST_POLICIES", slowly ? POLICIES_SLOWLY : POLICIES);
        Tally tally = {};

        printf("seed %llu\n", (unsigned long long) seed);
        random_state = seed;
        for (size_t i = 0; tally.errors + tally.safe < n; i++) {
                struct json_object *policy = next_policy();

                try_policy(json_object_to_json_string_ext(policy, JSON_C_TO_STRING_NOSLASHESCAPE), &tally);
                json_object_put(policy);
        }
        printf("%zu policies: %zu with errors; %zu without, of which %zu let some document through and %zu "
               "are without "
               "warnings; besides %zu that KMS refuses\n",
               tally.errors + tally.safe, tally.errors, tally.safe, tally.unlocks, tally.clean,
               tally.refused);
        /* Otherwise the test has shown little. */
        assert_true(tally.unlocks > n / 50);
        printf("%zu let some document make data keys, and not for any secret\n", tally.made);
        assert_true(tally.made > 0);
        assert_true(tally.clean > n / 200);
}

/* The policy is without an error; the grants are what could open the key. */
static void test_audit_finds_an_error_wherever_a_grant_opens_the_key(void **state) {
        bool slowly = UNSEALD_SANITIZED || getenv("UNSEALD_TEST_SLOW");
        uint64_t seed = from_environment("UNSEALD_TEST_SEED", SEED);
        size_t n = from_environment("UNSEALD_TEST_GRANTS", slowly ? GRANTS_SLOWLY : GRANTS_QUICKLY);
        GrantTally tally = {};

        random_state = seed ^ 1;
        while (tally.tried < n) {
                struct json_object *policy = chance(25) ? random_policy() : made_policy();

                for (size_t i = chance(60) ? below(3) : 0; i > 0; i--)
                        mutate(policy);
                try_grants(json_object_to_json_string_ext(policy, JSON_C_TO_STRING_NOSLASHESCAPE), &tally);
                json_object_put(policy);
        }
        printf("%zu lists of grants: %zu with errors, %zu not proven, %zu with warnings, %zu with notes alone; "
               "%zu of the last two let some document through that the policy does not. Besides %zu policies "
               "with errors, and %zu that KMS refuses\n",
               tally.tried, tally.errors, tally.unproven, tally.warnings, tally.notes, tally.effective,
               tally.dirty, tally.refused);
        /* Otherwise the test has shown little. */
        assert_true(tally.warnings + tally.notes > n / 10);
        assert_true(tally.errors > n / 10);
        assert_true(tally.effective > 0);
}

/* Expands @A, @B, @C, @P and @Z, which stand for values of PCRs in the table. */
static char *with_values(const char *text) {
        char *expanded = NULL, hex[2 * PCR_SIZE + 1];
        size_t size;
        FILE *f = open_memstream(&expanded, &size);

        assert_non_null(f);
        for (; *text; text++) {
                if (*text != '@') {
                        (void) fputc(*text, f);
                        continue;
                }
                text++;
                hex_of(*text == 'A' ? A : *text == 'B' ? B : *text == 'C' ? C : *text == 'P' ? P : Z, hex);
                (void) fputs(hex, f);
        }
        assert_int_equal(fclose(f), 0);
        return expanded;
}

/* PCR7 does not count, because no policy of the table pins it. */
static bool is_first_image(const Document *document) {
        return document->pcr2 == P && document->pcr4 == A && document->pcr12 == Z;
}

/* Returns whether the platform lets a caller get a plaintext without the document of the first image, open the key
 * although it or its account unseals, or make ciphertext although it unseals. */
static bool is_open(Trial *trial) {
        static const char *const control[] = { "kms:PutKeyPolicy", "kms:CreateGrant", "kms:ReplicateKey",
                                               "kms:ImportKeyMaterial", "kms:RotateKeyOnDemand" };

        for (size_t caller = 0; caller < N_CALLERS; caller++) {
                bool trusted = has(trial->options.administrators, callers[caller].arn);

                if (decide(trial, "kms:ReEncryptFrom", caller, 0, NULL))
                        return true;
                for (size_t document = 0; document < N_DOCUMENTS; document++)
                        if (!is_first_image(&documents[document]) &&
                            decide(trial, "kms:Decrypt", caller, document, NULL))
                                return true;
                for (size_t i = 0; i < ELEMENTSOF(control) && !trusted; i++)
                        if (decide(trial, control[i], caller, 0, NULL) &&
                            (may_decrypt(trial, caller) ||
                             (i + 1 < ELEMENTSOF(control) &&
                              is_of_another_key(trial, callers[caller].account))))
                                return true;
                for (size_t i = 0; i < ELEMENTSOF(makers) && !trusted; i++) {
                        char action[64];

                        (void) snprintf(action, sizeof(action), "kms:%s", makers[i]);
                        for (size_t j = 0; j < N_CALLERS && decide(trial, action, caller, 0, NULL); j++)
                                if (strcmp(callers[j].account, callers[caller].account) == 0 &&
                                    may_decrypt(trial, j) &&
                                    (j == caller || !has_administrator(trial, callers[j].account)))
                                        return true;
                }
        }
        return false;
}

static struct json_object *read_table(void) {
        const char *vectors = getenv("UNSEALD_TEST_VECTORS");
        char path[4096];
        struct json_object *table;

        (void) snprintf(path, sizeof(path), "%s/policies/policies.json", vectors ?: "tests/vectors");
        table = json_object_from_file(path);
        if (!table)
                fail_msg("%s cannot be read", path);
        return table;
}

/* Members of a row: "safe": only the image gets a plaintext, and only a sealer makes a ciphertext. "errors": lint finds an error. A safe
 * policy has one only if lint is stricter; "why" then says so. "unseen": the platform does not show that the policy is open, because
 * this test sends no requests of services, unique IDs and further accounts, and none with certain condition keys or in the name of a
 * secret. */
static void test_lint_and_the_platform_agree_with_verdicts_that_were_written_down(void **state) {
        static const char *const admins[] = { ADMIN, NULL };
        struct json_object *table = read_table();
        size_t failed = 0, n = json_object_array_length(table);

        assert_true(n >= 144);
        for (size_t i = 0; i < n; i++) {
                struct json_object *row = json_object_array_get_idx(table, i);
                _cleanup_free_ char *text =
                                with_values(json_object_to_json_string_ext(json_member(row, "policy"), 0));
                bool safe = json_object_get_boolean(json_member(row, "safe")),
                     errors = json_object_get_boolean(json_member(row, "errors")), saw_errors,
                     saw_open = false;
                Trial trial = { .text = text, .options = { images, 1, .administrators = admins } };

                assert_int_equal(lint_policy(text, strlen(text), &trial.options, &trial.report), 0);
                saw_errors = lint_count(trial.report, LINT_ERROR) > 0;
                if (policy_parse(POLICY_KIND_KEY, text, strlen(text), &trial.policy, NULL) >= 0)
                        saw_open = is_open(&trial);
                if (saw_errors != errors ||
                    saw_open != (!safe && !json_object_get_boolean(json_member(row, "unseen")))) {
                        printf("%s (%s): lint %s, wanted %s; the platform says %s, the verdict is %s\n",
                               json_member_string(row, "name"), json_member_string(row, "why"),
                               saw_errors ? "errors" : "none", errors ? "errors" : "none",
                               saw_open ? "open" : "safe", safe ? "safe" : "open");
                        failed++;
                }
                lint_report_free(trial.report);
                policy_free(trial.policy);
        }
        json_object_put(table);
        assert_int_equal(failed, 0);
}

static int add_document(PolicyContext *context, const Document *document) {
        const int values[][2] = {
                { 4, document->pcr4 },
                { 7, document->pcr7 },
                { 12, document->pcr12 },
                { 2, document->pcr2 },
                { 0, Z },
                { 8, Z },
                { 13, Z },
        };

        for (size_t i = 0; i < ELEMENTSOF(values) && document->pcr4 >= 0; i++) {
                uint8_t value[PCR_SIZE];

                memset(value, values[i][1], sizeof(value));
                if (policy_context_add_pcr(context, (unsigned) values[i][0], value, sizeof(value)) < 0)
                        return -1;
        }
        return 0;
}

static int make_context(const PolicyPrincipal *caller, const Document *document, const char *bound_to,
                        const char *secret, bool bare, PolicyContext **ret) {
        static const char *const rows[][2] = {
                { "aws:SourceVpce", "vpce-0123456789abcdef0" },
                { "kms:RequestAlias", "alias/billing" },
                { "kms:ResourceAliases", "alias/billing" },
                { "aws:ResourceTag/team", "billing" },
                { "aws:PrincipalTag/team", "billing" },
                { "kms:ViaService", "ec2.eu-north-1.amazonaws.com" },
                { "kms:GrantIsForAWSResource", "true" },
        };
        PolicyContext *context;

        if (policy_context_new(caller, &context) < 0 || add_document(context, document) < 0 ||
            policy_context_add_bool(context, "aws:SecureTransport", true) < 0 ||
            (bound_to && *bound_to &&
             policy_context_add_encryption_context(context, "unseald:account", bound_to) < 0) ||
            (secret && policy_context_add_encryption_context(context, "unseald:secret", secret) < 0))
                return -1;
        for (size_t i = 0; i < ELEMENTSOF(rows) && !bare; i++)
                if (policy_context_add(context, rows[i][0], rows[i][1]) < 0)
                        return -1;
        *ret = context;
        return 0;
}

static void test_a_bound_secret_is_for_its_account_alone(void **state) {
        static const char *const both[] = { APP, "arn:aws:iam::333333333333:role/stranger", NULL };
        const KeyPolicyOptions options = {
                .images = images, .n_images = 1, .principals = both, .bind_account = true
        };
        const Document document = { A, A, Z, P };
        const Policy *const identity[] = { everything };
        struct json_object *policy = NULL;
        Policy *key_policy = NULL;
        const char *text;
        Error error = {};

        assert_int_equal(key_policy_make(&options, &policy, &error), 0);
        text = json_object_to_json_string_ext(policy, JSON_C_TO_STRING_NOSLASHESCAPE);
        assert_int_equal(policy_parse(POLICY_KIND_KEY, text, strlen(text), &key_policy, NULL), 0);
        for (size_t i = 0; i < N_CALLERS; i++) {
                const PolicySet set = { key_policy, identity, 1, NULL, 0 };
                bool is_named = strcmp(callers[i].arn, both[0]) == 0 || strcmp(callers[i].arn, both[1]) == 0;
                const char *const accounts[] = { "222222222222", "333333333333", NULL };

                for (size_t j = 0; j < ELEMENTSOF(accounts); j++) {
                        PolicyContext *context = NULL;
                        bool own = accounts[j] && strcmp(accounts[j], callers[i].account) == 0;

                        assert_int_equal(make_context(&callers[i], &document, accounts[j], NULL, false,
                                                      &context),
                                         0);
                        const PolicyRequest request = { "kms:Decrypt", KEY, &callers[i], context };
                        assert_int_equal(policy_decide(&set, &request).allowed, is_named && own);
                        policy_context_free(context);
                }
        }
        policy_free(key_policy);
        json_object_put(policy);
}

static void test_data_keys_are_made_for_the_named_secrets_alone(void **state) {
        static const char *const who[] = { APP, NULL }, *const generated[] = { "db-key", NULL };
        static const char *const secrets[] = { "db-key", "db-password", NULL };
        const Document right = { A, A, Z, P }, wrong = { W, A, Z, P }, missing = { -1, -1, -1, -1 };
        const Policy *const identity[] = { everything };

        for (unsigned i = 0; i < 8; i++) {
                const KeyPolicyOptions options = { .images = images,
                                                   .n_images = 1,
                                                   .principals = who,
                                                   .generated = i & 1 ? generated : NULL,
                                                   .generate_data_key = i & 2,
                                                   .bind_account = i & 4 };
                struct json_object *policy = NULL;
                Policy *key_policy = NULL;
                const char *text;
                Error error = {};

                assert_int_equal(key_policy_make(&options, &policy, &error), 0);
                text = json_object_to_json_string_ext(policy, JSON_C_TO_STRING_NOSLASHESCAPE);
                assert_int_equal(policy_parse(POLICY_KIND_KEY, text, strlen(text), &key_policy, NULL), 0);
                for (size_t caller = 0; caller < N_CALLERS; caller++)
                        for (size_t j = 0; j < ELEMENTSOF(secrets) * 3; j++) {
                                const PolicySet set = { key_policy, identity, 1, NULL, 0 };
                                const Document *document = j % 3 == 0   ? &right
                                                           : j % 3 == 1 ? &wrong
                                                                        : &missing;
                                const char *secret = secrets[j / 3];
                                bool wanted = strcmp(callers[caller].arn, APP) == 0 && j % 3 == 0 &&
                                              ((i & 1 && secret && strcmp(secret, "db-key") == 0) ||
                                               (i & 2 && !secret));
                                PolicyContext *context = NULL;

                                assert_int_equal(make_context(&callers[caller], document,
                                                              callers[caller].account, secret, false,
                                                              &context),
                                                 0);
                                const PolicyRequest request = { "kms:GenerateDataKey", KEY, &callers[caller],
                                                                context };
                                assert_int_equal(policy_decide(&set, &request).allowed, wanted);
                                policy_context_free(context);
                        }
                policy_free(key_policy);
                json_object_put(policy);
        }
}

static int set_up(void **state) {
        static const char text[] = "{\"Version\": \"2012-10-17\", \"Statement\": {\"Effect\": \"Allow\", "
                                   "\"Action\": \"*\", "
                                   "\"Resource\": \"*\"}}";
        const uint8_t of_images[2][3] = { { A, A, Z }, { B, B, C } };
        size_t n = 0;

        documents[n++] = (Document){ -1, -1, -1, -1 };
        for (size_t i = 0; i < N_DOCUMENTS - 1; i++)
                documents[n++] = (Document){ values4[i % 4], values7[i / 4 % 5], values12[i / 20 % 4],
                                             values2[i / 80] };
        for (size_t i = 0; i < 2; i++) {
                images[i].present = 1U << 2 | 1U << 4 | 1U << 7 | 1U << 12;
                memset(images[i].value[2], P, PCR_SIZE);
                memset(images[i].value[4], of_images[i][0], PCR_SIZE);
                memset(images[i].value[7], of_images[i][1], PCR_SIZE);
                memset(images[i].value[12], of_images[i][2], PCR_SIZE);
        }
        for (size_t i = 0; i < N_CALLERS; i++) {
                for (size_t j = 0; j < N_DOCUMENTS; j++)
                        for (size_t way = 0; way < N_WAYS; way++)
                                if (make_context(&callers[i], &documents[j],
                                                 way == BARE ? NULL : callers[i].account, NULL, way == BARE,
                                                 &contexts[i][j][way]) < 0)
                                        return -1;
                if (make_context(&callers[i], &documents[FIRST_IMAGE], callers[i].account, "db-password",
                                 false, &contexts_of_secret[i]) < 0)
                        return -1;
        }
        return policy_parse(POLICY_KIND_IDENTITY, text, strlen(text), &everything, NULL);
}

static int tear_down(void **state) {
        for (size_t i = 0; i < N_CALLERS; i++) {
                for (size_t j = 0; j < N_DOCUMENTS; j++)
                        for (size_t way = 0; way < N_WAYS; way++)
                                policy_context_free(contexts[i][j][way]);
                policy_context_free(contexts_of_secret[i]);
        }
        policy_free(everything);
        return 0;
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lint_and_the_platform_agree_with_verdicts_that_were_written_down),
                cmocka_unit_test(test_a_bound_secret_is_for_its_account_alone),
                cmocka_unit_test(test_data_keys_are_made_for_the_named_secrets_alone),
                cmocka_unit_test(test_audit_finds_an_error_wherever_a_grant_opens_the_key),
                cmocka_unit_test(
                                test_lint_finds_an_error_wherever_the_platform_lets_a_wrong_document_through),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
