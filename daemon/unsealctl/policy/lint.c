/* SPDX-License-Identifier: Apache-2.0 */

/*
 * lint judges the policy for every caller that the policy can tell apart: each principal that it names, each principal
 * that a Deny spares by aws:PrincipalArn, and one unnamed principal for each account and for everyone. The judgement is
 * pessimistic: a Deny counts only if it certainly applies, an Allow counts if it possibly applies. A condition that is
 * not about a PCR can only narrow an Allow, so lint ignores it there. lint does not rely on a Deny with such a
 * condition.
 *
 * A Deny over several PCRs is a clause: it accepts a document that has one of the right values. A PCR is pinned by a
 * condition of the Allow, or by a Deny over this PCR alone. lint then tries all combinations of the values that the
 * policy has for the identifying PCRs, and looks at the combinations that the policy accepts.
 *
 * Some actions take no document, such as ReEncryptFrom and PutKeyPolicy. A condition on a PCR is never met for them: it
 * makes an Allow dead and a Deny certain.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "unsealctl/policy/lint.h"
#include "unsealctl/policy/statement.h"

#define CALLERS_MAX 256U
#define VALUES_MAX 64U
#define TUPLES_MAX 4096U /* combinations of PCR values for one question */
#define TUPLES_IN_ALL 1000000U

#define PCR(n) (UINT32_C(1) << (n))

typedef enum Action {
        ACTION_DECRYPT,
        ACTION_GENERATE_DATA_KEY,
        ACTION_GENERATE_DATA_KEY_PAIR,
        /* The actions from here on take no document. */
        ACTION_RE_ENCRYPT_FROM,
        ACTION_ENCRYPT, /* the actions from here on make ciphertext */
        ACTION_RE_ENCRYPT_TO,
        ACTION_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT,
        ACTION_GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT,
        ACTION_PUT_KEY_POLICY, /* the actions from here on open the key */
        ACTION_CREATE_GRANT,
        ACTION_REPLICATE_KEY,
        ACTION_IMPORT_KEY_MATERIAL,
        ACTION_ROTATE_KEY_ON_DEMAND,
        _ACTIONS,
} Action;

static const char *const action_names[_ACTIONS] = {
        [ACTION_DECRYPT] = "kms:Decrypt",
        [ACTION_GENERATE_DATA_KEY] = "kms:GenerateDataKey",
        [ACTION_GENERATE_DATA_KEY_PAIR] = "kms:GenerateDataKeyPair",
        [ACTION_RE_ENCRYPT_FROM] = "kms:ReEncryptFrom",
        [ACTION_ENCRYPT] = "kms:Encrypt",
        [ACTION_RE_ENCRYPT_TO] = "kms:ReEncryptTo",
        [ACTION_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT] = "kms:GenerateDataKeyWithoutPlaintext",
        [ACTION_GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT] = "kms:GenerateDataKeyPairWithoutPlaintext",
        [ACTION_PUT_KEY_POLICY] = "kms:PutKeyPolicy",
        [ACTION_CREATE_GRANT] = "kms:CreateGrant",
        [ACTION_REPLICATE_KEY] = "kms:ReplicateKey",
        [ACTION_IMPORT_KEY_MATERIAL] = "kms:ImportKeyMaterial",
        [ACTION_ROTATE_KEY_ON_DEMAND] = "kms:RotateKeyOnDemand",
};

static const LintCode control_codes[_ACTIONS] = {
        [ACTION_PUT_KEY_POLICY] = LINT_PUT_KEY_POLICY,
        [ACTION_CREATE_GRANT] = LINT_CREATE_GRANT,
        [ACTION_REPLICATE_KEY] = LINT_REPLICATE_KEY,
        [ACTION_IMPORT_KEY_MATERIAL] = LINT_IMPORT_KEY_MATERIAL,
        [ACTION_ROTATE_KEY_ON_DEMAND] = LINT_IMPORT_KEY_MATERIAL,
};

/* The PCRs that distinguish the documents of images. */
static const unsigned identifying[] = { 2, 4, 7, 12, 13 };
#define N_IDENTIFYING ELEMENTSOF(identifying)
#define PCRS_IDENTIFYING (PCR(2) | PCR(4) | PCR(7) | PCR(12) | PCR(13))
/* Firmware, its configuration, and PCRs that are not in use. */
#define PCRS_OF_NO_IMAGE (PCR(0) | PCR(1) | PCR(2) | PCR(3) | PCR(6) | 0x7E0000U)
#define PCRS_RESETTABLE (PCR(16) | PCR(23))

static const struct {
        const char *name, *advice;
} codes[_LINT_CODES] = {
        [LINT_MALFORMED] = { "malformed", "Correct the policy. KMS would refuse it." },
        [LINT_TOO_LARGE] = { "too-large", "Use fewer images or principals. KMS accepts 32768 bytes." },
        [LINT_TOO_CLEVER] = { "too-clever",
                              "Write it in a simpler way. A policy that cannot be judged is not safe." },
        [LINT_ANYONE] = { "anyone",
                          "Name accounts, roles or users. A document proves what booted, not who owns the instance." },
        [LINT_ROOT_DELEGATION] = { "root-delegation",
                                   "Do not allow the account this action, or deny it with one Deny for each PCR." },
        [LINT_UNGATED_DECRYPT] = { "ungated-decrypt",
                                   "Add conditions on PCR4 and PCR12, and a Deny for each. If this is intended, lint with --recovery-principal=." },
        [LINT_CONSTANT_PCRS] = { "constant-pcrs", "Pin PCR4 and PCR12." },
        [LINT_PCR2_MISSING] = { "pcr2-missing",
                                "Pin PCR2 as unsealctl policy does, or pin PCR7 to the value with Secure Boot. If this is intended, lint with --allow-drivers." },
        [LINT_PCR4_MISSING] = { "pcr4-missing", "Pin PCR4, the boot code." },
        [LINT_PCR7_MISSING] = { "pcr7-missing", "Pin PCR7, or lint without --secure-boot." },
        [LINT_PCR12_MISSING] = { "pcr12-missing", "Pin PCR12 to zeros." },
        [LINT_PCR13_MISSING] = { "pcr13-missing",
                                 "Pin PCR13 to zeros. If the image takes system extensions, lint with --no-pcr13." },
        [LINT_FOREIGN_MEASUREMENT] = { "foreign-measurement",
                                       "Remove the value, or lint with the measurements of its image, too." },
        [LINT_MIXED_IMAGES] = { "mixed-images",
                                "Write one Allow for each image, and take the Deny statements from unsealctl policy." },
        [LINT_IMAGE_LOCKED_OUT] = { "image-locked-out",
                                    "Compare the values of the image with those of the policy." },
        [LINT_RE_ENCRYPT] = { "re-encrypt", "Deny kms:ReEncryptFrom to everyone." },
        [LINT_PUT_KEY_POLICY] = { "put-key-policy",
                                  "Deny kms:PutKeyPolicy to principals that may decrypt." },
        [LINT_CREATE_GRANT] = { "create-grant", "Deny kms:CreateGrant to principals that may decrypt." },
        [LINT_REPLICATE_KEY] = { "replicate-key", "Deny kms:ReplicateKey to principals that may decrypt." },
        [LINT_IMPORT_KEY_MATERIAL] = { "import-key-material",
                                       "Deny kms:ImportKeyMaterial and kms:RotateKeyOnDemand to principals that may decrypt." },
        [LINT_ENCRYPT] = { "encrypt",
                           "Deny the action to principals that may decrypt, and to their account. If another principal of the account is meant to seal, lint with --sealer=." },
        [LINT_GENERATE_DATA_KEY] = { "generate-data-key",
                                     "Gate the action in the same way as kms:Decrypt." },
        [LINT_ANY_CONTEXT] = { "any-context",
                               "Add StringEquals on kms:EncryptionContext:unseald:secret with the names of the secrets that have Generate=, or, for the data keys of applications, Null with \"true\" on it." },
        [LINT_NO_DENY] = { "no-deny",
                           "Deny kms:Decrypt to Principal *, with one Deny for each PCR, and deny it kms:ReEncryptFrom." },
        [LINT_ENCRYPT_NOT_DENIED] = { "encrypt-not-denied",
                                      "Deny kms:Encrypt, kms:ReEncryptTo and kms:GenerateDataKey*WithoutPlaintext to principals that may decrypt." },
        [LINT_CONTEXT_NOT_DENIED] = { "context-not-denied",
                                      "Take the statement DenyContextsOfSecrets from unsealctl policy --application." },
        [LINT_WEAK_DENY] = { "weak-deny", "Write one Deny for each PCR, with no other condition." },
        [LINT_NOT_PRINCIPAL] = { "not-principal", "Use Principal * with ArnNotEquals on aws:PrincipalArn." },
        [LINT_NOT_ACTION] = { "not-action", "List the actions." },
        [LINT_WILDCARD_ACTION] = { "wildcard-action", "List the actions." },
        [LINT_RESOURCE] = { "resource", "Write \"Resource\": \"*\". It means this key." },
        [LINT_OPTIONAL_CONDITION] = { "optional-condition", "Remove IfExists or ForAllValues." },
        [LINT_NOT_APPLICABLE] = { "not-applicable",
                                  "Remove the action from the statement. Only Decrypt, GenerateDataKey and GenerateDataKeyPair take a document." },
        [LINT_NEVER_MATCHES] = { "never-matches", "Correct the statement, or remove it." },
        [LINT_VALUE_SIZE] = { "value-size", "Use the value of the SHA-384 bank: 96 hexadecimal digits." },
        [LINT_VALUE_CASE] = { "value-case",
                              "Use StringEqualsIgnoreCase or StringNotEqualsIgnoreCase, or lower case." },
        [LINT_VALUE_CONSTANT] = { "value-constant", "Measure the image again, in the way it boots." },
        [LINT_VALUE_UNUSUAL] = { "value-unusual",
                                 "Find out what was measured into this PCR. If it is right, lint with --measurements= of that boot." },
        [LINT_ENCLAVE_PCR] = { "enclave-pcr", "Write kms:RecipientAttestation:NitroTPMPCRn." },
        [LINT_UNKNOWN_KEY] = { "unknown-key",
                               "Correct the name of the condition key, or remove the condition." },
        [LINT_UNSTEADY_PCR] = { "unsteady-pcr", "Remove the condition." },
        [LINT_MEASURED_PCR] = { "measured-pcr",
                                "Remove the condition and its Deny, or choose another PCR for MeasurePcr=." },
        [LINT_VERSION] = { "version", "Write \"Version\": \"2012-10-17\"." },
        [LINT_ADMINISTRATOR] = { "administrator", "If this is intended, lint with --admin=." },
        [LINT_NO_ADMINISTRATOR] = { "no-administrator", "If this is not intended, add an administrator." },
        [LINT_RECOVERY_PRINCIPAL] = { "recovery-principal", "Watch for this principal in CloudTrail." },
        [LINT_SEALER] = { "sealer", "If this is intended, lint with --sealer=." },
        [LINT_UNIQUE_ID] = { "unique-id",
                             "If the role or user is deleted, remove the ID. If not, name it by its ARN." },
};

