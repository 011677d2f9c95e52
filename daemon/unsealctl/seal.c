/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Seals a plaintext with the encryption context that unseald demands for a secret of this name. KMS encrypts up to 4096 bytes; a longer
 * plaintext becomes a message (seal-message.c). The plaintext comes from a file or a pipe, never from an argument. It exists here
 * only in locked memory and in the one request; nothing prints or writes it.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "aws/service.h"
#include "basic/encoding.h"
#include "basic/io.h"
#include "basic/json.h"
#include "basic/limits.h"
#include "config/declaration.h"
#include "config/ini.h"
#include "config/settings.h"
#include "kms/client.h"
#include "memory/secret.h"
#include "unsealctl/credentials.h"
#include "unsealctl/ctl.h"
#include "unsealctl/kms-call.h"
#include "unsealctl/seal-bundle.h"
#include "unsealctl/seal-message.h"
#include "unsealctl/seal.h"
#include "unsealctl/sign.h"

#define RESERVED_CONTEXT "unseald:"

/* The limits of EncryptionContext= in a *.secret file. */
#define PAIRS_MAX 64U
#define PAIRS_SIZE_MAX 4096U

typedef struct Options {
        const char *key, *name, *account, *input, *output, *profile, *format;
        const char *output_option; /* the option that gave output; NULL: --output= */
        const char *generate;      /* how many bytes KMS makes; NULL: the plaintext is read */
        size_t generate_size;      /* generate as a number */
        const char *bundle;        /* the file with the JSON of a bundle; NULL: the secret is none */
        const char *sign_file, *sign_key, *secret_version; /* NULL: the secret is not signed */
        uint64_t version;                                  /* secret_version as a number */
        const char *pairs[PAIRS_MAX];                      /* the values of --context= */
        size_t pairs_count;
        KmsCallerOptions kms;
        bool raw, json, secret_file;
} Options;

typedef struct Sealed {
        char *key_arn;
        char **context;
        uint8_t *ciphertext;
        size_t size;
        char *signature; /* NULL: the secret is not signed */
} Sealed;

static void sealed_done(Sealed *sealed) {
        free(sealed->key_arn);
        strings_free(sealed->context);
        free(sealed->ciphertext);
        free(sealed->signature);
}

static void print_help(void) {
        printf("unsealctl seal [OPTIONS…] --key=KEY --name=NAME [FILE]\n\n"
               "Encrypt a secret for unseald. Without FILE, read standard input.\n\n"
               "  -h --help                  Show this help\n"
               "     --key=KEY               The KMS key: an ARN, an ID or an alias\n"
               "     --name=NAME             The name of the secret, as in NAME.secret\n"
               "     --context=KEY=VALUE     More encryption context (repeatable)\n"
               "     --account=ID            Bind it to this account, for BindAccount=yes\n"
               "  -o --output=FILE           Write to this file, not to standard output\n"
               "     --format=kms|message    Default: kms up to 4096 bytes, else message\n"
               "     --bundle=FILE           Seal a JSON object;  --generate=BYTES KMS makes it\n"
               "     --raw --json            Write bytes, not base64;  also print JSON\n"
               "     --sign=KEY.pem          Sign it, into FILE.sig;  --sign-key=ARN by KMS\n"
               "     --secret-version=N      The signed version, for MinVersion=\n"
               "     --print-secret-file     Print the matching NAME.secret;  needs --output=\n"
               "     --profile=NAME          Use the credentials of this AWS profile\n"
               "     --region=REGION         The key's Region, if --key= is not an ARN\n"
               "     --fips --dual-stack     Use that kind of endpoint;  --endpoint=URL this one\n"
               "     --proxy=URL             An HTTP proxy\n"
               "     --trusted-certificates=FILE  Roots, not AWS_CA_BUNDLE or the system's\n\n"
               "Exit status: 0 done, 1 failure, 2 usage; from KMS: 41 credentials,\n"
               "50 network, 51 TLS, 60 denied, 61 key; all are in unsealctl(1).\n");
}

/* The plaintext, and where it goes on if it is longer than KMS encrypts. */
typedef struct Input {
        Secret *begin;
        char **members; /* of a bundle: their names, sorted; NULL: the secret is none */
        int fd, opened;
        const char *name;
} Input;

static void input_done(Input *input) {
        (void) secret_free(input->begin);
        strings_free(input->members);
        if (input->opened >= 0)
                close(input->opened);
}

static bool is_message(const Options *options, const Input *input) {
        if (options->bundle)
                return true;
        if (options->format)
                return strcmp(options->format, "message") == 0;
        return secret_size(input->begin) > KMS_PLAINTEXT_MAX;
}

