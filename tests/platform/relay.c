/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "relay.h"

#define CONNECTIONS_MAX 512
#define CHUNK_SIZE (16U * 1024U)
/* Above this size a direction is not read until its queue is empty. */
#define QUEUE_MAX (1024U * 1024U)

typedef enum ChunkKind {
        CHUNK_DATA,
        CHUNK_END,
        CHUNK_RESET,
} ChunkKind;

typedef struct Chunk {
        struct Chunk *next;
        uint64_t due_usec;
        ChunkKind kind;
        size_t size, sent;
        uint8_t data[];
} Chunk;

typedef struct Direction {
        int from, to;
        Chunk *first, *last;
        size_t queued;
        bool read_ended, write_ended, blocked;
} Direction;

typedef struct Connection {
        Direction directions[2];
        uint64_t opened_usec; /* when a handshake over the delayed network would be done */
        bool dead;
} Connection;

struct Relay {
        int fd;
        int stop[2];
        struct sockaddr_in to;
        atomic_uint delay_msec;
        pthread_t thread;
        Connection *connections[CONNECTIONS_MAX];
        size_t n_connections;
};

static uint64_t delay_usec(Relay *relay) {
        return atomic_load(&relay->delay_msec) * USEC_PER_MSEC;
}

static void connection_free(Connection *connection) {
        for (size_t i = 0; i < ELEMENTSOF(connection->directions); i++) {
                close(connection->directions[i].from);
                for (Chunk *chunk = connection->directions[i].first, *next; chunk; chunk = next) {
                        next = chunk->next;
                        free(chunk);
                }
        }
        free(connection);
}

static void prepare_socket(int fd) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(const int){ 1 }, sizeof(int));
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void open_connection(Relay *relay) {
        _cleanup_close_ int client = accept4(relay->fd, NULL, NULL, SOCK_CLOEXEC), server = -1;

        if (client < 0 || relay->n_connections == CONNECTIONS_MAX)
                return;
        server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (server < 0 || connect(server, (const struct sockaddr *) &relay->to, sizeof(relay->to)) < 0)
                return;
        Connection *connection = calloc(1, sizeof(*connection));
        if (!connection)
                return;
        prepare_socket(client);
        prepare_socket(server);
        connection->opened_usec = now_monotonic_usec() + 2 * delay_usec(relay);
        connection->directions[0].from = connection->directions[1].to = TAKE_FD(client);
        connection->directions[0].to = connection->directions[1].from = TAKE_FD(server);
        relay->connections[relay->n_connections++] = connection;
}

static void read_direction(Relay *relay, Connection *connection, Direction *direction) {
        Chunk *chunk = malloc(sizeof(*chunk) + CHUNK_SIZE);
        uint64_t sent_usec = now_monotonic_usec();
        ssize_t n;

        if (!chunk)
                return;
        n = read(direction->from, chunk->data, CHUNK_SIZE);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
                free(chunk);
                return;
        }

        bool from_client = direction == &connection->directions[0];
        if (from_client && sent_usec < connection->opened_usec)
                sent_usec = connection->opened_usec;
        chunk->next = NULL;
        chunk->due_usec = sent_usec + delay_usec(relay);
        chunk->kind = n > 0 ? CHUNK_DATA : n == 0 ? CHUNK_END : CHUNK_RESET;
        chunk->size = n > 0 ? (size_t) n : 0;
        chunk->sent = 0;
        direction->read_ended = n <= 0;
        direction->queued += chunk->size;
        if (direction->last)
                direction->last->next = chunk;
        else
                direction->first = chunk;
        direction->last = chunk;
}

/* Returns true once the whole chunk has been sent. */
static bool send_chunk(Connection *connection, Direction *direction, Chunk *chunk) {
        if (chunk->kind == CHUNK_END) {
                shutdown(direction->to, SHUT_WR);
                direction->write_ended = true;
                return true;
        }
        if (chunk->kind == CHUNK_RESET) {
                connect(direction->to, &(const struct sockaddr){ .sa_family = AF_UNSPEC },
                        sizeof(struct sockaddr));
                connection->dead = true;
                return true;
        }

        ssize_t n = send(direction->to, chunk->data + chunk->sent, chunk->size - chunk->sent, MSG_NOSIGNAL);
        if (n < 0) {
                direction->blocked = errno == EAGAIN;
                connection->dead = errno != EAGAIN && errno != EINTR;
                return false;
        }
        chunk->sent += (size_t) n;
        direction->queued -= (size_t) n;
        return chunk->sent == chunk->size;
}

