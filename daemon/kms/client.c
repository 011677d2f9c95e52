/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "aws/service.h"
#include "basic/clock.h"
#include "kms/client.h"

typedef struct Request Request;

struct KmsClient {
        HttpClient *http;
        char *endpoint, *region;
        const char *host; /* in endpoint */
        const AwsCredentials *credentials;
        int64_t clock_offset; /* seconds that KMS's clock is ahead of ours */
        bool by_hand;
        Request *requests;
};

struct Request {
        KmsClient *client;
        HttpTransfer *transfer;
        Request *previous, *next;
        KmsConnected connected;
        KmsDecrypted decrypted;
        KmsAnswered answered;
        void *userdata;
        KmsDecrypt decrypt; /* its key_ids alone */
        int64_t signed_at, clock_offset;
};

int kms_client_new(HttpClient *http, const char *endpoint, const char *region, KmsClient **ret) {
        _cleanup_(kms_client_freep) KmsClient *client = NULL;
        const char *scheme_end = strstr(endpoint, "://");

        if (!scheme_end)
                return -EINVAL;
        client = calloc(1, sizeof(*client));
        if (!client)
                return -ENOMEM;
        client->http = http;
        client->endpoint = strdup(endpoint);
        client->region = strdup(region);
        if (!client->endpoint || !client->region)
                return -ENOMEM;
        client->host = client->endpoint + (scheme_end + strlen("://") - endpoint);
        *ret = TAKE_PTR(client);
        return 0;
}

/* Out of the client's list. What comes of it may be anything, even that the client is freed. */
static Request take_request(Request *request) {
        Request taken = *request;

        if (request->previous)
                request->previous->next = request->next;
        else
                request->client->requests = request->next;
        if (request->next)
                request->next->previous = request->previous;
        free(request);
        return taken;
}

KmsClient *kms_client_free(KmsClient *client) {
        if (!client)
                return NULL;
        while (client->requests)
                http_cancel(take_request(client->requests).transfer);
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
        KmsClient *client = request->client;
        HttpRequest complete = *http;
        _cleanup_free_ char *url = NULL;
        _cleanup_free_ Request *started = NULL;
        int r;

        if (asprintf(&url, "%s%s", client->endpoint, path) < 0)
                return -ENOMEM;
        complete.url = url;
        complete.reply_max = KMS_REPLY_MAX;
        started = malloc(sizeof(*started));
        if (!started)
                return -ENOMEM;
        *started = *request;
        r = http_start(client->http, &complete, callback, started, &started->transfer);
        if (r < 0)
                return r;

        started->next = client->requests;
        if (started->next)
                started->next->previous = started;
        client->requests = TAKE_PTR(started);
        return 0;
}

static void on_connected(int r, const HttpReply *reply, const Error *error, void *userdata) {
        Request request = take_request(userdata);

        request.connected(r, error, request.userdata);
}

int kms_connect(KmsClient *client, KmsConnected callback, void *userdata) {
        const Request request = { .client = client, .connected = callback, .userdata = userdata };

        /* Any answer will do. KMS answers its load balancers' checks there, unsigned. */
        return start_request(&request, "/ping", &(HttpRequest){ .method = "GET" }, on_connected);
}

static const char *request_id_of(const HttpReply *reply, char *buffer, size_t size) {
        return aws_quotable(http_reply_header(reply, "x-amzn-RequestId") ?: "", buffer, size);
}

/* 0: status 200. */
static int check_reply(const Request *request, const HttpReply *reply, const char *request_id,
                       Error *error) {
        int64_t date = http_reply_date(reply);
        KmsErrorReply failed = {
                .status = http_reply_status(reply),
                .error_type = http_reply_header(reply, "x-amzn-ErrorType"),
                .request_id = request_id,
                .retry_after_usec = http_reply_retry_after_usec(reply),
                .skew = date < 0 ? AWS_SKEW_UNKNOWN : date - request->signed_at,
                .by_hand = request->client->by_hand,
        };
        int r;

        if (failed.status == 200)
                return 0;
        failed.body = http_reply_body(reply, &failed.size);
        r = kms_error_reply(&failed, error);
        /* Not added to what the client has by now: requests side by side find the same clock wrong. */
        if (error->remedy == REMEDY_CLOCK)
                request->client->clock_offset = request->clock_offset + failed.skew;
        return r;
}

static void on_decrypted(int r, const HttpReply *reply, const Error *error, void *userdata) {
        Request request = take_request(userdata);
        char request_id[sizeof(error->request_id)];
        _cleanup_free_ uint8_t *cms = NULL;
        const char *body;
        Error failed = {};
        size_t body_size, size = 0;

        if (r < 0) {
                request.decrypted(r, NULL, 0, "", error, request.userdata);
                return;
        }
        (void) request_id_of(reply, request_id, sizeof(request_id));
        r = check_reply(&request, reply, request_id, &failed);
        if (r >= 0) {
                body = http_reply_body(reply, &body_size);
                r = kms_decrypt_reply(&request.decrypt, body, body_size, &cms, &size, &failed);
                if (r < 0)
                        memcpy(failed.request_id, request_id, sizeof(request_id));
        }
        request.decrypted(r, cms, size, request_id, &failed, request.userdata);
}

static void on_answered(int r, const HttpReply *reply, const Error *error, void *userdata) {
        Request request = take_request(userdata);
        char request_id[sizeof(error->request_id)];
        const char *body = NULL;
        Error failed = {};
        size_t size = 0;

        if (r < 0) {
                request.answered(r, NULL, 0, "", error, request.userdata);
                return;
        }
        (void) request_id_of(reply, request_id, sizeof(request_id));
        r = check_reply(&request, reply, request_id, &failed);
        if (r >= 0)
                body = http_reply_body(reply, &size);
        request.answered(r, body, size, request_id, &failed, request.userdata);
}

/* Signed and on its way; what becomes of it is the callback's. */
static int start_signed(Request request, const char *operation, const char *body, HttpCallback callback) {
        KmsClient *client = request.client;
        _cleanup_(aws_headers_freep) char **headers = NULL;
        int r;

        if (!client->credentials)
                return -EINVAL;
        request.clock_offset = client->clock_offset;
        request.signed_at = (int64_t) (now_realtime_usec() / USEC_PER_SEC) + client->clock_offset;
        r = kms_sign(client->host, client->region, client->credentials, request.signed_at, operation, body,
                     &headers);
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
                .decrypt = { .key_ids = decrypt->key_ids },
        };
        _cleanup_free_ char *body = NULL;
        int r;

        r = kms_decrypt_request(decrypt, &body);
        return r < 0 ? r : start_signed(request, "Decrypt", body, on_decrypted);
}

int kms_request(KmsClient *client, const char *operation, const char *body, KmsAnswered callback,
                void *userdata) {
        const Request request = { .client = client, .answered = callback, .userdata = userdata };

        return start_signed(request, operation, body, on_answered);
}
