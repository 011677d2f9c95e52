/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/encoding.h"
#include "kms_internal.h"

#define DAY (24 * 60 * 60)

static void add_string(struct json_object *object, const char *name, const char *value) {
        json_object_object_add(object, name, json_object_new_string(value));
}

static struct json_object *key_and_region(const KmsKey *key) {
        struct json_object *entry = json_object_new_object();

        add_string(entry, "Arn", key->arn);
        add_string(entry, "Region", key->region);
        return entry;
}

static struct json_object *multi_region_configuration(const KmsCall *call, const KmsKey *key) {
        struct json_object *configuration = json_object_new_object(), *replicas = json_object_new_array();
        const KmsKey *primary = key->primary ? key->primary : key;

        for (size_t i = 0; i < call->kms->n_keys; i++)
                if (call->kms->keys[i]->primary == primary)
                        json_object_array_add(replicas, key_and_region(call->kms->keys[i]));
        add_string(configuration, "MultiRegionKeyType", key->primary ? "REPLICA" : "PRIMARY");
        json_object_object_add(configuration, "PrimaryKey", key_and_region(primary));
        json_object_object_add(configuration, "ReplicaKeys", replicas);
        return configuration;
}

void platform_kms_reply_metadata(KmsCall *call, const char *member, const KmsKey *key) {
        static const char *const states[] = { "Enabled", "Disabled", "PendingDeletion", "PendingImport",
                                              "PendingReplicaDeletion" };
        struct json_object *metadata = json_object_new_object(), *algorithms = json_object_new_array();

        add_string(metadata, "AWSAccountId", key->account);
        add_string(metadata, "KeyId", key->id);
        add_string(metadata, "Arn", key->arn);
        json_object_object_add(metadata, "CreationDate", json_object_new_int64(key->created));
        json_object_object_add(metadata, "Enabled", json_object_new_boolean(key->state == KEY_ENABLED));
        add_string(metadata, "Description", key->description ? key->description : "");
        add_string(metadata, "KeyUsage", key->kind->usage);
        add_string(metadata, "KeyState", states[key->state]);
        if (key->state == KEY_PENDING_DELETION)
                json_object_object_add(metadata, "DeletionDate", json_object_new_int64(key->deletion));
        if (key->state == KEY_PENDING_REPLICA_DELETION)
                json_object_object_add(metadata, "PendingDeletionWindowInDays",
                                       json_object_new_int64(key->deletion_days));
        add_string(metadata, "Origin", key->external ? "EXTERNAL" : "AWS_KMS");
        if (key->external && key->state != KEY_PENDING_IMPORT) {
                add_string(metadata, "ExpirationModel",
                           key->import.valid_to > 0 ? "KEY_MATERIAL_EXPIRES"
                                                    : "KEY_MATERIAL_DOES_NOT_EXPIRE");
                if (key->import.valid_to > 0)
                        json_object_object_add(metadata, "ValidTo",
                                               json_object_new_int64(key->import.valid_to));
        }
        add_string(metadata, "KeyManager", "CUSTOMER");
        add_string(metadata, "CustomerMasterKeySpec", key->kind->spec);
        add_string(metadata, "KeySpec", key->kind->spec);
        json_object_array_add(algorithms, json_object_new_string(key->kind->algorithm));
        json_object_object_add(metadata, key->kind->algorithms, algorithms);
        json_object_object_add(metadata, "MultiRegion", json_object_new_boolean(key->multi_region));
        if (key->multi_region)
                json_object_object_add(metadata, "MultiRegionConfiguration",
                                       multi_region_configuration(call, key));
        json_object_object_add(call->reply, member, metadata);
}

int platform_kms_read_policy(KmsCall *call, const char *text, const char *key_arn, Policy **ret) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        char reason[POLICY_REASON_SIZE] = "";
        bool bypass, lets = true;
        int r;

        r = platform_kms_boolean(call, "BypassPolicyLockoutSafetyCheck", &bypass);
        if (r < 0)
                return r;
        r = policy_parse(POLICY_KIND_KEY, text, strlen(text), &policy, reason);
        if (r == -E2BIG)
                return platform_kms_refuse(call, "LimitExceededException", "%s", reason);
        if (r == -EBADMSG)
                return platform_kms_refuse(call, "MalformedPolicyDocumentException", "%s", reason);
        if (r < 0 || (!bypass && platform_kms_check_lockout(call, policy, key_arn, &lets) < 0))
                return platform_kms_refuse_internal(call);
        if (!lets)
                return platform_kms_refuse(
                                call, "MalformedPolicyDocumentException",
                                "The new key policy will not allow you to update the key policy in the "
                                "future.");
        *ret = TAKE_PTR(policy);
        return 0;
}

