/* SPDX-License-Identifier: Apache-2.0 */

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "basic/encoding.h"
#include "basic/json.h"
#include "imds.h"
#include "misbehave.h"

#define TOKEN_TTL_MAX 21600
#define USER_DATA_MAX 16384U
#define CREDENTIALS_LIFETIME (6 * 60 * 60)
#define CREDENTIALS_RENEWAL (15 * 60)
#define IMAGE_ID "ami-0123456789abcdef0"

typedef struct TokenContent {
        uint8_t expires[8]; /* big-endian */
        uint8_t mac[32];
} TokenContent;

struct Imds {
        char region[64];
        char zone[65];
        char instance_id[64];
        char account[ACCOUNT_ID_SIZE];
        char claimed_account[ACCOUNT_ID_SIZE];
        Accounts *accounts;
        Faults *faults;
        Trail *trail;
        uint8_t token_key[32];

        pthread_mutex_t mutex;
        char role[129]; /* empty: none */
        char instance_type[32];
        bool have_credentials;
        Credentials credentials;
        uint8_t *user_data;
        size_t user_data_size;
};

int platform_imds_new(const ImdsOptions *options, Imds **ret) {
        Imds *imds = calloc(1, sizeof(*imds));

        if (!imds)
                return -ENOMEM;
        snprintf(imds->region, sizeof(imds->region), "%s", options->region);
        snprintf(imds->zone, sizeof(imds->zone), "%sa", imds->region);
        snprintf(imds->instance_id, sizeof(imds->instance_id), "%s", options->instance_id);
        snprintf(imds->account, sizeof(imds->account), "%s", options->account);
        snprintf(imds->instance_type, sizeof(imds->instance_type), "m7i.large");
        imds->accounts = options->accounts;
        imds->faults = options->faults;
        imds->trail = options->trail;
        pthread_mutex_init(&imds->mutex, NULL);
        platform_imds_claim_account(imds, NULL);
        if (RAND_bytes(imds->token_key, sizeof(imds->token_key)) <= 0) {
                platform_imds_free(imds);
                return -EIO;
        }
        *ret = imds;
        return 0;
}

Imds *platform_imds_free(Imds *imds) {
        if (imds) {
                free(imds->user_data);
                pthread_mutex_destroy(&imds->mutex);
                OPENSSL_clear_free(imds, sizeof(*imds));
        }
        return NULL;
}

int platform_imds_set_role(Imds *imds, const char *role) {
        if (role && !accounts_has_role(imds->accounts, imds->account, role))
                return -ENOENT;

        pthread_mutex_lock(&imds->mutex);
        snprintf(imds->role, sizeof(imds->role), "%s", role ? role : "");
        imds->have_credentials = false;
        pthread_mutex_unlock(&imds->mutex);
        return 0;
}

int platform_imds_set_instance_type(Imds *imds, const char *type) {
        if (strlen(type) >= sizeof(imds->instance_type))
                return -EINVAL;
        pthread_mutex_lock(&imds->mutex);
        (void) stpcpy(imds->instance_type, type);
        pthread_mutex_unlock(&imds->mutex);
        return 0;
}

void platform_imds_claim_account(Imds *imds, const char *account) {
        pthread_mutex_lock(&imds->mutex);
        snprintf(imds->claimed_account, sizeof(imds->claimed_account), "%s",
                 account ? account : imds->account);
        pthread_mutex_unlock(&imds->mutex);
}

int platform_imds_set_user_data(Imds *imds, const void *data, size_t size) {
        uint8_t *copy = NULL;

        if (size > USER_DATA_MAX)
                return -EFBIG;
        if (data) {
                copy = malloc(size + 1);
                if (!copy)
                        return -ENOMEM;
                memcpy(copy, data, size);
        }

        pthread_mutex_lock(&imds->mutex);
        free(imds->user_data);
        imds->user_data = copy;
        imds->user_data_size = copy ? size : 0;
        pthread_mutex_unlock(&imds->mutex);
        return 0;
}

static void reply_status(Exchange *exchange, unsigned status, const char *phrase) {
        char page[512];

        snprintf(page, sizeof(page),
                 "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n"
                 "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n"
                 "\t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n"
                 "<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n"
                 " <head>\n  <title>%u - %s</title>\n </head>\n <body>\n  <h1>%u - %s</h1>\n "
                 "</body>\n</html>\n",
                 status, phrase, status, phrase);
        exchange_reply_text(exchange, status, page);
        exchange_add_header(exchange, "Content-Type", "text/html");
}

