#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tries all TCP ports of a machine and prints those that answer. usage: ports.py ADDRESS [SECONDS]

A port that does not answer within SECONDS counts as closed. The default of 4 s includes two repetitions of the SYN.
"""

import resource
import select
import socket
import sys
import time

ADDRESS = sys.argv[1]
PATIENCE = float(sys.argv[2]) if len(sys.argv) > 2 else 4
AT_ONCE = 8000


def open_ports(ports):
    family, kind, protocol, _, address = socket.getaddrinfo(ADDRESS, 1, type=socket.SOCK_STREAM)[0]
    waiting, found, poll = {}, [], select.epoll()
    for port in ports:
        one = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        one.connect_ex((address[0], port, *address[2:]))
        waiting[one.fileno()] = one, port
        poll.register(one, select.EPOLLOUT)
    end = time.monotonic() + PATIENCE
    while waiting and (left := end - time.monotonic()) > 0:
        for number, _ in poll.poll(left):
            one, port = waiting.pop(number)
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.append(port)
            poll.unregister(one)
            one.close()
    for one, _ in waiting.values():
        one.close()
    return found


limit = AT_ONCE + 100
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
for first in range(1, 65536, AT_ONCE):
    for number in sorted(open_ports(range(first, min(first + AT_ONCE, 65536)))):
        print(number)
