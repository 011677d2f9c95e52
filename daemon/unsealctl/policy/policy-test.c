/* SPDX-License-Identifier: Apache-2.0 */

/*
 * unsealctl policy test: asks KMS by dry runs, with the credentials of whoever calls, whether the key opens for this machine's
 * document, and that it opens for nothing else. KMS decrypts nothing, and no ciphertext is needed. PutKeyPolicy and its like have no
 * dry run: lint judges them, if the caller may read the policy.
 */

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "aws/kms-key.h"
#include "basic/clock.h"
#include "basic/io.h"
#include "basic/json.h"
#include "config/ini.h"
#include "kms/exchange.h"
#include "kms/recipient.h"
#include "memory/secret.h"
#include "tpm/nitrotpm.h"
#include "unsealctl/credentials.h"
#include "unsealctl/ctl.h"
#include "unsealctl/denied.h"
#include "unsealctl/kms-call.h"
#include "unsealctl/policy/lint.h"
#include "unsealctl/policy/policy.h"
#include "unsealctl/verify-input.h"

#define TPM_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define DEVICE "/dev/tpm0"

typedef struct Options {
        const char *key, *device, *other, *other_key;
        char **context, **administrators; /* owned */
        bool json;
        PolicyConnection connection;
} Options;

static void options_done(Options *options) {
        strings_free(options->context);
        strings_free(options->administrators);
}

typedef enum Answer {
        ANSWER_NOT_ASKED,
        ANSWER_DENIED,
        ANSWER_ALLOWED,
        ANSWER_UNKNOWN,
} Answer;

typedef struct Question {
        const char *operation, *document; /* for people */
        const char *tag;                  /* of the document, in JSON */
        const char *harm;                 /* what a caller gets that KMS should deny */
        bool wanted;                      /* KMS should allow it */
        Answer answer;
        const char *why_not; /* NOT_ASKED */
        Error error;         /* UNKNOWN */
        Denied denied;       /* DENIED: whom KMS refused; empty: it did not say */
} Question;

/* New questions come last: scripts may count them. */
enum {
        OWN,
        NONE,
        OTHER,
        DATA_KEY,
        ENCRYPT,
        DATA_KEY_WITHOUT_PLAINTEXT,
        DATA_KEY_PAIR,
        DATA_KEY_PAIR_WITHOUT_PLAINTEXT,
        RE_ENCRYPT,
        RE_ENCRYPT_FROM,
        RE_ENCRYPT_TO,
        CREATE_GRANT,
        PUT_KEY_POLICY,
        REPLICATE_KEY,
        IMPORT_KEY_MATERIAL,
        DATA_KEY_OF_ANY_NAME,
        _QUESTIONS,
};

/* The policy of a key that makes values (Generate=) names them. It names no secret of this name. */
#define ANY_NAME "unseald:secret=unsealctl-policy-test"

#define NOT_FIRST "KMS did not allow the first request"
#define NO_OTHER_KEY "no --other-key="
#define READS "The caller reads the secrets without a document."
#define CHOOSES "The caller makes ciphertext, and so chooses the secrets of the machines."
#define RE_ENCRYPTS \
        "The caller re-encrypts a secret to a key of its own, and reads it there without a document."

