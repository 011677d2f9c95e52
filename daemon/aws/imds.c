/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "aws/imds.h"
#include "aws/service.h"
#include "basic/clock.h"
#include "basic/json.h"

#define ROLES_PATH "/latest/meta-data/iam/security-credentials/"
#define TOKEN_PATH "/latest/api/token"
#define TOKEN_TTL_SEC 21600
#define TOKEN_TTL_TEXT "21600"
#define TOKEN_HEADER "X-aws-ec2-metadata-token: "

/* IMDS is on the same host and answers in milliseconds, but what it drops (over 1024 packets a second, DNS
 * included) it drops silently. */
#define TIMEOUT_USEC (2 * USEC_PER_SEC)

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

/* What Code says beside "Success", for people: letters and digits alone. */
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
        return error_set_remedy(error, -EBADMSG, FAILURE_IMDS, REMEDY_RETRY, "IMDS answers nonsense for %s.",
                                what);
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

typedef struct Request Request;

struct Imds {
        HttpClient *http;
        char *address;
        char *token_header;        /* NULL: none */
        uint64_t token_until_usec; /* CLOCK_BOOTTIME */
        Request *requests;

        ImdsCredentialsCallback credentials_callback; /* NULL: none under way */
        void *credentials_userdata;
        char role[IMDS_ROLE_MAX + 1];
};

/* A GET, with the PUT for a token in front of it where there is none that is valid. */
struct Request {
        Imds *imds;
        char *path;
        ImdsGetCallback callback;
        void *userdata;
        HttpTransfer *transfer;
        bool renewed; /* the token, after 401 */
        Request *previous, *next;
};

int imds_new(HttpClient *http, const char *address, Imds **ret) {
        _cleanup_(imds_freep) Imds *imds = calloc(1, sizeof(*imds));

        if (!imds)
                return -ENOMEM;
        imds->http = http;
        imds->address = strdup(address);
        if (!imds->address)
                return -ENOMEM;
        *ret = TAKE_PTR(imds);
        return 0;
}

static void forget_token(Imds *imds) {
        imds->token_header = erase_and_free(imds->token_header);
}

static Request *request_free(Request *request) {
        if (request->previous)
                request->previous->next = request->next;
        else
                request->imds->requests = request->next;
        if (request->next)
                request->next->previous = request->previous;
        if (request->transfer)
                http_cancel(request->transfer);
        free(request->path);
        free(request);
        return NULL;
}

Imds *imds_free(Imds *imds) {
        if (!imds)
                return NULL;
        while (imds->requests)
                request_free(imds->requests);
        forget_token(imds);
        free(imds->address);
        free(imds);
        return NULL;
}

/* Ends the request, then tells: the callback may do anything, even free the Imds. */
static void request_end(Request *request, int r, const char *data, size_t size, const Error *error) {
        ImdsGetCallback callback = request->callback;
        void *userdata = request->userdata;

        request_free(request);
        callback(r, data, size, error, userdata);
}

static int request_send(Request *request, const char *method, const char *path, const char *header,
                        HttpCallback callback) {
        _cleanup_free_ char *url = NULL;

        if (asprintf(&url, "%s%s", request->imds->address, path) < 0)
                return -ENOMEM;
        return http_start(request->imds->http,
                          &(HttpRequest){
                                          .method = method,
                                          .url = url,
                                          .headers = (const char *const[]){ header, NULL },
                                          .reply_max = IMDS_REPLY_MAX,
                                          .timeout_usec = TIMEOUT_USEC,
                          },
                          callback, request, &request->transfer);
}

static void on_token(int r, const HttpReply *reply, const Error *error, void *userdata);
static void on_data(int r, const HttpReply *reply, const Error *error, void *userdata);

static int request_advance(Request *request) {
        Imds *imds = request->imds;

        if (!imds->token_header || now_boottime_usec() >= imds->token_until_usec)
                return request_send(request, "PUT", TOKEN_PATH,
                                    "X-aws-ec2-metadata-token-ttl-seconds: " TOKEN_TTL_TEXT, on_token);
        return request_send(request, "GET", request->path, imds->token_header, on_data);
}

/* For the steps after the first, where nobody is left to return an error to. */
static void request_go_on(Request *request) {
        Error error;
        int r = request_advance(request);

        if (r < 0)
                request_end(request,
                            error_set(&error, r, FAILURE_INTERNAL, "IMDS cannot be asked: %s.",
                                      strerror(-r)),
                            NULL, 0, &error);
}

/* What a reply other than 200 means, and none at all. */
static int request_error(const Request *request, int r, const HttpReply *reply, const Error *cause,
                         Error *error) {
        unsigned status = r < 0 ? 0 : http_reply_status(reply);

        if (r < 0) {
                (void) error_set_remedy(error, r, FAILURE_IMDS, cause->remedy,
                                        "IMDS cannot be reached: %s%s", cause->text,
                                        r == -ENETUNREACH || r == -ETIMEDOUT
                                                        ? " Has this machine an address and a route yet?"
                                                        : "");
                return r;
        }
        if (status == 403)
                return error_set(
                                error, -EACCES, FAILURE_IMDS,
                                "IMDS is turned off for this instance (HttpEndpoint=disabled), or keeps this path back.");
        if (status == 404)
                return error_set(error, -ENOENT, FAILURE_IMDS, "IMDS has no %s.", request->path);
        return error_set_remedy(error, -EREMOTEIO, FAILURE_IMDS,
                                status >= 500 || status == 429 || status == 401 || status == 408
                                                ? REMEDY_RETRY
                                                : REMEDY_NONE,
                                "IMDS answers HTTP status %u for %s.", status, request->path);
}

