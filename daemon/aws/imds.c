/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "aws/imds.h"
#include "basic/clock.h"
#include "basic/list.h"

#define ROLES_PATH "/latest/meta-data/iam/security-credentials/"
#define TOKEN_PATH "/latest/api/token"
#define TOKEN_TTL_SEC 21600
#define TOKEN_TTL_TEXT "21600"

/* IMDS is on the same host and answers in milliseconds. But above 1024 packets a second, DNS included, it drops packets
 * without an answer. */
#define TIMEOUT_USEC (2 * USEC_PER_SEC)

/* The longest text that an error quotes of the first address, in bytes with the NUL. */
#define IMDS_FAILURE_MAX 256U

typedef struct Request Request;

struct Imds {
        HttpClient *http;
        char *addresses[2];
        unsigned answered;         /* the address that answered last */
        char *token_header;        /* NULL: no token */
        uint64_t token_until_usec; /* CLOCK_BOOTTIME */
        Request *requests;

        ImdsCredentialsCallback credentials_callback; /* NULL: no such request runs */
        void *credentials_userdata;
        char role[IMDS_ROLE_MAX + 1];
};

/* A GET. Without a valid token a PUT for one comes before it. */
struct Request {
        Imds *imds;
        char *path;
        ImdsGetCallback callback;
        void *userdata;
        HttpTransfer *transfer;
        unsigned address; /* which it goes to */
        bool both_tried;
        char first_failure[IMDS_FAILURE_MAX]; /* of the other address; empty: none */
        bool renewed;                         /* the token was renewed after a 401 */
        Request *previous, *next;
};

int imds_new(HttpClient *http, const char *address, const char *address_ipv6, Imds **ret) {
        _cleanup_(imds_freep) Imds *imds = calloc(1, sizeof(*imds));

        if (!imds)
                return -ENOMEM;
        imds->http = http;
        imds->addresses[0] = strdup(address);
        imds->addresses[1] = address_ipv6 ? strdup(address_ipv6) : NULL;
        if (!imds->addresses[0] || (address_ipv6 && !imds->addresses[1]))
                return -ENOMEM;
        *ret = TAKE_PTR(imds);
        return 0;
}

static void forget_token(Imds *imds) {
        imds->token_header = erase_and_free(imds->token_header);
}

static Request *request_free(Request *request) {
        LIST_REMOVE(request->imds->requests, request);
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
        for (unsigned i = 0; i < ELEMENTSOF(imds->addresses); i++)
                free(imds->addresses[i]);
        free(imds);
        return NULL;
}

/* The request ends before its callback is called: the callback may do anything, even free the Imds. */
static void request_end(Request *request, int r, const char *data, size_t size, const Error *error) {
        ImdsGetCallback callback = request->callback;
        void *userdata = request->userdata;

        request_free(request);
        callback(r, data, size, error, userdata);
}

static int request_send(Request *request, const char *method, const char *path, const char *header,
                        HttpCallback callback) {
        _cleanup_free_ char *url = NULL;

        if (asprintf(&url, "%s%s", request->imds->addresses[request->address], path) < 0)
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

/* For the steps after the first: their errors go to the callback. */
static void request_go_on(Request *request) {
        Error error;
        int r = request_advance(request);

        if (r < 0)
                request_end(request,
                            error_set(&error, r, FAILURE_INTERNAL, "IMDS cannot be asked: %s.",
                                      strerror(-r)),
                            NULL, 0, &error);
}

/* The HTTP client's results where no connection was made, or no reply came in time. The other address would send the same reply
 * where one was cut short or too long. */
static bool is_out_of_reach(int r) {
        return r == -ENETUNREACH || r == -ETIMEDOUT;
}

/* Sends the request to the other address if this one cannot be reached and the other has not been tried. */
static bool request_turns(Request *request, int r, const Error *cause) {
        if (!is_out_of_reach(r) || request->both_tried || !request->imds->addresses[1])
                return false;
        request->both_tried = true;
        (void) snprintf(request->first_failure, sizeof(request->first_failure), "%.*s",
                        (int) IMDS_FAILURE_MAX - 1, cause->text);
        request->address ^= 1;
        request_go_on(request);
        return true;
}

/* 0: a reply with status 200. */
static int check_reply(const Request *request, int r, const HttpReply *reply, const Error *cause,
                       Error *error) {
        unsigned status;

        if (r < 0)
                return imds_unreachable(r, request->first_failure, cause, error);
        request->imds->answered = request->address;
        status = http_reply_status(reply);
        return status == 200 ? 0 : imds_status_error(status, request->path, error);
}

static void on_token(int r, const HttpReply *reply, const Error *cause, void *userdata) {
        Request *request = userdata;
        Imds *imds = request->imds;
        Error error = {};

        request->transfer = NULL;
        if (request_turns(request, r, cause))
                return;
        r = check_reply(request, r, reply, cause, &error);
        if (r >= 0) {
                forget_token(imds);
                r = imds_token_header(http_reply_body(reply, NULL), &imds->token_header, &error);
        }
        if (r < 0) {
                request_end(request, r, NULL, 0, &error);
                return;
        }
        /* Requests may be under way when the token ends: it counts as ended a minute early. */
        imds->token_until_usec = now_boottime_usec() + (TOKEN_TTL_SEC - 60) * USEC_PER_SEC;
        request_go_on(request);
}

static void on_data(int r, const HttpReply *reply, const Error *cause, void *userdata) {
        Request *request = userdata;
        const char *data = NULL;
        Error error = {};
        size_t size = 0;

        request->transfer = NULL;
        if (request_turns(request, r, cause))
                return;
        if (r >= 0 && http_reply_status(reply) == 401 && !request->renewed) {
                request->renewed = true;
                forget_token(request->imds);
                request_go_on(request);
                return;
        }
        r = check_reply(request, r, reply, cause, &error);
        if (r >= 0)
                data = http_reply_body(reply, &size);
        request_end(request, r, data, size, &error);
}

int imds_get(Imds *imds, const char *path, ImdsGetCallback callback, void *userdata) {
        Request *request = calloc(1, sizeof(*request));
        int r;

        if (!request)
                return -ENOMEM;
        *request = (Request){
                .imds = imds,
                .path = strdup(path),
                .address = imds->answered,
                .callback = callback,
                .userdata = userdata,
        };
        LIST_PREPEND(imds->requests, request);

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

static void on_credentials(int r, const char *data, size_t size, const Error *cause, void *userdata) {
        AwsCredentials credentials = {};
        Error error = {};

        r = r < 0 ? imds_role_error(r, cause, &error)
                  : imds_credentials_parse(data, size, &credentials, &error);
        credentials_end(userdata, r, r < 0 ? NULL : &credentials, &error);
        aws_credentials_clear(&credentials);
}

static void on_role(int r, const char *data, size_t size, const Error *cause, void *userdata) {
        Imds *imds = userdata;
        _cleanup_free_ char *path = NULL;
        Error error = {};

        r = r < 0 ? imds_role_error(r, cause, &error) : imds_role_parse(data, size, imds->role, &error);
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
