/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/encoding.h"
#include "basic/json.h"
#include "source/fetch.h"

#define MESSAGE_MAX 240U

void fetch_request_clear(FetchRequest *request) {
        free(request->url);
        aws_headers_free(request->headers);
        free(request->body);
        *request = (FetchRequest){};
}

/* Percent-encodes all characters except the slash and the unreserved ones (RFC 3986 section 2.3). The caller frees. */
static char *percent_encode(const char *text) {
        static const char unreserved[] =
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
        char *encoded = malloc(3 * strlen(text) + 1), *end = encoded;

        if (!encoded)
                return NULL;
        for (; *text; text++)
                if (*text == '/' || strchr(unreserved, *text))
                        *end++ = *text;
                else
                        end += snprintf(end, 4, "%%%02X", (uint8_t) *text);
        *end = '\0';
        return encoded;
}

/* S3's wildcard certificate does not cover a host with more dots, so a bucket with dots in its name goes into the path. */
static int s3_request(const Fetch *fetch, const char *version_id, const AwsCredentials *credentials,
                      int64_t time, FetchRequest *request) {
        const Source *source = fetch->source;
        const char *domain = aws_domain(fetch->partition, false);
        bool in_path = strchr(source->bucket, '.');
        _cleanup_free_ char *key = percent_encode(source->location), *host = NULL, *path = NULL,
                            *version = NULL, *query = NULL;
        int r;

        if (!domain)
                return -EOPNOTSUPP;
        if (version_id) {
                version = percent_encode(version_id);
                if (!version || asprintf(&query, "versionId=%s", version) < 0)
                        return -ENOMEM;
        }
        if (!key ||
            asprintf(&host, "%s%ss3%s%s.%s.%s", in_path ? "" : source->bucket, in_path ? "" : ".",
                     fetch->fips ? "-fips" : "", fetch->dual_stack ? ".dualstack" : "", fetch->region,
                     domain) < 0 ||
            asprintf(&path, "%s%s/%s", in_path ? "/" : "", in_path ? source->bucket : "", key) < 0 ||
            asprintf(&request->url, "https://%s%s%s%s", host, path, query ? "?" : "", query ?: "") < 0)
                return -ENOMEM;

        request->method = "GET";
        r = aws_sign(&(AwsRequest){ .method = "GET", .host = host, .path = path, .query = query },
                     fetch->region, "s3", credentials, time, &request->headers);
        return r;
}

/* The services that speak JSON, and what each is asked. */
static const struct Service {
        const char *name, *target, *member;
} services[] = {
        [SOURCE_SSM] = { "ssm", "AmazonSSM.GetParameter", "Name" },
        [SOURCE_SECRETS_MANAGER] = { "secretsmanager", "secretsmanager.GetSecretValue", "SecretId" },
};

/* Secrets Manager has one domain for ordinary and dual-stack endpoints in the partitions aws, aws-us-gov and, except for FIPS
 * endpoints, aws-cn. */
static bool has_one_domain(const Fetch *fetch) {
        return fetch->source->kind == SOURCE_SECRETS_MANAGER &&
               (strcmp(fetch->partition, "aws") == 0 || strcmp(fetch->partition, "aws-us-gov") == 0 ||
                (strcmp(fetch->partition, "aws-cn") == 0 && !fetch->fips));
}

/* In the partition aws-us-gov the ordinary endpoints of Parameter Store are FIPS endpoints. */
static int json_host(const Fetch *fetch, const struct Service *service, char **ret) {
        bool is_ssm = fetch->source->kind == SOURCE_SSM,
             dual_stack = fetch->dual_stack && !has_one_domain(fetch),
             fips = fetch->fips &&
                    !(is_ssm && strcmp(fetch->partition, "aws-us-gov") == 0 && !fetch->dual_stack);
        const char *domain = aws_domain(fetch->partition, dual_stack);

        if (!domain)
                return -EOPNOTSUPP;
        return asprintf(ret, "%s%s.%s.%s", service->name, fips ? "-fips" : "", fetch->region, domain) < 0
                               ? -ENOMEM
                               : 0;
}