/* Also finds "seal -o FILE <FILE" and links. */
static bool is_same_file(const struct stat *file, const char *path) {
        struct stat other;

        return S_ISREG(file->st_mode) && stat(path, &other) >= 0 && file->st_dev == other.st_dev &&
               file->st_ino == other.st_ino;
}

/* Returns what a file at this path would replace of what seal reads; NULL: nothing. */
static const char *find_replaced(const Options *options, int input, const char *path) {
        struct stat st;

        if (fstat(input, &st) >= 0 && is_same_file(&st, path))
                return "secret";
        if (options->sign_file && stat(options->sign_file, &st) >= 0 && is_same_file(&st, path))
                return "private key";
        return NULL;
}

static int check_output(const Options *options, int input) {
        _cleanup_free_ char *signature = NULL;
        const char *replaced;

        if (!options->output)
                return 0;
        replaced = find_replaced(options, input, options->output);
        if (replaced)
                return usage_error(
                                "--output=%s is the file of the %s. The ciphertext would replace the %s. Give another file.",
                                options->output, replaced, replaced);
        if (!options->secret_version)
                return 0;
        if (asprintf(&signature, "%s.sig", options->output) < 0)
                return failure("Out of memory.");
        replaced = find_replaced(options, input, signature);
        if (replaced)
                return usage_error(
                                "--output=%s puts the signature into %s, which is the file of the %s. The signature would replace the %s. Give another file.",
                                options->output, signature, replaced, replaced);
        return 0;
}

static int open_input(const Options *options, Input *input) {
        const char *path = options->input;
        bool is_stdin = !path || strcmp(path, "-") == 0;

        if (!is_stdin)
                input->opened = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        input->fd = is_stdin ? STDIN_FILENO : input->opened;
        input->name = is_stdin ? "standard input" : path;
        if (input->fd < 0)
                return failure("Cannot read %s: %s.", path, strerror(errno));
        if (isatty(input->fd))
                return usage_error(
                                "Standard input is a terminal, where others could see the secret. Give a file or a pipe.");
        return check_output(options, input->fd);
}

/* People seal twice: they give the file that seal wrote. Every ciphertext of KMS begins in the same way. */
static void warn_sealed_twice(const Input *input) {
        static const char base64[] = "AQICAH", bytes[] = "\1\2\2\0x";
        const uint8_t *data = secret_bytes(input->begin);
        size_t size = secret_size(input->begin);

        if ((size > sizeof(base64) && memcmp(data, base64, sizeof(base64) - 1) == 0) ||
            (size > sizeof(bytes) && memcmp(data, bytes, sizeof(bytes) - 1) == 0))
                (void) fprintf(stderr,
                               "unsealctl: %s begins as a ciphertext of KMS does. The unit would get that ciphertext, since unseald opens one seal. If this is a mistake, seal the original.\n",
                               input->name);
}

/* "echo" adds a newline, and the program that gets the secret takes it for a part of the password. Text of several lines, such as a
 * key in PEM, ends with one by right. */
static void warn_newline(const Input *input) {
        const uint8_t *data = secret_bytes(input->begin);
        size_t size = secret_size(input->begin);

        if (memchr(data, '\n', size) == data + size - 1)
                (void) fprintf(stderr,
                               "unsealctl: The secret in %s is one line, and the newline at its end is sealed, too. Programs may take it for a part of a password. If this is a mistake, remove the newline and seal again: \"printf %%s\" writes none.\n",
                               input->name);
}

/* NAME.secret declares NAME. */
static void warn_suffix(const char *name) {
        const char *suffix = strrchr(name, '.');

        if (suffix && strcmp(suffix, ".secret") == 0)
                (void) fprintf(stderr,
                               "unsealctl: --name=%s ends with .secret, so the secret opens only with a file %s.secret. If this is a mistake, seal again with --name=%.*s.\n",
                               name, name, (int) (suffix - name), name);
}

static int read_plaintext(const Options *options, Input *input) {
        ssize_t n;
        int r = open_input(options, input);

        if (r != 0)
                return r;
        if (options->bundle)
                return seal_read_bundle(input->fd, options->name, input->name, &input->begin,
                                        &input->members);
        if (secret_new(KMS_PLAINTEXT_MAX + 1, &input->begin) < 0)
                return failure("%u bytes of memory cannot be locked, and the secret must not reach swap. Raise the limit: \"ulimit -l\".",
                               KMS_PLAINTEXT_MAX);
        n = read_up_to(input->fd, secret_bytes(input->begin), KMS_PLAINTEXT_MAX + 1);
        if (n < 0)
                return failure("Cannot read %s: %s.", input->name, strerror((int) -n));
        if (n == 0)
                return failure("The secret is empty, and unseald delivers at least one byte.");
        secret_truncate(input->begin, (size_t) n);
        warn_sealed_twice(input);
        warn_newline(input);
        if (n > KMS_PLAINTEXT_MAX && !is_message(options, input))
                return failure("The secret is too long: KMS encrypts at most %u bytes. Leave --format=kms out, and it becomes a message.",
                               KMS_PLAINTEXT_MAX);
        return 0;
}

