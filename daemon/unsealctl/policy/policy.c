/* SPDX-License-Identifier: Apache-2.0 */

/* unsealctl policy: writes key policies, and finds statements that give secrets away. This file works on texts, and calls no
 * service. policy-audit.c and policy-test.c ask KMS. */

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "basic/io.h"
#include "basic/json.h"
#include "basic/text.h"
#include "unsealctl/ctl.h"
#include "unsealctl/policy/policy.h"
#include "unsealctl/policy/statement.h"

#define FILE_SIZE_MAX (256U * 1024U)
void policy_arguments_done(PolicyArguments *options) {
        List *lists[] = { &options->principals, &options->accounts, &options->administrators,
                          &options->sealers,    &options->recovery, &options->organizations,
                          &options->endpoints,  &options->keys,     &options->generated };

        for (size_t i = 0; i < options->owned.n; i++)
                free((char *) options->owned.items[i]);
        free(options->owned.items);
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                free(lists[i]->items);
        measurement_files_done(&options->measurements);
}

static void print_help(void) {
        printf("unsealctl policy [OPTIONS…]\n"
               "unsealctl policy lint [OPTIONS…] POLICY\n"
               "unsealctl policy audit --key=ARN [OPTIONS…]\n"
               "unsealctl policy test --key=ARN [OPTIONS…]\n\n"
               "Write a policy that only attested images can use, or check a policy or a key.\n\n"
               "  -h --help                Show this help;  -o --output=FILE: write to a file\n"
               "     --measurements=FILE   Image that may unseal. Repeatable, as ARN and ID are\n"
               "     --principal=ARN       Role or user that unseals;  --account=ID: an account\n"
               "     --admin=ARN           Principal that may change the policy\n"
               "     --sealer=ARN          Principal that may encrypt\n"
               "     --recovery-principal=ARN  Principal that may decrypt without attestation\n"
               "     --org=ID --vpce=ID    Only in this organization, through this VPC endpoint\n"
               "     --secure-boot         Pin PCR7 too;  --lock-pcr=N: PCR N before the lock\n"
               "     --allow-drivers       Do not pin PCR2: allow third-party firmware drivers\n"
               "     --no-pcr13            Do not pin PCR13;  --measure-pcr=N: nor PCR N\n"
               "     --generate-data-key[=NAME,…]  Let KMS make these, or keys of no secret\n"
               "     --bind-account        Bind to the account;  --application: for unseald-kms\n"
               "     --role-policy         Write the role's identity policy;  --key=ARN: its key\n"
               "     --terraform, --cloudformation  Write the policy as such a resource\n"
               "     --json                Print findings as JSON (lint)\n\n"
               "Exit status: 0 done, 1 failure, 2 usage; lint: 3 warnings, 4 errors.\n");
}

static int list_add(List *list, const char *value) {
        const char **items = reallocarray(list->items, list->n + 2, sizeof(*items));

        if (!items)
                return failure("Out of memory.");
        list->items = items;
        items[list->n++] = value;
        items[list->n] = NULL;
        return 0;
}

/* The partition ("aws", "aws-cn", …) of the first ARN among the options. */
static int partition_length(const PolicyArguments *options, const char **ret) {
        const List *lists[] = { &options->administrators, &options->principals, &options->sealers,
                                &options->recovery, &options->keys };

        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                if (lists[i]->n > 0 && strncmp(lists[i]->items[0], "arn:", 4) == 0) {
                        *ret = lists[i]->items[0] + 4;
                        return (int) strcspn(*ret, ":");
                }
        *ret = "aws";
        return 3;
}

