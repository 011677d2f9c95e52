/* SPDX-License-Identifier: Apache-2.0 */

/* What shows how a key lives: its aliases, its replicas, its rotation and its last use. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kms_internal.h"

#define DAY (24 * 60 * 60)
#define ROTATION_DAYS 365

static void add_string(struct json_object *object, const char *name, const char *value) {
        json_object_object_add(object, name, json_object_new_string(value));
}

static void add_time(struct json_object *object, const char *name, int64_t seconds) {
        json_object_object_add(object, name, json_object_new_int64(seconds));
}

/* These operations do not work across accounts. */
static int check_own(KmsCall *call, const char *action, const KmsKey *key) {
        return strcmp(key->account, call->caller.principal->account) == 0
                               ? 0
                               : platform_kms_refuse_foreign(call, action, key->arn);
}

/* Some operations take the ID or ARN of a key, but no alias. */
static int key_without_alias(KmsCall *call, const char *action, KmsKey **ret) {
        const char *name;

        int r = platform_kms_string(call, call->request, "KeyId", true, 2048, &name);
        if (r >= 0 && strstr(name, "alias/"))
                r = platform_kms_refuse(call, "NotFoundException", "Invalid keyId '%s'", name);
        if (r >= 0)
                r = platform_kms_authorized_key(call, action, NULL, ret);
        return r < 0 ? r : check_own(call, action, *ret);
}

static struct json_object *describe_alias(const KmsAlias *alias) {
        struct json_object *entry = json_object_new_object();
        char arn[512];

        snprintf(arn, sizeof(arn), "arn:aws:kms:%s:%s:%s", alias->key->region, alias->account, alias->name);
        add_string(entry, "AliasName", alias->name);
        add_string(entry, "AliasArn", arn);
        add_string(entry, "TargetKeyId", alias->key->id);
        add_time(entry, "CreationDate", alias->created);
        add_time(entry, "LastUpdatedDate", alias->created);
        return entry;
}

/* An identity policy decides alone. The aliases are those of the caller's account and of the Region. */
int platform_kms_list_aliases(KmsCall *call) {
        const Kms *kms = call->kms;
        struct json_object *list = json_object_new_array();
        _cleanup_free_ const KmsAlias **chosen = calloc(kms->n_aliases + 1, sizeof(*chosen));
        size_t n = 0, begin, end;
        const char *name;
        KmsKey *key = NULL;
        int r;

        json_object_object_add(call->reply, "Aliases", list);
        if (!chosen)
                return platform_kms_refuse_internal(call);
        r = platform_kms_authorize(call,
                                   &(const KmsQuestion){ .action = "kms:ListAliases", .key_name = "*" });
        if (r >= 0)
                r = platform_kms_string(call, call->request, "KeyId", false, 2048, &name);
        if (r >= 0 && name)
                r = platform_kms_key_resolve(call, "kms:ListAliases", name, &key);
        if (r >= 0 && key)
                r = check_own(call, "kms:ListAliases", key);
        for (size_t i = 0; r >= 0 && i < kms->n_aliases; i++)
                if (strcmp(kms->aliases[i].account, call->caller.principal->account) == 0 &&
                    strcmp(kms->aliases[i].key->region, call->region) == 0 &&
                    (!key || kms->aliases[i].key == key))
                        chosen[n++] = &kms->aliases[i];
        if (r >= 0)
                r = platform_kms_page(call, n, &begin, &end);
        for (size_t i = begin; r >= 0 && i < end; i++)
                json_object_array_add(list, describe_alias(chosen[i]));
        return r;
}

/* Automatic rotation is for symmetric key material that KMS has made. A replica has that of its primary key. */
static int rotatable_key(KmsCall *call, const char *action, KmsKey **ret) {
        int r = key_without_alias(call, action, ret);

        if (r >= 0)
                r = platform_kms_key_check_state(call, *ret);
        if (r >= 0 &&
            ((*ret)->external || (*ret)->primary || strcmp((*ret)->kind->usage, "ENCRYPT_DECRYPT") != 0))
                r = platform_kms_refuse(call, "UnsupportedOperationException",
                                        "The operation is not supported for %s.", (*ret)->arn);
        return r;
}

int platform_kms_enable_key_rotation(KmsCall *call) {
        int64_t days;
        KmsKey *key;

        int r = platform_kms_integer(call, "RotationPeriodInDays", 90, 2560, ROTATION_DAYS, &days);
        if (r >= 0)
                r = rotatable_key(call, "kms:EnableKeyRotation", &key);
        if (r >= 0)
                key->rotation_days = days;
        return r;
}

int platform_kms_disable_key_rotation(KmsCall *call) {
        KmsKey *key;

        int r = rotatable_key(call, "kms:DisableKeyRotation", &key);
        if (r >= 0)
                key->rotation_days = 0;
        return r;
}