/* *ret: the kind of a key that does not encrypt; NULL: the request is for one that does, or for one that the platform does not have. */
static int read_kind(KmsCall *call, const KmsKind **ret) {
        const char *spec, *usage, *origin;
        bool multi_region;
        int r;

        *ret = NULL;
        r = platform_kms_string(call, call->request, "KeySpec", false, 64, &spec);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "KeyUsage", false, 64, &usage);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "Origin", false, 64, &origin);
        if (r >= 0)
                r = platform_kms_boolean(call, "MultiRegion", &multi_region);
        if (r < 0 || !spec || strcmp(spec, "SYMMETRIC_DEFAULT") == 0 || !platform_kms_kind_find(spec, NULL))
                return r;
        if (!usage)
                return platform_kms_refuse(call, "ValidationException",
                                           "You must specify a KeyUsage value for all KMS keys except for "
                                           "symmetric encryption keys.");
        /* KMS has RSA keys that encrypt. The platform has none, and its caller says so. */
        if (strncmp(spec, "RSA_", 4) == 0 && strcmp(usage, "ENCRYPT_DECRYPT") == 0)
                return 0;
        if (!platform_kms_kind_find(spec, usage))
                return platform_kms_refuse(call, "ValidationException",
                                           "KeyUsage %s is not compatible with KeySpec %s", usage, spec);
        if (multi_region || (origin && strcmp(origin, "AWS_KMS") != 0))
                return platform_kms_refuse(call, "UnsupportedOperationException",
                                           "The platform has no such keys with KeySpec %s.", spec);
        *ret = platform_kms_kind_find(spec, usage);
        return 0;
}

/* All other keys of the platform are symmetric encryption keys. It has no custom key stores. */
static int check_key_kind(KmsCall *call, bool *ret_multi_region, bool *ret_external) {
        static const struct {
                const char *parameter;
                const char *values[2];
        } kinds[] = {
                { "KeyUsage", { "ENCRYPT_DECRYPT" } },
                { "KeySpec", { "SYMMETRIC_DEFAULT" } },
                { "CustomerMasterKeySpec", { "SYMMETRIC_DEFAULT" } },
                { "Origin", { "AWS_KMS", "EXTERNAL" } },
        };
        const char *value = NULL;

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                int r = platform_kms_string(call, call->request, kinds[i].parameter, false, 64, &value);
                if (r < 0)
                        return r;
                if (value && strcmp(value, kinds[i].values[0]) != 0 &&
                    (!kinds[i].values[1] || strcmp(value, kinds[i].values[1]) != 0))
                        return platform_kms_refuse(call, "UnsupportedOperationException",
                                                   "The platform has no keys with %s %s.",
                                                   kinds[i].parameter, value);
        }
        *ret_external = value && strcmp(value, "EXTERNAL") == 0;
        return platform_kms_boolean(call, "MultiRegion", ret_multi_region);
}

int platform_kms_default_policy(const KmsCall *call, char **ret) {
        return asprintf(ret,
                        "{\n  \"Version\" : \"2012-10-17\",\n  \"Id\" : \"key-default-1\",\n  \"Statement\" "
                        ": [ {\n"
                        "    \"Sid\" : \"Enable IAM User Permissions\",\n    \"Effect\" : \"Allow\",\n"
                        "    \"Principal\" : {\n      \"AWS\" : \"arn:aws:iam::%s:root\"\n    },\n"
                        "    \"Action\" : \"kms:*\",\n    \"Resource\" : \"*\"\n  } ]\n}",
                        call->caller.principal->account) < 0
                               ? -ENOMEM
                               : 0;
}

