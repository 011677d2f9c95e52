/* SPDX-License-Identifier: Apache-2.0 */

/*
 * GetObject (Amazon S3 API Reference), GetParameter (AWS Systems Manager API Reference), GetSecretValue (AWS
 * Secrets Manager API Reference), and the file server.
 */

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/encoding.h"
#include "basic/json.h"
#include "byte_range.h"
#include "carriers_internal.h"

/* Decodes percent-encoding. A percent sign that begins no valid code stays as it is. */
static char *percent_decode(const char *text, size_t length) {
        char *decoded = malloc(length + 1), *end = decoded;

        if (!decoded)
                return NULL;
        for (size_t i = 0; i < length; i++) {
                if (text[i] == '%' && i + 2 < length && isxdigit((unsigned char) text[i + 1]) &&
                    isxdigit((unsigned char) text[i + 2])) {
                        const char digits[3] = { text[i + 1], text[i + 2], '\0' };

                        *end++ = (char) strtoul(digits, NULL, 16);
                        i += 2;
                } else
                        *end++ = text[i];
        }
        *end = '\0';
        return decoded;
}

static char *query_value(const char *target, const char *name) {
        const char *query = strchr(target, '?');
        size_t name_length = strlen(name);

        while (query && *query) {
                const char *parameter = query + 1;
                size_t length = strcspn(parameter, "&");

                if (length > name_length && strncmp(parameter, name, name_length) == 0 &&
                    parameter[name_length] == '=')
                        return percent_decode(parameter + name_length + 1, length - name_length - 1);
                query = parameter + length;
        }
        return NULL;
}

int carrier_read_object(CarrierCall *call, const char *bucket) {
        const char *path = call->exchange->request.target + 1;
        size_t length = strcspn(path, "?");

        if (call->service == SERVICE_S3) {
                call->version = query_value(path, "versionId");
                if (bucket)
                        call->container = strdup(bucket);
                else {
                        size_t bucket_length = strcspn(path, "/?");

                        call->container = strndup(path, bucket_length);
                        path += bucket_length + (path[bucket_length] == '/');
                        length = strcspn(path, "?");
                }
                if (!call->container)
                        return -ENOMEM;
        }
        call->name = percent_decode(path, length);
        return call->name ? 0 : -ENOMEM;
}

int carrier_read_json(CarrierCall *call) {
        const SigV4Request *request = &call->exchange->request;
        bool ssm = call->service == SERVICE_SSM;
        _cleanup_json_ struct json_object *object = NULL;
        const char *name, *version;

        if (strcmp(request->method, "POST") != 0 ||
            strcmp(call->operation, ssm ? "GetParameter" : "GetSecretValue") != 0)
                return carrier_refuse(call, 400, "UnknownOperationException", "%s", "");
        if (json_parse((const char *) request->body, request->body_size, &object) < 0)
                return carrier_refuse(call, 400, "SerializationException", "%s", "");
        name = json_member_string(object, ssm ? "Name" : "SecretId");
        if (!name || !*name)
                return carrier_refuse(call, 400, "ValidationException", "%s must not be null",
                                      ssm ? "Name" : "SecretId");

        /* A name may end in :VERSION. An ARN has no version here. */
        version = ssm && strncmp(name, "arn:", 4) != 0 ? strchr(name, ':') : NULL;
        call->name = strndup(name, version ? (size_t) (version - name) : strlen(name));
        if (version)
                call->version = strdup(version + 1);
        return call->name && (!version || call->version) ? 0 : -ENOMEM;
}

static int check_content_hash(CarrierCall *call) {
        const SigV4Request *request = &call->exchange->request;
        const char *claimed = platform_sigv4_header(request, "X-Amz-Content-Sha256");
        unsigned char digest[32];
        _cleanup_free_ char *hex = NULL;

        if (!claimed)
                return carrier_refuse(call, 400, "InvalidRequest",
                                      "Missing required header for this request: x-amz-content-sha256");
        if (strcmp(claimed, "UNSIGNED-PAYLOAD") == 0)
                return 0;
        if (EVP_Digest(request->body ? request->body : (const uint8_t *) "", request->body_size, digest,
                       NULL, EVP_sha256(), NULL) <= 0 ||
            hex_encode(digest, sizeof(digest), &hex) < 0 || strcmp(hex, claimed) != 0)
                return carrier_refuse(call, 400, "XAmzContentSHA256Mismatch",
                                      "The provided 'x-amz-content-sha256' header does not match what was "
                                      "computed.");
        return 0;
}

