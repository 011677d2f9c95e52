/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Shared by the files of the key management service. The caller of each function must hold the service's
 * mutex.
 */

#include <openssl/evp.h>
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
        KEY_PENDING_IMPORT,           /* of origin EXTERNAL, without material */
        KEY_PENDING_REPLICA_DELETION, /* a primary key whose replicas must go first */
} KeyState;

typedef struct KmsGrant {
        char id[65];
        char token[129];
        char name[257];
        char issuer[512];
        int64_t created;
        struct json_object *description; /* the request that made it; the members below borrow its strings */
        const char **operations;
        PolicyPair *subset, *equals;
        PolicyGrant policy_grant;
} KmsGrant;

/* What a key is for. */
typedef struct KmsKind {
        const char *spec, *usage; /* KeySpec and KeyUsage */
        const char *algorithms;   /* the member of KeyMetadata that lists the algorithm */
        const char *algorithm;    /* the one that the key knows */
        const char *curve;        /* NULL: the key is symmetric */
        const char *digest;       /* of signatures and codes; NULL: none, or the algorithm's own */
        size_t digest_size;
} KmsKind;

typedef struct KmsKey {
        uint8_t id_bytes[KMS_KEY_ID_SIZE];
        char id[UUID_SIZE];
        char account[ACCOUNT_ID_SIZE];
        const char *region;
        char arn[KMS_ARN_SIZE];
        uint8_t material[KMS_KEY_SIZE];
        bool multi_region, external;
        struct KmsKey *primary; /* of a replica; NULL: it is none */
        int64_t rotation_days;  /* 0: no automatic rotation */
        int64_t deletion_days;
        /* The last successful cryptographic operation; NULL: there was none. */
        const char *last_operation;
        int64_t last_used;
        char last_event[UUID_SIZE], last_request[UUID_SIZE];
        struct {
                EVP_PKEY *wrapping; /* for the import token; NULL: there is none */
                const char *digest; /* of its padding */
                uint8_t token[64];
                int64_t token_valid_to;
                int64_t valid_to; /* of the material; 0: it does not expire */
                bool known;       /* material was imported once; fingerprint is its */
                uint8_t fingerprint[KMS_KEY_SIZE];
        } import;
        const KmsKind *kind;
        EVP_PKEY *pair; /* NULL: a symmetric key, which is its material */
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
        char name[257]; /* begins with alias/ */
        KmsKey *key;
        int64_t created;
} KmsAlias;

