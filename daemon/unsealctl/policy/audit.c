/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A grant is judged with lint: the policy gets one more statement that allows the grantee the grant's operations, and the errors
 * that lint finds only then are the grant's. In the end the policy gets the statements of all grants.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aws/kms-key.h"
#include "basic/json.h"
#include "basic/text.h"
#include "unsealctl/policy/audit.h"
#include "unsealctl/policy/difference.h"
#include "unsealctl/policy/statement.h"

/* The checks. A finding's advice is here, or lint's. */
#define CHECK_STATE "state"
#define CHECK_KIND "kind"
#define CHECK_ORIGIN "origin"
#define CHECK_REPLICA "replica"
#define CHECK_POLICY "policy"
#define CHECK_DIFFERENCE "difference"
#define CHECK_GRANT "grant"
#define CHECK_ALIAS "alias"
#define CHECK_ROTATION "rotation"
#define CHECK_LAST_USE "last-use"
#define CHECK_ANSWER "answer"

void audit_report_done(AuditReport *report) {
        for (size_t i = 0; i < report->n_findings; i++) {
                free(report->findings[i].key);
                free(report->findings[i].subject);
                free(report->findings[i].text);
        }
        free(report->findings);
        *report = (AuditReport){};
}

size_t audit_count(const AuditReport *report, AuditSeverity severity) {
        size_t n = 0;

        for (size_t i = 0; i < report->n_findings; i++)
                n += report->findings[i].severity == severity;
        return n;
}

const char *audit_severity_to_string(AuditSeverity severity) {
        static const char *const names[_AUDIT_SEVERITIES] = { "note", "warning", "not proven", "error" };

        return names[severity];
}

/* What a finding is about. Only text and subject are KMS's words; they are cleaned. */
typedef struct About {
        AuditSeverity severity;
        const char *check, *key, *subject, *advice, *code;
        size_t statement;
} About;

_printf_(3, 4) static void add(AuditReport *report, const About *about, const char *format, ...) {
        AuditFinding finding = {
                about->severity,    about->check, about->code, about->statement, NULL, NULL, NULL,
                about->advice ?: ""
        };
        AuditFinding *findings = reallocarray(report->findings, report->n_findings + 1, sizeof(*findings));
        va_list arguments;
        int n;

        if (findings)
                report->findings = findings;
        va_start(arguments, format);
        n = vasprintf(&finding.text, format, arguments);
        va_end(arguments);
        if (n < 0)
                finding.text = NULL;
        finding.key = strdup(about->key);
        finding.subject = about->subject ? strdup(about->subject) : NULL;
        if (!findings || !finding.text || !finding.key || (about->subject && !finding.subject)) {
                free(finding.text);
                free(finding.key);
                free(finding.subject);
                report->out_of_memory = true;
                return;
        }
        (void) text_clean(finding.text);
        if (finding.subject)
                (void) text_clean(finding.subject);
        findings[report->n_findings++] = finding;
}

#define ADD(report, severity_, check_, key_, subject_, advice_, ...) \
        add(report,                                                  \
            &(const About){ .severity = AUDIT_##severity_,           \
                            .check = check_,                         \
                            .key = key_,                             \
                            .subject = subject_,                     \
                            .advice = advice_ },                     \
            __VA_ARGS__)

void audit_unanswered(AuditReport *report, const char *key, AuditSeverity severity, const char *operation,
                      const Error *error) {
        add(report,
            &(const About){ .severity = severity,
                            .check = CHECK_ANSWER,
                            .key = key,
                            .subject = operation,
                            .advice = severity == AUDIT_NOTE
                                                      ? ""
                                                      : "Audit with credentials that may call the operation." },
            "KMS did not answer: %s", error->text);
}

/* Parses an answer, which must be an object. Returns NULL after adding a finding. */
static struct json_object *read_answer(AuditReport *report, const char *key, AuditSeverity severity,
                                       const char *operation, const char *body, size_t size) {
        struct json_object *answer = NULL;

        if (json_parse(body, size, &answer) >= 0 && json_object_is_type(answer, json_type_object))
                return answer;
        json_object_put(answer);
        add(report,
            &(const About){ .severity = severity, .check = CHECK_ANSWER, .key = key, .subject = operation },
            "The answer cannot be read.");
        return NULL;
}

