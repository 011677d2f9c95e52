# SPDX-License-Identifier: Apache-2.0
"""Sends a command to QEMU's monitor: qmp.py SOCKET COMMAND [ARGUMENTS-AS-JSON]. Prints the result. Fails if the command fails."""

import json
import socket
import sys

monitor = socket.socket(socket.AF_UNIX)
monitor.connect(sys.argv[1])
lines = monitor.makefile("rw")
lines.readline()


def call(command, arguments):
    lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    lines.flush()
    while True:
        line = lines.readline()
        if not line:
            return {"return": {}}  # QEMU may end before it answers "quit"
        reply = json.loads(line)
        if "return" in reply or "error" in reply:
            return reply


call("qmp_capabilities", {})
reply = call(sys.argv[2], json.loads(sys.argv[3]) if len(sys.argv) > 3 else {})
if "error" in reply:
    sys.exit(f"qmp: {sys.argv[2]}: {reply['error']['desc']}")
print(json.dumps(reply["return"]))
