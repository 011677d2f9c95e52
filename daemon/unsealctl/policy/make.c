/* SPDX-License-Identifier: Apache-2.0 */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "basic/json.h"
#include "config/declaration.h"
#include "unsealctl/policy/make.h"
#include "unsealctl/policy/statement.h"

#define PINS_MAX 6U         /* of an image: PCR2, PCR4, PCR7, PCR12, PCR13 and the lock PCR */
#define PINS_IN_ALL_MAX 64U /* they are the bits of a clause */
#define CLAUSES_MAX 64U

#define SECRET_CONTEXT_KEY "kms:EncryptionContext:unseald:secret"

/* Actions that answer with a plaintext. The Deny statements have them even if no Allow has them. */
static const char *const gated_actions[] = { "kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyPair",
                                             NULL };
/* Actions that open the key without decrypting, or make ciphertext. They take no document. */
static const char *const closed_actions[] = { "kms:CreateGrant", "kms:ReEncrypt*", NULL };
static const char *const application_actions[] = { "kms:DescribeKey", "kms:Encrypt",
                                                   "kms:GenerateDataKeyPairWithoutPlaintext",
                                                   "kms:GenerateDataKeyWithoutPlaintext", NULL };
static const char *const administration[] = {
        "kms:CancelKeyDeletion",
        "kms:CreateAlias",
        "kms:DeleteAlias",
        "kms:DescribeKey",
        "kms:DisableKey",
        "kms:DisableKeyRotation",
        "kms:EnableKey",
        "kms:EnableKeyRotation",
        "kms:GetKeyLastUsage",
        "kms:GetKeyPolicy",
        "kms:GetKeyRotationStatus",
        "kms:ListGrants",
        "kms:ListKeyPolicies",
        "kms:ListResourceTags",
        "kms:PutKeyPolicy",
        "kms:ReplicateKey",
        "kms:RevokeGrant",
        "kms:ScheduleKeyDeletion",
        "kms:TagResource",
        "kms:UntagResource",
        "kms:UpdateAlias",
        "kms:UpdateKeyDescription",
        NULL,
};
static const char *const administrators_only[] = { "kms:ImportKeyMaterial", "kms:PutKeyPolicy",
                                                   "kms:ReplicateKey", "kms:RotateKeyOnDemand", NULL };

/* A value of a PCR. Images with the same value share the pin. */
typedef struct Pin {
        unsigned pcr;
        uint8_t value[PCR_SIZE];
} Pin;

typedef struct Image {
        uint64_t pins; /* bit i: the image has pin i of the maker */
} Image;

typedef struct Maker {
        const KeyPolicyOptions *options;
        Error *error;
        unsigned pcrs[PINS_MAX];
        size_t n_pcrs;
        Pin pins[PINS_IN_ALL_MAX];
        size_t n_pins;
        Image images[KEY_POLICY_IMAGES_MAX];
        size_t n_images;
        uint64_t clauses[CLAUSES_MAX]; /* one Deny each, which denies if none of these pins is met */
        size_t n_clauses;
        struct json_object *statements; /* borrowed */
        bool out_of_memory;
} Maker;

static bool is_empty(const char *const *list) {
        return !list || !*list;
}

static bool list_has(const char *const *list, const char *text) {
        for (; list && *list; list++)
                if (strcmp(*list, text) == 0)
                        return true;
        return false;
}

/* Takes ownership of the value. NULL sets out_of_memory. */
static void put(Maker *maker, struct json_object *object, const char *name, struct json_object *value) {
        if (!object || !value || json_object_object_add(object, name, value) < 0) {
                json_object_put(value);
                maker->out_of_memory = true;
        }
}

static void put_string(Maker *maker, struct json_object *object, const char *name, const char *value) {
        put(maker, object, name, json_object_new_string(value));
}

static void append(Maker *maker, struct json_object *array, struct json_object *value) {
        if (!array || !value || json_object_array_add(array, value) < 0) {
                json_object_put(value);
                maker->out_of_memory = true;
        }
}