typedef struct Lint {
        const LintOptions *options;
        Expectation images[LINT_IMAGES_MAX];
        const KeyPolicy *policy;
        LintReport *report;
        Caller callers[CALLERS_MAX];
        size_t n_callers;
        uint32_t *actions;           /* for each statement; bit a: the statement has action a */
        int8_t unseals[CALLERS_MAX]; /* for each caller: 1: may decrypt, -1: may not, 0: not judged yet */
        size_t tuples;               /* tried so far */
        uint64_t served;             /* bit i: some caller may decrypt with image i */
        bool out_of_memory;
} Lint;

const char *lint_code_to_string(LintCode code) {
        return codes[code].name;
}

const char *lint_code_advice(LintCode code) {
        return codes[code].advice;
}

const char *lint_severity_to_string(LintSeverity severity) {
        return severity == LINT_ERROR ? "error" : severity == LINT_WARNING ? "warning" : "note";
}

size_t lint_count(const LintReport *report, LintSeverity severity) {
        size_t n = 0;

        for (size_t i = 0; i < report->n_findings; i++)
                n += report->findings[i].severity == severity;
        return n;
}

static void finding_done(LintFinding *finding) {
        free(finding->sid);
        free(finding->subject);
        free(finding->meaning);
}

LintReport *lint_report_free(LintReport *report) {
        if (!report)
                return NULL;
        for (size_t i = 0; i < report->n_findings; i++)
                finding_done(&report->findings[i]);
        free(report->findings);
        free(report);
        return NULL;
}

static const LintFinding *find(const Lint *lint, LintCode code, const Statement *statement,
                               const char *subject) {
        size_t number = statement ? (size_t) (statement - lint->policy->statements) + 1 : 0;

        for (size_t i = 0; i < lint->report->n_findings; i++) {
                const LintFinding *f = &lint->report->findings[i];

                if (f->code == code && f->statement == number && !f->subject == !subject &&
                    (!subject || strcmp(f->subject, subject) == 0))
                        return f;
        }
        return NULL;
}

/* Adds a finding, unless there is one with that code about the same statement and subject. Both may be NULL. */
_printf_(6, 7) static void add(Lint *lint, LintCode code, LintSeverity severity, const Statement *statement,
                               const char *subject, const char *format, ...) {
        LintReport *report = lint->report;
        LintFinding finding = { code, severity };
        LintFinding *findings;
        va_list arguments;
        int n;

        if (find(lint, code, statement, subject))
                return;
        findings = reallocarray(report->findings, report->n_findings + 1, sizeof(*findings));
        if (findings)
                report->findings = findings;
        va_start(arguments, format);
        n = vasprintf(&finding.meaning, format, arguments);
        va_end(arguments);
        if (n < 0)
                finding.meaning = NULL;
        if (statement)
                finding.statement = (size_t) (statement - lint->policy->statements) + 1;
        finding.sid = statement && statement->sid ? strdup(statement->sid) : NULL;
        finding.subject = subject ? strdup(subject) : NULL;
        if (!findings || !finding.meaning || (subject && !finding.subject) ||
            (statement && statement->sid && !finding.sid)) {
                finding_done(&finding);
                lint->out_of_memory = true;
                return;
        }
        findings[report->n_findings++] = finding;
}

static bool is_declared(const Caller *caller, const char *const *declared) {
        Caller item;

        for (; declared && *declared; declared++)
                if (strcmp(caller->text, *declared) == 0 ||
                    (caller->kind == CALLER_ACCOUNT && caller_parse(*declared, &item) &&
                     item.kind == CALLER_ACCOUNT && strcmp(caller->account, item.account) == 0))
                        return true;
        return false;
}

/* Returns whether a principal that a Deny spares may be the caller. */
static bool may_be(const Caller *caller, const Caller *spared) {
        switch (caller->kind) {
        case CALLER_PATTERN:
                /* Two patterns may match the same principal. */
                return strpbrk(caller->text, "*?") || wildcard_match(spared->text, caller->text);
        case CALLER_IDENTITY:
                return wildcard_match(spared->text, caller->text);
        case CALLER_SESSION:
        case CALLER_UNIQUE_ID:
                return true;
        default:
                /* These callers stand for principals that the policy does not name. */
                return false;
        }
}

static bool is_spared(const Statement *deny, const Caller *caller) {
        for (size_t i = 0; i < deny->n_conditions; i++)
                for (size_t j = 0; j < deny->conditions[i].n_callers; j++)
                        if (may_be(caller, &deny->conditions[i].callers[j]))
                                return true;
        return false;
}

static bool has_action(const Lint *lint, const Statement *s, Action action) {
        return lint->actions[s - lint->policy->statements] >> action & 1;
}

/* Returns whether the Deny certainly applies to documents that meet its conditions on PCRs. */
static bool denies(const Lint *lint, const Statement *s, const Caller *caller, Action action) {
        if (!s->deny || s->not_principal || s->not_resource || !s->every_resource ||
            !has_action(lint, s, action) || !caller_is_among(caller, s->principals, s->n_principals, true))
                return false;
        for (size_t i = 0; i < s->n_conditions; i++)
                if (s->conditions[i].kind != CONDITION_PCR_IS_NOT &&
                    s->conditions[i].kind != CONDITION_CALLER_IS_NOT)
                        return false;
        return !is_spared(s, caller);
}

/* Returns whether the Allow possibly applies. */
static bool allows(const Lint *lint, const Statement *s, const Caller *caller, Action action) {
        return !s->deny && has_action(lint, s, action) &&
               caller_is_among(caller, s->principals, s->n_principals, false);
}

static bool is_denied_without_document(const Lint *lint, const Caller *caller, Action action) {
        for (size_t i = 0; i < lint->policy->n_statements; i++)
                if (denies(lint, &lint->policy->statements[i], caller, action))
                        return true;
        return false;
}

/* The values of the identifying PCRs in a document. NULL: the PCR may have any value. */
typedef const uint8_t *Tuple[N_IDENTIFYING];

