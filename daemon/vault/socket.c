/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An answer is four steps: accept, ask the kernel for the caller's user, look the credential up, send. If unseald is killed
 * between the first and the last step, the unit gets an empty credential, so nothing else happens in between.
 *
 * The credential is copied from its file through one buffer in locked memory, which is wiped. sendfile(2) would not do: it
 * lends the pages of the file to the reader, who then reads zeros if the file is wiped in the meantime (seen).
 *
 * A refusal does not fit into the socket's buffer, so it waits for its reader in a slot. An answer that cannot be completed goes
 * on as a refusal: zeros, until it is longer than any credential. If it ended there, the unit would get a truncated credential.
 * The lookup alone decides which unit may have which credential.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/log.h"
#include "basic/rate-limit.h"
#include "memory/secret.h"
#include "vault/socket.h"

/* The most that the service manager reads (CREDENTIALS_TOTAL_SIZE_MAX of systemd). */
#define SYSTEMD_CREDENTIAL_MAX (1024U * 1024U)
#define REFUSAL_SIZE (SYSTEMD_CREDENTIAL_MAX + CREDENTIAL_PIECE_MAX)

/* The socket buffer of a refusal, in kernel memory (SO_SNDBUF of socket(7)). The default would be 200 KiB for each. */
#define REFUSAL_BUFFER (8 * 1024)

/* The most answers before the other event sources get their turn. */
#define BATCH 64U

/* The pause after accept() has failed for want of descriptors or memory. */
#define PAUSE_USEC (100 * USEC_PER_MSEC)

/* The time for half-sent refusals at the end. */
#define LAST_WORDS_USEC USEC_PER_SEC

/* Limits the refusals in the journal, so that a caller in a loop does not fill it. */
#define LOG_BURST 20U
#define LOG_INTERVAL_USEC USEC_PER_SEC

typedef struct Reply {
        CredentialSocket *socket; /* NULL: the slot is free */
        sd_event_source *writable;
        int fd;
        int file;        /* with the credential; -1: a refusal */
        uint64_t offset; /* where the credential begins in the file */
        uint64_t size;   /* of the whole answer in bytes; UINT64_MAX: to the end of the file */
        size_t sent;
        uint64_t late_usec; /* CLOCK_MONOTONIC: when a reader that goes on not reading is late */
} Reply;

struct CredentialSocket {
        sd_event *event;
        CredentialLookup lookup;
        void *userdata;
        uint64_t patience_usec;
        sd_event_source *readable, *resume, *late;
        Secret *buffer;
        Reply replies[CREDENTIAL_REPLIES_MAX];
        unsigned replies_count;
        struct pollfd waiting[CREDENTIAL_REPLIES_MAX]; /* at the end */
        RateLimit log_limit;
        unsigned unlogged;
};

static uint8_t zeros[CREDENTIAL_PIECE_MAX];

/* Takes a component of the address, up to the slash or the end, that has only the allowed characters. Returns 1 if a slash
 * follows it. */
static int take_component(const char **p, const char *end, const char *allowed, char *ret) {
        const char *slash = memchr(*p, '/', (size_t) (end - *p));
        size_t length = (size_t) ((slash ?: end) - *p);

        if (length == 0)
                return -EBADMSG;
        memcpy(ret, *p, length);
        ret[length] = 0;
        if (strspn(ret, allowed) != length)
                return -EBADMSG;
        *p += length + (slash ? 1 : 0);
        return slash ? 1 : 0;
}

