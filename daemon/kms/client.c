/* SPDX-License-Identifier: Apache-2.0 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "aws/calls.h"
#include "aws/service.h"
#include "kms/client.h"

struct KmsClient {
        AwsCalls calls;
        char *endpoint, *region;
        const char *host; /* in endpoint */
        const AwsCredentials *credentials;
        bool by_hand;
};

typedef struct Request {
        AwsCall call; /* first */
        KmsClient *client;
        KmsConnected connected;
        KmsDecrypted decrypted;
        KmsAnswered answered;
        KmsForwarded forwarded;
        void *userdata;
        KmsDecrypt decrypt; /* only its key_ids, generate and keeps_ciphertext */
        bool generates;     /* the operation is GenerateDataKey */
} Request;
static_assert(offsetof(Request, call) == 0, "aws_calls_cancel() frees the request by its call");

int kms_client_new(HttpClient *http, const char *endpoint, const char *region, KmsClient **ret) {
        _cleanup_(kms_client_freep) KmsClient *client = NULL;
        const char *scheme_end = strstr(endpoint, "://");

        if (!scheme_end)
                return -EINVAL;
        client = calloc(1, sizeof(*client));
        if (!client)
                return -ENOMEM;
        client->calls.http = http;
        client->endpoint = strdup(endpoint);
        client->region = strdup(region);
        if (!client->endpoint || !client->region)
                return -ENOMEM;
        client->host = client->endpoint + (scheme_end + strlen("://") - endpoint);
        *ret = TAKE_PTR(client);
        return 0;
}

KmsClient *kms_client_free(KmsClient *client) {
        if (!client)
                return NULL;
        aws_calls_cancel(&client->calls);
        free(client->endpoint);
        free(client->region);
        free(client);
        return NULL;
}

void kms_client_set_credentials(KmsClient *client, const AwsCredentials *credentials) {
        client->credentials = credentials;
}

void kms_client_set_by_hand(KmsClient *client) {
        client->by_hand = true;
}

static int start_request(const Request *request, const char *path, const HttpRequest *http,
                         HttpCallback callback) {
        HttpRequest complete = *http;
        _cleanup_free_ char *url = NULL;
        _cleanup_free_ Request *started = malloc(sizeof(*started));
        int r;

        if (!started || asprintf(&url, "%s%s", request->client->endpoint, path) < 0)
                return -ENOMEM;
        *started = *request;
        complete.url = url;
        complete.reply_max = KMS_REPLY_MAX;
        r = aws_call_start(&started->call, &complete, callback);
        if (r >= 0)
                TAKE_PTR(started);
        return r;
}

/* The request of a callback, which now owns it. The callback may free the client. */
static Request *ended(void *userdata) {
        Request *request = userdata;

        aws_call_end(&request->call);
        return request;
}

static void on_connected(int r, const HttpReply *reply, const Error *error, void *userdata) {
        _cleanup_free_ Request *request = ended(userdata);

        request->connected(r, error, request->userdata);
}

int kms_connect(KmsClient *client, KmsConnected callback, void *userdata) {
        const Request request = {
                .call = { .calls = &client->calls },
                .client = client,
                .connected = callback,
                .userdata = userdata,
        };

        /* Any answer will do. KMS answers the checks of its load balancers at this path, without a signature. */
        return start_request(&request, "/ping", &(HttpRequest){ .method = "GET" }, on_connected);
}

static const char *request_id_of(const HttpReply *reply, char *buffer, size_t size) {
        return aws_quotable(http_reply_header(reply, "x-amzn-RequestId") ?: "", buffer, size);
}

/* 0: status 200. */
static int check_reply(const Request *request, const HttpReply *reply, const char *request_id,
                       Error *error) {
        KmsErrorReply failed = {
                .status = http_reply_status(reply),
                .error_type = http_reply_header(reply, "x-amzn-ErrorType"),
                .request_id = request_id,
                .retry_after_usec = http_reply_retry_after_usec(reply),
                .skew = aws_call_skew(&request->call, reply),
                .generates = request->generates,
                .by_hand = request->client->by_hand,
        };
        int r;

        if (failed.status == 200)
                return 0;
        failed.body = http_reply_body(reply, &failed.size);
        r = kms_error_reply(&failed, error);
        if (error->remedy == REMEDY_CLOCK)
                aws_call_adjust_clock(&request->call, failed.skew);
        return r;
}