/* Adds each account as its root. */
static int add_accounts(PolicyArguments *options) {
        for (size_t i = 0; i < options->accounts.n; i++) {
                const char *partition, *account = options->accounts.items[i];
                int n = partition_length(options, &partition), r;
                char *arn;

                if (strlen(account) != 12 || strspn(account, "0123456789") != 12)
                        return usage_error("--account=%s is not an account ID. Give 12 digits.", account);
                if (asprintf(&arn, "arn:%.*s:iam::%s:root", n, partition, account) < 0)
                        return failure("Out of memory.");
                r = list_add(&options->owned, arn);
                if (r == 0)
                        r = list_add(&options->principals, arn);
                if (r != 0)
                        return r;
        }
        return 0;
}

/* Without --key= the policy is for all keys of the first administrator's account. */
static int add_key(PolicyArguments *options) {
        const char *partition;
        Caller caller;
        char *arn;
        int n;

        if (options->keys.n > 0)
                return 0;
        if (options->administrators.n == 0 || !caller_parse(options->administrators.items[0], &caller))
                return usage_error(
                                "--role-policy needs --key=ARN, or --admin=ARN for all keys of that account.");
        n = partition_length(options, &partition);
        if (asprintf(&arn, "arn:%.*s:kms:*:%s:key/*", n, partition, caller.account) < 0)
                return failure("Out of memory.");
        return list_add(&options->owned, arn) ?: list_add(&options->keys, arn);
}

/* Terraform expands ${ and %{ in a here document. Doubling the first character prevents that. */
static void print_here_document(const char *text, FILE *stream) {
        for (; *text; text++) {
                if ((*text == '$' || *text == '%') && text[1] == '{')
                        fputc(*text, stream);
                fputc(*text, stream);
        }
}

static void print_terraform(const PolicyArguments *options, const char *text, FILE *stream) {
        bool key = !options->role_policy;

        fprintf(stream, "resource \"%s\" \"unseald\" {\n", key ? "aws_kms_key" : "aws_iam_policy");
        fprintf(stream, "  description = \"%s\"\n",
                key ? "Secrets for attested instances" : "Unseal with unseald");
        if (key && options->administrators.n == 0)
                fputs("  bypass_policy_lockout_safety_check = true\n", stream);
        fputs("  policy = <<POLICY\n", stream);
        print_here_document(text, stream);
        fputs("\nPOLICY\n}\n", stream);
}

static int print_cloudformation(const PolicyArguments *options, struct json_object *policy, FILE *stream) {
        bool key = !options->role_policy;
        struct json_object *template;
        const char *text;

        template = json_tokener_parse(
                        key ? "{\"AWSTemplateFormatVersion\": \"2010-09-09\", \"Resources\": {\"UnsealdKey\": {\"Type\": \"AWS::KMS::Key\", \"DeletionPolicy\": \"Retain\", \"Properties\": {\"Description\": \"Secrets for attested instances\"}}}}"
                            : "{\"AWSTemplateFormatVersion\": \"2010-09-09\", \"Resources\": {\"UnsealdPolicy\": {\"Type\": \"AWS::IAM::ManagedPolicy\", \"Properties\": {\"Description\": \"Unseal with unseald\"}}}}");
        struct json_object *properties = json_pointer(template, key ? "/Resources/UnsealdKey/Properties"
                                                                    : "/Resources/UnsealdPolicy/Properties");

        if (!properties ||
            json_object_object_add(properties, key ? "KeyPolicy" : "PolicyDocument",
                                   json_object_get(policy)) < 0 ||
            (key && options->administrators.n == 0 &&
             json_object_object_add(properties, "BypassPolicyLockoutSafetyCheck",
                                    json_object_new_boolean(true)) < 0) ||
            !(text = json_object_to_json_string_ext(template, KEY_POLICY_FORMAT))) {
                json_object_put(template);
                return failure("Out of memory.");
        }
        fprintf(stream, "%s\n", text);
        json_object_put(template);
        return EXIT_SUCCESS;
}

static int print_policy(const PolicyArguments *options, struct json_object *policy, FILE *stream) {
        const char *text;

        if (options->format == FORMAT_CLOUDFORMATION)
                return print_cloudformation(options, policy, stream);
        text = json_object_to_json_string_ext(policy, KEY_POLICY_FORMAT);
        if (!text)
                return failure("Out of memory.");
        if (options->format == FORMAT_TERRAFORM)
                print_terraform(options, text, stream);
        else
                fprintf(stream, "%s\n", text);
        return EXIT_SUCCESS;
}

