/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"
#include "basic/io.h"
#include "control.h"

#define WORDS_MAX 16
#define FILE_MAX ((size_t) 8 << 30)
#define MESSAGE_MAX (4U * 1024U * 1024U)

struct Control {
        int fd;
        int stop[2];
        pthread_t thread;
        ControlTargets targets;
};

/* One request, and the answer to it. */
typedef struct Talk {
        const ControlTargets *targets;
        struct json_object *request;
        const char *words[WORDS_MAX];
        size_t n;
        struct json_object *result;
        char error[768];
} Talk;

static int fail(Talk *talk, const char *format, ...) _printf_(2, 3);
static int fail(Talk *talk, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(talk->error, sizeof(talk->error), format, arguments);
        va_end(arguments);
        return -EINVAL;
}

static int word_content(Talk *talk, size_t index, uint8_t **ret, size_t *ret_size) {
        struct json_object *word = json_object_array_get_idx(talk->request, index);
        const char *base64 = json_member_string(word, "base64"), *path = json_member_string(word, "path");

        if (path && read_file(path, FILE_MAX, ret, ret_size) >= 0)
                return 0;
        if (!base64 || base64_decode(base64, strlen(base64), ret, ret_size) < 0)
                return fail(talk, "the request lacks the content of a file");
        return 0;
}

static int say_ping(Talk *talk) {
        talk->result = json_object_new_string("pong");
        return 0;
}

static int say_fault(Talk *talk) {
        const char *const *words = talk->words + 2;
        const char *verb = talk->n > 1 ? talk->words[1] : "list";
        size_t n = talk->n > 2 ? talk->n - 2 : 0;
        char reason[256] = "";

        if (strcmp(verb, "set") == 0)
                return faults_set(talk->targets->faults, words, n, reason) < 0 ? fail(talk, "%s", reason)
                                                                               : 0;
        if (strcmp(verb, "clear") == 0) {
                faults_clear(talk->targets->faults, words, n);
                return 0;
        }
        if (strcmp(verb, "list") == 0)
                talk->result = faults_list(talk->targets->faults);
        else if (strcmp(verb, "names") == 0)
                talk->result = faults_names();
        else
                return fail(talk, "usage: fault set|clear|list|names");
        return 0;
}

static int load_accounts(Talk *talk, struct json_object *description) {
        char reason[512] = "";

        if (accounts_load(talk->targets->accounts, description, reason) < 0)
                return fail(talk, "%s", *reason ? reason : "out of memory");
        return 0;
}

static int say_accounts(Talk *talk) {
        _cleanup_json_ struct json_object *description = NULL;
        _cleanup_free_ uint8_t *text = NULL;
        size_t size;

        if (talk->n == 1) {
                talk->result = accounts_describe(talk->targets->accounts, false);
                return 0;
        }
        int r = word_content(talk, 1, &text, &size);
        if (r < 0)
                return r;
        if (json_parse((const char *) text, size, &description) < 0)
                return fail(talk, "the file is not JSON");
        return load_accounts(talk, description);
}

/* role policy ACCOUNT ROLE @FILE: replaces all identity policies of the role by this one. "none" removes
 * them. */
static int set_role_policy(Talk *talk) {
        _cleanup_json_ struct json_object *description = accounts_describe(talk->targets->accounts, true),
                                          *policy = NULL;
        _cleanup_free_ uint8_t *text = NULL;
        size_t size;

        if (talk->n != 5)
                return fail(talk, "usage: role policy ACCOUNT ROLE FILE|none");
        struct json_object *account = json_member(json_member(description, "accounts"), talk->words[2]);
        struct json_object *role = json_member(json_member(account, "roles"), talk->words[3]);
        if (!role)
                return fail(talk, "the account has no such role");
        struct json_object *policies = json_object_new_array();
        json_object_object_add(role, "policies", policies);
        if (strcmp(talk->words[4], "none") != 0) {
                int r = word_content(talk, 4, &text, &size);
                if (r < 0)
                        return r;
                if (json_parse((const char *) text, size, &policy) < 0)
                        return fail(talk, "the file is not JSON");
                json_object_array_add(policies, TAKE_PTR(policy));
        }
        return load_accounts(talk, description);
}

