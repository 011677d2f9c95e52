/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>

#include "aws/service.h"

#define JSON_TYPE "application/x-amz-json-1.1"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define REGION_MAX 31U

/* AWS accepts a signature whose time is wrong by up to five minutes. A Date header may be some seconds old. */
#define SKEW_MAX_SEC 240

const char *aws_domain(const char *partition, bool dual_stack) {
        static const struct {
                const char *partition, *domain, *dual_stack;
        } partitions[] = {
                { "aws", "amazonaws.com", "api.aws" },
                { "aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn" },
                { "aws-us-gov", "amazonaws.com", "api.aws" },
                { "aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu" },
                { "aws-iso", "c2s.ic.gov", "api.aws.ic.gov" },
                { "aws-iso-b", "sc2s.sgov.gov", "api.aws.scloud" },
                { "aws-iso-e", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk" },
                { "aws-iso-f", "csp.hci.ic.gov", "api.aws.hci.ic.gov" },
        };

        for (size_t i = 0; i < ELEMENTSOF(partitions); i++)
                if (strcmp(partition, partitions[i].partition) == 0)
                        return dual_stack ? partitions[i].dual_stack : partitions[i].domain;
        return NULL;
}

bool aws_is_region(const char *text) {
        size_t length = strlen(text);

        return length > 0 && length <= REGION_MAX && strspn(text, LOWER DIGITS "-") == length &&
               text[0] != '-' && text[length - 1] != '-';
}

const char *aws_partition_of(const char *region) {
        static const struct {
                const char *prefix, *partition;
        } others[] = {
                { "cn-", "aws-cn" },         { "us-gov-", "aws-us-gov" }, { "eusc-", "aws-eusc" },
                { "us-iso-", "aws-iso" },    { "us-isob-", "aws-iso-b" }, { "eu-isoe-", "aws-iso-e" },
                { "us-isof-", "aws-iso-f" }, { "us-iso", NULL },          { "eu-iso", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                if (strncmp(region, others[i].prefix, strlen(others[i].prefix)) == 0)
                        return others[i].partition;
        return "aws";
}

bool aws_is_header_value(const char *text) {
        size_t i;

        for (i = 0; text[i]; i++)
                if (text[i] <= ' ' || text[i] > '~')
                        return false;
        return i > 0;
}

char **aws_headers_free(char **headers) {
        for (char **header = headers; header && *header; header++)
                erase_and_free(*header);
        free(headers);
        return NULL;
}

/* asprintf() would leave copies of the session token behind while its buffer grows. */
static int append_header(char **headers, const char *name, const char *value) {
        char *header;

        if (!value)
                return 0;
        header = malloc(strlen(name) + strlen(": ") + strlen(value) + 1);
        if (!header)
                return -ENOMEM;
        (void) stpcpy(stpcpy(stpcpy(header, name), ": "), value);
        while (*headers)
                headers++;
        *headers = header;
        return 0;
}

int aws_sign(const AwsRequest *request, const char *region, const char *service,
             const AwsCredentials *credentials, int64_t time, char ***ret) {
        _cleanup_(aws_headers_freep) char **headers = calloc(8, sizeof(char *));
        _cleanup_free_ char *authorization = NULL;
        size_t body_size = request->body ? strlen(request->body) : 0;
        char date[SIGV4_DATE_SIZE], hash[65];
        int r;

        if (!headers)
                return -ENOMEM;
        r = sigv4_date(time, date);
        if (r >= 0)
                r = sigv4_body_hash(request->body, body_size, hash);
        if (r < 0)
                return r;
        if (append_header(headers, "Host", request->host) < 0 ||
            append_header(headers, "Content-Type", request->target ? JSON_TYPE : NULL) < 0 ||
            append_header(headers, "X-Amz-Content-Sha256", request->target ? NULL : hash) < 0 ||
            append_header(headers, "X-Amz-Date", date) < 0 ||
            append_header(headers, "X-Amz-Target", request->target) < 0 ||
            append_header(headers, "X-Amz-Security-Token", credentials->session_token) < 0)
                return -ENOMEM;

        const Sigv4Request to_sign = {
                .method = request->method,
                .path = request->path,
                .query = request->query,
                .headers = (const char *const *) headers,
                .body = request->body,
                .body_size = body_size,
                .s3 = !request->target,
        };
        r = sigv4_authorization(&to_sign, credentials, date, region, service, &authorization);
        if (r < 0)
                return r;
        if (append_header(headers, "Authorization", authorization) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(headers);
        return 0;
}

void aws_error_code(const char *type, char *ret, size_t size) {
        size_t length = strcspn(type, ":");
        const char *hash = memrchr(type, '#', length);

        if (hash) {
                length -= (size_t) (hash + 1 - type);
                type = hash + 1;
        }
        if (length >= size || strspn(type, UPPER LOWER DIGITS "._") < length)
                length = 0;
        *((char *) mempcpy(ret, type, length)) = '\0';
}

AwsErrorClass aws_error_class(const char *code, unsigned status, int64_t skew) {
        static const struct {
                const char *code;
                AwsErrorClass class;
        } known[] = {
                { "ThrottlingException", AWS_THROTTLED },
                { "Throttling", AWS_THROTTLED },
                { "ThrottledException", AWS_THROTTLED },
                { "RequestThrottled", AWS_THROTTLED },
                { "RequestThrottledException", AWS_THROTTLED },
                { "RequestLimitExceeded", AWS_THROTTLED },
                { "LimitExceededException", AWS_THROTTLED },
                { "LimitExceeded", AWS_THROTTLED },
                { "TooManyRequestsException", AWS_THROTTLED },
                { "SlowDown", AWS_THROTTLED },
                { "InternalError", AWS_UNAVAILABLE },
                { "InternalFailure", AWS_UNAVAILABLE },
                { "InternalServerError", AWS_UNAVAILABLE },
                { "InternalServiceError", AWS_UNAVAILABLE },
                { "RequestTimeout", AWS_UNAVAILABLE },
                { "ServiceUnavailable", AWS_UNAVAILABLE },
                { "ServiceUnavailableException", AWS_UNAVAILABLE },
                { "ExpiredToken", AWS_CREDENTIALS },
                { "ExpiredTokenException", AWS_CREDENTIALS },
                { "InvalidAccessKeyId", AWS_CREDENTIALS },
                { "InvalidClientTokenId", AWS_CREDENTIALS },
                { "InvalidToken", AWS_CREDENTIALS },
                { "UnrecognizedClientException", AWS_CREDENTIALS },
                { "InvalidSignatureException", AWS_SIGNATURE },
                { "SignatureDoesNotMatch", AWS_SIGNATURE },
                { "RequestExpired", AWS_CLOCK },
                { "RequestTimeTooSkewed", AWS_CLOCK },
                { "RequestTimeTooSkewedException", AWS_CLOCK },
        };
        bool skewed = skew != AWS_SKEW_UNKNOWN && (skew > SKEW_MAX_SEC || skew < -SKEW_MAX_SEC);

        for (size_t i = 0; i < ELEMENTSOF(known); i++) {
                if (strcmp(code, known[i].code) != 0)
                        continue;
                if (known[i].class == AWS_CLOCK && !skewed)
                        return AWS_CLOCK_UNKNOWN;
                /* For a wrong time AWS may say only that the signature is wrong. */
                return known[i].class == AWS_SIGNATURE && skewed ? AWS_CLOCK : known[i].class;
        }
        if (status == 429)
                return AWS_THROTTLED;
        return status >= 500 || status == 408 ? AWS_UNAVAILABLE : AWS_OTHER;
}

const char *aws_quotable(const char *text, char *buffer, size_t size) {
        size_t i;

        for (i = 0; text[i] && i < size - 1; i++)
                buffer[i] = text[i] < ' ' || text[i] > '~' || text[i] == '"' ? '?' : text[i];
        buffer[i] = '\0';
        return buffer;
}
