/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The settings of unseald.conf(5). */

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
        char *kms_endpoint; /* NULL: AWS's endpoint in the key's region */
        bool fips, dual_stack;
        char *proxy;                 /* NULL: none */
        char *trusted_certificates;  /* path; NULL: the system's certificates */
        unsigned rsa_key_bits;       /* by default 2048 */
        uint64_t deadline_usec;      /* by default 2 minutes */
        uint64_t late_deadline_usec; /* USEC_INFINITY, the default: none */
        uint64_t refresh_usec;       /* 0: never; not together with lock_pcr */
        VerifyPolicy verify_policy;
        unsigned lock_pcr;           /* 8, 13, 14 or 15; 0: no lock */
        char *expected_measurements; /* "user-data:/pointer", "user-data:" or a path; NULL: none */
        char *tpm_device;            /* by default "device:/dev/tpm0" */
        uint64_t store_size_max;     /* bytes; by default LIMIT_STORE_BYTES */

        /* [Attestation] */
        char *attestation_public_key;  /* path; NULL: none */
        unsigned documents_per_minute; /* by default 60 */
        bool attestation_status;       /* /status answers */

        /* [Kms]; lists are NULL-terminated, and NULL if they are empty */
        char **kms_keys;                  /* ARNs */
        char **kms_operations;            /* NULL: those that kms-operation.h has by default */
        char **kms_units;                 /* units, or "TEMPLATE@*.KIND"; NULL: no unit may ask */
        unsigned kms_requests_per_second; /* of one unit; by default 500 */
        uint64_t kms_renew_key_pair_usec; /* by default 1 hour */

        /* [Documents] */
        char **documents_units;                 /* as kms_units */
        unsigned documents_requests_per_second; /* of one unit; by default 10 */
} Settings;

/* Returns whether Proxy= accepts the text: "http://HOST:PORT". */
bool settings_proxy_is_valid(const char *proxy) _pure_;

/* Returns whether Units= of [Documents] names one unit and no instances of a template: then user data need no name of a unit. */
bool settings_documents_of_one_unit(const Settings *settings) _pure_;

/* Reads unseald.conf with its drop-ins. Without a file, all settings have their defaults. FAILURE_CONFIGURATION with file,
 * line, key and the expected value: a value is wrong. An unknown key or section is a warning in the journal, with file and
 * line. The caller calls settings_clear(). */
int settings_read(const char *vendor_directory, const char *local_directory, Settings *ret, Error *error);

/* As settings_read(), but mistakes and warnings go to remarks, and a line with a mistake has no effect. ini: the lines, from
 * ini_examine() of "unseald.conf". */
int settings_examine(const IniFile *ini, Settings *ret, Remarks *remarks, Error *error);

/* The kind of a key of unseald.conf. */
IniKeyKind settings_key_kind(const char *section, const char *key) _pure_;

void settings_clear(Settings *settings);
