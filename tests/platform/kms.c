/* SPDX-License-Identifier: Apache-2.0 */

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "basic/clock.h"
#include "basic/encoding.h"
#include "kms_internal.h"
#include "misbehave.h"

static const struct {
        const char *name;
        KmsOperation run;
        bool recipient; /* takes an attestation document */
        bool read_only; /* CloudTrail's readOnly */
} operations[] = {
        { "CancelKeyDeletion", platform_kms_cancel_key_deletion, false, false },
        { "CreateAlias", platform_kms_create_alias, false, false },
        { "CreateGrant", platform_kms_create_grant, false, false },
        { "CreateKey", platform_kms_create_key, false, false },
        { "Decrypt", platform_kms_decrypt, true, true },
        { "DeleteImportedKeyMaterial", platform_kms_delete_imported_key_material, false, false },
        { "DeriveSharedSecret", platform_kms_derive_shared_secret, true, true },
        { "DescribeKey", platform_kms_describe_key, false, true },
        { "DisableKey", platform_kms_disable_key, false, false },
        { "DisableKeyRotation", platform_kms_disable_key_rotation, false, false },
        { "EnableKey", platform_kms_enable_key, false, false },
        { "EnableKeyRotation", platform_kms_enable_key_rotation, false, false },
        { "Encrypt", platform_kms_encrypt, false, true },
        { "GenerateDataKey", platform_kms_generate_data_key, true, true },
        { "GenerateDataKeyPair", platform_kms_generate_data_key_pair, true, true },
        { "GenerateDataKeyPairWithoutPlaintext", platform_kms_generate_data_key_pair, false, true },
        { "GenerateDataKeyWithoutPlaintext", platform_kms_generate_data_key, false, true },
        { "GenerateMac", platform_kms_generate_mac, false, true },
        { "GenerateRandom", platform_kms_generate_random, true, true },
        { "GetKeyLastUsage", platform_kms_get_key_last_usage, false, true },
        { "GetKeyPolicy", platform_kms_get_key_policy, false, true },
        { "GetKeyRotationStatus", platform_kms_get_key_rotation_status, false, true },
        { "GetParametersForImport", platform_kms_get_parameters_for_import, false, true },
        { "ImportKeyMaterial", platform_kms_import_key_material, false, false },
        { "ListAliases", platform_kms_list_aliases, false, true },
        { "GetPublicKey", platform_kms_get_public_key, false, true },
        { "ListGrants", platform_kms_list_grants, false, true },
        { "PutKeyPolicy", platform_kms_put_key_policy, false, false },
        { "ReEncrypt", platform_kms_re_encrypt, false, true },
        { "ReplicateKey", platform_kms_replicate_key, false, false },
        { "RetireGrant", platform_kms_retire_grant, false, false },
        { "RevokeGrant", platform_kms_revoke_grant, false, false },
        { "ScheduleKeyDeletion", platform_kms_schedule_key_deletion, false, false },
        { "Sign", platform_kms_sign, false, true },
        { "Verify", platform_kms_verify, false, true },
        { "VerifyMac", platform_kms_verify_mac, false, true },
};

int platform_kms_new(const KmsOptions *options, Kms **ret) {
        Kms *kms = calloc(1, sizeof(*kms));

        if (!kms)
                return -ENOMEM;
        snprintf(kms->region, sizeof(kms->region), "%s", options->region);
        snprintf(kms->other_region, sizeof(kms->other_region), "%s", options->other_region);
        kms->accounts = options->accounts;
        kms->attestor = options->attestor;
        kms->faults = options->faults;
        kms->trail = options->trail;
        kms->seed = options->seed;
        pthread_mutex_init(&kms->mutex, NULL);
        *ret = kms;
        return 0;
}

Kms *platform_kms_free(Kms *kms) {
        if (kms) {
                platform_kms_keys_clear(kms);
                pthread_mutex_destroy(&kms->mutex);
                free(kms);
        }
        return NULL;
}