/* Copies the Region out of the ARN of a key or an alias. False: the text is neither. */
static bool region_of_arn(const char *text, char ret[static sizeof(((KmsKeyArn *) NULL)->region)]) {
        const char *alias = strstr(text, ":alias/");
        _cleanup_free_ char *as_key = NULL;
        KmsKeyArn arn;

        if (alias && asprintf(&as_key, "%.*s:key/alias", (int) (alias - text), text) < 0)
                as_key = NULL;
        if (kms_key_arn_parse(as_key ?: text, &arn) < 0)
                return false;
        (void) stpcpy(ret, arn.region);
        return true;
}

/* Takes the Region from the key's ARN, else from --region=, else where the AWS CLI takes it from. */
static int choose_region(const Options *options, const char *configured, char *buffer, const char **ret) {
        const char *wanted = options->kms.region;

        if (strncmp(options->key, "arn:", 4) == 0) {
                if (!region_of_arn(options->key, buffer))
                        return usage_error(
                                        "--key=%s is no ARN of a KMS key or alias. Expected one such as arn:aws:kms:eu-north-1:111122223333:key/...",
                                        options->key);
                if (wanted && strcmp(wanted, buffer) != 0)
                        return usage_error(
                                        "--region=%s contradicts the ARN of the key, which has the Region %s. Leave --region= out.",
                                        wanted, buffer);
                *ret = buffer;
                return 0;
        }
        *ret = wanted ?: configured;
        return *ret ? 0
                    : usage_error("The Region of the key is not known. Give --region=, AWS_REGION, or the ARN of the key.");
}

static int make_context(const Options *options, char ***ret) {
        _cleanup_strings_ char **context = NULL;
        char *pair;
        int r;

        r = strings_take(&context, asprintf(&pair, "unseald:secret=%s", options->name) < 0 ? NULL : pair);
        if (r >= 0 && options->account)
                r = strings_take(&context,
                                 asprintf(&pair, "unseald:account=%s", options->account) < 0 ? NULL : pair);
        for (size_t i = 0; r >= 0 && i < options->pairs_count; i++)
                r = strings_take(&context, strdup(options->pairs[i]));
        if (r < 0)
                return failure("Out of memory.");
        *ret = TAKE_PTR(context);
        return 0;
}

/* People give an alias without "alias/", which KMS takes for the ID of a key. IDs are UUIDs, with "mrk-" and without hyphens for a
 * multi-Region key. */
static void say_alias(const char *key) {
        if (strncmp(key, "arn:", 4) != 0 && strncmp(key, "alias/", 6) != 0 && strncmp(key, "mrk-", 4) != 0 &&
            strlen(key) != 36)
                (void) failure("If %s is an alias, give --key=alias/%s.", key, key);
}

/* Looks up the ARN of an alias or a key ID. Encrypt then uses exactly this key, and the secret's declaration can name it. */
static int resolve_key(KmsCaller *caller, const char *key, char **ret_arn) {
        _cleanup_free_ char *request = NULL;
        _cleanup_erase_ char *answer = NULL;
        KmsKeyArn arn;
        Error error = {};
        size_t size;

        if (kms_key_arn_parse(key, &arn) >= 0) {
                *ret_arn = strdup(key);
                return *ret_arn ? 0 : failure("Out of memory.");
        }
        if (kms_describe_key_request(key, &request) < 0)
                return failure("Out of memory.");
        if (kms_call(caller, "DescribeKey", request, &answer, &size, &error) < 0 ||
            kms_describe_key_reply(answer, size, ret_arn, &error) < 0) {
                if (error.failure == FAILURE_KEY || error.failure == FAILURE_DENIED)
                        say_alias(key);
                if (error.failure == FAILURE_DENIED)
                        (void) fputs("unsealctl: Cannot look up the key. Give its ARN in --key=, which needs no look-up.\n",
                                     stderr);
                return kms_call_failure(&error);
        }
        return 0;
}