int platform_kms_create_key(KmsCall *call) {
        _cleanup_free_ char *policy_text = NULL, *description_copy = NULL;
        _cleanup_(policy_freep) Policy *policy = NULL;
        const char *text, *description;
        const KmsKind *kind;
        char future_arn[KMS_ARN_SIZE];
        bool multi_region = false, external = false;
        KmsKey *key;
        int r;

        r = platform_kms_string(call, call->request, "Policy", false, 4 * POLICY_KEY_SIZE_MAX, &text);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "Description", false, 8192, &description);
        if (r >= 0)
                r = read_kind(call, &kind);
        if (r >= 0 && !kind)
                r = check_key_kind(call, &multi_region, &external);
        if (r >= 0 && strcmp(call->region, call->kms->region) != 0)
                r = platform_kms_refuse(call, "UnsupportedOperationException",
                                        "The platform makes primary keys in %s only.", call->kms->region);
        if (r >= 0)
                r = platform_kms_authorize(
                                call, &(const KmsQuestion){ .action = "kms:CreateKey", .key_name = "*" });
        if (r < 0)
                return r;

        if (text)
                policy_text = strdup(text);
        else if (platform_kms_default_policy(call, &policy_text) < 0)
                policy_text = NULL;
        description_copy = strdup(description ? description : "");
        if (!policy_text || !description_copy)
                return platform_kms_refuse_internal(call);
        /* The safety check looks at the ARN's account, not at the key's id, which does not exist yet. */
        snprintf(future_arn, sizeof(future_arn),
                 "arn:aws:kms:%s:%s:key/00000000-0000-0000-0000-000000000000", call->region,
                 call->caller.principal->account);
        r = platform_kms_read_policy(call, policy_text, future_arn, &policy);
        if (r < 0)
                return r;
        if (platform_kms_key_new(call, multi_region, NULL, call->kms->region, &key) < 0)
                return platform_kms_refuse_internal(call);
        if (kind && platform_kms_pair_new(key, kind) < 0)
                return platform_kms_refuse_internal(call);

        key->external = external;
        if (external)
                key->state = KEY_PENDING_IMPORT;
        key->policy = TAKE_PTR(policy);
        key->policy_text = TAKE_PTR(policy_text);
        key->description = TAKE_PTR(description_copy);
        memcpy(call->resource, key->arn, sizeof(call->resource));
        memcpy(call->resource_account, key->account, sizeof(call->resource_account));
        platform_kms_reply_metadata(call, "KeyMetadata", key);
        return 0;
}

int platform_kms_authorized_key(KmsCall *call, const char *action, const PolicyPair *more, KmsKey **ret) {
        const char *name;

        int r = platform_kms_string(call, call->request, "KeyId", true, 2048, &name);
        if (r >= 0)
                r = platform_kms_key_resolve(call, action, name, ret);
        if (r >= 0)
                r = platform_kms_authorize(call, &(const KmsQuestion){ action, *ret, name, NULL, more });
        return r;
}

int platform_kms_describe_key(KmsCall *call) {
        KmsKey *key;

        int r = platform_kms_authorized_key(call, "kms:DescribeKey", NULL, &key);
        if (r >= 0)
                platform_kms_reply_metadata(call, "KeyMetadata", key);
        return r;
}

static int check_policy_name(KmsCall *call) {
        const char *name;

        int r = platform_kms_string(call, call->request, "PolicyName", false, 128, &name);
        if (r >= 0 && name && strcmp(name, "default") != 0)
                r = platform_kms_refuse(call, "NotFoundException", "No such policy exists");
        return r;
}

int platform_kms_put_key_policy(KmsCall *call) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        const char *text;
        bool bypass;
        KmsKey *key;
        int r;

        r = platform_kms_string(call, call->request, "Policy", true, 4 * POLICY_KEY_SIZE_MAX, &text);
        if (r >= 0)
                r = platform_kms_boolean(call, "BypassPolicyLockoutSafetyCheck", &bypass);
        if (r >= 0)
                r = check_policy_name(call);
        if (r < 0)
                return r;
        const PolicyPair more[] = { { "kms:BypassPolicyLockoutSafetyCheck", bypass ? "true" : "false" },
                                    {} };
        r = platform_kms_authorized_key(call, "kms:PutKeyPolicy", more, &key);
        if (r >= 0)
                r = platform_kms_read_policy(call, text, key->arn, &policy);
        if (r < 0)
                return r;

        char *copy = strdup(text);
        if (!copy)
                return platform_kms_refuse_internal(call);
        free(key->policy_text);
        key->policy_text = copy;
        policy_free(key->policy);
        key->policy = TAKE_PTR(policy);
        return 0;
}

