/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accounts.h"
#include "basic/encoding.h"

#define SESSIONS_MAX 4096

typedef struct AccessKey {
        char id[129];
        char secret[129];
        size_t principal; /* an index into the directory's principals */
} AccessKey;

/* All accounts and principals as they were loaded at one time. Immutable and reference-counted. */
struct Directory {
        atomic_uint references;
        struct json_object *description; /* keeps the organizations' names, which the principals borrow */
        Principal *principals;
        size_t n_principals;
        AccessKey *keys;
        size_t n_keys;
};

typedef struct Session {
        Credentials credentials;
        char account[ACCOUNT_ID_SIZE];
        char role[129];
        char name[129];
} Session;

struct Accounts {
        pthread_mutex_t mutex;
        Directory *directory;
        Session *sessions; /* a ring buffer: a new session replaces the oldest */
        size_t n_sessions;
        size_t next;
};

static Directory *directory_unref(Directory *directory) {
        if (!directory || atomic_fetch_sub(&directory->references, 1) > 1)
                return NULL;

        for (size_t i = 0; i < directory->n_principals; i++) {
                for (size_t j = 0; j < directory->principals[i].n_policies; j++)
                        policy_free(directory->principals[i].policies[j]);
                free(directory->principals[i].policies);
        }
        free(directory->principals);
        OPENSSL_cleanse(directory->keys, directory->n_keys * sizeof(*directory->keys));
        free(directory->keys);
        json_object_put(directory->description);
        free(directory);
        return NULL;
}
DEFINE_CLEANUP(Directory *, directory_unref);

void caller_clear(Caller *caller) {
        directory_unref(caller->directory);
        free(caller->token);
        OPENSSL_cleanse(caller->secret, sizeof(caller->secret));
        *caller = (Caller){};
}

/*
 * IAM's unique IDs are random. Here they follow from the ARN, so that the logs of two runs can be compared.
 */
static void make_unique_id(const char *prefix, const char *arn, char ret[static 22]) {
        static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        uint8_t digest[SHA256_DIGEST_LENGTH];

        SHA256((const unsigned char *) arn, strlen(arn), digest);
        memcpy(ret, prefix, 4);
        for (size_t i = 0; i < 17; i++)
                ret[4 + i] = alphabet[digest[i] & 31];
        ret[21] = '\0';
}

static int add_policies(Principal *principal, struct json_object *policies, char reason[static 512]) {
        if (!policies)
                return 0;
        if (!json_object_is_type(policies, json_type_array)) {
                snprintf(reason, 512, "policies of %s is not an array", principal->arn);
                return -EBADMSG;
        }

        size_t n = json_object_array_length(policies);
        principal->policies = calloc(n + 1, sizeof(*principal->policies));
        if (!principal->policies)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                size_t size;
                const char *text = json_object_to_json_string_length(json_object_array_get_idx(policies, i),
                                                                     JSON_C_TO_STRING_PLAIN, &size);
                char why[POLICY_REASON_SIZE] = "";

                int r = policy_parse(POLICY_KIND_IDENTITY, text, size, &principal->policies[i], why);
                if (r < 0) {
                        snprintf(reason, 512, "policy %zu of %s: %s", i, principal->arn, why);
                        return r;
                }
                principal->n_policies++;
        }
        return 0;
}