static const Question questions[_QUESTIONS] = {
        [OWN] = { "Decrypt", "this machine's document", "own", .wanted = true },
        [NONE] = { "Decrypt", "no document", "none", READS },
        [OTHER] = { "Decrypt", "the other document", "other",
                    "The machine of that document reads the secrets. If it may, because it booted what this key is for, give the document of another one.",
                    .why_not = "no --other-document=" },
        [DATA_KEY] = { "GenerateDataKey", "no document", "none", CHOOSES, .why_not = NOT_FIRST },
        [ENCRYPT] = { "Encrypt", "no document", "none", CHOOSES, .why_not = NOT_FIRST },
        [DATA_KEY_WITHOUT_PLAINTEXT] = { "GenerateDataKeyWithoutPlaintext", "no document", "none", CHOOSES,
                                         .why_not = NOT_FIRST },
        [DATA_KEY_PAIR] = { "GenerateDataKeyPair", "no document", "none", CHOOSES, .why_not = NOT_FIRST },
        [DATA_KEY_PAIR_WITHOUT_PLAINTEXT] = { "GenerateDataKeyPairWithoutPlaintext", "no document", "none",
                                              CHOOSES, .why_not = NOT_FIRST },
        [RE_ENCRYPT] = { "ReEncrypt", "the same key", "none", RE_ENCRYPTS },
        [RE_ENCRYPT_FROM] = { "ReEncryptFrom", "the other key", "none", RE_ENCRYPTS,
                              .why_not = NO_OTHER_KEY },
        [RE_ENCRYPT_TO] = { "ReEncryptTo", "the other key", "none", CHOOSES, .why_not = NO_OTHER_KEY },
        [CREATE_GRANT] = { "CreateGrant", "Decrypt for an account", "none",
                           "The caller makes a grant, with which anyone decrypts without a document." },
        [PUT_KEY_POLICY] = { "PutKeyPolicy", "the policy's text", "none",
                             "A principal that unseals puts another policy, and then reads the secrets.",
                             .why_not = NOT_FIRST },
        [REPLICATE_KEY] = { "ReplicateKey", "the policy's text", "none",
                            "A principal that unseals makes a replica with a policy of its own.",
                            .why_not = NOT_FIRST },
        [IMPORT_KEY_MATERIAL] = { "ImportKeyMaterial", "the policy's text", "none",
                                  "A principal that unseals brings key material of its own into use.",
                                  .why_not = NOT_FIRST },
        [DATA_KEY_OF_ANY_NAME] = { "GenerateDataKey", "any secret's name", "own",
                                   "With a document, which is no secret, the caller gets a ciphertext of a value that nobody knows, and can put it in the place of any secret.",
                                   .why_not = NOT_FIRST },
};

typedef struct Test {
        const Options *options;
        KmsCaller *caller;
        Question questions[_QUESTIONS];
        uint8_t *own, *other; /* documents; NULL: none */
        size_t own_size, other_size;
} Test;

static void test_done(Test *test) {
        kms_caller_free(test->caller);
        free(test->own);
        free(test->other);
}

static void ask_kms(Test *test, const KmsDryRun *dry_run, Question *question) {
        _cleanup_erase_ char *answer = NULL;
        _cleanup_free_ char *body = NULL;
        Error refusal = {};
        size_t answer_size = 0;
        bool open;
        int r = kms_dry_run_request(dry_run, &body);

        question->answer = ANSWER_UNKNOWN;
        if (r < 0) {
                (void) error_set(&question->error, r, FAILURE_REQUEST, "The request cannot be made: %s.",
                                 strerror(-r));
                return;
        }
        r = kms_call(test->caller, dry_run->operation, body, &answer, &answer_size, &refusal);
        if (kms_probe_reply(r, answer, answer_size, &refusal, &open, &question->error) >= 0)
                question->answer = open ? ANSWER_ALLOWED : ANSWER_DENIED;
        if (r >= 0 && question->answer == ANSWER_ALLOWED)
                (void) fprintf(stderr,
                               "unsealctl: The server ignored DryRun and did %s. Check --endpoint=: it is not KMS, or not all of it.%s\n",
                               dry_run->operation,
                               dry_run->grantee
                                               ? " Find the new grant with ListGrants, and revoke it (RevokeGrant)."
                                               : "");
        if (question->answer == ANSWER_DENIED)
                (void) denied_parse(refusal.text, &question->denied);
}

static void ask(Test *test, size_t number, const uint8_t *document, size_t size) {
        const KmsDryRun dry_run = {
                .operation = questions[number].operation,
                .key_arn = test->options->key,
                .encryption_context = (const char *const *) test->options->context,
                .document = { document, size },
        };

        ask_kms(test, &dry_run, &test->questions[number]);
}

/* With this machine's document KMS may make the values that the policy names, and no others. */
static int ask_any_name(Test *test) {
        static const char key[] = "unseald:secret=";
        _cleanup_free_ const char **context =
                        calloc(strings_count(test->options->context) + 2, sizeof(*context));
        size_t n = 0;

        if (!context)
                return failure("Out of memory.");
        for (char **pair = test->options->context; pair && *pair; pair++)
                if (strncmp(*pair, key, strlen(key)) != 0)
                        context[n++] = *pair;
        context[n] = ANY_NAME;
        ask_kms(test,
                &(const KmsDryRun){ .operation = "GenerateDataKey",
                                    .key_arn = test->options->key,
                                    .encryption_context = context,
                                    .document = { test->own, test->own_size } },
                &test->questions[DATA_KEY_OF_ANY_NAME]);
        return 0;
}