static int encrypt(KmsCaller *caller, Secret *plaintext, Sealed *sealed) {
        const KmsEncrypt request = {
                .key_arn = sealed->key_arn,
                .plaintext = { secret_bytes(plaintext), secret_size(plaintext) },
                .encryption_context = (const char *const *) sealed->context,
        };
        _cleanup_erase_ char *body = NULL, *answer = NULL;
        Error error = {};
        size_t size;
        int r;

        r = kms_encrypt_request(&request, &body);
        if (r == -EINVAL)
                return usage_error("Two --context= have the same key. Give each key once.");
        if (r < 0)
                return failure("Out of memory.");
        if (kms_call(caller, "Encrypt", body, &answer, &size, &error) < 0 ||
            kms_encrypt_reply(&request, answer, size, &sealed->ciphertext, &sealed->size, &error) < 0) {
                r = kms_call_failure(&error);
                if (error.failure == FAILURE_DENIED)
                        kms_call_say_sealer(&error);
                return r;
        }
        return 0;
}

/* Has KMS make a value, of which only the ciphertext comes here. */
static int generate(KmsCaller *caller, size_t bytes, Sealed *sealed) {
        const KmsEncrypt request = {
                .key_arn = sealed->key_arn,
                .encryption_context = (const char *const *) sealed->context,
        };
        _cleanup_free_ char *body = NULL;
        _cleanup_erase_ char *answer = NULL;
        Error error = {};
        size_t size;
        int r;

        r = kms_sealed_key_request(&request, bytes, &body);
        if (r == -EINVAL)
                return usage_error("Two --context= have the same key. Give each key once.");
        if (r < 0)
                return failure("Out of memory.");
        if (kms_call(caller, "GenerateDataKeyWithoutPlaintext", body, &answer, &size, &error) < 0 ||
            kms_sealed_key_reply(&request, answer, size, &sealed->ciphertext, &sealed->size, &error) < 0) {
                r = kms_call_failure(&error);
                if (error.failure == FAILURE_DENIED)
                        kms_call_say_sealer(&error);
                return r;
        }
        return 0;
}

/* Returns the quotes that a word of a *.secret file needs, or NULL where no quotes can hold it. */
static const char *quote_for(const char *word) {
        if (!strpbrk(word, " '\"\\"))
                return "";
        if (!strchr(word, '"'))
                return "\"";
        return strchr(word, '\'') ? NULL : "'";
}

/* message_size: bytes of plaintext; 0: the secret is no message. members: the names of those of a bundle; NULL: it is none. */
static void print_secret_file(FILE *stream, const Options *options, const Sealed *sealed,
                              uint64_t message_size, char *const *members) {
        fprintf(stream,
                "# %s.secret\n[Secret]\n# A path in the image. Put the file that %s wrote there, or change the path.\n"
                "Source=file:/usr/share/unseald/%s.sealed\nKeyId=%s\n",
                options->name, options->output_option ?: "--output=", options->name, sealed->key_arn);
        if (message_size > 0)
                fputs(members ? "Format=bundle\n" : "Format=message\n", stream);
        if (message_size > LIMIT_MESSAGE_BYTES)
                fprintf(stream, "SizeMax=%llu\n", (unsigned long long) message_size);
        if (message_size > LIMIT_STORE_BYTES)
                fprintf(stream,
                        "# The secret has %llu bytes. StoreSizeMax= of unseald.conf must leave room for it.\n",
                        (unsigned long long) message_size);
        if (sealed->signature)
                fprintf(stream,
                        "# The path in the image of the public key that has signed the file.\n"
                        "SignedBy=/usr/lib/unseald/vendor.pub\nMinVersion=%" PRIu64 "\n",
                        options->version);
        if (options->account)
                fputs("BindAccount=yes\n", stream);
        for (size_t i = 0; i < options->pairs_count; i++) {
                const char *pair = options->pairs[i], *quote = quote_for(pair);

                fprintf(stream, "EncryptionContext=%s%s%s\n", quote, pair, quote);
        }
        for (; members && *members; members++)
                fprintf(stream,
                        "\n# Name the units that may have it. Without Units=, any unit gets it.\n[Member %s]\nUnits=\n",
                        *members);
}

static int print_json(const Sealed *sealed, const char *ciphertext) {
        _cleanup_json_ struct json_object *object = made(json_object_new_object());
        struct json_object *context = made(json_object_new_object());

        for (char **pair = sealed->context; *pair; pair++) {
                _cleanup_free_ char *key = strndup(*pair, strcspn(*pair, "="));

                if (!key)
                        return failure("Out of memory.");
                add_string(context, key, strchr(*pair, '=') + 1);
        }
        add_string(object, "KeyId", sealed->key_arn);
        add(object, "EncryptionContext", context);
        if (ciphertext)
                add_string(object, "CiphertextBlob", ciphertext);
        puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                                    JSON_C_TO_STRING_NOSLASHESCAPE)
                             ?: "");
        return 0;
}

static bool is_stdout(const char *output) {
        return !output || strcmp(output, "-") == 0;
}