static void on_decrypted(int r, const HttpReply *reply, const Error *error, void *userdata) {
        _cleanup_free_ Request *request = ended(userdata);
        char request_id[sizeof(error->request_id)];
        _cleanup_free_ uint8_t *cms = NULL;
        const char *body;
        Error failed = {};
        size_t body_size, size = 0;

        if (r < 0) {
                request->decrypted(r, NULL, 0, NULL, error, request->userdata);
                return;
        }
        (void) request_id_of(reply, request_id, sizeof(request_id));
        r = check_reply(request, reply, request_id, &failed);
        if (r >= 0) {
                body = http_reply_body(reply, &body_size);
                r = kms_decrypt_reply(&request->decrypt, body, body_size, &cms, &size, &failed);
                if (r < 0)
                        memcpy(failed.request_id, request_id, sizeof(request_id));
        }
        request->decrypted(r, cms, size, request_id, &failed, request->userdata);
}

static void on_answered(int r, const HttpReply *reply, const Error *error, void *userdata) {
        _cleanup_free_ Request *request = ended(userdata);
        char request_id[sizeof(error->request_id)];
        const char *body = NULL;
        Error failed = {};
        size_t size = 0;

        if (r < 0) {
                request->answered(r, NULL, 0, "", error, request->userdata);
                return;
        }
        (void) request_id_of(reply, request_id, sizeof(request_id));
        r = check_reply(request, reply, request_id, &failed);
        if (r >= 0)
                body = http_reply_body(reply, &size);
        request->answered(r, body, size, request_id, &failed, request->userdata);
}

static void on_forwarded(int r, const HttpReply *reply, const Error *error, void *userdata) {
        _cleanup_free_ Request *request = ended(userdata);
        char request_id[sizeof(error->request_id)], error_type[sizeof(error->code)];
        KmsReply forwarded = { .request_id = request_id, .error_type = error_type };
        Error failed = {};

        if (r < 0) {
                request->forwarded(r, NULL, error, request->userdata);
                return;
        }
        (void) request_id_of(reply, request_id, sizeof(request_id));
        aws_error_code(http_reply_header(reply, "x-amzn-ErrorType") ?: "", error_type, sizeof(error_type));
        forwarded.status = http_reply_status(reply);
        forwarded.body = http_reply_body(reply, &forwarded.size);
        r = check_reply(request, reply, request_id, &failed);
        request->forwarded(r, &forwarded, &failed, request->userdata);
}

static int start_signed(Request request, const char *operation, const char *body, HttpCallback callback) {
        KmsClient *client = request.client;
        _cleanup_(aws_headers_freep) char **headers = NULL;
        int r;

        if (!client->credentials)
                return -EINVAL;
        request.call = aws_call_now(&client->calls);
        request.generates = strcmp(operation, "GenerateDataKey") == 0;
        r = kms_sign(client->host, client->region, client->credentials, request.call.signed_at, operation,
                     body, &headers);
        if (r < 0)
                return r;

        const HttpRequest http = {
                .method = "POST",
                .headers = (const char *const *) headers,
                .body = body,
                .body_size = strlen(body),
        };
        return start_request(&request, "/", &http, callback);
}

int kms_decrypt(KmsClient *client, const KmsDecrypt *decrypt, KmsDecrypted callback, void *userdata) {
        const Request request = {
                .client = client,
                .decrypted = callback,
                .userdata = userdata,
                .decrypt = { .key_ids = decrypt->key_ids,
                             .generate = decrypt->generate,
                             .keeps_ciphertext = decrypt->keeps_ciphertext },
        };
        _cleanup_free_ char *body = NULL;
        int r;

        r = kms_decrypt_request(decrypt, &body);
        return r < 0 ? r : start_signed(request, kms_decrypt_operation(decrypt), body, on_decrypted);
}

int kms_request(KmsClient *client, const char *operation, const char *body, KmsAnswered callback,
                void *userdata) {
        const Request request = { .client = client, .answered = callback, .userdata = userdata };

        return start_signed(request, operation, body, on_answered);
}

int kms_forward(KmsClient *client, const char *operation, const char *body, KmsForwarded callback,
                void *userdata) {
        const Request request = { .client = client, .forwarded = callback, .userdata = userdata };

        return start_signed(request, operation, body, on_forwarded);
}