typedef struct Judgement {
        bool shut;       /* a Deny applies, whatever the document is */
        bool never;      /* no document is accepted */
        bool too_clever; /* there are too many combinations to try */
        bool foreign;    /* a document is accepted that is of none of the images */
        bool mixed;      /* a document is accepted that has PCRs of several images */
        bool insecure;   /* a document is accepted whose PCR7 does not show Secure Boot */
        uint32_t pinned;
} Judgement;

/* May the caller do the action, by this Allow or (NULL) by a grant? */
typedef struct Question {
        const Statement *allow;
        const Caller *caller;
        Action action;
} Question;

static int identifying_index(int pcr) {
        for (size_t i = 0; i < N_IDENTIFYING; i++)
                if ((int) identifying[i] == pcr)
                        return (int) i;
        return -1;
}

static bool has_value(const Condition *condition, const uint8_t *value) {
        for (size_t i = 0; i < condition->n_pcrs; i++)
                if (memcmp(condition->pcrs[i], value, PCR_SIZE) == 0)
                        return true;
        return false;
}

/* Returns whether the condition is met: certainly for a negated one, possibly for another one. */
static bool tuple_meets(const Condition *condition, const Tuple tuple) {
        int i = identifying_index(condition->pcr);
        bool negated = condition->kind == CONDITION_PCR_IS_NOT;

        if (condition->kind == CONDITION_CALLER_IS_NOT)
                return true;
        if (i < 0 || !tuple[i])
                return !negated;
        return has_value(condition, tuple[i]) != negated;
}

static bool tuple_passes(const Lint *lint, const Question *question, const Tuple tuple) {
        for (size_t i = 0; question->allow && i < question->allow->n_conditions; i++)
                if (question->allow->conditions[i].kind == CONDITION_PCR_IS &&
                    !tuple_meets(&question->allow->conditions[i], tuple))
                        return false;
        for (size_t i = 0; i < lint->policy->n_statements; i++) {
                const Statement *s = &lint->policy->statements[i];
                bool fires = denies(lint, s, question->caller, question->action);

                for (size_t j = 0; fires && j < s->n_conditions; j++)
                        fires = tuple_meets(&s->conditions[j], tuple);
                if (fires)
                        return false;
        }
        return true;
}

/* value: NULL: any. An expectation leaves out PCR2 and PCR13 only if any value is right. */
static bool image_has(const Expectation *image, unsigned pcr, const uint8_t *value) {
        if (!value)
                return true;
        if (!(image->pcrs.present & PCR(pcr)))
                return pcr == 2 || pcr == 13;
        return memcmp(image->pcrs.value[pcr], value, PCR_SIZE) == 0;
}

/* Returns whether conditions refuse every document of a NitroTPM: conditions on keys that such a request does not have, or on
 * the presence of a PCR. They make the Allow dead or a Deny certain. This is used only to find images that are locked
 * out. It is not safe to rely on, because a request with another kind of document may have these keys. */
static bool is_locked_out(const Lint *lint, const Question *question) {
        for (size_t i = 0; i < question->allow->n_conditions; i++) {
                const Condition *condition = &question->allow->conditions[i];

                if ((condition->kind == CONDITION_ABSENT && !condition->met_when_absent) ||
                    (condition->kind == CONDITION_NULL && !condition->met_when_present))
                        return true;
        }
        for (size_t i = 0; i < lint->policy->n_statements; i++) {
                const Statement *s = &lint->policy->statements[i];
                bool fires = s->deny && !s->not_principal && !s->not_resource && s->every_resource &&
                             s->n_conditions > 0 && has_action(lint, s, question->action) &&
                             caller_is_among(question->caller, s->principals, s->n_principals, true);

                for (size_t j = 0; j < s->n_conditions && fires; j++)
                        fires = (s->conditions[j].kind == CONDITION_ABSENT &&
                                 s->conditions[j].met_when_absent) ||
                                (s->conditions[j].kind == CONDITION_NULL &&
                                 s->conditions[j].met_when_present);
                if (fires)
                        return true;
        }
        return false;
}

static void compare_with_images(Lint *lint, const Question *question, const Tuple tuple,
                                Judgement *judgement) {
        const LintOptions *options = lint->options;
        uint32_t known = 0;
        bool right = options->n_images == 0;

        for (size_t i = 0; i < options->n_images; i++) {
                bool is_image = true, is_booted = true;

                for (size_t j = 0; j < N_IDENTIFYING; j++) {
                        bool has = image_has(&lint->images[i], identifying[j], tuple[j]);

                        known |= has ? PCR(identifying[j]) : 0;
                        /* PCR7 identifies an image only if lint assumes Secure Boot. */
                        is_image &= has || (identifying[j] == 7 && !options->expectation.secure_boot);
                        is_booted &= has ||
                                     (identifying[j] == 7 && !(lint->images[i].pcrs.present & PCR(7)));
                }
                right |= is_image;
                if (is_booted && judgement->pinned != 0 && question->allow &&
                    question->action == ACTION_DECRYPT && !is_locked_out(lint, question))
                        lint->served |= UINT64_C(1) << i;
        }
        if (right)
                return;
        if (!options->expectation.secure_boot)
                known |= PCR(7);
        if (known == PCRS_IDENTIFYING)
                judgement->mixed = true;
        else
                judgement->foreign = true;
}

typedef struct Values {
        const uint8_t *values[VALUES_MAX];
        size_t n;
        bool too_many;
} Values;

static void collect(const Statement *s, ConditionKind kind, unsigned pcr, Values *values) {
        for (size_t i = 0; i < s->n_conditions; i++) {
                const Condition *condition = &s->conditions[i];

                if (condition->kind != kind || condition->pcr != (int) pcr)
                        continue;
                for (size_t j = 0; j < condition->n_pcrs; j++) {
                        bool known = false;

                        for (size_t k = 0; k < values->n && !known; k++)
                                known = memcmp(values->values[k], condition->pcrs[j], PCR_SIZE) == 0;
                        if (!known && values->n == VALUES_MAX)
                                values->too_many = true;
                        else if (!known)
                                values->values[values->n++] = condition->pcrs[j];
                }
        }
}

/* Collects all values that a pinned PCR may have. A PCR that is not pinned has one value: NULL. */
static void collect_values(const Lint *lint, const Question *question, uint32_t pinned, unsigned pcr,
                           Values *ret) {
        ret->n = 0;
        if (!(pinned & PCR(pcr))) {
                ret->values[ret->n++] = NULL;
                return;
        }
        if (question->allow)
                collect(question->allow, CONDITION_PCR_IS, pcr, ret);
        for (size_t i = 0; i < lint->policy->n_statements; i++)
                if (denies(lint, &lint->policy->statements[i], question->caller, question->action))
                        collect(&lint->policy->statements[i], CONDITION_PCR_IS_NOT, pcr, ret);
}

static bool shows_secure_boot(const Tuple tuple) {
        const uint8_t *value = tuple[identifying_index(7)];

        return value && !pcr_value_is_constant(7, value);
}

static void count_out(Lint *lint, const Question *question, Judgement *judgement) {
        Values values[N_IDENTIFYING] = {};
        size_t n = 1;

        for (size_t i = 0; i < N_IDENTIFYING; i++) {
                collect_values(lint, question, judgement->pinned, identifying[i], &values[i]);
                judgement->too_clever |= values[i].too_many;
                n *= values[i].n;
                judgement->too_clever |= n > TUPLES_MAX;
        }
        judgement->too_clever |= lint->tuples > TUPLES_IN_ALL;
        lint->tuples += judgement->too_clever ? 0 : n;
        judgement->never = !judgement->too_clever;
        for (size_t i = 0; i < n && !judgement->too_clever; i++) {
                Tuple tuple;

                for (size_t j = 0, rest = i; j < N_IDENTIFYING; rest /= values[j].n, j++)
                        tuple[j] = values[j].values[rest % values[j].n];
                if (tuple_passes(lint, question, tuple)) {
                        judgement->never = false;
                        judgement->insecure |= !shows_secure_boot(tuple);
                        compare_with_images(lint, question, tuple, judgement);
                }
        }
}

static Judgement judge(Lint *lint, const Question *question) {
        Judgement judgement = {};

        if (question->allow)
                judgement.pinned = statement_pcrs(question->allow, CONDITION_PCR_IS);
        for (size_t i = 0; i < lint->policy->n_statements; i++) {
                const Statement *s = &lint->policy->statements[i];
                uint32_t pcrs = statement_pcrs(s, CONDITION_PCR_IS_NOT);

                if (!denies(lint, s, question->caller, question->action))
                        continue;
                judgement.shut |= pcrs == 0;
                if ((pcrs & (pcrs - 1)) == 0)
                        judgement.pinned |= pcrs;
        }
        if (!judgement.shut)
                count_out(lint, question, &judgement);
        return judgement;
}

