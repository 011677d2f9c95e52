/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <sys/socket.h>

#include "unsealing/network.h"

struct Network {
        int fd;
        sd_event_source *source;
        NetworkChanged changed;
        void *userdata;
};

bool network_message_matters(const void *buffer, size_t size) {
        const uint8_t *p = buffer;

        while (size >= sizeof(struct nlmsghdr)) {
                struct nlmsghdr header;
                size_t step;

                __builtin_memcpy(&header, p, sizeof(header));
                if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > size)
                        return false;
                if (header.nlmsg_type == RTM_NEWROUTE || header.nlmsg_type == RTM_NEWADDR)
                        return true;

                step = NLMSG_ALIGN((size_t) header.nlmsg_len);
                if (step > size)
                        return false;
                p += step;
                size -= step;
        }
        return false;
}

static int on_message(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Network *network = userdata;
        bool matters = false;

        for (;;) {
                uint8_t buffer[8192];
                ssize_t n;

                n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == ENOBUFS) {
                        /* The kernel dropped messages. One of them may have been about a new route. */
                        matters = true;
                        continue;
                }
                if (n <= 0)
                        break;
                matters = matters || network_message_matters(buffer, (size_t) n);
        }

        if (matters)
                network->changed(network->userdata);
        return 0;
}

Network *network_free(Network *network) {
        if (!network)
                return NULL;
        (void) sd_event_source_disable_unref(network->source);
        if (network->fd >= 0)
                (void) close(network->fd);
        free(network);
        return NULL;
}

int network_new(sd_event *event, NetworkChanged changed, void *userdata, Network **ret) {
        static const struct sockaddr_nl address = {
                .nl_family = AF_NETLINK,
                .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE,
        };
        _cleanup_(network_freep) Network *network = NULL;
        int r;

        network = malloc(sizeof(*network));
        if (!network)
                return -ENOMEM;
        *network = (Network){ .changed = changed, .userdata = userdata };

        network->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
        if (network->fd < 0)
                return -errno;
        if (bind(network->fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        r = sd_event_add_io(event, &network->source, network->fd, EPOLLIN, on_message, network);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(network);
        return 0;
}