static int json_body(const struct Service *service, const char *location, char **ret) {
        _cleanup_json_ struct json_object *request = json_object_new_object();
        struct json_object *value = json_object_new_string(location);

        if (!request || !value || json_object_object_add(request, service->member, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return json_format(request, ret);
}

static int json_request(const Fetch *fetch, const AwsCredentials *credentials, int64_t time,
                        FetchRequest *request) {
        const struct Service *service = services + fetch->source->kind;
        _cleanup_free_ char *host = NULL;
        int r;

        r = json_host(fetch, service, &host);
        if (r >= 0)
                r = json_body(service, fetch->source->location, &request->body);
        if (r < 0)
                return r;
        if (asprintf(&request->url, "https://%s/", host) < 0)
                return -ENOMEM;
        request->method = "POST";
        return aws_sign(&(AwsRequest){ .method = "POST",
                                       .host = host,
                                       .path = "/",
                                       .target = service->target,
                                       .body = request->body },
                        fetch->region, service->name, credentials, time, &request->headers);
}

static int https_request(const Fetch *fetch, FetchRequest *request) {
        request->method = "GET";
        request->url = strdup(fetch->source->location);
        return request->url ? 0 : -ENOMEM;
}

/* Adds a header to those of a request. S3 does not demand that it is signed. */
static int add_header(FetchRequest *request, char *header) {
        size_t n = 0;
        char **longer;

        while (request->headers && request->headers[n])
                n++;
        longer = header ? reallocarray(request->headers, n + 2, sizeof(*longer)) : NULL;
        if (!longer) {
                free(header);
                return -ENOMEM;
        }
        longer[n] = header;
        longer[n + 1] = NULL;
        request->headers = longer;
        return 0;
}

static char *range_header(const FetchRange *range) {
        char *header;

        return asprintf(&header, "Range: bytes=%" PRIu64 "-%" PRIu64, range->first, range->last) < 0
                               ? NULL
                               : header;
}

static char *match_header(const FetchRange *range) {
        char *header;

        return asprintf(&header, "If-Match: %s", range->version->etag) < 0 ? NULL : header;
}

int fetch_range_request(const Fetch *fetch, const FetchRange *range, const AwsCredentials *credentials,
                        int64_t time, FetchRequest *ret) {
        _cleanup_(fetch_request_clear) FetchRequest request = {};
        const ObjectVersion *version = range->version;
        const char *version_id = fetch->source->version;
        int r;

        if (!version_id && version && version->ranges && !range->without_version_id)
                version_id = version->version;
        if (fetch->source->kind == SOURCE_HTTPS)
                r = https_request(fetch, &request);
        else if (fetch->source->kind == SOURCE_S3 && credentials)
                r = s3_request(fetch, version_id, credentials, time, &request);
        else
                r = -EINVAL;
        if (r >= 0 && (!version || version->ranges))
                r = add_header(&request, range_header(range));
        if (r >= 0 && version && version->etag)
                r = add_header(&request, match_header(range));
        if (r < 0)
                return r;
        *ret = TAKE(request, (FetchRequest){});
        return 0;
}

int fetch_request(const Fetch *fetch, const AwsCredentials *credentials, int64_t time, FetchRequest *ret) {
        _cleanup_(fetch_request_clear) FetchRequest request = {};
        int r;

        switch (fetch->source->kind) {
        case SOURCE_HTTPS:
                r = https_request(fetch, &request);
                break;
        case SOURCE_S3:
                r = credentials ? s3_request(fetch, fetch->source->version, credentials, time, &request)
                                : -EINVAL;
                break;
        case SOURCE_SSM:
        case SOURCE_SECRETS_MANAGER:
                r = credentials ? json_request(fetch, credentials, time, &request) : -EINVAL;
                break;
        default:
                r = -EINVAL;
        }
        if (r < 0)
                return r;
        *ret = TAKE(request, (FetchRequest){});
        return 0;
}

/* Parameter Store answers with the ciphertext as a string, Secrets Manager with a string or bytes. */

static int ssm_value(const Fetch *fetch, struct json_object *reply, const char **ret, Error *error) {
        struct json_object *parameter = json_member(reply, "Parameter");
        const char *type = json_member_string(parameter, "Type"),
                   *value = json_member_string(parameter, "Value");

        if (type && strcmp(type, "SecureString") == 0)
                return error_set(
                                error, -EINVAL, FAILURE_SOURCE,
                                "%s: The parameter is a SecureString. Parameter Store decrypts a SecureString for everyone with the role, whatever booted. Store the ciphertext that \"aws kms encrypt\" returns as a parameter of type String.",
                                fetch->source->label);
        if (!type || strcmp(type, "String") != 0 || !value)
                return error_set(error, -EBADMSG, FAILURE_SOURCE,
                                 "%s: The answer has no parameter of type String.", fetch->source->label);
        *ret = value;
        return 0;
}

/* The one string of a secret that is a JSON object, as the AWS console makes them. Its other members are not told: they may be
 * passwords. */
static int secret_member(const Fetch *fetch, const char *text, struct json_object **ret_object,
                         const char **ret, Error *error) {
        const char *label = fetch->source->label, *name = fetch->source->member;
        struct json_object *member;
        int r = text ? json_parse(text, strlen(text), ret_object) : -EBADMSG;

        if (r == -ENOMEM)
                return error_oom(error);
        if (!text)
                return error_set(
                                error, -EBADMSG, FAILURE_SOURCE,
                                "%.200s: The secret is binary and has no members. Leave \"#%s\" out of Source=.",
                                label, name);
        if (r < 0 || !json_object_is_type(*ret_object, json_type_object))
                return error_set(
                                error, -EBADMSG, FAILURE_SOURCE,
                                "%.200s: The secret is no JSON object, so it has no members. Leave \"#%s\" out of Source=, or store {\"%s\": \"CIPHERTEXT\"}.",
                                label, name, name);
        member = json_member(*ret_object, name);
        if (!member)
                return error_set(
                                error, -ENOENT, FAILURE_SOURCE,
                                "%.200s: The secret has no member \"%s\". Capital and small letters count. Correct Source=, or add the member.",
                                label, name);
        if (!json_object_is_type(member, json_type_string))
                return error_set(
                                error, -EBADMSG, FAILURE_SOURCE,
                                "%.200s: The member \"%s\" of the secret is no string. Only a string on the first level can be a sealed secret, in base64.",
                                label, name);
        *ret = json_object_get_string(member);
        return 0;
}

static int json_reply(const Fetch *fetch, const FetchReply *reply, uint8_t **ret, size_t *ret_size,
                      Error *error) {
        _cleanup_json_ struct json_object *object = NULL, *secret = NULL;
        _cleanup_free_ uint8_t *binary = NULL;
        const char *value = NULL, *encoded;
        size_t size = 0;
        int r;

        r = json_parse(reply->body, reply->size, &object);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return error_set_remedy(error, r, FAILURE_UNAVAILABLE, REMEDY_RETRY,
                                        "%s: The answer is not JSON.", fetch->source->label);
        if (fetch->source->kind == SOURCE_SSM) {
                r = ssm_value(fetch, object, &value, error);
                if (r < 0)
                        return r;
        } else {
                value = json_member_string(object, "SecretString");
                encoded = json_member_string(object, "SecretBinary");
                r = encoded ? base64_decode(encoded, strlen(encoded), &binary, &size) : 0;
                if (r == -ENOMEM)
                        return error_oom(error);
                if (r < 0 || !value == !encoded)
                        return error_set(
                                        error, -EBADMSG, FAILURE_SOURCE,
                                        "%s: The answer has neither SecretString nor SecretBinary, or it is malformed.",
                                        fetch->source->label);
                r = fetch->source->member ? secret_member(fetch, value, &secret, &value, error) : 0;
                if (r < 0)
                        return r;
        }
        if (value)
                return source_take(fetch->source, value, strlen(value), fetch->maximum, ret, ret_size,
                                   error);
        return source_take(fetch->source, binary, size, fetch->maximum, ret, ret_size, error);
}

bool fetch_xml_text(const char *xml, size_t size, const char *name, char *ret, size_t ret_size) {
        size_t name_size = strlen(name);

        for (const char *end = xml + size, *tag = xml; (tag = memchr(tag, '<', (size_t) (end - tag)));
             tag++) {
                const char *text = tag + 1 + name_size, *stop;

                if ((size_t) (end - tag) <= 1 + name_size || memcmp(tag + 1, name, name_size) != 0 ||
                    *text != '>')
                        continue;
                text++;
                stop = memchr(text, '<', (size_t) (end - text));
                if (!stop || (size_t) (stop - text) >= ret_size ||
                    memchr(text, '\0', (size_t) (stop - text)))
                        return false;
                *((char *) mempcpy(ret, text, (size_t) (stop - text))) = '\0';
                return true;
        }
        return false;
}

/* Reads the name and the message of an error, which is JSON or XML. */
static void read_error(const FetchReply *reply, char *code, size_t code_size, char *message,
                       size_t message_size) {
        _cleanup_json_ struct json_object *object = NULL;
        char type[128] = "";
        const char *text = NULL;

        *message = '\0';
        if (json_parse(reply->body, reply->size, &object) >= 0) {
                text = json_member_string(object, "message") ?: json_member_string(object, "Message");
                aws_error_code(json_member_string(object, "__type") ?: reply->error_type ?: "", code,
                               code_size);
                (void) aws_quotable(text ?: "", message, message_size);
                return;
        }
        if (!fetch_xml_text(reply->body, reply->size, "Code", type, sizeof(type)) && reply->error_type)
                (void) snprintf(type, sizeof(type), "%s", reply->error_type);
        aws_error_code(type, code, code_size);
        if (fetch_xml_text(reply->body, reply->size, "Message", message, message_size))
                (void) aws_quotable(message, message, message_size);
}

/* Returns advice for a failure that stays. */
static const char *advice_for(SourceKind kind, const char *code) {
        static const struct {
                SourceKind kind;
                const char *code, *advice;
        } advices[] = {
                { SOURCE_S3, "AccessDenied",
                  "The role of this instance needs s3:GetObject (s3:GetObjectVersion with versionId=). Without s3:ListBucket, S3 gives this answer for a missing object too." },
                { SOURCE_S3, "NoSuchKey",
                  "The object does not exist. Write its key in Source= as it is, not percent-encoded." },
                { SOURCE_S3, "NoSuchBucket", "The bucket does not exist." },
                { SOURCE_S3, "NoSuchVersion", "This version of the object does not exist." },
                { SOURCE_S3, "MethodNotAllowed", "This version is a delete marker." },
                { SOURCE_S3, "AuthorizationHeaderMalformed", "The bucket is in another Region." },
                { SOURCE_S3, "PermanentRedirect", "The bucket is in another Region." },
                { SOURCE_S3, "InvalidObjectState", "The object is archived." },
                { SOURCE_SSM, "AccessDeniedException",
                  "The role of this instance needs ssm:GetParameter for the parameter." },
                { SOURCE_SSM, "ParameterNotFound",
                  "The parameter does not exist in this Region (SourceRegion=) and account." },
                { SOURCE_SSM, "ParameterVersionNotFound", "This version of the parameter does not exist." },
                { SOURCE_SECRETS_MANAGER, "AccessDeniedException",
                  "The role of this instance needs secretsmanager:GetSecretValue for the secret." },
                { SOURCE_SECRETS_MANAGER, "ResourceNotFoundException",
                  "The secret does not exist in this Region (SourceRegion=) and account." },
                { SOURCE_SECRETS_MANAGER, "InvalidRequestException",
                  "The secret may be scheduled for deletion." },
        };

        for (size_t i = 0; i < ELEMENTSOF(advices); i++)
                if (advices[i].kind == kind && strcmp(advices[i].code, code) == 0)
                        return advices[i].advice;
        return "";
}

/* By AwsErrorClass. advice NULL: advice_for() has it. */
static const struct ErrorClass {
        Failure failure;
        Remedy remedy;
        const char *what, *advice;
} classes[] = {
        [AWS_OTHER] = { FAILURE_SOURCE, REMEDY_NONE, "The service refuses the request", NULL },
        [AWS_THROTTLED] = { FAILURE_UNAVAILABLE, REMEDY_RETRY, "The service throttles requests", "" },
        [AWS_UNAVAILABLE] = { FAILURE_UNAVAILABLE, REMEDY_RETRY,
                              "The service is not available at the moment", "" },
        [AWS_CREDENTIALS] = { FAILURE_ROLE, REMEDY_CREDENTIALS,
                              "The service does not accept the credentials of the instance's role", "" },
        [AWS_SIGNATURE] = { FAILURE_ROLE, REMEDY_CREDENTIALS,
                            "The service does not accept the request's signature",
                            "The clock is right, so the credentials from IMDS are wrong." },
        [AWS_CLOCK] = { FAILURE_CLOCK, REMEDY_CLOCK,
                        "The clock of this machine is wrong by more than four minutes",
                        "unseald signs with AWS's time from now on." },
        [AWS_CLOCK_UNKNOWN] = { FAILURE_CLOCK, REMEDY_RETRY,
                                "The service says that the clock of this machine is wrong, but not by how much",
                                "Set the clock." },
};

static int aws_error(const Fetch *fetch, const FetchReply *reply, Error *error) {
        const SourceKind kind = fetch->source->kind;
        char code[sizeof(error->code)], message[MESSAGE_MAX], region[80] = "";
        const struct ErrorClass *class;
        const char *advice;

        read_error(reply, code, sizeof(code), message, sizeof(message));
        class = classes + aws_error_class(code, reply->status, reply->skew);
        advice = class->advice ?: advice_for(kind, code);
        if (kind == SOURCE_S3 && reply->bucket_region && aws_is_region(reply->bucket_region) &&
            strcmp(reply->bucket_region, fetch->region) != 0)
                (void) snprintf(region, sizeof(region), " Set SourceRegion=%s.", reply->bucket_region);

        (void) error_set_remedy(error, -EREMOTEIO, class->failure, class->remedy,
                                "%.200s: %s (HTTP status %u%s%s)%s%s%s.%s%s%s", fetch->source->label,
                                class->what, reply->status, *code ? ", " : "", code, *message ? ": \"" : "",
                                message, *message ? "\"" : "", *advice ? " " : "", advice, region);
        if (error)
                memcpy(error->code, code, sizeof(code));
        return -EREMOTEIO;
}

static int https_error(const Fetch *fetch, const FetchReply *reply, Error *error) {
        unsigned status = reply->status;
        bool may_pass = status >= 500 || status == 429 || status == 408 || status == 425;

        return error_set_remedy(
                        error, -EREMOTEIO, may_pass ? FAILURE_UNAVAILABLE : FAILURE_SOURCE,
                        may_pass ? REMEDY_RETRY : REMEDY_NONE, "%s: The server answers HTTP status %u%s.",
                        fetch->source->label, status,
                        status >= 300 && status <= 399
                                        ? ", and unseald does not follow redirects. Source= must name the final URL"
                                        : "");
}

static void set_request_id(const FetchReply *reply, Error *error) {
        if (error)
                (void) aws_quotable(reply->request_id ?: "", error->request_id, sizeof(error->request_id));
}

int fetch_refused(const Fetch *fetch, const FetchReply *reply, Error *error) {
        int r = source_is_signed(fetch->source) ? aws_error(fetch, reply, error)
                                                : https_error(fetch, reply, error);

        if (error)
                error->retry_after_usec = reply->retry_after_usec;
        set_request_id(reply, error);
        return r;
}

/* What a status says of an object whose first bytes have come already. */
static const char *changed_object(unsigned status) {
        switch (status) {
        case 404:
        case 410:
                return "deleted";
        case 412:
                return "replaced";
        case 416:
                return "replaced by a shorter one";
        default:
                return NULL;
        }
}

int fetch_range_refused(const Fetch *fetch, const FetchRange *range, const FetchReply *reply, Error *error) {
        const char *changed = range->version ? changed_object(reply->status) : NULL;
        Error ignored;
        int r;

        error = error ?: &ignored;
        if (changed)
                r = error_set_remedy(
                                error, -ESTALE, FAILURE_UNAVAILABLE, REMEDY_RETRY,
                                "%.200s: Somebody has %s the object since its first bytes came (HTTP status %u). unseald fetches it from the beginning.",
                                fetch->source->label, changed, reply->status);
        else {
                r = fetch_refused(fetch, reply, error);
                if (reply->status == 416 && !range->version)
                        r = error_set(error, -ENODATA, FAILURE_SOURCE, "%.200s: The %s is empty.",
                                      fetch->source->label, source_content(fetch->source));
                else if (reply->status == 403 && strcmp(error->code, "AccessDenied") == 0)
                        r = -EACCES;
        }
        set_request_id(reply, error);
        return r;
}

int fetch_reply(const Fetch *fetch, const FetchReply *reply, uint8_t **ret, size_t *ret_size, Error *error) {
        int r;

        if (reply->status == 200) {
                r = fetch->source->kind == SOURCE_SSM || fetch->source->kind == SOURCE_SECRETS_MANAGER
                                    ? json_reply(fetch, reply, ret, ret_size, error)
                                    : source_take(fetch->source, reply->body, reply->size, fetch->maximum,
                                                  ret, ret_size, error);
        } else
                r = fetch_refused(fetch, reply, error);
        if (r < 0)
                set_request_id(reply, error);
        return r;
}