/* Times of KMS are seconds since 1970, as integers or with a fraction. */
static const char *time_of(struct json_object *object, const char *name, char buffer[static 32]) {
        struct json_object *member = json_member(object, name);
        double seconds = json_object_get_double(member);
        struct tm tm;
        time_t t;

        (void) strcpy(buffer, "an unknown time");
        if ((json_object_is_type(member, json_type_int) || json_object_is_type(member, json_type_double)) &&
            seconds > 0 && seconds < 1e11) {
                t = (time_t) seconds;
                if (gmtime_r(&t, &tm))
                        (void) strftime(buffer, 32, "%Y-%m-%d %H:%M:%S UTC", &tm);
        }
        return buffer;
}

static bool is(const char *a, const char *b) {
        return a && strcmp(a, b) == 0;
}

static void check_state(AuditReport *report, const char *key, struct json_object *metadata) {
        const char *state = json_member_string(metadata, "KeyState");
        char when[32];

        if (is(state, "Enabled"))
                return;
        if (is(state, "PendingDeletion") || is(state, "PendingReplicaDeletion"))
                ADD(report, WARNING, CHECK_STATE, key, state,
                    "If this is not intended, call CancelKeyDeletion and EnableKey.",
                    "KMS does nothing with the key, and deletes it %s%s. What is sealed with it is lost then.",
                    is(state, "PendingDeletion") ? "at " : "after its last replica",
                    is(state, "PendingDeletion") ? time_of(metadata, "DeletionDate", when) : "");
        else if (is(state, "Disabled"))
                ADD(report, WARNING, CHECK_STATE, key, state, "If this is not intended, call EnableKey.",
                    "KMS does nothing with the key, so nobody unseals.");
        else
                ADD(report, WARNING, CHECK_STATE, key, state, "",
                    "KMS does nothing with the key in this state, so nobody unseals.");
}

/* lint's promises are about a symmetric key whose policy is the customer's own. */
static void check_kind(AuditReport *report, const char *key, struct json_object *metadata) {
        const char *spec = json_member_string(metadata, "KeySpec"),
                   *usage = json_member_string(metadata, "KeyUsage"),
                   *manager = json_member_string(metadata, "KeyManager");

        if (!is(spec, "SYMMETRIC_DEFAULT") || !is(usage, "ENCRYPT_DECRYPT"))
                ADD(report, ERROR, CHECK_KIND, key, spec, "Use a symmetric encryption key.",
                    "The key is not a symmetric encryption key. Anyone encrypts with the public half of an asymmetric key, and no policy can prevent that.");
        if (!is(manager, "CUSTOMER"))
                ADD(report, ERROR, CHECK_KIND, key, manager, "Use a customer managed key.",
                    "The key is not customer managed: AWS writes its policy.");
}

static void check_origin(AuditReport *report, const char *key, struct json_object *metadata) {
        const char *origin = json_member_string(metadata, "Origin");
        char when[32];

        if (is(origin, "AWS_KMS"))
                return;
        if (is(origin, "EXTERNAL")) {
                /* AWS does not publish the form of its ciphertexts, but nothing keeps it secret: a copy opens them. */
                ADD(report, UNPROVEN, CHECK_ORIGIN, key, origin, "Use a key whose material KMS makes.",
                    "The key material was made outside of KMS. Whoever has a copy opens every ciphertext without KMS: no policy and no attestation document holds them back. KMS does not show who has a copy.");
                if (is(json_member_string(metadata, "ExpirationModel"), "KEY_MATERIAL_EXPIRES"))
                        ADD(report, WARNING, CHECK_ORIGIN, key, origin,
                            "Import the material without an expiry.",
                            "The key material expires at %s, and nobody unseals then.",
                            time_of(metadata, "ValidTo", when));
        } else if (is(origin, "EXTERNAL_KEY_STORE"))
                ADD(report, UNPROVEN, CHECK_ORIGIN, key, origin, "Use a key whose material KMS has.",
                    "The key material is in a key manager outside of AWS. What that one allows is not in the key's policy.");
        else if (is(origin, "AWS_CLOUDHSM"))
                ADD(report, UNPROVEN, CHECK_ORIGIN, key, origin, "Use a key whose material KMS has.",
                    "The key material is in a CloudHSM cluster. What the users of the cluster may do is not in the key's policy.");
        else
                ADD(report, UNPROVEN, CHECK_ORIGIN, key, origin, "",
                    "This version does not know where the key material is.");
}

