/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "basic/encoding.h"
#include "carriers_internal.h"
#include "misbehave.h"

struct Carriers {
        char region[64];
        char account[ACCOUNT_ID_SIZE];
        Accounts *accounts;
        Faults *faults;
        Trail *trail;

        pthread_mutex_t mutex;
        CarriedItem *items;
        size_t n_items;
};

int carriers_new(const CarriersOptions *options, Carriers **ret) {
        Carriers *carriers = calloc(1, sizeof(*carriers));

        if (!carriers)
                return -ENOMEM;
        snprintf(carriers->region, sizeof(carriers->region), "%s", options->region);
        snprintf(carriers->account, sizeof(carriers->account), "%s", options->account);
        carriers->accounts = options->accounts;
        carriers->faults = options->faults;
        carriers->trail = options->trail;
        pthread_mutex_init(&carriers->mutex, NULL);
        *ret = carriers;
        return 0;
}

void carried_item_clear(CarriedItem *item) {
        free(item->container);
        free(item->name);
        free(item->type);
        *item = (CarriedItem){};
}

Carriers *carriers_free(Carriers *carriers) {
        if (carriers) {
                for (size_t i = 0; i < carriers->n_items; i++) {
                        free(carriers->items[i].data);
                        carried_item_clear(&carriers->items[i]);
                }
                free(carriers->items);
                pthread_mutex_destroy(&carriers->mutex);
                free(carriers);
        }
        return NULL;
}

static int copy_item(const CarriedItem *item, CarriedItem *ret) {
        CarriedItem copy = {
                .service = item->service, .modified = item->modified, .data = item->data, .size = item->size
        };

        memcpy(copy.version, item->version, sizeof(copy.version));
        memcpy(copy.etag, item->etag, sizeof(copy.etag));
        copy.container = strdup(item->container);
        copy.name = strdup(item->name);
        copy.type = strdup(item->type);
        if (!copy.container || !copy.name || !copy.type) {
                carried_item_clear(&copy);
                return -ENOMEM;
        }
        *ret = copy;
        return 0;
}

static int make_etag(CarriedItem *item) {
        _cleanup_free_ char *hex = NULL;
        unsigned char digest[16];

        if (EVP_Digest(item->data, item->size, digest, NULL, EVP_md5(), NULL) <= 0)
                return -EIO;
        int r = hex_encode(digest, sizeof(digest), &hex);
        if (r >= 0)
                snprintf(item->etag, sizeof(item->etag), "\"%s\"", hex);
        return r;
}

int carriers_put(Carriers *carriers, const CarriedItem *item,
                 char ret_version[static CARRIERS_VERSION_SIZE]) {
        _cleanup_free_ char *hex = NULL;
        _cleanup_free_ uint8_t *data = malloc(item->size + 1);
        CarriedItem copy, *grown;
        uint8_t random[16];
        int r;

        if (!data)
                return -ENOMEM;
        if (RAND_bytes(random, sizeof(random)) <= 0)
                return -EIO;
        r = hex_encode(random, sizeof(random), &hex);
        if (r >= 0)
                r = copy_item(item, &copy);
        if (r < 0)
                return r;
        /* A version ID of S3 is opaque, and may have characters that stand in a query only percent-encoded (S3 API Reference,
         * GetObject and DeleteObject, examples). */
        if (item->service == SERVICE_S3) {
                hex[1] = '/';
                hex[2] = '+';
        }
        memcpy(copy.version, hex, sizeof(copy.version));
        if (item->size > 0)
                memcpy(data, item->data, item->size);
        data[item->size] = '\0';
        copy.modified = (int64_t) time(NULL);
        copy.data = data;
        r = make_etag(&copy);
        if (r < 0) {
                carried_item_clear(&copy);
                return r;
        }

        pthread_mutex_lock(&carriers->mutex);
        grown = realloc(carriers->items, (carriers->n_items + 1) * sizeof(*grown));
        if (grown) {
                carriers->items = grown;
                carriers->items[carriers->n_items++] = copy;
        }
        pthread_mutex_unlock(&carriers->mutex);
        if (!grown) {
                carried_item_clear(&copy);
                return -ENOMEM;
        }
        TAKE_PTR(data);
        memcpy(ret_version, hex, CARRIERS_VERSION_SIZE);
        return 0;
}

