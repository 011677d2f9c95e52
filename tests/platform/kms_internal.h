/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the key management service share. Everything here is called with the service's mutex held. */

#include <pthread.h>

#include "kms.h"
#include "kms_blob.h"

#define KMS_PLAINTEXT_MAX 4096U
#define KMS_CIPHERTEXT_MAX 6144U
#define KMS_DOCUMENT_MAX 262144U
#define KMS_RANDOM_MAX 1024U
#define KMS_ARN_SIZE 160

typedef enum KeyState {
        KEY_ENABLED,
        KEY_DISABLED,
        KEY_PENDING_DELETION,
} KeyState;

typedef struct KmsGrant {
        char id[65];
        char token[129];
        char name[257];
        char issuer[512];
        int64_t created;
        struct json_object *description; /* the request that made it, whose strings the rest borrows */
        const char **operations;
        PolicyPair *subset, *equals;
        PolicyGrant policy_grant;
} KmsGrant;

typedef struct KmsKey {
        uint8_t id_bytes[KMS_KEY_ID_SIZE];
        char id[UUID_SIZE];
        char account[ACCOUNT_ID_SIZE];
        char arn[KMS_ARN_SIZE];
        uint8_t material[KMS_KEY_SIZE];
        char *description;
        KeyState state;
        int64_t created, deletion;
        char *policy_text;
        Policy *policy;
        KmsGrant **grants;
        size_t n_grants;
} KmsKey;

typedef struct KmsAlias {
        char account[ACCOUNT_ID_SIZE];
        char name[257]; /* alias/… */
        KmsKey *key;
} KmsAlias;

struct Kms {
        char region[64];
        Accounts *accounts;
        Attestor *attestor;
        Faults *faults;
        Trail *trail;
        const Seed *seed;

        pthread_mutex_t mutex;
        KmsKey **keys;
        size_t n_keys;
        KmsAlias *aliases;
        size_t n_aliases;
        char vpc_endpoint[64];
        unsigned rate;
        double tokens;
        int64_t refilled_usec;
};

/* One request on its way through. */
typedef struct KmsCall {
        Kms *kms;
        Exchange *exchange;
        const char *operation;
        const char *fault_operation; /* what faults know it by: that, or "DryRun" */
        int64_t now;
        char request_id[UUID_SIZE];
        Caller caller;
        bool authenticated;
        struct json_object *request;
        AttestedFacts facts;
        bool attested; /* facts are from a document that was verified */

        struct json_object *reply;
        char resource[KMS_ARN_SIZE]; /* the key that was used */
        char resource_account[ACCOUNT_ID_SIZE];

        const char *code; /* an error's */
        char message[8448];
        char fault_code[sizeof(((FaultValue *) NULL)->text)];
} KmsCall;

/* Returns -EBADMSG, so that an operation may say `return platform_kms_refuse(...)`. An empty format: no message. */
int platform_kms_refuse(KmsCall *call, const char *code, const char *format, ...) _printf_(3, 4);
int platform_kms_refuse_internal(KmsCall *call);

/* Parameters. A missing optional one is NULL, with 0. */
int platform_kms_string(KmsCall *call, struct json_object *object, const char *name, bool required,
                        size_t maximum, const char **ret);
int platform_kms_bytes(KmsCall *call, struct json_object *object, const char *name, bool required,
                       size_t maximum, uint8_t **ret, size_t *ret_size);
int platform_kms_integer(KmsCall *call, const char *name, int64_t minimum, int64_t maximum, int64_t fallback,
                         int64_t *ret);
int platform_kms_boolean(KmsCall *call, const char *name, bool *ret);
int platform_kms_context(KmsCall *call, const char *name, struct json_object **ret);
/* DryRunOperationException where that is asked for: to be called once everything else would succeed. */
int platform_kms_check_dry_run(KmsCall *call);
int platform_kms_constraint(KmsCall *call, const char *value, const char *name, const char *constraint);

/* Keys. */
int platform_kms_key_new(KmsCall *call, KmsKey **ret);
void platform_kms_keys_clear(Kms *kms);
KmsKey *platform_kms_key_by_id(Kms *kms, const uint8_t id[static KMS_KEY_ID_SIZE]);
/* By id, ARN, alias or alias ARN; action is what the caller wants to do with it. */
int platform_kms_key_resolve(KmsCall *call, const char *action, const char *name, KmsKey **ret);
int platform_kms_key_check_state(KmsCall *call, const KmsKey *key);
int platform_kms_alias_add(Kms *kms, const char *account, const char *name, KmsKey *key);
const KmsAlias *platform_kms_alias_find(const Kms *kms, const char *account, const char *name);
void platform_kms_grant_free(KmsGrant *grant);

/* Decisions. */
typedef struct KmsQuestion {
        const char *action;
        KmsKey *key;                 /* NULL: an action without one */
        const char *key_name;        /* as the caller named it; NULL: by its ciphertext */
        struct json_object *context; /* encryption context, or NULL */
        const PolicyPair *more;      /* condition keys of this operation; ended by a NULL key */
} KmsQuestion;

int platform_kms_authorize(KmsCall *call, const KmsQuestion *question);
/* A key of another account that is not there, told as one that must not be used. */
int platform_kms_refuse_foreign(KmsCall *call, const char *action, const char *arn);
/* PutKeyPolicy's and CreateKey's safety check. */
int platform_kms_check_lockout(KmsCall *call, const Policy *policy, const char *key_arn, bool *ret);

/* Operations. */
typedef int (*KmsOperation)(KmsCall *call);

int platform_kms_encrypt(KmsCall *call);
int platform_kms_decrypt(KmsCall *call);
int platform_kms_re_encrypt(KmsCall *call);
int platform_kms_generate_data_key(KmsCall *call);
int platform_kms_generate_random(KmsCall *call);

int platform_kms_create_key(KmsCall *call);
int platform_kms_describe_key(KmsCall *call);
int platform_kms_put_key_policy(KmsCall *call);
int platform_kms_get_key_policy(KmsCall *call);
int platform_kms_create_alias(KmsCall *call);
int platform_kms_enable_key(KmsCall *call);
int platform_kms_disable_key(KmsCall *call);
int platform_kms_schedule_key_deletion(KmsCall *call);
int platform_kms_cancel_key_deletion(KmsCall *call);
int platform_kms_create_grant(KmsCall *call);
int platform_kms_list_grants(KmsCall *call);
int platform_kms_revoke_grant(KmsCall *call);
int platform_kms_retire_grant(KmsCall *call);

static inline void kms_reply_string(KmsCall *call, const char *name, const char *value) {
        json_object_object_add(call->reply, name, json_object_new_string(value));
}
int platform_kms_reply_bytes(KmsCall *call, const char *name, const uint8_t *data, size_t size);