/* The signature lies beside the ciphertext, where unseald looks for it by default. */
static int write_signature(const Options *options, const Sealed *sealed) {
        _cleanup_free_ char *path = NULL;
        int r;

        if (!sealed->signature)
                return 0;
        if (asprintf(&path, "%s.sig", options->output) < 0)
                return failure("Out of memory.");
        r = write_file_atomic(path, sealed->signature, strlen(sealed->signature), 0644);
        return r < 0 ? failure("Cannot write %s: %s.", path, strerror(-r)) : 0;
}

static int write_sealed(const Options *options, const Sealed *sealed) {
        bool to_stdout = is_stdout(options->output);
        _cleanup_free_ char *base64 = NULL, *line = NULL;
        const void *data = sealed->ciphertext;
        size_t size = sealed->size;
        int r;

        if (base64_encode(sealed->ciphertext, sealed->size, &base64) < 0 ||
            asprintf(&line, "%s\n", base64) < 0)
                return failure("Out of memory.");
        if (!options->raw) {
                data = line;
                size = strlen(line);
        }
        if (!to_stdout) {
                r = write_file_atomic(options->output, data, size, 0644);
                if (r < 0)
                        return failure("Cannot write %s: %s.", options->output, strerror(-r));
                r = write_signature(options, sealed);
                if (r != 0)
                        return r;
        } else if (!options->json)
                (void) fwrite(data, 1, size, stdout);
        if (options->json)
                return print_json(sealed, base64);
        if (options->secret_file)
                print_secret_file(stdout, options, sealed, 0, NULL);
        return 0;
}

/* *ret stays NULL if the secret is not to be signed. */
static int make_signer(const Options *options, const KmsCallerOptions *kms, Signer **ret) {
        if (options->sign_file)
                return signer_of_file(options->sign_file, ret);
        return options->sign_key ? signer_of_kms(options->sign_key, kms, ret) : 0;
}

/* What signs, and what takes the signature. */
typedef struct Signing {
        const Options *options;
        Signer *signer; /* NULL: the secret is not to be signed */
        Sealed *sealed;
} Signing;

/* data: the ciphertext, or the header of a message. Without the message's data key nobody makes other frames for a header. */
static int sign(const uint8_t *data, size_t size, void *userdata) {
        const Signing *signing = userdata;

        return signing->signer ? signer_sign(signing->signer, signing->options->name,
                                             signing->options->version, data, size,
                                             &signing->sealed->signature)
                               : 0;
}

/* The ciphertext of a message is in the file alone: it may be too long for JSON. */
static int write_message(const Options *options, KmsCaller *caller, const Input *input, Signing *signing) {
        Sealed *sealed = signing->sealed;
        const MessageSealing sealing = {
                .key_arn = sealed->key_arn,
                .context = sealed->context,
                .fd = input->fd,
                .begin = input->begin,
                .input = input->name,
                .output = is_stdout(options->output) ? NULL : options->output,
                .on_header = sign,
                .userdata = signing,
        };
        uint64_t size;
        int r;

        if (!sealing.output && (options->json || isatty(STDOUT_FILENO)))
                return usage_error(
                                "A message is bytes, neither for a terminal nor for JSON. Give --output=.");
        if ((r = seal_message(caller, &sealing, &size)) != 0 || (r = write_signature(options, sealed)) != 0)
                return r;
        if (options->json)
                return print_json(sealed, NULL);
        if (options->secret_file)
                print_secret_file(stdout, options, sealed, size, input->members);
        return 0;
}

/* One sealing. Where the ciphertext is short, it is held here before it is written. */
struct Sealing {
        Options options;
        AwsCredentials credentials;
        KmsCaller *caller;
        Signer *signer;
        char region[sizeof(((KmsKeyArn *) NULL)->region)];
        Sealed sealed;
};

static void sealing_done(Sealing *sealing) {
        sealed_done(&sealing->sealed);
        if (sealing->signer)
                (void) signer_free(sealing->signer);
        if (sealing->caller)
                (void) kms_caller_free(sealing->caller);
        aws_credentials_clear(&sealing->credentials);
}

/* Finds the credentials and the Region, and looks up the key. The signer comes before: what cannot be signed is not sealed either. */
static int sealing_begin(Sealing *sealing) {
        const Options *options = &sealing->options;
        _cleanup_free_ char *configured = NULL;
        KmsCallerOptions kms = options->kms;
        const char *bundle = kms.trusted_certificates ? NULL : environment("AWS_CA_BUNDLE");
        Error error = {};
        int r;

        if (credentials_find(options->profile, &sealing->credentials, &configured, &error) < 0)
                return kms_call_failure(&error);
        r = choose_region(options, configured, sealing->region, &kms.region);
        if (r != 0)
                return r;
        kms.credentials = &sealing->credentials;
        kms.trusted_certificates = kms.trusted_certificates ?: bundle;
        if (kms_caller_new(&kms, &sealing->caller, &error) < 0) {
                if (!bundle || error.failure != FAILURE_CONFIGURATION)
                        return kms_call_failure(&error);
                (void) failure("AWS_CA_BUNDLE: %s Correct the variable, or give --trusted-certificates=.",
                               error.text);
                return (int) error.failure;
        }
        if ((r = make_signer(options, &kms, &sealing->signer)) != 0 ||
            (r = resolve_key(sealing->caller, options->key, &sealing->sealed.key_arn)) != 0)
                return r;
        return make_context(options, &sealing->sealed.context);
}

