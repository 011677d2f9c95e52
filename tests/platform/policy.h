/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Decides a request as AWS does: key policy, identity policies and grants (IAM User Guide, "Policy evaluation
 * logic", "Condition operators", "Variables and tags"; KMS Developer Guide, "Key policies", "Condition keys",
 * "Grants"). Pure: no I/O, no clock, no globals. A Policy is immutable once parsed and may be used by many threads;
 * deciding allocates nothing and cannot fail.
 *
 * Not here: SCPs, RCPs, permissions boundaries, session and VPC endpoint policies (they can only take away), and
 * whether the principals that a policy names exist.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_KEY_SIZE_MAX 32768U
#define POLICY_REASON_SIZE 320U

typedef enum PolicyKind {
        POLICY_KIND_KEY,      /* every statement has a Principal or NotPrincipal */
        POLICY_KIND_IDENTITY, /* none has one */
} PolicyKind;

typedef struct Policy Policy;

/* -EBADMSG with a reason: KMS's MalformedPolicyDocumentException. -E2BIG with a reason: a key policy above 32 KiB,
 * KMS's LimitExceededException. -ENOMEM without. The reason may be NULL. */
int policy_parse(PolicyKind kind, const char *text, size_t size, Policy **ret,
                 char reason[POLICY_REASON_SIZE]);
Policy *policy_free(Policy *policy);
static inline void policy_freep(Policy **policy) {
        policy_free(*policy);
}

/* Who asks. Borrowed strings. */
typedef struct PolicyPrincipal {
        const char *account; /* 12 digits */
        const char *arn;     /* the role's, the user's or the root's: arn:aws:iam::111111111111:role/app */
        const char *session_arn; /* arn:aws:sts::111111111111:assumed-role/app/i-0123; NULL unless a role asks */
} PolicyPrincipal;

/* What is known of a request: condition keys, each with its values. Names are compared without case, all of them:
 * KMS says so of the KEY in kms:EncryptionContext:KEY too. (kms:EncryptionContextKeys tells such keys apart.) */
typedef struct PolicyContext PolicyContext;

/* The new context has aws:PrincipalArn, aws:PrincipalAccount, aws:PrincipalType, aws:PrincipalIsAWSService,
 * kms:CallerAccount and, for a user, aws:username. 0 or -ENOMEM, as all below. */
int policy_context_new(const PolicyPrincipal *principal, PolicyContext **ret);
PolicyContext *policy_context_free(PolicyContext *context);
static inline void policy_context_freep(PolicyContext **context) {
        policy_context_free(*context);
}

/* One value more for the key. Strings are copied. */
int policy_context_add(PolicyContext *context, const char *key, const char *value);
/* "true" or "false". */
int policy_context_add_bool(PolicyContext *context, const char *key, bool value);
/* kms:RecipientAttestation:NitroTPMPCR<n>, as lower-case hex: only for a document that was verified. */
int policy_context_add_pcr(PolicyContext *context, unsigned index, const uint8_t *value, size_t size);
/* kms:EncryptionContext:KEY and one value of kms:EncryptionContextKeys. For CreateGrant: the pairs of the new grant's
 * constraint. */
int policy_context_add_encryption_context(PolicyContext *context, const char *key, const char *value);

typedef struct PolicyPair {
        const char *key;
        const char *value;
} PolicyPair;

/* A grant on the key. Borrowed strings. Constraints bind only operations that take an encryption context; the keys
 * of their pairs are compared without case, as KMS does. */
typedef struct PolicyGrant {
        const char *grantee_principal;
        const char *retiring_principal; /* NULL: none */
        const char *const *operations;  /* "Decrypt", "ReEncryptFrom", …; NULL-terminated */
        const PolicyPair *subset;       /* EncryptionContextSubset; NULL: no such constraint */
        size_t n_subset;
        const PolicyPair *equals; /* EncryptionContextEquals; NULL: no such constraint */
        size_t n_equals;
} PolicyGrant;

typedef struct PolicyRequest {
        const char *action; /* kms:Decrypt */
        /* The key's ARN, whose account is the key's; an alias's; or "*" for kms:CreateKey and the like. */
        const char *resource;
        const PolicyPrincipal *principal;
        const PolicyContext *context; /* never NULL */
} PolicyRequest;

/* All that can allow or deny. */
typedef struct PolicySet {
        /* NULL: no policy lets anybody in; where the resource is no key the identity decides alone. */
        const Policy *key_policy;
        const Policy *const *identity_policies;
        size_t n_identity_policies;
        const PolicyGrant *grants;
        size_t n_grants;
} PolicySet;

typedef enum PolicyOutcome {
        POLICY_ALLOWED_BY_KEY_POLICY, /* it names the principal or everyone, or root asks */
        POLICY_ALLOWED_BY_IDENTITY, /* the key policy lets in the account or, cross-account, the principal */
        POLICY_ALLOWED_BY_GRANT,
        POLICY_DENIED_BY_KEY_POLICY, /* "with an explicit deny in a resource-based policy" */
        POLICY_DENIED_BY_IDENTITY,   /* "with an explicit deny in an identity-based policy" */
        POLICY_NO_KEY_POLICY_ALLOWS, /* "because no resource-based policy allows the kms:Decrypt action" */
        POLICY_NO_IDENTITY_ALLOWS,   /* "because no identity-based policy allows the kms:Decrypt action" */
} PolicyOutcome;

typedef struct PolicyDecision {
        bool allowed;
        bool cross_account;
        PolicyOutcome outcome;
        const PolicyGrant *grant; /* the one that opened the door, or NULL */
} PolicyDecision;

PolicyDecision policy_decide(const PolicySet *set, const PolicyRequest *request);

/* PutKeyPolicy's and CreateKey's lockout safety check: under the new policy, may the caller (by name, or as part of
 * the account that the policy delegates to; identity policies are not looked at) call kms:PutKeyPolicy again?
 * request->action is not looked at either. */
bool policy_lets_caller_put_policy(const Policy *key_policy, const PolicyRequest *request);

/* Whether the principal may retire the grant without a policy: it is the retiring principal, or the grantee of a
 * grant that has RetireGrant among its operations. */
bool policy_grant_lets_retire(const PolicyGrant *grant, const PolicyPrincipal *principal);
