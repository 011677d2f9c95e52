/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Unseals one secret by hand, with the same session that unseald runs. It works and fails exactly as unseald does. Only the
 * destination of the plaintext differs: the descriptor that the caller asked for, or none. The plaintext stays in locked memory,
 * never in a file or in a buffer of stdio.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <systemd/sd-event.h>

#include "basic/clock.h"
#include "basic/encoding.h"
#include "basic/io.h"
#include "basic/log.h"
#include "basic/thread.h"
#include "build-config.h"
#include "config/declaration.h"
#include "config/ini.h"
#include "config/settings.h"
#include "kms/client.h"
#include "memory/secret.h"
#include "source/message-header.h"
#include "tpm/tpm.h"
#include "unsealctl/ctl.h"
#include "unsealctl/unseal.h"
#include "unsealing/session.h"

/* Bytes of plaintext of a message that is unsealed by hand. */
#define MESSAGE_MAX (64U * 1024U * 1024U)

/* Room for the header of a message and short frames. A ciphertext of KMS is much shorter. */
#define CIPHERTEXT_FILE_MAX (2 * MESSAGE_MAX + MESSAGE_HEADER_MAX)

typedef struct Options {
        const char *declared, *secret, *key, *ciphertext, *name, *member, *vendor, *local;
        char **context; /* owned */
        int fd;         /* takes the plaintext; -1: none */
        Secret **into;  /* takes a copy of the plaintext in place of fd; NULL: nothing does */
        bool verbose, allow_uncommitted;
} Options;

typedef struct Unsealing {
        const Options *options;
        Settings settings;
        Declarations declarations;
        sd_event *event;
        Session *session;
        int stdin_fd; /* holds the ciphertext from standard input; -1: none */
} Unsealing;

static void unsealing_done(Unsealing *unsealing) {
        (void) session_free(unsealing->session);
        (void) sd_event_unref(unsealing->event);
        declarations_clear(&unsealing->declarations);
        settings_clear(&unsealing->settings);
        if (unsealing->stdin_fd >= 0)
                close(unsealing->stdin_fd);
        /* A TPM command that is cut off leaves a key or a session in the TPM. */
        threads_finish(THREADS_FINISH_USEC);
}

static int failed(const Error *error) {
        (void) failure("%s", error->text);
        return (int) error->failure;
}

/* Lists the members by name and size. */
static void print_members(const SessionSecret *secret) {
        for (size_t i = 0; i < secret->members_count; i++)
                printf("  %s, %llu bytes\n", secret->members[i].name,
                       (unsigned long long) secret->members[i].size);
}

/* Finds the bytes that are wanted: the secret, or one member of it. */
static int find_wanted(const Options *options, const SessionSecret *secret, Slice *ret, Error *error) {
        const ManifestMember *member;

        *ret = (Slice){ secret_bytes(secret->plaintext), secret_size(secret->plaintext) };
        if (!options->member)
                return 0;
        member = manifest_find_member(secret->members, secret->members_count, options->member);
        if (!member)
                return error_set(error, -ENOENT, FAILURE_CIPHERTEXT, "The bundle lacks the member %s.",
                                 options->member);
        *ret = (Slice){ ret->data + member->offset, member->size };
        return 0;
}

static int copy(const Slice *wanted, Secret **ret, Error *error) {
        int r = secret_new(wanted->size, ret);

        if (r < 0)
                return error_set(
                                error, r, FAILURE_MEMORY,
                                "%zu bytes of memory for the secret cannot be locked. Raise the limit: \"ulimit -l\".",
                                wanted->size);
        memcpy(secret_bytes(*ret), wanted->data, wanted->size);
        return 0;
}

