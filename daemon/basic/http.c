/* SPDX-License-Identifier: Apache-2.0 */

/*
 * libcurl's multi interface on sd-event. curl says which descriptors and which time-out it waits for; sd-event waits;
 * curl_multi_socket_action() continues the transfers. Finished transfers are queued, and each turn of the loop reports one. A
 * callback may therefore do anything, even free the client.
 */

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "basic/clock.h"
#include "basic/http.h"
#include "basic/io.h"
#include "basic/list.h"
#include "basic/openssl-util.h"
#include "build-config.h"

#define CONNECTIONS_DEFAULT 4U
#define CONNECT_TIMEOUT_DEFAULT_USEC (5 * USEC_PER_SEC)
#define TIMEOUT_DEFAULT_USEC (15 * USEC_PER_SEC)
#define REPLY_MAX_DEFAULT (64U * 1024U)
/* The defaults of curl and OpenSSL suit large downloads: each transfer has 16 KiB, and 64 KiB more once it sends a body, and each
 * TLS connection has 16 KiB to send. */
#define RECEIVE_BUFFER 4096L
#define STREAM_BUFFER 32768L
#define SEND_BUFFER 16384L
#define SEND_RECORD 4096

typedef struct Watch Watch;
struct Watch {
        HttpClient *client;
        sd_event_source *source;
        Watch *previous, *next;
};

struct HttpTransfer {
        HttpClient *client;
        CURL *easy;
        struct curl_slist *headers;
        char *body;
        size_t body_size;
        char *host;
        HttpCallback callback;
        void *userdata;
        HttpReply reply;
        const HttpStream *stream;
        bool head_is_read, streams, paused, resolves, sent;
        int stream_error; /* a negative errno of the stream, which ends the transfer */
        char detail[CURL_ERROR_SIZE];
        CURLcode result;
        bool finished;
        HttpTransfer *previous, *next; /* in the client's list while it runs, and when it is finished */
};

struct HttpClient {
        sd_event *event;
        CURLM *multi;
        X509_STORE *trusted;
        bool any_certificate;
        const char *trust_setting;
        char *proxy;
        uint64_t connect_timeout_usec;
        sd_event_source *timer, *deliver;
        HttpTransfer *transfers;
        Watch *watches;
};

/* The system's file has some 200 KiB. */
#define TRUST_FILE_MAX (16U * 1024U * 1024U)

/* Adds the certificates and CRLs of a PEM file, as X509_STORE_load_file() does. The file may be of a foreign tree, so it is read as a
 * regular file or not at all. Returns a negative errno and why. */
static int trust_file(X509_STORE *store, const char *path, const char **ret_why) {
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_(BIO_freep) BIO *bio = NULL;
        STACK_OF(X509_INFO) *entries = NULL;
        bool found = false, ok = true;
        size_t size;
        int r = read_file(path, TRUST_FILE_MAX, &data, &size);

        if (r < 0) {
                *ret_why = r == -ENXIO ? "it is not a regular file" : strerror(-r);
                return r;
        }
        bio = BIO_new_mem_buf(data, (int) size);
        entries = bio ? PEM_X509_INFO_read_bio(bio, NULL, openssl_no_password, NULL) : NULL;
        if (!entries) {
                r = openssl_failure(ret_why);
                return r == -ENOMEM ? r : -EINVAL;
        }
        for (int i = 0; i < sk_X509_INFO_num(entries) && ok; i++) {
                const X509_INFO *entry = sk_X509_INFO_value(entries, i);

                ok = (!entry->x509 || X509_STORE_add_cert(store, entry->x509) == 1) &&
                     (!entry->crl || X509_STORE_add_crl(store, entry->crl) == 1);
                found = found || entry->x509 || entry->crl;
        }
        sk_X509_INFO_pop_free(entries, X509_INFO_free);
        if (!ok)
                return openssl_failure(ret_why);
        /* A SEQUENCE of DER, as every certificate is. */
        *ret_why = size > 1 && data[0] == 0x30 && data[1] == 0x82
                                   ? "it is DER, and not PEM. Convert it with \"openssl x509 -inform DER\""
                                   : "no certificate or crl found";
        return found ? 0 : -EINVAL;
}

