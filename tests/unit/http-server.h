/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An HTTP server on a port of 127.0.0.1. It gives one prepared answer to each connection and keeps the requests. */

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "basic/cleanup.h"

#define ANSWERS_MAX 8

typedef struct Answer {
        unsigned status;     /* 0: the server closes the connection without an answer */
        const char *headers; /* each ends with CR LF; may be NULL */
        const char *body;
} Answer;

typedef struct Server {
        Answer answers[ANSWERS_MAX];
        size_t answers_size, served;
        char requests[ANSWERS_MAX][16384];
        char address[64]; /* "http://127.0.0.1:port" */
        int fd;
        pthread_t thread;
} Server;

static bool server_request_is_whole(const char *request) {
        const char *end = strstr(request, "\r\n\r\n"), *length = strcasestr(request, "\r\nContent-Length:");

        return end && (!length || length > end || strlen(end + 4) >= strtoul(length + 17, NULL, 10));
}

static void server_answer(int fd, const Answer *answer) {
        const char *body = answer->body ?: "";

        if (answer->status != 0)
                dprintf(fd, "HTTP/1.1 %u Status\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s",
                        answer->status, answer->headers ?: "", strlen(body), body);
}

static void *server_run(void *userdata) {
        Server *server = userdata;
        sigset_t pipe;

        /* A client may go before it has the whole answer. */
        (void) sigemptyset(&pipe);
        (void) sigaddset(&pipe, SIGPIPE);
        (void) pthread_sigmask(SIG_BLOCK, &pipe, NULL);
        for (size_t i = 0; i < server->answers_size; i++) {
                _cleanup_close_ int fd = accept(server->fd, NULL, NULL);
                char *request = server->requests[i];
                size_t size = 0;

                if (fd < 0)
                        break;
                while (!server_request_is_whole(request)) {
                        ssize_t n = read(fd, request + size, sizeof(server->requests[i]) - 1 - size);

                        if (n <= 0)
                                break;
                        size += (size_t) n;
                }
                server_answer(fd, server->answers + i);
                server->served++;
        }
        return NULL;
}

static Server *server_start(const Answer *answers, size_t size) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t address_size = sizeof(address);
        Server *server = calloc(1, sizeof(*server));

        if (!server || size > ANSWERS_MAX)
                abort();
        for (size_t i = 0; i < size; i++)
                server->answers[i] = answers[i];
        server->answers_size = size;
        server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(server->fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(server->fd, 16) < 0 ||
            getsockname(server->fd, (struct sockaddr *) &address, &address_size) < 0)
                abort();
        (void) snprintf(server->address, sizeof(server->address), "http://127.0.0.1:%u",
                        ntohs(address.sin_port));
        if (pthread_create(&server->thread, NULL, server_run, server) != 0)
                abort();
        return server;
}

/* A test may read requests and served only after this. */
static void server_stop(Server *server) {
        if (server->fd < 0)
                return;
        (void) shutdown(server->fd, SHUT_RDWR);
        (void) pthread_join(server->thread, NULL);
        close(TAKE_FD(server->fd));
}

static void server_free(Server *server) {
        server_stop(server);
        free(server);
}
DEFINE_CLEANUP(Server *, server_free);

/* The value of a header of a request, or NULL. The caller frees it. */
static inline char *server_request_header(const char *request, const char *name) {
        const char *end = strstr(request, "\r\n\r\n");

        for (const char *line = strstr(request, "\r\n"); line && line < end; line = strstr(line + 2, "\r\n"))
                if (strncasecmp(line + 2, name, strlen(name)) == 0 && line[2 + strlen(name)] == ':') {
                        const char *value = line + 2 + strlen(name) + 1;

                        value += strspn(value, " ");
                        return strndup(value, strcspn(value, "\r"));
                }
        return NULL;
}

/* Runs the event loop until *done is wanted. False: no event for ten seconds, or a hundred events. */
static inline bool run_until(sd_event *event, const unsigned *done, unsigned wanted) {
        for (unsigned i = 0; *done < wanted; i++)
                if (i == 100 || sd_event_run(event, UINT64_C(10) * 1000000) <= 0)
                        return *done >= wanted;
        return true;
}