static bool has_key(const AuditKeys *keys, const char *arn) {
        for (size_t i = 0; i < keys->n; i++)
                if (strcmp(keys->arns[i], arn) == 0)
                        return true;
        return false;
}

/* The keys of a multi-Region set have the same account and ID. A name that has not is no replica, and is not asked about. */
static void add_related(AuditReport *report, const char *key, const char *arn, AuditKeys *keys) {
        KmsKeyArn own, other;

        if (arn && has_key(keys, arn))
                return;
        if (!arn || strlen(arn) >= AUDIT_ARN_MAX || kms_key_arn_parse(key, &own) < 0 ||
            kms_key_arn_parse(arn, &other) < 0 || strcmp(own.partition, other.partition) != 0 ||
            strcmp(own.account, other.account) != 0 || strcmp(own.key, other.key) != 0)
                ADD(report, UNPROVEN, CHECK_REPLICA, key, arn, "",
                    "KMS names a key of the multi-Region set that has another account or ID.");
        else if (keys->n == AUDIT_KEYS_MAX)
                ADD(report, UNPROVEN, CHECK_REPLICA, key, arn, "",
                    "The multi-Region set has more than %u keys. Not all were looked at.", AUDIT_KEYS_MAX);
        else {
                ADD(report, NOTE, CHECK_REPLICA, key, arn, "",
                    "The key has the same material in another Region, with a policy and grants of its own. The audit includes it.");
                (void) strcpy(keys->arns[keys->n++], arn);
        }
}

static void check_replicas(AuditReport *report, const char *key, struct json_object *metadata,
                           AuditKeys *keys) {
        struct json_object *multi = json_member(metadata, "MultiRegion"),
                           *configuration = json_member(metadata, "MultiRegionConfiguration"),
                           *replicas = json_member(configuration, "ReplicaKeys");

        if (json_object_is_type(multi, json_type_boolean) && !json_object_get_boolean(multi) &&
            !configuration)
                return;
        if (!json_member(configuration, "PrimaryKey") ||
            (replicas && !json_object_is_type(replicas, json_type_array))) {
                ADD(report, UNPROVEN, CHECK_REPLICA, key, NULL, "",
                    "KMS does not say which replicas the key has.");
                return;
        }
        add_related(report, key, json_member_string(json_member(configuration, "PrimaryKey"), "Arn"), keys);
        for (size_t i = 0; replicas && i < json_object_array_length(replicas); i++)
                add_related(report, key, json_member_string(json_object_array_get_idx(replicas, i), "Arn"),
                            keys);
}

void audit_metadata(AuditReport *report, const char *key, const char *body, size_t size, AuditKeys *keys) {
        _cleanup_json_ struct json_object *answer =
                        read_answer(report, key, AUDIT_UNPROVEN, "DescribeKey", body, size);
        struct json_object *metadata = json_member(answer, "KeyMetadata");

        if (!answer)
                return;
        if (!is(json_member_string(metadata, "Arn"), key)) {
                ADD(report, UNPROVEN, CHECK_ANSWER, key, "DescribeKey", "",
                    "The answer is about another key.");
                return;
        }
        check_state(report, key, metadata);
        check_kind(report, key, metadata);
        check_origin(report, key, metadata);
        check_replicas(report, key, metadata, keys);
}

static AuditSeverity severity_of(LintSeverity severity) {
        return severity == LINT_ERROR ? AUDIT_ERROR : severity == LINT_WARNING ? AUDIT_WARNING : AUDIT_NOTE;
}

