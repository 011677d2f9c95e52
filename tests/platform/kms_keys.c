/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/encoding.h"
#include "kms_internal.h"

/* Reads the 16 bytes of a UUID, or of a multi-Region key's ID: mrk- and 32 digits. */
static int read_key_id(const char *text, uint8_t ret[static KMS_KEY_ID_SIZE]) {
        char hex[2 * KMS_KEY_ID_SIZE + 1];
        size_t n = 0;

        if (strncmp(text, "mrk-", 4) == 0)
                return strlen(text) == 4 + 2 * KMS_KEY_ID_SIZE ? hex_decode(text + 4, ret, KMS_KEY_ID_SIZE)
                                                               : -EINVAL;
        if (strlen(text) != UUID_SIZE - 1)
                return -EINVAL;
        for (size_t i = 0; text[i]; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;
                if (dash != (text[i] == '-'))
                        return -EINVAL;
                if (!dash)
                        hex[n++] = text[i];
        }
        hex[n] = '\0';
        return hex_decode(hex, ret, KMS_KEY_ID_SIZE);
}

static void key_free(KmsKey *key) {
        if (!key)
                return;
        for (size_t i = 0; i < key->n_grants; i++)
                platform_kms_grant_free(key->grants[i]);
        free(key->grants);
        policy_free(key->policy);
        free(key->policy_text);
        free(key->description);
        EVP_PKEY_free(key->pair);
        platform_kms_import_clear(key);
        OPENSSL_cleanse(key->material, sizeof(key->material));
        free(key);
}
DEFINE_CLEANUP(KmsKey *, key_free);

void platform_kms_grant_free(KmsGrant *grant) {
        if (grant) {
                json_object_put(grant->description);
                free(grant->operations);
                free(grant->subset);
                free(grant->equals);
                free(grant);
        }
}

/* A replica has the ID and the material of its primary key. */
static int name_key(const Kms *kms, const KmsKey *primary, KmsKey *key) {
        const unsigned number = (unsigned) kms->n_keys;
        uint8_t uuid[16];

        if (primary) {
                memcpy(key->material, primary->material, sizeof(key->material));
                memcpy(key->id, primary->id, sizeof(key->id));
                return 0;
        }
        if (seed_bytes(kms->seed, "KMS key", number, key->material, sizeof(key->material)) < 0 ||
            seed_bytes(kms->seed, "KMS key's name", number, uuid, sizeof(uuid)) < 0)
                return -EIO;
        format_uuid(uuid, key->id);
        if (key->multi_region) {
                _cleanup_free_ char *hex = NULL;

                if (hex_encode(uuid, sizeof(uuid), &hex) < 0)
                        return -ENOMEM;
                snprintf(key->id, sizeof(key->id), "mrk-%s", hex);
        }
        return 0;
}

int platform_kms_key_new(KmsCall *call, bool multi_region, const KmsKey *primary, const char *region,
                         KmsKey **ret) {
        Kms *kms = call->kms;
        _cleanup_(key_freep) KmsKey *key = calloc(1, sizeof(*key));

        if (!key)
                return -ENOMEM;
        key->kind = platform_kms_kind_find("SYMMETRIC_DEFAULT", NULL);
        key->multi_region = multi_region;
        key->region = region;
        int r = name_key(kms, primary, key);
        if (r < 0)
                return r;
        strcpy(key->account, call->caller.principal->account);
        snprintf(key->arn, sizeof(key->arn), "arn:aws:kms:%s:%s:key/%s", region, key->account, key->id);
        key->created = call->now;
        r = read_key_id(key->id, key->id_bytes);
        if (r < 0)
                return r;

        KmsKey **grown = realloc(kms->keys, (kms->n_keys + 1) * sizeof(KmsKey *));
        if (!grown)
                return -ENOMEM;
        kms->keys = grown;
        *ret = kms->keys[kms->n_keys++] = TAKE_PTR(key);
        return 0;
}

void platform_kms_keys_clear(Kms *kms) {
        for (size_t i = 0; i < kms->n_keys; i++)
                key_free(kms->keys[i]);
        free(kms->keys);
        free(kms->aliases);
}

KmsKey *platform_kms_key_by_id(Kms *kms, const char *region, const uint8_t id[static KMS_KEY_ID_SIZE]) {
        for (size_t i = 0; i < kms->n_keys; i++)
                if (memcmp(kms->keys[i]->id_bytes, id, KMS_KEY_ID_SIZE) == 0 &&
                    strcmp(kms->keys[i]->region, region) == 0)
                        return kms->keys[i];
        return NULL;
}

const KmsAlias *platform_kms_alias_find(const KmsCall *call, const char *account, const char *name) {
        const Kms *kms = call->kms;

        for (size_t i = 0; i < kms->n_aliases; i++)
                if (strcmp(kms->aliases[i].account, account) == 0 &&
                    strcmp(kms->aliases[i].key->region, call->region) == 0 &&
                    strcmp(kms->aliases[i].name, name) == 0)
                        return &kms->aliases[i];
        return NULL;
}