static int say_role(Talk *talk) {
        if (talk->n >= 2 && strcmp(talk->words[1], "policy") == 0)
                return set_role_policy(talk);
        if (talk->n != 2)
                return fail(talk, "usage: role NAME|none, or role policy ACCOUNT ROLE FILE|none");
        const char *role = strcmp(talk->words[1], "none") == 0 ? NULL : talk->words[1];
        return platform_imds_set_role(talk->targets->imds, role) < 0
                               ? fail(talk, "the instance's account has no such role")
                               : 0;
}

static int say_account(Talk *talk) {
        if (talk->n != 2 || (strcmp(talk->words[1], "own") != 0 && strlen(talk->words[1]) != 12))
                return fail(talk, "usage: account ID|own");
        platform_imds_claim_account(talk->targets->imds,
                                    strcmp(talk->words[1], "own") == 0 ? NULL : talk->words[1]);
        return 0;
}

static int say_user_data(Talk *talk) {
        _cleanup_free_ uint8_t *data = NULL;
        size_t size = 0;

        if (talk->n != 2)
                return fail(talk, "usage: user-data FILE|none");
        if (strcmp(talk->words[1], "none") != 0) {
                int r = word_content(talk, 1, &data, &size);
                if (r < 0)
                        return r;
        }
        return platform_imds_set_user_data(talk->targets->imds, data, size) < 0
                               ? fail(talk, "user data is longer than 16 KiB")
                               : 0;
}

static int word_number(Talk *talk, unsigned maximum, unsigned *ret) {
        char *end = NULL;
        unsigned long n = talk->n == 2 ? strtoul(talk->words[1], &end, 10) : 0;

        if (!end || end == talk->words[1] || *end || n > maximum)
                return fail(talk, "%s needs a number up to %u", talk->words[0], maximum);
        *ret = (unsigned) n;
        return 0;
}

static int say_rate(Talk *talk) {
        unsigned rate = 0;

        int r = word_number(talk, 1000000, &rate);
        if (r >= 0)
                platform_kms_set_rate(talk->targets->kms, rate);
        return r;
}

static int say_delay(Talk *talk) {
        unsigned msec = 0;

        int r = word_number(talk, 60000, &msec);
        if (r >= 0)
                relay_set_delay(talk->targets->relay, msec);
        if (r >= 0)
                relay_set_delay(talk->targets->carriers_relay, msec);
        return r;
}

/* Stores the item and answers with its new version. */
static int put_item(Talk *talk, CarriedItem *item, size_t index) {
        char version[CARRIERS_VERSION_SIZE];

        int r = word_content(talk, index, &item->data, &item->size);
        if (r < 0)
                return r;
        r = carriers_put(talk->targets->carriers, item, version);
        free(item->data);
        if (r < 0)
                return fail(talk, "%s", strerror(-r));
        talk->result = json_object_new_string(version);
        return 0;
}

static int say_object(Talk *talk) {
        if (talk->n != 5 || strcmp(talk->words[1], "put") != 0)
                return fail(talk, "usage: object put BUCKET KEY FILE");
        return put_item(talk,
                        &(CarriedItem){ .service = SERVICE_S3,
                                        .container = (char *) talk->words[2],
                                        .name = (char *) talk->words[3],
                                        .type = (char *) "" },
                        4);
}

/* parameter, secret or file: put NAME FILE [TYPE] */
static int say_item(Talk *talk) {
        static const struct {
                const char *word, *types[3];
                Service service;
        } kinds[] = {
                { "parameter", { "String", "StringList", "SecureString" }, SERVICE_SSM },
                { "secret", { "string", "binary" }, SERVICE_SECRETS_MANAGER },
                { "file", { "file", "redirect" }, SERVICE_FILES },
        };
        size_t i = 0, j = 0;

        while (i < ELEMENTSOF(kinds) - 1 && strcmp(kinds[i].word, talk->words[0]) != 0)
                i++;
        if (talk->n == 5)
                while (j < ELEMENTSOF(kinds[i].types) &&
                       (!kinds[i].types[j] || strcmp(kinds[i].types[j], talk->words[4]) != 0))
                        j++;
        if (talk->n < 4 || talk->n > 5 || strcmp(talk->words[1], "put") != 0 ||
            j == ELEMENTSOF(kinds[i].types))
                return fail(talk, "usage: %s put NAME FILE [%s|%s]", kinds[i].word, kinds[i].types[0],
                            kinds[i].types[1]);
        return put_item(talk,
                        &(CarriedItem){ .service = kinds[i].service,
                                        .container = (char *) "",
                                        .name = (char *) talk->words[2],
                                        .type = (char *) kinds[i].types[j] },
                        3);
}