static int take(const SessionSecret *secret, Error *error, void *userdata) {
        const Unsealing *unsealing = userdata;
        Slice wanted;
        int r;

        if (secret->unread > 0) {
                printf("%s: KMS decrypts its data key, and the header is authentic; request %s.\nThe message has %llu bytes, which were not read. To read them and get the secret, give --reveal or --fd=.\n",
                       secret->declaration->name, secret->request_id, (unsigned long long) secret->unread);
                return 0;
        }
        r = find_wanted(unsealing->options, secret, &wanted, error);
        if (r < 0)
                return r;
        if (unsealing->options->into)
                return copy(&wanted, unsealing->options->into, error);
        if (unsealing->options->fd < 0) {
                printf("%s: KMS decrypts it, %zu bytes; request %s.\n", secret->declaration->name,
                       wanted.size, secret->request_id);
                if (!unsealing->options->member)
                        print_members(secret);
                printf("To get the secret, give --reveal or --fd=.\n");
                return 0;
        }
        r = write_all(unsealing->options->fd, wanted.data, wanted.size);
        if (r < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot write the plaintext: %s.",
                                 strerror(-r));
        return 0;
}

/* The error names SizeMax=, which only a declaration has. */
static void say_too_long(void) {
        (void) failure("With --key= a message may have %u MiB of plaintext, and there is no SizeMax= to raise. To get a longer one, declare the secret, and have unseald write it to the store.",
                       MESSAGE_MAX / 1024 / 1024);
}

static void ended(int r, const Error *error, void *userdata) {
        Unsealing *unsealing = userdata;
        int status = r < 0 ? (int) error->failure : EXIT_SUCCESS;

        if (r < 0 && unsealing->options->key && strcmp(error->code, "InvalidCiphertextException") == 0)
                (void) failure("%s",
                               unsealing->options->name
                                               ? "With --key=, the encryption context is what --name= and --context= give. Give what the secret was sealed with."
                                               : "There is no --name=, so the encryption context has no unseald:secret=NAME. If \"unsealctl seal\" made the ciphertext, give --name=NAME.");
        if (r < 0 && unsealing->options->key && strstr(error->text, "SizeMax=") &&
            declaration_is_message(unsealing->declarations.items))
                say_too_long();
        /* The TPM's thread is still running, so nothing may be freed any more. The next process that uses the TPM cleans up. */
        if (r < 0 && session_waits_for_tpm(unsealing->session))
                _exit(status);
        (void) sd_event_exit(unsealing->event, status);
}

/* Copies standard input into a memfd, since a source is a file. */
static int keep_stdin(Unsealing *unsealing, char **ret_path) {
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;
        int r;

        r = read_fd(STDIN_FILENO, CIPHERTEXT_FILE_MAX, &data, &size);
        if (r >= 0) {
                unsealing->stdin_fd = memfd_create("ciphertext", MFD_CLOEXEC);
                r = unsealing->stdin_fd < 0 ? -errno : write_all(unsealing->stdin_fd, data, size);
        }
        if (r == -EFBIG)
                say_too_long();
        if (r < 0)
                return failure("Cannot read standard input: %s.", strerror(-r));
        if (asprintf(ret_path, "/proc/self/fd/%i", unsealing->stdin_fd) < 0)
                return failure("Out of memory.");
        return 0;
}

/* Finds out whether the file holds a message, raw or in base64, by its first bytes. A file that cannot be read fails as a source. */
static bool holds_message(const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        _cleanup_free_ uint8_t *decoded = NULL;
        char begin[4];
        size_t size;

        if (fd < 0 || read_up_to(fd, begin, sizeof(begin)) != sizeof(begin))
                return false;
        return message_is_likely((const uint8_t *) begin, sizeof(begin)) ||
               (base64_decode(begin, sizeof(begin), &decoded, &size) >= 0 &&
                message_is_likely(decoded, size));
}

/* Makes of the options what a *.secret file would declare. The context is only what the options give: other tools encrypt without
 * unseald's own pair. */