static void add_lint(AuditReport *report, const char *key, const LintReport *lint) {
        for (size_t i = 0; i < lint->n_findings; i++) {
                const LintFinding *finding = &lint->findings[i];

                add(report,
                    &(const About){ .severity = severity_of(finding->severity),
                                    .check = CHECK_POLICY,
                                    .key = key,
                                    .subject = finding->subject ?: finding->sid,
                                    .advice = lint_code_advice(finding->code),
                                    .code = lint_code_to_string(finding->code),
                                    .statement = finding->statement },
                    "%s", finding->meaning);
        }
}

typedef struct DifferenceSink {
        AuditReport *report;
        const char *key;
} DifferenceSink;

static void add_difference(void *userdata, size_t statement, const char *sid, const char *text) {
        const DifferenceSink *sink = userdata;

        add(sink->report,
            &(const About){ .severity = AUDIT_WARNING,
                            .check = CHECK_DIFFERENCE,
                            .key = sink->key,
                            .subject = sid,
                            .advice = "If this is not intended, put the policy that unsealctl policy writes.",
                            .statement = statement },
            "%s", text);
}

static void compare_policies(AuditReport *report, const char *key, const char *policy,
                             struct json_object *wanted) {
        _cleanup_json_ struct json_object *live = NULL;
        DifferenceSink sink = { report, key };
        int r = wanted ? json_parse(policy, strlen(policy), &live) : 0;

        /* lint has said so if the policy is malformed. */
        if (wanted && r >= 0 && policy_difference(live, wanted, add_difference, &sink) < 0)
                r = -ENOMEM;
        if (r == -ENOMEM)
                report->out_of_memory = true;
}

void audit_policy(AuditReport *report, const char *key, const char *body, size_t size,
                  const AuditOptions *options, char **ret) {
        _cleanup_json_ struct json_object *answer =
                        read_answer(report, key, AUDIT_UNPROVEN, "GetKeyPolicy", body, size);
        const char *policy = json_member_string(answer, "Policy");
        _cleanup_(lint_report_freep) LintReport *lint = NULL;

        *ret = NULL;
        if (!answer)
                return;
        if (!policy) {
                ADD(report, UNPROVEN, CHECK_ANSWER, key, "GetKeyPolicy", "", "The answer has no policy.");
                return;
        }
        if (lint_policy(policy, strlen(policy), &options->lint, &lint) < 0 || !(*ret = strdup(policy))) {
                report->out_of_memory = true;
                return;
        }
        add_lint(report, key, lint);
        compare_policies(report, key, policy, options->wanted);
}

/* One grant, and the two judgements of lint. */
typedef struct Grant {
        const char *key, *grantee; /* borrowed */
        bool service;
        struct json_object *operations; /* borrowed */
        char name[300];                 /* what a finding calls it */
        bool harmless; /* no operation gives a plaintext or a ciphertext, or a right to others */
        bool sealing;  /* the operations that are not harmless make ciphertext */
        bool constrained;
} Grant;

static bool is_harmless(const char *operation) {
        static const char *const harmless[] = { "DescribeKey", "GetPublicKey", "RetireGrant", "Verify",
                                                "VerifyMac" };

        for (size_t i = 0; i < ELEMENTSOF(harmless); i++)
                if (strcmp(operation, harmless[i]) == 0)
                        return true;
        return false;
}

static bool makes_ciphertext(const char *operation) {
        return strcmp(operation, "Encrypt") == 0 || strcmp(operation, "ReEncryptTo") == 0 ||
               strncmp(operation, "GenerateDataKey", strlen("GenerateDataKey")) == 0;
}

