/* SPDX-License-Identifier: Apache-2.0 */

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "exchange.h"

#define HEADERS_MAX 64
#define CONNECTIONS_MAX 1024

/* The TCP connection behind a descriptor that libmicrohttpd serves. */
typedef struct Behind {
        int fd;
        int real_fd;
} Behind;

struct HttpServer {
        struct MHD_Daemon *daemon;
        ExchangeHandler handler;
        void *userdata;

        pthread_mutex_t mutex;
        Behind behind[CONNECTIONS_MAX];
        size_t n_behind;
};

typedef struct ExchangeState {
        Exchange exchange;
        SigV4Header headers[HEADERS_MAX];
        char *target;
        uint8_t *body;
        bool begun;
        size_t sent; /* bytes sent of a body that is cut short or slow */
        HttpServer *server;
} ExchangeState;

static void drop_body(Exchange *exchange) {
        if (!exchange->body_borrowed)
                free(exchange->body);
        exchange->body = NULL;
        exchange->body_borrowed = false;
}

void exchange_reply(Exchange *exchange, unsigned status, char *body, size_t size) {
        drop_body(exchange);
        exchange->body = body;
        exchange->body_size = body ? size : 0;
        exchange->status = status;
}

void exchange_reply_borrowed(Exchange *exchange, unsigned status, const void *body, size_t size) {
        exchange_reply(exchange, status, (char *) body, size);
        exchange->body_borrowed = true;
}

void exchange_reply_text(Exchange *exchange, unsigned status, const char *text) {
        char *body = strdup(text);

        exchange_reply(exchange, body ? status : 500, body, strlen(text));
}

void exchange_add_header(Exchange *exchange, const char *name, const char *format, ...) {
        va_list arguments;

        if (exchange->n_headers == ELEMENTSOF(exchange->headers))
                return;
        exchange->headers[exchange->n_headers].name = name;
        va_start(arguments, format);
        vsnprintf(exchange->headers[exchange->n_headers++].value, sizeof(exchange->headers[0].value), format,
                  arguments);
        va_end(arguments);
}