/*
 * Returns whether the call names the item, by its name or by its ARN. A parameter's ARN has "parameter/" before the
 * name, even where the name begins with a slash. A secret's ARN ends in a hyphen and six characters that AWS
 * chooses.
 */
static bool is_named(const CarriedItem *item, const CarrierCall *call, const char *arn_prefix) {
        size_t prefix = strlen(arn_prefix), length = strlen(item->name);
        const char *rest = call->name + prefix;

        if (strcmp(item->name, call->name) == 0)
                return true;
        if (prefix == 0 || strncmp(call->name, arn_prefix, prefix) != 0)
                return false;
        if (call->service == SERVICE_SSM)
                return strcmp(item->name + (item->name[0] == '/'), rest) == 0;
        return strncmp(item->name, rest, length) == 0 &&
               (rest[length] == '\0' || (rest[length] == '-' && strlen(rest + length) == 7));
}

bool carrier_misbehaves(CarrierCall *call, FaultKind kind, FaultValue *ret) {
        if (!faults_take(call->carriers->faults, call->service, call->operation, kind, ret))
                return false;
        call->fault = kind;
        return true;
}

void carrier_replace(CarrierCall *call, const char *arn_prefix) {
        char version[CARRIERS_VERSION_SIZE];
        _cleanup_free_ char *asked = TAKE_PTR(call->version);
        CarriedItem item;

        if (carrier_misbehaves(call, FAULT_REPLACED, NULL) && carrier_find(call, arn_prefix, &item, NULL)) {
                _cleanup_free_ uint8_t *other = malloc(item.size + 1);

                for (size_t i = 0; other && i < item.size; i++)
                        other[i] = (uint8_t) ~item.data[i];
                item.data = other;
                if (other)
                        (void) carriers_put(call->carriers, &item, version);
                carried_item_clear(&item);
        }
        call->version = TAKE_PTR(asked);
}

bool carrier_find(const CarrierCall *call, const char *arn_prefix, CarriedItem *ret, unsigned *ret_number) {
        Carriers *carriers = call->carriers;
        const CarriedItem *found = NULL;
        unsigned number = 0, found_number = 0;
        int r = -ENOENT;

        if (call->service != SERVICE_FILES && strcmp(call->caller.principal->account, call->account) != 0)
                return false;

        pthread_mutex_lock(&carriers->mutex);
        for (size_t i = 0; i < carriers->n_items; i++) {
                const CarriedItem *item = &carriers->items[i];
                char counted[16];

                if (item->service != call->service || !is_named(item, call, arn_prefix) ||
                    strcmp(item->container, call->container ?: "") != 0)
                        continue;
                /* Parameter Store numbers its versions. The other services give them random names. */
                snprintf(counted, sizeof(counted), "%u", ++number);
                if (call->version && strcmp(item->version, call->version) != 0 &&
                    (call->service != SERVICE_SSM || strcmp(counted, call->version) != 0))
                        continue;
                found = item;
                found_number = number;
        }
        if (found)
                r = copy_item(found, ret);
        pthread_mutex_unlock(&carriers->mutex);
        if (ret_number)
                *ret_number = found_number;
        return r >= 0;
}

int carrier_refuse(CarrierCall *call, unsigned status, const char *code, const char *format, ...) {
        va_list arguments;

        call->status = status;
        call->code = code;
        va_start(arguments, format);
        vsnprintf(call->message, sizeof(call->message), format, arguments);
        va_end(arguments);
        return -EBADMSG;
}

bool carrier_allows(const CarrierCall *call, const char *action, const char *resource) {
        const Principal *caller = call->caller.principal;
        const PolicyPrincipal principal = {
                .account = caller->account,
                .arn = caller->arn,
                .session_arn = caller->kind == PRINCIPAL_ROLE ? call->caller.arn : NULL,
        };
        _cleanup_(policy_context_freep) PolicyContext *context = NULL;
        const PolicySet set = {
                .identity_policies = (const Policy *const *) caller->policies,
                .n_identity_policies = caller->n_policies,
        };

        if (policy_context_new(&principal, &context) < 0 ||
            policy_context_add_bool(context, "aws:SecureTransport", true) < 0 ||
            policy_context_add(context, "aws:SourceIp", call->exchange->source) < 0 ||
            policy_context_add(context, "aws:RequestedRegion", call->region) < 0)
                return false;
        return policy_decide(&set,
                             &(const PolicyRequest){
                                             .action = action,
                                             .resource = resource,
                                             .principal = &principal,
                                             .context = context,
                             })
                        .allowed;
}

