/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Faults, set by name while the platform runs. A fault applies to a service and an operation, or to all of
 * them, and lasts for a number of times or until it is cleared. Each place that can fail asks for its own
 * kind of fault at the moment at which the fault would take effect, and only that counts as one time.
 * Thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/json.h"

typedef enum Service {
        SERVICE_KMS = 1 << 0,
        SERVICE_IMDS = 1 << 1,
        SERVICE_TPM = 1 << 2,
        SERVICE_S3 = 1 << 3,
        SERVICE_SSM = 1 << 4,
        SERVICE_SECRETS_MANAGER = 1 << 5,
        SERVICE_FILES = 1 << 6,
} Service;

/* These services share an address, so their TLS handshakes cannot be told apart. */
#define SERVICE_CARRIERS (SERVICE_S3 | SERVICE_SSM | SERVICE_SECRETS_MANAGER | SERVICE_FILES)

typedef enum FaultKind {
        FAULT_DELAY,
        FAULT_DROP,
        FAULT_RESET,
        FAULT_HTTP,
        FAULT_ERROR,
        FAULT_THROTTLE,
        FAULT_TRUNCATED,
        FAULT_GARBAGE,
        FAULT_EMPTY,
        FAULT_OVERSIZED,
        FAULT_CUT,
        FAULT_SLOW,
        FAULT_IDENTITY,
        FAULT_RANGE,
        FAULT_REPLACED,
        FAULT_WRONG_KEYID,
        FAULT_TAMPERED_CMS,
        FAULT_PLAINTEXT,
        FAULT_EXPIRED_CREDENTIALS,
        FAULT_CLOCK,
        FAULT_TLS_WRONG_NAME,
        FAULT_TLS_EXPIRED,
        FAULT_TLS_NOT_YET_VALID,
        FAULT_TLS_UNTRUSTED,
        FAULT_BUSY,
        FAULT_CODE,
        _FAULT_KIND_MAX,
} FaultKind;

typedef struct FaultValue {
        int64_t number;
        char text[128];    /* the first argument as it was given, or empty */
        char message[256]; /* the other arguments */
} FaultValue;

typedef struct Faults Faults;

int faults_new(Faults **ret);
Faults *faults_free(Faults *faults);

/* Returns whether such a fault is set for one of these services. Counts one time. ret may be NULL. */
bool faults_take(Faults *faults, unsigned services, const char *operation, FaultKind kind, FaultValue *ret);

/*
 * The verbs of `platform fault`.
 *
 * words: SERVICE OPERATION FAULT [ARGUMENT [MESSAGE]] [--after N] [--times N]; "*" stands for all services or all
 * operations. With --after, the first N times go well. Setting the same fault again replaces it. Returns -EINVAL and a reason for people.
 */
int faults_set(Faults *faults, const char *const *words, size_t n, char reason[static 256]);

/* Clears the faults that match SERVICE, OPERATION and FAULT, as far as these are given. Returns how many. */
size_t faults_clear(Faults *faults, const char *const *words, size_t n);

/* An array of {"service", "operation", "fault", "times", "taken", "argument"}. times is -1 for a fault that
 * lasts until it is cleared. */
struct json_object *faults_list(Faults *faults);

/* All faults that exist, so that a test can try each: an array of {"service", "fault", "what", "argument"}.
 * The argument is an example that works, or empty. */
struct json_object *faults_names(void);

const char *fault_kind_to_string(FaultKind kind);
const char *service_to_string(Service service);