static void ask_re_encryption(Test *test, const char *from, const char *to, Question *question) {
        const KmsDryRun dry_run = {
                .operation = "ReEncrypt",
                .key_arn = from,
                .destination_arn = to,
                .encryption_context = (const char *const *) test->options->context,
        };

        ask_kms(test, &dry_run, question);
}

/* KMS denies ReEncrypt if either key denies its half. So a denial shows something of --key= only if the other key allows both. */
static void ask_with_other_key(Test *test) {
        const char *key = test->options->key, *other = test->options->other_key;
        Question *from = &test->questions[RE_ENCRYPT_FROM], *to = &test->questions[RE_ENCRYPT_TO],
                 control = { .operation = "ReEncrypt" };

        ask_re_encryption(test, other, other, &control);
        if (control.answer == ANSWER_DENIED)
                (void) error_set(
                                &control.error, -EACCES, FAILURE_DENIED,
                                "The key of --other-key= denies ReEncrypt, too, so a denial shows nothing. Give a key that these credentials may re-encrypt from and to.");
        if (control.answer != ANSWER_ALLOWED) {
                control.answer = ANSWER_UNKNOWN;
                from->answer = to->answer = ANSWER_UNKNOWN;
                from->error = to->error = control.error;
                return;
        }
        ask_re_encryption(test, key, other, from);
        if (test->questions[OWN].answer == ANSWER_ALLOWED)
                ask_re_encryption(test, other, key, to);
        else
                to->why_not = NOT_FIRST;
}

/* The grant would be for the account of the key, which exists for sure. */
static int ask_grant(Test *test) {
        _cleanup_free_ char *grantee = NULL;
        KmsKeyArn arn;

        (void) kms_key_arn_parse(test->options->key, &arn);
        if (asprintf(&grantee, "arn:%s:iam::%s:root", arn.partition, arn.account) < 0)
                return failure("Out of memory.");
        ask_kms(test,
                &(const KmsDryRun){ .operation = "CreateGrant",
                                    .key_arn = test->options->key,
                                    .grantee = grantee },
                &test->questions[CREATE_GRANT]);
        return 0;
}

/* Reads the policy, which the caller frees. NULL: KMS does not show it. */
static int read_policy(Test *test, char **ret) {
        _cleanup_json_ struct json_object *request = made(json_object_new_object()), *answer = NULL;
        _cleanup_erase_ char *body = NULL;
        const char *policy;
        Error error = {};
        size_t size;

        *ret = NULL;
        add_string(request, "KeyId", test->options->key);
        add_string(request, "PolicyName", "default");
        if (kms_call(test->caller, "GetKeyPolicy",
                     json_object_to_json_string_ext(request,
                                                    JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
                     &body, &size, &error) < 0 ||
            json_parse(body, size, &answer) < 0)
                return 0;
        policy = json_member_string(answer, "Policy");
        if (policy && !(*ret = strdup(policy)))
                return failure("Out of memory.");
        return 0;
}

static bool has_error(const LintReport *report, LintCode code) {
        for (size_t i = 0; i < report->n_findings; i++)
                if (report->findings[i].code == code && report->findings[i].severity == LINT_ERROR)
                        return true;
        return false;
}

/* PutKeyPolicy and its like have no dry run (KMS Developer Guide, "Testing your permissions"). */
static int judge_policy(Test *test) {
        static const struct {
                size_t question;
                LintCode code;
        } rows[] = {
                { PUT_KEY_POLICY, LINT_PUT_KEY_POLICY },
                { REPLICATE_KEY, LINT_REPLICATE_KEY },
                { IMPORT_KEY_MATERIAL, LINT_IMPORT_KEY_MATERIAL },
        };
        const LintOptions options = { .administrators =
                                                      (const char *const *) test->options->administrators };
        _cleanup_(lint_report_freep) LintReport *report = NULL;
        _cleanup_free_ char *policy = NULL;
        int r = read_policy(test, &policy);

        if (r != 0)
                return r;
        if (policy && lint_policy(policy, strlen(policy), &options, &report) < 0)
                return failure("Out of memory.");
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Question *question = &test->questions[rows[i].question];

                if (!policy)
                        question->why_not =
                                        "KMS has no dry run of it, and does not show the policy. \"unsealctl policy audit\" looks for it";
                else if (has_error(report, LINT_MALFORMED) || has_error(report, LINT_TOO_CLEVER) ||
                         has_error(report, LINT_TOO_LARGE)) {
                        question->answer = ANSWER_UNKNOWN;
                        (void) error_set(
                                        &question->error, -EBADMSG, FAILURE_ANSWER,
                                        "The policy cannot be judged. \"unsealctl policy audit\" says why.");
                } else
                        question->answer = has_error(report, rows[i].code) ? ANSWER_ALLOWED : ANSWER_DENIED;
        }
        return 0;
}