static int refuse_expired(CarrierCall *call) {
        return call->service == SERVICE_S3
                               ? carrier_refuse(call, 400, "ExpiredToken", "The provided token has expired.")
                               : carrier_refuse(call, 400, "ExpiredTokenException",
                                                "The security token included in the request is expired");
}

/* S3 has its own codes for the refusals of the signature check. */
static int refuse_signature(CarrierCall *call, const SigV4Refusal *refusal) {
        const char *text = refusal->message;

        if (call->service != SERVICE_S3)
                return carrier_refuse(call, 400, refusal->code, "%s", text);
        if (strcmp(refusal->code, "MissingAuthenticationTokenException") == 0)
                return carrier_refuse(call, 403, "AccessDenied", "Access Denied");
        if (strncmp(text, "Signature expired", 17) == 0 || strncmp(text, "Signature not yet", 17) == 0)
                return carrier_refuse(call, 403, "RequestTimeTooSkewed",
                                      "The difference between the request time and the current time is too "
                                      "large.");
        if (strncmp(text, "Credential should be", 20) == 0)
                return carrier_refuse(call, 400, "AuthorizationHeaderMalformed",
                                      "The authorization header is malformed; expecting the region '%s' and "
                                      "the service s3",
                                      call->region);
        if (strcmp(refusal->code, "InvalidSignatureException") != 0)
                return carrier_refuse(call, 400, refusal->code, "%s", text);
        return carrier_refuse(
                        call, 403, "SignatureDoesNotMatch",
                        "The request signature we calculated does not match the signature you provided. "
                        "Check your key and signing method.");
}

static int authenticate(CarrierCall *call) {
        static const char *const names[] = {
                [SERVICE_S3] = "s3", [SERVICE_SSM] = "ssm", [SERVICE_SECRETS_MANAGER] = "secretsmanager"
        };
        _cleanup_free_ SigV4Refusal *refusal = calloc(1, sizeof(*refusal));
        SigV4Request request = call->exchange->request;
        const char *token = platform_sigv4_header(&request, "X-Amz-Security-Token");
        SigV4Claim claim;
        int r;

        if (!refusal)
                return carrier_refuse(call, 500, "InternalError", "Out of memory.");
        if (faults_take(call->carriers->faults, call->service, call->operation, FAULT_EXPIRED_CREDENTIALS,
                        NULL))
                return refuse_expired(call);
        request.s3 = call->service == SERVICE_S3;

        r = platform_sigv4_read_claim(&request, &claim, refusal);
        if (r < 0)
                return refuse_signature(call, refusal);
        r = accounts_authenticate(call->carriers->accounts, claim.access_key_id, &call->caller);
        if (r < 0 || (call->caller.token ? !token || strcmp(token, call->caller.token) != 0 : token != NULL))
                return request.s3 ? carrier_refuse(call, 403, "InvalidAccessKeyId",
                                                   "The AWS Access Key Id you provided does not exist in "
                                                   "our "
                                                   "records.")
                                  : carrier_refuse(call, 400, "UnrecognizedClientException",
                                                   "The security token included in the request is invalid.");
        r = platform_sigv4_verify(&request, &claim, call->caller.secret, call->region, names[call->service],
                                  call->now, refusal);
        if (r < 0)
                return refusal->code ? refuse_signature(call, refusal)
                                     : carrier_refuse(call, 500, "InternalError", "The platform failed.");
        if (call->caller.token && call->caller.expires <= call->now)
                return refuse_expired(call);
        call->authenticated = true;
        return 0;
}