static int seal(const Options *options) {
        _cleanup_(input_done) Input input = { .opened = -1 };
        _cleanup_(sealing_done) Sealing sealing = { .options = *options };
        Signing signing = { .options = options, .sealed = &sealing.sealed };
        int r;

        warn_suffix(options->name);
        r = options->generate ? check_output(options, -1) : read_plaintext(options, &input);
        if (r != 0 || (r = sealing_begin(&sealing)) != 0)
                return r;
        signing.signer = sealing.signer;
        if (!options->generate && is_message(options, &input))
                return write_message(options, sealing.caller, &input, &signing);
        r = sealing_run(&sealing, input.begin);
        return r != 0 ? r : write_sealed(options, &sealing.sealed);
}

int sealing_run(Sealing *sealing, Secret *plaintext) {
        Signing signing = { .options = &sealing->options,
                            .signer = sealing->signer,
                            .sealed = &sealing->sealed };
        int r = sealing->options.generate
                                ? generate(sealing->caller, sealing->options.generate_size, &sealing->sealed)
                                : encrypt(sealing->caller, plaintext, &sealing->sealed);

        return r != 0 ? r : sign(sealing->sealed.ciphertext, sealing->sealed.size, &signing);
}

int sealing_write(Sealing *sealing) {
        return write_sealed(&sealing->options, &sealing->sealed);
}

void sealing_print_secret_file(const Sealing *sealing, FILE *stream) {
        print_secret_file(stream, &sealing->options, &sealing->sealed, 0, NULL);
}

Sealing *sealing_free(Sealing *sealing) {
        sealing_done(sealing);
        free(sealing);
        return NULL;
}

static int check_context(const Options *options) {
        size_t size = 0;

        for (size_t i = 0; i < options->pairs_count; i++) {
                const char *pair = options->pairs[i];

                if (pair[0] == '=' || !strchr(pair, '='))
                        return usage_error("--context= takes KEY=VALUE, not \"%s\".", pair);
                if (strncmp(pair, RESERVED_CONTEXT, strlen(RESERVED_CONTEXT)) == 0)
                        return usage_error("--context= cannot set a key that begins with " RESERVED_CONTEXT
                                           ". --name= and --account= do that.");
                if (!ini_is_text(pair, strlen(pair)) || strchr(pair, '\t'))
                        return usage_error(
                                        "--context= is not UTF-8 or contains a control character. A *.secret file cannot contain it.");
                if (options->secret_file && !quote_for(pair))
                        return usage_error(
                                        "--context= contains both kinds of quotes, and --print-secret-file cannot write such a word. Leave one option out.");
                for (size_t k = 0; k < i; k++)
                        if (strncmp(options->pairs[k], pair, strcspn(pair, "=") + 1) == 0)
                                return usage_error("Two --context= have the same key. Give each key once.");
                size += strlen(pair);
        }
        return size > PAIRS_SIZE_MAX
                               ? usage_error("--context= is too long: all pairs together have more than %u bytes.",
                                             PAIRS_SIZE_MAX)
                               : 0;
}

static int check_signing(Options *options) {
        const char *text = options->secret_version;
        KmsKeyArn arn;

        if (options->sign_file && options->sign_key)
                return usage_error(
                                "--sign= and --sign-key= exclude each other. A secret has one signature.");
        if (!options->sign_file && !options->sign_key)
                return text ? usage_error("--secret-version= needs --sign= or --sign-key=: only a signature has a version.")
                            : 0;
        if (!text)
                return usage_error(
                                "A signature needs --secret-version=N. Raise N with each new value of the secret.");
        errno = 0;
        options->version = strtoull(text, NULL, 10);
        if (*text == '\0' || strspn(text, "0123456789") != strlen(text) || errno != 0)
                return usage_error(
                                "--secret-version= takes a whole number from 0 to 18446744073709551615, not \"%s\".",
                                text);
        if (options->sign_key && kms_key_arn_parse(options->sign_key, &arn) < 0)
                return usage_error(
                                "--sign-key= takes the ARN of a key, not \"%s\". An alias can be moved to another key.",
                                options->sign_key);
        if (is_stdout(options->output))
                return usage_error(
                                "The signature is written beside the sealed secret, as FILE.sig. Give --output=FILE.");
        return 0;
}