static int add_keys(Directory *directory, size_t principal, struct json_object *keys,
                    char reason[static 512]) {
        if (!keys)
                return 0;
        size_t n = json_object_is_type(keys, json_type_array) ? json_object_array_length(keys) : 0;

        AccessKey *grown = realloc(directory->keys, (directory->n_keys + n + 1) * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        directory->keys = grown;
        for (size_t i = 0; i < n; i++) {
                struct json_object *key = json_object_array_get_idx(keys, i);
                const char *id = json_member_string(key, "id"), *secret = json_member_string(key, "secret");

                if (!id || !secret || strlen(id) >= sizeof(grown->id) ||
                    strlen(secret) >= sizeof(grown->secret)) {
                        snprintf(reason, 512, "an access key of %s lacks its id or secret",
                                 directory->principals[principal].arn);
                        return -EBADMSG;
                }
                AccessKey *added = &directory->keys[directory->n_keys++];
                *added = (AccessKey){ .principal = principal };
                strcpy(added->id, id);
                strcpy(added->secret, secret);
        }
        return 0;
}

static int add_principal(Directory *directory, PrincipalKind kind, const char *account, const char *name,
                         struct json_object *description, const char *organization,
                         char reason[static 512]) {
        static const char *const types[] = { "root", "user/", "role/" };

        if (strlen(name) > 64 || !json_object_is_type(description, json_type_object)) {
                snprintf(reason, 512, "%s/%.64s is not an object", account, name);
                return -EBADMSG;
        }
        Principal *grown = realloc(directory->principals, (directory->n_principals + 1) * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        directory->principals = grown;

        size_t index = directory->n_principals++;
        Principal *principal = &directory->principals[index];
        *principal = (Principal){ .kind = kind, .organization = organization };
        strcpy(principal->account, account);
        strcpy(principal->name, name);
        snprintf(principal->arn, sizeof(principal->arn), "arn:aws:iam::%s:%s%s", account, types[kind], name);
        if (kind == PRINCIPAL_ROOT)
                strcpy(principal->id, account);
        else
                make_unique_id(kind == PRINCIPAL_ROLE ? "AROA" : "AIDA", principal->arn, principal->id);

        int r = add_policies(principal, json_member(description, "policies"), reason);
        if (r < 0)
                return r;
        return add_keys(directory, index, json_member(description, "access_keys"), reason);
}

static int add_account(Directory *directory, const char *id, struct json_object *account,
                       char reason[static 512]) {
        static const struct {
                const char *member;
                PrincipalKind kind;
        } groups[] = { { "users", PRINCIPAL_USER }, { "roles", PRINCIPAL_ROLE } };
        const char *organization = json_member_string(account, "organization");

        if (strlen(id) != ACCOUNT_ID_SIZE - 1 || strspn(id, "0123456789") != ACCOUNT_ID_SIZE - 1) {
                snprintf(reason, 512, "%.64s is not an account: it does not have 12 digits", id);
                return -EBADMSG;
        }

        struct json_object *root = json_member(account, "root");
        if (root) {
                int r = add_principal(directory, PRINCIPAL_ROOT, id, "", root, organization, reason);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < ELEMENTSOF(groups); i++) {
                struct json_object *group = json_member(account, groups[i].member);
                if (!group || !json_object_is_type(group, json_type_object))
                        continue;
                json_object_object_foreach(group, name, description) {
                        int r = add_principal(directory, groups[i].kind, id, name, description, organization,
                                              reason);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

int accounts_load(Accounts *accounts, struct json_object *description, char reason[static 512]) {
        _cleanup_(directory_unrefp) Directory *directory = calloc(1, sizeof(*directory));
        struct json_object *list = json_member(description, "accounts");

        if (!directory)
                return -ENOMEM;
        atomic_init(&directory->references, 1);
        directory->description = json_object_get(description);
        if (!list || !json_object_is_type(list, json_type_object)) {
                snprintf(reason, 512,
                         "\"accounts\" is missing, or is not an object with a member for each account");
                return -EBADMSG;
        }
        json_object_object_foreach(list, id, account) {
                int r = add_account(directory, id, account, reason);
                if (r < 0)
                        return r;
        }

        pthread_mutex_lock(&accounts->mutex);
        Directory *old = accounts->directory;
        accounts->directory = TAKE_PTR(directory);
        pthread_mutex_unlock(&accounts->mutex);
        directory_unref(old);
        return 0;
}

int accounts_new(Accounts **ret) {
        _cleanup_free_ Accounts *accounts = calloc(1, sizeof(*accounts));

        if (!accounts)
                return -ENOMEM;
        accounts->sessions = calloc(SESSIONS_MAX, sizeof(*accounts->sessions));
        if (!accounts->sessions)
                return -ENOMEM;
        pthread_mutex_init(&accounts->mutex, NULL);
        *ret = TAKE_PTR(accounts);
        return 0;
}

Accounts *accounts_free(Accounts *accounts) {
        if (accounts) {
                directory_unref(accounts->directory);
                free(accounts->sessions);
                pthread_mutex_destroy(&accounts->mutex);
                free(accounts);
        }
        return NULL;
}

static const Principal *find_role(const Directory *directory, const char *account, const char *role) {
        for (size_t i = 0; directory && i < directory->n_principals; i++) {
                const Principal *principal = &directory->principals[i];
                if (principal->kind == PRINCIPAL_ROLE && strcmp(principal->account, account) == 0 &&
                    strcmp(principal->name, role) == 0)
                        return principal;
        }
        return NULL;
}

static const AccessKey *find_key(const Directory *directory, const char *id) {
        for (size_t i = 0; directory && i < directory->n_keys; i++)
                if (strcmp(directory->keys[i].id, id) == 0)
                        return &directory->keys[i];
        return NULL;
}

static const Session *find_session(const Accounts *accounts, const char *id) {
        for (size_t i = 0; i < accounts->n_sessions; i++)
                if (strcmp(accounts->sessions[i].credentials.access_key_id, id) == 0)
                        return &accounts->sessions[i];
        return NULL;
}

static int fill_caller(Accounts *accounts, const char *id, Caller *caller) {
        const AccessKey *key = find_key(accounts->directory, id);
        if (key) {
                caller->principal = &accounts->directory->principals[key->principal];
                strcpy(caller->secret, key->secret);
                strcpy(caller->arn, caller->principal->arn);
                return 0;
        }

        const Session *session = find_session(accounts, id);
        if (!session)
                return -ENOENT;
        caller->principal = find_role(accounts->directory, session->account, session->role);
        if (!caller->principal)
                return -ENOENT;
        caller->token = strdup(session->credentials.token);
        if (!caller->token)
                return -ENOMEM;
        strcpy(caller->secret, session->credentials.secret);
        strcpy(caller->session, session->name);
        caller->expires = session->credentials.expires;
        snprintf(caller->arn, sizeof(caller->arn), "arn:aws:sts::%s:assumed-role/%s/%s", session->account,
                 session->role, session->name);
        return 0;
}

int accounts_authenticate(Accounts *accounts, const char *access_key_id, Caller *ret) {
        Caller caller = {};

        if (strlen(access_key_id) >= sizeof(caller.access_key_id))
                return -ENOENT;
        strcpy(caller.access_key_id, access_key_id);

        pthread_mutex_lock(&accounts->mutex);
        int r = fill_caller(accounts, access_key_id, &caller);
        if (r >= 0) {
                caller.directory = accounts->directory;
                atomic_fetch_add(&caller.directory->references, 1);
        }
        pthread_mutex_unlock(&accounts->mutex);
        if (r < 0) {
                caller_clear(&caller);
                return r;
        }

        *ret = caller;
        return 0;
}

static int make_credentials(Credentials *credentials) {
        static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        uint8_t random[16 + 30 + 540];
        _cleanup_free_ char *secret = NULL, *token = NULL;
        int r;

        if (RAND_bytes(random, sizeof(random)) <= 0)
                return -EIO;
        strcpy(credentials->access_key_id, "ASIA");
        for (size_t i = 0; i < 16; i++)
                credentials->access_key_id[4 + i] = alphabet[random[i] & 31];
        r = base64_encode(random + 16, 30, &secret);
        if (r >= 0)
                r = base64_encode(random + 46, 540, &token);
        if (r < 0)
                return r;
        memcpy(credentials->secret, secret, 41);
        /* The token has the length and the first bytes of EC2's. */
        snprintf(credentials->token, sizeof(credentials->token), "IQoJb3JpZ2luX2Vj%s", token);
        return 0;
}

int accounts_issue(Accounts *accounts, const char *account, const char *role, const char *session_name,
                   int64_t now, int64_t expires, Credentials *ret) {
        Session session = { .credentials = { .issued = now, .expires = expires } };
        int r = 0;

        if (strlen(account) >= sizeof(session.account) || strlen(role) >= sizeof(session.role) ||
            strlen(session_name) >= sizeof(session.name))
                return -ENOENT;
        strcpy(session.account, account);
        strcpy(session.role, role);
        strcpy(session.name, session_name);
        r = make_credentials(&session.credentials);
        if (r < 0)
                return r;

        pthread_mutex_lock(&accounts->mutex);
        if (find_role(accounts->directory, account, role)) {
                accounts->sessions[accounts->next] = session;
                accounts->next = (accounts->next + 1) % SESSIONS_MAX;
                accounts->n_sessions += accounts->n_sessions < SESSIONS_MAX;
        } else
                r = -ENOENT;
        pthread_mutex_unlock(&accounts->mutex);
        if (r < 0)
                return r;

        *ret = session.credentials;
        return 0;
}

static void remove_secrets(struct json_object *value) {
        if (json_object_is_type(value, json_type_array))
                for (size_t i = 0; i < json_object_array_length(value); i++)
                        remove_secrets(json_object_array_get_idx(value, i));
        if (!json_object_is_type(value, json_type_object))
                return;
        json_object_object_del(value, "secret");
        json_object_object_foreach(value, name, member) {
                (void) name;
                remove_secrets(member);
        }
}

struct json_object *accounts_describe(Accounts *accounts, bool with_secrets) {
        struct json_object *copy = NULL;

        pthread_mutex_lock(&accounts->mutex);
        if (accounts->directory && json_object_deep_copy(accounts->directory->description, &copy, NULL) < 0)
                copy = NULL;
        pthread_mutex_unlock(&accounts->mutex);
        if (!with_secrets)
                remove_secrets(copy);
        return copy;
}

bool accounts_has_role(Accounts *accounts, const char *account, const char *role) {
        pthread_mutex_lock(&accounts->mutex);
        bool found = find_role(accounts->directory, account, role);
        pthread_mutex_unlock(&accounts->mutex);
        return found;
}