static void on_token(int r, const HttpReply *reply, const Error *cause, void *userdata) {
        Request *request = userdata;
        Imds *imds = request->imds;
        const char *token;
        Error error = {};

        request->transfer = NULL;
        if (r < 0 || http_reply_status(reply) != 200) {
                r = request_error(request, r, reply, cause, &error);
                request_end(request, r, NULL, 0, &error);
                return;
        }
        token = http_reply_body(reply, NULL);
        if (!aws_is_header_value(token)) {
                request_end(request, unreadable("a token", &error), NULL, 0, &error);
                return;
        }
        forget_token(imds);
        imds->token_header = malloc(strlen(TOKEN_HEADER) + strlen(token) + 1);
        if (!imds->token_header) {
                request_end(request, error_oom(&error), NULL, 0, &error);
                return;
        }
        (void) stpcpy(stpcpy(imds->token_header, TOKEN_HEADER), token);
        /* A minute early, for the requests that are under way when it ends. */
        imds->token_until_usec = now_boottime_usec() + (TOKEN_TTL_SEC - 60) * USEC_PER_SEC;
        request_go_on(request);
}

static void on_data(int r, const HttpReply *reply, const Error *cause, void *userdata) {
        Request *request = userdata;
        Error error = {};
        const char *data;
        size_t size;

        request->transfer = NULL;
        if (r >= 0 && http_reply_status(reply) == 401 && !request->renewed) {
                request->renewed = true;
                forget_token(request->imds);
                request_go_on(request);
                return;
        }
        if (r < 0 || http_reply_status(reply) != 200) {
                r = request_error(request, r, reply, cause, &error);
                request_end(request, r, NULL, 0, &error);
                return;
        }
        data = http_reply_body(reply, &size);
        request_end(request, 0, data, size, &error);
}

int imds_get(Imds *imds, const char *path, ImdsGetCallback callback, void *userdata) {
        Request *request = calloc(1, sizeof(*request));
        int r;

        if (!request)
                return -ENOMEM;
        *request = (Request){
                .imds = imds,
                .path = strdup(path),
                .callback = callback,
                .userdata = userdata,
                .next = imds->requests,
        };
        if (request->next)
                request->next->previous = request;
        imds->requests = request;

        r = request->path ? request_advance(request) : -ENOMEM;
        if (r < 0)
                request_free(request);
        return r;
}

static void credentials_end(Imds *imds, int r, AwsCredentials *credentials, const Error *error) {
        ImdsCredentialsCallback callback = TAKE_PTR(imds->credentials_callback);
        char role[IMDS_ROLE_MAX + 1];

        memcpy(role, imds->role, sizeof(role));
        callback(r, credentials, credentials ? role : NULL, error, imds->credentials_userdata);
}

/* Some seconds after launch, or after a role was attached, IMDS does not have it yet. */
static int role_missing(int r, const Error *cause, Error *error) {
        if (r != -ENOENT) {
                *error = *cause;
                return r;
        }
        return error_set_remedy(
                        error, r, FAILURE_ROLE, REMEDY_RETRY,
                        "The instance has no role: attach an instance profile with one that the key's policy allows.");
}

static void on_credentials(int r, const char *data, size_t size, const Error *cause, void *userdata) {
        AwsCredentials credentials = {};
        Error error = {};

        r = r < 0 ? role_missing(r, cause, &error)
                  : imds_credentials_parse(data, size, &credentials, &error);
        credentials_end(userdata, r, r < 0 ? NULL : &credentials, &error);
        aws_credentials_clear(&credentials);
}

static void on_role(int r, const char *data, size_t size, const Error *cause, void *userdata) {
        Imds *imds = userdata;
        _cleanup_free_ char *path = NULL;
        Error error = {};

        r = r < 0 ? role_missing(r, cause, &error) : imds_role_parse(data, size, imds->role, &error);
        if (r >= 0) {
                r = asprintf(&path, ROLES_PATH "%s", imds->role) < 0
                                    ? -ENOMEM
                                    : imds_get(imds, path, on_credentials, imds);
                if (r < 0)
                        (void) error_set(&error, r, FAILURE_INTERNAL, "IMDS cannot be asked: %s.",
                                         strerror(-r));
        }
        if (r < 0)
                credentials_end(imds, r, NULL, &error);
}

int imds_get_credentials(Imds *imds, ImdsCredentialsCallback callback, void *userdata) {
        int r;

        if (imds->credentials_callback)
                return -EBUSY;
        r = imds_get(imds, ROLES_PATH, on_role, imds);
        if (r < 0)
                return r;
        imds->credentials_callback = callback;
        imds->credentials_userdata = userdata;
        return 0;
}