/* A token holds the time at which it ends, and a MAC over it. So the service stores no tokens. */
static void make_token(const Imds *imds, int64_t expires, TokenContent *ret) {
        for (size_t i = 0; i < sizeof(ret->expires); i++)
                ret->expires[i] = (uint8_t) ((uint64_t) expires >> (56 - 8 * i));
        HMAC(EVP_sha256(), imds->token_key, sizeof(imds->token_key), ret->expires, sizeof(ret->expires),
             ret->mac, NULL);
}

/* Returns the seconds that the token is still valid, or -1 for an invalid token. */
static int64_t token_left(const Imds *imds, const char *text, int64_t now) {
        _cleanup_free_ uint8_t *bytes = NULL;
        TokenContent content, wanted;
        size_t size;
        uint64_t expires = 0;

        if (base64_decode(text, strlen(text), &bytes, &size) < 0 || size != sizeof(content))
                return -1;
        memcpy(&content, bytes, sizeof(content));
        for (size_t i = 0; i < sizeof(content.expires); i++)
                expires = expires << 8 | content.expires[i];
        make_token(imds, (int64_t) expires, &wanted);
        if (CRYPTO_memcmp(content.mac, wanted.mac, sizeof(wanted.mac)) != 0 || (int64_t) expires <= now)
                return -1;
        return (int64_t) expires - now;
}

