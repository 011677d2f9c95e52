/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * HTTP/1.1 by libmicrohttpd: one request and its reply. Each connection has a thread, so a handler may take
 * its time. A handler can also misbehave as a test wants: cut the body short, reset the connection, stay
 * silent.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "sigv4_verify.h"

#define EXCHANGE_BODY_MAX (1024U * 1024U)

typedef enum Ending {
        ENDING_WHOLE,
        ENDING_TRUNCATED, /* half of the body, then the end of the connection */
        ENDING_RESET,
        ENDING_CUT,    /* a part of the body, then a reset */
        ENDING_SILENT, /* no reply until the client closes the connection */
} Ending;

typedef struct Exchange {
        /* The request. It is complete before the handler is called. */
        SigV4Request request;
        char source[INET6_ADDRSTRLEN];
        bool oversized; /* the body was longer than EXCHANGE_BODY_MAX and has been dropped */

        /* The reply. The handler fills it in. */
        unsigned status;
        char *body; /* the exchange frees it, unless it is borrowed */
        size_t body_size;
        bool body_borrowed;
        Ending ending;
        uint64_t cut_after;        /* ENDING_CUT: so many bytes of the body */
        uint64_t bytes_per_second; /* 0: as fast as the client reads */
        bool close;                /* send Connection: close */
        struct {
                const char *name;
                char value[128];
        } headers[16];
        size_t n_headers;

        struct MHD_Connection *connection;
} Exchange;

typedef void (*ExchangeHandler)(Exchange *exchange, void *userdata);

typedef struct HttpServer HttpServer;

/* Listens on fd. With a negative fd it only serves the connections that http_server_add() brings. */
int http_server_new(int fd, ExchangeHandler handler, void *userdata, HttpServer **ret);
HttpServer *http_server_free(HttpServer *server);

/* Serves a connection that was accepted elsewhere. Takes fd, even on failure. real_fd is the TCP connection
 * behind fd, which the fault "reset" resets; its owner calls http_server_forget() before closing it. */
int http_server_add(HttpServer *server, int fd, int real_fd, const struct sockaddr *address, socklen_t size);
void http_server_forget(HttpServer *server, int real_fd);

/* Takes the body; the exchange frees it. NULL is an empty body. */
void exchange_reply(Exchange *exchange, unsigned status, char *body, size_t size);
/* The same for bytes that outlive the exchange. */
void exchange_reply_borrowed(Exchange *exchange, unsigned status, const void *body, size_t size);
void exchange_reply_text(Exchange *exchange, unsigned status, const char *text);
void exchange_add_header(Exchange *exchange, const char *name, const char *format, ...)
                __attribute__((format(printf, 3, 4)));

/* Waits so long, or until the client closes the connection. */
void exchange_wait(Exchange *exchange, int64_t msec);