/* Makes one string, or an array of several. */
static struct json_object *strings(Maker *maker, const char *const *list) {
        struct json_object *array;

        if (list[0] && !list[1])
                return json_object_new_string(list[0]);
        array = json_object_new_array();
        for (; *list; list++)
                append(maker, array, json_object_new_string(*list));
        return array;
}

/* Returns the member of the object, and makes it first if it is missing. The result is borrowed. */
static struct json_object *member_object(Maker *maker, struct json_object *object, const char *name) {
        struct json_object *member = json_member(object, name);

        if (!member) {
                member = json_object_new_object();
                put(maker, object, name, member);
        }
        return json_member(object, name);
}

/* Adds a statement to the policy. principals: NULL: everyone. The result is borrowed. */
static struct json_object *add_statement(Maker *maker, const char *sid, const char *effect,
                                         const char *const *principals, const char *const *actions) {
        static const char *const everyone[] = { "*", NULL };
        struct json_object *statement = json_object_new_object();

        put_string(maker, statement, "Sid", sid);
        put_string(maker, statement, "Effect", effect);
        put(maker, member_object(maker, statement, "Principal"), "AWS",
            strings(maker, principals ?: everyone));
        put(maker, statement, "Action", strings(maker, actions));
        put_string(maker, statement, "Resource", "*");
        append(maker, maker->statements, statement);
        return maker->out_of_memory ? NULL : statement;
}

static void add_condition(Maker *maker, struct json_object *statement, const char *operator,
                          const char * key, const char *const *values) {
        struct json_object *condition = member_object(maker, statement, "Condition");

        put(maker, member_object(maker, condition, operator), key, strings(maker, values));
}

/* Adds a condition with the values that the pins have for the PCR. Without values there is no condition. */
static void add_pcr_condition(Maker *maker, struct json_object *statement, const char *operator,
                              uint64_t pins, unsigned pcr) {
        char hex[KEY_POLICY_IMAGES_MAX][2 * PCR_SIZE + 1], key[64];
        const char *values[KEY_POLICY_IMAGES_MAX + 1] = {};
        size_t n = 0;

        for (size_t i = 0; i < maker->n_pins; i++) {
                if (!(pins & UINT64_C(1) << i) || maker->pins[i].pcr != pcr)
                        continue;
                for (size_t j = 0; j < PCR_SIZE; j++)
                        (void) snprintf(hex[n] + 2 * j, 3, "%02x", maker->pins[i].value[j]);
                values[n] = hex[n];
                n++;
        }
        (void) snprintf(key, sizeof(key), "kms:RecipientAttestation:NitroTPMPCR%u", pcr);
        if (n > 0)
                add_condition(maker, statement, operator, key, values);
}

static void add_pcr_conditions(Maker *maker, struct json_object *statement, const char *operator,
                               uint64_t pins) {
        for (size_t i = 0; i < maker->n_pcrs; i++)
                add_pcr_condition(maker, statement, operator, pins, maker->pcrs[i]);
}

static void spare(Maker *maker, struct json_object *statement, const char *const *principals) {
        if (!is_empty(principals))
                add_condition(maker, statement, "ArnNotEquals", "aws:PrincipalArn", principals);
}

static void add_place_conditions(Maker *maker, struct json_object *statement) {
        const KeyPolicyOptions *options = maker->options;

        if (!is_empty(options->organizations))
                add_condition(maker, statement, "StringEquals", "aws:PrincipalOrgID",
                              options->organizations);
        if (!is_empty(options->vpc_endpoints))
                add_condition(maker, statement, "StringEquals", "aws:SourceVpce", options->vpc_endpoints);
}

/* What applications do without a document. None of these actions answers with a plaintext. */
static void add_application(Maker *maker) {
        add_place_conditions(maker, add_statement(maker, "Application", "Allow", maker->options->principals,
                                                  application_actions));
}