int http_trust_new(const char *path, X509_STORE **ret, Error *error) {
        _cleanup_(X509_STORE_freep) X509_STORE *store = NULL;
        const char *why;
        int r = 0;

        ERR_clear_error();
        store = X509_STORE_new();
        if (!store)
                return openssl_error(error, "make a list of trusted certificates");
        if (path)
                r = trust_file(store, path, &why);
        else if (X509_STORE_set_default_paths(store) != 1)
                r = openssl_failure(&why);
        if (r < 0)
                return error_set(error, r, FAILURE_CONFIGURATION,
                                 "Cannot load trusted certificates from %s: %s.",
                                 path ?: "the system's default places", why);
        *ret = TAKE_PTR(store);
        return 0;
}

static void transfer_link(HttpTransfer *transfer, HttpClient *client) {
        transfer->client = client;
        LIST_PREPEND(client->transfers, transfer);
}

static void transfer_unlink(HttpTransfer *transfer) {
        HttpClient *client = TAKE_PTR(transfer->client);

        if (!client)
                return;
        LIST_REMOVE(client->transfers, transfer);
        (void) curl_multi_remove_handle(client->multi, transfer->easy);
}

static HttpTransfer *transfer_free(HttpTransfer *transfer) {
        transfer_unlink(transfer);
        curl_easy_cleanup(transfer->easy);
        curl_slist_free_all(transfer->headers);
        if (transfer->body)
                explicit_bzero(transfer->body, transfer->body_size);
        free(transfer->body);
        free(transfer->host);
        http_reply_clear(&transfer->reply);
        free(transfer);
        return NULL;
}
DEFINE_CLEANUP(HttpTransfer *, transfer_free);

/* Works only while the transfer runs: afterwards the connection does not belong to it any more. NULL: there is no TLS. */
static const X509 *server_certificate(CURL *easy) {
        const struct curl_tlssessioninfo *session = NULL;

        if (curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &session) != CURLE_OK || !session ||
            session->backend != CURLSSLBACKEND_OPENSSL || !session->internals)
                return NULL;
        return SSL_get0_peer_certificate(session->internals);
}

static int take_server_key(HttpReply *reply, const X509 *certificate) {
        const X509_PUBKEY *key = certificate ? X509_get_X509_PUBKEY(certificate) : NULL;
        int size = key ? i2d_X509_PUBKEY(key, NULL) : -1;
        unsigned char *p;

        free(TAKE_PTR(reply->server_key));
        reply->server_key_size = 0;
        if (size <= 0)
                return 0;
        reply->server_key = p = malloc((size_t) size);
        if (!p)
                return -ENOMEM;
        reply->server_key_size = (size_t) i2d_X509_PUBKEY(key, &p);
        return 0;
}

static int64_t certificate_end(const X509 *certificate) {
        struct tm end;

        return certificate && ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1 ? timegm(&end)
                                                                                          : -1;
}

static size_t on_header(char *data, size_t size, size_t count, void *userdata) {
        HttpTransfer *transfer = userdata;
        size_t length = size * count;

        if (length >= 5 && memcmp(data, "HTTP/", 5) == 0) {
                const X509 *certificate = server_certificate(transfer->easy);

                http_reply_begin(&transfer->reply);
                transfer->reply.certificate_end = certificate_end(certificate);
                if (transfer->client->any_certificate && take_server_key(&transfer->reply, certificate) < 0)
                        return 0;
                return length;
        }
        return http_reply_add_header(&transfer->reply, data, length) < 0 ? 0 : length;
}

/* Asks the stream, once, whether it takes the body. curl has seen all headers when the first byte of the body comes. */
static int stream_head(HttpTransfer *transfer) {
        long status = 0;
        int r;

        transfer->head_is_read = true;
        (void) curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
        transfer->reply.status = (unsigned) status;
        r = transfer->stream->head(&transfer->reply, transfer->userdata);
        if (r < 0)
                transfer->stream_error = r;
        transfer->streams = r > 0;
        return r;
}