static int missing_object(CarrierCall *call, bool may_list) {
        if (!may_list)
                return carrier_refuse(call, 403, "AccessDenied", "Access Denied");
        return call->version ? carrier_refuse(call, 404, "NoSuchVersion",
                                              "The specified version does not exist.")
                             : carrier_refuse(call, 404, "NoSuchKey", "The specified key does not exist.");
}

/* What a reply says of an object. */
typedef struct Said {
        char etag[64]; /* empty: nothing */
        const char *version;
        uint64_t first, size, total;
        const char *type, *encoding;
} Said;

static void say_less(CarrierCall *call, Said *said) {
        FaultValue value;

        if (!carrier_misbehaves(call, FAULT_IDENTITY, &value))
                return;
        said->version = strcmp(value.text, "suspended") == 0 && said->version ? "null" : NULL;
        if (strcmp(value.text, "weak") == 0) {
                memmove(said->etag + 2, said->etag, sizeof(said->etag) - 2);
                memcpy(said->etag, "W/", 2);
        } else if (strcmp(value.text, "none") == 0)
                said->etag[0] = '\0';
}

static void spoil_range(CarrierCall *call, Said *said, bool *ret_whole, bool *ret_unnamed,
                        int64_t *ret_longer) {
        FaultValue value;

        if (!carrier_misbehaves(call, FAULT_RANGE, &value))
                return;
        *ret_whole = strcmp(value.text, "whole") == 0;
        *ret_unnamed = strcmp(value.text, "unnamed") == 0;
        if (strcmp(value.text, "other") == 0) {
                said->size -= said->size > 1;
                said->first += said->first + said->size < said->total;
        } else if (strcmp(value.text, "total") == 0)
                said->total++;
        else if (strcmp(value.text, "short") == 0)
                *ret_longer = -1;
        else if (strcmp(value.text, "long") == 0)
                *ret_longer = said->first + said->size < said->total;
        else if (strcmp(value.text, "multipart") == 0)
                said->type = "multipart/byteranges; boundary=3d6b6a416f9b5";
        else if (strcmp(value.text, "encoded") == 0)
                said->encoding = "gzip";
}

static void add_object_headers(CarrierCall *call, const Said *said, int64_t modified) {
        exchange_add_header(call->exchange, "Content-Type", "%s", said->type);
        exchange_add_header(call->exchange, "Accept-Ranges", "bytes");
        carrier_add_date(call, "Last-Modified", modified);
        if (said->etag[0])
                exchange_add_header(call->exchange, "ETag", "%s", said->etag);
        if (said->version)
                exchange_add_header(call->exchange, "x-amz-version-id", "%s", said->version);
        if (said->encoding)
                exchange_add_header(call->exchange, "Content-Encoding", "%s", said->encoding);
}

int carrier_send_object(CarrierCall *call, const CarriedItem *item, bool has_versions) {
        const SigV4Request *request = &call->exchange->request;
        Said said = { .version = has_versions ? item->version : NULL,
                      .size = item->size,
                      .total = item->size,
                      .type = "binary/octet-stream" };
        bool whole = false, unnamed = false;
        uint64_t last = 0;
        int64_t longer = 0;

        snprintf(said.etag, sizeof(said.etag), "%s", item->etag);
        say_less(call, &said);
        if (!byte_range_matches(platform_sigv4_header(request, "If-Match"), said.etag))
                return carrier_refuse(call, 412, "PreconditionFailed",
                                      "At least one of the pre-conditions you specified did not hold");
        switch (byte_range_read(platform_sigv4_header(request, "Range"), item->size, &said.first, &last)) {
        case BYTE_RANGE_NOT_SATISFIABLE:
                call->object_size = item->size;
                return carrier_refuse(call, 416, "InvalidRange", "The requested range is not satisfiable");
        case BYTE_RANGE_PART:
                said.size = last - said.first + 1;
                spoil_range(call, &said, &whole, &unnamed, &longer);
                break;
        default:
                whole = true;
        }
        if (whole)
                exchange_reply_borrowed(call->exchange, 200, item->data, item->size);
        else
                exchange_reply_borrowed(call->exchange, 206, item->data + said.first,
                                        said.size + (uint64_t) longer);
        add_object_headers(call, &said, item->modified);
        if (!whole && !unnamed)
                exchange_add_header(call->exchange, "Content-Range",
                                    "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, said.first,
                                    said.first + said.size - 1, said.total);
        return 0;
}

