/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aws/imds-reply.h"
#include "aws/service.h"
#include "basic/json.h"

#define TOKEN_HEADER "X-aws-ec2-metadata-token: "

static int parse_expiration(const char *text, int64_t *ret) {
        struct tm tm = {};
        const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
        time_t t;

        if (!end || *end)
                return -EBADMSG;
        t = timegm(&tm);
        if (t < 0)
                return -EBADMSG;
        *ret = t;
        return 0;
}

static int take_string(struct json_object *reply, const char *name, char **ret) {
        const char *value = json_member_string(reply, name);

        if (!value || !aws_is_header_value(value))
                return -EBADMSG;
        *ret = strdup(value);
        return *ret ? 0 : -ENOMEM;
}

/* The code is for people, and only letters and digits of it. */
static int refused(const char *code, Error *error) {
        int r = error_set_remedy(
                        error, -ENODATA, FAILURE_ROLE, REMEDY_RETRY,
                        "EC2 has no credentials for the role of this instance. The role may just have been attached, or its trust policy does not name ec2.amazonaws.com.");
        size_t length = strspn(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");

        if (error && length < sizeof(error->code))
                *((char *) mempcpy(error->code, code, length)) = '\0';
        return r;
}

static int unreadable(const char *what, Error *error) {
        return error_set_remedy(error, -EBADMSG, FAILURE_IMDS, REMEDY_RETRY,
                                "IMDS gave a malformed answer for %s.", what);
}

int imds_credentials_parse(const char *text, size_t length, AwsCredentials *ret, Error *error) {
        _cleanup_(aws_credentials_clear) AwsCredentials credentials = {};
        _cleanup_json_ struct json_object *reply = NULL;
        const char *code, *expiration;
        int r;

        r = json_parse(text, length, &reply);
        if (r == -ENOMEM)
                return error_oom(error);
        if (r < 0)
                return unreadable("the role's credentials", error);
        code = json_member_string(reply, "Code");
        if (code && strcmp(code, "Success") != 0)
                return refused(code, error);

        expiration = json_member_string(reply, "Expiration");
        if (!code || !expiration || (r = parse_expiration(expiration, &credentials.expiration)) < 0 ||
            (r = take_string(reply, "AccessKeyId", &credentials.access_key_id)) < 0 ||
            (r = take_string(reply, "SecretAccessKey", &credentials.secret_access_key)) < 0 ||
            (r = take_string(reply, "Token", &credentials.session_token)) < 0)
                return r == -ENOMEM ? error_oom(error) : unreadable("the role's credentials", error);
        *ret = TAKE(credentials, (AwsCredentials){});
        return 0;
}

int imds_account_parse(const char *text, size_t length, char ret[static IMDS_ACCOUNT_SIZE], Error *error) {
        _cleanup_json_ struct json_object *document = NULL;
        const char *account;
        int r;

        r = json_parse(text, length, &document);
        if (r == -ENOMEM)
                return error_oom(error);
        account = r < 0 ? NULL : json_member_string(document, "accountId");
        if (!account || strlen(account) != IMDS_ACCOUNT_SIZE - 1 ||
            strspn(account, "0123456789") != IMDS_ACCOUNT_SIZE - 1)
                return unreadable("the instance identity document", error);
        memcpy(ret, account, IMDS_ACCOUNT_SIZE);
        return 0;
}

int imds_role_parse(const char *text, size_t length, char ret[static IMDS_ROLE_MAX + 1], Error *error) {
        static const char allowed[] =
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+=,.@_-";
        const char *end = memchr(text, '\n', length);
        size_t size = end ? (size_t) (end - text) : length;

        if (length == 0)
                return error_set_remedy(error, -ENODATA, FAILURE_ROLE, REMEDY_RETRY,
                                        "The instance has no role.");
        if (size > 0 && text[size - 1] == '\r')
                size--;
        if (size == 0 || size > IMDS_ROLE_MAX)
                return unreadable("the role's name", error);
        for (size_t i = 0; i < size; i++)
                if (!text[i] || !strchr(allowed, text[i]))
                        return unreadable("the role's name", error);
        *((char *) mempcpy(ret, text, size)) = '\0';
        return 0;
}

int imds_token_header(const char *token, char **ret, Error *error) {
        if (!aws_is_header_value(token))
                return unreadable("a token", error);
        *ret = malloc(strlen(TOKEN_HEADER) + strlen(token) + 1);
        if (!*ret)
                return error_oom(error);
        (void) stpcpy(stpcpy(*ret, TOKEN_HEADER), token);
        return 0;
}

int imds_unreachable(int r, const char *first, const Error *cause, Error *error) {
        return error_set_remedy(
                        error, r, FAILURE_IMDS, cause->remedy, "IMDS cannot be reached: %s%s%s%s", first,
                        *first ? " " : "", cause->text,
                        r == -ENETUNREACH || r == -ETIMEDOUT
                                        ? " Check that this machine has an address and a route. In a subnet with IPv6 alone, also check that HttpProtocolIpv6 is enabled for the instance."
                                        : "");
}

int imds_status_error(unsigned status, const char *path, Error *error) {
        bool may_pass = status >= 500 || status == 429 || status == 401 || status == 408;

        if (status == 403)
                return error_set(
                                error, -EACCES, FAILURE_IMDS,
                                "IMDS answers HTTP status 403: it is turned off for this instance (HttpEndpoint=disabled), or it does not give out this path.");
        if (status == 404)
                return error_set(error, -ENOENT, FAILURE_IMDS, "IMDS has no %s.", path);
        return error_set_remedy(error, -EREMOTEIO, FAILURE_IMDS, may_pass ? REMEDY_RETRY : REMEDY_NONE,
                                "IMDS answers HTTP status %u for %s.", status, path);
}

int imds_role_error(int r, const Error *cause, Error *error) {
        if (r != -ENOENT) {
                *error = *cause;
                return r;
        }
        return error_set_remedy(
                        error, r, FAILURE_ROLE, REMEDY_RETRY,
                        "The instance has no role. Attach an instance profile with a role that the key's policy allows.");
}