/* Replaces the file only when the whole policy is there. */
static int write_policy(const PolicyArguments *options, struct json_object *policy) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        bool incomplete;
        FILE *stream;
        int r;

        if (!options->output || strcmp(options->output, "-") == 0)
                return print_policy(options, policy, stdout);
        stream = open_memstream(&text, &size);
        if (!stream)
                return failure("Out of memory.");
        r = print_policy(options, policy, stream);
        incomplete = ferror(stream) != 0;
        if (fclose(stream) != 0 || incomplete)
                return failure("Out of memory.");
        if (r != EXIT_SUCCESS)
                return r;
        r = write_file_atomic(options->output, text, size, 0644);
        return r < 0 ? failure("Cannot write %s: %s.", options->output, strerror(-r)) : EXIT_SUCCESS;
}

static int failed(const Error *error) {
        return error->failure == FAILURE_USAGE ? usage_error("%s", error->text) : failure("%s", error->text);
}

int policy_make(PolicyArguments *arguments, struct json_object **ret) {
        Error error = {};

        return key_policy_make(&arguments->policy, ret, &error) < 0 ? failed(&error) : 0;
}

static int make_role_policy(PolicyArguments *options, struct json_object **ret) {
        Error error = {};
        int r = add_key(options);

        if (r != 0)
                return r;
        return role_policy_make(&options->policy, options->keys.items, ret, &error) < 0 ? failed(&error) : 0;
}

static int make(PolicyArguments *options) {
        _cleanup_json_ struct json_object *policy = NULL;
        int r = options->role_policy ? make_role_policy(options, &policy) : policy_make(options, &policy);

        if (r != 0)
                return r;
        if (!options->role_policy && options->administrators.n == 0)
                fputs("unsealctl: Nobody can ever change this policy without --admin=, and KMS accepts it only with BypassPolicyLockoutSafetyCheck.\n",
                      stderr);
        return write_policy(options, policy);
}

/* The policy may be hostile, so control characters do not reach the terminal. */
static void print_clean(const char *text) {
        _cleanup_free_ char *copy = strdup(text);

        fputs(copy ? text_clean(copy) : "?", stdout);
}

static void print_finding(const LintFinding *finding) {
        printf("%s: %s: ", lint_severity_to_string(finding->severity), lint_code_to_string(finding->code));
        if (finding->statement > 0)
                printf("statement %zu", finding->statement);
        else
                fputs("the policy", stdout);
        if (finding->sid) {
                fputs(" \"", stdout);
                print_clean(finding->sid);
                putchar('"');
        }
        if (finding->subject) {
                fputs(", ", stdout);
                print_clean(finding->subject);
        }
        fputs(": ", stdout);
        print_clean(finding->meaning);
        printf(" %s\n", lint_code_advice(finding->code));
}

static void print_text(const LintReport *report) {
        size_t errors = lint_count(report, LINT_ERROR), warnings = lint_count(report, LINT_WARNING),
               notes = lint_count(report, LINT_NOTE);

        /* People read the first line: it must not be a note if the key is open. */
        for (int severity = LINT_ERROR; severity >= LINT_NOTE; severity--)
                for (size_t i = 0; i < report->n_findings; i++)
                        if (report->findings[i].severity == (LintSeverity) severity)
                                print_finding(&report->findings[i]);
        printf("%zu error%s, %zu warning%s, %zu note%s\n", errors, errors == 1 ? "" : "s", warnings,
               warnings == 1 ? "" : "s", notes, notes == 1 ? "" : "s");
}