int platform_kms_get_key_rotation_status(KmsCall *call) {
        const KmsKey *source;
        KmsKey *key;
        bool enabled;

        int r = key_without_alias(call, "kms:GetKeyRotationStatus", &key);
        if (r >= 0 && key->state == KEY_PENDING_IMPORT)
                r = platform_kms_key_check_state(call, key);
        if (r < 0)
                return r;
        source = key->primary ? key->primary : key;
        /* The setting is kept while the key waits for its deletion, but the status is false. */
        enabled = source->rotation_days > 0 && key->state != KEY_PENDING_DELETION;
        kms_reply_string(call, "KeyId", key->arn);
        json_object_object_add(call->reply, "KeyRotationEnabled", json_object_new_boolean(enabled));
        if (enabled) {
                json_object_object_add(call->reply, "RotationPeriodInDays",
                                       json_object_new_int64(source->rotation_days));
                add_time(call->reply, "NextRotationDate", source->created + source->rotation_days * DAY);
        }
        return 0;
}

/* KMS records uses since this time. */
#define TRACKING_SINCE INT64_C(1764547200)

int platform_kms_get_key_last_usage(KmsCall *call) {
        struct json_object *usage;
        KmsKey *key;

        int r = key_without_alias(call, "kms:GetKeyLastUsage", &key);
        if (r < 0)
                return r;
        kms_reply_string(call, "KeyId", key->arn);
        add_time(call->reply, "KeyCreationDate", key->created);
        add_time(call->reply, "TrackingStartDate", TRACKING_SINCE);
        if (!key->last_operation)
                return 0;
        usage = json_object_new_object();
        add_string(usage, "Operation", key->last_operation);
        add_time(usage, "Timestamp", key->last_used);
        add_string(usage, "CloudTrailEventId", key->last_event);
        add_string(usage, "KmsRequestId", key->last_request);
        json_object_object_add(call->reply, "KeyLastUsage", usage);
        return 0;
}

/* Checks that the key may get a replica in the Region. */
static int check_replica(KmsCall *call, const KmsKey *key, const char *region) {
        const Kms *kms = call->kms;
        int r = platform_kms_key_check_state(call, key);

        if (r < 0)
                return r;
        if (!key->multi_region || key->primary)
                return platform_kms_refuse(call, "UnsupportedOperationException",
                                           "%s is not a multi-Region primary key.", key->arn);
        if (strcmp(region, kms->other_region) != 0)
                return platform_kms_constraint(call, region, "ReplicaRegion",
                                               "Member must be another Region of the platform");
        return platform_kms_key_by_id(call->kms, region, key->id_bytes)
                               ? platform_kms_refuse(call, "AlreadyExistsException",
                                                     "A replica exists in %s already.", region)
                               : 0;
}

/* The caller also needs kms:CreateKey in the Region of the replica (ReplicateKey, required permissions). */
static int check_may_create(KmsCall *call, const char *region) {
        const char *asked = call->region;
        int r;

        call->region = region;
        r = platform_kms_authorize(call, &(const KmsQuestion){ .action = "kms:CreateKey", .key_name = "*" });
        call->region = asked;
        return r;
}

int platform_kms_replicate_key(KmsCall *call) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_free_ char *policy_text = NULL;
        const char *region, *text;
        KmsKey *key, *replica;
        int r;

        r = platform_kms_string(call, call->request, "ReplicaRegion", true, 32, &region);
        if (r >= 0)
                r = platform_kms_string(call, call->request, "Policy", false, 4 * POLICY_KEY_SIZE_MAX,
                                        &text);
        if (r < 0)
                return r;
        const PolicyPair more[] = { { "kms:ReplicaRegion", region }, {} };
        r = platform_kms_authorized_key(call, "kms:ReplicateKey", more, &key);
        if (r >= 0)
                r = check_own(call, "kms:ReplicateKey", key);
        if (r >= 0)
                r = check_replica(call, key, region);
        if (r >= 0)
                r = check_may_create(call, region);
        if (r < 0)
                return r;
        if (text)
                policy_text = strdup(text);
        else if (platform_kms_default_policy(call, &policy_text) < 0)
                policy_text = NULL;
        if (!policy_text)
                return platform_kms_refuse_internal(call);
        r = platform_kms_read_policy(call, policy_text, key->arn, &policy);
        if (r < 0)
                return r;
        if (platform_kms_key_new(call, true, key, call->kms->other_region, &replica) < 0)
                return platform_kms_refuse_internal(call);
        replica->primary = key;
        replica->policy = TAKE_PTR(policy);
        replica->policy_text = TAKE_PTR(policy_text);
        platform_kms_reply_metadata(call, "ReplicaKeyMetadata", replica);
        kms_reply_string(call, "ReplicaPolicy", replica->policy_text);
        return 0;
}