void platform_kms_set_rate(Kms *kms, unsigned rate) {
        pthread_mutex_lock(&kms->mutex);
        kms->rate = rate;
        kms->tokens = rate;
        pthread_mutex_unlock(&kms->mutex);
}

void platform_kms_set_vpc_endpoint(Kms *kms, const char *endpoint) {
        pthread_mutex_lock(&kms->mutex);
        snprintf(kms->vpc_endpoint, sizeof(kms->vpc_endpoint), "%s", endpoint);
        pthread_mutex_unlock(&kms->mutex);
}

int platform_kms_refuse(KmsCall *call, const char *code, const char *format, ...) {
        va_list arguments;

        call->code = code;
        va_start(arguments, format);
        vsnprintf(call->message, sizeof(call->message), format, arguments);
        va_end(arguments);
        return -EBADMSG;
}

int platform_kms_refuse_internal(KmsCall *call) {
        return platform_kms_refuse(call, "KMSInternalException", "The platform failed within.");
}

/* KMS's validation messages write "keyId" for "KeyId". */
int platform_kms_constraint(KmsCall *call, const char *value, const char *name, const char *constraint) {
        char quoted[256] = "null";

        if (value)
                snprintf(quoted, sizeof(quoted), "'%.200s'", value);
        return platform_kms_refuse(
                        call, "ValidationException",
                        "1 validation error detected: Value %s at '%c%s' failed to satisfy constraint: %s",
                        quoted, tolower((unsigned char) name[0]), name + 1, constraint);
}

static int refuse_type(KmsCall *call, const char *name) {
        return platform_kms_refuse(call, "SerializationException", "Unexpected value for %s", name);
}

int platform_kms_string(KmsCall *call, struct json_object *object, const char *name, bool required,
                        size_t maximum, const char **ret) {
        struct json_object *member = json_member(object, name);
        char constraint[128];

        if (!member) {
                *ret = NULL;
                return required ? platform_kms_constraint(call, NULL, name, "Member must not be null") : 0;
        }
        if (!json_object_is_type(member, json_type_string))
                return refuse_type(call, name);

        const char *value = json_object_get_string(member);
        size_t length = (size_t) json_object_get_string_len(member);
        if (length < 1 || length > maximum) {
                snprintf(constraint, sizeof(constraint),
                         length < 1 ? "Member must have length greater than or equal to 1"
                                    : "Member must have length less than or equal to %zu",
                         maximum);
                return platform_kms_constraint(call, value, name, constraint);
        }
        *ret = value;
        return 0;
}

int platform_kms_bytes(KmsCall *call, struct json_object *object, const char *name, bool required,
                       size_t maximum, uint8_t **ret, size_t *ret_size) {
        struct json_object *member = json_member(object, name);
        _cleanup_free_ uint8_t *bytes = NULL;
        char constraint[128];
        size_t size;

        if (!member) {
                *ret = NULL;
                *ret_size = 0;
                return required ? platform_kms_constraint(call, NULL, name, "Member must not be null") : 0;
        }
        if (!json_object_is_type(member, json_type_string) ||
            base64_decode(json_object_get_string(member), (size_t) json_object_get_string_len(member),
                          &bytes, &size) < 0)
                return refuse_type(call, name);
        if (size < 1 || size > maximum) {
                snprintf(constraint, sizeof(constraint),
                         size < 1 ? "Member must have length greater than or equal to 1"
                                  : "Member must have length less than or equal to %zu",
                         maximum);
                return platform_kms_constraint(call, "java.nio.HeapByteBuffer", name, constraint);
        }
        *ret = TAKE_PTR(bytes);
        *ret_size = size;
        return 0;
}

int platform_kms_integer(KmsCall *call, const char *name, int64_t minimum, int64_t maximum, int64_t fallback,
                         int64_t *ret) {
        struct json_object *member = json_member(call->request, name);
        char text[32], constraint[96];

        if (!member) {
                *ret = fallback;
                return 0;
        }
        if (!json_object_is_type(member, json_type_int))
                return refuse_type(call, name);
        int64_t value = json_object_get_int64(member);
        if (value < minimum || value > maximum) {
                snprintf(text, sizeof(text), "%lld", (long long) value);
                snprintf(constraint, sizeof(constraint), "Member must have value %s than or equal to %lld",
                         value < minimum ? "greater" : "less",
                         (long long) (value < minimum ? minimum : maximum));
                return platform_kms_constraint(call, text, name, constraint);
        }
        *ret = value;
        return 0;
}

