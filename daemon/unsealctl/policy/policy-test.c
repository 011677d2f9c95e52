/* SPDX-License-Identifier: Apache-2.0 */

/*
 * unsealctl policy test: asks KMS by dry runs, with the credentials of whoever calls, whether the key opens for this machine's
 * document, and that it opens for nothing else. KMS decrypts nothing, and no ciphertext is needed.
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
#include "unsealctl/kms-call.h"
#include "unsealctl/policy/policy.h"

#define TPM_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define DEVICE "/dev/tpm0"

typedef struct Options {
        const char *key, *device, *other;
        char **context; /* owned */
        bool json;
        PolicyConnection connection;
} Options;

static void options_done(Options *options) {
        strings_free(options->context);
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
        bool wanted;                      /* KMS should allow it */
        Answer answer;
        const char *why_not; /* NOT_ASKED */
        Error error;         /* UNKNOWN */
} Question;

enum { OWN, NONE, OTHER, DATA_KEY, ENCRYPT, _QUESTIONS };

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

static void ask(Test *test, Question *question, const uint8_t *document, size_t size) {
        const KmsDryRun dry_run = {
                .operation = question->operation,
                .key_arn = test->options->key,
                .encryption_context = (const char *const *) test->options->context,
                .document = { document, size },
        };
        _cleanup_erase_ char *answer = NULL;
        _cleanup_free_ char *body = NULL;
        Error refusal = {};
        size_t answer_size = 0;
        bool open;
        int r = kms_dry_run_request(&dry_run, &body);

        question->answer = ANSWER_UNKNOWN;
        if (r < 0) {
                (void) error_set(&question->error, r, FAILURE_REQUEST, "The request cannot be made: %s.",
                                 strerror(-r));
                return;
        }
        r = kms_call(test->caller, question->operation, body, &answer, &answer_size, &refusal);
        if (kms_probe_reply(r, answer, answer_size, &refusal, &open, &question->error) >= 0)
                question->answer = open ? ANSWER_ALLOWED : ANSWER_DENIED;
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

static int get_documents(Test *test) {
        const Options *options = test->options;
        int r = 0;

        if (options->device || access(DEVICE, F_OK) == 0)
                r = get_document(test, options->device ?: "device:" DEVICE);
        else
                test->questions[OWN].why_not = "there is no " DEVICE;
        if (r == 0 && options->other)
                r = read_argument(options->other, KMS_DOCUMENT_MAX, &test->other, &test->other_size);
        return r;
}

static void ask_all(Test *test) {
        static const Question questions[_QUESTIONS] = {
                [OWN] = { "Decrypt", "this machine's document", "own", .wanted = true },
                [NONE] = { "Decrypt", "no document", "none" },
                [OTHER] = { "Decrypt", "the other document", "other", .why_not = "no --other-document=" },
                [DATA_KEY] = { "GenerateDataKey", "no document", "none",
                               .why_not = "KMS did not allow the first request" },
                [ENCRYPT] = { "Encrypt", "no document", "none",
                              .why_not = "KMS did not allow the first request" },
        };
        const char *why_not = test->questions[OWN].why_not;

        memcpy(test->questions, questions, sizeof(questions));
        test->questions[OWN].why_not = why_not;
        if (test->own)
                ask(test, &test->questions[OWN], test->own, test->own_size);
        ask(test, &test->questions[NONE], NULL, 0);
        if (test->other)
                ask(test, &test->questions[OTHER], test->other, test->other_size);
        /* A sealer may encrypt. Whoever unseals may not: it would choose the secrets. */
        for (size_t i = DATA_KEY; i <= ENCRYPT && test->questions[OWN].answer == ANSWER_ALLOWED; i++)
                ask(test, &test->questions[i], NULL, 0);
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

static void print_summary(const Test *test) {
        switch (exit_status(test)) {
        case EXIT_OPEN:
                puts("The key is open: KMS allows what it should deny. \"unsealctl policy audit\" shows why.");
                break;
        case EXIT_DENIED:
                puts("KMS denies this machine. \"unsealctl doctor\" compares its PCRs with those of the image.");
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
        printf("%-16s %-24s %-8s %s\n", "OPERATION", "WITH", "SHOULD", "KMS");
        for (size_t i = 0; i < _QUESTIONS; i++) {
                const Question *question = &test->questions[i];

                printf("%-16s %-24s %-8s %s%s", question->operation, question->document,
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
        KmsKeyArn arn;
        int r;

        if (kms_key_arn_parse(options->key, &arn) < 0)
                return usage_error(
                                "--key=%s is no ARN of a KMS key. Expected one such as arn:aws:kms:eu-north-1:111122223333:key/...",
                                options->key);
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
        ask_all(&test);
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
               "     --json                Print JSON\n"
               "     --profile=NAME        Use the credentials of this AWS profile\n"
               "     --fips --dual-stack   Use that kind of endpoint;  --endpoint=URL this one\n"
               "     --proxy=URL           An HTTP proxy\n"
               "     --trusted-certificates=FILE  Roots, not AWS_CA_BUNDLE or the system's\n\n"
               "Exit status: 0 as it should be, 1 failure, 2 usage, 5 not proven,\n"
               "60 KMS denies this machine, 66 KMS allows what it should deny.\n");
}

enum { DEVICE_OPTION = _OPTIONS, NAME, CONTEXT, OTHER_DOCUMENT };

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "key", required_argument, NULL, OPTION_KEY },
        { "name", required_argument, NULL, NAME },
        { "context", required_argument, NULL, CONTEXT },
        { "device", required_argument, NULL, DEVICE_OPTION },
        { "other-document", required_argument, NULL, OTHER_DOCUMENT },
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