/* The document is for a key pair that is thrown away: a dry run encrypts nothing to it. */
static int get_document(Test *test, const char *device) {
        _cleanup_(recipient_freep) Recipient *recipient = NULL;
        Error error = {};

        if (recipient_new(2048, &recipient, &error) >= 0) {
                const NsmRequest request = { .public_key = recipient_public_key(recipient) };

                if (document_get(device, &request, TPM_TIMEOUT_USEC, &test->own, &test->own_size, &error) >=
                    0)
                        return 0;
        }
        (void) failure("%s", error.text);
        return (int) error.failure;
}

/* Takes the forms that verify takes, and says what is none, before KMS says only that it is malformed. */
static int read_other_document(Test *test) {
        const char *path = test->options->other;
        int r = read_argument(path, 4 * KMS_DOCUMENT_MAX, &test->other, &test->other_size);
        InputForm form;

        if (r != 0)
                return r;
        if (document_unwrap(&test->other, &test->other_size) < 0)
                return failure("Out of memory.");
        form = document_form(test->other, test->other_size);
        if (form != INPUT_BINARY)
                return failure("%s is no attestation document: it is %s%s. Expected what \"unsealctl attest --public-key=\" writes, as it is or in base64.",
                               path, form == INPUT_HEX ? "hexadecimal" : input_form_name(form),
                               form == INPUT_BASE64 || form == INPUT_HEX ? " of something else" : "");
        if (test->other_size > KMS_DOCUMENT_MAX)
                return failure("%s has more than %u bytes, and KMS takes no longer document.", path,
                               KMS_DOCUMENT_MAX);
        return 0;
}

static int get_documents(Test *test) {
        const Options *options = test->options;
        int r = 0;

        if (options->device || access(DEVICE, F_OK) == 0)
                r = get_document(test, options->device ?: "device:" DEVICE);
        else
                test->questions[OWN].why_not = "there is no " DEVICE;
        if (r == 0 && options->other)
                r = read_other_document(test);
        return r;
}

static int ask_all(Test *test) {
        /* A sealer may do this. Whoever unseals may not: it would choose the secrets. */
        static const size_t makers[] = { DATA_KEY, ENCRYPT, DATA_KEY_WITHOUT_PLAINTEXT, DATA_KEY_PAIR,
                                         DATA_KEY_PAIR_WITHOUT_PLAINTEXT };
        int r;

        if (test->own)
                ask(test, OWN, test->own, test->own_size);
        ask(test, NONE, NULL, 0);
        if (test->other)
                ask(test, OTHER, test->other, test->other_size);
        for (size_t i = 0; i < ELEMENTSOF(makers) && test->questions[OWN].answer == ANSWER_ALLOWED; i++)
                ask(test, makers[i], NULL, 0);
        ask_re_encryption(test, test->options->key, test->options->key, &test->questions[RE_ENCRYPT]);
        if (test->options->other_key)
                ask_with_other_key(test);
        r = ask_grant(test);
        if (r != 0 || test->questions[OWN].answer != ANSWER_ALLOWED)
                return r;
        r = ask_any_name(test);
        return r != 0 ? r : judge_policy(test);
}

static const char *answer_to_string(Answer answer) {
        static const char *const names[] = { "not asked", "denied", "allowed", "not known" };

        return names[answer];
}

static bool is_wrong(const Question *question) {
        return question->answer == (question->wanted ? ANSWER_DENIED : ANSWER_ALLOWED);
}

static int exit_status(const Test *test) {
        bool denied = false, unknown = false;

        for (size_t i = 0; i < _QUESTIONS; i++) {
                const Question *question = &test->questions[i];

                if (is_wrong(question) && !question->wanted)
                        return EXIT_OPEN;
                denied |= is_wrong(question);
                unknown |= question->answer == ANSWER_UNKNOWN;
        }
        return denied ? EXIT_DENIED : unknown ? EXIT_UNPROVEN : EXIT_SUCCESS;
}

/* Says what each wrong permission gives away. */
static void print_harm(const Test *test) {
        for (size_t i = 0; i < _QUESTIONS; i++)
                if (is_wrong(&test->questions[i]) && !test->questions[i].wanted)
                        printf("%s with %s: %s\n", questions[i].operation, questions[i].document,
                               questions[i].harm);
}