int platform_kms_boolean(KmsCall *call, const char *name, bool *ret) {
        struct json_object *member = json_member(call->request, name);

        if (member && !json_object_is_type(member, json_type_boolean))
                return refuse_type(call, name);
        *ret = member && json_object_get_boolean(member);
        return 0;
}

int platform_kms_context(KmsCall *call, const char *name, struct json_object **ret) {
        struct json_object *context = json_member(call->request, name);

        *ret = NULL;
        if (!context)
                return 0;
        if (!json_object_is_type(context, json_type_object))
                return refuse_type(call, name);
        json_object_object_foreach(context, key, value) {
                (void) key;
                if (!json_object_is_type(value, json_type_string))
                        return refuse_type(call, name);
        }
        *ret = context;
        return 0;
}

int platform_kms_check_dry_run(KmsCall *call) {
        bool dry_run;

        int r = platform_kms_boolean(call, "DryRun", &dry_run);
        if (r < 0)
                return r;
        if (dry_run)
                return platform_kms_refuse(
                                call, "DryRunOperationException",
                                "The request would have succeeded, but the DryRun option is set.");
        return 0;
}

int platform_kms_reply_bytes(KmsCall *call, const char *name, const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = NULL;

        if (base64_encode(data, size, &text) < 0)
                return platform_kms_refuse_internal(call);
        kms_reply_string(call, name, text);
        return 0;
}

static int authenticate(KmsCall *call) {
        _cleanup_free_ SigV4Refusal *refusal = calloc(1, sizeof(*refusal));
        const char *token = platform_sigv4_header(&call->exchange->request, "X-Amz-Security-Token");
        SigV4Claim claim;
        int r;

        if (!refusal)
                return platform_kms_refuse_internal(call);
        if (faults_take(call->kms->faults, SERVICE_KMS, call->fault_operation, FAULT_EXPIRED_CREDENTIALS,
                        NULL))
                return platform_kms_refuse(call, "ExpiredTokenException",
                                           "The security token included in the request is expired");

        r = platform_sigv4_read_claim(&call->exchange->request, &claim, refusal);
        if (r < 0)
                return platform_kms_refuse(call, refusal->code, "%s", refusal->message);

        memcpy(call->caller.access_key_id, claim.access_key_id, sizeof(claim.access_key_id));
        r = accounts_authenticate(call->kms->accounts, claim.access_key_id, &call->caller);
        if (r < 0 || (call->caller.token ? !token || strcmp(token, call->caller.token) != 0 : token != NULL))
                return platform_kms_refuse(call, "UnrecognizedClientException",
                                           "The security token included in the request is invalid.");

        r = platform_sigv4_verify(&call->exchange->request, &claim, call->caller.secret, call->region, "kms",
                                  call->now, refusal);
        if (r < 0 && refusal->code)
                return platform_kms_refuse(call, refusal->code, "%s", refusal->message);
        if (r < 0)
                return platform_kms_refuse_internal(call);
        if (call->caller.token && call->caller.expires <= call->now)
                return platform_kms_refuse(call, "ExpiredTokenException",
                                           "The security token included in the request is expired");
        call->authenticated = true;
        return 0;
}

static bool is_throttled(Kms *kms) {
        bool throttled = false;

        pthread_mutex_lock(&kms->mutex);
        if (kms->rate > 0) {
                int64_t now = (int64_t) now_monotonic_usec();
                kms->tokens += (double) (now - kms->refilled_usec) * kms->rate / (double) USEC_PER_SEC;
                if (kms->tokens > kms->rate)
                        kms->tokens = kms->rate;
                kms->refilled_usec = now;
                throttled = kms->tokens < 1;
                kms->tokens -= throttled ? 0 : 1;
        }
        pthread_mutex_unlock(&kms->mutex);
        return throttled;
}