/* Returns whether only documents of the images are accepted, and PCR4, PCR12 and, with secure_boot, PCR7 are pinned. */
static bool is_gated(const Lint *lint, const Judgement *judgement) {
        uint32_t wanted = PCR(4) | PCR(12) | (lint->options->expectation.secure_boot ? PCR(7) : 0);

        return judgement->shut || judgement->never ||
               ((judgement->pinned & wanted) == wanted && !judgement->too_clever && !judgement->foreign &&
                !judgement->mixed);
}

/* Returns whether the right image gets the secrets even if firmware has run a third-party driver before it. */
static bool is_open_to_drivers(const Judgement *judgement) {
        return !judgement->shut && !judgement->never && judgement->insecure &&
               (judgement->pinned & (PCR(2) | PCR(4))) == PCR(4);
}

/* Returns whether the statement names the caller only as part of an account or of everyone. */
static bool is_by_class(const Statement *s, const Caller *caller) {
        for (size_t i = 0; i < s->n_principals; i++)
                if (s->principals[i].kind == caller->kind &&
                    (caller->kind == CALLER_EVERYONE || strcmp(s->principals[i].text, caller->text) == 0 ||
                     (caller->kind == CALLER_ACCOUNT &&
                      strcmp(s->principals[i].account, caller->account) == 0)))
                        return false;
        return true;
}

/* Returns whether there is such a finding already about the caller's account, or about everyone. */
static bool is_said_of_class(const Lint *lint, LintCode code, const Question *question) {
        for (size_t i = 0; i < lint->n_callers && lint->callers[i].kind <= CALLER_ACCOUNT; i++)
                if (caller_is_among(question->caller, &lint->callers[i], 1, true) &&
                    find(lint, code, question->allow, lint->callers[i].text))
                        return true;
        return false;
}

#define ADD_OF_CALLER(lint, code, severity, question, ...)                                     \
        do {                                                                                   \
                if (!is_said_of_class(lint, code, question))                                   \
                        add(lint, code, severity, (question)->allow, (question)->caller->text, \
                            __VA_ARGS__);                                                      \
        } while (false)

static void report_unpinned(Lint *lint, const Question *question) {
        static const LintCode by_kind[] = {
                [CALLER_EVERYONE] = LINT_ANYONE, [CALLER_ACCOUNT] = LINT_ROOT_DELEGATION
        };
        CallerKind kind = question->caller->kind;
        LintCode code = kind <= CALLER_ACCOUNT ? by_kind[kind] : LINT_UNGATED_DECRYPT;
        const char *who =
                        kind == CALLER_EVERYONE ? "Anyone on AWS"
                        : kind == CALLER_ACCOUNT
                                        ? "Every principal of the account that has an identity policy for it"
                                        : "The principal";

        if (is_said_of_class(lint, LINT_ANYONE, question) ||
            is_said_of_class(lint, LINT_ROOT_DELEGATION, question))
                return;
        add(lint, code, LINT_ERROR, question->allow, question->caller->text,
            "%s may call kms:Decrypt without an attestation document, or with any.", who);
}

static void report_missing(Lint *lint, const Question *question, uint32_t pinned) {
        bool secure_boot = lint->options->expectation.secure_boot;
        LintSeverity severity = secure_boot && (pinned & PCR(7)) ? LINT_WARNING : LINT_ERROR;

        if (!(pinned & PCR(4)))
                ADD_OF_CALLER(lint, LINT_PCR4_MISSING, severity, question,
                              "PCR4 is not pinned: %s gets the secrets.",
                              severity == LINT_WARNING
                                              ? "every image that the keys in db have signed, old ones too,"
                                              : "any image");
        if (!(pinned & PCR(12)))
                ADD_OF_CALLER(lint, LINT_PCR12_MISSING, severity, question,
                              "PCR12 is not pinned: the image gets the secrets also with %s from outside (GHSA-xrv8-2pf5-f3q7).",
                              severity == LINT_WARNING ? "credentials and add-ons"
                                                       : "a kernel command line and credentials");
        if (secure_boot && !(pinned & PCR(7)))
                ADD_OF_CALLER(lint, LINT_PCR7_MISSING, LINT_ERROR, question,
                              "PCR7 is not pinned, so nothing shows that Secure Boot is on.");
}

static void report_drivers(Lint *lint, const Question *question) {
        LintSeverity severity = lint->options->expectation.any_drivers ? LINT_NOTE : LINT_WARNING;

        ADD_OF_CALLER(lint, LINT_PCR2_MISSING, severity, question,
                      "PCR2 is not pinned, and PCR7 is not pinned to a value with Secure Boot: the owner of the instance can make firmware run a driver before the image (DriverOrder). The driver gets the secrets, and PCR4 and PCR12 do not show it.");
}

static void report_extensions(Lint *lint, const Question *question) {
        ADD_OF_CALLER(lint, LINT_PCR13_MISSING, LINT_NOTE, question,
                      "PCR13 is not pinned: the image gets the secrets also with system extensions from outside, if it takes any.");
}

static void check_decrypt(Lint *lint, const Question *question) {
        Judgement judgement = judge(lint, question);

        if (judgement.shut)
                return;
        if (is_declared(question->caller, lint->options->recovery_principals)) {
                if (!is_gated(lint, &judgement))
                        add(lint, LINT_RECOVERY_PRINCIPAL, LINT_NOTE, question->allow,
                            question->caller->text,
                            "The recovery principal may decrypt without an attestation document.");
                return;
        }
        if (judgement.never) {
                if (!is_by_class(question->allow, question->caller))
                        add(lint, LINT_NEVER_MATCHES, LINT_WARNING, question->allow, question->caller->text,
                            "No document meets the conditions on PCRs of this statement and of the Deny statements.");
                return;
        }
        if (judgement.pinned == 0)
                report_unpinned(lint, question);
        else if ((judgement.pinned & ~PCRS_OF_NO_IMAGE & ~PCRS_RESETTABLE) == 0)
                ADD_OF_CALLER(lint, LINT_CONSTANT_PCRS, LINT_ERROR, question,
                              "The pinned PCRs say nothing about the image, or anybody can reset them: any image gets the secrets.");
        else
                report_missing(lint, question, judgement.pinned);
        if ((judgement.pinned & (PCR(4) | PCR(12) | PCR(13))) == (PCR(4) | PCR(12)) &&
            !lint->options->expectation.any_extensions && !(lint->options->expectation.measured & PCR(13)))
                report_extensions(lint, question);
        if (is_open_to_drivers(&judgement))
                report_drivers(lint, question);
        if (judgement.too_clever)
                ADD_OF_CALLER(lint, LINT_TOO_CLEVER, LINT_ERROR, question,
                              "There are too many combinations of PCR values to try them all.");
        if (judgement.pinned != 0 && judgement.foreign)
                ADD_OF_CALLER(lint, LINT_FOREIGN_MEASUREMENT, LINT_ERROR, question,
                              "The policy accepts a document that is of none of the given images.");
        if (judgement.pinned != 0 && judgement.mixed)
                ADD_OF_CALLER(lint, LINT_MIXED_IMAGES, LINT_ERROR, question,
                              "The policy accepts a document that has PCRs of several images.");
}

static bool takes_no_document(Action action) {
        return action >= ACTION_RE_ENCRYPT_FROM;
}

/* Returns whether the caller may do the action, which takes no document, by this Allow. */
static bool holds(const Lint *lint, const Question *question) {
        return allows(lint, question->allow, question->caller, question->action) &&
               statement_pcrs(question->allow, CONDITION_PCR_IS) == 0 &&
               !is_denied_without_document(lint, question->caller, question->action);
}

static void check_re_encrypt(Lint *lint, const Question *question) {
        if (!holds(lint, question))
                return;
        if (is_declared(question->caller, lint->options->recovery_principals))
                add(lint, LINT_RECOVERY_PRINCIPAL, LINT_NOTE, question->allow, question->caller->text,
                    "The recovery principal may re-encrypt without an attestation document.");
        else
                ADD_OF_CALLER(lint, LINT_RE_ENCRYPT, LINT_ERROR, question,
                              "The principal may call kms:ReEncryptFrom, which takes no document, and so move a secret to a key that is not gated.");
}