/* Sends the chunks that are due. Returns the time of the next one, or USEC_INFINITY. */
static uint64_t write_direction(Connection *connection, Direction *direction) {
        direction->blocked = false;
        while (direction->first && !direction->blocked && !connection->dead) {
                Chunk *chunk = direction->first;

                if (chunk->due_usec > now_monotonic_usec())
                        return chunk->due_usec;
                if (!send_chunk(connection, direction, chunk))
                        continue;
                direction->first = chunk->next;
                if (!direction->first)
                        direction->last = NULL;
                free(chunk);
        }
        return USEC_INFINITY;
}

static uint64_t write_due(Relay *relay) {
        uint64_t next = USEC_INFINITY;

        for (size_t i = 0; i < relay->n_connections;) {
                Connection *connection = relay->connections[i];

                for (size_t d = 0; d < ELEMENTSOF(connection->directions); d++) {
                        uint64_t due = write_direction(connection, &connection->directions[d]);
                        next = due < next ? due : next;
                }
                if (connection->dead ||
                    (connection->directions[0].write_ended && connection->directions[1].write_ended)) {
                        connection_free(connection);
                        relay->connections[i] = relay->connections[--relay->n_connections];
                } else
                        i++;
        }
        return next;
}

/* Polls a source only while its queue has room, and a sink only while data are due. */
static size_t collect_polls(Relay *relay, struct pollfd *fds) {
        size_t n = 0;

        fds[n++] = (struct pollfd){ .fd = relay->stop[0] };
        fds[n++] = (struct pollfd){ .fd = relay->fd, .events = POLLIN };
        for (size_t i = 0; i < relay->n_connections; i++)
                for (size_t d = 0; d < 2; d++) {
                        const Direction *in = &relay->connections[i]->directions[d];
                        const Direction *out = &relay->connections[i]->directions[1 - d];
                        short events = 0;

                        if (!in->read_ended && in->queued < QUEUE_MAX)
                                events |= POLLIN;
                        if (out->blocked)
                                events |= POLLOUT;
                        /* With a negative descriptor, poll() ignores a source that has ended. Otherwise
                         * POLLHUP would return at once forever. */
                        fds[n++] = (struct pollfd){ .fd = events ? in->from : -1, .events = events };
                }
        return n;
}

static void *relay_thread(void *userdata) {
        Relay *relay = userdata;
        struct pollfd *fds = calloc(2 + 2 * CONNECTIONS_MAX, sizeof(*fds));

        while (fds) {
                uint64_t next = write_due(relay), now = now_monotonic_usec(),
                         wait = next > now ? next - now : 0;
                const struct timespec timeout = {
                        .tv_sec = (time_t) (wait / USEC_PER_SEC),
                        .tv_nsec = (long) (wait % USEC_PER_SEC * 1000),
                };
                size_t n = collect_polls(relay, fds), n_connections = relay->n_connections;

                if (ppoll(fds, n, next == USEC_INFINITY ? NULL : &timeout, NULL) < 0 && errno != EINTR)
                        break;
                if (fds[0].revents)
                        break;
                for (size_t i = 0; i < n_connections; i++)
                        for (size_t d = 0; d < 2; d++)
                                if (fds[2 + 2 * i + d].revents & ~POLLOUT)
                                        read_direction(relay, relay->connections[i],
                                                       &relay->connections[i]->directions[d]);
                if (fds[1].revents)
                        open_connection(relay);
        }
        free(fds);
        return NULL;
}

int relay_new(int fd, const struct sockaddr_in *to, unsigned delay_msec, Relay **ret) {
        Relay *relay = calloc(1, sizeof(*relay));
        int r = 0;

        if (!relay) {
                close(fd);
                return -ENOMEM;
        }
        relay->fd = fd;
        relay->to = *to;
        atomic_init(&relay->delay_msec, delay_msec);
        if (pipe2(relay->stop, O_CLOEXEC) < 0)
                r = -errno;
        else {
                r = -pthread_create(&relay->thread, NULL, relay_thread, relay);
                if (r < 0) {
                        close(relay->stop[0]);
                        close(relay->stop[1]);
                }
        }
        if (r < 0) {
                close(fd);
                free(relay);
                return r;
        }

        *ret = relay;
        return 0;
}

Relay *relay_free(Relay *relay) {
        if (relay) {
                close(relay->stop[1]);
                pthread_join(relay->thread, NULL);
                close(relay->stop[0]);
                close(relay->fd);
                for (size_t i = 0; i < relay->n_connections; i++)
                        connection_free(relay->connections[i]);
                free(relay);
        }
        return NULL;
}

void relay_set_delay(Relay *relay, unsigned msec) {
        atomic_store(&relay->delay_msec, msec);
}