int platform_kms_get_key_policy(KmsCall *call) {
        KmsKey *key;

        int r = check_policy_name(call);
        if (r >= 0)
                r = platform_kms_authorized_key(call, "kms:GetKeyPolicy", NULL, &key);
        if (r < 0)
                return r;
        kms_reply_string(call, "Policy", key->policy_text);
        kms_reply_string(call, "PolicyName", "default");
        return 0;
}

int platform_kms_create_alias(KmsCall *call) {
        const char *name, *target, *account = call->caller.principal->account;
        char arn[512];
        KmsKey *key;
        int r;

        r = platform_kms_string(call, call->request, "AliasName", true, 256, &name);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "TargetKeyId", true, 2048, &target);
        if (r < 0)
                return r;
        size_t length = strlen("alias/");
        if (strncmp(name, "alias/", length) != 0 || !name[length] ||
            strncmp(name, "alias/aws/", length + 4) == 0 ||
            name[length +
                 strspn(name + length, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-")])
                return platform_kms_refuse(call, "InvalidAliasNameException",
                                           "Alias must start with the prefix \"alias/\" and may "
                                           "not be reserved.");

        r = platform_kms_key_resolve(call, "kms:CreateAlias", target, &key);
        if (r >= 0)
                r = platform_kms_authorize(
                                call, &(const KmsQuestion){ "kms:CreateAlias", key, target, NULL, NULL });
        if (r < 0)
                return r;
        if (strcmp(key->account, account) != 0)
                return platform_kms_refuse(call, "ValidationException",
                                           "Cross-account aliases are not allowed.");
        if (platform_kms_alias_find(call, account, name)) {
                snprintf(arn, sizeof(arn), "arn:aws:kms:%s:%s:%s", call->region, account, name);
                return platform_kms_refuse(call, "AlreadyExistsException",
                                           "An alias with the name %s already exists", arn);
        }
        return platform_kms_alias_add(call, account, name, key) < 0 ? platform_kms_refuse_internal(call) : 0;
}

static int set_enabled(KmsCall *call, const char *action, KeyState state) {
        KmsKey *key;

        int r = platform_kms_authorized_key(call, action, NULL, &key);
        if (r >= 0 && key->state > KEY_DISABLED)
                r = platform_kms_key_check_state(call, key);
        if (r >= 0)
                key->state = state;
        return r;
}

int platform_kms_enable_key(KmsCall *call) {
        return set_enabled(call, "kms:EnableKey", KEY_ENABLED);
}

int platform_kms_disable_key(KmsCall *call) {
        return set_enabled(call, "kms:DisableKey", KEY_DISABLED);
}

static bool has_replicas(const Kms *kms, const KmsKey *key) {
        for (size_t i = 0; i < kms->n_keys; i++)
                if (kms->keys[i]->primary == key)
                        return true;
        return false;
}

int platform_kms_schedule_key_deletion(KmsCall *call) {
        char days_text[8];
        int64_t days;
        KmsKey *key;

        int r = platform_kms_integer(call, "PendingWindowInDays", 7, 30, 30, &days);
        if (r < 0)
                return r;
        snprintf(days_text, sizeof(days_text), "%d", (int) days);
        const PolicyPair more[] = { { "kms:ScheduleKeyDeletionPendingWindowInDays", days_text }, {} };
        r = platform_kms_authorized_key(call, "kms:ScheduleKeyDeletion", more, &key);
        if (r >= 0 && (key->state == KEY_PENDING_DELETION || key->state == KEY_PENDING_REPLICA_DELETION))
                r = platform_kms_key_check_state(call, key);
        if (r < 0)
                return r;

        /* A primary key waits for its replicas. Its waiting period has not begun, so there is no date. */
        key->state = has_replicas(call->kms, key) ? KEY_PENDING_REPLICA_DELETION : KEY_PENDING_DELETION;
        key->deletion_days = days;
        key->deletion = call->now + days * DAY;
        kms_reply_string(call, "KeyId", key->arn);
        kms_reply_string(call, "KeyState",
                         key->state == KEY_PENDING_DELETION ? "PendingDeletion" : "PendingReplicaDeletion");
        if (key->state == KEY_PENDING_DELETION)
                json_object_object_add(call->reply, "DeletionDate", json_object_new_int64(key->deletion));
        json_object_object_add(call->reply, "PendingWindowInDays", json_object_new_int64(days));
        return 0;
}

int platform_kms_cancel_key_deletion(KmsCall *call) {
        KmsKey *key;

        int r = platform_kms_authorized_key(call, "kms:CancelKeyDeletion", NULL, &key);
        if (r < 0)
                return r;
        if (key->state != KEY_PENDING_DELETION && key->state != KEY_PENDING_REPLICA_DELETION)
                return platform_kms_refuse(call, "KMSInvalidStateException", "%s is not pending deletion.",
                                           key->arn);
        key->state = KEY_DISABLED;
        kms_reply_string(call, "KeyId", key->arn);
        return 0;
}

static const char *const grant_operations[] = {
        "CreateGrant",
        "Decrypt",
        "DescribeKey",
        "Encrypt",
        "GenerateDataKey",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "GenerateDataKeyWithoutPlaintext",
        "ReEncryptFrom",
        "ReEncryptTo",
        "RetireGrant",
};

static int read_grant_operations(KmsCall *call, KmsGrant *grant) {
        struct json_object *list = json_member(grant->description, "Operations");
        size_t n = list && json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;

        if (n == 0)
                return platform_kms_constraint(call, NULL, "Operations", "Member must not be null");
        grant->operations = calloc(n + 1, sizeof(*grant->operations));
        if (!grant->operations)
                return platform_kms_refuse_internal(call);
        for (size_t i = 0; i < n; i++) {
                const char *operation = json_object_get_string(json_object_array_get_idx(list, i));
                for (size_t k = 0; k < ELEMENTSOF(grant_operations) && operation; k++)
                        if (strcmp(operation, grant_operations[k]) == 0)
                                grant->operations[i] = grant_operations[k];
                if (!grant->operations[i])
                        return platform_kms_constraint(
                                        call, operation, "Operations",
                                        "Member must satisfy enum value set of grant operations");
        }
        return 0;
}

/* Every operation must be one of the key's usage. The others of the list are for keys that encrypt. */
static int check_grant_operations(KmsCall *call, const KmsKey *key, const KmsGrant *grant) {
        static const char *const of_every_key[] = { "CreateGrant", "DescribeKey", "RetireGrant" };
        bool encrypts = strcmp(key->kind->usage, "ENCRYPT_DECRYPT") == 0;

        for (size_t i = 0; !encrypts && grant->operations[i]; i++) {
                bool known = false;

                for (size_t k = 0; k < ELEMENTSOF(of_every_key); k++)
                        known |= strcmp(grant->operations[i], of_every_key[k]) == 0;
                if (!known)
                        return platform_kms_refuse(call, "ValidationException",
                                                   "The operation %s is not supported for %s.",
                                                   grant->operations[i], key->arn);
        }
        return 0;
}

static int read_grant_constraint(KmsCall *call, const KmsGrant *grant, const char *name, PolicyPair **ret,
                                 size_t *ret_n) {
        struct json_object *object = json_member(json_member(grant->description, "Constraints"), name);
        size_t n = 0;

        if (!object)
                return 0;
        if (!json_object_is_type(object, json_type_object))
                return platform_kms_refuse(call, "SerializationException", "Unexpected value for %s", name);
        PolicyPair *pairs = calloc((size_t) json_object_object_length(object) + 1, sizeof(*pairs));
        if (!pairs)
                return platform_kms_refuse_internal(call);
        json_object_object_foreach(object, key, value) pairs[n++] = (PolicyPair){
                key, json_object_is_type(value, json_type_string) ? json_object_get_string(value) : ""
        };
        *ret = pairs;
        *ret_n = n;
        return 0;
}

static int make_grant(KmsCall *call, KmsGrant *grant) {
        _cleanup_free_ char *id = NULL, *token = NULL;
        const char *grantee, *retiring, *name;
        uint8_t random[32 + 90];
        int r;

        grant->description = json_object_get(call->request);
        r = platform_kms_string(call, call->request, "GranteePrincipal", true, 256, &grantee);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "RetiringPrincipal", false, 256, &retiring);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "Name", false, 256, &name);
        if (r >= 0)
                r = read_grant_operations(call, grant);
        PolicyGrant *policy_grant = &grant->policy_grant;
        if (r >= 0)
                r = read_grant_constraint(call, grant, "EncryptionContextSubset", &grant->subset,
                                          &policy_grant->n_subset);
        if (r >= 0)
                r = read_grant_constraint(call, grant, "EncryptionContextEquals", &grant->equals,
                                          &policy_grant->n_equals);
        if (r < 0)
                return r;

        if (RAND_bytes(random, sizeof(random)) <= 0 || hex_encode(random, 32, &id) < 0 ||
            base64_encode(random + 32, 90, &token) < 0)
                return platform_kms_refuse_internal(call);
        memcpy(grant->id, id, sizeof(grant->id));
        snprintf(grant->token, sizeof(grant->token), "%s", token);
        snprintf(grant->name, sizeof(grant->name), "%s", name ? name : "");
        snprintf(grant->issuer, sizeof(grant->issuer), "%s", call->caller.arn);
        grant->created = call->now;
        policy_grant->grantee_principal = grantee;
        policy_grant->retiring_principal = retiring;
        policy_grant->operations = grant->operations;
        policy_grant->subset = grant->subset;
        policy_grant->equals = grant->equals;
        return 0;
}