/* Returns whether the entry of the list is a grant that can be judged. */
static bool read_grant(const char *key, struct json_object *entry, Grant *ret) {
        const char *grantee = json_member_string(entry, "GranteePrincipal"),
                   *service = json_member_string(entry, "GranteeServicePrincipal"),
                   *id = json_member_string(entry, "GrantId"), *label = json_member_string(entry, "Name");

        *ret = (Grant){ .key = key, .grantee = grantee ?: service, .harmless = true, .sealing = true };
        ret->operations = json_member(entry, "Operations");
        ret->constrained = json_member(entry, "Constraints");
        (void) snprintf(ret->name, sizeof(ret->name), "%.80s%s%.80s to %.120s", id ?: "without an ID",
                        label && *label ? " " : "", label ?: "", ret->grantee ?: "an unknown grantee");
        /* ListGrants gives the grantee of a service's grant as GranteePrincipal, too. A name without a dot is a unique ID. */
        ret->service = !grantee || (!strchr(grantee, ':') && strchr(grantee, '.'));
        if (!ret->grantee || !json_object_is_type(ret->operations, json_type_array) ||
            json_object_array_length(ret->operations) == 0)
                return false;
        for (size_t i = 0; i < json_object_array_length(ret->operations); i++) {
                struct json_object *operation = json_object_array_get_idx(ret->operations, i);
                const char *name = json_object_get_string(operation);

                if (!json_object_is_type(operation, json_type_string))
                        return false;
                ret->harmless &= is_harmless(name);
                ret->sealing &= is_harmless(name) || makes_ciphertext(name);
        }
        return true;
}

static struct json_object *statement_of(const Grant *grant) {
        struct json_object *statement = json_object_new_object(), *principal = json_object_new_object(),
                           *actions = json_object_new_array();

        for (size_t i = 0; i < json_object_array_length(grant->operations); i++) {
                char action[128];

                (void) snprintf(action, sizeof(action), "kms:%.100s",
                                json_object_get_string(json_object_array_get_idx(grant->operations, i)));
                json_object_array_add(actions, json_object_new_string(action));
        }
        json_object_object_add(principal, grant->service ? "Service" : "AWS",
                               json_object_new_string(grant->grantee));
        json_object_object_add(statement, "Effect", json_object_new_string("Allow"));
        json_object_object_add(statement, "Principal", principal);
        json_object_object_add(statement, "Action", actions);
        json_object_object_add(statement, "Resource", json_object_new_string("*"));
        return statement;
}

/* Makes the policy with further statements at its end. The caller frees *ret. *ret_statement is the number of the last one. */
static int policy_with(const char *policy, struct json_object *more, char **ret, size_t *ret_statement) {
        _cleanup_json_ struct json_object *object = NULL;
        struct json_object *statements, *list;
        int r = json_parse(policy, strlen(policy), &object);

        if (r < 0)
                return r;
        statements = json_member(object, "Statement");
        if (!statements)
                return -EBADMSG;
        list = json_object_new_array();
        for (size_t i = 0; i < list_length(statements); i++)
                json_object_array_add(list, json_object_get(list_item(statements, i)));
        for (size_t i = 0; i < list_length(more); i++)
                json_object_array_add(list, json_object_get(list_item(more, i)));
        *ret_statement = json_object_array_length(list);
        json_object_object_add(object, "Statement", list);
        return json_format(object, ret);
}

static bool has_finding(const LintReport *report, const LintFinding *finding) {
        for (size_t i = 0; i < report->n_findings; i++) {
                const LintFinding *f = &report->findings[i];

                if (f->code == finding->code && f->statement == finding->statement &&
                    f->severity == finding->severity && !f->subject == !finding->subject &&
                    (!f->subject || strcmp(f->subject, finding->subject) == 0))
                        return true;
        }
        return false;
}

static bool is_new(const LintReport *before, const LintFinding *finding, LintSeverity severity) {
        return finding->severity == severity && !has_finding(before, finding);
}

/* Returns the first error that the grant adds, or NULL. */
static const LintFinding *find_new(const LintReport *before, const LintReport *after) {
        for (size_t i = 0; i < after->n_findings; i++)
                if (is_new(before, &after->findings[i], LINT_ERROR))
                        return &after->findings[i];
        return NULL;
}

/* Returns the meanings of the warnings that the grant adds, which the caller frees. Empty: there is none. That the grant's statement
 * never matches is as it should be. */
static char *warnings_of(const LintReport *before, const LintReport *after) {
        char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);

        for (size_t i = 0; stream && i < after->n_findings; i++)
                if (after->findings[i].code != LINT_NEVER_MATCHES &&
                    is_new(before, &after->findings[i], LINT_WARNING))
                        fprintf(stream, " %s", after->findings[i].meaning);
        if (stream && fclose(stream) == 0)
                return text;
        free(text);
        return NULL;
}

