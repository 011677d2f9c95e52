/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Plays the service manager: makes the socket that sd_notify(3) of this process sends to. Returns it, or -1. */
static inline int notify_listen(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        socklen_t size = sizeof(address);
        char name[sizeof(address.sun_path) + 1];
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return -1;
        /* Linux chooses an abstract name. */
        if (bind(fd, (struct sockaddr *) &address, sizeof(sa_family_t)) < 0 ||
            getsockname(fd, (struct sockaddr *) &address, &size) < 0) {
                (void) close(fd);
                return -1;
        }
        (void) snprintf(name, sizeof(name), "@%.*s",
                        (int) (size - offsetof(struct sockaddr_un, sun_path) - 1), address.sun_path + 1);
        if (setenv("NOTIFY_SOCKET", name, 1) < 0) {
                (void) close(fd);
                return -1;
        }
        return fd;
}