int platform_kms_alias_add(const KmsCall *call, const char *account, const char *name, KmsKey *key) {
        Kms *kms = call->kms;
        KmsAlias *grown = realloc(kms->aliases, (kms->n_aliases + 1) * sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        kms->aliases = grown;
        KmsAlias *alias = &kms->aliases[kms->n_aliases++];
        *alias = (KmsAlias){ .key = key, .created = call->now };
        snprintf(alias->account, sizeof(alias->account), "%s", account);
        snprintf(alias->name, sizeof(alias->name), "%s", name);
        return 0;
}

/* Reads arn:aws:kms:REGION:ACCOUNT:REST. The Region must be this service's. */
static int read_arn(KmsCall *call, const char *arn, char account[static ACCOUNT_ID_SIZE],
                    const char **ret_rest) {
        static const char start[] = "arn:aws:kms:";
        const char *region = arn + strlen(start);
        size_t region_length, account_length;

        if (strncmp(arn, start, strlen(start)) != 0)
                return platform_kms_refuse(call, "NotFoundException", "Invalid arn %s", arn);
        region_length = strcspn(region, ":");
        if (strlen(call->region) != region_length || strncmp(region, call->region, region_length) != 0)
                return platform_kms_refuse(call, "NotFoundException", "Invalid arn %.*s",
                                           (int) region_length, region);

        const char *owner = region + region_length + (region[region_length] == ':');
        account_length = strcspn(owner, ":");
        if (account_length != ACCOUNT_ID_SIZE - 1 || owner[account_length] != ':')
                return platform_kms_refuse(call, "NotFoundException", "Invalid arn %s", arn);
        memcpy(account, owner, account_length);
        account[account_length] = '\0';
        *ret_rest = owner + account_length + 1;
        return 0;
}

static int refuse_missing(KmsCall *call, const char *action, const char *account, const char *rest) {
        char arn[512];

        snprintf(arn, sizeof(arn), "arn:aws:kms:%s:%s:%s", call->region, account, rest);
        if (strcmp(account, call->caller.principal->account) != 0)
                return platform_kms_refuse_foreign(call, action, arn);
        if (strncmp(rest, "alias/", strlen("alias/")) == 0)
                return platform_kms_refuse(call, "NotFoundException", "Alias %s is not found.", arn);
        return platform_kms_refuse(call, "NotFoundException", "Key '%s' does not exist", arn);
}

int platform_kms_key_resolve(KmsCall *call, const char *action, const char *name, KmsKey **ret) {
        char account[ACCOUNT_ID_SIZE], rest_buffer[320];
        uint8_t id[KMS_KEY_ID_SIZE];
        const char *rest = name;
        KmsKey *key = NULL;

        if (strncmp(name, "arn:", strlen("arn:")) == 0) {
                int r = read_arn(call, name, account, &rest);
                if (r < 0)
                        return r;
        } else {
                strcpy(account, call->caller.principal->account);
                if (strncmp(name, "alias/", strlen("alias/")) != 0) {
                        snprintf(rest_buffer, sizeof(rest_buffer), "key/%.300s", name);
                        rest = rest_buffer;
                }
        }

        if (strncmp(rest, "alias/", strlen("alias/")) == 0) {
                const KmsAlias *alias = platform_kms_alias_find(call, account, rest);
                key = alias ? alias->key : NULL;
        } else if (strncmp(rest, "key/", strlen("key/")) != 0 || read_key_id(rest + strlen("key/"), id) < 0)
                return platform_kms_refuse(call, "NotFoundException", "Invalid keyId '%s'", name);
        else
                key = platform_kms_key_by_id(call->kms, call->region, id);

        if (!key || strcmp(key->account, account) != 0)
                return refuse_missing(call, action, account, rest);
        *ret = key;
        return 0;
}

int platform_kms_key_check_state(KmsCall *call, const KmsKey *key) {
        if (key->state == KEY_DISABLED)
                return platform_kms_refuse(call, "DisabledException", "%s is disabled.", key->arn);
        if (key->state == KEY_PENDING_DELETION || key->state == KEY_PENDING_REPLICA_DELETION)
                return platform_kms_refuse(call, "KMSInvalidStateException", "%s is pending deletion.",
                                           key->arn);
        if (key->state == KEY_PENDING_IMPORT)
                return platform_kms_refuse(call, "KMSInvalidStateException", "%s is pending import.",
                                           key->arn);
        return 0;
}

void platform_kms_key_used(const KmsCall *call, KmsKey *key) {
        key->last_operation = call->operation_name;
        key->last_used = call->now;
        memcpy(key->last_event, call->event_id, sizeof(key->last_event));
        memcpy(key->last_request, call->request_id, sizeof(key->last_request));
}