static void platform_kms_grant_freep(KmsGrant **grant) {
        platform_kms_grant_free(*grant);
}

int platform_kms_create_grant(KmsCall *call) {
        _cleanup_(platform_kms_grant_freep) KmsGrant *grant = calloc(1, sizeof(*grant));
        PolicyPair more[ELEMENTSOF(grant_operations) + 8] = {};
        size_t n = 0;
        KmsKey *key;

        if (!grant)
                return platform_kms_refuse_internal(call);
        int r = make_grant(call, grant);
        if (r < 0)
                return r;
        more[n++] = (PolicyPair){ "kms:GranteePrincipal", grant->policy_grant.grantee_principal };
        if (grant->policy_grant.retiring_principal)
                more[n++] = (PolicyPair){ "kms:RetiringPrincipal", grant->policy_grant.retiring_principal };
        if (grant->subset)
                more[n++] = (PolicyPair){ "kms:GrantConstraintType", "EncryptionContextSubset" };
        if (grant->equals)
                more[n++] = (PolicyPair){ "kms:GrantConstraintType", "EncryptionContextEquals" };
        more[n++] = (PolicyPair){ "kms:GrantIsForAWSResource", "false" };
        for (size_t i = 0; grant->operations[i] && n + 1 < ELEMENTSOF(more); i++)
                more[n++] = (PolicyPair){ "kms:GrantOperations", grant->operations[i] };
        r = platform_kms_authorized_key(call, "kms:CreateGrant", more, &key);
        if (r >= 0)
                r = platform_kms_key_check_state(call, key);
        if (r >= 0)
                r = check_grant_operations(call, key, grant);
        if (r >= 0)
                r = platform_kms_check_dry_run(call);
        if (r < 0)
                return r;

        KmsGrant **grown = realloc(key->grants, (key->n_grants + 1) * sizeof(KmsGrant *));
        if (!grown)
                return platform_kms_refuse_internal(call);
        key->grants = grown;
        kms_reply_string(call, "GrantId", grant->id);
        kms_reply_string(call, "GrantToken", grant->token);
        key->grants[key->n_grants++] = TAKE_PTR(grant);
        return 0;
}