static size_t on_body(char *data, size_t size, size_t count, void *userdata) {
        HttpTransfer *transfer = userdata;
        size_t length = size * count;
        int r;

        if (transfer->stream && !transfer->head_is_read && stream_head(transfer) < 0)
                return 0;
        if (!transfer->streams)
                return http_reply_add_body(&transfer->reply, data, length) < 0 ? 0 : length;

        r = transfer->stream->data((const uint8_t *) data, length, transfer->userdata);
        if (r < 0)
                transfer->stream_error = r;
        transfer->paused = r == 0;
        return r > 0 ? length : r == 0 ? CURL_WRITEFUNC_PAUSE : 0;
}

/* curl asks for the addresses of the host or of the proxy. */
static int on_resolve(void *resolver, void *reserved, void *userdata) {
        HttpTransfer *transfer = userdata;

        transfer->resolves = true;
        return 0;
}

/* curl has a connection for the transfer, and sends the request next. */
static int on_request(void *userdata, char *remote, char *local, int remote_port, int local_port) {
        HttpTransfer *transfer = userdata;

        transfer->sent = true;
        return CURL_PREREQFUNC_OK;
}

static CURLcode on_ssl_context(CURL *easy, void *context, void *userdata) {
        HttpClient *client = userdata;

        (void) SSL_CTX_set_max_send_fragment(context, SEND_RECORD);
        /* Replaces the roots that curl loaded. */
        if (client->trusted)
                SSL_CTX_set1_cert_store(context, client->trusted);
        return CURLE_OK;
}

/* The metadata service: no route, security group or DNS is between, and its caller explains what is wrong. */
static bool is_link_local(const char *host) {
        return strncmp(host, "169.254.", strlen("169.254.")) == 0 ||
               strncasecmp(host, "[fd00:ec2:", strlen("[fd00:ec2:")) == 0;
}

/* Returns whether the time was over before curl turned to the transfer. curl's own text then blames DNS. */
static bool waited_for_connection(const HttpTransfer *transfer) {
        curl_off_t resolved = 0;

        (void) curl_easy_getinfo(transfer->easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
        return resolved == 0 && !transfer->resolves;
}

/* Returns whether this machine has no route to the last address that curl tried. */
static bool has_no_route(const HttpTransfer *transfer) {
        long number = 0;

        (void) curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &number);
        return transfer->result == CURLE_COULDNT_CONNECT && number == ENETUNREACH;
}