static int check_faults(KmsCall *call) {
        Faults *faults = call->kms->faults;
        FaultValue value;

        if (faults_take(faults, SERVICE_KMS, call->fault_operation, FAULT_THROTTLE, NULL) ||
            is_throttled(call->kms))
                return platform_kms_refuse(
                                call, "ThrottlingException",
                                "You have exceeded the rate at which you may call KMS. Reduce the "
                                "frequency of your "
                                "calls.");
        if (faults_take(faults, SERVICE_KMS, call->fault_operation, FAULT_ERROR, &value)) {
                memcpy(call->fault_code, value.text, sizeof(value.text));
                return platform_kms_refuse(call, call->fault_code, "%s", value.message);
        }
        return 0;
}

static int read_recipient(KmsCall *call) {
        struct json_object *recipient = json_member(call->request, "Recipient");
        _cleanup_free_ uint8_t *document = NULL;
        const char *algorithm, *reason = NULL;
        size_t size;
        int r;

        if (!recipient)
                return 0;
        if (!json_object_is_type(recipient, json_type_object))
                return refuse_type(call, "Recipient");
        r = platform_kms_string(call, recipient, "KeyEncryptionAlgorithm", true, 64, &algorithm);
        if (r >= 0 && strcmp(algorithm, "RSAES_OAEP_SHA_256") != 0)
                r = platform_kms_constraint(call, algorithm, "recipient.keyEncryptionAlgorithm",
                                            "Member must satisfy enum value set: [RSAES_OAEP_SHA_256]");
        if (r >= 0)
                r = platform_kms_bytes(call, recipient, "AttestationDocument", true, KMS_DOCUMENT_MAX,
                                       &document, &size);
        if (r < 0)
                return r;

        r = attestor_verify(call->kms->attestor, document, size, call->now, &call->facts, &reason);
        if (r < 0)
                return platform_kms_refuse(call, "ValidationException", "%s",
                                           reason ? reason : "Unable to verify attestation document");
        if (call->facts.public_key_size == 0)
                return platform_kms_refuse(call, "ValidationException",
                                           "The attestation document does not contain a public key");
        call->attested = true;
        return 0;
}

static int run(KmsCall *call) {
        const SigV4Request *request = &call->exchange->request;
        size_t i = 0;
        int r;

        r = check_faults(call);
        if (r < 0)
                return r;
        while (i < ELEMENTSOF(operations) && strcmp(operations[i].name, call->operation) != 0)
                i++;
        if (i == ELEMENTSOF(operations))
                return platform_kms_refuse(call, "UnknownOperationException", "%s", "");
        call->operation_name = operations[i].name;
        r = authenticate(call);
        if (r < 0)
                return r;
        if (json_parse((const char *) request->body, request->body_size, &call->request) < 0 ||
            !json_object_is_type(call->request, json_type_object))
                return platform_kms_refuse(call, "SerializationException", "%s", "");
        if (operations[i].recipient) {
                r = read_recipient(call);
                if (r < 0)
                        return r;
        }

        pthread_mutex_lock(&call->kms->mutex);
        r = operations[i].run(call);
        pthread_mutex_unlock(&call->kms->mutex);
        return r;
}

static unsigned status_of(const char *code) {
        static const char *const internal[] = { "DependencyTimeoutException", "InternalFailure",
                                                "KMSInternalException", "KeyUnavailableException" };

        for (size_t i = 0; i < ELEMENTSOF(internal); i++)
                if (strcmp(code, internal[i]) == 0)
                        return 500;
        /* KMS API Reference: the one refusal with a status of its own. */
        if (strcmp(code, "DryRunOperationException") == 0)
                return 412;
        return strcmp(code, "ServiceUnavailableException") == 0 ? 503 : 400;
}

/* AWS's front end sends error types with a namespace, KMS's own model sends them without. Denials spell
 * Message with a capital M. */