/* A secret of unseald that is sealed under this key by mistake stays closed to applications. */
static void add_denial_of_contexts(Maker *maker) {
        static const char *const actions[] = { "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*",
                                               "kms:ReEncrypt*", NULL },
                                 *const contexts[] = { "unseald:*", NULL };

        add_condition(maker, add_statement(maker, "DenyContextsOfSecrets", "Deny", NULL, actions),
                      "ForAnyValue:StringLike", "kms:EncryptionContextKeys", contexts);
}

/* Adds an Allow of the actions for the documents of an image. The result is borrowed. */
static struct json_object *add_allow(Maker *maker, const char *what, size_t image,
                                     const char *const *actions) {
        static const char *const own_account[] = { "${aws:PrincipalAccount}", NULL };
        struct json_object *statement;
        char sid[48];

        (void) snprintf(sid, sizeof(sid), maker->n_images > 1 ? "%sImage%zu" : "%s", what, image + 1);
        statement = add_statement(maker, sid, "Allow", maker->options->principals, actions);
        add_pcr_conditions(maker, statement, "StringEqualsIgnoreCase", maker->images[image].pins);
        add_place_conditions(maker, statement);
        if (maker->options->bind_account)
                add_condition(maker, statement, "StringEquals", "kms:EncryptionContext:unseald:account",
                              own_account);
        return statement;
}

/* KMS answers GenerateDataKey also with a ciphertext of the data key. Whoever has a document, which is no secret, can thus have a
 * ciphertext made, although not read it. So the encryption context must be that of a secret which KMS makes, since unseald never
 * decrypts one of those, or that of no secret at all. */
static void add_generating(Maker *maker, size_t image) {
        static const char *const absent[] = { "true", NULL }, *const actions[] = { "kms:GenerateDataKey",
                                                                                   NULL };
        const char *const *names = maker->options->generated;

        if (!is_empty(names))
                add_condition(maker, add_allow(maker, "Generate", image, actions), "StringEquals",
                              SECRET_CONTEXT_KEY, names);
        if (maker->options->generate_data_key && !maker->options->application)
                add_condition(maker, add_allow(maker, "MakeDataKeys", image, actions), "Null",
                              SECRET_CONTEXT_KEY, absent);
}

/* A Deny keeps applications from the contexts of secrets, so their data keys need no condition of their own. */
static void add_unsealing(Maker *maker) {
        static const char *const unsealing[] = { "kms:Decrypt", NULL }, *const application[] = {
                "kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyPair", NULL
        };

        for (size_t i = 0; i < maker->n_images; i++) {
                (void) add_allow(maker, "Unseal", i, maker->options->application ? application : unsealing);
                add_generating(maker, i);
        }
}

/* Appends a borrowed string to the list. */
static void remember(Maker *maker, const char ***list, size_t *n, const char *text) {
        const char **more = reallocarray(*list, *n + 2, sizeof(**list));

        if (!more) {
                maker->out_of_memory = true;
                return;
        }
        more[(*n)++] = text;
        more[*n] = NULL;
        *list = more;
}

/* Sealers make data keys without a document, so the Deny statements of the gated actions spare them beside those who recover. An
 * account has no name of its own to be spared by: as a sealer it may only encrypt. */
static const char **spared_by_denials(Maker *maker) {
        const char *const *lists[] = { maker->options->recovery_principals, maker->options->sealers };
        const char **spared = NULL;
        size_t n = 0;
        Caller caller;

        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                for (const char *const *p = lists[i]; p && *p; p++)
                        if (caller_parse(*p, &caller) && caller.kind == CALLER_IDENTITY &&
                            !list_has(spared, *p))
                                remember(maker, &spared, &n, *p);
        return spared;
}