int carrier_get_object(CarrierCall *call) {
        _cleanup_free_ char *bucket = NULL, *object = NULL;
        CarriedItem item;
        int r;

        if (strcmp(call->exchange->request.method, "GET") != 0 &&
            strcmp(call->exchange->request.method, "HEAD") != 0)
                return carrier_refuse(call, 405, "MethodNotAllowed",
                                      "The specified method is not allowed against this resource.");
        r = check_content_hash(call);
        if (r < 0)
                return r;
        if (asprintf(&bucket, "arn:aws:s3:::%s", call->container) < 0 ||
            asprintf(&object, "%s/%s", bucket, call->name) < 0)
                return carrier_refuse(call, 500, "InternalError", "Out of memory.");
        if (!carrier_allows(call, call->version ? "s3:GetObjectVersion" : "s3:GetObject", object))
                return carrier_refuse(call, 403, "AccessDenied",
                                      "User: %s is not authorized to perform: s3:GetObject%s on resource: "
                                      "\"%s\" because no identity-based policy allows it",
                                      call->caller.arn, call->version ? "Version" : "", object);
        carrier_replace(call, "");
        if (!carrier_find(call, "", &item, NULL))
                return missing_object(call, carrier_allows(call, "s3:ListBucket", bucket));

        r = carrier_send_object(call, &item, true);
        carried_item_clear(&item);
        return r;
}

static int deny(CarrierCall *call, const char *action, const char *resource) {
        return carrier_refuse(call, 400, "AccessDeniedException",
                              "User: %s is not authorized to perform: %s on resource: %s because no "
                              "identity-based policy allows the %s action",
                              call->caller.arn, action, resource, action);
}

static void add_string(struct json_object *object, const char *name, const char *value) {
        json_object_object_add(object, name, json_object_new_string(value));
}

static void reply_json(CarrierCall *call, unsigned status, struct json_object *object) {
        exchange_reply_text(call->exchange, status,
                            json_object_to_json_string_ext(object,
                                                           JSON_C_TO_STRING_PLAIN |
                                                                           JSON_C_TO_STRING_NOSLASHESCAPE));
        exchange_add_header(call->exchange, "Content-Type", "application/x-amz-json-1.1");
}

/* Returns the ARN of the item that the request names, which need not exist. A name that is an ARN already
 * is returned as it is. */
static char *arn_of(const CarrierCall *call, const char *prefix, const char *suffix) {
        bool ssm = call->service == SERVICE_SSM;
        char *arn;

        if (strncmp(call->name, "arn:", 4) == 0)
                return strdup(call->name);
        return asprintf(&arn, "%s%s%s", prefix, call->name + (ssm && call->name[0] == '/'), suffix) < 0
                               ? NULL
                               : arn;
}

int carrier_get_parameter(CarrierCall *call) {
        _cleanup_json_ struct json_object *reply = json_object_new_object();
        struct json_object *parameter = json_object_new_object();
        _cleanup_free_ char *prefix = NULL, *arn = NULL;
        CarriedItem item;
        unsigned number;

        json_object_object_add(reply, "Parameter", parameter);
        if (asprintf(&prefix, "arn:aws:ssm:%s:%s:parameter/", call->region, call->account) < 0 ||
            !(arn = arn_of(call, prefix, "")))
                return carrier_refuse(call, 500, "InternalServerError", "Out of memory.");
        if (!carrier_allows(call, "ssm:GetParameter", arn))
                return deny(call, "ssm:GetParameter", arn);
        if (!carrier_find(call, prefix, &item, &number))
                return carrier_refuse(call, 400,
                                      call->version ? "ParameterVersionNotFound" : "ParameterNotFound", "%s",
                                      "");

        add_string(parameter, "ARN", arn);
        add_string(parameter, "DataType", "text");
        json_object_object_add(parameter, "LastModifiedDate", json_object_new_int64(call->now));
        add_string(parameter, "Name", item.name);
        add_string(parameter, "Type", item.type);
        add_string(parameter, "Value", (const char *) item.data);
        json_object_object_add(parameter, "Version", json_object_new_int64(number));
        carried_item_clear(&item);
        reply_json(call, 200, reply);
        return 0;
}

