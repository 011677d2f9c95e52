/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "nsm.h"
#include "responder.h"
#include "wire.h"

/* Each running TPM has one. */
#define CONNECTIONS_MAX 512U
#define CONNECTION_TIMEOUT_SEC 5

struct Responder {
        Attestor *attestor;
        AttestorFault fault;
        void *userdata;
        char *path;
        int listen_fd, stop_fd;
        pthread_t thread;
        bool running;
};

static bool receive_all(int fd, void *data, size_t size) {
        return recv(fd, data, size, MSG_WAITALL) == (ssize_t) size;
}

static bool send_all(int fd, const void *data, size_t size) {
        const uint8_t *p = data;

        while (size > 0) {
                ssize_t n = send(fd, p, size, MSG_NOSIGNAL);

                if (n < 0)
                        return false;
                p += n;
                size -= (size_t) n;
        }
        return true;
}

static bool answer_attestation(Attestor *attestor, int fd, size_t index_size) {
        uint8_t index[ATTESTOR_INDEX_SIZE], pcrs[ATTESTOR_PCRS * ATTESTOR_PCR_SIZE];
        struct {
                uint32_t size;
                uint8_t data[ATTESTOR_INDEX_SIZE];
        } answer;
        size_t size;

        if (index_size > sizeof(index))
                return false;
        memset(index, 0xff, sizeof(index));
        if (!receive_all(fd, index, index_size) || !receive_all(fd, pcrs, sizeof(pcrs)) ||
            attestor_answer(attestor, index, pcrs, answer.data, &size) < 0)
                return false;
        if (size > index_size)
                size = platform_nsm_error_write("BufferTooSmall", answer.data, index_size);
        answer.size = (uint32_t) size;
        return send_all(fd, &answer, sizeof(answer.size) + size);
}

/* Answers one question. Returns false where the connection must be closed. */
static bool answer_question(const Responder *responder, int fd) {
        ResponderHeader header;
        uint32_t answer;

        if (!receive_all(fd, &header, sizeof(header)))
                return false;
        switch (header.question) {
        case RESPONDER_FAULT:
                answer = responder->fault ? responder->fault(header.argument, responder->userdata) : 0;
                return send_all(fd, &answer, sizeof(answer));
        case RESPONDER_ATTEST:
                return answer_attestation(responder->attestor, fd, header.argument);
        default:
                return false;
        }
}

static int accept_connection(int listen_fd) {
        const struct timeval timeout = { .tv_sec = CONNECTION_TIMEOUT_SEC };
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
                        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)) {
                close(fd);
                return -1;
        }
        return fd;
}

static void *responder_run(void *userdata) {
        const Responder *responder = userdata;
        enum { STOP, LISTEN, FIRST_CONNECTION };
        struct pollfd fds[FIRST_CONNECTION + CONNECTIONS_MAX] = {
                [STOP] = { .fd = responder->stop_fd, .events = POLLIN },
                [LISTEN] = { .fd = responder->listen_fd, .events = POLLIN },
        };
        size_t n = FIRST_CONNECTION;

        for (;;) {
                fds[LISTEN].events = n < ELEMENTSOF(fds) ? POLLIN : 0;
                if (poll(fds, n, -1) < 0 || fds[STOP].revents != 0)
                        break;
                for (size_t i = FIRST_CONNECTION; i < n;) {
                        if (fds[i].revents != 0 && !answer_question(responder, fds[i].fd)) {
                                close(fds[i].fd);
                                fds[i] = fds[--n];
                        } else
                                i++;
                }
                if (fds[LISTEN].revents != 0) {
                        int fd = accept_connection(responder->listen_fd);

                        if (fd >= 0)
                                fds[n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
                }
        }
        for (size_t i = FIRST_CONNECTION; i < n; i++)
                close(fds[i].fd);
        return NULL;
}

static int listen_at(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -1;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (unlink(path) < 0 && errno != ENOENT)
                return -errno;
        if (bind(fd, (const struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(fd, CONNECTIONS_MAX) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int start_thread(Responder *responder) {
        sigset_t all, before;
        int r;

        /* Only the main thread handles signals. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = -pthread_create(&responder->thread, NULL, responder_run, responder);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        responder->running = r == 0;
        return r;
}

int responder_new(Attestor *attestor, const char *path, AttestorFault fault, void *userdata,
                  Responder **ret) {
        _cleanup_(responder_freep) Responder *responder = malloc(sizeof(*responder));
        int r;

        if (!responder)
                return -ENOMEM;
        *responder = (Responder){
                .attestor = attestor,
                .fault = fault,
                .userdata = userdata,
                .path = strdup(path),
                .listen_fd = -1,
                .stop_fd = eventfd(0, EFD_CLOEXEC),
        };
        if (!responder->path)
                return -ENOMEM;
        if (responder->stop_fd < 0)
                return -errno;
        responder->listen_fd = listen_at(path);
        if (responder->listen_fd < 0)
                return responder->listen_fd;
        r = start_thread(responder);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(responder);
        return 0;
}

Responder *responder_free(Responder *responder) {
        const uint64_t one = 1;

        if (!responder)
                return NULL;
        if (responder->running && write(responder->stop_fd, &one, sizeof(one)) == sizeof(one))
                pthread_join(responder->thread, NULL);
        if (responder->listen_fd >= 0)
                unlink(responder->path);
        closep(&responder->listen_fd);
        closep(&responder->stop_fd);
        free(responder->path);
        free(responder);
        return NULL;
}