/* How far a transfer came before it failed says where to look. Begins with a space, or is empty. */
static const char *failure_cure(const HttpTransfer *transfer) {
        bool timed_out = transfer->result == CURLE_OPERATION_TIMEDOUT, connected;
        curl_off_t resolved = 0, connected_usec = 0;

        (void) curl_easy_getinfo(transfer->easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
        (void) curl_easy_getinfo(transfer->easy, CURLINFO_CONNECT_TIME_T, &connected_usec);
        connected = timed_out ? connected_usec > 0
                              : transfer->result != CURLE_COULDNT_CONNECT &&
                                                    transfer->result != CURLE_COULDNT_RESOLVE_PROXY;
        if (is_link_local(transfer->host))
                return "";
        /* What OpenSSL says of an answer that is no TLS. */
        if (transfer->result == CURLE_SSL_CONNECT_ERROR && strstr(transfer->detail, "wrong version number"))
                return " Its answer is not TLS. Check the port, and whether http:// is meant.";
        if (!transfer->client->trusted)
                return " Check the address and the port, that the service runs there, and the security group of its machine.";
        if (timed_out && resolved == 0)
                return " DNS does not answer. Check that the machine has the right name server, and that security groups and network ACLs let port 53 out.";
        if (transfer->client->proxy)
                return connected ? " Check that the proxy lets this host and port through."
                                 : " Check Proxy= or --proxy=, and that the proxy listens there.";
        if (has_no_route(transfer))
                return " This machine has no route to its address. Check the machine's addresses and routes. In a subnet with IPv6 alone, set DualStack=yes or --dual-stack, because AWS's ordinary endpoints have only IPv4.";
        return connected ? " The connection stood, and its other end was too slow or ended it. Check that the host and port are right, and that no firewall on the way inspects TLS."
                         : " Check the route, security groups, network ACLs and VPC endpoint on the way to it. Where only a proxy leads out, set Proxy= or --proxy=.";
}

static int transfer_error(HttpTransfer *transfer, Error *error) {
        const char *detail = transfer->detail[0] ? transfer->detail : curl_easy_strerror(transfer->result);
        long verify_result = X509_V_OK;

        if (transfer->stream_error < 0)
                return transfer->stream_error;
        if (transfer->reply.too_big)
                return error_set(error, -EFBIG, FAILURE_ANSWER, "%s sent more than %zu bytes.",
                                 transfer->host, transfer->reply.body_max);

        switch (transfer->result) {
        case CURLE_PEER_FAILED_VERIFICATION:
                (void) curl_easy_getinfo(transfer->easy, CURLINFO_SSL_VERIFYRESULT, &verify_result);
                return http_tls_error(verify_result, transfer->host, transfer->detail,
                                      transfer->client->trust_setting, error);
        case CURLE_OUT_OF_MEMORY:
                return error_oom(error);
        case CURLE_COULDNT_RESOLVE_HOST:
                return error_set_remedy(
                                error, -ECOMM, FAILURE_NETWORK, REMEDY_RETRY,
                                "%s: The name cannot be resolved. Check the name and the Region in it, and the DNS of this machine.",
                                transfer->host);
        case CURLE_COULDNT_CONNECT:
                return error_set_remedy(error, -ENETUNREACH, FAILURE_NETWORK, REMEDY_RETRY, "%s: %s.%s",
                                        transfer->host, detail, failure_cure(transfer));
        case CURLE_OPERATION_TIMEDOUT:
                if (waited_for_connection(transfer))
                        return error_set_remedy(
                                        error, -ETIMEDOUT, FAILURE_NETWORK, REMEDY_RETRY,
                                        "%s: The request waited for a connection until its time was over, because other requests to this host had them all. See their errors.",
                                        transfer->host);
                return error_set_remedy(error, -ETIMEDOUT, FAILURE_NETWORK, REMEDY_RETRY, "%s: %s.%s",
                                        transfer->host, detail, failure_cure(transfer));
        default:
                return error_set_remedy(error, -ECOMM, FAILURE_NETWORK, REMEDY_RETRY, "%s: %s.%s",
                                        transfer->host, detail, failure_cure(transfer));
        }
}

static int on_deliver(sd_event_source *source, void *userdata) {
        HttpClient *client = userdata;
        HttpTransfer *found = NULL;
        bool more = false;

        for (HttpTransfer *t = client->transfers; t; t = t->next)
                if (t->finished) {
                        more = found != NULL;
                        found = t; /* the last one is the oldest */
                }
        if (!more)
                (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
        if (!found)
                return 0;

        _cleanup_(transfer_freep) HttpTransfer *transfer = found;
        Error error = {};
        int r = 0;

        if (transfer->result != CURLE_OK)
                r = transfer_error(transfer, &error);
        transfer_unlink(transfer);

        transfer->callback(r, r < 0 ? NULL : &transfer->reply, &error, transfer->userdata);
        return 0;
}

static void transfer_finished(HttpTransfer *transfer, CURLcode result) {
        long status = 0;

        (void) curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
        transfer->result = result;
        transfer->reply.status = (unsigned) status;
        /* A body without bytes has called nobody. */
        if (result == CURLE_OK && transfer->stream && !transfer->head_is_read && stream_head(transfer) < 0)
                transfer->result = CURLE_WRITE_ERROR;
        transfer->finished = true;
        (void) sd_event_source_set_enabled(transfer->client->deliver, SD_EVENT_ON);
}

static void client_advance(HttpClient *client, curl_socket_t fd, int events) {
        int running, left;

        (void) curl_multi_socket_action(client->multi, fd, events, &running);

        for (CURLMsg *message; (message = curl_multi_info_read(client->multi, &left));) {
                HttpTransfer *transfer = NULL;

                if (message->msg != CURLMSG_DONE)
                        continue;
                (void) curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
                if (!transfer->finished)
                        transfer_finished(transfer, message->data.result);
        }
}

static int on_socket(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Watch *watch = userdata;
        int events = 0;

        if (revents & (EPOLLIN | EPOLLHUP))
                events |= CURL_CSELECT_IN;
        if (revents & EPOLLOUT)
                events |= CURL_CSELECT_OUT;
        if (revents & EPOLLERR)
                events |= CURL_CSELECT_ERR;
        client_advance(watch->client, fd, events);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        client_advance(userdata, CURL_SOCKET_TIMEOUT, 0);
        return 0;
}

static void watch_free(Watch *watch) {
        LIST_REMOVE(watch->client->watches, watch);
        (void) sd_event_source_disable_unref(watch->source);
        free(watch);
}

static int curl_wants_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_userdata) {
        HttpClient *client = userdata;
        Watch *watch = socket_userdata;
        uint32_t events;

        if (what == CURL_POLL_REMOVE) {
                if (watch)
                        watch_free(watch);
                return 0;
        }

        events = (what & CURL_POLL_IN ? EPOLLIN : 0U) | (what & CURL_POLL_OUT ? EPOLLOUT : 0U);
        if (watch)
                return sd_event_source_set_io_events(watch->source, events) < 0 ? -1 : 0;

        watch = malloc(sizeof(*watch));
        if (!watch)
                return -1;
        *watch = (Watch){ .client = client };
        if (sd_event_add_io(client->event, &watch->source, fd, events, on_socket, watch) < 0) {
                free(watch);
                return -1;
        }
        LIST_PREPEND(client->watches, watch);
        (void) curl_multi_assign(client->multi, fd, watch);
        return 0;
}

static int curl_wants_timer(CURLM *multi, long timeout_msec, void *userdata) {
        HttpClient *client = userdata;

        if (timeout_msec < 0)
                return sd_event_source_set_enabled(client->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
        if (sd_event_source_set_time(client->timer,
                                     now_monotonic_usec() + (uint64_t) timeout_msec * USEC_PER_MSEC) < 0)
                return -1;
        return sd_event_source_set_enabled(client->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

static void global_init(void) {
        (void) curl_global_init(CURL_GLOBAL_DEFAULT);
}

HttpClient *http_client_free(HttpClient *client) {
        if (!client)
                return NULL;

        while (client->transfers)
                transfer_free(client->transfers);
        /* While it closes the connections, curl asks for their watches to be removed. */
        (void) curl_multi_cleanup(client->multi);
        while (client->watches)
                watch_free(client->watches);
        (void) sd_event_source_disable_unref(client->timer);
        (void) sd_event_source_disable_unref(client->deliver);
        (void) sd_event_unref(client->event);
        X509_STORE_free(client->trusted);
        free(client->proxy);
        free(client);
        return NULL;
}

static int client_set_up_multi(HttpClient *client, unsigned connections) {
        client->multi = curl_multi_init();
        if (!client->multi)
                return -ENOMEM;
        if (curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, curl_wants_socket) != CURLM_OK ||
            curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client) != CURLM_OK ||
            curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, curl_wants_timer) != CURLM_OK ||
            curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client) != CURLM_OK ||
            curl_multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long) connections) !=
                            CURLM_OK ||
            curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long) connections) != CURLM_OK)
                return -EIO;
        return 0;
}