static void put_token(Imds *imds, Exchange *exchange, int64_t now) {
        const char *ttl_text =
                        platform_sigv4_header(&exchange->request, "X-aws-ec2-metadata-token-ttl-seconds");
        _cleanup_free_ char *text = NULL;
        TokenContent content;
        char *end = NULL;
        long ttl;

        /* A request that a proxy forwarded does not come from the instance. */
        if (platform_sigv4_header(&exchange->request, "X-Forwarded-For")) {
                reply_status(exchange, 403, "Forbidden");
                return;
        }
        ttl = ttl_text && isdigit((unsigned char) ttl_text[0]) ? strtol(ttl_text, &end, 10) : 0;
        if (!end || *end || ttl < 1 || ttl > TOKEN_TTL_MAX) {
                reply_status(exchange, 400, "Bad Request");
                return;
        }

        make_token(imds, now + ttl, &content);
        if (base64_encode(&content, sizeof(content), &text) < 0) {
                reply_status(exchange, 500, "Internal Server Error");
                return;
        }
        exchange_reply_text(exchange, 200, text);
        exchange_add_header(exchange, "Content-Type", "text/plain");
        exchange_add_header(exchange, "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "%ld", ttl);
}

static void add_string(struct json_object *object, const char *name, const char *value) {
        json_object_object_add(object, name, value ? json_object_new_string(value) : NULL);
}

static void reply_json(Exchange *exchange, struct json_object *object) {
        exchange_reply_text(exchange, 200,
                            json_object_to_json_string_ext(object,
                                                           JSON_C_TO_STRING_PRETTY |
                                                                           JSON_C_TO_STRING_NOSLASHESCAPE));
        exchange_add_header(exchange, "Content-Type", "text/plain");
}

/* Called with the mutex held. Replaces credentials that have expired or soon will, as EC2 does. */
static int current_credentials(Imds *imds, int64_t now, Credentials *ret) {
        if (faults_take(imds->faults, SERVICE_IMDS, "credentials", FAULT_EXPIRED_CREDENTIALS, NULL))
                return accounts_issue(imds->accounts, imds->account, imds->role, imds->instance_id,
                                      now - CREDENTIALS_LIFETIME - 60, now - 60, ret);

        if (!imds->have_credentials || imds->credentials.expires - now < CREDENTIALS_RENEWAL) {
                int r = accounts_issue(imds->accounts, imds->account, imds->role, imds->instance_id, now,
                                       now + CREDENTIALS_LIFETIME, &imds->credentials);
                if (r < 0)
                        return r;
                imds->have_credentials = true;
        }
        *ret = imds->credentials;
        return 0;
}

static void get_credentials(Imds *imds, Exchange *exchange, const char *role, int64_t now) {
        _cleanup_json_ struct json_object *object = json_object_new_object();
        char issued[TIME_TEXT_SIZE], expires[TIME_TEXT_SIZE];
        Credentials credentials;
        FaultValue fault;
        int r = -ENOENT;

        if (faults_take(imds->faults, SERVICE_IMDS, "credentials", FAULT_ERROR, &fault)) {
                format_time(now, issued);
                add_string(object, "Code", fault.text);
                add_string(object, "Message", fault.message);
                add_string(object, "LastUpdated", issued);
                reply_json(exchange, object);
                return;
        }

        pthread_mutex_lock(&imds->mutex);
        if (*imds->role && strcmp(imds->role, role) == 0)
                r = current_credentials(imds, now, &credentials);
        pthread_mutex_unlock(&imds->mutex);
        if (r < 0) {
                reply_status(exchange, 404, "Not Found");
                return;
        }

        format_time(credentials.issued, issued);
        format_time(credentials.expires, expires);
        add_string(object, "Code", "Success");
        add_string(object, "LastUpdated", issued);
        add_string(object, "Type", "AWS-HMAC");
        add_string(object, "AccessKeyId", credentials.access_key_id);
        add_string(object, "SecretAccessKey", credentials.secret);
        add_string(object, "Token", credentials.token);
        add_string(object, "Expiration", expires);
        reply_json(exchange, object);
        OPENSSL_cleanse(&credentials, sizeof(credentials));
}

static void copy_role(Imds *imds, char ret[static sizeof(((Imds *) NULL)->role)]) {
        pthread_mutex_lock(&imds->mutex);
        memcpy(ret, imds->role, sizeof(imds->role));
        pthread_mutex_unlock(&imds->mutex);
}

static void get_role(Imds *imds, Exchange *exchange) {
        char role[sizeof(imds->role)];

        copy_role(imds, role);
        if (!*role) {
                reply_status(exchange, 404, "Not Found");
                return;
        }
        exchange_reply_text(exchange, 200, role);
        exchange_add_header(exchange, "Content-Type", "text/plain");
}

static void get_instance_type(Imds *imds, char ret[static sizeof(((Imds *) NULL)->instance_type)]) {
        pthread_mutex_lock(&imds->mutex);
        memcpy(ret, imds->instance_type, sizeof(imds->instance_type));
        pthread_mutex_unlock(&imds->mutex);
}

static void get_identity(Imds *imds, Exchange *exchange) {
        _cleanup_json_ struct json_object *object = json_object_new_object();
        char type[sizeof(imds->instance_type)];

        get_instance_type(imds, type);
        pthread_mutex_lock(&imds->mutex);
        add_string(object, "accountId", imds->claimed_account);
        pthread_mutex_unlock(&imds->mutex);
        add_string(object, "architecture", "x86_64");
        add_string(object, "availabilityZone", imds->zone);
        add_string(object, "billingProducts", NULL);
        add_string(object, "devpayProductCodes", NULL);
        add_string(object, "marketplaceProductCodes", NULL);
        add_string(object, "imageId", IMAGE_ID);
        add_string(object, "instanceId", imds->instance_id);
        add_string(object, "instanceType", type);
        add_string(object, "kernelId", NULL);
        add_string(object, "pendingTime", "2026-01-01T00:00:00Z");
        add_string(object, "privateIp", "10.0.0.10");
        add_string(object, "ramdiskId", NULL);
        add_string(object, "region", imds->region);
        add_string(object, "version", "2017-09-30");
        reply_json(exchange, object);
}

static void get_user_data(Imds *imds, Exchange *exchange) {
        char *copy = NULL;
        size_t size = 0;
        bool found;

        pthread_mutex_lock(&imds->mutex);
        found = imds->user_data;
        if (found) {
                size = imds->user_data_size;
                copy = malloc(size + 1);
                if (copy)
                        memcpy(copy, imds->user_data, size);
        }
        pthread_mutex_unlock(&imds->mutex);

        if (!found) {
                reply_status(exchange, 404, "Not Found");
                return;
        }
        exchange_reply(exchange, 200, copy, size);
        exchange_add_header(exchange, "Content-Type", "application/octet-stream");
}

/* Answers iam/info, which names the instance profile. The profile has the role's name, as the EC2 console
 * makes it. */
static void get_info(Imds *imds, Exchange *exchange, int64_t now) {
        _cleanup_json_ struct json_object *object = json_object_new_object();
        char role[sizeof(imds->role)], updated[TIME_TEXT_SIZE], arn[256];

        copy_role(imds, role);
        if (!*role) {
                reply_status(exchange, 404, "Not Found");
                return;
        }
        format_time(now, updated);
        snprintf(arn, sizeof(arn), "arn:aws:iam::%s:instance-profile/%s", imds->account, role);
        add_string(object, "Code", "Success");
        add_string(object, "LastUpdated", updated);
        add_string(object, "InstanceProfileArn", arn);
        add_string(object, "InstanceProfileId", "AIPA0123456789EXAMPLE");
        reply_json(exchange, object);
}

#define CREDENTIALS_DIRECTORY "meta-data/iam/security-credentials"
#define CREDENTIALS_PATH CREDENTIALS_DIRECTORY "/"
#define IDENTITY_PATH "dynamic/instance-identity/document"
#define INFO_PATH "meta-data/iam/info"

/* Every path below the version, sorted. Directories list only these, so no listing names a path that
 * answers 404. */
static const struct {
        const char *path;
        enum { ALWAYS, WITH_ROLE, WITH_USER_DATA } listed;
} paths[] = {
        { IDENTITY_PATH, ALWAYS },
        { "meta-data/ami-id", ALWAYS },
        { INFO_PATH, WITH_ROLE },
        { CREDENTIALS_PATH, WITH_ROLE },
        { "meta-data/instance-id", ALWAYS },
        { "meta-data/instance-type", ALWAYS },
        { "meta-data/local-ipv4", ALWAYS },
        { "meta-data/placement/availability-zone", ALWAYS },
        { "meta-data/placement/region", ALWAYS },
        { "meta-data/services/domain", ALWAYS },
        { "meta-data/services/partition", ALWAYS },
        { "user-data", WITH_USER_DATA },
};

/*
 * Lists a directory as EC2 does: one name in each line, and no newline at the end. The name of a directory
 * ends in a slash, except directly below the version, where EC2 lists "dynamic" and "meta-data". The
 * argument has no slash at its end.
 */
static bool list_directory(Imds *imds, const char *directory, char *ret, size_t size) {
        size_t length = strlen(directory), used = 0;
        const char *previous = "";
        size_t previous_length = 0;
        bool has_role, has_user_data;

        pthread_mutex_lock(&imds->mutex);
        has_role = *imds->role;
        has_user_data = imds->user_data;
        pthread_mutex_unlock(&imds->mutex);

        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                const char *name = paths[i].path;

                if ((paths[i].listed == WITH_ROLE && !has_role) ||
                    (paths[i].listed == WITH_USER_DATA && !has_user_data))
                        continue;
                if (length > 0) {
                        if (strncmp(name, directory, length) != 0 || name[length] != '/')
                                continue;
                        name += length + 1;
                }
                size_t name_length = strcspn(name, "/");
                if (name[name_length] == '/' && length > 0)
                        name_length++;
                if (name_length == 0 ||
                    (name_length == previous_length && strncmp(name, previous, name_length) == 0))
                        continue;
                int n = snprintf(ret + used, size - used, "%s%.*s", used > 0 ? "\n" : "", (int) name_length,
                                 name);
                if (n < 0 || (size_t) n >= size - used)
                        return false;
                used += (size_t) n;
                previous = name;
                previous_length = name_length;
        }
        return used > 0;
}

