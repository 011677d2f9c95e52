#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for the service manager and keeps descriptors, far quicker than a machine.

usage: manager.py [--listen PATH] PROGRAM [ARGUMENT...]

--listen PATH: the program gets a socket that listens there, as from a socket unit.

Reads commands from standard input and answers each with one line:

    start           starts the program; answers "ready" or "exited STATUS" ("killed SIGNAL")
    start WORD...   the same, with these words before the program's (a wrapper that ends in exec)
    start-kill REGEX    starts it and kills it as soon as it has sent a message that matches
    start-kill-after SECONDS    starts it and kills it after this time, unless it has ended before
    kill, stop      sends SIGKILL or SIGTERM and waits for the end; answers "exited STATUS" ("killed SIGNAL")
    serve REGEX     reads messages until one matches, and answers that message; barriers are not answered
    release         answers the barriers that came
    wait            waits for the program to end by itself
    run WORD...     runs this command, such as a reload, and answers "exited STATUS" when it ends; the program must run
    list            answers the names of the kept descriptors, sorted, in one line
    drop REGEX      closes the kept descriptors with such a name
    spoil REGEX     overwrites the first byte of a kept file with such a name

The program's output goes to standard error.
"""
import array
import os
import re
import selectors
import shlex
import signal
import socket
import sys
import tempfile
import time

directory = tempfile.mkdtemp(prefix="unseald-manager-", dir="/tmp")
address = directory + "/notify"
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(address)
os.chmod(address, 0o777)
os.chmod(directory, 0o755)
kept = []  # (name, fd)
barriers = []  # fds
child = None
passed = []  # (name, fd): given to the program, and not kept by it
program = sys.argv[1:]
if program[0] == "--listen":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(program[1])
    listener.listen(64)
    passed = [("unseald.socket", listener.fileno())]
    program = program[2:]


def start(wrapper):
    pid = os.fork()
    if pid == 0:
        names = [name for name, _ in passed + kept]
        spare = [os.dup(fd) for _, fd in passed + kept]  # copies whose numbers are not in use below
        high = [os.open("/dev/null", os.O_RDONLY) for _ in range(2 * len(spare) + 3)]
        spare = [os.dup(fd) for fd in spare]
        del high
        for i, fd in enumerate(spare):
            os.dup2(fd, 3 + i)
        os.closerange(3 + len(spare), 4096)
        os.dup2(2, 1)
        os.environ.update(NOTIFY_SOCKET=address)
        if names:
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(names))
        command = wrapper + program
        os.execvp(command[0], command)
    return pid


def forget(wanted):
    for name, fd in [item for item in kept if wanted(item[0])]:
        kept.remove((name, fd))
        os.close(fd)


def receive(hold=False):
    """Reads one message and closes the descriptors of a barrier, unless it is to be held."""
    data, ancillary, _, _ = notify.recvmsg(65536, socket.CMSG_SPACE(64 * 4))
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content)
    text = data.decode()
    lines = text.splitlines()
    name = next((line[7:] for line in lines if line.startswith("FDNAME=")), "stored")
    if "FDSTORE=1" in lines:
        kept.extend((name, fd) for fd in fds)
    elif "BARRIER=1" in lines and hold:
        barriers.extend(fds)
    else:
        for fd in fds:
            os.close(fd)
    if "FDSTOREREMOVE=1" in lines:
        forget(lambda other: other == name)
    return text


def ended(status):
    return f"killed {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exited {os.WEXITSTATUS(status)}"


def serve(until_ready, kill_at=None, kill_after=None):
    """Waits until the program has ended, or, if asked to, until it is ready."""
    global child
    notify.settimeout(0.01 if kill_after is None else 0.001)
    end = None if kill_after is None else time.monotonic() + kill_after
    while True:
        if end and time.monotonic() >= end:
            os.kill(child, signal.SIGKILL)
            end = None
        try:
            text = receive()
        except TimeoutError:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                child = None
                return ended(status)
            continue
        if kill_at and re.search(kill_at, text):
            os.kill(child, signal.SIGKILL)
            kill_at = None
        if until_ready and "READY=1" in text.splitlines():
            return "ready"


def run(command):
    """Runs a command beside the program, and takes the program's messages meanwhile."""
    helper = os.spawnvp(os.P_NOWAIT, command[0], command)
    notify.settimeout(0.01)
    while True:
        try:
            receive()
        except TimeoutError:
            pid, status = os.waitpid(helper, os.WNOHANG)
            if pid:
                return ended(status)


def main():
    global child
    for line in sys.stdin:
        verb, *words = shlex.split(line)
        if verb == "start":
            child = start(words)
            answer = serve(True)
        elif verb == "start-kill":
            child = start([])
            answer = serve(False, words[0])
        elif verb == "start-kill-after":
            child = start([])
            answer = serve(False, kill_after=float(words[0]))
        elif verb in ("kill", "stop"):
            os.kill(child, signal.SIGKILL if verb == "kill" else signal.SIGTERM)
            answer = serve(False)
        elif verb == "wait":
            answer = serve(False)
        elif verb == "run":
            answer = run(words)
        elif verb == "serve":
            notify.settimeout(60)
            while not re.search(words[0], text := receive(hold=True)):
                pass
            answer = text.replace("\n", " ")
        elif verb == "release":
            while barriers:
                os.close(barriers.pop())
            answer = "done"
        elif verb == "list":
            answer = " ".join(sorted(name for name, _ in kept))
        elif verb == "drop":
            forget(lambda name: re.search(words[0], name))
            answer = "done"
        elif verb == "spoil":
            for fd in [fd for name, fd in kept if re.search(words[0], name)]:
                os.pwrite(fd, bytes([os.pread(fd, 1, 0)[0] ^ 1]), 0)
            answer = "done"
        else:
            sys.exit(f"manager.py: no such command: {verb}")
        print(answer, flush=True)


try:
    main()
finally:
    if child:
        os.kill(child, signal.SIGKILL)
    os.unlink(address)
    os.rmdir(directory)