static int check_generate(Options *options) {
        const char *text = options->generate;

        if (!text)
                return 0;
        if (options->input || options->bundle)
                return usage_error("--generate= has KMS make the secret. Give no file.");
        if (options->format && strcmp(options->format, "kms") != 0)
                return usage_error("--generate= makes a ciphertext of KMS. Leave --format=message out.");
        if (strspn(text, "0123456789") == strlen(text) && strlen(text) <= 4)
                options->generate_size = strtoul(text, NULL, 10);
        return options->generate_size < 1 || options->generate_size > KMS_GENERATE_MAX
                               ? usage_error("--generate= takes a number of bytes from 1 to %u, not \"%s\".",
                                             KMS_GENERATE_MAX, text)
                               : 0;
}

static int check_options(Options *options) {
        int r;

        if (!options->key || !options->name)
                return usage_error("seal needs --key= and --name=.");
        if (!declaration_name_is_valid(options->name))
                return usage_error(
                                "--name=%s is not a name of a secret. Expected 1 to 64 letters, digits, \"-\", \"_\" and \".\".",
                                options->name);
        if (options->account &&
            (strlen(options->account) != 12 || strspn(options->account, "0123456789") != 12))
                return usage_error("--account= takes the 12 digits of an AWS account, not \"%s\".",
                                   options->account);
        if (options->format && strcmp(options->format, "kms") != 0 &&
            strcmp(options->format, "message") != 0)
                return usage_error("--format= takes kms or message, not \"%s\".", options->format);
        if (options->bundle && options->format && strcmp(options->format, "kms") == 0)
                return usage_error("A bundle is a message. Leave --format=kms out.");
        if (options->secret_file && (is_stdout(options->output) || options->json))
                return usage_error(
                                "--print-secret-file writes to standard output, as the ciphertext and --json do. Give --output=, and not --json.");
        if (options->kms.proxy && !settings_proxy_is_valid(options->kms.proxy))
                return usage_error("--proxy= takes http://HOST:PORT, not \"%s\".", options->kms.proxy);
        r = check_generate(options);
        if (r == 0)
                r = check_signing(options);
        return r != 0 ? r : check_context(options);
}

/* Asks KMS whether it would encrypt. The other verb may work for an hour before it has the plaintext. */
static int sealing_try(Sealing *sealing) {
        const KmsDryRun question = { .operation = "Encrypt",
                                     .key_arn = sealing->sealed.key_arn,
                                     .encryption_context = (const char *const *) sealing->sealed.context };
        _cleanup_free_ char *body = NULL, *answer = NULL;
        Error error = {};
        size_t size;
        int r = kms_dry_run_request(&question, &body);

        if (r == -EINVAL)
                return usage_error("Two --context= have the same key. Give each key once.");
        if (r < 0)
                return failure("Out of memory.");
        r = kms_call(sealing->caller, "Encrypt", body, &answer, &size, &error);
        if (r >= 0 || strcmp(error.code, "DryRunOperationException") == 0)
                return 0;
        r = kms_call_failure(&error);
        if (error.failure == FAILURE_DENIED)
                kms_call_say_sealer(&error);
        return r;
}

int sealing_new(const SealRequest *request, Sealing **ret) {
        _cleanup_(sealing_freep) Sealing *sealing = calloc(1, sizeof(*sealing));
        int r;

        if (!sealing)
                return failure("Out of memory.");
        sealing->options = (Options){
                .key = request->key,
                .name = request->name,
                .account = request->account,
                .output = request->output,
                .output_option = request->output_option,
                .profile = request->profile,
                .sign_file = request->sign_file,
                .sign_key = request->sign_key,
                .secret_version = request->secret_version,
                .pairs_count = request->pairs_count,
                .kms = request->kms,
                .secret_file = true,
        };
        if (request->pairs_count > PAIRS_MAX)
                return usage_error("An encryption context takes at most %u --context=.", PAIRS_MAX);
        for (size_t i = 0; i < request->pairs_count; i++)
                sealing->options.pairs[i] = request->pairs[i];
        r = check_options(&sealing->options);
        if (r != 0)
                return r;
        sealing->options.secret_file = false; /* sealing_write() prints nothing */
        warn_suffix(request->name);
        if ((r = sealing_begin(sealing)) != 0 || (r = sealing_try(sealing)) != 0)
                return r;
        *ret = TAKE_PTR(sealing);
        return 0;
}

