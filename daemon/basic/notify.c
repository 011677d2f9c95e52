/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "basic/notify.h"
#include "basic/text.h"

#define NAME_MAX_LENGTH 255U

_printf_(2, 0) static void send_status(const char *before, const char *format, va_list arguments) {
        char status[NOTIFY_STATUS_MAX], message[NOTIFY_STATUS_MAX + 32];

        (void) vsnprintf(status, sizeof(status), format, arguments);
        (void) snprintf(message, sizeof(message), "%sSTATUS=%s", before, text_clean(status));
        (void) sd_notify(false, message);
}

void notify_status(const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        send_status("", format, arguments);
        va_end(arguments);
}

void notify_ready(const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        send_status("READY=1\n", format, arguments);
        va_end(arguments);
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

int notify_barrier(uint64_t timeout_usec) {
        int r = sd_notify_barrier(false, timeout_usec);

        return r < 0 ? r : 0;
}