int credential_request_parse(const struct sockaddr_un *address, socklen_t size, CredentialRequest *ret) {
        static const char hex[] = "0123456789abcdef", kinds[] = "abcdefghijklmnopqrstuvwxyz",
                          names[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.",
                          units[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:\\@";
        size_t prefix = offsetof(struct sockaddr_un, sun_path);
        char part[sizeof(address->sun_path)];
        CredentialRequest request;
        const char *p, *end;

        if (size <= prefix + 1 || size > sizeof(*address) || address->sun_family != AF_UNIX ||
            address->sun_path[0] != 0)
                return -EBADMSG;
        p = address->sun_path + 1;
        end = (const char *) address + size;

        if (take_component(&p, end, hex, part) != 1 || strlen(part) > 16 ||
            take_component(&p, end, kinds, part) != 1)
                return -EBADMSG;
        if (strcmp(part, "cryptsetup") == 0)
                return -EOPNOTSUPP;
        if (strcmp(part, "unit") != 0 || take_component(&p, end, units, request.unit) != 1 ||
            take_component(&p, end, names, request.credential) != 0)
                return -EBADMSG;
        *ret = request;
        return 0;
}

static bool may_log(CredentialSocket *socket) {
        uint64_t wait;

        if (!rate_limit_take(&socket->log_limit, now_monotonic_usec(), &wait)) {
                socket->unlogged++;
                return false;
        }
        if (socket->unlogged > 0)
                log_warning("The credential socket refused %u more requests before this one.",
                            TAKE(socket->unlogged, 0));
        return true;
}

static void log_refusal(CredentialSocket *socket, const CredentialRequest *request, uid_t uid,
                        const char *reason) {
        if (!may_log(socket))
                return;
        log_full(LOG_WARNING,
                 &(LogFields){ .message_id = MESSAGE_REFUSED,
                               .secret = request->credential[0] ? request->credential : NULL,
                               .unit = request->unit[0] ? request->unit : NULL,
                               .state = "refused" },
                 "Refused credential %s to %s, asked for by user %u: %s.",
                 request->credential[0] ? request->credential : "(no name)",
                 request->unit[0] ? request->unit : "(no unit)", (unsigned) uid, reason);
}

/* Sends as much as the reader takes. Returns 1 if everything is sent or the reader has gone, -EAGAIN if the reader must read
 * first, -EIO if the file cannot be read. */
static int reply_go_on(Reply *reply, Secret *buffer) {
        while (reply->sent < reply->size) {
                uint64_t left = reply->size - reply->sent;
                size_t piece = left < CREDENTIAL_PIECE_MAX ? (size_t) left : CREDENTIAL_PIECE_MAX;
                const uint8_t *bytes = zeros;
                ssize_t n;

                if (reply->file >= 0) {
                        n = pread(reply->file, secret_bytes(buffer), piece,
                                  (off_t) (reply->offset + reply->sent));
                        /* A member of a bundle that ends too early would be a truncated credential. */
                        if (n < 0 || (reply->size != UINT64_MAX && (size_t) n < piece))
                                return -EIO;
                        bytes = secret_bytes(buffer);
                        if ((size_t) n < piece)
                                reply->size = reply->sent + (size_t) n;
                        piece = (size_t) n;
                }
                n = send(reply->fd, bytes, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (reply->file >= 0)
                        explicit_bzero(secret_bytes(buffer), piece);
                if (n >= 0)
                        reply->sent += (size_t) n;
                else if (errno == EAGAIN)
                        return -EAGAIN;
                else if (errno != EINTR)
                        return 1;
        }
        return 1;
}

/* The rest of the answer is a refusal. The file of a waiting reply is its own; before that it is borrowed. */
static void reply_turn_into_refusal(Reply *reply) {
        if (reply->socket)
                closep(&reply->file);
        reply->file = -1;
        reply->size = REFUSAL_SIZE;
        (void) setsockopt(reply->fd, SOL_SOCKET, SO_SNDBUF, &(int){ REFUSAL_BUFFER }, sizeof(int));
}

/* As reply_go_on(), but an answer whose file cannot be read to its end goes on as a refusal. */
static int reply_advance(Reply *reply, Secret *buffer) {
        int r = reply_go_on(reply, buffer);

        if (r != -EIO)
                return r;
        log_warning("The file of a credential cannot be read to its end. The unit that asked for the credential is refused, and fails. Start the unit again; if it fails again, reload unseald.service.");
        reply_turn_into_refusal(reply);
        return reply_go_on(reply, buffer);
}

/* The reply whose reader reads nothing for the longest time; NULL: no reply waits. */
static Reply *reply_latest(CredentialSocket *socket) {
        Reply *latest = NULL;

        for (Reply *reply = socket->replies; reply < socket->replies + CREDENTIAL_REPLIES_MAX; reply++)
                if (reply->socket && (!latest || reply->late_usec < latest->late_usec))
                        latest = reply;
        return latest;
}

/* Accepts connections while there is a slot, or one that a late reader must give up. */
static void socket_listen(CredentialSocket *socket) {
        const Reply *latest = reply_latest(socket);
        bool full = socket->replies_count >= CREDENTIAL_REPLIES_MAX;
        bool wait = full && latest->late_usec > now_monotonic_usec();

        (void) sd_event_source_set_enabled(socket->readable, wait ? SD_EVENT_OFF : SD_EVENT_ON);
        if (wait)
                (void) sd_event_source_set_time(socket->resume, latest->late_usec);
        (void) sd_event_source_set_enabled(socket->resume, wait ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static void reply_end(Reply *reply) {
        reply->writable = sd_event_source_disable_unref(reply->writable);
        closep(&reply->fd);
        closep(&reply->file);
        reply->socket->replies_count--;
        reply->socket = NULL;
}

/* Cuts off the reader that is late the longest, for others. Returns whether there was one. */
static bool cut_off_latest(CredentialSocket *socket) {
        Reply *latest = reply_latest(socket);

        if (!latest || latest->late_usec > now_monotonic_usec())
                return false;
        if (may_log(socket))
                log_warning("A reader of the credential socket is cut off: too many readers that do not read are waiting. Look for processes of root, other than the service manager, that connect to the socket.");
        reply_end(latest);
        return true;
}

static void socket_arm_late(CredentialSocket *socket);

static int on_writable(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Reply *reply = userdata;
        CredentialSocket *socket = reply->socket;
        size_t sent = reply->sent;

        if (reply_advance(reply, socket->buffer) != -EAGAIN)
                reply_end(reply);
        else if (reply->sent > sent)
                reply->late_usec = now_monotonic_usec() + socket->patience_usec;
        socket_arm_late(socket);
        socket_listen(socket);
        return 0;
}

static int reply_watch(Reply *reply) {
        return reply->writable ? 0
                               : sd_event_add_io(reply->socket->event, &reply->writable, reply->fd, EPOLLOUT,
                                                 on_writable, reply);
}

/* Wakes up when the next credential that is being sent will be late, and for replies that are not watched for want of memory.
 * Refusals only keep their time. */
static void socket_arm_late(CredentialSocket *socket) {
        uint64_t next = USEC_INFINITY, soon = now_monotonic_usec() + PAUSE_USEC;

        for (Reply *reply = socket->replies; reply < socket->replies + CREDENTIAL_REPLIES_MAX; reply++) {
                if (reply->socket && !reply->writable && soon < next)
                        next = soon;
                if (reply->socket && reply->file >= 0 && reply->late_usec < next)
                        next = reply->late_usec;
        }
        if (next != USEC_INFINITY)
                (void) sd_event_source_set_time(socket->late, next);
        (void) sd_event_source_set_enabled(socket->late,
                                           next != USEC_INFINITY ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

/* A credential does not wait for a reader that is late: the rest of the answer is a refusal. */
static int on_late(sd_event_source *source, uint64_t usec, void *userdata) {
        CredentialSocket *socket = userdata;
        uint64_t now = now_monotonic_usec();

        for (Reply *reply = socket->replies; reply < socket->replies + CREDENTIAL_REPLIES_MAX; reply++) {
                if (reply->socket)
                        (void) reply_watch(reply);
                if (reply->socket && reply->file >= 0 && reply->late_usec <= now) {
                        log_warning("A unit has not read its credential for %" PRIu64
                                    " s, and is refused now. Start the unit again.",
                                    socket->patience_usec / USEC_PER_SEC);
                        reply_turn_into_refusal(reply);
                }
        }
        socket_arm_late(socket);
        return 0;
}

/* The reader must read first: the answer waits for it in a slot. Takes begun->fd; begun->file is borrowed. */
static void reply_wait(CredentialSocket *socket, const Reply *begun) {
        Reply *reply = socket->replies;

        while (reply->socket)
                reply++;
        assert(reply < socket->replies + CREDENTIAL_REPLIES_MAX);
        *reply = *begun;
        reply->socket = socket;
        reply->late_usec = now_monotonic_usec() + socket->patience_usec;
        socket->replies_count++;
        reply->file = begun->file >= 0 ? fcntl(begun->file, F_DUPFD_CLOEXEC, 3) : -1;
        if (begun->file >= 0 && reply->file < 0) {
                log_warning("A unit that asked for a credential is refused, and fails: no descriptor is left (%s). Start the unit again.",
                            strerror(errno));
                reply_turn_into_refusal(reply);
        }
        if (reply_watch(reply) < 0)
                log_warning("An answer at the credential socket is delayed: out of memory. Trying again every 100 ms.");
        socket_arm_late(socket);
}

static void refuse(CredentialSocket *socket, int fd, const CredentialRequest *request, uid_t uid,
                   const char *reason) {
        Reply reply = { .fd = fd };

        reply_turn_into_refusal(&reply);
        if (reply_go_on(&reply, socket->buffer) == -EAGAIN)
                reply_wait(socket, &reply);
        else
                (void) close(fd);
        log_refusal(socket, request, uid, reason);
}

/* Finds the place of the credential, or sets *ret_reason to why there is none for this caller. */
static int look_up(CredentialSocket *socket, int fd, const struct sockaddr_un *address,
                   socklen_t address_size, CredentialRequest *request, CredentialPlace *ret, uid_t *ret_uid,
                   const char **ret_reason) {
        struct ucred peer;
        int r;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){ sizeof(peer) }) < 0)
                peer.uid = (uid_t) -1;
        *ret_uid = peer.uid;
        r = credential_request_parse(address, address_size, request);
        if (r == -EOPNOTSUPP)
                *ret_reason = "cryptsetup asks for it, and only units get credentials";
        else if (r < 0)
                *ret_reason = "the caller's address is not the service manager's";
        else if (peer.uid != 0)
                *ret_reason = "only the service manager, which is root, gets credentials";
        else
                return socket->lookup(request, socket->userdata, ret, ret_reason);
        return -EACCES;
}

/* Takes the connection. Until the send() the reader gets an empty credential if unseald is killed. */
static void answer(CredentialSocket *socket, int fd, const struct sockaddr_un *address,
                   socklen_t address_size) {
        CredentialRequest request = {};
        CredentialPlace place = { .fd = -1, .size = UINT64_MAX };
        Reply reply = { .fd = fd };
        const char *reason = NULL;
        uid_t uid;
        int r = 0;

        (void) look_up(socket, fd, address, address_size, &request, &place, &uid, &reason);
        if (!reason) {
                reply.file = place.fd;
                reply.offset = place.offset;
                reply.size = place.size;
                r = reply_go_on(&reply, socket->buffer);
                if (r == -EIO && reply.sent == 0)
                        reason = "its file cannot be read";
                else if (r == -EIO)
                        r = reply_advance(&reply, socket->buffer);
        }
        if (reason) {
                refuse(socket, fd, &request, uid, reason);
                return;
        }

        if (r == -EAGAIN)
                reply_wait(socket, &reply);
        else
                (void) close(fd);
        log_debug("Sending credential %s to %s.", request.credential, request.unit);
}

static int on_resume(sd_event_source *source, uint64_t usec, void *userdata) {
        socket_listen(userdata);
        return 0;
}

static void pause_listening(CredentialSocket *socket, int r) {
        log_warning("The credential socket cannot accept a connection: %s. Trying again in 100 ms.",
                    strerror(-r));
        (void) sd_event_source_set_enabled(socket->readable, SD_EVENT_OFF);
        (void) sd_event_source_set_time_relative(socket->resume, PAUSE_USEC);
        (void) sd_event_source_set_enabled(socket->resume, SD_EVENT_ONESHOT);
}

static bool has_slot(CredentialSocket *socket) {
        return socket->replies_count < CREDENTIAL_REPLIES_MAX || cut_off_latest(socket);
}

static int on_readable(sd_event_source *source, int listener, uint32_t events, void *userdata) {
        CredentialSocket *socket = userdata;

        for (unsigned i = 0; i < BATCH && has_slot(socket); i++) {
                struct sockaddr_un address;
                socklen_t size = sizeof(address);
                int fd = accept4(listener, &address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd >= 0)
                        answer(socket, fd, &address, size);
                else if (errno == EAGAIN)
                        break;
                else if (errno != EINTR && errno != ECONNABORTED && !cut_off_latest(socket)) {
                        pause_listening(socket, -errno);
                        return 0;
                }
        }
        socket_listen(socket);
        return 0;
}

int credential_socket_new(sd_event *event, int listener, uint64_t patience_usec, CredentialLookup lookup,
                          void *userdata, CredentialSocket **ret) {
        _cleanup_(credential_socket_freep) CredentialSocket *socket = NULL;
        int flags, r;

        socket = calloc(1, sizeof(*socket));
        if (!socket)
                return -ENOMEM;
        socket->event = sd_event_ref(event);
        socket->patience_usec = patience_usec;
        socket->lookup = lookup;
        socket->userdata = userdata;
        socket->log_limit = (RateLimit){ .interval_usec = LOG_INTERVAL_USEC, .burst = LOG_BURST };

        flags = fcntl(listener, F_GETFL);
        if (flags < 0 || fcntl(listener, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        if ((r = secret_new(CREDENTIAL_PIECE_MAX, &socket->buffer)) < 0 ||
            (r = sd_event_add_io(event, &socket->readable, listener, EPOLLIN, on_readable, socket)) < 0 ||
            (r = sd_event_source_set_enabled(socket->readable, SD_EVENT_OFF)) < 0 ||
            (r = sd_event_add_time(event, &socket->resume, CLOCK_MONOTONIC, 0, 0, on_resume, socket)) < 0 ||
            (r = sd_event_source_set_enabled(socket->resume, SD_EVENT_OFF)) < 0 ||
            (r = sd_event_add_time(event, &socket->late, CLOCK_MONOTONIC, 0, 0, on_late, socket)) < 0 ||
            (r = sd_event_source_set_enabled(socket->late, SD_EVENT_OFF)) < 0)
                return r;

        *ret = TAKE_PTR(socket);
        return 0;
}

int credential_socket_open(CredentialSocket *socket) {
        return sd_event_source_set_enabled(socket->readable, SD_EVENT_ON);
}

/* Ends the replies that are complete. Returns how many wait for their readers, in ret. */
static nfds_t replies_advance(CredentialSocket *socket, struct pollfd *ret) {
        nfds_t count = 0;

        for (Reply *reply = socket->replies; reply < socket->replies + CREDENTIAL_REPLIES_MAX; reply++)
                if (reply->socket && reply_advance(reply, socket->buffer) != -EAGAIN)
                        reply_end(reply);
                else if (reply->socket)
                        ret[count++] = (struct pollfd){ .fd = reply->fd, .events = POLLOUT };
        return count;
}

/* Completes the replies whose readers read, side by side, and ends all others. Blocks until then. */
static void replies_finish(CredentialSocket *socket, uint64_t until) {
        for (uint64_t now; socket->replies_count > 0 && (now = now_monotonic_usec()) < until;) {
                nfds_t count = replies_advance(socket, socket->waiting);

                if (count > 0 &&
                    poll(socket->waiting, count, (int) ((until - now) / USEC_PER_MSEC) + 1) < 0 &&
                    errno != EINTR)
                        break;
        }
        for (Reply *reply = socket->replies; reply < socket->replies + CREDENTIAL_REPLIES_MAX; reply++)
                if (reply->socket)
                        reply_end(reply);
}

CredentialSocket *credential_socket_free(CredentialSocket *socket) {
        if (!socket)
                return NULL;
        replies_finish(socket, now_monotonic_usec() + LAST_WORDS_USEC);
        (void) sd_event_source_disable_unref(socket->readable);
        (void) sd_event_source_disable_unref(socket->resume);
        (void) sd_event_source_disable_unref(socket->late);
        (void) secret_free(socket->buffer);
        (void) sd_event_unref(socket->event);
        free(socket);
        return NULL;
}

void credential_socket_shut(int listener) {
        if (listener >= 0 && shutdown(listener, SHUT_RDWR) < 0)
                log_warning("Cannot shut the credential socket: %s", strerror(errno));
}
