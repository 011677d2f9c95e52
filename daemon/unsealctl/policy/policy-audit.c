/* SPDX-License-Identifier: Apache-2.0 */

/*
 * unsealctl policy audit: asks KMS about a key, its replicas, aliases and grants, with the credentials of whoever calls. audit.h
 * judges the answers. Only operations that change nothing are called.
 */

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "aws/kms-key.h"
#include "basic/json.h"
#include "memory/secret.h"
#include "unsealctl/credentials.h"
#include "unsealctl/ctl.h"
#include "unsealctl/denied.h"
#include "unsealctl/kms-call.h"
#include "unsealctl/policy/audit.h"
#include "unsealctl/policy/policy.h"

/* Entries of a page, so that an answer stays below KMS_REPLY_MAX: a grant may have some KiB. */
#define PAGE_SIZE 20
#define PAGES_MAX 2500U

typedef struct Audit {
        PolicyArguments arguments;
        PolicyConnection connection;
        AwsCredentials credentials;
        AuditOptions options;
        AuditKeys keys; /* to audit; the first one is that of --key= */
        AuditReport report;
} Audit;

static void audit_done(Audit *audit) {
        policy_arguments_done(&audit->arguments);
        aws_credentials_clear(&audit->credentials);
        json_object_put(audit->options.wanted);
        audit_report_done(&audit->report);
}

/* One key, asked at the endpoint of its Region. */
typedef struct Asked {
        Audit *audit;
        const char *key;
        KmsCaller *caller;
} Asked;

static void page_request(const char *key, const char *marker, struct json_object **ret) {
        *ret = made(json_object_new_object());
        add_string(*ret, "KeyId", key);
        if (marker) {
                add(*ret, "Limit", made(json_object_new_int(PAGE_SIZE)));
                if (*marker)
                        add_string(*ret, "Marker", marker);
        }
}