/* The other gated actions stay denied to sealers. */
static void add_denial_of_sealers(Maker *maker) {
        static const char *const actions[] = { "kms:Decrypt", "kms:GenerateDataKeyPair", NULL };
        _cleanup_free_ const char **who = NULL;
        size_t n = 0;

        for (const char *const *p = maker->options->sealers; p && *p; p++)
                if (!list_has(maker->options->recovery_principals, *p))
                        remember(maker, &who, &n, *p);
        if (n > 0)
                add_statement(maker, "DenySealersUnsealing", "Deny", who, actions);
}

static void add_denials(Maker *maker) {
        static const char *const own_account[] = { "${aws:PrincipalAccount}", NULL };
        const KeyPolicyOptions *options = maker->options;
        _cleanup_free_ const char **spared = spared_by_denials(maker);
        struct json_object *statement;

        for (size_t i = 0; i < maker->n_clauses; i++) {
                char sid[96] = "DenyOther";
                size_t n = strlen(sid);

                for (size_t j = 0; j < maker->n_pcrs; j++)
                        for (size_t k = 0; k < maker->n_pins; k++)
                                if (maker->clauses[i] >> k & 1 && maker->pins[k].pcr == maker->pcrs[j]) {
                                        n += (size_t) snprintf(sid + n, sizeof(sid) - n, "PCR%u",
                                                               maker->pcrs[j]);
                                        break;
                                }
                if (maker->n_clauses > maker->n_pcrs)
                        (void) snprintf(sid + n, sizeof(sid) - n, "x%zu", i + 1);
                statement = add_statement(maker, sid, "Deny", NULL, gated_actions);
                add_pcr_conditions(maker, statement, "StringNotEqualsIgnoreCase", maker->clauses[i]);
                spare(maker, statement, spared);
        }
        if (options->bind_account) {
                statement = add_statement(maker, "DenyOtherAccounts", "Deny", NULL, gated_actions);
                add_condition(maker, statement, "StringNotEquals", "kms:EncryptionContext:unseald:account",
                              own_account);
                spare(maker, statement, spared);
        }
        add_denial_of_sealers(maker);
        add_statement(maker, "DenyOtherWays", "Deny", NULL, closed_actions);
}

/* Spares administrators that are part of an account that unseals. */
static void spare_administrators(Maker *maker, struct json_object *statement,
                                 const char *const *principals) {
        _cleanup_free_ const char **spared = NULL;
        size_t n = 0;

        for (const char *const *a = maker->options->administrators; a && *a; a++) {
                bool part = false;
                Caller administrator, principal;

                (void) caller_parse(*a, &administrator);
                for (const char *const *p = principals; *p && !part; p++)
                        part = caller_parse(*p, &principal) && principal.kind == CALLER_ACCOUNT &&
                               caller_is_among(&administrator, &principal, 1, true);
                if (part)
                        remember(maker, &spared, &n, *a);
        }
        spare(maker, statement, spared);
}

/* Principals that unseal or recover must not become administrators, not even by the delegation of an account. */
static void add_separation(Maker *maker) {
        const char *const *lists[] = { maker->options->principals, maker->options->recovery_principals };
        _cleanup_free_ const char **who = NULL;
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                for (const char *const *p = lists[i]; p && *p; p++)
                        if (!list_has(maker->options->administrators, *p))
                                remember(maker, &who, &n, *p);
        if (n > 0)
                spare_administrators(
                                maker,
                                add_statement(maker, "DenyAdministration", "Deny", who, administrators_only),
                                who);
}

/* A principal that makes ciphertext chooses the secrets. Other statements deny the other ways to make it: GenerateDataKey and
 * GenerateDataKeyPair without the right document, and ReEncryptTo. */
static void add_no_sealing(Maker *maker) {
        static const char *const actions[] = { "kms:Encrypt", "kms:GenerateDataKeyPairWithoutPlaintext",
                                               "kms:GenerateDataKeyWithoutPlaintext", NULL };

        add_statement(maker, "DenySealing", "Deny", maker->options->principals, actions);
}

