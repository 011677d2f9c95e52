/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "tls_front.h"

DEFINE_CLEANUP(SSL *, SSL_free);

typedef struct Connection {
        TlsFront *front;
        int fd;
        struct sockaddr_storage address;
        socklen_t address_size;
        CertificateKind certificate;
        struct Connection *next, **previous;
} Connection;

struct TlsFront {
        int fd;
        int stop[2]; /* a pipe; closing its write end stops the accepting thread */
        pthread_t thread;
        Faults *faults;
        unsigned services;
        HttpServer *server;
        SSL_CTX *contexts[_CERTIFICATE_KIND_MAX];

        pthread_mutex_t mutex;
        pthread_cond_t gone;
        Connection *connections;
};

static int client_to_server(SSL *ssl, int fd) {
        char buffer[16 * 1024];

        do {
                int n = SSL_read(ssl, buffer, sizeof(buffer));
                if (n <= 0)
                        /* A record without data, such as the acknowledgement of a session ticket, does not
                         * end the connection. */
                        return SSL_get_error(ssl, n) == SSL_ERROR_WANT_READ ? 0 : -ECONNRESET;
                if (write_all(fd, buffer, (size_t) n) < 0)
                        return -EPIPE;
        } while (SSL_pending(ssl) > 0);
        return 0;
}

static int server_to_client(int fd, SSL *ssl) {
        char buffer[16 * 1024];
        ssize_t n = read(fd, buffer, sizeof(buffer));

        if (n <= 0)
                return -EPIPE;
        return SSL_write(ssl, buffer, (int) n) == n ? 0 : -ECONNRESET;
}

static void carry(SSL *ssl, int client, int server) {
        for (;;) {
                struct pollfd fds[] = { { .fd = client, .events = POLLIN },
                                        { .fd = server, .events = POLLIN } };

                if (poll(fds, ELEMENTSOF(fds), -1) < 0) {
                        if (errno == EINTR)
                                continue;
                        return;
                }
                if (fds[1].revents && server_to_client(server, ssl) < 0) {
                        SSL_shutdown(ssl);
                        return;
                }
                if (fds[0].revents && client_to_server(ssl, server) < 0)
                        return;
        }
}

static void serve(Connection *connection) {
        _cleanup_(SSL_freep) SSL *ssl = SSL_new(connection->front->contexts[connection->certificate]);
        _cleanup_close_ int near = -1;
        int pair[2];

        if (!ssl || SSL_set_fd(ssl, connection->fd) <= 0 || SSL_accept(ssl) <= 0)
                return;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return;
        near = pair[0];
        if (http_server_add(connection->front->server, pair[1], connection->fd,
                            (const struct sockaddr *) &connection->address, connection->address_size) < 0)
                return;
        carry(ssl, connection->fd, near);
        http_server_forget(connection->front->server, connection->fd);
}

static void *connection_thread(void *userdata) {
        Connection *connection = userdata;
        TlsFront *front = connection->front;

        serve(connection);

        pthread_mutex_lock(&front->mutex);
        close(connection->fd);
        *connection->previous = connection->next;
        if (connection->next)
                connection->next->previous = connection->previous;
        pthread_cond_signal(&front->gone);
        pthread_mutex_unlock(&front->mutex);
        free(connection);
        return NULL;
}

static CertificateKind choose_certificate(const TlsFront *front) {
        static const struct {
                FaultKind fault;
                CertificateKind certificate;
        } choices[] = {
                { FAULT_TLS_WRONG_NAME, CERTIFICATE_WRONG_NAME },
                { FAULT_TLS_EXPIRED, CERTIFICATE_EXPIRED },
                { FAULT_TLS_NOT_YET_VALID, CERTIFICATE_NOT_YET_VALID },
                { FAULT_TLS_UNTRUSTED, CERTIFICATE_UNTRUSTED },
        };

        for (size_t i = 0; i < ELEMENTSOF(choices); i++)
                if (faults_take(front->faults, front->services, "connect", choices[i].fault, NULL))
                        return choices[i].certificate;
        return CERTIFICATE_RIGHT;
}