static void reply_error(KmsCall *call) {
        bool front = strcmp(call->code, "UnknownOperationException") == 0 ||
                     strcmp(call->code, "SerializationException") == 0;
        bool capital = front || strcmp(call->code, "AccessDeniedException") == 0;
        _cleanup_json_ struct json_object *object = json_object_new_object();
        char type[192];

        snprintf(type, sizeof(type), "%s%s", front ? "com.amazon.coral.service#" : "", call->code);
        json_object_object_add(object, "__type", json_object_new_string(type));
        if (*call->message)
                json_object_object_add(object, capital ? "Message" : "message",
                                       json_object_new_string(call->message));
        exchange_reply_text(call->exchange, status_of(call->code),
                            json_object_to_json_string_ext(object,
                                                           JSON_C_TO_STRING_PLAIN |
                                                                           JSON_C_TO_STRING_NOSLASHESCAPE));
        exchange_add_header(call->exchange, "x-amzn-ErrorType", "%s", call->code);
}

static void reply_success(KmsCall *call) {
        FaultValue value;

        if (json_member(call->reply, "KeyId") &&
            faults_take(call->kms->faults, SERVICE_KMS, call->fault_operation, FAULT_WRONG_KEYID, &value)) {
                char arn[KMS_ARN_SIZE], id[UUID_SIZE];
                make_uuid(id);
                snprintf(arn, sizeof(arn), "arn:aws:kms:%s:%s:key/%s", call->region, call->resource_account,
                         id);
                kms_reply_string(call, "KeyId", arn);
        }
        exchange_reply_text(
                        call->exchange, 200,
                        json_object_object_length(call->reply) == 0
                                        ? ""
                                        : json_object_to_json_string_ext(
                                                          call->reply,
                                                          JSON_C_TO_STRING_PLAIN |
                                                                          JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void add_string(struct json_object *object, const char *name, const char *value) {
        json_object_object_add(object, name, value ? json_object_new_string(value) : NULL);
}

static struct json_object *user_identity(const KmsCall *call) {
        struct json_object *identity = json_object_new_object();
        const Caller *caller = &call->caller;

        if (!call->authenticated) {
                add_string(identity, "type", "Unknown");
                if (*caller->access_key_id)
                        add_string(identity, "accessKeyId", caller->access_key_id);
                return identity;
        }

        static const char *const types[] = { "Root", "IAMUser", "AssumedRole" };
        const Principal *principal = caller->principal;
        char id[256];
        snprintf(id, sizeof(id), "%s%s%s", principal->id, principal->kind == PRINCIPAL_ROLE ? ":" : "",
                 principal->kind == PRINCIPAL_ROLE ? caller->session : "");
        add_string(identity, "type", types[principal->kind]);
        add_string(identity, "principalId", id);
        add_string(identity, "arn", caller->arn);
        add_string(identity, "accountId", principal->account);
        add_string(identity, "accessKeyId", caller->access_key_id);
        if (principal->kind == PRINCIPAL_USER)
                add_string(identity, "userName", principal->name);
        if (principal->kind == PRINCIPAL_ROLE) {
                struct json_object *context = json_object_new_object(), *issuer = json_object_new_object();
                add_string(issuer, "type", "Role");
                add_string(issuer, "principalId", principal->id);
                add_string(issuer, "arn", principal->arn);
                add_string(issuer, "accountId", principal->account);
                add_string(issuer, "userName", principal->name);
                json_object_object_add(context, "sessionIssuer", issuer);
                json_object_object_add(identity, "sessionContext", context);
        }
        return identity;
}

/* Returns the request for the log: without secret and long members, and with names that begin in lower
 * case, as in CloudTrail. */
static struct json_object *request_parameters(const KmsCall *call) {
        static const char *const left_out[] = {
                "CiphertextBlob",       "Plaintext",   "Recipient", "GrantTokens", "GrantToken", "Message",
                "EncryptedKeyMaterial", "ImportToken", "Signature", "Mac"
        };

        if (!call->request || !json_object_is_type(call->request, json_type_object))
                return NULL;
        struct json_object *parameters = json_object_new_object();
        json_object_object_foreach(call->request, name, value) {
                bool wanted = true;
                for (size_t i = 0; i < ELEMENTSOF(left_out); i++)
                        wanted = wanted && strcmp(name, left_out[i]) != 0;
                if (!wanted || !*name)
                        continue;
                _cleanup_free_ char *small = strdup(name);
                if (small) {
                        small[0] = (char) tolower((unsigned char) small[0]);
                        json_object_object_add(parameters, small, json_object_get(value));
                }
        }
        return parameters;
}

static struct json_object *recipient_data(const KmsCall *call) {
        struct json_object *data = json_object_new_object(), *recipient = json_object_new_object();

        add_string(recipient, "attestationDocumentModuleId", call->facts.module_id);
        for (unsigned i = 0; i < ATTESTOR_PCRS; i++) {
                _cleanup_free_ char *hex = NULL;
                char name[64];

                if (!(call->facts.pcrs_present >> i & 1) ||
                    hex_encode(call->facts.pcrs[i], ATTESTOR_PCR_SIZE, &hex) < 0)
                        continue;
                snprintf(name, sizeof(name), "attestationDocumentNitroTPMPCR%u", i);
                add_string(recipient, name, hex);
        }
        json_object_object_add(data, "recipient", recipient);
        return data;
}

static void write_event(const KmsCall *call, const FaultKind *fault) {
        const char *agent = platform_sigv4_header(&call->exchange->request, "User-Agent");
        struct json_object *event = json_object_new_object();
        char time_text[TIME_TEXT_SIZE];
        bool read_only = false;

        for (size_t i = 0; i < ELEMENTSOF(operations); i++)
                if (strcmp(operations[i].name, call->operation) == 0)
                        read_only = operations[i].read_only;
        format_time(call->now, time_text);

        add_string(event, "eventVersion", "1.11");
        json_object_object_add(event, "userIdentity", user_identity(call));
        add_string(event, "eventTime", time_text);
        add_string(event, "eventSource", "kms.amazonaws.com");
        add_string(event, "eventName", call->operation);
        add_string(event, "awsRegion", call->region);
        add_string(event, "sourceIPAddress", call->exchange->source);
        add_string(event, "userAgent", agent);
        if (call->code) {
                bool denied = strcmp(call->code, "AccessDeniedException") == 0;
                add_string(event, "errorCode", denied ? "AccessDenied" : call->code);
                /* The message of a wrong signature repeats the request, including its session token. So it
                 * is not logged. */
                if (strcmp(call->code, "InvalidSignatureException") != 0 && *call->message)
                        add_string(event, "errorMessage", call->message);
        }
        json_object_object_add(event, "requestParameters", request_parameters(call));
        json_object_object_add(event, "responseElements", NULL);
        if (call->attested)
                json_object_object_add(event, "additionalEventData", recipient_data(call));
        add_string(event, "requestID", call->request_id);
        add_string(event, "eventID", call->event_id);
        json_object_object_add(event, "readOnly", json_object_new_boolean(read_only));
        if (*call->resource) {
                struct json_object *resources = json_object_new_array(),
                                   *resource = json_object_new_object();
                add_string(resource, "accountId", call->resource_account);
                add_string(resource, "type", "AWS::KMS::Key");
                add_string(resource, "ARN", call->resource);
                json_object_array_add(resources, resource);
                json_object_object_add(event, "resources", resources);
        }
        add_string(event, "eventType", "AwsApiCall");
        if (fault)
                add_string(event, "platformFault", fault_kind_to_string(*fault));
        trail_write(call->kms->trail, event);
}

static void add_date(Exchange *exchange, int64_t seconds) {
        char date[64];
        time_t now = (time_t) seconds;
        struct tm tm;

        gmtime_r(&now, &tm);
        strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        exchange_add_header(exchange, "Date", "%s", date);
}

static void add_headers(const KmsCall *call) {
        add_date(call->exchange, call->now);
        exchange_add_header(call->exchange, "x-amzn-RequestId", "%s", call->request_id);
        exchange_add_header(call->exchange, "Cache-Control", "no-cache, no-store, must-revalidate, private");
}

static void handle_call(KmsCall *call) {
        Kms *kms = call->kms;
        FaultKind fault;

        bool spoilt = misbehave_before(call->exchange, kms->faults, SERVICE_KMS, call->fault_operation,
                                       &fault);
        if (!spoilt) {
                call->reply = json_object_new_object();
                if (run(call) < 0)
                        reply_error(call);
                else
                        reply_success(call);
                exchange_add_header(call->exchange, "Content-Type", "application/x-amz-json-1.1");
                spoilt = misbehave_after(call->exchange, kms->faults, SERVICE_KMS, call->fault_operation,
                                         &fault);
        }
        add_headers(call);
        write_event(call, spoilt ? &fault : NULL);
}

/* AWS's front ends answer health checks like this. */
static bool handle_ping(Kms *kms, Exchange *exchange) {
        FaultValue clock_fault = {};

        if (strcmp(exchange->request.method, "GET") != 0 || strcmp(exchange->request.target, "/ping") != 0)
                return false;
        faults_take(kms->faults, SERVICE_KMS, "ping", FAULT_CLOCK, &clock_fault);
        exchange_reply_text(exchange, 200, "healthy");
        add_date(exchange, time(NULL) + clock_fault.number);
        return true;
}

/* Each Region has endpoints of its own. All are served here. */
static const char *asked_region(const Kms *kms, const SigV4Request *request) {
        const char *host = platform_sigv4_header(request, "Host"), *p = host ? strchr(host, '.') : NULL;
        size_t n = strlen(kms->other_region);

        return p && n > 0 && strncmp(p + 1, kms->other_region, n) == 0 && p[1 + n] == '.' ? kms->other_region
                                                                                          : kms->region;
}

static bool is_dry_run(const SigV4Request *request) {
        _cleanup_json_ struct json_object *body = NULL;

        return json_parse((const char *) request->body, request->body_size, &body) >= 0 &&
               json_object_get_boolean(json_member(body, "DryRun"));
}

/* A client sends dry runs beside its real requests, and a Region may have an outage of its own. So their faults are set separately. */
static void name_for_faults(KmsCall *call) {
        if (is_dry_run(&call->exchange->request))
                (void) snprintf(call->fault_operation, sizeof(call->fault_operation), "DryRun");
        else if (strcmp(call->region, call->kms->region) == 0)
                (void) snprintf(call->fault_operation, sizeof(call->fault_operation), "%s", call->operation);
        else
                (void) snprintf(call->fault_operation, sizeof(call->fault_operation), "%s@%s",
                                call->operation, call->region);
}

void platform_kms_handle(Exchange *exchange, void *userdata) {
        const char *target = platform_sigv4_header(&exchange->request, "X-Amz-Target"),
                   *prefix = "TrentService.";
        Kms *kms = userdata;
        FaultValue clock_fault = {};

        if (handle_ping(kms, exchange))
                return;
        if (strcmp(exchange->request.method, "POST") != 0 || strcmp(exchange->request.target, "/") != 0) {
                exchange_reply_text(exchange, 404, "<UnknownOperationException/>\n");
                return;
        }
        if (exchange->oversized) {
                exchange_reply_text(exchange, 413, "");
                return;
        }

        _cleanup_free_ KmsCall *call = calloc(1, sizeof(*call));
        if (!call) {
                exchange_reply_text(exchange, 500, "");
                return;
        }
        call->kms = kms;
        call->exchange = exchange;
        call->operation = target && strncmp(target, prefix, strlen(prefix)) == 0 ? target + strlen(prefix)
                                                                                 : "";
        call->region = asked_region(kms, &exchange->request);
        name_for_faults(call);
        make_uuid(call->request_id);
        make_uuid(call->event_id);
        faults_take(kms->faults, SERVICE_KMS, call->fault_operation, FAULT_CLOCK, &clock_fault);
        call->now = time(NULL) + clock_fault.number;

        handle_call(call);

        json_object_put(call->request);
        json_object_put(call->reply);
        caller_clear(&call->caller);
}
