/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Finds the statements of a key policy that give the key's secrets away. Pure.
 *
 * A policy without an error keeps these promises, whichever account and identity policies a caller has:
 *
 *  - KMS decrypts only for a request with the attestation document of a pinned image, and re-encrypts for nobody.
 *  - No principal that unseals can change the policy, create a grant, replicate the key or import key material. The same
 *    holds for the other principals of its account, if an administrator is in another account.
 *  - No principal that unseals can make a ciphertext. The same holds for the other principals of its account, unless an
 *    administrator is in that account.
 *
 * Principals that the options or a finding name are exceptions. If there is no warning either, no grant can break the
 * first two promises; without the note "encrypt-not-denied", no grant can break the third. A policy that cannot be
 * judged is an error. The key is assumed to be symmetric.
 *
 * PCR4 and PCR12 must be pinned. With secure_boot PCR7 must be pinned, and a missing PCR4 or PCR12 is only a warning: a
 * policy does not show whether Secure Boot is on, so the caller must vouch for it. If images are given, each
 * accepted document must be that of one of them. Without a warning, PCR2 is pinned too, or PCR7 is pinned to a value
 * that shows Secure Boot. Otherwise firmware may have run a third-party driver before the image.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "tpm/expectation.h"

#define LINT_IMAGES_MAX 64U

typedef enum LintSeverity {
        LINT_NOTE,
        LINT_WARNING, /* the policy does not do what it seems to do, or one more mistake makes an error of it */
        LINT_ERROR, /* the policy gives secrets away, or cannot be judged */
} LintSeverity;

typedef enum LintCode {
        LINT_MALFORMED,
        LINT_TOO_LARGE,
        LINT_TOO_CLEVER,
        LINT_ANYONE,
        LINT_ROOT_DELEGATION,
        LINT_UNGATED_DECRYPT,
        LINT_CONSTANT_PCRS,
        LINT_PCR2_MISSING,
        LINT_PCR4_MISSING,
        LINT_PCR7_MISSING,
        LINT_PCR12_MISSING,
        LINT_PCR13_MISSING,
        LINT_FOREIGN_MEASUREMENT,
        LINT_MIXED_IMAGES,
        LINT_IMAGE_LOCKED_OUT,
        LINT_RE_ENCRYPT,
        LINT_PUT_KEY_POLICY,
        LINT_CREATE_GRANT,
        LINT_REPLICATE_KEY,
        LINT_IMPORT_KEY_MATERIAL,
        LINT_ENCRYPT,
        LINT_GENERATE_DATA_KEY,
        LINT_ANY_CONTEXT,
        LINT_NO_DENY,
        LINT_ENCRYPT_NOT_DENIED,
        LINT_CONTEXT_NOT_DENIED,
        LINT_WEAK_DENY,
        LINT_NOT_PRINCIPAL,
        LINT_NOT_ACTION,
        LINT_WILDCARD_ACTION,
        LINT_RESOURCE,
        LINT_OPTIONAL_CONDITION,
        LINT_NOT_APPLICABLE,
        LINT_NEVER_MATCHES,
        LINT_VALUE_SIZE,
        LINT_VALUE_CASE,
        LINT_VALUE_CONSTANT,
        LINT_VALUE_UNUSUAL,
        LINT_ENCLAVE_PCR,
        LINT_UNKNOWN_KEY,
        LINT_UNSTEADY_PCR,
        LINT_MEASURED_PCR,
        LINT_VERSION,
        LINT_ADMINISTRATOR,
        LINT_NO_ADMINISTRATOR,
        LINT_SEALER,
        LINT_RECOVERY_PRINCIPAL,
        LINT_UNIQUE_ID,
        _LINT_CODES,
} LintCode;

typedef struct LintFinding {
        LintCode code;
        LintSeverity severity;
        size_t statement; /* counted from 1; 0: the policy as a whole */
        char *sid;        /* NULL: none */
        char *subject;    /* the principal or condition key that the finding is about; NULL: none */
        char *meaning;    /* a sentence */
} LintFinding;

typedef struct LintReport {
        LintFinding *findings; /* sorted by statement; those about the whole policy come first */
        size_t n_findings;
} LintReport;

typedef struct LintOptions {
        const PcrSet *images; /* measurements, judged by tpm/expectation.h; at most LINT_IMAGES_MAX */
        size_t n_images;
        ExpectationOptions expectation; /* lock_pcr is ignored */
        /* Principals as the policy writes them, NULL-terminated; NULL: none. */
        const char *const *administrators;      /* may change the policy */
        const char *const *recovery_principals; /* may decrypt without a document */
        const char *const *sealers;             /* may make ciphertext */
        bool application; /* the key is of applications: who decrypts may also make ciphertext, but none of a secret */
} LintOptions;

/* size: of the text in bytes. The text may also be what tools print around a policy; see key_policy_unwrap(). The
 * caller frees *ret. Returns 0 or -ENOMEM. A text that is not a policy is a finding, too. */
int lint_policy(const char *text, size_t size, const LintOptions *options, LintReport **ret);
LintReport *lint_report_free(LintReport *report);
DEFINE_CLEANUP(LintReport *, lint_report_free);

/* Counts the findings with that severity. */
size_t lint_count(const LintReport *report, LintSeverity severity) _pure_;

/* "ungated-decrypt". The names are stable. Never NULL. */
const char *lint_code_to_string(LintCode code) _pure_;
/* A sentence that says what to do about the finding. Never NULL. */
const char *lint_code_advice(LintCode code) _pure_;
/* "error". Never NULL. */
const char *lint_severity_to_string(LintSeverity severity) _pure_;