static struct json_object *describe_grant(const KmsKey *key, const KmsGrant *grant) {
        static const char *const copied[] = { "GranteePrincipal", "RetiringPrincipal", "Operations",
                                              "Constraints" };
        struct json_object *entry = json_object_new_object();

        add_string(entry, "KeyId", key->arn);
        add_string(entry, "GrantId", grant->id);
        add_string(entry, "Name", grant->name);
        add_string(entry, "IssuingAccount", grant->issuer);
        json_object_object_add(entry, "CreationDate", json_object_new_int64(grant->created));
        for (size_t i = 0; i < ELEMENTSOF(copied); i++) {
                struct json_object *value = json_member(grant->description, copied[i]);
                if (value)
                        json_object_object_add(entry, copied[i], json_object_get(value));
        }
        return entry;
}

int platform_kms_page(KmsCall *call, size_t n, size_t *ret_begin, size_t *ret_end) {
        const char *marker;
        int64_t limit;
        char *end = NULL;
        unsigned long begin;

        int r = platform_kms_integer(call, "Limit", 1, 100, 50, &limit);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "Marker", false, 1024, &marker);
        if (r < 0)
                return r;
        /* A marker of KMS tells nothing. This one is a position. */
        begin = marker && strncmp(marker, "platform-", 9) == 0 ? strtoul(marker + 9, &end, 10) : 0;
        if (marker && (!end || *end || begin >= n))
                return platform_kms_refuse(call, "InvalidMarkerException", "The marker is not valid.");
        *ret_begin = begin;
        *ret_end = n - begin > (size_t) limit ? begin + (size_t) limit : n;
        json_object_object_add(call->reply, "Truncated", json_object_new_boolean(*ret_end < n));
        if (*ret_end < n) {
                char text[40];

                snprintf(text, sizeof(text), "platform-%zu", *ret_end);
                kms_reply_string(call, "NextMarker", text);
        }
        return 0;
}

