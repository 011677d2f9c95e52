/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reads a key policy into statements (IAM User Guide, "JSON policy elements"; KMS Developer Guide, "Key policies").
 * Pure.
 *
 * The statements are for a judgement, not for deciding requests. Callers, actions and conditions on PCRs of a NitroTPM
 * are understood. Of any other condition only its presence is known. A text that KMS would refuse is refused here, too,
 * so that nobody relies on a judgement of it.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "tpm/pcr.h"

#define KEY_POLICY_SIZE_MAX 32768U
#define KEY_POLICY_REASON_SIZE 200U

/* Kinds of callers. A kind comes before the kinds that it includes. */
typedef enum CallerKind {
        CALLER_EVERYONE,
        CALLER_ACCOUNT,   /* every principal of an account that its identity policies allow */
        CALLER_PATTERN,   /* principals whose ARN matches a pattern; only conditions have patterns */
        CALLER_IDENTITY,  /* a role or a user */
        CALLER_SESSION,   /* one session of a role, or a federated user */
        CALLER_UNIQUE_ID, /* a role or user by its unique ID (AROA…, AIDA…), of an unknown account */
        CALLER_SERVICE,
        CALLER_UNKNOWN, /* a federated or canonical principal */
} CallerKind;

typedef struct Caller {
        CallerKind kind;
        const char *text; /* as in the policy; borrowed */
        char account[13]; /* empty: unknown */
} Caller;

/* Reads a principal of type "AWS". Returns false if KMS would refuse it. *ret borrows the text. */
bool caller_parse(const char *text, Caller *ret);

/* Returns whether one of the principals includes the caller. certainly: false: an inclusion that is only possible counts, too. */
bool caller_is_among(const Caller *caller, const Caller *items, size_t n_items, bool certainly) _pure_;

typedef enum ConditionKind {
        CONDITION_PCR_IS,        /* a PCR has one of the values; not met without a document */
        CONDITION_PCR_IS_NOT,    /* a PCR has none of the values; met without a document */
        CONDITION_CALLER_IS_NOT, /* aws:PrincipalArn is none of the callers */
        CONDITION_NULL,          /* a PCR is present or absent */
        CONDITION_ABSENT, /* about a key under kms:RecipientAttestation that no request with a NitroTPM has */
        CONDITION_OTHER,  /* any other condition, also one on a PCR that is not understood */
} ConditionKind;

typedef struct Condition {
        ConditionKind kind;
        const char *operator, * key; /* borrowed */
        int pcr;                     /* -1: the key is not a PCR of a NitroTPM */
        bool optional;               /* IfExists or ForAllValues */
        bool met_when_absent;        /* a request without the key meets the condition */
        bool met_when_present;       /* CONDITION_NULL: a request with the key meets the condition */
        struct json_object *values;  /* borrowed: a scalar, or an array */
        uint8_t (*pcrs)[PCR_SIZE];   /* the values that are possible for a PCR */
        size_t n_pcrs;
        Caller *callers; /* for CONDITION_CALLER_IS_NOT */
        size_t n_callers;
} Condition;

typedef struct Statement {
        const char *sid; /* NULL: none; borrowed */
        bool deny, not_principal, not_action, not_resource;
        bool every_resource; /* Resource has "*" */
        Caller *principals;
        size_t n_principals;
        struct json_object *actions, *resources; /* NULL: none; borrowed */
        Condition *conditions;
        size_t n_conditions;
} Statement;

typedef struct KeyPolicy {
        struct json_object *tree;
        bool variables; /* its Version expands ${…} */
        Statement *statements;
        size_t n_statements;
} KeyPolicy;

/* Returns whether the condition key may exist. Returns false for a key that begins with "kms:" and is not in the list of KMS
 * (KMS Developer Guide, "AWS KMS condition keys"). */
bool condition_key_exists(const char *key) _pure_;

/* Extracts the policy from the answer to GetKeyPolicy or the request of PutKeyPolicy ({"Policy": "…"}), or from a JSON
 * string. *ret is the text of the policy, which the caller frees, or NULL if the text is none of these. Returns 0 or
 * -ENOMEM. */
int key_policy_unwrap(const char *text, size_t size, char **ret);

/* Returns 0, -ENOMEM, or -EBADMSG with a reason. *ret_statement is the number of the wrong statement, counted from 1,
 * or 0. The policy may have up to KEY_POLICY_SIZE_MAX bytes; the caller checks that. */
int key_policy_parse(const char *text, size_t size, KeyPolicy **ret,
                     char reason[static KEY_POLICY_REASON_SIZE], size_t *ret_statement);
KeyPolicy *key_policy_free(KeyPolicy *policy);
DEFINE_CLEANUP(KeyPolicy *, key_policy_free);

/* Policies may write a list of one as its item. NULL is an empty list. */
size_t list_length(struct json_object *list) _pure_;
struct json_object *list_item(struct json_object *list, size_t i) _pure_;

/* Matches without regard to case. "*" stands for any characters, "?" for one. */
bool wildcard_match(const char *pattern, const char *text) _pure_;

/* Returns whether the statement's Action or NotAction includes the action ("kms:Decrypt"). */
bool statement_has_action(const Statement *statement, const char *action);

/* Bit n: the statement has a condition of that kind on PCR n. */
uint32_t statement_pcrs(const Statement *statement, ConditionKind kind) _pure_;