static int say_vpc_endpoint(Talk *talk) {
        if (talk->n != 2)
                return fail(talk, "usage: vpc-endpoint ID|none");
        platform_kms_set_vpc_endpoint(talk->targets->kms,
                                      strcmp(talk->words[1], "none") == 0 ? "" : talk->words[1]);
        return 0;
}

static int say_type(Talk *talk) {
        if (talk->n != 2 || platform_imds_set_instance_type(talk->targets->imds, talk->words[1]) < 0)
                return fail(talk, "usage: instance-type TYPE");
        return 0;
}

static int obey(Talk *talk) {
        static const struct {
                const char *word;
                int (*say)(Talk *talk);
        } verbs[] = {
                { "account", say_account },     { "accounts", say_accounts },
                { "delay", say_delay },         { "fault", say_fault },
                { "file", say_item },           { "instance-type", say_type },
                { "object", say_object },       { "parameter", say_item },
                { "ping", say_ping },           { "secret", say_item },
                { "rate", say_rate },           { "role", say_role },
                { "user-data", say_user_data }, { "vpc-endpoint", say_vpc_endpoint },
        };

        if (!json_object_is_type(talk->request, json_type_array))
                return fail(talk, "the request is not an array of words");
        talk->n = json_object_array_length(talk->request);
        if (talk->n == 0 || talk->n > WORDS_MAX)
                return fail(talk, "a request has one to %d words", WORDS_MAX);
        for (size_t i = 0; i < talk->n; i++) {
                struct json_object *word = json_object_array_get_idx(talk->request, i);
                talk->words[i] = json_object_is_type(word, json_type_string) ? json_object_get_string(word)
                                                                             : "";
        }
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (strcmp(verbs[i].word, talk->words[0]) == 0)
                        return verbs[i].say(talk);
        return fail(talk, "unknown verb: %s", talk->words[0]);
}

static void serve(Control *control, int fd) {
        _cleanup_json_ struct json_object *request = NULL, *answer = json_object_new_object();
        _cleanup_free_ uint8_t *text = NULL;
        Talk talk = { .targets = &control->targets };
        size_t size;

        if (read_fd(fd, MESSAGE_MAX, &text, &size) < 0 ||
            json_parse((const char *) text, size, &request) < 0)
                return;
        talk.request = request;
        if (obey(&talk) < 0)
                json_object_object_add(answer, "error", json_object_new_string(talk.error));
        else
                json_object_object_add(answer, "result", talk.result);
        const char *reply = json_object_to_json_string_length(
                        answer, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &size);
        (void) write_all(fd, reply, size);
}

static void *control_thread(void *userdata) {
        Control *control = userdata;

        for (;;) {
                struct pollfd fds[] = { { .fd = control->fd, .events = POLLIN },
                                        { .fd = control->stop[0] } };

                if (poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR)
                        return NULL;
                if (fds[1].revents)
                        return NULL;
                if (!(fds[0].revents & POLLIN))
                        continue;
                _cleanup_close_ int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC);
                if (fd < 0)
                        continue;
                /* A client that sends nothing must not block the others forever. */
                setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(const struct timeval){ .tv_sec = 5 },
                           sizeof(struct timeval));
                serve(control, fd);
        }
}

static int control_address(const char *path, struct sockaddr_un *ret) {
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (strlen(path) >= sizeof(ret->sun_path))
                return -ENAMETOOLONG;
        strcpy(ret->sun_path, path);
        return 0;
}

