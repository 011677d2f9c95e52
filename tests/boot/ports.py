#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The TCP ports of a machine that answer, all of them tried. usage: ports.py ADDRESS [SECONDS]

A port that does not answer within SECONDS (3 by default) is closed.
"""

import asyncio
import resource
import sys

ADDRESS = sys.argv[1]
PATIENCE = float(sys.argv[2]) if len(sys.argv) > 2 else 3
AT_ONCE = 8000


async def answers(port):
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(ADDRESS, port), PATIENCE)
    except (OSError, asyncio.TimeoutError):
        return None
    writer.close()
    return port


async def main():
    for first in range(1, 65536, AT_ONCE):
        found = await asyncio.gather(*(answers(port) for port in range(first, min(first + AT_ONCE, 65536))))
        for port in found:
            if port:
                print(port)


resource.setrlimit(resource.RLIMIT_NOFILE, (AT_ONCE + 100, max(AT_ONCE + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
asyncio.run(main())