static bool has_code(const LintReport *report, size_t statement, LintCode code) {
        for (size_t i = 0; i < report->n_findings; i++)
                if (report->findings[i].statement == statement && report->findings[i].code == code)
                        return true;
        return false;
}

void audit_grants_done(AuditGrants *grants) {
        json_object_put(grants->statements);
        *grants = (AuditGrants){};
}

static bool has_string(struct json_object *list, const char *text) {
        for (size_t i = 0; i < json_object_array_length(list); i++)
                if (strcmp(json_object_get_string(json_object_array_get_idx(list, i)), text) == 0)
                        return true;
        return false;
}

/* Grants to one grantee share a statement, so that many grants of a service are few statements. */
static void remember(AuditGrants *grants, struct json_object *statement) {
        struct json_object *actions = json_member(statement, "Action");

        grants->statements = grants->statements ?: json_object_new_array();
        grants->n++;
        for (size_t i = 0; i < json_object_array_length(grants->statements); i++) {
                struct json_object *known = json_object_array_get_idx(grants->statements, i),
                                   *known_actions = json_member(known, "Action");

                if (!json_object_equal(json_member(known, "Principal"), json_member(statement, "Principal")))
                        continue;
                for (size_t j = 0; j < json_object_array_length(actions); j++) {
                        struct json_object *action = json_object_array_get_idx(actions, j);

                        if (!has_string(known_actions, json_object_get_string(action)))
                                json_object_array_add(known_actions, json_object_get(action));
                }
                return;
        }
        json_object_array_add(grants->statements, json_object_get(statement));
}

static bool is_among(const char *text, const char *const *list) {
        for (; list && *list; list++)
                if (strcmp(*list, text) == 0)
                        return true;
        return false;
}

static bool cannot_be_judged(const LintFinding *error) {
        return error->code == LINT_MALFORMED || error->code == LINT_TOO_LARGE ||
               error->code == LINT_TOO_CLEVER;
}

/* Returns whether the options name the grantee for what the grant allows. */
static bool is_declared(const Grant *grant, const LintOptions *options) {
        return is_among(grant->grantee, options->administrators) ||
               (grant->sealing && is_among(grant->grantee, options->sealers));
}

/* What lint says of the policy with the grant. */
typedef struct Verdict {
        const LintFinding *error; /* NULL: none is new */
        const char *warnings;     /* empty: none is new */
        bool recovers;            /* the grantee is a recovery principal */
        bool seals;               /* the grantee makes ciphertext, and is not named as a sealer */
} Verdict;

static void report_grant(AuditReport *report, const Grant *grant, const Verdict *verdict,
                         const LintOptions *options) {
        _cleanup_free_ char *operations = NULL;
        const LintFinding *error = verdict->error;
        const char *constraint =
                        grant->constrained
                                        ? " Its constraints do not count: the caller chooses the encryption context."
                                        : "";
        size_t size;
        FILE *stream = open_memstream(&operations, &size);

        for (size_t i = 0; stream && i < json_object_array_length(grant->operations); i++)
                fprintf(stream, "%s%.40s", i > 0 ? ", " : "",
                        json_object_get_string(json_object_array_get_idx(grant->operations, i)));
        if (!stream || fclose(stream) != 0) {
                report->out_of_memory = true;
                return;
        }
        if (error && cannot_be_judged(error))
                ADD(report, UNPROVEN, CHECK_GRANT, grant->key, grant->name,
                    "Revoke the grant (RevokeGrant).", "The grant allows %s, and cannot be judged: %s%s",
                    operations, error->meaning, constraint);
        else if (error)
                ADD(report, ERROR, CHECK_GRANT, grant->key, grant->name, "Revoke the grant (RevokeGrant).",
                    "The grant allows %s, and no Deny of the policy prevents it: %s%s", operations,
                    error->meaning, constraint);
        else if (grant->harmless)
                ADD(report, NOTE, CHECK_GRANT, grant->key, grant->name, "",
                    "The grant allows %s, which gives nothing away.", operations);
        else if (!*verdict->warnings && (verdict->recovers || is_declared(grant, options)))
                ADD(report, NOTE, CHECK_GRANT, grant->key, grant->name, "",
                    "The grant allows %s to a principal that the options name.", operations);
        else if (verdict->seals)
                ADD(report, WARNING, CHECK_GRANT, grant->key, grant->name,
                    "If this is intended, audit with --sealer=. Otherwise revoke the grant (RevokeGrant).",
                    "The grant allows %s. The grantee makes ciphertext, and so can choose the secrets.",
                    operations);
        else
                ADD(report, WARNING, CHECK_GRANT, grant->key, grant->name,
                    "Find out who made the grant, and revoke it (RevokeGrant).",
                    "The grant allows %s. Only the policy's Deny statements hold it back.%s%s", operations,
                    *verdict->warnings ? " What they leave open:" : "", verdict->warnings);
}