static void print_json(const LintReport *report) {
        _cleanup_json_ struct json_object *object = made(json_object_new_object());
        struct json_object *findings = made(json_object_new_array());

        add(object, "errors", made(json_object_new_int64((int64_t) lint_count(report, LINT_ERROR))));
        add(object, "warnings", made(json_object_new_int64((int64_t) lint_count(report, LINT_WARNING))));
        add(object, "notes", made(json_object_new_int64((int64_t) lint_count(report, LINT_NOTE))));
        add(object, "findings", findings);
        for (size_t i = 0; i < report->n_findings; i++) {
                const LintFinding *finding = &report->findings[i];
                struct json_object *item = made(json_object_new_object());

                add_string(item, "code", lint_code_to_string(finding->code));
                add_string(item, "severity", lint_severity_to_string(finding->severity));
                if (finding->statement > 0)
                        add(item, "statement", made(json_object_new_int64((int64_t) finding->statement)));
                add_string(item, "sid", finding->sid);
                add_string(item, "subject", finding->subject);
                add_string(item, "meaning", finding->meaning);
                add_string(item, "advice", lint_code_advice(finding->code));
                if (json_object_array_add(findings, item) < 0)
                        exit(failure("Out of memory."));
        }
        puts(json_object_to_json_string_ext(object, KEY_POLICY_FORMAT) ?: "");
}

LintOptions policy_lint_options(const PolicyArguments *options) {
        return (LintOptions){
                .images = options->policy.images,
                .n_images = options->policy.n_images,
                .expectation = options->policy.expectation,
                .administrators = options->administrators.items,
                .recovery_principals = options->recovery.items,
                .sealers = options->sealers.items,
                .application = options->policy.application,
        };
}

static int lint(const PolicyArguments *options) {
        const LintOptions lint_options = policy_lint_options(options);
        _cleanup_(lint_report_freep) LintReport *report = NULL;
        _cleanup_free_ uint8_t *text = NULL;
        size_t size;
        int r;

        if (options->policy.n_images > LINT_IMAGES_MAX)
                return usage_error("policy lint compares with up to %u files of --measurements=.",
                                   LINT_IMAGES_MAX);
        r = read_argument(options->file, FILE_SIZE_MAX, &text, &size);
        if (r != 0)
                return r;
        if (lint_policy((const char *) text, size, &lint_options, &report) < 0)
                return failure("Out of memory.");
        if (options->json)
                print_json(report);
        else
                print_text(report);
        if (lint_count(report, LINT_ERROR) > 0)
                return EXIT_ERRORS;
        return lint_count(report, LINT_WARNING) > 0 ? EXIT_WARNINGS : EXIT_SUCCESS;
}

static const struct option policy_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "output", required_argument, NULL, 'o' },
        { "measurements", required_argument, NULL, OPTION_MEASUREMENTS },
        { "principal", required_argument, NULL, OPTION_PRINCIPAL },
        { "account", required_argument, NULL, OPTION_ACCOUNT },
        { "admin", required_argument, NULL, OPTION_ADMIN },
        { "sealer", required_argument, NULL, OPTION_SEALER },
        { "recovery-principal", required_argument, NULL, OPTION_RECOVERY_PRINCIPAL },
        { "org", required_argument, NULL, OPTION_ORG },
        { "vpce", required_argument, NULL, OPTION_VPCE },
        { "key", required_argument, NULL, OPTION_KEY },
        { "secure-boot", no_argument, NULL, OPTION_SECURE_BOOT },
        { "allow-drivers", no_argument, NULL, OPTION_ALLOW_DRIVERS },
        { "no-pcr13", no_argument, NULL, OPTION_NO_PCR13 },
        { "lock-pcr", required_argument, NULL, OPTION_LOCK_PCR },
        { "measure-pcr", required_argument, NULL, OPTION_MEASURE_PCR },
        { "generate-data-key", optional_argument, NULL, OPTION_GENERATE_DATA_KEY },
        { "bind-account", no_argument, NULL, OPTION_BIND_ACCOUNT },
        { "application", no_argument, NULL, OPTION_APPLICATION },
        { "role-policy", no_argument, NULL, OPTION_ROLE_POLICY },
        { "terraform", no_argument, NULL, OPTION_TERRAFORM },
        { "cloudformation", no_argument, NULL, OPTION_CLOUDFORMATION },
        {},
};