int carrier_get_secret(CarrierCall *call) {
        _cleanup_json_ struct json_object *reply = json_object_new_object();
        struct json_object *stages = json_object_new_array();
        _cleanup_free_ char *prefix = NULL, *arn = NULL, *base64 = NULL;
        CarriedItem item;

        json_object_array_add(stages, json_object_new_string("AWSCURRENT"));
        json_object_object_add(reply, "VersionStages", stages);
        if (asprintf(&prefix, "arn:aws:secretsmanager:%s:%s:secret:", call->region, call->account) < 0 ||
            !(arn = arn_of(call, prefix, "-AbCdEf")))
                return carrier_refuse(call, 500, "InternalServiceError", "Out of memory.");
        if (!carrier_allows(call, "secretsmanager:GetSecretValue", arn))
                return deny(call, "secretsmanager:GetSecretValue", arn);
        if (!carrier_find(call, prefix, &item, NULL))
                return carrier_refuse(call, 400, "ResourceNotFoundException",
                                      "Secrets Manager can't find the specified secret.");

        add_string(reply, "ARN", arn);
        json_object_object_add(reply, "CreatedDate", json_object_new_int64(call->now));
        add_string(reply, "Name", item.name);
        add_string(reply, "VersionId", item.version);
        if (strcmp(item.type, "string") == 0)
                add_string(reply, "SecretString", (const char *) item.data);
        else if (base64_encode(item.data, item.size, &base64) >= 0)
                add_string(reply, "SecretBinary", base64);
        carried_item_clear(&item);
        reply_json(call, 200, reply);
        return 0;
}

int carrier_get_file(CarrierCall *call) {
        CarriedItem item;
        int r = 0;

        if (strcmp(call->exchange->request.method, "GET") != 0)
                return carrier_refuse(call, 405, "MethodNotAllowed", "%s", "");
        carrier_replace(call, "");
        if (!carrier_find(call, "", &item, NULL))
                return carrier_refuse(call, 404, "NotFound", "There is no such file.");
        if (strcmp(item.type, "redirect") == 0) {
                exchange_reply(call->exchange, 302, NULL, 0);
                exchange_add_header(call->exchange, "Location", "%s", (const char *) item.data);
        } else
                r = carrier_send_object(call, &item, false);
        carried_item_clear(&item);
        return r;
}

static void put_escaped(FILE *out, const char *text) {
        for (; *text; text++)
                switch (*text) {
                case '<':
                        fputs("&lt;", out);
                        break;
                case '>':
                        fputs("&gt;", out);
                        break;
                case '&':
                        fputs("&amp;", out);
                        break;
                case '"':
                        fputs("&quot;", out);
                        break;
                default:
                        fputc(*text, out);
                }
}

static void reply_xml(CarrierCall *call) {
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);

        if (!out)
                return;
        fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>",
                call->code);
        put_escaped(out, call->message);
        fprintf(out, "</Message>");
        if (strcmp(call->code, "AuthorizationHeaderMalformed") == 0)
                fprintf(out, "<Region>%s</Region>", call->region);
        if (strcmp(call->code, "InvalidRange") == 0)
                fprintf(out, "<ActualObjectSize>%" PRIu64 "</ActualObjectSize>", call->object_size);
        fprintf(out, "<RequestId>%s</RequestId><HostId>platform</HostId></Error>", call->request_id);
        if (fclose(out) != 0)
                return;
        exchange_reply(call->exchange, call->status, text, size);
        exchange_add_header(call->exchange, "Content-Type", "application/xml");
}

void carrier_reply_error(CarrierCall *call) {
        _cleanup_json_ struct json_object *object = json_object_new_object();

        if (call->service == SERVICE_FILES)
                exchange_reply_text(call->exchange, call->status, call->message);
        else if (call->service == SERVICE_S3)
                reply_xml(call);
        else {
                add_string(object, "__type", call->code);
                if (*call->message)
                        add_string(object,
                                   strcmp(call->code, "AccessDeniedException") == 0 ? "Message" : "message",
                                   call->message);
                reply_json(call, call->status, object);
        }
}