/* marker: NULL: the operation has no pages; "": the first page. The caller frees *ret. */
static int ask(const Asked *asked, const char *operation, const char *marker, char **ret, size_t *ret_size,
               Error *error) {
        _cleanup_json_ struct json_object *request = NULL;

        page_request(asked->key, marker, &request);
        return kms_call(asked->caller, operation,
                        json_object_to_json_string_ext(
                                        request, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
                        ret, ret_size, error);
}

static int describe(const Asked *asked, Error *error) {
        _cleanup_erase_ char *answer = NULL;
        Audit *audit = asked->audit;
        size_t size;
        int r = ask(asked, "DescribeKey", NULL, &answer, &size, error);

        if (r < 0)
                audit_unanswered(&audit->report, asked->key, AUDIT_UNPROVEN, "DescribeKey", error);
        else
                audit_metadata(&audit->report, asked->key, answer, size, &audit->keys);
        return r;
}

/* The caller frees *ret_policy. */
static int read_policy(const Asked *asked, char **ret_policy, Error *error) {
        _cleanup_erase_ char *answer = NULL;
        Audit *audit = asked->audit;
        size_t size;
        int r = ask(asked, "GetKeyPolicy", NULL, &answer, &size, error);

        *ret_policy = NULL;
        if (r < 0)
                audit_unanswered(&audit->report, asked->key, AUDIT_UNPROVEN, "GetKeyPolicy", error);
        else
                audit_policy(&audit->report, asked->key, answer, size, &audit->options, ret_policy);
        return r;
}

/* policy: NULL for aliases. */
static void read_list(const Asked *asked, const char *operation, AuditSeverity severity,
                      const char *policy) {
        _cleanup_(audit_grants_done) AuditGrants together = {};
        _cleanup_free_ char *marker = strdup("");
        Audit *audit = asked->audit;
        bool grants = strcmp(operation, "ListGrants") == 0;
        Error error = {};

        for (size_t page = 0; marker && page < PAGES_MAX; page++) {
                _cleanup_erase_ char *answer = NULL;
                char *next = NULL;
                size_t size;

                if (ask(asked, operation, marker, &answer, &size, &error) < 0) {
                        audit_unanswered(&audit->report, asked->key, severity, operation, &error);
                        return;
                }
                if (grants)
                        audit_grants(&audit->report, asked->key, answer, size, policy, &audit->options.lint,
                                     &together, &next);
                else
                        audit_aliases(&audit->report, asked->key, answer, size, &next);
                free(marker);
                marker = next;
        }
        if (marker) {
                (void) error_set(&error, -E2BIG, FAILURE_ANSWER, "The list has more than %u pages.",
                                 PAGES_MAX);
                audit_unanswered(&audit->report, asked->key, severity, operation, &error);
        }
        if (grants)
                audit_grants_together(&audit->report, asked->key, policy, &audit->options.lint, &together);
}

typedef void (*Judge)(AuditReport *report, const char *key, const char *body, size_t size);

static void read_more(const Asked *asked, const char *operation, Judge judge) {
        _cleanup_erase_ char *answer = NULL;
        Error error = {};
        size_t size;

        if (ask(asked, operation, NULL, &answer, &size, &error) < 0)
                audit_unanswered(&asked->audit->report, asked->key, AUDIT_NOTE, operation, &error);
        else
                judge(&asked->audit->report, asked->key, answer, size);
}

static void say_administrator(const Error *error) {
        Denied denied;

        if (error->failure != FAILURE_DENIED || !denied_parse(error->text, &denied))
                return;
        (void) fprintf(stderr,
                       "unsealctl: Only a principal that may read the key can audit it. Use the credentials of an administrator of the key, or write its policy with \"unsealctl policy --admin=%s\" and its other options.\n",
                       denied.principal);
        if (denied.is_session)
                (void) fputs("unsealctl: " DENIED_PATH_HINT, stderr);
}

/* Returns 0, or the exit status where nothing is known about the key of --key=. */
static int audit_key(Audit *audit, size_t number) {
        _cleanup_(kms_caller_freep) KmsCaller *caller = NULL;
        _cleanup_free_ char *policy = NULL;
        char key[AUDIT_ARN_MAX];
        KmsCallerOptions kms = audit->connection.kms;
        Asked asked = { audit, key, NULL };
        Error error = {}, denied = {};
        KmsKeyArn arn;
        int described;

        (void) strcpy(key, audit->keys.arns[number]);
        (void) kms_key_arn_parse(key, &arn);
        kms.region = arn.region;
        kms.credentials = &audit->credentials;
        if (number > 0)
                kms.endpoint = NULL; /* --endpoint= is one of the first key's Region */
        if (kms_caller_new(&kms, &caller, &error) < 0) {
                if (number == 0)
                        return policy_kms_failure(&error);
                audit_unanswered(&audit->report, key, AUDIT_UNPROVEN, "DescribeKey", &error);
                return 0;
        }
        asked.caller = caller;
        described = describe(&asked, &error);
        if (read_policy(&asked, &policy, &denied) < 0 && described < 0 && number == 0) {
                int r = policy_kms_failure(&error);

                say_administrator(&error);
                return r;
        }
        read_list(&asked, "ListGrants", AUDIT_UNPROVEN, policy);
        read_list(&asked, "ListAliases", AUDIT_NOTE, NULL);
        read_more(&asked, "GetKeyRotationStatus", audit_rotation);
        read_more(&asked, "GetKeyLastUsage", audit_last_usage);
        return 0;
}

static void print_finding(const Audit *audit, const AuditFinding *finding) {
        printf("%s: %s: ", audit_severity_to_string(finding->severity), finding->code ?: finding->check);
        if (audit->keys.n > 1)
                printf("%s: ", finding->key);
        if (finding->statement > 0)
                printf("statement %zu: ", finding->statement);
        if (finding->subject)
                printf("%s: ", finding->subject);
        printf("%s%s%s\n", finding->text, *finding->advice ? " " : "", finding->advice);
}

static void print_text(const Audit *audit) {
        static const struct {
                AuditSeverity severity;
                const char *one, *many;
        } words[] = {
                { AUDIT_ERROR, "error", "errors" },
                { AUDIT_UNPROVEN, "not proven", "not proven" },
                { AUDIT_WARNING, "warning", "warnings" },
                { AUDIT_NOTE, "note", "notes" },
        };

        /* People read the first line: it must not be a note if the key is open. */
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                for (size_t j = 0; j < audit->report.n_findings; j++)
                        if (audit->report.findings[j].severity == words[i].severity)
                                print_finding(audit, &audit->report.findings[j]);
        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                size_t n = audit_count(&audit->report, words[i].severity);

                printf("%s%zu %s", i > 0 ? ", " : "", n, n == 1 ? words[i].one : words[i].many);
        }
        putchar('\n');
}