int http_client_new(sd_event *event, const HttpOptions *options, HttpClient **ret) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        _cleanup_(http_client_freep) HttpClient *client = NULL;
        int r;

        (void) pthread_once(&once, global_init);

        client = calloc(1, sizeof(*client));
        if (!client)
                return -ENOMEM;
        client->event = sd_event_ref(event);
        client->connect_timeout_usec = options->connect_timeout_usec ?: CONNECT_TIMEOUT_DEFAULT_USEC;
        client->trust_setting = options->trust_setting ?: "TrustedCertificates=";
        assert(!options->trusted || !options->any_certificate);
        client->any_certificate = options->any_certificate;
        if (options->trusted) {
                if (X509_STORE_up_ref(options->trusted) != 1)
                        return -ENOMEM;
                client->trusted = options->trusted;
        }
        if (options->proxy) {
                client->proxy = strdup(options->proxy);
                if (!client->proxy)
                        return -ENOMEM;
        }

        r = sd_event_add_time(event, &client->timer, CLOCK_MONOTONIC, 0, 1, on_timer, client);
        if (r < 0)
                return r;
        (void) sd_event_source_set_enabled(client->timer, SD_EVENT_OFF);
        r = sd_event_add_defer(event, &client->deliver, on_deliver, client);
        if (r < 0)
                return r;
        (void) sd_event_source_set_enabled(client->deliver, SD_EVENT_OFF);

        r = client_set_up_multi(client, options->connections_max ?: CONNECTIONS_DEFAULT);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(client);
        return 0;
}