static void print_summary(const Test *test) {
        const Denied *denied = &test->questions[OWN].denied;

        switch (exit_status(test)) {
        case EXIT_OPEN:
                puts("The key is open: KMS allows what it should deny. \"unsealctl policy audit\" shows why.");
                print_harm(test);
                break;
        case EXIT_DENIED:
                puts("KMS denies this machine. \"unsealctl doctor\" compares its PCRs with those of the image.");
                if (*denied->principal)
                        printf("KMS was asked by %s. The key's policy must name it: \"unsealctl policy --principal=%s\", or --account= for all of its account.\n",
                               denied->principal, denied->principal);
                if (denied->is_session)
                        (void) fputs(DENIED_PATH_HINT, stdout);
                break;
        case EXIT_UNPROVEN:
                puts("Not proven: KMS did not say what it would do.");
                break;
        default:
                puts(test->own ? "As it should be, for these credentials."
                               : "KMS denies what it should deny, for these credentials. Whether the key opens for a machine was not asked.");
        }
}

static void print_text(const Test *test) {
        printf("%-36s %-24s %-8s %s\n", "OPERATION", "WITH", "SHOULD", "KMS");
        for (size_t i = 0; i < _QUESTIONS; i++) {
                const Question *question = &test->questions[i];

                printf("%-36s %-24s %-8s %s%s", question->operation, question->document,
                       question->wanted ? "allow" : "deny", is_wrong(question) ? "WRONG: " : "",
                       answer_to_string(question->answer));
                if (question->answer == ANSWER_NOT_ASKED)
                        printf(", %s", question->why_not);
                if (question->answer == ANSWER_UNKNOWN)
                        printf(": %s", question->error.text);
                putchar('\n');
        }
        print_summary(test);
}

static void print_json(const Test *test) {
        _cleanup_json_ struct json_object *object = made(json_object_new_object());
        struct json_object *list = made(json_object_new_array());

        add_string(object, "key", test->options->key);
        add(object, "questions", list);
        for (size_t i = 0; i < _QUESTIONS; i++) {
                static const char *const names[] = { "notAsked", "denied", "allowed", "unknown" };
                const Question *question = &test->questions[i];
                struct json_object *item = made(json_object_new_object());

                add_string(item, "operation", question->operation);
                add_string(item, "document", question->tag);
                add_string(item, "wanted", question->wanted ? "allowed" : "denied");
                add_string(item, "answer", names[question->answer]);
                if (question->answer == ANSWER_UNKNOWN)
                        add_string(item, "error", question->error.text);
                json_object_array_add(list, item);
        }
        puts(json_object_to_json_string_ext(object, KEY_POLICY_FORMAT) ?: "");
}

static int run(const Options *options) {
        _cleanup_(aws_credentials_clear) AwsCredentials credentials = {};
        _cleanup_(test_done) Test test = { .options = options };
        _cleanup_free_ char *region = NULL;
        KmsCallerOptions kms = options->connection.kms;
        Error error = {};
        KmsKeyArn arn, other;
        int r;

        if (kms_key_arn_parse(options->key, &arn) < 0)
                return usage_error(
                                "--key=%s is no ARN of a KMS key. Expected one such as arn:aws:kms:eu-north-1:111122223333:key/...",
                                options->key);
        if (options->other_key && kms_key_arn_parse(options->other_key, &other) < 0)
                return usage_error("--other-key=%s is no ARN of a KMS key.", options->other_key);
        if (options->other_key &&
            (strcmp(arn.region, other.region) != 0 || strcmp(options->key, options->other_key) == 0))
                return usage_error(
                                "--other-key= must be another key in the Region of --key=: KMS re-encrypts within a Region.");
        memcpy(test.questions, questions, sizeof(questions));
        r = get_documents(&test);
        if (r != 0)
                return r;
        if (credentials_find(options->connection.profile, &credentials, &region, &error) < 0)
                return policy_kms_failure(&error);
        kms.region = arn.region;
        kms.credentials = &credentials;
        kms.trusted_certificates = kms.trusted_certificates ?: environment("AWS_CA_BUNDLE");
        if (kms_caller_new(&kms, &test.caller, &error) < 0)
                return policy_kms_failure(&error);
        r = ask_all(&test);
        if (r != 0)
                return r;
        if (options->json)
                print_json(&test);
        else
                print_text(&test);
        return exit_status(&test);
}

