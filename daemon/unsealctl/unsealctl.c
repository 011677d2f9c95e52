/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "basic/io.h"
#include "basic/text.h"
#include "build-config.h"
#include "config/nearest.h"
#include "unsealctl/ctl.h"

typedef struct Verb {
        const char *name, *arguments, *help;
        int (*run)(int argc, char *argv[]);
} Verb;

static const Verb verbs[] = {
        { "attest", "", "Get an attestation document of this instance", verb_attest },
        { "cat-config", "", "Print the configuration that is in force", verb_cat_config },
        { "cat-message", "FILE", "Show a message without its key", verb_cat_message },
        { "check", "", "List every mistake in the configuration", verb_check },
        { "doctor", "", "Find out why unseald does not work here", verb_doctor },
        { "measure", "IMAGE", "Predict the PCR values of an image", verb_measure },
        { "policy", "[lint POLICY]", "Write a key policy, or find its faults", verb_policy },
        { "reload", "", "Unseal all secrets again and replace them", verb_reload },
        { "report", "", "Say on one page why unsealing failed or waits", verb_report },
        { "seal", "[FILE]", "Encrypt a secret for unseald", verb_seal },
        { "status", "", "Show the state of each secret in this boot", verb_status },
        { "unseal", "NAME", "Unseal one secret by hand", verb_unseal },
        { "verify", "DOCUMENT", "Verify an attestation document", verb_verify },
        { "volume", "create DIR", "Make or check an encrypted read-only volume", verb_volume },
};

static void print_help(FILE *stream) {
        fprintf(stream, "unsealctl [OPTIONS…] VERB …\n\n"
                        "Seal secrets for attested EC2 instances, verify them, and look after unseald.\n\n"
                        "Verbs:\n");
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                fprintf(stream, "  %-17s %-13s %s\n", verbs[i].name, verbs[i].arguments, verbs[i].help);
        fprintf(stream, "\nOptions:\n"
                        "  -h --help              Show this help, or after a verb the help of the verb\n"
                        "     --version           Show the version\n"
                        "See unsealctl(1).\n");
}

static const Verb *find_verb(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return &verbs[i];
        return NULL;
}

static const char *nearest_verb(const char *typed) {
        const char *name = NULL;
        size_t best = SIZE_MAX;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (name_is_nearer(typed, verbs[i].name, &best))
                        name = verbs[i].name;
        return name;
}

_printf_(1, 0) static void complain(const char *format, va_list arguments) {
        _cleanup_free_ char *text = NULL;

        if (vasprintf(&text, format, arguments) < 0)
                text = NULL;
        fprintf(stderr, "unsealctl: %s\n", text ? text_clean_lines(text) : "Out of memory.");
}

int usage_error(const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        complain(format, arguments);
        va_end(arguments);
        fputs("See \"unsealctl --help\", or --help after the verb.\n", stderr);
        return EXIT_USAGE;
}

int failure(const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        complain(format, arguments);
        va_end(arguments);
        return EXIT_FAILURE;
}

int read_argument(const char *path, size_t maximum, uint8_t **ret, size_t *ret_size) {
        bool is_stdin = strcmp(path, "-") == 0;
        _cleanup_close_ int opened = is_stdin ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        int r;

        if (!is_stdin && opened < 0)
                r = -errno;
        else
                r = read_fd(is_stdin ? STDIN_FILENO : opened, maximum, ret, ret_size);
        if (r == -EFBIG)
                return failure("Cannot read %s: it has more than %zu bytes, the most for what is expected here.",
                               path, maximum);
        return r < 0 ? failure("Cannot read %s: %s.", path, strerror(-r)) : 0;
}

const char *format_time(int64_t seconds, char buffer[TIME_STRING_MAX]) {
        time_t t = (time_t) seconds;
        struct tm tm;

        if (!gmtime_r(&t, &tm) || strftime(buffer, TIME_STRING_MAX, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
                (void) snprintf(buffer, TIME_STRING_MAX, "an unknown time");
        return buffer;
}

/* If standard input, output or error is closed, the next file or connection gets its number, and a secret for standard output
 * would go there. /dev/null takes the number first, opened so that reading or writing still fails. */
static bool hold_standard_descriptors(void) {
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (fcntl(fd, F_GETFD) < 0 &&
                    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
                        return false;
        return true;
}

/* A caller that did not get the whole answer must not see success. */
static int finish(int status) {
        if ((fflush(stdout) != 0 || ferror(stdout)) && status == EXIT_SUCCESS)
                return failure("Cannot write to standard output: %s.", strerror(errno));
        return status;
}

static int run_verb(const Verb *verb, int argc, char *argv[]) {
        char name[32];

        /* getopt_long() puts this name in front of its messages. */
        (void) snprintf(name, sizeof(name), "unsealctl %s", verb->name);
        argv[0] = name;
        return finish(verb->run(argc, argv));
}

static int unknown_verb(const char *typed) {
        const char *near = nearest_verb(typed);

        return near ? usage_error("Unknown verb %s. Did you mean %s?", typed, near)
                    : usage_error("Unknown verb %s.", typed);
}

int main(int argc, char *argv[]) {
        static char help[] = "--help";
        const Verb *verb;

        if (!hold_standard_descriptors())
                return EXIT_FAILURE;
        if (argc < 2) {
                print_help(stderr);
                return EXIT_USAGE;
        }
        if (strcmp(argv[1], "help") == 0 && argc > 2) {
                /* "help VERB …" is "VERB … --help". */
                memmove(argv + 1, argv + 2, ((size_t) argc - 2) * sizeof(*argv));
                argv[argc - 1] = help;
        } else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
                   strcmp(argv[1], "help") == 0) {
                print_help(stdout);
                return finish(EXIT_SUCCESS);
        }
        if (strcmp(argv[1], "--version") == 0) {
                puts("unsealctl " UNSEALD_VERSION);
                return finish(EXIT_SUCCESS);
        }
        if (argv[1][0] == '-')
                return usage_error("Unknown option %s before the verb.", argv[1]);

        verb = find_verb(argv[1]);
        if (!verb)
                return unknown_verb(argv[1]);
        return run_verb(verb, argc - 1, argv + 1);
}
