/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Finds in a key policy what gives the key's secrets away. Pure.
 *
 * Where there is no error: whoever calls, from whichever account and with whichever identity policies, KMS
 * decrypts only for a request with the attestation document of a pinned image, lets nobody re-encrypt, and
 * lets nobody who uses the key change its policy, grant or replicate it; but for those whom options or a
 * finding name. Where there is no warning either, grants change nothing of that. A policy that cannot be
 * judged is an error, never safe. The key is a symmetric one.
 *
 * PCR4 and PCR12 must be pinned; under Secure Boot, which a policy cannot tell and the caller must vouch
 * for, PCR7 must be, and the other two ought to. Where images are given, the document must be that of one of
 * them. Without a warning, PCR2 is pinned too, to whatever value, or PCR7 to one that is not of an
 * instance without Secure Boot: otherwise firmware may have run anybody's driver before the image.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "tpm/expectation.h"

#define LINT_IMAGES_MAX 64U

typedef enum LintSeverity {
        LINT_NOTE,
        LINT_WARNING, /* does not do what it seems to, or is one mistake away from an error */
        LINT_ERROR,   /* gives secrets away, or cannot be judged */
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
        LINT_NO_DENY,
        LINT_ENCRYPT_NOT_DENIED,
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
        size_t statement; /* from 1; 0: the policy as a whole */
        char *sid;        /* NULL: none */
        char *subject;    /* the principal or key that it is about; NULL: none */
        char *meaning;    /* a sentence */
} LintFinding;

typedef struct LintReport {
        LintFinding *findings; /* by statement, the whole first */
        size_t n_findings;
} LintReport;

typedef struct LintOptions {
        const PcrSet *images; /* measurements, judged by tpm/expectation.h; at most LINT_IMAGES_MAX */
        size_t n_images;
        ExpectationOptions
                        expectation; /* secure_boot: whoever lints vouches for it. lock_pcr is not looked at */
        /* ARNs as the policy has them, NULL-terminated; NULL: none. Administrators may change the policy,
         * recovery principals may decrypt without a document. */
        const char *const *administrators;
        const char *const *recovery_principals;
        const char *const *sealers; /* may encrypt */
} LintOptions;

/* -ENOMEM, or 0: that a text is no policy is a finding too. */
int lint_policy(const char *text, size_t size, const LintOptions *options, LintReport **ret);
LintReport *lint_report_free(LintReport *report);
DEFINE_CLEANUP(LintReport *, lint_report_free);

/* How many findings have that severity. */
size_t lint_count(const LintReport *report, LintSeverity severity) _pure_;

/* "ungated-decrypt". Stable, never NULL. */
const char *lint_code_to_string(LintCode code) _pure_;
/* What to do about it: a sentence. Never NULL. */
const char *lint_code_advice(LintCode code) _pure_;
/* "error". Never NULL. */
const char *lint_severity_to_string(LintSeverity severity) _pure_;