static int add_header(struct curl_slist **list, const char *header) {
        struct curl_slist *longer = curl_slist_append(*list, header);

        if (!longer)
                return -ENOMEM;
        *list = longer;
        return 0;
}

/* "https://host:port/path" → "host:port" */
static char *url_host(const char *url) {
        const char *host = strstr(url, "://");

        host = host ? host + 3 : url;
        return strndup(host, strcspn(host, "/?#"));
}

static int transfer_set_headers(HttpTransfer *transfer, const HttpRequest *request) {
        bool has_type = false;
        int r;

        for (const char *const *header = request->headers; header && *header; header++) {
                has_type = has_type || strncasecmp(*header, "content-type:", 13) == 0;
                r = add_header(&transfer->headers, *header);
                if (r < 0)
                        return r;
        }
        if (!has_type) {
                r = add_header(&transfer->headers, "Content-Type:");
                if (r < 0)
                        return r;
        }
        r = add_header(&transfer->headers, "Expect:");
        if (r < 0)
                return r;
        return add_header(&transfer->headers, "User-Agent: unseald/" UNSEALD_VERSION);
}

static long usec_to_msec(uint64_t usec) {
        uint64_t msec = (usec + USEC_PER_MSEC - 1) / USEC_PER_MSEC;

        return msec > INT_MAX ? INT_MAX : (long) msec;
}