static void add_count(const Audit *audit, struct json_object *object, const char *name,
                      AuditSeverity severity) {
        add(object, name, made(json_object_new_int64((int64_t) audit_count(&audit->report, severity))));
}

static void print_json(const Audit *audit) {
        _cleanup_json_ struct json_object *object = made(json_object_new_object());
        struct json_object *keys = made(json_object_new_array()), *findings = made(json_object_new_array());

        add_count(audit, object, "errors", AUDIT_ERROR);
        add_count(audit, object, "notProven", AUDIT_UNPROVEN);
        add_count(audit, object, "warnings", AUDIT_WARNING);
        add_count(audit, object, "notes", AUDIT_NOTE);
        for (size_t i = 0; i < audit->keys.n; i++)
                json_object_array_add(keys, made(json_object_new_string(audit->keys.arns[i])));
        add(object, "keys", keys);
        add(object, "findings", findings);
        for (size_t i = 0; i < audit->report.n_findings; i++) {
                const AuditFinding *finding = &audit->report.findings[i];
                struct json_object *item = made(json_object_new_object());

                add_string(item, "check", finding->check);
                add_string(item, "code", finding->code);
                add_string(item, "severity",
                           finding->severity == AUDIT_UNPROVEN
                                           ? "notProven"
                                           : audit_severity_to_string(finding->severity));
                add_string(item, "key", finding->key);
                if (finding->statement > 0)
                        add(item, "statement", made(json_object_new_int64((int64_t) finding->statement)));
                add_string(item, "subject", finding->subject);
                add_string(item, "text", finding->text);
                add_string(item, "advice", *finding->advice ? finding->advice : NULL);
                json_object_array_add(findings, item);
        }
        puts(json_object_to_json_string_ext(object, KEY_POLICY_FORMAT) ?: "");
}

static int exit_status(const AuditReport *report) {
        if (audit_count(report, AUDIT_ERROR) > 0)
                return EXIT_ERRORS;
        if (audit_count(report, AUDIT_UNPROVEN) > 0)
                return EXIT_UNPROVEN;
        return audit_count(report, AUDIT_WARNING) > 0 ? EXIT_WARNINGS : EXIT_SUCCESS;
}

static void print_help(void) {
        printf("unsealctl policy audit [OPTIONS…] --key=ARN\n\n"
               "Judge a key as it is now: policy, grants, replicas, state and origin.\n\n"
               "  -h --help                Show this help\n"
               "     --key=ARN             The key\n"
               "     --measurements=FILE   Image that may unseal. Repeatable, as ARN and ID are\n"
               "     --principal=ARN --account=ID --org=ID --vpce=ID --lock-pcr=N\n"
               "     --generate-data-key[=NAME,…] --bind-account  Also compare the key's policy\n"
               "                           with the one that unsealctl policy writes with these\n"
               "     --admin=ARN           Principal that may change the policy\n"
               "     --sealer=ARN          Principal that may encrypt\n"
               "     --recovery-principal=ARN  Principal that may decrypt without attestation\n"
               "     --secure-boot --allow-drivers --no-pcr13 --measure-pcr=N  As for policy\n"
               "     --json                Print JSON\n"
               "     --profile=NAME        Use the credentials of this AWS profile\n"
               "     --fips --dual-stack   Use that kind of endpoint;  --endpoint=URL this one\n"
               "     --proxy=URL           An HTTP proxy\n"
               "     --trusted-certificates=FILE  Roots, not AWS_CA_BUNDLE or the system's\n\n"
               "Exit status: 0 at most notes, 1 failure, 2 usage, 3 warnings, 4 errors,\n"
               "5 not proven; if KMS says nothing about the key, as unsealctl seal.\n");
}

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "key", required_argument, NULL, OPTION_KEY },
        { "measurements", required_argument, NULL, OPTION_MEASUREMENTS },
        { "principal", required_argument, NULL, OPTION_PRINCIPAL },
        { "account", required_argument, NULL, OPTION_ACCOUNT },
        { "admin", required_argument, NULL, OPTION_ADMIN },
        { "sealer", required_argument, NULL, OPTION_SEALER },
        { "recovery-principal", required_argument, NULL, OPTION_RECOVERY_PRINCIPAL },
        { "org", required_argument, NULL, OPTION_ORG },
        { "vpce", required_argument, NULL, OPTION_VPCE },
        { "secure-boot", no_argument, NULL, OPTION_SECURE_BOOT },
        { "allow-drivers", no_argument, NULL, OPTION_ALLOW_DRIVERS },
        { "no-pcr13", no_argument, NULL, OPTION_NO_PCR13 },
        { "lock-pcr", required_argument, NULL, OPTION_LOCK_PCR },
        { "measure-pcr", required_argument, NULL, OPTION_MEASURE_PCR },
        { "generate-data-key", optional_argument, NULL, OPTION_GENERATE_DATA_KEY },
        { "bind-account", no_argument, NULL, OPTION_BIND_ACCOUNT },
        { "json", no_argument, NULL, OPTION_JSON },
        { "profile", required_argument, NULL, OPTION_PROFILE },
        { "fips", no_argument, NULL, OPTION_FIPS },
        { "dual-stack", no_argument, NULL, OPTION_DUAL_STACK },
        { "endpoint", required_argument, NULL, OPTION_ENDPOINT },
        { "proxy", required_argument, NULL, OPTION_PROXY },
        { "trusted-certificates", required_argument, NULL, OPTION_TRUSTED_CERTIFICATES },
        {},
};

