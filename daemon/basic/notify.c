/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "basic/notify.h"
#include "basic/text.h"

#define NAME_MAX_LENGTH 255U

_printf_(2, 0) static int send_status(const char *before, const char *format, va_list arguments) {
        char status[NOTIFY_STATUS_MAX], message[NOTIFY_STATUS_MAX + 32];

        (void) vsnprintf(status, sizeof(status), format, arguments);
        (void) snprintf(message, sizeof(message), "%sSTATUS=%s", before, text_clean(status));
        return sd_notify(false, message);
}

void notify_status(const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        (void) send_status("", format, arguments);
        va_end(arguments);
}

int notify_ready(const char *format, ...) {
        va_list arguments;
        int r;

        va_start(arguments, format);
        r = send_status("READY=1\n", format, arguments);
        va_end(arguments);
        return r < 0 ? r : 0;
}

void notify_reloading(void) {
        (void) sd_notify(false, "RELOADING=1");
}

void notify_stopping(void) {
        (void) sd_notify(false, "STOPPING=1");
}

void notify_extend_timeout(uint64_t usec) {
        char message[64];

        (void) snprintf(message, sizeof(message), "EXTEND_TIMEOUT_USEC=%" PRIu64, usec);
        (void) sd_notify(false, message);
}

static bool is_fd_name(const char *name) {
        size_t length = 0;

        for (; name[length]; length++)
                if (name[length] < ' ' || name[length] > '~' || name[length] == ':')
                        return false;
        return length > 0 && length <= NAME_MAX_LENGTH;
}

/* before is a line or more, each with its newline. */
static int send_fd(const char *before, const char *name, const int *fd) {
        char message[NAME_MAX_LENGTH + 64];
        int r;

        if (!is_fd_name(name))
                return -EINVAL;
        (void) snprintf(message, sizeof(message), "%sFDNAME=%s", before, name);
        r = fd ? sd_pid_notify_with_fds(0, false, message, fd, 1) : sd_notify(false, message);
        return r < 0 ? r : 0;
}

int notify_store_fd(const char *name, int fd) {
        return send_fd("FDSTORE=1\nFDPOLL=0\n", name, &fd);
}

int notify_remove_fd(const char *name) {
        return send_fd("FDSTOREREMOVE=1\n", name, NULL);
}

struct NotifyBarrier {
        int fd; /* the read end of a pipe; the manager has the only write end */
        sd_event_source *hung_up, *timeout;
        NotifyBarrierEnded ended;
        void *userdata;
};

/* Does not use the barrier after the callback, which may have freed it. */
static void barrier_end(NotifyBarrier *barrier, int r) {
        barrier->hung_up = sd_event_source_disable_unref(barrier->hung_up);
        barrier->timeout = sd_event_source_disable_unref(barrier->timeout);
        barrier->ended(r, barrier->userdata);
}

/* Only a hang-up is an answer: a manager that writes into the pipe has not closed it. */
static int on_hung_up(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        barrier_end(userdata, 0);
        return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        NotifyBarrier *barrier = userdata;
        struct pollfd answer = { .fd = barrier->fd };

        /* The process may have been stopped for longer than the time-out. An answer counts even then. */
        barrier_end(barrier, poll(&answer, 1, 0) > 0 && answer.revents & POLLHUP ? 0 : -ETIMEDOUT);
        return 0;
}

int notify_barrier_new(sd_event *event, uint64_t timeout_usec, NotifyBarrierEnded ended, void *userdata,
                       NotifyBarrier **ret) {
        _cleanup_(notify_barrier_freep) NotifyBarrier *barrier = calloc(1, sizeof(*barrier));
        _cleanup_close_ int theirs = -1;
        int fds[2], r;

        if (!barrier)
                return -ENOMEM;
        barrier->fd = -1;
        barrier->ended = ended;
        barrier->userdata = userdata;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        barrier->fd = fds[0];
        theirs = fds[1];
        if ((r = sd_event_add_io(event, &barrier->hung_up, barrier->fd, 0, on_hung_up, barrier)) < 0 ||
            (r = sd_event_add_time_relative(event, &barrier->timeout, CLOCK_MONOTONIC, timeout_usec, 0,
                                            on_timeout, barrier)) < 0)
                return r;
        r = sd_pid_notify_with_fds(0, false, "BARRIER=1", &theirs, 1);
        if (r <= 0) {
                *ret = NULL;
                return r < 0 ? r : 1;
        }
        *ret = TAKE_PTR(barrier);
        return 0;
}

NotifyBarrier *notify_barrier_free(NotifyBarrier *barrier) {
        if (!barrier)
                return NULL;
        (void) sd_event_source_disable_unref(barrier->hung_up);
        (void) sd_event_source_disable_unref(barrier->timeout);
        if (barrier->fd >= 0)
                (void) close(barrier->fd);
        free(barrier);
        return NULL;
}