enum {
        OPTION_KEY = 256,
        OPTION_NAME,
        OPTION_CONTEXT,
        OPTION_ACCOUNT,
        OPTION_FORMAT,
        OPTION_BUNDLE,
        OPTION_GENERATE,
        OPTION_SIGN,
        OPTION_SIGN_KEY,
        OPTION_SECRET_VERSION,
        OPTION_RAW,
        OPTION_JSON,
        OPTION_SECRET_FILE,
        OPTION_PROFILE,
        OPTION_REGION,
        OPTION_FIPS,
        OPTION_DUAL_STACK,
        OPTION_ENDPOINT,
        OPTION_PROXY,
        OPTION_TRUSTED,
};

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "key", required_argument, NULL, OPTION_KEY },
        { "name", required_argument, NULL, OPTION_NAME },
        { "context", required_argument, NULL, OPTION_CONTEXT },
        { "account", required_argument, NULL, OPTION_ACCOUNT },
        { "output", required_argument, NULL, 'o' },
        { "format", required_argument, NULL, OPTION_FORMAT },
        { "bundle", required_argument, NULL, OPTION_BUNDLE },
        { "generate", required_argument, NULL, OPTION_GENERATE },
        { "sign", required_argument, NULL, OPTION_SIGN },
        { "sign-key", required_argument, NULL, OPTION_SIGN_KEY },
        { "secret-version", required_argument, NULL, OPTION_SECRET_VERSION },
        { "raw", no_argument, NULL, OPTION_RAW },
        { "json", no_argument, NULL, OPTION_JSON },
        { "print-secret-file", no_argument, NULL, OPTION_SECRET_FILE },
        { "profile", required_argument, NULL, OPTION_PROFILE },
        { "region", required_argument, NULL, OPTION_REGION },
        { "fips", no_argument, NULL, OPTION_FIPS },
        { "dual-stack", no_argument, NULL, OPTION_DUAL_STACK },
        { "endpoint", required_argument, NULL, OPTION_ENDPOINT },
        { "proxy", required_argument, NULL, OPTION_PROXY },
        { "trusted-certificates", required_argument, NULL, OPTION_TRUSTED },
        {},
};

/* Returns where the argument of an option goes, or NULL for an option without argument. */
static const char **field_of(Options *options, int option) {
        switch (option) {
        case OPTION_KEY:
                return &options->key;
        case OPTION_NAME:
                return &options->name;
        case OPTION_ACCOUNT:
                return &options->account;
        case 'o':
                return &options->output;
        case OPTION_FORMAT:
                return &options->format;
        case OPTION_BUNDLE:
                return &options->bundle;
        case OPTION_GENERATE:
                return &options->generate;
        case OPTION_PROFILE:
                return &options->profile;
        case OPTION_REGION:
                return &options->kms.region;
        case OPTION_ENDPOINT:
                return &options->kms.endpoint;
        case OPTION_SIGN:
                return &options->sign_file;
        case OPTION_SIGN_KEY:
                return &options->sign_key;
        case OPTION_SECRET_VERSION:
                return &options->secret_version;
        case OPTION_PROXY:
                return &options->kms.proxy;
        case OPTION_TRUSTED:
                return &options->kms.trusted_certificates;
        default:
                return NULL;
        }
}

static bool *switch_of(Options *options, int option) {
        switch (option) {
        case OPTION_RAW:
                return &options->raw;
        case OPTION_JSON:
                return &options->json;
        case OPTION_SECRET_FILE:
                return &options->secret_file;
        case OPTION_FIPS:
                return &options->kms.fips;
        case OPTION_DUAL_STACK:
                return &options->kms.dual_stack;
        default:
                return NULL;
        }
}

int verb_seal(int argc, char *argv[]) {
        Options options = {};
        Error error;
        int c, r;

        while ((c = getopt_long(argc, argv, "ho:", long_options, NULL)) >= 0)
                if (c == 'h') {
                        print_help();
                        return EXIT_SUCCESS;
                } else if (c == OPTION_CONTEXT) {
                        if (options.pairs_count == PAIRS_MAX)
                                return usage_error("seal takes at most %u --context=.", PAIRS_MAX);
                        options.pairs[options.pairs_count++] = optarg;
                } else if (field_of(&options, c))
                        *field_of(&options, c) = optarg;
                else if (switch_of(&options, c))
                        *switch_of(&options, c) = true;
                else
                        return EXIT_USAGE;
        if (argc - optind > 1)
                return usage_error("seal takes at most one file as argument, never the secret itself.");
        if (options.bundle && argc > optind)
                return usage_error("--bundle= names the file with the secrets. Give no other file.");
        options.input = options.bundle ?: argv[optind];
        r = check_options(&options);
        if (r != 0)
                return r;

        /* Locks all memory where the limits allow it, and goes on where they do not. The pages of the plaintext are always
         * locked. */
        (void) memory_protect_process(&error);
        return seal(&options);
}
