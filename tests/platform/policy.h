/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Decides a request as AWS does, from key policy, identity policies and grants (IAM User Guide, "Policy
 * evaluation logic", "Condition operators", "Variables and tags"; KMS Developer Guide, "Key policies",
 * "Condition keys", "Grants"). Pure: no I/O, no clock, no globals. A parsed Policy never changes and many
 * threads may use it. A decision allocates nothing and cannot fail.
 *
 * Left out: service and resource control policies, permissions boundaries, session and VPC endpoint
 * policies, which can only take permissions away; and the check that the principals in a policy exist.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_KEY_SIZE_MAX 32768U
#define POLICY_REASON_SIZE 320U

typedef enum PolicyKind {
        POLICY_KIND_KEY,      /* every statement has a Principal or NotPrincipal */
        POLICY_KIND_IDENTITY, /* no statement has one */
} PolicyKind;

typedef struct Policy Policy;

/*
 * Returns -EBADMSG and a reason where KMS answers MalformedPolicyDocumentException; -E2BIG and a reason
 * where a key policy is longer than 32 KiB (LimitExceededException); -ENOMEM without a reason. reason may be
 * NULL.
 */
int policy_parse(PolicyKind kind, const char *text, size_t size, Policy **ret,
                 char reason[POLICY_REASON_SIZE]);
Policy *policy_free(Policy *policy);
static inline void policy_freep(Policy **policy) {
        policy_free(*policy);
}

/* The caller. Strings are borrowed. */
typedef struct PolicyPrincipal {
        const char *account;     /* 12 digits; of a service: "" */
        const char *arn;         /* of the role, the user, the federated user or the root user:
                              * arn:aws:iam::111111111111:role/app; of a service: "" */
        const char *session_arn; /* of a role: arn:aws:sts::111111111111:assumed-role/app/i-0123; or NULL */
        const char *unique_id;   /* of the role or user: AROA…, AIDA…; or NULL */
        const char *service;     /* a service that calls for itself: ec2.amazonaws.com; or NULL */
} PolicyPrincipal;

/*
 * The condition keys of a request, each with its values. All names are compared without case; KMS documents
 * this for the KEY in kms:EncryptionContext:KEY, too. (kms:EncryptionContextKeys compares such keys with
 * case.)
 */
typedef struct PolicyContext PolicyContext;

/* A new context has aws:PrincipalArn, aws:PrincipalAccount, aws:PrincipalType, aws:PrincipalIsAWSService,
 * kms:CallerAccount and, for a user, aws:username. For a service it has only aws:PrincipalIsAWSService and
 * aws:PrincipalServiceName. This function and those below return 0 or -ENOMEM. */
int policy_context_new(const PolicyPrincipal *principal, PolicyContext **ret);
PolicyContext *policy_context_free(PolicyContext *context);
static inline void policy_context_freep(PolicyContext **context) {
        policy_context_free(*context);
}

/* Adds a value to the key. Copies the strings. */
int policy_context_add(PolicyContext *context, const char *key, const char *value);
/* Adds "true" or "false". */
int policy_context_add_bool(PolicyContext *context, const char *key, bool value);
/* Adds kms:RecipientAttestation:NitroTPMPCR<n> as lower-case hex. Only for a document that has been
 * verified. */
int policy_context_add_pcr(PolicyContext *context, unsigned index, const uint8_t *value, size_t size);
/* Adds kms:EncryptionContext:KEY, and KEY to kms:EncryptionContextKeys. For CreateGrant these are the pairs
 * of the new grant's constraint. */
int policy_context_add_encryption_context(PolicyContext *context, const char *key, const char *value);

typedef struct PolicyPair {
        const char *key;
        const char *value;
} PolicyPair;

/* A grant on the key. Strings are borrowed. Constraints apply only to operations that take an encryption
 * context. The keys of their pairs are compared without case, as KMS does. */
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
        const char *action; /* such as kms:Decrypt */
        /* The ARN of a key or an alias, or "*" for kms:CreateKey and the like. A key belongs to the account
         * in its ARN. */
        const char *resource;
        const PolicyPrincipal *principal;
        const PolicyContext *context; /* never NULL */
} PolicyRequest;

/* Everything that can allow or deny a request. */
typedef struct PolicySet {
        /* NULL: no key policy allows anybody. Where the resource is no key, the identity policies decide
         * alone. */
        const Policy *key_policy;
        const Policy *const *identity_policies;
        size_t n_identity_policies;
        const PolicyGrant *grants;
        size_t n_grants;
} PolicySet;

typedef enum PolicyOutcome {
        POLICY_ALLOWED_BY_KEY_POLICY, /* it names the caller or everyone, or the caller is root */
        POLICY_ALLOWED_BY_IDENTITY,   /* the key policy allows the account or, across accounts, the caller */
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
        const PolicyGrant *grant; /* the grant that allowed the request, or NULL */
} PolicyDecision;

PolicyDecision policy_decide(const PolicySet *set, const PolicyRequest *request);

/* The lockout safety check of PutKeyPolicy and CreateKey: whether the new policy lets the caller call
 * kms:PutKeyPolicy again, by name or through the account. Ignores identity policies and request->action. */
bool policy_lets_caller_put_policy(const Policy *key_policy, const PolicyRequest *request);

/* Returns whether the principal may retire the grant without a policy. It may if it is the retiring principal, or
 * if it is the grantee and the grant allows RetireGrant. */
bool policy_grant_lets_retire(const PolicyGrant *grant, const PolicyPrincipal *principal);