static void get_versions(Exchange *exchange) {
        exchange_reply_text(exchange, 200, "latest");
        exchange_add_header(exchange, "Content-Type", "text/plain");
}

static void get_metadata(Imds *imds, Exchange *exchange, const char *path) {
        char type[sizeof(imds->instance_type)], list[512], directory[64];
        const struct {
                const char *path;
                const char *value;
        } values[] = {
                { "meta-data/ami-id", IMAGE_ID },
                { "meta-data/instance-id", imds->instance_id },
                { "meta-data/instance-type", type },
                { "meta-data/local-ipv4", "10.0.0.10" },
                { "meta-data/placement/availability-zone", imds->zone },
                { "meta-data/placement/region", imds->region },
                { "meta-data/services/domain", "amazonaws.com" },
                { "meta-data/services/partition", "aws" },
        };
        const char *value = NULL;
        size_t length = strlen(path);

        get_instance_type(imds, type);
        for (size_t i = 0; i < ELEMENTSOF(values); i++)
                if (strcmp(values[i].path, path) == 0)
                        value = values[i].value;

        /* EC2 lists a directory with or without the slash at its end. */
        if (!value && length < sizeof(directory)) {
                snprintf(directory, sizeof(directory), "%s", path);
                if (length > 0 && directory[length - 1] == '/')
                        directory[length - 1] = '\0';
                if (list_directory(imds, directory, list, sizeof(list)))
                        value = list;
        }
        if (!value) {
                reply_status(exchange, 404, "Not Found");
                return;
        }
        exchange_reply_text(exchange, 200, value);
        exchange_add_header(exchange, "Content-Type", "text/plain");
}