static int listen_at(const char *path) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_un address;

        int r = control_address(path, &address);
        if (r < 0)
                return r;
        unlink(path);
        if (fd < 0 || bind(fd, (const struct sockaddr *) &address, sizeof(address)) < 0 ||
            chmod(path, 0600) < 0 || listen(fd, 16) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int platform_control_new(const char *path, const ControlTargets *targets, Control **ret) {
        Control *control = calloc(1, sizeof(*control));
        int r;

        if (!control)
                return -ENOMEM;
        control->targets = *targets;
        control->stop[0] = control->stop[1] = -1;
        r = control->fd = listen_at(path);
        if (r >= 0 && pipe2(control->stop, O_CLOEXEC) < 0)
                r = -errno;
        if (r >= 0)
                r = -pthread_create(&control->thread, NULL, control_thread, control);
        if (r < 0) {
                closep(&control->fd);
                closep(&control->stop[0]);
                closep(&control->stop[1]);
                free(control);
                return r;
        }
        *ret = control;
        return 0;
}

Control *platform_control_free(Control *control) {
        if (control) {
                close(control->stop[1]);
                pthread_join(control->thread, NULL);
                close(control->stop[0]);
                close(control->fd);
                free(control);
        }
        return NULL;
}

static int make_word(const char *word, struct json_object **ret) {
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_free_ char *text = NULL;
        size_t size;

        if (word[0] != '@') {
                *ret = json_object_new_string(word);
                return 0;
        }
        int r = read_file(word + 1, MESSAGE_MAX / 2, &data, &size);
        if (r == -EFBIG) {
                /* The server reads a long file itself. */
                *ret = json_object_new_object();
                json_object_object_add(*ret, "path", json_object_new_string(word + 1));
                return 0;
        }
        if (r >= 0)
                r = base64_encode(data, size, &text);
        if (r < 0) {
                fprintf(stderr, "%s: %s\n", word + 1, strerror(-r));
                return r;
        }
        *ret = json_object_new_object();
        json_object_object_add(*ret, "base64", json_object_new_string(text));
        return 0;
}

/* Prints the values of an object in one line, separated by tabs, so that a shell can read them. */
static void print_row(struct json_object *row) {
        bool first = true;

        json_object_object_foreach(row, name, value) {
                (void) name;
                printf("%s%s", first ? "" : "\t", json_object_get_string(value));
                first = false;
        }
        putchar('\n');
}

static void print_result(struct json_object *result) {
        if (!result)
                return;
        if (json_object_is_type(result, json_type_array))
                for (size_t i = 0; i < json_object_array_length(result); i++)
                        print_row(json_object_array_get_idx(result, i));
        else if (json_object_is_type(result, json_type_string))
                puts(json_object_get_string(result));
        else
                puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PRETTY |
                                                                            JSON_C_TO_STRING_NOSLASHESCAPE));
}

static int say_and_hear(const char *path, struct json_object *request, struct json_object **ret) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        _cleanup_free_ uint8_t *answer = NULL;
        struct sockaddr_un address;
        size_t size;
        const char *text = json_object_to_json_string_length(request, JSON_C_TO_STRING_PLAIN, &size);

        int r = control_address(path, &address);
        if (r < 0)
                return r;
        if (fd < 0 || connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        r = write_all(fd, text, size);
        if (r < 0)
                return r;
        if (shutdown(fd, SHUT_WR) < 0)
                return -errno;
        r = read_fd(fd, MESSAGE_MAX, &answer, &size);
        return r < 0 ? r : json_parse((const char *) answer, size, ret);
}

int platform_control_call(const char *path, char *const *words, size_t n) {
        _cleanup_json_ struct json_object *request = json_object_new_array(), *answer = NULL;

        for (size_t i = 0; i < n; i++) {
                struct json_object *word;
                if (make_word(words[i], &word) < 0)
                        return EXIT_FAILURE;
                json_object_array_add(request, word);
        }
        int r = say_and_hear(path, request, &answer);
        if (r < 0) {
                fprintf(stderr, "The platform does not answer at %s: %s. Is it running? (platform start)\n",
                        path, strerror(-r));
                return EXIT_FAILURE;
        }
        const char *error = json_member_string(answer, "error");
        if (error) {
                fprintf(stderr, "%s\n", error);
                return EXIT_FAILURE;
        }
        print_result(json_member(answer, "result"));
        return EXIT_SUCCESS;
}
