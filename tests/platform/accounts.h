/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The accounts of the platform: their root users, users and roles, the identity policies of these, and their
 * credentials. A user has access keys, a role has sessions.
 *
 * The accounts come from a JSON file (README.md has its form). accounts_load() replaces all of them while
 * requests run; a request that has been authenticated keeps the accounts of that moment. Sessions exist in
 * memory only. Thread-safe.
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
        char id[22];              /* AROA… of a role, AIDA… of a user, the account of a root user */
        const char *organization; /* o-…, or NULL */
        Policy **policies;
        size_t n_policies;
} Principal;

typedef struct Accounts Accounts;
typedef struct Directory Directory;

/* The principal behind an access key. */
typedef struct Caller {
        Directory *directory;
        const Principal *principal; /* points into directory */
        char access_key_id[129];
        char secret[129];
        char *token;       /* NULL for a long-term key */
        int64_t expires;   /* end of the session, seconds since 1970 */
        char session[129]; /* name of the session */
        char arn[512];     /* as CloudTrail and denials write it; of a role, the session's ARN */
} Caller;

void caller_clear(Caller *caller);

/* Credentials of a role, as IMDS gives them to the instance. */
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

/* Replaces all accounts. Returns -EBADMSG and a reason where the description is invalid; the old accounts
 * stay then. */
int accounts_load(Accounts *accounts, struct json_object *description, char reason[static 512]);

/* Finds the principal of an access key. Returns -ENOENT for an unknown key, and for a session whose role
 * has been removed. */
int accounts_authenticate(Accounts *accounts, const char *access_key_id, Caller *ret);

/* Starts a session of the role. Returns -ENOENT for an unknown role. */
int accounts_issue(Accounts *accounts, const char *account, const char *role, const char *session,
                   int64_t now, int64_t expires, Credentials *ret);

/* Returns a copy of the accounts, with their secret keys only where with_secrets is true. NULL: out of
 * memory. */
struct json_object *accounts_describe(Accounts *accounts, bool with_secrets);

bool accounts_has_role(Accounts *accounts, const char *account, const char *role);