/* Returns whether the caller may do one of the actions from kms:Decrypt to last, with any document. explicitly: only an Allow
 * counts that names this very caller and pins a PCR. */
static bool is_in_data_plane(Lint *lint, const Caller *caller, Action last, bool explicitly) {
        for (size_t i = 0; i < lint->policy->n_statements; i++)
                for (Action a = ACTION_DECRYPT; a <= last; a++) {
                        const Question question = { &lint->policy->statements[i], caller, a };
                        Judgement judgement;

                        if (!allows(lint, question.allow, caller, a) ||
                            (explicitly && (is_by_class(question.allow, caller) ||
                                            statement_pcrs(question.allow, CONDITION_PCR_IS) == 0)))
                                continue;
                        judgement = judge(lint, &question);
                        if (!judgement.shut && !judgement.never)
                                return true;
                }
        return false;
}

/* Returns whether a principal of the Allow that includes the caller is declared. */
static bool is_declared_in(const Statement *allow, const Caller *caller, const char *const *declared) {
        for (size_t i = 0; i < allow->n_principals; i++)
                if (caller_is_among(caller, &allow->principals[i], 1, false) &&
                    is_declared(&allow->principals[i], declared))
                        return true;
        return false;
}

/* Returns whether the caller may decrypt with any document. */
static bool unseals(Lint *lint, const Caller *caller) {
        int8_t *known = &lint->unseals[caller - lint->callers];

        if (*known == 0)
                *known = is_in_data_plane(lint, caller, ACTION_DECRYPT, false) ? 1 : -1;
        return *known > 0;
}

/* Returns whether the caller may possibly change the policy. */
static bool administers(const Lint *lint, const Caller *caller) {
        for (size_t i = 0; i < lint->policy->n_statements; i++) {
                const Question question = { &lint->policy->statements[i], caller, ACTION_PUT_KEY_POLICY };

                if (holds(lint, &question))
                        return true;
        }
        return false;
}

/* Returns whether the Deny spares the caller by its full name. */
static bool is_spared_by_name(const Statement *deny, const Caller *caller) {
        for (size_t i = 0; i < deny->n_conditions; i++)
                for (size_t j = 0; j < deny->conditions[i].n_callers; j++)
                        if (strcmp(deny->conditions[i].callers[j].text, caller->text) == 0)
                                return true;
        return false;
}

/* Returns whether the caller may certainly change the policy: an Allow without conditions lets it, and no Deny can apply. */
static bool surely_administers(const Lint *lint, const Caller *caller) {
        bool allowed = false;

        for (size_t i = 0; i < lint->policy->n_statements; i++) {
                const Statement *s = &lint->policy->statements[i];

                if (!has_action(lint, s, ACTION_PUT_KEY_POLICY))
                        continue;
                if (s->deny && !is_spared_by_name(s, caller) &&
                    (s->not_principal || caller_is_among(caller, s->principals, s->n_principals, false)))
                        return false;
                allowed |= !s->deny && s->n_conditions == 0 && s->every_resource && !s->not_resource &&
                           caller_is_among(caller, s->principals, s->n_principals, true);
        }
        return allowed;
}

/* Returns whether the caller may be a role or user that the policy names by its unique ID, and that does one of the actions from
 * kms:Decrypt to last. A Deny of the action for that ID would apply to the caller, too. */
static bool may_unseal_by_id(Lint *lint, const Caller *caller, Action last, Action action) {
        if (caller->kind == CALLER_SERVICE || caller->kind == CALLER_UNIQUE_ID)
                return false;
        for (size_t i = 0; i < lint->n_callers; i++) {
                const Caller *id = &lint->callers[i];

                if (id->kind == CALLER_UNIQUE_ID && !is_declared(id, lint->options->recovery_principals) &&
                    !is_denied_without_document(lint, id, action) && is_in_data_plane(lint, id, last, false))
                        return true;
        }
        return false;
}

/* Returns whether both may be in one account. *ret_certainly: they are. Everyone, a unique ID and some patterns may be in any. */
static bool may_share_account(const Caller *caller, const Caller *other, bool *ret_certainly) {
        *ret_certainly = *caller->account && strcmp(caller->account, other->account) == 0;
        if (caller->kind == CALLER_SERVICE || other->kind == CALLER_SERVICE)
                return false;
        return *ret_certainly || caller->kind == CALLER_UNIQUE_ID || !*other->account;
}

/* Returns whether the owner of a principal that unseals may control the caller, too: both are in one account, and no
 * administrator of the key is in it. */
static bool is_near_unsealing(Lint *lint, const Caller *caller) {
        bool near = false;

        if (surely_administers(lint, caller))
                return false;
        for (size_t i = 0; i < lint->n_callers; i++) {
                const Caller *other = &lint->callers[i];
                bool certainly;

                if (other == caller || !may_share_account(caller, other, &certainly) ||
                    is_declared(other, lint->options->recovery_principals))
                        continue;
                if (certainly && surely_administers(lint, other))
                        return false;
                near |= unseals(lint, other);
        }
        return near;
}

/* Returns whether the owner of a principal that unseals may control the caller, too, although the key may have an administrator in
 * another account. A key whose only administrators are in the account of the caller belongs to this account. */
static bool is_near_unsealing_of_another_key(Lint *lint, const Caller *caller) {
        bool near = false, foreign = false;

        for (size_t i = 0; i < lint->n_callers; i++) {
                const Caller *other = &lint->callers[i];
                bool certainly;

                if (other == caller)
                        continue;
                if (may_share_account(caller, other, &certainly) &&
                    !is_declared(other, lint->options->recovery_principals))
                        near |= unseals(lint, other);
                foreign |= !certainly && administers(lint, other);
        }
        return near && foreign;
}

/* A principal that makes ciphertext chooses what the instance takes for its secrets. code: for the error. */
static void report_maker(Lint *lint, const Question *question, LintCode code) {
        const LintOptions *options = lint->options;
        const Caller *caller = question->caller;
        bool declared = is_declared_in(question->allow, caller, options->sealers) ||
                        is_declared_in(question->allow, caller, options->administrators);
        bool note = caller->kind == CALLER_IDENTITY || caller->kind == CALLER_SESSION;

        if (is_declared(caller, options->recovery_principals))
                return;
        if (options->application && code == LINT_ENCRYPT && caller->kind != CALLER_EVERYONE)
                return;
        if (caller->kind == CALLER_EVERYONE ||
            is_in_data_plane(lint, caller, ACTION_DECRYPT, is_declared(caller, options->sealers)) ||
            (!is_declared(caller, options->sealers) &&
             may_unseal_by_id(lint, caller, ACTION_DECRYPT, question->action)) ||
            (!declared && is_near_unsealing(lint, caller)))
                ADD_OF_CALLER(lint, code, LINT_ERROR, question,
                              "A principal that unseals, or another one of its account, may call %s. It can choose what the instance takes for its secrets, unless SignedBy= demands the vendor's signature.",
                              action_names[question->action]);
        else if (!declared)
                ADD_OF_CALLER(lint, LINT_SEALER, note ? LINT_NOTE : LINT_WARNING, question,
                              "%s may call %s, and so choose the secrets.",
                              caller->kind == CALLER_ACCOUNT
                                              ? "Every principal of the account that has an identity policy for it"
                                              : "The principal",
                              action_names[question->action]);
}

static void check_encrypt(Lint *lint, const Question *question) {
        if (holds(lint, question))
                report_maker(lint, question, LINT_ENCRYPT);
}

/* Returns whether the value is one text, for the operator: no pattern, and no variable that the caller may choose. */
static bool is_fixed(const char *value) {
        return !strpbrk(value, "*?") && !strstr(value, "${");
}

/* Returns whether the condition certainly decides for which secrets ciphertext is made: it has their names, or none may be named. */
static bool binds_secret(const Condition *condition) {
        bool is_null = strcasecmp(condition->operator, "Null") == 0;

        if (strcasecmp(condition->key, "kms:EncryptionContext:unseald:secret") != 0 ||
            (!is_null && strcasecmp(condition->operator, "StringEquals") != 0 &&
             strcasecmp(condition->operator, "StringLike") != 0))
                return false;
        for (size_t i = 0; i < list_length(condition->values); i++) {
                const char *value = json_object_get_string(list_item(condition->values, i));

                if (is_null ? strcasecmp(value, "true") != 0 : !is_fixed(value))
                        return false;
        }
        return list_length(condition->values) > 0;
}