static void add_statements(Maker *maker) {
        static const char *const seal[] = { "kms:Encrypt", "kms:GenerateDataKey",
                                            "kms:GenerateDataKeyWithoutPlaintext", NULL },
                                 *const recover[] = { "kms:Decrypt", NULL };
        const KeyPolicyOptions *options = maker->options;

        if (!is_empty(options->administrators))
                add_statement(maker, "Administer", "Allow", options->administrators, administration);
        if (!is_empty(options->sealers))
                add_statement(maker, "Seal", "Allow", options->sealers, seal);
        add_unsealing(maker);
        if (options->application)
                add_application(maker);
        if (!is_empty(options->recovery_principals))
                add_statement(maker, "RecoverWithoutAttestation", "Allow", options->recovery_principals,
                              recover);
        add_denials(maker);
        if (options->application)
                add_denial_of_contexts(maker);
        else
                add_no_sealing(maker);
        add_separation(maker);
}

/* Returns whether two roles, or two users, have the same name in one account. An account has only one of them, whatever its path and its
 * upper and lower case (IAM User Guide, "IAM identifiers"). So one of the ARNs is wrong, or both mean the same principal. */
static bool is_namesake(const Caller *x, const Caller *y) {
        static const char *const kinds[] = { ":role/", ":user/" };

        if (x->kind != CALLER_IDENTITY || y->kind != CALLER_IDENTITY || strcmp(x->account, y->account) != 0)
                return false;
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (strstr(x->text, kinds[i]) && strstr(y->text, kinds[i]))
                        return strcasecmp(strrchr(x->text, '/'), strrchr(y->text, '/')) == 0;
        return false;
}

/* Returns whether one of two principals includes the other. */
static bool includes(const char *a, const char *b) {
        Caller x, y;

        return caller_parse(a, &x) && caller_parse(b, &y) &&
               (caller_is_among(&x, &y, 1, true) || caller_is_among(&y, &x, 1, true) || is_namesake(&x, &y));
}

/* Returns whether two principals are the same one. */
static bool overlap(const char *a, const char *b) {
        Caller x, y;

        return caller_parse(a, &x) && caller_parse(b, &y) &&
               ((caller_is_among(&x, &y, 1, true) && caller_is_among(&y, &x, 1, true)) ||
                is_namesake(&x, &y));
}

/* What people have at hand in place of the role: "aws sts get-caller-identity" prints a session, and the console an instance profile. */
static const char *explain_principal(const char *text) {
        if (strstr(text, ":assumed-role/"))
                return "It is a session of a role. Give the role, such as arn:aws:iam::111122223333:role/NAME.";
        if (strstr(text, ":instance-profile/"))
                return "It is an instance profile. Give the role in it.";
        if (strstr(text, ":group/"))
                return "KMS takes no group. Give its users, or a role.";
        return "Expected one such as arn:aws:iam::111122223333:role/NAME.";
}

static int check_principals(const char *const *list, bool accounts, Error *error) {
        for (; list && *list; list++) {
                Caller caller;

                if (!caller_parse(*list, &caller) || strncmp(*list, "arn:", 4) != 0 ||
                    (caller.kind != CALLER_IDENTITY && caller.kind != CALLER_ACCOUNT))
                        return error_set(error, -EINVAL, FAILURE_USAGE,
                                         "%.200s is not the ARN of a role, a user or an account's root. %s",
                                         *list, explain_principal(*list));
                if (caller.kind == CALLER_ACCOUNT && !accounts)
                        return error_set(
                                        error, -EINVAL, FAILURE_USAGE,
                                        "%.200s is an account. A recovery principal must be a role or a user.",
                                        *list);
        }
        return 0;
}

static int check_apart(const char *const *unsealers, const char *const *others, const char *what,
                       Error *error) {
        for (; unsealers && *unsealers; unsealers++)
                for (const char *const *other = others; other && *other; other++)
                        if (overlap(*unsealers, *other))
                                return error_set(error, -EINVAL, FAILURE_USAGE,
                                                 "%.200s cannot be both a principal that unseals and %s.",
                                                 *other, what);
        return 0;
}

