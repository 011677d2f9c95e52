/* SPDX-License-Identifier: Apache-2.0 */

/* Reads the kernel's answer about a TCP socket. A control group that it reads is in the input. */

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "basic/peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct sockaddr_in source = { .sin_family = AF_INET, .sin_port = htons(40001) },
                           destination = { .sin_family = AF_INET, .sin_port = htons(8643) };
        PeerAddresses addresses = {};
        uint64_t cgroup = 0;
        int r;

        source.sin_addr.s_addr = destination.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        memcpy(&addresses.source, &source, sizeof(source));
        memcpy(&addresses.destination, &destination, sizeof(destination));
        r = peer_diag_parse(data, size, &addresses, &cgroup);
        assert(r == 0 || (r < 0 && r >= -4095));
        assert(r < 0 ? cgroup == 0 : cgroup != 0 && memmem(data, size, &cgroup, sizeof(cgroup)));
        return 0;
}