static int check_faults(CarrierCall *call) {
        Faults *faults = call->carriers->faults;
        bool s3 = call->service == SERVICE_S3;
        FaultValue value;

        if (faults_take(faults, call->service, call->operation, FAULT_THROTTLE, NULL))
                return carrier_refuse(call, s3 ? 503 : 400, s3 ? "SlowDown" : "ThrottlingException",
                                      "Please reduce your request rate.");
        if (faults_take(faults, call->service, call->operation, FAULT_ERROR, &value)) {
                bool internal = strstr(value.text, "Internal") || strstr(value.text, "Unavailable");

                memcpy(call->fault_code, value.text, sizeof(value.text));
                return carrier_refuse(call,
                                      internal ? 500
                                      : s3     ? 403
                                               : 400,
                                      call->fault_code, "%s", value.message);
        }
        return 0;
}

static int run(CarrierCall *call, int read) {
        static int (*const runs[])(CarrierCall * call) = {
                [SERVICE_S3] = carrier_get_object,
                [SERVICE_SSM] = carrier_get_parameter,
                [SERVICE_SECRETS_MANAGER] = carrier_get_secret,
                [SERVICE_FILES] = carrier_get_file,
        };
        int r;

        r = check_faults(call);
        if (r < 0)
                return r;
        if (read < 0)
                return call->code ? -EBADMSG : carrier_refuse(call, 500, "InternalError", "Out of memory.");
        r = call->service == SERVICE_FILES ? 0 : authenticate(call);
        return r < 0 ? r : runs[call->service](call);
}

static void add_string(struct json_object *object, const char *name, const char *value) {
        json_object_object_add(object, name, value ? json_object_new_string(value) : NULL);
}

static void write_event(const CarrierCall *call, const FaultKind *fault) {
        struct json_object *event = json_object_new_object(), *identity = json_object_new_object(),
                           *parameters = json_object_new_object();
        char time_text[TIME_TEXT_SIZE], source[64];

        format_time(call->now, time_text);
        snprintf(source, sizeof(source), "%s%s", service_to_string(call->service),
                 call->service == SERVICE_FILES ? "" : ".amazonaws.com");
        add_string(identity, "type",
                   !call->authenticated                             ? "Unknown"
                   : call->caller.principal->kind == PRINCIPAL_ROLE ? "AssumedRole"
                                                                    : "IAMUser");
        if (call->authenticated)
                add_string(identity, "arn", call->caller.arn);
        if (call->container)
                add_string(parameters, "bucketName", call->container);
        add_string(parameters, call->service == SERVICE_S3 ? "key" : "name", call->name);
        if (call->version)
                add_string(parameters, "version", call->version);
        if (platform_sigv4_header(&call->exchange->request, "Range"))
                add_string(parameters, "range", platform_sigv4_header(&call->exchange->request, "Range"));

        add_string(event, "eventTime", time_text);
        add_string(event, "eventSource", source);
        add_string(event, "eventName", call->operation);
        json_object_object_add(event, "userIdentity", identity);
        add_string(event, "sourceIPAddress", call->exchange->source);
        if (call->code)
                add_string(event, "errorCode", call->code);
        json_object_object_add(event, "httpStatus", json_object_new_int((int) call->exchange->status));
        json_object_object_add(event, "requestParameters", parameters);
        add_string(event, "requestID", call->request_id);
        if (fault)
                add_string(event, "platformFault", fault_kind_to_string(*fault));
        trail_write(call->carriers->trail, event);
}

void carrier_add_date(CarrierCall *call, const char *name, int64_t when) {
        time_t now = (time_t) when;
        char date[64];
        struct tm tm;

        gmtime_r(&now, &tm);
        strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        exchange_add_header(call->exchange, name, "%s", date);
}

static void add_headers(CarrierCall *call) {
        carrier_add_date(call, "Date", call->now);
        if (call->service == SERVICE_S3) {
                exchange_add_header(call->exchange, "x-amz-request-id", "%s", call->request_id);
                exchange_add_header(call->exchange, "x-amz-bucket-region", "%s", call->region);
        } else if (call->service != SERVICE_FILES)
                exchange_add_header(call->exchange, "x-amzn-RequestId", "%s", call->request_id);
}

/* Removes end from the host's name. Returns true and the length of what is left, or false where the name
 * does not end so. */
static bool take_end(const char *host, size_t length, const char *end, size_t *ret_length) {
        size_t n = strlen(end);

        if (length < n || strncasecmp(host + length - n, end, n) != 0)
                return false;
        *ret_length = length - n;
        return true;
}