static int declare(Unsealing *unsealing, Declaration *declaration) {
        const Options *options = unsealing->options;
        bool from_stdin = strcmp(options->ciphertext, "-") == 0;
        int r = 0;

        *declaration = (Declaration){
                .name = strdup(options->name
                                               ?: from_stdin ? "standard input"
                                                             : options->ciphertext),
                .file = strdup("--key="),
                .size_max = KMS_CIPHERTEXT_MAX,
                .source = { .kind = SOURCE_FILE, .label = strdup(options->ciphertext) },
                .encryption_context = calloc(1, sizeof(char *)),
        };
        if (from_stdin)
                r = keep_stdin(unsealing, &declaration->source.location);
        else
                declaration->source.location = strdup(options->ciphertext);
        if (r != 0)
                return r;
        if (!declaration->name || !declaration->file || !declaration->source.label ||
            !declaration->source.location || !declaration->encryption_context ||
            strings_take(&declaration->key_ids, strdup(options->key)) < 0)
                return failure("Out of memory.");

        if (holds_message(declaration->source.location)) {
                declaration->format = FORMAT_MESSAGE;
                declaration->size_max = options->fd < 0 ? LIMIT_STORE_BYTES_MAX : MESSAGE_MAX;
                declaration->allow_uncommitted = options->allow_uncommitted;
        }
        for (char **pair = options->context; pair && *pair; pair++)
                if (strings_take(&declaration->encryption_context, strdup(*pair)) < 0)
                        return failure("Out of memory.");
        return 0;
}

/* Takes the declaration that unseald uses, with its drop-ins. The other secrets are not unsealed. */
static int find_by_name(Unsealing *unsealing, Declaration *ret) {
        const Options *options = unsealing->options;
        Declarations all = {};
        Declaration *found;
        Error error = {};

        if (declarations_read(options->vendor, options->local, &all, &error) < 0)
                return failed(&error);
        found = (Declaration *) declarations_find(&all, options->declared);
        if (found)
                *ret = TAKE(*found, (Declaration){});
        declarations_clear(&all);
        if (found)
                return 0;
        (void) failure("No secret %s is declared in %s/secrets.d or %s/secrets.d. 'unsealctl cat-config' lists all. For a ciphertext without a declaration, give --key=.",
                       options->declared, options->vendor, options->local);
        return FAILURE_CONFIGURATION;
}

/* --reveal of a whole bundle would write the members without anything between them. */
static int check_member(const Options *options, const Declaration *declaration) {
        bool is_bundle = declaration->format == FORMAT_BUNDLE;

        if (options->member && !is_bundle)
                return usage_error("--member= is for a bundle, and %s has no Format=bundle.",
                                   declaration->name);
        if (is_bundle && !options->member && (options->fd >= 0 || options->into))
                return usage_error(
                                "%s is a bundle. Give --member=NAME, too; without --reveal and --fd= the names are printed.",
                                declaration->name);
        for (size_t i = 0; options->member && i < declaration->members_count; i++)
                if (strcmp(declaration->members[i].member, options->member) == 0)
                        return 0;
        return options->member ? usage_error("--member=%s: the declaration of %s has no [Member %s].",
                                             options->member, declaration->name, options->member)
                               : 0;
}

static int find_declaration(Unsealing *unsealing) {
        Declaration *declaration = calloc(1, sizeof(*declaration));
        Error error = {};

        if (!declaration)
                return failure("Out of memory.");
        unsealing->declarations = (Declarations){ .items = declaration, .count = 1 };
        if (unsealing->options->key)
                return declare(unsealing, declaration);
        if (unsealing->options->declared) {
                int r = find_by_name(unsealing, declaration);

                if (r != 0)
                        return r;
        } else if (declaration_read_file(unsealing->options->secret, declaration, &error) < 0)
                return failed(&error);
        if (declaration_is_of_one_boot(declaration))
                return usage_error(
                                "%s has Generate=: KMS makes its value anew in each boot, and nothing keeps it sealed. What KMS would make now is not what the units have.",
                                declaration->name);
        /* The caller asked for this secret, so a missing one is an error. */
        declaration->optional = false;
        return check_member(unsealing->options, declaration);
}