/* Reads the files, and makes the policy that the key should have, if the options say enough. */
static int prepare(Audit *audit) {
        PolicyArguments *arguments = &audit->arguments;
        KmsKeyArn arn;
        int r;

        if (arguments->keys.n != 1)
                return usage_error("policy audit needs --key=ARN, once.");
        if (strlen(arguments->keys.items[0]) >= AUDIT_ARN_MAX ||
            kms_key_arn_parse(arguments->keys.items[0], &arn) < 0)
                return usage_error(
                                "--key=%s is no ARN of a KMS key. Expected one such as arn:aws:kms:eu-north-1:111122223333:key/...",
                                arguments->keys.items[0]);
        r = policy_arguments_load(arguments);
        if (r != 0)
                return r;
        if (arguments->policy.n_images > LINT_IMAGES_MAX)
                return usage_error("policy audit compares with up to %u files of --measurements=.",
                                   LINT_IMAGES_MAX);
        audit->options.lint = policy_lint_options(arguments);
        if (arguments->principals.n > 0 && arguments->policy.n_images > 0)
                r = policy_make(arguments, &audit->options.wanted);
        if (!audit->connection.kms.trusted_certificates)
                audit->connection.kms.trusted_certificates = environment("AWS_CA_BUNDLE");
        audit->keys.n = 1;
        (void) strcpy(audit->keys.arns[0], arguments->keys.items[0]);
        return r;
}

int policy_audit(int argc, char *argv[]) {
        _cleanup_(audit_done) Audit audit = {};
        _cleanup_free_ char *region = NULL;
        Error error = {};
        int c, r = 0;

        while (r == 0 && (c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0) {
                if (c == 'h') {
                        print_help();
                        return EXIT_SUCCESS;
                }
                if (!connection_set_option(&audit.connection, c, optarg))
                        r = policy_set_option(&audit.arguments, c, optarg);
        }
        if (r == 0 && optind < argc)
                r = usage_error("policy audit takes no argument.");
        if (r == 0)
                r = prepare(&audit);
        if (r != 0)
                return r;
        if (credentials_find(audit.connection.profile, &audit.credentials, &region, &error) < 0)
                return policy_kms_failure(&error);
        /* Each key may name further ones. */
        for (size_t i = 0; i < audit.keys.n; i++) {
                r = audit_key(&audit, i);
                if (r != 0)
                        return r;
        }
        if (audit.report.out_of_memory)
                return failure("Out of memory.");
        if (audit.arguments.json)
                print_json(&audit);
        else
                print_text(&audit);
        return exit_status(&audit.report);
}