/* If an account unseals, each of its roles may unseal, so none of them may seal. */
static int check_sealers(const KeyPolicyOptions *options, Error *error) {
        for (const char *const *p = options->principals; p && *p; p++)
                for (const char *const *sealer = options->sealers; sealer && *sealer; sealer++)
                        if (includes(*p, *sealer))
                                return error_set(
                                                error, -EINVAL, FAILURE_USAGE,
                                                "%.200s cannot be a sealer: it is, includes or is part of %.200s, which unseals and would choose its own secrets. Use another principal as the sealer.",
                                                *sealer, *p);
        return 0;
}

/* Checks that each ID is the prefix and then lower-case letters and digits. */
static int check_ids(const char *const *list, const char *prefix, size_t minimum, size_t maximum,
                     Error *error) {
        for (; list && *list; list++) {
                size_t n = strlen(prefix), length = strlen(*list);

                if (strncmp(*list, prefix, n) != 0 || length - n < minimum || length - n > maximum ||
                    strspn(*list + n, "0123456789abcdefghijklmnopqrstuvwxyz") != length - n)
                        return error_set(error, -EINVAL, FAILURE_USAGE,
                                         "%.100s is not an ID that begins with %s.", *list, prefix);
        }
        return 0;
}

static int check_names(const char *const *names, Error *error) {
        for (; names && *names; names++)
                if (!declaration_name_is_valid(*names))
                        return error_set(
                                        error, -EINVAL, FAILURE_USAGE,
                                        "%.100s is not the name of a secret: 1 to %u letters, digits, \"-\", \"_\" and \".\".",
                                        *names, CREDENTIAL_NAME_MAX);
        return 0;
}

static int check_options(const KeyPolicyOptions *options, Error *error) {
        unsigned lock = options->expectation.lock_pcr;
        int r;

        if (options->n_images == 0 || options->n_images > KEY_POLICY_IMAGES_MAX)
                return error_set(error, -EINVAL, FAILURE_USAGE, "A policy is for 1 to %u images.",
                                 KEY_POLICY_IMAGES_MAX);
        if (is_empty(options->principals))
                return error_set(
                                error, -EINVAL, FAILURE_USAGE,
                                "A policy needs a principal or an account that unseals. Give --principal= or --account=.");
        if (options->application && !is_empty(options->generated))
                return error_set(
                                error, -EINVAL, FAILURE_USAGE,
                                "--application does not go with --generate-data-key=%.100s, which is for secrets of unseald. Make a key of its own for applications.",
                                options->generated[0]);
        if (options->application && (options->bind_account || lock != 0))
                return error_set(
                                error, -EINVAL, FAILURE_USAGE,
                                "--application does not go with --%s, which is for secrets of unseald. Make a key of its own for applications.",
                                options->bind_account ? "bind-account" : "lock-pcr");
        if (lock != 0 && !pcr_is_free(lock))
                return error_set(error, -EINVAL, FAILURE_USAGE, "The lock PCR must be 8, 13, 14 or 15.");
        if (lock != 0 && options->expectation.measured & UINT32_C(1) << lock)
                return error_set(
                                error, -EINVAL, FAILURE_USAGE,
                                "PCR%u cannot be both the lock PCR and a measured one: MeasurePcr= extends it before LockPcr= does.",
                                lock);
        r = check_principals(options->principals, true, error);
        if (r >= 0)
                r = check_principals(options->administrators, true, error);
        if (r >= 0)
                r = check_principals(options->sealers, true, error);
        if (r >= 0)
                r = check_principals(options->recovery_principals, false, error);
        if (r >= 0)
                r = check_apart(options->principals, options->administrators, "an administrator", error);
        if (r >= 0)
                r = check_sealers(options, error);
        if (r >= 0)
                r = check_apart(options->principals, options->recovery_principals, "a recovery principal",
                                error);
        if (r >= 0)
                r = check_ids(options->organizations, "o-", 10, 32, error);
        if (r >= 0)
                r = check_names(options->generated, error);
        return r < 0 ? r : check_ids(options->vpc_endpoints, "vpce-", 8, 17, error);
}

