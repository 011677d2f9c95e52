/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * HTTP/1.1 by libmicrohttpd: one request and the reply to it, a thread for each connection, so that a handler may take
 * its time. Also the bad manners that a test wants: a body cut short, a reset, silence.
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
        ENDING_SILENT, /* nothing until the client has gone */
} Ending;

typedef struct Exchange {
        /* The request. Headers are filled in before the handler is called. */
        SigV4Request request;
        char source[INET6_ADDRSTRLEN];
        bool oversized; /* the body was longer than EXCHANGE_BODY_MAX and is not here */

        /* The reply, which the handler fills. */
        unsigned status;
        char *body; /* freed with the exchange */
        size_t body_size;
        Ending ending;
        bool close; /* Connection: close */
        struct {
                const char *name;
                char value[128];
        } headers[8];
        size_t n_headers;

        struct MHD_Connection *connection;
} Exchange;

typedef void (*ExchangeHandler)(Exchange *exchange, void *userdata);

typedef struct HttpServer HttpServer;

/* Listens on fd, or, where fd is negative, serves what http_server_add() brings. */
int http_server_new(int fd, ExchangeHandler handler, void *userdata, HttpServer **ret);
HttpServer *http_server_free(HttpServer *server);

/* Serves a connection that was accepted elsewhere; takes the descriptor, also where it fails. real_fd is the TCP
 * connection behind it, which a reset is for; whoever closes it calls http_server_forget() first. */
int http_server_add(HttpServer *server, int fd, int real_fd, const struct sockaddr *address, socklen_t size);
void http_server_forget(HttpServer *server, int real_fd);

/* Takes the body (freed by the exchange). NULL is an empty one. */
void exchange_reply(Exchange *exchange, unsigned status, char *body, size_t size);
void exchange_reply_text(Exchange *exchange, unsigned status, const char *text);
void exchange_add_header(Exchange *exchange, const char *name, const char *format, ...)
                __attribute__((format(printf, 3, 4)));

/* Waits, but no longer than the client does. */
void exchange_wait(Exchange *exchange, int64_t msec);
