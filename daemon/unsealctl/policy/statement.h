/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A key policy, read into statements (IAM User Guide, "JSON policy elements"; KMS Developer Guide, "Key
 * policies"). Pure.
 *
 * It is read to be judged, not to be executed: what it says of callers, of actions and of NitroTPM's PCRs is
 * understood; every other condition is only known to be there. What KMS would not take is refused, so that
 * nobody takes a reading of it for a promise.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "tpm/pcr.h"

#define KEY_POLICY_SIZE_MAX 32768U
#define KEY_POLICY_REASON_SIZE 200U

/* Whoever may ask. In this order the general ones come before those whom they include. */
typedef enum CallerKind {
        CALLER_EVERYONE,
        CALLER_ACCOUNT,  /* all of an account, as far as its identity policies let them */
        CALLER_PATTERN,  /* those whose ARN is like a pattern; only a condition can say so */
        CALLER_IDENTITY, /* a role or a user */
        CALLER_SESSION,  /* one session of a role, or a federated user */
        CALLER_UNIQUE_ID, /* a role or user of an unknown account, by its ID (AROA…, AIDA…). KMS shows a deleted one so */
        CALLER_SERVICE,
        CALLER_UNKNOWN, /* federated by an identity provider, or canonical */
} CallerKind;

typedef struct Caller {
        CallerKind kind;
        const char *text; /* as written; borrowed */
        char account[13]; /* empty: none, or not certain */
} Caller;

/* Of the principal type "AWS". False: nothing that KMS takes. */
bool caller_parse(const char *text, Caller *ret);

/* Whether an item of a Principal speaks of the caller: certainly, or possibly. */
bool caller_is_among(const Caller *caller, const Caller *items, size_t n_items, bool certainly) _pure_;

typedef enum ConditionKind {
        CONDITION_PCR_IS,        /* not met without a document */
        CONDITION_PCR_IS_NOT,    /* met without a document */
        CONDITION_CALLER_IS_NOT, /* of aws:PrincipalArn */
        CONDITION_NULL,          /* of a PCR's presence */
        CONDITION_ABSENT,        /* of a key under kms:RecipientAttestation that is not for a NitroTPM */
        CONDITION_OTHER,         /* anything else, also of a PCR where it is not understood */
} ConditionKind;

typedef struct Condition {
        ConditionKind kind;
        const char *operator, * key; /* borrowed */
        int pcr;                     /* -1: the key is no PCR of a NitroTPM */
        bool optional;               /* IfExists or ForAllValues */
        bool met_when_absent;        /* by a request that does not have the key */
        bool met_when_present;       /* of CONDITION_NULL */
        struct json_object *values;  /* borrowed: a scalar, or an array */
        uint8_t (*pcrs)[PCR_SIZE];   /* the values that a PCR can have */
        size_t n_pcrs;
        Caller *callers; /* of CONDITION_CALLER_IS_NOT */
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
        bool variables; /* its version has ${…} */
        Statement *statements;
        size_t n_statements;
} KeyPolicy;

/* KMS's condition keys (KMS Developer Guide, "AWS KMS condition keys"), without those of other services. False: a key with the
 * prefix "kms:" that KMS does not have. */
bool condition_key_exists(const char *key) _pure_;

/* Finds the policy in what tools print around it: GetKeyPolicy's answer and PutKeyPolicy's request ({"Policy": "…"}), and a JSON
 * string with the policy in it. *ret: the policy's text, to be freed; NULL: the text is no such wrapping. -ENOMEM. */
int key_policy_unwrap(const char *text, size_t size, char **ret);

/* -EBADMSG with a reason and the statement's number from 1 (0: none in particular), or -ENOMEM. */
int key_policy_parse(const char *text, size_t size, KeyPolicy **ret,
                     char reason[static KEY_POLICY_REASON_SIZE], size_t *ret_statement);
KeyPolicy *key_policy_free(KeyPolicy *policy);
DEFINE_CLEANUP(KeyPolicy *, key_policy_free);

/* A scalar stands for a list of one; NULL is an empty list. */
size_t list_length(struct json_object *list) _pure_;
struct json_object *list_item(struct json_object *list, size_t i) _pure_;

/* * and ? stand for characters, cases are alike. */
bool wildcard_match(const char *pattern, const char *text) _pure_;

/* Whether the statement's Action or NotAction includes the action ("kms:Decrypt"). */
bool statement_has_action(const Statement *statement, const char *action);

/* Bit n: a condition of that kind is about PCR n. */
uint32_t statement_pcrs(const Statement *statement, ConditionKind kind) _pure_;