static int set_up(Unsealing *unsealing) {
        const Options *options = unsealing->options;
        SessionOptions session = {
                .settings = &unsealing->settings,
                .declarations = &unsealing->declarations,
                .take = take,
                .headers_only = options->fd < 0 && !options->into,
                .labels.labels = UNSEALD_LABELS_DIR,
        };
        Error error = {};
        int r;

        if (tpm_supported(&error) < 0 || memory_protect_process(&error) < 0 ||
            settings_read(options->vendor, options->local, &unsealing->settings, &error) < 0)
                return failed(&error);
        r = find_declaration(unsealing);
        if (r != 0)
                return r;
        if ((r = sd_event_default(&unsealing->event)) < 0 ||
            (r = sd_event_add_signal(unsealing->event, NULL, SIGTERM | SD_EVENT_SIGNAL_PROCMASK, NULL,
                                     (void *) (intptr_t) (128 + SIGTERM))) < 0 ||
            (r = sd_event_add_signal(unsealing->event, NULL, SIGINT | SD_EVENT_SIGNAL_PROCMASK, NULL,
                                     (void *) (intptr_t) (128 + SIGINT))) < 0)
                return failure("Cannot set up the event loop: %s.", strerror(-r));
        if (session_new(unsealing->event, &session, ended, unsealing, &unsealing->session, &error) < 0)
                return failed(&error);
        return 0;
}

static int unseal(const Options *options) {
        _cleanup_(unsealing_done) Unsealing unsealing = { .options = options, .stdin_fd = -1 };
        int r;

        /* Waiting is always logged; progress only with --verbose. */
        log_set_max_priority(options->verbose ? LOG_INFO : LOG_NOTICE);
        r = set_up(&unsealing);
        if (r != 0)
                return r;
        session_start(unsealing.session);
        r = sd_event_loop(unsealing.event);
        return r < 0 ? failure("The event loop failed: %s.", strerror(-r)) : r;
}

int unseal_into(const UnsealRequest *request, Secret **ret) {
        _cleanup_secret_ Secret *plaintext = NULL;
        const Options options = {
                .declared = request->declared,
                .secret = request->file,
                .member = request->member,
                .vendor = request->vendor ?: UNSEALD_VENDOR_CONFIG_DIR,
                .local = request->local ?: UNSEALD_LOCAL_CONFIG_DIR,
                .fd = -1,
                .into = &plaintext,
        };
        int r = unseal(&options);

        if (r != 0)
                return r;
        if (!plaintext)
                return failure("The secret was not unsealed.");
        *ret = TAKE_PTR(plaintext);
        return 0;
}

/* Refuses a second value for a key: the encryption context is a JSON object. */
static int add_context(Options *options, const char *pair) {
        size_t key_length = strcspn(pair, "=");

        if (key_length == 0 || pair[key_length] != '=')
                return usage_error("--context= takes KEY=VALUE.");
        for (char **other = options->context; other && *other; other++)
                if (strncmp(*other, pair, key_length + 1) == 0)
                        return usage_error("The encryption context has two values for \"%.*s\". Give one.",
                                           (int) key_length, pair);
        return strings_take(&options->context, strdup(pair)) < 0 ? failure("Out of memory.") : 0;
}

static int add_name(Options *options, const char *name) {
        _cleanup_free_ char *pair = NULL;

        options->name = name;
        if (asprintf(&pair, "unseald:secret=%s", name) < 0)
                return failure("Out of memory.");
        return add_context(options, pair);
}

static int parse_fd(const char *text, int *ret) {
        char *end;
        long number;

        errno = 0;
        number = strtol(text, &end, 10);
        if (errno != 0 || *text == '\0' || *end != '\0' || number < 0 || number > INT_MAX)
                return usage_error("--fd= takes the number of a file descriptor.");
        if (fcntl((int) number, F_GETFD) < 0)
                return usage_error("--fd=%li is not open. Open it in the shell, for example with %li>FILE.",
                                   number, number);
        *ret = (int) number;
        return 0;
}

static int check(const Options *options, int arguments) {
        KmsKeyArn arn;

        if (options->secret && options->key)
                return usage_error("unseal takes either --secret= or --key=.");
        if (!options->secret && !options->key && arguments != 1)
                return usage_error(
                                "unseal takes the name of a declared secret, or --secret=, or --key= and a file with the ciphertext.");
        if (options->secret && arguments > 0)
                return usage_error("With --secret= the file names the ciphertext. Give no argument.");
        if (options->key && options->member)
                return usage_error(
                                "Only a declaration says what the members of a bundle are. Give --member= with NAME or --secret=.");
        if (!options->key && options->context)
                return usage_error(
                                "The declaration has the name and the encryption context. Give --name= and --context= only with --key=.");
        if (options->key && arguments != 1)
                return usage_error(
                                "--key= takes one file with the ciphertext as argument, or - for standard input.");
        if (options->key && kms_key_arn_parse(options->key, &arn) < 0)
                return usage_error("--key= takes the ARN of a key. An alias has no fixed key.");
        return 0;
}