/* Adds the value of the PCR to the pins of the image. */
static int pin_pcr(Maker *maker, const Expectation *expectation, unsigned pcr, Image *image) {
        const uint8_t *value = expectation->pcrs.value[pcr];
        size_t i;

        for (i = 0; i < maker->n_pins; i++)
                if (maker->pins[i].pcr == pcr && memcmp(maker->pins[i].value, value, PCR_SIZE) == 0)
                        break;
        if (i == PINS_IN_ALL_MAX)
                return error_set(maker->error, -E2BIG, FAILURE_USAGE,
                                 "The images differ in too many PCRs at once. Give fewer images.");
        if (i == maker->n_pins) {
                maker->pins[i].pcr = pcr;
                memcpy(maker->pins[i].value, value, PCR_SIZE);
                maker->n_pins++;
        }
        image->pins |= UINT64_C(1) << i;
        return 0;
}

/* All images pin the same PCRs. */
static void choose_pcrs(Maker *maker) {
        static const PcrSet nothing;
        Expectation expectation;

        expectation_make(&nothing, &maker->options->expectation, &expectation);
        for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
                if (expectation.pinned & UINT32_C(1) << pcr)
                        maker->pcrs[maker->n_pcrs++] = pcr;
}

static int pin_images(Maker *maker) {
        const KeyPolicyOptions *options = maker->options;
        int r;

        choose_pcrs(maker);
        for (size_t i = 0; i < options->n_images; i++) {
                Expectation expectation;
                Image image = {};
                bool known = false;

                expectation_make(&options->images[i], &options->expectation, &expectation);
                r = expectation_check(&expectation, maker->error);
                for (size_t j = 0; r >= 0 && j < maker->n_pcrs; j++)
                        r = pin_pcr(maker, &expectation, maker->pcrs[j], &image);
                if (r < 0)
                        return r;
                for (size_t j = 0; j < maker->n_images && !known; j++)
                        known = maker->images[j].pins == image.pins;
                if (!known)
                        maker->images[maker->n_images++] = image;
        }
        return 0;
}

/* Removes each clause that has another one as part: the other one denies the same documents, and more. */
static size_t minimize(uint64_t *clauses, size_t n) {
        size_t kept = 0;

        for (size_t i = 0; i < n; i++) {
                bool implied = false;

                for (size_t j = 0; j < n && !implied; j++)
                        implied = j != i && (clauses[j] & clauses[i]) == clauses[j] &&
                                  (clauses[j] != clauses[i] || j < i);
                if (!implied)
                        clauses[kept++] = clauses[i];
        }
        return kept;
}

/* Finds all minimal sets of pins that have a pin of each image, by adding one image after the other (Berge's algorithm
 * for minimal transversals). */
static int make_clauses(Maker *maker) {
        uint64_t next[CLAUSES_MAX * PINS_MAX];

        maker->clauses[0] = 0;
        maker->n_clauses = 1;
        for (size_t i = 0; i < maker->n_images; i++) {
                uint64_t pins = maker->images[i].pins;
                size_t n = 0;

                for (size_t j = 0; j < maker->n_clauses; j++) {
                        if (maker->clauses[j] & pins) {
                                next[n++] = maker->clauses[j];
                                continue;
                        }
                        for (size_t k = 0; k < maker->n_pins; k++)
                                if (pins >> k & 1)
                                        next[n++] = maker->clauses[j] | UINT64_C(1) << k;
                }
                n = minimize(next, n);
                if (n > CLAUSES_MAX)
                        return error_set(maker->error, -E2BIG, FAILURE_USAGE,
                                         "The images differ in too many PCRs at once. Give fewer images.");
                memcpy(maker->clauses, next, n * sizeof(*next));
                maker->n_clauses = n;
        }
        return 0;
}

