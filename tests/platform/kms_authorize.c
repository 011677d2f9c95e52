/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kms_internal.h"

static PolicyPrincipal principal_of(const KmsCall *call) {
        const Principal *principal = call->caller.principal;

        return (PolicyPrincipal){
                .account = principal->account,
                .arn = principal->arn,
                .session_arn = principal->kind == PRINCIPAL_ROLE ? call->caller.arn : NULL,
                .unique_id = principal->id,
        };
}

static int add_network(const KmsCall *call, PolicyContext *context) {
        const char *agent = platform_sigv4_header(&call->exchange->request, "User-Agent"),
                   *endpoint = call->kms->vpc_endpoint;
        int r;

        /* A request through a VPC endpoint has no aws:SourceIp. */
        r = *endpoint ? policy_context_add(context, "aws:SourceVpce", endpoint)
                      : policy_context_add(context, "aws:SourceIp", call->exchange->source);
        if (r >= 0 && *endpoint)
                r = policy_context_add(context, "aws:VpcSourceIp", call->exchange->source);
        if (r >= 0 && agent)
                r = policy_context_add(context, "aws:UserAgent", agent);
        if (r >= 0)
                r = policy_context_add_bool(context, "aws:SecureTransport", true);
        return r < 0 ? r : policy_context_add(context, "aws:RequestedRegion", call->region);
}

static int add_time(const KmsCall *call, PolicyContext *context) {
        char text[TIME_TEXT_SIZE], epoch[32];

        format_time(call->now, text);
        snprintf(epoch, sizeof(epoch), "%lld", (long long) call->now);
        int r = policy_context_add(context, "aws:CurrentTime", text);
        return r < 0 ? r : policy_context_add(context, "aws:EpochTime", epoch);
}

static int add_key(const KmsCall *call, const KmsQuestion *question, PolicyContext *context) {
        const KmsKey *key = question->key;
        const char *name = question->key_name;
        int r;

        r = policy_context_add(context, "aws:ResourceAccount", key->account);
        if (r >= 0)
                r = policy_context_add(context, "kms:KeySpec", key->kind->spec);
        if (r >= 0)
                r = policy_context_add(context, "kms:KeyUsage", key->kind->usage);
        if (r >= 0)
                r = policy_context_add(context, "kms:KeyOrigin", key->external ? "EXTERNAL" : "AWS_KMS");
        if (r >= 0)
                r = policy_context_add_bool(context, "kms:MultiRegion", key->multi_region);
        if (r >= 0 && key->multi_region)
                r = policy_context_add(context, "kms:MultiRegionKeyType",
                                       key->primary ? "REPLICA" : "PRIMARY");
        for (size_t i = 0; i < call->kms->n_aliases && r >= 0; i++)
                if (call->kms->aliases[i].key == key)
                        r = policy_context_add(context, "kms:ResourceAliases", call->kms->aliases[i].name);
        if (r >= 0 && name && strstr(name, "alias/"))
                r = policy_context_add(context, "kms:RequestAlias", strstr(name, "alias/"));
        return r;
}

static int add_recipient(const KmsCall *call, PolicyContext *context) {
        int r = 0;

        for (unsigned i = 0; call->attested && i < ATTESTOR_PCRS && r >= 0; i++)
                if (call->facts.pcrs_present >> i & 1)
                        r = policy_context_add_pcr(context, i, call->facts.pcrs[i], ATTESTOR_PCR_SIZE);
        return r;
}

static int add_encryption_context(struct json_object *object, PolicyContext *context) {
        int r = 0;

        if (!object)
                return 0;
        json_object_object_foreach(object, key, value) {
                r = policy_context_add_encryption_context(context, key, json_object_get_string(value));
                if (r < 0)
                        break;
        }
        return r;
}

static int make_context(const KmsCall *call, const KmsQuestion *question, PolicyContext **ret) {
        _cleanup_(policy_context_freep) PolicyContext *context = NULL;
        PolicyPrincipal principal = principal_of(call);
        const char *organization = call->caller.principal->organization;
        int r;

        r = policy_context_new(&principal, &context);
        if (r >= 0 && organization)
                r = policy_context_add(context, "aws:PrincipalOrgID", organization);
        if (r >= 0)
                r = add_network(call, context);
        if (r >= 0)
                r = add_time(call, context);
        if (r >= 0 && question->key)
                r = add_key(call, question, context);
        if (r >= 0)
                r = add_recipient(call, context);
        if (r >= 0)
                r = add_encryption_context(question->context, context);
        for (const PolicyPair *pair = question->more; pair && pair->key && r >= 0; pair++)
                if (pair->value)
                        r = policy_context_add(context, pair->key, pair->value);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(context);
        return 0;
}

