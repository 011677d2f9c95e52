/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "faults.h"

#define SIGNED_SERVICES (SERVICE_KMS | SERVICE_S3 | SERVICE_SSM | SERVICE_SECRETS_MANAGER)
#define TLS_SERVICES (SERVICE_KMS | SERVICE_CARRIERS)
#define HTTP_SERVICES (TLS_SERVICES | SERVICE_IMDS)
#define OBJECT_SERVICES (SERVICE_S3 | SERVICE_FILES)
#define ALL_SERVICES (HTTP_SERVICES | SERVICE_TPM)
#define FAULTS_MAX 256

typedef enum Argument {
        ARGUMENT_NONE,
        ARGUMENT_NUMBER,
        ARGUMENT_TEXT,
        ARGUMENT_OPTIONAL,
} Argument;

static const struct {
        const char *name;
        unsigned services;
        Argument argument;
        const char *example;
        const char *what;
} table[_FAULT_KIND_MAX] = {
        [FAULT_DELAY] = { "delay", ALL_SERVICES, ARGUMENT_NUMBER, "300",
                          "waits so many milliseconds, then answers as usual" },
        [FAULT_DROP] = { "drop", HTTP_SERVICES, ARGUMENT_NONE, "", "reads the request and never answers" },
        [FAULT_RESET] = { "reset", HTTP_SERVICES, ARGUMENT_NONE, "",
                          "reads the request and resets the connection" },
        [FAULT_HTTP] = { "http", HTTP_SERVICES, ARGUMENT_NUMBER, "503",
                         "answers with this HTTP status and a page, as a load balancer does" },
        [FAULT_ERROR] = { "error", SIGNED_SERVICES | SERVICE_IMDS, ARGUMENT_TEXT, "KMSInternalException",
                          "answers with this error code and, if given, this message; for IMDS it is the Code of the role's credentials" },
        [FAULT_THROTTLE] = { "throttle", SIGNED_SERVICES, ARGUMENT_NONE, "",
                             "answers ThrottlingException (S3: SlowDown)" },
        [FAULT_TRUNCATED] = { "truncated", HTTP_SERVICES, ARGUMENT_NONE, "",
                              "closes the connection in the middle of the body" },
        [FAULT_GARBAGE] = { "garbage", HTTP_SERVICES, ARGUMENT_NONE, "", "answers 200 with random bytes" },
        [FAULT_EMPTY] = { "empty", HTTP_SERVICES, ARGUMENT_NONE, "", "answers 200 with no body" },
        [FAULT_OVERSIZED] = { "oversized", HTTP_SERVICES, ARGUMENT_NONE, "",
                              "answers 200 with 8 MiB of body" },
        [FAULT_CUT] = { "cut", OBJECT_SERVICES, ARGUMENT_NUMBER, "5",
                        "resets the connection after so many bytes of the body" },
        [FAULT_SLOW] = { "slow", OBJECT_SERVICES, ARGUMENT_NUMBER, "10000",
                         "sends so many bytes of the body in a second" },
        [FAULT_IDENTITY] = { "identity", OBJECT_SERVICES, ARGUMENT_TEXT, "none",
                             "says less of the object: unversioned, suspended (the version is null), weak (the ETag is), or none of both" },
        [FAULT_RANGE] = { "range", OBJECT_SERVICES, ARGUMENT_TEXT, "whole",
                          "answers a request for a range with the whole object, with other bytes, another total, one byte less (short) or more (long), unnamed (without Content-Range), as multipart, or encoded" },
        [FAULT_REPLACED] = { "replaced", OBJECT_SERVICES, ARGUMENT_NONE, "",
                             "puts another object of the same size in its place, then answers as usual" },
        [FAULT_WRONG_KEYID] = { "wrong-keyid", SERVICE_KMS, ARGUMENT_NONE, "",
                                "names another key in the answer" },
        [FAULT_TAMPERED_CMS] = { "tampered-cms", SERVICE_KMS, ARGUMENT_OPTIONAL, "content",
                                 "changes CiphertextForRecipient: its content, key or structure; recipient: a good envelope for another key; or short: a good envelope around all but the last byte" },
        [FAULT_PLAINTEXT] = { "plaintext", SERVICE_KMS, ARGUMENT_NONE, "",
                              "adds the plaintext to an attested answer" },
        [FAULT_EXPIRED_CREDENTIALS] = { "expired-credentials", SIGNED_SERVICES | SERVICE_IMDS, ARGUMENT_NONE,
                                        "",
                                        "answers ExpiredTokenException (S3: ExpiredToken); IMDS gives credentials that have expired" },
        [FAULT_CLOCK] = { "clock", ALL_SERVICES, ARGUMENT_NUMBER, "3600",
                          "sets the service's clock forward by so many seconds (negative: backward); for the TPM, the clock of documents" },
        [FAULT_TLS_WRONG_NAME] = { "tls-wrong-name", TLS_SERVICES, ARGUMENT_NONE, "",
                                   "shows a certificate for another name" },
        [FAULT_TLS_EXPIRED] = { "tls-expired", TLS_SERVICES, ARGUMENT_NONE, "",
                                "shows a certificate that has expired" },
        [FAULT_TLS_NOT_YET_VALID] = { "tls-not-yet-valid", TLS_SERVICES, ARGUMENT_NONE, "",
                                      "shows a certificate that is not valid yet" },
        [FAULT_TLS_UNTRUSTED] = { "tls-untrusted", TLS_SERVICES, ARGUMENT_NONE, "",
                                  "shows a certificate of an unknown authority" },
        [FAULT_BUSY] = { "busy", SERVICE_TPM, ARGUMENT_NONE, "", "answers TPM_RC_RETRY" },
        [FAULT_CODE] = { "code", SERVICE_TPM, ARGUMENT_NUMBER, "0x101", "answers this TPM response code" },
};