static CURLcode transfer_set_options(HttpTransfer *transfer, const HttpRequest *request) {
        HttpClient *client = transfer->client;
        bool tls = client->trusted || client->any_certificate;
        CURLcode failed = CURLE_OK;

#define SET(option, value)                                                            \
        do {                                                                          \
                CURLcode code_ = curl_easy_setopt(transfer->easy, (option), (value)); \
                if (code_ != CURLE_OK)                                                \
                        failed = code_;                                               \
        } while (0)

        SET(CURLOPT_URL, request->url);
        SET(CURLOPT_PATH_AS_IS, 1L); /* the signature covers the path as it is */
        SET(CURLOPT_PROTOCOLS_STR, tls ? "https" : "http");
        SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
        SET(CURLOPT_CUSTOMREQUEST, request->method);
        if (request->body || strcmp(request->method, "GET") != 0) {
                SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) transfer->body_size);
                SET(CURLOPT_POSTFIELDS, transfer->body);
        }
        SET(CURLOPT_HTTPHEADER, transfer->headers);
        SET(CURLOPT_TIMEOUT_MS,
            usec_to_msec(request->timeout_usec ?: (request->stream ? 0 : TIMEOUT_DEFAULT_USEC)));
        SET(CURLOPT_CONNECTTIMEOUT_MS, usec_to_msec(client->connect_timeout_usec));
        SET(CURLOPT_NOSIGNAL, 1L);
        SET(CURLOPT_BUFFERSIZE, request->stream ? STREAM_BUFFER : RECEIVE_BUFFER);
        SET(CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER);
        SET(CURLOPT_QUICK_EXIT, 1L); /* curl must not wait for a resolver that hangs */
        SET(CURLOPT_FOLLOWLOCATION, 0L);
        SET(CURLOPT_PROXY, client->proxy ?: ""); /* "": no proxy, even if the environment names one */
        SET(CURLOPT_NOPROXY, "");
        SET(CURLOPT_HTTPPROXYTUNNEL, client->proxy ? 1L : 0L);
        SET(CURLOPT_PRIVATE, transfer);
        SET(CURLOPT_ERRORBUFFER, transfer->detail);
        SET(CURLOPT_RESOLVER_START_FUNCTION, on_resolve);
        SET(CURLOPT_RESOLVER_START_DATA, transfer);
        SET(CURLOPT_PREREQFUNCTION, on_request);
        SET(CURLOPT_PREREQDATA, transfer);
        SET(CURLOPT_HEADERFUNCTION, on_header);
        SET(CURLOPT_HEADERDATA, transfer);
        SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
        SET(CURLOPT_WRITEFUNCTION, on_body);
        SET(CURLOPT_WRITEDATA, transfer);
        if (tls) {
                SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
                SET(CURLOPT_SSL_VERIFYPEER, client->trusted ? 1L : 0L);
                SET(CURLOPT_SSL_VERIFYHOST, client->trusted ? 2L : 0L);
                SET(CURLOPT_CAINFO, NULL);
                SET(CURLOPT_CAPATH, NULL);
                SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl_context);
                SET(CURLOPT_SSL_CTX_DATA, client);
                SET(CURLOPT_SSL_SESSIONID_CACHE,
                    0L); /* each transfer has a cache of its own, so it never finds a session */
        }
#undef SET
        return failed;
}

int http_start(HttpClient *client, const HttpRequest *request, HttpCallback callback, void *userdata,
               HttpTransfer **ret) {

        _cleanup_(transfer_freep) HttpTransfer *transfer = NULL;
        int r;

        transfer = calloc(1, sizeof(*transfer));
        if (!transfer)
                return -ENOMEM;
        transfer->callback = callback;
        transfer->userdata = userdata;
        transfer->stream = request->stream;
        transfer->reply.body_max = request->reply_max ?: REPLY_MAX_DEFAULT;
        transfer->easy = curl_easy_init();
        transfer->host = url_host(request->url);
        transfer->body = malloc(request->body_size + 1);
        if (!transfer->easy || !transfer->host || !transfer->body)
                return -ENOMEM;
        if (request->body_size > 0)
                memcpy(transfer->body, request->body, request->body_size);
        transfer->body_size = request->body_size;

        r = transfer_set_headers(transfer, request);
        if (r < 0)
                return r;

        transfer_link(transfer, client);
        if (transfer_set_options(transfer, request) != CURLE_OK)
                return -EIO;
        if (curl_multi_add_handle(client->multi, transfer->easy) != CURLM_OK)
                return -EIO;

        if (ret)
                *ret = transfer;
        TAKE_PTR(transfer);
        return 0;
}

void http_resume(HttpTransfer *transfer) {
        CURLcode code;

        if (!transfer->paused || transfer->finished)
                return;
        transfer->paused = false;
        code = curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
        /* The stream's data() has ended the transfer: curl does not report it. */
        if (code != CURLE_OK)
                transfer_finished(transfer, code);
}

bool http_is_paused(const HttpTransfer *transfer) {
        return transfer->paused && !transfer->finished;
}

bool http_is_sent(const HttpTransfer *transfer) {
        return transfer->sent;
}

sd_event *http_event(const HttpClient *client) {
        return client->event;
}

void http_cancel(HttpTransfer *transfer) {
        (void) transfer_free(transfer);
}