static const char *denial_reason(const PolicyDecision *decision) {
        switch (decision->outcome) {
        case POLICY_DENIED_BY_IDENTITY:
                return "with an explicit deny in an identity-based policy";
        case POLICY_NO_IDENTITY_ALLOWS:
                return "because no identity-based policy allows the %s action";
        case POLICY_DENIED_BY_KEY_POLICY:
                if (!decision->cross_account)
                        return "with an explicit deny in a resource-based policy";
                break;
        default:
                if (!decision->cross_account)
                        return "because no resource-based policy allows the %s action";
        }
        /* The message does not reveal which of these is true. */
        return "because the resource does not exist in this Region, no resource-based policies allow "
               "access, or a "
               "resource-based policy explicitly denies access";
}

static int refuse_access(KmsCall *call, const char *action, const char *resource, const char *reason) {
        const char *where = strstr(reason, "%s");

        return platform_kms_refuse(
                        call, "AccessDeniedException",
                        "User: %s is not authorized to perform: %s on %s%s %.*s%s%s", call->caller.arn,
                        action, resource ? "resource: " : "the resource associated with this ciphertext",
                        resource ? resource : "", where ? (int) (where - reason) : (int) strlen(reason),
                        reason, where ? action : "", where ? where + strlen("%s") : "");
}

int platform_kms_refuse_foreign(KmsCall *call, const char *action, const char *arn) {
        const PolicyDecision decision = { .cross_account = true, .outcome = POLICY_NO_KEY_POLICY_ALLOWS };

        return refuse_access(call, action, arn, denial_reason(&decision));
}

int platform_kms_authorize(KmsCall *call, const KmsQuestion *question) {
        _cleanup_(policy_context_freep) PolicyContext *context = NULL;
        const Principal *caller = call->caller.principal;
        const KmsKey *key = question->key;
        PolicyPrincipal principal = principal_of(call);
        size_t n_grants = key ? key->n_grants : 0;
        _cleanup_free_ PolicyGrant *grants = calloc(n_grants + 1, sizeof(*grants));

        if (key)
                platform_kms_key_expire(call, question->key);
        if (!grants || make_context(call, question, &context) < 0)
                return platform_kms_refuse_internal(call);
        for (size_t i = 0; i < n_grants; i++)
                grants[i] = key->grants[i]->policy_grant;
        if (key) {
                memcpy(call->resource, key->arn, sizeof(call->resource));
                memcpy(call->resource_account, key->account, sizeof(call->resource_account));
        }

        const PolicySet set = {
                .key_policy = key ? key->policy : NULL,
                .identity_policies = (const Policy *const *) caller->policies,
                .n_identity_policies = caller->n_policies,
                .grants = grants,
                .n_grants = n_grants,
        };
        const PolicyRequest request = {
                .action = question->action,
                .resource = key ? key->arn : "*",
                .principal = &principal,
                .context = context,
        };
        PolicyDecision decision = policy_decide(&set, &request);
        if (decision.allowed)
                return 0;
        return refuse_access(call, question->action, key && !question->key_name ? NULL : request.resource,
                             denial_reason(&decision));
}

int platform_kms_check_lockout(KmsCall *call, const Policy *policy, const char *key_arn, bool *ret) {
        _cleanup_(policy_context_freep) PolicyContext *context = NULL;
        const KmsQuestion question = { .action = "kms:PutKeyPolicy" };
        PolicyPrincipal principal = principal_of(call);

        if (make_context(call, &question, &context) < 0)
                return -ENOMEM;
        *ret = policy_lets_caller_put_policy(policy, &(const PolicyRequest){
                                                                     .action = question.action,
                                                                     .resource = key_arn,
                                                                     .principal = &principal,
                                                                     .context = context,
                                                     });
        return 0;
}