static const struct {
        const char *name;
        Service service;
} services[] = {
        { "kms", SERVICE_KMS },     { "imds", SERVICE_IMDS }, { "tpm", SERVICE_TPM },
        { "s3", SERVICE_S3 },       { "ssm", SERVICE_SSM },   { "secretsmanager", SERVICE_SECRETS_MANAGER },
        { "files", SERVICE_FILES },
};

typedef struct Fault {
        unsigned services;
        char operation[64];
        FaultKind kind;
        FaultValue value;
        int64_t times; /* how often it is still to take effect; -1: until it is cleared */
        int64_t after; /* so many times it is still passed over first */
        uint64_t taken;
} Fault;

struct Faults {
        pthread_mutex_t mutex;
        Fault faults[FAULTS_MAX];
        size_t n;
};

const char *fault_kind_to_string(FaultKind kind) {
        return table[kind].name;
}

const char *service_to_string(Service service) {
        for (size_t i = 0; i < ELEMENTSOF(services); i++)
                if (services[i].service == service)
                        return services[i].name;
        return "*";
}

int faults_new(Faults **ret) {
        Faults *faults = calloc(1, sizeof(*faults));

        if (!faults)
                return -ENOMEM;
        pthread_mutex_init(&faults->mutex, NULL);
        *ret = faults;
        return 0;
}

Faults *faults_free(Faults *faults) {
        if (faults) {
                pthread_mutex_destroy(&faults->mutex);
                free(faults);
        }
        return NULL;
}

bool faults_take(Faults *faults, unsigned wanted, const char *operation, FaultKind kind, FaultValue *ret) {
        bool found = false;

        pthread_mutex_lock(&faults->mutex);
        for (size_t i = 0; i < faults->n && !found; i++) {
                Fault *fault = &faults->faults[i];

                if (fault->kind != kind || !(fault->services & wanted) || fault->times == 0 ||
                    (strcmp(fault->operation, "*") != 0 && strcasecmp(fault->operation, operation) != 0))
                        continue;
                if (fault->after > 0) {
                        fault->after--;
                        continue;
                }
                fault->times -= fault->times > 0;
                fault->taken++;
                if (ret)
                        *ret = fault->value;
                found = true;
        }
        pthread_mutex_unlock(&faults->mutex);
        return found;
}

static int read_service(const char *word, unsigned *ret) {
        if (strcmp(word, "*") == 0) {
                *ret = ALL_SERVICES;
                return 0;
        }
        for (size_t i = 0; i < ELEMENTSOF(services); i++)
                if (strcmp(services[i].name, word) == 0) {
                        *ret = services[i].service;
                        return 0;
                }
        return -EINVAL;
}

static int read_kind(const char *word, FaultKind *ret) {
        for (FaultKind kind = 0; kind < _FAULT_KIND_MAX; kind++)
                if (strcmp(table[kind].name, word) == 0) {
                        *ret = kind;
                        return 0;
                }
        return -EINVAL;
}

static int read_number(const char *word, int64_t *ret) {
        char *end;

        errno = 0;
        long long n = strtoll(word, &end, 0);
        if (errno != 0 || end == word || *end)
                return -EINVAL;
        *ret = n;
        return 0;
}

static int read_argument(Fault *fault, const char *const *words, size_t n, char reason[static 256]) {
        Argument argument = table[fault->kind].argument;
        const char *name = table[fault->kind].name;

        if (argument == ARGUMENT_NONE && n > 0) {
                snprintf(reason, 256, "%s takes no argument", name);
                return -EINVAL;
        }
        if ((argument == ARGUMENT_NUMBER || argument == ARGUMENT_TEXT) && n == 0) {
                snprintf(reason, 256, "%s needs an argument, such as %s", name, table[fault->kind].example);
                return -EINVAL;
        }
        if (argument == ARGUMENT_NUMBER && read_number(words[0], &fault->value.number) < 0) {
                snprintf(reason, 256, "%s needs a number, not '%.64s'", name, words[0]);
                return -EINVAL;
        }
        if (n > 2 || (n > 0 && strlen(words[0]) >= sizeof(fault->value.text)) ||
            (n > 1 && strlen(words[1]) >= sizeof(fault->value.message))) {
                snprintf(reason, 256, "%s has too many arguments", name);
                return -EINVAL;
        }

        if (n > 0)
                strcpy(fault->value.text, words[0]);
        if (n > 1)
                strcpy(fault->value.message, words[1]);
        return 0;
}