static void judge_grant(AuditReport *report, const Grant *grant, const char *policy,
                        const LintOptions *options, const LintReport *before, AuditGrants *grants) {
        _cleanup_json_ struct json_object *own = statement_of(grant);
        _cleanup_(lint_report_freep) LintReport *after = NULL;
        _cleanup_free_ char *text = NULL, *warnings = NULL;
        Verdict verdict = {};
        size_t statement;
        int r = policy_with(policy, own, &text, &statement);

        if (r == -EBADMSG) {
                ADD(report, UNPROVEN, CHECK_GRANT, grant->key, grant->name,
                    "Revoke the grant (RevokeGrant).",
                    "The grant cannot be judged, because the policy cannot be read.");
                return;
        }
        if (r < 0 || lint_policy(text, strlen(text), options, &after) < 0) {
                report->out_of_memory = true;
                return;
        }
        warnings = warnings_of(before, after);
        if (!warnings) {
                report->out_of_memory = true;
                return;
        }
        verdict.error = find_new(before, after);
        verdict.warnings = warnings;
        verdict.recovers = has_code(after, statement, LINT_RECOVERY_PRINCIPAL);
        verdict.seals = has_code(after, statement, LINT_SEALER);
        report_grant(report, grant, &verdict, options);
        if (!grant->harmless && !verdict.error)
                remember(grants, own);
}

void audit_grants_together(AuditReport *report, const char *key, const char *policy,
                           const LintOptions *options, const AuditGrants *grants) {
        _cleanup_(lint_report_freep) LintReport *before = NULL, *after = NULL;
        _cleanup_free_ char *text = NULL;
        const LintFinding *error;
        size_t statement;

        if (!policy || grants->n < 2)
                return;
        if (policy_with(policy, grants->statements, &text, &statement) < 0 ||
            lint_policy(policy, strlen(policy), options, &before) < 0 ||
            lint_policy(text, strlen(text), options, &after) < 0) {
                report->out_of_memory = true;
                return;
        }
        error = find_new(before, after);
        if (error && cannot_be_judged(error))
                ADD(report, UNPROVEN, CHECK_GRANT, key, NULL,
                    "Revoke the grants that nobody needs (RevokeGrant).",
                    "The key has %zu grants that count, which cannot be judged together: %s", grants->n,
                    error->meaning);
        else if (error)
                ADD(report, ERROR, CHECK_GRANT, key, error->subject,
                    "Revoke the grants that nobody needs (RevokeGrant).",
                    "Each grant keeps the promises, but the grants together do not: %s", error->meaning);
}

/* Copies the marker of the next page. A page that has no marker although it is not the last one hides the rest. */
static void read_marker(AuditReport *report, const char *key, AuditSeverity severity, const char *operation,
                        struct json_object *answer, char **ret) {
        struct json_object *truncated = json_member(answer, "Truncated");
        const char *marker = json_member_string(answer, "NextMarker");

        *ret = NULL;
        if (!json_object_is_type(truncated, json_type_boolean) ||
            (json_object_get_boolean(truncated) && !marker))
                add(report,
                    &(const About){ .severity = severity,
                                    .check = CHECK_ANSWER,
                                    .key = key,
                                    .subject = operation },
                    "KMS does not say whether the list goes on.");
        else if (json_object_get_boolean(truncated)) {
                *ret = strdup(marker);
                report->out_of_memory |= !*ret;
        }
}