/* With a document the caller learns no data key, but gets a ciphertext of it. */
static void check_context(Lint *lint, const Question *question) {
        /* Of a key of applications another finding says whether a Deny keeps them from the contexts of secrets. */
        if (lint->options->application || is_declared(question->caller, lint->options->recovery_principals))
                return;
        for (size_t i = 0; i < question->allow->n_conditions; i++)
                if (binds_secret(&question->allow->conditions[i]))
                        return;
        ADD_OF_CALLER(lint, LINT_ANY_CONTEXT, LINT_WARNING, question,
                      "The principal may call %s for the name of any secret. KMS answers with a ciphertext, too: with a document, which is no secret, the principal gets one of a value that nobody knows, and can put it in the place of a secret, unless SignedBy= demands the vendor's signature.",
                      action_names[question->action]);
}

/* Without the right document the caller learns a data key and gets a ciphertext of it. */
static void check_generate(Lint *lint, const Question *question) {
        Judgement judgement = judge(lint, question);

        if (!is_gated(lint, &judgement)) {
                report_maker(lint, question, LINT_GENERATE_DATA_KEY);
                return;
        }
        if (is_open_to_drivers(&judgement))
                report_drivers(lint, question);
        if (!judgement.shut && !judgement.never)
                check_context(lint, question);
}

static void report_administrator(Lint *lint, const Question *question) {
        bool puts = question->action == ACTION_PUT_KEY_POLICY;
        bool note = puts && question->caller->kind == CALLER_IDENTITY;

        ADD_OF_CALLER(lint, LINT_ADMINISTRATOR, note ? LINT_NOTE : LINT_WARNING, question,
                      "%s may call %s, and so open the key.",
                      question->caller->kind == CALLER_ACCOUNT
                                      ? "Every principal of the account that has an identity policy for it"
                                      : "The principal",
                      action_names[question->action]);
}

static void report_controller(Lint *lint, const Question *question) {
        if (is_near_unsealing_of_another_key(lint, question->caller))
                ADD_OF_CALLER(lint, control_codes[question->action], LINT_ERROR, question,
                              "The principal may call %s, and so open the key. It may be in the account of one that unseals, and the key has an administrator in another account. If this is intended, lint with --admin=.",
                              action_names[question->action]);
        else
                report_administrator(lint, question);
}

static bool somebody_unseals(Lint *lint) {
        for (size_t i = 0; i < lint->n_callers; i++)
                if (unseals(lint, &lint->callers[i]))
                        return true;
        return false;
}

static void check_control(Lint *lint, const Question *question) {
        const char *const *administrators = lint->options->administrators;
        const Caller *caller = question->caller;
        bool declared = is_declared(caller, administrators);

        /* A sealer makes data keys, but opens none. */
        Action last = is_declared(caller, lint->options->sealers) ? ACTION_DECRYPT
                                                                  : ACTION_GENERATE_DATA_KEY_PAIR;

        if (!holds(lint, question))
                return;
        if (caller->kind == CALLER_EVERYONE || is_in_data_plane(lint, caller, last, declared) ||
            (!declared && may_unseal_by_id(lint, caller, last, question->action)))
                ADD_OF_CALLER(lint, control_codes[question->action], LINT_ERROR, question,
                              "A principal that uses the key may call %s, and so open the key.",
                              action_names[question->action]);
        else if (caller->kind == CALLER_UNIQUE_ID && !declared && somebody_unseals(lint))
                ADD_OF_CALLER(lint, control_codes[question->action], LINT_ERROR, question,
                              "A role or user of an unknown account may call %s, and so open the key. It may be one that unseals.",
                              action_names[question->action]);
        else if (!is_declared_in(question->allow, caller, administrators) &&
                 question->action != ACTION_ROTATE_KEY_ON_DEMAND)
                report_controller(lint, question);
}

static void check_callers(Lint *lint) {
        for (size_t i = 0; i < lint->n_callers; i++)
                for (size_t j = 0; j < lint->policy->n_statements; j++)
                        for (Action a = 0; a < _ACTIONS; a++) {
                                const Question question = { &lint->policy->statements[j], &lint->callers[i],
                                                            a };

                                if (!allows(lint, question.allow, question.caller, a))
                                        continue;
                                if (a == ACTION_DECRYPT)
                                        check_decrypt(lint, &question);
                                else if (!takes_no_document(a))
                                        check_generate(lint, &question);
                                else if (a == ACTION_RE_ENCRYPT_FROM)
                                        check_re_encrypt(lint, &question);
                                else if (a < ACTION_PUT_KEY_POLICY)
                                        check_encrypt(lint, &question);
                                else
                                        check_control(lint, &question);
                        }
}

/* Returns whether the statement denies everyone every request whose encryption context has a name that begins with "unseald:". */
static bool denies_contexts(const Statement *statement) {
        const Condition *condition = statement->conditions;

        if (!statement->deny || statement->not_principal || statement->not_action ||
            !statement->every_resource || statement->n_principals != 1 ||
            statement->principals[0].kind != CALLER_EVERYONE || statement->n_conditions != 1 ||
            !statement_has_action(statement, "kms:Decrypt") ||
            strcasecmp(condition->operator, "ForAnyValue:StringLike") != 0 ||
            strcasecmp(condition->key, "kms:EncryptionContextKeys") != 0)
                return false;
        for (size_t i = 0; i < list_length(condition->values); i++) {
                const char *value = json_object_get_string(list_item(condition->values, i));

                if (value && strcmp(value, "unseald:*") == 0)
                        return true;
        }
        return false;
}

static void check_contexts_denied(Lint *lint) {
        for (size_t i = 0; i < lint->policy->n_statements; i++)
                if (denies_contexts(&lint->policy->statements[i]))
                        return;
        add(lint, LINT_CONTEXT_NOT_DENIED, LINT_WARNING, NULL, NULL,
            "No Deny keeps applications from ciphertext whose encryption context is that of a secret of unseald: a secret that is sealed with this key by mistake would be open to them.");
}

/* A grant, or a statement that is added later, may allow making ciphertext. */
static void check_encrypt_denied(Lint *lint) {
        for (size_t i = 0; i < lint->n_callers; i++) {
                const Caller *caller = &lint->callers[i];

                if (caller->kind == CALLER_EVERYONE || !unseals(lint, caller) ||
                    is_declared(caller, lint->options->recovery_principals))
                        continue;
                for (Action a = ACTION_GENERATE_DATA_KEY; a < ACTION_PUT_KEY_POLICY; a++)
                        if (a != ACTION_RE_ENCRYPT_FROM && !is_denied_without_document(lint, caller, a)) {
                                add(lint, LINT_ENCRYPT_NOT_DENIED, LINT_NOTE, NULL, caller->text,
                                    "No Deny keeps the principal from %s: a grant, or a statement that is added later, would let it choose the secrets.",
                                    action_names[a]);
                                return;
                        }
        }
}

/* A grant can allow what no statement allows. If there is an error, an Allow has findings already about documents that
 * the Deny statements accept. */
static void check_grants(Lint *lint) {
        bool wrong = lint_count(lint->report, LINT_ERROR) > 0, drivers = false;

        for (size_t i = 0; i < lint->report->n_findings; i++)
                drivers |= lint->report->findings[i].code == LINT_PCR2_MISSING;

        for (size_t i = 0; i < lint->n_callers; i++) {
                const Caller *caller = &lint->callers[i];
                const Question question = { NULL, caller, ACTION_DECRYPT };
                Judgement judgement = judge(lint, &question);

                if (is_declared(caller, lint->options->recovery_principals))
                        continue;
                judgement.foreign &= !wrong;
                judgement.mixed &= !wrong;
                if (is_gated(lint, &judgement) && (drivers || !is_open_to_drivers(&judgement)) &&
                    is_denied_without_document(lint, caller, ACTION_RE_ENCRYPT_FROM))
                        continue;
                add(lint, LINT_NO_DENY, LINT_WARNING, NULL, caller->text,
                    "No Deny keeps %s from decrypting with a wrong document: a grant, or a statement that is added later, would open the key.",
                    caller->kind == CALLER_EVERYONE ? "everyone" : "the principal");
                return;
        }
}

static void check_administrators(Lint *lint) {
        for (size_t i = 0; i < lint->n_callers; i++)
                if (administers(lint, &lint->callers[i]))
                        return;
        add(lint, LINT_NO_ADMINISTRATOR, LINT_NOTE, NULL, NULL, "Nobody can ever change this policy.");
}

/* Returns whether a finding says that somebody decrypts without a document, or with any. */
static bool is_open(const LintReport *report) {
        for (size_t i = 0; i < report->n_findings; i++)
                if (report->findings[i].code == LINT_ANYONE ||
                    report->findings[i].code == LINT_ROOT_DELEGATION ||
                    report->findings[i].code == LINT_UNGATED_DECRYPT)
                        return true;
        return false;
}

