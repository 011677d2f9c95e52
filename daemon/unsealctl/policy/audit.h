/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Judges a KMS key as it is now, from KMS's answers: what its policy, grants, replicas, state and origin let others do. Pure.
 * policy-audit.c asks KMS.
 *
 * A report without a finding of AUDIT_ERROR or AUDIT_UNPROVEN keeps the promises of lint.h for the live policies of the key and of
 * its replicas, and none of the grants that KMS listed breaks them. A grant knows no condition on an attestation document, only
 * constraints on the encryption context, which the caller chooses (KMS API Reference, GrantConstraints). So it is judged like an
 * Allow of the same operations without a condition: only the policy's Deny statements can hold it back.
 *
 * What could not be looked at is AUDIT_UNPROVEN if a promise depends on it.
 *
 * Sources: KMS API Reference, DescribeKey, GetKeyPolicy, ListGrants, ListAliases, GetKeyRotationStatus, GetKeyLastUsage.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/error.h"
#include "unsealctl/policy/lint.h"
#include "unsealctl/policy/make.h"

/* A multi-Region key has at most one replica in each Region. */
#define AUDIT_KEYS_MAX 64U
#define AUDIT_ARN_MAX 256U

typedef enum AuditSeverity {
        AUDIT_NOTE,
        AUDIT_WARNING,
        AUDIT_UNPROVEN, /* a promise depends on something that KMS did not show */
        AUDIT_ERROR,    /* others get the secrets, or choose them */
        _AUDIT_SEVERITIES,
} AuditSeverity;

typedef struct AuditFinding {
        AuditSeverity severity;
        const char *check;  /* "grant"; the names are stable */
        const char *code;   /* of lint, for check "policy"; NULL: none */
        size_t statement;   /* of the policy, counted from 1; 0: none */
        char *key;          /* the ARN */
        char *subject;      /* a principal, statement, alias or grant; NULL: none */
        char *text;         /* what is so, and why it matters */
        const char *advice; /* what to do; empty: nothing */
} AuditFinding;

typedef struct AuditReport {
        AuditFinding *findings; /* in the order in which they were found */
        size_t n_findings;
        bool out_of_memory; /* findings are missing */
} AuditReport;

void audit_report_done(AuditReport *report);
size_t audit_count(const AuditReport *report, AuditSeverity severity) _pure_;
/* "not proven". Never NULL. */
const char *audit_severity_to_string(AuditSeverity severity) _pure_;

/* lint, and what the policy would be; wanted: NULL: not known. */
typedef struct AuditOptions {
        LintOptions lint;
        struct json_object *wanted;
} AuditOptions;

/* Records that KMS did not answer the operation ("ListGrants"). severity: AUDIT_NOTE if no promise depends on it. */
void audit_unanswered(AuditReport *report, const char *key, AuditSeverity severity, const char *operation,
                      const Error *error);

/* The functions below take the body of an answer, with a NUL after its size. A body that cannot be read is a finding. */

/* The keys of a multi-Region set. */
typedef struct AuditKeys {
        char arns[AUDIT_KEYS_MAX][AUDIT_ARN_MAX];
        size_t n;
} AuditKeys;

/* DescribeKey. Adds the primary key and the replicas to *keys, unless they are there. */
void audit_metadata(AuditReport *report, const char *key, const char *body, size_t size, AuditKeys *keys);

/* GetKeyPolicy. *ret is the policy, which the caller frees; NULL: there is none. */
void audit_policy(AuditReport *report, const char *key, const char *body, size_t size,
                  const AuditOptions *options, char **ret);

/* What the grants of all pages allow, for audit_grants_together(). */
typedef struct AuditGrants {
        struct json_object *statements; /* one for each grantee; NULL: there are no grants yet */
        size_t n;                       /* grants in them */
} AuditGrants;

void audit_grants_done(AuditGrants *grants);

/* One page of ListGrants. policy: from audit_policy(); NULL: no grant can be judged. Adds the grants that can be judged to *grants.
 * *ret_marker is the marker of the next page, which the caller frees; NULL: this is the last one. */
void audit_grants(AuditReport *report, const char *key, const char *body, size_t size, const char *policy,
                  const LintOptions *options, AuditGrants *grants, char **ret_marker);

/* After the last page: two grants may break a promise that each one keeps. With one of them a principal unseals, with the other one
 * it makes ciphertext. */
void audit_grants_together(AuditReport *report, const char *key, const char *policy,
                           const LintOptions *options, const AuditGrants *grants);

/* One page of ListAliases. */
void audit_aliases(AuditReport *report, const char *key, const char *body, size_t size, char **ret_marker);

/* GetKeyRotationStatus. */
void audit_rotation(AuditReport *report, const char *key, const char *body, size_t size);

/* GetKeyLastUsage. */
void audit_last_usage(AuditReport *report, const char *key, const char *body, size_t size);
