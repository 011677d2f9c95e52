/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/log.h"
#include "vault/callers.h"

/* The kernel answers with at most one page about one socket (unix_diag_get_exact()), and fails with EMSGSIZE if the queue is longer
 * than that. */
#define ANSWER_MAX 8192U

struct Callers {
        int listener;
        uint32_t inode; /* of the listener */
        sd_event_source *timer;
        CallersChanged changed;
        void *userdata;
        uint64_t generation;
        Caller items[CALLERS_MAX];
};

static void take_attribute(uint16_t type, const uint8_t *value, size_t size, SocketDiag *diag) {
        uint32_t number;

        if (type == UNIX_DIAG_NAME && size <= sizeof(diag->address.sun_path)) {
                diag->address.sun_family = AF_UNIX;
                memcpy(diag->address.sun_path, value, size);
                diag->address_size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + size);
        } else if (type == UNIX_DIAG_UID && size == sizeof(number)) {
                memcpy(&number, value, sizeof(number));
                diag->by_root = number == 0;
        } else if (type == UNIX_DIAG_ICONS) {
                size_t count = size / sizeof(number);

                diag->waiting_count = count < CALLERS_MAX ? count : CALLERS_MAX;
                memcpy(diag->waiting, value, diag->waiting_count * sizeof(number));
        }
}

static int take_attributes(const uint8_t *p, size_t size, SocketDiag *diag) {
        while (size > 0) {
                struct nlattr attribute;
                size_t whole;

                if (size < sizeof(attribute))
                        return -EBADMSG;
                memcpy(&attribute, p, sizeof(attribute));
                if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > size)
                        return -EBADMSG;
                take_attribute(attribute.nla_type & NLA_TYPE_MASK, p + sizeof(attribute),
                               attribute.nla_len - sizeof(attribute), diag);
                /* The last one need not be filled up. */
                whole = NLA_ALIGN((size_t) attribute.nla_len);
                whole = whole < size ? whole : size;
                p += whole;
                size -= whole;
        }
        return 0;
}

static int parse_error(const uint8_t *p, size_t size) {
        int number;

        if (size < sizeof(struct nlmsgerr))
                return -EBADMSG;
        memcpy(&number, p + offsetof(struct nlmsgerr, error), sizeof(number));
        return number < 0 && number >= -4095 ? number : -EBADMSG;
}

int socket_diag_parse(const void *buffer, size_t size, SocketDiag *ret) {
        const uint8_t *p = buffer;
        struct nlmsghdr header;
        struct unix_diag_msg message;
        SocketDiag diag = {};
        int r;

        if (size < sizeof(header))
                return -EBADMSG;
        memcpy(&header, p, sizeof(header));
        if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > size)
                return -EBADMSG;
        p += sizeof(header);
        size = header.nlmsg_len - sizeof(header);
        if (header.nlmsg_type == NLMSG_ERROR)
                return parse_error(p, size);
        if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY || size < sizeof(message))
                return -EBADMSG;

        memcpy(&message, p, sizeof(message));
        if (message.udiag_family != AF_UNIX)
                return -EBADMSG;
        diag.inode = message.udiag_ino;
        r = take_attributes(p + sizeof(message), size - sizeof(message), &diag);
        if (r < 0)
                return r;
        *ret = diag;
        return 0;
}

/* Asks the kernel for one Unix socket. It answers before send() returns, so nothing is waited for. */
static int ask(int netlink, uint32_t inode, uint32_t show, SocketDiag *ret) {
        const struct {
                struct nlmsghdr header;
                struct unix_diag_req request;
        } question = {
                .header = { .nlmsg_len = sizeof(question),
                            .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                            .nlmsg_flags = NLM_F_REQUEST },
                .request = { .sdiag_family = AF_UNIX,
                             .udiag_states = UINT32_MAX,
                             .udiag_ino = inode,
                             .udiag_show = show,
                             .udiag_cookie = { UINT32_MAX, UINT32_MAX } },
        };
        const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
        uint8_t answer[ANSWER_MAX];
        ssize_t n;
        int r;

        if (sendto(netlink, &question, sizeof(question), 0, (const struct sockaddr *) &kernel,
                   sizeof(kernel)) < 0)
                return -errno;
        n = recv(netlink, answer, sizeof(answer), MSG_DONTWAIT);
        if (n < 0)
                return -errno;
        r = socket_diag_parse(answer, (size_t) n, ret);
        return r >= 0 && ret->inode != inode ? -EBADMSG : r;
}

/* Returns the place of a caller in the list: its own, else a free one. NULL: there is none. */
static Caller *find_place(Callers *callers, const CredentialRequest *request) {
        Caller *free_place = NULL;

        for (Caller *caller = callers->items; caller < callers->items + CALLERS_MAX; caller++) {
                if (strcmp(caller->request.unit, request->unit) == 0 &&
                    strcmp(caller->request.credential, request->credential) == 0)
                        return caller;
                if (!caller->waits && (!free_place || (free_place->told && !caller->told)))
                        free_place = caller;
        }
        if (free_place)
                *free_place = (Caller){ .request = *request };
        return free_place;
}

