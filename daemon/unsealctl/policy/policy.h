/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What unsealctl policy and its words (lint, audit, test) share. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "unsealctl/kms-call.h"
#include "unsealctl/measurements.h"
#include "unsealctl/policy/lint.h"
#include "unsealctl/policy/make.h"

#define EXIT_WARNINGS 3
#define EXIT_ERRORS 4
#define EXIT_UNPROVEN 5
#define EXIT_DENIED 60 /* as FAILURE_DENIED */
#define EXIT_OPEN 66   /* as FAILURE_POLICY */

/* NULL-terminated. The strings are borrowed; those that the verb made are in owned. */
typedef struct List {
        const char **items;
        size_t n;
} List;

typedef enum Format {
        FORMAT_JSON,
        FORMAT_TERRAFORM,
        FORMAT_CLOUDFORMATION,
} Format;

typedef struct PolicyArguments {
        MeasurementFiles measurements;
        List principals, accounts, administrators, sealers, recovery, organizations, endpoints, keys,
                        generated;
        List owned;
        KeyPolicyOptions policy;
        Format format;
        bool role_policy, json;
        const char *file;   /* the policy to lint */
        const char *output; /* where the policy is written; NULL or "-": standard output */
} PolicyArguments;

void policy_arguments_done(PolicyArguments *arguments);

/* The values for getopt_long() of the options that several words have. */
enum {
        OPTION_MEASUREMENTS = 256,
        OPTION_PRINCIPAL,
        OPTION_ACCOUNT,
        OPTION_ADMIN,
        OPTION_SEALER,
        OPTION_RECOVERY_PRINCIPAL,
        OPTION_ORG,
        OPTION_VPCE,
        OPTION_KEY,
        OPTION_SECURE_BOOT,
        OPTION_ALLOW_DRIVERS,
        OPTION_NO_PCR13,
        OPTION_LOCK_PCR,
        OPTION_MEASURE_PCR,
        OPTION_GENERATE_DATA_KEY,
        OPTION_BIND_ACCOUNT,
        OPTION_APPLICATION,
        OPTION_ROLE_POLICY,
        OPTION_TERRAFORM,
        OPTION_CLOUDFORMATION,
        OPTION_JSON,
        OPTION_PROFILE,
        OPTION_FIPS,
        OPTION_DUAL_STACK,
        OPTION_ENDPOINT,
        OPTION_PROXY,
        OPTION_TRUSTED_CERTIFICATES,
        _OPTIONS, /* a word's own options begin here */
};

/* How a word reaches KMS. kms lacks the Region and the credentials. */
typedef struct PolicyConnection {
        const char *profile;
        KmsCallerOptions kms;
} PolicyConnection;

/* Returns whether the option is about the connection. */
bool connection_set_option(PolicyConnection *connection, int option, const char *value);
/* Prints an error of KMS, and returns the exit status. */
int policy_kms_failure(const Error *error);

/* These return 0, or the exit status after the message is printed. */
int policy_set_option(PolicyArguments *arguments, int option, const char *value);
/* Reads the files of --measurements=, and completes arguments->policy. To be called after the last option. */
int policy_arguments_load(PolicyArguments *arguments);
/* Makes the key policy. The caller puts *ret. */
int policy_make(PolicyArguments *arguments, struct json_object **ret);

/* Borrows from the arguments. */
LintOptions policy_lint_options(const PolicyArguments *arguments);

/* The words. argv[0] is the name of the program. Return the exit status. */
int policy_audit(int argc, char *argv[]);
int policy_test(int argc, char *argv[]);
