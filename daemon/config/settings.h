/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* unseald.conf(5). */

#include <stdbool.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "config/ini.h"

typedef enum VerifyPolicy {
        VERIFY_POLICY_NO,
        VERIFY_POLICY_WARN,
        VERIFY_POLICY_YES,
} VerifyPolicy;

typedef struct Settings {
        char *kms_endpoint; /* NULL: by the key's region */
        bool fips, dual_stack;
        char *proxy;                /* NULL: none */
        char *trusted_certificates; /* path; NULL: the system's */
        unsigned rsa_key_bits;      /* 2048 */
        uint64_t deadline_usec;     /* 2min */
        VerifyPolicy verify_policy;
        unsigned lock_pcr;           /* 8, 13, 14 or 15; 0: no lock */
        char *expected_measurements; /* "user-data:/pointer", "user-data:" or a path; NULL: none */
        char *tpm_device;            /* "device:/dev/tpm0" */

        /* [Attestation] */
        char *attestation_public_key;  /* path; NULL: none */
        unsigned documents_per_minute; /* 60 */
} Settings;

/* "http://HOST:PORT", as Proxy= takes it. */
bool settings_proxy_is_valid(const char *proxy) _pure_;

/* Defaults, where there is no file. A wrong value is FAILURE_CONFIGURATION with file, line, key and what was expected;
 * an unknown key or section is a warning in the journal with file and line. */
int settings_read(const char *vendor_directory, const char *local_directory, Settings *ret, Error *error);
/* The same, but mistakes and warnings go to remarks; a key with a mistake is as if it were not there. ini, which was made by
 * ini_examine() of "unseald.conf", holds the lines. */
int settings_examine(const IniFile *ini, Settings *ret, Remarks *remarks, Error *error);
/* What its keys are. */
IniKeyKind settings_key_kind(const char *section, const char *key) _pure_;

void settings_clear(Settings *settings);