static void tell(Caller *caller, uint64_t now) {
        char duration[DURATION_STRING_MAX];

        caller->told = true;
        log_full(LOG_NOTICE,
                 &(LogFields){ .message_id = MESSAGE_CALLER_WAITS,
                               .secret = caller->request.credential,
                               .unit = caller->request.unit,
                               .state = "waiting",
                               .duration_usec = now - caller->since_usec },
                 "%s has waited for credential %s for %s, because unseald is not ready. Its start goes on once unseald is ready.",
                 caller->request.unit, caller->request.credential,
                 format_duration(now - caller->since_usec, duration));
}

/* Takes the callers in the queue into the list, and marks them in seen. */
static int look_at_queue(Callers *callers, uint64_t now, bool seen[CALLERS_MAX]) {
        _cleanup_close_ int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        SocketDiag queue, client;
        int r;

        if (netlink < 0)
                return -errno;
        r = ask(netlink, callers->inode, UDIAG_SHOW_ICONS, &queue);
        for (size_t i = 0; r >= 0 && i < queue.waiting_count; i++) {
                CredentialRequest request;
                Caller *caller;

                /* A client that has gone in the meantime is no error. */
                if (queue.waiting[i] == 0 ||
                    ask(netlink, queue.waiting[i], UDIAG_SHOW_NAME | UDIAG_SHOW_UID, &client) < 0 ||
                    !client.by_root ||
                    credential_request_parse(&client.address, client.address_size, &request) < 0)
                        continue;
                caller = find_place(callers, &request);
                if (!caller)
                        continue;
                if (!caller->waits)
                        caller->since_usec = now;
                seen[caller - callers->items] = caller->waits = true;
        }
        return r;
}

int callers_look(Callers *callers, uint64_t now) {
        struct pollfd queue = { .fd = callers->listener, .events = POLLIN };
        bool waited[CALLERS_MAX], seen[CALLERS_MAX] = {}, is_other = false;
        int r = 0;

        for (size_t i = 0; i < CALLERS_MAX; i++)
                waited[i] = callers->items[i].waits;
        /* Mostly nobody waits. Then the kernel need not be asked, nor load its module unix_diag. */
        if (poll(&queue, 1, 0) > 0 && (queue.revents & POLLIN))
                r = look_at_queue(callers, now, seen);
        for (size_t i = 0; i < CALLERS_MAX; i++) {
                Caller *caller = callers->items + i;

                caller->waits = seen[i];
                is_other |= seen[i] != waited[i];
                if (seen[i] && !caller->told && now - caller->since_usec >= CALLERS_PATIENCE_USEC)
                        tell(caller, now);
        }
        callers->generation += is_other;
        return r < 0 ? r : is_other;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Callers *callers = userdata;
        uint64_t generation = callers->generation;
        int r = callers_look(callers, now_monotonic_usec());

        if (r == -ENOENT || r == -EPROTONOSUPPORT) {
                log_debug("The kernel does not tell which units wait at the credential socket: %s.",
                          strerror(-r));
                (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
        } else {
                (void) sd_event_source_set_time_relative(source, CALLERS_INTERVAL_USEC);
                (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        }
        if (callers->generation != generation)
                callers->changed(callers->userdata);
        return 0;
}

int callers_new(sd_event *event, int listener, Callers **ret) {
        _cleanup_(callers_freep) Callers *callers = calloc(1, sizeof(*callers));
        struct stat st;
        int r;

        if (!callers)
                return -ENOMEM;
        if (fstat(listener, &st) < 0)
                return -errno;
        callers->listener = listener;
        callers->inode = (uint32_t) st.st_ino;
        if ((r = sd_event_add_time(event, &callers->timer, CLOCK_MONOTONIC, 0, 0, on_timer, callers)) < 0 ||
            (r = sd_event_source_set_enabled(callers->timer, SD_EVENT_OFF)) < 0)
                return r;
        *ret = TAKE_PTR(callers);
        return 0;
}

int callers_watch(Callers *callers, CallersChanged changed, void *userdata) {
        int r;

        callers->changed = changed;
        callers->userdata = userdata;
        if (!changed)
                return sd_event_source_set_enabled(callers->timer, SD_EVENT_OFF);
        r = sd_event_source_set_time_relative(callers->timer, CALLERS_INTERVAL_USEC);
        return r < 0 ? r : sd_event_source_set_enabled(callers->timer, SD_EVENT_ONESHOT);
}

size_t callers_list(const Callers *callers, Caller ret[static CALLERS_MAX]) {
        size_t count = 0;

        for (size_t i = 0; callers && i < CALLERS_MAX; i++)
                if (callers->items[i].waits)
                        ret[count++] = callers->items[i];
        return count;
}

uint64_t callers_generation(const Callers *callers) {
        return callers ? callers->generation : 0;
}

Callers *callers_free(Callers *callers) {
        if (!callers)
                return NULL;
        (void) sd_event_source_disable_unref(callers->timer);
        free(callers);
        return NULL;
}