static int make_document(Maker *maker, struct json_object **ret) {
        _cleanup_json_ struct json_object *policy = json_object_new_object();

        maker->statements = json_object_new_array();
        put_string(maker, policy, "Version", "2012-10-17");
        put(maker, policy, "Statement", maker->statements);
        if (maker->out_of_memory)
                return error_oom(maker->error);
        *ret = TAKE_PTR(policy);
        return 0;
}

int key_policy_make(const KeyPolicyOptions *options, struct json_object **ret, Error *error) {
        _cleanup_json_ struct json_object *policy = NULL;
        Maker maker = { .options = options, .error = error };
        const char *text;
        int r;

        r = check_options(options, error);
        if (r >= 0)
                r = pin_images(&maker);
        if (r >= 0)
                r = make_clauses(&maker);
        if (r >= 0)
                r = make_document(&maker, &policy);
        if (r < 0)
                return r;
        add_statements(&maker);
        text = maker.out_of_memory ? NULL : json_object_to_json_string_ext(policy, KEY_POLICY_FORMAT);
        if (!text)
                return error_oom(error);
        if (strlen(text) > KEY_POLICY_SIZE_MAX)
                return error_set(
                                error, -E2BIG, FAILURE_USAGE,
                                "The policy has %zu bytes, and KMS accepts %u. Give fewer images or principals.",
                                strlen(text), KEY_POLICY_SIZE_MAX);
        *ret = TAKE_PTR(policy);
        return 0;
}

/* Returns whether the text is arn:PARTITION:kms:REGION:ACCOUNT:key/ID. Each part may be a wildcard. */
static bool is_key_arn(const char *text) {
        const char *p = text;
        size_t colons = 0;

        for (; *p; p++) {
                colons += *p == ':';
                if (!isalnum((unsigned char) *p) && !strchr(":-/*", *p))
                        return false;
        }
        return strncmp(text, "arn:aws", 7) == 0 && strstr(text, ":kms:") && colons == 5 &&
               strstr(text, ":key/");
}

int role_policy_make(const KeyPolicyOptions *options, const char *const *keys, struct json_object **ret,
                     Error *error) {
        static const char *const of_application[] = { "kms:Decrypt",
                                                      "kms:DescribeKey",
                                                      "kms:Encrypt",
                                                      "kms:GenerateDataKey",
                                                      "kms:GenerateDataKeyPair",
                                                      "kms:GenerateDataKeyPairWithoutPlaintext",
                                                      "kms:GenerateDataKeyWithoutPlaintext",
                                                      NULL };
        bool generates = options->generate_data_key || !is_empty(options->generated);
        const char *const of_unsealing[] = { "kms:Decrypt", generates ? "kms:GenerateDataKey" : NULL, NULL };
        const char *const *actions = options->application ? of_application : of_unsealing;
        _cleanup_json_ struct json_object *policy = NULL;
        Maker maker = { .options = options, .error = error };
        struct json_object *statement;
        int r;

        for (const char *const *key = keys; *key; key++)
                if (!is_key_arn(*key))
                        return error_set(error, -EINVAL, FAILURE_USAGE, "%.200s is not the ARN of a key.",
                                         *key);
        r = make_document(&maker, &policy);
        if (r < 0)
                return r;
        statement = json_object_new_object();
        put_string(&maker, statement, "Sid", "Unseal");
        put_string(&maker, statement, "Effect", "Allow");
        put(&maker, statement, "Action", strings(&maker, actions));
        put(&maker, statement, "Resource", strings(&maker, keys));
        append(&maker, maker.statements, statement);
        if (maker.out_of_memory)
                return error_oom(error);
        *ret = TAKE_PTR(policy);
        return 0;
}