static const struct option lint_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "measurements", required_argument, NULL, OPTION_MEASUREMENTS },
        { "admin", required_argument, NULL, OPTION_ADMIN },
        { "recovery-principal", required_argument, NULL, OPTION_RECOVERY_PRINCIPAL },
        { "sealer", required_argument, NULL, OPTION_SEALER },
        { "secure-boot", no_argument, NULL, OPTION_SECURE_BOOT },
        { "allow-drivers", no_argument, NULL, OPTION_ALLOW_DRIVERS },
        { "no-pcr13", no_argument, NULL, OPTION_NO_PCR13 },
        { "application", no_argument, NULL, OPTION_APPLICATION },
        { "measure-pcr", required_argument, NULL, OPTION_MEASURE_PCR },
        { "json", no_argument, NULL, OPTION_JSON },
        {},
};

static List *list_of(PolicyArguments *options, int option) {
        switch (option) {
        case OPTION_PRINCIPAL:
                return &options->principals;
        case OPTION_ACCOUNT:
                return &options->accounts;
        case OPTION_ADMIN:
                return &options->administrators;
        case OPTION_SEALER:
                return &options->sealers;
        case OPTION_RECOVERY_PRINCIPAL:
                return &options->recovery;
        case OPTION_ORG:
                return &options->organizations;
        case OPTION_VPCE:
                return &options->endpoints;
        case OPTION_KEY:
                return &options->keys;
        default:
                return NULL;
        }
}

/* Returns 0: this is no PCR that LockPcr= or MeasurePcr= takes. */
static unsigned parse_pcr(const char *value) {
        char *end;
        unsigned long n = strtoul(value, &end, 10);

        return value[0] >= '1' && value[0] <= '9' && !*end && n < PCR_COUNT && pcr_is_free((unsigned) n)
                               ? (unsigned) n
                               : 0;
}

static int set_lock_pcr(PolicyArguments *options, const char *value) {
        options->policy.expectation.lock_pcr = parse_pcr(value);
        return options->policy.expectation.lock_pcr != 0
                               ? 0
                               : usage_error("--lock-pcr=%s: this is not a PCR that can be locked. Give 8, 13, 14 or 15.",
                                             value);
}

static int add_measured_pcr(PolicyArguments *options, const char *value) {
        unsigned pcr = parse_pcr(value);

        if (pcr == 0)
                return usage_error(
                                "--measure-pcr=%s: this is not a PCR that MeasurePcr= takes. Give 8, 13, 14 or 15.",
                                value);
        options->policy.expectation.measured |= UINT32_C(1) << pcr;
        return 0;
}

/* names: of secrets that KMS makes, separated by commas. NULL: data keys that are none of unseald's secrets. */
static int allow_data_keys(PolicyArguments *options, const char *names) {
        int r = 0;

        if (!names) {
                options->policy.generate_data_key = true;
                return 0;
        }
        for (const char *name = names; name && r == 0;) {
                const char *comma = strchrnul(name, ',');
                char *copy = strndup(name, (size_t) (comma - name));

                if (!copy)
                        return failure("Out of memory.");
                r = list_add(&options->owned, copy) ?: list_add(&options->generated, copy);
                name = *comma ? comma + 1 : NULL;
        }
        return r;
}

