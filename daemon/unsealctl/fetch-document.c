/* SPDX-License-Identifier: Apache-2.0 */

/* Sends one GET. The server is untrusted, so of an answer that is not a document only the HTTP status is shown. */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "attestation/document.h"
#include "attestation/query.h"
#include "basic/clock.h"
#include "basic/encoding.h"
#include "basic/event-util.h"
#include "basic/http.h"
#include "basic/openssl-util.h"
#include "unsealctl/fetch-document.h"

/* The service may serve other clients first, and wait for its TPM. */
#define TIMEOUT_USEC (60 * USEC_PER_SEC)

typedef struct Fetching {
        const char *url;
        bool done, wants_key;
        int r;
        uint8_t *key;
        size_t key_size;
        uint8_t *document;
        size_t size;
        Error *error;
} Fetching;

static void fetching_done(Fetching *fetching) {
        free(fetching->key);
        free(fetching->document);
}

static bool is_https(const char *url) {
        return strncmp(url, "https://", strlen("https://")) == 0;
}

/* False for a URL with a query, a fragment, a user or other characters that would change where path and nonce end up. */
static bool is_base_url(const char *url) {
        size_t scheme = is_https(url) ? strlen("https://") : strlen("http://");

        if (!is_https(url) && strncmp(url, "http://", scheme) != 0)
                return false;
        for (const char *p = url; *p; p++)
                if (*p <= ' ' || *p > '~' || strchr("?#@\\\"<>^`{|}", *p))
                        return false;
        return url[scheme] != '\0' && url[scheme] != '/';
}

static int make_url(const char *base, const uint8_t *nonce, size_t nonce_size, char **ret, Error *error) {
        _cleanup_free_ char *digits = NULL;
        size_t length = strlen(base);

        if (!is_base_url(base))
                return error_set(
                                error, -EINVAL, FAILURE_USAGE,
                                "--url= is not valid. Expected http:// or https://, a host, and optionally a port and a path.");
        if (nonce_size < ATTESTATION_NONCE_MIN || nonce_size > ATTESTATION_NONCE_MAX)
                return error_set(error, -EINVAL, FAILURE_USAGE,
                                 "The nonce has the wrong length for --url=. Expected %u to %u bytes.",
                                 ATTESTATION_NONCE_MIN, ATTESTATION_NONCE_MAX);
        if (hex_encode(nonce, nonce_size, &digits) < 0)
                return error_oom(error);
        if (base[length - 1] == '/')
                length--;
        if (asprintf(ret, "%.*s" ATTESTATION_PATH "?nonce=%s", (int) length, base, digits) < 0)
                return error_oom(error);
        return 0;
}

/* Returns the length of the URL without ATTESTATION_PATH at its end, or 0 if the URL does not end so. */
static size_t length_without_path(const char *url) {
        size_t length = strlen(url), path = strlen(ATTESTATION_PATH);

        while (length > 0 && url[length - 1] == '/')
                length--;
        if (length <= path || strncmp(url + length - path, ATTESTATION_PATH, path) != 0)
                return 0;
        return length - path;
}

static int judge_status(const HttpReply *reply, const char *url, Error *error) {
        unsigned status = http_reply_status(reply);
        size_t length = length_without_path(url);

        if (status == 200)
                return 0;
        if (status == 429 || status >= 500)
                return error_set(
                                error, -EAGAIN, FAILURE_UNAVAILABLE,
                                "The attestation service at %s has no document at the moment (HTTP status %u). Try again later.",
                                url, status);
        if (status == 404 && length > 0)
                return error_set(
                                error, -EPROTO, FAILURE_ANSWER,
                                "%s did not answer with a document, but with HTTP status 404. The path /attestation is appended to the address. Give --url=%.*s.",
                                url, (int) length, url);
        return error_set(
                        error, -EPROTO, FAILURE_ANSWER,
                        "%s did not answer with a document, but with HTTP status %u. Check that it is the address of an attestation service.",
                        url, status);
}

static int take_key(Fetching *fetching, const HttpReply *reply) {
        const uint8_t *key = http_reply_server_key(reply, &fetching->key_size);

        if (!key)
                return error_set(
                                fetching->error, -EPROTO, FAILURE_TLS,
                                "%s has no certificate in its TLS, so there is no key to compare with the document's.",
                                fetching->url);
        fetching->key = malloc(fetching->key_size);
        if (!fetching->key)
                return error_oom(fetching->error);
        memcpy(fetching->key, key, fetching->key_size);
        return 0;
}

static void on_reply(int r, const HttpReply *reply, const Error *error, void *userdata) {
        Fetching *fetching = userdata;
        const char *body;
        size_t size;

        fetching->done = true;
        fetching->r = r;
        if (r < 0) {
                *fetching->error = *error;
                return;
        }
        fetching->r = judge_status(reply, fetching->url, fetching->error);
        if (fetching->r >= 0 && fetching->wants_key)
                fetching->r = take_key(fetching, reply);
        if (fetching->r < 0)
                return;
        body = http_reply_body(reply, &size);
        fetching->document = malloc(size + 1);
        if (!fetching->document) {
                fetching->r = error_oom(fetching->error);
                return;
        }
        memcpy(fetching->document, body, size);
        fetching->size = size;
}

int fetch_document(const char *base, const uint8_t *nonce, size_t nonce_size, Slice *ret_key, uint8_t **ret,
                   size_t *ret_size, Error *error) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(X509_STORE_freep) X509_STORE *trusted = NULL;
        _cleanup_(http_client_freep) HttpClient *client = NULL;
        _cleanup_free_ char *url = NULL;
        _cleanup_(fetching_done) Fetching fetching = { .url = base, .wants_key = ret_key, .error = error };
        int r;

        r = make_url(base, nonce, nonce_size, &url, error);
        if (r >= 0 && ret_key && !is_https(base))
                r = error_set(error, -EINVAL, FAILURE_USAGE,
                              "--tls needs an address with https://, since it compares the key of TLS.");
        if (r >= 0 && is_https(base) && !ret_key)
                r = http_trust_new(NULL, &trusted, error);
        if (r < 0)
                return r;

        const HttpRequest request = {
                .method = "GET",
                .url = url,
                .reply_max = ATTESTATION_DOCUMENT_MAX,
                .timeout_usec = TIMEOUT_USEC,
        };
        const HttpOptions options = { .trusted = trusted,
                                      .any_certificate = ret_key,
                                      .trust_setting = "the system's certificates or SSL_CERT_FILE" };
        if ((r = sd_event_new(&event)) < 0 || (r = http_client_new(event, &options, &client)) < 0 ||
            (r = http_start(client, &request, on_reply, &fetching, NULL)) < 0 ||
            (r = event_run_until(event, &fetching.done)) < 0)
                return error_set(error, r, FAILURE_INTERNAL, "Cannot ask %s: %s.", base, strerror(-r));
        if (fetching.r < 0)
                return fetching.r;
        *ret = TAKE_PTR(fetching.document);
        *ret_size = fetching.size;
        if (ret_key)
                *ret_key = (Slice){ TAKE_PTR(fetching.key), fetching.key_size };
        return 0;
}