static void check_images(Lint *lint) {
        bool open = is_open(lint->report);

        for (size_t i = 0; i < lint->options->n_images; i++)
                if (!(lint->served & UINT64_C(1) << i)) {
                        char number[32];

                        (void) snprintf(number, sizeof(number), "image %zu", i + 1);
                        add(lint, LINT_IMAGE_LOCKED_OUT, LINT_WARNING, NULL, number,
                            open ? "Only those who need no document can decrypt with the document of given image %zu."
                                 : "Nobody can decrypt with the document of given image %zu.",
                            i + 1);
                }
}

/* Finds values that accept instances that measured nothing. */
static void check_constant_values(Lint *lint, const Statement *s, const Condition *condition) {
        if (condition->kind != (s->deny ? CONDITION_PCR_IS_NOT : CONDITION_PCR_IS))
                return;
        for (size_t i = 0; i < condition->n_pcrs; i++)
                if (pcr_value_is_constant((unsigned) condition->pcr, condition->pcrs[i]))
                        add(lint, LINT_VALUE_CONSTANT,
                            condition->pcr == 7 && !lint->options->expectation.secure_boot ? LINT_NOTE
                                                                                           : LINT_ERROR,
                            s, condition->key, "A value of PCR%i is that of %s, whatever has booted.",
                            condition->pcr,
                            condition->pcr == 7 ? "every instance without Secure Boot"
                                                : "an instance that measured nothing");
}

/* Returns whether a given image has the value. It is intended then. */
static bool is_of_an_image(const Lint *lint, unsigned pcr, const uint8_t *value) {
        for (size_t i = 0; i < lint->options->n_images; i++)
                if ((lint->images[i].pcrs.present & PCR(pcr)) &&
                    memcmp(lint->images[i].pcrs.value[pcr], value, PCR_SIZE) == 0)
                        return true;
        return false;
}

/* Finds values that some images do have, but that more often come from a boot that an attacker changed. */
static void check_unusual_values(Lint *lint, const Statement *s, const Condition *condition) {
        static const PcrSet nothing;
        unsigned pcr = (unsigned) condition->pcr;
        Expectation usual;

        if (condition->kind != (s->deny ? CONDITION_PCR_IS_NOT : CONDITION_PCR_IS))
                return;
        expectation_make(&nothing, &(ExpectationOptions){}, &usual);
        for (size_t i = 0; i < condition->n_pcrs && usual.pcrs.present & PCR(pcr); i++)
                if (memcmp(condition->pcrs[i], usual.pcrs.value[pcr], PCR_SIZE) != 0 &&
                    !is_of_an_image(lint, pcr, condition->pcrs[i]))
                        add(lint, LINT_VALUE_UNUSUAL, LINT_NOTE, s, condition->key,
                            "A value of PCR%u is not the one of a boot without %s.", pcr,
                            pcr == 2    ? "third-party drivers"
                            : pcr == 12 ? "a kernel command line and credentials from outside the image"
                                        : "system extensions from outside the image");
}

static void check_pcr_values(Lint *lint, const Statement *s, const Condition *condition) {
        bool caseless = strcasestr(condition->operator, "IgnoreCase");

        for (size_t i = 0; i < list_length(condition->values); i++) {
                const char *value = json_object_get_string(list_item(condition->values, i));
                size_t n = strlen(value);

                if (strspn(value, "0123456789abcdefABCDEF") != n || n != 2UL * PCR_SIZE)
                        add(lint, LINT_VALUE_SIZE, LINT_WARNING, s, condition->key,
                            "A value of PCR%i does not have 96 hexadecimal digits%s. No document has it.",
                            condition->pcr, n == 64 ? ", but the size of SHA-256" : "");
                else if (!caseless && strpbrk(value, "ABCDEF"))
                        add(lint, LINT_VALUE_CASE, LINT_WARNING, s, condition->key,
                            "A value of PCR%i has capital letters. Documents have lower case, so %s never finds it.",
                            condition->pcr, condition->operator);
        }
}

/* Finds PCRs that say nothing about the image. The three known documents of NitroTPMs have three different values of PCR1. */
static void check_steadiness(Lint *lint, const Statement *s, const Condition *condition) {
        /* PCR2 shows whether firmware has loaded third-party drivers, so it is worth pinning. */
        uint32_t told = (PCRS_OF_NO_IMAGE & ~PCR(2)) | PCRS_RESETTABLE | PCR(11);
        unsigned pcr = (unsigned) condition->pcr;

        if (pcr == 1)
                add(lint, LINT_UNSTEADY_PCR, LINT_WARNING, s, condition->key,
                    "PCR1 differs between instances: the condition may lock some of them out.");
        else if (told & PCR(pcr))
                add(lint, LINT_UNSTEADY_PCR, LINT_NOTE, s, condition->key, "PCR%u %s.", pcr,
                    pcr == 11                    ? "changes while the system boots"
                    : PCRS_RESETTABLE & PCR(pcr) ? "can be reset by anybody"
                                                 : "says nothing about the image");
}

/* The value that such a PCR has before the first secret is measured is that of the first document alone. */
static void check_measured(Lint *lint, const Statement *s, const Condition *condition) {
        if (condition->n_pcrs > 0 && lint->options->expectation.measured & PCR((unsigned) condition->pcr))
                add(lint, LINT_MEASURED_PCR, LINT_WARNING, s, condition->key,
                    "PCR%i is pinned, and unseald extends it with each sealed secret (MeasurePcr=%i). Once that is done, KMS denies every reload, and every restart that has to unseal anew, until the next boot.",
                    condition->pcr, condition->pcr);
}

static void check_condition(Lint *lint, const Statement *s, const Condition *condition) {
        if (condition->pcr < 0) {
                if (!condition_key_exists(condition->key))
                        add(lint, LINT_UNKNOWN_KEY, LINT_WARNING, s, condition->key,
                            "KMS has no such condition key, and no request has it. The condition is %s met.",
                            condition->met_when_absent ? "always" : "never");
                else if (condition->kind == CONDITION_ABSENT)
                        add(lint, LINT_ENCLAVE_PCR, LINT_WARNING, s, condition->key,
                            "The condition key is of Nitro Enclaves. No document of a NitroTPM has it.");
                return;
        }
        if (strcmp(condition->operator, "Null") != 0)
                check_pcr_values(lint, s, condition);
        check_measured(lint, s, condition);
        check_constant_values(lint, s, condition);
        check_unusual_values(lint, s, condition);
        if (!s->deny && (condition->optional || condition->kind == CONDITION_PCR_IS_NOT))
                add(lint, LINT_OPTIONAL_CONDITION, LINT_WARNING, s, condition->key,
                    "A request without a document meets the condition on PCR%i, too.", condition->pcr);
        check_steadiness(lint, s, condition);
}

/* Returns whether some Deny is about this PCR alone. */
static bool has_deny_alone(const Lint *lint, unsigned pcr) {
        for (size_t i = 0; i < lint->policy->n_statements; i++)
                if (lint->policy->statements[i].deny &&
                    statement_pcrs(&lint->policy->statements[i], CONDITION_PCR_IS_NOT) == PCR(pcr))
                        return true;
        return false;
}

static void check_deny(Lint *lint, const Statement *s) {
        uint32_t pcrs = statement_pcrs(s, CONDITION_PCR_IS_NOT);
        bool alone = true;

        if (s->not_principal)
                add(lint, LINT_NOT_PRINCIPAL, LINT_WARNING, s, NULL,
                    "NotPrincipal spares principals in a way that depends on account, role and session together. lint does not rely on this Deny.");
        for (size_t i = 0; i < s->n_conditions; i++) {
                const Condition *condition = &s->conditions[i];

                if (pcrs != 0 && condition->kind == CONDITION_OTHER)
                        add(lint, LINT_WEAK_DENY, LINT_WARNING, s, condition->key,
                            "It denies only if %s on %.80s is met, too. lint does not rely on this Deny.",
                            condition->operator, condition->key);
        }
        for (unsigned i = 0; i < PCR_COUNT; i++)
                alone &= !(pcrs & PCR(i)) || (pcrs & (pcrs - 1)) == 0 || has_deny_alone(lint, i);
        if (!alone)
                add(lint, LINT_WEAK_DENY, LINT_WARNING, s, NULL,
                    "It denies only if all of these PCRs are wrong, because conditions are ANDed.");
}