struct Kms {
        char region[64];
        char other_region[64]; /* has replicas only */
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

/* One request while it is being answered. */
typedef struct KmsCall {
        Kms *kms;
        Exchange *exchange;
        const char *operation;
        const char *operation_name; /* the same in static memory; set for an operation that exists */
        /* For faults: the operation, in the other Region OPERATION@REGION; or "DryRun". */
        char fault_operation[64];
        const char *region; /* of the endpoint that was asked */
        int64_t now;
        char request_id[UUID_SIZE], event_id[UUID_SIZE];
        Caller caller;
        bool authenticated;
        struct json_object *request;
        AttestedFacts facts;
        bool attested; /* facts come from a verified document */

        struct json_object *reply;
        char resource[KMS_ARN_SIZE]; /* ARN and account of the key that was used */
        char resource_account[ACCOUNT_ID_SIZE];

        const char *code; /* code and message of the error */
        char message[8448];
        char fault_code[sizeof(((FaultValue *) NULL)->text)];
} KmsCall;

/* Records the error and returns -EBADMSG, so that an operation can say `return platform_kms_refuse(...)`.
 * With an empty format the error has no message. */
int platform_kms_refuse(KmsCall *call, const char *code, const char *format, ...) _printf_(3, 4);
int platform_kms_refuse_internal(KmsCall *call);

/* Readers of parameters. They return 0 and NULL for an optional parameter that is missing. */
int platform_kms_string(KmsCall *call, struct json_object *object, const char *name, bool required,
                        size_t maximum, const char **ret);
int platform_kms_bytes(KmsCall *call, struct json_object *object, const char *name, bool required,
                       size_t maximum, uint8_t **ret, size_t *ret_size);
int platform_kms_integer(KmsCall *call, const char *name, int64_t minimum, int64_t maximum, int64_t fallback,
                         int64_t *ret);
int platform_kms_boolean(KmsCall *call, const char *name, bool *ret);
int platform_kms_context(KmsCall *call, const char *name, struct json_object **ret);
/* Refuses a dry run with DryRunOperationException. An operation calls this once all its other checks have
 * passed. */
int platform_kms_check_dry_run(KmsCall *call);
int platform_kms_constraint(KmsCall *call, const char *value, const char *name, const char *constraint);

/* primary: NULL: the new key is no replica. */
int platform_kms_key_new(KmsCall *call, bool multi_region, const KmsKey *primary, const char *region,
                         KmsKey **ret);
void platform_kms_keys_clear(Kms *kms);
KmsKey *platform_kms_key_by_id(Kms *kms, const char *region, const uint8_t id[static KMS_KEY_ID_SIZE]);
/* Finds a key by its id, ARN, alias or alias ARN. action is what the caller wants to do, for the message of
 * a refusal. */
int platform_kms_key_resolve(KmsCall *call, const char *action, const char *name, KmsKey **ret);
int platform_kms_key_check_state(KmsCall *call, const KmsKey *key);
/* Records a successful cryptographic operation for GetKeyLastUsage. */
void platform_kms_key_used(const KmsCall *call, KmsKey *key);
int platform_kms_alias_add(const KmsCall *call, const char *account, const char *name, KmsKey *key);
const KmsAlias *platform_kms_alias_find(const KmsCall *call, const char *account, const char *name);
void platform_kms_grant_free(KmsGrant *grant);

/* The input of an authorization. */
typedef struct KmsQuestion {
        const char *action;
        KmsKey *key;                 /* NULL for an action that needs no key */
        const char *key_name;        /* as the caller named it; NULL where the ciphertext named it */
        struct json_object *context; /* or NULL */
        const PolicyPair *more;      /* condition keys of this operation; a NULL key ends the list */
} KmsQuestion;

int platform_kms_authorize(KmsCall *call, const KmsQuestion *question);
/*
 * Refuses a key of another account that does not exist in the words for a key that the caller may not use.
 */
int platform_kms_refuse_foreign(KmsCall *call, const char *action, const char *arn);
/* The lockout safety check of PutKeyPolicy and CreateKey. */
int platform_kms_check_lockout(KmsCall *call, const Policy *policy, const char *key_arn, bool *ret);

/* Imported key material: ends material that has expired, and frees what import holds. */
void platform_kms_key_expire(const KmsCall *call, KmsKey *key);
void platform_kms_import_clear(KmsKey *key);

/* Finds the kind of keys with this KeySpec and KeyUsage (NULL: the first with the KeySpec), or NULL. */
const KmsKind *platform_kms_kind_find(const char *spec, const char *usage);
/* Makes a new key one of this kind, with a pair of keys where the kind has one. */
int platform_kms_pair_new(KmsKey *key, const KmsKind *kind);
/* Refuses a key whose KeyUsage is not that of the operation. */
int platform_kms_check_usage(KmsCall *call, const KmsKey *key, const char *usage);
/* Refuses an algorithm that is not the key's. */
int platform_kms_check_kind_algorithm(KmsCall *call, const KmsKey *key, const char *algorithm);
/* Checks that the caller may use the key, and that the key's state and usage permit it. */
int platform_kms_check_use(KmsCall *call, const KmsQuestion *question, const char *usage);
/* Every grant token must belong to an existing grant. The authorization looks at all grants anyway. */
int platform_kms_check_grant_tokens(KmsCall *call);
/* Replies with the plaintext, or, for a recipient, with the envelope and without the plaintext. */
int platform_kms_reply_plaintext(KmsCall *call, const char *name, const uint8_t *data, size_t size);

typedef int (*KmsOperation)(KmsCall *call);

int platform_kms_encrypt(KmsCall *call);
int platform_kms_decrypt(KmsCall *call);
int platform_kms_re_encrypt(KmsCall *call);
int platform_kms_generate_data_key(KmsCall *call);
int platform_kms_get_parameters_for_import(KmsCall *call);
int platform_kms_import_key_material(KmsCall *call);
int platform_kms_delete_imported_key_material(KmsCall *call);
int platform_kms_generate_data_key_pair(KmsCall *call);
int platform_kms_generate_random(KmsCall *call);
int platform_kms_derive_shared_secret(KmsCall *call);
int platform_kms_generate_mac(KmsCall *call);
int platform_kms_verify_mac(KmsCall *call);
int platform_kms_sign(KmsCall *call);
int platform_kms_verify(KmsCall *call);
int platform_kms_get_public_key(KmsCall *call);

int platform_kms_create_key(KmsCall *call);
int platform_kms_describe_key(KmsCall *call);
int platform_kms_put_key_policy(KmsCall *call);
int platform_kms_get_key_policy(KmsCall *call);
int platform_kms_create_alias(KmsCall *call);
int platform_kms_enable_key(KmsCall *call);
int platform_kms_disable_key(KmsCall *call);
int platform_kms_schedule_key_deletion(KmsCall *call);
int platform_kms_cancel_key_deletion(KmsCall *call);
/* The member is the key's KeyMetadata. */
void platform_kms_reply_metadata(KmsCall *call, const char *member, const KmsKey *key);
/* Parses a policy. Unless the request bypasses the check, refuses a policy that locks the caller out. */
int platform_kms_read_policy(KmsCall *call, const char *text, const char *key_arn, Policy **ret);
int platform_kms_default_policy(const KmsCall *call, char **ret);

int platform_kms_replicate_key(KmsCall *call);
int platform_kms_list_aliases(KmsCall *call);
int platform_kms_enable_key_rotation(KmsCall *call);
int platform_kms_disable_key_rotation(KmsCall *call);
int platform_kms_get_key_rotation_status(KmsCall *call);
int platform_kms_get_key_last_usage(KmsCall *call);

/* Reads KeyId, finds the key, and checks that the caller may act on it. */
int platform_kms_authorized_key(KmsCall *call, const char *action, const PolicyPair *more, KmsKey **ret);

/* Of a list of n entries, chooses those that the request asks for with Limit and Marker. */
int platform_kms_page(KmsCall *call, size_t n, size_t *ret_begin, size_t *ret_end);
int platform_kms_create_grant(KmsCall *call);
int platform_kms_list_grants(KmsCall *call);
int platform_kms_revoke_grant(KmsCall *call);
int platform_kms_retire_grant(KmsCall *call);

static inline void kms_reply_string(KmsCall *call, const char *name, const char *value) {
        json_object_object_add(call->reply, name, json_object_new_string(value));
}
int platform_kms_reply_bytes(KmsCall *call, const char *name, const uint8_t *data, size_t size);