static void print_help(void) {
        printf("unsealctl unseal [OPTIONS…] NAME\n"
               "unsealctl unseal [OPTIONS…] --secret=FILE.secret\n"
               "unsealctl unseal [OPTIONS…] --key=ARN FILE\n\n"
               "Unseal one secret by hand, as unseald does.\n\n"
               "  -h --help                      Show this help\n"
               "     --secret=FILE.secret        A declaration, not that of NAME in secrets.d\n"
               "     --key=ARN                   The key of the ciphertext in FILE, or -\n"
               "     --name=NAME                 The name under which the secret was sealed\n"
               "     --context=KEY=VALUE         More encryption context (repeatable)\n"
               "     --allow-uncommitted         Take a message of a suite that does not commit\n"
               "     --member=NAME               Only this member of a bundle\n"
               "     --reveal                    Write the secret to standard output\n"
               "     --fd=N                      Write the secret to this file descriptor\n"
               "  -v --verbose                   Show each step\n"
               "     --vendor-configuration=DIR  Read this in place of %s\n"
               "     --configuration=DIR         Read this in place of %s\n\n"
               "Exit status: 0 unsealed, 2 usage; any other is one of unseald(8).\n",
               UNSEALD_VENDOR_CONFIG_DIR, UNSEALD_LOCAL_CONFIG_DIR);
}

/* Returns a negative value to go on, or the exit status. */
static int parse_options(int argc, char *argv[], Options *options) {
        enum { SECRET = 256, KEY, NAME, MEMBER, CONTEXT, REVEAL, FD, VENDOR, LOCAL, UNCOMMITTED };
        static const struct option long_options[] = {
                { "help", no_argument, NULL, 'h' },
                { "secret", required_argument, NULL, SECRET },
                { "key", required_argument, NULL, KEY },
                { "name", required_argument, NULL, NAME },
                { "context", required_argument, NULL, CONTEXT },
                { "member", required_argument, NULL, MEMBER },
                { "allow-uncommitted", no_argument, NULL, UNCOMMITTED },
                { "reveal", no_argument, NULL, REVEAL },
                { "fd", required_argument, NULL, FD },
                { "verbose", no_argument, NULL, 'v' },
                { "vendor-configuration", required_argument, NULL, VENDOR },
                { "configuration", required_argument, NULL, LOCAL },
                {},
        };
        int r = 0;

        for (int c; r == 0 && (c = getopt_long(argc, argv, "hv", long_options, NULL)) >= 0;)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case SECRET:
                        options->secret = optarg;
                        break;
                case KEY:
                        options->key = optarg;
                        break;
                case NAME:
                        r = add_name(options, optarg);
                        break;
                case MEMBER:
                        options->member = optarg;
                        break;
                case CONTEXT:
                        r = add_context(options, optarg);
                        break;
                case UNCOMMITTED:
                        options->allow_uncommitted = true;
                        break;
                case REVEAL:
                        options->fd = STDOUT_FILENO;
                        break;
                case FD:
                        r = parse_fd(optarg, &options->fd);
                        break;
                case 'v':
                        options->verbose = true;
                        break;
                case VENDOR:
                        options->vendor = optarg;
                        break;
                case LOCAL:
                        options->local = optarg;
                        break;
                default:
                        return EXIT_USAGE;
                }
        if (r == 0)
                r = check(options, argc - optind);
        if (options->key)
                options->ciphertext = argv[optind];
        else
                options->declared = argv[optind]; /* NULL with --secret= */
        return r != 0 ? r : -1;
}

static void options_done(Options *options) {
        strings_free(options->context);
}

int verb_unseal(int argc, char *argv[]) {
        _cleanup_(options_done) Options options = {
                .vendor = UNSEALD_VENDOR_CONFIG_DIR,
                .local = UNSEALD_LOCAL_CONFIG_DIR,
                .fd = -1,
        };
        int r = parse_options(argc, argv, &options);

        return r < 0 ? unseal(&options) : r;
}