static int read_fault(Fault *fault, const char *const *words, size_t n, char reason[static 256]) {
        *fault = (Fault){ .times = -1 };

        while (n >= 2 && (strcmp(words[n - 2], "--times") == 0 || strcmp(words[n - 2], "--after") == 0)) {
                int64_t *number = words[n - 2][2] == 't' ? &fault->times : &fault->after;

                if (read_number(words[n - 1], number) < 0 || *number < 1) {
                        snprintf(reason, 256, "%s needs a number above 0", words[n - 2]);
                        return -EINVAL;
                }
                n -= 2;
        }
        if (n < 3) {
                snprintf(reason, 256,
                         "usage: fault set SERVICE OPERATION FAULT [ARGUMENT [MESSAGE]] [--after N] [--times N]");
                return -EINVAL;
        }
        if (read_service(words[0], &fault->services) < 0) {
                snprintf(reason, 256, "unknown service: %.64s", words[0]);
                return -EINVAL;
        }
        if (read_kind(words[2], &fault->kind) < 0) {
                snprintf(reason, 256, "unknown fault: %.64s", words[2]);
                return -EINVAL;
        }
        fault->services &= table[fault->kind].services;
        if (fault->services == 0) {
                snprintf(reason, 256, "%s has no fault %s", words[0], words[2]);
                return -EINVAL;
        }
        if (strlen(words[1]) >= sizeof(fault->operation)) {
                snprintf(reason, 256, "the name of the operation is too long");
                return -EINVAL;
        }
        strcpy(fault->operation, words[1]);
        return read_argument(fault, words + 3, n - 3, reason);
}

int faults_set(Faults *faults, const char *const *words, size_t n, char reason[static 256]) {
        Fault fault;
        size_t i;

        int r = read_fault(&fault, words, n, reason);
        if (r < 0)
                return r;

        pthread_mutex_lock(&faults->mutex);
        for (i = 0; i < faults->n; i++)
                if (faults->faults[i].services == fault.services && faults->faults[i].kind == fault.kind &&
                    strcasecmp(faults->faults[i].operation, fault.operation) == 0)
                        break;
        if (i < FAULTS_MAX) {
                faults->faults[i] = fault;
                faults->n += i == faults->n;
        } else {
                snprintf(reason, 256, "too many faults are set: clear some");
                r = -ENOSPC;
        }
        pthread_mutex_unlock(&faults->mutex);
        return r;
}

static bool fits(const Fault *fault, const char *const *words, size_t n) {
        unsigned mask;

        if (n > 0 && (read_service(words[0], &mask) < 0 || !(fault->services & mask)))
                return false;
        if (n > 1 && strcmp(words[1], "*") != 0 && strcasecmp(words[1], fault->operation) != 0)
                return false;
        return n <= 2 || strcmp(words[2], table[fault->kind].name) == 0;
}

size_t faults_clear(Faults *faults, const char *const *words, size_t n) {
        size_t kept = 0, cleared;

        pthread_mutex_lock(&faults->mutex);
        for (size_t i = 0; i < faults->n; i++)
                if (!fits(&faults->faults[i], words, n))
                        faults->faults[kept++] = faults->faults[i];
        cleared = faults->n - kept;
        faults->n = kept;
        pthread_mutex_unlock(&faults->mutex);
        return cleared;
}

static void add_string(struct json_object *object, const char *name, const char *value) {
        json_object_object_add(object, name, json_object_new_string(value));
}

struct json_object *faults_list(Faults *faults) {
        struct json_object *list = json_object_new_array();

        pthread_mutex_lock(&faults->mutex);
        for (size_t i = 0; i < faults->n; i++) {
                const Fault *fault = &faults->faults[i];
                struct json_object *entry = json_object_new_object();

                add_string(entry, "service", service_to_string((Service) fault->services));
                add_string(entry, "operation", fault->operation);
                add_string(entry, "fault", table[fault->kind].name);
                json_object_object_add(entry, "times", json_object_new_int64(fault->times));
                json_object_object_add(entry, "taken", json_object_new_int64((int64_t) fault->taken));
                add_string(entry, "argument", fault->value.text);
                json_object_array_add(list, entry);
        }
        pthread_mutex_unlock(&faults->mutex);
        return list;
}

struct json_object *faults_names(void) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < ELEMENTSOF(services); i++)
                for (FaultKind kind = 0; kind < _FAULT_KIND_MAX; kind++) {
                        if (!(table[kind].services & services[i].service))
                                continue;
                        struct json_object *entry = json_object_new_object();
                        add_string(entry, "service", services[i].name);
                        add_string(entry, "fault", table[kind].name);
                        add_string(entry, "what", table[kind].what);
                        /* This member is last because a shell's read drops an empty field between two
                         * others. */
                        add_string(entry, "argument", table[kind].example);
                        json_object_array_add(list, entry);
                }
        return list;
}