void audit_grants(AuditReport *report, const char *key, const char *body, size_t size, const char *policy,
                  const LintOptions *options, AuditGrants *grants, char **ret_marker) {
        _cleanup_json_ struct json_object *answer =
                        read_answer(report, key, AUDIT_UNPROVEN, "ListGrants", body, size);
        struct json_object *list = json_member(answer, "Grants");
        _cleanup_(lint_report_freep) LintReport *before = NULL;

        *ret_marker = NULL;
        if (!answer)
                return;
        if (!json_object_is_type(list, json_type_array)) {
                ADD(report, UNPROVEN, CHECK_ANSWER, key, "ListGrants", "",
                    "The answer has no list of grants.");
                return;
        }
        if (policy && lint_policy(policy, strlen(policy), options, &before) < 0) {
                report->out_of_memory = true;
                return;
        }
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                Grant grant;

                if (!read_grant(key, json_object_array_get_idx(list, i), &grant) || !policy)
                        ADD(report, UNPROVEN, CHECK_GRANT, key, grant.name,
                            "Revoke the grant (RevokeGrant).", "The grant cannot be judged: %s.",
                            policy ? "its grantee or its operations are not known"
                                   : "the policy is not known");
                else
                        judge_grant(report, &grant, policy, options, before, grants);
        }
        read_marker(report, key, AUDIT_UNPROVEN, "ListGrants", answer, ret_marker);
}

void audit_aliases(AuditReport *report, const char *key, const char *body, size_t size, char **ret_marker) {
        _cleanup_json_ struct json_object *answer =
                        read_answer(report, key, AUDIT_NOTE, "ListAliases", body, size);
        struct json_object *list = json_member(answer, "Aliases");

        *ret_marker = NULL;
        if (!answer)
                return;
        for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list);
             i++) {
                const char *name = json_member_string(json_object_array_get_idx(list, i), "AliasName");

                if (name)
                        ADD(report, NOTE, CHECK_ALIAS, key, name, "",
                            "The alias leads to the key. KeyId= names the key by its ARN, so whoever changes the alias changes nothing for unseald.");
        }
        read_marker(report, key, AUDIT_NOTE, "ListAliases", answer, ret_marker);
}

void audit_rotation(AuditReport *report, const char *key, const char *body, size_t size) {
        _cleanup_json_ struct json_object *answer =
                        read_answer(report, key, AUDIT_NOTE, "GetKeyRotationStatus", body, size);
        struct json_object *enabled = json_member(answer, "KeyRotationEnabled");
        char when[32];

        if (!json_object_is_type(enabled, json_type_boolean))
                return;
        if (json_object_get_boolean(enabled))
                ADD(report, NOTE, CHECK_ROTATION, key, NULL, "",
                    "KMS rotates the key material, next at %s. What is sealed stays readable.",
                    time_of(answer, "NextRotationDate", when));
        else
                ADD(report, NOTE, CHECK_ROTATION, key, NULL,
                    "EnableKeyRotation changes this, and needs no new ciphertext.",
                    "KMS does not rotate the key material by itself.");
}

void audit_last_usage(AuditReport *report, const char *key, const char *body, size_t size) {
        _cleanup_json_ struct json_object *answer =
                        read_answer(report, key, AUDIT_NOTE, "GetKeyLastUsage", body, size);
        struct json_object *usage = json_member(answer, "KeyLastUsage");
        char when[32];

        if (!answer)
                return;
        if (json_member_string(usage, "Operation"))
                ADD(report, NOTE, CHECK_LAST_USE, key, json_member_string(usage, "Operation"), "",
                    "The key was last used at %s. The event in CloudTrail is %s.",
                    time_of(usage, "Timestamp", when),
                    json_member_string(usage, "CloudTrailEventId") ?: "not known");
        else
                ADD(report, NOTE, CHECK_LAST_USE, key, NULL, "", "KMS knows of no use of the key since %s.",
                    time_of(answer, "TrackingStartDate", when));
}