static int connection_fd(struct MHD_Connection *connection) {
        return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

void exchange_wait(Exchange *exchange, int64_t msec) {
        struct pollfd pollfd = { .fd = connection_fd(exchange->connection), .events = POLLRDHUP };

        while (poll(&pollfd, 1, msec > INT32_MAX ? INT32_MAX : (int) msec) < 0 && errno == EINTR)
                ;
}

/* Connecting to AF_UNSPEC ends a TCP connection with a reset at once, even where other descriptors of it
 * are open. */
static void reset_connection(HttpServer *server, int fd) {
        const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

        pthread_mutex_lock(&server->mutex);
        for (size_t i = 0; i < server->n_behind; i++)
                if (server->behind[i].fd == fd) {
                        fd = server->behind[i].real_fd;
                        break;
                }
        connect(fd, &nobody, sizeof(nobody));
        pthread_mutex_unlock(&server->mutex);
}

/* Where a body ends that is not sent whole. */
static size_t body_end(const Exchange *exchange) {
        if (exchange->ending == ENDING_TRUNCATED)
                return exchange->body_size / 2;
        if (exchange->ending == ENDING_CUT && exchange->cut_after < exchange->body_size)
                return (size_t) exchange->cut_after;
        return exchange->body_size;
}

static ssize_t read_part(void *userdata, uint64_t position, char *buffer, size_t maximum) {
        ExchangeState *state = userdata;
        Exchange *exchange = &state->exchange;
        size_t left = body_end(exchange) - state->sent, size = left < maximum ? left : maximum;

        if (left == 0) {
                if (exchange->ending == ENDING_CUT)
                        reset_connection(state->server, connection_fd(exchange->connection));
                return MHD_CONTENT_READER_END_WITH_ERROR;
        }
        if (exchange->bytes_per_second > 0) {
                size_t tenth = (size_t) (exchange->bytes_per_second + 9) / 10;

                size = size < tenth ? size : tenth;
                exchange_wait(exchange, 100);
        }
        memcpy(buffer, exchange->body + state->sent, size);
        state->sent += size;
        return (ssize_t) size;
}

static enum MHD_Result queue_reply(ExchangeState *state) {
        Exchange *exchange = &state->exchange;
        struct MHD_Response *response;

        /* The state frees the body, because it outlives the response. */
        if (exchange->ending != ENDING_WHOLE || exchange->bytes_per_second > 0)
                response = MHD_create_response_from_callback(exchange->body_size, 16 * 1024, read_part,
                                                             state, NULL);
        else
                response = MHD_create_response_from_buffer(exchange->body_size, exchange->body,
                                                           MHD_RESPMEM_PERSISTENT);
        if (!response)
                return MHD_NO;

        for (size_t i = 0; i < exchange->n_headers; i++)
                MHD_add_response_header(response, exchange->headers[i].name, exchange->headers[i].value);
        if (exchange->close)
                MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
        enum MHD_Result result = MHD_queue_response(exchange->connection, exchange->status, response);
        MHD_destroy_response(response);
        return result;
}

static enum MHD_Result collect_header(void *userdata, enum MHD_ValueKind kind, const char *name,
                                      const char *value) {
        ExchangeState *state = userdata;

        if (state->exchange.request.n_headers == HEADERS_MAX)
                return MHD_NO;
        state->headers[state->exchange.request.n_headers++] =
                        (SigV4Header){ .name = name, .value = value ? value : "" };
        return MHD_YES;
}

static void read_source(ExchangeState *state) {
        const struct sockaddr *address = MHD_get_connection_info(state->exchange.connection,
                                                                 MHD_CONNECTION_INFO_CLIENT_ADDRESS)
                                                         ->client_addr;

        if (address->sa_family == AF_INET)
                inet_ntop(AF_INET, &((const struct sockaddr_in *) (const void *) address)->sin_addr,
                          state->exchange.source, sizeof(state->exchange.source));
        else if (address->sa_family == AF_INET6)
                inet_ntop(AF_INET6, &((const struct sockaddr_in6 *) (const void *) address)->sin6_addr,
                          state->exchange.source, sizeof(state->exchange.source));
}

static enum MHD_Result collect_body(ExchangeState *state, const char *data, size_t size) {
        SigV4Request *request = &state->exchange.request;

        if (state->exchange.oversized || size > EXCHANGE_BODY_MAX - request->body_size) {
                state->exchange.oversized = true;
                return MHD_YES;
        }
        uint8_t *grown = realloc(state->body, request->body_size + size);
        if (!grown)
                return MHD_NO;
        memcpy(grown + request->body_size, data, size);
        state->body = grown;
        request->body = grown;
        request->body_size += size;
        return MHD_YES;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_data_size, void **connection_state) {
        HttpServer *server = userdata;
        ExchangeState *state = *connection_state;

        if (!state)
                return MHD_NO;
        if (!state->begun) {
                state->begun = true;
                return MHD_YES;
        }
        if (*upload_data_size > 0) {
                enum MHD_Result result = collect_body(state, upload_data, *upload_data_size);
                *upload_data_size = 0;
                return result;
        }

        state->server = server;
        state->exchange.connection = connection;
        state->exchange.request.method = method;
        state->exchange.request.target = state->target;
        state->exchange.request.headers = state->headers;
        MHD_get_connection_values(connection, MHD_HEADER_KIND, collect_header, state);
        read_source(state);

        server->handler(&state->exchange, server->userdata);

        if (state->exchange.ending == ENDING_RESET) {
                reset_connection(server, connection_fd(connection));
                return MHD_NO;
        }
        if (state->exchange.ending == ENDING_SILENT) {
                exchange_wait(&state->exchange, -1);
                return MHD_NO;
        }
        return queue_reply(state);
}

/* libmicrohttpd calls this with the target as the client sent it, before decoding it. */
static void *on_target(void *userdata, const char *target, struct MHD_Connection *connection) {
        ExchangeState *state = calloc(1, sizeof(*state));

        if (!state)
                return NULL;
        state->target = strdup(target);
        if (!state->target) {
                free(state);
                return NULL;
        }
        return state;
}

static void on_completed(void *userdata, struct MHD_Connection *connection, void **connection_state,
                         enum MHD_RequestTerminationCode why) {
        ExchangeState *state = *connection_state;

        if (!state)
                return;
        free(state->target);
        free(state->body);
        drop_body(&state->exchange);
        free(state);
        *connection_state = NULL;
}

int http_server_new(int fd, ExchangeHandler handler, void *userdata, HttpServer **ret) {
        /* The service adds the Date header itself, because its clock can be off. */
        unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
                         MHD_USE_ITC | MHD_USE_SUPPRESS_DATE_NO_CLOCK;
        HttpServer *server = calloc(1, sizeof(*server));

        if (!server)
                return -ENOMEM;
        server->handler = handler;
        server->userdata = userdata;
        pthread_mutex_init(&server->mutex, NULL);

        if (fd < 0)
                flags |= MHD_USE_NO_LISTEN_SOCKET;
        server->daemon = MHD_start_daemon(
                        flags, 0, NULL, NULL, on_request, server, MHD_OPTION_URI_LOG_CALLBACK, on_target,
                        NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) (96 * 1024),
                        MHD_OPTION_CONNECTION_LIMIT, (unsigned) CONNECTIONS_MAX,
                        fd >= 0 ? MHD_OPTION_LISTEN_SOCKET : MHD_OPTION_END, fd, MHD_OPTION_END);
        if (!server->daemon) {
                http_server_free(server);
                return -EIO;
        }

        *ret = server;
        return 0;
}

HttpServer *http_server_free(HttpServer *server) {
        if (server) {
                if (server->daemon)
                        MHD_stop_daemon(server->daemon);
                pthread_mutex_destroy(&server->mutex);
                free(server);
        }
        return NULL;
}

int http_server_add(HttpServer *server, int fd, int real_fd, const struct sockaddr *address,
                    socklen_t size) {
        size_t i = 0;
        bool room;

        pthread_mutex_lock(&server->mutex);
        /* libmicrohttpd may have closed the descriptor and the kernel may have given its number out again.
         * Replace such an entry. */
        while (i < server->n_behind && server->behind[i].fd != fd)
                i++;
        room = i < CONNECTIONS_MAX;
        if (room) {
                server->behind[i] = (Behind){ .fd = fd, .real_fd = real_fd };
                server->n_behind += i == server->n_behind;
        }
        pthread_mutex_unlock(&server->mutex);
        if (!room) {
                close(fd);
                return -EMFILE;
        }

        if (MHD_add_connection(server->daemon, fd, address, size) != MHD_YES) {
                http_server_forget(server, real_fd);
                return -EIO;
        }
        return 0;
}

void http_server_forget(HttpServer *server, int real_fd) {
        pthread_mutex_lock(&server->mutex);
        for (size_t i = 0; i < server->n_behind; i++)
                if (server->behind[i].real_fd == real_fd) {
                        server->behind[i] = server->behind[--server->n_behind];
                        break;
                }
        pthread_mutex_unlock(&server->mutex);
}