/* GrantId and GranteePrincipal choose grants. */
static int choose_grants(KmsCall *call, const KmsKey *key, const KmsGrant **chosen, size_t *ret_n) {
        const char *id, *grantee;
        size_t n = 0;

        int r = platform_kms_string(call, call->request, "GrantId", false, 128, &id);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "GranteePrincipal", false, 256, &grantee);
        for (size_t i = 0; r >= 0 && i < key->n_grants; i++)
                if ((!id || strcmp(key->grants[i]->id, id) == 0) &&
                    (!grantee || strcmp(key->grants[i]->policy_grant.grantee_principal, grantee) == 0))
                        chosen[n++] = key->grants[i];
        *ret_n = n;
        return r;
}

int platform_kms_list_grants(KmsCall *call) {
        _cleanup_free_ const KmsGrant **chosen = NULL;
        struct json_object *list = json_object_new_array();
        size_t n, begin, end;
        KmsKey *key;

        json_object_object_add(call->reply, "Grants", list);
        int r = platform_kms_authorized_key(call, "kms:ListGrants", NULL, &key);
        if (r < 0)
                return r;
        chosen = calloc(key->n_grants + 1, sizeof(*chosen));
        if (!chosen)
                return platform_kms_refuse_internal(call);
        r = choose_grants(call, key, chosen, &n);
        if (r >= 0)
                r = platform_kms_page(call, n, &begin, &end);
        for (size_t i = begin; r >= 0 && i < end; i++)
                json_object_array_add(list, describe_grant(key, chosen[i]));
        return r;
}

static int remove_grant(KmsCall *call, KmsKey *key, size_t index) {
        int r = platform_kms_check_dry_run(call);
        if (r < 0)
                return r;

        platform_kms_grant_free(key->grants[index]);
        key->grants[index] = key->grants[--key->n_grants];
        return 0;
}

int platform_kms_revoke_grant(KmsCall *call) {
        const char *id;
        KmsKey *key;

        int r = platform_kms_string(call, call->request, "GrantId", true, 128, &id);
        if (r >= 0)
                r = platform_kms_authorized_key(call, "kms:RevokeGrant", NULL, &key);
        if (r < 0)
                return r;
        for (size_t i = 0; i < key->n_grants; i++)
                if (strcmp(key->grants[i]->id, id) == 0)
                        return remove_grant(call, key, i);
        return platform_kms_refuse(call, "NotFoundException", "Grant ID %s not found", id);
}

static int retire(KmsCall *call, KmsKey *key, size_t index) {
        const Principal *caller = call->caller.principal;
        const PolicyPrincipal principal = {
                .account = caller->account,
                .arn = caller->arn,
                .session_arn = caller->kind == PRINCIPAL_ROLE ? call->caller.arn : NULL,
                .unique_id = caller->id,
        };

        if (!policy_grant_lets_retire(&key->grants[index]->policy_grant, &principal)) {
                int r = platform_kms_authorize(
                                call, &(const KmsQuestion){ "kms:RetireGrant", key, key->arn, NULL, NULL });
                if (r < 0)
                        return r;
        }
        return remove_grant(call, key, index);
}

/* A request names the grant by GrantToken, or by KeyId and GrantId. */
int platform_kms_retire_grant(KmsCall *call) {
        const char *token, *id;

        int r = platform_kms_string(call, call->request, "GrantToken", false, 8192, &token);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "GrantId", !token, 128, &id);
        if (r < 0)
                return r;
        for (size_t k = 0; k < call->kms->n_keys; k++)
                for (size_t i = 0; i < call->kms->keys[k]->n_grants; i++) {
                        const KmsGrant *grant = call->kms->keys[k]->grants[i];
                        if (token ? strcmp(grant->token, token) == 0 : strcmp(grant->id, id) == 0)
                                return retire(call, call->kms->keys[k], i);
                }
        return platform_kms_refuse(call, "NotFoundException", "Grant not found");
}
