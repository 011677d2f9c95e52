/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads netlink messages. With a new address or route in front, any input matters. An empty message in front
 * changes nothing.
 */

#include <assert.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unsealing/network.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool matters_behind(uint16_t type, const uint8_t *data, size_t size) {
        const struct nlmsghdr header = { .nlmsg_len = sizeof(header), .nlmsg_type = type };
        _cleanup_free_ uint8_t *buffer = malloc(sizeof(header) + size);

        assert(buffer);
        memcpy(buffer, &header, sizeof(header));
        if (size > 0)
                memcpy(buffer + sizeof(header), data, size);
        return network_message_matters(buffer, sizeof(header) + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        bool matters = network_message_matters(data, size);

        assert(matters_behind(RTM_NEWADDR, data, size));
        assert(matters_behind(RTM_NEWROUTE, data, size));
        assert(matters_behind(NLMSG_NOOP, data, size) == matters);
        return 0;
}