static void start_connection(TlsFront *front) {
        Connection *connection = calloc(1, sizeof(*connection));
        pthread_attr_t attributes;
        pthread_t thread;

        if (!connection)
                return;
        connection->front = front;
        connection->address_size = sizeof(connection->address);
        connection->fd = accept4(front->fd, (struct sockaddr *) &connection->address,
                                 &connection->address_size, SOCK_CLOEXEC);
        if (connection->fd < 0) {
                free(connection);
                return;
        }
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &(const int){ 1 }, sizeof(int));
        connection->certificate = choose_certificate(front);

        pthread_mutex_lock(&front->mutex);
        connection->next = front->connections;
        connection->previous = &front->connections;
        if (connection->next)
                connection->next->previous = &connection->next;
        front->connections = connection;
        pthread_mutex_unlock(&front->mutex);

        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        int r = pthread_create(&thread, &attributes, connection_thread, connection);
        pthread_attr_destroy(&attributes);
        if (r != 0) {
                pthread_mutex_lock(&front->mutex);
                front->connections = connection->next;
                if (connection->next)
                        connection->next->previous = &front->connections;
                pthread_mutex_unlock(&front->mutex);
                close(connection->fd);
                free(connection);
        }
}

static void *accept_thread(void *userdata) {
        TlsFront *front = userdata;

        for (;;) {
                struct pollfd fds[] = { { .fd = front->fd, .events = POLLIN }, { .fd = front->stop[0] } };

                if (poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR)
                        return NULL;
                if (fds[1].revents)
                        return NULL;
                if (fds[0].revents & POLLIN)
                        start_connection(front);
        }
}

static int make_contexts(TlsFront *front, const Pki *pki) {
        for (size_t i = 0; i < _CERTIFICATE_KIND_MAX; i++) {
                SSL_CTX *context = SSL_CTX_new(TLS_server_method());

                front->contexts[i] = context;
                if (!context || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) <= 0 ||
                    SSL_CTX_use_certificate(context, pki->certificates[i]) <= 0 ||
                    SSL_CTX_use_PrivateKey(context, pki->key) <= 0)
                        return -EIO;
                /* Otherwise SSL_read() blocks after a record without data, and no thread carries the
                 * server's bytes. */
                SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
        }
        return 0;
}

int tls_front_new(int fd, const Pki *pki, Faults *faults, unsigned services, HttpServer *server,
                  TlsFront **ret) {
        TlsFront *front = calloc(1, sizeof(*front));
        int r;

        if (!front) {
                close(fd);
                return -ENOMEM;
        }
        front->fd = fd;
        front->faults = faults;
        front->services = services;
        front->server = server;
        front->stop[0] = front->stop[1] = -1;
        pthread_mutex_init(&front->mutex, NULL);
        pthread_cond_init(&front->gone, NULL);

        r = make_contexts(front, pki);
        if (r >= 0 && pipe2(front->stop, O_CLOEXEC) < 0)
                r = -errno;
        if (r >= 0)
                r = -pthread_create(&front->thread, NULL, accept_thread, front);
        if (r < 0) {
                if (front->stop[1] >= 0)
                        close(front->stop[1]);
                front->stop[1] = -1;
                tls_front_free(front);
                return r;
        }

        *ret = front;
        return 0;
}

TlsFront *tls_front_free(TlsFront *front) {
        if (!front)
                return NULL;

        if (front->stop[1] >= 0) {
                close(front->stop[1]);
                pthread_join(front->thread, NULL);
        }
        pthread_mutex_lock(&front->mutex);
        for (Connection *connection = front->connections; connection; connection = connection->next)
                shutdown(connection->fd, SHUT_RDWR);
        while (front->connections)
                pthread_cond_wait(&front->gone, &front->mutex);
        pthread_mutex_unlock(&front->mutex);

        if (front->stop[0] >= 0)
                close(front->stop[0]);
        close(front->fd);
        for (size_t i = 0; i < ELEMENTSOF(front->contexts); i++)
                SSL_CTX_free(front->contexts[i]);
        pthread_cond_destroy(&front->gone);
        pthread_mutex_destroy(&front->mutex);
        free(front);
        return NULL;
}
