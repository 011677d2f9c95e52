/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who there is: accounts with their root, users and roles, the identity policies of these, and credentials: access keys of
 * users and sessions of roles. Loaded from JSON (the form is in README.md) and loaded anew as a whole while requests
 * run: each request keeps what it was authenticated against. Sessions live in memory only. Thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"
#include "basic/json.h"
#include "policy.h"

#define ACCOUNT_ID_SIZE 13

typedef enum PrincipalKind {
        PRINCIPAL_ROOT,
        PRINCIPAL_USER,
        PRINCIPAL_ROLE,
} PrincipalKind;

typedef struct Principal {
        PrincipalKind kind;
        char account[ACCOUNT_ID_SIZE];
        char name[129];
        char arn[256];
        char id[22];              /* AROA…, AIDA…, or the account of a root */
        const char *organization; /* o-…, or NULL */
        Policy **policies;
        size_t n_policies;
} Principal;

typedef struct Accounts Accounts;
typedef struct Directory Directory;

/* Who made a request, as far as its access key tells. */
typedef struct Caller {
        Directory *directory;
        const Principal *principal; /* of the directory */
        char access_key_id[129];
        char secret[129];
        char *token;       /* NULL: a long-term key, which has none */
        int64_t expires;   /* of a session */
        char session[129]; /* the session's name */
        char arn[512];     /* as CloudTrail and denials have it: the session's for a role */
} Caller;

void caller_clear(Caller *caller);

/* What IMDS hands out. */
typedef struct Credentials {
        char access_key_id[21];
        char secret[41];
        char token[1024];
        int64_t issued;
        int64_t expires;
} Credentials;

int accounts_new(Accounts **ret);
Accounts *accounts_free(Accounts *accounts);
DEFINE_CLEANUP(Accounts *, accounts_free);

/* Replaces everybody. -EBADMSG with a reason. */
int accounts_load(Accounts *accounts, struct json_object *description, char reason[static 512]);

/* -ENOENT where there is no such key, or its role is no more. */
int accounts_authenticate(Accounts *accounts, const char *access_key_id, Caller *ret);

/* A session of the role. -ENOENT where there is no such role. */
int accounts_issue(Accounts *accounts, const char *account, const char *role, const char *session,
                   int64_t now, int64_t expires, Credentials *ret);

/* What was loaded, as a copy; without its secrets unless they are wanted too. NULL: out of memory. */
struct json_object *accounts_describe(Accounts *accounts, bool with_secrets);

bool accounts_has_role(Accounts *accounts, const char *account, const char *role);