static bool has_wildcard_of(const Statement *s, Action action) {
        for (size_t i = 0; i < list_length(s->actions); i++) {
                const char *text = json_object_get_string(list_item(s->actions, i));

                if (strpbrk(text, "*?") && wildcard_match(text, action_names[action]))
                        return true;
        }
        return false;
}

/* Returns whether the statement has no action or resource of this key. */
static bool is_without_effect(const Statement *s) {
        bool all = false, any = false;

        for (size_t i = 0; i < list_length(s->actions); i++) {
                const char *text = json_object_get_string(list_item(s->actions, i));

                all |= strcmp(text, "*") == 0 || strcmp(text, "*:*") == 0 || strcasecmp(text, "kms:*") == 0;
                any |= text[0] == '*' || strncasecmp(text, "kms:", 4) == 0;
        }
        return list_length(s->resources) == 0 || (s->not_action ? all : !any);
}

static void check_allow(Lint *lint, const Statement *s) {
        bool pinned = statement_pcrs(s, CONDITION_PCR_IS) != 0;

        if (s->not_action)
                add(lint, LINT_NOT_ACTION, LINT_WARNING, s, NULL,
                    "It allows all actions that are not listed, and every action that KMS gets in the future.");
        for (Action a = 0; a < _ACTIONS; a++) {
                if (!s->not_action && has_wildcard_of(s, a))
                        add(lint, LINT_WILDCARD_ACTION, LINT_WARNING, s, NULL, "A wildcard includes %s.",
                            action_names[a]);
                if (pinned && takes_no_document(a) && has_action(lint, s, a))
                        add(lint, LINT_NOT_APPLICABLE, LINT_WARNING, s, action_names[a],
                            "%s takes no document, so the condition on PCRs is never met for it.",
                            action_names[a]);
        }
        for (size_t i = 0; i < s->n_principals; i++)
                if (s->principals[i].kind == CALLER_EVERYONE)
                        add(lint, LINT_ANYONE, LINT_WARNING, s, s->principals[i].text,
                            "It allows the principals of every account on AWS.");
                else if (s->principals[i].kind == CALLER_UNKNOWN)
                        add(lint, LINT_TOO_CLEVER, LINT_ERROR, s, s->principals[i].text,
                            "It allows a federated or canonical principal. lint cannot judge those.");
}

static void check_statement(Lint *lint, const Statement *s) {
        const Caller *principals = s->principals;

        if (is_without_effect(s))
                add(lint, LINT_NEVER_MATCHES, LINT_WARNING, s, NULL,
                    "It has no action, or no resource, of this key.");
        else if (s->not_resource || !s->every_resource)
                add(lint, LINT_RESOURCE, LINT_WARNING, s, NULL,
                    "lint does not know whether its resource is this key%s.",
                    s->deny ? ", and does not rely on this Deny" : "");
        for (size_t i = 0; i < s->n_principals; i++)
                if (principals[i].kind == CALLER_UNIQUE_ID)
                        add(lint, LINT_UNIQUE_ID, LINT_NOTE, s, principals[i].text,
                            "This is the unique ID of a role or user. KMS shows one that was deleted in this way. A new one of the same name is another principal.");
        for (size_t i = 0; i < s->n_conditions; i++) {
                const Condition *condition = &s->conditions[i];

                check_condition(lint, s, condition);
                for (size_t j = 0; j < list_length(condition->values) && !lint->policy->variables; j++)
                        if (strstr(json_object_get_string(list_item(condition->values, j)), "${"))
                                add(lint, LINT_VERSION, LINT_WARNING, s, condition->key,
                                    "Without Version 2012-10-17 a variable is not expanded.");
        }
        if (s->deny)
                check_deny(lint, s);
        else
                check_allow(lint, s);
}

/* Adds a caller, unless it is there already. Returns false if there are too many. */
static bool add_caller(Lint *lint, const Caller *caller) {
        if (caller->kind == CALLER_UNKNOWN)
                return true;
        for (size_t i = 0; i < lint->n_callers; i++)
                if (lint->callers[i].kind == caller->kind &&
                    (caller->kind == CALLER_EVERYONE ||
                     (caller->kind == CALLER_ACCOUNT ? strcmp(lint->callers[i].account, caller->account)
                                                     : strcmp(lint->callers[i].text, caller->text)) == 0))
                        return true;
        if (lint->n_callers == CALLERS_MAX)
                return false;
        lint->callers[lint->n_callers++] = *caller;
        return true;
}

static int compare_callers(const void *a, const void *b) {
        return (int) ((const Caller *) a)->kind - (int) ((const Caller *) b)->kind;
}

static bool collect_callers(Lint *lint) {
        const Caller everyone = { CALLER_EVERYONE, .text = "*" };
        bool all = add_caller(lint, &everyone);

        for (size_t i = 0; i < lint->policy->n_statements; i++) {
                const Statement *s = &lint->policy->statements[i];

                for (size_t j = 0; j < s->n_principals; j++)
                        all &= add_caller(lint, &s->principals[j]);
                for (size_t j = 0; j < s->n_conditions; j++)
                        for (size_t k = 0; k < s->conditions[j].n_callers; k++)
                                all &= add_caller(lint, &s->conditions[j].callers[k]);
        }
        qsort(lint->callers, lint->n_callers, sizeof(Caller), compare_callers);
        return all;
}

static void prepare_actions(Lint *lint) {
        for (size_t i = 0; i < lint->policy->n_statements; i++)
                for (Action a = 0; a < _ACTIONS; a++)
                        if (statement_has_action(&lint->policy->statements[i], action_names[a]))
                                lint->actions[i] |= UINT32_C(1) << a;
}

static void check_policy(Lint *lint) {
        if (!collect_callers(lint)) {
                add(lint, LINT_TOO_CLEVER, LINT_ERROR, NULL, NULL,
                    "The policy names more than %u principals.", CALLERS_MAX);
                return;
        }
        check_callers(lint);
        for (size_t i = 0; i < lint->policy->n_statements; i++)
                check_statement(lint, &lint->policy->statements[i]);
        check_grants(lint);
        if (lint->options->application)
                check_contexts_denied(lint);
        else
                check_encrypt_denied(lint);
        check_administrators(lint);
        check_images(lint);
}

static int compare_findings(const void *a, const void *b) {
        const LintFinding *x = a, *y = b;

        if (x->statement != y->statement)
                return x->statement < y->statement ? -1 : 1;
        return x->severity != y->severity ? (int) y->severity - (int) x->severity
                                          : (int) x->code - (int) y->code;
}

static int lint_text(const char *text, size_t size, Lint *lint) {
        _cleanup_(key_policy_freep) KeyPolicy *policy = NULL;
        _cleanup_free_ uint32_t *actions = NULL;
        char reason[KEY_POLICY_REASON_SIZE];
        size_t statement;
        int r;

        if (size > KEY_POLICY_SIZE_MAX) {
                add(lint, LINT_TOO_LARGE, LINT_ERROR, NULL, NULL, "The policy has %zu bytes.", size);
                return 0;
        }
        r = key_policy_parse(text, size, &policy, reason, &statement);
        if (r == -EBADMSG) {
                add(lint, LINT_MALFORMED, LINT_ERROR, NULL, NULL, "%s", reason);
                if (lint->report->n_findings > 0)
                        lint->report->findings[0].statement = statement;
                return 0;
        }
        if (r < 0)
                return r;
        actions = calloc(policy->n_statements, sizeof(*actions));
        if (!actions)
                return -ENOMEM;
        lint->policy = policy;
        lint->actions = actions;
        prepare_actions(lint);
        check_policy(lint);
        return 0;
}

int lint_policy(const char *text, size_t size, const LintOptions *options, LintReport **ret) {
        _cleanup_(lint_report_freep) LintReport *report = NULL;
        _cleanup_free_ Lint *lint = NULL;
        _cleanup_free_ char *unwrapped = NULL;
        int r;

        report = calloc(1, sizeof(*report));
        lint = calloc(1, sizeof(*lint));
        if (!report || !lint)
                return -ENOMEM;
        lint->options = options;
        lint->report = report;
        for (size_t i = 0; i < options->n_images; i++)
                expectation_make(&options->images[i], &options->expectation, &lint->images[i]);
        r = key_policy_unwrap(text, size, &unwrapped);
        if (r >= 0)
                r = lint_text(unwrapped ?: text, unwrapped ? strlen(unwrapped) : size, lint);
        if (r < 0 || lint->out_of_memory)
                return -ENOMEM;
        if (report->n_findings > 0)
                qsort(report->findings, report->n_findings, sizeof(LintFinding), compare_findings);
        *ret = TAKE_PTR(report);
        return 0;
}