static void print_help(void) {
        printf("unsealctl policy test [OPTIONS…] --key=ARN\n\n"
               "Ask KMS whether a key opens for this machine's document, and for nothing else.\n"
               "KMS decrypts nothing.\n\n"
               "  -h --help                Show this help\n"
               "     --key=ARN             The key\n"
               "     --name=NAME           The name under which a secret is sealed\n"
               "     --context=KEY=VALUE   More encryption context (repeatable)\n"
               "     --device=TCTI         The TPM (device:/dev/tpm0, if it is there)\n"
               "     --other-document=FILE  Fresh document of a machine that must be denied\n"
               "     --other-key=ARN       Key of yours to re-encrypt to, in the same Region\n"
               "     --admin=ARN           Principal that may change the policy (repeatable)\n"
               "     --json                Print JSON\n"
               "     --profile=NAME        Use the credentials of this AWS profile\n"
               "     --fips --dual-stack   Use that kind of endpoint;  --endpoint=URL this one\n"
               "     --proxy=URL           An HTTP proxy\n"
               "     --trusted-certificates=FILE  Roots, not AWS_CA_BUNDLE or the system's\n\n"
               "Exit status: 0 as it should be, 1 failure, 2 usage, 5 not proven,\n"
               "60 KMS denies this machine, 66 KMS allows what it should deny.\n");
}

enum { DEVICE_OPTION = _OPTIONS, NAME, CONTEXT, OTHER_DOCUMENT, OTHER_KEY };

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "key", required_argument, NULL, OPTION_KEY },
        { "name", required_argument, NULL, NAME },
        { "context", required_argument, NULL, CONTEXT },
        { "device", required_argument, NULL, DEVICE_OPTION },
        { "other-document", required_argument, NULL, OTHER_DOCUMENT },
        { "other-key", required_argument, NULL, OTHER_KEY },
        { "admin", required_argument, NULL, OPTION_ADMIN },
        { "json", no_argument, NULL, OPTION_JSON },
        { "profile", required_argument, NULL, OPTION_PROFILE },
        { "fips", no_argument, NULL, OPTION_FIPS },
        { "dual-stack", no_argument, NULL, OPTION_DUAL_STACK },
        { "endpoint", required_argument, NULL, OPTION_ENDPOINT },
        { "proxy", required_argument, NULL, OPTION_PROXY },
        { "trusted-certificates", required_argument, NULL, OPTION_TRUSTED_CERTIFICATES },
        {},
};

static int add_context(Options *options, const char *prefix, const char *text) {
        char *pair;
        size_t n;

        if (!*prefix && (*text == '=' || !strchr(text, '=')))
                return usage_error("--context= takes KEY=VALUE.");
        if (asprintf(&pair, "%s%s", prefix, text) < 0)
                return failure("Out of memory.");
        n = strcspn(pair, "=");
        for (char **other = options->context; other && *other; other++)
                if (strncmp(*other, pair, n + 1) == 0) {
                        free(pair);
                        return usage_error("The encryption context has two values for one key. Give one.");
                }
        return strings_take(&options->context, pair) < 0 ? failure("Out of memory.") : 0;
}

static int set_option(Options *options, int option, const char *value) {
        switch (option) {
        case OPTION_KEY:
                options->key = value;
                return 0;
        case NAME:
                return add_context(options, "unseald:secret=", value);
        case CONTEXT:
                return add_context(options, "", value);
        case DEVICE_OPTION:
                options->device = value;
                return 0;
        case OTHER_DOCUMENT:
                options->other = value;
                return 0;
        case OTHER_KEY:
                options->other_key = value;
                return 0;
        case OPTION_ADMIN:
                return strings_take(&options->administrators, strdup(value)) < 0 ? failure("Out of memory.")
                                                                                 : 0;
        case OPTION_JSON:
                options->json = true;
                return 0;
        default:
                return connection_set_option(&options->connection, option, value) ? 0 : EXIT_USAGE;
        }
}

int policy_test(int argc, char *argv[]) {
        _cleanup_(options_done) Options options = {};
        int c, r = 0;

        while (r == 0 && (c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0) {
                if (c == 'h') {
                        print_help();
                        return EXIT_SUCCESS;
                }
                r = set_option(&options, c, optarg);
        }
        if (r == 0 && optind < argc)
                r = usage_error("policy test takes no argument.");
        if (r == 0 && !options.key)
                r = usage_error("policy test needs --key=ARN.");
        return r != 0 ? r : run(&options);
}