int policy_set_option(PolicyArguments *options, int option, const char *value) {
        List *list = list_of(options, option);

        if (list)
                return list_add(list, value);
        switch (option) {
        case 'o':
                options->output = value;
                return 0;
        case OPTION_MEASUREMENTS:
                return measurement_files_add(&options->measurements, value);
        case OPTION_SECURE_BOOT:
                options->policy.expectation.secure_boot = true;
                return 0;
        case OPTION_ALLOW_DRIVERS:
                options->policy.expectation.any_drivers = true;
                return 0;
        case OPTION_NO_PCR13:
                options->policy.expectation.any_extensions = true;
                return 0;
        case OPTION_LOCK_PCR:
                return set_lock_pcr(options, value);
        case OPTION_MEASURE_PCR:
                return add_measured_pcr(options, value);
        case OPTION_GENERATE_DATA_KEY:
                return allow_data_keys(options, value);
        case OPTION_APPLICATION:
                options->policy.application = true;
                return 0;
        case OPTION_BIND_ACCOUNT:
                options->policy.bind_account = true;
                return 0;
        case OPTION_ROLE_POLICY:
                options->role_policy = true;
                return 0;
        case OPTION_TERRAFORM:
        case OPTION_CLOUDFORMATION:
                options->format = option == OPTION_TERRAFORM ? FORMAT_TERRAFORM : FORMAT_CLOUDFORMATION;
                return 0;
        case OPTION_JSON:
                options->json = true;
                return 0;
        default:
                return EXIT_USAGE;
        }
}

bool connection_set_option(PolicyConnection *connection, int option, const char *value) {
        switch (option) {
        case OPTION_PROFILE:
                connection->profile = value;
                return true;
        case OPTION_FIPS:
                connection->kms.fips = true;
                return true;
        case OPTION_DUAL_STACK:
                connection->kms.dual_stack = true;
                return true;
        case OPTION_ENDPOINT:
                connection->kms.endpoint = value;
                return true;
        case OPTION_PROXY:
                connection->kms.proxy = value;
                return true;
        case OPTION_TRUSTED_CERTIFICATES:
                connection->kms.trusted_certificates = value;
                return true;
        default:
                return false;
        }
}

int policy_kms_failure(const Error *error) {
        (void) failure("%s%s%s%s", error->text, *error->request_id ? " (Request " : "", error->request_id,
                       *error->request_id ? ")" : "");
        return (int) error->failure;
}

int policy_arguments_load(PolicyArguments *options) {
        int r = measurement_files_load(&options->measurements);

        if (r == 0)
                r = add_accounts(options);
        if (r != 0)
                return r;
        options->policy.images = options->measurements.sets;
        options->policy.n_images = options->measurements.n;
        options->policy.principals = options->principals.items;
        options->policy.administrators = options->administrators.items;
        options->policy.sealers = options->sealers.items;
        options->policy.recovery_principals = options->recovery.items;
        options->policy.organizations = options->organizations.items;
        options->policy.vpc_endpoints = options->endpoints.items;
        options->policy.generated = options->generated.items;
        return 0;
}

int verb_policy(int argc, char *argv[]) {
        _cleanup_(policy_arguments_done) PolicyArguments options = {};
        const char *word = argc > 1 ? argv[1] : "";
        bool is_lint = strcmp(word, "lint") == 0;
        int c, r;

        if (is_lint || strcmp(word, "audit") == 0 || strcmp(word, "test") == 0) {
                argv[1] = argv[0];
                argv++;
                argc--;
        }
        if (strcmp(word, "audit") == 0)
                return policy_audit(argc, argv);
        if (strcmp(word, "test") == 0)
                return policy_test(argc, argv);
        while ((c = getopt_long(argc, argv, is_lint ? "h" : "ho:", is_lint ? lint_options : policy_options,
                                NULL)) >= 0) {
                if (c == 'h') {
                        print_help();
                        return EXIT_SUCCESS;
                }
                r = policy_set_option(&options, c, optarg);
                if (r != 0)
                        return r;
        }
        if (argc - optind != (is_lint ? 1 : 0))
                return usage_error(is_lint ? "policy lint needs one policy. - is standard input."
                                           : "policy takes no argument except lint, audit and test.");
        r = policy_arguments_load(&options);
        if (r != 0)
                return r;
        options.file = argv[optind];
        return is_lint ? lint(&options) : make(&options);
}