static const char *after(const char *text, const char *prefix) {
        size_t length = strlen(prefix);

        return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

/* Returns the path below the version. The version is "latest" or a date; all versions answer alike. Returns
 * NULL for "/", which has no version. */
static const char *below_version(const char *target) {
        const char *version = target + strspn(target, "/");
        const char *path = version + strcspn(version, "/");

        return *version ? path + strspn(path, "/") : NULL;
}

/* The name by which faults and the log know a request. */
static const char *name_operation(const char *path) {
        if (!path)
                return "metadata";
        if (strcmp(path, "api/token") == 0)
                return "token";
        if (strcmp(path, CREDENTIALS_DIRECTORY) == 0 || strcmp(path, CREDENTIALS_PATH) == 0)
                return "role";
        if (after(path, CREDENTIALS_PATH))
                return "credentials";
        if (strcmp(path, IDENTITY_PATH) == 0)
                return "identity";
        if (strcmp(path, "user-data") == 0)
                return "user-data";
        return "metadata";
}

static void answer(Imds *imds, Exchange *exchange, const char *operation, const char *path, int64_t now) {
        const char *method = exchange->request.method;
        const char *token = platform_sigv4_header(&exchange->request, "X-aws-ec2-metadata-token");

        if (strcmp(operation, "token") == 0 && strcmp(method, "PUT") == 0) {
                put_token(imds, exchange, now);
                return;
        }
        if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
                reply_status(exchange, 405, "Method Not Allowed");
                return;
        }
        int64_t left = token ? token_left(imds, token, now) : -1;
        if (left < 0) {
                reply_status(exchange, 401, "Unauthorized");
                return;
        }
        exchange_add_header(exchange, "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "%lld", (long long) left);

        if (!path)
                get_versions(exchange);
        else if (strcmp(operation, "role") == 0)
                get_role(imds, exchange);
        else if (strcmp(operation, "credentials") == 0)
                get_credentials(imds, exchange, after(path, CREDENTIALS_PATH), now);
        else if (strcmp(operation, "identity") == 0)
                get_identity(imds, exchange);
        else if (strcmp(operation, "user-data") == 0)
                get_user_data(imds, exchange);
        else if (strcmp(path, INFO_PATH) == 0)
                get_info(imds, exchange, now);
        else
                get_metadata(imds, exchange, path);
}

static void write_event(Imds *imds, const Exchange *exchange, const char *operation, int64_t now,
                        const FaultKind *fault) {
        struct json_object *event = json_object_new_object();
        char time_text[TIME_TEXT_SIZE];

        format_time(now, time_text);
        add_string(event, "eventTime", time_text);
        add_string(event, "eventSource", "imds");
        add_string(event, "eventName", operation);
        add_string(event, "httpMethod", exchange->request.method);
        json_object_object_add(event, "httpStatus", json_object_new_int((int) exchange->status));
        add_string(event, "sourceIPAddress", exchange->source);
        if (fault)
                add_string(event, "platformFault", fault_kind_to_string(*fault));
        trail_write(imds->trail, event);
}

void platform_imds_handle(Exchange *exchange, void *userdata) {
        Imds *imds = userdata;
        const char *path = below_version(exchange->request.target);
        FaultValue clock_fault = {};
        FaultKind fault;
        char http_date[64];
        struct tm tm;

        const char *operation = name_operation(path);

        faults_take(imds->faults, SERVICE_IMDS, operation, FAULT_CLOCK, &clock_fault);
        time_t now = time(NULL) + clock_fault.number;
        gmtime_r(&now, &tm);
        strftime(http_date, sizeof(http_date), "%a, %d %b %Y %H:%M:%S GMT", &tm);

        bool spoilt = misbehave_before(exchange, imds->faults, SERVICE_IMDS, operation, &fault);
        if (!spoilt) {
                answer(imds, exchange, operation, path, now);
                spoilt = misbehave_after(exchange, imds->faults, SERVICE_IMDS, operation, &fault);
        }
        exchange_add_header(exchange, "Server", "EC2ws");
        exchange_add_header(exchange, "Date", "%s", http_date);
        exchange->close = true;
        write_event(imds, exchange, operation, now, spoilt ? &fault : NULL);
}