/* Returns the service that the host's name stands for, and how much of the name is a bucket; -1 where the
 * platform has no such service. */
static int service_of(const Carriers *carriers, const char *host, size_t *ret_bucket) {
        static const struct {
                const char *label;
                Service service;
        } labels[] = {
                { "s3", SERVICE_S3 },
                { "s3-fips", SERVICE_S3 },
                { "s3.dualstack", SERVICE_S3 },
                { "s3-fips.dualstack", SERVICE_S3 },
                { "ssm", SERVICE_SSM },
                { "ssm-fips", SERVICE_SSM },
                { "secretsmanager", SERVICE_SECRETS_MANAGER },
                { "secretsmanager-fips", SERVICE_SECRETS_MANAGER },
        };
        static const char *const domains[] = { ".amazonaws.com", ".api.aws" };
        size_t length = strcspn(host, ":"), left;
        char end[160];

        if (length == strlen(CARRIERS_FILES_HOST) && strncasecmp(host, CARRIERS_FILES_HOST, length) == 0)
                return SERVICE_FILES;
        for (size_t i = 0; i < ELEMENTSOF(labels); i++)
                for (size_t j = 0; j < ELEMENTSOF(domains); j++) {
                        snprintf(end, sizeof(end), "%s.%s%s", labels[i].label, carriers->region, domains[j]);
                        if (!take_end(host, length, end, &left) ||
                            (left > 0 &&
                             (labels[i].service != SERVICE_S3 || left == 1 || host[left - 1] != '.')))
                                continue;
                        *ret_bucket = left > 0 ? left - 1 : 0;
                        return labels[i].service;
                }
        return -1;
}

static const char *operation_of(const CarrierCall *call) {
        const char *target = platform_sigv4_header(&call->exchange->request, "X-Amz-Target"),
                   *dot = target ? strchr(target, '.') : NULL;

        switch (call->service) {
        case SERVICE_S3:
                return strcmp(call->exchange->request.method, "HEAD") == 0 ? "HeadObject" : "GetObject";
        case SERVICE_FILES:
                return "GET";
        default:
                return dot ? dot + 1 : "";
        }
}

static void handle_call(CarrierCall *call, const char *bucket) {
        Faults *faults = call->carriers->faults;
        FaultKind fault;
        int read;

        read = call->service == SERVICE_S3 || call->service == SERVICE_FILES
                               ? carrier_read_object(call, bucket)
                               : carrier_read_json(call);
        bool spoilt = misbehave_before(call->exchange, faults, call->service, call->operation, &fault);
        if (!spoilt) {
                if (run(call, read) < 0)
                        carrier_reply_error(call);
                spoilt = misbehave_after(call->exchange, faults, call->service, call->operation, &fault);
        }
        add_headers(call);
        if (!spoilt && call->fault != _FAULT_KIND_MAX) {
                fault = call->fault;
                spoilt = true;
        }
        write_event(call, spoilt ? &fault : NULL);
}

void carriers_handle(Exchange *exchange, void *userdata) {
        const char *host = platform_sigv4_header(&exchange->request, "Host");
        Carriers *carriers = userdata;
        FaultValue clock_fault = {};
        size_t bucket_length = 0;
        int service = host ? service_of(carriers, host, &bucket_length) : -1;

        if (service < 0 || exchange->oversized) {
                exchange_reply_text(exchange, service < 0 ? 404 : 413, "");
                return;
        }

        _cleanup_free_ char *bucket = bucket_length > 0 ? strndup(host, bucket_length) : NULL;
        _cleanup_free_ CarrierCall *call = calloc(1, sizeof(*call));
        if (!call) {
                exchange_reply_text(exchange, 500, "");
                return;
        }
        call->carriers = carriers;
        call->exchange = exchange;
        call->fault = _FAULT_KIND_MAX;
        call->service = (Service) service;
        call->region = carriers->region;
        call->account = carriers->account;
        call->operation = operation_of(call);
        make_uuid(call->request_id);
        faults_take(carriers->faults, call->service, call->operation, FAULT_CLOCK, &clock_fault);
        call->now = time(NULL) + clock_fault.number;

        handle_call(call, bucket);

        free(call->container);
        free(call->name);
        free(call->version);
        caller_clear(&call->caller);
}
