/* SPDX-License-Identifier: Apache-2.0 */

/* Prints an attestation document. Options and output are those of AWS's nitro-tpm-attest, so that scripts can switch. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "basic/clock.h"
#include "basic/io.h"
#include "tpm/nitrotpm.h"
#include "unsealctl/ctl.h"
#include "unsealctl/verify-input.h"

#define TIMEOUT_USEC (30 * USEC_PER_SEC)

typedef struct Options {
        const char *user_data, *nonce, *public_key, *output, *device;
        uint64_t timeout_usec;
} Options;

/* Owns its data. data NULL: the field is not in the request. */
typedef struct Field {
        uint8_t *data;
        size_t size;
} Field;

static void field_done(Field *field) {
        free(field->data);
}

static void print_help(void) {
        printf("unsealctl attest [OPTIONS…]\n\n"
               "Get an attestation document from this instance's NitroTPM, in CBOR.\n\n"
               "  -h --help              Show this help\n"
               "  -u --user-data=FILE    Put these bytes into the document\n"
               "  -n --nonce=FILE|hex:…  Put this nonce into the document\n"
               "  -p --public-key=FILE   Put this public key (DER) into the document\n"
               "  -o --output=FILE       Write to this file; -: standard output, even a terminal\n"
               "     --device=TCTI       Use this TPM (device:/dev/tpm0)\n"
               "     --timeout=SEC       Wait this long for a TPM that is in use (30 s)\n\n"
               "Exit status: 0 done, 1 failure, 2 usage, 20 TPM, 21 no NitroTPM, 22 refused.\n");
}

/* Reads files and pipes, such as <(…) of a shell. */
static int load(const char *path, const char *option, Field *ret) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        int r;

        r = fd < 0 ? -errno : read_fd(fd, NSM_FIELD_MAX, &ret->data, &ret->size);
        if (r == -EFBIG)
                return failure("%s is too long: it has more than %u bytes, and %s takes no more.", path,
                               NSM_FIELD_MAX, option);
        if (r < 0)
                return failure("Cannot read %s: %s.", path, strerror(-r));
        return 0;
}

/* The nonce itself, as verify takes it, or a file with it. */
static int load_nonce(const char *argument, Field *ret) {
        int r = nonce_has_prefix(argument) || access(argument, F_OK) < 0
                                ? nonce_from_text(argument, &ret->data, &ret->size)
                                : -ENOENT;

        if (r == -ENOMEM)
                return failure("Out of memory.");
        if (r == -EINVAL)
                return usage_error(
                                "--nonce=%s is not valid. hex: takes an even number of hexadecimal digits, and base64: takes base64 with its padding.",
                                argument);
        if (r < 0)
                return load(argument, "--nonce=", ret);
        return ret->size <= NSM_FIELD_MAX
                               ? 0
                               : usage_error("--nonce= has more than %u bytes, and a document takes no more.",
                                             NSM_FIELD_MAX);
}

static int load_public_key(const char *path, Field *ret) {
        int r = load(path, "--public-key=", ret);

        if (r == 0 && ret->size > 10 && memcmp(ret->data, "-----BEGIN", 10) == 0)
                return failure("%s is PEM, but the document takes DER. Convert it: \"openssl pkey -pubin -in %s -outform DER\".",
                               path, path);
        return r;
}

static int write_document(const char *path, const uint8_t *document, size_t size) {
        int r;

        if (!path || strcmp(path, "-") == 0) {
                (void) fwrite(document, 1, size, stdout);
                return EXIT_SUCCESS;
        }
        r = write_file_atomic(path, document, size, 0644);
        return r < 0 ? failure("Cannot write %s: %s.", path, strerror(-r)) : EXIT_SUCCESS;
}

static int attest(const Options *options) {
        _cleanup_(field_done) Field user_data = {}, nonce = {}, public_key = {};
        _cleanup_free_ uint8_t *document = NULL;
        NsmRequest request;
        Error error = {};
        size_t size;
        int r = 0;

        if (options->user_data)
                r = load(options->user_data, "--user-data=", &user_data);
        if (r == 0 && options->nonce)
                r = load_nonce(options->nonce, &nonce);
        if (r == 0 && options->public_key)
                r = load_public_key(options->public_key, &public_key);
        if (r != 0)
                return r;

        request = (NsmRequest){
                .user_data = { user_data.data, user_data.size },
                .nonce = { nonce.data, nonce.size },
                .public_key = { public_key.data, public_key.size },
        };
        if (document_get(options->device, &request, options->timeout_usec, &document, &size, &error) < 0) {
                (void) failure("%s", error.text);
                return (int) error.failure;
        }
        return write_document(options->output, document, size);
}

int verb_attest(int argc, char *argv[]) {
        enum {
                OPTION_DEVICE = 256,
                OPTION_TIMEOUT,
        };
        static const struct option long_options[] = {
                { "help", no_argument, NULL, 'h' },
                { "user-data", required_argument, NULL, 'u' },
                { "nonce", required_argument, NULL, 'n' },
                { "public-key", required_argument, NULL, 'p' },
                { "output", required_argument, NULL, 'o' },
                { "device", required_argument, NULL, OPTION_DEVICE },
                { "timeout", required_argument, NULL, OPTION_TIMEOUT },
                {},
        };
        Options options = { .device = "device:/dev/tpm0", .timeout_usec = TIMEOUT_USEC };
        int c;

        while ((c = getopt_long(argc, argv, "hu:n:p:o:", long_options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        print_help();
                        return EXIT_SUCCESS;
                case 'u':
                        options.user_data = optarg;
                        break;
                case 'n':
                        options.nonce = optarg;
                        break;
                case 'p':
                        options.public_key = optarg;
                        break;
                case 'o':
                        options.output = optarg;
                        break;
                case OPTION_DEVICE:
                        options.device = optarg;
                        break;
                case OPTION_TIMEOUT:
                        if (parse_duration(optarg, &options.timeout_usec) < 0)
                                return usage_error("--timeout= takes a time, such as 10 or 2min.");
                        break;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc)
                return usage_error("attest takes options and no argument.");
        if (!options.output && isatty(STDOUT_FILENO))
                return usage_error(
                                "Standard output is a terminal, and the document is binary. Give --output=FILE, or --output=- to write it anyway.");
        return attest(&options);
}
